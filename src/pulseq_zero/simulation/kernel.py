"""Compiled loops over blocks of voxels: propagation and its adjoint.

The same mathematics as in `propagation`, which also has the formulas, but in the rotating
frame of each pulse: transverse states are m exp(-i (φ + β)) with φ the phase of the pulse and
β that of the transmit field, so that the factors of a pulse are real or imaginary: with
q = sin θ / √2, ζ is -iq, -ζ* is -iq and -ζ is iq. From one pulse to the next transverse states
turn by the difference of the phases; what they emit turns back. The states of a block
of voxels stay in the processor's cache through the whole sequence. Arrays of states are
(states + 1, 2 * BLOCK): all real parts before all imaginary parts, so that loops run on whole
vectors, and a last state of zeros that stands in for an ancestor that is not simulated. (Arrays
of three dimensions, or slices handed to helpers, keep LLVM from vectorising.)
"""

# Compiled functions have no annotations: numba derives the types from the arguments, and hands
# intrinsic functions the first one itself.
# mypy: disable-error-code="no-untyped-def, call-arg"

from __future__ import annotations

import numpy as np
from numba import njit

from pulseq_zero.simulation.kernel_math import exponential, sine_and_cosine, wide_vectors

BLOCK = 128

# Where the rows of a rotation begin: cos θ, cos²(θ/2), sin²(θ/2), q; and the turns of its frame.
_ROTATION_ROWS = 5
_COS, _KEEP, _REST, _Q, _FRAME = range(0, _ROTATION_ROWS * BLOCK, BLOCK)
# Likewise of the slopes of a loss by cos θ, by cos²(θ/2) less that by sin²(θ/2), and by q.
_SLOPE_ROWS = 3
_BY_COS, _BY_KEEP, _BY_Q = range(0, _SLOPE_ROWS * BLOCK, BLOCK)
# Likewise of the relaxation rates.
_LONGITUDINAL, _TRANSVERSE = 0, BLOCK
# Likewise of a block's copy of the phantom's maps. (An index of two variables added up makes
# LLVM gather single numbers, as it cannot tell that they lie side by side.)
_TISSUE_ROWS = 8
_R1, _R2, _R2DASH, _D, _B0, _X, _Y, _Z = range(0, _TISSUE_ROWS * BLOCK, BLOCK)

_ZERO, _ONE, _HALF = np.float32(0), np.float32(1), np.float32(0.5)
_ROOT_HALF, _ROOT_TWO = np.float32(np.sqrt(0.5)), np.float32(np.sqrt(2))
_PER_TURN = np.float32(0.5 / np.pi)
_TURN = np.float32(2 * np.pi)
# Exponents of diffusion up to which three terms are enough for float32.
_SMALL, _SIXTH = np.float32(0.03), np.float32(1 / 6)

_compiled = njit(cache=True, fastmath=True, nogil=True, error_model="numpy")
# A helper that is called, and not inlined, is compiled with its caller and on its own, and which
# of the two is linked differs between a process that compiles and one that reads numba's cache:
# they would round differently.
_inlined = njit(cache=True, fastmath=True, nogil=True, error_model="numpy", forceinline=True)


@_inlined
def _start(before, initial, start, size):
    """Set the magnetisation before the first pulse."""
    wide_vectors()
    for v in range(size):
        before[0, v] = initial[0, start + v]
        before[0, BLOCK + v] = initial[1, start + v]


@_inlined
def _load_tissue(tissue, voxels, start, size):
    """Copy the maps of a block of voxels, zeros beyond them; return its largest diffusion."""
    wide_vectors()
    R1, R2, R2dash, D, B0, _, _, position, _ = voxels
    tissue[:] = _ZERO
    largest = _ZERO
    for v in range(size):
        u = start + v
        tissue[_R1 + v], tissue[_R2 + v], tissue[_R2DASH + v] = R1[u], R2[u], R2dash[u]
        tissue[_D + v], tissue[_B0 + v] = D[u], B0[u]
        tissue[_X + v], tissue[_Y + v], tissue[_Z + v] = (
            position[0, u],
            position[1, u],
            position[2, u],
        )
        largest = max(largest, D[u])
    return largest


