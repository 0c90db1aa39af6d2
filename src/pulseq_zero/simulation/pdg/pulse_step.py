"""What a pulse makes of the states that are followed in the representatives."""

# Compiled functions have no annotations: numba derives the types from the arguments.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from pulseq_zero.simulation.pdg.graph import KINDS
from pulseq_zero.simulation.pdg.handing_over import LINE
from pulseq_zero.simulation.pdg.loops import compiled, inlined
from pulseq_zero.simulation.pdg.selection import LONGITUDINAL, TRANSVERSE, UNDEPHASED

_ZZ, _ZP, _PP, _PZ, _MZ, _MP = (KINDS.index(k) for k in ("zz", "z+", "++", "+z", "-z", "-+"))


@compiled
def states_after(place, kinds, magnetisation, factors, share, limits):
    """Make the states after a pulse, and the edges that lead into them.

    Transverse ones come first, then the undephased one, then the other longitudinal ones; each
    kind from the strongest to the weakest. What is left out, as too weak or because there are
    too many, is added up, for transverse and for longitudinal states.
    """
    real, imaginary, slope = magnetisation
    factor_real, factor_imaginary, steepness = factors
    max_count, min_magnetisation, slopes, near = limits
    voxels = real.shape[1]
    transverse = np.sum(kinds == TRANSVERSE)
    # Transverse and longitudinal states arise at the same places: those of all ancestors, and
    # of the transverse ones mirrored.
    points = len(kinds) + transverse
    position = np.empty((points, 4))
    for state in range(len(kinds)):
        for axis in range(4):
            position[state, axis] = place[state, axis]
    for state in range(transverse):
        for axis in range(4):
            position[len(kinds) + state, axis] = -place[state, axis]
    group, groups = _group(position, near)
    # Number 2 g is the transverse state at place g, 2 g + 1 the longitudinal one.
    count = 4 * transverse + 2 * (len(kinds) - transverse)
    target, kind = np.empty(count, np.int64), np.empty(count, np.int64)
    source = np.empty(count, np.int64)
    new_real = np.zeros((2 * groups, voxels), np.float32)
    new_imaginary = np.zeros((2 * groups, voxels), np.float32)
    new_slope = np.zeros((2 * groups, voxels), np.float32)
    where, made = np.empty((2 * groups, 4)), np.zeros(2 * groups, np.bool_)
    n = 0
    for state in range(len(kinds)):
        ways = 2
        codes = (_ZP, _ZZ, _ZP, _ZZ)
        if kinds[state] == TRANSVERSE:
            ways = 4
            codes = (_PP, _PZ, _MP, _MZ)
        for way in range(ways):
            code = codes[way]
            point = state if way < 2 else len(kinds) + state
            new = 2 * group[point] + way % 2
            sign = np.float32(1.0) if way < 2 else np.float32(-1.0)
            for v in range(voxels):
                a, b = real[state, v], sign * imaginary[state, v]
                c, d = factor_real[code, v], factor_imaginary[code, v]
                new_real[new, v] += a * c - b * d
                new_imaginary[new, v] += a * d + b * c
            if slopes:
                for v in range(voxels):
                    c, d = factor_real[code, v], factor_imaginary[code, v]
                    power = real[state, v] ** 2 + imaginary[state, v] ** 2
                    new_slope[new, v] += (c * c + d * d) * slope[state, v]
                    new_slope[new, v] += steepness[code, v] * power
            if not made[new]:
                where[new], made[new] = position[point], True
            target[n], kind[n], source[n] = new, code, state
            n += 1
    size = np.zeros(2 * groups)
    for new in range(2 * groups):
        power, steep = np.float32(0.0), np.float32(0.0)
        for v in range(voxels):
            power += share[v] * (new_real[new, v] ** 2 + new_imaginary[new, v] ** 2)
            steep += share[v] * new_slope[new, v]
        size[new] = np.sqrt(max(power, steep))
    undephased = 2 * group[transverse] + 1
    too_weak, too_many = np.zeros((2, voxels), np.float32), np.zeros((2, voxels), np.float32)
    order = np.argsort(-size, kind="mergesort")
    strongest = np.empty(2 * groups, np.int64)
    kept = 0
    for longitudinal in range(2):
        if longitudinal == 1:
            strongest[kept] = undephased
            kept += 1
        taken = 0
        for new in order:
            if new % 2 != longitudinal or new == undephased or not made[new]:
                continue
            if size[new] < min_magnetisation or taken == max_count:
                left = too_weak if size[new] < min_magnetisation else too_many
                for v in range(voxels):
                    power = new_real[new, v] ** 2 + new_imaginary[new, v] ** 2
                    left[longitudinal, v] += max(power, new_slope[new, v])
                continue
            strongest[kept] = new
            kept, taken = kept + 1, taken + 1
    number = np.full(2 * groups, -1)
    for at in range(kept):
        number[strongest[at]] = at
    edges = np.zeros(kept, np.int64)
    for n in range(count):
        if number[target[n]] >= 0:
            edges[number[target[n]]] += 1
    filled = np.cumsum(edges) - edges
    edge_kind = np.empty(np.sum(edges), np.int8)
    edge_source = np.empty(len(edge_kind), np.int32)
    # Kind by kind, so that a state's edges come in the order of their kinds.
    for code in range(len(factor_real)):
        for n in range(count):
            new = number[target[n]]
            if kind[n] == code and new >= 0:
                edge_kind[filled[new]], edge_source[filled[new]] = code, source[n]
                filled[new] += 1
    places = np.empty((kept, 4))
    types = np.empty(kept, np.int8)
    for at in range(kept):
        new = strongest[at]
        places[at] = where[new]
        types[at] = TRANSVERSE if new % 2 == 0 else LONGITUDINAL
        if new == undephased:
            types[at] = UNDEPHASED
            places[at] = 0.0
    chosen = strongest[:kept]
    return (
        places,
        types,
        (new_real[chosen], new_imaginary[chosen], new_slope[chosen]),
        (edges, edge_kind, edge_source),
        (too_weak, too_many),
    )


@inlined
def _group(position, near):
    """Return a number for each distinct position, and how many there are.

    All of a group are near to its first one, so that no chain of near ones ends far from it.
    """
    count = len(position)
    line = np.zeros(count)
    for n in range(count):
        for axis in range(4):
            line[n] += LINE[axis] * position[n, axis] / near[axis]
    reach = np.sum(LINE)
    order = np.argsort(line, kind="mergesort")
    group, first = np.full(count, -1), np.empty(count, np.int64)
    groups = 0
    for at in range(count):
        n = order[at]
        before = at - 1
        while group[n] < 0 and before >= 0 and line[n] - line[order[before]] <= reach:
            m = first[group[order[before]]]
            if (
                np.abs(position[m, 0] - position[n, 0]) <= near[0]
                and np.abs(position[m, 1] - position[n, 1]) <= near[1]
                and np.abs(position[m, 2] - position[n, 2]) <= near[2]
                and np.abs(position[m, 3] - position[n, 3]) <= near[3]
            ):
                group[n] = group[m]
            before -= 1
        if group[n] < 0:
            group[n], first[groups] = groups, n
            groups += 1
    return group, groups
