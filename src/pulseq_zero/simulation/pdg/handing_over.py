"""States of nearly the same position that go on in others, see `graph.HandOver`.

In a train of intervals that are all different hardly any two states meet. They do if they are moved
to a few dephasing times: the points of lattices that are each twice as fine as the one before, the
same for all states, so that a state on a point stays on it when it is mirrored or stored. The
stronger what lies between two points, the finer the lattice.
"""

# Compiled functions have no annotations: numba derives the types from the arguments.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import math

import numpy as np

from pulseq_zero.simulation.kernel_math import sine_and_cosine
from pulseq_zero.simulation.pdg.loops import compiled, inlined
from pulseq_zero.simulation.pdg.representatives import Representatives

# Positions are compared along a line on which no two simple ones meet.
LINE = np.sqrt(np.array([1.0, 2.0, 3.0, 5.0]))

# States of one kind and moments are handed over if there are so many, and if by this factor more
# are left of them at most: where they lie far apart, each would become two.
_FEWEST, _MORE = 4, 0.6

# Points of the coarsest lattice are so far apart that off-resonance that the representatives do not
# know turns by less than this [rad]; but no farther than the second number [s].
_TURNED, _FARTHEST = 2.0, 1.0

# How many others a state goes on in. Parts of two are positive: whatever is missed cannot grow from
# repetition to repetition, as it can with more, whose parts have both signs.
TAKERS = 2

# Each lattice is twice as fine as the one before; there are at most so many.
_DEEPEST = 40

# What a point would receive may instead be taken by the other of its cell if that misses no more
# than this part of what a cell may.
_CRUMB = 0.3

_UNUSED, _NEW = -2, -1


def coarsest_lattice(voxels: Representatives) -> float:
    """Return how far apart the points of the coarsest lattice lie [s]."""
    return _TURNED / max(2 * math.pi * voxels.B0_spread, _TURNED / _FARTHEST)


@compiled
def hand_over(place, kinds, magnetisation, voxels, near, spacing, most):
    """Find states that others go on in, and hand over.

    Parameters
    ----------
    place, kinds, magnetisation
        (states, 4) positions, kinds and magnetisation at the end of a repetition.
    voxels
        Share and B0 of the representatives, and how far off a line what is left of states is, see
        `Representatives.bending`.
    near
        (4,) how far apart states may be that are one.
    spacing
        Of the coarsest lattice [s].
    most
        What all that lies between two points of a lattice may miss by linear interpolation.

    Returns
    -------
    giver, taker, share, shift
        As in `graph.HandOver`, within the repetition; takers that are new are numbered on.
    model, time
        (new,) one of the states that go on in each new one, and its dephasing time [s].
    new
        Magnetisation of the new states.
    """
    real, imaginary, slope = magnetisation
    weight, B0, bending, cusp = voxels
    count = len(kinds)
    size, line = np.zeros(count), np.zeros(count)
    for state in range(count):
        for v in range(len(weight)):
            power = real[state, v] ** 2 + imaginary[state, v] ** 2
            size[state] += weight[v] * max(power, slope[state, v])
        size[state] = np.sqrt(size[state])
        for axis in range(3):
            line[state] += LINE[axis] * place[state, axis] / near[axis]
        # The undephased state is by itself.
        line[state] = 3 * np.rint(line[state] / 4) + kinds[state]
    by_time = np.argsort(place[:, 3], kind="mergesort")
    order = by_time[np.argsort(line[by_time], kind="mergesort")]
    time, size, line = place[order, 3], size[order], line[order]
    giver, taker = np.empty(count, np.int64), np.empty((count, TAKERS), np.int64)
    share, shift = np.empty((count, TAKERS), np.float32), np.empty((count, TAKERS))
    model, new_time = np.empty(2 * count, np.int64), np.empty(2 * count)
    given, made, begin = 0, 0, 0
    while begin < count:
        first, stop = begin, begin + 1
        while stop < count and line[stop] == line[first]:
            stop += 1
        begin = stop
        if stop - first < _FEWEST:
            continue
        cells, points, alone = _cut(
            time[first:stop], size[first:stop], (bending, cusp), (near[3], spacing, most)
        )
        takers, gives = _choose(
            time[first:stop], size[first:stop], cells, points, near[3], 0.5 * cusp / most
        )
        if np.sum(takers != _UNUSED) + alone > _MORE * (stop - first):
            continue
        for point in np.flatnonzero(takers != _UNUSED):
            if takers[point] == _NEW:
                takers[point] = count + made
                model[made], new_time[made] = order[first], points[point]
                made += 1
            else:
                takers[point] = order[first + takers[point]]
        for cell in range(len(cells)):
            a, b, left = cells[cell]
            if not np.any(gives[a:b]):
                continue
            low, high = points[left], points[left + 1]
            for n in range(a, b):
                if not gives[n]:
                    continue
                state, at = order[first + n], time[first + n]
                giver[given], taker[given] = state, state
                share[given], shift[given] = 0.0, 0.0
                # Where one point has no taker the other receives all.
                upper = (at - low) / (high - low)
                if takers[left] == _UNUSED or takers[left + 1] == _UNUSED:
                    upper = 1.0 if takers[left] == _UNUSED else 0.0
                for side in range(TAKERS):
                    part = upper if side == 1 else 1.0 - upper
                    if part != 0:
                        taker[given, side] = takers[left + side]
                        share[given, side] = part
                        shift[given, side] = points[left + side] - at
                given += 1
    new_real = np.zeros((made, len(weight)), np.float32)
    new_imaginary = np.zeros((made, len(weight)), np.float32)
    new_slope = np.zeros((made, len(weight)), np.float32)
    for n in range(given):
        state = giver[n]
        for side in range(TAKERS):
            to, part = taker[n, side], share[n, side]
            if part == 0:
                continue
            for v in range(len(weight)):
                turns = -shift[n, side] * B0[v]
                s, c = sine_and_cosine(np.float32(turns - np.rint(turns)))
                a = part * (c * real[state, v] - s * imaginary[state, v])
                b = part * (c * imaginary[state, v] + s * real[state, v])
                if to < count:
                    real[to, v] += a
                    imaginary[to, v] += b
                    slope[to, v] += np.abs(part) * slope[state, v]
                else:
                    new_real[to - count, v] += a
                    new_imaginary[to - count, v] += b
                    new_slope[to - count, v] += np.abs(part) * slope[state, v]
    return (
        (giver[:given], taker[:given], share[:given], shift[:given]),
        (model[:made], new_time[:made]),
        (new_real, new_imaginary, new_slope),
    )


