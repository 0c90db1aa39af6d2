"""The user's own files that code comes from, found by reading it: nothing is imported for it."""

from __future__ import annotations

import ast
import sys
import sysconfig
from collections.abc import Iterator
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path

from pulseq_zero.files.paths import is_file

# Where Python and packages are installed, and this library: nothing of it is the user's own
_LIBRARY = Path(__file__).resolve().parents[1]
_INSTALLED = {
    *(Path(sysconfig.get_path(kind)).resolve() for kind in ("stdlib", "purelib", "platlib")),
    _LIBRARY,
}
_STDLIB = Path(sysconfig.get_path("stdlib")).resolve()
_OF_PACKAGES = {"site-packages", "dist-packages"}


def sources_of(reference: str, base: Path | None = None) -> list[Path]:
    """List the user's own files that a function comes from.

    Imports are followed from file to file, also those inside of functions, and paths of Python
    files that stand there; what has a name that is computed, and data that code reads, is not seen.

    Parameters
    ----------
    reference
        The function, such as ``folder/file.py:name`` or ``package.module:name``.
    base
        Folder that file names are relative to; by default the working directory.

    Returns
    -------
    list
        The files that are there, sorted; none of a function that is installed.
    """
    source = reference.rpartition(":")[0]
    base = base or Path()
    if source.endswith(".py"):
        return own_files(base / source)
    return own_files(*filter(is_own, _modules(source, str(base.resolve()))), folder=base)


def own_files(*files: Path, folder: Path | None = None) -> list[Path]:
    """List files, and the user's own files that they import, also through one another.

    Parameters
    ----------
    files
        The files.
    folder
        Where imports find more than on Python's path; by default where each file lies.
    """
    places = {f.resolve(): str((folder or f.parent).resolve()) for f in files if is_file(f)}
    waiting = [file for file in places if is_own(file)]
    while waiting:
        file = waiting.pop()
        for imported in _imported(file, places[file]):
            if imported not in places and is_own(imported):
                places[imported] = places[file]
                waiting.append(imported)
    return sorted(places)


def is_own(file: Path) -> bool:
    """Tell whether a file is the user's own, rather than installed."""
    parents = file.resolve().parents
    return not (_INSTALLED & set(parents) or _OF_PACKAGES & {parent.name for parent in parents})


def is_pythons_own(file: Path) -> bool:
    """Tell whether a file is of Python's standard library."""
    parents = file.resolve().parents
    return _STDLIB in parents and not _OF_PACKAGES & {parent.name for parent in parents}


def _imported(file: Path, folder: str) -> list[Path]:
    """List the files that a file imports, which was found by way of one in a folder."""
    found: list[Path] = []
    for level, name in _names(file, file.stat().st_mtime_ns):
        if level is None:
            # What it names as a file: a script, of which it makes a function
            found += [Path(name), file.parent / name]
        elif level == 0:
            found += _modules(name, folder)
        else:
            package = file.parents[level - 1]
            found += [package / "__init__.py", *_modules(name, str(package), only=True)]
    return [path.resolve() for path in found if is_file(path)]


@cache
def _names(file: Path, changed: int) -> list[tuple[int | None, str]]:
    """List what a file imports: how many packages up, and the dotted name; None for a path."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, RecursionError):
        # Whoever imports it says what is wrong
        return []
    names: list[tuple[int | None, str]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [(0, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = f"{node.module}." if node.module else ""
            names += [(node.level, module + alias.name) for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names += [(None, node.value)] * node.value.endswith(".py")
    return names


def _modules(name: str, folder: str, only: bool = False) -> Iterator[Path]:
    """Find the files of a module and of the packages that it lies in; a name in one is none."""
    # As load_function has it: a file's folder comes last
    places = [folder] if only else [*sys.path, folder]
    for part in name.split("."):
        spec = PathFinder.find_spec(part, places)
        if spec is None:
            return
        if spec.origin is not None:
            yield Path(spec.origin)
        if spec.submodule_search_locations is None:
            return
        places = list(spec.submodule_search_locations)
