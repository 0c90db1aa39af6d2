"""Pulses as sparse matrices that all voxels have in common.

In the rotating frame of its pulse (see `propagation` for the conventions) all factors of a
transition are real or imaginary. With real and imaginary parts of the states in rows of their own
a pulse of angle θ is then

    m ← (P + cos θ · Q + sin θ · R) m

where P, Q and R hold nothing but numbers, and its adjoint is the same with the transposed
matrices.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pulseq_zero.simulation.pdg.graph import KINDS
from pulseq_zero.simulation.pdg.plan import Plan

_ROOT_HALF = math.sqrt(0.5)
_NONE, _HALF = (0.0, 0.0), (0.5, 0.5)
# What a transition has in P, Q and R, for the real and for the imaginary part that it makes. The
# entries of R are imaginary: they make real parts of imaginary ones, and the reverse.
_ENTRIES = {
    "zz": (_NONE, (1.0, 1.0), _NONE),
    "++": (_HALF, _HALF, _NONE),
    "-+": ((0.5, -0.5), (-0.5, 0.5), _NONE),
    "z+": (_NONE, _NONE, (_ROOT_HALF, -_ROOT_HALF)),
    "+z": (_NONE, _NONE, (_ROOT_HALF, -_ROOT_HALF)),
    "-z": (_NONE, _NONE, (_ROOT_HALF, _ROOT_HALF)),
}


@dataclass(frozen=True)
class Step:
    """One repetition's part of the plan, on the device.

    States lie in rows: real parts of the transverse ones, their imaginary parts, real parts of
    the longitudinal ones, their imaginary parts.

    Attributes
    ----------
    number
        The repetition.
    states
        Its states, numbered over all repetitions.
    transverse
        How many are transverse; the number of the undephased longitudinal one.
    state_of_row
        (rows,) numbers of the states, over all repetitions.
    fixed, fixed_adjoint
        P, and its transpose.
    turning, turning_adjoint
        Q above R, and the transpose of Q above that of R.
    items, measured
        Items measured here, and the rows of their states' real, then of their imaginary parts.
    giver, taker
        (2 * 2 * handovers,) rows that go on in others at the end of the repetition, and those
        others, all real before all imaginary ones.
    share, shift
        (2 * handovers,) which part of them, and by how much more the others are dephased [s].
    """

    number: int
    states: slice
    transverse: int
    state_of_row: Tensor
    fixed: Tensor
    fixed_adjoint: Tensor
    turning: Tensor
    turning_adjoint: Tensor
    items: Tensor
    measured: Tensor
    giver: Tensor
    taker: Tensor
    share: Tensor
    shift: Tensor

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.state_of_row)


def make_steps(plan: Plan, device: torch.device, dtype: torch.dtype) -> list[Step]:
    """Cut a plan into its repetitions.

    Parameters
    ----------
    plan
        States, edges and items.
    device, dtype
        Of the matrices.
    """
    graph = plan.graph
    order, first_item = plan.items_by_repetition
    state = plan.items.state.numpy()
    entries = np.array([_ENTRIES[kind] for kind in KINDS])

    def sparse(parts: Sequence[tuple[np.ndarray, ...]], size: tuple[int, int]) -> Tensor:
        return _one_above_the_other(parts, size).to(device=device, dtype=dtype)

    result = []
    count_before, transverse_before = 1, 0
    for number, (count, transverse) in enumerate(
        zip(graph.count.tolist(), graph.transverse.tolist(), strict=True)
    ):
        first = int(graph.first_state[number])
        edges = slice(graph.first_edge[first], graph.first_edge[first + count])
        of_edge = entries[graph.kind[edges]]
        target = _rows_of(graph.target[edges] - first, count, transverse)
        source = _rows_of(graph.source[edges], count_before, transverse_before)
        source = np.where(of_edge[:, 2].any(1), source[::-1], source)
        values = of_edge.transpose(1, 2, 0).reshape(3, -1)
        forth = [(target.ravel(), source.ravel(), value) for value in values]
        back = [(source.ravel(), target.ravel(), value) for value in values]
        after, before = 2 * count, 2 * count_before
        state_of_row = np.empty(after, dtype=np.int64)
        state_of_row[_rows_of(np.arange(count), count, transverse)] = first + np.arange(count)
        items = order[first_item[number] : first_item[number + 1]]
        measured = _rows_of(state[items] - first, count, transverse).ravel()
        here = slice(graph.first_given[number], graph.first_given[number + 1])
        takers = graph.hand_over.taker[here]
        givers = np.broadcast_to(graph.hand_over.giver[here, None], takers.shape)
        giver, taker = (
            _rows_of(states.ravel() - first, count, transverse).ravel()
            for states in (givers, takers)
        )
        share, shift = graph.hand_over.share[here].ravel(), graph.hand_over.shift[here].ravel()
        result.append(
            Step(
                number=number,
                states=slice(first, first + count),
                transverse=transverse,
                state_of_row=torch.from_numpy(state_of_row).to(device),
                fixed=sparse(forth[:1], (after, before)),
                fixed_adjoint=sparse(back[:1], (before, after)),
                turning=sparse(forth[1:], (after, before)),
                turning_adjoint=sparse(back[1:], (before, after)),
                items=torch.from_numpy(items).to(device),
                measured=torch.from_numpy(measured).to(device),
                giver=torch.from_numpy(giver).to(device),
                taker=torch.from_numpy(taker).to(device),
                share=torch.from_numpy(share).to(device=device, dtype=dtype),
                shift=torch.from_numpy(shift).to(device=device, dtype=dtype),
            )
        )
        count_before, transverse_before = count, transverse
    return result


def _rows_of(states: np.ndarray, count: int, transverse: int) -> np.ndarray:
    """Return (2, states) the rows of their real and imaginary parts, see `Step`."""
    longitudinal = states >= transverse
    real = states + np.where(longitudinal, transverse, 0)
    imag = states + np.where(longitudinal, count, transverse)
    return np.stack([real, imag])


def _one_above_the_other(parts: Sequence[tuple[np.ndarray, ...]], size: tuple[int, int]) -> Tensor:
    """Make one sparse matrix of several, each given by rows, columns and values."""
    height, width = size
    row = np.concatenate([row + place * height for place, (row, _, _) in enumerate(parts)])
    column = np.concatenate([column for _, column, _ in parts])
    value = np.concatenate([value for _, _, value in parts])
    used = value != 0
    return torch.sparse_coo_tensor(
        torch.from_numpy(np.stack([row[used], column[used]])),
        torch.from_numpy(value[used]),
        (len(parts) * height, width),
        check_invariants=False,
    ).coalesce()
