"""The voxels in which the prepass follows the states, and what a phantom answers to."""

from __future__ import annotations

from dataclasses import dataclass

import MRzeroCore as mr0
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pulseq_zero.repetitions import Repetitions
from pulseq_zero.simulation.graph import is_band_limited
from pulseq_zero.simulation.voxels import check_channels

# Parts of the phantom by transmit field, and parts of each by T2.
_FIELDS, _TISSUES = 4, 4


@dataclass(frozen=True)
class Representatives:
    """Some voxels that stand for all.

    No average voxel can: where one has refocusing pulses of 180°, the stimulated echoes of all
    others are missing.

    Attributes
    ----------
    R1, R2, R2dash
        (representatives,) relaxation rates [1/s].
    D
        (representatives,) diffusion coefficients [m²/s].
    transmit
        (channels, representatives) complex transmit field.
    answer
        What the phantom answers to dephasing.
    """

    R1: NDArray[np.float64]
    R2: NDArray[np.float64]
    R2dash: NDArray[np.float64]
    D: NDArray[np.float64]
    transmit: NDArray[np.complex128]
    answer: Answer

    @classmethod
    def of(cls, data: mr0.SimData) -> Representatives:
        """Choose the medians of parts of equal proton density, by transmit field and by T2."""
        weight = data.PD.detach().abs().double().cpu().numpy()
        transmit = data.B1.detach().to(torch.complex128).cpu().numpy()
        T2 = data.T2.detach().double().cpu().numpy()
        everything = np.arange(len(weight))
        chosen = np.array([
            _parts(part, T2, weight, 2)[1][0]
            for field in _parts(everything, np.abs(transmit.sum(0)), weight, _FIELDS)
            for part in _parts(field, T2, weight, _TISSUES)
        ])  # fmt: skip

        def of_chosen(values: Tensor) -> NDArray[np.float64]:
            return values.detach().double().cpu().numpy()[chosen]

        return cls(
            R1=1 / of_chosen(data.T1),
            R2=1 / of_chosen(data.T2),
            R2dash=1 / of_chosen(data.T2dash),
            D=1e-9 * of_chosen(data.D),
            transmit=transmit[:, chosen],
            answer=Answer.of(data),
        )

    def field(self, repetitions: Repetitions) -> NDArray[np.complex128]:
        """Return what the channels add up to in each pulse, (repetitions, representatives)."""
        if repetitions.shim is None:
            shim = np.ones((len(repetitions.event_count), len(self.transmit)))
        else:
            check_channels(repetitions.shim, len(self.transmit))
            shim = repetitions.shim.detach().to(torch.complex128).cpu().numpy()
        field: NDArray[np.complex128] = shim @ self.transmit
        return field


@dataclass(frozen=True)
class Answer:
    """How much signal is left of magnetisation that is dephased over a phantom.

    The voxels lie on a grid, so that what they add up to repeats in frequency.

    Attributes
    ----------
    power
        (x, y, z) squared signal at the frequencies of the grid, relative to that without
        dephasing; each with its neighbours' mean, as the pattern of zeros depends on contrast.
    extent
        (xyz,) size of the grid [m].
    limit
        (xyz,) largest frequency that the voxels answer to [1/m].
    width
        (xyz,) size of box voxels [m]; zero for others.
    """

    power: NDArray[np.float32]
    extent: NDArray[np.float32]
    limit: NDArray[np.float32]
    width: NDArray[np.float32]

    @classmethod
    def of(cls, data: mr0.SimData) -> Answer:
        """Transform the proton density; voxels off any grid answer fully to all frequencies."""
        nyquist = data.nyquist.detach().double().cpu().numpy()
        if not np.isfinite(nyquist).all():
            one, zeros = np.ones((1, 1, 1), np.float32), np.zeros(3, np.float32)
            return cls(power=one, extent=zeros, limit=zeros + np.float32(np.inf), width=zeros)
        place = data.voxel_pos.detach().double().cpu().numpy() * 2 * nyquist
        place = np.rint(place - place.min(0)).astype(int)
        density = np.zeros(place.max(0) + 1)
        np.add.at(density, tuple(place.T), data.PD.detach().abs().double().cpu().numpy())
        power = np.abs(np.fft.fftn(density) / density.sum()) ** 2
        for axis in range(3):
            power = (np.roll(power, 1, axis) + power + np.roll(power, -1, axis)) / 3
        limit, width = np.full(3, np.inf), np.zeros(3)
        if is_band_limited(data):
            limit = nyquist + 0.5
        elif float(data.dephasing_func(data.nyquist[None], data.nyquist)) < 1:
            width = 0.5 / nyquist
        return cls(
            power=power.astype(np.float32),
            extent=(power.shape / (2 * nyquist)).astype(np.float32),
            limit=limit.astype(np.float32),
            width=width.astype(np.float32),
        )


def _parts(
    voxels: NDArray[np.int64], values: NDArray[np.float64], weight: NDArray[np.float64], count: int
) -> list[NDArray[np.int64]]:
    """Sort voxels by their values and cut them into parts of equal weight, none of them empty.

    The first voxel of the second of two parts is the median.
    """
    voxels = voxels[np.argsort(values[voxels], kind="stable")]
    share = np.cumsum(weight[voxels]) / weight[voxels].sum()
    bounds = np.searchsorted(share, np.arange(1, count) / count)
    return [
        voxels[min(first, len(voxels) - 1) : max(stop, first + 1)]
        for first, stop in zip([0, *bounds], [*bounds, len(voxels)], strict=True)
    ]
