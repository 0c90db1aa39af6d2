r"""Weights of samples that make the point-spread function right, and not only dense.

At the centre of spokes and spirals the density changes from one sample to the next, and the
areas of cells, as any quadrature by the nearest value, are wrong there: they make a large object
a tenth too bright. What is asked for is that the point-spread function
:math:`\sum_j w_j e^{2 \pi i k_j \cdot r}` is that of the sampled part K of k-space, where objects
meet themselves. Under a window :math:`\varphi(r)`, with its transform :math:`\Phi(k)`,

.. math:: \sum_j w_j \Phi(k_i - k_j) = \int_K \Phi(k_i - k) \, dk

at all samples i (Pipe and Menon, Magn Reson Med 41:179, 1999; the window, the overlap of two
discs, is that of Johnson and Pipe, Magn Reson Med 61:439, 2009, doi:10.1002/mrm.21840).

Where samples are further apart than steps of one over the field of view, as between few spokes,
no weights make it so: they would become small, and the image blurred. There they stay areas.
"""

from __future__ import annotations

import math

import numpy as np
import scipy
import torch
from torch import Tensor

# Up to which distance the point-spread function is made right, in fields of view. Beyond it,
# spokes and turns one step apart alias, whatever their weights.
_REACH = 0.75
_ITERATIONS = 10
# Step of the grid that weights are convolved on, in steps of 1 / field of view
_GRID_STEP = 0.25
# No sample lies on a node, where its shares have a kink
_OFFSET = 1 / math.pi
# Beyond how many steps the window's transform is nothing
_WIDTH = 4 / _REACH
_NODES = 32
# Radii of cells, in steps, up to which samples are dense enough, and from which on they are not:
# on a square lattice of Nyquist's spacing it is 0.71.
_DENSE, _SPARSE = 0.75, 1.25


def corrected(steps: Tensor, areas: Tensor, radius: Tensor) -> Tensor:
    """Return weights, from the areas that samples stand for.

    The two differ at the centre of k-space and, a little, at its edge.

    Parameters
    ----------
    steps
        (samples, xy) float64 positions in steps of 1 / field of view.
    areas
        (samples,) float64 areas of their cells.
    radius
        (samples,) float64 how far these reach.

    Returns
    -------
    Tensor
        (samples,) float64, differentiable.
    """
    density = _Density(steps)
    wanted = _within(_depth(steps, areas.sum()))
    dense = ((_SPARSE - radius) / (_SPARSE - _DENSE)).clamp(0, 1)
    weights = right = areas
    for _ in range(_ITERATIONS):
        right = right * wanted / density(weights)
        weights = dense * right + (1 - dense) * areas
    return weights


class _Density:
    """Convolves weighted samples with the window's transform, and reads the result at each."""

    def __init__(self, steps: Tensor) -> None:
        half = math.ceil(float(steps.detach().abs().max()) / _GRID_STEP) + 2
        self._count = scipy.fft.next_fast_len(
            2 * half + 1 + math.ceil(_WIDTH / _GRID_STEP), real=True
        )
        place = steps / _GRID_STEP + half + _OFFSET
        node = place.detach().floor().long()
        share = place - node
        corners = [(x, y) for x in (0, 1) for y in (0, 1)]
        # (samples, 4) nodes of the grid around each sample, and its share in each
        self._nodes = torch.stack(
            [(node[:, 0] + x) * self._count + node[:, 1] + y for x, y in corners], 1
        )
        self._shares = torch.stack(
            [(1 - x - share[:, 0]).abs() * (1 - y - share[:, 1]).abs() for x, y in corners], 1
        )
        r = torch.fft.fftfreq(self._count, d=_GRID_STEP, dtype=torch.float64, device=steps.device)
        self._window = _window(torch.hypot(r[:, None], r[: self._count // 2 + 1]))

    def __call__(self, weights: Tensor) -> Tensor:
        grid = weights.new_zeros(self._count**2).index_add(
            0, self._nodes.ravel(), (weights[:, None] * self._shares).ravel()
        )
        grid = grid.reshape(self._count, -1) / _GRID_STEP**2
        grid = torch.fft.irfft2(torch.fft.rfft2(grid) * self._window, s=grid.shape)
        return (grid.ravel()[self._nodes] * self._shares).sum(1)


def _window(distance: Tensor) -> Tensor:
    """Return the overlap of two discs, 1 at distance 0 and nothing from `_REACH` on."""
    ratio = (distance / _REACH).clamp(max=1)
    return (2 / math.pi) * (torch.acos(ratio) - ratio * (1 - ratio.square()).sqrt())


def _depth(steps: Tensor, area: Tensor) -> Tensor:
    """Return the (samples,) distance from the edge of the sampled region.

    It is the samples' convex hull, widened all round to the area that they stand for.
    """
    hull = scipy.spatial.ConvexHull(steps.detach().cpu().numpy())
    corners = steps[torch.from_numpy(hull.vertices.astype(np.int64)).to(steps.device)]
    sides = corners.roll(-1, 0) - corners
    length = torch.linalg.vector_norm(sides, dim=1)
    inwards = torch.stack([-sides[:, 1], sides[:, 0]], 1) / length[:, None]
    enclosed = 0.5 * (corners[:, 0] * sides[:, 1] - corners[:, 1] * sides[:, 0]).sum()
    widened = (area - enclosed) / length.sum()
    return (steps @ inwards.T - (corners * inwards).sum(1)).amin(1) + widened


def _within(depth: Tensor) -> Tensor:
    r"""Return the (samples,) part of the window's transform that lies in a region, by depth.

    .. math:: \tfrac12 + \int_0^\infty \varphi(r) \frac{\sin 2 \pi r d}{\pi r} \, dr

    in a half-plane, as the transform's integral along its edge has the transform
    :math:`\varphi` across.
    """
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    r = torch.from_numpy(0.5 * _REACH * (nodes + 1)).to(depth.device)
    weight = torch.from_numpy(0.5 * _REACH * weights).to(depth.device) * _window(r) / (math.pi * r)
    # At depths above this the integrand turns too fast for the nodes, and all lies within
    return 0.5 + torch.sin(2 * math.pi * r * depth.clamp(max=2 * _WIDTH)[:, None]) @ weight
