"""How a sequence is sampled, kept as long as its states and trajectory stay."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from pulseq_zero.conversion.repetitions import Repetitions
from pulseq_zero.simulation.pdg.graph import StateGraph
from pulseq_zero.simulation.pdg.plan import Plan, make_plan
from pulseq_zero.simulation.pdg.position_slopes import (
    PositionSlopes,
    has_one_history,
    make_position_slopes,
)
from pulseq_zero.simulation.pdg.prepared_phantom import PreparedPhantom
from pulseq_zero.simulation.pdg.readouts import PatternTable
from pulseq_zero.simulation.pdg.timeline import Integrals, Timeline, make_timeline, state_positions

# What depends on a state's position by less than this part of the accuracy, relative to its phase
# at the phantom's edge, is differentiated along the state's first ancestor only.
_POSITION_SHARE = 0.1

# Diffusion inside a readout may err by this part of the accuracy before segments are halved.
_DIFFUSION_SHARE = 0.1
_SHORTEST_SEGMENT = 1

# Cells of a voxel are in phase if they are apart by less than this [turns].
_IN_PHASE = 1e-4


class KeptPlan:
    """Plans how states are sampled in a phantom."""

    def __init__(self, phantom: PreparedPhantom) -> None:
        self._phantom = phantom
        self._known: tuple[StateGraph, Repetitions, Plan, bool] | None = None

    def of(
        self,
        states: StateGraph,
        integrals: Integrals,
        repetitions: Repetitions,
        *,
        by_tissue: bool,
    ) -> tuple[Plan, Timeline, PositionSlopes | None, float]:
        """Plan, and cut readouts shorter until diffusion inside them is accurate enough.

        Parameters
        ----------
        states, integrals, repetitions
            The sequence.
        by_tissue
            Whether each tissue is sampled with its own diffusion, which is exact.

        Returns
        -------
        tuple
            The plan; its timeline; what has to be followed along every path, None if paths need
            not be told apart; the bound of the error by diffusion, relative to the signal.
        """
        start = state_positions(states, integrals.total)
        spread = 0.0 if by_tissue else self._phantom.diffusion_spread
        known, numerics = self._known, self._phantom.numerics
        reusable = (
            known is not None
            and known[0].same_structure(states)
            and known[1].same_trajectory(repetitions)
            and known[3] == by_tissue
        )
        # What cells emit is added up at an anchor: they have to stay in phase up to its samples.
        apart = not reusable and self._moves_along_cells(repetitions, integrals)
        longest = _SHORTEST_SEGMENT if apart else None
        while True:
            if reusable and known is not None:
                plan = known[2]
            else:
                patterns = PatternTable(self._phantom.reach, numerics.tolerance)
                plan = make_plan(states, repetitions, integrals, start, patterns, longest)
            timeline = make_timeline(states, integrals, start, plan.items)
            bound = spread * _largest_weighting(timeline, states, plan)
            rows = max(plan.rows, default=0)
            accurate = bound <= _DIFFUSION_SHARE * numerics.accuracy
            if reusable or accurate or rows <= _SHORTEST_SEGMENT:
                break
            longest = max(_SHORTEST_SEGMENT, rows // 2)
        if not reusable:
            self._known = (states, repetitions.snapshot(), plan, by_tissue)
        slopes = self._slopes(plan, integrals, start, timeline, repetitions)
        if slopes:
            timeline = make_timeline(states, integrals, start, plan.items, slopes.axes)
        return plan, timeline, slopes, bound

    def _moves_along_cells(self, repetitions: Repetitions, integrals: Integrals) -> bool:
        """Tell whether samples are taken while the cells of a voxel dephase."""
        stack = self._phantom.stack(repetitions)
        if stack is None or len(stack) == 1:
            return False
        extent = 2 * stack.place.abs().amax(0)
        position = integrals.position.detach()[:, :3] * extent
        for number, first in enumerate(repetitions.first_event):
            events = slice(first, first + repetitions.event_count[number])
            sampled = position[events][repetitions.is_sample[events]]
            if len(sampled) and float((sampled.amax(0) - sampled.amin(0)).max()) > _IN_PHASE:
                return True
        return False

    def _slopes(
        self,
        plan: Plan,
        integrals: Integrals,
        start: Tensor,
        timeline: Timeline,
        repetitions: Repetitions,
    ) -> PositionSlopes | None:
        """Return what has to be followed along every path; None if paths need not be told apart."""
        if not integrals.total.requires_grad or has_one_history(
            plan.graph, _moving_repetitions(repetitions)
        ):
            return None
        phantom = self._phantom
        dephased = bool((1 / phantom.data.T2dash.detach()).any())
        return make_position_slopes(
            plan,
            integrals,
            start,
            timeline,
            partial(phantom.answer, phantom.stack(repetitions)),
            (1e-9 * float(phantom.mean_diffusion), 1e-9 * float(phantom.data.D.detach().max())),
            _POSITION_SHARE
            * phantom.numerics.accuracy
            * 2
            * math.pi
            * float(phantom.reach[:3].max()),
            (
                repetitions.gradient_moment.requires_grad,
                repetitions.event_time.requires_grad and dephased,
            ),
        )


def _largest_weighting(timeline: Timeline, states: StateGraph, plan: Plan) -> float:
    """Return the largest diffusion weighting after an anchor, of states by their strength."""
    b_offset = timeline.b_offset.detach().abs()
    if states.strength is not None and len(b_offset):
        strength = torch.from_numpy(states.strength)[plan.items.state]
        b_offset = b_offset * torch.repeat_interleave(strength, plan.items.first_row.diff())
    return float(b_offset.max()) if len(b_offset) else 0.0


def _moving_repetitions(repetitions: Repetitions) -> Tensor | None:
    """Return (repetitions,) whether any event may move, None where that is not known."""
    if repetitions.moving is None:
        return None
    return torch.stack([part.any() for part in repetitions.moving.split(repetitions.event_count)])
