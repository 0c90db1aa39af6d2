"""Along which axes the spins of a voxel must be spread, and what is known exactly without.

Where gradients are balanced from each pulse to the next, as phase encodings are, and off during
pulses, all spins along an axis come to each pulse alike, and leave it alike: a sample at the
moment k since then is sinc(k Δ) times what a spin in the middle of the voxel's width Δ gives.

The same holds more often along a slanted axis. Where crushers wind a voxel up along one axis, here
called the main one, by many turns from pulse to pulse, what is emitted has been unwound along it;
and where moments along other axes, and the time that off-resonance acts for, are from each pulse
to the next in proportion c to the moment along the main axis, as in a train of echoes, what is
unwound along the main axis is so along the others. Then a sample is dephased across the voxel's
width Δ by sinc((k - c k_main) Δ), and by T2' as exp(-|t - c k_main| / T2'), both since the last
pulse. Magnetisation that a spoiler has wound up otherwise is taken not to come back.

Crushers that a pulse cannot tell from its own slice gradient soften this: therefore the other axes
are divided into a few cells, with a spin in the middle of each, and only what is left of the moment
is averaged over a cell; and spins of a train have one of two frequencies, which dephase from pulse
to pulse as T2' does. What that leaves out, both seeds leave out.
"""

from __future__ import annotations

import numpy as np

from pulseq_zero.judge.arrays import Array, Spreading
from pulseq_zero.judge.course import Course
from pulseq_zero.judge.placing import CELLS

# A voxel whose ends are less than this many turns apart is not dephased,
_NOT_DEPHASED = 1e-5
# and one whose ends are at least so many turns apart emits nothing.
_WOUND_UP = 3.0
# Moments are in proportion that are so within these turns of a voxel's ends, and times [s].
_IN_PROPORTION = 0.02
_AT_ONCE = 5e-5


def spread(course: Course, size: Array) -> Spreading:
    """Find how spins must be spread.

    Parameters
    ----------
    course
        The course.
    size
        (xyz,) of the voxels [m].
    """
    between, since, pulse_of = _moments(course)
    is_spread = (np.abs(between[:, :3] * size) > _NOT_DEPHASED).any(0)
    is_selective = np.zeros(3, dtype=bool)
    for pulse in course.pulse:
        if pulse is not None and pulse.gradient is not None:
            meanwhile = np.abs(pulse.gradient * size) * pulse.duration
            is_selective |= (meanwhile > _NOT_DEPHASED).any(0)
    is_spread |= is_selective
    main, in_proportion, interval = -1, np.zeros(4), 0.0
    if is_spread.any():
        winding = np.abs(between[:, :3] * size)
        typical = np.median(winding, axis=0) if len(winding) else np.zeros(3)
        main = int(np.argmax(np.where(is_spread, typical + is_selective, -1.0)))
        is_wound = winding[:, main] >= _WOUND_UP
        if is_wound.sum() > 1:
            wound = between[is_wound]
            in_proportion = np.median(wound / wound[:, main, None], axis=0)
            interval = float(np.median(wound[:, 3]))
        in_proportion[main] = 0.0
    is_known = not is_selective[np.arange(3) != main].any() and _is_in_proportion(
        between, since, pulse_of, size, main, in_proportion
    )
    if is_known:
        since = since - (since[:, main, None] * in_proportion if main >= 0 else 0.0)
    width = np.where(is_spread, size / CELLS if is_known else 0.0, size)
    if main >= 0:
        width[main] = 0.0
    left: Array = np.sinc(since[:, :3] * width).prod(1)
    time = since[:, 3].copy() if is_known else np.zeros(len(since))
    return Spreading(is_spread, main, in_proportion, is_known, interval, left, time)


def _moments(course: Course) -> tuple[Array, Array, Array]:
    """Return moments (xyz) [1/m] and times [s].

    Returns
    -------
    tuple
        (pulses - 1, 4) from the middle of each pulse to that of the next; (samples, 4) from the
        middle of the last pulse to the sample; (samples,) the number of that pulse.
    """
    between, since, pulse_of = [], [], []
    now, number = np.zeros(4), -1
    for step, pulse in enumerate(course.pulse):
        if pulse is not None:
            half = np.append(pulse.moment, pulse.duration) / 2
            if number >= 0:
                between.append(now + half)
            now, number = half, number + 1
        now = now + np.append(course.moment[step], course.time[step])
        if course.is_sample[step]:
            since.append(now)
            pulse_of.append(number)
    return np.reshape(between, (-1, 4)), np.reshape(since, (-1, 4)), np.array(pulse_of, dtype=int)


def _is_in_proportion(
    between: Array, since: Array, pulse_of: Array, size: Array, main: int, in_proportion: Array
) -> bool:
    """Whether samples hold nothing but what is unwound along all axes at once."""
    length = size[main] if main >= 0 else 0.0
    along = between[:, main] if main >= 0 else np.zeros(len(between))
    other = between - along[:, None] * in_proportion
    if main >= 0:
        other[:, main] = 0.0
    is_wound = np.abs(along) * length >= _WOUND_UP
    is_alike = (np.abs(other[:, :3] * size) < _IN_PROPORTION).all(1) & (
        np.abs(other[:, 3]) < _AT_ONCE
    )
    sampled = set(pulse_of.tolist())
    trains, echoes, last = True, 0, False
    for pulse in range(len(between) + 1):
        if pulse > 0 and is_wound[pulse - 1] and not (is_alike[pulse - 1] and trains):
            # All that was transverse is spoiled; what was so out of proportion stays so only
            # as long as nothing unwinds it
            trains, echoes, last = not last, 0, bool(is_alike[pulse - 1])
        elif pulse > 0:
            trains = trains and bool(is_wound[pulse - 1]) and not last
            echoes += 1
        if pulse in sampled:
            fresh = np.abs(since[pulse_of == pulse, main]) * length < 1 if main >= 0 else True
            if not trains or (echoes == 0 and not np.all(fresh)):
                return False
    return True
