"""Draw the images, the parameters and the losses of a run."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from pulseq_zero.experiments import kinds
from pulseq_zero.experiments.kinds.kind import RunResults
from pulseq_zero.experiments.settings import Experiment
from pulseq_zero.experiments.stages import OPTIMIZED, START
from pulseq_zero.figures.style import save_figure
from pulseq_zero.phantom import Phantom
from pulseq_zero.store import load_table, load_tensors

SECTIONS = ("sequence", "parameters", "loss", "scan", "figure")


def run(
    experiment: Experiment,
    start: Path,
    optimized: Path,
    parameters: Path,
    history: Path,
    png: Path,
    pdf: Path,
    phantom: Path | None = None,
    scan: Path | None = None,
    quality: Path | None = None,
    start_judge: Path | None = None,
    optimized_judge: Path | None = None,
) -> None:
    """Draw a run as its kind is drawn.

    Parameters
    ----------
    experiment
        The experiment.
    start, optimized
        The images of these stages.
    parameters, history
        What the optimization left.
    png, pdf
        The figure.
    phantom, scan, quality, start_judge, optimized_judge
        What the kind needs.
    """
    at_start, metadata = load_tensors(start)
    at_best, other_metadata = load_tensors(optimized)
    values, found = load_tensors(parameters)
    judged = {START: start_judge, OPTIMIZED: optimized_judge}
    results = RunResults(
        start=at_start["image"],
        optimized=at_best["image"],
        accuracy=max(metadata["accuracy"], other_metadata["accuracy"]),
        fov=tuple(metadata["fov"]),
        history=load_table(history),
        parameters=values,
        best=found["best_iteration"],
        scan=_table(scan),
        quality=_table(quality),
        judge={stage: load_tensors(file)[0]["image"] for stage, file in judged.items() if file},
        phantom=None if phantom is None else Phantom.load(phantom),
    )
    save_figure(kinds.of(experiment.figure).draw(experiment, results), png, pdf)


def _table(file: Path | None) -> pd.DataFrame:
    return pd.DataFrame() if file is None else load_table(file)
