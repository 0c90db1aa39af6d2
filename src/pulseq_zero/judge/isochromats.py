"""Bloch isochromats: the judge of the phase distribution graphs, sharing no code with them.

Every voxel is a box filled with spins, each with its own place and its own frequency. A
frequency is a quantile of the Cauchy distribution whose width 1 / (2π T2') makes
exp(-|t| / T2'). Places and frequencies are a lattice in these four dimensions, which a seed
shifts at random in every voxel: no error is common to all seeds, so that the difference of two
tells how large it is. Along axes where all spins come to each pulse alike none are spread: what a
voxel's width does there is known exactly; `spreading` finds where more than that is known.

Spins do not diffuse: compare with a phantom whose D is zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.ndimage import uniform_filter1d
from torch import Tensor

from pulseq_zero.errors import SimulationError
from pulseq_zero.judge.arrays import Array, SpinVoxels
from pulseq_zero.judge.compiling import compile_course
from pulseq_zero.judge.course import Course
from pulseq_zero.judge.kernel import simulate_voxels
from pulseq_zero.judge.spreading import spread

if TYPE_CHECKING:
    import MRzeroCore as mr0

# Spins are doubled in each voxel by itself. Its error falls about like this power of their number
_ORDER = 1.2
# and a round does not ask for more than this many times as many as the one before.
_MOST_AT_ONCE = 16
# Aimed at is this part of the tolerance: what is expected is what it is but for chance.
_AIM = 0.9
# How many are needed is found by one of so many voxels, and averaged over so many of these.
_ONE_OF, _AVERAGED = 32, 16


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
    return judge.received(judge.simulate(count, [seed])[0])[0]


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
    with fewer, and in a sample of voxels with more.

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
    while True:
        signal, difference = judge.simulate(count, [0, 1])
        seeds = judge.received(signal)
        mean = seeds.mean(0)
        size = float(mean.abs().square().sum().sqrt())
        scatter = float((seeds[0] - seeds[1]).abs().square().sum().sqrt()) / max(size, 1e-30)
        aim, more = _AIM * tolerance * size, count
        # Numbers are rounded to powers of 2: the next ones may be those of now
        while scatter > tolerance and np.array_equal(more, count) and count.max() < largest:
            more = judge.enough_spins(count, difference, aim, largest)
            aim *= _AIM
        if np.array_equal(more, count):
            return Isochromats(mean, seeds, float(count.mean()), scatter)
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
        self._spreading = spread(course, size)
        self._size = np.where(self._spreading.is_spread, size, 0.0)
        self._voxels = SpinVoxels(
            centre=centre,
            off_resonance=maps(data.B0),
            width=1 / (2 * math.pi * maps(data.T2dash)),
            R1=1 / maps(data.T1),
            R2=1 / maps(data.T2),
            transmit=np.ascontiguousarray(transmit, np.complex128),
            weight=np.ascontiguousarray(weight, np.complex128),
        )
        reach = np.abs(centre).max(0) + size / 2
        off_resonance = float(np.abs(self._voxels.off_resonance).max())
        strongest = float(np.abs(transmit).sum(1).max())
        self._course = compile_course(course, transmit.shape[1], reach, off_resonance, strongest)
        self._power = np.square(np.abs(weight)).sum(1)
        # Neighbours in this order have nearly the same tissue, and weigh nearly the same
        voxels = self._voxels
        self._alike = np.lexsort((self._power, voxels.R1, voxels.R2, voxels.width))
        self._receiver = torch.tensor(course.receiver_phase, dtype=torch.float32)

    def enough_spins(self, count: Array, difference: Array, aim: float, largest: int) -> Array:
        """Find how many spins make the whole agree, as a sample of the voxels tells.

        Errors fall slowly at first, and steeply once spins resolve what they have wound up to: what
        they will be is found where it costs little, and not by simulating all voxels twice.

        Parameters
        ----------
        count, difference
            (voxels,) numbers of spins, and squared differences of two seeds with them.
        aim
            Largest norm of the difference of the two signals.
        largest
            Number of spins in a voxel.
        """
        sample = self._alike[::_ONE_OF]
        expected = self._expected(count, difference[self._alike])
        while float(np.sqrt(expected.sum())) > aim:
            more = _more_spins(count, expected, aim, largest)
            if np.array_equal(more, count):
                break
            count = more
            expected = self._expected(count, self.simulate(count, [0, 1], sample)[1])
        return count

    def _expected(self, count: Array, difference: Array) -> Array:
        """Expect squared differences of all voxels from those of some, or all, of them.

        Of a single voxel it is as random as the seeds' shifts are: what voxels that are alike have
        on the average tells more. Equal voxels differ by the square of what they weigh.
        """
        scale = np.maximum(self._power, 1e-30) * count.astype(float) ** (-2 * _ORDER)
        step = -(-len(count) // len(difference))
        each = uniform_filter1d(difference / scale[self._alike[::step]], _AVERAGED, mode="nearest")
        expected = np.empty(len(count))
        expected[self._alike] = np.repeat(each, step)[: len(count)]
        return expected * scale

    def simulate(
        self, spins: Array, seeds: Sequence[int], chosen: Array | slice = slice(None)
    ) -> tuple[Array, Array]:
        """Simulate voxels: all, or those of (chosen voxels,) numbers.

        Returns
        -------
        tuple
            (seeds, samples, coils) complex128 signals without the receiver's phase, and
            (chosen voxels,) squared differences of the first two.
        """
        if (spins & (spins - 1)).any() or spins.min() < 1:
            raise SimulationError("the number of spins in a voxel must be a power of 2")
        shift = np.stack([np.random.default_rng(s).random((len(spins), 4)) for s in seeds])
        voxels = self._voxels.chosen(chosen)
        signal = np.zeros((len(seeds), len(self._receiver), voxels.weight.shape[1]), np.complex128)
        difference: Array = simulate_voxels(
            np.ascontiguousarray(shift[:, chosen]),
            spins[chosen],
            self._size,
            voxels,
            self._spreading,
            *self._course,
            signal,
        )
        return signal, difference

    def received(self, signal: Array) -> Tensor:
        """Return signals with the receiver's phase."""
        turned = torch.polar(torch.ones_like(self._receiver), self._receiver)
        return torch.from_numpy(signal.astype(np.complex64)) * turned[:, None]
