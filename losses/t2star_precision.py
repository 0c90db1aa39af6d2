"""Precision of T2* by a multi-echo sequence, with proton density and B0 unknown."""

from collections.abc import Sequence

import MRzeroCore as mr0
from torch import Tensor

import pulseq_zero
from pulseq_zero.optimization.losses import LossContext, LossFunction


def voxels(T1: Sequence[float], T2: Sequence[float], T2dash: Sequence[float]) -> mr0.SimData:
    """Return a voxel of each tissue, all in the isocentre; relaxation times in s."""
    count = len(T1)
    return mr0.CustomVoxelPhantom(
        pos=[[0.0, 0.0, 0.0]] * count,
        PD=1.0,
        T1=list(T1),
        T2=list(T2),
        T2dash=list(T2dash),
        D=0.0,
        B0=0.0,
        B1=1.0,
        voxel_size=1e-3,
    ).build()


class Precision:
    """Standard deviations of T2* and B0, of proton density 1 and noise 1 in each sample.

    They are the Cramer-Rao bounds, where proton density, T2* and B0 are unknown. A slope by 1 / T2'
    is one by 1 / T2*, as 1 / T2* = 1 / T2 + 1 / T2'.

    Parameters
    ----------
    data
        A voxel of each tissue.
    """

    def __init__(self, data: mr0.SimData) -> None:
        self.data, self.apparent = data, 1 / (1 / data.T2 + 1 / data.T2dash)
        self._simulator = pulseq_zero.Simulator(data)

    def __call__(self, repetitions: pulseq_zero.Repetitions) -> tuple[Tensor, Tensor]:
        """Return those of T2*, relative to it, and of B0 [Hz]: (voxels,) each."""
        slopes = self._simulator.jacobian(repetitions, ("PD", "T2dash", "B0"))
        _, dash, off_resonance = pulseq_zero.crlb(slopes, deviation=1.0).sqrt()
        return self.apparent * dash / self.data.T2dash.square(), off_resonance


def t2star_precision(context: LossContext, tissues: Sequence[str] = ("wm", "gm")) -> LossFunction:
    """Mean over tissues of the least standard deviation of T2*, relative to it.

    Parameters
    ----------
    context
        With the phantom.
    tissues
        Names of its pools, whose mean T1, T2 and T2' count.
    """
    times: list[list[float]] = [[], [], []]
    for tissue in tissues:
        pool = context.phantom.pools[tissue]
        for values, found in zip((pool.T1, pool.T2, pool.T2dash), times, strict=True):
            found.append(float(values[pool.PD > 0].mean()))
    precision = Precision(voxels(*times))

    def loss(acquisition: pulseq_zero.Acquisition) -> Tensor:
        return precision(acquisition.repetitions)[0].mean()

    return loss
