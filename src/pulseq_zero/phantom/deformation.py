"""Other anatomies made of one: smooth random deformations in the plane of the slice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from pulseq_zero.errors import PhantomError
from pulseq_zero.phantom.phantom import Phantom
from pulseq_zero.phantom.pool import TissuePool
from pulseq_zero.phantom.resample import mixed

# What tissue carries with it, and what stays where it is
_OF_TISSUE = ("T1", "T2", "T2dash", "D")
_OF_SCANNER = ("B0", "B1", "coil_sensitivity")


class Deformation:
    r"""A smooth random map of the grid of a slice onto itself, without folds.

    The deformed slice has at :math:`r` what the other has at :math:`r + u(r)`. The displacement
    :math:`u` is white Gaussian noise, smoothed, faded to zero at the edge of the grid, and scaled.
    Between the centres of voxels it is bilinear. As the edge stays where it is, and the Jacobian
    determinant of :math:`r + u(r)` is positive everywhere, the map is one to one.

    Parameters
    ----------
    shape
        Number of voxels along x and y.
    voxel_size
        Their size along x and y [m].
    seed
        Of the random numbers.
    largest
        Length of the largest displacement [m].
    smoothness
        Standard deviation of the Gaussian that smooths the displacements, and how far from the
        edge of the grid they fade [m].

    Raises
    ------
    PhantomError
        If the anatomy would fold, or the grid has no voxels inside.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        voxel_size: Sequence[float],
        *,
        seed: int,
        largest: float,
        smoothness: float,
    ) -> None:
        noise = np.random.default_rng(seed).standard_normal((2, *shape))
        widths = (0, *(smoothness / size for size in voxel_size))
        field = ndimage.gaussian_filter(noise, widths, mode="constant")
        for axis, (count, size) in enumerate(zip(shape, voxel_size, strict=True), start=1):
            index = np.arange(count)
            from_edge = np.minimum(index, count - 1 - index) * size / smoothness
            fade = np.sin(np.pi / 2 * from_edge.clip(max=1)) ** 2
            field *= np.expand_dims(fade, 2 - axis)
        length = np.linalg.norm(field, axis=0).max()
        if length == 0:
            raise PhantomError(
                f"phantom.deform: a slice of {shape[0]} x {shape[1]} voxels has none inside that "
                "could move; leave deform out"
            )
        self.displacement: np.ndarray = field * (largest / length)
        """(xy, x, y) from each place to where its tissue comes from [m]."""
        self._size = np.asarray(voxel_size)[:, None, None]
        if self.jacobian().min() <= 0:
            raise PhantomError(
                f"phantom.deform: displacements of {largest:g} m that change over {smoothness:g} m "
                "fold the anatomy; lower largest or raise smoothness"
            )

    def jacobian(self) -> np.ndarray:
        """(4, x - 1, y - 1) Jacobian determinants at the corners of the cells between voxels.

        That of a bilinear map is linear within a cell, so that these are its extremes.
        """
        place = self.displacement / self._size + np.indices(self.displacement.shape[1:])
        along_x, along_y = np.diff(place, axis=1), np.diff(place, axis=2)
        return np.stack(
            [
                x[0] * y[1] - x[1] * y[0]
                for x in (along_x[:, :, :-1], along_x[:, :, 1:])
                for y in (along_y[:, :-1], along_y[:, 1:])
            ]
        )

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Deform a (x, y) map, by linear interpolation.

        All maps are interpolated with the same weights, between 0 and 1 and of the sum 1: shares
        of tissues that add up to 1 do so afterwards.
        """
        place = self.displacement / self._size + np.indices(values.shape)
        moved: np.ndarray = ndimage.map_coordinates(values, place, order=1, mode="nearest")
        return moved


def deformed(phantom: Phantom, settings: Mapping[str, Any]) -> Phantom:
    """Deform the tissues and regions of a phantom, and leave its fields where they are.

    T1, T2 (their rates) and D are averaged with PD as weight where tissue is interpolated. A
    pool's field map that is zero outside of the pool goes on there as in the nearest voxel that
    has a value.

    Parameters
    ----------
    phantom
        What to deform.
    settings
        ``seed``, ``largest`` and ``smoothness`` of the `Deformation`.

    Raises
    ------
    PhantomError
        If the anatomy would fold.
    """
    voxel_size = [extent / count for extent, count in zip(phantom.fov, phantom.matrix, strict=True)]
    deform = Deformation((phantom.matrix[0], phantom.matrix[1]), voxel_size, **settings)

    def moved(values: Tensor) -> Tensor:
        return torch.from_numpy(deform(values.double().numpy())).to(values.dtype)

    def of_pool(pool: TissuePool) -> TissuePool:
        fields = {name: _continued(getattr(pool, name), pool.PD) for name in _OF_SCANNER}
        return TissuePool(**mixed(pool, moved, _OF_TISSUE), **fields)

    return replace(
        phantom,
        pools={name: of_pool(pool) for name, pool in phantom.pools.items()},
        # Interpolation in single precision may leave the bounds by its rounding
        masks={name: moved(mask).clamp(0, 1) for name, mask in phantom.masks.items()},
    )


def _continued(field: Tensor, PD: Tensor) -> Tensor:
    """Let a (..., x, y) field go on where it has no values."""
    has_value = field != 0
    known = (PD > 0) | (has_value.any(0) if has_value.ndim == 3 else has_value)
    if not known.any():
        return field
    nearest = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    return field[..., torch.from_numpy(nearest[0]).long(), torch.from_numpy(nearest[1]).long()]
