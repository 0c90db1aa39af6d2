"""A sequence function as a differentiable map from parameters to repetitions."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any, get_args

import numpy as np
import pypulseq
import torch
from pypulseq.calc_rf_center import calc_rf_center
from torch import Tensor

from pulseq_zero.conversion.assembly import Assembly, assemble
from pulseq_zero.conversion.costs import CostProgram
from pulseq_zero.conversion.gradients import SAME_TIME
from pulseq_zero.conversion.options import Pulses
from pulseq_zero.conversion.played import PlayedPulses
from pulseq_zero.conversion.pulses import SubPulses, change_over_steps, most_change
from pulseq_zero.conversion.repetitions import PulseUse, Repetitions
from pulseq_zero.conversion.scaled import scaled_pulses
from pulseq_zero.errors import (
    GradientLostError,
    PulseqZeroError,
    SequenceError,
    check_mapping,
    shown,
)
from pulseq_zero.files.loading import failure
from pulseq_zero.tracing import (
    GuardBroken,
    Program,
    TracedSequence,
    raw,
    recording,
    trace,
    wires_of,
)
from pulseq_zero.tracing.tape.tape import OnLoss, Rounding

_log = logging.getLogger("pulseq_zero")

# Where a block's pulse, and where a pulse's centre stands in PyPulseq's lists
_PULSE, _CENTRE = 1, 4


# Of how many runs the tapes are kept.
_KEPT = 4


class SequenceModel:
    """Repetitions as a function of the parameters of a sequence function.

    The function runs at the first call only. After that its tape is replayed, until a
    comparison in its code comes out differently for new parameters: then it runs again. The
    last few tapes are kept, so that it need not run each time that it takes a way it took.

    Parameters
    ----------
    function
        An ordinary function that makes and returns a PyPulseq sequence.
    arguments
        What to pass to the function beside the parameters, by name.
    sub_pulses
        In how many rotations to cut each pulse, with the gradients acting between them: for
        all pulses, or by their use, as ``{"inversion": 200}``. As one rotation, a pulse acts
        on all spins as on those in the middle of its slice and of its band.
    pulses
        ``"played"``: as what they are in each place, by their samples, the gradients meanwhile, the
        transmit field and off-resonance; or ``"instantaneous"``, as rotations at once.
    rounding
        Derivative of ``round``, ``ceil`` and ``floor``, see :func:`pulseq_zero.tracing.tracing`.
    on_loss
        Whether a number that loses its gradient in the function raises an error or warns.

    Attributes
    ----------
    retraces
        How often the function had to run again.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        arguments: Mapping[str, Any] | None = None,
        sub_pulses: SubPulses = 1,
        pulses: Pulses = "instantaneous",
        rounding: Rounding = "straight-through",
        on_loss: OnLoss = "warn",
    ) -> None:
        check_pulses(pulses, sub_pulses)
        self.retraces = 0
        self._function = function
        self._arguments = dict(arguments or {})
        self._sub_pulses = sub_pulses
        self._pulses: Pulses = pulses
        self._rounding: Rounding = rounding
        self._on_loss: OnLoss = on_loss
        # Each with the parameters of its run, the one that was used last coming first.
        self._runs: list[tuple[dict[str, Tensor], Conversion]] = []

    @property
    def sequence(self) -> TracedSequence:
        """The sequence of that run of the function that the last call came from.

        Raises
        ------
        SequenceError
            If the function has not run yet.
        """
        return self.conversion.sequence

    @property
    def conversion(self) -> Conversion:
        """The conversion that the last call's repetitions came from.

        Raises
        ------
        SequenceError
            If the function has not run yet.
        """
        if not self._runs:
            raise SequenceError("the sequence function has not run yet; call the model first")
        return self._runs[0][1]

    @property
    def traced_at(self) -> list[dict[str, Tensor]]:
        """The parameters of the runs whose tapes are kept, that of the last call coming last."""
        return [parameters for parameters, _ in reversed(self._runs)]

    def trace_again(self, traced_at: Sequence[Mapping[str, Tensor]]) -> None:
        """Restore the runs that are kept, see `traced_at`, with no others.

        A replay may differ from a new run of the function by rounding errors.
        """
        self._runs = []
        for parameters in traced_at:
            self.trace(parameters)

    def __call__(self, parameters: Mapping[str, Any]) -> Repetitions:
        """Compute the repetitions for some parameters.

        Parameters
        ----------
        parameters
            By name: tensors, all of which are differentiable, arrays or numbers.

        Raises
        ------
        GradientLostError
            If a parameter reaches nothing that the simulation sees, nor the sequence's cost.
        """
        parameters = as_tensors(parameters)
        broken: list[GuardBroken | StepsTooLong] = []
        for run in self._runs:
            if run[1].program.fits(parameters):
                try:
                    repetitions = run[1](parameters)
                except (GuardBroken, StepsTooLong) as error:
                    broken.append(error)
                else:
                    self._use(run)
                    return repetitions
        if broken:
            self.retraces += 1
            name = getattr(self._function, "__name__", self._function)
            _log.info("run %s again: %s", name, broken[0])
        before = self._runs[0][1].sequence if broken else None
        self.trace(parameters)
        at = broken[0].place if broken and isinstance(broken[0], GuardBroken) else None
        if before is not None and at is not None and at.code is calc_rf_center.__code__:
            _warn_of_moved_centres(before, self.sequence)
        return self._runs[0][1](parameters)

    def trace(self, parameters: Mapping[str, Any]) -> TracedSequence:
        """Run the function, for replay and for the sequence that it makes."""
        parameters = as_tensors(parameters)
        try:
            run = trace(
                self._function,
                parameters,
                self._arguments,
                rounding=self._rounding,
                on_loss=self._on_loss,
            )
        except PulseqZeroError:
            raise
        except (Exception, SystemExit) as error:
            raise SequenceError(
                f"the sequence function fails: {failure(error, self._function)}"
            ) from error
        conversion = Conversion(
            run.sequence,
            sub_pulses=self._sub_pulses,
            pulses=self._pulses,
        )
        lost = conversion.inputs_without_effect()
        if lost:
            raise GradientLostError(
                f"the parameters {lost} reach nothing that the simulation sees: "
                "use them in the sequence function, or pass them as arguments instead"
            )
        if not conversion.program.fits(parameters):
            raise SequenceError(
                "the sequence function uses a tensor that requires a gradient but is none of its "
                "parameters: pass it as one"
            )
        traced_at = {name: value.detach().clone() for name, value in parameters.items()}
        self._use((traced_at, conversion))
        return run.sequence

    def _use(self, run: tuple[dict[str, Tensor], Conversion]) -> None:
        others = [other for other in self._runs if other is not run]
        self._runs = [run, *others][:_KEPT]


