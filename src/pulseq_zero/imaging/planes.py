"""Volumes of k-space, whose samples lie in planes along kz."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pulseq_zero.errors import SequenceError
from pulseq_zero.imaging.density import extents, sample_areas
from pulseq_zero.imaging.trajectory import mean_of, resolved, resolved_matrix

# Samples of one plane may lie this far apart along kz, in steps of 1 / field of view.
_WIDTH = 0.1


def sample_volumes(kspace: Tensor, fov: Sequence[float]) -> Tensor:
    r"""Return the volume of k-space that each sample stands for.

    It is the area in its plane, see `pulseq_zero.imaging.density.sample_areas`, times half the way
    to the neighbouring planes.

    Parameters
    ----------
    kspace
        (samples, at least 3) kx, ky, kz [1/m].
    fov
        Field of view in x, y and z [m].

    Returns
    -------
    Tensor
        (samples,) float64, in units of :math:`1 / (\mathrm{FOV}_x \mathrm{FOV}_y
        \mathrm{FOV}_z)`.

    Raises
    ------
    SequenceError
        If the samples do not lie in planes along kz.
    """
    plane = torch.from_numpy(_planes(kspace, fov[2])).to(kspace.device)
    count = torch.bincount(plane)
    kz = kspace[:, 2].double() * fov[2]
    mean = torch.zeros_like(count, dtype=kz.dtype).index_add(0, plane, kz) / count
    height = extents(mean, torch.zeros_like(count))
    volumes = torch.zeros_like(kz)
    for number in range(len(count)):
        inside = plane == number
        areas = sample_areas(kspace[inside], (fov[0], fov[1])) * height[number]
        volumes = volumes.masked_scatter(inside, areas)
    return volumes


def resolved_volume(kspace: Tensor, fov: Sequence[float]) -> tuple[int, int, int]:
    """Return the voxels in x, y and z that samples resolve.

    In x and y as `resolved_matrix` has it of the plane nearest to the centre, in z by the planes.

    Parameters
    ----------
    kspace
        (samples, at least 3) kx, ky, kz [1/m].
    fov
        Field of view in x, y and z [m].

    Raises
    ------
    SequenceError
        If the samples do not lie in planes along kz.
    """
    plane = _planes(kspace, fov[2])
    heights = mean_of(_steps(kspace, fov[2]), plane)
    central = torch.from_numpy(plane == np.abs(heights).argmin())
    x, y = resolved_matrix(kspace[central], (fov[0], fov[1]))
    return x, y, resolved(heights, np.zeros(len(heights), np.int64))


def _steps(kspace: Tensor, extent: float) -> NDArray[np.float64]:
    return np.asarray(kspace.detach()[:, 2].double().cpu().numpy() * extent)


def _planes(kspace: Tensor, extent: float) -> NDArray[np.int64]:
    """Return the (samples,) plane of each sample, counted along kz."""
    steps = _steps(kspace, extent)
    order = np.argsort(steps, kind="stable")
    plane = np.zeros(len(steps), dtype=np.int64)
    plane[order] = np.cumsum(np.diff(steps[order], prepend=steps[order[0]]) > _WIDTH)
    low, high = np.full(plane.max() + 1, np.inf), np.full(plane.max() + 1, -np.inf)
    np.minimum.at(low, plane, steps)
    np.maximum.at(high, plane, steps)
    if np.max(high - low) > _WIDTH:
        raise SequenceError(
            "the samples of the volume do not lie in planes along kz, which the reconstruction "
            "needs; give your own, reconstruction=..."
        )
    return plane
