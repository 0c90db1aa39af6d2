"""Pulses that act at once on one block of voxels, and their adjoints.

The same mathematics as in `propagation`, which also has the formulas, in the rotating
frame of each pulse: transverse states are m exp(-i (φ + β)) with φ the phase of the pulse and
β that of the transmit field, so that the factors of a pulse are real or imaginary: with
q = sin θ / √2, ζ is -iq, -ζ* is -iq and -ζ is iq. From one pulse to the next transverse states
turn by the difference of the phases; what they emit turns back, and by 2π (k·r + τ B0).
"""

# Compiled functions have no annotations: numba derives the types from the arguments, and hands
# intrinsic functions the first one itself.
# mypy: disable-error-code="no-untyped-def, call-arg"

from __future__ import annotations

import numpy as np

from pulseq_zero.simulation.compiled.block import (
    B0_ROW,
    BLOCK,
    X_ROW,
    Y_ROW,
    Z_ROW,
    inlined,
    row_of,
    unsigned,
)
from pulseq_zero.simulation.kernel_math import sine_and_cosine, wide_vectors

# Where the rows of a rotation begin: cos θ, q, and the turns of its frame.
ROTATION_ROWS = 3
_COS, _Q, FRAME_ROW = range(0, ROTATION_ROWS * BLOCK, BLOCK)
_ZERO = np.float32(0)
_TWO = np.float32(2)
_HALF = np.float32(0.5)
_ROOT_HALF = np.float32(np.sqrt(0.5))
_PER_TURN = np.float32(0.5 / np.pi)
_TURN = np.float32(2 * np.pi)


@inlined
def make_rotation(rotation, angle, phase, field, shim):
    """Fill the rows of a rotation."""
    wide_vectors()
    for v in range(BLOCK):
        sine, cosine = sine_and_cosine(angle * field[shim, v] * _PER_TURN)
        rotation[_COS + v] = cosine
        rotation[_Q + v] = _ROOT_HALF * sine
        rotation[FRAME_ROW + v] = _PER_TURN * (phase + field[shim, BLOCK + v])


@inlined
def rotate(rotation, before, first, after, rounds, begin, middle, stop, adding):
    """Make the states after a pulse, or add to them; see `rounds.forward_rounds`.

    ``first`` is where the states before the pulse begin. Of the factors of a and b, cos²(θ/2)
    and sin²(θ/2), sum and difference are 1 and cos θ.
    """
    wide_vectors()
    last = len(before) - 1
    for n in range(begin, middle):
        state, a = unsigned(rounds[n, 0]), row_of(rounds[n, 1], first, last)
        b, c = row_of(rounds[n, 2], first, last), row_of(rounds[n, 3], first, last)
        for v in range(BLOCK):
            ar, ai, br, bi = before[a, v], before[a, BLOCK + v], before[b, v], before[b, BLOCK + v]
            half, q = _HALF * rotation[_COS + v], rotation[_Q + v]
            real = _HALF * (ar + br) + half * (ar - br) + q * before[c, BLOCK + v]
            imag = _HALF * (ai - bi) + half * (ai + bi) - q * before[c, v]
            after[state, v] = after[state, v] + real if adding else real
            after[state, BLOCK + v] = after[state, BLOCK + v] + imag if adding else imag
    for n in range(middle, stop):
        state, a = unsigned(rounds[n, 0]), row_of(rounds[n, 1], first, last)
        b, c = row_of(rounds[n, 2], first, last), row_of(rounds[n, 3], first, last)
        for v in range(BLOCK):
            cosine, q = rotation[_COS + v], rotation[_Q + v]
            real = cosine * before[a, v] + q * (before[b, BLOCK + v] + before[c, BLOCK + v])
            imag = cosine * before[a, BLOCK + v] + q * (before[c, v] - before[b, v])
            after[state, v] = after[state, v] + real if adding else real
            after[state, BLOCK + v] = after[state, BLOCK + v] + imag if adding else imag


@inlined
def rotate_adjoint(
    rotation, before, first, toward, back, slopes, rounds, begin, middle, stop, adding
):  # fmt: skip
    """Take the gradient back through a pulse, see `rounds.backward_rounds`.

    What it changes with the angle, as a sum over states, is added to ``slopes`` but for a factor:
    cos θ and q change by -2q and cos θ, both over √2.
    """
    wide_vectors()
    last = len(toward) - 1
    for n in range(begin, middle):
        state, place = unsigned(rounds[n, 0]), unsigned(first + rounds[n, 0])
        a, b = row_of(rounds[n, 1], 0, last), row_of(rounds[n, 2], 0, last)
        c, d = row_of(rounds[n, 3], 0, last), row_of(rounds[n, 4], 0, last)
        for v in range(BLOCK):
            m, w = before[place, v], before[place, BLOCK + v]
            ar, ai, br, bi = toward[a, v], toward[a, BLOCK + v], toward[b, v], toward[b, BLOCK + v]
            x = toward[d, BLOCK + v] - toward[c, BLOCK + v]
            y = toward[d, v] + toward[c, v]
            cosine, q = rotation[_COS + v], rotation[_Q + v]
            s, t = ar - br, ai + bi
            real = _HALF * (ar + br) + _HALF * cosine * s + q * x
            imag = _HALF * (ai - bi) + _HALF * cosine * t + q * y
            back[state, v] = back[state, v] + real if adding else real
            back[state, BLOCK + v] = back[state, BLOCK + v] + imag if adding else imag
            slopes[v] += cosine * (m * x + w * y) - q * (m * s + w * t)
    for n in range(middle, stop):
        state, place = unsigned(rounds[n, 0]), unsigned(first + rounds[n, 0])
        a, b = row_of(rounds[n, 1], 0, last), row_of(rounds[n, 2], 0, last)
        for v in range(BLOCK):
            m, w = before[place, v], before[place, BLOCK + v]
            ar, ai, br, bi = toward[a, v], toward[a, BLOCK + v], toward[b, v], toward[b, BLOCK + v]
            cosine, q = rotation[_COS + v], rotation[_Q + v]
            real = cosine * ar - q * bi
            imag = cosine * ai + q * br
            back[state, v] = back[state, v] + real if adding else real
            back[state, BLOCK + v] = back[state, BLOCK + v] + imag if adding else imag
            slopes[v] += cosine * (br * w - bi * m) - _TWO * q * (ar * m + ai * w)


