"""NumPy's universal functions on traced numbers and arrays.

NumPy computes the values, exactly as it would for plain numbers; here only the tape is
written. Complex results are written as the real operations that they consist of.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulseq_zero.errors import TracingError
from pulseq_zero.tracing.numpy.arrays import (
    TracedArray,
    any_wire,
    as_array,
    as_traced,
    is_traced,
    raw,
    wires_of,
    wrap,
)
from pulseq_zero.tracing.numpy.dispatch import dispatch
from pulseq_zero.tracing.numpy.scalars import TracedNumber
from pulseq_zero.tracing.tape.gradient_loss import report_loss
from pulseq_zero.tracing.tape.operations import COMPARISONS, ELEMENTWISE
from pulseq_zero.tracing.tape.recording import current_tape, is_recording
from pulseq_zero.tracing.tape.tape import Operand, Tape

_ALIASES = {"fabs": "absolute", "float_power": "power", "rint": "round", "true_divide": "divide"}
_ALIASES |= {"radians": "deg2rad", "degrees": "rad2deg", "conj": "conjugate", "mod": "remainder"}

# Functions whose result changes in jumps, as the comparisons that it stands for.
_DECISIONS: dict[str, Callable[[Any], Any]] = {
    "isfinite": lambda x: np.less(np.abs(x), np.inf),
    "isinf": lambda x: np.equal(np.abs(x), np.inf),
    "isnan": lambda x: np.not_equal(x, x),
    "signbit": lambda x: np.less(x, 0),
    "logical_not": lambda x: np.equal(x, 0),
    "sign": lambda x: (np.greater(x, 0), np.less(x, 0)),
    "logical_and": lambda x: np.not_equal(x, 0),
    "logical_or": lambda x: np.not_equal(x, 0),
    "logical_xor": lambda x: np.not_equal(x, 0),
}


def dispatch_ufunc(ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], options: Any) -> Any:
    """Do a universal function on operands of which some are traced."""
    inputs, values, any_traced = _entered(inputs)
    if method != "__call__":
        return _method(ufunc, method, inputs, options)
    if ufunc is np.divmod and any_traced and not options:
        return np.floor_divide(*inputs), np.remainder(*inputs)
    if options:
        options = dict(options)
        out = options.pop("out", None)
        if out is not None:
            return _in_place(ufunc, inputs, out, options)
    result = ufunc(*values, **options)
    if not any_traced:
        return untraced(result)
    name = _ALIASES.get(ufunc.__name__, ufunc.__name__)
    if name in COMPARISONS:
        guard_comparison(name, inputs[0], inputs[1], result)
        return result
    if name in _DECISIONS:
        for x in inputs:
            _DECISIONS[name](x)
        return result
    if options.get("where", True) is not True:
        raise TracingError(
            f"np.{name}(where=...) cannot be followed on a traced array; use np.where"
        )
    if ufunc is np.matmul:
        return dispatch.function(np.matmul, inputs, options)
    if isinstance(result, tuple):
        raise TracingError(f"np.{name} cannot be followed on a traced number")
    return wrap(result, _wires(name, inputs, result))


dispatch.ufunc = dispatch_ufunc


def _entered(inputs: tuple[Any, ...]) -> tuple[tuple[Any, ...], list[Any], bool]:
    """Operands with lists and tensors brought in, their values, and whether any is traced."""
    entered, values, any_traced = [], [], False
    for x in inputs:
        kind = type(x)
        if kind is TracedArray:
            values.append(x.values)
            any_traced = any_traced or any_wire(x)
        elif kind is TracedNumber:
            values.append(x.value)
            any_traced = True
        elif kind is not float and kind is not np.ndarray:
            x = as_traced(x)
            values.append(raw(x))
            any_traced = any_traced or is_traced(x)
        else:
            values.append(x)
        entered.append(x)
    return tuple(entered), values, any_traced


def untraced(result: Any) -> Any:
    """Make an array of floats one that traced numbers can be assigned into."""
    if type(result) is np.ndarray and result.dtype.kind in "fc" and is_recording():
        complex_or_real = np.complex128 if result.dtype.kind == "c" else np.float64
        return TracedArray(result, np.zeros(result.shape, complex_or_real))
    return result


def guard_comparison(name: str, left: Any, right: Any, result: Any) -> None:
    """Note on the tape how a comparison came out, complex numbers part by part."""
    if not is_recording():
        return
    if _is_complex(left) or _is_complex(right):
        left, right = as_array(left), as_array(right)
        np.equal(left.real, right.real)
        np.equal(left.imag, right.imag)
        return
    tape, shape = current_tape(), _shape(result)
    if 0 not in shape:
        # the script may go on to change the result
        outcome = np.array(result)
        tape.guard(name, _operand(tape, left, shape), _operand(tape, right, shape), outcome)


def elementwise(
    operation: str, operands: tuple[Any, ...], shape: tuple[int, ...], detail: Any = None
) -> Any:
    """Write a real operation on the tape and return its results' wires, as :func:`wrap` wants."""
    tape = current_tape()
    if shape == ():
        numbers = tuple(tape.local(int(np.real(wires_of(x))), float(raw(x))) for x in operands)
        return np.float64(tape.scalar(operation, numbers, detail))
    entered = tuple(_operand(tape, x, shape) for x in operands)
    return tape.many(operation, entered, math.prod(shape), detail)


