"""Which tape is recorded: by whom, and until when."""

from __future__ import annotations

import functools
import os
import weakref
from collections.abc import Callable
from contextvars import ContextVar
from threading import get_ident
from typing import Any

from pulseq_zero.errors import TracingError
from pulseq_zero.tracing.tape.tape import Tape


class Recording:
    """The time in which a tape is recorded.

    It belongs to the thread and the task that began it: others record tapes of their own, or none.
    It ends once, whoever ends it, be it another thread, or the child of a fork that its thread
    has no part in.

    Parameters
    ----------
    tape
        What to record on.

    Attributes
    ----------
    tape
        The tape, or None as soon as the recording is over.
    """

    def __init__(self, tape: Tape) -> None:
        self.tape: Tape | None = tape
        self.thread = 0
        self.outer: Recording | None = None
        self.holder: weakref.ref[Context] | None = None

    def begin(self) -> None:
        """Let the thread, or the task, that asks record."""
        self.thread = get_ident()
        self.outer = _innermost()
        _open[self] = None
        _recording.set(self)

    def end(self) -> None:
        """Stop; nothing happens if it is over."""
        self.tape = self.holder = None
        _open.pop(self, None)
        if _recording.get() is self:
            _recording.set(self.outer)


_recording: ContextVar[Recording | None] = ContextVar("recording", default=None)

# Of all threads and tasks.
_open: dict[Recording, None] = {}


def _innermost() -> Recording | None:
    """Return what this thread and task record; what is over may stand before it."""
    recording = _recording.get()
    while recording is not None and (recording.tape is None or recording.thread != get_ident()):
        recording = recording.outer
    return recording


def current_tape() -> Tape:
    """Return the tape that this thread, or this task, is recording.

    Raises
    ------
    TracingError
        If there is none.
    """
    recording = _innermost()
    if recording is None or recording.tape is None:
        raise TracingError(
            "a traced number was used in a computation outside of tracing, or in another thread "
            "or task: do it inside `with pulseq_zero.tracing():` or in the traced function"
        )
    return recording.tape


def is_recording() -> bool:
    """Whether this thread, or this task, is recording a tape."""
    return _innermost() is not None


def any_recorded() -> Tape | None:
    """Return the tape of this thread or task, or else one of another, if there is one."""
    recording = _innermost() or next(iter(tuple(_open)), None)
    return recording.tape if recording else None


class _Exit:
    """The ``__exit__`` of a context, which an interrupt cannot keep from being left.

    An interrupt may come before the first line of any function, of ``__exit__`` too, whose
    frame then lives as long as the traceback. So what ``with`` holds instead is an object that
    holds the context, and calls what does not: when ``with`` lets go of it, the context is gone.
    """

    def __get__(self, context: Context | None, owner: type) -> Callable[..., None]:
        if context is None:
            return self
        leave = functools.partial(_end, context.recording)
        vars(leave)["holds"] = context
        return leave

    def __call__(self, context: Context, *raised: Any) -> None:
        _end(context.recording, *raised)


def _end(recording: Recording, kind: Any = None, error: Any = None, trace: Any = None) -> None:
    recording.end()
    # What NumPy and PyTorch say where one does not take the other's
    if isinstance(error, TypeError) and "Tensor" in str(error):
        error.add_note(
            "Inside of tracing, a tensor becomes a traced number where it is handed to PyPulseq, "
            "NumPy or a function of the script, by its name there and not another: compute with "
            "arrays and tensors in a function that takes the tensor"
        )


class Context:
    """What ``with`` takes to begin a recording and end it.

    The recording ends with the context at the latest, so that one that is interrupted on the
    way out, or given up, leaves nothing behind.

    Raises
    ------
    TracingError
        If it is entered again.
    """

    def __init__(self, recording: Recording) -> None:
        self.recording = recording

    def __enter__(self) -> Tape:
        recording = self.recording
        if recording.tape is None or recording.holder is not None:
            raise TracingError("a context of tracing is entered once: make another one")
        try:
            recording.holder = weakref.ref(self, lambda _: recording.end())
            recording.begin()
            return recording.tape
        except BaseException:
            recording.end()
            raise

    __exit__ = _Exit()


def recording(tape: Tape) -> Context:
    """Make a tape the one that this thread, or this task, is recording."""
    return Context(Recording(tape))


def _end_those_of_lost_threads() -> None:
    """End what other threads record: in the child of a fork, they are no more."""
    for recording in tuple(_open):
        if recording.thread != get_ident():
            recording.end()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_end_those_of_lost_threads)
