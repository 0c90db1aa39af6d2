"""The prepass: which states a sequence makes, and how large they are in some voxels.

It follows Endres et al., MRM 2024 (doi:10.1002/mrm.30055) and MRzeroCore's prepass, but many
voxels instead of an average one. It lists everything in an order that follows from the sequence
alone, so that results repeat bit for bit, and keeps states as arrays. States that agree in
position are one; positions are compared in float64.

A state of no power may have a slope: at a flip angle of zero, all that the pulse would make does.
So beside the magnetisation the sum of its squared derivatives by all flip angles is followed.
"""

# Compiled functions have no annotations: numba derives the types from the arguments.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from pulseq_zero.conversion.repetitions import Repetitions
from pulseq_zero.simulation.kernel_math import exponential
from pulseq_zero.simulation.pdg.graph import KINDS, StateGraph, Thresholds
from pulseq_zero.simulation.pdg.handing_over import LINE, coarsest_lattice, hand_over
from pulseq_zero.simulation.pdg.pulse_profiles import Stack
from pulseq_zero.simulation.pdg.representatives import Representatives
from pulseq_zero.simulation.pdg.selection import (
    LONGITUDINAL,
    TRANSVERSE,
    UNDEPHASED,
    Candidates,
    select,
)
from pulseq_zero.simulation.pdg.timeline import Integrals
from pulseq_zero.simulation.pdg.voxels import answer_of_a_voxel, answer_of_cells

if TYPE_CHECKING:
    import MRzeroCore as mr0

_ZZ, _ZP, _PP, _PZ, _MZ, _MP = (KINDS.index(k) for k in ("zz", "z+", "++", "+z", "-z", "-+"))

# States are one whose positions differ by what the rounding of numbers in a file adds up to, or in
# float32 of times; or by this part of the accuracy, in the phase anywhere in the phantom.
_ROUNDING = np.array([4e-6, 4e-6, 4e-6, 4e-7])
_SAME = 0.05
_SQUARED_TURN = (2 * np.pi) ** 2

# Parts of the phantom may add up to this much more than if their phases were random.
_FEW = np.float32(2.0)

# What all that goes on at two points may miss by a linear interpolation, as a part of the accuracy:
# of a magnetisation of 1, or of this many times what there is. Less than that is physical, so that
# errors cannot feed on each other.
_MISSED, _TIMES = 0.15, 5.0

# Derivatives by times and moments weigh states otherwise than signals do: by their dephasing time,
# by diffusion, by the slope of a voxel's answer where it is zero itself. To be on the safe side,
# states are then chosen more accurately by this factor.
_BY_POSITION = 0.3

# As many samples of a readout tell what its states emit, evenly spaced, as there is time for all of
# them; but never fewer than the second number.
_SEEN, _FEWEST_SAMPLES = 2**13, 16

# As many states, transverse and longitudinal ones each, as some two gigabytes hold in all of a
# sequence.
_ALL_STATES = 1_000_000

# States are made anew, a quarter to a sixteenth as strong, while those that were too weak to be
# made would have emitted more than this part of what may be left out.
_SHARE, _WEAKER, _WEAKEST, _ROUNDS = 0.25, 0.25, 0.0625, 6
# Where all intervals differ, magnetisation is spread over more and weaker ones from the start on.
_SPREAD = 0.2

# Sums in any order, but no promise that there is nothing infinite.
_FAST = {"reassoc", "contract", "arcp", "nsz", "afn"}
_compiled = njit(cache=True, error_model="numpy", fastmath=_FAST)


@dataclass(frozen=True)
class PlayedPrepass:
    """What pulses that are played do where the states are followed.

    Attributes
    ----------
    a, b
        (repetitions, representatives) complex.
    changed
        The same with larger flip angles, and by how much they are, (repetitions,) [rad]; None where
        derivatives by them do not matter.
    stack
        The cells of each voxel.
    """

    a: NDArray[np.complex128]
    b: NDArray[np.complex128]
    changed: tuple[NDArray[np.complex128], NDArray[np.complex128], NDArray[np.float64]] | None
    stack: Stack