def complex_wires(real: Any, imaginary: Any, shape: tuple[int, ...]) -> NDArray[np.complex128]:
    """Join the wires of real and imaginary parts."""
    wires = np.empty(shape, dtype=np.complex128)
    wires.real, wires.imag = real, imaginary
    return wires


def _operand(tape: Tape, x: Any, shape: tuple[int, ...]) -> Operand:
    """Bring an operand to the tape: a single number as it is, an array in the result's shape."""
    kind = type(x)
    if kind is TracedNumber:
        return tape.local(x.wire, x.value)
    if kind is TracedArray:
        if x.span and x.values.shape == shape:
            return tape.local_span(x.span)
        values, wires = x.values, x.wires
        if values.ndim == 0:
            return tape.local(int(wires), values.item())
        if values.shape != shape:
            values, wires = np.broadcast_to(values, shape), np.broadcast_to(wires, shape)
        return tape.locals(wires, values)
    if kind is float or np.ndim(x) == 0:
        return tape.constant(x)
    return tape.constants(x if _shape(x) == shape else np.broadcast_to(x, shape))


def _shape(x: Any) -> tuple[int, ...]:
    return x.shape if isinstance(x, (np.ndarray, np.generic)) else np.shape(x)


def _is_complex(x: Any) -> bool:
    kind = type(x)
    if kind is float or kind is TracedNumber:
        return False
    return bool(np.iscomplexobj(x.values if kind is TracedArray else x))


def _wires(name: str, inputs: tuple[Any, ...], result: Any) -> Any:
    shape = _shape(result)
    if any(map(_is_complex, inputs)):
        if name not in _COMPLEX:
            raise TracingError(f"np.{name} cannot be followed on complex traced numbers")
        parts = _COMPLEX[name](*inputs)
        if not np.iscomplexobj(result):
            return wires_of(parts[0])
        return complex_wires(wires_of(parts[0]), wires_of(parts[1]), shape)
    if name == "positive" or name == "conjugate":
        return wires_of(inputs[0])
    if name == "floor_divide":
        quotient = np.floor(np.true_divide(*inputs))
        return wires_of(quotient)
    if name not in ELEMENTWISE:
        raise TracingError(f"np.{name} cannot be followed on traced numbers")
    return elementwise(name, inputs, shape, 0 if name == "round" else None)


def _in_place(ufunc: np.ufunc, inputs: tuple[Any, ...], out: tuple[Any, ...], options: Any) -> Any:
    target = out[0]
    if options.get("where", True) is not True and not any(map(is_traced, (*inputs, target))):
        ufunc(*map(raw, inputs), out=raw(target), **options)
        return target
    result = dispatch_ufunc(ufunc, "__call__", inputs, options)
    traced = is_traced(result)
    if type(target) is not TracedArray:
        if traced:
            report_loss(
                f"np.{ufunc.__name__}(out=...) into a plain array",
                "make the array with `np` of the traced script, or assign the result, as in "
                "rf.signal = rf.signal * x instead of rf.signal *= x",
            )
        np.copyto(target, raw(result), casting="same_kind")
        return target
    np.copyto(target.values, raw(result), casting="same_kind")
    target.wires[...] = wires_of(result)
    return target


