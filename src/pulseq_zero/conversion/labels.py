"""What the labels of a sequence say of its samples."""

from __future__ import annotations

import numpy as np
import pypulseq
from numpy.typing import NDArray

# Where a block's number of the ADC event stands, in PyPulseq's list
_ADC = 5


def sample_labels(sequence: pypulseq.Sequence) -> dict[str, NDArray[np.int64]]:
    """List the values that the labels in use have at each sample.

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
    if not counts or not (sequence.label_set_library.data or sequence.label_inc_library.data):
        return {}
    values = sequence.evaluate_labels(evolution="adc")
    return {
        name: np.repeat(np.asarray(value, dtype=np.int64), counts) for name, value in values.items()
    }
