"""Exported ``.seq`` files, imported for the simulation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import MRzeroCore as mr0
import pypulseq
import torch

from pulseq_zero.conversion import convert
from pulseq_zero.conversion.labels import sample_labels
from pulseq_zero.conversion.pulses import frequency, keeps_its_phase
from pulseq_zero.conversion.repetitions import Repetitions, repetitions_from_mr0
from pulseq_zero.files.seq import read_seq


def imported_repetitions(path: Path | str, sub_pulses: int = 1) -> Repetitions:
    """Import a ``.seq`` file.

    MRzeroCore's importer, which shares no code with the conversion of scripts, makes one rotation
    of each pulse by the integral of its shape, and leaves out frequency offsets. Where that is not
    what the file says, it is read by PyPulseq and converted as scripts are.

    Parameters
    ----------
    path
        The file.
    sub_pulses
        Into how many rotations each pulse is cut.

    Raises
    ------
    SequenceError
        If the file is missing, cut, altered, or not understood.
    """
    sequence = read_seq(path)
    if sub_pulses != 1 or not _is_understood(sequence):
        return convert(sequence, sub_pulses=sub_pulses)
    # The importer hands on the phases of pulses and receiver as the file has them. They have the
    # sense of Pulseq then, and not that of MRzeroCore's simulation.
    repetitions = repetitions_from_mr0(mr0.Sequence.import_file(str(path))).conjugate()
    return _with_labels(repetitions, sequence)


def _is_understood(sequence: pypulseq.Sequence) -> bool:
    """Tell whether pulses and readouts are on resonance, and pulses keep their phase."""
    for block in map(sequence.get_block, sequence.block_events):
        for event in (block.rf, block.adc):
            if event is not None and frequency(event, sequence.system) != 0:
                return False
        if block.rf is not None and not keeps_its_phase(block.rf.signal):
            return False
    return True


def _with_labels(repetitions: Repetitions, sequence: pypulseq.Sequence) -> Repetitions:
    """Add the labels of the samples, which the importer leaves out."""
    # As it does the samples before the first pulse
    first = -int(repetitions.is_sample.sum())
    labels = sample_labels(sequence)
    return replace(
        repetitions,
        labels={name: torch.from_numpy(values[first:]) for name, values in labels.items()},
    )
