"""A random sequence and a random phantom, by names and a seed that a failing test prints."""

from __future__ import annotations

from dataclasses import dataclass

import MRzeroCore as mr0
import numpy as np
from hypothesis import strategies as st

from pulseq_zero.conversion.repetitions import Repetitions
from support.random_phantoms import DISTRIBUTIONS, SHAPES, Distribution, Shape, random_phantom
from support.random_sequences import KINDS, Angles


@dataclass(frozen=True)
class Case:
    """What determines sequence and phantom."""

    kind: str
    angles: Angles
    distribution: Distribution
    shape: Shape
    seed: int

    def draw(
        self, *, voxels: int | None = None, coils: int = 2, complex_B1: bool = True
    ) -> tuple[Repetitions, mr0.SimData, np.random.Generator]:
        """Return the sequence, the phantom, and what else may be random."""
        rng = np.random.default_rng(self.seed)
        sequence = KINDS[self.kind](rng, self.angles)
        data = random_phantom(
            rng, self.distribution, self.shape, voxels=voxels, coils=coils, complex_B1=complex_B1
        )
        return sequence, data, rng


def cases(
    *,
    kinds: tuple[str, ...] = tuple(KINDS),
    shapes: tuple[Shape, ...] = SHAPES,
    distributions: tuple[Distribution, ...] = DISTRIBUTIONS,
) -> st.SearchStrategy[Case]:
    """Draw cases of some kinds of sequences, voxels and phantoms."""
    return st.builds(
        Case,
        kind=st.sampled_from(kinds),
        angles=st.sampled_from(["anywhere", "special"]),
        distribution=st.sampled_from(distributions),
        shape=st.sampled_from(shapes),
        seed=st.integers(0, 2**32 - 1),
    )
