"""Draw the images, the parameters and the losses of a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from torch import Tensor

from pulseq_zero.experiments import kinds
from pulseq_zero.experiments.kinds.kind import JUDGE, PHANTOM, QUALITY, SCAN, RunResults
from pulseq_zero.experiments.layout import FIGURES, ResultFiles, RunFiles
from pulseq_zero.experiments.settings import Experiment
from pulseq_zero.experiments.stages import ENDS, FULL, OPTIMIZED, START
from pulseq_zero.figures.style import save_in_widths
from pulseq_zero.files.store import load_table, load_tensors
from pulseq_zero.imaging.pictures import side_by_side
from pulseq_zero.phantom import Phantom

SECTIONS = ("sequence", "parameters", "loss", "scan", "figure")


def run(
    experiment: Experiment, phantom: Path, files: RunFiles, start: RunFiles, results: ResultFiles
) -> None:
    """Draw a run as its kind is drawn.

    Parameters
    ----------
    experiment
        The experiment.
    phantom
        What was imaged.
    files, start
        The files of the run, and of the run that has its start.
    results
        The files of all runs, of which the figure is made.
    """
    kind = kinds.of(experiment.figure)
    at_start, metadata = load_tensors(start.image(START))
    at_best, other_metadata = load_tensors(files.image(OPTIMIZED))
    values, found = load_tensors(files.parameters)
    at = {START: start, OPTIMIZED: files}

    def picture(tensors: Mapping[str, Tensor]) -> Tensor:
        return side_by_side(tensors["image"], len(metadata["fov"]))

    drawn = RunResults(
        start=picture(at_start),
        optimized=picture(at_best),
        accuracy=max(metadata["accuracy"], other_metadata["accuracy"]),
        fov=tuple(metadata["fov"]),
        history=load_table(files.history),
        parameters=values,
        best=found["best_iteration"],
        scan=load_table(files.scan) if SCAN in kind.needs else pd.DataFrame(),
        minima=load_table(files.minima) if SCAN in kind.needs else pd.DataFrame(),
        quality=load_table(files.quality) if QUALITY in kind.needs else pd.DataFrame(),
        judge={
            stage: picture(load_tensors(at[stage].judge(stage, FULL))[0])
            for stage in (ENDS if JUDGE in kind.needs else ())
        },
        phantom=Phantom.load(phantom) if PHANTOM in kind.needs else None,
    )
    figures = [results.figure(files.name, suffix) for suffix in FIGURES]
    save_in_widths(lambda: kind.draw(experiment, drawn), *figures)
