"""Sine and cosine in the judge's compiled loops."""

# Compiled functions have no annotations: numba derives the types from the arguments.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import math

import numpy as np
from numba import njit

from pulseq_zero.importing.loops import kept

# Taylor series of sin πx and cos πx for |x| <= 1/2: what is left out is below 1e-9.
_SINE = tuple((-1.0) ** n * math.pi ** (2 * n + 1) / math.factorial(2 * n + 1) for n in range(7))
_COSINE = tuple((-1.0) ** n * math.pi ** (2 * n) / math.factorial(2 * n) for n in range(8))

compiled = kept(fastmath=True, nogil=True)
# A helper that is called, and not inlined, is compiled with its caller and on its own, and which
# of the two is linked differs between a process that compiles and one that reads numba's cache:
# they would round differently.
inlined = kept(fastmath=True, nogil=True, forceinline=True)


@njit(inline="always", fastmath=True, error_model="numpy")
def cosine_and_sine(turns):
    """Of 2π turns, by the double angle; in this form a compiler vectorizes it."""
    x = turns - np.rint(turns)
    square = x * x
    sine, cosine = np.float32(_SINE[6]), np.float32(_COSINE[7])
    for n in range(5, -1, -1):
        sine = sine * square + np.float32(_SINE[n])
    for n in range(6, -1, -1):
        cosine = cosine * square + np.float32(_COSINE[n])
    sine *= x
    return np.float32(1) - np.float32(2) * sine * sine, np.float32(2) * sine * cosine
