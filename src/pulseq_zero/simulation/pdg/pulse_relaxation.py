"""What is neglected where relaxation acts before and after a pulse, and not on its way.

In the frame that turns with the spins, relaxation during a pulse is, to first order, the integral
of R2 + (R1 - R2) n nᵀ, where n is the z-axis as that frame sees it. Half of it before each piece of
a pulse and half after it make this integral a sum over the ends of the pieces, the trapezoidal
rule: that tells how many pieces it takes.

A pulse that neglects e of the longitudinal magnetisation each time, every TR, errs in the end by
e / (1 - q), in parts of the steady state, where q is what is left of the magnetisation until the
next time. That is exp(-TR / T1), and where transverse magnetisation does not come back, as in
spoiled gradient echoes, times what the pulse leaves along z.
"""

from __future__ import annotations

import math
import warnings
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pulseq_zero.conversion.played import PlayedPulses
from pulseq_zero.conversion.repetitions import Repetitions
from pulseq_zero.errors import SimulationError
from pulseq_zero.simulation.pdg.pulse_families import Family, families_of

if TYPE_CHECKING:
    import MRzeroCore as mr0

Array = NDArray[np.float64]
Spinor = tuple[NDArray[np.complex128], NDArray[np.complex128]]

# Pulses that are cut may neglect less by this factor: their states are there already
_ONCE_CUT = 1 / 5
# Into how many pieces pulses are cut, as far as they have so many steps
_PIECES = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
# Steps of pulses turn spins by less than this, or are followed in shorter ones [rad]
_TURN = 0.3
# In so many shorter ones, arrays of them take half a GiB
_MOST_STEPS = 2**18
# Pulses are looked at in so many times the mean transmit field, and so many times their width off
# their frequency
_FIELDS = np.array([0.5, 0.75, 1.0, 1.25])
# So many digits of the field are enough, and so many courses are kept
_DIGITS, _KEPT = 2, 64
_OFFSETS = np.array([0.0, -0.5, 0.5])
# RF spoiling adds more to the phase from pulse to pulse, each time by an angle whose sine is larger
# than this, but for a few times: the sum of such turns is longer than this part of their number
_QUADRATIC, _MOSTLY = 0.3, 0.9
# Gradients spoil that turn a voxel by so much [periods]
_DEPHASED = 0.9
# Spoiled trains err by up to so many times what spins near resonance do, in parts of their signal:
# held against Bloch's equation with up to 85 degrees, and pulses as long as half of TR
_SPOILED = 2.0
# Less than this is left at most, as a geometric series has its sum for
_ALL = 1 - 1e-9


@dataclass(frozen=True)
class MeanTissue:
    """What a phantom is like to pulses, on average over its magnetisation.

    Attributes
    ----------
    R1, R2
        Relaxation rates [1/s].
    weight
        (voxels,) share of the magnetisation.
    B1
        (transmit channels, voxels) complex field.
    B0
        (2,) the lowest and the highest off-resonance [Hz].
    reach
        (xyz,) of the voxels, to both sides of the isocentre [m].
    size
        (xyz,) of a voxel [m].
    courses
        How pulses turn spins here, as far as it is known, the last asked for at the end.
    """

    R1: float
    R2: float
    weight: Array
    B1: NDArray[np.complex128]
    B0: Array
    reach: Array
    size: Array
    courses: OrderedDict[tuple[Hashable, ...], _Course] = field(
        default_factory=OrderedDict, repr=False, compare=False
    )

    @classmethod
    def of(cls, data: mr0.SimData) -> MeanTissue:
        """Average the maps of a phantom."""

        def values(given: Tensor) -> Array:
            return given.detach().cpu().double().numpy()

        weight = values(data.PD.abs())
        weight = weight / max(weight.sum(), 1e-300)
        B0, half = values(data.B0), 0.25 / values(data.nyquist)
        return cls(
            R1=float((weight / np.abs(values(data.T1))).sum()),
            R2=float((weight / np.abs(values(data.T2))).sum()),
            weight=weight,
            B1=data.B1.detach().cpu().to(torch.complex128).numpy(),
            B0=np.array([B0.min(), B0.max()]),
            reach=np.abs(values(data.voxel_pos)).max(0) + half,
            size=2 * half,
        )

    def course(self, family: Family, largest: float) -> _Course:
        """Follow pulses of a shape, the strongest of which is so many times that."""
        shape = (family.signal, family.time, family.moment)
        largest = float(f"{largest:.{_DIGITS}g}")
        key = (*(part.numpy().tobytes() for part in shape), float(family.centre), largest)
        if key not in self.courses:
            self.courses[key] = _Course.of(family, largest, self)
        self.courses.move_to_end(key)
        while len(self.courses) > _KEPT:
            self.courses.popitem(last=False)
        return self.courses[key]


