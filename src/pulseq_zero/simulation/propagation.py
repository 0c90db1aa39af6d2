"""Propagation of the states through the sequence, in plain torch, and its adjoint.

Conventions (Endres et al., MRM 2024, doi:10.1002/mrm.30055): a pulse of angle θ and phase φ
makes, of ancestors m,

- zz: cos θ · m,  ++: cos²(θ/2) · m
- z+: ζ · m with ζ = -i/√2 · sin θ · exp(iφ),  +z: -ζ* · m,  -z: -ζ · m*
- -+: μ · m* with μ = sin²(θ/2) · exp(2iφ)

and the states then relax: transverse ones by exp(-T R2 - b D), longitudinal ones by
exp(-T R1 - b D), the undephased one towards 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from pulseq_zero.simulation.encoding import turns_to_complex
from pulseq_zero.simulation.graph import CONJUGATING, KINDS
from pulseq_zero.simulation.plan import Plan
from pulseq_zero.simulation.voxels import Voxels

_ROOT_HALF = math.sqrt(0.5)


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
    k_anchor, t_anchor, b_anchor
        (items, 4), (items,), (items,) see `Timeline`.
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
    maps
        Of the phantom's maps.
    emitted
        Whether the emitted magnetisation itself is needed again.
    """

    phase: bool
    timing: bool
    maps: bool
    emitted: bool


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
    maps: dict[str, Tensor] = field(default_factory=dict)
    emitted: Tensor | None = None

    @classmethod
    def zeros(cls, drive: Drive, voxels: Voxels, *, maps: bool) -> Adjoint:
        """Start sums: float64 for the sequence, the voxels' precision for the maps."""
        names = ("R1", "R2", "R2dash", "D", "B0", "B1", "B1_phase", "initial") if maps else ()
        return cls(
            angle=torch.zeros_like(drive.angle, dtype=torch.float64),
            phase=torch.zeros_like(drive.phase, dtype=torch.float64),
            duration=torch.zeros_like(drive.duration, dtype=torch.float64),
            b_end=torch.zeros_like(drive.b_end, dtype=torch.float64),
            k_anchor=torch.zeros_like(drive.k_anchor, dtype=torch.float64),
            t_anchor=torch.zeros_like(drive.t_anchor, dtype=torch.float64),
            b_anchor=torch.zeros_like(drive.b_anchor, dtype=torch.float64),
            maps={name: torch.zeros_like(getattr(voxels, name)) for name in names},
        )


class Backend(Protocol):
    """Makes the emitted magnetisation, and its adjoint."""

    def bytes_per_voxel(self, plan: Plan, *, adjoint: bool) -> int:
        """Memory needed for each voxel, in float32."""

    def emit(self, plan: Plan, drive: Drive, voxels: Voxels) -> Tensor:
        """Return the magnetisation of each item at its anchor, (items, voxels) complex."""

    def adjoint(
        self, plan: Plan, drive: Drive, voxels: Voxels, gradient: Tensor, wanted: Wanted
    ) -> Adjoint:
        """Return the gradients.

        Parameters
        ----------
        plan, drive, voxels
            As for `emit`.
        gradient
            (items, voxels) γ with dL = Re Σ γ dX for a change dX of the emitted
            magnetisation. Its memory may be reused.
        wanted
            What is asked for.
        """


