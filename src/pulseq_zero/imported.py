"""Exported ``.seq`` files, imported for the simulation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import MRzeroCore as mr0
import pypulseq
import torch

from pulseq_zero.conversion import convert
from pulseq_zero.conversion.labels import sample_labels
from pulseq_zero.repetitions import Repetitions, repetitions_from_mr0
from pulseq_zero.seq_files import read_seq


def imported_repetitions(path: Path | str, sub_pulses: int = 1) -> Repetitions:
    """Import a ``.seq`` file.

    Parameters
    ----------
    path
        The file.
    sub_pulses
        Into how many rotations each pulse is cut. MRzeroCore's importer makes one rotation of
        each; where there are to be more, the file is read by PyPulseq and converted as scripts
        are.

    Raises
    ------
    SequenceError
        If the file is missing, cut, altered, or not understood.
    """
    sequence = read_seq(path)
    if sub_pulses != 1:
        return convert(sequence, sub_pulses=sub_pulses)
    return _with_labels(repetitions_from_mr0(mr0.Sequence.import_file(str(path))), sequence)


def _with_labels(repetitions: Repetitions, sequence: pypulseq.Sequence) -> Repetitions:
    """Add the labels of the samples, which the importer leaves out."""
    # As it does the samples before the first pulse
    first = -int(repetitions.is_sample.sum())
    labels = sample_labels(sequence)
    return replace(
        repetitions,
        labels={name: torch.from_numpy(values[first:]) for name, values in labels.items()},
    )
