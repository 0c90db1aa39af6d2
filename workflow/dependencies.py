"""What the steps of the library use, found by reading their code: nothing is imported for it."""

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

_BESIDE = Path(__file__).resolve().parent.parent / "src" / "pulseq_zero"
# A pipeline that is laid out from the package has no library beside it
LIBRARY = _BESIDE if _BESIDE.is_dir() else Path(find_spec("pulseq_zero").origin).parent
STEPS = LIBRARY / "experiments" / "steps"


def library_files(*files: Path) -> list[str]:
    """Files, and those of the library that they import, also through other library files."""
    found = {file.resolve() for file in files}
    waiting = list(found)
    while waiting:
        for file in _imported(waiting.pop()):
            if file not in found:
                found.add(file)
                waiting.append(file)
    here = Path.cwd()
    return sorted(str(f.relative_to(here) if f.is_relative_to(here) else f) for f in found)


def digest(files: Iterable[str]) -> str:
    """Return what changes with the names and contents of files."""
    return sha256("\n".join(f"{file} {_checksum(file)}" for file in files).encode()).hexdigest()


@cache
def _checksum(file: str) -> str:
    return sha256(Path(file).read_bytes()).hexdigest()


def sections_of(step: str) -> tuple[str, ...]:
    """Sections of an experiment that a step declares to use."""
    for node in _tree(STEPS / f"{step}.py").body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "SECTIONS":
            return ast.literal_eval(node.value)
    raise LookupError(f"the step {step} declares no SECTIONS")


@cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def _is_for_type_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def _running(code: ast.AST) -> Iterator[ast.AST]:
    """All statements but those that are for type checkers only."""
    waiting = [code]
    while waiting:
        node = waiting.pop()
        if not isinstance(node, ast.expr) and not _is_for_type_checkers(node):
            yield node
            waiting += ast.iter_child_nodes(node)


@cache
def _imported(file: Path) -> list[Path]:
    names, packages = set(), set()
    for node in _running(_tree(file)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
            packages |= {a.asname or a.name for a in node.names if a.name == LIBRARY.name}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            for alias in node.names:
                names |= _sources(node.module, alias.name)
    for node in ast.walk(_tree(file)) if packages else ():
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in packages:
            names |= _sources(LIBRARY.name, node.attr)
    return [
        path for name in names for loaded in _with_packages(name) for path in _library_file(loaded)
    ]


def _with_packages(name: str) -> list[str]:
    """Name a module and the packages that it lies in, which are loaded before it."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts) + 1)]


@cache
def _sources(module: str, name: str) -> set[str]:
    """Modules that a name comes from: packages tell type checkers where they have theirs from."""
    found = {module, f"{module}.{name}"}
    files = [LIBRARY / "__init__.py"] if module == LIBRARY.name else _library_file(module)
    blocks = [block for file in files for block in _tree(file).body]
    for block in filter(_is_for_type_checkers, blocks):
        for node in filter(lambda each: isinstance(each, ast.ImportFrom), block.body):
            if name in [alias.name for alias in node.names]:
                found |= _sources(node.module, name)
    return found


@cache
def _library_file(name: str) -> list[Path]:
    package, *parts = name.split(".")
    if package != LIBRARY.name or not parts:
        # The package itself loads its modules on demand and holds nothing that matters here
        return []
    path = LIBRARY.joinpath(*parts)
    candidates = [path.with_suffix(".py"), path / "__init__.py"]
    return [candidate for candidate in candidates if candidate.is_file()]