class TorchBackend:
    """One tensor operation for all voxels and all states of a kind."""

    def __init__(self) -> None:
        self._edges: tuple[Plan, torch.device, list[_Edges]] | None = None

    def bytes_per_voxel(self, plan: Plan, *, adjoint: bool) -> int:
        """Memory needed for each voxel, in float32."""
        largest = int(plan.graph.count.max(initial=0))
        states = len(plan.graph.emits) if adjoint else 2 * largest
        return 8 * (states + 6 * largest + (3 if adjoint else 1) * plan.item_count)

    def emit(self, plan: Plan, drive: Drive, voxels: Voxels) -> Tensor:
        """Return the magnetisation of each item at its anchor, (items, voxels) complex."""
        emitted = voxels.initial.new_empty(plan.item_count, len(voxels))
        states = voxels.initial[None]
        for number, edges in enumerate(self._edges_of(plan, voxels)):
            rotation = _Rotation(drive, voxels, number)
            states = _rotate(edges, rotation, states)
            if len(edges.items):
                factor = _emission(drive, voxels, edges)
                emitted[edges.items] = factor.mul_(states[edges.measured])
            states = _relax(edges, drive, voxels, states)
        return emitted

    def adjoint(
        self, plan: Plan, drive: Drive, voxels: Voxels, gradient: Tensor, wanted: Wanted
    ) -> Adjoint:
        """Return the gradients, see `Backend.adjoint`."""
        result = Adjoint.zeros(drive, voxels, maps=wanted.maps)
        if wanted.emitted:
            result.emitted = torch.empty_like(gradient)
        repetitions = self._edges_of(plan, voxels)
        history = _history(repetitions, drive, voxels)
        toward = torch.zeros_like(history[-1]) if history else voxels.initial[None]
        for number in range(len(repetitions) - 1, -1, -1):
            edges, states = repetitions[number], history[number]
            if number + 1 < len(repetitions):
                toward = _relax_adjoint(edges, drive, voxels, states, toward, wanted, result)
            if len(edges.items):
                _emission_adjoint(edges, drive, voxels, states, gradient, toward, wanted, result)
            if number:
                before = _relax(repetitions[number - 1], drive, voxels, history[number - 1])
            else:
                before = voxels.initial[None]
            rotation = _Rotation(drive, voxels, number)
            toward = _rotate_adjoint(edges, rotation, before, toward, drive, voxels, result)
            history.pop()
        if wanted.maps:
            result.maps["initial"] += toward[0]
        return result

    def _edges_of(self, plan: Plan, voxels: Voxels) -> list[_Edges]:
        device = voxels.R1.device
        if self._edges is None or self._edges[0] is not plan or self._edges[1] != device:
            self._edges = (plan, device, _collect_edges(plan, device))
        return self._edges[2]


@dataclass(frozen=True)
class _Edges:
    """One repetition's part of the plan, as index tensors on the device.

    Attributes
    ----------
    number
        The repetition.
    states
        Its states, numbered over all repetitions.
    transverse
        How many are transverse; the number of the undephased longitudinal one.
    transitions
        For each kind: its code, the ancestors, the states made of them.
    items, measured, sign
        Items measured here, the numbers of their states, the signs of their dephasing times.
    """

    number: int
    states: slice
    transverse: int
    transitions: list[tuple[int, Tensor, Tensor]]
    items: Tensor
    measured: Tensor
    sign: Tensor


def _collect_edges(plan: Plan, device: torch.device) -> list[_Edges]:
    graph = plan.graph
    order, first_item = plan.items_by_repetition
    state = plan.items.state.numpy()

    def tensor(values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).to(device)

    result = []
    for number in range(len(graph.count)):
        first, stop = graph.first_state[number : number + 2].tolist()
        edges = slice(graph.first_edge[first], graph.first_edge[stop])
        transitions = []
        for code in range(len(KINDS)):
            these = np.flatnonzero(graph.kind[edges] == code)
            if len(these):
                source, target = graph.source[edges][these], graph.target[edges][these] - first
                transitions.append((code, tensor(source), tensor(target)))
        items = order[first_item[number] : first_item[number + 1]]
        result.append(
            _Edges(
                number=number,
                states=slice(first, stop),
                transverse=int(graph.transverse[number]),
                transitions=transitions,
                items=tensor(items),
                measured=tensor(state[items] - first),
                sign=tensor(plan.item_sign[items]),
            )
        )
    return result