def pieces_of(repetitions: Repetitions, tissue: MeanTissue, allowed: float) -> tuple[int, ...]:
    """Choose in how many pieces to cut each of the played pulses of a sequence, (pulses,).

    Parameters
    ----------
    repetitions
        The sequence, with played pulses.
    tissue
        Where they are played.
    allowed
        By how much of the magnetisation a pulse may err, and all that it remembers.
    """
    if repetitions.played is None:
        return ()
    played = repetitions.played.map(Tensor.detach)
    mean, pieces = _fields(repetitions, tissue), [1] * len(played.step_count)
    every = _Train.of(repetitions, range(len(pieces)), tissue)
    if _most(played, mean, tissue) * max(1.0, every.remembered(np.ones(1)).max()) <= allowed:
        return tuple(pieces)
    for family in families_of(played):
        largest = float(max(family.scale.abs().numpy() * mean[family.members]))
        course = tissue.course(family, largest)
        train = _Train.of(repetitions, family.members, tissue)
        chosen, left = course.pieces(tissue, allowed, train)
        for member in family.members:
            pieces[member] = chosen
        if left > allowed:
            lasts = 1e3 * float(family.time.sum())
            warnings.warn(
                f"relaxation during a pulse of {lasts:.3g} ms is wrong by about {100 * left:.2g} % "
                f"of the magnetisation, although it is cut into {chosen} pieces; play it as "
                "several pulses, one after the other",
                stacklevel=5,
            )
    return tuple(pieces)


def _fields(repetitions: Repetitions, tissue: MeanTissue) -> Array:
    """Return (pulses,) the mean transmit field of each of the played pulses."""
    played, shim = repetitions.played, np.ones((1, len(tissue.B1)), dtype=np.complex128)
    if played is None:
        return np.zeros(0)
    if repetitions.shim is not None:
        shim = repetitions.shim.detach().to(torch.complex128).numpy()
    field = np.zeros(len(played.step_count))
    np.maximum.at(field, list(played.pulse), np.abs(shim @ tissue.B1) @ tissue.weight)
    return field


@dataclass(frozen=True)
class _Train:
    """How often pulses are played, but for those that refocus.

    These act on transverse magnetisation, and the next excitation makes another.

    Attributes
    ----------
    count
        How often.
    decay
        By how much longitudinal magnetisation decays from one time to the next.
    is_spoiled
        Whether transverse magnetisation does not come back.
    """

    count: int
    decay: float
    is_spoiled: bool

    @classmethod
    def of(cls, repetitions: Repetitions, members: Iterable[int], tissue: MeanTissue) -> _Train:
        """Look at the pulses of these numbers."""
        played, those = repetitions.played, set(members)
        each = zip(played.pulse if played else (), repetitions.pulse_use, strict=True)
        times = [n for n, (pulse, use) in enumerate(each) if pulse in those and use != "refocusing"]
        lasts = float(repetitions.event_time.detach().sum())
        return cls(
            count=len(times),
            decay=decay_between(len(times), tissue.R1 * lasts),
            is_spoiled=_is_spoiled(repetitions, times, tissue),
        )

    def remembered(self, left: Array) -> Array:
        """Return how many times what is neglected of the magnetisation adds up.

        Parameters
        ----------
        left
            What the pulses leave along z, from -1 to 1.
        """
        kept = np.abs(left) if self.is_spoiled else np.ones_like(left)
        return remembered(self.decay * kept, self.count)


def remembered(kept: Array, count: int) -> Array:
    """Return how many of so many pulses the magnetisation remembers, the last one included.

    Parameters
    ----------
    kept
        What is left of it from one to the next, from 0 to 1.
    count
        How many there are.
    """
    kept = np.minimum(kept, _ALL)
    added: Array = (1 - kept**count) / (1 - kept)
    return added


def decay_between(count: int, lasts: float) -> float:
    """Return by how much magnetisation decays between so many pulses; ``lasts`` is in T1."""
    return math.exp(-lasts / max(count, 1))


