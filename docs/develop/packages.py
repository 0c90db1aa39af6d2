"""Draw who imports whom, from the code: docs/figures/packages.svg.

Usage: python docs/develop/packages.py, after a change of what packages import or say of themselves.

An arrow leads from a package to one that it imports, and is left out where others lead there.
What a box says is the first sentence of the package.
"""

import ast
import re
import textwrap
from collections.abc import Iterator
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIBRARY, WORKFLOW = ROOT / "src" / "pulseq_zero", ROOT / "workflow"
PICTURE = ROOT / "docs" / "figures" / "packages.svg"

# Columns of the picture, from the left
COLUMNS = (
    ("workflow", "judge", "tracing"),
    ("experiments", "optimization", "imaging", "simulation", "conversion", "errors"),
    ("cli", "figures", "phantom", "files", "given"),
)
# What is no part of the layers: how names are imported and loops are kept
_NO_LAYERS = {"__init__", "importing"}
# Of a box, and from one to the next, in pixels; letters in a line
_WIDTH, _HEIGHT, _GAP, _ROW, _TIP = 216, 70, 50, 108, 3
_LINE = 34

Graph = dict[str, set[str]]
Places = dict[str, int]


def imports(library: Path = LIBRARY) -> Graph:
    """List for each package of the library, and for the workflow, the packages it imports."""
    graph: Graph = {"workflow": set()}
    for file in library.rglob("*.py"):
        package = file.relative_to(library).parts[0].removesuffix(".py")
        if package not in _NO_LAYERS:
            graph.setdefault(package, set()).update(set(_imported(file)) - {package} - _NO_LAYERS)
    for file in [*WORKFLOW.rglob("*.py"), *WORKFLOW.rglob("*.smk")]:
        found = re.findall(r"^ *from pulseq_zero\.(\w+)", file.read_text("utf-8"), re.M)
        graph["workflow"].update(set(found) - _NO_LAYERS)
    return graph


def _imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for library, _, module in (name.partition(".") for name in names):
            if library == "pulseq_zero" and module:
                yield module.partition(".")[0]


def below(graph: Graph, package: str, above: tuple[str, ...] = ()) -> set[str]:
    """List all that a package imports, also by way of others.

    Raises
    ------
    ValueError
        If packages import each other in a circle.
    """
    if package in above:
        raise ValueError(f"a circle of imports: {' -> '.join([*above, package])}")
    return {
        name for each in graph[package] for name in (each, *below(graph, each, (*above, package)))
    }


def arrows(graph: Graph) -> list[tuple[str, str]]:
    """List the imports without those that others lead to as well."""
    return sorted(
        (package, name)
        for package, names in graph.items()
        for name in names
        if not any(name in below(graph, other) for other in names)
    )


def rows(graph: Graph) -> dict[str, int]:
    """Find the layer of each package: 0 for what imports nothing."""

    def row(package: str) -> int:
        return max((row(name) + 1 for name in graph[package]), default=0)

    return {package: row(package) for package in graph}


def picture(graph: Graph) -> str:
    """Compose the picture as SVG."""
    row, top = rows(graph), max(rows(graph).values())
    column = {name: number for number, names in enumerate(COLUMNS) for name in names}
    strangers = sorted(graph.keys() - column.keys())
    if strangers:
        raise ValueError(f"say in COLUMNS where {strangers[0]!r} stands")
    x = {name: _WIDTH // 2 + 20 + column[name] * (_WIDTH + _GAP) for name in graph}
    y = {name: _HEIGHT // 2 + 20 + (top - row[name]) * _ROW for name in graph}
    lines = [_arrow(graph, upper, lower, x, y) for upper, lower in arrows(graph)]
    boxes = [line for name in sorted(graph) for line in _box(name, x[name], y[name])]
    width, height = max(x.values()) + _WIDTH // 2 + 20, max(y.values()) + _HEIGHT // 2 + 20
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" font-family="sans-serif" text-anchor="middle">',
            "<!-- Written by docs/develop/packages.py. -->",
            '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" '
            'markerHeight="8" orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="#555"/></marker>',
            f'<rect width="{width}" height="{height}" fill="white"/>',
            '<g fill="none" stroke="#555" stroke-width="1.4" marker-end="url(#tip)">',
            *lines,
            "</g>",
            *boxes,
            "</svg>\n",
        ]
    )


def _arrow(graph: Graph, upper: str, lower: str, x: Places, y: Places) -> str:
    """Draw an import: straight to a neighbour, otherwise round what lies between."""
    side = (x[lower] > x[upper]) - (x[lower] < x[upper])
    bottom, top = y[upper] + _HEIGHT // 2, y[lower] - _HEIGHT // 2 - _TIP
    if y[lower] - y[upper] == _ROW or not side:
        from_, to = x[upper] + side * _WIDTH // 4, x[lower] - side * _WIDTH // 4
        return f'<path d="M{from_} {bottom} L{to} {top}"/>'
    start = f"M{x[upper] + side * _WIDTH // 2} {y[upper]}"
    if any(x[name] == x[lower] and y[upper] <= y[name] < y[lower] for name in graph):
        edge = x[lower] - side * _WIDTH // 2
        return f'<path d="{start} H{edge - side * _GAP // 2} V{y[lower]} H{edge - side * _TIP}"/>'
    return f'<path d="{start} H{x[lower]} V{top}"/>'


def _box(name: str, x: int, y: int) -> list[str]:
    is_library = name != "workflow"
    text = textwrap.wrap(_purpose(name), _LINE)
    rect = f'<rect x="{x - _WIDTH // 2}" y="{y - _HEIGHT // 2}" width="{_WIDTH}" '
    rect += f'height="{_HEIGHT}" rx="6" fill="{"#eaf1f8" if is_library else "#f6f0e4"}" '
    title = f'<text x="{x}" y="{y - 15}" font-weight="bold" font-size="15">{name}</text>'
    return [
        f'{rect}stroke="#456"/>',
        title,
        *(
            f'<text x="{x}" y="{y + 2 + 14 * number}" font-size="11">{escape(line)}</text>'
            for number, line in enumerate(text)
        ),
    ]


def _purpose(package: str) -> str:
    if package == "workflow":
        return "Snakemake's rules, and one script that runs the library's steps"
    folder = LIBRARY / package
    file = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
    said = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return re.split(r"\.(?:\s|$)", said)[0].replace("\n", " ").replace("`", "")


if __name__ == "__main__":
    PICTURE.write_text(picture(imports()), encoding="utf-8")