class _Rotation:
    """The factors of one pulse, per voxel."""

    def __init__(self, drive: Drive, voxels: Voxels, number: int) -> None:
        self.number, self.shim = number, drive.shim[number]
        angle = drive.angle[number] * voxels.B1[self.shim]
        phase = drive.phase[number] + voxels.B1_phase[self.shim]
        self.sin, self.cos = angle.sin(), angle.cos()
        self.direction = torch.polar(torch.ones_like(phase), phase)
        self.keep = 0.5 + 0.5 * self.cos
        self.zeta = self.direction * (-1j * _ROOT_HALF * self.sin)
        self.mu = self.direction * self.direction * (1 - self.keep)

    def factor(self, code: int) -> Tensor:
        """Return what a transition multiplies by."""
        match KINDS[code]:
            case "zz":
                return self.cos
            case "++":
                return self.keep
            case "z+":
                return self.zeta
            case "+z":
                return -self.zeta.conj().resolve_conj()
            case "-z":
                return -self.zeta
            case _:
                return self.mu


def _rotate(edges: _Edges, rotation: _Rotation, before: Tensor) -> Tensor:
    states = before.new_zeros(edges.states.stop - edges.states.start, before.shape[1])
    for code, source, target in edges.transitions:
        part = before[source]
        if CONJUGATING[code]:
            part = part.conj().resolve_conj()
        states.index_add_(0, target, part.mul_(rotation.factor(code)))
    return states


def _rotate_adjoint(
    edges: _Edges,
    rotation: _Rotation,
    before: Tensor,
    toward: Tensor,
    drive: Drive,
    voxels: Voxels,
    result: Adjoint,
) -> Tensor:
    """Return the gradient before the pulse; add those of its angle, phase and field."""
    toward_before = torch.zeros_like(before)
    # dL = Re Σ slope · d(factor), the factors being cos θ, cos²(θ/2), ζ and μ
    slope_cos = slope_keep = slope_zeta = slope_mu = torch.zeros_like(before[0])
    for code, source, target in edges.transitions:
        gradient, ancestor = toward[target], before[source]
        if CONJUGATING[code]:
            ancestor = ancestor.conj()
        slope = (gradient.conj() * ancestor).sum(0)
        factor = rotation.factor(code)
        if CONJUGATING[code]:
            gradient = gradient.conj().resolve_conj().mul_(factor)
        else:
            gradient.mul_(factor.conj())
        toward_before.index_add_(0, source, gradient)
        match KINDS[code]:
            case "zz":
                slope_cos = slope
            case "++":
                slope_keep = slope
            case "z+":
                slope_zeta = slope_zeta + slope
            case "+z":
                slope_zeta = slope_zeta - slope.conj()
            case "-z":
                slope_zeta = slope_zeta - slope
            case _:
                slope_mu = slope
    twist = slope_zeta * rotation.direction
    tilt = (slope_mu * rotation.direction * rotation.direction - slope_keep).real
    angle = (
        rotation.sin * (0.5 * tilt - slope_cos.real)
        + _ROOT_HALF * rotation.cos * twist.imag
    )  # fmt: skip
    phase = -(slope_zeta * rotation.zeta).imag - 2 * (slope_mu * rotation.mu).imag
    result.angle[rotation.number] += (angle * voxels.B1[rotation.shim]).sum()
    result.phase[rotation.number] += phase.sum()
    if result.maps:
        result.maps["B1"][rotation.shim] += angle * drive.angle[rotation.number]
        result.maps["B1_phase"][rotation.shim] += phase
    return toward_before


def _decay(edges: _Edges, drive: Drive, voxels: Voxels) -> Tensor:
    """Return (states, voxels) relaxation and diffusion over the repetition."""
    exponent = drive.b_end[edges.states, None] * voxels.D
    duration = drive.duration[edges.number]
    exponent[: edges.transverse] += duration * voxels.R2
    exponent[edges.transverse :] += duration * voxels.R1
    return exponent.neg_().exp_()


