"""The prepass: which states a sequence makes, and how large they are in some voxels.

It follows Endres et al., MRM 2024 (doi:10.1002/mrm.30055) and MRzeroCore's prepass, but several
voxels instead of an average one. It lists everything in an order that follows from the sequence
alone, so that results repeat bit for bit, and keeps states as arrays. States that agree in
position are one; positions are compared in float64.
"""

# Compiled functions have no annotations: numba derives the types from the arguments, and hands
# intrinsic functions the first one itself.
# mypy: disable-error-code="no-untyped-def, call-arg"

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pulseq_zero.repetitions import Repetitions
from pulseq_zero.simulation.graph import CONJUGATING, KINDS, StateGraph, Thresholds
from pulseq_zero.simulation.kernel_math import exponential, sine_and_cosine
from pulseq_zero.simulation.representatives import Representatives
from pulseq_zero.simulation.selection import (
    LONGITUDINAL,
    TRANSVERSE,
    UNDEPHASED,
    Candidates,
    select,
)
from pulseq_zero.simulation.timeline import Course

_ZZ, _ZP, _PP, _PZ, _MZ, _MP = (KINDS.index(k) for k in ("zz", "z+", "++", "+z", "-z", "-+"))
_BECOMES_TRANSVERSE = np.array([kind in ("z+", "++", "-+") for kind in KINDS])

# States nearer to each other than this are one [1/m, s]: a hundredth of a turn over 20 cm, and
# what the rounding of numbers in a file adds up to over long trains of pulses.
_SAME = np.array([0.05, 0.05, 0.05, 2e-6])
# Positions are compared along a line on which no two simple ones meet.
_LINE = np.sqrt(np.array([1.0, 2.0, 3.0, 5.0]))
_SQUARED_TURN = (2 * np.pi) ** 2
_HALF, _ONE, _PI, _SMALL = np.float32(0.5), np.float32(1), np.float32(np.pi), np.float32(1e-3)

_compiled = njit(cache=True, error_model="numpy")


def make_graph(
    repetitions: Repetitions,
    course: Course,
    voxels: Representatives,
    thresholds: Thresholds,
) -> StateGraph:
    """Find the states of a sequence, and keep those that matter.

    Parameters
    ----------
    repetitions, course
        The sequence, on the CPU, and its running integrals.
    voxels
        Where they are followed.
    thresholds
        Which states are made, carried on and measured.
    """
    angle = repetitions.pulse_angle.detach().double().numpy()
    phase = repetitions.pulse_phase.detach().double().numpy()
    numbers = (course.position, course.linear, course.quadratic)
    position, linear, quadratic = (part.detach().numpy() for part in numbers)
    total = course.total.detach().numpy()
    linear_total = course.linear_total.detach().numpy()
    quadratic_total = course.quadratic_total.detach().numpy()
    sampled = repetitions.is_sample.numpy()
    field = voxels.field(repetitions)
    answer = voxels.answer
    phantom = (answer.power, answer.extent, answer.limit, answer.width)
    mean = (voxels.R2.mean(), voxels.R2dash.mean(), voxels.D.mean())
    place, kinds = np.zeros((1, 4)), np.array([UNDEPHASED], np.int8)
    magnetisation = np.ones((1, len(voxels.R1)), dtype=np.complex128)
    found: list[Candidates] = []
    for number, first in enumerate(repetitions.first_event):
        events = slice(first, first + repetitions.event_count[number])
        factors = _factors(angle[number], phase[number], field[number])
        place, magnetisation, kinds, first_edge, edge_kind, edge_source = _pulse(
            place,
            magnetisation,
            kinds,
            factors,
            thresholds.max_state_count,
            thresholds.min_state_magnetisation,
        )
        power = (np.abs(magnetisation) ** 2).astype(np.float32)
        seen = np.flatnonzero(sampled[events]) + first
        emission = _emissions(
            place, kinds,
            _columns(position[seen]), _columns(linear[seen]), quadratic[seen].astype(np.float32),
            phantom, mean,
        )  # fmt: skip
        decay = _evolve(
            place, magnetisation, kinds,
            total[number], linear_total[number], quadratic_total[number],
            (voxels.R1, voxels.R2, voxels.D),
        )  # fmt: skip
        found.append(
            Candidates(
                kinds=kinds,
                power=power,
                emission=emission,
                decay=(decay**2).astype(np.float32),
                edges=np.diff(first_edge),
                edge_kind=edge_kind,
                edge_source=edge_source,
                transfer=np.abs(factors[None]) ** 2,
            )
        )
    return select(found, thresholds)


