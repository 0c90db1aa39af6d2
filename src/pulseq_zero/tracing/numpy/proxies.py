"""Stand-ins for ``numpy`` and a few builtins, for code that is traced.

NumPy's own protocols reach the functions that get a traced array. They do not reach what
creates arrays (``np.array``, ``np.zeros``), what gets a list of traced numbers, and the builtins
that read their argument (``float``, ``int``, ``max``). With plain numbers the stand-ins do what the
originals do.
"""

from __future__ import annotations

import builtins
import functools
import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
from torch import Tensor
from torch.nn import Parameter

from pulseq_zero.errors import TracingError
from pulseq_zero.tracing.numpy.arrays import (
    TracedArray,
    as_array,
    as_traced,
    is_traced,
    plain_key,
    raw,
    wires_of,
    wrap,
)
from pulseq_zero.tracing.numpy.functions import dispatch_function
from pulseq_zero.tracing.numpy.scalars import TracedNumber
from pulseq_zero.tracing.numpy.stand_in import StandIn
from pulseq_zero.tracing.numpy.ufuncs import dispatch_ufunc, untraced
from pulseq_zero.tracing.tape.gradient_loss import report_reading
from pulseq_zero.tracing.tape.recording import current_tape


class _TypeProxy(type):
    """Makes a class that is a type in every respect but converts traced numbers its own way."""

    real: type
    convert: Callable[[Any], Any]

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and (type(args[0]) in _TRACED or isinstance(args[0], Tensor)):
            return cls.convert(as_traced(args[0]))
        if len(args) == 1 and type(args[0]) is str:
            report_reading(args[0])
        return cls.real(*args, **kwargs)

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, cls.real)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, cls.real)

    def __eq__(cls, other: object) -> bool:
        return other is cls or other is cls.real

    def __hash__(cls) -> int:
        return hash(cls.real)

    def __or__(cls, other: Any) -> Any:
        return cls.real | other

    def __ror__(cls, other: Any) -> Any:
        return other | cls.real

    def __getattr__(cls, name: str) -> Any:
        return getattr(cls.real, name)

    def __repr__(cls) -> str:
        return repr(cls.real)


class _TypeOfProxy(_TypeProxy):
    """Makes the stand-in for ``type``, which tells of a number the type that the script knows."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and type(args[0]) in _TRACED:
            kind = args[0].__class__
        else:
            kind = type(*args, **kwargs)
        return _STANDS_FOR.get(kind, kind)


_TRACED = (TracedNumber, TracedArray)
_FOLLOWED = {TracedNumber, Tensor, Parameter}


def _type_proxy(real: type, convert: Callable[[Any], Any]) -> Any:
    namespace = {"real": real, "convert": staticmethod(convert), "dtype": np.dtype(real)}
    return _TypeProxy(real.__name__, (), namespace)


def _to_float(x: Any) -> Any:
    x = x.item() if type(x) is TracedArray else x
    return TracedNumber(float(x.value), x.wire) if type(x) is TracedNumber else float(x)


def _to_int(x: Any) -> Any:
    x = x.item() if type(x) is TracedArray else x
    if type(x) is not TracedNumber:
        return int(x)
    if isinstance(x, (int, np.integer)):
        return TracedNumber(int(x.value), x.wire)
    return x._apply("trunc", int(x.value))


@functools.cache
def _numpy_type_proxy(real: Any) -> Any:
    """Stand-in for one of NumPy's types of numbers, which also convert arrays."""

    def convert(x: Any) -> Any:
        if type(x) is TracedArray:
            return x.astype(real)
        if type(x) is not TracedNumber:
            return real(x)
        if issubclass(real, np.integer):
            x = _to_int(x)
        return TracedNumber(real(x.value), x.wire)

    return _type_proxy(real, convert)


def _maximum(*args: Any, **kwargs: Any) -> Any:
    return _extreme(builtins.max, "maximum", args, kwargs)


def _minimum(*args: Any, **kwargs: Any) -> Any:
    return _extreme(builtins.min, "minimum", args, kwargs)


def _extreme(function: Callable[..., Any], operation: str, args: Any, kwargs: Any) -> Any:
    """Choose the largest or smallest; which it is may change in replay, so nothing is guarded."""
    if kwargs:
        return function(*args, **kwargs)
    items = args if len(args) > 1 else list(args[0])
    if _FOLLOWED.isdisjoint(map(type, items)):
        return function(items)
    items = [as_traced(x) for x in items]
    if any(np.ndim(raw(x)) for x in items):
        return function(items)
    tape = current_tape()
    value = function([raw(x) for x in items])
    index = [tape.local(int(wires_of(x)), float(raw(x))) for x in items]
    chosen = index[0]
    for other in index[1:]:
        chosen = tape.scalar(operation, (chosen, other)) - tape.offset
    return TracedNumber(value, chosen + tape.offset)


