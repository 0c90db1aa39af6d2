"""The tape: what was computed from the parameters, one entry an operation.

Every number on the tape has a *wire*, a positive integer. A traced scalar carries its wire,
a traced array carries an array of wires with the shape of its values. Wire 0 says "not
traced: the value is a constant", which is why zeros are the right wires for untraced
numbers and why every NumPy function that only moves numbers about can be applied to the
wires exactly as to the values. Wires of complex numbers are complex: the wire of the real
part and the wire of the imaginary part.

The tape holds real numbers only, in one flat line: shapes and complex numbers exist where
the values are, never here.
"""

from __future__ import annotations

import itertools
import math
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from pulseq_zero.errors import TracingError
from pulseq_zero.tracing.tape.frames import Place, place

Rounding = Literal["straight-through", "zero"]
OnLoss = Literal["warn", "raise"]
Operand = int | range | NDArray[np.int64]

# Tapes draw their wires from ranges of their own, so that a number that outlived its tape is
# recognised. Wires stay exact as float64 up to 2**53, which leaves 2**21 ranges.
_RANGE = 2**32
_RANGES = 2**20

# What holds more numbers is not looked up.
_KNOWN_SIZE = 256


class Record(NamedTuple):
    """One operation on the tape, for a single number or for many at once.

    Attributes
    ----------
    operation
        Name of the operation.
    detail
        What the operation needs beside its operands, for example the number of decimals.
    start, size
        The results are the wires ``start`` to ``start + size - 1``.
    operands
        Each an int (a single number, the same for all results) or the wires of many.
    """

    operation: str
    detail: Any
    start: int
    size: int
    operands: tuple[Operand, ...]


class Guard(NamedTuple):
    """A comparison that the traced code decided on: replay is right as long as it comes out alike.

    Attributes
    ----------
    comparison
        Name of the NumPy comparison.
    left, right
        Wires of what was compared.
    outcome
        How it came out.
    place
        The line of code that compared.
    """

    comparison: str
    left: Operand
    right: Operand
    outcome: Any
    place: Place


class Input(NamedTuple):
    """A parameter on the tape."""

    name: str
    start: int
    shape: tuple[int, ...]
    source: Any


