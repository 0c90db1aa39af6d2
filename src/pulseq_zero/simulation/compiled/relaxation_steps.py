"""Relaxation and hand-overs between pulses for one block of voxels, and their adjoints."""

# Compiled functions have no annotations: numba derives the types from the arguments, and hands
# intrinsic functions the first one itself.
# mypy: disable-error-code="no-untyped-def, call-arg"

from __future__ import annotations

import numpy as np

from pulseq_zero.simulation.compiled.block import (
    B0_ROW,
    BLOCK,
    D_ROW,
    R1_ROW,
    R2_ROW,
    inlined,
    unsigned,
)
from pulseq_zero.simulation.kernel_math import exponential, sine_and_cosine, wide_vectors

# Where the rows of the relaxation rates begin.
_LONGITUDINAL, _TRANSVERSE = 0, BLOCK
_ZERO = np.float32(0)
_ONE = np.float32(1)
_HALF = np.float32(0.5)
_TURN = np.float32(2 * np.pi)
# Exponents of diffusion up to which three terms are enough for float32.
_SMALL, _SIXTH = np.float32(0.03), np.float32(1 / 6)


@inlined
def make_rates(rates, duration, tissue):
    """Fill two rows: longitudinal and transverse relaxation over a repetition."""
    wide_vectors()
    for v in range(BLOCK):
        rates[_LONGITUDINAL + v] = exponential(-duration * tissue[R1_ROW + v])
        rates[_TRANSVERSE + v] = exponential(-duration * tissue[R2_ROW + v])


@inlined
def decay(source, origin, target, first, count, transverse, b, first_b, rates, tissue, largest):
    """Let states of a repetition decay; from ``origin`` on, into ``target`` from ``first`` on.

    Parameters
    ----------
    source, target
        States, ``count`` of them, of which ``transverse`` come first.
    b, first_b
        Diffusion weightings, those of the states from ``first_b`` on.
    rates, tissue, largest
        Relaxation, maps, and the largest diffusion coefficient.
    """
    wide_vectors()
    for state in range(count):
        weighting, place, here = b[first_b + state], first + state, origin + state
        kind = _TRANSVERSE if state < transverse else _LONGITUDINAL
        if weighting * largest < _SMALL:
            for v in range(BLOCK):
                x = weighting * tissue[D_ROW + v]
                factor = rates[kind + v] * (_ONE - x * (_ONE - x * (_HALF - x * _SIXTH)))
                target[place, v] = factor * source[here, v]
                target[place, BLOCK + v] = factor * source[here, BLOCK + v]
        else:
            for v in range(BLOCK):
                factor = rates[kind + v] * exponential(-weighting * tissue[D_ROW + v])
                target[place, v] = factor * source[here, v]
                target[place, BLOCK + v] = factor * source[here, BLOCK + v]


@inlined
def recover(states, undephased, rates):
    """Let the undephased state, which diffusion does not touch, relax towards 1."""
    wide_vectors()
    for v in range(BLOCK):
        states[undephased, v] += _ONE - rates[_LONGITUDINAL + v]


@inlined
def hand_over(states, first, given, begin, stop, tissue, way):
    """Give a part of some states to others (``way`` 1), or take it away from them again (-1)."""
    wide_vectors()
    giver, taker, share, shift = given.giver, given.taker, given.share, given.shift
    for n in range(begin, stop):
        source = unsigned(first + giver[n])
        for side in range(share.shape[1]):
            if share[n, side] == _ZERO:
                continue
            target, part = unsigned(first + taker[n, side]), way * share[n, side]
            later = -shift[n, side]
            for v in range(BLOCK):
                sine, cosine = sine_and_cosine(later * tissue[B0_ROW + v])
                real, imag = states[source, v], states[source, BLOCK + v]
                states[target, v] += part * (cosine * real - sine * imag)
                states[target, BLOCK + v] += part * (cosine * imag + sine * real)


