"""Draw what the runs of a sweep found."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from pulseq_zero.figures.style import save_figure
from pulseq_zero.figures.sweep import front_figure, inversion_time_sweep_figure, sweep_figure
from pulseq_zero.logs import logged
from pulseq_zero.store import load_table, load_tensors


def main(
    kind: str,
    sweep: dict[str, list[Any]],
    parameters: list[str],
    compared: list[tuple[str, str]],
    table: Path,
    images: list[Path],
    start: Path,
    *figures: Path,
) -> None:
    save_figure(draw(kind, sweep, parameters, compared, table, images, start), *figures)


def draw(
    kind: str,
    sweep: dict[str, list[Any]],
    parameters: list[str],
    compared: list[tuple[str, str]],
    table: Path,
    images: list[Path],
    start: Path,
) -> Figure:
    rows = load_table(table)
    count = len(rows) - len(compared)
    results, others = rows.iloc[:count], rows.iloc[count:]
    if kind == "inversion_time":
        return inversion_time_sweep_figure(results, list(sweep))
    if kind == "flip_angles":
        names = [*results["run"], *(" ".join(other) for other in compared)]
        loaded = [load_tensors(file) for file in [start, *images]]
        begin, *shown = [tensors["image"] for tensors, _ in loaded]
        accuracy = max(metadata["accuracy"] for _, metadata in loaded)
        return front_figure(results, others, dict(zip(names, shown, strict=True)), begin, accuracy)
    return sweep_figure(rows, list(sweep), [name for name in parameters if name in rows])


if "snakemake" in globals():
    with logged(snakemake.log[0]):
        main(
            snakemake.params.kind,
            snakemake.params.sweep,
            snakemake.params.parameters,
            snakemake.params.compared,
            Path(snakemake.input.table),
            [Path(file) for file in snakemake.input.images],
            Path(snakemake.input.start),
            Path(snakemake.output.png),
            Path(snakemake.output.pdf),
        )
