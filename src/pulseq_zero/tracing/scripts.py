"""Which modules are scripts: those of a function, what they use, and what is a library."""

from __future__ import annotations

import builtins
import functools
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import FunctionType, MethodType, ModuleType
from typing import Any

_NOT_SCRIPTS = {"pypulseq", "pulseq_zero", "numpy", "torch", "scipy", "matplotlib", "MRzeroCore"}
_INSTALLED = tuple(
    str(Path(sysconfig.get_path(kind)).resolve()) for kind in ("stdlib", "purelib", "platlib")
)


def scripts_among(
    roots: Iterable[dict[str, Any]], known: Iterable[dict[str, Any]], packages: set[str]
) -> Iterator[dict[str, Any]]:
    """List scripts by their globals: some, and what of theirs is a script, too.

    Parameters
    ----------
    roots
        Globals of scripts.
    known
        Globals of what may be a script, too, or a library.
    packages
        Those that scripts belong to.
    """
    pending = list(roots)
    certain = {id(namespace) for namespace in pending}
    pending += known
    seen: set[int] = set()
    while pending:
        namespace = pending.pop()
        if id(namespace) in seen:
            continue
        seen.add(id(namespace))
        if id(namespace) in certain or is_script(namespace, packages):
            pending += used_by(namespace)
            yield namespace


def namespaces_of(function: Callable[..., Any]) -> list[dict[str, Any]]:
    """Globals of a function, of what it was made of and of what it closes over."""
    found: list[dict[str, Any]] = []
    pending: list[Any] = [function]
    seen: set[int] = set()
    while pending:
        part = pending.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, functools.partial):
            pending += [part.func, *part.args, *part.keywords.values()]
        elif isinstance(part, FunctionType):
            found.append(part.__globals__)
            pending += [cell.cell_contents for cell in part.__closure__ or () if _is_filled(cell)]
        elif hasattr(part, "__func__"):
            pending.append(part.__func__)
        else:
            pending.append(vars(type(part)).get("__call__"))
    return found


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False


def used_by(names: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Globals of the modules, functions, classes and objects that are named."""
    used = []
    for value in list(names.values()):
        value = value.func if isinstance(value, functools.partial) else value
        value = value.__func__ if isinstance(value, MethodType) else value
        if isinstance(value, ModuleType):
            used.append(vars(value))
        elif isinstance(value, FunctionType):
            used += namespaces_of(value)
        else:
            kind = value if isinstance(value, type) else type(value)
            used.append(vars(sys.modules.get(kind.__module__, builtins)))
    return used


def package_of(namespace: dict[str, Any]) -> str:
    """Name the package that globals belong to."""
    return str(namespace.get("__name__", "")).split(".")[0]


def is_script(namespace: dict[str, Any], packages: set[str]) -> bool:
    """Whether a module is a script, rather than a library that need not be traced.

    Scripts are what is not installed, what shares a package with the script that is traced,
    and installed modules that use PyPulseq.
    """
    package = package_of(namespace)
    if package in _NOT_SCRIPTS or package in sys.builtin_module_names:
        return False
    if package in packages:
        return True
    file = namespace.get("__file__")
    if file is None or not str(Path(file).resolve()).startswith(_INSTALLED):
        return file is not None
    return any(_is_of_pypulseq(value) for value in list(namespace.values()))


def _is_of_pypulseq(value: Any) -> bool:
    if isinstance(value, ModuleType):
        return value.__name__.split(".")[0] == "pypulseq"
    return isinstance(value, (FunctionType, type)) and value.__module__.startswith("pypulseq")
