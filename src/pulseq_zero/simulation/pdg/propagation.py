"""Propagation of the states through the sequence, in plain torch, and its adjoint.

Conventions (Endres et al., MRM 2024, doi:10.1002/mrm.30055): a pulse of angle θ and phase φ
makes, of ancestors m,

- zz: cos θ · m,  ++: cos²(θ/2) · m
- z+: ζ · m with ζ = -i/√2 · sin θ · exp(iφ),  +z: -ζ* · m,  -z: -ζ · m*
- -+: μ · m* with μ = sin²(θ/2) · exp(2iφ)

and the states then relax: transverse ones by exp(-T R2 - b D), longitudinal ones by
exp(-T R1 - b D), the undephased one towards 1. What a state at (k, τ) emits at a place r turns by
exp(2πi (k·r + τ B0)), the sense of Pulseq: the paper's is the opposite.

Positions are the same for all paths that meet in a state, but their derivatives are not: a path
moves with the repetitions that it was transverse in. As conjugation mirrors positions and i alike,
the gradient by the phase at the end of a repetition, taken there, has every path's sign: times
2π r and 2π B0 it is that by moment and time. What depends on positions otherwise (T2', diffusion,
the voxels' shape) has a gradient of its own for each axis, i times its slope times that of the
magnetisation, which is taken back in the same way; see `PositionSlopes`.

Computed in the rotating frame of each pulse, where transverse states are m exp(-iφ): there a pulse
is a few sparse matrices, see `pulse_matrices`. Between two pulses transverse states turn by the
difference of the phases; what they emit turns back.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pulseq_zero.simulation.pdg import played_torch
from pulseq_zero.simulation.pdg.backend import Adjoint, Drive, Played, Wanted
from pulseq_zero.simulation.pdg.emission import emission, emission_gradients
from pulseq_zero.simulation.pdg.encoding import turns_to_complex
from pulseq_zero.simulation.pdg.plan import Plan
from pulseq_zero.simulation.pdg.played_torch import make_played_steps
from pulseq_zero.simulation.pdg.position_slopes import PositionSlopes
from pulseq_zero.simulation.pdg.pulse_matrices import Step, make_steps
from pulseq_zero.simulation.pdg.voxels import Voxels


class TorchBackend:
    """Sparse matrix products for all voxels and states of a repetition.

    The memory it works in is kept between calls: one instance serves one thread.
    """

    def __init__(self) -> None:
        self._steps: tuple[Plan, torch.device, torch.dtype, list[Step]] | None = None
        self._room = torch.empty(0)

    def bytes_per_voxel(self, plan: Plan, *, adjoint: bool, axes: int = 0) -> int:
        """Memory needed for each voxel, see `Backend.bytes_per_voxel`."""
        largest, repetitions = int(plan.graph.count.max(initial=0)), len(plan.graph.count)
        if not adjoint:
            return 8 * (8 * largest + 2 * repetitions + 5 * plan.item_count)
        # What is kept for the way back: complex states and their real decay factors.
        kept = (8 + 4) * len(plan.graph.emits)
        # The items' phases and decays are gone when the way back begins.
        passing = max(6 * plan.item_count, 4 * plan.item_count + 6 * largest)
        passing += axes * (4 * plan.item_count + 6 * largest)
        return kept + 8 * (2 * repetitions + passing)

    def emit(
        self, plan: Plan, drive: Drive, voxels: Voxels, played: Played | None = None
    ) -> Tensor:
        """Return the magnetisation of each item at its anchor, (items, voxels) complex."""
        if played is not None:
            played_steps = make_played_steps(plan, voxels.R1.device, voxels.R1.dtype)
            return played_torch.emit(played_steps, plan, drive, voxels, played)
        steps = self._steps_of(plan, voxels)
        largest = max((step.rows for step in steps), default=0)
        # One step reads what the one before has written.
        room = self._room_for(2 * largest, voxels)
        rooms = [room[(largest if step.number % 2 else 0) :][: step.rows] for step in steps]
        measured = voxels.R1.new_empty(2, plan.item_count, len(voxels))
        _propagate(steps, _Effects(plan, drive, voxels), voxels, rooms, measured)
        return torch.complex(*measured).mul_(emission(plan, drive, voxels))

    def turn(self, values: Tensor, k: Tensor, voxels: Voxels) -> None:
        """Turn what voxels emit by their places, see `Backend.turn`."""
        turns = k[:, :3] @ voxels.position.to(k)
        turns.addcmul_(k[:, 3:], voxels.B0.to(k))
        turns.add_(voxels.B1_phase[0], alpha=0.5 / math.pi)
        turns = turns.sub_(turns.round()).to(voxels.B0)
        values.mul_(turns_to_complex(turns, torch.ones_like(turns)))

    def adjoint(
        self,
        plan: Plan,
        drive: Drive,
        voxels: Voxels,
        gradient: Tensor,
        slopes: PositionSlopes | None,
        wanted: Wanted,
        played: Played | None = None,
    ) -> Adjoint:
        """Return the gradients, see `Backend.adjoint`."""
        if played is not None:
            played_steps = make_played_steps(plan, voxels.R1.device, voxels.R1.dtype)
            return played_torch.adjoint(
                played_steps, plan, drive, voxels, gradient, slopes, wanted, played
            )
        result = Adjoint.zeros(drive, voxels, maps=wanted.maps)
        steps = self._steps_of(plan, voxels)
        rows = [step.rows for step in steps]
        room = self._room_for(sum(rows) + len(plan.graph.emits), voxels)
        rooms, decays = list(room[: sum(rows)].split(rows)), room[sum(rows) :]
        effects = _Effects(plan, drive, voxels, decays)
        measured = None
        if wanted.beyond_angles:
            measured = voxels.R1.new_empty(2, plan.item_count, len(voxels))
        _propagate(steps, effects, voxels, rooms, measured)
        pulled = _emission_adjoint(plan, drive, voxels, measured, gradient, slopes, wanted, result)
        toward = voxels.R1.new_zeros(steps[-1].rows if steps else 2, *pulled.shape[2:])
        for step in reversed(steps):
            number = step.number
            if len(step.items):
                toward.index_add_(0, step.measured, pulled[:, step.items].flatten(0, 1))
            before = rooms[number - 1] if number else _in_rows(voxels.initial)
            toward, slope = _rotate_adjoint(step, effects, before, toward)
            result.angle[number] = slope @ voxels.B1[drive.shim[number]]
            if wanted.maps:
                result.maps["B1"][drive.shim[number]] += slope * drive.angle[number]
            if number:
                last = steps[number - 1]
                if wanted.phase or wanted.maps or wanted.total:
                    turning = _turn_slopes(last, before, toward)
                    _turn_gradients(last, drive, turning[0], result)
                    _total_gradients(last, voxels, turning, slopes, result)
                _hand_back(last, voxels, before, toward, result)
                if wanted.timing or wanted.maps:
                    _decay_gradients(last, drive, voxels, before, toward[:, 0], result)
                if slopes:
                    _add_displaced_decay(last, voxels, slopes, toward)
                _turn(last, effects, toward, back=True)
                _decay(last, effects, toward)
        if wanted.maps:
            result.maps["initial"] += torch.complex(toward[0, 0], toward[1, 0])
        return result

    def _steps_of(self, plan: Plan, voxels: Voxels) -> list[Step]:
        device, dtype = voxels.R1.device, voxels.R1.dtype
        if self._steps is None or self._steps[0] is not plan or self._steps[1:3] != (device, dtype):
            self._steps = (plan, device, dtype, make_steps(plan, device, dtype))
        return self._steps[3]

    def _room_for(self, rows: int, voxels: Voxels) -> Tensor:
        """Return (rows, voxels) not yet filled, which takes less time than new memory."""
        size, like = rows * len(voxels), voxels.R1
        kept = (self._room.device, self._room.dtype) == (like.device, like.dtype)
        if not kept or len(self._room) < size:
            self._room = like.new_empty(size)
        return self._room[:size].view(rows, len(voxels))


class _Effects:
    """What pulses and relaxation do to the voxels.

    Parameters
    ----------
    plan, drive, voxels
        As for `Backend.emit`.
    decays
        (states, voxels) room for the decays on the way forward, if the way back will need them.

    Attributes
    ----------
    cos, sin
        (repetitions, voxels) of the flip angles.
    """

    def __init__(
        self, plan: Plan, drive: Drive, voxels: Voxels, decays: Tensor | None = None
    ) -> None:
        shim = list(drive.shim)
        angle = drive.angle[:, None] * voxels.B1[shim]
        self.cos, self.sin = angle.cos(), angle.sin_()
        self._phase, self._shim, self._B1_phase = drive.phase.tolist(), shim, voxels.B1_phase
        graph, device = plan.graph, drive.angle.device
        transverse = torch.from_numpy(graph.is_transverse).to(device)
        duration = drive.duration[torch.from_numpy(graph.repetition).to(device)]
        weights = [duration * transverse, duration * ~transverse, drive.b_end]
        self._weights = torch.stack(weights, 1).neg_()
        self._rates = torch.stack([voxels.R2, voxels.R1, voxels.D])
        self._decays, self._filled = decays, set[int]()

    def turn_after(self, number: int) -> Tensor | None:
        """Return (voxels,) the angle from a pulse's frame to that of the next, None for none."""
        step = self._phase[number] - self._phase[number + 1]
        one, other = self._shim[number], self._shim[number + 1]
        if step == 0 and one == other:
            return None
        return self._B1_phase[one] - self._B1_phase[other] + step

    def decay(self, step: Step) -> Tensor:
        """Return (states, voxels) relaxation and diffusion over a repetition."""
        if self._decays is None:
            return torch.mm(self._weights[step.states], self._rates).exp_()
        factor = self._decays[step.states]
        if step.number not in self._filled:
            torch.mm(self._weights[step.states], self._rates, out=factor).exp_()
            self._filled.add(step.number)
        return factor