def _warn_of_moved_centres(before: TracedSequence, after: TracedSequence) -> None:
    """Say that pulses act at another time, as other samples of theirs are the largest now."""
    centres = [
        np.array(
            [
                sequence.rf_library.data[events[_PULSE]][_CENTRE]
                for events in sequence.block_events.values()
                if events[_PULSE]
            ]
        )
        for sequence in (before, after)
    ]
    if len(centres[0]) != len(centres[1]):
        return
    moved = np.flatnonzero(np.abs(centres[0] - centres[1]) > SAME_TIME)
    if len(moved):
        old, new = (1e3 * centre[moved[0]] for centre in centres)
        warnings.warn(
            f"the centre of a pulse jumps from {old:.4g} to {new:.4g} ms, and with it the moment "
            "at which it acts: PyPulseq takes the largest sample for the centre, and another one "
            "has become the largest; give the pulse its centre, as in "
            "make_arbitrary_rf(..., center=...)",
            stacklevel=3,
        )


class StepsTooLong(Exception):  # noqa: N818 - a turn of events that the model handles
    """The steps that the pulses were cut into would not do for the new parameters."""


class Conversion:
    """The way from a traced sequence's tape to repetitions.

    Parameters
    ----------
    sequence
        A sequence that was made inside of tracing; one that was made or read outside of it is
        converted, too, and depends on no parameter.
    sub_pulses, pulses
        As for :class:`SequenceModel`.

    Raises
    ------
    SequenceError
        If it is no sequence, or holds no pulse.
    """

    def __init__(
        self,
        sequence: pypulseq.Sequence,
        *,
        sub_pulses: SubPulses = 1,
        pulses: Pulses = "instantaneous",
    ) -> None:
        check_pulses(pulses, sub_pulses)
        if not isinstance(sequence, pypulseq.Sequence):
            raise SequenceError(
                f"only a pypulseq.Sequence can be converted, not a {type(sequence).__name__}"
            )
        if not issubclass(type(sequence), TracedSequence):
            sequence = TracedSequence.of_plain(sequence)
        self.sequence: TracedSequence = sequence
        with recording(sequence.tape):
            self._assembly = assemble(
                sequence,
                sub_pulses=sub_pulses,
                played=pulses == "played",
            )
        wires = [np.asarray(wires_of(x)) for x in self._assembly.traced]
        values = [np.asarray(raw(x)) for x in self._assembly.traced]
        if not all(np.isfinite(value).all() for value in values):
            raise SequenceError(
                "the sequence holds angles, times or moments that are not finite; mend it, or get "
                "its file again"
            )
        self.program = Program(sequence.tape, list(zip(values, wires, strict=True)))
        time, moment = wires[2:4]
        signal = values[5] + 1j * values[6] if pulses == "played" else np.zeros(0, complex)
        self._most_change = most_change(signal, self._assembly.step_count)
        self._moving = torch.from_numpy((time != 0) | (moment != 0).any(1))
        self._scaled = scaled_pulses(self.program, self._assembly)

    @cached_property
    def cost(self) -> CostProgram:
        """What the sequence costs, as a function of the parameters."""
        return CostProgram(self.sequence)

    def inputs_without_effect(self) -> list[str]:
        """Name the parameters that neither the repetitions nor the costs depend on."""
        unseen = self.program.inputs_without_effect()
        return [name for name in unseen if name in self.cost.program.inputs_without_effect()]

    def __call__(self, parameters: Mapping[str, Tensor]) -> Repetitions:
        """Compute the repetitions for some parameters."""
        angle, phase, time, moment, adc_phase, *played = self.program(parameters)
        assembly, device = self._assembly, angle.device
        if played:
            signal = torch.complex(*(part.detach().double().cpu() for part in played[:2])).numpy()
            if np.any(change_over_steps(signal, assembly.step_count) > self._most_change):
                raise StepsTooLong("a pulse changes faster than when its steps were chosen")
        return Repetitions(
            pulse_angle=angle,
            pulse_phase=phase,
            pulse_use=assembly.pulse_use,
            event_count=assembly.event_count,
            event_time=time,
            gradient_moment=moment,
            adc_phase=adc_phase,
            adc_usage=torch.as_tensor(assembly.adc_usage, device=device),
            labels={k: torch.as_tensor(v, device=device) for k, v in assembly.labels.items()},
            moving=self._moving.to(device),
            played=_played(assembly, self._scaled, played) if played else None,
        )


