"""A second copy of PyPulseq's functions, whose ``numpy``, ``math`` and builtins are traced.

The functions are PyPulseq's own code objects on globals of their own. So nothing of PyPulseq
is copied, rewritten or patched: it stays untouched for all other code and threads, and a new
version of it is followed by itself. Classes are shared with the original.
"""

from __future__ import annotations

import functools
import importlib
import math
import pkgutil
from collections.abc import Callable
from types import FunctionType, ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pypulseq
from torch import Tensor

from pulseq_zero.tracing.arrays import TracedArray, as_traced, raw
from pulseq_zero.tracing.designs import traced_designs
from pulseq_zero.tracing.proxies import BUILTINS, traced_math, traced_numpy
from pulseq_zero.tracing.scalars import TracedNumber

# Types of attributes that may hold traced numbers.
_NOT_PLAIN = {TracedNumber, TracedArray, list, tuple}

_REGISTERING = ("rf", "grad", "adc", "label", "control", "soft_delay")


class Twin:
    """The copy.

    Attributes
    ----------
    modules
        Copies of PyPulseq's modules, by name.
    replacements
        What stands in for what in traced code, by the id of the original: modules and
        functions of PyPulseq, NumPy and ``math``.
    """

    def __init__(self) -> None:
        originals = _modules_of(pypulseq)
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
        for module in self.modules.values():
            vars(module).update(replaced(vars(module), self.replacements))
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
        for kind in _REGISTERING:
            name = f"register_{kind}_event"
            original = getattr(importlib.import_module(block.__name__), name)
            setattr(block, name, _with_plain_event(original))


def library_replacements() -> dict[int, Any]:
    """List what stands in for NumPy, ``math`` and their functions, by the id of the original."""
    replacements: dict[int, Any] = {id(np): traced_numpy, id(math): traced_math}
    for original, proxy in (
        (np, traced_numpy),
        (math, traced_math),
        (np.linalg, traced_numpy.linalg),
        (np.fft, traced_numpy.fft),
    ):
        replacements[id(original)] = proxy
        for name in dir(original):
            if not name.startswith("_"):
                value, substitute = getattr(original, name), getattr(proxy, name)
                if substitute is not value and not isinstance(value, ModuleType):
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
        if type(value) in _NOT_PLAIN:
            return SimpleNamespace(**{name: raw(value) for name, value in vars(event).items()})
    return event


def accepting_tensors(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function take tensors where it takes numbers."""

    @functools.wraps(function)
    def accept(*args: Any, **kwargs: Any) -> Any:
        if any(isinstance(x, Tensor) for x in args):
            args = tuple(as_traced(x) for x in args)
        for name, value in kwargs.items():
            if isinstance(value, (Tensor, list)):
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
