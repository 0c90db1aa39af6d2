"""Draw what the runs of a sweep found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pulseq_zero.experiments import kinds
from pulseq_zero.experiments.kinds.kind import SweepResults
from pulseq_zero.experiments.settings import Experiment
from pulseq_zero.figures.style import save_figure
from pulseq_zero.store import load_table, load_tensors

SECTIONS = ("sequence", "parameters", "loss", "scan", "figure", "sweep")


def run(
    experiment: Experiment,
    compared: Sequence[tuple[str, str]],
    table: Path,
    images: Sequence[Path],
    start: Path,
    png: Path,
    pdf: Path,
) -> None:
    """Draw a sweep as its kind is drawn.

    Parameters
    ----------
    experiment
        The sweep.
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
    names = [*rows["run"][:count], *(" ".join(other) for other in compared)]
    loaded = [load_tensors(file) for file in [start, *images]]
    begin, *shown = [tensors["image"] for tensors, _ in loaded]
    results = SweepResults(
        settings=list(experiment.sweep),
        runs=rows.iloc[:count],
        compared=rows.iloc[count:],
        images=dict(zip(names, shown, strict=True)),
        start=begin,
        accuracy=max(metadata["accuracy"] for _, metadata in loaded),
    )
    save_figure(kinds.of(experiment.figure).draw_sweep(experiment, results), png, pdf)
