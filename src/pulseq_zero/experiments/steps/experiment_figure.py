"""Draw the images, the parameters and the losses of a run."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from pulseq_zero.experiments import kinds
from pulseq_zero.experiments.experiment import load_found
from pulseq_zero.experiments.kinds.kind import JUDGE, PHANTOM, QUALITY, SCAN, RunResults
from pulseq_zero.experiments.layout import FIGURES, ResultFiles, RunFiles
from pulseq_zero.experiments.pictures import pictured
from pulseq_zero.experiments.settings import Experiment
from pulseq_zero.experiments.stages import ENDS, FULL, OPTIMIZED, START, of_sequence
from pulseq_zero.figures.style import save_in_widths
from pulseq_zero.files.store import load_table
from pulseq_zero.phantom import Phantom

SECTIONS = ("sequence", "sequences", "parameters", "image", "loss", "scan", "figure")


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
    at = {START: start, OPTIMIZED: files}
    stages = {
        end: [of_sequence(end, name) for name in experiment.sequences_by_name] for end in ENDS
    }
    axes = experiment.image.axes
    images = {end: pictured(map(at[end].image, of_it), axes) for end, of_it in stages.items()}
    metadata = [each for _, of_it in images.values() for each in of_it]
    values, found = load_found(files.parameters)
    drawn = RunResults(
        start=images[START][0],
        optimized=images[OPTIMIZED][0],
        accuracy=max(each["accuracy"] for each in metadata),
        fov=tuple(metadata[0]["fov"]),
        history=load_table(files.history),
        parameters=values,
        best=found["best_iteration"],
        scan=load_table(files.scan) if SCAN in kind.needs else pd.DataFrame(),
        minima=load_table(files.minima) if SCAN in kind.needs else pd.DataFrame(),
        quality=load_table(files.quality) if QUALITY in kind.needs else pd.DataFrame(),
        judge={
            end: pictured((at[end].judge(stage, FULL) for stage in stages[end]), axes)[0]
            for end in (ENDS if JUDGE in kind.needs else ())
        },
        phantom=Phantom.load(phantom) if PHANTOM in kind.needs else None,
    )
    figures = [results.figure(files.name, suffix) for suffix in FIGURES]
    save_in_widths(lambda: kind.draw(experiment, drawn), *figures)
