"""The kinds of experiments, one module each: what a kind needs, checks, draws and reports.

A kind is named in an experiment's file (``figure:``) as its module is. Its module holds one class
derived from `Kind`, called ``Kind`` as well; nothing else has to know of it.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pulseq_zero.experiments.kinds.kind import Kind

_FOLDER = Path(__file__).parent
_NO_KINDS = ("__init__", "kind")

ANY = "history"


def names() -> list[str]:
    """Names of all kinds; the one for any experiment comes first."""
    found = sorted(path.stem for path in _FOLDER.glob("*.py") if path.stem not in _NO_KINDS)
    return [ANY, *(name for name in found if name != ANY)]


def module_of(name: str) -> Path:
    """File of a kind."""
    return _FOLDER / f"{name}.py"


def of(name: str) -> Kind:
    """Find a kind by its name."""
    kind: Kind = import_module(f"{__name__}.{name}").Kind()
    return kind
