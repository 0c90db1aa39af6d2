"""A phantom on a coarser grid."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields, replace

import torch
from torch import Tensor

from pulseq_zero.phantom.grid import area_average
from pulseq_zero.phantom.phantom import Phantom
from pulseq_zero.phantom.pool import TissuePool


def resample(phantom: Phantom, matrix: Sequence[int]) -> Phantom:
    """Average a phantom over the voxels of another matrix with the same field of view.

    PD and masks are averaged over the area. The other maps are averaged with PD as weight
    within each pool; of T1, T2 and T2dash it is the rates that are averaged.

    Parameters
    ----------
    phantom
        What to average.
    matrix
        Number of voxels along x and y, and along z of a volume.
    """

    def average(values: Tensor) -> Tensor:
        return area_average(values, phantom.extent, matrix)

    names = [each.name for each in fields(TissuePool) if each.name != "PD"]

    return replace(
        phantom,
        pools={
            name: TissuePool(**mixed(pool, average, names)) for name, pool in phantom.pools.items()
        },
        masks={name: average(mask) for name, mask in phantom.masks.items()},
    )


def mixed(
    pool: TissuePool, average: Callable[[Tensor], Tensor], names: Iterable[str]
) -> dict[str, Tensor]:
    """Average PD, and with PD as weight other maps of a pool; of times it is the rates.

    Parameters
    ----------
    pool
        What to average.
    average
        Averages (..., x, y) maps with weights of its own.
    names
        The other maps.
    """
    PD = average(pool.PD)

    def weighted(values: Tensor) -> Tensor:
        products = average(torch.where(pool.PD > 0, pool.PD * values, 0.0))
        return torch.where(PD > 0, products / PD, 0.0)

    maps = {"PD": PD}
    for name in names:
        values = getattr(pool, name)
        is_time = name in ("T1", "T2", "T2dash")
        maps[name] = 1 / weighted(1 / values) if is_time else weighted(values)
    return maps
