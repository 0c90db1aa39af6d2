"""Where the samples of an image lie in k-space: along which lines, and what they resolve."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

# All lengths in k-space are in steps of 1 / field of view.

# Positions this near to each other are one.
_SAME = 1e-3
# Samples of one line may lie this far apart across it.
_LINE_WIDTH = 0.1
# Steps from sample to sample run along an axis if they do not move further across it, ...
_ALONG = 0.05
# ... and this part of them has to, for all samples to form lines.
_IN_LINES = 2 / 3
# Steps whose lengths differ by less, relative to the longest, form a regular grid.
_REGULAR = 0.05
# An echo may lie off the centre by one sample, or by this part of all of them. Where it lies
# further off, k-space is partially sampled: 7/8 of all lines are off by 1/14 of their number.
_OFF_CENTRE = 1 / 32


@dataclass(frozen=True)
class Lines:
    """Samples in lines along x or y: GRE, TSE, EPI with or without sampled ramps, a single line.

    Attributes
    ----------
    axis
        Along which axis the lines run.
    line
        (samples,) the line of each sample, counted in the direction across.
    cell
        (samples,) which of the different positions each sample has; those of equal positions,
        as averages have, share a cell. Cells are sorted by lines, and by position along these.
    line_of_cell
        (cells,) the line of each cell.
    count
        (cells,) how many samples share each cell.
    """

    axis: int
    line: NDArray[np.int64]
    cell: NDArray[np.int64]
    line_of_cell: NDArray[np.int64]
    count: NDArray[np.int64]


class Trajectory:
    """Positions of samples in steps of one over the field of view.

    Lines and matrix are known in a plane; of a volume, see `pulseq_zero.imaging.planes`.

    Parameters
    ----------
    steps
        (samples, xy or xyz) the positions.
    """

    def __init__(self, steps: NDArray[np.float64]) -> None:
        self.steps = steps

    @cached_property
    def places(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(samples,) which of the different positions a sample has; (places,) their samples."""
        _, place, count = np.unique(
            _bins(self.steps), axis=0, return_inverse=True, return_counts=True
        )
        return place.ravel(), count

    @cached_property
    def arrivals(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(arrivals,) places that are come to, one after the other, and the samples there."""
        place, _ = self.places
        sample = np.flatnonzero(np.diff(place, prepend=-1))
        return place[sample], sample

    @cached_property
    def returns(self) -> bool:
        """Whether half of all places or more are come to again."""
        return bool(np.mean(np.bincount(self.arrivals[0]) > 1) >= 0.5)

    @cached_property
    def lines(self) -> Lines | None:
        """The lines that the samples lie on, None if they lie otherwise (spokes, spirals)."""
        axis = _reading_axis(self.steps)
        if axis is None:
            return None
        across = self.steps[:, 1 - axis]
        order = np.argsort(across, kind="stable")
        line = np.zeros(len(across), dtype=np.int64)
        line[order] = np.cumsum(np.diff(across[order], prepend=across[order[0]]) > _LINE_WIDTH)
        low, high = np.full(line.max() + 1, np.inf), np.full(line.max() + 1, -np.inf)
        np.minimum.at(low, line, across)
        np.maximum.at(high, line, across)
        if np.max(high - low) > _LINE_WIDTH:
            return None
        cells, cell, count = np.unique(
            np.stack([line, _bins(self.steps[:, axis])], 1),
            axis=0,
            return_inverse=True,
            return_counts=True,
        )
        return Lines(axis, line, cell.ravel(), cells[:, 0], count)

    @cached_property
    def matrix(self) -> tuple[int, int]:
        """Pixels in x and y that the samples resolve, see `resolved_matrix`."""
        lines = self.lines
        if lines is None:
            x, y = (_from_the_furthest(self.steps[:, axis]) for axis in (0, 1))
            return x, y
        along, across = self.steps[:, lines.axis], self.steps[:, 1 - lines.axis]
        width = resolved(mean_of(along, lines.cell), lines.line_of_cell)
        height = resolved(mean_of(across, lines.line), np.zeros(lines.line.max() + 1, np.int64))
        return (width, height) if lines.axis == 0 else (height, width)


def trajectory_of(kspace: Tensor, fov: Sequence[float]) -> Trajectory:
    """Return the trajectory of samples; equal ones, as an optimization has, are the same object.

    Parameters
    ----------
    kspace
        (samples, at least 2 or 3) kx, ky and kz [1/m].
    fov
        Field of view in x and y, or x, y and z [m].
    """
    positions = kspace.detach()[:, : len(fov)].double().cpu().numpy()
    return _trajectory(positions.tobytes(), tuple(map(float, fov)))


def resolved_matrix(kspace: Tensor, fov: Sequence[float]) -> tuple[int, int]:
    r"""Return the pixels in x and y that k-space samples resolve over a field of view.

    Samples of spacing :math:`\Delta k` that cover a part :math:`K` of an axis, each for
    :math:`\Delta k`, resolve :math:`1 / K`: there are :math:`K` times the field of view pixels,
    as many as there are samples where the spacing is one over the field of view. It does not
    matter whether an echo is off the centre by a sample.

    Where it is further off, k-space is sampled in part, and the pixels are those of the whole:
    of frequencies as high on the other side. Where the spacing is not regular (sampled ramps,
    left-out lines, spokes, spirals), they reach to the furthest sample on both sides. A single
    line, and all that has one position on an axis, is one pixel there.

    Parameters
    ----------
    kspace
        (samples, at least 2) kx, ky [1/m].
    fov
        Field of view in x and y [m].
    """
    return trajectory_of(kspace, fov).matrix


def mean_of(values: NDArray[np.float64], group: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the (groups,) mean of the values of each group."""
    return np.bincount(group, values) / np.bincount(group)


@lru_cache(maxsize=8)
def _trajectory(positions: bytes, fov: tuple[float, ...]) -> Trajectory:
    return Trajectory(np.frombuffer(positions).reshape(-1, len(fov)) * fov)


def _bins(steps: NDArray[np.float64]) -> NDArray[np.int64]:
    # No position of a script lies at the edge of a bin, where rounding would part its samples
    return np.floor(steps / _SAME + 1 / math.pi).astype(np.int64)


def _reading_axis(steps: NDArray[np.float64]) -> int | None:
    """Axis along which most steps from sample to sample run."""
    size = np.abs(np.diff(steps, axis=0))
    size = size[size.max(1) > _SAME]
    along = [int(np.sum(size[:, 1 - axis] <= _ALONG * size[:, axis])) for axis in (0, 1)]
    axis = int(along[1] > along[0])
    return axis if along[axis] >= _IN_LINES * len(size) else None


def resolved(position: NDArray[np.float64], line: NDArray[np.int64]) -> int:
    """Pixels along an axis on which samples lie in lines, sorted along these."""
    if np.ptp(position) <= _SAME:
        return 1
    gaps = np.diff(position)[np.diff(line) == 0]
    if len(gaps) == 0 or np.ptp(gaps) > _REGULAR * gaps.max():
        return _from_the_furthest(position)
    step = float(gaps.max())
    low, high = position.min() - step / 2, position.max() + step / 2
    off_centre = (low + high) / 2
    allowed = max(step, _OFF_CENTRE * (high - low)) + _SAME
    # An even number of samples has one more on the negative side
    if -step / 2 - allowed <= off_centre <= allowed:
        return max(1, math.floor(high - low + 0.5 + _SAME))
    if high >= -low:
        return 2 * math.ceil(high - _SAME)
    return 2 * math.floor(-low + _SAME)


def _from_the_furthest(position: NDArray[np.float64]) -> int:
    return max(1, 2 * math.floor(np.abs(position).max() + 0.5 + _SAME))
