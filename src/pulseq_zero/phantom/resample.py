"""A phantom on a coarser grid."""

from __future__ import annotations

from dataclasses import fields, replace

import torch
from torch import Tensor

from pulseq_zero.phantom.grid import area_average
from pulseq_zero.phantom.phantom import Phantom, TissuePool


def resample(phantom: Phantom, matrix: tuple[int, int]) -> Phantom:
    """Average a phantom over the voxels of another matrix with the same field of view.

    PD and masks are averaged over the area. The other maps are averaged with PD as weight
    within each pool; of T1, T2 and T2dash it is the rates that are averaged.

    Parameters
    ----------
    phantom
        What to average.
    matrix
        Number of voxels along x and y.
    """

    def average(values: Tensor) -> Tensor:
        return area_average(values, phantom.fov, matrix)

    def resampled(pool: TissuePool) -> TissuePool:
        PD = average(pool.PD)

        def weighted(values: Tensor) -> Tensor:
            products = average(torch.where(pool.PD > 0, pool.PD * values, 0.0))
            return torch.where(PD > 0, products / PD, 0.0)

        maps = {"PD": PD}
        for name in (each.name for each in fields(pool) if each.name != "PD"):
            values = getattr(pool, name)
            if name in ("T1", "T2", "T2dash"):
                maps[name] = 1 / weighted(1 / values)
            else:
                maps[name] = weighted(values)
        return TissuePool(**maps)

    return replace(
        phantom,
        pools={name: resampled(pool) for name, pool in phantom.pools.items()},
        masks={name: average(mask) for name, mask in phantom.masks.items()},
    )