class Tape:
    """Record of a run: inputs, operations, and the decisions taken on the way.

    Parameters
    ----------
    rounding
        Derivative of ``round``, ``ceil`` and ``floor``: that of the number before rounding
        ("straight-through": the trend over many rasters, which is what an optimizer needs)
        or zero (the derivative that a small step would show).
    on_loss
        Whether a number that loses its gradient raises an error or only warns.

    Raises
    ------
    TracingError
        If there is no such way of rounding, or of answering a loss.
    """

    _numbers = itertools.count(1)

    def __init__(self, rounding: Rounding = "straight-through", on_loss: OnLoss = "warn") -> None:
        for name, value, known in (("rounding", rounding, Rounding), ("on_loss", on_loss, OnLoss)):
            if value not in get_args(known):
                raise TracingError(f"{name} is {value!r}, but must be one of {get_args(known)}")
        self.rounding = rounding
        self.on_loss = on_loss
        self.records: list[Record] = []
        self.guards: list[Guard] = []
        self.inputs: list[Input] = []
        # What traced numbers were written as: a script that reads it again loses the gradient.
        self.texts: set[str] = set()
        self._constants: list[tuple[int, NDArray[np.float64]]] = []
        self.size = 1
        self.offset = (next(Tape._numbers) % _RANGES) * _RANGE
        self._scalar_constants: dict[Any, int] = {}
        # Operations that are done again have the wires that they had: so equal events that a
        # script makes anew are known to be equal.
        self._known_scalars: dict[Any, int] = {}
        self._known: dict[Any, range] = {}

    def input(self, name: str, shape: tuple[int, ...], source: Any = None) -> NDArray[np.float64]:
        """Enter a parameter and return its wires."""
        start = self._reserve(math.prod(shape))
        self.inputs.append(Input(name, start, shape, source))
        return self.wires(start, shape)

    def scalar(self, operation: str, operands: tuple[int, ...], detail: Any = None) -> int:
        """Record an operation on single numbers, given by :meth:`local`, and return its wire."""
        key = operation, operands, detail
        wire = self._known_scalars.get(key)
        if wire is None:
            start = self._reserve(1)
            self.records.append(Record(operation, detail, start, 1, operands))
            wire = self._known_scalars[key] = start + self.offset
        return wire

    def array(
        self,
        operation: str,
        operands: tuple[Operand, ...],
        shape: tuple[int, ...],
        detail: Any = None,
    ) -> NDArray[np.float64]:
        """Record an operation with many results and return their wires."""
        wires = self.many(operation, operands, math.prod(shape), detail)
        return self.wires(wires.start - self.offset, shape)

    def many(
        self, operation: str, operands: tuple[Operand, ...], count: int, detail: Any = None
    ) -> range:
        """Record an operation with many results and return their wires, which are neighbours."""
        is_small = count <= _KNOWN_SIZE and all(map(_is_small, operands))
        key = (operation, *map(_content, operands), _content(detail)) if is_small else None
        wires = self._known.get(key)
        if wires is None:
            start = self._reserve(count)
            if count:
                self.records.append(Record(operation, detail, start, count, operands))
            wires = range(start + self.offset, start + self.offset + count)
            if is_small:
                self._known[key] = wires
        return wires

    def guard(self, comparison: str, left: Operand, right: Operand, outcome: Any) -> None:
        """Note how a comparison came out."""
        self.guards.append(Guard(comparison, left, right, outcome, place()))

    def local(self, wire: int, value: float) -> int:
        """Index on this tape of a wire; a constant is entered."""
        if wire == 0:
            return self.constant(value)
        index = wire - self.offset
        if not 0 < index < self.size:
            raise TracingError(
                "a number of an earlier trace was used: make it anew inside this trace"
            )
        return index

    def locals(self, wires: NDArray[np.float64], values: NDArray[Any]) -> NDArray[np.int64]:
        """Flat indices on this tape of an array of wires; constants are entered."""
        if np.iscomplexobj(wires):
            raise TracingError("complex numbers have to be recorded part by part")
        index = wires.astype(np.int64).ravel()
        if not index.size:
            return index
        index -= self.offset
        lowest = np.minimum.reduce(index)
        if lowest == -self.offset:
            constant = index == lowest
            index[constant] = self.constants(values.ravel()[constant])
            lowest = np.minimum.reduce(index)
        if lowest <= 0 or np.maximum.reduce(index) >= self.size:
            raise TracingError(
                "numbers of an earlier trace were used: make them anew inside this trace"
            )
        return index

    def local_span(self, wires: range) -> range:
        """Flat indices on this tape of wires that are neighbours."""
        start, stop = wires.start - self.offset, wires.stop - self.offset
        if start <= 0 or stop > self.size:
            raise TracingError(
                "numbers of an earlier trace were used: make them anew inside this trace"
            )
        return range(start, stop)

    def constants(self, values: NDArray[Any]) -> range:
        """Flat indices on this tape of an array of constants."""
        flat = np.array(values, dtype=np.float64).ravel()
        key = flat.tobytes() if _is_small(flat) else None
        index = self._known.get(key)
        if index is None:
            start = self._reserve(flat.size)
            self._constants.append((start, flat))
            index = range(start, start + flat.size)
            if key is not None:
                self._known[key] = index
        return index

    def constant(self, value: float) -> int:
        """Index on this tape of a constant."""
        value = float(value)
        key: Any = value if value else (value, math.copysign(1.0, value))
        index = self._scalar_constants.get(key)
        if index is None:
            index = self._scalar_constants[key] = self._reserve(1)
            self._constants.append((index, np.array([value])))
        return index

    def constant_spans(self) -> list[tuple[int, NDArray[np.float64]]]:
        """List where constants start, and their values."""
        return self._constants

    def _reserve(self, count: int) -> int:
        start = self.size
        self.size = start + count
        return start

    def wires(self, start: int, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Wires of an input or result that starts at an index on this tape."""
        first = float(start + self.offset)
        wires = np.arange(first, first + math.prod(shape))
        return wires if len(shape) == 1 else wires.reshape(shape)


def _is_small(operand: Operand | NDArray[np.float64]) -> bool:
    return not isinstance(operand, np.ndarray) or operand.size <= _KNOWN_SIZE


def _content(operand: Any) -> Any:
    return operand.tobytes() if isinstance(operand, np.ndarray) else operand
