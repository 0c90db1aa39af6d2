"""Scripts as their authors wrote them, as functions of numbers that stand in them."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from functools import wraps
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

from pulseq_zero.errors import ConfigError
from pulseq_zero.files.loading import import_file


def script(
    path: Path | str,
    parameters: Iterable[str],
    *,
    function: str = "main",
    result: str | None = None,
) -> Callable[..., Any]:
    """Make a function of an unchanged script whose numbers stand in its ``main``.

    The script stays as it is. On the way to Python, variables that its function sets become
    keyword arguments, and the sequence is returned. A variable that is given has the given value,
    any other the script's own.

    Parameters
    ----------
    path
        The script. It is ordinary Python and runs with all rights of its user.
    parameters
        Variables that the function sets, each once and in a line of its own, as ``flip = 12``.
    function
        Name of the function.
    result
        Variable to return; by default the one that a ``Sequence(...)`` is assigned to.

    Returns
    -------
    callable
        The script's function, which takes its own arguments, too.

    Raises
    ------
    ConfigError
        If the script is missing, fails on import, or has no such function or variables.
    """
    names = tuple(parameters)
    module = import_file(Path(path), lambda file: _WithParameters(file, function, names, result))
    made: Callable[..., Any] = getattr(module, function)

    @wraps(made)
    def call(*args: Any, **kwargs: Any) -> Any:
        # By its name, which leads to what takes tensors while the script is traced
        return made.__globals__[function](*args, **kwargs)

    return call


class _WithParameters(SourceFileLoader):
    """Imports a script with some variables of a function as its arguments."""

    def __init__(
        self, path: Path, function: str, parameters: tuple[str, ...], result: str | None
    ) -> None:
        super().__init__(path.stem, str(path))
        self._function, self._parameters, self._result = function, parameters, result

    def source_to_code(self, data: Any, path: Any = "<string>") -> CodeType:  # type: ignore[override]
        tree = ast.parse(data, filename=str(path))
        found = [
            node
            for node in tree.body
            if isinstance(node, ast.FunctionDef) and node.name == self._function
        ]
        if len(found) != 1:
            raise ConfigError(
                f"{path} has no function {self._function!r}; put what makes the sequence into one, "
                "or name it, as in script(..., function='make')"
            )
        function = found[0]
        lines = {name: _line_of(function, name, path) for name in self._parameters}
        for name, line in lines.items():
            if line is not None:
                _make_argument(function, name, line)
        result = self._result or _sequence(function, path)
        if result not in _names_in(function):
            raise ConfigError(
                f"{function.name} of {path} has no variable {result!r} to return; its variables "
                f"are {', '.join(_variables(function))}"
            )
        function.body.append(ast.Return(ast.Name(result, ast.Load())))
        return super().source_to_code(ast.fix_missing_locations(tree), path)

    def path_stats(self, path: Any) -> Any:
        # Keeps Python from storing the changed code beside the script
        raise OSError


def _line_of(function: ast.FunctionDef, name: str, path: Any) -> ast.stmt | None:
    """Find the line that sets a variable; None if it is an argument already."""
    own = function.args
    if name in {each.arg for each in (*own.posonlyargs, *own.args, *own.kwonlyargs)}:
        return None
    setting = [line for line in function.body if name in _assigned(line)]
    if len(setting) != 1:
        raise ConfigError(
            f"{function.name} of {path} does not set {name!r} once, in a line of its own; its "
            f"variables are {', '.join(_variables(function))}"
        )
    return setting[0]


def _make_argument(function: ast.FunctionDef, name: str, line: ast.stmt) -> None:
    """Let a variable be a keyword argument, and be set as before where it is not given."""
    is_unset = ast.Compare(ast.Name(name, ast.Load()), [ast.Is()], [ast.Constant(None)])
    replacement = ast.copy_location(ast.If(is_unset, [line], []), line)
    function.body[function.body.index(line)] = replacement
    function.args.kwonlyargs.append(ast.arg(name))
    function.args.kw_defaults.append(ast.Constant(None))


def _assigned(line: ast.stmt) -> list[str]:
    """Return the variable that a line sets, if it is one."""
    if isinstance(line, ast.Assign):
        targets = line.targets
    else:
        targets = [line.target] if isinstance(line, ast.AnnAssign) and line.value else []
    return [targets[0].id] if len(targets) == 1 and isinstance(targets[0], ast.Name) else []


def _names_in(function: ast.FunctionDef) -> set[str]:
    """Return the names that stand in a function."""
    return {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}


def _variables(function: ast.FunctionDef) -> list[str]:
    names = [name for line in function.body for name in _assigned(line)]
    return [name for name in dict.fromkeys(names) if names.count(name) == 1]


def _sequence(function: ast.FunctionDef, path: Any) -> str:
    """Return the variable that a sequence is assigned to."""
    found = {
        name
        for line in ast.walk(function)
        if isinstance(line, ast.Assign) and isinstance(line.value, ast.Call)
        for name in _assigned(line)
        if ast.unparse(line.value.func).rpartition(".")[2] == "Sequence"
    }
    if len(found) != 1:
        raise ConfigError(
            f"{function.name} of {path} makes {len(found)} sequences; name the variable to return, "
            "as in script(..., result='seq')"
        )
    return found.pop()