def _relax(edges: _Edges, drive: Drive, voxels: Voxels, states: Tensor) -> Tensor:
    decay = _decay(edges, drive, voxels)
    relaxed = states * decay
    relaxed[edges.transverse] += 1 - decay[edges.transverse]
    return relaxed


def _relax_adjoint(
    edges: _Edges,
    drive: Drive,
    voxels: Voxels,
    states: Tensor,
    toward: Tensor,
    wanted: Wanted,
    result: Adjoint,
) -> Tensor:
    """Return the gradient before relaxation; add those of times, weightings and rates."""
    decay = _decay(edges, drive, voxels)
    if wanted.timing or wanted.maps:
        loss = (toward.real * states.real).add_(toward.imag * states.imag)
        # The undephased state relaxes towards 1: its distance from 1 decays.
        loss[edges.transverse] -= toward.real[edges.transverse]
        loss.mul_(decay)
        transverse = loss[: edges.transverse].sum(0)
        longitudinal = loss[edges.transverse :].sum(0)
        result.b_end[edges.states] -= loss @ voxels.D
        result.duration[edges.number] -= transverse @ voxels.R2 + longitudinal @ voxels.R1
        if wanted.maps:
            result.maps["R2"] -= drive.duration[edges.number] * transverse
            result.maps["R1"] -= drive.duration[edges.number] * longitudinal
            result.maps["D"] -= drive.b_end[edges.states] @ loss
    return toward.mul_(decay)


def _emission(drive: Drive, voxels: Voxels, edges: _Edges) -> Tensor:
    """Return (items, voxels) phase and decay of the items' states up to their anchors."""
    k = drive.k_anchor[edges.items]
    turns = k[:, :3] @ voxels.position + k[:, 3:] * voxels.B0
    weights = torch.stack(
        [drive.t_anchor[edges.items], edges.sign * k[:, 3], drive.b_anchor[edges.items]], 1
    )
    exponent = weights @ torch.stack([voxels.R2, voxels.R2dash, voxels.D])
    return turns_to_complex(turns, exponent.neg_().exp_())


def _emission_adjoint(
    edges: _Edges,
    drive: Drive,
    voxels: Voxels,
    states: Tensor,
    gradient: Tensor,
    toward: Tensor,
    wanted: Wanted,
    result: Adjoint,
) -> None:
    """Add to the gradient of the states, and to those of positions, times and maps."""
    items = edges.items
    factor = _emission(drive, voxels, edges)
    gradient = gradient[items]
    toward.index_add_(0, edges.measured, (gradient * factor).conj().resolve_conj())
    if not (wanted.timing or wanted.maps or wanted.emitted):
        return
    emitted = factor.mul_(states[edges.measured])
    if result.emitted is not None:
        result.emitted[items] = emitted
    if not (wanted.timing or wanted.maps):
        return
    slope = gradient.mul_(emitted)
    turning, growing = 2 * math.pi * slope.imag, slope.real.contiguous()
    along = torch.cat([voxels.position, voxels.B0[None]])
    result.k_anchor[items] += (turning @ along.T).double()
    result.k_anchor[items, 3] -= edges.sign * (growing @ voxels.R2dash)
    result.t_anchor[items] -= growing @ voxels.R2
    result.b_anchor[items] -= growing @ voxels.D
    if wanted.maps:
        tau = drive.k_anchor[items, 3]
        result.maps["B0"] += tau @ turning
        result.maps["R2"] -= drive.t_anchor[items] @ growing
        result.maps["R2dash"] -= (edges.sign * tau) @ growing
        result.maps["D"] -= drive.b_anchor[items] @ growing


def _history(repetitions: list[_Edges], drive: Drive, voxels: Voxels) -> list[Tensor]:
    """Return the states right after each pulse."""
    history = []
    states = voxels.initial[None]
    for number, edges in enumerate(repetitions):
        if number:
            states = _relax(repetitions[number - 1], drive, voxels, states)
        states = _rotate(edges, _Rotation(drive, voxels, number), states)
        history.append(states)
    return history