def _in_rows(longitudinal: Tensor) -> Tensor:
    """Turn one complex longitudinal state into rows."""
    return torch.view_as_real(longitudinal.resolve_conj()).T.contiguous()


def _propagate(
    steps: list[Step],
    effects: _Effects,
    voxels: Voxels,
    rooms: list[Tensor],
    measured: Tensor | None,
) -> None:
    """Propagate through the whole sequence.

    Each repetition's states, as the next pulse finds them, are left in its room; those of the
    last as its own pulse has made them. ``measured``, (real and imaginary part, items, voxels),
    receives the measured states right after their pulses, in these' frames.
    """
    before = _in_rows(voxels.initial)
    for step, states in zip(steps, rooms, strict=True):
        _rotate(step, effects, before, states)
        if measured is not None and len(step.items):
            measured[:, step.items] = states[step.measured].unflatten(0, (2, -1))
        if step.number + 1 < len(steps):
            longitudinal = _decay(step, effects, states[:, None])
            # The undephased state relaxes towards 1.
            states[2 * step.transverse] += 1 - longitudinal
            _hand_over(step, voxels, states)
            _turn(step, effects, states)
        before = states


def _rotate(step: Step, effects: _Effects, before: Tensor, states: Tensor) -> None:
    """Fill the states after a pulse."""
    with_cos, with_sin = torch.mm(step.turning, before).chunk(2)
    torch.mul(with_cos, effects.cos[step.number], out=states)
    states.addcmul_(with_sin, effects.sin[step.number]).addmm_(step.fixed, before)


