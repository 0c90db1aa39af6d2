"""Propagation of the states where pulses are played, in plain torch, and its adjoint.

The same as `played_kernel`, in any precision and on any device. Cell after cell is gone through and
differentiated by torch itself: what a whole voxel emits is the sum of its cells.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from pulseq_zero.simulation.pdg.backend import Adjoint, Drive, Played, Wanted
from pulseq_zero.simulation.pdg.emission import emission, emission_gradients
from pulseq_zero.simulation.pdg.graph import KINDS
from pulseq_zero.simulation.pdg.plan import Plan
from pulseq_zero.simulation.pdg.position_slopes import PositionSlopes
from pulseq_zero.simulation.pdg.pulse_profiles import spinors
from pulseq_zero.simulation.pdg.voxels import Voxels

_ROOT_TWO = math.sqrt(2.0)


@dataclass(frozen=True)
class PlayedStep:
    """One repetition's part of the plan, on the device.

    Attributes
    ----------
    states
        Its states, numbered over all repetitions.
    transverse
        How many are transverse; the number of the undephased longitudinal one.
    edges
        For each of `KINDS` (edges,) which states arise from which of the repetition before.
    items, measured
        Items measured here, and their states.
    giver, taker, share, shift
        (handovers,) and (handovers, takers) as in `HandOver`.
    """

    states: slice
    transverse: int
    edges: tuple[tuple[Tensor, Tensor], ...]
    items: Tensor
    measured: Tensor
    giver: Tensor
    taker: Tensor
    share: Tensor
    shift: Tensor


def make_played_steps(plan: Plan, device: torch.device, dtype: torch.dtype) -> list[PlayedStep]:
    """Cut a plan into its repetitions."""
    graph = plan.graph
    order, first_item = plan.items_by_repetition
    state = plan.items.state.numpy()

    def put(values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(device)

    result = []
    for number, count in enumerate(graph.count.tolist()):
        first = int(graph.first_state[number])
        edges = slice(graph.first_edge[first], graph.first_edge[first + count])
        kind, target = graph.kind[edges], graph.target[edges] - first
        items = order[first_item[number] : first_item[number + 1]]
        given = slice(graph.first_given[number], graph.first_given[number + 1])
        result.append(
            PlayedStep(
                states=slice(first, first + count),
                transverse=int(graph.transverse[number]),
                edges=tuple(
                    (put(target[kind == code]), put(graph.source[edges][kind == code]))
                    for code in range(len(KINDS))
                ),
                items=put(items),
                measured=put(state[items] - first),
                giver=put(graph.hand_over.giver[given] - first),
                taker=put(graph.hand_over.taker[given] - first),
                share=put(graph.hand_over.share[given]).to(dtype),
                shift=put(graph.hand_over.shift[given]).to(dtype),
            )
        )
    return result


def emit(
    steps: list[PlayedStep], plan: Plan, drive: Drive, voxels: Voxels, played: Played
) -> Tensor:
    """Return the magnetisation of each item at its anchor, (items, voxels) complex."""
    total = torch.zeros(plan.item_count, len(voxels), dtype=voxels.initial.dtype)
    total = total.to(voxels.R1.device)
    for cell in range(len(played.place)):
        way = _Way(drive, voxels, played.pulse, *_pulses(played, voxels, cell))
        measured, _ = way.measured(steps, plan)
        total += _turned(measured, _angle(drive, played, cell))
    return total * _emission(plan, drive, voxels)


def adjoint(
    steps: list[PlayedStep],
    plan: Plan,
    drive: Drive,
    voxels: Voxels,
    gradient: Tensor,
    slopes: PositionSlopes | None,
    wanted: Wanted,
    played: Played,
) -> Adjoint:
    """Return the gradients, see `propagation.Backend.adjoint`."""
    result = Adjoint.zeros(drive, voxels, maps=wanted.maps)
    factor = _emission(plan, drive, voxels)
    # What torch calls a gradient is the conjugate
    pulled = (gradient[0] * factor).conj()
    by_displaced = [
        (given * factor).conj() if given is not None else torch.zeros_like(pulled)
        for given in _of_axes(gradient, slopes)
    ]
    if slopes:
        for place, item_slope in enumerate(slopes.item):
            rate = item_slope @ torch.stack([voxels.R2dash, voxels.D])
            by_displaced[place] = by_displaced[place] - rate * pulled
    emitted = torch.zeros_like(pulled)
    result.coefficients = torch.zeros_like(played.coefficients)
    result.basis = torch.zeros_like(voxels.basis)
    for cell in range(len(played.place)):
        emitted += _cell_adjoint(
            steps, plan, drive, voxels, pulled, by_displaced, slopes, wanted, played, cell, result
        )
    emitted *= factor
    if wanted.emitted:
        result.emitted = emitted
    apart = Adjoint.zeros(drive, voxels, maps=wanted.maps)
    emission_gradients(plan, drive, voxels, gradient[0] * emitted, wanted, apart)
    # What is emitted is in the frame of the scanner, and depends on no phase of a pulse
    for name in ("k_anchor", "t_anchor", "b_anchor"):
        getattr(result, name).add_(getattr(apart, name))
    for name, values in apart.maps.items():
        if name != "B1_phase":
            result.maps[name] += values
    return result


def _emission(plan: Plan, drive: Drive, voxels: Voxels) -> Tensor:
    """Return (items, voxels) phase and decay up to the anchors, in the frame of the scanner."""
    still = replace(voxels, B1_phase=torch.zeros_like(voxels.B1_phase))
    return emission(plan, replace(drive, phase=torch.zeros_like(drive.phase)), still)


def _of_axes(gradient: Tensor, slopes: PositionSlopes | None) -> list[Tensor | None]:
    if slopes is None:
        return []
    given = list(gradient[1:])
    return [given[n] if n < len(given) else None for n in range(len(slopes.axes))]


def _cell_adjoint(
    steps: list[PlayedStep],
    plan: Plan,
    drive: Drive,
    voxels: Voxels,
    pulled: Tensor,
    by_displaced: list[Tensor],
    slopes: PositionSlopes | None,
    wanted: Wanted,
    played: Played,
    cell: int,
    result: Adjoint,
) -> Tensor:
    """Add the gradients that come through one cell; return what it emits, but for its decay."""
    repetitions = len(steps)
    with torch.enable_grad():
        leaves = _Leaves(drive, voxels, played)
        a, b = _pulses(leaves.played, leaves.voxels, cell)
        turn = voxels.R1.new_zeros(repetitions, len(voxels)).requires_grad_()
        axes = slopes.axes if slopes else ()
        shift = voxels.R1.new_zeros(repetitions, len(axes)).requires_grad_()
        way = _Way(leaves.drive, leaves.voxels, played.pulse, a, b, turn, shift, slopes)
        measured, displaced = way.measured(steps, plan)
        place = _angle(drive, played, cell).requires_grad_()
        seen = _turned(measured, place)
        loss = (pulled.conj() * seen).real.sum()
        for given, moved in zip(by_displaced, displaced, strict=True):
            loss = loss + (given.conj() * _turned(moved, place)).real.sum()
        inputs = {**leaves.by_name, "turn": turn, "shift": shift, "place": place}
        found = torch.autograd.grad(loss, list(inputs.values()), allow_unused=True)
    by_name = {name: given for name, given in zip(inputs, found, strict=True) if given is not None}
    for name in ("phase", "duration", "b_end"):
        if name in by_name:
            getattr(result, name).add_(by_name[name])
    if result.coefficients is not None and "coefficients" in by_name:
        result.coefficients += by_name["coefficients"]
    if result.basis is not None and "basis" in by_name:
        result.basis += by_name["basis"]
    for name in result.maps:
        if name in by_name:
            result.maps[name] += by_name[name]
    where = played.place[cell].double().to(voxels.R1.device)
    if wanted.timing and "place" in by_name:
        result.k_anchor[:, :3] += 2 * math.pi * where * by_name["place"].double()[:, None]
    if wanted.total and "turn" in by_name:
        along = torch.cat([voxels.position, voxels.B0[None]])
        turned = by_name["turn"]
        result.total += 2 * math.pi * (turned @ along.T).double()
        result.total[:, :3] += 2 * math.pi * where * turned.sum(1).double()[:, None]
        for number, axis in enumerate(axes):
            if "shift" in by_name:
                result.total[:, axis] += by_name["shift"][:, number].double()
    return seen.detach()


class _Leaves:
    """The numbers that one cell's signal depends on, to be differentiated by."""

    def __init__(self, drive: Drive, voxels: Voxels, played: Played) -> None:
        def leaf(values: Tensor) -> Tensor:
            return values.detach().clone().requires_grad_()

        phase, duration, b_end = map(leaf, (drive.phase, drive.duration, drive.b_end))
        names = ("R1", "R2", "D", "B0", "B1_phase", "initial", "basis")
        of_voxels = {name: leaf(getattr(voxels, name)) for name in names}
        coefficients = leaf(played.coefficients)
        self.drive = replace(drive, phase=phase, duration=duration, b_end=b_end)
        self.voxels = replace(voxels, **of_voxels)
        self.played = replace(played, coefficients=coefficients)
        self.by_name = {
            "phase": phase,
            "duration": duration,
            "b_end": b_end,
            **of_voxels,
            "coefficients": coefficients,
        }


