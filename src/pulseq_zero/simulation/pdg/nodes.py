"""Voxels of one tissue by few nodes: its magnetisation is smooth in the fields.

Voxels that share a tissue differ by their place, by B1 and by B0. The place, and B0 between the
pulses, turn what a state emits, by a factor that each voxel knows. What remains is a smooth
function of B1, and of B0 where pulses are played: it is propagated at Chebyshev nodes of both, and
interpolated to the voxels by the polynomials through these (Trefethen, Approximation Theory and
Approximation Practice, SIAM 2013, chapters 7 and 8). How many nodes that takes is told by the
polynomials' coefficients: first along each field by itself, in the middle of the other, and then by
the last ones of all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from pulseq_zero.conversion.repetitions import Repetitions
from pulseq_zero.simulation.pdg.chebyshev import Range, chebyshev_nodes, polynomials, to_terms
from pulseq_zero.simulation.pdg.graph import HandOver
from pulseq_zero.simulation.pdg.pulse_profiles import Profiles
from pulseq_zero.simulation.pdg.voxels import Voxels

# How many of B1 and of B0 a tissue has.
Counts = tuple[int, int]

# As many nodes for each digit of what is allowed, beyond what the pulses of this time [s] ask for,
# and by how much more where these are too few.
_A_DIGIT, _REMEMBERED, _MORE = 1.6, 0.3, 1.25

# The last coefficients may have this part of the accuracy; in float32 not less than the other.
_LAST, _ROUNDING = 0.5, 2e-6

# As many nodes as leave the last coefficients this part of what they may have, when they are
# counted: sequences change a little before they are counted again.
_MARGIN = 0.6
# Two coefficients beside the mean are the fewest to tell by.
_FEWEST = 3

# Nodes are no gain unless there are fewer of them than voxels by this factor, and no more tissues.
_GAIN, _TISSUES = 2, 32


@dataclass(frozen=True)
class Tissue:
    """Voxels that differ by place and fields only.

    Attributes
    ----------
    voxels
        Their numbers, in the order of `Tissues`.
    field, offset
        The intervals that B1 and B0 [Hz] lie in.
    weight
        Sum of their squared weights, over all coils.
    """

    voxels: slice
    field: Range
    offset: Range
    weight: float


class Tissues:
    """The voxels of a phantom in the order of their tissues.

    Parameters
    ----------
    voxels
        The voxels, of one shim.
    layer
        (voxels,) in which layer each lies, see `Profiles`; None where pulses act at once.

    Attributes
    ----------
    voxels, layer
        The same in the order of tissues.
    """

    def __init__(self, voxels: Voxels, layer: Tensor | None) -> None:
        layer = torch.zeros(len(voxels), dtype=torch.int64) if layer is None else layer
        initial = torch.view_as_real(voxels.initial)
        kinds = (voxels.R1, voxels.R2, voxels.R2dash, voxels.D, *initial.unbind(1))
        keys = torch.stack([*(k.double() for k in kinds), layer.to(voxels.R1.device).double()], 1)
        _, kind, count = keys.unique(dim=0, return_inverse=True, return_counts=True)
        order = kind.argsort(stable=True)
        self.voxels = voxels.part(order)
        self.layer = layer[order.cpu()]
        weight = self.voxels.weight.abs().square().sum(0)
        stop = count.cumsum(0).tolist()
        self._tissues = [
            Tissue(
                slice(last - n, last),
                Range.of(self.voxels.B1[0, last - n : last]),
                Range.of(self.voxels.B0[last - n : last]),
                float(weight[last - n : last].sum()),
            )
            for last, n in zip(stop, count.tolist(), strict=True)
        ]

    @property
    def ranges(self) -> tuple[slice, ...]:
        """The voxels of each tissue."""
        return tuple(tissue.voxels for tissue in self._tissues)

    @property
    def half_ranges(self) -> tuple[float, float]:
        """Half the widest intervals of B1 and of B0 [Hz]."""
        return (
            max(tissue.field.half for tissue in self._tissues),
            max(tissue.offset.half for tissue in self._tissues),
        )

    def nodes(self, field: int, offset: int) -> Nodes | None:
        """Place nodes in all tissues; None if that is no gain.

        Parameters
        ----------
        field, offset
            How many of B1 and of B0 there are in a tissue; voxels that are fewer are their own.
        """
        tissues, shapes = self._tissues, []
        for tissue in tissues:
            shape = (field if tissue.field.half else 1, offset if tissue.offset.half else 1)
            size = tissue.voxels.stop - tissue.voxels.start
            shapes.append(shape if shape[0] * shape[1] < size else (size, 0))
        count = sum(a * max(b, 1) for a, b in shapes)
        if count * _GAIN > len(self.voxels):
            return None
        groups, fields, offsets, first = [], [], [], 0
        for tissue, shape in zip(tissues, shapes, strict=True):
            B1, B0 = self.voxels.B1[0, tissue.voxels], self.voxels.B0[tissue.voxels]
            own = (B1, B0)
            if shape[1]:
                at_field = tissue.field.at(chebyshev_nodes(shape[0]))
                at_offset = tissue.offset.at(chebyshev_nodes(shape[1]))
                B1 = at_field.repeat_interleave(shape[1]).to(B1)
                B0 = at_offset.repeat(shape[0]).to(B0)
            groups.append(Group(tissue, slice(first, first + len(B1)), shape, *own))
            fields.append(B1)
            offsets.append(B0)
            first += len(B1)
        one = torch.cat([
            torch.arange(g.nodes.stop - g.nodes.start) * g.is_own + g.tissue.voxels.start
            for g in groups
        ])  # fmt: skip
        alike = self.voxels.part(one.to(self.voxels.R1.device))
        B1, B0 = torch.cat(fields)[None], torch.cat(offsets)
        # What place and B0 do between the pulses each voxel knows itself
        at_centre = replace(
            alike,
            B1=B1,
            B0=torch.zeros_like(B0),
            B1_phase=torch.zeros_like(B1),
            position=torch.zeros_like(alike.position),
        )
        return Nodes(at_centre, B0, self.layer[one], tuple(groups))


@dataclass(frozen=True)
class Group:
    """The nodes of a tissue.

    Attributes
    ----------
    tissue
        The tissue.
    nodes
        Their numbers.
    shape
        How many of B1 and of B0 there are; 0 of B0 where each voxel is its own node.
    B1, B0
        (voxels,) the fields of the tissue's voxels.
    """

    tissue: Tissue
    nodes: slice
    shape: tuple[int, int]
    B1: Tensor
    B0: Tensor

    @property
    def is_own(self) -> bool:
        """Whether each voxel is its own node."""
        return not self.shape[1]

    @cached_property
    def matrix(self) -> Tensor:
        """(nodes, voxels) from values at the nodes to those of voxels, where these are more."""
        in_field = _interpolating(self.tissue.field, self.shape[0], self.B1)
        in_offset = _interpolating(self.tissue.offset, self.shape[1], self.B0)
        return (in_field[:, None] * in_offset).flatten(0, 1).to(self.B1.dtype)


@dataclass(frozen=True)
class Nodes:
    """Where the magnetisation is propagated, for all voxels.

    Attributes
    ----------
    voxels
        The nodes, at the isocentre and on resonance.
    offset
        (nodes,) B0 that pulses are played with [Hz].
    layer
        (nodes,) in which layer each lies.
    groups
        Those of each tissue.
    """

    voxels: Voxels
    offset: Tensor
    layer: Tensor
    groups: tuple[Group, ...]

    def playing(self, profiles: Profiles) -> Nodes:
        """Return the same nodes with what these pulses are made of there."""
        basis = profiles.basis(self.voxels.B1, self.offset).to(self.offset)
        return replace(self, voxels=replace(self.voxels, basis=basis))

    def spread(self, emitted: Tensor, where: slice) -> Tensor:
        """Interpolate what items emit, (items, nodes) complex, to some of the voxels.

        These have yet to turn by their place and B0.
        """
        result = emitted.new_empty(len(emitted), where.stop - where.start)
        for nodes, matrix, here in self._within(where):
            if matrix is None:
                result[:, here] = emitted[:, nodes]
                continue
            for part in ("real", "imag"):
                values = getattr(emitted, part)[:, nodes] @ matrix
                getattr(result, part)[:, here] = values
        return result

    def gather(self, gradient: Tensor, where: slice, total: Tensor) -> None:
        """Add the gradient by what voxels emit, (items, voxels), to that by what nodes do."""
        for nodes, matrix, here in self._within(where):
            if matrix is None:
                total[:, nodes] += gradient[:, here]
                continue
            for part in ("real", "imag"):
                values = getattr(gradient, part)[:, here] @ matrix.T
                getattr(total, part)[:, nodes] += values

    def _within(self, where: slice) -> list[tuple[slice, Tensor | None, slice]]:
        """For each group with voxels in a part: nodes, matrix, and the voxels' numbers in it."""
        found = []
        for number, here in overlaps([group.tissue.voxels for group in self.groups], where):
            group = self.groups[number]
            nodes, matrix, before = group.nodes, None, where.start - group.tissue.voxels.start
            mine = slice(before + here.start, before + here.stop)
            if group.is_own:
                nodes = slice(nodes.start + mine.start, nodes.start + mine.stop)
            else:
                matrix = group.matrix[:, mine]
            found.append((nodes, matrix, here))
        return found

    def last_coefficients(self, emitted: Tensor) -> tuple[float, float]:
        """Return how large the last coefficients are, over B1 and over B0.

        Relative to what all voxels emit, by the root of the mean square.
        """
        field, offset = (self.coefficients(emitted, axis)[-2:] for axis in (0, 1))
        return math.hypot(*field), math.hypot(*offset)

    def coefficients(self, emitted: Tensor, axis: int) -> list[float]:
        """Return how large the coefficients are, one after the other, over one field.

        Those of another node a tissue, or of voxels that are their own, are zero.

        Parameters
        ----------
        emitted
            (items, nodes) complex.
        axis
            0 for B1, 1 for B0.
        """
        size, whole = torch.zeros(max(2, *(g.shape[axis] for g in self.groups))), 0.0
        for group in self.groups:
            values = emitted[:, group.nodes]
            weight = group.tissue.weight
            whole += weight * float(values.abs().square().mean(1).sum())
            count = group.shape[axis]
            if not group.is_own and count > 1:
                terms = to_terms(chebyshev_nodes(count)).to(values)
                found = torch.tensordot(terms, values.unflatten(1, group.shape), ([1], [1 + axis]))
                size[:count] += weight * found.abs().square().sum(1).mean(1).cpu()
        return (size.double() / max(whole, 1e-300)).sqrt().tolist()


