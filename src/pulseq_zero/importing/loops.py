"""Compiled loops, and where they are kept.

Numba keeps what it has compiled on disk, and takes it from there as long as the file of the
function stays as it is, whatever becomes of the functions and constants that it takes from other
files. So each version of all of the library's loops has a folder of its own.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import os
import re
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

_LIBRARY = Path(__file__).parents[1]
BESIDE = _LIBRARY / "__pycache__"
_FOLDERS = ("judge", "simulation")
# Files with loops, and with the structures that they take
_HAS_LOOPS = re.compile(r"^@_?(?:compiled|inlined|intrinsic|njit)\b|\(NamedTuple\)", re.M)
_one_at_a_time = threading.Lock()


def kept(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Let numba compile functions when they are first called, and keep them on disk.

    Python's model of errors asks before each division whether it is one by zero, and a loop that
    may leave by that is not vectorized: this is numpy's.

    Parameters
    ----------
    options
        Further ones of `numba.njit`.

    Returns
    -------
    Callable
        What to decorate functions with.
    """
    numba = import_module("numba")
    compiled = numba.njit(cache=True, error_model="numpy", **options)

    def decorate(function: Callable[..., Any]) -> Any:
        with _one_at_a_time:
            before = numba.config.CACHE_DIR
            numba.config.CACHE_DIR = str(_folder(before))
            try:
                return compiled(function)
            finally:
                numba.config.CACHE_DIR = before

    return decorate


def _folder(given: str) -> Path:
    """Return the folder of these loops: in one that is given, or beside the library, or at home."""
    places = _places(given)
    return next(filter(_can_be_written, places), places[0]) / f"loops-{_digest()}"


def _places(given: str | None) -> list[Path]:
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111
    at_home = Path(home) / "pulseq-zero"
    # Of a user who has no home, ~ stays
    places = [*([Path(given)] if given else []), BESIDE, at_home]
    return [place for place in places if not str(place).startswith("~")]


@functools.cache
def _digest() -> str:
    """Tell versions of the loops apart."""
    files = sorted(file for folder in _FOLDERS for file in (_LIBRARY / folder).rglob("*.py"))
    texts = [file.read_text(encoding="utf-8") for file in files]
    loops = "\0".join(text for text in texts if _HAS_LOOPS.search(text))
    return hashlib.sha256(loops.encode()).hexdigest()[:16]


def find_folder() -> None:
    """Give numba a folder for what it has compiled, where it can write none: it fails otherwise."""
    if any(map(_can_be_written, _places(os.environ.get("NUMBA_CACHE_DIR")))):
        return
    # Nobody else's: what numba finds there it runs
    folder = tempfile.TemporaryDirectory(prefix="pulseq-zero-")
    atexit.register(folder.cleanup)
    os.environ["NUMBA_CACHE_DIR"] = folder.name
    if "numba" in sys.modules:
        sys.modules["numba"].config.CACHE_DIR = folder.name
    warnings.warn(
        "there is no folder to keep compiled code in, so that every process compiles for a minute; "
        "set NUMBA_CACHE_DIR to one that can be written",
        stacklevel=2,
    )


def _can_be_written(folder: Path) -> bool:
    # Path.exists would fail below a folder of somebody else's
    there = next(p for p in (folder, *folder.absolute().parents) if os.path.exists(p))  # noqa: PTH110
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)
