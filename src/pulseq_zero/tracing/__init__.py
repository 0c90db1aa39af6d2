"""Run PyPulseq itself on numbers that remember what they were computed from.

Imports files and errors, and of the library's root nothing but its name.

The package may be called, too: ``with pulseq_zero.tracing():`` is the context of the same name.
"""

import sys
from types import ModuleType
from typing import Any

from pulseq_zero.tracing.check import GradientCheck, GradientReport, check_gradients
from pulseq_zero.tracing.context import tracing
from pulseq_zero.tracing.numpy.arrays import TracedArray, is_traced, raw, wires_of
from pulseq_zero.tracing.numpy.proxies import traced_numpy
from pulseq_zero.tracing.numpy.scalars import TracedNumber
from pulseq_zero.tracing.pypulseq.sequence import TracedBlock, TracedSequence
from pulseq_zero.tracing.tape.gradient_loss import GradientLossWarning
from pulseq_zero.tracing.tape.program import GuardBroken, Program
from pulseq_zero.tracing.tape.recording import recording
from pulseq_zero.tracing.tape.tape import Tape
from pulseq_zero.tracing.trace import Trace, trace

__all__ = [
    "GradientCheck",
    "GradientLossWarning",
    "GradientReport",
    "GuardBroken",
    "Program",
    "Tape",
    "Trace",
    "TracedArray",
    "TracedBlock",
    "TracedNumber",
    "TracedSequence",
    "check_gradients",
    "is_traced",
    "raw",
    "recording",
    "trace",
    "traced_numpy",
    "tracing",
    "wires_of",
]


class _Callable(ModuleType):
    """A package that is called as the context that it is named after."""

    def __call__(self, **options: Any) -> Any:
        return tracing(**options)

    __call__.__doc__ = tracing.__doc__


sys.modules[__name__].__class__ = _Callable
