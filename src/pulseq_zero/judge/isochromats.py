"""Bloch isochromats: the judge of the phase distribution graphs, sharing no code with them.

Every voxel is a box filled with spins, each with its own place and its own frequency. A
frequency is a quantile of the Cauchy distribution whose width 1 / (2π T2') makes
exp(-|t| / T2'). Places and frequencies are a lattice in these four dimensions, which a seed
shifts at random in every voxel: no error is common to all seeds, so that the difference of two
tells how large it is. Along axes where all spins come to each pulse alike none are spread: what a
voxel's width does there is known exactly.

Spins do not diffuse: compare with a phantom whose D is zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pulseq_zero.conversion.repetitions import Repetitions
from pulseq_zero.errors import SimulationError
from pulseq_zero.judge.kernel import Array, pulse_table, simulate_voxels

if TYPE_CHECKING:
    import MRzeroCore as mr0

# A voxel whose ends are less than this many turns apart is not dephased.
_NOT_DEPHASED = 1e-5
# Steps that differ by less than this many turns anywhere are the same step.
_SAME_TURNS = 1e-7
# For them, spins further off resonance than this [Hz] are few.
_FAR_OFF = 1e4

# How finely pulses are tabulated [rad]: by turns about z and about the transverse axis. Bilinear
# interpolation then errs by less than 1e-4.
_TABLE_STEP = 0.025

# Spins are doubled in each voxel by itself. Its error falls about like this power of their number
_ORDER = 0.9
# and a round does not ask for more than this many times as many as the one before.
_MOST_AT_ONCE = 16


@dataclass(frozen=True)
class Isochromats:
    """The signal of a converged simulation.

    Attributes
    ----------
    signal
        (samples, coils) complex: the mean of the seeds' signals.
    seeds
        (seeds, samples, coils) complex: the signal of each of them.
    spins
        Mean number of spins in a voxel, in each of the runs.
    scatter
        Norm of the difference of the two seeds' signals, relative to their mean's. The mean
        itself errs by about half of it.
    """

    signal: Tensor
    seeds: Tensor
    spins: float
    scatter: float


@dataclass(frozen=True)
class SpinPulse:
    """What an RF pulse does.

    Attributes
    ----------
    angle
        Nominal flip angle [rad] of a rotation at once; otherwise the pulse's amplitude [Hz].
    phase
        [rad].
    turn
        By what angle a rotation at once turns spins about z after it [rad].
    channels
        Complex weights of the transmit channels; None adds them up.
    course
        (steps,) complex course of a pulse that takes its time, relative to its amplitude and
        phase; None for a rotation at once.
    step
        Duration of each of its steps [s].
    gradient
        (xyz,) gradient that is on meanwhile [Hz/m].
    """

    angle: float
    phase: float
    turn: float = 0.0
    channels: Array | None = None
    course: Array | None = None
    step: float = 0.0
    gradient: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass
class Course:
    """What spins undergo: steps under gradients, some beginning with a pulse.

    Attributes
    ----------
    moment, time, relaxation
        For each step its gradient moment (xyz) [1/m], how long spins turn, and how long they
        relax [s]. The last two differ beside pulses that take their time.
    pulse
        The pulse that each step begins with.
    is_sample
        Whether a sample ends the step.
    receiver_phase
        For each sample [rad].
    """

    moment: list[Array] = field(default_factory=list)
    time: list[float] = field(default_factory=list)
    relaxation: list[float] = field(default_factory=list)
    pulse: list[SpinPulse | None] = field(default_factory=list)
    is_sample: list[bool] = field(default_factory=list)
    receiver_phase: list[float] = field(default_factory=list)

    def play(self, pulse: SpinPulse) -> None:
        """Append a pulse. Relaxation acts half before and half after one that takes its time."""
        duration = 0.0 if pulse.course is None else pulse.step * len(pulse.course)
        if self.relaxation:
            self.relaxation[-1] += duration / 2
        self._append(pulse, np.zeros(3), 0.0, duration / 2)

    def wait(self, moment: Array, time: float) -> None:
        """Let spins turn under a gradient moment [1/m] for a time [s]."""
        if not self.time or self.is_sample[-1]:
            self._append(None, np.zeros(3), 0.0, 0.0)
        self.moment[-1] = self.moment[-1] + moment
        self.time[-1] += time
        self.relaxation[-1] += time

    def sample(self, receiver_phase: float) -> None:
        """Take a sample now."""
        if not self.time or self.is_sample[-1]:
            self._append(None, np.zeros(3), 0.0, 0.0)
        self.is_sample[-1] = True
        self.receiver_phase.append(receiver_phase)

    def _append(
        self, pulse: SpinPulse | None, moment: Array, time: float, relaxation: float
    ) -> None:
        self.pulse.append(pulse)
        self.moment.append(moment)
        self.time.append(time)
        self.relaxation.append(relaxation)
        self.is_sample.append(False)


def course_of(repetitions: Repetitions) -> Course:
    """Return what spins undergo in a sequence whose pulses are rotations at once."""
    sequence, course = repetitions.detach().to("cpu"), Course()
    angle, phase = sequence.pulse_angle.tolist(), sequence.pulse_phase.tolist()
    time, moment = sequence.event_time.tolist(), sequence.gradient_moment.double().numpy()
    is_sample, adc_phase = sequence.is_sample.tolist(), sequence.adc_phase.tolist()
    for repetition, first in enumerate(sequence.first_event):
        shim = None if sequence.shim is None else sequence.shim[repetition].resolve_conj().numpy()
        course.play(SpinPulse(angle[repetition], phase[repetition], channels=shim))
        for event in range(first, first + sequence.event_count[repetition]):
            course.wait(moment[event], time[event])
            if is_sample[event]:
                course.sample(adc_phase[event])
    return course


def isochromat_signal(
    course: Course,
    data: mr0.SimData,
    spins: int | Tensor,
    *,
    seed: int = 0,
    voxel_size: tuple[float, float, float] | None = None,
) -> Tensor:
    """Simulate with a given number of spins.

    Parameters
    ----------
    course
        What spins undergo: `course_of` repetitions, or `seq.read_course` of a file.
    data
        The phantom; its voxels are boxes here, and it does not diffuse.
    spins
        Spins in each voxel, a power of 2; a number, or (voxels,).
    seed
        Of the spins' places and frequencies.
    voxel_size
        Size of the voxels [m]; None takes it from the phantom's Nyquist frequency. A size other
        than that changes the amount of magnetisation in proportion: for spins beyond the slice,
        say, that a pulse excites in part.

    Returns
    -------
    Tensor
        (samples, coils) complex.

    Raises
    ------
    SimulationError
        If the voxels have no size, or the spins' number is no power of 2.
    """
    count = torch.as_tensor(spins).expand(data.PD.numel()).numpy().astype(np.int64)
    judge = _Judge(course, data, voxel_size)
    everywhere = np.ones(len(count), dtype=bool)
    return judge.received(judge.simulate(count, [seed], everywhere)[0])[0]


def converged_isochromats(
    course: Course,
    data: mr0.SimData,
    *,
    tolerance: float = 5e-3,
    spins: int = 64,
    largest: int = 2**15,
    voxel_size: tuple[float, float, float] | None = None,
) -> Isochromats:
    """Double the number of spins until two seeds agree.

    Voxels differ in the spins that they need: many with a short T2', few with little in them.
    Each gets as many as make the whole agree at least cost, from what the two seeds differed by
    in it with fewer.

    Parameters
    ----------
    course, data, voxel_size
        As for `isochromat_signal`.
    tolerance
        Largest relative difference of the two signals.
    spins, largest
        Number of spins in each voxel to begin with, and the largest; powers of 2.

    Returns
    -------
    Isochromats
        The signal with its scatter, which exceeds the tolerance if the largest number of spins
        did not do.
    """
    judge = _Judge(course, data, voxel_size)
    count = np.full(data.PD.numel(), spins, dtype=np.int64)
    everywhere = np.ones(len(count), dtype=bool)
    signal, difference = judge.simulate(count, [0, 1], everywhere)
    while True:
        seeds = judge.received(signal)
        mean = seeds.mean(0)
        size = float(mean.abs().square().sum().sqrt())
        scatter = float((seeds[0] - seeds[1]).abs().square().sum().sqrt()) / max(size, 1e-30)
        aim = 0.8 * tolerance * size
        more = _more_spins(count, difference, aim, largest)
        # Numbers are rounded to powers of 2: the next ones may be those of now
        while scatter > tolerance and np.array_equal(more, count) and count.max() < largest:
            aim *= 0.8
            more = _more_spins(count, difference, aim, largest)
        if scatter <= tolerance or np.array_equal(more, count):
            return Isochromats(mean, seeds, float(count.mean()), scatter)
        # What voxels that need no more have given stays; the others' is taken out again
        changed = more != count
        signal -= judge.simulate(count, [0, 1], changed)[0]
        added, difference[changed] = judge.simulate(more, [0, 1], changed)
        signal += added
        count = more


def _more_spins(count: Array, difference: Array, target: float, largest: int) -> Array:
    """Divide spins among voxels so that the sum of squared errors meets the target.

    With errors e² that fall like n^(-2p), the total number is least where every voxel has
    n ∝ e^(2 / (1 + 2p)), e being its error with equally many spins.
    """
    power = 2 * _ORDER
    unit = np.maximum(difference, 1e-30) * count.astype(float) ** power
    share = unit ** (1 / (1 + power))
    total = float((unit * share**-power).sum())
    wanted = share * (total / max(target, 1e-30) ** 2) ** (1 / power)
    wanted = np.clip(wanted, count, np.minimum(count * _MOST_AT_ONCE, max(largest, count.max())))
    return np.exp2(np.log2(wanted).round()).astype(np.int64)


class _Judge:
    """Course and phantom as the compiled loops want them."""

    def __init__(
        self, course: Course, data: mr0.SimData, voxel_size: tuple[float, float, float] | None
    ) -> None:
        own_size = 0.5 / data.nyquist.double().cpu().numpy()
        size = own_size if voxel_size is None else np.array(voxel_size, dtype=float)
        if not np.isfinite(size).all():
            raise SimulationError(
                "the phantom does not say how large its voxels are; give voxel_size"
            )
        share = float((size / own_size).prod()) if np.isfinite(own_size).all() else 1.0

        def maps(values: Tensor) -> Array:
            return values.detach().cpu().double().numpy()

        centre, transmit = maps(data.voxel_pos), data.B1.detach().cpu().resolve_conj().numpy().T
        weight = (
            data.coil_sens.detach().cpu() * data.PD.detach().cpu()
        ).resolve_conj().numpy().T * share
        is_spread, left = _dephasing(course, size)
        self._voxels = (
            centre, np.where(is_spread, size, 0.0),
            maps(data.B0), 1 / (2 * math.pi * maps(data.T2dash)),
            1 / maps(data.T1), 1 / maps(data.T2),
            np.ascontiguousarray(transmit, np.complex128),
            np.ascontiguousarray(weight, np.complex128),
        )  # fmt: skip
        reach = np.abs(centre).max(0) + size / 2
        off_resonance = float(np.abs(self._voxels[2]).max())
        strongest = float(np.abs(transmit).sum(1).max())
        compiled = _compile(course, transmit.shape[1], reach, off_resonance, strongest)
        self._course = (*compiled[:8], left, *compiled[8:])
        self._receiver = torch.tensor(course.receiver_phase, dtype=torch.float32)

    def simulate(self, spins: Array, seeds: Sequence[int], chosen: Array) -> tuple[Array, Array]:
        """Simulate some of the voxels, as (voxels,) bool says.

        Returns
        -------
        tuple
            (seeds, samples, coils) complex128 signals without the receiver's phase, and
            (chosen voxels,) squared differences of the first two.
        """
        if (spins & (spins - 1)).any() or spins.min() < 1:
            raise SimulationError("the number of spins in a voxel must be a power of 2")
        shift = np.stack([np.random.default_rng(s).random((len(spins), 4)) for s in seeds])
        centre, size, *maps = self._voxels
        voxels = (centre[chosen], size, *(values[chosen] for values in maps))
        signal = np.zeros((len(seeds), len(self._receiver), maps[-1].shape[1]), np.complex128)
        difference: Array = simulate_voxels(
            *(shift[:, chosen], spins[chosen], *voxels, *self._course, signal)
        )
        return signal, difference

    def received(self, signal: Array) -> Tensor:
        """Return signals with the receiver's phase."""
        turned = torch.polar(torch.ones_like(self._receiver), self._receiver)
        return torch.from_numpy(signal.astype(np.complex64)) * turned[:, None]


