"""Let scripts be traced, for a while."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from pulseq_zero.tracing.names import names
from pulseq_zero.tracing.pypulseq.callers import caller
from pulseq_zero.tracing.scripts import used_by
from pulseq_zero.tracing.tape.recording import Context, Recording, current_tape, is_recording
from pulseq_zero.tracing.tape.tape import OnLoss, Rounding, Tape


def tracing(*, rounding: Rounding = "straight-through", on_loss: OnLoss = "warn") -> Context:
    """Trace the calling script's own PyPulseq calls.

    Inside the context, tensors that require a gradient may be passed where the script's
    PyPulseq, NumPy and ``math`` take numbers. The script that opens the context and the
    modules that it uses see traced twins of these; PyPulseq itself, and all other code, stay
    as they are. Within a context, another one changes nothing.

    A context belongs to the thread and the task of ``asyncio`` that enters it. Others may trace
    at the same time, and code of theirs that uses PyPulseq by itself goes on undisturbed, be
    it the very script that is traced. Traced numbers that are handed to another thread are
    refused there.

    Parameters
    ----------
    rounding
        Derivative of ``round``, ``ceil`` and ``floor``: "straight-through" is that of the
        number before rounding, which shows the trend over many rasters that an optimizer
        needs; "zero" is what a small step would show.
    on_loss
        Whether a number that loses its gradient raises an error or warns.

    Returns
    -------
    Context
        What ``with`` takes, once; it yields the tape that is recorded.

    Raises
    ------
    TracingError
        Where the script changes what stands in for PyPulseq, NumPy or ``math`` meanwhile.
    """
    script = caller(sys._getframe())
    tape = current_tape() if is_recording() else Tape(rounding, on_loss)
    # a module that is loaded by its path is known by a local name only
    return tracing_of([script.f_globals], tape, used_by(script.f_locals))


def tracing_of(
    namespaces: Iterable[dict[str, Any]], tape: Tape, known: Iterable[dict[str, Any]] = ()
) -> Context:
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
    return Context(_OfScripts(tape, namespaces, known))


class _OfScripts(Recording):
    """A recording of what scripts do."""

    def __init__(
        self, tape: Tape, namespaces: Iterable[dict[str, Any]], known: Iterable[dict[str, Any]]
    ) -> None:
        super().__init__(tape)
        self._namespaces, self._known = namespaces, known

    def begin(self) -> None:
        super().begin()
        names.lead_to_twins(self, self._namespaces, self._known)

    def end(self) -> None:
        names.lead_back(self)
        super().end()
