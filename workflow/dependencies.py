"""Which files of the library a script uses, found by reading its import statements."""

import ast
from functools import cache
from pathlib import Path

LIBRARY = Path(__file__).parent.parent / "src" / "pulseq_zero"


def library_files(script: str) -> list[str]:
    """Files of the library that a script imports, directly or through other library files."""
    found: set[Path] = set()
    waiting = [Path(script)]
    while waiting:
        for file in _imported(waiting.pop()):
            if file not in found:
                found.add(file)
                waiting.append(file)
    return sorted(
        str(file.relative_to(Path.cwd())) if file.is_relative_to(Path.cwd()) else str(file)
        for file in found
    )


@cache
def _imported(file: Path) -> list[Path]:
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return [path for name in names for path in _library_file(name)]


def _library_file(name: str) -> list[Path]:
    package, *parts = name.split(".")
    if package != "pulseq_zero" or not parts:
        # The package itself loads its modules on demand and holds nothing that matters here
        return []
    path = LIBRARY.joinpath(*parts)
    candidates = [path.with_suffix(".py"), path / "__init__.py"]
    return [candidate for candidate in candidates if candidate.is_file()]
