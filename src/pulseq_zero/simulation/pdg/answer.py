"""What a phantom answers to dephasing: how much signal is left of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import MRzeroCore as mr0

# Voxels off any grid are sorted into one of at most so many cells in space, and the spectrum of
# a larger grid is averaged over neighbouring frequencies until it is as small.
_CELLS = 2**15
_LARGEST = 2**17

# Resolution of the distribution of the field, and how many dephasing times are listed, in steps
# of a part of the time in which it turns once.
_FREQUENCIES = 512
_TIMES = 1024
_PER_TURN = 8


@dataclass(frozen=True)
class Answer:
    """How much signal is left of magnetisation that is dephased over the parts of a phantom.

    The voxels lie on a grid, so that what they add up to repeats in frequency. Off resonance
    is taken as a gradient of the field, which moves the frequency, and a rest that is another in
    each voxel: the longer it dephases, the more of the spectrum becomes noise.

    The last column of ``amplitude``, ``noise`` and ``coherence`` is that of the whole phantom.

    Attributes
    ----------
    amplitude
        (x, y, z, parts + 1) signal at the frequencies of the grid, relative to that of the
        whole phantom without dephasing; each the root mean square of its neighbourhood, as the
        pattern of zeros depends on contrast.
    noise
        (parts + 1,) squared signal if all voxels have phases of their own.
    extent
        (xyz,) size of the grid, in which frequencies of ``amplitude`` count [m].
    gradient
        (xyz,) gradient of the field [Hz/m].
    coherence
        (times, parts + 1) how much of the signal the rest of the field leaves in phase.
    time_step
        Dephasing time between two rows of ``coherence`` [s].
    """

    amplitude: NDArray[np.float32]
    noise: NDArray[np.float32]
    extent: NDArray[np.float32]
    gradient: NDArray[np.float64]
    coherence: NDArray[np.float32]
    time_step: float

    @classmethod
    def of(cls, data: mr0.SimData, part: NDArray[np.int64]) -> Answer:
        """Transform the proton density of each part.

        Parameters
        ----------
        data
            The phantom.
        part
            (voxels,) which part each voxel belongs to.
        """
        position = data.voxel_pos.detach().double().cpu().numpy()
        B0 = data.B0.detach().double().cpu().numpy()
        density = data.PD.detach().abs().double().cpu().numpy()
        density = density / max(density.sum(), np.finfo(float).tiny)
        transmit = data.B1.detach().sum(0).cpu().resolve_conj().numpy().astype(complex)
        received = data.coil_sens.detach().cpu().resolve_conj().numpy() * np.exp(
            1j * np.angle(transmit)
        )
        # Relative to a sensitivity of one
        received = received / max(np.sqrt((np.abs(received) ** 2).sum(0) @ density), 1e-30)
        cell, shape, extent = _cells(data, position)
        parts = int(part.max()) + 1
        weights = received * density
        amplitude, noise = _spectra(weights, part, parts, cell, shape)
        gradient, rest = _plane(position, B0, density)
        coherence, step = _coherence(rest, density, part, parts)
        return cls(
            amplitude=amplitude,
            noise=noise.astype(np.float32),
            extent=extent.astype(np.float32),
            gradient=gradient,
            coherence=coherence,
            time_step=step,
        )


def grid_size(data: mr0.SimData) -> int:
    """Return the number of cells of the grid that the voxels lie on."""
    return math.prod(_cells(data, data.voxel_pos.detach().double().cpu().numpy())[1])


def _cells(
    data: mr0.SimData, position: NDArray[np.float64]
) -> tuple[NDArray[np.int64], tuple[int, ...], NDArray[np.float64]]:
    """Return each voxel's cell of a grid, the shape of the grid and its size [m]."""
    nyquist = data.nyquist.detach().double().cpu().numpy()
    from_corner = position - position.min(0)
    if np.isfinite(nyquist).all():
        width = 0.5 / nyquist
    else:
        size = from_corner.max(0)
        axes = max(1, int((size > 0).sum()))
        width = np.where(size > 0, size, 1.0) / (round(_CELLS ** (1 / axes)) - 1)
    number = np.rint(from_corner / width).astype(np.int64)
    shape = tuple((number.max(0) + 1).tolist())
    return np.ravel_multi_index(tuple(number.T), shape), shape, np.array(shape) * width


def _spectra(
    weights: NDArray[np.complex128],
    part: NDArray[np.int64],
    parts: int,
    cell: NDArray[np.int64],
    shape: tuple[int, ...],
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return root mean square spectra and the noise of each part and of the whole."""
    columns, noise = [], np.zeros(parts + 1)
    for number in range(parts + 1):
        here = part == number if number < parts else np.ones(len(part), dtype=bool)
        noise[number] = (np.abs(weights[:, here]) ** 2).sum()
        power = np.zeros(shape)
        for coil in weights[:, here]:
            grid = np.zeros(np.prod(shape), dtype=complex)
            np.add.at(grid, cell[here], coil)
            power += np.abs(np.fft.ifftn(grid.reshape(shape), norm="forward")) ** 2
        for axis in range(3):
            power = (np.roll(power, 1, axis) + power + np.roll(power, -1, axis)) / 3
        columns.append(_pooled(power))
    return np.sqrt(np.stack(columns, -1)).astype(np.float32), noise


def _pooled(power: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average over neighbouring frequencies until there are few enough."""
    while power.size > _LARGEST:
        axis = int(np.argmax(power.shape))
        count = power.shape[axis]
        starts = np.arange(0, count, 2)
        summed = np.add.reduceat(power, starts, axis)
        sizes = np.diff([*starts, count])
        power = summed / sizes.reshape([-1 if a == axis else 1 for a in range(3)])
    return power


def _plane(
    position: NDArray[np.float64], B0: NDArray[np.float64], density: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fit a gradient to the field, by least squares; return it and what it leaves [Hz]."""
    columns = np.column_stack([position, np.ones(len(B0))])
    weight = np.sqrt(density)
    fit = np.linalg.lstsq(columns * weight[:, None], B0 * weight, rcond=1e-6)[0]
    return fit[:3], B0 - columns @ fit


def _coherence(
    rest: NDArray[np.float64], density: NDArray[np.float64], part: NDArray[np.int64], parts: int
) -> tuple[NDArray[np.float32], float]:
    """Return the size of the characteristic function of the field's rest in each part.

    Of its distribution in many small intervals; their Fourier transform lists dephasing times.
    """
    spread = float(np.ptp(rest))
    # Less than a turn in an hour
    if spread < 1e-4:
        return np.ones((1, parts + 1), np.float32), 1.0
    interval = np.minimum((rest - rest.min()) / spread * _FREQUENCIES, _FREQUENCIES - 1).astype(int)
    count = np.zeros((parts + 1, _FREQUENCIES))
    np.add.at(count, (part, interval), density)
    count[-1] = count[:-1].sum(0)
    turned = np.fft.rfft(count, n=_PER_TURN * _FREQUENCIES, axis=1)[:, :_TIMES]
    coherence = np.abs(turned) / np.maximum(np.abs(turned[:, :1]), np.finfo(float).tiny)
    return np.ascontiguousarray(coherence.T, np.float32), 1 / (_PER_TURN * spread)
