"""What a backend is given, and what it returns: the propagation of states, and its adjoint."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from pulseq_zero.simulation.pdg.plan import Plan
from pulseq_zero.simulation.pdg.position_slopes import PositionSlopes
from pulseq_zero.simulation.pdg.voxels import Voxels

_MAPS = ("R1", "R2", "R2dash", "D", "B0", "B1", "B1_phase", "initial", "position")


@dataclass(frozen=True)
class Drive:
    """What the sequence does to the states, on the device and in the precision of the voxels.

    Attributes
    ----------
    angle, phase
        (repetitions,) nominal flip angles and phases [rad].
    duration
        (repetitions,) [s].
    b_end
        (states,) diffusion weighting over the repetition [s/m²].
    k_anchor, t_anchor, b_anchor, total
        (items, 4), (items,), (items,), (repetitions, 4) see `Timeline`.
    shim
        Number of each repetition's row in `Voxels.B1`.
    """

    angle: Tensor
    phase: Tensor
    duration: Tensor
    b_end: Tensor
    k_anchor: Tensor
    t_anchor: Tensor
    b_anchor: Tensor
    total: Tensor
    shim: tuple[int, ...]


@dataclass(frozen=True)
class Wanted:
    """Which gradients are asked for, beyond those of angles.

    Attributes
    ----------
    phase
        Of the pulses' phases.
    timing
        Of durations, diffusion weightings and positions.
    total
        Of moments and times by way of the positions, see `Drive.total`.
    maps
        Of the phantom's maps.
    emitted
        Whether the emitted magnetisation itself is needed again.
    """

    phase: bool
    timing: bool
    total: bool
    maps: bool
    emitted: bool

    @property
    def beyond_angles(self) -> bool:
        """Whether anything is."""
        return self.phase or self.timing or self.maps or self.emitted


@dataclass
class Adjoint:
    """Gradients of a real loss: those of `Drive` and of `Voxels`, by the same names."""

    angle: Tensor
    phase: Tensor
    duration: Tensor
    b_end: Tensor
    k_anchor: Tensor
    t_anchor: Tensor
    b_anchor: Tensor
    total: Tensor
    maps: dict[str, Tensor] = field(default_factory=dict)
    emitted: Tensor | None = None
    coefficients: Tensor | None = None
    basis: Tensor | None = None

    @classmethod
    def zeros(cls, drive: Drive, voxels: Voxels, *, maps: bool) -> Adjoint:
        """Start sums: float64 for the sequence, the voxels' precision for the maps."""
        names = _MAPS if maps else ()
        return cls(
            angle=torch.zeros_like(drive.angle, dtype=torch.float64),
            phase=torch.zeros_like(drive.phase, dtype=torch.float64),
            duration=torch.zeros_like(drive.duration, dtype=torch.float64),
            b_end=torch.zeros_like(drive.b_end, dtype=torch.float64),
            k_anchor=torch.zeros_like(drive.k_anchor, dtype=torch.float64),
            t_anchor=torch.zeros_like(drive.t_anchor, dtype=torch.float64),
            b_anchor=torch.zeros_like(drive.b_anchor, dtype=torch.float64),
            total=torch.zeros_like(drive.total, dtype=torch.float64),
            maps={name: torch.zeros_like(getattr(voxels, name)) for name in names},
        )


@dataclass(frozen=True)
class Played:
    """What played pulses do to the voxels; see `pulse_profiles`.

    Attributes
    ----------
    coefficients
        (layers, cells, pulses, 4, terms) of a and b, real and imaginary parts, in the polynomials
        of `Voxels.basis`.
    layer
        (voxels,) int64, which layer each voxel lies in.
    pulse
        Which of the pulses each repetition begins with.
    shim
        Which row of the basis, and of the field, each of the pulses is played with.
    place
        (cells, xyz) of the cells of each voxel, relative to its centre [m].
    """

    coefficients: Tensor
    layer: Tensor
    pulse: tuple[int, ...]
    shim: tuple[int, ...]
    place: Tensor


class Backend(Protocol):
    """Makes the emitted magnetisation, and its adjoint."""

    def bytes_per_voxel(self, plan: Plan, *, adjoint: bool, axes: int = 0) -> int:
        """Memory needed for each voxel, in float32; ``axes`` are those of `PositionSlopes`."""

    def emit(
        self, plan: Plan, drive: Drive, voxels: Voxels, played: Played | None = None
    ) -> Tensor:
        """Return the magnetisation of each item at its anchor, (items, voxels) complex.

        Where pulses are played, it is the sum over the cells of a voxel.
        """

    def turn(self, values: Tensor, k: Tensor, voxels: Voxels) -> None:
        """Multiply (items, voxels) by exp(2πi (k·r + τ B0)) and the transmit field's phase.

        In place; ``k`` is (items, 4), with τ last, as `Drive.k_anchor`; there is one shim.
        """

    def adjoint(
        self,
        plan: Plan,
        drive: Drive,
        voxels: Voxels,
        gradient: Tensor,
        slopes: PositionSlopes | None,
        wanted: Wanted,
        played: Played | None = None,
    ) -> Adjoint:
        """Return the gradients.

        Parameters
        ----------
        plan, drive, voxels, played
            As for `emit`.
        gradient
            (1 + axes, items, voxels) γ with dL = Re Σ γ dX for a change dX of the emitted
            magnetisation, and for each axis of space in ``slopes`` its derivative by the position
            of the item's state. Its memory may be reused.
        slopes
            What else depends on positions; None for nothing.
        wanted
            What is asked for.
        """
