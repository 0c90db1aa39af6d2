"""A phantom as the phase distribution graph needs it, and what is kept of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pulseq_zero.conversion.repetitions import Repetitions
from pulseq_zero.simulation.pdg.backend import Backend
from pulseq_zero.simulation.pdg.graph import Thresholds
from pulseq_zero.simulation.pdg.played_rows import PlayedPulseRows, followed_pulses
from pulseq_zero.simulation.pdg.pulse_factors import PlayedPrepass
from pulseq_zero.simulation.pdg.pulse_profiles import Stack
from pulseq_zero.simulation.pdg.pulse_relaxation import MeanTissue
from pulseq_zero.simulation.pdg.pulse_tables import ShapeTables
from pulseq_zero.simulation.pdg.representatives import Representatives
from pulseq_zero.simulation.pdg.timeline import Timeline
from pulseq_zero.simulation.pdg.voxels import (
    MapsVersion,
    Voxels,
    answer_of_a_voxel,
    answer_of_cells,
    distinct_shims,
    maps_require_grad,
)

if TYPE_CHECKING:
    import MRzeroCore as mr0

# Readout segments that differ by less than this part of the accuracy, in rotations, share an
# encoding matrix; but not by more than the first number, and in float32 not by less than the other.
_TOLERANCE, _SHARED, _ROUNDING = 0.05, 3e-5, 1e-6


@dataclass(frozen=True)
class Numerics:
    """How to compute.

    Attributes
    ----------
    accuracy
        Relative error of the signal.
    thresholds
        Of the states.
    device, dtype
        Where, and in which real precision.
    memory
        Bound for everything of the phantom's size [bytes], and as much for encoding matrices.
    backend
        Who propagates states.
    """

    accuracy: float
    thresholds: Thresholds
    device: torch.device
    dtype: torch.dtype
    memory: int
    backend: Backend

    @property
    def tolerance(self) -> float:
        """Rotations that readout segments may differ by and share an encoding matrix."""
        if self.dtype == torch.float64:
            return 1e-12
        return max(_ROUNDING, min(_SHARED, _TOLERANCE * self.accuracy))

    def real(self, tensor: Tensor) -> Tensor:
        """Return a tensor where and as precisely as is computed."""
        return tensor.to(device=self.device, dtype=self.dtype)


class PreparedPhantom:
    """The phantom in the precision and the places that it is needed in, made when asked for.

    Parameters
    ----------
    data
        The phantom.
    initial
        (voxels,) longitudinal magnetisation before the first pulse; None for full relaxation.
    numerics
        How to compute.
    """

    def __init__(self, data: mr0.SimData, initial: Tensor | None, numerics: Numerics) -> None:
        self.data = data
        self.initial = initial
        self.numerics = numerics
        self.reach = _reach(data)
        self._maps = MapsVersion(data)
        self._representatives: dict[bool, Representatives] = {}
        self._stacked: (
            tuple[tuple[int, int], Representatives, NDArray[np.int64], NDArray[np.int64]] | None
        ) = None
        self._pulses: PlayedPulseRows | None = None
        self._tables = ShapeTables()
        self._voxels: tuple[object, Voxels] | None = None

    def is_that_of(self, data: mr0.SimData) -> bool:
        """Tell whether maps are what they were."""
        return self._maps.is_that_of(data)

    def voxels(self, shims: Tensor | None) -> Voxels:
        """Return the voxels, anew where maps have changed or are differentiated by.

        Parameters
        ----------
        shims
            (shims, coils) the different ones of the sequence; None for the phantom's own field.
        """
        version = None if shims is None else shims.tolist()
        differentiated = maps_require_grad(self.data) or (shims is not None and shims.requires_grad)
        if self._voxels is not None and self._voxels[0] == version and not differentiated:
            return self._voxels[1]
        numerics = self.numerics
        voxels = Voxels.of(
            self.data,
            device=numerics.device,
            dtype=numerics.dtype,
            shims=shims,
            initial=self.initial,
        )
        # The same object the next time: by that others know that nothing has changed
        self._voxels = (version, voxels.detach())
        return voxels if differentiated else self._voxels[1]

    def pulses(self, repetitions: Repetitions) -> PlayedPulseRows | None:
        """Return what played pulses do in this phantom; None where each acts at once."""
        if repetitions.played is None:
            return None
        if self._pulses is None or not self._pulses.are_of(repetitions):
            shims, _ = distinct_shims(repetitions)
            self._pulses = PlayedPulseRows.of(
                repetitions,
                self.data,
                self.voxels(shims),
                self.numerics.accuracy,
                self._tables,
            )
        return self._pulses

    def stack(self, repetitions: Repetitions) -> Stack | None:
        """Return the cells of each voxel; None where pulses act at once."""
        pulses = self.pulses(repetitions)
        return None if pulses is None else pulses.stack

    def followed(
        self, repetitions: Repetitions, *, slopes: bool
    ) -> tuple[Representatives, PlayedPrepass | None]:
        """Return where the prepass follows the states, and what played pulses do there.

        Parameters
        ----------
        repetitions
            The sequence.
        slopes
            Whether flip angles are differentiated by.
        """
        is_played = repetitions.played is not None
        if is_played not in self._representatives:
            self._representatives[is_played] = Representatives.of(
                self.data, self.initial, by_offset=is_played
            )
        voxels = self._representatives[is_played]
        pulses = self.pulses(repetitions)
        if pulses is None:
            return voxels, None
        layers, cells_of_each = pulses.coefficients.shape[:2]
        counts = layers * cells_of_each, layers
        if self._stacked is None or self._stacked[0] != counts:
            self._stacked = (counts, *voxels.stacked(*counts))
        _, cells, part, cell = self._stacked
        return cells, followed_pulses(pulses, voxels, repetitions, part, cell, slopes=slopes)

    @cached_property
    def mean_tissue(self) -> MeanTissue:
        """What the phantom is like to pulses, on average."""
        return MeanTissue.of(self.data)

    @property
    def mean_diffusion(self) -> Tensor:
        """Of all voxels, by proton density [µm²/ms]."""
        weight = self.data.PD.detach().double().cpu()
        return (self.data.D.detach().double().cpu() * weight).sum() / weight.sum()

    @property
    def diffusion_spread(self) -> float:
        """The largest difference of a diffusion coefficient from the mean [m²/s]."""
        return 1e-9 * float((self.data.D.detach().cpu() - self.mean_diffusion).abs().max())

    def answer(self, stack: Stack | None, k: Tensor) -> Tensor:
        """Return what is left of a voxel's signal by its extent.

        Parameters
        ----------
        stack
            Its cells, None where pulses act at once.
        k
            (..., 4) where in k-space [1/m, 1/m, 1/m, s].
        """
        if stack is None:
            return answer_of_a_voxel(self.data, k)
        return answer_of_cells(self.data, stack, k)

    def row_factor(
        self, timeline: Timeline, stack: Stack | None, D: Tensor | None = None
    ) -> Tensor:
        """Return what all voxels have in common: diffusion after the anchor, voxel shape.

        (rows,) with the phantom's mean diffusion coefficient, or (tissues, rows) with theirs
        [µm²/ms].
        """
        of_all = 1e-9 * (self.mean_diffusion if D is None else D.double().cpu()[:, None])
        diffusion = torch.exp(-of_all * timeline.b_offset)
        cells = 1 if stack is None else len(stack)
        factor = math.sqrt(2) / cells * diffusion * self.answer(stack, timeline.k_sample)
        return self.numerics.real(factor)


def _reach(data: mr0.SimData) -> np.ndarray:
    position = data.voxel_pos.detach().abs().amax(0).double().cpu().numpy()
    # Never zero: a single voxel at the centre would leave a pattern without a scale
    return np.append(position.clip(min=1e-3), float(data.B0.detach().abs().max()) + 1.0)
