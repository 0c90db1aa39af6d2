"""A number that remembers what it was computed from.

It passes for the plain number that it stands for: ``isinstance(x, float)`` holds. But it is
none, so that code written in C cannot read it silently: a true subclass of float loses its
gradient without a word in ``complex * x``, ``math.sqrt(x)`` or ``torch.tensor(x)``.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulseq_zero.errors import TracingError
from pulseq_zero.tracing.numpy.dispatch import Traced, dispatch
from pulseq_zero.tracing.tape.gradient_loss import report_loss, written
from pulseq_zero.tracing.tape.recording import current_tape, is_recording

_REAL = (float, int, np.floating, np.integer, np.bool_)


class TracedNumber(Traced):
    """A real number on the tape.

    Parameters
    ----------
    value
        The number as plain Python or NumPy computed it.
    wire
        Where it is on the tape.
    """

    __slots__ = ("value", "wire")

    value: Any
    wire: int

    def __init__(self, value: Any, wire: int) -> None:
        self.value = value
        self.wire = wire

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self.value)

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self.value, name)
        if name in _SHAPE_ATTRIBUTES:
            return attribute
        if name in _METHODS:
            return _METHODS[name](self)
        if name.startswith("__"):
            raise AttributeError(name)
        raise TracingError(
            f"{type(self.value).__name__}.{name} of a traced number cannot be followed; "
            f"use the function np.{name} or plain arithmetic"
        )

    def __repr__(self) -> str:
        return written(repr(self.value))

    def __str__(self) -> str:
        return written(str(self.value))

    def __format__(self, specification: str) -> str:
        return written(format(self.value, specification))

    def __copy__(self) -> TracedNumber:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> TracedNumber:
        return self

    def __reduce__(self) -> Any:
        report_loss("pickling", "store the parameters and run the function again instead")
        return type(self.value), (self.value,)

    def __float__(self) -> float:
        report_loss("float(x)", "use x itself, or `np` and `math` of the traced script")
        return float(self.value)

    def __complex__(self) -> complex:
        report_loss("complex(x)", "write x + 0j")
        return complex(self.value)

    def __int__(self) -> int:
        report_loss("int(x)", "use math.floor(x) or round(x)")
        self._decide(int(self.value), "trunc")
        return int(self.value)

    def __index__(self) -> int:
        index = operator.index(self.value)
        self._decide(index)
        return index

    def __hash__(self) -> int:
        self._decide(self.value)
        return hash(self.value)

    def __bool__(self) -> bool:
        return bool(self != 0)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        report_loss("np.asarray(x)", "use `np` of the traced script")
        return np.array(self.value, dtype=dtype)

    def __neg__(self) -> TracedNumber:
        return self._apply("negative", operator.neg(self.value))

    def __pos__(self) -> TracedNumber:
        return self

    def __abs__(self) -> TracedNumber:
        return self._apply("absolute", abs(self.value))

    def __round__(self, digits: Any = None) -> TracedNumber:
        if digits is None:
            return self._apply("round", round(self.value), 0)
        return self._apply("round", round(self.value, digits), operator.index(digits))

    def __trunc__(self) -> TracedNumber:
        return self._apply("trunc", math.trunc(self.value))

    def __ceil__(self) -> TracedNumber:
        return self._apply("ceil", math.ceil(self.value))

    def __floor__(self) -> TracedNumber:
        return self._apply("floor", math.floor(self.value))

    def __divmod__(self, other: Any) -> tuple[Any, Any]:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> tuple[Any, Any]:
        return other // self, other % self

    def _apply(self, operation: str, value: Any, detail: Any = None) -> TracedNumber:
        tape = current_tape()
        return TracedNumber(
            value, tape.scalar(operation, (tape.local(self.wire, self.value),), detail)
        )

    def _decide(self, value: float, rounding: str | None = None) -> None:
        """Guard that the number, rounded or not, has this value."""
        if is_recording():
            tape = current_tape()
            number = self if rounding is None else self._apply(rounding, value)
            wire = tape.local(number.wire, value)
            tape.guard("equal", wire, tape.constant(value), True)


def _other_side(other: Any) -> tuple[Any, int] | None:
    """Value and wire of an operand that is a single real number, otherwise None."""
    if type(other) is TracedNumber:
        return other.value, other.wire
    if isinstance(other, _REAL):
        return other, 0
    return None


def _binary(operation: str, compute: Callable[[Any, Any], Any], ufunc: np.ufunc) -> tuple[Any, Any]:
    """Make an operator and its reflected twin."""

    def forward(self: TracedNumber, other: Any) -> Any:
        side = _other_side(other)
        if side is None:
            return _beyond_numbers(self, other, ufunc, self, other)
        value, wire = side
        return _record(operation, compute(self.value, value), self.value, self.wire, value, wire)

    def reflected(self: TracedNumber, other: Any) -> Any:
        side = _other_side(other)
        if side is None:
            return _beyond_numbers(self, other, ufunc, other, self)
        value, wire = side
        return _record(operation, compute(value, self.value), value, wire, self.value, self.wire)

    return forward, reflected


def _record(
    operation: str, result: Any, left: Any, left_wire: int, right: Any, right_wire: int
) -> TracedNumber:
    if isinstance(result, complex):
        raise TracingError(
            "the power of a negative traced number is complex; make the base complex first"
        )
    tape = current_tape()
    operands = tape.local(left_wire, left), tape.local(right_wire, right)
    if operation == "floor_divide":
        quotient = tape.scalar("divide", operands)
        return TracedNumber(result, tape.scalar("floor", (quotient - tape.offset,)))
    return TracedNumber(result, tape.scalar(operation, operands))


def _beyond_numbers(self: TracedNumber, other: Any, ufunc: np.ufunc, left: Any, right: Any) -> Any:
    """Handle arrays, tensors and complex numbers."""
    is_array_like = isinstance(other, (np.ndarray, complex)) or hasattr(other, "requires_grad")
    if is_array_like or (isinstance(other, (list, tuple)) and isinstance(self.value, np.generic)):
        return dispatch.ufunc(ufunc, "__call__", (left, right), {})
    return NotImplemented


def _comparison(name: str, compare: Callable[[Any, Any], Any], ufunc: np.ufunc) -> Any:
    def method(self: TracedNumber, other: Any) -> Any:
        side = _other_side(other)
        if side is None:
            return _beyond_numbers(self, other, ufunc, self, other)
        value, wire = side
        result = compare(self.value, value)
        if is_recording():
            tape = current_tape()
            left, right = tape.local(self.wire, self.value), tape.local(wire, value)
            tape.guard(name, left, right, bool(result))
        return result

    return method


for _symbol, _name, _ufunc in (
    ("add", "add", np.add),
    ("sub", "subtract", np.subtract),
    ("mul", "multiply", np.multiply),
    ("truediv", "divide", np.true_divide),
    ("floordiv", "floor_divide", np.floor_divide),
    ("mod", "remainder", np.remainder),
    ("pow", "power", np.power),
):
    _forward, _reflected = _binary(_name, getattr(operator, _symbol), _ufunc)
    setattr(TracedNumber, f"__{_symbol}__", _forward)
    setattr(TracedNumber, f"__r{_symbol}__", _reflected)

for _symbol, _compare in (
    ("lt", np.less),
    ("le", np.less_equal),
    ("gt", np.greater),
    ("ge", np.greater_equal),
    ("eq", np.equal),
    ("ne", np.not_equal),
):
    _method = _comparison(_compare.__name__, getattr(operator, _symbol), _compare)
    setattr(TracedNumber, f"__{_symbol}__", _method)


def _itself(number: TracedNumber) -> Callable[..., TracedNumber]:
    return lambda *args, **kwargs: number


def _through(function: Callable[..., Any]) -> Callable[[TracedNumber], Callable[..., Any]]:
    return lambda number: lambda *args, **kwargs: function(number, *args, **kwargs)


_SHAPE_ATTRIBUTES = frozenset({"shape", "ndim", "size", "dtype", "itemsize", "nbytes"})

_METHODS: dict[str, Callable[[Any], Any]] = {
    "real": lambda number: number,
    "imag": lambda number: type(number.value)(0),
    "T": lambda number: number,
    **dict.fromkeys(
        ("conjugate", "conj", "item", "copy", "squeeze", "sum", "mean", "max", "min", "tolist"),
        _itself,
    ),
    "is_integer": lambda number: lambda: bool(number % 1 == 0),
    "round": _through(np.round),
    "clip": _through(np.clip),
    "reshape": lambda number: (
        lambda *shape: np.reshape(
            number,
            shape[0] if len(shape) == 1 else shape,
        )
    ),
    "flatten": lambda number: lambda *order: np.reshape(number, -1),
    "ravel": lambda number: lambda *order: np.reshape(number, -1),
    "astype": lambda number: (
        lambda dtype, **options: np.reshape(
            number,
            -1,
        ).astype(dtype, **options)[0]
    ),
}
