"""One block as MR-zero sees it: marks in time, and what lies between them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pypulseq import Opts

from pulseq_zero.conversion.gradients import SAME_TIME, corners, moments_between, numpy_for
from pulseq_zero.conversion.once import Once
from pulseq_zero.conversion.pulses import (
    Rotation,
    Steps,
    SubPulses,
    frequency,
    phase,
    rotations,
    steps_of,
)
from pulseq_zero.errors import SequenceError
from pulseq_zero.tracing import TracedBlock, raw

# What a pulse's rotations and steps depend on.
_OF_SHAPE = ("signal", "t", "shape_dur", "delay", "center", "freq_offset", "freq_ppm", "use")

# Events that neither act on spins nor sample them. What they last is in the block's duration:
# a trigger is one that comes at once, a soft delay has its default or what was applied.
_WITHOUT_ACTION = {"delay", "soft_delay", "labelset", "labelinc", "output", "trigger"}


class Mark(IntEnum):
    """What ends an interval."""

    NOTHING = 0
    PULSE = 1
    SAMPLE = 2
    CORNER = 3


@dataclass(frozen=True)
class BlockTimeline:
    """A block, cut at its marks.

    Attributes
    ----------
    marks
        (intervals,) what ends each interval; the last one ends with the block.
    durations
        (intervals,) [s].
    moments
        (intervals, xyz) gradient moments [1/m].
    rotations
        The pulses, in order.
    receiver_phase
        (samples,) phase of the receiver at each sample [rad].
    steps
        Of each of the pulses, with the phase that it is played with [rad]; none where each acts at
        once.
    """

    marks: NDArray[np.int64]
    durations: Any
    moments: Any
    rotations: tuple[Rotation, ...]
    receiver_phase: Any
    steps: tuple[tuple[Steps, Any], ...] = ()


def timeline(
    block: TracedBlock,
    system: Opts,
    once: Once,
    *,
    sub_pulses: SubPulses,
    played: bool,
) -> BlockTimeline:
    """Cut a block at its pulses, samples and corners of its gradients.

    Parameters
    ----------
    block
        The block.
    system
        For offsets in parts per million.
    once
        What has been done for other blocks of the sequence.
    sub_pulses
        As for :class:`pulseq_zero.SequenceModel`.
    played
        Whether pulses are played, and cut into steps.

    Raises
    ------
    SequenceError
        If it has an event of a kind that is not known.
    """
    events = _played(block)
    turned = [(once.shared(_shape_of(rf)), phase(rf, system)) for rf in events["rf"]]
    pulses = tuple(
        replace(pulse, phase=pulse.phase + offset)
        for rf, offset in turned
        for pulse in once(
            rotations,
            rf,
            system,
            is_selective=any(
                once(_is_on, once(corners, gradient), rf) for gradient in events["gradient"]
            ),
            sub_pulses=sub_pulses,
        )
    )
    times: list[Any] = [[pulse.time] for pulse in pulses]
    kinds = [np.full(len(pulses), Mark.PULSE)]
    receiver_phase: Any = np.zeros(0)
    for adc in events["adc"]:
        samples, receiver_phase = once(_readout, adc, system)
        times.append(samples)
        kinds.append(np.full(len(samples), Mark.SAMPLE))
    shapes = [(gradient.channel, *once(corners, gradient)) for gradient in events["gradient"]]
    for _, nodes, _ in shapes:
        times.append(nodes)
        kinds.append(np.full(len(nodes), Mark.CORNER))
    marks, durations, moments = once(_cut, times, kinds, block.duration, shapes)
    steps = tuple(
        (once(steps_of, rf, shapes, system), offset) for rf, offset in (turned if played else ())
    )
    return BlockTimeline(marks, durations, moments, pulses, receiver_phase, steps)


def _shape_of(rf: SimpleNamespace) -> SimpleNamespace:
    """Return a pulse without what its rotations and its steps do not depend on."""
    return SimpleNamespace(**{name: getattr(rf, name, 0.0) for name in _OF_SHAPE})


def _played(block: TracedBlock) -> dict[str, list[SimpleNamespace]]:
    """Sort the events of a block that act on spins or sample them, by kind."""
    events: dict[str, list[SimpleNamespace]] = {kind: [] for kind in ("rf", "adc", "gradient")}
    for event in block.events:
        if not isinstance(event, SimpleNamespace):
            # A number is a duration, which the block's own has in it
            continue
        kind = "gradient" if event.type in ("trap", "grad") else event.type
        if kind in events:
            _check_times(event, block.duration)
            events[kind].append(event)
        elif kind not in _WITHOUT_ACTION:
            raise SequenceError(
                f"a block has an event of the kind {event.type!r}, which the simulation does not "
                "know; write it as pulses, gradients and ADC events, or leave it out"
            )
    return events


def _check_times(event: SimpleNamespace, duration: Any) -> None:
    for name in ("delay", "dwell", "rise_time", "flat_time", "fall_time"):
        time = raw(getattr(event, name, 0.0))
        if time < -SAME_TIME:
            raise SequenceError(
                f"a block has an event of the kind {event.type!r} whose {name} is {time:g} s; no "
                "time is negative: mend the sequence, or get the file again"
            )
    if event.type != "adc":
        return
    # Before there is an array of them
    count, dwell = float(raw(event.num_samples)), raw(event.dwell)
    end = raw(event.delay) + (count - 0.5) * dwell
    is_count = count >= 1 and count.is_integer()
    if dwell == 0 or not is_count or end > raw(duration) + SAME_TIME:
        raise SequenceError(
            f"a block of {raw(duration):g} s has an ADC event that takes {count:g} samples, one in "
            f"{dwell:g} s; mend the sequence, or get the file again"
        )


def _cut(times: list[Any], kinds: list[NDArray[np.int64]], duration: Any, shapes: list[Any]) -> Any:
    """Sort the marks of a block; find what ends each interval, how long it is, its moments."""
    xp = numpy_for(*times, duration)
    all_times = xp.concatenate([*times, [duration]])
    order = np.argsort(raw(all_times)[:-1], kind="stable")
    edges = xp.concatenate([[0.0], all_times[:-1][order], all_times[-1:]])
    durations = edges[1:] - edges[:-1]
    if raw(durations).min() < -SAME_TIME:
        raise SequenceError(
            f"a block of {raw(duration):g} s has an event that begins before it or ends after it; "
            "mend the sequence, or get the file again"
        )
    # The order of the marks was chosen by value: replay has to choose alike.
    _ = durations > -SAME_TIME
    moments = moments_between(shapes, edges)
    marks = np.append(np.concatenate(kinds).astype(int)[order], Mark.NOTHING)
    return marks, durations, moments


def _is_on(shape: tuple[Any, Any], rf: SimpleNamespace) -> bool:
    """Whether a gradient is on in the middle of a pulse."""
    centre = rf.delay + rf.center
    xp = numpy_for(centre, *shape)
    return bool(xp.interp(centre, *shape, 0.0, 0.0) != 0)


def _readout(adc: SimpleNamespace, system: Opts) -> tuple[Any, Any]:
    """Find times of the samples in the block [s] and phases of the receiver [rad]."""
    xp = numpy_for(*vars(adc).values())
    since_start = (np.arange(int(raw(adc.num_samples))) + 0.5) * adc.dwell
    delay = adc.delay if adc.delay >= adc.dead_time else adc.dead_time
    phases = phase(adc, system) + 2 * np.pi * frequency(adc, system) * since_start
    modulation = getattr(adc, "phase_modulation", None)
    if modulation is not None and len(modulation):
        phases = phases + xp.asarray(modulation)
    return delay + since_start, np.pi / 2 - phases