def _dephasing(course: Course, size: Array) -> tuple[Array, Array]:
    """Find along which axes spins must be spread, and dephase the others exactly.

    Where gradients are balanced from each pulse to the next, as phase encodings are, and off during
    pulses, all spins along an axis come to each pulse alike, and leave it alike: a sample at the
    moment k since then is sinc(k Δ) times what a spin in the middle of the voxel's width Δ gives.

    Parameters
    ----------
    course
        The course.
    size
        (xyz,) of the voxels [m].

    Returns
    -------
    tuple
        (xyz,) bool, and (samples,) what is left by dephasing along the axes that are not spread.
    """
    turns = np.reshape(course.moment, (-1, 3)) * size
    is_pulse = np.array([pulse is not None for pulse in course.pulse], dtype=bool)
    before = np.cumsum(turns, axis=0) - turns
    at_pulses = before[is_pulse]
    is_spread = (np.abs(np.diff(at_pulses, axis=0)) > _NOT_DEPHASED).any(0)
    for pulse in course.pulse:
        if pulse is not None and pulse.course is not None:
            meanwhile = np.array(pulse.gradient) * size * pulse.step * len(pulse.course)
            is_spread |= np.abs(meanwhile) > _NOT_DEPHASED
    last = np.maximum.accumulate(np.where(is_pulse, np.arange(len(turns)), 0))
    since = before + turns - before[last]
    left: Array = np.sinc(np.where(is_spread, 0.0, since[np.array(course.is_sample, dtype=bool)]))
    return is_spread, left.prod(1)