@_inlined
def _make_rotation(rotation, angle, phase, B1, B1_phase, shim, start, size):
    """Fill the rows of a rotation for one block of voxels."""
    wide_vectors()
    for v in range(size):
        sine, cosine = sine_and_cosine(angle * B1[shim, start + v] * _PER_TURN)
        keep = _HALF + _HALF * cosine
        rotation[_COS + v] = cosine
        rotation[_KEEP + v] = keep
        rotation[_REST + v] = _ONE - keep
        rotation[_Q + v] = _ROOT_HALF * sine
        rotation[_FRAME + v] = _PER_TURN * (phase + B1_phase[shim, start + v])


@_inlined
def _rotate(rotation, before, after, offset, rounds, first, middle, stop):
    """Make the states after a pulse; round by round, see `rounds.forward_rounds`."""
    wide_vectors()
    for n in range(first, middle):
        state, a, b, c = offset + rounds[n, 0], rounds[n, 2], rounds[n, 3], rounds[n, 4]
        kept = np.float32(rounds[n, 1])
        for v in range(BLOCK):
            keep, rest, q = rotation[_KEEP + v], rotation[_REST + v], rotation[_Q + v]
            real = keep * before[a, v] + rest * before[b, v] + q * before[c, BLOCK + v]
            imag = keep * before[a, BLOCK + v] - rest * before[b, BLOCK + v] - q * before[c, v]
            after[state, v] = kept * after[state, v] + real
            after[state, BLOCK + v] = kept * after[state, BLOCK + v] + imag
    for n in range(middle, stop):
        state, a, b, c = offset + rounds[n, 0], rounds[n, 2], rounds[n, 3], rounds[n, 4]
        kept = np.float32(rounds[n, 1])
        for v in range(BLOCK):
            cosine, q = rotation[_COS + v], rotation[_Q + v]
            real = cosine * before[a, v] + q * (before[b, BLOCK + v] + before[c, BLOCK + v])
            imag = cosine * before[a, BLOCK + v] + q * (before[c, v] - before[b, v])
            after[state, v] = kept * after[state, v] + real
            after[state, BLOCK + v] = kept * after[state, BLOCK + v] + imag


@_inlined
def _rotate_adjoint(rotation, before, toward, back, slopes, rounds, first, middle, stop):
    """Take the gradient back through a pulse, see `rounds.backward_rounds`.

    The slopes of the factors, sums of gradient* times ancestor, are added to ``slopes``.
    """
    wide_vectors()
    for n in range(first, middle):
        state, kept = rounds[n, 0], np.float32(rounds[n, 1])
        a, b, c, d = rounds[n, 2], rounds[n, 3], rounds[n, 4], rounds[n, 5]
        for v in range(BLOCK):
            m, w = before[state, v], before[state, BLOCK + v]
            ar, ai, br, bi = toward[a, v], toward[a, BLOCK + v], toward[b, v], toward[b, BLOCK + v]
            x = toward[d, BLOCK + v] - toward[c, BLOCK + v]
            y = toward[d, v] + toward[c, v]
            keep, rest, q = rotation[_KEEP + v], rotation[_REST + v], rotation[_Q + v]
            real = keep * ar + rest * br + q * x
            imag = keep * ai - rest * bi + q * y
            back[state, v] = kept * back[state, v] + real
            back[state, BLOCK + v] = kept * back[state, BLOCK + v] + imag
            slopes[_BY_KEEP + v] += m * (ar - br) + w * (ai + bi)
            slopes[_BY_Q + v] += m * x + w * y
    for n in range(middle, stop):
        state, kept, a, b = rounds[n, 0], np.float32(rounds[n, 1]), rounds[n, 2], rounds[n, 3]
        for v in range(BLOCK):
            m, w = before[state, v], before[state, BLOCK + v]
            ar, ai, br, bi = toward[a, v], toward[a, BLOCK + v], toward[b, v], toward[b, BLOCK + v]
            cosine, q = rotation[_COS + v], rotation[_Q + v]
            back[state, v] = kept * back[state, v] + cosine * ar - q * bi
            back[state, BLOCK + v] = kept * back[state, BLOCK + v] + cosine * ai + q * br
            slopes[_BY_COS + v] += ar * m + ai * w
            slopes[_BY_Q + v] += br * w - bi * m


