"""The part of k-space that each sample stands for: density compensation."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from scipy.spatial import Delaunay, KDTree, QhullError
from torch import Tensor

from pulseq_zero.trajectory import Lines, Trajectory, trajectory_of


def sample_areas(kspace: Tensor, fov: tuple[float, float]) -> Tensor:
    r"""Return the area of k-space that each sample stands for.

    It is that of the sample's Voronoi cell: of all places that are nearer to it than to others.
    Samples at one position, as averages are, share a cell. Where samples lie in lines, cells are
    boxes: half-way to the neighbours in the line, times half-way to the neighbouring lines, so
    that each line of an EPI may have sampled its ramps at other positions. Cells at the edge of
    k-space, which are open, reach as far outwards as inwards (in lines), or are as large as the
    nearest that is closed (elsewhere).

    The areas are differentiable with respect to the positions: it is the choice of the
    neighbours alone that is not. Areas of positions without gradient are remembered.

    Parameters
    ----------
    kspace
        (samples, at least 2) kx, ky [1/m].
    fov
        Field of view in x and y [m].

    Returns
    -------
    Tensor
        (samples,) float64, in units of :math:`1 / (\mathrm{FOV}_x \mathrm{FOV}_y)`: 1 on the
        Cartesian grid.

    References
    ----------
    Rasche et al., Resampling of data between arbitrary grids using convolution interpolation.
    IEEE Trans Med Imaging 18:385 (1999), doi:10.1109/42.774166 (Voronoi cells as weights).
    """
    trajectory = trajectory_of(kspace, fov)
    if not kspace.requires_grad:
        return _fixed_areas(trajectory).to(kspace.device)
    steps = kspace[:, :2].double() * torch.tensor(fov, dtype=torch.float64, device=kspace.device)
    return _areas(steps, trajectory)


@lru_cache(maxsize=8)
def _fixed_areas(trajectory: Trajectory) -> Tensor:
    return _areas(torch.from_numpy(trajectory.steps), trajectory)


def _areas(steps: Tensor, trajectory: Trajectory) -> Tensor:
    if trajectory.lines is not None:
        return _areas_in_lines(steps, trajectory.lines)
    place, count = (torch.from_numpy(x).to(steps.device) for x in trajectory.places)
    return (_areas_of_cells(_mean(steps, place, count)) / count)[place]


def _areas_in_lines(steps: Tensor, lines: Lines) -> Tensor:
    line, cell, line_of_cell, count = (
        torch.from_numpy(x).to(steps.device)
        for x in (lines.line, lines.cell, lines.line_of_cell, lines.count)
    )
    along, across = steps[:, lines.axis], steps[:, 1 - lines.axis]
    width = _extents(_mean(along, cell, count), line_of_cell)
    samples = torch.bincount(line)
    height = _extents(_mean(across, line, samples), torch.zeros_like(samples))
    return (width * height[line_of_cell] / count)[cell]


def _extents(position: Tensor, line: Tensor) -> Tensor:
    """Lengths of the cells around sorted positions in lines; one that is alone has one step."""
    gap, is_within = position.diff(), line.diff() == 0
    none, nowhere = gap.new_zeros(1), is_within.new_zeros(1)
    has_before, has_after = torch.cat([nowhere, is_within]), torch.cat([is_within, nowhere])
    before, after = torch.cat([none, gap]), torch.cat([gap, none])
    extent = 0.5 * (
        torch.where(has_before, before, after) + torch.where(has_after, after, before)
    )
    return torch.where(has_before | has_after, extent, torch.ones_like(extent))


def _mean(values: Tensor, group: Tensor, count: Tensor) -> Tensor:
    total = values.new_zeros(len(count), *values.shape[1:]).index_add(0, group, values)
    return total / count.reshape(-1, *[1] * (values.ndim - 1))


def _areas_of_cells(points: Tensor) -> Tensor:
    """(cells,) areas of the Voronoi cells of points that all differ.

    The corners of a cell are the centres of the circles through the triangles of Delaunay's
    triangulation that meet there. Each triangle shares out, to each of its corners, the area
    between corner, middles of the edges and centre, which is negative beyond an edge.
    """
    places = points.detach().cpu().numpy()
    try:
        triangulation = Delaunay(places)
    except QhullError:
        # On one straight line, or less than three
        return torch.ones_like(points[:, 0])
    corner = torch.from_numpy(triangulation.simplices.astype(np.int64)).to(points.device)
    a, b, c = points[corner].unbind(1)
    flat = _cross(b - a, c - a).detach().abs() < 1e-12
    corner, a, b, c = corner[~flat], a[~flat], b[~flat], c[~flat]
    twice = _cross(b - a, c - a)
    sign = twice.detach().sign()
    squares = [(edge * edge).sum(1, keepdim=True) for edge in (b - a, c - a)]
    normal = squares[0] * (c - a) - squares[1] * (b - a)
    centre = a + torch.stack([normal[:, 1], -normal[:, 0]], 1) / (2 * twice[:, None])
    areas = torch.zeros_like(points[:, 0])
    for index, (own, following, preceding) in enumerate([(a, b, c), (b, c, a), (c, a, b)]):
        to_centre = centre - own
        share = _cross(following - own, to_centre) + _cross(to_centre, preceding - own)
        areas = areas.index_add(0, corner[:, index], 0.25 * sign * share)
    is_open = torch.zeros(len(points), dtype=torch.bool)
    is_open[torch.from_numpy(triangulation.convex_hull.astype(np.int64)).ravel()] = True
    outside = triangulation.find_simplex(centre.detach().cpu().numpy()) < 0
    is_open[corner[torch.from_numpy(outside).to(corner.device)].cpu().ravel()] = True
    if bool(is_open.all()):
        return torch.ones_like(areas)
    closed = torch.nonzero(~is_open).ravel()
    _, nearest = KDTree(places[closed.numpy()]).query(places)
    return areas[closed[torch.from_numpy(np.asarray(nearest))].to(areas.device)]


def _cross(one: Tensor, other: Tensor) -> Tensor:
    return one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0]
