"""The steps of the compiled loops, for one block of voxels, and their adjoints.

The same mathematics as in `propagation`, which also has the formulas, in the rotating
frame of each pulse: transverse states are m exp(-i (φ + β)) with φ the phase of the pulse and
β that of the transmit field, so that the factors of a pulse are real or imaginary: with
q = sin θ / √2, ζ is -iq, -ζ* is -iq and -ζ is iq. From one pulse to the next transverse states
turn by the difference of the phases; what they emit turns back, and by 2π (k·r + τ B0).

Arrays of states are (states + 1, 2 * BLOCK): all real parts before all imaginary parts, so that
loops run on whole vectors, and a last state of zeros that stands in, by the number -1, for an
ancestor that is not simulated. Voxels that a last block lacks are zeros everywhere. (Arrays of
three dimensions, or slices handed to helpers, keep LLVM from vectorising; tuples of arrays
handed to helpers cost more than the loops, as each array's references are counted.)

Numba's cache on disk goes by the file of the function that is called from Python: after an edit
here, save `kernel` as well.
"""

# Compiled functions have no annotations: numba derives the types from the arguments, and hands
# intrinsic functions the first one itself.
# mypy: disable-error-code="no-untyped-def, call-arg"

from __future__ import annotations

import numpy as np
from numba import njit

from pulseq_zero.simulation.kernel_math import (
    exponential,
    sine_and_cosine,
    to_cache_line,
    wide_vectors,
)

# The states of a block should stay in the processor's cache through the whole sequence.
BLOCK = 64

# Where the rows of a rotation begin: cos θ, q, and the turns of its frame.
ROTATION_ROWS = 3
_COS, _Q, _FRAME = range(0, ROTATION_ROWS * BLOCK, BLOCK)
# Likewise of the relaxation rates.
_LONGITUDINAL, _TRANSVERSE = 0, BLOCK
# Likewise of a block's copy of the phantom's maps, and of the gradients by these. (An index of
# two variables added up makes LLVM gather single numbers, as it cannot tell that they lie side
# by side.)
TISSUE_ROWS = 8
_R1, _R2, _R2DASH, _D, _B0, _X, _Y, _Z = range(0, TISSUE_ROWS * BLOCK, BLOCK)

_ZERO, _ONE, _TWO, _HALF = np.float32(0), np.float32(1), np.float32(2), np.float32(0.5)
_ROOT_HALF = np.float32(np.sqrt(0.5))
_PER_TURN = np.float32(0.5 / np.pi)
_TURN = np.float32(2 * np.pi)
# Exponents of diffusion up to which three terms are enough for float32.
_SMALL, _SIXTH = np.float32(0.03), np.float32(1 / 6)

# Numba looks whether an index with a sign counts from the end, which keeps LLVM from vectorising.
_unsigned = np.uint64
_NEXT = np.uint64(1)

# A helper that is called, and not inlined, is compiled with its caller and on its own, and which
# of the two is linked differs between a process that compiles and one that reads numba's cache:
# they would round differently.
_inlined = njit(cache=True, fastmath=True, nogil=True, error_model="numpy", forceinline=True)


@_inlined
def aligned_zeros(rows, length):
    """Return zeros, (rows, length), that begin with a line of the cache; see `to_cache_line`."""
    return to_cache_line(np.zeros((rows + 1, length), np.float32))[:-1]