@_inlined
def _angle_sum(rotation, slopes, B1, shim, start, size, angle, m_B1):
    """Return the gradient by the angle of a pulse; add that of the field."""
    wide_vectors()
    total = _ZERO
    for v in range(size):
        sine, cosine = _ROOT_TWO * rotation[_Q + v], rotation[_COS + v]
        slope = _ROOT_HALF * cosine * slopes[_BY_Q + v]
        slope -= sine * (slopes[_BY_COS + v] + _HALF * slopes[_BY_KEEP + v])
        total += slope * B1[shim, start + v]
        if m_B1.shape[1] > 0:
            m_B1[shim, start + v] += slope * angle
    return total


@_inlined
def _make_turn(turn, phase, B1_phase, shim, r, start, size):
    """Fill the factor, real before imaginary parts, from a pulse's frame to that of the next.

    Returns whether it is anything but 1.
    """
    wide_vectors()
    step = phase[r] - phase[r + 1]
    if shim[r] == shim[r + 1]:
        if step == _ZERO:
            return False
        sine, cosine = sine_and_cosine(step * _PER_TURN)
        for v in range(BLOCK):
            turn[v], turn[BLOCK + v] = cosine, sine
        return True
    for v in range(size):
        field = B1_phase[shim[r], start + v] - B1_phase[shim[r + 1], start + v]
        sine, cosine = sine_and_cosine((step + field) * _PER_TURN)
        turn[v], turn[BLOCK + v] = cosine, sine
    return True


@_inlined
def _turn_states(states, count, turn, way):
    """Turn transverse states into the next frame (``way`` 1) or their gradient back (-1)."""
    wide_vectors()
    for state in range(count):
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
def _turn_sum(before, back, count, slope, size):
    """Return the gradient by the phase of the turn before a pulse; leave its parts in slope."""
    wide_vectors()
    for v in range(BLOCK):
        slope[v] = _ZERO
    for state in range(count):
        for v in range(BLOCK):
            slope[v] += back[state, BLOCK + v] * before[state, v]
            slope[v] -= back[state, v] * before[state, BLOCK + v]
    total = _ZERO
    for v in range(size):
        total += slope[v]
    return total


@_inlined
def _make_rates(rates, duration, tissue):
    """Fill two rows: longitudinal and transverse relaxation over a repetition."""
    wide_vectors()
    for v in range(BLOCK):
        rates[_LONGITUDINAL + v] = exponential(-duration * tissue[_R1 + v])
        rates[_TRANSVERSE + v] = exponential(-duration * tissue[_R2 + v])


@_inlined
def _relax(states, offset, count, relaxed, decay, transverse, b_end, first, rates, tissue, largest):
    """Relax the states of one repetition; also return the decay, (states, BLOCK)."""
    wide_vectors()
    for state in range(count):
        b = b_end[first + state]
        kind = _TRANSVERSE if state < transverse else _LONGITUDINAL
        if b * largest < _SMALL:
            for v in range(BLOCK):
                x = b * tissue[_D + v]
                factor = rates[kind + v] * (_ONE - x * (_ONE - x * (_HALF - x * _SIXTH)))
                decay[state, v] = factor
                relaxed[state, v] = factor * states[offset + state, v]
                relaxed[state, BLOCK + v] = factor * states[offset + state, BLOCK + v]
        else:
            for v in range(BLOCK):
                factor = rates[kind + v] * exponential(-b * tissue[_D + v])
                decay[state, v] = factor
                relaxed[state, v] = factor * states[offset + state, v]
                relaxed[state, BLOCK + v] = factor * states[offset + state, BLOCK + v]
    for v in range(BLOCK):
        relaxed[transverse, v] += _ONE - decay[transverse, v]