@inlined
def _cut(time, size, curvature, limits):
    """Cut an axis of dephasing times into cells of lattices.

    Parameters
    ----------
    time, size
        (states,) of states of one kind and moments, in the order of their times.
    curvature
        As in `Representatives`.
    limits
        How near to each other times are one, how far apart the points of the coarsest lattice lie,
        and how much a cell may miss.

    Returns
    -------
    cells
        (cells, 3) first state, the one behind the last, and number of the point on the left; that
        on the right is the next.
    points
        (points,) their times, in ascending order.
    alone
        How many states are too strong for any cell.
    """
    bending, cusp = curvature
    near, spacing, most = limits
    count = len(time)
    cells, points = np.empty((count, 3), np.int64), np.empty(2 * count)
    waiting = np.empty((count + _DEEPEST, 4), np.int64)
    found, many, alone, begin = 0, 0, 0, 0
    while begin < count:
        point = np.int64(np.floor((time[begin] + near) / spacing))
        stop = begin + 1
        while stop < count and time[stop] + near < (point + 1) * spacing:
            stop += 1
        # First state, the one behind the last, number of the lattice, of the point on the left.
        waiting[0] = begin, stop, 0, point
        left, begin = 1, stop
        while left > 0:
            left -= 1
            a, b, level, point = waiting[left]
            width = spacing / 2.0**level
            low, high = point * width, (point + 1) * width
            missed = 0.0
            for n in range(a, b):
                before, after = max(time[n] - low, 0.0), max(high - time[n], 0.0)
                missed += size[n] * before * after * (0.5 * bending + cusp / width)
            if missed <= most or level == _DEEPEST:
                if many == 0 or points[many - 1] != low:
                    points[many] = low
                    many += 1
                points[many] = high
                cells[found] = a, b, many - 1
                found, many = found + 1, many + 1
            elif b == a + 1:
                alone += 1
            else:
                middle = a
                while middle < b and time[middle] + near < low + 0.5 * width:
                    middle += 1
                if middle < b:
                    waiting[left] = middle, b, level + 1, 2 * point + 1
                    left += 1
                if middle > a:
                    waiting[left] = a, middle, level + 1, 2 * point
                    left += 1
    return cells[:found], points[:many], alone


@inlined
def _choose(time, size, cells, points, near, slope):
    """Return for each point of a lattice who takes there, and for each state whether it gives.

    Takers are numbers of states that are there already, or tell that there is a new one or none.
    There is none where it would receive so little that the other of its cell may as well take it:
    ``slope`` is what that would miss, as a part of what a cell may.
    """
    takers, gives = np.full(len(points), _UNUSED), np.zeros(len(time), np.bool_)
    for cell in range(len(cells)):
        a, b, left = cells[cell]
        for n in range(a, b):
            gives[n] = True
            if time[n] <= points[left] + near and takers[left] == _UNUSED:
                takers[left], gives[n] = n, False
            elif time[n] >= points[left + 1] - near and takers[left + 1] == _UNUSED:
                takers[left + 1], gives[n] = n, False
    for cell in range(len(cells)):
        a, b, left = cells[cell]
        if np.any(gives[a:b]):
            for point in (left, left + 1):
                if takers[point] == _UNUSED:
                    takers[point] = _NEW
    received, width = np.zeros(len(points)), np.zeros(len(points))
    before, after = np.full(len(points), -1), np.full(len(points), -1)
    for cell in range(len(cells)):
        a, b, left = cells[cell]
        if not np.any(gives[a:b]):
            continue
        before[left + 1], after[left] = left, left + 1
        wide = points[left + 1] - points[left]
        width[left], width[left + 1] = max(width[left], wide), wide
        for n in range(a, b):
            if gives[n]:
                part = min(max((time[n] - points[left]) / wide, 0.0), 1.0)
                received[left] += (1 - part) * size[n]
                received[left + 1] += part * size[n]
    for point in np.argsort(received, kind="mergesort"):
        if takers[point] != _NEW or slope * width[point] * received[point] > _CRUMB:
            continue
        one, other = before[point], after[point]
        if (one < 0 or takers[one] != _UNUSED) and (other < 0 or takers[other] != _UNUSED):
            takers[point] = _UNUSED
    return takers, gives
