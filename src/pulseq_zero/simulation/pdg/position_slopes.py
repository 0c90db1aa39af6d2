"""How the signal depends on the states' positions, where paths of different history meet in one.

A state's position is a sum of moments and times of the repetitions that its paths were transverse
in, with a sign for each. Where two paths come to the same position by different repetitions, it
has no single derivative: what depends on it has to be followed along every path.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pulseq_zero.simulation.pdg.graph import CONJUGATING, StateGraph
from pulseq_zero.simulation.pdg.plan import Plan
from pulseq_zero.simulation.pdg.timeline import SQUARED_TURN, Integrals, Timeline, follow


@dataclass(frozen=True)
class PositionSlopes:
    """How what states hold and emit depends on their positions, beyond the phase.

    Attributes
    ----------
    axes
        Coordinates x, y, z (0 to 2) and dephasing time (3), in this order, along which it is
        followed on every path.
    state
        (axes, states) derivatives of the diffusion weightings over a repetition [s/m].
    item
        (axes, items, 2) derivatives of the exponents up to the anchors, by which R2' and D are
        multiplied.
    row
        (axes of space, rows) derivatives of what all voxels of a row have in common [m].
    """

    axes: tuple[int, ...]
    state: Tensor
    item: Tensor
    row: Tensor

    def to(self, device: torch.device, dtype: torch.dtype) -> PositionSlopes:
        """Return the same numbers elsewhere or in another precision."""
        state, item, row = (t.to(device, dtype) for t in (self.state, self.item, self.row))
        return PositionSlopes(self.axes, state, item, row)


def has_one_history(graph: StateGraph, moving: Tensor | None) -> bool:
    """Tell whether all paths that meet in a state depend on the totals in the same way.

    With random integers for totals, whose sums are exact, all ancestors then lead to the same
    position.

    Parameters
    ----------
    graph
        The states.
    moving
        (repetitions,) whether moments and durations may depend on what is differentiated by;
        None for all.
    """
    if len(graph.hand_over.giver):
        return False
    total = np.random.default_rng(0).integers(-(2**62), 2**62, len(graph.count))
    if moving is not None:
        total *= moving.numpy()
    start = follow(graph, total[:, None])[:, 0]
    end = start + total[graph.repetition] * graph.is_transverse
    edge = graph.repetition[graph.target] > 0
    target, kind = graph.target[edge], graph.kind[edge]
    source = graph.first_state[graph.repetition[target] - 1] + graph.source[edge]
    arriving = np.where(CONJUGATING[kind], -end[source], end[source])
    return bool((arriving == start[target]).all())


@torch.no_grad()
def make_position_slopes(
    plan: Plan,
    integrals: Integrals,
    start: Tensor,
    timeline: Timeline,
    answer: Callable[[Tensor], Tensor],
    diffusion: tuple[float, float],
    negligible: float,
    wanted: tuple[bool, bool],
) -> PositionSlopes:
    """Differentiate the weightings of `make_timeline`, and what rows have in common.

    Parameters
    ----------
    plan, integrals, start, timeline
        The states' positions and all that was made of them.
    answer
        That of a voxel to (rows, xyz) positions in k-space [1/m].
    diffusion
        Mean and largest coefficient in the phantom [m²/s].
    negligible
        Slopes [m] of the signal's logarithm by a position in k-space that need not be followed
        on every path.
    wanted
        Whether moments, and whether times count by T2'.
    """
    graph, items, k0 = plan.graph, plan.items, start[:, :3]
    repetition = torch.from_numpy(graph.repetition)
    transverse = torch.from_numpy(graph.is_transverse)[:, None]
    dephasing = torch.where(transverse, integrals.linear_total[repetition], 0.0)
    b_end = 2 * k0 * integrals.total[repetition, 3:] + dephasing

    def slope(state: Tensor, event: Tensor) -> Tensor:
        return 2 * k0[state] * integrals.position[event, 3:] + integrals.linear[event]

    rows_per_item = items.first_row.diff()
    b_anchor = slope(items.state, items.anchor)
    row_state = torch.repeat_interleave(items.state, rows_per_item)
    b_offset = slope(row_state, items.event)
    b_offset -= torch.repeat_interleave(b_anchor, rows_per_item, dim=0)
    mean, largest = diffusion
    shape, by_shape = _with_slope(answer, timeline.k_sample)
    left = torch.exp(-mean * timeline.b_offset)[:, None]
    row = left * (by_shape - SQUARED_TURN * mean * b_offset * shape[:, None])
    state, item = SQUARED_TURN * b_end.T, SQUARED_TURN * b_anchor.T

    strength = [_largest(row.T), largest * _largest(state), largest * _largest(item)]
    followed = torch.stack(strength).amax(0) > negligible
    axes = torch.nonzero(followed & wanted[0])[:, 0].tolist()
    row, state, item = math.sqrt(2) * row.T[axes], state[axes], item[axes]
    item = torch.stack([torch.zeros_like(item), item], 2)
    if wanted[1]:
        axes.append(3)
        sign = torch.from_numpy(plan.item_sign).to(item)
        state = torch.cat([state, torch.zeros(1, len(b_end)).to(state)])
        item = torch.cat([item, torch.stack([sign, torch.zeros_like(sign)], 1)[None]])
    return PositionSlopes(tuple(axes), state, item, row)


def _with_slope(answer: Callable[[Tensor], Tensor], k: Tensor) -> tuple[Tensor, Tensor]:
    """Return the (rows,) answers to (rows, xyz) positions, and their derivatives [m]."""
    with torch.enable_grad():
        k = k.detach().requires_grad_()
        value = answer(k)
        if value.requires_grad:
            return value.detach(), torch.autograd.grad(value.sum(), k)[0]
    return value, torch.zeros_like(k)


def _largest(values: Tensor) -> Tensor:
    """Return the largest size along the last axis, zero of nothing."""
    return torch.nn.functional.pad(values.abs(), (0, 1)).amax(-1)
