"""The prepass: which states a sequence makes of one average voxel, and how much they matter.

It follows Endres et al., MRM 2024 (doi:10.1002/mrm.30055) and MRzeroCore's prepass, with the
phantom's mean relaxation and diffusion, and estimates of signals by which states are chosen.
Unlike that one it lists everything in an order that follows from the sequence alone, so that
results repeat bit for bit, and it keeps states as arrays. States that agree in position are
one; positions are compared in float64.
"""

# Compiled functions have no annotations: numba derives the types from the arguments, and hands
# intrinsic functions the first one itself.
# mypy: disable-error-code="no-untyped-def, call-arg"

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import MRzeroCore as mr0
import numpy as np
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from pulseq_zero.repetitions import Repetitions
from pulseq_zero.simulation.graph import (
    CONJUGATING,
    KINDS,
    StateGraph,
    Thresholds,
    is_band_limited,
)
from pulseq_zero.simulation.kernel_math import exponential
from pulseq_zero.simulation.timeline import Course

_ZZ, _ZP, _PP, _PZ, _MZ, _MP = (KINDS.index(k) for k in ("zz", "z+", "++", "+z", "-z", "-+"))
_BECOMES_TRANSVERSE = np.array([kind in ("z+", "++", "-+") for kind in KINDS])
_TRANSVERSE, _UNDEPHASED, _LONGITUDINAL = 0, 1, 2

# States nearer to each other than this are one [1/m, s]: a hundredth of a turn over 20 cm, and
# what the rounding of numbers in a file adds up to over long trains of pulses.
_SAME = np.array([0.05, 0.05, 0.05, 2e-6])
# Positions are compared along a line on which no two simple ones meet.
_LINE = np.sqrt(np.array([1.0, 2.0, 3.0, 5.0]))
_SQUARED_TURN = (2 * np.pi) ** 2
_ONE = np.float32(1)

_compiled = njit(cache=True, error_model="numpy")


@dataclass(frozen=True)
class Average:
    """What the prepass knows of a phantom.

    Attributes
    ----------
    R1, R2, R2dash
        Rates of the mean relaxation times [1/s].
    D
        Mean diffusion coefficient [m²/s].
    nyquist
        (xyz,) largest frequency that voxels answer to [1/m].
    rotations
        (361, 3) effect of a pulse, see `graph.rotation_table`.
    """

    R1: float
    R2: float
    R2dash: float
    D: float
    nyquist: NDArray[np.float64]
    rotations: NDArray[np.float64]

    @classmethod
    def of(cls, data: mr0.SimData, rotations: Tensor) -> Average:
        """Average a phantom's voxels."""

        def rate(times: Tensor) -> float:
            return 1 / float(times.detach().double().mean())

        nyquist = np.full(3, np.inf)
        if is_band_limited(data):
            nyquist = data.nyquist.detach().double().cpu().numpy()
        return cls(
            R1=rate(data.T1),
            R2=rate(data.T2),
            R2dash=rate(data.T2dash),
            D=1e-9 * float(data.D.detach().double().mean()),
            nyquist=nyquist,
            rotations=rotations.double().numpy(),
        )