def _columns(rows: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.ascontiguousarray(rows.T, dtype=np.float32)


def _factors(angle: float, phase: float, field: NDArray[Any]) -> NDArray[Any]:
    """Return what each kind of transition multiplies by, (`KINDS`, representatives)."""
    flip = angle * np.abs(field)
    turn = np.exp(1j * (phase + np.angle(field)))
    zeta = -1j * math.sqrt(0.5) * np.sin(flip) * turn
    flipped = np.sin(flip / 2) ** 2
    factors = np.empty((len(KINDS), len(field)), dtype=np.complex128)
    factors[_ZZ], factors[_PP], factors[_MP] = np.cos(flip), 1 - flipped, flipped * turn * turn
    factors[_ZP], factors[_PZ], factors[_MZ] = zeta, -zeta.conjugate(), -zeta
    return factors


@_compiled
def _size(magnetisation):
    """Return the root mean square over the representatives."""
    size = np.zeros(len(magnetisation))
    for n in range(len(magnetisation)):
        for v in range(magnetisation.shape[1]):
            size[n] += magnetisation[n, v].real ** 2 + magnetisation[n, v].imag ** 2
    return np.sqrt(size / magnetisation.shape[1])


@_compiled
def _pulse(place, magnetisation, kinds, factors, max_count, min_magnetisation):
    """Make the states after a pulse, and the edges that lead into them.

    Transverse ones come first, then the undephased one, then the other longitudinal ones; each
    kind from the strongest to the weakest.
    """
    transverse = np.sum(kinds == TRANSVERSE)
    count = 4 * transverse + 2 * (len(kinds) - transverse)
    position = np.empty((count, 4))
    value = np.empty((count, magnetisation.shape[1]), np.complex128)
    kind, source = np.empty(count, np.int64), np.empty(count, np.int64)
    n = 0
    for state in range(len(kinds)):
        codes = (_ZZ, _ZP, _ZZ, _ZP)
        if kinds[state] == TRANSVERSE:
            codes = (_PP, _PZ, _MZ, _MP)
        for way in range(4 if kinds[state] == TRANSVERSE else 2):
            code = codes[way]
            mirrored = CONJUGATING[code]
            for v in range(magnetisation.shape[1]):
                ancestor = magnetisation[state, v]
                value[n, v] = factors[code, v] * (np.conj(ancestor) if mirrored else ancestor)
            for axis in range(4):
                position[n, axis] = -place[state, axis] if mirrored else place[state, axis]
            kind[n], source[n] = code, state
            n += 1
    group, groups = _group(position, kind)
    strength = np.zeros((groups, magnetisation.shape[1]), np.complex128)
    first = np.full(groups, -1)
    for n in range(count):
        for v in range(magnetisation.shape[1]):
            strength[group[n], v] += value[n, v]
        if first[group[n]] < 0:
            first[group[n]] = n
    is_transverse, undephased = np.zeros(groups, np.bool_), -1
    for g in range(groups):
        is_transverse[g] = _BECOMES_TRANSVERSE[kind[first[g]]]
        if not is_transverse[g] and np.all(np.abs(position[first[g]]) <= _SAME):
            undephased = g
    size = _size(strength)
    order = np.argsort(-size, kind="mergesort")
    strongest = np.empty(groups, np.int64)
    kept = 0
    for wanted in (True, False):
        if not wanted:
            strongest[kept] = undephased
            kept += 1
        taken = 0
        for g in order:
            if is_transverse[g] != wanted or g == undephased:
                continue
            if size[g] < min_magnetisation or taken == max_count:
                break
            strongest[kept] = g
            kept, taken = kept + 1, taken + 1
    number = np.full(groups, -1)
    for new in range(kept):
        number[strongest[new]] = new
    edges = np.zeros(kept + 1, np.int64)
    for n in range(count):
        if number[group[n]] >= 0:
            edges[number[group[n]] + 1] += 1
    edges = np.cumsum(edges)
    edge_kind, edge_source = np.empty(edges[-1], np.int8), np.empty(edges[-1], np.int32)
    filled = edges[:-1].copy()
    # Kind by kind, so that a state's edges come in the order of their kinds.
    for code in range(len(factors)):
        for n in range(count):
            new = number[group[n]]
            if kind[n] == code and new >= 0:
                edge_kind[filled[new]], edge_source[filled[new]] = code, source[n]
                filled[new] += 1
    places = np.empty((kept, 4))
    values = np.empty((kept, magnetisation.shape[1]), np.complex128)
    types = np.empty(kept, np.int8)
    for new in range(kept):
        g = strongest[new]
        places[new], values[new] = position[first[g]], strength[g]
        types[new] = TRANSVERSE if is_transverse[g] else LONGITUDINAL
        if g == undephased:
            types[new] = UNDEPHASED
            places[new] = 0.0
    return places, values, types, edges, edge_kind, edge_source


@_compiled
def _group(position, kind):
    """Return a number for each distinct position of a type, and how many there are."""
    count = len(position)
    line = np.zeros(count)
    for n in range(count):
        for axis in range(4):
            line[n] += _LINE[axis] * position[n, axis] / _SAME[axis]
    reach = np.sum(_LINE)
    order = np.argsort(line, kind="mergesort")
    group = np.empty(count, np.int64)
    groups = 0
    for at in range(count):
        n = order[at]
        group[n] = -1
        before = at - 1
        while group[n] < 0 and before >= 0 and line[n] - line[order[before]] <= reach:
            m = order[before]
            if _same_type(kind[m], kind[n]) and np.all(np.abs(position[m] - position[n]) <= _SAME):
                group[n] = group[m]
            before -= 1
        if group[n] < 0:
            group[n] = groups
            groups += 1
    return group, groups


@_compiled
def _same_type(one, other):
    return _BECOMES_TRANSVERSE[one] == _BECOMES_TRANSVERSE[other]


@njit(cache=True, fastmath=True, error_model="numpy")
def _emissions(place, kinds, position, linear, quadratic, phantom, tissue):
    """Return the squared signal of each state in all samples, for a magnetisation of 1.

    Each sample sees it dephased over the phantom, see `representatives.Answer`, and decayed by
    the mean rates.
    """
    power, extent, limit, box = phantom
    R2, R2dash, D = tissue
    r2, r2dash, weight = np.float32(R2), np.float32(R2dash), np.float32(D * _SQUARED_TURN)
    width = position.shape[1]
    emission, left = np.zeros(len(kinds)), np.empty(width, np.float32)
    for state in range(len(kinds)):
        if kinds[state] != TRANSVERSE:
            break
        x, y, z = (
            np.float32(place[state, 0]),
            np.float32(place[state, 1]),
            np.float32(place[state, 2]),
        )
        t = np.float32(place[state, 3])
        square = x * x + y * y + z * z
        for e in range(width):
            b = square * position[3, e] + x * linear[0, e] + y * linear[1, e] + z * linear[2, e]
            decay = r2 * position[3, e] + weight * (b + quadratic[e])
            decay += r2dash * np.abs(t + position[3, e])
            left[e] = exponential(-decay)
        if box[0] > 0:
            for e in range(width):
                left[e] *= (
                    _sinc((x + position[0, e]) * box[0])
                    * _sinc((y + position[1, e]) * box[1])
                    * _sinc((z + position[2, e]) * box[2])
                )
        for e in range(width):
            kx, ky, kz = x + position[0, e], y + position[1, e], z + position[2, e]
            if np.abs(kx) < limit[0] and np.abs(ky) < limit[1] and np.abs(kz) < limit[2]:
                nx = np.int64(np.rint(kx * extent[0])) % power.shape[0]
                ny = np.int64(np.rint(ky * extent[1])) % power.shape[1]
                nz = np.int64(np.rint(kz * extent[2])) % power.shape[2]
                emission[state] += left[e] * left[e] * power[nx, ny, nz]
    return emission


@njit(inline="always", fastmath=True)
def _sinc(x):
    sine, _ = sine_and_cosine(_HALF * x)
    turned = _PI * x
    return sine / turned if np.abs(turned) > _SMALL else _ONE


@_compiled
def _evolve(place, magnetisation, kinds, total, linear, quadratic, tissue):
    """Take the states to the end of the repetition; return by how much they decay."""
    R1, R2, D = tissue
    duration = total[3]
    decay = np.empty(magnetisation.shape)
    for state in range(len(kinds)):
        k = place[state, :3]
        b = np.sum(k * k) * duration
        rates = R1
        if kinds[state] == TRANSVERSE:
            b += np.sum(k * linear) + quadratic
            rates = R2
            place[state] += total
        for v in range(len(R1)):
            decay[state, v] = np.exp(-duration * rates[v] - _SQUARED_TURN * D[v] * b)
            magnetisation[state, v] *= decay[state, v]
            if kinds[state] == UNDEPHASED:
                magnetisation[state, v] += 1 - np.exp(-duration * R1[v])
    return decay