def _is_spoiled(repetitions: Repetitions, times: Sequence[int], tissue: MeanTissue) -> bool:
    """Tell whether RF and gradients spoil between pulses, which are played in these repetitions.

    RF spoiling is a phase that grows quadratically (Zur, Wood and Neuringer, Magn Reson Med 21:251,
    1991, doi:10.1002/mrm.1910210210).
    """
    played = repetitions.played
    if played is None or len(times) < 3:
        return False
    phase = played.phase.detach().double().numpy()[times]
    turn = np.exp(1j * np.diff(phase, 2)).mean()
    _, total = repetitions.sums_within_repetitions(repetitions.gradient_moment.detach())
    between = np.add.reduceat(total.numpy(), times)[:-1]
    dephased = (np.abs(between) * tissue.size).max(1) >= _DEPHASED
    return bool(abs(turn) > _MOSTLY and abs(turn.imag) > _QUADRATIC and dephased.all())


def _most(played: PlayedPulses, field: Array, tissue: MeanTissue) -> float:
    """Return what the pulses neglect at most.

    Until the centre the z-axis is turned from where it was by no more than the pulse's area so far,
    and after it from where it will be by no more than the area that is left.
    """
    counts = np.array(played.step_count)
    first, number = np.cumsum(counts) - counts, played.pulse_of_step.numpy()
    time = played.time.numpy()
    turn = 2 * math.pi * _FIELDS.max() * field[number] * played.signal.abs().numpy() * time
    now, passed = (np.append(0.0, values.cumsum()) for values in (time, turn))
    is_before = now[1:] - now[first][number] <= played.centre.numpy()[number]
    before, after = passed[1:] - passed[first][number], passed[first + counts][number] - passed[:-1]
    astray = np.add.reduceat(time * np.minimum(np.where(is_before, before, after), 1.0), first)
    return float(astray.max()) * (abs(tissue.R2 - tissue.R1) + 2 * tissue.R1)


@dataclass(frozen=True)
class _Course:
    """How pulses of one shape turn spins, in some fields and near resonance.

    Attributes
    ----------
    edge
        (steps + 1,) [s].
    axis
        (spins, steps + 1, xyz) the z-axis, as the turning frame sees it at the edges.
    over
        (spins, xyz) its integral [s], and
    square
        (spins, xyz, xyz) that of its product with itself [s].
    centre
        When the pulses act [s].
    """

    edge: Array
    axis: Array
    over: Array
    square: Array
    centre: float

    @classmethod
    def of(cls, family: Family, largest: float, tissue: MeanTissue) -> _Course:
        """Follow pulses of a shape, the strongest of which is so many times that."""
        time, moment = family.time.numpy(), family.moment.numpy()
        signal: NDArray[np.complex128] = family.signal.numpy()
        place, offset = _near_resonance(time, moment, signal, tissue)
        turn = math.pi * (place @ moment.T + offset[:, None] * time)
        fields = math.pi * largest * _FIELDS[:, None] * (signal * time)
        # Each field at each offset
        plane, along = np.repeat(fields, len(turn), 0), np.tile(turn, (len(fields), 1))
        in_a_step = 2 * float(np.hypot(np.abs(plane), along).max())
        if not in_a_step * len(time) <= _MOST_STEPS * _TURN:
            raise SimulationError(
                f"a pulse of {1e3 * time.sum():.3g} ms turns spins by up to {in_a_step:.3g} rad in "
                f"each of its {len(time)} steps, which is too much to follow; lower its amplitude "
                "or its gradient"
            )
        finer = max(1, math.ceil(in_a_step / _TURN))
        plane, along = np.repeat(plane / finer, finer, 1), np.repeat(along / finer, finer, 1)
        short = np.repeat(time / finer, finer)
        axis = _axes(*_composed(*_turned(plane, along)))
        return cls(
            edge=np.concatenate([[0.0], time.cumsum()]),
            axis=axis[:, ::finer],
            over=_trapezoid(axis, short),
            square=_trapezoid(axis[..., :, None] * axis[..., None, :], short),
            centre=float(family.centre),
        )

    def pieces(self, tissue: MeanTissue, allowed: float, train: _Train) -> tuple[int, float]:
        """Return how many pieces do, and what is neglected with these in a train."""
        steps = len(self.edge) - 1
        best, left = 1, self._neglected(np.array([0, steps]), tissue, train)
        if left <= allowed:
            return best, left
        for pieces in _PIECES:
            if pieces > steps or left <= _ONCE_CUT * allowed:
                break
            neglected = self._neglected(piece_ends(steps, pieces), tissue, train)
            if neglected < left:
                best, left = pieces, neglected
        return best, left

    def _neglected(self, ends: NDArray[np.int64], tissue: MeanTissue, train: _Train) -> float:
        """Return what is neglected between the ends of pieces, by the norm, at most.

        Once, or of the longitudinal magnetisation each time, added up.
        """
        n, edge = self.axis[:, ends], self.edge[ends]
        weight = 0.5 * (np.diff(edge, append=edge[-1:]) + np.diff(edge, prepend=edge[:1]))
        if len(ends) == 2:
            weight = np.array([self.centre, edge[1] - self.centre])
        square = self.square - np.einsum("k,pkx,pky->pxy", weight, n, n)
        over = self.over - np.einsum("k,pkx->px", weight, n)
        difference = abs(tissue.R2 - tissue.R1)
        once = difference * np.linalg.norm(square, 2, (1, 2))
        once += tissue.R1 * np.linalg.norm(over, axis=1)
        lost = difference * np.abs(np.einsum("px,pxy,py->p", n[:, -1], square, n[:, 0]))
        regained = tissue.R1 * np.abs(np.einsum("px,px->p", n[:, -1], over))
        # What is regained is all that a steady state has, however little of that is left
        lost *= train.remembered(n[:, -1, 2])
        regained *= train.remembered(np.ones(1))
        added = (_SPOILED if train.is_spoiled else 1.0) * (lost + regained)
        return float(np.maximum(once, added).max())


