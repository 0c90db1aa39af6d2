"""Public names of a package that are imported when they are used, not before.

PyPulseq, torch and MRzeroCore take seconds to import, and few programs need them all.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any


def lazy_names(
    package: str, file: str
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Make the public names of a package: those that it imports ``if TYPE_CHECKING``.

    They are written once, as imports that type checkers and editors understand; that block is
    read here, not run. A name of a subpackage leads to the subpackage itself.

    Parameters
    ----------
    package, file
        ``__name__`` and ``__file__`` of the package.

    Returns
    -------
    tuple
        What to assign to its ``__getattr__``, ``__dir__`` and ``__all__``.
    """
    homes = _homes(Path(file).read_text(encoding="utf-8"))

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = import_module(homes[name])
        return module if homes[name] == f"{package}.{name}" else getattr(module, name)

    names = sorted(homes)
    return get, lambda: names, names


def _homes(source: str) -> dict[str, str]:
    """Map each name that is imported for type checkers only to the module that it comes from."""
    return {
        alias.name: node.module
        for block in ast.parse(source).body
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in block.body
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
