"""Exported ``.seq`` files, imported for the simulation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import MRzeroCore as mr0
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
        are. It leaves out the labels of the samples, which are read by PyPulseq.

    Raises
    ------
    SequenceError
        If the file is to be read by PyPulseq, and is missing, cut, altered, or not understood.
    """
    if sub_pulses != 1:
        return convert(read_seq(path), sub_pulses=sub_pulses)
    repetitions = repetitions_from_mr0(mr0.Sequence.import_file(str(path)))
    if "extension LABEL" not in Path(path).read_text(encoding="utf-8"):
        return repetitions
    # Samples before the first pulse are left out
    first = -int(repetitions.is_sample.sum())
    labels = sample_labels(read_seq(path))
    return replace(
        repetitions,
        labels={name: torch.from_numpy(values[first:]) for name, values in labels.items()},
    )
