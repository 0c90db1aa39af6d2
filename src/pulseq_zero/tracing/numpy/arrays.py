"""An array whose numbers remember what they were computed from.

It passes for a NumPy array (``isinstance(x, np.ndarray)`` holds) and answers to NumPy's
protocols, but it is none, so that code that reads the memory of an array cannot take the
values without asking. Values and wires are two arrays of the same shape; whatever moves the
values about moves the wires alike, views and item assignment included.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import NDArray
from torch import Tensor

from pulseq_zero.errors import TracingError
from pulseq_zero.tracing.numpy.dispatch import Traced, dispatch
from pulseq_zero.tracing.numpy.scalars import TracedNumber
from pulseq_zero.tracing.tape.gradient_loss import report_loss
from pulseq_zero.tracing.tape.recording import current_tape


def _clears_negative_zeros(value: Any) -> bool:
    """Tell whether PyPulseq is writing a zero, as its designs do over zeros to rid them of signs.

    A pulse of the flip angle 0 is made of nothing else, and still depends on that angle.
    """
    caller = sys._getframe(2).f_globals.get("__name__", "")
    return type(value) is int and value == 0 and caller.startswith("pypulseq.")


class TracedArray(Traced, NDArrayOperatorsMixin):
    """Numbers on the tape, some or all of them.

    Parameters
    ----------
    values
        (...) the numbers as NumPy computed them.
    wires
        (...) where they are on the tape; 0 where a number is a constant. The results of one
        operation lie side by side: a range, which is spelt out only when it is asked for.
    """

    __slots__ = ("_wires", "values")

    values: NDArray[Any]

    def __init__(self, values: NDArray[Any], wires: NDArray[Any] | range) -> None:
        self.values = values
        self._wires = wires

    @property
    def wires(self) -> NDArray[Any]:
        """Where the numbers are on the tape, an array with their shape."""
        wires = self._wires
        if type(wires) is range:
            wires = np.arange(float(wires.start), float(wires.stop)).reshape(self.values.shape)
            self._wires = wires
        return wires

    @property
    def span(self) -> range | None:
        """The wires, if they are known to lie side by side."""
        return self._wires if type(self._wires) is range else None

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return np.ndarray

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self.values, name)
        if name in _PLAIN_ATTRIBUTES:
            return attribute
        if name in _FUNCTION_METHODS:
            function = getattr(np, _FUNCTION_METHODS[name])
            return lambda *args, **kwargs: function(self, *args, **kwargs)
        if name.startswith("__"):
            raise AttributeError(name)
        if name in _READING or not self.wires.any():
            if self.wires.any():
                report_loss(f"x.{name}", "use `np` of the traced script")
            return attribute
        raise TracingError(
            f"ndarray.{name} of a traced array cannot be followed; use a function of NumPy"
        )

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[Any]:
        return (wrap(value, wires) for value, wires in zip(self.values, self.wires, strict=True))

    def __getitem__(self, key: Any) -> Any:
        key = plain_key(key)
        return wrap(self.values[key], self.wires[key])

    def __setitem__(self, key: Any, value: Any) -> None:
        key, value = plain_key(key), as_traced(value)
        before = self.values[key]
        self.values[key] = raw(value)
        if not np.any(before) and _clears_negative_zeros(value):
            return
        if type(key) is tuple and len(key) == 1 and np.size(key[0]) == 0:
            return
        wires = wires_of(value)
        if self.values.dtype.kind not in "fc" and np.any(wires):
            report_loss("assignment into an array of integers", "make the array of floats")
            wires = 0.0
        self.wires[key] = wires

    def __contains__(self, item: Any) -> bool:
        return bool(np.any(self == item))

    def __repr__(self) -> str:
        return repr(self.values)

    def __str__(self) -> str:
        return str(self.values)

    def __format__(self, specification: str) -> str:
        return format(self.values, specification)

    def __copy__(self) -> TracedArray:
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> TracedArray:
        return self.copy()

    def __reduce__(self) -> Any:
        if self.wires.any():
            report_loss("pickling", "store the parameters and run the function again instead")
        return self.values.__reduce__()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if self.wires.any():
            report_loss(
                "reading a traced array as a plain one",
                "use `np` of the traced script, and instead of changing a plain array in place, "
                "as in rf.signal[:] = y, assign the new one: rf.signal = y",
            )
        return np.array(self.values, dtype=dtype, copy=copy)

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __complex__(self) -> complex:
        return complex(self.item())

    def __index__(self) -> int:
        return self.item().__index__()

    def __bool__(self) -> bool:
        return bool(self != 0)

    __hash__ = None  # type: ignore[assignment]

    def __pow__(self, exponent: Any) -> Any:
        exponent = as_traced(exponent)
        power = np.power(self, exponent)
        # NumPy's operator squares and takes roots in ways of its own.
        values = self.values ** raw(exponent)
        return wrap(values, power.span or power.wires if type(power) is TracedArray else power.wire)

    @property
    def T(self) -> TracedArray:
        """The array with its axes reversed."""
        return TracedArray(self.values.T, self.wires.T)

    @property
    def real(self) -> TracedArray:
        """The real part, as a view."""
        return TracedArray(self.values.real, self.wires.real)

    @real.setter
    def real(self, value: Any) -> None:
        self.real[...] = value

    @property
    def imag(self) -> TracedArray:
        """The imaginary part, as a view."""
        return TracedArray(self.values.imag, self.wires.imag)

    @imag.setter
    def imag(self, value: Any) -> None:
        self.imag[...] = value

    @property
    def flat(self) -> Iterator[Any]:
        """The numbers one by one."""
        return iter(self.reshape(-1))

    def copy(self, order: Any = "C") -> TracedArray:
        """Copy values and wires."""
        return TracedArray(self.values.copy(order), self.span or self.wires.copy(order))

    def reshape(self, *shape: Any, order: Any = "C") -> TracedArray:
        """Return the numbers in another shape."""
        new = plain_key(shape[0] if len(shape) == 1 else shape)
        return TracedArray(
            self.values.reshape(new, order=order), self.wires.reshape(new, order=order)
        )

    def flatten(self, order: Any = "C") -> TracedArray:
        """Return a flat copy."""
        return TracedArray(self.values.flatten(order), self.wires.flatten(order))

    def transpose(self, *axes: Any) -> TracedArray:
        """Return the array with its axes permuted."""
        return TracedArray(self.values.transpose(*axes), self.wires.transpose(*axes))

    def item(self, *index: Any) -> Any:
        """Return one number as a Python scalar."""
        value = self.values.item(*index)
        if isinstance(value, complex):
            return wrap(np.asarray(value), np.asarray(self.wires.item(*index)))
        wire = int(self.wires.item(*index).real)
        return TracedNumber(value, wire) if wire else value

    def tolist(self) -> Any:
        """Return nested lists of Python scalars."""
        if self.values.ndim == 0:
            return self.item()
        if self.values.ndim == 1:
            return [self.item(index) for index in range(len(self.values))]
        return [row.tolist() for row in self]

    def astype(self, dtype: Any, **options: Any) -> Any:
        """Convert to another type; integers follow what they are rounded from."""
        values = self.values.astype(dtype, **options)
        if values.dtype.kind == "b":
            return self != 0
        if values.dtype.kind in "fc" and self.values.dtype.kind in "fc":
            to_real = self.values.dtype.kind == "c" and values.dtype.kind == "f"
            wires = self.wires.real if to_real else self.wires
            return TracedArray(values, wires.astype(wires_dtype(values)))
        if values.dtype.kind in "iu" and not self.wires.any():
            return values
        return TracedArray(values, np.asarray(wires_of(np.trunc(self))))

    def fill(self, value: Any) -> None:
        """Set all numbers to one value."""
        self[...] = value

    def compress(self, condition: Any, axis: Any = None) -> Any:
        """Take what a condition holds for."""
        return np.compress(condition, self, axis=axis)

    def sort(self, axis: int = -1, kind: Any = None, order: Any = None) -> None:
        """Sort in place."""
        self[...] = np.sort(self, axis=axis, kind=kind, order=order)


_PLAIN_ATTRIBUTES = frozenset({"shape", "ndim", "size", "dtype", "itemsize", "nbytes", "strides"})

# Methods that hand the memory of an array to somebody else.
_READING = frozenset({"view", "tobytes", "tofile", "data", "ctypes", "dump", "dumps"})

_FUNCTION_METHODS = {
    **{
        name: name
        for name in [
            "sum",
            "cumsum",
            "prod",
            "cumprod",
            "mean",
            "std",
            "var",
            "max",
            "min",
            "ptp",
            "argmax",
            "argmin",
            "argsort",
            "any",
            "all",
            "round",
            "clip",
            "squeeze",
            "swapaxes",
            "repeat",
            "take",
            "dot",
            "nonzero",
            "ravel",
            "diagonal",
            "trace",
            "searchsorted",
        ]
    },
    "conj": "conjugate",
    "conjugate": "conjugate",
}


def wires_dtype(values: Any) -> type:
    """Type of the wires that go with values: complex where these are."""
    return np.complex128 if np.iscomplexobj(values) else np.float64


def wrap(values: Any, wires: Any) -> Any:
    """Make a traced array or number of values and wires; a constant number stays plain."""
    if isinstance(values, np.ndarray):
        return TracedArray(values, wires)
    if not wires:
        return values
    if isinstance(values, (complex, np.complexfloating)):
        return TracedArray(np.asarray(values), np.asarray(wires))
    return TracedNumber(values, int(wires.real))


def raw(x: Any) -> Any:
    """Plain value of something that may be traced, containers included."""
    kind = type(x)
    if kind is TracedNumber:
        return x.value
    if kind is TracedArray:
        return x.values
    if kind is list or kind is tuple:
        return kind(raw(item) for item in x)
    return x


def wires_of(x: Any) -> Any:
    """Wires of something that may be traced, containers included; 0 for a constant."""
    kind = type(x)
    if kind is TracedNumber:
        return float(x.wire)
    if kind is TracedArray:
        return x.wires
    if kind is list or kind is tuple:
        return kind(wires_of(item) for item in x)
    return np.zeros(np.shape(x)) if np.ndim(x) else 0.0


def any_wire(x: TracedArray) -> bool:
    """Whether a number of an array is on the tape; mostly the first one tells."""
    if x.span:
        return True
    wires = x.wires
    return wires.size > 0 and (wires.item(0) != 0 or bool(wires.any()))


def is_traced(x: Any) -> bool:
    """Whether something holds a traced number; containers are looked into."""
    kind = type(x)
    if kind is TracedNumber:
        return True
    if kind is TracedArray:
        return any_wire(x)
    if kind is list or kind is tuple:
        return any(is_traced(item) for item in x)
    return isinstance(x, Tensor) and x.requires_grad


def as_traced(x: Any) -> Any:
    """Make a traced array of a list that holds traced numbers, and of a tensor."""
    kind = type(x)
    if kind is float or kind is TracedNumber or kind is TracedArray or kind is np.ndarray:
        return x
    if isinstance(x, Tensor):
        return dispatch.from_tensor(x)
    if (kind is list or kind is tuple) and _holds_tracing(x):
        items = [as_traced(item) for item in x]
        values = np.array([raw(item) for item in items])
        wires = np.array([np.broadcast_to(wires_of(item), np.shape(raw(item))) for item in items])
        return TracedArray(values, wires.astype(wires_dtype(values)))
    return x


def as_array(x: Any) -> Any:
    """Make a :class:`TracedArray` of anything that NumPy would make an array of."""
    x = as_traced(x)
    if type(x) is TracedArray:
        return x
    values = np.asarray(raw(x))
    wires: NDArray[Any] = np.asarray(wires_of(x), dtype=wires_dtype(values))
    return TracedArray(values, wires)


def plain_key(key: Any) -> Any:
    """Index without traced numbers; what they are now is guarded."""
    kind = type(key)
    if kind is TracedNumber:
        return key.__index__()
    if kind is TracedArray:
        if key.wires.any():
            tape = current_tape()
            index = tape.locals(key.wires, key.values)
            expected = tape.locals(np.zeros(key.shape), key.values)
            tape.guard("equal", index, expected, np.ones(key.size, dtype=bool))
        return key.values
    if kind is slice:
        return slice(plain_key(key.start), plain_key(key.stop), plain_key(key.step))
    if kind is tuple or kind is list:
        return kind(plain_key(part) for part in key)
    return key


def _holds_tracing(x: Any) -> bool:
    for item in x:
        kind = type(item)
        if kind is TracedNumber or kind is TracedArray or isinstance(item, Tensor):
            return True
        if (kind is list or kind is tuple) and _holds_tracing(item):
            return True
    return False