def _method(ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], options: Any) -> Any:
    functions: dict[tuple[str, str], Any] = {
        ("add", "reduce"): np.sum,
        ("multiply", "reduce"): np.prod,
        ("maximum", "reduce"): np.max,
        ("minimum", "reduce"): np.min,
        ("logical_and", "reduce"): np.all,
        ("logical_or", "reduce"): np.any,
        ("add", "accumulate"): np.cumsum,
    }
    if not any(is_traced(x) for x in inputs):
        return untraced(getattr(ufunc, method)(*(raw(x) for x in inputs), **options))
    function = functions.get((ufunc.__name__, method))
    if function is not None:
        axis = options.get("axis", 0)
        options = {key: x for key, x in options.items() if x is not None and key != "axis"}
        return function(as_array(inputs[0]), axis=axis, **options)
    if (ufunc.__name__, method) == ("add", "reduceat") and not options and np.ndim(inputs[0]) == 1:
        return _segment_sums(as_array(inputs[0]), inputs[1])
    if method == "outer":
        left, right = (as_array(x) for x in inputs)
        return ufunc(left.reshape(*left.shape, *(1,) * right.ndim), right)
    raise TracingError(f"np.{ufunc.__name__}.{method} cannot be followed on traced numbers")


def _segment_sums(a: TracedArray, starts: Any) -> Any:
    """Sum from each start to the next."""
    result = np.add.reduceat(a.values, starts)
    if not np.iscomplexobj(a.values):
        return wrap(result, _segment_wires(a, starts))
    real, imaginary = (_segment_wires(as_array(part), starts) for part in (a.real, a.imag))
    return wrap(result, complex_wires(real, imaginary, result.shape))


def _segment_wires(a: TracedArray, starts: Any) -> NDArray[np.float64]:
    tape = current_tape()
    index = tape.locals(a.wires, a.values)
    segments = np.asarray(starts, dtype=np.int64)
    wires = tape.array("segment_sum", (index,), segments.shape, segments)
    # Sums of constants stay constants: the simulation leaves out what does not depend on them.
    return np.where(np.logical_or.reduceat(np.asarray(a.wires) != 0, segments), wires, 0)


def _parts(x: Any) -> tuple[Any, Any]:
    """Real and imaginary part; the latter is 0 for a real operand."""
    if isinstance(x, TracedNumber) or not np.iscomplexobj(raw(x)):
        return x, 0.0
    array = as_array(x)
    return array.real[()], array.imag[()]


def _product(a: Any, b: Any) -> tuple[Any, Any]:
    (ar, ai), (br, bi) = _parts(a), _parts(b)
    if type(ai) is float:
        return ar * br, ar * bi
    if type(bi) is float:
        return ar * br, ai * br
    return ar * br - ai * bi, ar * bi + ai * br


def _quotient(a: Any, b: Any) -> tuple[Any, Any]:
    (ar, ai), (br, bi) = _parts(a), _parts(b)
    if type(bi) is float:
        return ar / br, ai / br
    scale = br * br + bi * bi
    return (ar * br + ai * bi) / scale, (ai * br - ar * bi) / scale


def _exponential(a: Any) -> tuple[Any, Any]:
    re, im = _parts(a)
    size = np.exp(re)
    return size * np.cos(im), size * np.sin(im)


def _power(a: Any, b: Any) -> tuple[Any, Any]:
    exponent = raw(b)
    if np.ndim(exponent) == 0 and not is_traced(b) and exponent == 2:
        return _product(a, a)
    # a ** b = exp(b log a)
    re, im = _logarithm(a)
    return _exponential(b * (re + 1j * im))


def _logarithm(a: Any) -> tuple[Any, Any]:
    re, im = _parts(a)
    return np.log(np.hypot(re, im)), np.arctan2(im, re)


def _root(a: Any) -> tuple[Any, Any]:
    re, im = _parts(a)
    size, angle = np.sqrt(np.hypot(re, im)), np.arctan2(im, re) / 2
    return size * np.cos(angle), size * np.sin(angle)


def _sum_of(a: Any, b: Any) -> tuple[Any, Any]:
    (ar, ai), (br, bi) = _parts(a), _parts(b)
    return ar + br, ai + bi


def _difference(a: Any, b: Any) -> tuple[Any, Any]:
    (ar, ai), (br, bi) = _parts(a), _parts(b)
    return ar - br, ai - bi


def _absolute(a: Any) -> tuple[Any, Any]:
    return np.hypot(*_parts(a)), 0.0


def _conjugate(a: Any) -> tuple[Any, Any]:
    re, im = _parts(a)
    return re, -im


_COMPLEX: dict[str, Callable[..., tuple[Any, Any]]] = {
    "add": _sum_of,
    "subtract": _difference,
    "multiply": _product,
    "divide": _quotient,
    "power": _power,
    "square": lambda a: _product(a, a),
    "reciprocal": lambda a: _quotient(1.0, a),
    "sqrt": _root,
    "exp": _exponential,
    "log": _logarithm,
    "absolute": _absolute,
    "conjugate": _conjugate,
    "negative": lambda a: tuple(-part for part in _parts(a)),
    "positive": lambda a: _parts(a),
}
