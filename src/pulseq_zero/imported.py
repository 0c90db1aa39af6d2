"""Exported ``.seq`` files, imported for the simulation."""

from __future__ import annotations

from pathlib import Path

import MRzeroCore as mr0

from pulseq_zero.conversion import convert
from pulseq_zero.files.seq import read_seq
from pulseq_zero.repetitions import Repetitions, repetitions_from_mr0


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
        If the file is to be read by PyPulseq, and is missing, cut, altered, or not understood.
    """
    if sub_pulses == 1:
        return repetitions_from_mr0(mr0.Sequence.import_file(str(path)))
    return convert(read_seq(path), sub_pulses=sub_pulses)