@_inlined
def load_voxels(tissue, field, before, voxels, start, size):
    """Copy the maps of a block of voxels; return its largest diffusion coefficient.

    ``before`` receives the magnetisation before the first pulse.
    """
    wide_vectors()
    R1, R2, R2dash, D, B0, B1, B1_phase, position, initial = voxels
    tissue[:] = _ZERO
    field[:] = _ZERO
    before[0] = _ZERO
    largest = _ZERO
    for v in range(size):
        u = _unsigned(start + v)
        tissue[_R1 + v], tissue[_R2 + v], tissue[_R2DASH + v] = R1[u], R2[u], R2dash[u]
        tissue[_D + v], tissue[_B0 + v] = D[u], B0[u]
        tissue[_X + v], tissue[_Y + v], tissue[_Z + v] = (
            position[0, u],
            position[1, u],
            position[2, u],
        )
        before[0, v], before[0, BLOCK + v] = initial[0, u], initial[1, u]
        largest = max(largest, D[u])
    for shim in range(len(field)):
        for v in range(size):
            u = _unsigned(start + v)
            field[shim, v] = B1[shim, u]
            field[shim, BLOCK + v] = B1_phase[shim, u]
    return largest


@_inlined
def add_map_gradients(by_tissue, by_field, maps, start, size):
    """Add a block's gradients to those of the whole phantom."""
    R1, R2, R2dash, D, B0, B1, B1_phase, position = maps
    for v in range(size):
        u = _unsigned(start + v)
        position[0, u] += by_tissue[_X + v]
        position[1, u] += by_tissue[_Y + v]
        position[2, u] += by_tissue[_Z + v]
        R1[u] += by_tissue[_R1 + v]
        R2[u] += by_tissue[_R2 + v]
        R2dash[u] += by_tissue[_R2DASH + v]
        D[u] += by_tissue[_D + v]
        B0[u] += by_tissue[_B0 + v]
        for shim in range(len(by_field)):
            B1[shim, u] += by_field[shim, v]
            B1_phase[shim, u] += by_field[shim, BLOCK + v]


@_inlined
def make_rotation(rotation, angle, phase, field, shim):
    """Fill the rows of a rotation."""
    wide_vectors()
    for v in range(BLOCK):
        sine, cosine = sine_and_cosine(angle * field[shim, v] * _PER_TURN)
        rotation[_COS + v] = cosine
        rotation[_Q + v] = _ROOT_HALF * sine
        rotation[_FRAME + v] = _PER_TURN * (phase + field[shim, BLOCK + v])


@njit(inline="always")
def _row(number, first, last):
    """Return where a state lies; the last row if there is none."""
    return _unsigned(first + number if number >= 0 else last)


@_inlined
def rotate(rotation, before, first, after, rounds, begin, middle, stop, adding):
    """Make the states after a pulse, or add to them; see `rounds.forward_rounds`.

    ``first`` is where the states before the pulse begin. Of the factors of a and b, cos²(θ/2)
    and sin²(θ/2), sum and difference are 1 and cos θ.
    """
    wide_vectors()
    last = len(before) - 1
    for n in range(begin, middle):
        state, a = _unsigned(rounds[n, 0]), _row(rounds[n, 1], first, last)
        b, c = _row(rounds[n, 2], first, last), _row(rounds[n, 3], first, last)
        for v in range(BLOCK):
            ar, ai, br, bi = before[a, v], before[a, BLOCK + v], before[b, v], before[b, BLOCK + v]
            half, q = _HALF * rotation[_COS + v], rotation[_Q + v]
            real = _HALF * (ar + br) + half * (ar - br) + q * before[c, BLOCK + v]
            imag = _HALF * (ai - bi) + half * (ai + bi) - q * before[c, v]
            after[state, v] = after[state, v] + real if adding else real
            after[state, BLOCK + v] = after[state, BLOCK + v] + imag if adding else imag
    for n in range(middle, stop):
        state, a = _unsigned(rounds[n, 0]), _row(rounds[n, 1], first, last)
        b, c = _row(rounds[n, 2], first, last), _row(rounds[n, 3], first, last)
        for v in range(BLOCK):
            cosine, q = rotation[_COS + v], rotation[_Q + v]
            real = cosine * before[a, v] + q * (before[b, BLOCK + v] + before[c, BLOCK + v])
            imag = cosine * before[a, BLOCK + v] + q * (before[c, v] - before[b, v])
            after[state, v] = after[state, v] + real if adding else real
            after[state, BLOCK + v] = after[state, BLOCK + v] + imag if adding else imag