def make_graph(
    repetitions: Repetitions,
    integrals: Integrals,
    data: mr0.SimData,
    voxels: Representatives,
    thresholds: Thresholds,
    *,
    slopes: bool = False,
    positions: bool = False,
    played: PlayedPrepass | None = None,
) -> StateGraph:
    """Find the states of a sequence, and keep those that matter.

    Parameters
    ----------
    repetitions, integrals
        The sequence, on the CPU, and its running integrals.
    data
        The phantom, for the shape of its voxels.
    voxels
        Where the states are followed.
    thresholds
        Which states are made, carried on and measured.
    slopes
        Whether states matter by what their derivatives by the flip angles would emit, too.
    positions
        Whether each state's position counts, as it is differentiated by. Otherwise states of
        nearly the same position may go on in others, see `graph.HandOver`.
    played
        What pulses do in the ``voxels``, if they are played.
    """
    most = min(thresholds.max_state_count, _ALL_STATES // len(repetitions.event_count))
    if positions:
        thresholds = thresholds.finer(_BY_POSITION)
    thresholds = replace(thresholds, max_state_count=most)
    smallest = thresholds.min_state_magnetisation
    if _all_differ(repetitions):
        smallest *= _SPREAD
    for _ in range(_ROUNDS):
        found = _follow(
            repetitions,
            integrals,
            data,
            voxels,
            thresholds,
            smallest,
            slopes,
            not positions,
            played,
        )
        graph, too_weak = select(found, thresholds, slopes=slopes)
        allowed = _SHARE * thresholds.min_latent_signal
        # Weaker states would only take the places of others, where there are too many.
        if too_weak <= allowed or smallest == 0 or graph.cut > too_weak:
            break
        # What they emit falls about as their size does
        smallest *= min(max(0.8 * allowed / too_weak, _WEAKEST), _WEAKER)
    return graph


def _all_differ(repetitions: Repetitions) -> bool:
    """Tell whether most intervals between pulses have a duration of their own."""
    _, total = repetitions.sums_within_repetitions(repetitions.event_time.detach())
    distinct = (total / _ROUNDING[3]).round().unique()
    return 2 * len(distinct) > len(total)


def _follow(
    repetitions: Repetitions,
    integrals: Integrals,
    data: mr0.SimData,
    voxels: Representatives,
    thresholds: Thresholds,
    smallest: float,
    slopes: bool,
    may_hand_over: bool,
    played: PlayedPrepass | None,
) -> list[Candidates]:
    """List the states of each repetition."""
    position = integrals.position.detach().numpy()
    linear, quadratic = integrals.linear.detach().numpy(), integrals.quadratic.detach().numpy()
    total = integrals.total.detach().numpy()
    linear_total = integrals.linear_total.detach().numpy()
    quadratic_total = integrals.quadratic_total.detach().numpy()
    sampled = np.flatnonzero(repetitions.is_sample.numpy())
    first_sample = np.searchsorted(sampled, np.append(repetitions.first_event, len(position)))
    answer = voxels.answer
    rates = tuple(r.astype(np.float32) for r in (voxels.R1, voxels.R2, voxels.R2dash, voxels.D))
    spectrum = (
        answer.amplitude, answer.noise, answer.extent,
        answer.gradient, answer.coherence, answer.time_step,
    )  # fmt: skip
    if played is None:
        real_factors, imaginary_factors, steepness = _factors(repetitions, voxels)
        answers = partial(answer_of_a_voxel, data)
    else:
        real_factors, imaginary_factors, steepness = _played_factors(played)
        answers = partial(answer_of_cells, data, played.stack)
    transfer = real_factors**2 + imaginary_factors**2
    share = voxels.share.astype(np.float32)
    near = _near(repetitions, data, voxels, thresholds.min_latent_signal)
    limits = (thresholds.max_state_count, smallest, slopes, near)
    place, kinds = np.zeros((1, 4)), np.array([UNDEPHASED], np.int8)
    real = np.ascontiguousarray(voxels.initial.real[None], np.float32)
    imaginary = np.ascontiguousarray(voxels.initial.imag[None], np.float32)
    slope = np.zeros_like(real)
    found: list[Candidates] = []
    origin = np.zeros(1, np.int64)
    for number in range(len(transfer)):
        factors = (real_factors[number], imaginary_factors[number], steepness[number])
        place, kinds, (real, imaginary, slope), edges, left_out = _pulse(
            place, kinds, (real, imaginary, slope), factors, share, limits
        )
        transverse = place[: np.flatnonzero(kinds == UNDEPHASED)[0]]
        seen = sampled[first_sample[number] : first_sample[number + 1]]
        stride = max(1, len(seen) // max(_FEWEST_SAMPLES, _SEEN // max(len(transverse), 1)))
        seen = seen[stride // 2 :: stride]
        bound, fair = _emissions(
            transverse, position[seen], linear[seen], quadratic[seen],
            _shape(answers, transverse, position[seen]), spectrum, rates, np.float32(stride),
        )  # fmt: skip
        part = Candidates(
            kinds=kinds,
            power=real**2 + imaginary**2,
            slope=slope.copy(),
            bound=bound,
            fair=fair,
            decay=_evolve(
                place, (real, imaginary, slope), kinds,
                total[number], linear_total[number], quadratic_total[number], rates,
            ),
            edges=edges[0],
            edge_kind=edges[1],
            edge_source=origin[edges[2]].astype(np.int32),
            transfer=transfer[number],
            steepness=steepness[number],
            too_weak=left_out[0],
            too_many=left_out[1],
        )  # fmt: skip
        found.append(part)
        if may_hand_over:
            whole = np.maximum(part.power, part.slope).sum(0) @ share
            place, kinds, (real, imaginary, slope) = _hand_over(
                part, place, (real, imaginary, slope), voxels, near,
                _MISSED * thresholds.min_latent_signal * min(1.0, _TIMES * math.sqrt(whole)),
            )  # fmt: skip
        stays = np.ones(len(kinds), dtype=bool)
        stays[part.giver] = False
        origin = np.flatnonzero(stays)
        place, kinds = place[origin], kinds[origin]
        real, imaginary, slope = real[origin], imaginary[origin], slope[origin]
    return found


def _hand_over(
    part: Candidates,
    place: NDArray[np.float64],
    magnetisation: tuple[NDArray[np.float32], ...],
    voxels: Representatives,
    near: NDArray[np.float64],
    most: float,
) -> tuple[NDArray[np.float64], NDArray[np.int8], tuple[NDArray[np.float32], ...]]:
    """Let states of a repetition go on in others, some of which are new.

    Return positions, kinds and magnetisation of all.
    """
    share, B0 = voxels.share.astype(np.float32), voxels.B0
    given, (model, time), received = hand_over(
        place, part.kinds, magnetisation, (share, B0, voxels.bending, voxels.cusp),
        near, coarsest_lattice(voxels), most,
    )  # fmt: skip
    part.giver, part.taker, part.share, part.shift = given
    if len(model) == 0:
        return place, part.kinds, magnetisation
    there = place[model]
    there[:, 3] = time
    kinds = np.concatenate([part.kinds, part.kinds[model]])
    order = np.argsort(kinds, kind="stable")
    number = np.argsort(order, kind="stable")
    part.giver, part.taker = number[part.giver], number[part.taker]
    transverse = int((part.kinds[model] == TRANSVERSE).sum())

    def with_new(values: NDArray, new: NDArray) -> NDArray:
        return np.concatenate([values, new])[order]

    power = received[0] ** 2 + received[1] ** 2
    part.kinds = kinds[order]
    part.edges = with_new(part.edges, np.zeros(len(model), part.edges.dtype))
    part.power = with_new(part.power, power)
    part.slope = with_new(part.slope, received[2])
    part.decay = with_new(part.decay, np.ones_like(power))
    silent = np.zeros((transverse, power.shape[1]), np.float32)
    part.bound, part.fair = (np.concatenate([v, silent]) for v in (part.bound, part.fair))
    magnetisation = tuple(with_new(*pair) for pair in zip(magnetisation, received, strict=True))
    return with_new(place, there), part.kinds, magnetisation


def _shape(
    answers: Callable[[Tensor], Tensor], place: NDArray[np.float64], position: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return the squared answer of a voxel's shape, (states, samples)."""
    k = place[:, None, :3] + position[None, :, :3]
    if k.size == 0:
        return np.zeros(k.shape[:2], np.float32)
    answer = answers(torch.from_numpy(k.astype(np.float32))).detach().numpy()
    return np.ascontiguousarray(answer**2, np.float32)


def _near(
    repetitions: Repetitions, data: mr0.SimData, voxels: Representatives, accuracy: float
) -> NDArray[np.float64]:
    """Return how far apart states of one position may be [1/m, 1/m, 1/m, s]."""
    moment = repetitions.gradient_moment.detach().double().numpy()
    time = repetitions.event_time.detach().double().numpy()
    largest = np.sqrt((np.column_stack([moment, time]) ** 2).sum(0))
    extent = data.voxel_pos.detach().double().abs().amax(0).cpu().numpy()
    turned = 2 * np.pi * np.append(extent, data.B0.detach().double().abs().max().cpu().numpy())
    turned[3] += 0.5 * voxels.cusp
    least = np.finfo(float).tiny
    return np.maximum(_ROUNDING * largest, _SAME * accuracy / np.maximum(turned, 1e-3)) + least


def _factors(
    repetitions: Repetitions, voxels: Representatives
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return what each kind of transition multiplies by, (repetitions, `KINDS`, representatives).

    Its real and imaginary part, and the squared derivative of it by the flip angle.
    """
    angle = repetitions.pulse_angle.detach().double().numpy()[:, None]
    phase = repetitions.pulse_phase.detach().double().numpy()[:, None]
    field = voxels.field(repetitions)
    size = np.abs(field)
    flip = angle * size
    turn = np.exp(1j * (phase + np.angle(field)))
    zeta = -1j * math.sqrt(0.5) * np.sin(flip) * turn
    flipped = np.sin(flip / 2) ** 2
    factors = np.empty((len(flip), len(KINDS), flip.shape[1]), dtype=np.complex128)
    factors[:, _ZZ], factors[:, _PP] = np.cos(flip), 1 - flipped
    factors[:, _MP], factors[:, _ZP] = flipped * turn * turn, zeta
    factors[:, _PZ], factors[:, _MZ] = -zeta.conjugate(), -zeta
    sine, cosine = (size * np.sin(flip)) ** 2, (size * np.cos(flip)) ** 2
    steepness = np.empty(factors.shape, dtype=np.float32)
    steepness[:, _ZZ], steepness[:, _PP], steepness[:, _MP] = sine, sine / 4, sine / 4
    steepness[:, (_ZP, _PZ, _MZ)] = cosine[:, None] / 2
    return factors.real.astype(np.float32), factors.imag.astype(np.float32), steepness


def _played_factors(
    played: PlayedPrepass,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return what `_factors` does, of pulses that are played."""

    def factors(a: NDArray[np.complex128], b: NDArray[np.complex128]) -> NDArray[np.complex128]:
        values = np.empty((len(a), len(KINDS), a.shape[1]), dtype=np.complex128)
        values[:, _ZZ], values[:, _PP] = np.abs(a) ** 2 - np.abs(b) ** 2, a.conj() ** 2
        values[:, _MP], values[:, _ZP] = -(b**2), math.sqrt(2) * a.conj() * b
        values[:, _MZ] = -math.sqrt(2) * a * b
        values[:, _PZ] = values[:, _MZ].conj()
        return values

    here = factors(played.a, played.b)
    steepness = np.zeros(here.shape, np.float32)
    if played.changed is not None:
        a, b, angle = played.changed
        change = np.abs(factors(a, b) - here) / angle[:, None, None]
        steepness = (change**2).astype(np.float32)
    return here.real.astype(np.float32), here.imag.astype(np.float32), steepness


@_compiled
def _pulse(place, kinds, magnetisation, factors, share, limits):
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


@_compiled
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


@_compiled
def _emissions(place, position, linear, quadratic, shape, spectrum, rates, stride):
    """Return the squared signal of each state in all samples, for a magnetisation of 1.

    In each part of the phantom: what it may be and what it is on average. Parts of a phantom
    that are in phase with each other add up; a few of them may, where most are not.
    """
    amplitude, noise, extent, gradient, coherence, time_step = spectrum
    _, R2, R2dash, D = rates
    voxels = len(R2)
    samples = len(position)
    bound = np.zeros((len(place), voxels), np.float32)
    fair = np.zeros((len(place), voxels), np.float32)
    relaxed = np.empty((samples, voxels), np.float32)
    for e in range(samples):
        for v in range(voxels):
            relaxed[e, v] = exponential(np.float32(-2 * position[e, 3]) * R2[v])
    smallest_D = np.min(D)
    x = np.empty(voxels, np.float32)
    for state in range(len(place)):
        kx, ky, kz, tau = place[state, 0], place[state, 1], place[state, 2], place[state, 3]
        square = kx * kx + ky * ky + kz * kz
        nearest = np.inf
        for e in range(samples):
            seen = shape[state, e]
            t = tau + position[e, 3]
            nearest = min(nearest, abs(t))
            if seen < 1e-14:
                continue
            b = square * position[e, 3] + quadratic[e]
            b += kx * linear[e, 0] + ky * linear[e, 1] + kz * linear[e, 2]
            seen *= exponential(np.float32(-2 * _SQUARED_TURN * smallest_D * b))
            nx = np.int64(np.rint((kx + position[e, 0] + t * gradient[0]) * extent[0]))
            ny = np.int64(np.rint((ky + position[e, 1] + t * gradient[1]) * extent[1]))
            nz = np.int64(np.rint((kz + position[e, 2] + t * gradient[2]) * extent[2]))
            across, along, through, _ = amplitude.shape
            here = amplitude[nx % across, ny % along, nz % through]
            late = min(np.int64(np.rint(abs(t) / time_step)), len(coherence) - 1)
            together = coherence[late]
            parts = np.float32(0.0)
            for v in range(voxels):
                c = together[v] * together[v]
                power = c * here[v] * here[v] + (np.float32(1.0) - c) * noise[v]
                x[v] = np.sqrt(power)
                parts += power
            c = together[voxels] * together[voxels]
            total = c * here[voxels] * here[voxels] + (np.float32(1.0) - c) * noise[voxels]
            if parts <= 0:
                continue
            typical = total / parts
            for v in range(voxels):
                power = seen * relaxed[e, v] * x[v]
                fair[state, v] += power * x[v] * typical
                bound[state, v] += power * x[v] * max(typical, _FEW)
        for v in range(voxels):
            left = stride * exponential(np.float32(-2 * nearest) * R2dash[v])
            bound[state, v] *= left
            fair[state, v] *= left
    return bound, fair


@_compiled
def _evolve(place, magnetisation, kinds, total, linear, quadratic, rates):
    """Take the states to the end of the repetition; return by how much their power decays."""
    real, imaginary, slope = magnetisation
    R1, R2, _, D = rates
    duration = np.float32(total[3])
    decay = np.empty(real.shape, np.float32)
    for state in range(len(kinds)):
        kx, ky, kz = place[state, 0], place[state, 1], place[state, 2]
        b = (kx * kx + ky * ky + kz * kz) * total[3]
        rate = R1
        if kinds[state] == TRANSVERSE:
            b += kx * linear[0] + ky * linear[1] + kz * linear[2] + quadratic
            rate = R2
            place[state] += total
        weight = np.float32(_SQUARED_TURN * b)
        for v in range(len(R1)):
            left = exponential(-duration * rate[v] - weight * D[v])
            decay[state, v] = left * left
            real[state, v] *= left
            imaginary[state, v] *= left
            slope[state, v] *= left * left
        if kinds[state] == UNDEPHASED:
            for v in range(len(R1)):
                real[state, v] += np.float32(1.0) - exponential(-duration * R1[v])
    return decay