class Interpolation:
    """Nodes of a phantom, by how many there are.

    Parameters
    ----------
    voxels, layer
        As for `Tissues`.
    accuracy
        Of the simulation.
    memory
        Bound for what interpolates, and for what items emit at the nodes [bytes].

    Attributes
    ----------
    voxels, layer
        The voxels in the order of tissues, and the layers that they lie in.
    tissues
        Their numbers, tissue by tissue.
    D
        (tissues,) [m²/s].
    allowed
        How large the last coefficients may be, see `Nodes.last_coefficients`.
    """

    def __init__(self, voxels: Voxels, layer: Tensor | None, accuracy: float, memory: int) -> None:
        self._tissues, self._memory = Tissues(voxels, layer), memory
        self._known: dict[Counts, Nodes | None] = {}
        self.voxels, self.layer = self._tissues.voxels, self._tissues.layer
        self.tissues = self._tissues.ranges
        self.D = self.voxels.D[[tissue.start for tissue in self.tissues]]
        self.allowed = max(_LAST * accuracy, _ROUNDING)

    def nodes(self, counts: Counts, items: int = 0) -> Nodes | None:
        """Return so many nodes; None where these are no gain, or too large with so many items."""
        size = self.voxels.R1.element_size()
        at_nodes = 2 * size * items * len(self.tissues)
        if counts[0] * counts[1] * (size * len(self.voxels) + at_nodes) > self._memory:
            return None
        if counts not in self._known:
            # Those of other sequences take memory
            self._known = dict(list(self._known.items())[-1:])
            self._known[counts] = self._tissues.nodes(*counts)
        return self._known[counts]

    def is_gain(self, repetitions: Repetitions, hand_over: HandOver) -> bool:
        """Tell whether a sequence probably takes fewer nodes than there are voxels."""
        known = len(self.tissues) <= _TISSUES
        return known and self.nodes(self._first_counts(repetitions, hand_over)) is not None

    def _first_counts(self, repetitions: Repetitions, hand_over: HandOver) -> Counts:
        """Return how many nodes a sequence probably takes; by its pulses and what is handed over.

        A product of pulses is of the exponential type of their angles' sum in B1, and of their
        durations' in B0; as far as the magnetisation remembers them. What is handed over turns by
        B0, by the time that it is shifted.
        """
        _, lasts = repetitions.sums_within_repetitions(repetitions.event_time.detach().double())
        begin = np.concatenate([[0.0], lasts.numpy().cumsum()[:-1]])
        stop = np.searchsorted(begin, begin + _REMEMBERED)

        def most(values: Tensor) -> float:
            sums = np.concatenate([[0.0], values.detach().double().abs().numpy().cumsum()])
            return float((sums[stop] - sums[:-1]).max())

        field, offset = self._tissues.half_ranges
        beyond = math.ceil(-_A_DIGIT * math.log10(self.allowed))
        counts = [beyond + math.ceil(field * most(repetitions.pulse_angle)), 1]
        turns = 2 * float(np.abs(hand_over.shift).max(initial=0.0))
        if repetitions.played is not None:
            played = repetitions.played
            each = played.sums(played.time.detach())
            turns += most(each[list(played.pulse)])
        if turns:
            counts[1] = beyond + math.ceil(math.pi * offset * turns)
        return counts[0], counts[1]

    def count(
        self, repetitions: Repetitions, hand_over: HandOver, emit: Callable[[Nodes], Tensor]
    ) -> Counts:
        """Return how many nodes a sequence takes, by coefficients along each of the two fields.

        Parameters
        ----------
        repetitions
            The sequence.
        hand_over
            Its states that go on in others.
        emit
            Returns what items emit at nodes, (items, nodes) complex.
        """
        counts = list(self._first_counts(repetitions, hand_over))
        for axis, count in enumerate(counts):
            while count > 1:
                nodes = self._tissues.nodes(*((count, 1) if axis == 0 else (1, count)))
                if nodes is None:
                    break
                size = nodes.coefficients(emit(nodes), axis)
                too_large = [
                    last
                    for last in range(_FEWEST - 1, len(size))
                    if math.hypot(size[last - 1], size[last]) > _MARGIN * self.allowed
                ]
                if len(size) - 1 not in too_large:
                    count = max(too_large, default=_FEWEST - 2) + 2
                    break
                count = math.ceil(_MORE * count)
            counts[axis] = count
        return counts[0], counts[1]

    def more(self, counts: Counts, last: tuple[float, float]) -> Counts:
        """Return more nodes where the last coefficients are larger than allowed."""
        field, offset = (
            math.ceil(_MORE * count) if size > self.allowed else count
            for count, size in zip(counts, last, strict=True)
        )
        return field, offset


def overlaps(ranges: Sequence[slice], where: slice) -> list[tuple[int, slice]]:
    """For each range with a share in a part: its number, and the share, counted from the part."""
    inside = [
        (number, max(voxels.start, where.start), min(voxels.stop, where.stop))
        for number, voxels in enumerate(ranges)
    ]
    return [(number, slice(a - where.start, b - where.start)) for number, a, b in inside if a < b]


def _interpolating(interval: Range, count: int, values: Tensor) -> Tensor:
    """Return (nodes, values) what interpolates between the nodes of an interval."""
    terms = polynomials(interval.relative(values.detach().double().cpu()), count)
    return (to_terms(chebyshev_nodes(count)).T @ terms).to(values.device)