@_inlined
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
        state, place = _unsigned(rounds[n, 0]), _unsigned(first + rounds[n, 0])
        a, b = _row(rounds[n, 1], 0, last), _row(rounds[n, 2], 0, last)
        c, d = _row(rounds[n, 3], 0, last), _row(rounds[n, 4], 0, last)
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
        state, place = _unsigned(rounds[n, 0]), _unsigned(first + rounds[n, 0])
        a, b = _row(rounds[n, 1], 0, last), _row(rounds[n, 2], 0, last)
        for v in range(BLOCK):
            m, w = before[place, v], before[place, BLOCK + v]
            ar, ai, br, bi = toward[a, v], toward[a, BLOCK + v], toward[b, v], toward[b, BLOCK + v]
            cosine, q = rotation[_COS + v], rotation[_Q + v]
            real = cosine * ar - q * bi
            imag = cosine * ai + q * br
            back[state, v] = back[state, v] + real if adding else real
            back[state, BLOCK + v] = back[state, BLOCK + v] + imag if adding else imag
            slopes[v] += cosine * (br * w - bi * m) - _TWO * q * (ar * m + ai * w)


@_inlined
def rotate_back(
    rotation, toward, back, first, last, rounds, begin, middle, stop, adding
):  # fmt: skip
    """Take a gradient back through a pulse as `rotate_adjoint` does, but for the angle's.

    It lies from ``first`` on, in both arrays, up to a ``last`` row of zeros.
    """
    wide_vectors()
    for n in range(begin, middle):
        state = _unsigned(first + rounds[n, 0])
        a, b = _row(rounds[n, 1], first, last), _row(rounds[n, 2], first, last)
        c, d = _row(rounds[n, 3], first, last), _row(rounds[n, 4], first, last)
        for v in range(BLOCK):
            ar, ai, br, bi = toward[a, v], toward[a, BLOCK + v], toward[b, v], toward[b, BLOCK + v]
            half, q = _HALF * rotation[_COS + v], rotation[_Q + v]
            x = toward[d, BLOCK + v] - toward[c, BLOCK + v]
            real = _HALF * (ar + br) + half * (ar - br) + q * x
            imag = _HALF * (ai - bi) + half * (ai + bi) + q * (toward[d, v] + toward[c, v])
            back[state, v] = back[state, v] + real if adding else real
            back[state, BLOCK + v] = back[state, BLOCK + v] + imag if adding else imag
    for n in range(middle, stop):
        state = _unsigned(first + rounds[n, 0])
        a, b = _row(rounds[n, 1], first, last), _row(rounds[n, 2], first, last)
        for v in range(BLOCK):
            cosine, q = rotation[_COS + v], rotation[_Q + v]
            real = cosine * toward[a, v] - q * toward[b, BLOCK + v]
            imag = cosine * toward[a, BLOCK + v] + q * toward[b, v]
            back[state, v] = back[state, v] + real if adding else real
            back[state, BLOCK + v] = back[state, BLOCK + v] + imag if adding else imag


@_inlined
def angle_sum(slopes, field, shim, angle, by_field):
    """Return the gradient by the angle of a pulse; add that by the field."""
    wide_vectors()
    total = _ZERO
    for v in range(BLOCK):
        slope = _ROOT_HALF * slopes[v]
        total += slope * field[shim, v]
        by_field[shim, v] += slope * angle
    return total


@_inlined
def make_rates(rates, duration, tissue):
    """Fill two rows: longitudinal and transverse relaxation over a repetition."""
    wide_vectors()
    for v in range(BLOCK):
        rates[_LONGITUDINAL + v] = exponential(-duration * tissue[_R1 + v])
        rates[_TRANSVERSE + v] = exponential(-duration * tissue[_R2 + v])


