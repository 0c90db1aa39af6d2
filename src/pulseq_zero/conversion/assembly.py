"""All blocks of a sequence, put together to repetitions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulseq_zero.conversion.blocks import BlockTimeline, Mark, timeline
from pulseq_zero.conversion.labels import sample_labels
from pulseq_zero.conversion.once import Once
from pulseq_zero.conversion.pulses import Steps, SubPulses
from pulseq_zero.conversion.repetitions import PulseUse
from pulseq_zero.errors import SequenceError
from pulseq_zero.files.system import system_of
from pulseq_zero.tracing import TracedSequence, raw, traced_numpy

# Corners of the gradients that are nearer to another mark [s] are no marks of their own.
_NEAR = 1e-6


@dataclass(frozen=True)
class Assembly:
    """Repetitions before they are tensors.

    Attributes
    ----------
    traced
        What may depend on the parameters, in the order in which Repetitions has it: angles and
        phases of the pulses, durations, gradient moments and receiver phases of the events. Then,
        if pulses are played, real and imaginary parts of their signals, durations, moments and
        centres, and the phases of the repetitions.
    pulse_use, event_count, adc_usage, labels
        What does not.
    step_count, pulse
        As in `PlayedPulses`; empty where pulses act at once.
    """

    traced: tuple[Any, ...]
    pulse_use: tuple[PulseUse, ...]
    event_count: tuple[int, ...]
    adc_usage: NDArray[np.int64]
    labels: dict[str, NDArray[np.int64]]
    step_count: tuple[int, ...] = ()
    pulse: tuple[int, ...] = ()


def assemble(
    sequence: TracedSequence,
    *,
    sub_pulses: SubPulses = 1,
    played: bool = False,
) -> Assembly:
    """Put a sequence's blocks together.

    Between pulses and readouts, events also end at the corners of the gradients, so that
    diffusion sees their shape.

    Parameters
    ----------
    sequence
        A sequence that was made inside of tracing.
    sub_pulses
        In how many rotations to cut each pulse, for all pulses or by their use.
    played
        Whether pulses are played.

    Raises
    ------
    SequenceError
        If the sequence holds no pulse.
    """
    lines = _timelines(sequence, sub_pulses, played)
    marks = np.concatenate([line.marks for line in lines] or [np.zeros(0, int)])
    pulses = np.flatnonzero(marks == Mark.PULSE)
    if len(pulses) == 0:
        raise SequenceError("the sequence holds no RF pulse, so there is nothing to simulate")
    xp = traced_numpy
    durations = xp.concatenate([line.durations for line in lines])
    moments = xp.concatenate([line.moments for line in lines])
    ends = _event_ends(marks, raw(durations), pulses)
    first, last = pulses[0] + 1, ends[-1] + 1
    starts = np.append(0, ends[:-1] + 1 - first)
    event_time = xp.add.reduceat(durations[first:last], starts)
    gradient_moment = xp.stack(
        [xp.add.reduceat(moments[first:last, axis], starts) for axis in range(3)], axis=1
    )
    rotations = [rotation for line in lines for rotation in line.rotations]
    is_sample = marks[ends] == Mark.SAMPLE
    adc_phase = xp.zeros(len(ends))
    skipped = int(np.sum(marks[:first] == Mark.SAMPLE))
    adc_phase[is_sample] = xp.concatenate([line.receiver_phase for line in lines])[skipped:]
    repetition = np.searchsorted(pulses, ends, side="left") - 1
    # A turn about z is put into the phases of all that follows; played pulses turn by themselves.
    turns = [0.0 if played else rotation.turn for rotation in rotations]
    turned = xp.cumsum(xp.array([0.0, *turns]))
    steps, step_count, pulse = _played(lines) if played else ((), (), ())
    return Assembly(
        (
            xp.array([rotation.angle for rotation in rotations]),
            xp.array([rotation.phase for rotation in rotations]) - turned[:-1],
            event_time,
            gradient_moment,
            adc_phase + turned[1:][repetition],
            *steps,
        ),
        tuple(rotation.use for rotation in rotations),  # type: ignore[misc]
        tuple(np.bincount(repetition, minlength=len(pulses)).tolist()),
        is_sample.astype(np.int64),
        {name: values[skipped:] for name, values in sample_labels(sequence).items()},
        step_count,
        pulse,
    )


def _played(lines: list[BlockTimeline]) -> tuple[tuple[Any, ...], tuple[int, ...], tuple[int, ...]]:
    """Gather the distinct pulses: their traced numbers, their steps' number, and who plays them."""
    xp, number = traced_numpy, dict[int, int]()
    distinct, pulse, phases = list[Steps](), list[int](), list[Any]()
    for line in lines:
        for steps, phase in line.steps:
            # Equal ones are the same object, see `Once`
            if id(steps) not in number:
                number[id(steps)] = len(distinct)
                distinct.append(steps)
            pulse.append(number[id(steps)])
            phases.append(phase)
    traced = (
        xp.concatenate([steps.signal.real for steps in distinct]),
        xp.concatenate([steps.signal.imag for steps in distinct]),
        xp.concatenate([steps.time for steps in distinct]),
        xp.concatenate([steps.moment for steps in distinct]),
        xp.array([steps.centre for steps in distinct]),
        xp.array(phases),
    )
    return traced, tuple(len(raw(steps.time)) for steps in distinct), tuple(pulse)


def _timelines(
    sequence: TracedSequence, sub_pulses: SubPulses, played: bool
) -> list[BlockTimeline]:
    once, system = Once(), system_of(sequence)
    return [
        timeline(block, system, once, sub_pulses=sub_pulses, played=played)
        for block in sequence.traced_blocks()
    ]


def _event_ends(
    marks: NDArray[np.int64],
    durations: NDArray[np.float64],
    pulses: NDArray[np.int64],
) -> NDArray[np.int64]:
    """List the intervals that events end with: at pulses, samples, and corners where they count."""
    at = np.flatnonzero(marks != Mark.NOTHING)
    time = np.cumsum(durations)[at]
    fixed = marks[at] != Mark.CORNER
    # Corners are taken in order of time, each if it is not near to what was taken before it
    # or to a pulse or sample after it.
    chosen = fixed.copy()
    place = np.flatnonzero(fixed)
    around = np.concatenate([[-np.inf], time[place], [np.inf]])
    latest = -np.inf
    for index in np.flatnonzero(~fixed & ~_within_readout(marks[at])).tolist():
        after = np.searchsorted(place, index)
        before = max(latest, around[after])
        if time[index] - before > _NEAR and around[after + 1] - time[index] > _NEAR:
            chosen[index], latest = True, time[index]
    ends = at[chosen]
    ends = ends[ends > pulses[0]]
    samples = np.flatnonzero(marks == Mark.SAMPLE)
    if len(samples) and samples[-1] > pulses[-1]:
        return ends[ends <= samples[-1]]
    return np.append(ends[ends <= pulses[-1]], len(marks) - 1)


def _within_readout(marks: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Find the marks that lie between two samples without a pulse between them."""
    repetition = np.cumsum(marks == Mark.PULSE)
    index = np.arange(len(marks))
    samples = marks == Mark.SAMPLE
    first = np.full(repetition.max(initial=0) + 1, len(marks))
    last = np.full(len(first), -1)
    np.minimum.at(first, repetition[samples], index[samples])
    np.maximum.at(last, repetition[samples], index[samples])
    return (index > first[repetition]) & (index < last[repetition])
