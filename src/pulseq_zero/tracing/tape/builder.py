"""Turn a tape into a program: equal work done once, unneeded work dropped, the rest grouped.

Three things are done to the tape. Operations that compute the same from the same are merged.
A constant waveform that is scaled by one number ("factored") is kept as such: sums of it and
comparisons of it with zero need the factor only, so that an RF pulse with a traced flip
angle costs a few operations instead of thousands. And what neither an output nor a guard
needs is dropped.

Numbers that are told apart here are called slots: a wire of the tape leads to a slot, and
wires that carry the same number lead to the same one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pulseq_zero.tracing.tape.frames import Place
from pulseq_zero.tracing.tape.operations import ELEMENTWISE, MIRRORED, REDUCTIONS
from pulseq_zero.tracing.tape.tape import Tape

Index = NDArray[np.int64]
Values = NDArray[np.float64]
Operand = int | Index

_PENDING = -1


@dataclass(frozen=True)
class Node:
    """An operation on slots, with results ``start`` to ``start + count - 1``."""

    operation: str
    detail: Any
    start: int
    count: int
    operands: tuple[Operand, ...]
    level: int


@dataclass(frozen=True)
class SlotGuard:
    """A guard whose sides are slots."""

    comparison: str
    left: Operand
    right: Operand
    outcome: NDArray[np.bool_]
    place: Place


class _Record(NamedTuple):
    """A record of the tape, with the wires of its operands spelt out."""

    operation: str
    detail: Any
    start: int
    size: int
    operands: tuple[Operand, ...]


@dataclass(frozen=True)
class _Factored:
    """A result that is a constant waveform times one number, not computed unless asked for."""

    record: _Record
    factor: int
    base: Values
    factor_is_positive: bool = False


class Builder:
    """Reads a tape.

    Parameters
    ----------
    tape
        What to read.

    Attributes
    ----------
    nodes
        The operations in an order in which they can be done.
    guards
        The comparisons to check.
    input_slots
        For each input of the tape, the slots of its numbers.
    """

    def __init__(self, tape: Tape) -> None:
        self.nodes: list[Node] = []
        self.guards: list[SlotGuard] = []
        self.size = 1
        self._slot_of = np.zeros(tape.size, dtype=np.int64)
        self._capacity = 2 * tape.size + 1024
        self.value = np.zeros(self._capacity)
        self.is_constant = np.zeros(self._capacity, dtype=bool)
        self.level = np.zeros(self._capacity, dtype=np.int64)
        self._known: dict[Any, Index] = {}
        self._factored: dict[int, _Factored] = {}
        self._factored_starts: list[int] = []
        self._enter_constants(tape)
        self.input_slots = [
            self._place(entry.start, int(np.prod(entry.shape))) for entry in tape.inputs
        ]
        for record in tape.records:
            self._enter(_Record(*record[:-1], tuple(map(_as_index, record.operands))))
        known_guards: set[Any] = set()
        for guard in tape.guards:
            self._enter_guard(guard, known_guards)

    def slots(self, wires: Operand) -> Any:
        """Slots of an operand; what was put off is computed."""
        if isinstance(wires, int):
            slot = int(self._slot_of[wires])
            return slot if slot != _PENDING else int(self.slots(np.array([wires]))[0])
        slots = self._slot_of[wires]
        if slots.min(initial=0) == _PENDING:
            for start in self._pending_of(wires):
                self._materialize_record(self._factored[start].record)
            slots = self._slot_of[wires]
        return slots

    def constant(self, values: Values) -> Index:
        """Slots of constants."""
        key = ("constant", values.tobytes())
        if key not in self._known:
            slots = self._reserve(len(values))
            self.value[slots] = values
            self.is_constant[slots] = True
            self._known[key] = slots
        return self._known[key]

    def needed_nodes(self, outputs: Sequence[Index]) -> list[Node]:
        """List the nodes that outputs or guards need, in order."""
        needed = np.zeros(self.size, dtype=bool)
        for slots in outputs:
            needed[slots] = True
        for guard in self.guards:
            needed[guard.left] = True
            needed[guard.right] = True
        kept = []
        for node in reversed(self.nodes):
            if needed[node.start : node.start + node.count].any():
                kept.append(node)
                for operand in node.operands:
                    needed[operand] = True
        return kept[::-1]

    def _reserve(self, count: int) -> Index:
        start = self.size
        self.size += count
        while self.size > self._capacity:
            for name in ("value", "is_constant", "level"):
                array = getattr(self, name)
                setattr(self, name, np.concatenate([array, np.zeros_like(array)]))
            self._capacity *= 2
        return np.arange(start, self.size)

    def _place(self, start: int, count: int) -> Index:
        slots = self._reserve(count)
        self._slot_of[start : start + count] = slots
        return slots

    def _enter_constants(self, tape: Tape) -> None:
        for start, values in tape.constant_spans():
            self._slot_of[start : start + len(values)] = self.constant(values)

    def _node(
        self, operation: str, detail: Any, count: int, operands: tuple[Operand, ...]
    ) -> Index:
        key = (
            operation,
            detail.tobytes() if isinstance(detail, np.ndarray) else detail,
            count,
            *(operand if isinstance(operand, int) else operand.tobytes() for operand in operands),
        )
        slots = self._known.get(key)
        if slots is None:
            level = 1 + max(
                int(self.level[operand] if isinstance(operand, int) else self.level[operand].max())
                for operand in operands
            )
            slots = self._known[key] = self._reserve(count)
            self.level[slots] = level
            self.nodes.append(Node(operation, detail, int(slots[0]), count, operands, level))
        return slots

    def _enter(self, record: _Record) -> None:
        factored = self._factor(record) if _may_be_factored(record) else None
        if factored is None:
            self._materialize_record(record)
        elif record.size == 1:
            base = self.constant(factored.base)
            slots = self._node("multiply", None, 1, (factored.factor, int(base[0])))
            self._slot_of[record.start] = slots[0]
        else:
            self._slot_of[record.start : record.start + record.size] = _PENDING
            self._factored[record.start] = factored
            self._factored_starts.append(record.start)

    def _materialize_record(self, record: _Record) -> None:
        operands = tuple(self.slots(operand) for operand in record.operands)
        slots = self._node(record.operation, record.detail, record.size, operands)
        self._slot_of[record.start : record.start + record.size] = slots

    def _pending_of(self, wires: Index) -> list[int]:
        pending = wires[self._slot_of[wires] == _PENDING]
        starts = np.asarray(self._factored_starts)
        return [
            int(start) for start in np.unique(starts[np.searchsorted(starts, pending, "right") - 1])
        ]

    def _constant_values(self, wires: Operand) -> Values | None:
        slots = self._slot_of[wires]
        if isinstance(wires, int):
            return self.value[slots] if slots != _PENDING and self.is_constant[slots] else None
        if slots.min(initial=0) == _PENDING or not self.is_constant[slots].all():
            return None
        return self.value[slots]

    def _as_factored(self, wires: Operand) -> _Factored | None:
        """Read an array as a constant waveform times one number, if it is one."""
        if isinstance(wires, int):
            return None
        pending = self._slot_of[wires] == _PENDING
        if not pending.any():
            return None
        starts = self._pending_of(wires)
        if len(starts) > 1:
            return None
        factored = self._factored[starts[0]]
        rest = self._slot_of[wires[~pending]]
        if not (np.all(self.is_constant[rest]) and np.all(self.value[rest] == 0)):
            return None
        base = np.zeros(len(wires))
        base[pending] = factored.base[wires[pending] - starts[0]]
        return _Factored(factored.record, factored.factor, base, factored.factor_is_positive)

    def _factor(self, record: _Record) -> _Factored | None:
        operation, operands = record.operation, record.operands
        if operation in ("multiply", "divide"):
            return self._factor_product(record)
        source = self._as_factored(operands[0])
        if source is None:
            return None
        factor, positive = source.factor, source.factor_is_positive
        if operation == "absolute":
            factor, positive = int(self._node("absolute", None, 1, (factor,))[0]), True
            return _Factored(record, factor, np.abs(source.base), positive)
        if operation in ("max", "min") and not positive:
            return None
        if operation == "negative":
            base = -source.base
        else:
            rows = source.base.reshape(-1, record.detail)
            base = REDUCTIONS[operation].compute(rows).ravel()
        return _Factored(record, factor, base, positive)

    def _factor_product(self, record: _Record) -> _Factored | None:
        left, right = record.operands
        scale = ELEMENTWISE[record.operation].compute
        if isinstance(right, int):
            source = self._as_factored(left)
            constant = self._constant_values(left) if source is None else None
            if source is None and (constant is None or record.operation == "divide"):
                return None
            number = self.slots(right)
            if source is None:
                assert constant is not None
                return _Factored(record, number, constant)
            factor = int(self._node(record.operation, None, 1, (source.factor, number))[0])
            return _Factored(record, factor, source.base)
        if isinstance(left, int):
            constant = self._constant_values(right)
            if record.operation == "divide" or constant is None:
                return None
            return _Factored(record, self.slots(left), constant)
        source = self._as_factored(left)
        if source is not None:
            constant = self._constant_values(right)
            if constant is None:
                return None
            base = scale(source.base, constant)
        else:
            source, constant = self._as_factored(right), self._constant_values(left)
            if source is None or constant is None or record.operation == "divide":
                return None
            base = constant * source.base
        return _Factored(record, source.factor, base, source.factor_is_positive)

    def _enter_guard(self, guard: Any, known: set[Any]) -> None:
        comparison, left, right = guard.comparison, _as_index(guard.left), _as_index(guard.right)
        outcome = np.asarray(guard.outcome, dtype=bool).ravel()
        factored = self._as_factored(left)
        zero = self._constant_values(right)
        if factored is not None and zero is not None and np.all(zero == 0):
            zero_slot = int(self.constant(np.zeros(1))[0])
            for sign, compare in ((1, comparison), (-1, MIRRORED[comparison])):
                chosen = np.unique(outcome[np.sign(factored.base) == sign])
                for result in chosen:
                    self._add_guard(
                        compare, factored.factor, zero_slot, np.array([result]), guard.place, known
                    )
            return
        self._add_guard(
            comparison, self.slots(left), self.slots(right), outcome, guard.place, known
        )

    def _add_guard(
        self,
        comparison: str,
        left: Operand,
        right: Operand,
        outcome: NDArray[np.bool_],
        place: Place,
        known: set[Any],
    ) -> None:
        sides = (side if isinstance(side, int) else side.tobytes() for side in (left, right))
        key = (comparison, *sides, outcome.tobytes())
        if key not in known:
            known.add(key)
            self.guards.append(SlotGuard(comparison, left, right, outcome, place))


def _as_index(operand: Any) -> Operand:
    return np.arange(operand.start, operand.stop) if isinstance(operand, range) else operand


def _may_be_factored(record: _Record) -> bool:
    operation, operands = record.operation, record.operands
    if all(isinstance(operand, int) for operand in operands):
        return False
    if operation in ("multiply", "divide", "negative", "absolute"):
        return record.size > 1
    return operation in REDUCTIONS
