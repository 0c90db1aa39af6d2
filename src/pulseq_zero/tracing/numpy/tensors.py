"""Tensors at the door: from PyTorch onto the tape, and arithmetic between the two."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pulseq_zero.errors import TracingError
from pulseq_zero.tracing.numpy.arrays import as_traced, wrap
from pulseq_zero.tracing.numpy.dispatch import dispatch
from pulseq_zero.tracing.tape.recording import current_tape
from pulseq_zero.tracing.tape.tape import Tape

# Functions that torch and NumPy call alike.
_SAME_NAME = (
    "add", "multiply", "divide", "subtract", "negative", "absolute", "sqrt", "exp", "log", "sin",
    "cos", "tan", "sinh", "cosh", "tanh", "square", "round", "ceil", "floor", "deg2rad", "rad2deg",
    "maximum", "minimum", "remainder", "clip", "cumsum", "sum", "mean", "sign",
)  # fmt: skip

# Names of torch functions and of the NumPy functions that do the same on traced numbers.
_SAME = {
    "mul": "multiply",
    "div": "divide",
    "true_divide": "divide",
    "sub": "subtract",
    "pow": "power",
    "neg": "negative",
    "abs": "absolute",
    "clamp": "clip",
    **{name: name for name in _SAME_NAME},
    "lt": "less",
    "le": "less_equal",
    "gt": "greater",
    "ge": "greater_equal",
    "eq": "equal",
    "ne": "not_equal",
}
# Keywords of torch, and what NumPy calls them.
_KEYWORDS = {"dim": "axis", "min": "a_min", "max": "a_max"}

_REFLECTED = {
    "__radd__": np.add,
    "__rmul__": np.multiply,
    "__rsub__": np.subtract,
    "rsub": np.subtract,
    "__rtruediv__": np.divide,
    "__rdiv__": np.divide,
    "__rpow__": np.power,
}


def from_tensor(tensor: Tensor) -> Any:
    """Bring a tensor onto the tape; without a gradient it becomes plain numbers.

    Numbers of dimension zero become Python-like scalars, as a script expects them.
    """
    _check_plain(tensor)
    values = tensor.detach().cpu().numpy()
    if not tensor.requires_grad:
        return values.item() if values.ndim == 0 else np.array(values, dtype=float)
    return enter(current_tape(), f"tensor {id(tensor)}", tensor)


def enter(tape: Tape, name: str, tensor: Tensor) -> Any:
    """Enter a real tensor on a tape by a name, once."""
    _check_plain(tensor)
    if tensor.is_complex():
        raise TracingError("a complex tensor cannot be traced; pass real and imaginary part")
    values = tensor.detach().cpu().to(torch.float64).numpy().copy()
    for entry in tape.inputs:
        if entry.source is tensor:
            wires = tape.wires(entry.start, entry.shape)
            break
    else:
        wires = tape.input(name, values.shape, tensor)
    return wrap(values if values.ndim else values.item(), wires[()])


def _check_plain(tensor: Tensor) -> None:
    if tensor.is_meta or tensor.layout != torch.strided:
        raise TracingError(
            "a sparse or a meta tensor cannot be traced; pass one that holds its numbers, as "
            "to_dense() makes it"
        )


def dispatch_torch(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Any) -> Any:
    """Do a function of PyTorch of which an argument is traced.

    Raises
    ------
    TracingError
        If the function has no counterpart on traced numbers.
    """
    name = getattr(function, "__name__", "")
    arguments = [as_traced(x) for x in args]
    if name in _REFLECTED:
        return _REFLECTED[name](*reversed(arguments))
    same = _SAME.get(name.strip("_"))
    if same is None or not kwargs.keys() <= _KEYWORDS.keys():
        raise TracingError(
            f"torch.{name} cannot be followed on a traced number; use NumPy or plain arithmetic"
        )
    keywords = {_KEYWORDS[key]: as_traced(value) for key, value in kwargs.items()}
    if same == "clip":
        result, low, high, *_ = (*arguments, None, None)
        low, high = keywords.get("a_min", low), keywords.get("a_max", high)
        result = result if low is None else np.maximum(result, low)
        return result if high is None else np.minimum(result, high)
    return getattr(np, same)(*arguments, **keywords)


dispatch.torch = dispatch_torch
dispatch.from_tensor = from_tensor
