"""Let scripts be traced: for a while, their names lead to the traced twins."""

from __future__ import annotations

import builtins
import contextlib
import functools
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, FunctionType, MethodType, ModuleType
from typing import Any

import pypulseq

import pulseq_zero
from pulseq_zero.tracing.numpy.proxies import OF_SCRIPTS
from pulseq_zero.tracing.pypulseq.functions import may_take_tensors, taking_numbers
from pulseq_zero.tracing.pypulseq.sequence import TracedSequence
from pulseq_zero.tracing.pypulseq.twin import accepting_tensors, replaced, twin
from pulseq_zero.tracing.tape.tape import (
    OnLoss,
    Rounding,
    Tape,
    current_tape,
    is_recording,
    recording,
)

# One thread traces at a time: the names of a script belong to all threads.
_lock = threading.RLock()

_NOT_SCRIPTS = {"pypulseq", "pulseq_zero", "numpy", "torch", "scipy", "matplotlib", "MRzeroCore"}
_INSTALLED = tuple(
    str(Path(sysconfig.get_path(kind)).resolve()) for kind in ("stdlib", "purelib", "platlib")
)
_MISSING = object()


@contextmanager
def tracing(*, rounding: Rounding = "straight-through", on_loss: OnLoss = "warn") -> Iterator[Tape]:
    """Trace the calling script's own PyPulseq calls.

    Inside the context, tensors that require a gradient may be passed where the script's
    PyPulseq, NumPy and ``math`` take numbers. The script that opens the context and the
    modules that it uses see traced twins of these; PyPulseq itself, and all other code, stay
    as they are. Within a context, another one changes nothing. One thread traces at a time:
    another one that begins to trace waits, while code of other threads that uses PyPulseq by
    itself goes on undisturbed, be it the very script that is traced. Traced numbers that are
    handed to another thread are refused there.

    Parameters
    ----------
    rounding
        Derivative of ``round``, ``ceil`` and ``floor``: "straight-through" is that of the
        number before rounding, which shows the trend over many rasters that an optimizer
        needs; "zero" is what a small step would show.
    on_loss
        Whether a number that loses its gradient raises an error or warns.

    Yields
    ------
    Tape
        What is recorded.
    """
    caller = _opener()
    # a module that is loaded by its path is known by a local name only
    known = _used_by(caller.f_locals)
    if is_recording():
        with script_names([caller.f_globals], known):
            yield current_tape()
        return
    with tracing_of([caller.f_globals], Tape(rounding, on_loss), known) as tape:
        yield tape


def _opener() -> FrameType:
    """Find the frame that opens the context, maybe by way of an ``ExitStack``."""
    frame = sys._getframe(2)
    while frame.f_code.co_filename == contextlib.__file__ and frame.f_back is not None:
        frame = frame.f_back
    return frame


@contextmanager
def tracing_of(
    namespaces: Iterable[dict[str, Any]], tape: Tape, known: Iterable[dict[str, Any]] = ()
) -> Iterator[Tape]:
    """Trace the code that lives in some modules' globals onto a tape.

    Parameters
    ----------
    namespaces
        The globals.
    tape
        What to record on.
    known
        Globals of what may be a script, too, or a library.
    """
    with _lock, script_names(namespaces, known), recording(tape):
        yield tape


@contextmanager
def script_names(
    namespaces: Iterable[dict[str, Any]], known: Iterable[dict[str, Any]] = ()
) -> Iterator[None]:
    """Let the names in scripts' globals, and in what they use, lead to the traced twins."""
    scripts = _Scripts()
    plain_import = builtins.__import__
    builtins.__import__ = scripts.importing(plain_import)
    try:
        scripts.enter(namespaces, known)
        yield
    finally:
        builtins.__import__ = plain_import
        scripts.leave()


class _Scripts:
    """The globals whose names lead to the traced twins, and what they led to before."""

    def __init__(self) -> None:
        self._changed: list[tuple[dict[str, Any], str, Any]] = []
        self._entered: dict[int, dict[str, Any]] = {}
        self._packages: set[str] = set()

    def enter(
        self, namespaces: Iterable[dict[str, Any]], known: Iterable[dict[str, Any]] = ()
    ) -> None:
        """Change the names in some globals and in those of the scripts that these use."""
        pending = list(namespaces)
        self._packages |= {_package(namespace) for namespace in pending}
        roots = {id(namespace) for namespace in pending}
        pending += known
        seen = set(self._entered)
        while pending:
            namespace = pending.pop()
            if id(namespace) in seen:
                continue
            seen.add(id(namespace))
            if id(namespace) in roots or _is_script(namespace, self._packages):
                self._entered[id(namespace)] = namespace
                pending += _used_by(namespace)
                self._change(namespace)

    def leave(self) -> None:
        """Change all names back."""
        for namespace, name, value in reversed(self._changed):
            if value is _MISSING:
                namespace.pop(name, None)
            else:
                namespace[name] = value

    def importing(self, plain_import: Callable[..., Any]) -> Callable[..., Any]:
        """Let imports inside of the scripts' functions lead to the twins, in this thread."""
        thread = threading.get_ident()

        @functools.wraps(plain_import)
        def import_(
            name: str,
            globals: Mapping[str, Any] | None = None,
            locals: Mapping[str, Any] | None = None,
            fromlist: Sequence[str] = (),
            level: int = 0,
        ) -> Any:
            module = plain_import(name, globals, locals, fromlist, level)
            # Functions pass no locals; what modules import stays when the tracing is over.
            if locals is not None or id(globals) not in self._entered:
                return module
            if threading.get_ident() != thread:
                return module
            if _is_script(vars(module), self._packages):
                self.enter([vars(module)])
            return script_replacements().get(id(module), module)

        return import_

    def _change(self, namespace: dict[str, Any]) -> None:
        names = replaced(namespace, script_replacements())
        names |= {name: value for name, value in OF_SCRIPTS.items() if name not in namespace}
        names |= {
            name: taking_numbers(value)
            for name, value in namespace.items()
            if type(value) is FunctionType
            and value.__globals__ is namespace
            and may_take_tensors(value)
        }
        for name, value in names.items():
            self._changed.append((namespace, name, namespace.get(name, _MISSING)))
            namespace[name] = value