def piece_ends(steps: int, pieces: int) -> NDArray[np.int64]:
    """Return at which of its steps a pulse is cut, first and last included."""
    ends: NDArray[np.int64] = np.linspace(0, steps, pieces + 1).round().astype(np.int64)
    return ends


def _near_resonance(
    time: Array, moment: Array, signal: NDArray[np.complex128], tissue: MeanTissue
) -> tuple[Array, Array]:
    """Return where spins are at a pulse's frequency or half its width off it, or nearest to that.

    (spins, xyz) [m], and their B0 (spins,) [Hz].
    """
    power = float(np.abs(signal) ** 2 @ time)
    ahead = signal[1:] * signal[:-1].conj()
    frequency = float(np.angle(ahead.sum())) / (2 * math.pi * time.mean())
    width = np.sqrt((np.abs(np.diff(signal)) ** 2 / time[1:]).sum() / power) / (2 * math.pi)
    wanted = frequency + max(width, 0.5 / time.sum()) * _OFFSETS
    gradient = np.abs(signal) ** 2 @ moment / power
    offset = wanted.clip(*tissue.B0)
    farthest = np.abs(gradient) @ tissue.reach
    by_place = (wanted - offset).clip(-farthest, farthest)
    return np.outer(by_place, gradient) / max(float(gradient @ gradient), 1e-300), offset


def _turned(plane: NDArray[np.complex128], turn: Array) -> Spinor:
    """Return (a, b) of steps about a field, half whose rotation vector is given."""
    half = np.hypot(np.abs(plane), turn)
    sine = np.sinc(half / math.pi)
    return np.cos(half) - 1j * sine * turn, -1j * sine * plane


def _composed(a: NDArray[np.complex128], b: NDArray[np.complex128]) -> Spinor:
    """Return the products of the first steps, for all numbers of these."""
    a, b, ahead = a.copy(), b.copy(), 1
    while ahead < a.shape[1]:
        a1, b1, a2, b2 = a[:, :-ahead], b[:, :-ahead], a[:, ahead:], b[:, ahead:]
        a[:, ahead:], b[:, ahead:] = a2 * a1 - b2.conj() * b1, b2 * a1 + a2.conj() * b1
        ahead *= 2
    return a, b


def _axes(a: NDArray[np.complex128], b: NDArray[np.complex128]) -> Array:
    """Return (spins, steps + 1, xyz) what magnetisation is along z after so many steps."""
    across = (a * b).conj()
    axis = np.stack([-2 * across.real, 2 * across.imag, np.abs(a) ** 2 - np.abs(b) ** 2], -1)
    first = np.broadcast_to([0.0, 0.0, 1.0], (len(a), 1, 3))
    return np.concatenate([first, axis], 1)


def _trapezoid(values: Array, time: Array) -> Array:
    return np.einsum("s,ps...->p...", time, 0.5 * (values[:, 1:] + values[:, :-1]))
