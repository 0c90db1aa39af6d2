"""``.seq`` files, imported for the simulation."""

from __future__ import annotations

import math
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import MRzeroCore as mr0
import pypulseq
import torch

from pulseq_zero.conversion import convert
from pulseq_zero.conversion.labels import sample_labels
from pulseq_zero.conversion.options import Pulses
from pulseq_zero.conversion.pulses import frequency, keeps_its_phase, pulse_duration
from pulseq_zero.conversion.repetitions import Repetitions, repetitions_from_mr0
from pulseq_zero.errors import SequenceError, UnsupportedFileError
from pulseq_zero.files.seq import read_lines, read_seq

# Of a rotation's quaternion, which files hold in few digits
_NORM_ERROR = 1e-2


def imported_repetitions(
    path: Path | str, pulses: Pulses = "instantaneous", *, check_signature: bool = False
) -> Repetitions:
    """Import a ``.seq`` file.

    MRzeroCore's importer, which shares no code with the conversion of scripts, makes one rotation
    of each pulse by the integral of its shape, and leaves out frequency offsets. Where that is not
    what the file says, it is read by PyPulseq and converted as scripts are. What PyPulseq does not
    understand is left to MRzeroCore's importer, with a warning.

    Parameters
    ----------
    path
        The file.
    pulses
        How they act, see `SequenceModel`.
    check_signature
        As for `pulseq_zero.files.seq.read_seq`.

    Raises
    ------
    SequenceError
        If the file is missing, cut, altered, or not understood.
    """
    try:
        sequence = read_seq(path, check_signature=check_signature)
    except UnsupportedFileError as error:
        return import_without_pypulseq(path, error)
    if pulses != "instantaneous" or not _is_understood(sequence):
        return convert(sequence, pulses=pulses)
    return _with_labels(_as_written(mr0.Sequence.import_file(str(path))), sequence)


def import_without_pypulseq(path: Path | str, reason: UnsupportedFileError) -> Repetitions:
    """Import what PyPulseq does not understand by MRzeroCore's importer.

    Parameters
    ----------
    path
        The file.
    reason
        Why PyPulseq does not read it; raised if the importer does not, either.

    Raises
    ------
    UnsupportedFileError
        If neither reads it.
    SequenceError
        If it holds no pulse, or a rotation that is none.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "turned.seq"
        lines = read_lines(path)
        try:
            mended = [_mended(line, path) for line in _sections(lines)]
            file.write_text("\n".join(mended), encoding="utf-8")
            sequence = mr0.Sequence.import_file(str(file))
        except SequenceError:
            raise
        except Exception as error:
            raise reason from error
    if not len(sequence):
        raise SequenceError(f"{path} holds no RF pulse, so there is nothing to simulate")
    warnings.warn(
        f"{str(reason).partition(';')[0]}: MRzeroCore's importer does, which makes one rotation of "
        "each pulse and leaves out frequency offsets and extensions that it does not know",
        stacklevel=3,
    )
    labels = {name for repetition in sequence for name in repetition.adc_labels}
    columns = {
        name.upper(): torch.cat(
            [
                repetition.adc_labels.get(name, torch.zeros_like(repetition.adc_usage))
                for repetition in sequence
            ]
        ).long()
        for name in labels
    }
    repetitions = _as_written(sequence)
    return replace(
        repetitions,
        labels={
            name: values[repetitions.is_sample] for name, values in columns.items() if values.any()
        },
    )


def _as_written(sequence: mr0.Sequence) -> Repetitions:
    """Take over what MRzeroCore's importer made of a file.

    It hands on the phases of pulses, channels and receiver as the file has them. They have the
    sense of Pulseq then, and not that of MRzeroCore's simulation.
    """
    repetitions = repetitions_from_mr0(sequence)
    return replace(repetitions.conjugate(), shim=repetitions.shim)


def _sections(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Go through the lines of a file, each split into words, with the extension it is one of."""
    extension = ""
    for line in lines:
        words = line.split()
        if words and (words[0] == "extension" or words[0].startswith("[")):
            extension = words[1] if len(words) > 1 else ""
        yield extension, words


def _mended(line: tuple[str, list[str]], path: Path | str) -> str:
    """Write a line so that the importer makes of it what Pulseq means.

    It turns the gradients of a rotation the other way round, and takes phases of channels, which
    are radians, for turns.
    """
    extension, words = line
    if extension == "ROTATIONS" and len(words) == 5:
        number, real, *axis = words
        if not abs(math.hypot(*map(float, words[1:])) - 1) < _NORM_ERROR:
            raise SequenceError(
                f"{path} states a rotation {number} by {' '.join(words[1:])}, which is no "
                "quaternion of length 1; get it again"
            )
        words = [number, real, *(str(-float(each)) for each in axis)]
    elif extension == "RF_SHIMS" and len(words) > 3 and words[0] != "extension":
        number, count, *weights = words
        phases = [str(float(each) / (2 * math.pi)) for each in weights[1::2]]
        pairs = zip(weights[::2], phases, strict=True)
        words = [number, count, *(each for pair in pairs for each in pair)]
    return " ".join(words)


def _is_understood(sequence: pypulseq.Sequence) -> bool:
    """Tell whether the importer takes all events for what they are.

    Pulses and readouts are on resonance, and pulses keep their phase, and end as PyPulseq has it.
    """
    for block in map(sequence.get_block, sequence.block_events):
        for event in (block.rf, block.adc):
            if event is not None and frequency(event, sequence.system) != 0:
                return False
        if block.rf is not None and (
            not keeps_its_phase(block.rf.signal) or pulse_duration(block.rf) > block.rf.shape_dur
        ):
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