def _sum(iterable: Any, /, start: Any = 0) -> Any:
    if type(iterable) is TracedArray and iterable.ndim == 1:
        return builtins.sum(list(iterable), start)
    return builtins.sum(iterable, start)


FLOAT = _type_proxy(float, _to_float)
INT = _type_proxy(int, _to_int)


# Names that shadow the builtins in the globals of traced modules.
def _is_instance(x: Any, kinds: Any) -> bool:
    """Tell what something is; a tensor passes for the number or array that it stands for."""
    if builtins.isinstance(x, kinds) or not builtins.isinstance(x, Tensor):
        return builtins.isinstance(x, kinds)
    stands_for = np.zeros(0) if x.ndim else x.new_zeros(()).item()
    return builtins.isinstance(stands_for, kinds)


# What scripts see beside; PyPulseq gets no tensors.
OF_SCRIPTS: dict[str, Any] = {"isinstance": _is_instance}

BUILTINS: dict[str, Any] = {
    "float": FLOAT,
    "int": INT,
    "type": _TypeOfProxy("type", (), {"real": type}),
    "max": _maximum,
    "min": _minimum,
    "sum": _sum,
}


def _plain_type(dtype: Any) -> Any:
    return dtype.real if isinstance(dtype, _TypeProxy) else dtype


class _Proxy(StandIn):
    """A module that wraps the functions of another as they are asked for."""

    def __init__(self, module: ModuleType, special: dict[str, Any]) -> None:
        super().__init__(module, {"_module": module, **special})

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._module, name)
        if isinstance(attribute, np.ufunc):
            attribute = _UfuncProxy(attribute)
        elif isinstance(attribute, type(np.sum)) or hasattr(attribute, "_implementation"):
            attribute = _function_proxy(attribute)
        self._learn({name: attribute})
        return attribute

    def __dir__(self) -> list[str]:
        return dir(self._module)


