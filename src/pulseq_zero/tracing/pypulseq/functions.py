"""Functions of a script, called with tensors inside of ``with tracing():``."""

from __future__ import annotations

import builtins
import functools
import inspect
import math
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import Any

import numpy as np
from torch import Tensor

from pulseq_zero.tracing.numpy.arrays import as_traced
from pulseq_zero.tracing.tape.recording import is_recording

# What only a tensor has: a script that names it means tensors.
_OF_TENSORS = frozenset(dir(Tensor)).difference(
    dir(np.ndarray), dir(np), dir(np.linalg), dir(math), dir(builtins), dir(float)
)


def taking_numbers(function: FunctionType) -> Callable[..., Any]:
    """Let a function get traced numbers for tensors, as `pulseq_zero.tracing.trace` calls it.

    So what it does with them is what it does with the numbers and arrays it was written for.
    """

    @functools.wraps(function)
    def take(*args: Any, **kwargs: Any) -> Any:
        if not is_recording():
            return function(*args, **kwargs)
        return function(
            *(as_traced(x) if isinstance(x, Tensor) else x for x in args),
            **{name: as_traced(x) if isinstance(x, Tensor) else x for name, x in kwargs.items()},
        )

    return take


def may_take_tensors(function: FunctionType) -> bool:
    """Tell whether a function has arguments and was not written for tensors.

    It was if it names PyTorch, or what only a tensor has.
    """
    if not inspect.signature(function).parameters:
        return False
    names = set(_names(function.__code__))
    return names.isdisjoint(_OF_TENSORS) and not any(
        _is_of_torch(function.__globals__[name]) for name in names & function.__globals__.keys()
    )


def _names(code: CodeType) -> Iterator[str]:
    """Names of globals and attributes in a function and in those inside of it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _is_of_torch(value: Any) -> bool:
    name = getattr(value, "__module__", None) or getattr(value, "__name__", "")
    return str(name).split(".")[0] == "torch"