def make_graph(
    repetitions: Repetitions, course: Course, average: Average, thresholds: Thresholds
) -> StateGraph:
    """Find the states of a sequence, and keep those that matter.

    Parameters
    ----------
    repetitions, course
        The sequence, on the CPU, and its running integrals.
    average
        The phantom.
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
    tissue = (average.R1, average.R2, average.R2dash, average.D)
    place, magnetisation = np.zeros((1, 4)), np.ones(1, dtype=np.complex128)
    kinds = np.array([_UNDEPHASED])
    found: list[tuple[NDArray[Any], ...]] = []
    for number, first in enumerate(repetitions.first_event):
        events = slice(first, first + repetitions.event_count[number])
        factors = _factors(angle[number], phase[number], average.rotations)
        place, magnetisation, kinds, first_edge, edge_kind, edge_source = _pulse(
            place,
            magnetisation,
            kinds,
            factors,
            thresholds.max_state_count,
            thresholds.min_state_magnetisation,
        )
        before = np.abs(magnetisation)
        seen = np.flatnonzero(sampled[events]) + first
        signal = _signals(
            place, before, kinds,
            _columns(position[seen]), _columns(linear[seen]), quadratic[seen].astype(np.float32),
            average.nyquist, tissue,
        )  # fmt: skip
        regrown = _evolve(
            place, magnetisation, kinds,
            total[number], linear_total[number], quadratic_total[number], tissue,
        )  # fmt: skip
        found.append(
            (
                kinds, signal, np.abs(magnetisation), np.where(kinds == _UNDEPHASED, regrown, 0.0),
                np.diff(first_edge), edge_kind, edge_source, np.abs(factors)[edge_kind],
            )
        )  # fmt: skip
    return _select(found, thresholds)


def _columns(rows: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.ascontiguousarray(rows.T, dtype=np.float32)


def _factors(angle: float, phase: float, rotations: NDArray[np.float64]) -> NDArray[Any]:
    """Return what each kind of transition multiplies by, in the order of `KINDS`."""
    degrees = math.degrees(abs(angle)) % 360
    row = int(degrees)
    part = degrees - row
    sine, cosine, rest = (1 - part) * rotations[row] + part * rotations[row + 1]
    turn = np.exp(1j * phase)
    zeta = -1j * math.sqrt(0.5) * math.copysign(sine, sine * angle) * turn
    factors = np.empty(len(KINDS), dtype=np.complex128)
    factors[_ZZ], factors[_PP], factors[_MP] = cosine, 1 - rest, rest * turn * turn
    factors[_ZP], factors[_PZ], factors[_MZ] = zeta, -zeta.conjugate(), -zeta
    return factors


@_compiled
def _pulse(place, magnetisation, kinds, factors, max_count, min_magnetisation):
    """Make the states after a pulse, and the edges that lead into them.

    Transverse ones come first, then the undephased one, then the other longitudinal ones; each
    kind from the strongest to the weakest.
    """
    transverse = np.sum(kinds == _TRANSVERSE)
    count = 4 * transverse + 2 * (len(kinds) - transverse)
    position = np.empty((count, 4))
    value = np.empty(count, np.complex128)
    kind, source = np.empty(count, np.int64), np.empty(count, np.int64)
    n = 0
    for state in range(len(kinds)):
        codes = (_ZZ, _ZP, _ZZ, _ZP)
        if kinds[state] == _TRANSVERSE:
            codes = (_PP, _PZ, _MZ, _MP)
        for way in range(4 if kinds[state] == _TRANSVERSE else 2):
            code = codes[way]
            mirrored = CONJUGATING[code]
            value[n] = factors[code] * (
                np.conj(magnetisation[state]) if mirrored else magnetisation[state]
            )
            for axis in range(4):
                position[n, axis] = -place[state, axis] if mirrored else place[state, axis]
            kind[n], source[n] = code, state
            n += 1
    group, groups = _group(position, kind)
    strength = np.zeros(groups, np.complex128)
    first = np.full(groups, -1)
    for n in range(count):
        strength[group[n]] += value[n]
        if first[group[n]] < 0:
            first[group[n]] = n
    is_transverse, undephased = np.zeros(groups, np.bool_), -1
    for g in range(groups):
        is_transverse[g] = _BECOMES_TRANSVERSE[kind[first[g]]]
        if not is_transverse[g] and np.all(np.abs(position[first[g]]) <= _SAME):
            undephased = g
    order = np.argsort(-np.abs(strength), kind="mergesort")
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
            if np.abs(strength[g]) < min_magnetisation or taken == max_count:
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
    edge_kind, edge_source = np.empty(edges[-1], np.int64), np.empty(edges[-1], np.int64)
    filled = edges[:-1].copy()
    # Kind by kind, so that a state's edges come in the order of their kinds.
    for code in range(len(factors)):
        for n in range(count):
            new = number[group[n]]
            if kind[n] == code and new >= 0:
                edge_kind[filled[new]], edge_source[filled[new]] = code, source[n]
                filled[new] += 1
    places, values = np.empty((kept, 4)), np.empty(kept, np.complex128)
    types = np.empty(kept, np.int64)
    for new in range(kept):
        g = strongest[new]
        places[new], values[new] = position[first[g]], strength[g]
        types[new] = _TRANSVERSE if is_transverse[g] else _LONGITUDINAL
        if g == undephased:
            types[new] = _UNDEPHASED
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
def _signals(place, strength, kinds, position, linear, quadratic, nyquist, tissue):
    """Estimate the signal of each state: its magnetisation where it is sampled.

    A state dephased by k over the phantom gives about |k|^-2.25 of its signal.
    """
    _, R2, R2dash, D = tissue
    r2, r2dash, weight = np.float32(R2), np.float32(R2dash), np.float32(D * _SQUARED_TURN)
    signal = np.zeros(len(kinds))
    width = position.shape[1]
    answer = np.empty(width, np.float32)
    limit = (nyquist + 0.5).astype(np.float32)
    for state in range(len(kinds)):
        if kinds[state] != _TRANSVERSE:
            break
        x, y, z = (
            np.float32(place[state, 0]),
            np.float32(place[state, 1]),
            np.float32(place[state, 2]),
        )
        t = np.float32(place[state, 3])
        square = x * x + y * y + z * z
        for e in range(width):
            kx, ky, kz = x + position[0, e], y + position[1, e], z + position[2, e]
            b = square * position[3, e] + x * linear[0, e] + y * linear[1, e] + z * linear[2, e]
            decay = r2 * position[3, e] + weight * (b + quadratic[e])
            decay += r2dash * np.abs(t + position[3, e])
            far = _ONE + np.sqrt(kx * kx + ky * ky + kz * kz)
            within = np.abs(kx) < limit[0] and np.abs(ky) < limit[1] and np.abs(kz) < limit[2]
            value = exponential(-decay) / (far * far * np.sqrt(np.sqrt(far)))
            answer[e] = value if within else np.float32(0)
        summed = np.float32(0)
        for e in range(width):
            summed += answer[e]
        signal[state] = strength[state] * summed
    return signal


@_compiled
def _evolve(place, magnetisation, kinds, total, linear, quadratic, tissue):
    """Take the states to the end of the repetition; return what has grown anew."""
    R1, R2, _, D = tissue
    duration = total[3]
    recovered = 1 - np.exp(-duration * R1)
    for state in range(len(kinds)):
        k = place[state, :3]
        b = np.sum(k * k) * duration
        if kinds[state] == _TRANSVERSE:
            b += np.sum(k * linear) + quadratic
            magnetisation[state] *= np.exp(-duration * R2 - _SQUARED_TURN * D * b)
            place[state] += total
        else:
            magnetisation[state] *= np.exp(-duration * R1 - _SQUARED_TURN * D * b)
            if kinds[state] == _UNDEPHASED:
                magnetisation[state] += recovered
    return recovered


def _select(found: list[tuple[NDArray[Any], ...]], thresholds: Thresholds) -> StateGraph:
    """Judge the states by the signal that they and their descendants emit; keep those that count.

    A state hands its latent signal down to the ancestor that contributes most, and to others
    in proportion.
    """
    count = np.array([len(part[0]) for part in found])
    kinds, signal, strength, regrown, edges, edge_kind, edge_source, weight = (
        np.concatenate(parts) for parts in zip(*found, strict=True)
    )
    kept, number, emits = _judge(
        np.concatenate([[0], np.cumsum(count)]),
        np.concatenate([[0], np.cumsum(edges)]),
        kinds,
        signal,
        strength,
        regrown,
        edge_source,
        weight,
        (thresholds.min_latent_signal, thresholds.min_emitted_signal),
    )
    repetition = np.repeat(np.arange(len(count)), count)
    target = np.repeat(np.arange(len(kinds)), edges)
    first = np.concatenate([[0], np.cumsum(count)])
    # Ancestors of the first repetition are the state before the first pulse, always kept.
    ancestor = np.where(repetition[target] > 0, first[repetition[target] - 1] + edge_source, 0)
    used = kept[target] & ((repetition[target] == 0) | kept[ancestor])
    into = np.bincount(target[used], minlength=len(kinds))[kept]
    return StateGraph(
        count=np.bincount(repetition[kept], minlength=len(count)),
        transverse=np.bincount(repetition[kept & (kinds == _TRANSVERSE)], minlength=len(count)),
        first_edge=np.concatenate([[0], np.cumsum(into)]),
        kind=edge_kind[used],
        source=np.where(repetition[target] > 0, number[ancestor], 0)[used],
        emits=emits[kept],
    )


@_compiled
def _judge(first, first_edge, kinds, signal, strength, regrown, source, weight, thresholds):
    """Return which states are kept, their numbers within repetitions, and which are measured."""
    min_latent, min_emitted = thresholds
    repetitions = len(first) - 1
    emitted, latent = np.zeros(len(kinds)), np.zeros(len(kinds))
    for r in range(repetitions - 1, -1, -1):
        a, b = first[r], first[r + 1]
        strongest = np.max(signal[a:b])
        if strongest >= 1e-9:
            emitted[a:b] = signal[a:b] / strongest
        for state in range(a, b):
            latent[state] = max(latent[state], emitted[state])
            if r == 0:
                continue
            before = first[r - 1]
            largest = regrown[state]
            for e in range(first_edge[state], first_edge[state + 1]):
                largest = max(largest, weight[e] * strength[before + source[e]])
            if largest <= 0:
                continue
            for e in range(first_edge[state], first_edge[state + 1]):
                ancestor = before + source[e]
                share = latent[state] * weight[e] * strength[ancestor] / largest
                latent[ancestor] = max(latent[ancestor], share)
    kept, emits = np.zeros(len(kinds), np.bool_), np.zeros(len(kinds), np.bool_)
    number = np.full(len(kinds), -1)
    for r in range(repetitions):
        n = 0
        for state in range(first[r], first[r + 1]):
            reached = r == 0
            for e in range(first_edge[state], first_edge[state + 1]):
                reached = reached or kept[first[r - 1] + source[e]]
            if kinds[state] == _UNDEPHASED or (latent[state] >= min_latent and reached):
                kept[state], number[state] = True, n
                emits[state] = kinds[state] == _TRANSVERSE and emitted[state] >= min_emitted
                n += 1
    return kept, number, emits
