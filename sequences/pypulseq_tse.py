"""PyPulseq's own example script ``write_tse.py`` as a function of two numbers in it.

The script is used as its authors wrote it: ``make gallery`` fetches it from the package index, in
the wheel of PyPulseq 1.4.2, the last one that has example scripts in it. Its ``main`` takes no
parameters; what one would want to vary are constants at its beginning. They are given other
values here, on the way from the file's text to Python.
"""

import ast
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pypulseq as pp

SCRIPT = Path(".cache/pypulseq_examples/pypulseq/seq_examples/scripts/write_tse.py")


class _WithArguments(SourceFileLoader):
    """Imports a script with some of its constants as arguments of ``main``."""

    def __init__(self, script: Path, names: tuple, result: str):
        super().__init__(script.stem, str(script))
        self.names, self.result = names, result

    def source_to_code(self, data, path="<string>"):
        tree = ast.parse(data, filename=str(path))
        main = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "main")

        def is_given(line):
            name = line.targets[0] if isinstance(line, ast.Assign) else None
            return isinstance(name, ast.Name) and name.id in self.names

        given = [line for line in main.body if is_given(line)]
        if sorted(line.targets[0].id for line in given) != sorted(self.names):
            raise ValueError(f"main of {path} does not set each of {self.names} once")
        main.body = [line for line in main.body if line not in given]
        main.body.append(ast.Return(ast.Name(self.result, ast.Load())))
        main.args.kwonlyargs += [ast.arg(name) for name in self.names]
        main.args.kw_defaults += [None] * len(self.names)
        return super().source_to_code(ast.fix_missing_locations(tree), path)

    def path_stats(self, path):
        # Keeps Python from storing the changed code beside the script
        raise OSError


def main_of(script: Path, names: tuple, result: str):
    """Return a script's ``main`` with some of its constants as arguments.

    Parameters
    ----------
    script
        The script; it stays as it is.
    names
        Variables that ``main`` sets to constants, to become keyword arguments instead.
    result
        Variable to return in the end.
    """
    loader = _WithArguments(script, names, result)
    module = module_from_spec(spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module.main


WRITE_TSE = main_of(SCRIPT, ("flip_ex", "rf_flip"), "seq") if SCRIPT.is_file() else None


def pypulseq_tse(flip_ex: float = 1.5707963267948966, rf_flip: float = 180.0) -> pp.Sequence:
    """Create the sequence.

    Parameters
    ----------
    flip_ex
        Flip angle of the excitation (in radians).
    rf_flip
        Flip angle of all refocusing pulses (in degrees, as in the script).
    """
    if WRITE_TSE is None:
        raise FileNotFoundError(
            f"{SCRIPT}; `make gallery` fetches it from the package index, in a wheel of PyPulseq"
        )
    return WRITE_TSE(plot=False, write_seq=False, flip_ex=flip_ex, rf_flip=[rf_flip])
