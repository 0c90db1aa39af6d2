"""The moment of a gradient event up to any time, for traced times and amplitudes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from pulseq_zero.errors import SequenceError
from pulseq_zero.tracing import is_traced, raw, traced_numpy

AXES = ("x", "y", "z")

# Times that differ by less [s] are the same: far below any raster, far above rounding.
SAME_TIME = 1e-9


def numpy_for(*operands: Any) -> Any:
    """NumPy for plain operands, its traced twin if there are traced ones."""
    return traced_numpy if any(map(is_traced, operands)) else np


def corners(event: SimpleNamespace) -> tuple[Any, Any]:
    """Corners of a gradient: times [s] since the start of the block and amplitudes [Hz/m]."""
    xp = numpy_for(*vars(event).values())
    if event.type == "trap":
        durations = [event.delay, event.rise_time, event.flat_time, event.fall_time]
        return xp.cumsum(durations), xp.array([0.0, event.amplitude, event.amplitude, 0.0])
    if not len(raw(event.tt)) or (np.diff(raw(event.tt)) <= 0).any():
        raise SequenceError(
            "a gradient has samples that do not follow each other in time; mend the sequence, or "
            "get the file again"
        )
    times, amplitudes = [raw(event.tt) if xp is np else event.tt], [event.waveform]
    if event.tt[0] > SAME_TIME:
        times.insert(0, [0.0])
        amplitudes.insert(0, [event.first])
    if event.shape_dur - event.tt[-1] > SAME_TIME:
        times.append([event.shape_dur])
        amplitudes.append([event.last])
    return event.delay + xp.concatenate(times), xp.concatenate(amplitudes)


def moments_between(shapes: list[tuple[str, Any, Any]], edges: Any) -> Any:
    """Find the moments of a block's gradients between successive times.

    Parameters
    ----------
    shapes
        Channel, times [s] and amplitudes [Hz/m] of the corners of each gradient.
    edges
        (intervals + 1,) times since the block's start [s], in ascending order.

    Returns
    -------
    array
        (intervals, xyz) moments [1/m], traced if a gradient or the times are.
    """
    built_up: list[Any] = [np.zeros(len(edges))] * 3
    for channel, nodes, amplitudes in shapes:
        built_up[AXES.index(channel)] = moment_until(nodes, amplitudes, edges)
    xp = numpy_for(*built_up)
    return xp.stack([until[1:] - until[:-1] for until in built_up], axis=1)


def moment_until(nodes: Any, amplitudes: Any, times: Any) -> Any:
    """Moment [1/m] that a gradient event has built up at some times since the block's start.

    Parameters
    ----------
    nodes, amplitudes
        (corners,) of the gradient, as :func:`corners` gives them.
    times
        (times,) in any order.

    Returns
    -------
    array
        (times,) the moments, traced if the gradient or the times are.
    """
    xp = numpy_for(nodes, amplitudes, times)
    steps = nodes[1:] - nodes[:-1]
    built_up = xp.concatenate([[0.0], xp.cumsum(0.5 * (amplitudes[1:] + amplitudes[:-1]) * steps)])
    at = np.searchsorted(raw(nodes), raw(times), side="right") - 1
    inside = np.flatnonzero((at >= 0) & (at < len(steps)))
    moments = xp.zeros(len(times))
    moments[at >= len(steps)] = built_up[-1]
    at = at[inside]
    since, length = times[inside] - nodes[at], steps[at]
    # The piece that a time lies in was chosen by value: replay has to choose alike.
    _ = since > -SAME_TIME, since - length < SAME_TIME
    slope = (amplitudes[at + 1] - amplitudes[at]) / length
    moments[inside] = built_up[at] + (amplitudes[at] + 0.5 * slope * since) * since
    return moments
