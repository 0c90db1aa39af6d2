"""Blocks of voxels, which the compiled loops go through the sequence with.

Arrays of states are (states + 1, 2 * BLOCK): all real parts before all imaginary parts, so that
loops run on whole vectors, and a last state of zeros that stands in, by the number -1, for an
ancestor that is not simulated. Voxels that a last block lacks are zeros everywhere. (Arrays of
three dimensions, or slices handed to helpers, keep LLVM from vectorising.)
"""

# Compiled functions have no annotations: numba derives the types from the arguments, and hands
# intrinsic functions the first one itself.
# mypy: disable-error-code="no-untyped-def, call-arg"

from __future__ import annotations

import numpy as np
from numba import njit

from pulseq_zero.importing.loops import kept
from pulseq_zero.simulation.kernel_math import to_cache_line, wide_vectors

# The states of a block should stay in the processor's cache through the whole sequence.
BLOCK = 64

# Where the rows of a block's copy of the phantom's maps begin, and of the gradients by these. (An
# index of two variables added up makes LLVM gather single numbers, as it cannot tell that they lie
# side by side.)
TISSUE_ROWS = 8
R1_ROW, R2_ROW, R2DASH_ROW, D_ROW, B0_ROW, X_ROW, Y_ROW, Z_ROW = range(
    0, TISSUE_ROWS * BLOCK, BLOCK
)

# Numba looks whether an index with a sign counts from the end, which keeps LLVM from vectorising.
unsigned = np.uint64
_ZERO = np.float32(0)

# A helper that is called, and not inlined, is compiled with its caller and on its own, and which
# of the two is linked differs between a process that compiles and one that reads numba's cache:
# they would round differently.
inlined = kept(fastmath=True, nogil=True, forceinline=True)


@inlined
def aligned_zeros(rows, length):
    """Return zeros, (rows, length), that begin with a line of the cache; see `to_cache_line`."""
    return to_cache_line(np.zeros((rows + 1, length), np.float32))[:-1]


@njit(inline="always")
def row_of(number, first, last):
    """Return where a state lies; the last row if there is none."""
    return unsigned(first + number if number >= 0 else last)


@inlined
def load_voxels(tissue, field, before, voxels, start, size):
    """Copy the maps of a block of voxels; return its largest diffusion coefficient.

    ``before`` receives the magnetisation before the first pulse.
    """
    wide_vectors()
    R1, R2, R2dash, D, B0 = voxels.R1, voxels.R2, voxels.R2dash, voxels.D, voxels.B0
    B1, B1_phase = voxels.B1, voxels.B1_phase
    position, initial = voxels.position, voxels.initial
    tissue[:] = _ZERO
    field[:] = _ZERO
    before[0] = _ZERO
    largest = _ZERO
    for v in range(size):
        u = unsigned(start + v)
        tissue[R1_ROW + v], tissue[R2_ROW + v], tissue[R2DASH_ROW + v] = R1[u], R2[u], R2dash[u]
        tissue[D_ROW + v], tissue[B0_ROW + v] = D[u], B0[u]
        tissue[X_ROW + v], tissue[Y_ROW + v], tissue[Z_ROW + v] = (
            position[0, u],
            position[1, u],
            position[2, u],
        )
        before[0, v], before[0, BLOCK + v] = initial[0, u], initial[1, u]
        largest = max(largest, D[u])
    for shim in range(len(field)):
        for v in range(size):
            u = unsigned(start + v)
            field[shim, v] = B1[shim, u]
            field[shim, BLOCK + v] = B1_phase[shim, u]
    return largest


@inlined
def add_map_gradients(by_tissue, by_field, maps, start, size):
    """Add a block's gradients to those of the whole phantom."""
    R1, R2, R2dash, D, B0 = maps.R1, maps.R2, maps.R2dash, maps.D, maps.B0
    B1, B1_phase, position = maps.B1, maps.B1_phase, maps.position
    for v in range(size):
        u = unsigned(start + v)
        position[0, u] += by_tissue[X_ROW + v]
        position[1, u] += by_tissue[Y_ROW + v]
        position[2, u] += by_tissue[Z_ROW + v]
        R1[u] += by_tissue[R1_ROW + v]
        R2[u] += by_tissue[R2_ROW + v]
        R2dash[u] += by_tissue[R2DASH_ROW + v]
        D[u] += by_tissue[D_ROW + v]
        B0[u] += by_tissue[B0_ROW + v]
        for shim in range(len(by_field)):
            B1[shim, u] += by_field[shim, v]
            B1_phase[shim, u] += by_field[shim, BLOCK + v]


@inlined
def add_state(states, state, other, row):
    """Add a row of one array to a state of another."""
    wide_vectors()
    for v in range(2 * BLOCK):
        states[state, v] += other[row, v]
