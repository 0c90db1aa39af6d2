"""What the labels of a sequence say of its samples."""

from __future__ import annotations

import functools

import numpy as np
import pypulseq
from numpy.typing import NDArray

from pulseq_zero.conversion.pulses import sample_durations
from pulseq_zero.errors import SequenceError

# Where a block's numbers of its events stand, in PyPulseq's list
_PULSE, _GRADIENTS, _ADC = 1, slice(2, 5), 5
# Where a pulse's frequency offset stands, and a gradient's amplitude
_FREQUENCY, _AMPLITUDE = 8, 0
# A pulse without a stated use excites if it turns by less than this [degrees].
_EXCITES = 100
# Slices that are apart by less [m] are one.
_SAME_SLICE = 1e-4


def sample_labels(sequence: pypulseq.Sequence) -> dict[str, NDArray[np.int64]]:
    """List the values that the labels in use have at each sample.

    Where slices are excited one after the other, and no label SLC numbers them, they are numbered
    by the places of the excitations.

    Parameters
    ----------
    sequence
        The sequence.

    Returns
    -------
    dict
        (samples,) for each label.
    """
    numbers = (events[_ADC] for events in sequence.block_events.values())
    counts = [int(sequence.adc_library.data[number][0]) for number in numbers if number]
    if not counts:
        return {}
    values = {}
    if sequence.label_set_library.data or sequence.label_inc_library.data:
        values = sequence.evaluate_labels(evolution="adc")
    try:
        labels = {
            name: np.repeat(np.asarray(value, dtype=np.int64), counts)
            for name, value in values.items()
        }
    except OverflowError as error:
        raise SequenceError(
            "a label of the sequence has a value that no counter holds; mend it, or get the file "
            "again"
        ) from error
    if "SLC" not in labels:
        slices = _slices(sequence)
        if len(set(slices)) > 1:
            labels["SLC"] = np.repeat(np.array(slices, dtype=np.int64), counts)
    return labels


def _slices(sequence: pypulseq.Sequence) -> list[int]:
    """Find for each readout the number of the place that was excited last; 0 before any was."""
    places: list[NDArray[np.float64]] = []
    current, found = 0, []
    excites = functools.cache(functools.partial(_excites, sequence))
    for events in sequence.block_events.values():
        place = _acts_at(sequence, events) if events[_PULSE] else None
        if place is not None and excites(int(events[_PULSE])):
            apart = [np.abs(place - other).max() for other in places]
            if not apart or min(apart) > _SAME_SLICE:
                places.append(place)
                apart.append(0.0)
            current = int(np.argmin(apart))
        if events[_ADC]:
            found.append(current)
    return found


def _acts_at(sequence: pypulseq.Sequence, events: NDArray[np.int64]) -> NDArray[np.float64] | None:
    """Return where along its gradient a block's pulse acts [m], None if it acts everywhere."""
    library = sequence.grad_library
    if any(number and library.type[number] != "t" for number in events[_GRADIENTS]):
        return None
    gradient = np.array(
        [library.data[n][_AMPLITUDE] if n else 0.0 for n in events[_GRADIENTS]], dtype=float
    )
    strength = gradient @ gradient
    if strength == 0:
        return None
    frequency = sequence.rf_library.data[events[_PULSE]][_FREQUENCY]
    place: NDArray[np.float64] = frequency / strength * gradient
    return place


def _excites(sequence: pypulseq.Sequence, pulse: int) -> bool:
    """Tell whether a pulse excites, as `Repetitions.known_uses` has it where no use is stated."""
    use = sequence.rf_library.type.get(pulse, "u")
    if use != "u":
        return bool(use == "e")
    rf = sequence.rf_from_lib_data(sequence.rf_library.data[pulse], use)
    turns = abs((rf.signal * sample_durations(rf)).sum())
    return bool(360 * turns < _EXCITES)