@_inlined
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
                x = weighting * tissue[_D + v]
                factor = rates[kind + v] * (_ONE - x * (_ONE - x * (_HALF - x * _SIXTH)))
                target[place, v] = factor * source[here, v]
                target[place, BLOCK + v] = factor * source[here, BLOCK + v]
        else:
            for v in range(BLOCK):
                factor = rates[kind + v] * exponential(-weighting * tissue[_D + v])
                target[place, v] = factor * source[here, v]
                target[place, BLOCK + v] = factor * source[here, BLOCK + v]


@_inlined
def recover(states, undephased, rates):
    """Let the undephased state, which diffusion does not touch, relax towards 1."""
    wide_vectors()
    for v in range(BLOCK):
        states[undephased, v] += _ONE - rates[_LONGITUDINAL + v]


@_inlined
def hand_over(states, first, given, begin, stop, tissue, way):
    """Give a part of some states to others (``way`` 1), or take it away from them again (-1)."""
    wide_vectors()
    giver, taker, share, shift = given
    for n in range(begin, stop):
        source = _unsigned(first + giver[n])
        for side in range(share.shape[1]):
            if share[n, side] == _ZERO:
                continue
            target, part = _unsigned(first + taker[n, side]), way * share[n, side]
            later = -shift[n, side]
            for v in range(BLOCK):
                sine, cosine = sine_and_cosine(later * tissue[_B0 + v])
                real, imag = states[source, v], states[source, BLOCK + v]
                states[target, v] += part * (cosine * real - sine * imag)
                states[target, BLOCK + v] += part * (cosine * imag + sine * real)


@_inlined
def hand_back(back, first, given, begin, stop, tissue):
    """Take the gradient of what states have received to those that gave it."""
    wide_vectors()
    giver, taker, share, shift = given
    for n in range(begin, stop):
        source = _unsigned(first + giver[n])
        for v in range(2 * BLOCK):
            back[source, v] = _ZERO
        for side in range(share.shape[1]):
            if share[n, side] == _ZERO:
                continue
            target, part = _unsigned(first + taker[n, side]), share[n, side]
            later = -shift[n, side]
            for v in range(BLOCK):
                sine, cosine = sine_and_cosine(later * tissue[_B0 + v])
                real, imag = back[target, v], back[target, BLOCK + v]
                back[source, v] += part * (cosine * real + sine * imag)
                back[source, BLOCK + v] += part * (cosine * imag - sine * real)


@_inlined
def hand_over_map_gradients(states, first, back, given, begin, stop, tissue, by_tissue):
    """Add the gradients by B0, which turns what is handed over."""
    wide_vectors()
    giver, taker, share, shift = given
    for n in range(begin, stop):
        source = _unsigned(first + giver[n])
        for side in range(share.shape[1]):
            if share[n, side] == _ZERO:
                continue
            target, later = _unsigned(taker[n, side]), -shift[n, side]
            scale = _TURN * later * share[n, side]
            for v in range(BLOCK):
                sine, cosine = sine_and_cosine(later * tissue[_B0 + v])
                real, imag = states[source, v], states[source, BLOCK + v]
                by_tissue[_B0 + v] += scale * (
                    back[target, BLOCK + v] * (cosine * real - sine * imag)
                    - back[target, v] * (cosine * imag + sine * real)
                )


@_inlined
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
                by_rate += loss[v] * tissue[_R2 + v]
                by_D += loss[v] * tissue[_D + v]
        else:
            for v in range(BLOCK):
                by_rate += loss[v] * tissue[_R1 + v]
                by_D += loss[v] * tissue[_D + v]
        by_duration -= by_rate
        g_b[first_b + state] -= by_D
    return by_duration


@_inlined
def decay_map_gradients(
    before, first, back, count, transverse, duration, b, first_b, by_tissue
):  # fmt: skip
    """Add the gradients by relaxation rates and diffusion coefficients, see `decay_sums`."""
    wide_vectors()
    for state in range(count):
        place = first + state
        level = _ONE if state == transverse else _ZERO
        weighting, kind = b[first_b + state], _R2 if state < transverse else _R1
        for v in range(BLOCK):
            loss = (
                back[state, v] * (before[place, v] - level)
                + back[state, BLOCK + v] * before[place, BLOCK + v]
            )
            by_tissue[kind + v] -= duration * loss
            by_tissue[_D + v] -= weighting * loss


