"""Where the spins of a voxel lie."""

# Compiled functions have no annotations: numba derives the types from the arguments.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import math

from pulseq_zero.judge.trigonometry import inlined

# Generator of the lattice of spins: they lie at (s g, s g², s, s g³) / n modulo 1 in x, y, z and
# the quantile of T2' (Korobov's form), evenly along z, where crushers wind most. Of the few
# numbers that were tried, seeds scattered least with this one. Axes that no spins are spread over
# take no power of g.
_GENERATOR = 14471

# Cells of a voxel along axes across which dephasing is known exactly, a power of 2
CELLS = 2


@inlined
def place_spins(shift, centre, size, off_resonance, width, position, frequency, equilibrium):
    """Spread the spins of one voxel over a lattice in (x, y, z, quantile) with a random shift.

    In x, y and the quantile of T2', points lie denser towards the edges, by u -> 3u² - 2u³,
    and each stands for as much less: this makes the integrand periodic, which is what lattices
    integrate well, and samples the tails of the frequencies.
    """
    count = len(equilibrium)
    for s in range(count):
        weight, generator = 1.0, _GENERATOR % count
        multiple = generator
        for axis in range(4):
            if axis < 3 and size[axis] == 0:
                position[axis, s] = centre[axis]
                continue
            u = (s if axis == 2 else (s * multiple) % count) / count + shift[axis]
            u -= math.floor(u)
            if axis != 2:
                multiple = (multiple * generator) % count
                weight *= 6 * u * (1 - u)
                u = u * u * (3 - 2 * u)
            if axis < 3:
                position[axis, s] = centre[axis] + (u - 0.5) * size[axis]
            else:
                # A quantile of exactly 0 or 1 would be an infinite frequency
                u = min(max(u, 1e-9), 1 - 1e-9)
                frequency[s] = off_resonance + width * math.tan(math.pi * (u - 0.5))
        equilibrium[s] = weight
    equilibrium /= equilibrium.mean()


@inlined
def place_in_cells(
    shift, centre, size, main, in_proportion, interval, off_resonance, width,
    position, frequency, equilibrium,
):  # fmt: skip
    """Spread the spins of one voxel evenly along the direction that crushers wind in.

    Each has the same weight. It is in the middle of one of the cells along the other axes, and its
    place along the main axis is such that phases from pulse to pulse are those of a regular
    lattice. Of two frequencies that dephase in the interval between pulses as T2' does it has one.
    """
    count = len(equilibrium)
    equilibrium[:] = 1
    own = 0.0
    if interval > 0:
        dephased = math.exp(-2 * math.pi * width * interval)
        own = math.acos(dephased) / (2 * math.pi * interval)
    for s in range(count):
        frequency[s] = off_resonance + own
        slant, cell = in_proportion[3] * own, s // 2
        own = -own
        for axis in range(3):
            position[axis, s] = centre[axis]
            if axis != main and size[axis] > 0:
                place = ((cell % CELLS + 0.5) / CELLS - 0.5) * size[axis]
                cell //= CELLS
                position[axis, s] += place
                slant += in_proportion[axis] * place
        if main >= 0:
            u = s / count + shift[main] - slant / size[main]
            position[main, s] += (u - math.floor(u) - 0.5) * size[main]
