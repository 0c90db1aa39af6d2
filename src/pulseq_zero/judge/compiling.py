"""A course as the compiled loops want it: in arrays, samples gathered, pulses put in order."""

from __future__ import annotations

import math

import numpy as np

from pulseq_zero.judge.arrays import Array, PulseKinds, Pulses, Steps
from pulseq_zero.judge.course import Course, SpinPulse
from pulseq_zero.judge.pulse_series import pulse_table, series_matrix, series_nodes

# Steps that differ by less than this many turns anywhere are the same step.
_SAME_TURNS = 1e-7
# For them, spins further off resonance than this [Hz] are few.
_FAR_OFF = 1e4

# How finely pulses are tabulated [rad] by turns about z: linear interpolation then errs by less
# than 1e-4.
_TABLE_STEP = 0.025
# What a series in the amplitude of pulses may leave out
_LEFT_OUT = 1e-5
# Pulses are alike, and a gradient is constant, that differ by less than this part
_ALIKE = 1e-6
_CONSTANT = 1e-4


def compile_course(
    course: Course, channels: int, reach: Array, off_resonance: float, strongest: float
) -> tuple[Steps, Pulses, PulseKinds]:
    """Put a course into arrays.

    Parameters
    ----------
    course
        The course.
    channels
        Number of transmit channels.
    reach
        (xyz,) largest coordinate of a spin [m].
    off_resonance
        Largest off-resonance of a voxel [Hz].
    strongest
        Largest transmit field, relative to the nominal one.

    Returns
    -------
    tuple
        The steps, the pulses, and the kinds of those that take their time.
    """
    course, readouts = _gather_samples(course, reach)
    moment, time = np.reshape(course.moment, (-1, 3)), np.array(course.time)
    turns = np.column_stack([moment * reach, time * _FAR_OFF])
    change = np.abs(np.diff(turns, axis=0)).max(1) if len(turns) else np.zeros(0)
    pulses = [pulse for pulse in course.pulse if pulse is not None]
    is_pulse = np.array([pulse is not None for pulse in course.pulse], dtype=bool)
    kinds: list[list[SpinPulse]] = []
    kind = [-1 if p.field is None else _kind(p, kinds) for p in pulses]
    weights = [np.ones(channels) if p.channels is None else p.channels for p in pulses]
    samples, sample_moment, sample_time, sample_relaxation = readouts
    return (
        Steps(
            moment=moment.astype(np.float32),
            time=time.astype(np.float32),
            relaxation=np.array(course.relaxation),
            is_new=np.append(True, change > _SAME_TURNS),
            samples=samples,
            sample_moment=sample_moment,
            sample_time=sample_time,
            sample_relaxation=sample_relaxation,
            pulse=np.where(is_pulse, np.cumsum(is_pulse) - 1, -1),
        ),
        Pulses(
            angle=np.array([p.angle for p in pulses], dtype=float),
            phase=np.array([p.phase for p in pulses], dtype=float),
            turn=np.array([p.turn for p in pulses], dtype=float),
            channels=np.array(weights, dtype=np.complex128).reshape(-1, channels),
            kind=np.array(kind, dtype=np.int64),
        ),
        _pulse_kinds(kinds, reach, off_resonance, strongest),
    )


def _gather_samples(course: Course, reach: Array) -> tuple[Course, tuple[Array, ...]]:
    """Put samples that follow each other in equal steps into one step, which ends in their middle.

    Returns
    -------
    tuple
        The course in these steps, and of each step the number of its samples, and gradient moment
        (xyz) [1/m], precession and relaxation [s] between two of them.
    """
    gathered = Course(receiver_phase=course.receiver_phase)
    samples: list[int] = []
    between: list[tuple[Array, float, float]] = []
    none = (np.zeros(3), 0.0, 0.0)
    rest, step = none, 0
    while step < len(course.time):
        pulse, moment = course.pulse[step], course.moment[step]
        time, relaxation = course.time[step], course.relaxation[step]
        if pulse is None:
            moment, time, relaxation = moment + rest[0], time + rest[1], relaxation + rest[2]
        elif rest is not none:
            gathered.append(None, *rest)
            samples.append(0)
            between.append(none)
        rest, last = none, step
        if course.is_sample[step]:
            while last + 1 < len(course.time) and _goes_on(course, last + 1, step + 1, reach):
                last += 1
        if last > step:
            equal = course.moment[step + 1], course.time[step + 1], course.relaxation[step + 1]
            half = (last - step) / 2
            rest = half * equal[0], half * equal[1], half * equal[2]
            moment, time, relaxation = moment + rest[0], time + rest[1], relaxation + rest[2]
        gathered.append(pulse, moment, time, relaxation)
        samples.append(last - step + 1 if course.is_sample[step] else 0)
        between.append(equal if last > step else none)
        step = last + 1
    return gathered, (
        np.array(samples, dtype=np.int64),
        np.reshape([each[0] for each in between], (-1, 3)).astype(np.float32),
        np.array([each[1] for each in between], dtype=np.float32),
        np.array([each[2] for each in between]),
    )