@_inlined
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


@_inlined
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


@_inlined
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


@_inlined
def position_sums(slope, tissue, r, g_total):
    """Add the gradients by what moves the states, by way of their phase; see `turn_sum`."""
    wide_vectors()
    sx = sy = sz = s0 = _ZERO
    for v in range(BLOCK):
        sx += slope[v] * tissue[_X + v]
        sy += slope[v] * tissue[_Y + v]
        sz += slope[v] * tissue[_Z + v]
        s0 += slope[v] * tissue[_B0 + v]
    g_total[r, 0] += _TURN * sx
    g_total[r, 1] += _TURN * sy
    g_total[r, 2] += _TURN * sz
    g_total[r, 3] += _TURN * s0


@_inlined
def add_displaced_decay(back, displaced, first, count, b_slope, axis, first_b, tissue):
    """Add what diffusion over a repetition makes of displacements along an axis."""
    wide_vectors()
    for state in range(count):
        place, by_b = first + state, b_slope[axis, first_b + state]
        if by_b != _ZERO:
            for v in range(BLOCK):
                change = by_b * tissue[_D + v]
                displaced[place, v] += change * back[state, BLOCK + v]
                displaced[place, BLOCK + v] -= change * back[state, v]


@_inlined
def make_emission(factor, rotation, k, time, b, sign, i, tissue):
    """Fill the phase and decay of an item up to its anchor, seen from its pulse's frame.

    Far out in k-space the phase has hundreds of turns, too many for float32.
    """
    wide_vectors()
    kx, ky, kz, kt = k[i, 0], k[i, 1], k[i, 2], k[i, 3]
    over_T2, over_T2dash, weighting = time[i], sign[i] * np.float32(kt), b[i]
    for v in range(BLOCK):
        turned = kx * tissue[_X + v] + ky * tissue[_Y + v] + kz * tissue[_Z + v]
        turned += kt * tissue[_B0 + v]
        turns = np.float32(turned - np.rint(turned)) + rotation[_FRAME + v]
        magnitude = exponential(
            -over_T2 * tissue[_R2 + v]
            - over_T2dash * tissue[_R2DASH + v]
            - weighting * tissue[_D + v]
        )
        sine, cosine = sine_and_cosine(turns - np.rint(turns))
        factor[v] = magnitude * cosine
        factor[BLOCK + v] = magnitude * sine


@_inlined
def emit_item(emitted, i, start, size, factor, states, state):
    """Write what an item emits."""
    wide_vectors()
    for v in range(size):
        fr, fi, mr, mi = factor[v], factor[BLOCK + v], states[state, v], states[state, BLOCK + v]
        u = _unsigned(2 * (start + v))
        emitted[i, u] = fr * mr - fi * mi
        emitted[i, u + _NEXT] = fr * mi + fi * mr


@_inlined
def load_gradient(given, i, start, size, slope):
    """Load an item's gradient γ, with dL = Re Σ γ dX for a change dX of what it emits."""
    wide_vectors()
    for v in range(size):
        u = _unsigned(2 * (start + v))
        slope[v] = given[i, u]
        slope[BLOCK + v] = given[i, u + _NEXT]


@_inlined
def emission_adjoint(slope, factor, pulled, i):
    """Fill row ``i`` with the gradient of the state that an item is emitted by."""
    wide_vectors()
    for v in range(BLOCK):
        fr, fi, gr, gi = factor[v], factor[BLOCK + v], slope[v], slope[BLOCK + v]
        pulled[i, v] = fr * gr - fi * gi
        pulled[i, BLOCK + v] = -(fr * gi + fi * gr)


