"""The names of scripts: for a while they lead to the traced twins, and then back."""

from __future__ import annotations

import builtins
import functools
import os
import threading
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import FunctionType, ModuleType
from typing import Any

import pypulseq

import pulseq_zero
from pulseq_zero.tracing.numpy.proxies import OF_SCRIPTS
from pulseq_zero.tracing.numpy.stand_in import StandIn
from pulseq_zero.tracing.pypulseq.functions import may_take_tensors, taking_numbers
from pulseq_zero.tracing.pypulseq.sequence import TracedSequence
from pulseq_zero.tracing.pypulseq.twin import accepting_tensors, replaced, twin
from pulseq_zero.tracing.scripts import is_script, package_of, scripts_among
from pulseq_zero.tracing.tape.recording import Recording, is_recording

_MISSING = object()


@dataclass
class _Changed:
    """A script's globals, the names that were changed there, and for which recordings.

    A change is noted before it is made: whatever interrupts, what is noted can be undone.
    """

    namespace: dict[str, Any]
    changes: list[tuple[str, Any, Any]] = field(default_factory=list)
    recordings: set[Recording] = field(default_factory=set)
    packages: set[str] = field(default_factory=set)

    def make(self, scripts: Container[int]) -> None:
        for name, twin_of_it in _twins(self.namespace, scripts).items():
            self.changes.append((name, self.namespace.get(name, _MISSING), twin_of_it))
            self.namespace[name] = twin_of_it

    def undo(self) -> None:
        for name, before, twin_of_it in reversed(self.changes):
            # a name that the script itself changed meanwhile is the script's
            if self.namespace.get(name, _MISSING) is not twin_of_it:
                continue
            if before is _MISSING:
                del self.namespace[name]
            else:
                self.namespace[name] = before


class Names:
    """All names that lead to the traced twins, and what they led to before.

    Twins are plain to threads and tasks that do not record, so that one script may be traced in
    several of them, and run in others. A name leads back when no recording needs it any more.
    """

    def __init__(self) -> None:
        # Forks wait for it: a child would never get it of a thread that it does not have.
        self.lock = threading.RLock()
        self._changed: dict[int, _Changed] = {}
        self._imports: tuple[Callable[..., Any], Callable[..., Any]] | None = None

    def lead_to_twins(
        self,
        recording: Recording,
        namespaces: Iterable[dict[str, Any]],
        known: Iterable[dict[str, Any]] = (),
        packages: Iterable[str] = (),
    ) -> None:
        """Change the names in some globals, and in those of the scripts that these use.

        Parameters
        ----------
        recording
            What they are changed for.
        namespaces
            The globals.
        known
            Globals of what may be a script, too, or a library.
        packages
            Those that scripts belong to, beside the packages of the globals.
        """
        with self.lock:
            namespaces = list(namespaces)
            packages = {*packages, *map(package_of, namespaces)}
            scripts = list(scripts_among(namespaces, known, packages))
            of_scripts = self._changed.keys() | set(map(id, scripts))
            for namespace in scripts:
                changed = self._changed.get(id(namespace)) or _Changed(namespace)
                changed.recordings.add(recording)
                changed.packages |= packages
                self._changed[id(namespace)] = changed
                changed.make(of_scripts)
            if self._imports is None:
                plain = builtins.__import__
                self._imports = plain, self._importing(plain)
                builtins.__import__ = self._imports[1]

    def lead_back(self, recording: Recording) -> None:
        """Change back what is not needed for another recording."""
        with self.lock:
            for key, changed in list(self._changed.items()):
                changed.recordings.discard(recording)
                if not changed.recordings:
                    changed.undo()
                    del self._changed[key]
            if not self._changed and self._imports is not None:
                plain, own = self._imports
                if builtins.__import__ is own:
                    builtins.__import__ = plain
                self._imports = None

    def _importing(self, plain_import: Callable[..., Any]) -> Callable[..., Any]:
        """Let imports inside of the scripts' functions lead to the twins."""

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
            if locals is not None or not is_recording():
                return module
            importing = self._changed.get(id(globals))
            if importing is None:
                return module
            if is_script(vars(module), importing.packages):
                for recording in tuple(importing.recordings):
                    self.lead_to_twins(recording, [vars(module)], packages=importing.packages)
            return script_replacements().get(id(module), module)

        return import_


names = Names()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=names.lock.acquire,
        after_in_parent=names.lock.release,
        after_in_child=names.lock.release,
    )


def _twins(namespace: dict[str, Any], scripts: Container[int]) -> dict[str, Any]:
    """List the names of a script that are to change, and what they are to lead to.

    Its functions may be those of any script, which are told by the ids of their globals.
    """
    twins = replaced(namespace, script_replacements())
    twins |= {name: value for name, value in OF_SCRIPTS.items() if name not in namespace}
    return twins | {
        name: taking_numbers(value)
        for name, value in namespace.items()
        if type(value) is FunctionType
        and id(value.__globals__) in scripts
        and may_take_tensors(value)
    }


@functools.cache
def script_replacements() -> dict[int, Any]:
    """List what stands in for what in a script, by the id of the original.

    A script sees functions of PyPulseq that also take tensors, and the traced sequence.
    """
    replacements = dict(twin().replacements)
    replacements[id(pypulseq.Sequence)] = TracedSequence
    replacements |= {
        key: accepting_tensors(value)
        for key, value in replacements.items()
        if isinstance(value, FunctionType) and value.__module__.split(".")[0] == "pypulseq"
    }
    for module in (*twin().originals.values(), pulseq_zero):
        replacements[id(module)] = _Seen(module, replacements)
    return replacements


class _Seen(StandIn):
    """A module of PyPulseq, or the facade of this library, as a traced script sees it."""

    def __init__(self, module: ModuleType, replacements: Mapping[int, Any]) -> None:
        super().__init__(module, {"_module": module, "_replacements": replacements})

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._module, name)
        return self._replacements.get(id(value), value)

    def __dir__(self) -> list[str]:
        return dir(self._module)
