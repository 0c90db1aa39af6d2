"""Everything of the simulation that is no larger than the sequence, in float64.

These are k-space positions, times and diffusion weightings: sums and differences of large
numbers, so they are made in float64 on the CPU, by plain differentiable torch operations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pulseq_zero.conversion.repetitions import Repetitions
from pulseq_zero.simulation.pdg.graph import CONJUGATING, StateGraph

SQUARED_TURN = (2 * np.pi) ** 2


@dataclass(frozen=True)
class Integrals:
    """Running integrals between the pulses, the same for all states.

    Attributes
    ----------
    position
        (events, 4) gradient moments [1/m] and time [s] since the pulse, at each event's end.
    total
        (repetitions, 4) the same over whole repetitions.
    linear
        (events, xyz) running integral of twice the moment over time [s/m]; with
        ``linear_total`` over whole repetitions (repetitions, xyz).
    quadratic
        (events,) running integral of the squared moment over time [s/m²]; with
        ``quadratic_total`` over whole repetitions (repetitions,).
    """

    position: Tensor
    total: Tensor
    linear: Tensor
    linear_total: Tensor
    quadratic: Tensor
    quadratic_total: Tensor

    @classmethod
    def of(cls, repetitions: Repetitions) -> Integrals:
        """Integrate the events of a sequence, whose tensors lie on the CPU."""
        moment = repetitions.gradient_moment.double()
        time = repetitions.event_time.double()[:, None]
        position, total = repetitions.sums_within_repetitions(torch.cat([moment, time], 1))
        after = position[:, :3]
        before = after - moment
        square = (before * before + before * after + after * after).sum(1, keepdim=True) / 3
        integral, integral_total = repetitions.sums_within_repetitions(
            torch.cat([time * (before + after), time * square], 1)
        )
        return cls(
            position=position,
            total=total,
            linear=integral[:, :3],
            linear_total=integral_total[:, :3],
            quadratic=integral[:, 3],
            quadratic_total=integral_total[:, 3],
        )


@dataclass(frozen=True)
class Items:
    """Pairs of a measured state and a readout segment.

    Attributes
    ----------
    state
        (items,) number of the state over all repetitions.
    anchor
        (items,) event at which the state's magnetisation is evaluated.
    first_row
        (items + 1,) where the rows of an item begin; an item has one row for each sample.
    event
        (rows,) the sampled event.
    sample
        (rows,) number of the sample in the signal.
    """

    state: Tensor
    anchor: Tensor
    first_row: Tensor
    event: Tensor
    sample: Tensor


@dataclass(frozen=True)
class Timeline:
    """The numbers that the main pass turns into magnetisation.

    Attributes
    ----------
    total
        (repetitions, 4) moments [1/m] and times [s] by which transverse states move. The values
        are in all the others; this is where the gradient by the states' positions goes that does
        not flow through these.
    duration
        (repetitions,) [s].
    b_end
        (states,) diffusion weighting over the repetition [s/m²].
    k_anchor
        (items, 4) k-space position [1/m] and dephasing time [s] of the state at the anchor.
    t_anchor
        (items,) time since the pulse at the anchor [s].
    b_anchor
        (items,) diffusion weighting up to the anchor [s/m²].
    offset
        (rows, 4) position [1/m] and time [s] of a sample relative to its anchor.
    b_offset
        (rows,) diffusion weighting relative to the anchor [s/m²].
    k_sample
        (rows, xyz) k-space position of the state at the sample [1/m].
    """

    total: Tensor
    duration: Tensor
    b_end: Tensor
    k_anchor: Tensor
    t_anchor: Tensor
    b_anchor: Tensor
    offset: Tensor
    b_offset: Tensor
    k_sample: Tensor


def state_positions(graph: StateGraph, total: Tensor) -> Tensor:
    """K-space positions of all states right after the pulse that made them.

    Parameters
    ----------
    graph
        The states.
    total
        (repetitions, 4) moments and durations of the repetitions, float64.

    Returns
    -------
    Tensor
        (states, 4) position [1/m] and dephasing time [s]. Differentiated along each state's first
        ancestor.
    """
    return _StatePositions.apply(graph, total)


def make_timeline(
    graph: StateGraph,
    integrals: Integrals,
    start: Tensor,
    items: Items,
    followed: tuple[int, ...] | None = None,
) -> Timeline:
    """Collect positions, times and diffusion weightings of states and items.

    A state that starts at k0 has, after the moment κ(t) since the pulse,

    b = (2π)² ∫ |k0 + κ|² dt = (2π)² [|k0|² t + k0·∫ 2κ dt + ∫ |κ|² dt],

    with the integrals piecewise exact for moments that change linearly within an event.

    Parameters
    ----------
    graph, integrals, start, items
        What to collect from.
    followed
        Along which axes all gradients by positions go through the totals; those of phases do
        along all axes then. None lets all of them flow through ``start``.
    """
    anchored, total = start, integrals.total.detach()
    if followed is not None:
        apart = torch.isin(torch.arange(4), torch.tensor(followed))
        anchored, start = start.detach(), torch.where(apart, start.detach(), start)
        total = integrals.total
    repetition = torch.from_numpy(graph.repetition)
    transverse = torch.from_numpy(graph.is_transverse)
    k0 = start[:, :3]
    squared = (k0 * k0).sum(1)
    dephasing = (k0 * integrals.linear_total[repetition]).sum(1) + integrals.quadratic_total[
        repetition
    ]
    b_end = squared * integrals.total[repetition, 3] + torch.where(transverse, dephasing, 0.0)

    def weighting(state: Tensor, event: Tensor) -> Tensor:
        return SQUARED_TURN * (
            squared[state] * integrals.position[event, 3]
            + (k0[state] * integrals.linear[event]).sum(1)
            + integrals.quadratic[event]
        )

    state, anchor = items.state, items.anchor
    rows_per_item = items.first_row.diff()
    row_state = torch.repeat_interleave(state, rows_per_item)
    row_anchor = torch.repeat_interleave(anchor, rows_per_item)
    b_anchor = weighting(state, anchor)
    position = integrals.position[items.event]
    return Timeline(
        total=total,
        duration=integrals.total[:, 3],
        b_end=SQUARED_TURN * b_end,
        k_anchor=anchored[state] + integrals.position[anchor],
        t_anchor=integrals.position[anchor, 3],
        b_anchor=b_anchor,
        offset=position - integrals.position[row_anchor],
        b_offset=weighting(row_state, items.event)
        - torch.repeat_interleave(b_anchor, rows_per_item),
        k_sample=(start[row_state] + position)[:, :3],
    )


class _StatePositions(torch.autograd.Function):
    """Follow each state's first ancestor: moves add the totals, conjugation mirrors."""

    @staticmethod
    def forward(ctx: Any, graph: StateGraph, total: Tensor) -> Tensor:
        ctx.graph = graph
        return torch.from_numpy(follow(graph, total.detach().numpy()))

    @staticmethod
    def backward(ctx: Any, *gradient: Tensor) -> tuple[None, Tensor]:
        graph = ctx.graph
        start = gradient[0].numpy().copy()
        total = np.zeros((len(graph.count), 4))
        for states, before, moving, source, sign, (taker, giver, _) in reversed(_steps(graph)):
            np.add.at(start, giver, start[taker])
            end = np.zeros((before.stop - before.start, 4))
            np.add.at(end, source, sign[:, None] * start[states])
            total[graph.repetition[states.start] - 1] = end[:moving].sum(0)
            start[before] += end
        return None, torch.from_numpy(total)


