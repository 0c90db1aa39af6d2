"""Encoding matrices: what a segment's samples see of each voxel."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable

import numpy as np
import torch
from torch import Tensor

from pulseq_zero.simulation.pdg.readouts import Pattern
from pulseq_zero.simulation.pdg.voxels import Voxels

# Voxels whose T2 is far shorter than a readout have no signal left at its end; the bound
# keeps their entries from overflowing.
_LARGEST_EXPONENT = 60.0


def turns_to_complex(turns: Tensor, magnitude: Tensor) -> Tensor:
    """Return magnitude · exp(2πi turns), a whole number of turns taken off beforehand.

    Real sine and cosine are vectorised in torch, its complex exponential is not.
    """
    angle = (turns - turns.round()).mul_(2 * np.pi)
    return torch.complex(angle.cos().mul_(magnitude), angle.sin().mul_(magnitude))


def encoding_matrix(pattern: Pattern, voxels: Voxels, *, weighted: bool = True) -> Tensor:
    """Encode a segment.

    E(e, v) = exp(2πi (Δk·r + Δt B0) - Δt (R2 + σ R2')) · C(c, v),

    with offsets Δ relative to the segment's anchor, σ the sign of the dephasing time, and C
    the coil sensitivity times the proton density.

    Parameters
    ----------
    pattern
        The segment.
    voxels
        The phantom.
    weighted
        Whether to multiply by C.

    Returns
    -------
    Tensor
        (coils * rows, voxels) complex, or (rows, voxels) without weights.
    """
    offset = torch.from_numpy(pattern.offset).to(voxels.R2)
    time = offset[:, 3:]
    turns = offset[:, :3] @ voxels.position + time * voxels.B0
    exponent = -time * (voxels.R2 + pattern.sign * voxels.R2dash)
    matrix = turns_to_complex(turns, exponent.clamp_(max=_LARGEST_EXPONENT).exp_())
    if not weighted:
        return matrix
    return (voxels.weight[:, None] * matrix).reshape(-1, len(voxels))


class EncodingCache:
    """Keeps encoding matrices, the longest unused ones dropped beyond a bound.

    Parameters
    ----------
    memory
        Bound for all matrices together [bytes].
    """

    def __init__(self, memory: int) -> None:
        self.memory = memory
        self._matrices: OrderedDict[Hashable, Tensor] = OrderedDict()
        self._used = 0

    def get_or_make(self, key: Hashable, make: Callable[[], Tensor]) -> Tensor:
        """Return a matrix, made now if it is not kept, and keep it if it fits."""
        matrix = self._matrices.get(key)
        if matrix is not None:
            self._matrices.move_to_end(key)
            return matrix
        matrix = make()
        size = matrix.numel() * matrix.element_size()
        if size <= self.memory:
            self._matrices[key] = matrix
            self._used += size
        while self._used > self.memory:
            _, dropped = self._matrices.popitem(last=False)
            self._used -= dropped.numel() * dropped.element_size()
        return matrix