@inlined
def rotate_back(
    rotation, toward, back, first, last, rounds, begin, middle, stop, adding
):  # fmt: skip
    """Take a gradient back through a pulse as `rotate_adjoint` does, but for the angle's.

    It lies from ``first`` on, in both arrays, up to a ``last`` row of zeros.
    """
    wide_vectors()
    for n in range(begin, middle):
        state = unsigned(first + rounds[n, 0])
        a, b = row_of(rounds[n, 1], first, last), row_of(rounds[n, 2], first, last)
        c, d = row_of(rounds[n, 3], first, last), row_of(rounds[n, 4], first, last)
        for v in range(BLOCK):
            ar, ai, br, bi = toward[a, v], toward[a, BLOCK + v], toward[b, v], toward[b, BLOCK + v]
            half, q = _HALF * rotation[_COS + v], rotation[_Q + v]
            x = toward[d, BLOCK + v] - toward[c, BLOCK + v]
            real = _HALF * (ar + br) + half * (ar - br) + q * x
            imag = _HALF * (ai - bi) + half * (ai + bi) + q * (toward[d, v] + toward[c, v])
            back[state, v] = back[state, v] + real if adding else real
            back[state, BLOCK + v] = back[state, BLOCK + v] + imag if adding else imag
    for n in range(middle, stop):
        state = unsigned(first + rounds[n, 0])
        a, b = row_of(rounds[n, 1], first, last), row_of(rounds[n, 2], first, last)
        for v in range(BLOCK):
            cosine, q = rotation[_COS + v], rotation[_Q + v]
            real = cosine * toward[a, v] - q * toward[b, BLOCK + v]
            imag = cosine * toward[a, BLOCK + v] + q * toward[b, v]
            back[state, v] = back[state, v] + real if adding else real
            back[state, BLOCK + v] = back[state, BLOCK + v] + imag if adding else imag


@inlined
def angle_sum(slopes, field, shim, angle, by_field):
    """Return the gradient by the angle of a pulse; add that by the field."""
    wide_vectors()
    total = _ZERO
    for v in range(BLOCK):
        slope = _ROOT_HALF * slopes[v]
        total += slope * field[shim, v]
        by_field[shim, v] += slope * angle
    return total


@inlined
def make_turn(turn, phase, field, shim, r):
    """Fill the factor, real before imaginary parts, from a pulse's frame to that of the next.

    Returns whether it is anything but 1.
    """
    wide_vectors()
    step = phase[r] - phase[r + 1]
    one, other = shim[r], shim[r + 1]
    turning = one != other or step != _ZERO
    if one != other:
        for v in range(BLOCK):
            angle = step + field[one, BLOCK + v] - field[other, BLOCK + v]
            sine, cosine = sine_and_cosine(angle * _PER_TURN)
            turn[v], turn[BLOCK + v] = cosine, sine
    elif turning:
        sine, cosine = sine_and_cosine(step * _PER_TURN)
        for v in range(BLOCK):
            turn[v], turn[BLOCK + v] = cosine, sine
    return turning


@inlined
def turn_states(states, first, count, turn, way):
    """Turn transverse states into the next frame (``way`` 1) or their gradient back (-1)."""
    wide_vectors()
    for state in range(first, first + count):
        for v in range(BLOCK):
            real, imag, c, s = (
                states[state, v],
                states[state, BLOCK + v],
                turn[v],
                way * turn[BLOCK + v],
            )
            states[state, v] = c * real - s * imag
            states[state, BLOCK + v] = c * imag + s * real


@inlined
def turn_sum(before, first, back, origin, count, slope):
    """Return the gradient by the phase of the turn before a pulse; leave its parts in slope."""
    wide_vectors()
    for v in range(BLOCK):
        slope[v] = _ZERO
    for state in range(count):
        place, here = first + state, origin + state
        for v in range(BLOCK):
            slope[v] += back[here, BLOCK + v] * before[place, v]
            slope[v] -= back[here, v] * before[place, BLOCK + v]
    total = _ZERO
    for v in range(BLOCK):
        total += slope[v]
    return total


@inlined
def position_sums(slope, tissue, r, g_total):
    """Add the gradients by what moves the states, by way of their phase; see `turn_sum`."""
    wide_vectors()
    sx = sy = sz = s0 = _ZERO
    for v in range(BLOCK):
        sx += slope[v] * tissue[X_ROW + v]
        sy += slope[v] * tissue[Y_ROW + v]
        sz += slope[v] * tissue[Z_ROW + v]
        s0 += slope[v] * tissue[B0_ROW + v]
    g_total[r, 0] += _TURN * sx
    g_total[r, 1] += _TURN * sy
    g_total[r, 2] += _TURN * sz
    g_total[r, 3] += _TURN * s0


@inlined
def add_turn_gradients(by_field, one, other, slope):
    """Add the gradients by the transmit phases that the turn between two pulses depends on."""
    wide_vectors()
    for v in range(BLOCK):
        by_field[one, BLOCK + v] += slope[v]
    for v in range(BLOCK):
        by_field[other, BLOCK + v] -= slope[v]
