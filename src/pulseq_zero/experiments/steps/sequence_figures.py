"""Draw the pulse diagram and the k-space order of an exported sequence."""

from __future__ import annotations

from pulseq_zero.conversion.repetitions import Repetitions
from pulseq_zero.experiments.layout import FIGURES, ResultFiles, RunFiles
from pulseq_zero.experiments.settings import Experiment
from pulseq_zero.experiments.stages import OPTIMIZED, of_sequence
from pulseq_zero.figures.sequence import kspace_figure, pulse_diagram
from pulseq_zero.figures.style import save_in_widths
from pulseq_zero.files.seq import read_seq
from pulseq_zero.files.store import load_tensors

SECTIONS = ("title", "sequence", "sequences")


def run(experiment: Experiment, files: RunFiles, results: ResultFiles) -> None:
    """Draw the optimized sequence, the first one of several.

    Parameters
    ----------
    experiment
        The experiment.
    files
        The files of the run.
    results
        The files of all runs, of which the figures are made.
    """
    first = next(iter(experiment.sequences_by_name))
    stage = of_sequence(OPTIMIZED, first)
    title = f"{experiment.title}: {first}" if first else experiment.title
    repetitions = Repetitions.from_tensors(*load_tensors(files.sequence(stage)))
    sequence = read_seq(files.seq(stage), check_signature=True)
    drawings = {
        "pulses": lambda: pulse_diagram(sequence, title),
        "kspace": lambda: kspace_figure(repetitions, title),
    }
    for shows, draw in drawings.items():
        name = f"{files.name}_{shows}"
        save_in_widths(draw, *(results.figure(name, suffix) for suffix in FIGURES))
