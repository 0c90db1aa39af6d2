"""What the played pulses of a sequence do in a phantom, and where the prepass follows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pulseq_zero.conversion.repetitions import Repetitions
from pulseq_zero.errors import SimulationError
from pulseq_zero.simulation.pdg.main_pass import PlayedJob
from pulseq_zero.simulation.pdg.pulse_factors import PlayedPrepass
from pulseq_zero.simulation.pdg.pulse_profiles import Profiles, Stack, stack_of
from pulseq_zero.simulation.pdg.pulse_tables import ShapeTables
from pulseq_zero.simulation.pdg.representatives import Representatives
from pulseq_zero.simulation.pdg.voxels import Voxels, distinct_shims

if TYPE_CHECKING:
    import MRzeroCore as mr0

# Relative change of the field by which derivatives by flip angles are estimated.
_CHANGE = 1e-3


@dataclass(frozen=True)
class PlayedPulseRows:
    """The pulses of a sequence in a phantom, each with each of its shims once.

    Attributes
    ----------
    profiles
        Of the pulses.
    coefficients
        (layers, cells, rows, 4, terms) those of `Profiles`.
    job
        Which row each repetition begins with, and how rows become what happens in voxels.
    """

    profiles: Profiles
    coefficients: Tensor
    job: PlayedJob
    _repetitions: Repetitions
    _as_it_was: Repetitions

    @classmethod
    def of(
        cls,
        repetitions: Repetitions,
        data: mr0.SimData,
        voxels: Voxels,
        accuracy: float,
        tables: ShapeTables,
    ) -> PlayedPulseRows:
        """Prepare the pulses of a sequence.

        Parameters
        ----------
        repetitions
            The sequence, with played pulses.
        data, voxels
            The phantom.
        accuracy
            Of the simulation.
        tables
            Expansions of the pulses' shapes, as far as they are known.
        """
        played = repetitions.played
        if played is None:
            raise SimulationError("the sequence has no played pulses")
        if voxels.position.requires_grad:
            raise SimulationError(
                "voxel_pos cannot be differentiated by where pulses are played, as these act by "
                "place: detach it, or take pulses='instantaneous'"
            )
        nyquist = data.nyquist.detach().double().cpu()
        size = torch.where(nyquist.isfinite(), 0.5 / nyquist, 0.0)
        profiles = Profiles(
            played,
            stack_of(played, size, accuracy),
            voxels.position,
            voxels.B1,
            voxels.B0,
            accuracy,
            tables,
        )
        _, shim = distinct_shims(repetitions)
        rows = sorted(set(zip(played.pulse, shim, strict=True)))
        number = {row: place for place, row in enumerate(rows)}
        return cls(
            profiles=profiles,
            coefficients=profiles.coefficients[:, :, [pulse for pulse, _ in rows]],
            job=PlayedJob(
                pulse=tuple(number[row] for row in zip(played.pulse, shim, strict=True)),
                shim=tuple(which for _, which in rows),
                layer=profiles.layer,
                stack=profiles.stack,
            ),
            _repetitions=repetitions,
            _as_it_was=repetitions.snapshot(),
        )

    @property
    def stack(self) -> Stack:
        """The cells of each voxel."""
        return self.profiles.stack

    def are_of(self, repetitions: Repetitions) -> bool:
        """Tell whether these are the pulses of a sequence, with their gradients."""
        one, other = self._repetitions, repetitions
        if one.played is None or other.played is None:
            return False
        if one.played is other.played:
            return True
        # A graph that has been gone through backward cannot be again
        for played, shim in ((one.played, one.shim), (other.played, other.shim)):
            if played.requires_grad or (shim is not None and shim.requires_grad):
                return False
        was = self._as_it_was
        return (
            was.played is not None and was.played.same_values(other.played) and was.same_shim(other)
        )


@torch.no_grad()
def followed_pulses(
    pulses: PlayedPulseRows,
    voxels: Representatives,
    repetitions: Repetitions,
    part: NDArray[np.int64],
    cell: NDArray[np.int64],
    *,
    slopes: bool,
) -> PlayedPrepass:
    """Return what the pulses do in some cells of the representatives.

    Parameters
    ----------
    pulses
        The pulses.
    voxels
        The representatives.
    repetitions
        The sequence.
    part, cell
        See `Representatives.stacked`.
    slopes
        Whether derivatives by flip angles matter.
    """
    played = repetitions.played
    if played is None:
        raise SimulationError("the sequence has no played pulses")
    field = voxels.field(repetitions)
    turn = np.exp(1j * (played.phase.detach().double().numpy()[:, None] + np.angle(field)))
    _, shims = distinct_shims(repetitions)
    first = {shim: r for r, shim in reversed(list(enumerate(shims)))}
    strength = torch.from_numpy(np.abs(field[[first[n] for n in sorted(first)]]))
    offset = torch.from_numpy(voxels.B0)
    row = np.array(pulses.job.pulse)

    here = pulses.coefficients.flatten(0, 1)[cell].double()

    def evaluate(strength: Tensor) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
        basis = pulses.profiles.basis(strength, offset)[list(pulses.job.shim)][..., part]
        found = torch.einsum("nrxt,rtn->xrn", here, basis)[:, row].numpy()
        return found[0] + 1j * found[1], turn[:, part] * (found[2] + 1j * found[3])

    a, b = evaluate(strength)
    if not slopes:
        return PlayedPrepass(a, b, None, pulses.stack)
    area = 2 * np.pi * played.sums(played.signal.abs() * played.time)
    angle = _CHANGE * area.numpy()[list(played.pulse)]
    more_a, more_b = evaluate((1 + _CHANGE) * strength)
    # A pulse of no strength tells not how it would turn: as at once
    none = angle < 1e-12
    more_b[none] = -0.5j * _CHANGE * turn[none][:, part]
    angle[none] = _CHANGE
    return PlayedPrepass(a, b, (more_a, more_b, angle), pulses.stack)
