"""RF pulses as they are played: the course of the field and of the gradients meanwhile."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from pulseq_zero.errors import SequenceError


@dataclass(frozen=True)
class PlayedPulses:
    """The distinct pulses of a sequence, in short steps, and which of them are played when.

    All steps of all pulses lie one behind the other. Signs are Pulseq's: during a step, spins turn
    right-handed about 2π (Re s, Im s, f + G·r) with s = exp(i phase) times the signal.

    Attributes
    ----------
    signal
        (steps,) complex128 mean field of each step [Hz], with the pulse's frequency offset and
        without its phase offset.
    time
        (steps,) durations [s].
    moment
        (steps, xyz) gradient moments [1/m].
    centre
        (pulses,) when each of the pulses acts in `Repetitions`, since its first step began [s].
    step_count
        Number of steps of each of the pulses.
    scaled
        Whether all that a pulse's signal may depend on parameters by is a real factor.
    pulse
        Which of them each repetition begins with.
    phase
        (repetitions,) [rad].
    whole
        Which pulse each is a piece of, if they are cut: those of one number are parts of it.

    Raises
    ------
    SequenceError
        If the shapes do not fit together.
    """

    signal: Tensor
    time: Tensor
    moment: Tensor
    centre: Tensor
    step_count: tuple[int, ...]
    scaled: tuple[bool, ...]
    pulse: tuple[int, ...]
    phase: Tensor
    whole: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        steps, pulses = sum(self.step_count), len(self.step_count)
        expected = {
            "signal": (steps,),
            "time": (steps,),
            "moment": (steps, 3),
            "centre": (pulses,),
            "phase": (len(self.pulse),),
        }
        for name, shape in expected.items():
            actual = tuple(getattr(self, name).shape)
            if actual != shape:
                raise SequenceError(
                    f"{name} of the played pulses has shape {actual}, but {shape} was expected"
                )

    @cached_property
    def steps(self) -> tuple[slice, ...]:
        """The steps of each of the pulses."""
        ends = torch.tensor([0, *self.step_count]).cumsum(0).tolist()
        return tuple(slice(a, b) for a, b in itertools.pairwise(ends))

    @cached_property
    def pulse_of_step(self) -> Tensor:
        """Which of the pulses each step is one of, (steps,)."""
        return torch.repeat_interleave(torch.tensor(self.step_count, dtype=torch.int64))

    def sums(self, values: Tensor) -> Tensor:
        """Add up what the steps of each pulse have, (steps, ...), to (pulses, ...)."""
        zeros = values.new_zeros(len(self.step_count), *values.shape[1:])
        return zeros.index_add(0, self.pulse_of_step.to(values.device), values)

    @property
    def pieces(self) -> tuple[int, ...]:
        """In how many pieces each pulse was cut; nothing if none was."""
        return tuple(torch.tensor(self.whole).bincount().tolist()) if self.whole else ()

    @property
    def requires_grad(self) -> bool:
        """Whether anything but phases is to be differentiated by."""
        return any(t.requires_grad for t in (self.signal, self.time, self.moment, self.centre))

    def map(self, function: Callable[[Tensor], Tensor]) -> PlayedPulses:
        """Return the same pulses with a function applied to each of the tensors."""
        return replace(
            self,
            signal=function(self.signal),
            time=function(self.time),
            moment=function(self.moment),
            centre=function(self.centre),
            phase=function(self.phase),
        )

    def to_tensors(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Take the pulses apart into tensors and JSON-like metadata, to store them."""
        tensors = {name: getattr(self, name) for name in ("time", "moment", "centre", "phase")}
        tensors |= {"real": self.signal.real, "imag": self.signal.imag}
        names = ("step_count", "scaled", "pulse", "whole")
        return tensors, {name: getattr(self, name) for name in names}

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]
    ) -> PlayedPulses:
        """Put pulses together again from what `to_tensors` gave."""
        return cls(
            signal=torch.complex(tensors["real"], tensors["imag"]),
            time=tensors["time"],
            moment=tensors["moment"],
            centre=tensors["centre"],
            phase=tensors["phase"],
            whole=tuple(metadata.get("whole", ())),
            step_count=tuple(metadata["step_count"]),
            scaled=tuple(metadata["scaled"]),
            pulse=tuple(metadata["pulse"]),
        )

    def same_values(self, other: PlayedPulses) -> bool:
        """Tell whether others are the same pulses."""
        names = ("signal", "time", "moment", "centre", "phase")
        return (self.step_count, self.pulse) == (other.step_count, other.pulse) and all(
            torch.equal(getattr(self, name), getattr(other, name)) for name in names
        )
