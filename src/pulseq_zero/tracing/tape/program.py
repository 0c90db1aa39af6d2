"""Replay: the outputs of a trace for new parameters, without running the traced code."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pulseq_zero.errors import TracingError
from pulseq_zero.tracing.tape.builder import Builder, Index, Node, SlotGuard
from pulseq_zero.tracing.tape.frames import Place
from pulseq_zero.tracing.tape.operations import (
    COMPARISONS,
    ELEMENTWISE,
    REDUCTIONS,
    ROUNDING,
    Array,
    Opaque,
)
from pulseq_zero.tracing.tape.tape import Tape

# Guards that compare what is equal but for rounding, and not exactly, may come out either way.
_ROUNDING_NOISE = 1e-10


class GuardBroken(TracingError):  # noqa: N818 - a turn of events that the caller handles
    """The traced code would take another way for the new parameters.

    Attributes
    ----------
    place
        The line of code that decides.
    """

    def __init__(self, comparison: str, place: Place) -> None:
        super().__init__(f"the comparison ({comparison}) at {place} comes out differently")
        self.place = place


class _Scatter:
    """Adds numbers to places of an array, where places may repeat and some are left out."""

    def __init__(self, index: Index, wanted: NDArray[np.bool_]) -> None:
        self.chosen = None if wanted.all() else np.flatnonzero(wanted)
        index = index[wanted]
        order = np.argsort(index, kind="stable")
        self.target, first = np.unique(index[order], return_index=True)
        self.is_empty = len(index) == 0
        if len(self.target) == len(index):
            self.order = self.first = None
            self.target = index
        else:
            self.order, self.first = order, first

    def add(self, target: Array, values: Array) -> None:
        if self.chosen is not None:
            values = values[self.chosen]
        if self.order is not None and self.first is not None:
            values = np.add.reduceat(values[self.order], self.first)
        target[self.target] += values


@dataclass
class _Step:
    """Operations of one kind, done together: results to one span of the buffer."""

    span: slice
    compute: Callable[..., Array]
    pull_back: Callable[..., tuple[Any, ...]]
    operands: tuple[Index, ...]
    scatters: tuple[_Scatter, ...]

    def forward(self, buffer: Array) -> None:
        buffer[self.span] = self.compute(*(buffer[operand] for operand in self.operands))

    def backward(self, buffer: Array, gradient: Array) -> None:
        wanted = [not scatter.is_empty for scatter in self.scatters]
        if not any(wanted):
            return
        operands = tuple(buffer[operand] for operand in self.operands)
        contributions = self.pull_back(wanted, operands, buffer[self.span], gradient[self.span])
        for scatter, contribution in zip(self.scatters, contributions, strict=True):
            if not scatter.is_empty:
                scatter.add(gradient, contribution)


@dataclass
class _Check:
    """Guards of one kind, checked together."""

    comparison: str
    left: Index
    right: Index
    outcome: NDArray[np.bool_]
    places: Index

    def first_broken(self, buffer: Array) -> int | None:
        left, right = buffer[self.left], buffer[self.right]
        broken = COMPARISONS[self.comparison](left, right) != self.outcome
        if not broken.any():
            return None
        with np.errstate(invalid="ignore"):
            apart, size = np.abs(left - right), np.abs(left) + np.abs(right)
            broken &= ~((apart > 0) & (apart <= _ROUNDING_NOISE * size) & np.isfinite(size))
        return int(self.places[np.argmax(broken)]) if broken.any() else None


class Program:
    """A tape made ready to be replayed.

    Parameters
    ----------
    tape
        The trace.
    outputs
        Pairs of (...) values and their wires: what the program computes. Constants may be
        among them.

    Attributes
    ----------
    inputs
        Names of the parameters, in the order in which they are passed.
    sources
        The tensors that the parameters were when traced, by name.
    """

    def __init__(self, tape: Tape, outputs: Sequence[tuple[Array, Array]]) -> None:
        self.inputs = tuple(entry.name for entry in tape.inputs)
        self.sources = {entry.name: entry.source for entry in tape.inputs}
        self._shapes = tuple(entry.shape for entry in tape.inputs)
        # What is constant needs no place in the program: scans have millions of such numbers
        self._constants = [
            None if np.any(wires) else torch.from_numpy(np.array(values, dtype=np.float64))
            for values, wires in outputs
        ]
        outputs = [(values, wires) for values, wires in outputs if np.any(wires)]
        wires = [tape.locals(wires, values) for values, wires in outputs]
        self._output_shapes = [np.shape(values) for values, _ in outputs]
        builder = Builder(tape)
        output_slots = [np.asarray(builder.slots(wire)) for wire in wires]
        nodes = builder.needed_nodes(output_slots)
        self._reached = _reached_inputs(builder, nodes, output_slots)
        self._depends = _depending_outputs(builder, nodes, output_slots)
        position = self._lay_out(builder, nodes, output_slots, tape.rounding)
        self._input_positions = [position[slots] for slots in builder.input_slots]
        placed = [position[slots] for slots in output_slots]
        self._outputs = np.concatenate([np.zeros(0, dtype=np.int64), *placed])
        self._checks, self._places = _checks(builder.guards, position)

    def inputs_without_effect(self) -> list[str]:
        """Name the parameters that no output depends on."""
        return [
            name for name, reached in zip(self.inputs, self._reached, strict=True) if not reached
        ]

    def __call__(self, parameters: Mapping[str, Tensor]) -> list[Tensor]:
        """Compute the outputs.

        Parameters
        ----------
        parameters
            By name, with the shapes of the trace.

        Returns
        -------
        list of Tensor
            The outputs, in float64, differentiable once with respect to the parameters; those
            that depend on none carry no gradient, so that nothing is computed for them.

        Raises
        ------
        GuardBroken
            If the traced code would take another way for these parameters.
        """
        values = [
            torch.as_tensor(parameters[name]).to(torch.float64).reshape(-1) for name in self.inputs
        ]
        flat = _Replay.apply(self, *values)
        sizes = [int(np.prod(shape)) for shape in self._output_shapes]
        computed = (
            (part if depends else part.detach()).reshape(shape)
            for part, shape, depends in zip(
                flat.split(sizes) if sizes else (), self._output_shapes, self._depends, strict=True
            )
        )
        return [
            next(computed) if constant is None else constant.to(flat.device, copy=True)
            for constant in self._constants
        ]

    def fits(self, parameters: Mapping[str, Tensor]) -> bool:
        """Whether parameters have the names and shapes of the trace."""
        shapes = {name: tuple(np.shape(value)) for name, value in parameters.items()}
        return shapes == dict(zip(self.inputs, self._shapes, strict=True))

    def operations(self) -> int:
        """Count the numbers that are computed in a replay."""
        return sum(step.span.stop - step.span.start for step in self._steps)

    def run(self, parameters: Sequence[Array]) -> Array:
        """Fill a buffer with all numbers of the program, and check the guards."""
        buffer = self._template.copy()
        for position, values in zip(self._input_positions, parameters, strict=True):
            buffer[position] = values
        with np.errstate(all="ignore"):
            for step in self._steps:
                step.forward(buffer)
        for check in self._checks:
            broken = check.first_broken(buffer)
            if broken is not None:
                raise GuardBroken(check.comparison, self._places[broken])
        return buffer

    def pull_back(self, buffer: Array, gradient: Array) -> list[Array]:
        """Gradients of the parameters from those of the outputs."""
        total = np.zeros_like(buffer)
        np.add.at(total, self._outputs, gradient)
        with np.errstate(all="ignore"):
            for step in reversed(self._steps):
                step.backward(buffer, total)
        return [total[position] for position in self._input_positions]

    def outputs_of(self, buffer: Array) -> Array:
        """Read the outputs from a buffer, flat, one after the other."""
        return buffer[self._outputs]

    def _lay_out(
        self, builder: Builder, nodes: list[Node], outputs: list[Index], rounding: str
    ) -> Index:
        """Give every slot its place in the buffer, group by group, and make the steps."""
        position = np.zeros(builder.size, dtype=np.int64)
        used = np.zeros(builder.size, dtype=bool)
        for index in outputs:
            used[index] = True
        for node in nodes:
            for operand in node.operands:
                used[operand] = True
        for guard in builder.guards:
            used[guard.left] = True
            used[guard.right] = True
        constants = np.flatnonzero(used & builder.is_constant[: builder.size])
        position[constants] = np.arange(len(constants))
        end = len(constants)
        for slots in builder.input_slots:
            position[slots] = np.arange(end, end + len(slots))
            end += len(slots)
        first_computed = len(constants)
        groups: dict[Any, list[Node]] = {}
        for node in nodes:
            groups.setdefault(_group_key(node), []).append(node)
        ordered = sorted(groups.values(), key=lambda members: members[0].level)
        spans = []
        for members in ordered:
            start = end
            for node in members:
                position[node.start : node.start + node.count] = np.arange(end, end + node.count)
                end += node.count
            spans.append(slice(start, end))
        self._template = np.zeros(end)
        self._template[: len(constants)] = builder.value[constants]
        self._steps = [
            _step(members, span, position, first_computed, rounding)
            for members, span in zip(ordered, spans, strict=True)
        ]
        return position


class _Replay(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, program: Program, *parameters: Tensor) -> Tensor:
        buffer = program.run([parameter.detach().cpu().numpy() for parameter in parameters])
        ctx.program, ctx.buffer = program, buffer
        return torch.from_numpy(program.outputs_of(buffer)).to(
            parameters[0].device if parameters else "cpu"
        )

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        gradients = ctx.program.pull_back(ctx.buffer, gradient.cpu().numpy())
        return None, *(torch.from_numpy(value).to(gradient.device) for value in gradients)


def _reached_inputs(builder: Builder, nodes: list[Node], outputs: list[Index]) -> list[bool]:
    needed = np.zeros(builder.size, dtype=bool)
    for slots in outputs:
        needed[slots] = True
    for node in reversed(nodes):
        if needed[node.start : node.start + node.count].any():
            for operand in node.operands:
                needed[operand] = True
    return [bool(needed[slots].any()) for slots in builder.input_slots]


def _depending_outputs(builder: Builder, nodes: list[Node], outputs: list[Index]) -> list[bool]:
    reached = np.zeros(builder.size, dtype=bool)
    for slots in builder.input_slots:
        reached[slots] = True
    for node in nodes:
        if any(reached[operand].any() for operand in node.operands):
            reached[node.start : node.start + node.count] = True
    return [bool(reached[slots].any()) for slots in outputs]


def _group_key(node: Node) -> Any:
    if node.operation == "opaque" or node.operation == "segment_sum":
        return node.level, node.start
    return node.level, node.operation, node.detail


def _flat(operand: Any, count: int, position: Index) -> Index:
    if isinstance(operand, int):
        return np.full(count, position[operand])
    return position[operand]


def _step(
    members: list[Node], span: slice, position: Index, first_computed: int, rounding: str
) -> _Step:
    node = members[0]
    if node.operation == "opaque":
        operands = tuple(position[np.atleast_1d(operand)] for operand in node.operands)
        compute, pull_back = _opaque_functions(node.detail)
    else:
        per_result = 1
        if node.operation in REDUCTIONS:
            per_result = int(np.size(node.operands[0])) // node.count
        operands = tuple(
            np.concatenate(
                [
                    _flat(member.operands[k], member.count * per_result, position)
                    for member in members
                ]
            )
            for k in range(len(node.operands))
        )
        compute, pull_back = _functions(node, rounding)
    scatters = tuple(_Scatter(operand, operand >= first_computed) for operand in operands)
    return _Step(span, compute, pull_back, operands, scatters)


def _functions(node: Node, rounding: str) -> tuple[Callable[..., Array], Callable[..., Any]]:
    if node.operation == "segment_sum":
        return _segment_functions(node.detail)
    if node.operation in REDUCTIONS:
        return _reduction_functions(node.operation, node.detail)
    operation, detail = ELEMENTWISE[node.operation], node.detail
    compute = operation.compute
    if detail is not None:

        def compute(values: Array) -> Array:
            return operation.compute(values, detail)

    keep = rounding == "straight-through" or node.operation not in ROUNDING

    def pull_back(wanted: list[bool], operands: Any, result: Array, gradient: Array) -> Any:
        return tuple(
            (gradient * derivative(*operands, result) if keep else 0 * gradient) if want else None
            for want, derivative in zip(wanted, operation.derivatives, strict=True)
        )

    return compute, pull_back


def _reduction_functions(name: str, length: int) -> tuple[Callable[..., Array], Callable[..., Any]]:
    reduction = REDUCTIONS[name]

    def compute(values: Array) -> Array:
        return reduction.compute(values.reshape(-1, length)).ravel()

    def pull_back(wanted: list[bool], operands: Any, result: Array, gradient: Array) -> Any:
        rows = operands[0].reshape(-1, length)
        shape = rows.shape if name == "cumsum" else rows.shape[:1]
        return (reduction.pull_back(rows, result, gradient.reshape(shape)).ravel(),)

    return compute, pull_back


def _segment_functions(starts: Index) -> tuple[Callable[..., Array], Callable[..., Any]]:
    def compute(values: Array) -> Array:
        return np.add.reduceat(values, starts)

    def pull_back(wanted: list[bool], operands: Any, result: Array, gradient: Array) -> Any:
        counts = np.diff(np.append(starts, len(operands[0])))
        return (np.repeat(gradient, counts),)

    return compute, pull_back


def _opaque_functions(opaque: Opaque) -> tuple[Callable[..., Array], Callable[..., Any]]:
    def pull_back(wanted: list[bool], operands: Any, result: Array, gradient: Array) -> Any:
        return opaque.pull_back(operands, gradient)

    return opaque.compute, pull_back


def _checks(guards: list[SlotGuard], position: Index) -> tuple[list[_Check], list[Place]]:
    places = [guard.place for guard in guards]
    by_kind: dict[str, list[int]] = {}
    for number, guard in enumerate(guards):
        by_kind.setdefault(guard.comparison, []).append(number)
    checks = []
    for comparison, numbers in by_kind.items():
        chosen = [guards[number] for number in numbers]
        sizes = [len(guard.outcome) for guard in chosen]
        checks.append(
            _Check(
                comparison,
                np.concatenate(
                    [_flat(g.left, size, position) for g, size in zip(chosen, sizes, strict=True)]
                ),
                np.concatenate(
                    [_flat(g.right, size, position) for g, size in zip(chosen, sizes, strict=True)]
                ),
                np.concatenate([guard.outcome for guard in chosen]),
                np.repeat(numbers, sizes),
            )
        )
    return checks, places
