"""Readouts cut into segments that share their encoding.

Between two pulses all states follow the same trajectory, each from its own starting point.
Relative to an anchor event in the readout, the trajectory of a segment is therefore the same
for all states, and for all readouts that play the same gradients.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

# A readout falls into straight pieces (the lines of an EPI) if these are at least this long on
# average; otherwise it is curved and stays whole.
SHORTEST_PIECE = 8

# Patterns are rounded to this part of the tolerance: far above the rounding errors of sums over a
# sequence, far below what a matrix in the same precision resolves.
_RESOLUTION = 1 / 256


@dataclass(frozen=True)
class Pattern:
    """A segment's trajectory relative to its anchor.

    Attributes
    ----------
    sign
        Sign of the dephasing time: T2' decay grows with time where it is positive and is
        refocused where it is negative.
    offset
        (rows, 4) kx, ky, kz [1/m] and time [s] relative to the anchor.
    """

    sign: int
    offset: np.ndarray

    @cached_property
    def key(self) -> tuple[int, bytes]:
        """The same for equal patterns, and only for these."""
        return self.sign, self.offset.tobytes()


@dataclass
class PatternTable:
    """The patterns of one sequence; equal ones, within the tolerance, have the same number.

    Which patterns it holds depends on the sequence alone, not on sequences simulated before: an
    optimization that is resumed sees the signal that it would have seen otherwise.

    Attributes
    ----------
    reach
        (4,) largest distance of a voxel from the centre along each axis [m], and largest
        off-resonance [Hz]: turns offsets into rotations.
    tolerance
        Largest difference, in rotations anywhere in the phantom, of patterns taken for equal.
    patterns
        The patterns by number.
    """

    reach: np.ndarray
    tolerance: float
    patterns: list[Pattern] = field(default_factory=list)
    _candidates: dict[tuple, list[int]] = field(default_factory=dict, repr=False)

    def number(self, sign: int, offset: np.ndarray) -> int:
        """Return the number of a pattern, a new one if none is equal."""
        rotations = offset * self.reach
        # Rounding may part equal patterns, which costs a matrix but no accuracy.
        ends = np.concatenate([rotations[0], rotations[-1]]).round(2) + 0.0
        candidates = self._candidates.setdefault((sign, len(offset), ends.tobytes()), [])
        for number in candidates:
            difference = np.abs(self.patterns[number].offset * self.reach - rotations)
            if difference.max() < self.tolerance:
                return number
        unit = _RESOLUTION * self.tolerance / self.reach
        self.patterns.append(Pattern(sign, (offset / unit).round() * unit + 0.0))
        candidates.append(len(self.patterns) - 1)
        return candidates[-1]


def cut_into_segments(
    event: np.ndarray, trajectory: np.ndarray, reach: np.ndarray, longest: int | None = None
) -> list[tuple[int, int]]:
    """Cut the samples of one repetition where the gradients change.

    Parameters
    ----------
    event
        (samples,) numbers of the sampled events.
    trajectory
        (samples, 4) moments since the pulse [1/m] and time since the pulse [s].
    reach
        (4,) see `PatternTable`.
    longest
        Largest number of samples in a segment, if any.

    Returns
    -------
    list of (int, int)
        First sample of each segment and the one behind its last.
    """
    gaps = np.nonzero(np.diff(event) > 1)[0] + 1
    bounds = [0, *gaps.tolist(), len(event)]
    pieces = []
    for start, stop in itertools.pairwise(bounds):
        pieces += _straight_pieces(trajectory[start:stop], reach, start)
    if longest is None:
        return pieces
    return [
        (first, min(first + longest, stop))
        for start, stop in pieces
        for first in range(start, stop, longest)
    ]


def _straight_pieces(
    trajectory: np.ndarray, reach: np.ndarray, start: int
) -> list[tuple[int, int]]:
    """Cut where the step from sample to sample changes, or nowhere if that is everywhere."""
    steps = np.diff(trajectory, axis=0) * reach
    changes = np.nonzero((np.abs(np.diff(steps, axis=0)) > 1e-3).any(1))[0] + 2
    cuts = [0]
    for change in changes.tolist():
        # One odd step changes the step twice: on its way in and on its way out.
        if change - cuts[-1] > 1:
            cuts.append(change)
    cuts.append(len(trajectory))
    if len(trajectory) < SHORTEST_PIECE * (len(cuts) - 1):
        cuts = [0, len(trajectory)]
    return [(start + a, start + b) for a, b in itertools.pairwise(cuts)]
