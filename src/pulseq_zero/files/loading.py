"""Find the user's functions: sequences and loss makers, in files or in modules."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterable
from importlib.abc import Loader
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, cast

from pulseq_zero.errors import ConfigError, PulseqZeroError, SequenceError, shown
from pulseq_zero.files.paths import is_file
from pulseq_zero.files.sources import is_own, is_pythons_own, sources_of

# What of this library a file may name; other functions of it write files
_LOSSES = "pulseq_zero.optimization.losses"


_Made = TypeVar("_Made")


def load_function(reference: str, base: Path | None = None) -> Callable[..., Any]:
    """Find a function by a reference such as ``package.module:name`` or ``folder/file.py:name``.

    The file is ordinary Python and runs with all rights of its user.

    Parameters
    ----------
    reference
        Module or Python file, a colon, and the name of the function.
    base
        Folder that file names are relative to; by default the working directory.

    Raises
    ------
    ConfigError
        If there is no such file, module or function, or if it cannot be imported.
    """
    source, _, name = reference.rpartition(":")
    is_file = source.endswith(".py")
    parts = source.split(".")
    if not name.isidentifier() or not (is_file or all(part.isidentifier() for part in parts)):
        raise ConfigError(f"{reference!r} must look like 'module:function' or 'file.py:function'")
    if is_file:
        module = import_file((base or Path()) / source)
    else:
        _open_folder((base or Path()).resolve())
        try:
            module = importlib.import_module(source)
        except ImportError as error:
            raise ConfigError(
                f"cannot import {source!r}, named by {reference!r}: {error}"
            ) from error
        except (Exception, SystemExit) as error:
            raise ConfigError(_fails_on_import(source, error)) from error
    function = getattr(module, name, None)
    if not callable(function):
        raise ConfigError(f"{source} has no function {name!r}; its name goes behind the colon")
    return cast("Callable[..., Any]", function)


def check_reference(reference: str, packages: Iterable[str] = ()) -> None:
    """Check that a reference in a file names a function that a project may run.

    A reference stands in a file without any code, which may come from others. So it can name what
    is in the project's folder and not installed there, this library's losses, or what is in a
    package that the project names; not ``subprocess:call``, nor by way of a file that imports it.

    Parameters
    ----------
    reference
        As for `load_function`; a file name is relative to the working directory.
    packages
        Names of further packages.

    Raises
    ------
    ConfigError
        If it names anything else, or nothing.
    """
    source = reference.rpartition(":")[0]
    here = Path.cwd()
    is_file = source.endswith(".py")
    files = filter(is_own, [Path(source)] if is_file else sources_of(reference))
    # As they are called: a folder of the project may be a link to another
    inside = [Path(os.path.abspath(file)).is_relative_to(here) for file in files]  # noqa: PTH100
    is_named = source == _LOSSES or source.partition(".")[0] in packages
    if not any(inside) and (is_file or not is_named):
        mend = "move it there" if is_file else "name it under packages in the config"
        raise ConfigError(
            f"{reference!r} is no function of the project, which is what lies in {here}; {mend}, "
            "if you trust it"
        )
    function = load_function(reference)
    if _is_pythons_own(function):
        raise ConfigError(
            f"{reference!r} is a function of Python's own library; name one that makes a sequence "
            "or a loss"
        )


def _is_pythons_own(function: Any) -> bool:
    while isinstance(function, functools.partial):
        function = function.func
    function = inspect.unwrap(function)
    for found in (function, type(function)):
        try:
            return is_pythons_own(Path(inspect.getsourcefile(found) or ""))
        except TypeError:
            continue
    return True


def failure(error: BaseException, function: Callable[..., Any]) -> str:
    """Say what went wrong in a user's function, and in which line of its file."""
    frames = traceback.extract_tb(error.__traceback__)
    while isinstance(function, functools.partial):
        function = function.func
    function = getattr(function, "forward", function)
    file = getattr(getattr(function, "__code__", None), "co_filename", None)
    frame = next((f for f in reversed(frames) if f.filename == file), frames[-1])
    # Of an assertion without a message, the line says what is asserted
    text = " ".join((str(error) or frame.line or "").split())
    return f"{type(error).__name__}: {text} ({frame.filename}, line {frame.lineno})"


def call(
    name: str,
    function: Callable[..., _Made],
    *arguments: Any,
    error: type[PulseqZeroError],
    of: Callable[..., Any] | None = None,
) -> _Made:
    """Call what a user gave by a name; what goes wrong in it is a sentence.

    Parameters
    ----------
    name
        What the message calls it.
    function, arguments
        The function, and what it is given.
    error
        Kind of the error.
    of
        The user's own function, where another one calls it.
    """
    try:
        return function(*arguments)
    except PulseqZeroError:
        raise
    except (Exception, SystemExit) as problem:
        raise error(f"{name} fails: {failure(problem, of or function)}") from problem


def check_arguments(function: Callable[..., Any], names: Iterable[str]) -> None:
    """Check that a function can be called with these keyword arguments.

    Raises
    ------
    SequenceError
        If it is no function, or has no argument of that name; names those that it has.
    """
    if not callable(function):
        raise SequenceError(
            f"the sequence function must be a function, not {shown(function)}; of a file, "
            "pulseq_zero.files.loading.load_function makes one"
        )
    try:
        arguments = inspect.signature(function).parameters
    except (TypeError, ValueError) as error:
        raise SequenceError(
            f"{shown(function)} does not say what arguments it has; make a function of it by def"
        ) from error
    if any(a.kind is inspect.Parameter.VAR_KEYWORD for a in arguments.values()):
        return
    unknown = sorted(set(names) - set(arguments))
    if unknown:
        name = getattr(function, "__name__", repr(function))
        raise SequenceError(
            f"{name} has no argument {unknown[0]!r}; its arguments are {', '.join(arguments)}"
        )


def import_file(path: Path, loader: Callable[[Path], Loader] | None = None) -> ModuleType:
    """Import a Python file by its path, with its folder open for imports of its neighbours.

    Parameters
    ----------
    path
        The file.
    loader
        Makes the loader of the file's path; by default Python's own.

    Raises
    ------
    ConfigError
        If there is no such file, or it cannot be imported.
    """
    if not is_file(path):
        raise ConfigError(
            f"there is no Python file {path.absolute()}; mend the name or create the file"
        )
    path = path.resolve()
    _open_folder(path.parent)
    spec = importlib.util.spec_from_file_location(path.stem, path, loader=loader and loader(path))
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} cannot be imported as Python")
    module = importlib.util.module_from_spec(spec)
    # A registered module is what pickling, inspect and tracing of its helpers expect; a name
    # that is taken already (a sequence called "random.py") must not be replaced.
    if path.stem not in sys.modules:
        sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        if sys.modules.get(path.stem) is module:
            del sys.modules[path.stem]
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(_fails_on_import(path, error)) from error
    return module


def _open_folder(folder: Path) -> None:
    """Let Python find what lies in a folder, after all else."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def _fails_on_import(source: Path | str, error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{source} fails on import: {type(error).__name__}: {text}"
