"""NumPy's functions that choose among numbers, guarded by the comparisons behind the choice."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulseq_zero.tracing.numpy.arrays import as_array, is_traced, raw, wires_of, wrap
from pulseq_zero.tracing.numpy.functions import handles
from pulseq_zero.tracing.numpy.ufuncs import guard_comparison


@handles(np.argmax)
def _argmax(a: Any, axis: Any = None, out: Any = None, **options: Any) -> Any:
    return _extreme(np.argmax, "greater", as_array(a), axis, options)


@handles(np.argmin)
def _argmin(a: Any, axis: Any = None, out: Any = None, **options: Any) -> Any:
    return _extreme(np.argmin, "less", as_array(a), axis, options)


def _extreme(function: Any, better: str, a: Any, axis: Any, options: Any) -> Any:
    """Guard that the first of the best stays it: better than those before, as good as the rest."""
    chosen = function(a.values, axis=axis, **options)
    rows = a.reshape(1, -1) if axis is None else as_array(np.moveaxis(a, axis, -1))
    length = rows.shape[-1]
    rows = rows.reshape(-1, length)
    index = np.ravel(chosen)
    best = rows[np.arange(len(index)), index].reshape(-1, 1)
    earlier = np.arange(length) < index[:, None]
    others = ~earlier & (np.arange(length) != index[:, None])
    row, _ = np.nonzero(earlier)
    guard_comparison(better, best[row, 0], rows[earlier], np.ones(len(row), dtype=bool))
    row, _ = np.nonzero(others)
    guard_comparison(f"{better}_equal", best[row, 0], rows[others], np.ones(len(row), dtype=bool))
    return chosen


@handles(np.argsort)
def _argsort(a: Any, axis: Any = -1, **options: Any) -> Any:
    a = as_array(a)
    order = np.argsort(a.values, axis=axis, **options)
    _guard_sorted(as_array(np.take_along_axis(a, order, axis=axis)), axis)
    return order


@handles(np.sort)
def _sort(a: Any, axis: Any = -1, **options: Any) -> Any:
    a = as_array(a)
    order = _argsort(a, axis=axis, kind="stable")
    return np.take_along_axis(a, order, axis=axis)


def _guard_sorted(a: Any, axis: Any) -> None:
    rows = as_array(
        np.moveaxis(a.reshape(-1) if axis is None else a, -1 if axis is None else axis, -1)
    )
    if rows.shape[-1] > 1:
        left, right = rows[..., :-1], rows[..., 1:]
        guard_comparison("less_equal", left, right, left.values <= right.values)


@handles(np.unique)
def _unique(a: Any, **options: Any) -> Any:
    a = as_array(a).reshape(-1)
    result = np.unique(a.values, **options)
    _, first = np.unique(a.values, return_index=True)
    ordered = a[_argsort(a, kind="stable")]
    guard_comparison("less", ordered[:-1], ordered[1:], ordered.values[:-1] < ordered.values[1:])
    if isinstance(result, tuple):
        return a[first], *result[1:]
    return a[first]


@handles(np.searchsorted)
def _searchsorted(a: Any, v: Any, side: Any = "left", sorter: Any = None) -> Any:
    a, v = as_array(a), as_array(v)
    index = np.searchsorted(a.values, raw(v), side=side)
    below = "less" if side == "left" else "less_equal"
    flat, at = v.reshape(-1), np.ravel(index)
    after = np.flatnonzero(at > 0)
    guard_comparison(below, a[at[after] - 1], flat[after], np.ones(len(after), dtype=bool))
    before = np.flatnonzero(at < len(a))
    guard_comparison(below, a[at[before]], flat[before], np.zeros(len(before), dtype=bool))
    return index[()]


@handles(np.digitize)
def _digitize(x: Any, bins: Any, right: bool = False) -> Any:
    return _searchsorted(bins, x, side="left" if right else "right")


@handles(np.nonzero)
def _nonzero(a: Any) -> Any:
    return np.nonzero(as_array(a) != 0)


@handles(np.flatnonzero)
def _flatnonzero(a: Any) -> Any:
    return np.flatnonzero(as_array(a) != 0)


@handles(np.argwhere)
def _argwhere(a: Any) -> Any:
    return np.argwhere(as_array(a) != 0)


@handles(np.count_nonzero)
def _count_nonzero(a: Any, *args: Any, **options: Any) -> Any:
    return np.count_nonzero(as_array(a) != 0, *args, **options)


@handles(np.all)
def _all(a: Any, *args: Any, **options: Any) -> Any:
    return np.all(as_array(a) != 0, *args, **options)


@handles(np.any)
def _any(a: Any, *args: Any, **options: Any) -> Any:
    return np.any(as_array(a) != 0, *args, **options)


@handles(np.where)
def _where(condition: Any, x: Any = None, y: Any = None) -> Any:
    if is_traced(condition):
        condition = as_array(condition) != 0
    condition = raw(condition)
    if x is None:
        return np.where(condition)
    values = np.where(condition, raw(x), raw(y))
    return wrap(values, np.where(condition, wires_of(x), wires_of(y)))


@handles(np.select)
def _select(conditions: Any, choices: Any, default: Any = 0) -> Any:
    conditions = [raw(condition) for condition in conditions]
    choices = list(choices)
    values = np.select(conditions, [raw(x) for x in choices], raw(default))
    return wrap(values, np.select(conditions, [wires_of(x) for x in choices], wires_of(default)))


@handles(np.isclose)
def _isclose(
    a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> Any:
    result = np.isclose(raw(a), raw(b), rtol=rtol, atol=atol, equal_nan=equal_nan)
    guard_comparison("less_equal", np.abs(a - b), atol + rtol * np.abs(b), result)
    return result


@handles(np.allclose)
def _allclose(a: Any, b: Any, **options: Any) -> bool:
    return bool(np.all(_isclose(a, b, **options)))


@handles(np.array_equal, np.array_equiv)
def _array_equal(a: Any, b: Any, **options: Any) -> bool:
    a, b = as_array(a), as_array(b)
    return a.shape == b.shape and bool(np.all(a == b))


@handles(np.isreal)
def _isreal(x: Any) -> NDArray[np.bool_]:
    return np.imag(x) == 0


@handles(np.iscomplex)
def _iscomplex(x: Any) -> NDArray[np.bool_]:
    return np.imag(x) != 0
