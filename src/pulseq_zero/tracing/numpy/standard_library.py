"""Stand-ins for ``math`` and ``json``, for code that is traced.

``math`` reads its arguments, so that NumPy's protocols do not reach it. ``json`` writes them, and
whoever reads that does not know what they were computed from.
"""

from __future__ import annotations

import builtins
import functools
import json
import math
import operator
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from pulseq_zero.tracing.numpy.arrays import TracedArray, as_traced, is_traced, raw
from pulseq_zero.tracing.numpy.proxies import BUILTINS
from pulseq_zero.tracing.numpy.scalars import TracedNumber
from pulseq_zero.tracing.numpy.stand_in import StandIn
from pulseq_zero.tracing.tape.gradient_loss import report_loss


def _of_one(function: Callable[..., Any], numpy_name: str) -> Callable[..., Any]:
    @functools.wraps(function)
    def proxy(x: Any, /) -> Any:
        if type(x) is float:
            return function(x)
        x = as_traced(x)
        if type(x) is TracedArray:
            x = x.item()
        if type(x) is not TracedNumber:
            return function(x)
        return x._apply(numpy_name, function(x.value))

    return proxy


def _following(function: Callable[..., Any], formula: Callable[..., Any]) -> Callable[..., Any]:
    """Let a formula on traced numbers stand for a function of several numbers."""

    @functools.wraps(function)
    def proxy(*args: Any, **kwargs: Any) -> Any:
        args = tuple(x.item() if type(x) is TracedArray else x for x in map(as_traced, args))
        if not any(map(is_traced, args)):
            return function(*args, **kwargs)
        result = formula(*args, **kwargs)
        if type(result) is not TracedNumber:
            return result
        return TracedNumber(function(*map(raw, args), **kwargs), result.wire)

    return proxy


def _of_all(function: Callable[..., Any], formula: Callable[..., Any]) -> Callable[..., Any]:
    """Let a formula on a list of traced numbers stand for a function of all numbers of one."""

    @functools.wraps(function)
    def proxy(numbers: Iterable[Any], /, **kwargs: Any) -> Any:
        numbers = [as_traced(x) for x in numbers]
        value = function(map(raw, numbers), **{name: raw(x) for name, x in kwargs.items()})
        result = formula(numbers, **kwargs)
        return TracedNumber(value, result.wire) if type(result) is TracedNumber else value

    return proxy


def _product(numbers: Iterable[Any], *, start: Any = 1) -> Any:
    return functools.reduce(operator.mul, numbers, start)


def _log(x: Any, base: Any = math.e) -> Any:
    return np.log(x) if raw(base) == math.e else np.log(x) / np.log(base)


def _copysign(x: Any, y: Any) -> Any:
    return abs(x) if y >= 0 else -abs(x)


def _isclose(a: Any, b: Any, *, rel_tol: float = 1e-9, abs_tol: float = 0.0) -> bool:
    return bool(abs(a - b) <= _largest(rel_tol * _largest(abs(a), abs(b)), abs_tol))


_largest = BUILTINS["max"]

_SAME_IN_NUMPY = (
    "sqrt", "cbrt", "exp", "exp2", "expm1", "log2", "log10", "log1p",
    "sin", "cos", "tan", "sinh", "cosh", "tanh",
)  # fmt: skip

traced_math = StandIn(
    math,
    {name: value for name, value in vars(math).items() if not name.startswith("__")}
    | {
        name: _of_one(getattr(math, name), operation)
        for name, operation in {
            **dict(zip(_SAME_IN_NUMPY, _SAME_IN_NUMPY, strict=True)),
            "asin": "arcsin",
            "acos": "arccos",
            "atan": "arctan",
            "asinh": "arcsinh",
            "acosh": "arccosh",
            "atanh": "arctanh",
            "radians": "deg2rad",
            "degrees": "rad2deg",
            "fabs": "absolute",
            "ceil": "ceil",
            "floor": "floor",
            "trunc": "trunc",
        }.items()
        if hasattr(math, name)
    }
    | {
        "log": _following(math.log, _log),
        "pow": _following(math.pow, lambda x, y: x**y),
        "atan2": _following(math.atan2, np.arctan2),
        "hypot": _following(math.hypot, lambda *xs: np.sqrt(builtins.sum(x * x for x in xs))),
        "fmod": _following(math.fmod, np.fmod),
        "remainder": _following(math.remainder, lambda x, y: x - y * round(x / y)),
        "copysign": _following(math.copysign, _copysign),
        "isclose": _following(math.isclose, _isclose),
        "fsum": _of_all(math.fsum, builtins.sum),
        "prod": _of_all(math.prod, _product),
        "isfinite": _following(math.isfinite, np.isfinite),
        "isnan": _following(math.isnan, np.isnan),
        "isinf": _following(math.isinf, np.isinf),
    },
)


def _as_json_takes_it(x: Any) -> Any:
    if type(x) is TracedNumber:
        report_loss("json", "that is right if the value is only kept, not computed with")
        return x.value
    if type(x) is dict:
        return {key: _as_json_takes_it(value) for key, value in x.items()}
    return [_as_json_takes_it(item) for item in x] if type(x) in (list, tuple) else x


def _to_json(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let numbers be written, but not without a word."""

    @functools.wraps(function)
    def write(content: Any, *args: Any, **options: Any) -> Any:
        return function(_as_json_takes_it(content), *args, **options)

    return write


traced_json = StandIn(
    json, {**vars(json), "dump": _to_json(json.dump), "dumps": _to_json(json.dumps)}
)
