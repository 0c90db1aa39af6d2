"""Whether durations of blocks stay on their raster while parameters change."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from types import SimpleNamespace

import numpy as np
import pypulseq
from numpy.typing import NDArray
from torch import Tensor

from pulseq_zero.tracing import GuardBroken, Program, TracedSequence, raw, wires_of

# How far parameters are moved; no fraction that rasters share with a value
_OFF_THE_RASTER = 1e-4 / math.sqrt(3)
# What PyPulseq forgives when it writes, relative to the raster
_ROUNDING = 1e-6


def off_raster(sequence: pypulseq.Sequence) -> str | None:
    """Say which block does not last a multiple of its raster, None if all do.

    PyPulseq writes no such sequence, and does not say why.
    """
    numbers = np.array(list(sequence.block_durations), dtype=int)
    durations = np.array([float(raw(sequence.block_durations[number])) for number in numbers])
    off = _is_off(durations, sequence)
    if not off.any():
        return None
    return (
        f"block {numbers[off][0]} lasts {1e3 * durations[off][0]:.9g} ms, which is no multiple of "
        f"the raster of {1e6 * sequence.block_duration_raster:g} us{_and_others(off)}; round it in "
        "the sequence function, as in round(time / raster) * raster"
    )


def timing_fault(fault: SimpleNamespace) -> str:
    """Say what PyPulseq's timing check found."""
    where = f"block {fault.block}: the {fault.field} of {fault.event}"
    if fault.error_type != "RASTER":
        return f"{where} is {fault.value}: {fault.error_type.replace('_', ' ').lower()}"
    raster = fault.raster.replace("_", " ")
    return (
        f"{where} is {1e3 * float(fault.value):.9g} ms, {1e6 * float(fault.error):.3g} us off the "
        f"{raster}"
    )


def warn_of_unrounded(sequence: TracedSequence, parameters: Mapping[str, Tensor]) -> None:
    """Warn of blocks whose durations leave the raster as soon as parameters move.

    Parameters
    ----------
    sequence
        A sequence that was traced.
    parameters
        Where it was.
    """
    durations = sequence.block_durations.traced
    traced = {number: wires_of(duration) for number, duration in durations.items()}
    numbers = np.array([number for number, wire in traced.items() if wire], dtype=int)
    if not len(numbers):
        return
    values = np.array([float(raw(durations[number])) for number in numbers])
    program = Program(sequence.tape, [(values, np.array([traced[n] for n in numbers]))])
    moved = {name: value.detach() * (1 + _OFF_THE_RASTER) for name, value in parameters.items()}
    try:
        (found,) = program(moved)
    except GuardBroken:
        return
    off = _is_off(found.detach().numpy(), sequence)
    if off.any():
        warnings.warn(
            f"the duration of block {numbers[off][0]} follows the parameters without being rounded "
            f"to the raster of {1e6 * sequence.block_duration_raster:g} us{_and_others(off)}: what "
            "is optimized cannot be written; round it in the sequence function, as in "
            "round(time / raster) * raster",
            stacklevel=3,
        )


def _is_off(durations: NDArray[np.float64], sequence: pypulseq.Sequence) -> NDArray[np.bool_]:
    rasters = durations / sequence.block_duration_raster
    return np.abs(rasters - np.round(rasters)) > _ROUNDING


def _and_others(off: NDArray[np.bool_]) -> str:
    return f", as in {off.sum() - 1} other blocks" if off.sum() > 1 else ""
