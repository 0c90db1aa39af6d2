"""What one block of voxels emits, and its adjoints."""

# Compiled functions have no annotations: numba derives the types from the arguments, and hands
# intrinsic functions the first one itself.
# mypy: disable-error-code="no-untyped-def, call-arg"

from __future__ import annotations

import numpy as np

from pulseq_zero.simulation.compiled.block import (
    B0_ROW,
    BLOCK,
    D_ROW,
    R2_ROW,
    R2DASH_ROW,
    X_ROW,
    Y_ROW,
    Z_ROW,
    inlined,
    unsigned,
)
from pulseq_zero.simulation.compiled.rotation_steps import FRAME_ROW
from pulseq_zero.simulation.kernel_math import exponential, sine_and_cosine, wide_vectors

_ZERO = np.float32(0)
_TURN = np.float32(2 * np.pi)
_NEXT = np.uint64(1)


@inlined
def make_emission(factor, rotation, k, time, b, sign, i, tissue):
    """Fill the phase and decay of an item up to its anchor, seen from its pulse's frame.

    Far out in k-space the phase has hundreds of turns, too many for float32.
    """
    wide_vectors()
    kx, ky, kz, kt = k[i, 0], k[i, 1], k[i, 2], k[i, 3]
    over_T2, over_T2dash, weighting = time[i], sign[i] * np.float32(kt), b[i]
    for v in range(BLOCK):
        turned = kx * tissue[X_ROW + v] + ky * tissue[Y_ROW + v] + kz * tissue[Z_ROW + v]
        turned += kt * tissue[B0_ROW + v]
        turns = np.float32(turned - np.rint(turned)) + rotation[FRAME_ROW + v]
        magnitude = exponential(
            -over_T2 * tissue[R2_ROW + v]
            - over_T2dash * tissue[R2DASH_ROW + v]
            - weighting * tissue[D_ROW + v]
        )
        sine, cosine = sine_and_cosine(turns - np.rint(turns))
        factor[v] = magnitude * cosine
        factor[BLOCK + v] = magnitude * sine


@inlined
def emit_item(emitted, i, start, size, factor, states, state):
    """Write what an item emits."""
    wide_vectors()
    for v in range(size):
        fr, fi, mr, mi = factor[v], factor[BLOCK + v], states[state, v], states[state, BLOCK + v]
        u = unsigned(2 * (start + v))
        emitted[i, u] = fr * mr - fi * mi
        emitted[i, u + _NEXT] = fr * mi + fi * mr


@inlined
def load_gradient(given, i, start, size, slope):
    """Load an item's gradient γ, with dL = Re Σ γ dX for a change dX of what it emits."""
    wide_vectors()
    for v in range(size):
        u = unsigned(2 * (start + v))
        slope[v] = given[i, u]
        slope[BLOCK + v] = given[i, u + _NEXT]


@inlined
def emission_adjoint(slope, factor, pulled, i):
    """Fill row ``i`` with the gradient of the state that an item is emitted by."""
    wide_vectors()
    for v in range(BLOCK):
        fr, fi, gr, gi = factor[v], factor[BLOCK + v], slope[v], slope[BLOCK + v]
        pulled[i, v] = fr * gr - fi * gi
        pulled[i, BLOCK + v] = -(fr * gi + fi * gr)


@inlined
def displaced_adjoint(slope, factor, pulled, i, displaced, row, over_T2dash, weighting, tissue):
    """Fill ``row`` with i times the gradient of a state by its displacement along an axis.

    ``slope`` is the derivative of the item's gradient, to which comes what its decay depends on.
    """
    wide_vectors()
    for v in range(BLOCK):
        fr, fi, gr, gi = factor[v], factor[BLOCK + v], slope[v], slope[BLOCK + v]
        rate = over_T2dash * tissue[R2DASH_ROW + v] + weighting * tissue[D_ROW + v]
        displaced[row, v] = fr * gi + fi * gr + rate * pulled[i, BLOCK + v]
        displaced[row, BLOCK + v] = fr * gr - fi * gi - rate * pulled[i, v]


@inlined
def emission_slope(slope, factor, states, state):
    """Multiply an item's gradient by what it emits; growing before turning parts."""
    wide_vectors()
    for v in range(BLOCK):
        fr, fi, gr, gi = factor[v], factor[BLOCK + v], slope[v], slope[BLOCK + v]
        xr = fr * states[state, v] - fi * states[state, BLOCK + v]
        xi = fr * states[state, BLOCK + v] + fi * states[state, v]
        slope[v], slope[BLOCK + v] = gr * xr - gi * xi, gr * xi + gi * xr


@inlined
def turning_sum(slope):
    """Return the gradient by the phase of what an item emits."""
    wide_vectors()
    total = _ZERO
    for v in range(BLOCK):
        total += slope[BLOCK + v]
    return total


@inlined
def anchor_sums(slope, tissue, sign, i, g_k, g_t, g_b):
    """Add an item's gradients by position, time and diffusion weighting."""
    wide_vectors()
    sx = sy = sz = s0 = s2 = sd = sb = _ZERO
    for v in range(BLOCK):
        growing, turning = slope[v], slope[BLOCK + v]
        sx += turning * tissue[X_ROW + v]
        sy += turning * tissue[Y_ROW + v]
        sz += turning * tissue[Z_ROW + v]
        s0 += turning * tissue[B0_ROW + v]
        s2 += growing * tissue[R2_ROW + v]
        sd += growing * tissue[R2DASH_ROW + v]
        sb += growing * tissue[D_ROW + v]
    g_k[i, 0] -= _TURN * sx
    g_k[i, 1] -= _TURN * sy
    g_k[i, 2] -= _TURN * sz
    g_k[i, 3] -= _TURN * s0 + sign[i] * sd
    g_t[i] -= s2
    g_b[i] -= sb


@inlined
def emission_map_gradients(slope, k, i, time, b, sign, shim, by_tissue, by_field):
    """Add the gradients by the maps that an item's phase and decay depend on."""
    wide_vectors()
    kx, ky, kz = np.float32(k[i, 0]), np.float32(k[i, 1]), np.float32(k[i, 2])
    tau = np.float32(k[i, 3])
    for v in range(BLOCK):
        growing, turning = slope[v], slope[BLOCK + v]
        by_field[shim, BLOCK + v] -= turning
        by_tissue[X_ROW + v] -= _TURN * kx * turning
        by_tissue[Y_ROW + v] -= _TURN * ky * turning
        by_tissue[Z_ROW + v] -= _TURN * kz * turning
        by_tissue[B0_ROW + v] -= _TURN * tau * turning
        by_tissue[R2_ROW + v] -= time * growing
        by_tissue[R2DASH_ROW + v] -= sign * tau * growing
        by_tissue[D_ROW + v] -= b * growing
