"""The part of k-space that each sample stands for: density compensation."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from pulseq_zero.imaging.pipe_menon import corrected
from pulseq_zero.imaging.trajectory import Lines, Trajectory, trajectory_of
from pulseq_zero.imaging.voronoi import voronoi_cells

# Where areas differ by less, relative to the largest, samples form a lattice: nothing to correct
_LATTICE = 0.05


def sample_areas(kspace: Tensor, fov: Sequence[float]) -> Tensor:
    r"""Return the area of k-space that each sample stands for.

    It is that of all places nearer to it than to other samples; samples at one position, as
    averages are, share it. Where samples lie in lines, it is a box: half-way to the neighbours in
    the line, times half-way to the neighbouring lines, so that each line of an EPI may have
    sampled its ramps at other positions. Boxes at the edge of k-space reach as far outwards as
    inwards. Elsewhere (spokes, spirals) it is a Voronoi cell (Rasche et al., IEEE Trans Med
    Imaging 18:385, 1999, doi:10.1109/42.774166), corrected as in
    `pulseq_zero.imaging.pipe_menon`, so that images of large objects are right, too.

    Differentiable with respect to the positions, but for the choice of the neighbours and the
    outline of k-space. Areas of positions without gradient are remembered.

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
        Cartesian grid. A single line, or sample, fills a step across it.
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
    points = _mean(steps, place, count)
    cells = voronoi_cells(points)
    if cells is None:
        # Too few to tell
        return (1 / count.double())[place]
    areas, radius = cells
    values = areas.detach()
    if float(values.max() - values.min()) > _LATTICE * float(values.max()):
        areas = corrected(points, areas, radius)
    return (areas / count)[place]


def _areas_in_lines(steps: Tensor, lines: Lines) -> Tensor:
    line, cell, line_of_cell, count = (
        torch.from_numpy(x).to(steps.device)
        for x in (lines.line, lines.cell, lines.line_of_cell, lines.count)
    )
    along, across = steps[:, lines.axis], steps[:, 1 - lines.axis]
    width = extents(_mean(along, cell, count), line_of_cell)
    samples = torch.bincount(line)
    height = extents(_mean(across, line, samples), torch.zeros_like(samples))
    return (width * height[line_of_cell] / count)[cell]


def extents(position: Tensor, line: Tensor) -> Tensor:
    """Lengths of the boxes around sorted positions in lines; one that is alone has one step."""
    gap, is_within = position.diff(), line.diff() == 0
    none, nowhere = gap.new_zeros(1), is_within.new_zeros(1)
    has_before, has_after = torch.cat([nowhere, is_within]), torch.cat([is_within, nowhere])
    before, after = torch.cat([none, gap]), torch.cat([gap, none])
    extent = 0.5 * (torch.where(has_before, before, after) + torch.where(has_after, after, before))
    return torch.where(has_before | has_after, extent, torch.ones_like(extent))


def _mean(values: Tensor, group: Tensor, count: Tensor) -> Tensor:
    total = values.new_zeros(len(count), *values.shape[1:]).index_add(0, group, values)
    return total / count.reshape(-1, *[1] * (values.ndim - 1))
