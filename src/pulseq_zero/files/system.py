"""The system that a sequence is meant for, and the field of view that it states."""

from __future__ import annotations

import copy
import math
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from pulseq_zero.errors import SequenceError

if TYPE_CHECKING:
    import pypulseq

# What PyPulseq's Opts have for B0 [T] if nobody says it; no file keeps it.
_UNSAID = 1.5


def system_of(sequence: pypulseq.Sequence) -> pypulseq.Opts:
    """Return the system of a sequence, with the field strength that its definition ``B0`` states.

    Offsets in parts per million (``freq_ppm``, ``phase_ppm``) are of the field. A ``.seq`` file
    keeps it in its definitions only.

    Parameters
    ----------
    sequence
        The sequence.

    Raises
    ------
    SequenceError
        If the definition, or the system's, is no field strength.
    """
    stated = sequence.definitions.get("B0")
    if stated is None:
        if sequence.system.B0 == _UNSAID and _has_parts_per_million(sequence):
            warnings.warn(
                f"the sequence has offsets in ppm but states no field strength: it counts as "
                f"{_UNSAID} T, PyPulseq's default; state it by seq.set_definition('B0', ...) in "
                "T, which the file keeps, or by pypulseq.Opts(B0=...)",
                stacklevel=2,
            )
        if not 0 < sequence.system.B0 < math.inf:
            raise SequenceError(
                f"the system's B0 is {sequence.system.B0}, but must be its field strength in T"
            )
        return sequence.system
    try:
        field = float(np.ravel(stated)[0])
    except (ValueError, IndexError):
        field = math.nan
    if not 0 < field < math.inf:
        raise SequenceError(
            f"the sequence's definition B0 is {stated!r}, but must be its field strength in T"
        )
    system = copy.copy(sequence.system)
    system.B0 = field
    return system


def stated_fov(sequence: pypulseq.Sequence) -> list[float]:
    """Return the lengths that the definition ``FOV`` of a sequence states [m], none if it has none.

    Raises
    ------
    SequenceError
        If they are no numbers.
    """
    stated = sequence.definitions.get("FOV", [])
    try:
        # One number comes without a list around it
        return [float(length) for length in np.ravel(stated)]
    except (TypeError, ValueError) as error:
        raise refused_fov(stated) from error


def refused_fov(stated: Any) -> SequenceError:
    """Make the error that says that a definition ``FOV`` is none."""
    return SequenceError(
        f"the sequence's definition FOV is {stated!r}, but must be its lengths [x, y, z] in m"
    )


def _has_parts_per_million(sequence: pypulseq.Sequence) -> bool:
    pulses, readouts = sequence.rf_library.data.values(), sequence.adc_library.data.values()
    return any(any(data[6:8]) for data in pulses) or any(any(data[3:5]) for data in readouts)
