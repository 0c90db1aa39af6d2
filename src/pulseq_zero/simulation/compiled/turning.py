"""A compiled loop that turns what voxels emit by their places."""

# Compiled functions have no annotations: numba derives the types from the arguments.
# mypy: disable-error-code="no-untyped-def, call-arg"

from __future__ import annotations

import numpy as np

from pulseq_zero.importing.loops import kept
from pulseq_zero.simulation.compiled.block import BLOCK, aligned_zeros
from pulseq_zero.simulation.kernel_math import sine_and_cosine, wide_vectors

_compiled = kept(fastmath=True, nogil=True)


@_compiled
def turn(values, k, position, B0, phase, first, stop):
    """Multiply (items, voxels times real and imaginary part) by exp(2πi (k·r + τ B0 + phase)).

    Far out in k-space that has hundreds of turns, too many for float32.
    """
    wide_vectors()
    place = np.zeros((5, BLOCK))
    factor = aligned_zeros(2, BLOCK)
    for start in range(first, stop, BLOCK):
        size = min(BLOCK, stop - start)
        for v in range(size):
            for axis in range(3):
                place[axis, v] = position[axis, start + v]
            place[3, v], place[4, v] = B0[start + v], phase[start + v]
        for i in range(len(values)):
            kx, ky, kz, kt = k[i, 0], k[i, 1], k[i, 2], k[i, 3]
            for v in range(BLOCK):
                turns = kx * place[0, v] + ky * place[1, v] + kz * place[2, v]
                turns += kt * place[3, v] + place[4, v]
                sine, cosine = sine_and_cosine(np.float32(turns - np.rint(turns)))
                factor[0, v], factor[1, v] = cosine, sine
            for v in range(size):
                u = 2 * (start + v)
                real, imag = values[i, u], values[i, u + 1]
                values[i, u] = factor[0, v] * real - factor[1, v] * imag
                values[i, u + 1] = factor[0, v] * imag + factor[1, v] * real
