"""What played pulses do in each voxel: elements (a, b) of SU(2), by position, B1 and B0.

A pulse is the product of its steps, each a rotation about the field of its moment. The free
precession before and after the pulse's centre is taken out of it, as the positions of the states
have that already. What is left is smooth in the strength of the field and in off-resonance: an
entire function of both, of an exponential type that follows from the pulse's area and duration, so
that few Chebyshev polynomials hold it (Trefethen, Approximation Theory and Approximation Practice,
2019, doi:10.1137/1.9781611975949). In the place along the slice it is kept at nodes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pulseq_zero.conversion.played import PlayedPulses
from pulseq_zero.errors import SimulationError
from pulseq_zero.simulation.pdg.chebyshev import Range, chebyshev_nodes, polynomials, to_terms
from pulseq_zero.simulation.pdg.pulse_families import (
    Family,
    SilentPulses,
    families_of,
    silent_pulses,
)
from pulseq_zero.simulation.pdg.pulse_tables import (
    ShapeTable,
    ShapeTables,
    degree,
    slopes_at_zero,
)

# Part of the accuracy up to which terms are left out.
_NEGLIGIBLE = 0.02
# Cells resolve so many times the k-space that a pulse runs through for each digit of the accuracy,
# less the second number, but never less often than the third: what several pulses make of a slice
# together has finer edges than what one of them makes. Found for a TSE of 180 degrees, all of whose
# pulses turn the edges of the slice by less, and whose image errs by less than the accuracy then.
_A_DIGIT, _FEWER, _LEAST = 1.3, 1.0, 1.5
# Voxels lie in one layer if no pulse turns one of them by so much more than another [turns]; along
# directions in which moments are smaller than this part of the largest they all do.
_SAME_TURN, _STRAIGHT = 0.01, 1e-6
# So many pulses in so many places are the most.
_LARGEST = 2**18


@dataclass(frozen=True)
class Stack:
    """The cells that each voxel consists of.

    Attributes
    ----------
    place
        (cells, xyz) relative to the voxel's centre [m].
    size
        (xyz,) of a cell [m]; infinite along axes where a voxel has one only.
    """

    place: Tensor
    size: Tensor

    def __len__(self) -> int:
        """Return the number of cells."""
        return len(self.place)


def stack_of(played: PlayedPulses, voxel_size: Tensor, accuracy: float) -> Stack:
    """Choose the cells of a voxel so that they resolve what the pulses make of it.

    Parameters
    ----------
    played
        The pulses.
    voxel_size
        (xyz,) [m]; infinitely small (zero) for points.
    accuracy
        Of the simulation.
    """
    own = played.sums(played.moment.detach().abs())
    # What the pieces of a pulse make of a slice is what all of it does
    whole = torch.tensor(played.whole or range(len(own)))
    moments = torch.zeros_like(own).index_add(0, whole, own)
    finer = 2 * max(-_A_DIGIT * math.log10(accuracy) - _FEWER, _LEAST)
    count = (finer * moments.amax(0).cpu() * voxel_size).ceil().clamp(min=1).long()
    axes = [
        (torch.arange(n, dtype=torch.float64) - (n - 1) / 2) * float(length) / n
        for n, length in zip(count.tolist(), voxel_size, strict=True)
    ]
    place = torch.cartesian_prod(*axes)
    return Stack(place, torch.where(count > 1, voxel_size / count, math.inf))


class Profiles:
    """(a, b) of all pulses as polynomials in B1 and B0, at nodes along the slice.

    Parameters
    ----------
    played
        The pulses.
    stack
        The cells of the voxels.
    position
        (xyz, voxels) of the phantom [m].
    B1
        (shims, voxels) magnitude of the transmit field.
    B0
        (voxels,) off-resonance [Hz].
    accuracy
        Of the simulation.
    tables
        Expansions of the pulses' shapes, as far as they are known.

    Attributes
    ----------
    coefficients
        (layers, cells, pulses, 4, terms) of a and b, real and imaginary parts; differentiable.
    layer
        (voxels,) which layer each voxel lies in.
    """

    def __init__(
        self,
        played: PlayedPulses,
        stack: Stack,
        position: Tensor,
        B1: Tensor,
        B0: Tensor,
        accuracy: float,
        tables: ShapeTables,
    ) -> None:
        self.stack = stack
        self._field = Range.of(B1)
        self._offset = Range.of(B0)
        nodes, self.layer = _layers(played, position.detach().double().cpu().T)
        place = nodes[:, None] + stack.place
        if place.shape[0] * place.shape[1] * len(played.step_count) > _LARGEST:
            raise SimulationError(
                f"{len(played.step_count)} different pulses act differently in {place.shape[0]} "
                f"places of the phantom, times {place.shape[1]} in a voxel: too many to play; "
                "take a phantom of fewer voxels across the slice, or pulses='instantaneous'"
            )
        places = place.flatten(0, 1)
        sounding, silent = families_of(played), silent_pulses(played)
        expanded = tables.of(sounding, self._field.most, places, self._offset)
        terms_by_family = list(map(self._at_scales, sounding, expanded))
        terms_by_family += [self._at_zero(pulses, places) for pulses in silent]
        field_terms = max(terms.shape[-2] for terms in terms_by_family)
        offset_terms = max(terms.shape[-1] for terms in terms_by_family)
        by_pulse: dict[int, Tensor] = {}
        gathered: list[Family | SilentPulses] = [*sounding, *silent]
        for family, terms in zip(gathered, terms_by_family, strict=True):
            missing = (0, offset_terms - terms.shape[-1], 0, field_terms - terms.shape[-2])
            padded = torch.nn.functional.pad(terms, missing)
            by_pulse |= dict(zip(family.members, padded, strict=True))
        every = torch.stack([by_pulse[number] for number in range(len(by_pulse))])
        # (pulses, 4, layers * cells, field, offset)
        largest = every.detach().abs().amax((0, 1, 2))
        self._terms = (largest > _NEGLIGIBLE * accuracy).nonzero()
        kept = every[..., self._terms[:, 0], self._terms[:, 1]]
        self.coefficients = kept.unflatten(2, place.shape[:2]).permute(2, 3, 0, 1, 4).contiguous()

    def _at_scales(self, family: Family, table: ShapeTable) -> Tensor:
        """Return (members, 4, places, field terms, offset terms) of a family."""
        area = math.pi * float((family.signal.detach().abs() * family.time.detach()).sum())
        largest = float(family.scale.detach().abs().max())
        field = chebyshev_nodes(degree(area * largest * self._field.half))
        relative = family.scale[:, None] * self._field.at(field) / table.strongest
        members = polynomials(relative, table.terms.shape[1])
        back = torch.einsum("jf,tmf->mjt", to_terms(field), members)
        return torch.einsum("mjt,xtpk->mxpjk", back, table.terms)

    def _at_zero(self, pulses: SilentPulses, place: Tensor) -> Tensor:
        """Return the same of pulses of no strength: b is linear in their signals and the field."""
        offset = chebyshev_nodes(degree(math.pi * float(pulses.time.sum()) * self._offset.half))
        b = slopes_at_zero(pulses, place, self._offset.at(offset))
        in_offset = torch.einsum("ko,mpo->mpk", to_terms(offset).to(b), b)
        in_field = torch.tensor([self._field.middle, self._field.half], dtype=torch.float64)
        one = torch.zeros_like(in_offset.real)
        one[..., 0] = 1.0
        return torch.stack([
            one[..., None, :] * torch.tensor([[1.0], [0.0]], dtype=torch.float64),
            torch.zeros_like(one)[..., None, :].expand(-1, -1, 2, -1),
            in_offset.real[..., None, :] * in_field[:, None],
            in_offset.imag[..., None, :] * in_field[:, None],
        ], 1)  # fmt: skip

    def basis(self, B1: Tensor, B0: Tensor) -> Tensor:
        """Return (shims, terms, voxels) what the coefficients belong to.

        Parameters
        ----------
        B1
            (shims, voxels) magnitude of the transmit field.
        B0
            (voxels,) off-resonance [Hz].
        """
        field, offset = self._terms[:, 0], self._terms[:, 1]
        in_field = polynomials(self._field.relative(B1), int(field.max()) + 1)
        in_offset = polynomials(self._offset.relative(B0), int(offset.max()) + 1)
        return in_field[field.to(B1.device)].movedim(0, 1) * in_offset[offset.to(B0.device)]


def spinors(coefficients: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    """Evaluate complex a and b, (pulses, voxels) each.

    Parameters
    ----------
    coefficients
        (pulses, 4, terms) of `Profiles`, in one layer and cell.
    basis
        (terms, voxels) or (pulses, terms, voxels), as `Profiles.basis` returns them.
    """
    values = (coefficients @ basis).unbind(1)
    return torch.complex(*values[:2]), torch.complex(*values[2:])


def _layers(played: PlayedPulses, position: Tensor) -> tuple[Tensor, Tensor]:
    """Return the (layers, xyz) distinct places of voxels, and (voxels,) which is whose.

    Distinct are those that some pulse turns by different angles.
    """
    moments = played.moment.detach().cpu()
    if not bool(moments.any()):
        return position[:1], torch.zeros(len(position), dtype=torch.int64)
    size, direction = torch.linalg.eigh(moments.T @ moments)
    direction = direction[:, size > _STRAIGHT**2 * size.amax().clamp_min(1e-300)]
    reach = played.sums((moments @ direction).abs()).amax(0)
    number = (position @ direction * reach / _SAME_TURN).round().long()
    # One number each, as torch sorts rows far more slowly
    first = number.amin(0)
    stride = (number.amax(0) - first + 1).cumprod(0).roll(1)
    stride[:1] = 1
    _, layer = ((number - first) * stride).sum(1).unique(return_inverse=True)
    count = int(layer.max()) + 1
    nodes = torch.zeros(count, 3, dtype=torch.float64).index_add(0, layer, position)
    return nodes / layer.bincount()[:, None], layer