@inlined
def hand_back(back, first, given, begin, stop, tissue):
    """Take the gradient of what states have received to those that gave it."""
    wide_vectors()
    giver, taker, share, shift = given.giver, given.taker, given.share, given.shift
    for n in range(begin, stop):
        source = unsigned(first + giver[n])
        for v in range(2 * BLOCK):
            back[source, v] = _ZERO
        for side in range(share.shape[1]):
            if share[n, side] == _ZERO:
                continue
            target, part = unsigned(first + taker[n, side]), share[n, side]
            later = -shift[n, side]
            for v in range(BLOCK):
                sine, cosine = sine_and_cosine(later * tissue[B0_ROW + v])
                real, imag = back[target, v], back[target, BLOCK + v]
                back[source, v] += part * (cosine * real + sine * imag)
                back[source, BLOCK + v] += part * (cosine * imag - sine * real)


@inlined
def hand_over_map_gradients(states, first, back, given, begin, stop, tissue, by_tissue):
    """Add the gradients by B0, which turns what is handed over."""
    wide_vectors()
    giver, taker, share, shift = given.giver, given.taker, given.share, given.shift
    for n in range(begin, stop):
        source = unsigned(first + giver[n])
        for side in range(share.shape[1]):
            if share[n, side] == _ZERO:
                continue
            target, later = unsigned(taker[n, side]), -shift[n, side]
            scale = _TURN * later * share[n, side]
            for v in range(BLOCK):
                sine, cosine = sine_and_cosine(later * tissue[B0_ROW + v])
                real, imag = states[source, v], states[source, BLOCK + v]
                by_tissue[B0_ROW + v] += scale * (
                    back[target, BLOCK + v] * (cosine * real - sine * imag)
                    - back[target, v] * (cosine * imag + sine * real)
                )


@inlined
def decay_sums(before, first, back, count, transverse, tissue, loss, g_b, first_b):
    """Add the gradients by the diffusion weightings; return that by the duration.

    A state that decays by exp(-x) changes by its own value with x, the undephased one by its
    distance from 1.
    """
    wide_vectors()
    by_duration = 0.0
    for state in range(count):
        place = first + state
        level = _ONE if state == transverse else _ZERO
        for v in range(BLOCK):
            loss[v] = (
                back[state, v] * (before[place, v] - level)
                + back[state, BLOCK + v] * before[place, BLOCK + v]
            )
        by_rate = by_D = _ZERO
        if state < transverse:
            for v in range(BLOCK):
                by_rate += loss[v] * tissue[R2_ROW + v]
                by_D += loss[v] * tissue[D_ROW + v]
        else:
            for v in range(BLOCK):
                by_rate += loss[v] * tissue[R1_ROW + v]
                by_D += loss[v] * tissue[D_ROW + v]
        by_duration -= by_rate
        g_b[first_b + state] -= by_D
    return by_duration


@inlined
def decay_map_gradients(
    before, first, back, count, transverse, duration, b, first_b, by_tissue
):  # fmt: skip
    """Add the gradients by relaxation rates and diffusion coefficients, see `decay_sums`."""
    wide_vectors()
    for state in range(count):
        place = first + state
        level = _ONE if state == transverse else _ZERO
        weighting, kind = b[first_b + state], R2_ROW if state < transverse else R1_ROW
        for v in range(BLOCK):
            loss = (
                back[state, v] * (before[place, v] - level)
                + back[state, BLOCK + v] * before[place, BLOCK + v]
            )
            by_tissue[kind + v] -= duration * loss
            by_tissue[D_ROW + v] -= weighting * loss


@inlined
def add_displaced_decay(back, displaced, first, count, b_slope, axis, first_b, tissue):
    """Add what diffusion over a repetition makes of displacements along an axis."""
    wide_vectors()
    for state in range(count):
        place, by_b = first + state, b_slope[axis, first_b + state]
        if by_b != _ZERO:
            for v in range(BLOCK):
                change = by_b * tissue[D_ROW + v]
                displaced[place, v] += change * back[state, BLOCK + v]
                displaced[place, BLOCK + v] -= change * back[state, v]
