"""How the loops are compiled that follow states and choose among them."""

from __future__ import annotations

from pulseq_zero.importing.loops import kept

# Sums in any order, but no promise that there is nothing infinite.
_FAST = {"reassoc", "contract", "arcp", "nsz", "afn"}
compiled = kept(fastmath=_FAST)

# What compiled loops call: `compiled.block` says why it has to be inlined.
inlined = kept(fastmath=_FAST, forceinline=True)