def _pulses(played: Played, voxels: Voxels, cell: int) -> tuple[Tensor, Tensor]:
    """Return complex a and b of the pulses in a cell, (pulses, voxels)."""
    shim = list(played.shim)
    a = b = torch.zeros((), device=voxels.R1.device)
    for layer in played.layer.unique().tolist():
        inside = (played.layer == layer).to(voxels.R1)
        found = spinors(played.coefficients[layer, cell], voxels.basis[shim])
        a, b = a + inside * found[0], b + inside * found[1]
    phase = voxels.B1_phase[shim]
    return a, b * torch.polar(torch.ones_like(phase), phase)


def _angle(drive: Drive, played: Played, cell: int) -> Tensor:
    """Return (items,) by how much what a cell emits turns by its place [rad]."""
    turns = drive.k_anchor.detach()[:, :3] @ played.place[cell].to(drive.k_anchor)
    return (2 * math.pi * (turns - turns.round())).to(drive.duration.dtype)


def _turned(values: Tensor, angle: Tensor) -> Tensor:
    return values * torch.polar(torch.ones_like(angle), angle)[:, None]


class _Way:
    """The way of one cell of all voxels through the sequence.

    Parameters
    ----------
    drive, voxels
        As for `Backend.emit`.
    pulse
        Which pulse each repetition begins with.
    a, b
        (pulses, voxels) what they do in this cell.
    turn
        (repetitions, voxels) further angles by which transverse states turn in each repetition.
    shift, slopes
        (repetitions, axes) further displacements of transverse states, and what changes by them.
    """

    def __init__(
        self,
        drive: Drive,
        voxels: Voxels,
        pulse: tuple[int, ...],
        a: Tensor,
        b: Tensor,
        turn: Tensor | None = None,
        shift: Tensor | None = None,
        slopes: PositionSlopes | None = None,
    ) -> None:
        self._drive, self._voxels = drive, voxels
        self._pulse, self._a, self._b = pulse, a, b
        self._turn, self._shift, self._slopes = turn, shift, slopes

    def measured(self, steps: list[PlayedStep], plan: Plan) -> tuple[Tensor, list[Tensor]]:
        """Return (items, voxels) the states that items measure, and what their displacements weigh.

        A state of several paths is displaced otherwise along each: the second is the sum of their
        magnetisation, each times its displacement along an axis.
        """
        axes = 0 if self._slopes is None else len(self._slopes.axes)
        states = [self._voxels.initial[None], *[0 * self._voxels.initial[None]] * axes]
        parts: list[list[Tensor]] = [[] for _ in range(1 + axes)]
        for number, step in enumerate(steps):
            factors = self._factors(number)
            states = [
                _pulse(step, factors, values, mirrored=place > 0)
                for place, values in enumerate(states)
            ]
            for part, values in zip(parts, states, strict=True):
                part.append(values[step.measured])
            if number + 1 < len(steps):
                states = self._evolve(number, step, states)
        order = torch.cat([step.items for step in steps])
        where = torch.empty_like(order)
        where[order] = torch.arange(len(order), device=order.device)
        found = [torch.cat(part)[where] for part in parts]
        return found[0], found[1:]

    def _factors(self, number: int) -> tuple[Tensor, ...]:
        """Return what each of `KINDS` multiplies by."""
        pulse = self._pulse[number]
        phase = self._drive.phase[number]
        a = self._a[pulse]
        b = self._b[pulse] * torch.polar(torch.ones_like(phase), phase)
        zz = (a * a.conj() - b * b.conj()).real + 0j
        z = -_ROOT_TWO * a * b
        return zz, _ROOT_TWO * a.conj() * b, a.conj() ** 2, z.conj(), z, -(b**2)

    def _evolve(self, number: int, step: PlayedStep, states: list[Tensor]) -> list[Tensor]:
        voxels, transverse = self._voxels, step.transverse
        duration, b_end = self._drive.duration[number], self._drive.b_end[step.states]
        is_transverse = torch.arange(len(b_end), device=b_end.device) < transverse
        rate = torch.where(is_transverse[:, None], voxels.R2, voxels.R1)
        factor = torch.exp(-duration * rate - b_end[:, None] * voxels.D)
        states = [factor * values for values in states]
        grown = torch.zeros_like(states[0])
        grown[transverse] = 1
        states[0] = states[0] + grown * (1 - torch.exp(-duration * voxels.R1))
        if self._slopes is not None:
            for axis in range(len(self._slopes.axes)):
                slope = self._slopes.state[axis, step.states, None] * voxels.D
                states[0] = states[0] - slope * states[1 + axis]
        if len(step.giver):
            # What B0 would make of the takers' further dephasing is taken off
            angle = -2 * math.pi * step.shift[..., None] * voxels.B0
            part = step.share[..., None] * torch.polar(torch.ones_like(angle), angle)
            states = [
                values.index_add(
                    0, step.taker.flatten(), (values[step.giver, None] * part).flatten(0, 1)
                )
                for values in states
            ]
        if self._turn is not None:
            angle = torch.where(is_transverse[:, None], self._turn[number], 0.0)
            states = [values * torch.polar(torch.ones_like(angle), angle) for values in states]
        if self._shift is not None:
            for axis in range(len(states) - 1):
                moved = torch.where(is_transverse[:, None], self._shift[number, axis], 0.0)
                states[1 + axis] = states[1 + axis] + moved * states[0]
        return states


def _pulse(
    step: PlayedStep, factors: tuple[Tensor, ...], before: Tensor, *, mirrored: bool
) -> Tensor:
    """Make the states after a pulse; displacements (``mirrored``) change their sign with k."""
    count = step.states.stop - step.states.start
    states = before.new_zeros(count, before.shape[1])
    for name, factor, (target, source) in zip(KINDS, factors, step.edges, strict=True):
        ancestors = before[source]
        if name.startswith("-"):
            ancestors = -ancestors.conj() if mirrored else ancestors.conj()
        states = states.index_add(0, target, factor * ancestors)
    return states
