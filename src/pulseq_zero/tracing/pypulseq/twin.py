"""A second copy of PyPulseq's functions, whose ``numpy``, ``math`` and builtins are traced.

The functions are PyPulseq's own code objects on globals of their own. So nothing of PyPulseq
is copied, rewritten or patched: it stays untouched for all other code and threads, and a new
version of it is followed by itself. Classes are shared with the original.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import math
import pkgutil
from collections.abc import Callable
from types import FunctionType, ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pypulseq
from pypulseq.utils import tracing as pypulseq_trace
from torch import Tensor

from pulseq_zero.tracing.numpy.arrays import TracedArray, as_traced, raw
from pulseq_zero.tracing.numpy.proxies import BUILTINS, traced_numpy
from pulseq_zero.tracing.numpy.scalars import TracedNumber
from pulseq_zero.tracing.numpy.standard_library import traced_json, traced_math
from pulseq_zero.tracing.pypulseq import callers
from pulseq_zero.tracing.pypulseq.shape_cache import compress_shape_once
from pulseq_zero.tracing.pypulseq.sigpy_designs import traced_designs
from pulseq_zero.tracing.tape.recording import is_recording

# Types of attributes that may hold traced numbers.
NOT_PLAIN = {TracedNumber, TracedArray, list, tuple}

# Types of arguments that need no conversion.
_READY = {
    TracedNumber, TracedArray, float, int, str, bool, type(None), np.ndarray, np.float64,
    SimpleNamespace, pypulseq.Opts,
}  # fmt: skip

_REGISTERING = ("rf", "grad", "adc", "label", "control", "soft_delay")


class Twin:
    """The copy.

    Attributes
    ----------
    originals
        PyPulseq's modules, by name.
    modules
        Copies of these, by name.
    replacements
        What stands in for what in traced code, by the id of the original: modules and
        functions of PyPulseq, NumPy and ``math``.
    """

    def __init__(self) -> None:
        originals = self.originals = _modules_of(pypulseq)
        # its switch holds for traced and plain calls alike
        del originals[pypulseq_trace.__name__]
        self.modules = {
            name: ModuleType(name, module.__doc__) for name, module in originals.items()
        }
        for name, module in originals.items():
            vars(self.modules[name]).update(vars(module))
        by_globals = {id(vars(module)): name for name, module in originals.items()}
        self.replacements = library_replacements()
        for name, module in originals.items():
            self.replacements[id(module)] = self.modules[name]
            for value in vars(module).values():
                if isinstance(value, FunctionType) and id(value.__globals__) in by_globals:
                    home = self.modules[by_globals[id(value.__globals__)]]
                    self.replacements.setdefault(id(value), on_globals(value, vars(home)))
        in_pypulseq = self.replacements | callers.REPLACEMENTS
        for module in self.modules.values():
            vars(module).update(replaced(vars(module), in_pypulseq))
        self._register_plain_events()
        if "pypulseq.make_sigpy_pulse" in self.modules:
            names = vars(self.modules["pypulseq.make_sigpy_pulse"])
            names["rf"] = traced_designs(names["rf"], self._on_traced_globals)

    def method(self, function: FunctionType) -> FunctionType:
        """Copy of a method of one of PyPulseq's classes."""
        return on_globals(function, vars(self.modules[function.__module__]))

    def _on_traced_globals(self, function: FunctionType) -> FunctionType:
        """Copy of a function outside of PyPulseq that sees the traced NumPy."""
        namespace = dict(function.__globals__)
        namespace.update(replaced(namespace, self.replacements))
        return on_globals(function, namespace)

    def _register_plain_events(self) -> None:
        """Let a sequence's libraries get plain numbers, whatever the events hold."""
        block = self.modules["pypulseq.Sequence.block"]
        plain = dict(vars(importlib.import_module(block.__name__)))
        plain["compress_shape"] = compress_shape_once
        for kind in _REGISTERING:
            name = f"register_{kind}_event"
            setattr(block, name, _with_plain_event(on_globals(plain[name], plain)))


def library_replacements() -> dict[int, Any]:
    """List what stands in for NumPy, ``math`` and ``json``, by the id of the original."""
    replacements: dict[int, Any] = {id(np): traced_numpy, id(math): traced_math}
    for original, proxy in (
        (np, traced_numpy),
        (math, traced_math),
        (json, traced_json),
        (np.linalg, traced_numpy.linalg),
        (np.fft, traced_numpy.fft),
    ):
        replacements[id(original)] = proxy
        # `dir` has names, too, which NumPy imports when it is asked for them: all are modules
        for name, value in list(vars(original).items()):
            if not name.startswith("_") and not isinstance(value, ModuleType):
                substitute = getattr(proxy, name)
                if substitute is not value:
                    replacements[id(value)] = substitute
    return replacements


def replaced(namespace: dict[str, Any], replacements: dict[int, Any]) -> dict[str, Any]:
    """List the names of a module that change, and the builtins that it is to see."""
    changed = {
        name: replacements[id(value)]
        for name, value in namespace.items()
        if id(value) in replacements and not name.startswith("__")
    }
    return changed | {name: value for name, value in BUILTINS.items() if name not in namespace}


def on_globals(function: FunctionType, namespace: dict[str, Any]) -> FunctionType:
    """Copy of a function that finds its globals elsewhere."""
    copy = FunctionType(
        function.__code__, namespace, function.__name__, function.__defaults__, function.__closure__
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    functools.update_wrapper(copy, function)
    return copy


def plain_event(event: Any) -> Any:
    """Event without traced numbers; the event itself if there are none."""
    if not isinstance(event, SimpleNamespace):
        return raw(event)
    for value in vars(event).values():
        if type(value) in NOT_PLAIN:
            return SimpleNamespace(**{name: raw(value) for name, value in vars(event).items()})
    return event


def accepting_tensors(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function take tensors where it takes numbers.

    A thread that does not trace, but has the script's names in sight, gets the plain function.
    """
    plain = inspect.unwrap(function)

    @functools.wraps(function)
    def accept(*args: Any, **kwargs: Any) -> Any:
        if not is_recording():
            return plain(*map(raw, args), **{name: raw(value) for name, value in kwargs.items()})
        for value in args:
            if type(value) not in _READY and isinstance(value, Tensor):
                args = tuple(as_traced(x) for x in args)
        for name, value in kwargs.items():
            if type(value) not in _READY and isinstance(value, (Tensor, list)):
                kwargs[name] = as_traced(value)
        return function(*args, **kwargs)

    return accept


def _with_plain_event(register: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(register)
    def register_plain(sequence: Any, event: SimpleNamespace) -> Any:
        plain = plain_event(event)
        result = register(sequence, plain)
        if plain is not event and hasattr(plain, "numID"):
            event.numID = plain.numID
        return result

    return register_plain


def _modules_of(package: ModuleType) -> dict[str, ModuleType]:
    """All modules of a package that can be imported here."""
    modules = {package.__name__: package}
    for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        try:
            modules[info.name] = importlib.import_module(info.name)
        except ImportError:
            continue
    return modules


@functools.cache
def twin() -> Twin:
    """Make the copy, once."""
    return Twin()
