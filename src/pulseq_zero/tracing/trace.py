"""Run a sequence function once and keep what it computed from its parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pulseq_zero.errors import SequenceError, TracingError, check_mapping, shown
from pulseq_zero.files.loading import check_arguments
from pulseq_zero.tracing.context import tracing_of
from pulseq_zero.tracing.numpy.tensors import enter
from pulseq_zero.tracing.pypulseq.sequence import TracedSequence
from pulseq_zero.tracing.scripts import namespaces_of
from pulseq_zero.tracing.tape.tape import OnLoss, Rounding, Tape


@dataclass(frozen=True)
class Trace:
    """A sequence function's run.

    Attributes
    ----------
    tape
        What was computed, and the comparisons that decided how.
    result
        What the function returned.
    """

    tape: Tape
    result: Any

    @property
    def sequence(self) -> TracedSequence:
        """The sequence that the function returned, alone or in a tuple.

        Raises
        ------
        SequenceError
            If it returned none, or several.
        """
        results = self.result if isinstance(self.result, (tuple, list)) else (self.result,)
        sequences = [made for made in results if issubclass(type(made), TracedSequence)]
        if len(sequences) == 1:
            return sequences[0]
        if sequences:
            raise SequenceError(
                f"the sequence function returned {len(sequences)} sequences, but only one is "
                "simulated: return one, and choose which by an argument of the function"
            )
        raise SequenceError(
            "the sequence function returned no sequence that it made: "
            "return the pypulseq.Sequence that the blocks were added to"
        )


def trace(
    function: Callable[..., Any],
    /,
    parameters: Mapping[str, Tensor],
    arguments: Mapping[str, Any] | None = None,
    *,
    rounding: Rounding = "straight-through",
    on_loss: OnLoss = "warn",
) -> Trace:
    """Run a sequence function on traced parameters.

    Parameters
    ----------
    function
        An ordinary function that makes a sequence with PyPulseq.
    parameters
        What to differentiate for, passed by name: tensors without dimension become numbers,
        others become arrays.
    arguments
        What else to pass, by name.
    rounding
        Derivative of ``round``, ``ceil`` and ``floor``, see :func:`pulseq_zero.tracing.tracing`.
    on_loss
        Whether a number that loses its gradient raises an error or warns.
    """
    check_mapping("parameters", parameters, TracingError)
    if arguments is not None:
        check_mapping("arguments", arguments, TracingError)
    check_arguments(function, [*parameters, *(arguments or {})])
    both = sorted(set(parameters) & set(arguments or {}))
    if both:
        raise TracingError(f"{both[0]!r} is both a parameter and an argument; remove one")
    for name, value in parameters.items():
        if not isinstance(value, Tensor):
            raise TracingError(f"parameter {name!r} is {shown(value)}, but must be a tensor")
    tape = Tape(rounding, on_loss)
    with tracing_of(namespaces_of(function), tape):
        traced = {name: enter(tape, name, tensor) for name, tensor in parameters.items()}
        return Trace(tape, function(**traced, **(arguments or {})))
