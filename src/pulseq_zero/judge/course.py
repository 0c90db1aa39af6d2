"""What spins undergo in a sequence: steps under gradients, some of which begin with a pulse."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pulseq_zero.conversion.repetitions import Repetitions
from pulseq_zero.judge.arrays import Array


@dataclass(frozen=True)
class SpinPulse:
    """What an RF pulse does.

    Attributes
    ----------
    angle
        Nominal flip angle [rad] of a rotation at once; otherwise the pulse's amplitude [Hz].
    phase
        [rad].
    turn
        By what angle a rotation at once turns spins about z after it [rad].
    channels
        Complex weights of the transmit channels; None adds them up.
    field
        (steps,) complex field of a pulse that takes its time, relative to its amplitude and
        phase; None for a rotation at once.
    step
        Duration of each of its steps [s].
    gradient
        (steps, xyz) gradient that is on meanwhile [Hz/m]; None for none.
    """

    angle: float
    phase: float
    turn: float = 0.0
    channels: Array | None = None
    field: Array | None = None
    step: float = 0.0
    gradient: Array | None = None

    @property
    def duration(self) -> float:
        """How long it takes [s]."""
        return 0.0 if self.field is None else self.step * len(self.field)

    @property
    def moment(self) -> Array:
        """(xyz) gradient moment meanwhile [1/m]."""
        return np.zeros(3) if self.gradient is None else self.step * self.gradient.sum(0)


@dataclass
class Course:
    """What spins undergo: steps under gradients, some beginning with a pulse.

    Attributes
    ----------
    moment, time, relaxation
        For each step its gradient moment (xyz) [1/m], how long spins turn, and how long they
        relax [s]. The last two differ beside pulses that take their time.
    pulse
        The pulse that each step begins with.
    is_sample
        Whether a sample ends the step.
    receiver_phase
        For each sample [rad].
    """

    moment: list[Array] = field(default_factory=list)
    time: list[float] = field(default_factory=list)
    relaxation: list[float] = field(default_factory=list)
    pulse: list[SpinPulse | None] = field(default_factory=list)
    is_sample: list[bool] = field(default_factory=list)
    receiver_phase: list[float] = field(default_factory=list)

    def play(self, pulse: SpinPulse) -> None:
        """Append a pulse. Relaxation acts half before and half after one that takes its time."""
        if self.relaxation:
            self.relaxation[-1] += pulse.duration / 2
        self.append(pulse, np.zeros(3), 0.0, pulse.duration / 2)

    def wait(self, moment: Array, time: float) -> None:
        """Let spins turn under a gradient moment [1/m] for a time [s]."""
        if not self.time or self.is_sample[-1]:
            self.append(None, np.zeros(3), 0.0, 0.0)
        self.moment[-1] = self.moment[-1] + moment
        self.time[-1] += time
        self.relaxation[-1] += time

    def sample(self, receiver_phase: float) -> None:
        """Take a sample now."""
        if not self.time or self.is_sample[-1]:
            self.append(None, np.zeros(3), 0.0, 0.0)
        self.is_sample[-1] = True
        self.receiver_phase.append(receiver_phase)

    def append(
        self, pulse: SpinPulse | None, moment: Array, time: float, relaxation: float
    ) -> None:
        """Append a step."""
        self.pulse.append(pulse)
        self.moment.append(moment)
        self.time.append(time)
        self.relaxation.append(relaxation)
        self.is_sample.append(False)


def course_of(repetitions: Repetitions) -> Course:
    """Return what spins undergo in a sequence whose pulses are rotations at once."""
    sequence, course = repetitions.detach().to("cpu"), Course()
    angle, phase = sequence.pulse_angle.tolist(), sequence.pulse_phase.tolist()
    time, moment = sequence.event_time.tolist(), sequence.gradient_moment.double().numpy()
    is_sample, adc_phase = sequence.is_sample.tolist(), sequence.adc_phase.tolist()
    for repetition, first in enumerate(sequence.first_event):
        shim = None if sequence.shim is None else sequence.shim[repetition].resolve_conj().numpy()
        course.play(SpinPulse(angle[repetition], phase[repetition], channels=shim))
        for event in range(first, first + sequence.event_count[repetition]):
            course.wait(moment[event], time[event])
            if is_sample[event]:
                course.sample(adc_phase[event])
    return course
