"""The sequence as the simulation sees it: RF rotations with events between them.

This is the one thing that conversion hands to simulation and reconstruction. It holds
plain tensors, so that gradients flow through it, and knows neither PyPulseq nor phantoms.

Phases and frequencies have one sense throughout, Pulseq's. MRzeroCore's simulation lets spins turn
the other way round: `Repetitions.conjugate` is the border between the two.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor

from pulseq_zero.conversion.played import PlayedPulses
from pulseq_zero.errors import SequenceError

if TYPE_CHECKING:
    import MRzeroCore as mr0

PulseUse = Literal[
    "excitation", "refocusing", "inversion", "saturation", "preparation", "other", "undefined"
]

# What a pulse does to the k-space position: set to zero, mirror, or leave alone. MR-zero has
# no names for the uses that leave it alone.
_K_SPACE_SIGN: Mapping[str, float] = {"excitation": 0.0, "refocusing": -1.0}
_MR0_USAGE: Mapping[PulseUse, str] = {"excitation": "EXCIT", "refocusing": "REFOC"}

_TENSORS = (
    "pulse_angle",
    "pulse_phase",
    "event_time",
    "gradient_moment",
    "adc_phase",
    "adc_usage",
)


def known_use(use: PulseUse, degrees: float) -> PulseUse:
    """Return what a pulse is for, told by its angle where it is undefined."""
    if use != "undefined":
        return use
    return "excitation" if degrees < 100 else "refocusing"


@dataclass(frozen=True)
class Repetitions:
    """RF rotations, each followed by events: the input of every simulation.

    All events of all repetitions lie one behind the other; ``event_count`` says where one
    repetition ends. An ADC sample is taken at the *end* of its event.

    Signs are Pulseq's. A pulse turns the magnetisation right-handed about an axis in the transverse
    plane, and so does precession about z: after a 90 degree pulse of phase φ,
    Mx + iMy = -i exp(iφ), which a moment k and an off-resonance f turn by exp(2πi (k·r + f t)). A
    sample is the sum over all places, times exp(iψ) with the ``adc_phase`` ψ.

    Attributes
    ----------
    pulse_angle
        (repetitions,) flip angles [rad].
    pulse_phase
        (repetitions,) RF phases [rad]: the angle from x to the axis, towards y.
    pulse_use
        What each pulse is for, in Pulseq's words.
    event_count
        Number of events in each repetition, at least one.
    event_time
        (events,) durations [s].
    gradient_moment
        (events, xyz) gradient moments [1/m].
    adc_phase
        (events,) by what angle samples are turned [rad]: π/2 minus the phase of Pulseq's
        receiver, so that what a pulse of the same phase excites is real; meaningless where nothing
        is sampled.
    adc_usage
        (events,) int64: 0 where nothing is sampled, otherwise the number of the contrast.
    shim
        (repetitions, transmit channels) complex weights of the transmit channels, or None
        when all channels transmit alike.
    labels
        (samples,) int64 for each Pulseq label in use, for the reconstruction.
    moving
        (events,) bool: which events' times or moments depend on parameters, or None where
        that is not known. It only saves work in the gradients of all others.
    played
        The pulses as they are played, or None where each acts at once. Angles and phases then tell
        only what they would be as one rotation.

    Raises
    ------
    SequenceError
        If the tensors' shapes do not fit together.
    """

    pulse_angle: Tensor
    pulse_phase: Tensor
    pulse_use: tuple[PulseUse, ...]
    event_count: tuple[int, ...]
    event_time: Tensor
    gradient_moment: Tensor
    adc_phase: Tensor
    adc_usage: Tensor
    shim: Tensor | None = None
    labels: Mapping[str, Tensor] = field(default_factory=dict)
    moving: Tensor | None = None
    played: PlayedPulses | None = None

    def __post_init__(self) -> None:
        pulses, events = len(self.pulse_use), sum(self.event_count)
        expected = {
            "pulse_angle": (pulses,),
            "pulse_phase": (pulses,),
            "event_time": (events,),
            "gradient_moment": (events, 3),
            "adc_phase": (events,),
            "adc_usage": (events,),
        }
        for name, shape in expected.items():
            actual = tuple(getattr(self, name).shape)
            if actual != shape:
                raise SequenceError(f"{name} has shape {actual}, but {shape} was expected")
            if getattr(self, name).is_complex():
                raise SequenceError(f"{name} is complex, but must hold real numbers")
        if self.shim is not None and (self.shim.ndim != 2 or len(self.shim) != pulses):
            raise SequenceError(
                f"shim has shape {tuple(self.shim.shape)}, but ({pulses}, channels) was expected"
            )
        samples = int(self.is_sample.sum())
        for name, values in self.labels.items():
            if tuple(values.shape) != (samples,):
                raise SequenceError(
                    f"label {name} has shape {tuple(values.shape)}, but ({samples},) was expected"
                )
        if len(self.event_count) != pulses or min(self.event_count, default=1) < 1:
            raise SequenceError("every repetition needs one pulse and at least one event")
        if self.played is not None and len(self.played.pulse) != pulses:
            raise SequenceError(
                f"{len(self.played.pulse)} pulses are played in {pulses} repetitions"
            )
        unknown = set(self.pulse_use) - set(get_args(PulseUse))
        if unknown:
            raise SequenceError(f"unknown pulse use {sorted(unknown)}")

    @cached_property
    def first_event(self) -> tuple[int, ...]:
        """Index of each repetition's first event."""
        starts = [0]
        for count in self.event_count[:-1]:
            starts.append(starts[-1] + count)
        return tuple(starts)

    @cached_property
    def repetition_of_event(self) -> Tensor:
        """(events,) index of the repetition that an event belongs to."""
        count = torch.tensor(self.event_count, device=self.event_time.device)
        return torch.repeat_interleave(torch.arange(len(count), device=count.device), count)

    @cached_property
    def is_sample(self) -> Tensor:
        """(events,) bool: where the ADC samples."""
        return self.adc_usage > 0

    def sums_within_repetitions(self, per_event: Tensor) -> tuple[Tensor, Tensor]:
        """Sum a quantity over the events since the last pulse.

        Parameters
        ----------
        per_event
            (events, ...) the quantity.

        Returns
        -------
        running, total
            (events, ...) the sum up to and including each event, and (repetitions, ...) the
            sum over each repetition. Sums are made in float64: k-space positions are
            differences of large numbers.
        """
        running = per_event.double().cumsum(0)
        before = torch.cat([torch.zeros_like(running[:1]), running])
        start = torch.tensor(self.first_event, device=per_event.device)
        count = torch.tensor(self.event_count, device=per_event.device)
        offset = before[start]
        return running - offset[self.repetition_of_event], before[start + count] - offset

    def kspace(self) -> Tensor:
        """K-space position and time of every ADC sample.

        Excitations begin anew at the centre, refocusing pulses mirror the position, other
        pulses leave it alone. Pulses whose use is undefined count as excitations up to 100
        degrees and as refocusing pulses above, as in MRzeroCore.

        Returns
        -------
        Tensor
            (samples, 4) float64: kx, ky, kz [1/m] and the dephasing time [s] that has passed
            since the excitation, mirrored likewise.
        """
        moments = torch.cat([self.gradient_moment, self.event_time[:, None]], 1)
        running, total = self.sums_within_repetitions(moments)
        start = _start_positions(self.known_uses()).to(total) @ total
        return (start[self.repetition_of_event] + running)[self.is_sample]

    def time_since_excitation(self) -> Tensor:
        """Return the (samples,) float64 time [s] since the last excitation, or the start."""
        running, total = self.sums_within_repetitions(self.event_time)
        start = total.cumsum(0) - total
        excited = [0]
        for index, use in enumerate(self.known_uses()):
            excited.append(index if use == "excitation" else excited[-1])
        since = start - start[torch.tensor(excited[1:], device=start.device)]
        return (since[self.repetition_of_event] + running)[self.is_sample]

    def known_uses(self) -> tuple[PulseUse, ...]:
        """Return what the pulses are for, told by their angles where it is undefined."""
        degrees = torch.rad2deg(self.pulse_angle.detach()).abs().tolist()
        return tuple(map(known_use, self.pulse_use, degrees))

    def map(self, function: Callable[[Tensor], Tensor]) -> Repetitions:
        """Return the same sequence with a function applied to each of its tensors."""
        return replace(
            self,
            pulse_angle=function(self.pulse_angle),
            pulse_phase=function(self.pulse_phase),
            event_time=function(self.event_time),
            gradient_moment=function(self.gradient_moment),
            adc_phase=function(self.adc_phase),
            adc_usage=function(self.adc_usage),
            shim=None if self.shim is None else function(self.shim),
            labels={name: function(values) for name, values in self.labels.items()},
            moving=None if self.moving is None else function(self.moving),
            played=None if self.played is None else self.played.map(function),
        )

    def to(self, device: torch.device | str) -> Repetitions:
        """Return the same sequence with its tensors on another device."""
        return self.map(lambda tensor: tensor.to(device))

    def detach(self) -> Repetitions:
        """Return the same sequence cut off from the parameters it was made of."""
        return self.map(Tensor.detach)

    def snapshot(self) -> Repetitions:
        """Return the sequence as it is now, whatever becomes of its tensors."""
        return self.map(lambda tensor: tensor.detach().clone())

    def same_trajectory(self, other: Repetitions) -> bool:
        """Tell whether another sequence has the same events, but for its pulses."""
        return (
            self.event_count == other.event_count
            and torch.equal(self.event_time, other.event_time)
            and torch.equal(self.gradient_moment, other.gradient_moment)
            and torch.equal(self.is_sample, other.is_sample)
        )

    def same_shim(self, other: Repetitions) -> bool:
        """Tell whether another sequence shims the transmit channels alike."""
        if self.shim is None or other.shim is None:
            return self.shim is other.shim
        return torch.equal(self.shim, other.shim)

    def to_tensors(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Take the sequence apart into tensors and JSON-like metadata, to store it."""
        tensors = {name: getattr(self, name) for name in _TENSORS}
        if self.shim is not None:
            tensors["shim"] = self.shim
        tensors |= {f"label_{name}": values for name, values in self.labels.items()}
        metadata: dict[str, Any] = {
            "pulse_use": self.pulse_use,
            "event_count": self.event_count,
        }
        if self.played is not None:
            of_pulses, metadata["played"] = self.played.to_tensors()
            tensors |= {f"played_{name}": values for name, values in of_pulses.items()}
        return tensors, metadata

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]
    ) -> Repetitions:
        """Put a sequence together again from what `to_tensors` gave.

        Raises
        ------
        SequenceError
            If something is missing.
        """
        try:
            played = None
            if "played" in metadata:
                of_pulses = {
                    name.removeprefix("played_"): values
                    for name, values in tensors.items()
                    if name.startswith("played_")
                }
                played = PlayedPulses.from_tensors(of_pulses, metadata["played"])
            return cls(
                pulse_angle=tensors["pulse_angle"],
                pulse_phase=tensors["pulse_phase"],
                event_time=tensors["event_time"],
                gradient_moment=tensors["gradient_moment"],
                adc_phase=tensors["adc_phase"],
                adc_usage=tensors["adc_usage"],
                played=played,
                pulse_use=tuple(metadata["pulse_use"]),
                event_count=tuple(metadata["event_count"]),
                shim=tensors.get("shim"),
                labels={
                    name.removeprefix("label_"): values
                    for name, values in tensors.items()
                    if name.startswith("label_")
                },
            )
        except KeyError as error:
            raise SequenceError(f"the stored sequence lacks {error}; trace it again") from error

    def conjugate(self) -> Repetitions:
        """Return what has the complex conjugate signal where spins turn by exp(-2πi (k·r + f t)).

        That is how MRzeroCore simulates. Its pulses turn right-handed, too, so that their phases
        become π - φ: the conjugate of -i exp(iφ) is -i exp(i(π - φ)). Receiver phases change their
        sign, shims are conjugated; times and moments stay as they are. Of the phantom, B1 and coil
        sensitivities have to be conjugated; off-resonance has the same sign in both. Twice
        conjugated is as before.
        """
        return replace(
            self,
            pulse_phase=math.pi - self.pulse_phase,
            adc_phase=-self.adc_phase,
            shim=None if self.shim is None else self.shim.conj(),
        )

    def to_mr0(self) -> mr0.Sequence:
        """Return the sequence as MRzeroCore has it, in float32 and with gradients.

        MRzeroCore's signal of it is the complex conjugate of ours, on a phantom whose B1 and coil
        sensitivities are conjugated; see `conjugate`.
        """
        import MRzeroCore as mr0

        turned = self.conjugate()
        angle, phase = turned.pulse_angle.float(), turned.pulse_phase.float()
        columns = [
            column.split(self.event_count)
            for column in (
                turned.event_time.float(),
                turned.gradient_moment.float(),
                turned.adc_phase.float(),
                turned.adc_usage.to(torch.int32),
            )
        ]
        repetitions = []
        for index, use in enumerate(self.pulse_use):
            pulse = mr0.Pulse.zero()
            pulse.usage = mr0.PulseUsage[_MR0_USAGE.get(use, "UNDEF")]
            pulse.angle, pulse.phase = angle[index], phase[index]
            if turned.shim is not None:
                weights = turned.shim[index]
                # MRzeroCore turns by minus the phase
                pulse.shim_array = torch.stack([weights.abs(), -weights.angle()], 1)
            repetitions.append(mr0.Repetition(pulse, *(column[index] for column in columns)))
        return mr0.Sequence(repetitions, normalized_grads=False)


def repetitions_from_mr0(sequence: mr0.Sequence) -> Repetitions:
    """Make repetitions of a sequence as MRzeroCore simulates it.

    Their signal is the complex conjugate of MRzeroCore's; see `Repetitions.conjugate`. Of a
    ``.seq`` file MRzeroCore's importer makes a sequence that is simulated in the wrong sense:
    read files with `pulseq_zero.conversion.seq_import.imported_repetitions`.

    Parameters
    ----------
    sequence
        A sequence with gradient moments in SI units (``normalized_grads`` is False).

    Raises
    ------
    SequenceError
        If the gradients are normalized to a phantom's size, or if pulses have weights of different
        numbers of transmit channels.
    """
    if sequence.normalized_grads:
        raise SequenceError(
            "the sequence has normalized gradients; scale them to 1/m and set normalized_grads"
        )
    names: dict[str, PulseUse] = {name: use for use, name in _MR0_USAGE.items()}
    return Repetitions(
        pulse_angle=torch.stack([torch.as_tensor(r.pulse.angle).reshape(()) for r in sequence]),
        pulse_phase=torch.stack([torch.as_tensor(r.pulse.phase).reshape(()) for r in sequence]),
        pulse_use=tuple(names.get(r.pulse.usage.name, "undefined") for r in sequence),
        event_count=tuple(len(r.event_time) for r in sequence),
        event_time=torch.cat([r.event_time for r in sequence]),
        gradient_moment=torch.cat([r.gradm for r in sequence]),
        adc_phase=torch.cat([r.adc_phase for r in sequence]),
        adc_usage=torch.cat([r.adc_usage for r in sequence]).long(),
        shim=_shim_of_mr0(sequence),
    ).conjugate()


def _shim_of_mr0(sequence: mr0.Sequence) -> Tensor | None:
    """(pulses, channels) complex weights of transmit channels; None where there is but one, of 1.

    MRzeroCore has (channels, 2) magnitudes and phases, and turns by minus the phase.
    """
    each = [torch.as_tensor(r.pulse.shim_array) for r in sequence]
    counts = sorted({len(weights) for weights in each})
    if len(counts) > 1:
        raise SequenceError(
            f"pulses of the sequence have weights of {counts[0]} and of {counts[-1]} transmit "
            "channels; give all pulses those of all channels"
        )
    weights = torch.stack(each) if each else torch.zeros(0, 1, 2)
    magnitude, phase = weights[..., 0], weights[..., 1]
    if counts == [1] and bool((magnitude == 1).all()) and bool((phase == 0).all()):
        return None
    return torch.polar(magnitude, -phase)


def _start_positions(uses: tuple[PulseUse, ...]) -> Tensor:
    """(repetitions, repetitions) which repetitions' totals make the position at each start."""
    weights = torch.zeros(len(uses), len(uses), dtype=torch.float64)
    for index, use in enumerate(uses):
        if index > 0:
            before = weights[index - 1].clone()
            before[index - 1] += 1.0
            weights[index] = _K_SPACE_SIGN.get(use, 1.0) * before
    return weights
