"""What a sequence takes: time, RF energy, and gradients, as functions of its parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pypulseq
from torch import Tensor

from pulseq_zero.conversion.gradients import AXES, corners, numpy_for
from pulseq_zero.conversion.once import Once
from pulseq_zero.conversion.pulses import sample_durations
from pulseq_zero.tracing import Program, TracedSequence, raw, recording, traced_numpy, wires_of


@dataclass(frozen=True)
class SequenceCost:
    r"""What the blocks of a sequence take, differentiable with respect to its parameters.

    A pulse of amplitude :math:`s(t)` in Hz is the field :math:`B_1 = s / \gamma`, with the
    system's :math:`\gamma` in Hz/T.

    Attributes
    ----------
    duration
        () of all blocks [s].
    pulse_energy
        (pulses,) :math:`\int |B_1|^2 dt` of each pulse as it is played [T² s].
    gradients
        For each of x, y and z the corners of the waveform, between which it is linear: (corners, 2)
        times [s] and amplitudes [Hz/m].
    """

    duration: Tensor
    pulse_energy: Tensor
    gradients: Mapping[str, Tensor]

    @property
    def rf_energy(self) -> Tensor:
        """() RF energy of all pulses [T² s]: SAR is proportional to it over the duration."""
        return self.pulse_energy.sum()

    @property
    def b1_rms(self) -> Tensor:
        """() B1+rms over the sequence [T]."""
        return (self.rf_energy / self.duration).sqrt()


class CostProgram:
    """The way from a traced sequence's tape to what the sequence costs.

    Parameters
    ----------
    sequence
        The sequence, made inside of tracing.
    """

    def __init__(self, sequence: TracedSequence) -> None:
        with recording(sequence.tape):
            traced = _traced(sequence)
        values = [np.asarray(raw(x)) for x in traced]
        wires = [np.asarray(wires_of(x)) for x in traced]
        self.program = Program(sequence.tape, list(zip(values, wires, strict=True)))

    def __call__(self, parameters: Mapping[str, Tensor]) -> SequenceCost:
        """Compute what the sequence costs for some parameters."""
        duration, energy, *gradients = self.program(parameters)
        return SequenceCost(duration, energy, dict(zip(AXES, gradients, strict=True)))


def _traced(sequence: TracedSequence) -> list[Any]:
    """Duration, energies, and corners of x, y and z."""
    xp, once = traced_numpy, Once()
    blocks = sequence.traced_blocks()
    ends = xp.cumsum(xp.array([0.0, *(block.duration for block in blocks)]))
    energies: list[Any] = []
    waveforms: dict[str, list[Any]] = {axis: [] for axis in AXES}
    for block, start in zip(blocks, ends[:-1], strict=True):
        for event in block.events:
            kind = getattr(event, "type", None)
            if kind == "rf":
                energies.append(once(_energy, event) / sequence.system.gamma**2)
            elif kind in ("trap", "grad"):
                times, amplitudes = once(corners, event)
                waveforms[event.channel].append(xp.stack([times + start, amplitudes], axis=1))
    return [
        ends[-1],
        xp.array(energies),
        *(xp.concatenate([np.zeros((0, 2)), *waveforms[axis]]) for axis in AXES),
    ]


def _energy(rf: SimpleNamespace) -> Any:
    """Integrate the squared magnitude of a pulse [Hz]."""
    xp = numpy_for(rf.signal, rf.t, rf.shape_dur)
    power = rf.signal.real**2 + rf.signal.imag**2
    return xp.sum(power * sample_durations(rf))


def cost_of(sequence: pypulseq.Sequence) -> SequenceCost:
    """Compute what a sequence costs that was made or read outside of tracing."""
    return CostProgram(TracedSequence.of_plain(sequence))({})
