"""PyPulseq's own example script ``write_tse.py`` as a function of two numbers in it.

The script is used as its authors wrote it: ``make gallery`` fetches it from the package index, in
the wheel of PyPulseq 1.4.2, the last one that has example scripts in it. Its ``main`` takes no
parameters; what one would want to vary are constants at its beginning. They are given other
values here, on the way from the file's text to Python.
"""

import ast
from pathlib import Path

import pypulseq as pp

SCRIPT = Path(".cache/pypulseq_examples/pypulseq/seq_examples/scripts/write_tse.py")


def with_arguments(file: Path, names: set, result: str):
    """Return a script's ``main`` with some of its constants as arguments.

    Parameters
    ----------
    file
        The script.
    names
        Variables that ``main`` sets to constants, to become keyword arguments instead.
    result
        Variable to return in the end.
    """
    tree = ast.parse(file.read_text(), filename=str(file))
    main = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "main")

    def is_given(line):
        return isinstance(line, ast.Assign) and getattr(line.targets[0], "id", None) in names

    given = [line for line in main.body if is_given(line)]
    if {line.targets[0].id for line in given} != names:
        raise ValueError(f"main of {file} does not set all of {sorted(names)}")
    main.body = [line for line in main.body if line not in given]
    main.body.append(ast.Return(ast.Name(result, ast.Load())))
    main.args.kwonlyargs += [ast.arg(name) for name in sorted(names)]
    main.args.kw_defaults += [None] * len(names)
    namespace: dict = {"__name__": file.stem, "__file__": str(file)}
    exec(compile(ast.fix_missing_locations(tree), str(file), "exec"), namespace)
    return namespace["main"]


if not SCRIPT.is_file():
    raise FileNotFoundError(
        f"{SCRIPT}; `make gallery` fetches it from the package index, in a wheel of PyPulseq"
    )
WRITE_TSE = with_arguments(SCRIPT, {"flip_ex", "rf_flip"}, "seq")


def pypulseq_tse(flip_ex: float = 1.5707963267948966, rf_flip: float = 180.0) -> pp.Sequence:
    """Create the sequence.

    Parameters
    ----------
    flip_ex
        Flip angle of the excitation (in radians).
    rf_flip
        Flip angle of all refocusing pulses (in degrees, as in the script).
    """
    return WRITE_TSE(plot=False, write_seq=False, flip_ex=flip_ex, rf_flip=[rf_flip])