def _played(assembly: Assembly, scaled: tuple[bool, ...], values: list[Tensor]) -> PlayedPulses:
    real, imag, time, moment, centre, phase = (value.double() for value in values)
    return PlayedPulses(
        signal=torch.complex(real, imag),
        time=time,
        moment=moment,
        centre=centre,
        step_count=assembly.step_count,
        scaled=scaled,
        pulse=assembly.pulse,
        phase=phase,
    )


def as_tensors(values: Mapping[str, Any]) -> dict[str, Tensor]:
    """Make tensors of arrays and numbers, in double precision, or raise a `SequenceError`."""
    check_mapping("parameters", values, SequenceError)
    return {name: _as_tensor(name, value) for name, value in values.items()}


def _as_tensor(name: str, value: Any) -> Tensor:
    if isinstance(value, Tensor):
        if value.is_complex():
            raise SequenceError(f"parameter {name!r} is complex, but must hold real numbers")
        return value
    with suppress(TypeError, ValueError):
        numbers = np.array(value)
        if numbers.dtype.kind in "biuf":
            return torch.from_numpy(numbers.astype(np.float64))
    raise SequenceError(f"parameter {name!r} is {shown(value)}, but must be a number or numbers")


def check_pulses(pulses: str, sub_pulses: SubPulses) -> None:
    """Refuse what is no way to treat pulses."""
    if pulses not in get_args(Pulses):
        raise SequenceError(f"pulses is {pulses!r}, but must be one of {get_args(Pulses)}")
    by_use = sub_pulses if isinstance(sub_pulses, Mapping) else {}
    for use in by_use:
        if use not in get_args(PulseUse):
            raise SequenceError(
                f"sub_pulses names the use {use!r}, but pulses are one of {get_args(PulseUse)}"
            )
    for pieces in by_use.values() if isinstance(sub_pulses, Mapping) else [sub_pulses]:
        if not isinstance(pieces, int) or isinstance(pieces, bool) or pieces < 1:
            raise SequenceError(
                f"sub_pulses is {sub_pulses!r}, but must be a whole number from 1 on, or such "
                "numbers by the use of the pulses"
            )
    if pulses == "played" and sub_pulses != 1:
        raise SequenceError(
            "pulses that are played need no sub_pulses: leave these out, or take "
            "pulses='instantaneous'"
        )


def convert(
    sequence: pypulseq.Sequence,
    *,
    sub_pulses: SubPulses = 1,
    pulses: Pulses = "instantaneous",
) -> Repetitions:
    """Convert a sequence.

    If it was made inside of ``with tracing():``, the result is differentiable with respect to
    the tensors that the script used. Any other sequence, as one that was read from a file, is
    converted as it is.

    Parameters
    ----------
    sequence
        The sequence.
    sub_pulses, pulses
        As for :class:`SequenceModel`.
    """
    conversion = Conversion(sequence, sub_pulses=sub_pulses, pulses=pulses)
    return conversion(conversion.program.sources)
