"""A ``.seq`` file as spins feel it: read by PyPulseq, for the judge of the simulation.

Nothing is shared with the conversion that the phase distribution graphs build on. At the level
of *instantaneous* pulses each is one rotation at its centre, as spins in the middle of its slice
feel it, or, without a gradient, spins on resonance; at the *full* level pulses take their time,
gradients and off-resonance acting meanwhile: slice profiles, adiabatic inversion.

Signs are Pulseq's: a spin at a frequency f turns with exp(2πi f t), and so does the field of a
pulse with that offset, t being counted from the start of the pulse's shape.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Literal, get_args

import numpy as np
import pypulseq

from pulseq_zero.errors import SequenceError
from pulseq_zero.files.seq import read_seq
from pulseq_zero.files.system import system_of
from pulseq_zero.judge.course import Course, SpinPulse
from pulseq_zero.judge.pulse_series import pulse_table

Physics = Literal["instantaneous", "full"]

_AXES = ("gx", "gy", "gz")

# A pulse whose samples are off a line in the complex plane by more than this part turns spins
# otherwise than one rotation does.
_ON_A_LINE = 1e-3

# Relaxation acts before and after a pulse that takes no longer than the first number, and between
# its parts where it takes longer: of such a duration [s], and so many in a full turn.
_LONG, _PART, _PER_TURN = 4e-3, 5e-4, 8


def read_course(
    path: Path | str,
    physics: Physics = "full",
    rf_step: float = 1e-5,
    *,
    check_signature: bool = False,
) -> Course:
    """Read what spins undergo in the sequence of a ``.seq`` file.

    Parameters
    ----------
    path
        The file.
    physics
        ``"full"``: pulses take their time; to see slice profiles, simulate with a
        ``voxel_size`` that reaches beyond the slice. ``"instantaneous"``: each is one rotation
        at its centre, the same for all spins.
    rf_step
        Longest step of a pulse that takes its time [s].
    check_signature
        As for `pulseq_zero.files.seq.read_seq`.

    Raises
    ------
    SequenceError
        If the file cannot be read, or a pulse cannot be simulated: with instantaneous pulses one
        that is no rotation (adiabatic, say); or if there is no such physics.
    """
    if physics not in get_args(Physics):
        raise SequenceError(f"physics is {physics!r}, but must be one of {get_args(Physics)}")
    sequence, course = read_seq(path, check_signature=check_signature), Course()
    system = system_of(sequence)
    for number in sequence.block_events:
        _play(sequence.get_block(number), system, physics, rf_step, course)
    return course


def _play(
    block: SimpleNamespace,
    system: pypulseq.Opts,
    physics: Physics,
    rf_step: float,
    course: Course,
) -> None:
    """Append a block to a course."""
    if getattr(block, "rotation", None) is not None:
        raise SequenceError("rotated blocks cannot be simulated; write the gradients as rotated")
    waveforms = [_waveform(getattr(block, axis, None)) for axis in _AXES]

    def moments(at: Sequence[float] | np.ndarray) -> np.ndarray:
        return np.stack([_integral(*waveform, np.asarray(at)) for waveform in waveforms], 1)

    now = 0.0

    def go_to(time: float) -> None:
        nonlocal now
        before, after = moments([now, time])
        course.wait(after - before, time - now)
        now = time

    # A pulse comes before the samples of its block or after them, never in between
    rf, adc = getattr(block, "rf", None), getattr(block, "adc", None)
    pulse = None
    # A pulse without power, as an optimizer may leave one, is none
    if rf is not None and np.any(rf.signal):
        middle = rf.delay + pypulseq.calc_rf_center(rf)[0]
        is_selective = any(np.interp(middle, *wave, left=0.0, right=0.0) for wave in waveforms)
        pulse = _pulse(rf, system, physics, rf_step, is_selective=is_selective)
    pulse_time = math.inf
    if rf is not None and pulse is not None:
        pulse_time = rf.delay + (pypulseq.calc_rf_center(rf)[0] if pulse.field is None else 0.0)
    times, phases = ([], []) if adc is None else _samples(adc, system)
    marks = [*zip(times, phases, strict=True), (pulse_time, None)]
    for time, receiver_phase in sorted(marks, key=lambda mark: mark[0]):
        if math.isinf(time):
            continue
        go_to(time)
        if receiver_phase is not None:
            course.sample(receiver_phase)
        elif pulse is not None and pulse.field is not None:
            marks_inside = now + pulse.step * np.arange(len(pulse.field) + 1)
            gradient = np.diff(moments(marks_inside), axis=0) / pulse.step
            for part in _parts(pulse):
                course.play(
                    dataclasses.replace(pulse, field=pulse.field[part], gradient=gradient[part])
                )
            now += pulse.duration
        elif pulse is not None:
            course.play(pulse)
    go_to(float(block.block_duration))


def _samples(adc: SimpleNamespace, system: pypulseq.Opts) -> tuple[list[float], list[float]]:
    """Return when samples are taken [s], since the start of the block, and their phases [rad]."""
    since_start = (np.arange(adc.num_samples) + 0.5) * adc.dwell
    phase = _phase(adc, system) + 2 * np.pi * _frequency(adc, system) * since_start
    modulation = getattr(adc, "phase_modulation", None)
    if modulation is not None and len(modulation):
        phase = phase + np.asarray(modulation)
    return (adc.delay + since_start).tolist(), (np.pi / 2 - phase).tolist()


def _pulse(
    rf: SimpleNamespace,
    system: pypulseq.Opts,
    physics: Physics,
    longest: float,
    *,
    is_selective: bool,
) -> SpinPulse:
    if physics == "instantaneous":
        longest = min(longest, float(np.diff(rf.t).min()))  # the integral of the samples, exactly
    duration = _duration(rf)
    count = max(1, math.ceil(duration / longest - 1e-9))
    step = duration / count
    time = (np.arange(count) + 0.5) * step
    signal = np.asarray(rf.signal, dtype=complex)
    shape = np.interp(time, rf.t, signal.real) + 1j * np.interp(time, rf.t, signal.imag)
    centre, total = pypulseq.calc_rf_center(rf)[0], shape.sum()
    own, offset = np.exp(1j * np.angle(total)), 2 * np.pi * _frequency(rf, system)
    at_centre = _phase(rf, system) + offset * centre + np.angle(total)
    shape = shape / own
    if physics == "instantaneous":
        if np.abs(shape.imag).max() > _ON_A_LINE * np.abs(shape).max():
            raise SequenceError(
                "a pulse whose phase changes is no rotation of all spins alike; judge the "
                "sequence with full physics"
            )
        if is_selective or offset == 0:
            return SpinPulse(2 * np.pi * step * abs(total), at_centre)
    amplitude = float(np.abs(shape).max())
    field = shape * np.exp(1j * offset * (time - centre)) / amplitude
    if physics == "instantaneous":
        return _on_resonance(field, step, amplitude, at_centre)
    return SpinPulse(amplitude, at_centre, field=field, step=step)


def _duration(rf: SimpleNamespace) -> float:
    """Return how long a pulse takes [s].

    PyPulseq has it end with the raster after its last sample. One that has longer steps ends half a
    step after that, as it begins half a step before the first.
    """
    steps = np.diff(rf.t)
    if np.all(np.abs(steps - 2 * rf.t[0]) <= 1e-6 * rf.t[0]):
        return max(float(rf.shape_dur), float(rf.t[-1] + rf.t[0]))
    return float(rf.shape_dur)


def _parts(pulse: SpinPulse) -> list[slice]:
    """Return the steps of the parts of a pulse, between which spins relax."""
    if pulse.field is None or pulse.duration <= _LONG:
        return [slice(None)]
    turns = pulse.angle * pulse.step * float(np.abs(pulse.field).sum())
    count = math.ceil(max(pulse.duration / _PART, turns * _PER_TURN))
    ends = np.linspace(0, len(pulse.field), min(count, len(pulse.field)) + 1).round().astype(int)
    return [slice(a, b) for a, b in itertools.pairwise(ends.tolist())]


def _on_resonance(field: np.ndarray, step: float, amplitude: float, phase: float) -> SpinPulse:
    """Return the rotation, and the turn about z after it, that a pulse is on resonance."""
    table = pulse_table(field, step, np.array([amplitude]), np.zeros(1))[0, 0]
    a, b = complex(table[0], table[1]), complex(table[2], table[3])
    half_turn = float(np.angle(a))
    axis = float(np.angle(b)) + np.pi / 2 + half_turn
    return SpinPulse(2 * math.atan2(abs(b), abs(a)), phase + axis, turn=-2 * half_turn)


def _frequency(event: SimpleNamespace, system: pypulseq.Opts) -> float:
    return event.freq_offset + 1e-6 * getattr(event, "freq_ppm", 0) * system.gamma * system.B0


def _phase(event: SimpleNamespace, system: pypulseq.Opts) -> float:
    return event.phase_offset + 1e-6 * getattr(event, "phase_ppm", 0) * system.gamma * system.B0


def _waveform(gradient: SimpleNamespace | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the corners of a gradient: times [s] and amplitudes [Hz/m]."""
    if gradient is None:
        return np.zeros(1), np.zeros(1)
    if gradient.type == "trap":
        lengths = [gradient.delay, gradient.rise_time, gradient.flat_time, gradient.fall_time]
        return np.cumsum(lengths), np.array([0, gradient.amplitude, gradient.amplitude, 0])
    times, values = np.asarray(gradient.tt), np.asarray(gradient.waveform)
    if times[0] > 0:
        times, values = np.append(0, times), np.append(gradient.first, values)
    if times[-1] < gradient.shape_dur:
        times, values = np.append(times, gradient.shape_dur), np.append(values, gradient.last)
    return gradient.delay + times, values


def _integral(times: np.ndarray, values: np.ndarray, until: np.ndarray) -> np.ndarray:
    """Integrate what is linear between corners and zero outside, up to each of some times."""
    whole = np.append(0.0, np.cumsum(0.5 * (values[1:] + values[:-1]) * np.diff(times)))
    end = until.clip(times[0], times[-1])
    corner = np.searchsorted(times, end, side="right") - 1
    mean: np.ndarray = 0.5 * (values[corner] + np.interp(end, times, values))
    return whole[corner] + mean * (end - times[corner])
