"""What samples see of nodes: interpolation, phases and encoding in one matrix for each item.

What an item's voxels emit is interpolated from nodes, turned by what its anchor says, and encoded.
All three are linear and stay as long as the trajectory and the maps do: where a sequence will be
simulated many times, with other flip angles, their product takes little memory and a small part of
the time. It is kept for polynomials in the fields, more of them than there are nodes, so that it
serves for other numbers of nodes, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial

import torch
from torch import Tensor

from pulseq_zero.simulation.pdg.backend import Backend
from pulseq_zero.simulation.pdg.chebyshev import chebyshev_nodes, polynomials, to_terms
from pulseq_zero.simulation.pdg.encoding import EncodingCache, encoding_matrix
from pulseq_zero.simulation.pdg.nodes import Group, Nodes
from pulseq_zero.simulation.pdg.plan import Plan
from pulseq_zero.simulation.pdg.readouts import Pattern
from pulseq_zero.simulation.pdg.voxels import Voxels

# How many polynomials in B1 and in B0 are kept: multiples of these.
_STEPS = 4, 2
# Real multiplications that making all matrices may take: seconds.
_MOST_WORK = 10**11


@dataclass(frozen=True)
class EncodedNodes:
    """What the samples of each item see of each node.

    Attributes
    ----------
    blocks
        For each pattern, and in it for each tissue: (items, nodes, coils * rows) complex.
    """

    blocks: tuple[tuple[Tensor, ...], ...]


class NodeEncodings:
    """Makes and keeps what samples see of the nodes of a phantom.

    Parameters
    ----------
    voxels
        In the order of tissues.
    backend
        Who turns magnetisation by positions and B0.
    memory
        Bound for the matrices of polynomials [bytes]; those of nodes take no more.
    """

    def __init__(self, voxels: Voxels, backend: Backend, memory: int) -> None:
        self._voxels, self._backend, self._memory = voxels, backend, memory
        self._of_anchors = EncodingCache(memory)
        self._known: tuple[object, EncodedNodes] | None = None

    def of(self, plan: Plan, k_anchor: Tensor, nodes: Nodes) -> EncodedNodes | None:
        """Return what a plan's samples see of nodes; None where making it takes too much.

        Parameters
        ----------
        plan
            The items.
        k_anchor
            (items, 4) where they are at their anchors [1/m, 1/m, 1/m, s].
        nodes
            Where the magnetisation is propagated.
        """
        shapes = tuple(group.shape for group in nodes.groups)
        patterns = tuple(pattern.key for pattern in plan.patterns)
        known_by = shapes, patterns, plan.first_item, k_anchor.cpu().numpy().tobytes()
        if self._known is not None and self._known[0] == known_by:
            return self._known[1]
        if not self._is_worth(plan, nodes):
            return None
        blocks = tuple(
            _at_nodes(self._anchors(plan.patterns[place], k_anchor[items], nodes.groups), nodes)
            for place, items, _ in plan.blocks
        )
        self._known = known_by, EncodedNodes(blocks)
        return self._known[1]

    def _is_worth(self, plan: Plan, nodes: Nodes) -> bool:
        """Tell whether making the matrices takes seconds at most, and they fit."""
        voxels, rows = self._voxels, int(plan.items.first_row[-1])
        each = rows * voxels.coils
        terms = [_terms(group) for group in nodes.groups]
        work = sum(
            count * (group.tissue.voxels.stop - group.tissue.voxels.start)
            for count, group in zip(terms, nodes.groups, strict=True)
        )
        size = 2 * voxels.R1.element_size() * each * sum(terms)
        return 2 * each * work <= _MOST_WORK and size <= self._memory

    def _anchors(
        self, pattern: Pattern, k_anchor: Tensor, groups: tuple[Group, ...]
    ) -> list[Tensor]:
        """Return for each item (terms of all tissues, coils * rows) complex."""
        terms = tuple((*_orders(group), group.is_own) for group in groups)

        @cache
        def of_voxels() -> tuple[Tensor, list[Tensor | None]]:
            of_tissues = [_polynomials(group) for group in groups]
            return encoding_matrix(pattern, self._voxels).T.contiguous(), of_tissues

        def make(k: Tensor) -> Tensor:
            return self._anchor(k, *of_voxels(), groups)

        return [
            self._of_anchors.get_or_make((pattern.key, where.tobytes(), terms), partial(make, k))
            for k, where in zip(k_anchor, k_anchor.cpu().numpy(), strict=True)
        ]

    def _anchor(
        self,
        k: Tensor,
        encoding: Tensor,
        of_tissues: list[Tensor | None],
        groups: tuple[Group, ...],
    ) -> Tensor:
        """Return (terms of all tissues, coils * rows) complex, for one item.

        ``encoding`` is (voxels, coils * rows).
        """
        turned = encoding.new_ones(1, len(encoding))
        self._backend.turn(turned, k[None], self._voxels)
        seen = torch.view_as_real(encoding * turned.T).flatten(1)
        parts = []
        for group, values in zip(groups, of_tissues, strict=True):
            here = seen[group.tissue.voxels]
            parts.append(here if values is None else values @ here)
        return torch.view_as_complex(torch.cat(parts).unflatten(1, (-1, 2)))


def _orders(group: Group) -> tuple[int, int]:
    """Return how many polynomials in B1 and in B0 are kept of a tissue."""
    if group.is_own:
        return group.shape[0], 1
    field, offset = (
        1 if count == 1 else -(-count // step) * step
        for count, step in zip(group.shape, _STEPS, strict=True)
    )
    return field, offset


def _terms(group: Group) -> int:
    field, offset = _orders(group)
    return field * offset


def _polynomials(group: Group) -> Tensor | None:
    """Return (terms, voxels) the polynomials at a tissue's voxels; None where these are nodes."""
    if group.is_own:
        return None
    field, offset = _orders(group)
    in_field = polynomials(group.tissue.field.relative(group.B1.double()), field)
    in_offset = polynomials(group.tissue.offset.relative(group.B0.double()), offset)
    return (in_field[:, None] * in_offset).flatten(0, 1).to(group.B1.dtype)


def _at_nodes(anchors: list[Tensor], nodes: Nodes) -> tuple[Tensor, ...]:
    """Return for each tissue (items, nodes, coils * rows), from those of polynomials."""
    parts = torch.stack(anchors).split([_terms(group) for group in nodes.groups], dim=1)
    found = []
    for part, group in zip(parts, nodes.groups, strict=True):
        if group.is_own:
            found.append(part.contiguous())
            continue
        field, offset = group.shape
        in_field, in_offset = (to_terms(chebyshev_nodes(count)) for count in group.shape)
        weight = torch.kron(in_field, in_offset).to(part)
        few = part.unflatten(1, _orders(group))[:, :field, :offset].flatten(1, 2)
        found.append(weight.T @ few)
    return tuple(found)
