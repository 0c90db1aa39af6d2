"""Voronoi cells: their areas and radii, differentiable with respect to their points."""

from __future__ import annotations

import numpy as np
import scipy
import torch
from torch import Tensor

# Triangles of less area have their corners on one line, at the edge
_FLAT = 1e-12


def voronoi_cells(points: Tensor) -> tuple[Tensor, Tensor] | None:
    """Return the areas of the Voronoi cells of points in a plane, and how far they reach.

    The corners of a cell are the centres of the circles through the triangles of Delaunay's
    triangulation that meet there. Each triangle shares out, to each of its own corners, the area
    between corner, middles of the edges and centre, which is negative beyond an edge.

    Cells at the edge, which are open or reach beyond the points' convex hull, are as large as
    the nearest of the others. The choice of the neighbours is not differentiated.

    Parameters
    ----------
    points
        (points, xy) float64, all different.

    Returns
    -------
    areas, radius
        (points,) areas, and distances from each point to the furthest corner of its cell; None if
        all cells are at the edge.
    """
    places = points.detach().cpu().numpy()
    try:
        triangulation = scipy.spatial.Delaunay(places)
    except scipy.spatial.QhullError:
        # On one straight line, or less than three
        return None
    corner = torch.from_numpy(triangulation.simplices.astype(np.int64)).to(points.device)
    a, b, c = points[corner].unbind(1)
    twice = _cross(b - a, c - a)
    is_flat = twice.detach().abs() < 2 * _FLAT
    corner, a, b, c, twice = (x[~is_flat] for x in (corner, a, b, c, twice))
    centre = _circumcentre(a, b, c, twice)
    circumradius = torch.linalg.vector_norm(centre - a, dim=1)
    areas = radius = torch.zeros_like(points[:, 0])
    for index, (own, following, preceding) in enumerate([(a, b, c), (b, c, a), (c, a, b)]):
        to_centre = centre - own
        share = _cross(following - own, to_centre) + _cross(to_centre, preceding - own)
        areas = areas.index_add(0, corner[:, index], 0.25 * twice.detach().sign() * share)
        radius = radius.scatter_reduce(0, corner[:, index], circumradius, "amax")

    is_open = np.zeros(len(places), dtype=bool)
    is_open[triangulation.convex_hull.ravel()] = True
    is_outside = triangulation.find_simplex(centre.detach().cpu().numpy()) < 0
    is_open[corner.cpu().numpy()[is_outside].ravel()] = True
    if is_open.all():
        return None
    closed = np.flatnonzero(~is_open)
    _, nearest = scipy.spatial.KDTree(places[closed]).query(places)
    chosen = torch.from_numpy(closed[nearest]).to(areas.device)
    return areas[chosen], radius[chosen]


def _circumcentre(a: Tensor, b: Tensor, c: Tensor, twice: Tensor) -> Tensor:
    """(triangles, xy) centres of the circles through triangles of twice an area."""
    to_b, to_c = b - a, c - a
    across = (to_b * to_b).sum(1, keepdim=True) * to_c - (to_c * to_c).sum(1, keepdim=True) * to_b
    return a + torch.stack([across[:, 1], -across[:, 0]], 1) / (2 * twice[:, None])


def _cross(one: Tensor, other: Tensor) -> Tensor:
    return one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0]
