"""How the loops are compiled that follow states and choose among them."""

from __future__ import annotations

from numba import njit

# Sums in any order, but no promise that there is nothing infinite.
_FAST = {"reassoc", "contract", "arcp", "nsz", "afn"}
compiled = njit(cache=True, error_model="numpy", fastmath=_FAST)

# What compiled loops call: `compiled.block` says why it has to be inlined.
inlined = njit(cache=True, error_model="numpy", fastmath=_FAST, forceinline=True)