def _compile(
    course: Course, channels: int, reach: Array, off_resonance: float, strongest: float
) -> tuple[Array, ...]:
    """Put a course into arrays, with a table for each kind of pulse that takes its time.

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
    """
    course, readouts = _gather_samples(course, reach)
    moment, time = np.reshape(course.moment, (-1, 3)), np.array(course.time)
    turns = np.column_stack([moment * reach, time * _FAR_OFF])
    change = np.abs(np.diff(turns, axis=0)).max(1) if len(turns) else np.zeros(0)
    pulses: list[SpinPulse] = []
    number = []
    known: dict[int, int] = {}
    for pulse in course.pulse:
        if pulse is not None and id(pulse) not in known:
            known[id(pulse)] = len(pulses)
            pulses.append(pulse)
        number.append(-1 if pulse is None else known[id(pulse)])
    kinds: list[list[SpinPulse]] = []
    kind = [-1 if p.course is None else _kind(p, kinds) for p in pulses]
    tables, shapes, steps = [np.zeros((4, 0), np.float32)], [], []
    for alike in kinds:
        amplitudes, frequencies = _grid(alike, reach, off_resonance, strongest)
        first = sum(table.shape[1] for table in tables)
        shapes.append((first, len(amplitudes), len(frequencies)))
        steps.append((amplitudes[1], frequencies[1] - frequencies[0]))
        table = pulse_table(alike[0].course, alike[0].step, amplitudes, frequencies)
        tables.append(table.reshape(-1, 4).T)
    weights = [np.ones(channels) if p.channels is None else p.channels for p in pulses]
    return (
        moment.astype(np.float32), time.astype(np.float32), np.array(course.relaxation),
        np.append(True, change > _SAME_TURNS), *readouts,
        np.array(number, dtype=np.int64),
        np.array([p.angle for p in pulses]), np.array([p.phase for p in pulses]),
        np.array([p.turn for p in pulses]),
        np.array(weights, dtype=np.complex128).reshape(-1, channels),
        np.array([p.gradient for p in pulses], dtype=np.float32).reshape(-1, 3),
        np.array(kind, dtype=np.int64),
        np.concatenate(tables, axis=1), np.array(shapes, dtype=np.int64).reshape(-1, 3),
        np.array(steps).reshape(-1, 2),
    )  # fmt: skip


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
            gathered._append(None, *rest)
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
        gathered._append(pulse, moment, time, relaxation)
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