@functools.cache
def script_replacements() -> dict[int, Any]:
    """List what stands in for what in a script, by the id of the original.

    A script sees functions of PyPulseq that also take tensors, and the traced sequence.
    """
    replacements = dict(twin().replacements)
    replacements[id(pypulseq.Sequence)] = TracedSequence
    functions = {
        key: accepting_tensors(value)
        for key, value in replacements.items()
        if isinstance(value, FunctionType) and value.__module__.split(".")[0] == "pypulseq"
    }
    replacements |= functions
    for name, module in twin().modules.items():
        visible = ModuleType(name, module.__doc__)
        vars(visible).update(_visible_names(module))
        replacements[id(sys.modules[name])] = visible
    replacements[id(pulseq_zero)] = _Facade(replacements)
    return replacements


class _Facade(ModuleType):
    """What ``import pulseq_zero as pp`` leads to: this library's names and PyPulseq's twins."""

    def __init__(self, replacements: Mapping[int, Any]) -> None:
        super().__init__(pulseq_zero.__name__, pulseq_zero.__doc__)
        self._replacements = replacements

    def __getattr__(self, name: str) -> Any:
        value = getattr(pulseq_zero, name)
        return self._replacements.get(id(value), value)


def _visible_names(module: ModuleType) -> dict[str, Any]:
    names = {}
    for name, value in vars(module).items():
        if value is pypulseq.Sequence:
            value = TracedSequence
        elif isinstance(value, FunctionType) and value.__module__.split(".")[0] == "pypulseq":
            value = accepting_tensors(value)
        names[name] = value
    return names


def namespaces_of(function: Callable[..., Any]) -> list[dict[str, Any]]:
    """Globals of a function, of what it was made of and of what it closes over."""
    found: list[dict[str, Any]] = []
    pending: list[Any] = [function]
    seen: set[int] = set()
    while pending:
        part = pending.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, functools.partial):
            pending += [part.func, *part.args, *part.keywords.values()]
        elif isinstance(part, FunctionType):
            found.append(part.__globals__)
            pending += [cell.cell_contents for cell in part.__closure__ or () if _is_filled(cell)]
        elif hasattr(part, "__func__"):
            pending.append(part.__func__)
        else:
            pending.append(vars(type(part)).get("__call__"))
    return found


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False


def _used_by(names: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Globals of the modules, functions, classes and objects that are named."""
    used = []
    for value in list(names.values()):
        value = value.func if isinstance(value, functools.partial) else value
        value = value.__func__ if isinstance(value, MethodType) else value
        if isinstance(value, ModuleType):
            used.append(vars(value))
        elif isinstance(value, FunctionType):
            used.append(value.__globals__)
        else:
            kind = value if isinstance(value, type) else type(value)
            used.append(vars(sys.modules.get(kind.__module__, builtins)))
    return used


def _package(namespace: dict[str, Any]) -> str:
    return str(namespace.get("__name__", "")).split(".")[0]


def _is_script(namespace: dict[str, Any], packages: set[str]) -> bool:
    """Whether a module is a script, rather than a library that need not be traced.

    Scripts are what is not installed, what shares a package with the script that is traced,
    and installed modules that use PyPulseq.
    """
    package = _package(namespace)
    if package in _NOT_SCRIPTS or package in sys.builtin_module_names:
        return False
    if package in packages:
        return True
    file = namespace.get("__file__")
    if file is None or not str(Path(file).resolve()).startswith(_INSTALLED):
        return file is not None
    return any(_is_of_pypulseq(value) for value in list(namespace.values()))


def _is_of_pypulseq(value: Any) -> bool:
    if isinstance(value, ModuleType):
        return value.__name__.split(".")[0] == "pypulseq"
    return isinstance(value, (FunctionType, type)) and value.__module__.startswith("pypulseq")
