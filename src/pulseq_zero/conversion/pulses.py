"""RF pulses as rotations.

A pulse turns the magnetisation, right-handed, about an axis in the transverse plane: that of the
field s(t) exp(i (phase + 2 pi f t)), with t from the start of its shape. As Pulseq has it, a spin
at a frequency f turns with exp(2 pi i f t), along with the field of a pulse at that frequency.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pypulseq import Opts

from pulseq_zero.conversion.gradients import SAME_TIME, moments_between, numpy_for
from pulseq_zero.errors import SequenceError
from pulseq_zero.tracing import is_traced, raw

SubPulses = int | Mapping[str, int]

# Steps of a pulse: at least so many, and so many in a period of the highest frequency that holds
# more than this part of its power.
_FEWEST_STEPS, _PER_PERIOD, _IN_BAND = 64, 20, 2e-3
# They are too long for pulses whose squared change from step to step, relative to their power, is
# that of so few in a period, and so many times what it was when they were chosen.
_FASTER = 1.5

# A pulse whose samples lie this near to a line in the complex plane, relative to the largest,
# keeps its phase.
_ON_A_LINE = 1e-6

# Of what takes more samples, arrays fit into no memory
_MOST_SAMPLES = 2**22

# How densely a pulse has to be sampled to be composed of its samples.
_PER_PIECE = 4
_PER_RADIAN = 20


@dataclass(frozen=True)
class Rotation:
    """A pulse or a piece of one, thought to act at one moment.

    Attributes
    ----------
    time
        When, since the start of the block [s].
    angle, phase
        Flip angle and phase [rad].
    turn
        By what angle the transverse magnetisation is turned about z after that [rad].
    use
        What the pulse is for.
    """

    time: Any
    angle: Any
    phase: Any
    turn: Any
    use: str


@dataclass(frozen=True)
class Steps:
    """A pulse as it is played, in steps so short that each is a rotation.

    Attributes
    ----------
    signal
        (steps,) complex mean field [Hz], with the frequency offset and without the phase offset.
    time
        (steps,) durations [s].
    moment
        (steps, xyz) gradient moments [1/m].
    centre
        When the pulse acts, since the first step began [s].
    """

    signal: Any
    time: Any
    moment: Any
    centre: Any


def frequency(event: SimpleNamespace, system: Opts) -> Any:
    """Frequency offset of an RF or ADC event [Hz]."""
    return event.freq_offset + _parts_per_million(event, "freq_ppm", system)


def phase(event: SimpleNamespace, system: Opts) -> Any:
    """Phase offset of an RF or ADC event [rad]."""
    return event.phase_offset + _parts_per_million(event, "phase_ppm", system)


def rotations(
    rf: SimpleNamespace, system: Opts, *, is_selective: bool, sub_pulses: SubPulses
) -> tuple[Rotation, ...]:
    """Rotations that stand for a pulse.

    A pulse on a line in the complex plane (sinc, Gauss, block) is one rotation at its centre,
    as seen by the spins in the middle of its slice. So is any other (adiabatic, off-resonant
    without a gradient), as seen by the spins on resonance. As sub-pulses, it is as many, with
    the gradients acting between them.

    Parameters
    ----------
    rf
        The pulse, whose phase offset is left out: it adds to the phases of all rotations.
    system
        For offsets in parts per million.
    is_selective
        Whether a gradient is on during the pulse, so that its frequency means a place.
    sub_pulses
        In how many pieces to cut the pulse, for all pulses or by their use.
    """
    _check_samples(rf)
    use = rf.use or "undefined"
    pieces = sub_pulses if isinstance(sub_pulses, int) else sub_pulses.get(use, 1)
    on_resonance = is_selective or _is_nothing(frequency(rf, system))
    if pieces == 1 and on_resonance and keeps_its_phase(rf.signal):
        return (_at_once(rf, system, use),)
    return _composed(rf, system, use, pieces, is_selective)


def _check_samples(rf: SimpleNamespace) -> None:
    """Refuse a pulse whose samples do not follow each other, or that acts before or after them."""
    times, centre = np.asarray(raw(rf.t)), raw(rf.center)
    if not len(times) or (np.diff(times) <= 0).any():
        raise SequenceError(
            "a pulse has samples that do not follow each other in time; mend the sequence, or get "
            "the file again"
        )
    duration = raw(pulse_duration(rf))
    if not -SAME_TIME <= centre <= duration + SAME_TIME:
        raise SequenceError(
            f"a pulse of {1e3 * duration:.4g} ms has its centre at {1e3 * centre:.4g} ms; mend the "
            "sequence, or get the file again"
        )


def steps_of(shape: SimpleNamespace, gradients: list[tuple[str, Any, Any]], system: Opts) -> Steps:
    """Cut a pulse into steps.

    Parameters
    ----------
    shape
        The pulse, whose phase does not matter.
    gradients
        Channel, times [s] and amplitudes [Hz/m] of the corners of each gradient in its block.
    system
        For offsets in parts per million.
    """
    per_second = 2 * np.pi * frequency(shape, system)
    count = _step_count(shape, raw(per_second))
    signal, times, durations = _finely_sampled(shape, count)
    xp = numpy_for(signal, times, durations, per_second)
    if not _is_nothing(per_second):
        signal = signal * xp.exp(1j * per_second * times)
    first = np.linspace(0, len(raw(durations)), count + 1).round().astype(int)[:-1]
    length = xp.add.reduceat(durations, first)
    mean = xp.add.reduceat(signal * durations, first) / length
    edges = shape.delay + xp.concatenate([[0.0], xp.cumsum(length)])
    return Steps(mean, length, moments_between(gradients, edges), shape.center)


def _step_count(shape: SimpleNamespace, per_second: float) -> int:
    """Return in how many steps a pulse resolves its frequencies."""
    duration = float(raw(pulse_duration(shape)))
    grid = np.linspace(0, duration, 4096)
    values = np.asarray(raw(shape.signal))
    field = np.interp(grid, raw(shape.t), values.real)
    if np.iscomplexobj(values):
        field = field + 1j * np.interp(grid, raw(shape.t), values.imag)
    if per_second != 0:
        field = field * np.exp(1j * per_second * grid)
    power = np.abs(np.fft.fft(field, 2 * len(grid))) ** 2
    # From the slowest frequencies to the fastest, of both signs
    both = power[: len(grid) + 1].copy()
    both[1:-1] += power[: len(grid) : -1]
    outside = power.sum() - np.cumsum(both)
    highest = float(np.argmax(outside <= _IN_BAND * power.sum())) / (2 * len(grid) * grid[1])
    return max(_FEWEST_STEPS, int(np.ceil(_PER_PERIOD * highest * duration)))


def change_over_steps(signal: NDArray[np.complex128], counts: Sequence[int]) -> NDArray[np.float64]:
    """Return the squared change of pulses from step to step, relative to their power, (pulses,).

    Parameters
    ----------
    signal
        (steps,) of all pulses, those of the one behind those of the other.
    counts
        Number of steps of each of the pulses.
    """
    number = np.repeat(np.arange(len(counts)), counts)
    within = number[1:] == number[:-1]
    square = np.where(within, np.abs(np.diff(signal)) ** 2, 0.0)
    change = np.bincount(number[1:], square, len(counts))
    size = np.bincount(number, np.abs(signal) ** 2, len(counts))
    return change / np.maximum(size, 1e-300)


def most_change(signal: NDArray[np.complex128], counts: Sequence[int]) -> NDArray[np.float64]:
    """Return up to which `change_over_steps` the steps that were chosen for pulses do."""
    usual = (2 * np.pi / _PER_PERIOD) ** 2
    return np.maximum(_FASTER * change_over_steps(signal, counts), usual)


def pulse_duration(rf: SimpleNamespace) -> Any:
    """Find how long a pulse takes [s], as Pulseq has it.

    Samples at even distances, the first at half of one, are the centres of cells, and the pulse
    ends with the last cell. PyPulseq lets it end behind the last sample, once it is in a sequence.
    """
    times = raw(rf.t)
    cell = 2 * times[0]
    are_centres = np.allclose(np.diff(times), cell, rtol=1e-6, atol=0)
    end = times[0] + times[-1]
    return end if are_centres and end > (1 + 1e-9) * raw(rf.shape_dur) else rf.shape_dur


def sample_durations(rf: SimpleNamespace) -> Any:
    """Find how long each sample of a pulse counts [s]: the pulse is linear between samples."""
    duration = pulse_duration(rf)
    xp = numpy_for(rf.t, duration)
    edges = xp.concatenate([[0.0], 0.5 * (rf.t[1:] + rf.t[:-1]), [duration]])
    return edges[1:] - edges[:-1]


def keeps_its_phase(signal: Any) -> bool:
    """Tell whether a pulse stays on a line in the complex plane; guarded, if it is traced."""
    values = raw(signal)
    if not np.iscomplexobj(values):
        return True
    largest = signal[int(np.argmax(np.abs(values)))]
    across = signal.imag * largest.real - signal.real * largest.imag
    along = largest.real * largest.real + largest.imag * largest.imag
    return bool(np.max(np.abs(across)) <= _ON_A_LINE * along)


def _at_once(rf: SimpleNamespace, system: Opts, use: str) -> Rotation:
    r"""Integrate a pulse: :math:`2\pi\int s(t)\,dt` holds its angle and phase.

    The sign of a real pulse goes into the phase as it is when traced, and from there on into
    the angle: so the angle can be differentiated, and pass, through zero.
    """
    weights = 2 * np.pi * sample_durations(rf)
    if np.iscomplexobj(raw(rf.signal)):
        angle, own_phase = _polar(
            np.sum(rf.signal.real * weights), np.sum(rf.signal.imag * weights)
        )
    else:
        integral = np.sum(rf.signal * weights)
        negative = raw(integral) < 0
        angle, own_phase = (-integral, np.pi) if negative else (integral, 0.0)
    at_centre = 2 * np.pi * frequency(rf, system) * rf.center
    return Rotation(rf.delay + rf.center, angle, own_phase + at_centre, 0.0, use)


def _polar(real: Any, imaginary: Any) -> tuple[Any, Any]:
    if raw(real) == 0 and raw(imaginary) == 0:
        return real, 0.0
    return np.hypot(real, imaginary), np.arctan2(imaginary, real)


def _composed(
    rf: SimpleNamespace, system: Opts, use: str, pieces: int, is_selective: bool
) -> tuple[Rotation, ...]:
    per_second = 2 * np.pi * frequency(rf, system)
    needed = np.ceil(_PER_RADIAN * abs(raw(per_second)) * raw(pulse_duration(rf)))
    signal, times, durations = _finely_sampled(rf, max(_PER_PIECE * pieces, needed))
    xp = numpy_for(signal, times, durations, rf.center, per_second)
    if not is_selective:
        signal = signal * xp.exp(1j * per_second * times)
    ends = np.linspace(0, len(raw(durations)), pieces + 1).round().astype(int)
    angle, phases, turn = _axis_and_angle(*_product(*_spinors(xp, signal, durations), ends))
    edges = xp.concatenate([[0.0], xp.cumsum(durations)])[ends]
    middles = 0.5 * (edges[1:] + edges[:-1]) if pieces > 1 else xp.array([rf.center])
    # In a gradient the spins in the middle of the slice turn with the pulse's frequency: they
    # meet it between the pieces, not within one.
    between = per_second * middles if is_selective else 0.0
    centre = int(np.searchsorted(raw(edges)[1:-1], raw(rf.center), side="right"))
    phases = phases + between
    return tuple(
        Rotation(
            rf.delay + middles[k], angle[k], phases[k], turn[k], use if k == centre else "other"
        )
        for k in range(pieces)
    )


def _finely_sampled(rf: SimpleNamespace, needed: float) -> tuple[Any, Any, Any]:
    """Find so many samples of a pulse or more, their times [s] and durations [s].

    A block pulse has two samples only.
    """
    if len(raw(rf.t)) >= needed:
        return rf.signal, rf.t, sample_durations(rf)
    if needed > _MOST_SAMPLES:
        raise SequenceError(
            f"a pulse of {1e3 * float(raw(pulse_duration(rf))):.4g} ms takes {needed:.3g} samples "
            "to follow; lower its frequency offset, or the number of its sub-pulses"
        )
    duration = pulse_duration(rf)
    xp = numpy_for(rf.signal, rf.t, duration)
    needed = int(needed)
    times = (np.arange(needed) + 0.5) * (duration / needed)
    signal = xp.interp(times, rf.t, rf.signal.real)
    if np.iscomplexobj(raw(rf.signal)):
        signal = signal + 1j * xp.interp(times, rf.t, rf.signal.imag)
    return signal, times, np.full(needed, 1 / needed) * duration


def _spinors(xp: Any, signal: Any, durations: Any) -> tuple[Any, Any]:
    r"""Rotation of each sample as the first column :math:`(a, b)` of its matrix in SU(2).

    :math:`a = \cos(\theta/2),\; b = -i\sin(\theta/2)\,e^{i\varphi}`.
    """
    half = np.pi * signal * durations
    size = xp.abs(half)
    return xp.cos(size) + 0j, -1j * half * xp.sinc(size / np.pi)


def _product(a: Any, b: Any, ends: Any) -> tuple[Any, Any]:
    """Compose the rotations of each piece, in pairs of neighbours."""
    xp = numpy_for(a, b)
    longest = int(np.max(np.diff(ends)))
    width = 1 << max(longest - 1, 0).bit_length()
    grid_a, grid_b = xp.ones((len(ends) - 1, width)) + 0j, xp.zeros((len(ends) - 1, width)) + 0j
    for piece, (start, end) in enumerate(itertools.pairwise(ends)):
        grid_a[piece, : end - start] = a[start:end]
        grid_b[piece, : end - start] = b[start:end]
    while grid_a.shape[1] > 1:
        a1, a2, b1, b2 = grid_a[:, ::2], grid_a[:, 1::2], grid_b[:, ::2], grid_b[:, 1::2]
        grid_a, grid_b = a2 * a1 - xp.conj(b2) * b1, b2 * a1 + xp.conj(a2) * b1
    return grid_a[:, 0], grid_b[:, 0]


def _axis_and_angle(a: Any, b: Any) -> tuple[Any, Any, Any]:
    """Split rotations into one about a transverse axis and a turn about z after it."""
    half_turn = np.arctan2(a.imag, a.real)
    angle = 2 * np.arctan2(np.hypot(b.real, b.imag), np.hypot(a.real, a.imag))
    return angle, np.arctan2(b.imag, b.real) + np.pi / 2 + half_turn, -2 * half_turn


def _parts_per_million(event: SimpleNamespace, name: str, system: Opts) -> Any:
    value = getattr(event, name, 0)
    return 0.0 if _is_nothing(value) else value * (1e-6 * system.gamma * system.B0)


def _is_nothing(value: Any) -> bool:
    """Tell whether a number is zero, and stays it."""
    return not is_traced(value) and value == 0