def _goes_on(course: Course, step: int, first: int, reach: Array) -> bool:
    """Whether a step only takes a sample, after the same way as the first of its kind did."""
    return (
        course.is_sample[step]
        and course.pulse[step] is None
        and abs(course.time[step] - course.time[first]) * _FAR_OFF < _SAME_TURNS
        and math.isclose(course.relaxation[step], course.relaxation[first], rel_tol=1e-6)
        and bool((np.abs(course.moment[step] - course.moment[first]) * reach < _SAME_TURNS).all())
    )


def _kind(pulse: SpinPulse, kinds: list[list[SpinPulse]]) -> int:
    """Return the number of the pulse's kind: of those with the same course and gradient."""
    for number, alike in enumerate(kinds):
        if _is_alike(alike[0], pulse):
            alike.append(pulse)
            return number
    kinds.append([pulse])
    return len(kinds) - 1


def _is_alike(one: SpinPulse, other: SpinPulse) -> bool:
    assert one.field is not None and other.field is not None
    if len(one.field) != len(other.field) or not math.isclose(one.step, other.step):
        return False
    here, there = _gradient(one), _gradient(other)
    return bool(
        np.abs(one.field - other.field).max() < _ALIKE
        and np.abs(here - there).max() <= _ALIKE * np.abs(here).max()
    )


def _gradient(pulse: SpinPulse) -> Array:
    assert pulse.field is not None
    return np.zeros((len(pulse.field), 3)) if pulse.gradient is None else pulse.gradient


def _pulse_kinds(
    kinds: list[list[SpinPulse]], reach: Array, off_resonance: float, strongest: float
) -> PulseKinds:
    """Tabulate kinds of pulses, but those under gradients that change."""
    largest, terms, columns, steps, tables = [], [], [], [], [np.zeros(0, np.float32)]
    for alike in kinds:
        one, gradient = alike[0], _gradient(alike[0])
        assert one.field is not None
        amplitude = max(max(abs(p.angle) for p in alike) * strongest, 1e-6)
        largest.append(amplitude)
        terms.append(_terms(math.pi * one.step * float(np.abs(one.field).sum()) * amplitude))
        change = np.abs(gradient - gradient.mean(0)) @ reach
        if change.max() > _CONSTANT / one.duration:
            columns.append(0)
            steps.append(0.0)
            continue
        step = _TABLE_STEP / (math.pi * one.duration)
        # Where a pulse has no power, far from the middle, spins only turn about z
        furthest = float(np.abs(gradient.mean(0)) @ reach) + off_resonance + 20 / one.duration
        half = math.ceil(furthest / step)
        columns.append(2 * half + 1)
        steps.append(step)
        nodes = series_nodes(terms[-1])
        values = pulse_table(
            one.field, one.step, amplitude * nodes, step * np.arange(-half, half + 1)
        )
        values[..., 2:] /= nodes[:, None, None]
        series = np.einsum("tn,ncp->tpc", series_matrix(terms[-1]), values)
        tables.append(series.astype(np.float32).ravel())
    lengths = [4 * count * width for count, width in zip(terms, columns, strict=True)]
    played = [p[0] for p in kinds]
    return PulseKinds(
        strongest=np.array(largest, dtype=float),
        first_term=_begins(terms),
        columns=np.array(columns, dtype=np.int64),
        frequency_step=np.array(steps, dtype=float),
        first_entry=_begins(lengths),
        tables=np.concatenate(tables),
        step=np.array([p.step for p in played], dtype=float),
        first_step=_begins([len(_gradient(p)) for p in played]),
        field=np.concatenate(
            [np.zeros(0, complex), *(p.field for p in played if p.field is not None)]
        ),
        gradient=np.concatenate([np.zeros((0, 3)), *map(_gradient, played)]).astype(np.float32),
    )


def _begins(lengths: list[int]) -> Array:
    """Return where parts of such lengths begin, and the end."""
    return np.cumsum([0, *lengths])


def _terms(half_angle: float) -> int:
    """Return how many terms a series has for pulses that turn by up to twice an angle [rad].

    The coefficients are bounded by Bessel functions, J_n(x) < (x / 2)^n / n!, at even n.
    """
    terms, left = 1, 1.0
    while left > _LEFT_OUT or 2 * terms < half_angle:
        left *= (half_angle / 2) ** 2 / ((2 * terms - 1) * (2 * terms))
        terms += 1
    return terms