class _UfuncProxy:
    """A universal function that also takes lists of traced numbers, and tensors."""

    def __init__(self, ufunc: np.ufunc) -> None:
        self._ufunc = ufunc
        functools.update_wrapper(self, ufunc, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        for x in args:
            kind = type(x)
            if kind is list or kind is tuple or isinstance(x, Tensor):
                return dispatch_ufunc(self._ufunc, "__call__", args, kwargs)
        return self._ufunc(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._ufunc, name)
        if name not in ("reduce", "accumulate", "outer", "reduceat"):
            return attribute

        def method(*args: Any, **kwargs: Any) -> Any:
            return dispatch_ufunc(self._ufunc, name, args, kwargs)

        return method


def _function_proxy(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function take lists of traced numbers, and tensors."""

    @functools.wraps(function)
    def proxy(*args: Any, **kwargs: Any) -> Any:
        if any(map(_needs_help, args)) or any(map(_needs_help, kwargs.values())):
            kwargs = {name: _plain_type(x) for name, x in kwargs.items()}
            return dispatch_function(function, tuple(map(_plain_type, args)), kwargs)
        return function(*args, **kwargs)

    return proxy


_NEEDS_NO_HELP = {*_TRACED, np.ndarray, float, int, bool, str, type(None)}


def _needs_help(x: Any) -> bool:
    kind = type(x)
    if kind in _NEEDS_NO_HELP:
        return False
    if kind is list or kind is tuple:
        return any(type(item) in _TRACED or _needs_help(item) for item in x)
    return kind is _TypeProxy or isinstance(x, Tensor)


def _array(x: Any, dtype: Any = None, **options: Any) -> Any:
    dtype = _plain_type(dtype)
    made = as_traced(x)
    if type(made) in _TRACED:
        made = as_array(made)
        if options.get("copy", True):
            made = made.copy()
        for _ in range(options.get("ndmin", 0) - made.ndim):
            made = made[None]
        return made if dtype is None else made.astype(dtype, copy=False)
    return untraced(np.array(made, dtype=dtype, **options))


def _asarray(x: Any, dtype: Any = None, **options: Any) -> Any:
    dtype = _plain_type(dtype)
    made = as_traced(x)
    if type(made) in _TRACED:
        made = as_array(made)
        return made if dtype is None or made.dtype == dtype else made.astype(dtype)
    return untraced(np.asarray(made, dtype=dtype, **options))


def _creating(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a function that makes an array of a shape."""

    @functools.wraps(function)
    def create(*args: Any, **kwargs: Any) -> Any:
        args = tuple(_plain_type(plain_key(x)) for x in args)
        kwargs = {name: _plain_type(plain_key(x)) for name, x in kwargs.items()}
        return untraced(function(*args, **kwargs))

    return create


def _full(shape: Any, fill_value: Any, dtype: Any = None, **options: Any) -> Any:
    fill_value, dtype = as_traced(fill_value), _plain_type(dtype)
    if not is_traced(fill_value):
        return untraced(np.full(plain_key(shape), raw(fill_value), dtype, **options))
    made = untraced(np.full(plain_key(shape), raw(fill_value), **options))
    made.wires[...] = wires_of(fill_value)
    return made if dtype is None else made.astype(dtype, copy=False)


def _arange(*args: Any, **kwargs: Any) -> Any:
    args = tuple(as_traced(x) for x in args)
    kwargs = {name: _plain_type(as_traced(x)) for name, x in kwargs.items()}
    if not any(map(is_traced, (*args, *kwargs.values()))):
        return untraced(np.arange(*map(raw, args), **{k: raw(v) for k, v in kwargs.items()}))
    values = np.arange(*map(raw, args), **{k: raw(v) for k, v in kwargs.items()})
    names = ("start", "stop", "step") if len(args) > 1 else ("stop",)
    given = {"start": 0, "step": 1, **dict(zip(names, args, strict=False)), **kwargs}
    start, stop, step = (given[name] for name in ("start", "stop", "step"))
    if all(isinstance(x, (int, np.integer)) for x in (start, stop, step)):
        for x in (start, stop, step):
            plain_key(x)
        return values
    count = len(values)
    steps = start + step * np.arange(count)
    if not math.ceil((stop - start) / step) == count:
        raise TracingError("np.arange with traced numbers rounds in an unforeseen way")
    return wrap(values, wires_of(as_array(steps)))


def _linspace(start: Any, stop: Any, num: Any = 50, *args: Any, **kwargs: Any) -> Any:
    start, stop, num = as_traced(start), as_traced(stop), plain_key(num)
    if is_traced(start) or is_traced(stop):
        return dispatch_function(np.linspace, (start, stop, num, *args), kwargs)
    return untraced(np.linspace(raw(start), raw(stop), num, *args, **kwargs))


def _finfo(dtype: Any) -> Any:
    return np.finfo(_plain_type(dtype) if type(dtype) not in _TRACED else raw(dtype))


def _vectorised(function: Callable[..., Any]) -> Callable[..., Any]:
    """np.pad and its kind: the array may be plain while another argument is traced."""

    @functools.wraps(function)
    def proxy(*args: Any, **kwargs: Any) -> Any:
        if any(map(is_traced, (*args, *kwargs.values()))):
            return dispatch_function(function, args, kwargs)
        return untraced(function(*map(raw, args), **{k: raw(v) for k, v in kwargs.items()}))

    return proxy


_NUMPY_TYPES = {
    name: _numpy_type_proxy(getattr(np, name))
    for name in (
        "float64", "double", "float32", "single", "int64", "int32", "intp", "int16",
    )
}  # fmt: skip

# Types by which traced modules do not know them.
_STANDS_FOR = {proxy.real: proxy for proxy in (FLOAT, INT, *_NUMPY_TYPES.values())}

# What makes arrays of plain numbers, which traced ones may be assigned into or multiply
_MAKING = (
    "zeros", "ones", "empty", "eye", "identity", "tri",
    "bartlett", "blackman", "hamming", "hanning",
)  # fmt: skip

traced_numpy = _Proxy(
    np,
    {
        "array": _array,
        "asarray": _asarray,
        "asanyarray": _asarray,
        "ascontiguousarray": _asarray,
        "atleast_1d": _vectorised(np.atleast_1d),
        **{name: _creating(getattr(np, name)) for name in _MAKING},
        "full": _full,
        "arange": _arange,
        "linspace": _linspace,
        "pad": _vectorised(np.pad),
        "finfo": _finfo,
        "dtype": np.dtype,
        **_NUMPY_TYPES,
        "linalg": _Proxy(np.linalg, {}),
        "fft": _Proxy(np.fft, {}),
    },
)
