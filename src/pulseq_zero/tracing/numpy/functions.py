"""NumPy's functions on traced arrays.

There are four kinds. Functions that only move numbers about are applied to the values and to
the wires alike. Functions that choose (sort, argmax, searchsorted) are guarded by the
comparisons that make the choice. Functions that compute are written on the tape, with the
values as NumPy computes them. Any other function raises.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from pulseq_zero.errors import TracingError
from pulseq_zero.tracing.numpy.arrays import (
    as_traced,
    is_traced,
    plain_key,
    raw,
    wires_of,
    wrap,
)
from pulseq_zero.tracing.numpy.dispatch import dispatch
from pulseq_zero.tracing.numpy.ufuncs import untraced

_HANDLERS: dict[Any, Callable[..., Any]] = {}

# Functions that only move numbers about, by the positions of the arrays among the arguments.
_MOVING: dict[Any, tuple[int, ...]] = {
    **dict.fromkeys(
        (
            np.reshape, np.ravel, np.transpose, np.squeeze, np.expand_dims, np.broadcast_to,
            np.concatenate, np.stack, np.vstack, np.hstack, np.dstack, np.column_stack, np.block,
            np.repeat, np.tile, np.roll, np.rollaxis, np.flip, np.flipud, np.fliplr, np.rot90,
            np.take, np.take_along_axis, np.delete, np.moveaxis, np.swapaxes, np.split,
            np.array_split, np.hsplit, np.vsplit, np.diag, np.diagonal, np.diagflat, np.tril,
            np.triu, np.real, np.imag, np.copy, np.fft.fftshift, np.fft.ifftshift, np.resize,
        ),
        (0,),
    ),
    np.append: (0, 1),
    np.insert: (0, 2),
    np.compress: (1,),
    np.extract: (1,),
}  # fmt: skip

_OF_SHAPE = {np.shape, np.size, np.ndim, np.iscomplexobj, np.isrealobj, np.result_type}


# Functions that write numbers down.
_READING = {
    np.save, np.savez, np.savez_compressed, np.savetxt,
    np.array_repr, np.array_str, np.array2string,
}  # fmt: skip


def handles(*functions: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register how functions of NumPy are done on traced arrays."""

    def register(handler: Callable[..., Any]) -> Callable[..., Any]:
        for function in functions:
            _HANDLERS[function] = handler
        return handler

    return register


def dispatch_function(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Do a function of NumPy on arguments of which some are traced.

    Raises
    ------
    TracingError
        If the function cannot be followed.
    """
    enter = _tensors_traced if function in _MOVING else _traced_or_left
    args = tuple(enter(x) for x in args)
    kwargs = {name: enter(x) for name, x in kwargs.items()}
    if function in _OF_SHAPE:
        return function(*map(raw, args), **{name: raw(x) for name, x in kwargs.items()})
    if function in _READING:
        return function(*map(raw, args), **{name: raw(x) for name, x in kwargs.items()})
    if not any(map(is_traced, (*args, *kwargs.values()))):
        result = function(*map(raw, args), **{name: raw(x) for name, x in kwargs.items()})
        return _untraced(result)
    if function in _MOVING:
        return _move(function, args, kwargs)
    if function in _HANDLERS:
        _refuse_options(function, args, kwargs)
        return _HANDLERS[function](*args, **kwargs)
    raise TracingError(
        f"np.{function.__name__} cannot be followed on traced numbers; "
        "write it with arithmetic and functions that can"
    )


dispatch.function = dispatch_function


def _tensors_traced(x: Any) -> Any:
    """Trace tensors, and leave lists of arrays of different shapes be."""
    if type(x) is list or type(x) is tuple:
        return type(x)(_tensors_traced(item) for item in x)
    return as_traced(x)


def _traced_or_left(x: Any) -> Any:
    """Trace tensors and lists, except lists of arrays that do not fit together."""
    try:
        return as_traced(x)
    except ValueError:
        return _tensors_traced(x)


def _refuse_options(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Raise for options that would change the result, and that no handler looks at."""
    if kwargs.get("out") is not None:
        raise TracingError(
            f"np.{function.__name__}(out=...) cannot be followed; assign the result instead"
        )
    dtype = kwargs.get("dtype")
    if dtype is not None and args and np.dtype(dtype) != np.result_type(raw(args[0])):
        raise TracingError(
            f"np.{function.__name__}(dtype=...) cannot be followed on traced numbers; "
            "convert them with astype before"
        )


def _untraced(result: Any) -> Any:
    if type(result) is tuple or type(result) is list:
        return type(result)(untraced(item) for item in result)
    return untraced(result)


def _move(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if any(map(is_traced, kwargs.values())):
        bound = inspect.signature(function).bind(*args, **kwargs)
        args, kwargs = bound.args, bound.kwargs
    arrays = _MOVING[function]
    values = [raw(x) if k in arrays else plain_key(x) for k, x in enumerate(args)]
    wires = [wires_of(x) if k in arrays else plain_key(x) for k, x in enumerate(args)]
    options = {name: plain_key(x) for name, x in kwargs.items()}
    moved, moved_wires = function(*values, **options), function(*wires, **options)
    if isinstance(moved, (list, tuple)):
        return type(moved)(map(wrap, moved, moved_wires))
    if function in (np.reshape, np.ravel):
        moved, moved_wires = np.asarray(moved), np.asarray(moved_wires)
    return wrap(moved, moved_wires)


def with_values(values: Any, traced: Any) -> Any:
    """Put the values that NumPy computed in place of those of the operations on the tape."""
    wires = np.asarray(wires_of(traced))
    same_size = wires.size == np.size(values)
    wires = (np.reshape if same_size else np.broadcast_to)(wires, np.shape(values))
    return wrap(values, wires.copy() if np.ndim(values) else wires[()])