def _rotate_adjoint(
    step: Step, effects: _Effects, before: Tensor, toward: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the gradients before the pulse, and (voxels,) that of the flip angle."""
    cos, sin = effects.cos[step.number], effects.sin[step.number]
    flat = toward.flatten(1)
    turned = torch.mm(step.turning_adjoint, flat).unflatten(1, toward.shape[1:])
    with_cos, with_sin = turned.chunk(2)
    back = (with_cos * cos).addcmul_(with_sin, sin)
    back.flatten(1).addmm_(step.fixed_adjoint, flat)
    with_cos, with_sin = with_cos[:, 0].mul_(before), with_sin[:, 0].mul_(before)
    return back, cos * with_sin.sum(0) - sin * with_cos.sum(0)


def _decay(step: Step, effects: _Effects, states: Tensor) -> Tensor:
    """Let (rows, any, voxels) decay over the repetition; return the undephased one's factor."""
    factor, transverse = effects.decay(step), step.transverse
    for rows, part in (
        (states[: 2 * transverse], factor[:transverse]),
        (states[2 * transverse :], factor[transverse:]),
    ):
        rows.view(2, len(part), *rows.shape[1:]).mul_(part[:, None])
    return factor[transverse]


def _hand_over_factors(step: Step, voxels: Voxels) -> Tensor:
    """Return (real and imaginary part, handovers, voxels) what givers are multiplied by."""
    angle = -2 * math.pi * step.shift[:, None] * voxels.B0
    return step.share[:, None] * torch.stack([angle.cos(), angle.sin()])


def _handed_over(step: Step, states: Tensor, factors: Tensor) -> Tensor:
    """Return (real and imaginary part, handovers, voxels) what takers receive."""
    real, imag = states[step.giver].unflatten(0, (2, -1))
    cos, sin = factors
    return torch.stack([real * cos - imag * sin, imag * cos + real * sin])


def _hand_over(step: Step, voxels: Voxels, states: Tensor) -> None:
    """Give a part of some states to others."""
    if len(step.giver):
        received = _handed_over(step, states, _hand_over_factors(step, voxels))
        states.index_add_(0, step.taker, received.flatten(0, 1))


def _hand_back(step: Step, voxels: Voxels, states: Tensor, toward: Tensor, result: Adjoint) -> None:
    """Undo a hand-over in the states, and take the gradients to those that gave."""
    if not len(step.giver):
        return
    factors = _hand_over_factors(step, voxels)
    received = _handed_over(step, states, factors)
    states.index_add_(0, step.taker, received.flatten(0, 1), alpha=-1.0)
    real, imag = toward[step.taker].unflatten(0, (2, -1))
    if result.maps:
        turning = imag[:, 0] * received[0] - real[:, 0] * received[1]
        result.maps["B0"] -= 2 * math.pi * (step.shift @ turning)
    cos, sin = factors[:, :, None]
    back = torch.cat([real * cos + imag * sin, imag * cos - real * sin])
    toward.index_add_(0, step.giver, back)


def _decay_gradients(
    step: Step, drive: Drive, voxels: Voxels, states: Tensor, toward: Tensor, result: Adjoint
) -> None:
    """Add the gradients of times, weightings and rates, from the states after the decay.

    A state that decays by exp(-x) changes by its own value with x, the undephased one by its
    distance from 1.
    """
    middle = 2 * step.transverse
    loss = states * toward
    loss[middle] -= toward[middle]
    transverse, longitudinal = loss[:middle].sum(0), loss[middle:].sum(0)
    result.b_end.index_add_(0, step.state_of_row, (loss @ voxels.D).double(), alpha=-1)
    result.duration[step.number] -= transverse @ voxels.R2 + longitudinal @ voxels.R1
    if result.maps:
        result.maps["R2"] -= drive.duration[step.number] * transverse
        result.maps["R1"] -= drive.duration[step.number] * longitudinal
        result.maps["D"] -= drive.b_end[step.state_of_row] @ loss


def _turn(step: Step, effects: _Effects, states: Tensor, *, back: bool = False) -> None:
    """Turn transverse states into the next pulse's frame, or their gradient back."""
    angle = effects.turn_after(step.number)
    if angle is None:
        return
    real, imag = states[: 2 * step.transverse].chunk(2)
    cos, sin = angle.cos(), angle.sin()
    if back:
        sin.neg_()
    turned = (real * cos).addcmul_(imag, sin, value=-1)
    imag.mul_(cos).addcmul_(real, sin)
    real.copy_(turned)


def _turn_slopes(step: Step, states: Tensor, toward: Tensor) -> Tensor:
    """Return (1 + axes, voxels) gradients by the phase of all transverse states."""
    real, imag = states[: 2 * step.transverse, None].chunk(2)
    by_real, by_imag = toward[: 2 * step.transverse].chunk(2)
    return (by_imag * real).addcmul_(by_real, imag, value=-1).sum(0)


def _turn_gradients(step: Step, drive: Drive, turning: Tensor, result: Adjoint) -> None:
    """Add the gradients of phases by the turn from a pulse's frame to that of the next."""
    total = turning.sum()
    result.phase[step.number] += total
    result.phase[step.number + 1] -= total
    if result.maps:
        result.maps["B1_phase"][drive.shim[step.number]] += turning
        result.maps["B1_phase"][drive.shim[step.number + 1]] -= turning


def _total_gradients(
    step: Step, voxels: Voxels, turning: Tensor, slopes: PositionSlopes | None, result: Adjoint
) -> None:
    """Add the gradients by what moves the states over a repetition."""
    along = torch.cat([voxels.position, voxels.B0[None]])
    result.total[step.number] += 2 * math.pi * (along @ turning[0])
    if slopes:
        result.total[step.number, list(slopes.axes)] += turning[1:].sum(1)


def _add_displaced_decay(
    step: Step, voxels: Voxels, slopes: PositionSlopes, toward: Tensor
) -> None:
    """Add what diffusion over a repetition makes of displacements; see `PositionSlopes`."""
    middle, slope = step.transverse, slopes.state[:, step.states].T
    for rows, states in (
        (toward[: 2 * middle], slope[:middle]),
        (toward[2 * middle :], slope[middle:]),
    ):
        real, imag = rows.chunk(2)
        change = states[:, :, None] * voxels.D
        real[:, 1:] += change * imag[:, :1]
        imag[:, 1:] -= change * real[:, :1]


def _emission_adjoint(
    plan: Plan,
    drive: Drive,
    voxels: Voxels,
    measured: Tensor | None,
    gradient: Tensor,
    slopes: PositionSlopes | None,
    wanted: Wanted,
    result: Adjoint,
) -> Tensor:
    """Return the gradients of the measured states, and add those that depend on these.

    Measured states, needed for gradients beyond those of angles, are (real and imaginary part,
    items, voxels). Their gradients are (real and imaginary part, items, 1 + axes, voxels).
    """
    factor = emission(plan, drive, voxels)
    item_slopes = slopes.item if slopes else ()
    pulled = voxels.R1.new_empty(2, plan.item_count, 1 + len(item_slopes), len(voxels))
    back = gradient[0] * factor
    pulled[0, :, 0], pulled[1, :, 0] = back.real, -back.imag
    for place, item_slope in enumerate(item_slopes):
        rate = item_slope @ torch.stack([voxels.R2dash, voxels.D])
        displaced = back * rate.neg_()
        if place + 1 < len(gradient):
            displaced.addcmul_(gradient[place + 1], factor)
        # The gradient is the conjugate; i times that.
        pulled[0, :, place + 1], pulled[1, :, place + 1] = displaced.imag, displaced.real
    if measured is not None:
        emitted = factor.mul_(torch.complex(*measured))
        if wanted.emitted:
            result.emitted = emitted
        emission_gradients(plan, drive, voxels, gradient[0].mul_(emitted), wanted, result)
    return pulled