@_inlined
def _relax_adjoint(
    states,
    offset,
    count,
    toward,
    decay,
    transverse,
    rates,
    start,
    size,
    sums,
    maps,
    drive,
    r,
    first,
):
    """Take the gradient back through relaxation; add those of times, weightings and rates."""
    wide_vectors()
    tissue, wanted = rates
    g_duration, g_b_end = sums
    m_R1, m_R2, m_D = maps
    duration, b_end = drive
    loss = np.zeros(BLOCK, np.float32)
    for state in range(count):
        if wanted:
            # The undephased state relaxes towards 1: its distance from 1 decays.
            level = _ONE if state == transverse else _ZERO
            for v in range(BLOCK):
                loss[v] = decay[state, v] * (
                    toward[state, v] * (states[offset + state, v] - level)
                    + toward[state, BLOCK + v] * states[offset + state, BLOCK + v]
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
            g_duration[r] -= by_rate
            g_b_end[first + state] -= by_D
            if len(m_D) > 0:
                rate = m_R2 if state < transverse else m_R1
                for v in range(size):
                    rate[start + v] -= duration[r] * loss[v]
                    m_D[start + v] -= b_end[first + state] * loss[v]
        for v in range(BLOCK):
            toward[state, v] *= decay[state, v]
            toward[state, BLOCK + v] *= decay[state, v]


@_inlined
def _emission(factor, rotation, k, time, b, sign, i, tissue):
    """Fill the phase and decay of an item up to its anchor, seen from its pulse's frame."""
    wide_vectors()
    kx, ky, kz, kt = k[i, 0], k[i, 1], k[i, 2], k[i, 3]
    over_T2, over_T2dash, weighting = time[i], sign[i] * kt, b[i]
    for v in range(BLOCK):
        turns = kx * tissue[_X + v] + ky * tissue[_Y + v] + kz * tissue[_Z + v]
        turns += kt * tissue[_B0 + v] - rotation[_FRAME + v]
        magnitude = exponential(
            -over_T2 * tissue[_R2 + v]
            - over_T2dash * tissue[_R2DASH + v]
            - weighting * tissue[_D + v]
        )
        sine, cosine = sine_and_cosine(turns - np.rint(turns))
        factor[v] = magnitude * cosine
        factor[BLOCK + v] = -magnitude * sine


@_inlined
def _emission_adjoint(states, s, toward, t, factor, given, i, slope, wanted, start, size):
    """Take an item's gradient back to its state.

    Where ``wanted``, the emission replaces ``factor``, and gradient times emission fills
    ``slope``, real parts before imaginary ones.
    """
    wide_vectors()
    row = given[i, 2 * start : 2 * (start + size)]
    for v in range(size):
        slope[v], slope[BLOCK + v] = row[2 * v], row[2 * v + 1]
    for v in range(size):
        fr, fi, gr, gi = factor[v], factor[BLOCK + v], slope[v], slope[BLOCK + v]
        toward[t, v] += fr * gr - fi * gi
        toward[t, BLOCK + v] -= fr * gi + fi * gr
    if not wanted:
        return
    for v in range(size):
        fr, fi, gr, gi = factor[v], factor[BLOCK + v], slope[v], slope[BLOCK + v]
        xr = fr * states[s, v] - fi * states[s, BLOCK + v]
        xi = fr * states[s, BLOCK + v] + fi * states[s, v]
        factor[v], factor[BLOCK + v] = xr, xi
        slope[v], slope[BLOCK + v] = gr * xr - gi * xi, gr * xi + gi * xr


@_inlined
def _anchor_sums(slope, tissue, sign, i, g_k, g_t, g_b):
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
    g_k[i, 0] += _TURN * sx
    g_k[i, 1] += _TURN * sy
    g_k[i, 2] += _TURN * sz
    g_k[i, 3] += _TURN * s0 - sign[i] * sd
    g_t[i] -= s2
    g_b[i] -= sb


@_inlined
def _to_next_pulse(
    graph,
    drive,
    voxels,
    r,
    states,
    offset,
    before,
    decay,
    rates,
    turn,
    tissue,
    largest,
    start,
    size,
):
    """Take the states of repetition r to the frame of the next pulse; tell whether it turns."""
    first_state, transverse = graph[0], graph[1]
    _, phase, duration, b_end, _, _, _, shim = drive
    first, count = first_state[r], first_state[r + 1] - first_state[r]
    _make_rates(rates, duration[r], tissue)
    _relax(
        states, offset, count, before, decay, transverse[r], b_end, first, rates, tissue, largest
    )
    turning = _make_turn(turn, phase, voxels[6], shim, r, start, size)
    if turning:
        _turn_states(before, transverse[r], turn, _ONE)
    return turning


@_compiled
def emit(graph, items, drive, voxels, emitted, first, stop):
    """Propagate voxels ``first`` to ``stop`` and write what the items emit.

    Parameters are tuples of arrays, see `compiled.CompiledBackend`; ``emitted`` is
    (items, 2 * voxels).
    """
    wide_vectors()
    _, _, forward, first_forward, _, _, largest = graph
    order, first_item, local, sign = items
    angle, phase, _, _, k_anchor, t_anchor, b_anchor, shim = drive
    repetitions = len(angle)
    _, _, _, _, _, B1, B1_phase, _, initial = voxels
    before = np.zeros((largest + 1, 2 * BLOCK), np.float32)
    states = np.zeros((largest + 1, 2 * BLOCK), np.float32)
    decay = np.zeros((largest, BLOCK), np.float32)
    rotation = np.zeros(_ROTATION_ROWS * BLOCK, np.float32)
    rates = np.zeros(2 * BLOCK, np.float32)
    factor = np.zeros(2 * BLOCK, np.float32)
    turn = np.zeros(2 * BLOCK, np.float32)
    tissue = np.zeros(_TISSUE_ROWS * BLOCK, np.float32)
    for start in range(first, stop, BLOCK):
        size = min(BLOCK, stop - start)
        largest_D = _load_tissue(tissue, voxels, start, size)
        _start(before, initial, start, size)
        for r in range(repetitions):
            _make_rotation(rotation, angle[r], phase[r], B1, B1_phase, shim[r], start, size)
            _rotate(
                rotation, before, states, 0, forward,
                first_forward[r, 0], first_forward[r, 1], first_forward[r + 1, 0],
            )  # fmt: skip
            for place in range(first_item[r], first_item[r + 1]):
                i = order[place]
                s = local[i]
                _emission(factor, rotation, k_anchor, t_anchor, b_anchor, sign, i, tissue)
                row = emitted[i, 2 * start : 2 * (start + size)]
                for v in range(size):
                    fr, fi, mr, mi = (
                        factor[v],
                        factor[BLOCK + v],
                        states[s, v],
                        states[s, BLOCK + v],
                    )
                    row[2 * v], row[2 * v + 1] = fr * mr - fi * mi, fr * mi + fi * mr
            if r + 1 < repetitions:
                _to_next_pulse(
                    graph, drive, voxels, r, states, 0,
                    before, decay, rates, turn, tissue, largest_D, start, size,
                )  # fmt: skip


@_compiled
def adjoint(graph, items, drive, voxels, gradient, emitted, sums, maps, wanted, first, stop):
    """Take the items' gradient back for voxels ``first`` to ``stop``.

    ``sums`` receives the gradients of `Drive`, ``maps`` those of the maps (empty arrays where
    they are not wanted), ``emitted`` the magnetisation (likewise); ``wanted`` tells whether
    gradients by phases and by times and positions are.
    """
    wide_vectors()
    first_state, transverse, forward, first_forward, backward, first_backward, largest = graph
    order, first_item, local, sign = items
    angle, phase, duration, b_end, k_anchor, t_anchor, b_anchor, shim = drive
    _, _, _, _, _, B1, B1_phase, _, initial = voxels
    g_angle, g_phase, g_duration, g_b_end, g_k, g_t, g_b = sums
    m_R1, m_R2, m_R2dash, m_D, m_B0, m_B1, m_phase, m_initial = maps
    want_maps, want_emitted = len(m_R1) > 0, len(emitted) > 0
    want_phase, timing = wanted[0] or want_maps, wanted[1]
    repetitions = len(angle)
    history = np.zeros((first_state[repetitions], 2 * BLOCK), np.float32)
    before = np.zeros((largest + 1, 2 * BLOCK), np.float32)
    toward = np.zeros((largest + 1, 2 * BLOCK), np.float32)
    back = np.zeros((largest + 1, 2 * BLOCK), np.float32)
    decay = np.zeros((largest, BLOCK), np.float32)
    rotation = np.zeros(_ROTATION_ROWS * BLOCK, np.float32)
    rates = np.zeros(2 * BLOCK, np.float32)
    slopes = np.zeros(_SLOPE_ROWS * BLOCK, np.float32)
    factor = np.zeros(2 * BLOCK, np.float32)
    slope = np.zeros(2 * BLOCK, np.float32)
    turn = np.zeros(2 * BLOCK, np.float32)
    by_turn = np.zeros(BLOCK, np.float32)
    tissue = np.zeros(_TISSUE_ROWS * BLOCK, np.float32)
    for start in range(first, stop, BLOCK):
        size = min(BLOCK, stop - start)
        toward[:] = _ZERO
        slope[:] = _ZERO
        largest_D = _load_tissue(tissue, voxels, start, size)
        _start(before, initial, start, size)
        for r in range(repetitions):
            a = first_state[r]
            _make_rotation(rotation, angle[r], phase[r], B1, B1_phase, shim[r], start, size)
            _rotate(
                rotation, before, history, a, forward,
                first_forward[r, 0], first_forward[r, 1], first_forward[r + 1, 0],
            )  # fmt: skip
            if r + 1 < repetitions:
                _to_next_pulse(
                    graph, drive, voxels, r, history, a,
                    before, decay, rates, turn, tissue, largest_D, start, size,
                )  # fmt: skip
        for r in range(repetitions - 1, -1, -1):
            a, count = first_state[r], first_state[r + 1] - first_state[r]
            if r + 1 < repetitions:
                _relax_adjoint(
                    history, a, count, toward, decay, transverse[r],
                    (tissue, timing or want_maps), start, size,
                    (g_duration, g_b_end), (m_R1, m_R2, m_D), (duration, b_end), r, a,
                )  # fmt: skip
            _make_rotation(rotation, angle[r], phase[r], B1, B1_phase, shim[r], start, size)
            for place in range(first_item[r], first_item[r + 1]):
                i = order[place]
                _emission(factor, rotation, k_anchor, t_anchor, b_anchor, sign, i, tissue)
                _emission_adjoint(
                    history, a + local[i], toward, local[i], factor, gradient, i, slope,
                    want_phase or timing or want_emitted, start, size,
                )  # fmt: skip
                if want_emitted:
                    for v in range(size):
                        emitted[i, 2 * (start + v)] = factor[v]
                        emitted[i, 2 * (start + v) + 1] = factor[BLOCK + v]
                if want_phase:
                    for v in range(size):
                        g_phase[r] -= slope[BLOCK + v]
                if timing:
                    _anchor_sums(slope, tissue, sign, i, g_k, g_t, g_b)
                if want_maps:
                    tau = k_anchor[i, 3]
                    for v in range(size):
                        m_phase[shim[r], start + v] -= slope[BLOCK + v]
                        m_B0[start + v] += _TURN * tau * slope[BLOCK + v]
                        m_R2[start + v] -= t_anchor[i] * slope[v]
                        m_R2dash[start + v] -= sign[i] * tau * slope[v]
                        m_D[start + v] -= b_anchor[i] * slope[v]
            turning = False
            if r == 0:
                _start(before, initial, start, size)
            else:
                turning = _to_next_pulse(
                    graph, drive, voxels, r - 1, history, first_state[r - 1],
                    before, decay, rates, turn, tissue, largest_D, start, size,
                )  # fmt: skip
            slopes[:] = _ZERO
            _rotate_adjoint(
                rotation, before, toward, back, slopes, backward,
                first_backward[r, 0], first_backward[r, 1], first_backward[r + 1, 0],
            )  # fmt: skip
            g_angle[r] += _angle_sum(rotation, slopes, B1, shim[r], start, size, angle[r], m_B1)
            if want_phase and r > 0:
                by_phase = _turn_sum(before, back, transverse[r - 1], by_turn, size)
                g_phase[r - 1] += by_phase
                g_phase[r] -= by_phase
                if want_maps:
                    for v in range(size):
                        m_phase[shim[r - 1], start + v] += by_turn[v]
                        m_phase[shim[r], start + v] -= by_turn[v]
            if turning:
                _turn_states(back, transverse[r - 1], turn, -_ONE)
            toward, back = back, toward
        if want_maps:
            for v in range(size):
                m_initial[0, start + v] += toward[0, v]
                m_initial[1, start + v] += toward[0, BLOCK + v]
