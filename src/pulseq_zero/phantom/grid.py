"""Averages over the voxels of a grid.

All grids follow MRzeroCore and the FFT: voxel i of n is centred at (i - n // 2) * voxel size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def voxel_centres(count: int, extent: float) -> Tensor:
    """Return the (count,) float64 centres of voxels that divide an extent [same unit]."""
    return (torch.arange(count, dtype=torch.float64) - count // 2) * (extent / count)


def voxel_edges(count: int, extent: float) -> Tensor:
    """Return the (count + 1,) float64 edges of voxels that divide an extent [same unit]."""
    return (torch.arange(count + 1, dtype=torch.float64) - count // 2 - 0.5) * (extent / count)


def averaging_matrix(source_edges: Tensor, target_edges: Tensor) -> Tensor:
    """Return the matrix that averages a quantity over larger or shifted cells.

    Parameters
    ----------
    source_edges
        (sources + 1,) ascending edges of the cells in which the quantity is constant.
    target_edges
        (targets + 1,) ascending edges of the cells to average over.

    Returns
    -------
    Tensor
        (targets, sources) float64: the share of each target cell that lies in each source
        cell. What lies outside all source cells counts as zero.
    """
    low = torch.maximum(target_edges[:-1, None], source_edges[None, :-1])
    high = torch.minimum(target_edges[1:, None], source_edges[None, 1:])
    overlap = (high - low).clamp(min=0.0)
    # Edges that agree but for rounding leave slivers that would become voxels of their own.
    width = target_edges.diff()[:, None]
    return torch.where(overlap < 1e-9 * width, 0.0, overlap) / width


def area_average(values: Tensor, fov: Sequence[float], matrix: Sequence[int]) -> Tensor:
    """Average maps onto another matrix over the same field of view.

    Parameters
    ----------
    values
        (..., x, y) or (..., x, y, z) the maps.
    fov
        Field of view along x and y, or x, y and z [m].
    matrix
        Number of voxels along the same axes.
    """
    if len(matrix) == 3:
        along_z = _averaging(values, -1, fov[2], matrix[2])
        slices = area_average(values.movedim(-1, 0).to(along_z.dtype), fov[:2], matrix[:2])
        return (slices.movedim(0, -1) @ along_z.T).to(values.dtype)
    along_x = _averaging(values, -2, fov[0], matrix[0])
    along_y = _averaging(values, -1, fov[1], matrix[1])
    average = along_x @ values.to(along_x.dtype) @ along_y.T
    return average.to(values.dtype)


def _averaging(values: Tensor, axis: int, extent: float, count: int) -> Tensor:
    dtype = torch.complex128 if values.is_complex() else torch.float64
    source = voxel_edges(values.shape[axis], extent)
    return averaging_matrix(source, voxel_edges(count, extent)).to(dtype)
