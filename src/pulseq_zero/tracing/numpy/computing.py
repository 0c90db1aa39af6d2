"""NumPy's functions that compute, written on the tape by the operations that they consist of."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulseq_zero.errors import TracingError
from pulseq_zero.tracing.numpy.arrays import (
    TracedArray,
    as_array,
    is_traced,
    plain_key,
    raw,
    wires_dtype,
    wires_of,
    wrap,
)
from pulseq_zero.tracing.numpy.choosing import _searchsorted
from pulseq_zero.tracing.numpy.functions import handles, with_values
from pulseq_zero.tracing.numpy.ufuncs import complex_wires, elementwise
from pulseq_zero.tracing.tape.recording import current_tape


def _reduce(operation: str, a: TracedArray, axis: Any, result: Any) -> Any:
    """Reduce along axes; complex numbers part by part, which only sums allow."""
    if np.iscomplexobj(a.values):
        real = _reduced_wires(operation, a.real, axis, result)
        imaginary = _reduced_wires(operation, a.imag, axis, result)
        wires = complex_wires(real, imaginary, np.shape(result))
    else:
        wires = _reduced_wires(operation, a, axis, result)
    return wrap(result, wires[()])


def _reduced_wires(operation: str, a: Any, axis: Any, result: Any) -> NDArray[Any]:
    axes = tuple(range(a.ndim)) if axis is None else np.atleast_1d(plain_key(axis))
    last = tuple(range(-len(axes), 0))
    rows = as_array(np.moveaxis(a, tuple(int(k) for k in axes), last))
    length = int(np.prod(rows.shape[rows.ndim - len(axes) :]))
    tape = current_tape()
    index = tape.locals(rows.wires, rows.values)
    return np.asarray(tape.array(operation, (index,), np.shape(result), length))


@handles(np.sum)
def _sum(a: Any, axis: Any = None, dtype: Any = None, out: Any = None, **options: Any) -> Any:
    a = as_array(a)
    return _reduce("sum", a, axis, np.sum(a.values, axis=axis, **_without_initial(options)))


@handles(np.max, np.amax)
def _max(a: Any, axis: Any = None, out: Any = None, **options: Any) -> Any:
    a = as_array(a)
    return _reduce("max", a, axis, np.max(a.values, axis=axis, **_without_initial(options)))


@handles(np.min, np.amin)
def _min(a: Any, axis: Any = None, out: Any = None, **options: Any) -> Any:
    a = as_array(a)
    return _reduce("min", a, axis, np.min(a.values, axis=axis, **_without_initial(options)))


def _without_initial(options: dict[str, Any]) -> dict[str, Any]:
    left = {k: v for k, v in options.items() if v is not np._NoValue and k != "keepdims"}
    if left:
        raise TracingError(f"reductions of traced arrays cannot be done with {sorted(left)}")
    return {"keepdims": options["keepdims"]} if options.get("keepdims") is True else {}


@handles(np.mean)
def _mean(a: Any, axis: Any = None, dtype: Any = None, out: Any = None, **options: Any) -> Any:
    a = as_array(a)
    result = np.mean(a.values, axis=axis, **_without_initial(options))
    return with_values(result, np.sum(a, axis=axis, **options) * (np.size(result) / a.size))


@handles(np.average)
def _average(
    a: Any, axis: Any = None, weights: Any = None, returned: bool = False, **options: Any
) -> Any:
    if weights is None and not returned:
        return np.mean(a, axis=axis, **options)
    if returned:
        options["returned"] = True
    if options:
        raise TracingError(f"np.average of traced arrays cannot be done with {sorted(options)}")
    result = np.average(raw(a), axis=axis, weights=raw(weights))
    a, weights = as_array(a), as_array(weights)
    if weights.shape != a.shape:
        along = [1] * a.ndim
        along[axis] = -1
        weights = weights.reshape(along) * np.ones(a.shape)
    return with_values(result, np.sum(a * weights, axis=axis) / np.sum(weights, axis=axis))


@handles(np.var)
def _var(
    a: Any, axis: Any = None, dtype: Any = None, out: Any = None, ddof: Any = 0, **options: Any
) -> Any:
    a = as_array(a)
    result = np.var(a.values, axis=axis, ddof=ddof, **_without_initial(options))
    centred = np.abs(a - np.mean(a, axis=axis, keepdims=True))
    count = a.size // np.size(result) - ddof
    return with_values(result, np.sum(centred * centred, axis=axis) / count)


@handles(np.std)
def _std(
    a: Any, axis: Any = None, dtype: Any = None, out: Any = None, ddof: Any = 0, **options: Any
) -> Any:
    result = np.std(raw(as_array(a)), axis=axis, ddof=ddof, **_without_initial(options))
    return with_values(result, np.sqrt(_var(a, axis=axis, ddof=ddof)))


@handles(np.ptp)
def _ptp(a: Any, axis: Any = None, **options: Any) -> Any:
    return np.max(a, axis=axis, **options) - np.min(a, axis=axis, **options)


def _along_last(a: Any, axis: Any) -> TracedArray:
    """Put the axes that are reduced into one, the last."""
    axes = list(range(a.ndim)) if axis is None else np.atleast_1d(plain_key(axis)).tolist()
    rows = as_array(np.moveaxis(a, axes, list(range(-len(axes), 0))))
    return rows.reshape(*rows.shape[: a.ndim - len(axes)], -1)


@handles(np.prod)
def _prod(a: Any, axis: Any = None, dtype: Any = None, out: Any = None, **options: Any) -> Any:
    a = as_array(a)
    result = np.prod(a.values, axis=axis, **_without_initial(options))
    rows = _along_last(a, axis)
    product = rows[..., 0]
    for k in range(1, rows.shape[-1]):
        product = product * rows[..., k]
    return with_values(result, product)


@handles(np.median)
def _median(a: Any, axis: Any = None, **options: Any) -> Any:
    a = as_array(a)
    rows = np.sort(_along_last(a, axis), axis=-1)
    middle = rows.shape[-1] - 1
    half = (rows[..., middle // 2] + rows[..., (middle + 1) // 2]) / 2
    return with_values(np.median(a.values, axis=axis, **_without_initial(options)), half)


@handles(np.cumsum)
def _cumsum(a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Any:
    a = as_array(a)
    result = np.cumsum(a.values, axis=axis)
    if np.iscomplexobj(a.values):
        real, imaginary = wires_of(_cumsum(a.real, axis)), wires_of(_cumsum(a.imag, axis))
        return wrap(result, complex_wires(real, imaginary, result.shape))
    rows = a.reshape(-1) if axis is None else as_array(np.moveaxis(a, axis, -1))
    tape = current_tape()
    index = tape.locals(rows.wires, rows.values)
    wires = tape.array("cumsum", (index,), rows.shape, rows.shape[-1])
    return wrap(result, wires if axis is None else np.moveaxis(wires, -1, axis))


@handles(np.diff)
def _diff(a: Any, n: int = 1, axis: int = -1, **options: Any) -> Any:
    for name in ("prepend", "append"):
        if options.get(name, np._NoValue) is not np._NoValue:
            extra = as_array(options[name])
            if extra.ndim == 0:
                shape = list(np.shape(a))
                shape[axis] = 1
                extra = as_array(np.broadcast_to(extra, shape))
            parts = (extra, a) if name == "prepend" else (a, extra)
            a = np.concatenate(parts, axis=axis)
    for _ in range(n):
        rows = np.moveaxis(a, axis, -1)
        a = np.moveaxis(rows[..., 1:] - rows[..., :-1], -1, axis)
    return a


@handles(np.gradient)
def _gradient(f: Any, *spacing: Any, axis: Any = None, edge_order: Any = 1) -> Any:
    f = as_array(f)
    if f.ndim != 1 or edge_order != 1 or any(np.ndim(raw(h)) for h in spacing):
        raise TracingError("np.gradient can be followed for one axis with even spacing only")
    h = spacing[0] if spacing else 1.0
    inner = (f[2:] - f[:-2]) / (2.0 * h)
    edges = (f[1] - f[0]) / h, (f[-1] - f[-2]) / h
    result = np.gradient(f.values, *(raw(h) for h in spacing))
    return with_values(
        result, np.concatenate([np.reshape(edges[0], 1), inner, np.reshape(edges[1], 1)])
    )


@handles(np.trapezoid)
def _trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    rows = np.moveaxis(as_array(y), axis, -1)
    steps = dx if x is None else np.diff(x)
    result = np.trapezoid(raw(y), None if x is None else raw(x), raw(dx), axis)
    return with_values(result, np.sum(0.5 * (rows[..., 1:] + rows[..., :-1]) * steps, axis=-1))


@handles(np.round, np.around)
def _round(a: Any, decimals: Any = 0, out: Any = None) -> Any:
    decimals = int(decimals)
    result = np.round(raw(a), decimals)
    return wrap(result, elementwise("round", (a,), np.shape(result), decimals))


@handles(np.fix)
def _fix(x: Any, out: Any = None) -> Any:
    return np.trunc(x)


@handles(np.sinc)
def _sinc(x: Any) -> Any:
    result = np.sinc(raw(x))
    return wrap(result, elementwise("sinc", (x,), np.shape(result)))


@handles(np.angle)
def _angle(z: Any, deg: bool = False) -> Any:
    angle = np.arctan2(np.imag(z), np.real(z))
    return with_values(np.angle(raw(z), deg), np.rad2deg(angle) if deg else angle)


@handles(np.unwrap)
def _unwrap(p: Any, **options: Any) -> Any:
    # What unwrapping adds is constant between jumps.
    return with_values(np.unwrap(raw(p), **options), p)


@handles(np.clip)
def _clip(a: Any, a_min: Any = None, a_max: Any = None, out: Any = None, **options: Any) -> Any:
    low, high = options.get("min", a_min), options.get("max", a_max)
    result = a
    if low is not None and low is not np._NoValue:
        result = np.maximum(result, low)
    if high is not None and high is not np._NoValue:
        result = np.minimum(result, high)
    return result


@handles(np.nan_to_num)
def _nan_to_num(x: Any, copy: bool = True, **options: Any) -> Any:
    good = np.isfinite(x)
    return np.where(good, x, np.nan_to_num(raw(x), **options))


@handles(np.interp)
def _interp(
    x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None
) -> Any:
    if period is not None:
        raise TracingError("np.interp(period=...) cannot be followed on traced arrays")
    x, xp, fp = as_array(x), as_array(xp), as_array(fp)
    result = np.interp(x.values, xp.values, fp.values, raw(left), raw(right))
    at = np.clip(_searchsorted(xp, x, side="right") - 1, 0, len(xp.values) - 2)
    x0, x1, f0, f1 = xp[at], xp[at + 1], fp[at], fp[at + 1]
    same = raw(x1) == raw(x0)
    line = f0 + (f1 - f0) / np.where(same, 1.0, x1 - x0) * (x - x0)
    line = np.where(x.values < xp.values[0], fp[0] if left is None else left, line)
    line = np.where(x.values > xp.values[-1], fp[-1] if right is None else right, line)
    return with_values(result, line)


@handles(np.pad)
def _pad(array: Any, pad_width: Any, mode: Any = "constant", **options: Any) -> Any:
    array, pad_width = as_array(array), plain_key(pad_width)
    values = np.pad(array.values, pad_width, mode=mode, **{k: raw(v) for k, v in options.items()})
    if mode == "constant":
        if any(is_traced(value) for value in options.values()):
            raise TracingError(
                "np.pad with traced constants cannot be followed; concatenate instead"
            )
        return wrap(values, np.pad(array.wires, pad_width))
    if mode not in ("edge", "reflect", "symmetric", "wrap", "empty"):
        raise TracingError(f"np.pad(mode={mode!r}) cannot be followed on traced arrays")
    return wrap(values, np.pad(array.wires, pad_width, mode=mode, **options))


@handles(np.dot)
def _dot(a: Any, b: Any, out: Any = None) -> Any:
    a, b = as_array(a), as_array(b)
    result = np.dot(a.values, b.values)
    if a.ndim == 0 or b.ndim == 0:
        return with_values(result, a * b)
    right = b if b.ndim == 1 else np.moveaxis(b, -2, -1)
    return with_values(result, _sums_of_products(a, right))


@handles(np.inner)
def _inner(a: Any, b: Any) -> Any:
    a, b = as_array(a), as_array(b)
    result = np.inner(a.values, b.values)
    if a.ndim == 0 or b.ndim == 0:
        return with_values(result, a * b)
    return with_values(result, _sums_of_products(a, b))


@handles(np.vdot)
def _vdot(a: Any, b: Any) -> Any:
    a, b = as_array(a), as_array(b)
    result = np.vdot(a.values, b.values)
    return with_values(result, np.sum(np.conjugate(a.reshape(-1)) * b.reshape(-1)))


@handles(np.matmul)
def _matmul(a: Any, b: Any, **options: Any) -> Any:
    if options:
        raise TracingError(f"np.matmul of traced arrays cannot be done with {sorted(options)}")
    a, b = as_array(a), as_array(b)
    result = np.matmul(a.values, b.values)
    right = b if b.ndim == 1 else np.moveaxis(b, -2, -1)
    if a.ndim > 1 and b.ndim > 1:
        a, right = a[..., :, None, :], right[..., None, :, :]
    return with_values(result, np.sum(a * right, axis=-1))


def _sums_of_products(a: TracedArray, b: TracedArray) -> Any:
    """Sum over the last axes, for all combinations of the others."""
    return np.sum(a.reshape(*a.shape[:-1], *(1,) * (b.ndim - 1), -1) * b, axis=-1)


@handles(np.outer)
def _outer(a: Any, b: Any, out: Any = None) -> Any:
    return as_array(a).reshape(-1, 1) * as_array(b).reshape(1, -1)


@handles(np.cross)
def _cross(a: Any, b: Any, *args: Any, **options: Any) -> Any:
    a, b = as_array(a), as_array(b)
    if a.shape[-1] != 3 or b.shape[-1] != 3 or args or options:
        raise TracingError("np.cross can be followed for vectors of three along the last axis only")
    first, second = [1, 2, 0], [2, 0, 1]
    return a[..., first] * b[..., second] - a[..., second] * b[..., first]


@handles(np.convolve)
def _convolve(a: Any, v: Any, mode: Any = "full") -> Any:
    a, v = as_array(a), as_array(v)
    result = np.convolve(a.values, v.values, mode)
    if len(v) > len(a):
        a, v = v, a
    shifted = [np.pad(a * v[k], (k, len(v) - 1 - k)) for k in range(len(v))]
    full = np.sum(np.stack(shifted), axis=0)
    skip = (len(full) - len(result)) // 2
    return with_values(result, full[skip : skip + len(result)])


@handles(np.polyval)
def _polyval(p: Any, x: Any) -> Any:
    result = np.polyval(raw(p), raw(x))
    total = as_array(p)[0] + 0 * x
    for coefficient in as_array(p)[1:]:
        total = total * x + coefficient
    return with_values(result, total)


@handles(np.linalg.norm)
def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    if ord not in (None, 2) or (ord == 2 and axis is None and np.ndim(raw(x)) > 1):
        raise TracingError(f"np.linalg.norm(ord={ord}) cannot be followed on traced arrays")
    size = np.abs(x)
    result = np.linalg.norm(raw(as_array(x)), ord, axis, keepdims)
    return with_values(result, np.sqrt(np.sum(size * size, axis=axis, keepdims=keepdims)))


class _Fourier:
    """A discrete Fourier transform of a complex vector: the adjoint is its pull-back."""

    def __init__(self, transform: Any, adjoint: Any) -> None:
        self._transform = transform
        self._adjoint = adjoint

    def compute(self, *operands: NDArray[Any]) -> NDArray[Any]:
        result = self._transform(operands[0] + 1j * operands[1])
        return np.concatenate([result.real, result.imag])

    def pull_back(self, operands: Any, gradient: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        half = len(gradient) // 2
        back = self._adjoint(gradient[:half] + 1j * gradient[half:])
        return back.real, back.imag


_FORWARD = _Fourier(np.fft.fft, lambda g: np.fft.ifft(g, norm="forward"))
_INVERSE = _Fourier(np.fft.ifft, lambda g: np.fft.fft(g, norm="forward"))


@handles(np.fft.fft)
def _fft(a: Any, n: Any = None, axis: int = -1, norm: Any = None, out: Any = None) -> Any:
    return _fourier(_FORWARD, np.fft.fft, a, n, norm)


@handles(np.fft.ifft)
def _ifft(a: Any, n: Any = None, axis: int = -1, norm: Any = None, out: Any = None) -> Any:
    return _fourier(_INVERSE, np.fft.ifft, a, n, norm)


def _fourier(opaque: _Fourier, function: Any, a: Any, n: Any, norm: Any) -> Any:
    a = as_array(a)
    if a.ndim != 1 or norm is not None or (n is not None and n < len(a)):
        raise TracingError("a Fourier transform can be followed for whole vectors only")
    result = function(a.values, n)
    if n is not None:
        a = as_array(np.pad(a, (0, int(n) - len(a))))
    tape = current_tape()
    parts = (a.real, as_array(np.imag(a)))
    operands = tuple(tape.locals(part.wires.real, part.values) for part in parts)
    wires = tape.array("opaque", operands, (2 * len(a),), opaque)
    return wrap(result, complex_wires(wires[: len(a)], wires[len(a) :], (len(a),)))


@handles(np.linspace)
def _linspace(start: Any, stop: Any, num: Any = 50, endpoint: bool = True, **options: Any) -> Any:
    if options.pop("retstep", False) or options.pop("axis", 0) or options.pop("dtype", None):
        raise TracingError(
            "np.linspace of traced numbers can be followed with num and endpoint only"
        )
    num = int(plain_key(num))
    values = np.linspace(raw(start), raw(stop), num, endpoint)
    pieces = max(num - 1 if endpoint else num, 1)
    steps = np.arange(num).reshape(-1, *(1,) * (values.ndim - 1))
    line = steps * ((stop - start) / pieces) + start
    if endpoint and num > 1:
        line[-1] = stop
    return with_values(values, line)


@handles(np.full_like)
def _full_like(a: Any, fill_value: Any, **options: Any) -> Any:
    values = np.full_like(raw(a), raw(fill_value), **options)
    return wrap(values, np.full(values.shape, wires_of(fill_value), dtype=wires_dtype(values)))


@handles(np.zeros_like)
def _zeros_like(a: Any, **options: Any) -> Any:
    return _constant_like(np.zeros_like(raw(a), **options))


@handles(np.ones_like)
def _ones_like(a: Any, **options: Any) -> Any:
    return _constant_like(np.ones_like(raw(a), **options))


@handles(np.empty_like)
def _empty_like(a: Any, **options: Any) -> Any:
    return _constant_like(np.empty_like(raw(a), **options))


def _constant_like(values: NDArray[Any]) -> TracedArray:
    return TracedArray(values, np.zeros(values.shape, dtype=wires_dtype(values)))


@handles(np.atleast_1d)
def _atleast_1d(*arrays: Any) -> Any:
    return _at_least(np.atleast_1d, arrays)


@handles(np.atleast_2d)
def _atleast_2d(*arrays: Any) -> Any:
    return _at_least(np.atleast_2d, arrays)


def _at_least(function: Any, arrays: tuple[Any, ...]) -> Any:
    made = [wrap(function(raw(x)), function(wires_of(x))) for x in arrays]
    return made[0] if len(made) == 1 else tuple(made)


@handles(np.meshgrid)
def _meshgrid(*arrays: Any, **options: Any) -> Any:
    values = np.meshgrid(*map(raw, arrays), **options)
    return [
        wrap(v, w)
        for v, w in zip(values, np.meshgrid(*map(wires_of, arrays), **options), strict=True)
    ]


@handles(np.copyto)
def _copyto(dst: Any, src: Any, casting: Any = "same_kind", where: Any = True) -> None:
    if type(dst) is not TracedArray:
        raise TracingError("np.copyto of traced numbers needs an array made by `np` of the script")
    np.copyto(dst.values, raw(src), casting=casting, where=raw(where))
    np.copyto(dst.wires, wires_of(src), where=raw(where))