@_inlined
def displaced_adjoint(slope, factor, pulled, i, displaced, row, over_T2dash, weighting, tissue):
    """Fill ``row`` with i times the gradient of a state by its displacement along an axis.

    ``slope`` is the derivative of the item's gradient, to which comes what its decay depends on.
    """
    wide_vectors()
    for v in range(BLOCK):
        fr, fi, gr, gi = factor[v], factor[BLOCK + v], slope[v], slope[BLOCK + v]
        rate = over_T2dash * tissue[_R2DASH + v] + weighting * tissue[_D + v]
        displaced[row, v] = fr * gi + fi * gr + rate * pulled[i, BLOCK + v]
        displaced[row, BLOCK + v] = fr * gr - fi * gi - rate * pulled[i, v]


@_inlined
def emission_slope(slope, factor, states, state):
    """Multiply an item's gradient by what it emits; growing before turning parts."""
    wide_vectors()
    for v in range(BLOCK):
        fr, fi, gr, gi = factor[v], factor[BLOCK + v], slope[v], slope[BLOCK + v]
        xr = fr * states[state, v] - fi * states[state, BLOCK + v]
        xi = fr * states[state, BLOCK + v] + fi * states[state, v]
        slope[v], slope[BLOCK + v] = gr * xr - gi * xi, gr * xi + gi * xr


@_inlined
def turning_sum(slope):
    """Return the gradient by the phase of what an item emits."""
    wide_vectors()
    total = _ZERO
    for v in range(BLOCK):
        total += slope[BLOCK + v]
    return total


@_inlined
def anchor_sums(slope, tissue, sign, i, g_k, g_t, g_b):
    """Add an item's gradients by position, time and diffusion weighting."""
    wide_vectors()
    sx = sy = sz = s0 = s2 = sd = sb = _ZERO
    for v in range(BLOCK):
        growing, turning = slope[v], slope[BLOCK + v]
        sx += turning * tissue[_X + v]
        sy += turning * tissue[_Y + v]
        sz += turning * tissue[_Z + v]
        s0 += turning * tissue[_B0 + v]
        s2 += growing * tissue[_R2 + v]
        sd += growing * tissue[_R2DASH + v]
        sb += growing * tissue[_D + v]
    g_k[i, 0] -= _TURN * sx
    g_k[i, 1] -= _TURN * sy
    g_k[i, 2] -= _TURN * sz
    g_k[i, 3] -= _TURN * s0 + sign[i] * sd
    g_t[i] -= s2
    g_b[i] -= sb


@_inlined
def emission_map_gradients(slope, k, i, time, b, sign, shim, by_tissue, by_field):
    """Add the gradients by the maps that an item's phase and decay depend on."""
    wide_vectors()
    kx, ky, kz = np.float32(k[i, 0]), np.float32(k[i, 1]), np.float32(k[i, 2])
    tau = np.float32(k[i, 3])
    for v in range(BLOCK):
        growing, turning = slope[v], slope[BLOCK + v]
        by_field[shim, BLOCK + v] -= turning
        by_tissue[_X + v] -= _TURN * kx * turning
        by_tissue[_Y + v] -= _TURN * ky * turning
        by_tissue[_Z + v] -= _TURN * kz * turning
        by_tissue[_B0 + v] -= _TURN * tau * turning
        by_tissue[_R2 + v] -= time * growing
        by_tissue[_R2DASH + v] -= sign * tau * growing
        by_tissue[_D + v] -= b * growing


@_inlined
def add_turn_gradients(by_field, one, other, slope):
    """Add the gradients by the transmit phases that the turn between two pulses depends on."""
    wide_vectors()
    for v in range(BLOCK):
        by_field[one, BLOCK + v] += slope[v]
    for v in range(BLOCK):
        by_field[other, BLOCK + v] -= slope[v]


@_inlined
def add_state(states, state, other, row):
    """Add a row of one array to a state of another."""
    wide_vectors()
    for v in range(2 * BLOCK):
        states[state, v] += other[row, v]