def follow(graph: StateGraph, total: np.ndarray) -> np.ndarray:
    """Return (states, axes) positions, of (repetitions, axes) totals; see `state_positions`."""
    start = np.zeros((len(graph.emits), total.shape[1]), total.dtype)
    for states, before, moving, source, sign, (taker, giver, shift) in _steps(graph):
        end = start[before].copy()
        end[:moving] += total[graph.repetition[states.start] - 1]
        start[states] = sign[:, None].astype(total.dtype) * end[source]
        start[taker] = start[giver]
        start[taker, -1] += shift.astype(total.dtype)
    return start


def _steps(
    graph: StateGraph,
) -> list[tuple[slice, slice, int, np.ndarray, np.ndarray, tuple[np.ndarray, ...]]]:
    """For each repetition but the first: states, those before, how many of them move, ancestors.

    And what there is of `StateGraph.without_ancestors`. The undephased longitudinal state gets
    sign 0: it stays at the centre.
    """
    steps = []
    without = graph.without_ancestors
    first_without = np.searchsorted(without[0], graph.first_state)
    has_ancestor = np.diff(graph.first_edge) > 0
    edge = np.minimum(graph.first_edge[:-1], max(len(graph.kind) - 1, 0))
    source = np.where(has_ancestor, graph.source[edge], 0)
    sign = np.where(CONJUGATING[graph.kind[edge]], -1.0, 1.0) * has_ancestor
    sign[graph.first_state[:-1] + graph.transverse] = 0.0
    for repetition in range(1, len(graph.count)):
        first, middle, last = graph.first_state[repetition - 1 : repetition + 2]
        states = slice(middle, last)
        steps.append((
            states,
            slice(first, middle),
            int(graph.transverse[repetition - 1]),
            source[states],
            sign[states],
            tuple(
                part[first_without[repetition] : first_without[repetition + 1]] for part in without
            ),
        ))  # fmt: skip
    return steps
