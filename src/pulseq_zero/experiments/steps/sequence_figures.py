"""Draw the pulse diagram and the k-space order of exported sequences."""

from __future__ import annotations

from pulseq_zero.conversion.repetitions import Repetitions
from pulseq_zero.experiments.layout import FIGURES, ResultFiles, RunFiles
from pulseq_zero.experiments.settings import Experiment
from pulseq_zero.experiments.stages import OPTIMIZED, of_sequence
from pulseq_zero.figures.sequence import kspace_figures, pulse_diagrams
from pulseq_zero.figures.style import save_in_widths
from pulseq_zero.files.seq import read_seq
from pulseq_zero.files.store import load_tensors

SECTIONS = ("title", "sequence", "sequences")


def run(experiment: Experiment, files: RunFiles, results: ResultFiles) -> None:
    """Draw the optimized sequence, each one of several.

    Parameters
    ----------
    experiment
        The experiment.
    files
        The files of the run.
    results
        The files of all runs, of which the figures are made.
    """
    stages = {name: of_sequence(OPTIMIZED, name) for name in experiment.sequences_by_name}
    repetitions = {
        name: Repetitions.from_tensors(*load_tensors(files.sequence(stage)))
        for name, stage in stages.items()
    }
    sequences = {
        name: read_seq(files.seq(stage), check_signature=True) for name, stage in stages.items()
    }
    drawings = {
        "pulses": lambda: pulse_diagrams(sequences, experiment.title),
        "kspace": lambda: kspace_figures(repetitions, experiment.title),
    }
    for shows, draw in drawings.items():
        name = f"{files.name}_{shows}"
        save_in_widths(draw, *(results.figure(name, suffix) for suffix in FIGURES))
