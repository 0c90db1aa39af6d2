"""Draw the pulse diagram and the k-space order of an exported sequence."""

from __future__ import annotations

from pathlib import Path

from pulseq_zero.experiments.settings import Experiment
from pulseq_zero.figures.sequence import kspace_figure, pulse_diagram
from pulseq_zero.figures.style import save_figure
from pulseq_zero.repetitions import Repetitions
from pulseq_zero.seq_files import read_seq
from pulseq_zero.store import load_tensors

SECTIONS = ("title",)


def run(
    experiment: Experiment,
    seq: Path,
    sequence: Path,
    pulses_png: Path,
    pulses_pdf: Path,
    kspace_png: Path,
    kspace_pdf: Path,
) -> None:
    """Draw a sequence.

    Parameters
    ----------
    experiment
        The experiment.
    seq, sequence
        The exported file, and the traced sequence.
    pulses_png, pulses_pdf, kspace_png, kspace_pdf
        The figures.
    """
    title = experiment.title
    save_figure(pulse_diagram(read_seq(seq), title), pulses_png, pulses_pdf)
    repetitions = Repetitions.from_tensors(*load_tensors(sequence))
    save_figure(kspace_figure(repetitions, title), kspace_png, kspace_pdf)
