"""Bloch isochromats: the judge of the phase distribution graphs, sharing no code with them.

Every voxel is a box filled with spins, each with its own place and its own frequency. Places
and frequencies are scrambled Sobol points, shifted at random from voxel to voxel: stratified
in all directions at once, and free of the aliasing of a regular grid. A frequency is a
quantile of the Cauchy distribution whose width 1 / (2π T2') makes exp(-|t| / T2').

Spins do not diffuse: compare with a phantom whose D is zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import MRzeroCore as mr0
import torch
from torch import Tensor

from pulseq_zero.errors import SimulationError
from pulseq_zero.repetitions import Repetitions

# Spins that are handled at once: their arrays fit into a processor's cache.
_SPINS_AT_ONCE = 2**15
# Steps that differ by less than this many turns anywhere are the same step.
_SAME_TURNS = 1e-7


@dataclass(frozen=True)
class Isochromats:
    """The signal of a converged simulation.

    Attributes
    ----------
    signal
        (samples, coils) complex: the mean of two runs with different seeds.
    spins
        Spins in each voxel, in each of the runs.
    scatter
        Norm of the difference of the two runs' signals (or images), relative to their mean's.
        The mean itself errs by about half of it.
    """

    signal: Tensor
    spins: int
    scatter: float


@dataclass
class Ensemble:
    """The spins of some voxels.

    Attributes
    ----------
    position
        (voxels, spins, xyz) [m].
    frequency
        (voxels, spins) off-resonance [Hz].
    R1, R2
        (voxels, 1) [1/s].
    B1
        (channels, voxels, 1) complex transmit field, relative to the nominal one.
    weight
        (voxels, coils) complex: what a voxel's sum of spins adds to the signal.
    transverse
        (voxels, spins) complex magnetisation.
    longitudinal
        (voxels, spins) magnetisation.
    """

    position: Tensor
    frequency: Tensor
    R1: Tensor
    R2: Tensor
    B1: Tensor
    weight: Tensor
    transverse: Tensor
    longitudinal: Tensor

    def rotate(self, angle: float, phase: float, channels: Tensor | None = None) -> None:
        """Rotate by a nominal angle about the transverse axis at a phase [rad].

        Parameters
        ----------
        angle, phase
            Of the pulse [rad].
        channels
            (channels,) complex weights of the transmit channels; None adds them up.
        """
        field = self.field(channels)
        flip, axis = angle * field.abs(), phase + field.angle()
        half = torch.complex(torch.cos(flip / 2), torch.zeros_like(flip))
        self.apply(half, torch.polar(torch.sin(flip / 2), axis - math.pi / 2))

    def field(self, channels: Tensor | None = None) -> Tensor:
        """(voxels, 1) complex transmit field of all channels together."""
        if channels is None:
            return self.B1.sum(0)
        return torch.einsum("c, cvs -> vs", channels.to(self.B1.dtype), self.B1)

    def apply(self, a: Tensor, b: Tensor) -> None:
        """Rotate by the matrix of SU(2) whose first column is (a, b).

        A rotation by θ about the axis n has a = cos(θ/2) - i n_z sin(θ/2) and
        b = -i (n_x + i n_y) sin(θ/2).
        """
        before, up = self.transverse, self.longitudinal
        self.transverse = a.conj() ** 2 * before - b**2 * before.conj() + 2 * a.conj() * b * up
        down = a.abs() ** 2 - b.abs() ** 2
        self.longitudinal = down * up - 2 * (a.conj() * b.conj() * before).real

    def turning(self, moment: Tensor, time: float) -> Tensor:
        """(voxels, spins) factor of the transverse magnetisation over a gradient moment.

        Parameters
        ----------
        moment
            (xyz,) gradient moment [1/m].
        time
            Duration [s].
        """
        turns = self.position @ moment.to(self.position.dtype) + self.frequency * time
        angle = -2 * math.pi * (turns - turns.round())
        return torch.polar(torch.exp(-time * self.R2).expand_as(angle).contiguous(), angle)

    def recover(self, time: float) -> None:
        """Relax the longitudinal magnetisation."""
        decay = torch.exp(-time * self.R1)
        self.longitudinal = 1 + (self.longitudinal - 1) * decay


def isochromat_signal(
    repetitions: Repetitions,
    data: mr0.SimData,
    spins: int,
    *,
    seed: int = 0,
    voxel_size: tuple[float, float, float] | None = None,
) -> Tensor:
    """Simulate with a given number of spins, pulses being instantaneous rotations.

    Parameters
    ----------
    repetitions
        The sequence.
    data
        The phantom; its voxels are boxes here, and it does not diffuse.
    spins
        Spins in each voxel; powers of 2 are spread best.
    seed
        Of the spins' places and frequencies.
    voxel_size
        Size of the voxels [m]; None takes it from the phantom's Nyquist frequency.

    Returns
    -------
    Tensor
        (samples, coils) complex.
    """
    sequence = repetitions.detach().to("cpu")
    samples = int(sequence.is_sample.sum())
    signal = torch.zeros(samples, data.coil_sens.shape[0], dtype=torch.complex64)
    for ensemble in ensembles(data, spins, seed=seed, voxel_size=voxel_size):
        signal += _play(sequence, ensemble)
    phase = sequence.adc_phase[sequence.is_sample].float()
    return signal * torch.polar(torch.ones_like(phase), phase)[:, None]


def converged_isochromats(
    simulate: Callable[[int, int], Tensor],
    *,
    tolerance: float = 5e-3,
    spins: int = 64,
    largest: int = 4096,
    image: Callable[[Tensor], Tensor] | None = None,
) -> Isochromats:
    """Double the number of spins until two seeds agree.

    The two seeds run in two threads.

    Parameters
    ----------
    simulate
        Returns the (samples, coils) signal for a number of spins and a seed, for example
        ``lambda spins, seed: isochromat_signal(repetitions, data, spins, seed=seed)``.
    tolerance
        Largest relative difference of the two signals, or images.
    spins, largest
        Number of spins in each voxel to begin and to end with.
    image
        Makes an image of a signal, to compare images; None compares signals.

    Returns
    -------
    Isochromats
        The signal with its scatter, which exceeds the tolerance if the largest number of spins
        did not do.
    """
    while True:
        with ThreadPoolExecutor(2) as pool:
            one, other = pool.map(simulate, (spins, spins), (0, 1))
        mean = (one + other) / 2
        pair = (one, other) if image is None else (image(one), image(other))
        size = (pair[0] + pair[1]).abs().square().sum().sqrt() / 2
        scatter = float((pair[0] - pair[1]).abs().square().sum().sqrt() / size.clamp(min=1e-30))
        if scatter <= tolerance or 2 * spins > largest:
            return Isochromats(mean, spins, scatter)
        spins *= 2


def ensembles(
    data: mr0.SimData,
    spins: int,
    *,
    seed: int,
    voxel_size: tuple[float, float, float] | None = None,
) -> Iterator[Ensemble]:
    """Fill the voxels with spins in equilibrium, some voxels at a time.

    A ``voxel_size`` other than the phantom's own changes the amount of magnetisation in
    proportion: for spins beyond the slice, say, that a pulse excites in part.
    """
    own_size = 0.5 / data.nyquist.float().cpu()
    size = own_size if voxel_size is None else torch.tensor(voxel_size)
    if not bool(size.isfinite().all()):
        raise SimulationError("the phantom does not say how large its voxels are; give voxel_size")
    share = float((size / own_size).prod()) if bool(own_size.isfinite().all()) else 1.0
    points = torch.quasirandom.SobolEngine(4, scramble=True, seed=seed).draw(spins)
    generator = torch.Generator().manual_seed(seed)
    count = data.PD.numel()
    step = max(1, _SPINS_AT_ONCE // spins)
    for start in range(0, count, step):
        part = slice(start, min(start + step, count))

        def of(values: Tensor, part: slice = part) -> Tensor:
            return values.detach().cpu()[..., part, None]

        shift = torch.rand(part.stop - part.start, 1, 4, generator=generator)
        place = (points + shift) % 1
        width = 1 / (2 * math.pi * of(data.T2dash).float())
        # A quantile of exactly 0 or 1 would be an infinite frequency.
        quantile = place[..., 3].clamp(1e-6, 1 - 1e-6)
        centre = data.voxel_pos.detach().cpu()[part, None].float()
        weight = data.coil_sens.detach().cpu()[:, part].T * of(data.PD) * (share / spins)
        shape = quantile.shape
        yield Ensemble(
            position=centre + (place[..., :3] - 0.5) * size,
            frequency=of(data.B0).float() + width * torch.tan(math.pi * (quantile - 0.5)),
            R1=1 / of(data.T1).float(),
            R2=1 / of(data.T2).float(),
            B1=of(data.B1).to(torch.complex64),
            weight=weight.to(torch.complex64),
            transverse=torch.zeros(shape, dtype=torch.complex64),
            longitudinal=torch.ones(shape),
        )


class Steps:
    """Remembers the factors of the last steps: samples of a readout are alike.

    Parameters
    ----------
    ensemble
        The spins.
    kept
        Number of factors to remember.
    """

    def __init__(self, ensemble: Ensemble, kept: int = 4) -> None:
        self._ensemble, self._kept = ensemble, kept
        reach = ensemble.position.abs().amax((0, 1)).double()
        frequency = float(ensemble.frequency.abs().max())
        self._scale = torch.cat([reach, torch.tensor([frequency], dtype=torch.float64)])
        self._factors: list[tuple[Tensor, Tensor]] = []

    def factor(self, moment: Tensor, time: float) -> Tensor:
        """Return `Ensemble.turning`, made anew only where no last step was the same."""
        step = torch.cat([moment.double(), torch.tensor([time], dtype=torch.float64)])
        turns = step * self._scale
        for number, (known, factor) in enumerate(self._factors):
            if float((known - turns).abs().max()) < _SAME_TURNS:
                self._factors.append(self._factors.pop(number))
                return factor
        self._factors.append((turns, self._ensemble.turning(moment, time)))
        del self._factors[: -self._kept]
        return self._factors[-1][1]


def _play(sequence: Repetitions, ensemble: Ensemble) -> Tensor:
    """Return the (samples, coils) signal of some voxels."""
    steps = Steps(ensemble)
    angle, phase = sequence.pulse_angle.tolist(), sequence.pulse_phase.tolist()
    time, is_sample = sequence.event_time.tolist(), sequence.is_sample.tolist()
    sums = []
    for repetition, first in enumerate(sequence.first_event):
        channels = None if sequence.shim is None else sequence.shim[repetition]
        ensemble.rotate(angle[repetition], phase[repetition], channels)
        stop = first + sequence.event_count[repetition]
        for event in range(first, stop):
            ensemble.transverse *= steps.factor(sequence.gradient_moment[event], time[event])
            if is_sample[event]:
                sums.append(ensemble.transverse.sum(1))
        ensemble.recover(sum(time[first:stop]))
    if not sums:
        return torch.zeros(0, ensemble.weight.shape[1], dtype=torch.complex64)
    return torch.stack(sums) @ ensemble.weight
