"""Draw what the runs of a sweep found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pulseq_zero.figures.style import save_figure
from pulseq_zero.figures.sweep import front_figure, inversion_time_sweep_figure, sweep_figure
from pulseq_zero.store import load_table, load_tensors


def run(
    kind: str,
    sweep: Mapping[str, list[Any]],
    parameters: Sequence[str],
    compared: Sequence[tuple[str, str]],
    table: Path,
    images: Sequence[Path],
    start: Path,
    png: Path,
    pdf: Path,
) -> None:
    """Draw a sweep.

    Parameters
    ----------
    kind
        How.
    sweep
        The values of the settings.
    parameters
        Names of what was optimized.
    compared
        Experiment and stage of what stands beside the runs.
    table
        The table of the sweep.
    images
        Images of the runs, then of what stands beside them.
    start
        Image at the start values.
    png, pdf
        The figure.
    """
    rows = load_table(table)
    count = len(rows) - len(compared)
    results, others = rows.iloc[:count], rows.iloc[count:]
    if kind == "inversion_time":
        figure = inversion_time_sweep_figure(results, list(sweep))
    elif kind == "flip_angles":
        names = [*results["run"], *(" ".join(other) for other in compared)]
        loaded = [load_tensors(file) for file in [start, *images]]
        begin, *shown = [tensors["image"] for tensors, _ in loaded]
        accuracy = max(metadata["accuracy"] for _, metadata in loaded)
        figure = front_figure(
            results, others, dict(zip(names, shown, strict=True)), begin, accuracy
        )
    else:
        figure = sweep_figure(rows, list(sweep), [name for name in parameters if name in rows])
    save_figure(figure, png, pdf)
