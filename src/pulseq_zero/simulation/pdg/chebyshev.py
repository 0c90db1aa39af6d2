"""Chebyshev polynomials: smooth functions on an interval by their values at nodes.

Trefethen, Approximation Theory and Approximation Practice, SIAM 2013.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Range:
    """An interval that is mapped to [-1, 1]."""

    middle: float
    half: float

    @classmethod
    def of(cls, values: Tensor) -> Range:
        """Return the interval that values lie in."""
        lowest, highest = float(values.detach().min()), float(values.detach().max())
        return cls(0.5 * (lowest + highest), 0.5 * (highest - lowest))

    @property
    def most(self) -> float:
        """Largest magnitude."""
        return abs(self.middle) + self.half

    def relative(self, values: Tensor) -> Tensor:
        """Map values into [-1, 1]; all to zero if the interval is a point."""
        return (values - self.middle) / (self.half if self.half > 0 else 1.0)

    def at(self, relative: Tensor) -> Tensor:
        """Map [-1, 1] to the interval."""
        return self.middle + self.half * relative


def chebyshev_nodes(count: int) -> Tensor:
    """Return the zeros of the Chebyshev polynomial of a degree."""
    return torch.cos(math.pi * (torch.arange(count, dtype=torch.float64) + 0.5) / count)


def to_terms(nodes: Tensor) -> Tensor:
    """Return the matrix from values at `chebyshev_nodes` to coefficients."""
    count = len(nodes)
    matrix = 2 / count * polynomials(nodes, count)
    return torch.cat([matrix[:1] / 2, matrix[1:]])


def polynomials(x: Tensor, count: int) -> Tensor:
    """Return (count, ...) Chebyshev polynomials at x."""
    values = [torch.ones_like(x), x][:count]
    while len(values) < count:
        values.append(2 * x * values[-1] - values[-2])
    return torch.stack(values)
