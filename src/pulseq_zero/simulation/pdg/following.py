"""The states that a sequence makes, followed in the representatives."""

# Compiled functions have no annotations: numba derives the types from the arguments.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pulseq_zero.conversion.repetitions import Repetitions
from pulseq_zero.simulation.kernel_math import exponential
from pulseq_zero.simulation.pdg.followed_emission import emissions, squared_answers
from pulseq_zero.simulation.pdg.graph import Thresholds
from pulseq_zero.simulation.pdg.handing_over import coarsest_lattice, hand_over
from pulseq_zero.simulation.pdg.loops import compiled
from pulseq_zero.simulation.pdg.pulse_factors import (
    PlayedPrepass,
    factors_at_once,
    factors_of_played,
)
from pulseq_zero.simulation.pdg.pulse_step import states_after
from pulseq_zero.simulation.pdg.representatives import Representatives
from pulseq_zero.simulation.pdg.selection import TRANSVERSE, UNDEPHASED, Candidates
from pulseq_zero.simulation.pdg.timeline import Integrals
from pulseq_zero.simulation.pdg.voxels import answer_of_a_voxel, answer_of_cells

if TYPE_CHECKING:
    import MRzeroCore as mr0

# States are one whose positions differ by what the rounding of numbers in a file adds up to, or in
# float32 of times; or by this part of the accuracy, in the phase anywhere in the phantom.
ROUNDING = np.array([4e-6, 4e-6, 4e-6, 4e-7])
_SAME = 0.05
_SQUARED_TURN = (2 * np.pi) ** 2

# What all that goes on at two points may miss by a linear interpolation, as a part of the accuracy:
# of a magnetisation of 1, or of this many times what there is. Less than that is physical, so that
# errors cannot feed on each other.
_MISSED, _TIMES = 0.15, 5.0

# As many samples of a readout tell what its states emit, evenly spaced, as there is time for all of
# them; but never fewer than the second number.
_SEEN, _FEWEST_SAMPLES = 2**13, 16


def follow(
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
        real_factors, imaginary_factors, steepness = factors_at_once(repetitions, voxels)
        answers = partial(answer_of_a_voxel, data)
    else:
        real_factors, imaginary_factors, steepness = factors_of_played(played)
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
    emitting: list[NDArray[np.float64]] = []
    seen: list[tuple[NDArray[np.int64], int]] = []
    origin = np.zeros(1, np.int64)
    for number in range(len(transfer)):
        factors = (real_factors[number], imaginary_factors[number], steepness[number])
        place, kinds, (real, imaginary, slope), edges, left_out = states_after(
            place, kinds, (real, imaginary, slope), factors, share, limits
        )
        # A copy: what is in there evolves
        emitting.append(place[: np.argmax(kinds == UNDEPHASED)].copy())
        samples = sampled[first_sample[number] : first_sample[number + 1]]
        stride = max(1, len(samples) // max(_FEWEST_SAMPLES, _SEEN // max(len(emitting[-1]), 1)))
        seen.append((samples[stride // 2 :: stride], stride))
        part = Candidates(
            kinds=kinds,
            power=real**2 + imaginary**2,
            slope=slope.copy(),
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
        origin = np.arange(len(kinds))
        if len(part.giver):
            origin = np.delete(origin, part.giver)
            place, kinds = place[origin], kinds[origin]
            real, imaginary, slope = real[origin], imaginary[origin], slope[origin]
    where = [position[samples] for samples, _ in seen]
    shapes = squared_answers(answers, emitting, where)
    for part, transverse, there, shape, (samples, stride) in zip(
        found, emitting, where, shapes, seen, strict=True
    ):
        bound, fair = emissions(
            transverse, there, linear[samples], quadratic[samples],
            shape, spectrum, rates, np.float32(stride),
        )  # fmt: skip
        # Those that were handed something are not measured
        silent = ((0, int((part.kinds == TRANSVERSE).sum()) - len(transverse)), (0, 0))
        part.bound, part.fair = np.pad(bound, silent), np.pad(fair, silent)
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

    def with_new(values: NDArray, new: NDArray) -> NDArray:
        return np.concatenate([values, new])[order]

    power = received[0] ** 2 + received[1] ** 2
    part.kinds = kinds[order]
    part.edges = with_new(part.edges, np.zeros(len(model), part.edges.dtype))
    part.power = with_new(part.power, power)
    part.slope = with_new(part.slope, received[2])
    part.decay = with_new(part.decay, np.ones_like(power))
    magnetisation = tuple(with_new(*pair) for pair in zip(magnetisation, received, strict=True))
    return with_new(place, there), part.kinds, magnetisation


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
    return np.maximum(ROUNDING * largest, _SAME * accuracy / np.maximum(turned, 1e-3)) + least


@compiled
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