def _grid(
    alike: list[SpinPulse], reach: Array, off_resonance: float, strongest: float
) -> tuple[Array, Array]:
    """Return amplitudes and frequencies [Hz] that pulses of one kind are tabulated at."""
    one = alike[0]
    assert one.course is not None
    duration, area = one.step * len(one.course), one.step * float(np.abs(one.course).sum())
    # Where a pulse has no power, far from the middle, spins only turn about z
    furthest = max(float(np.abs(p.gradient) @ reach) for p in alike) + off_resonance + 20 / duration
    frequency_step = _TABLE_STEP / (math.pi * duration)
    columns = math.ceil(furthest / frequency_step)
    amplitude_step = _TABLE_STEP / (2 * math.pi * area)
    rows = math.ceil(max(abs(p.angle) for p in alike) * strongest / amplitude_step)
    return np.arange(rows + 2) * amplitude_step, np.arange(-columns, columns + 1) * frequency_step


def _kind(pulse: SpinPulse, kinds: list[list[SpinPulse]]) -> int:
    """Return the number of the pulse's kind: of those with the same course."""
    assert pulse.course is not None
    for number, alike in enumerate(kinds):
        one = alike[0]
        assert one.course is not None
        is_alike = len(one.course) == len(pulse.course) and math.isclose(one.step, pulse.step)
        if is_alike and np.abs(one.course - pulse.course).max() < 1e-6:
            alike.append(pulse)
            return number
    kinds.append([pulse])
    return len(kinds) - 1
