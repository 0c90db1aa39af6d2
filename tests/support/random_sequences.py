"""Random sequences of nine kinds, small enough for a phase graph without truncation.

Timings, angles, phases, crushers and k-space extents are random, within what scanners play.
Intervals repeat where they do in such sequences, so that states meet in position: their number
grows with a small power of the number of pulses. Only the fingerprinting train may have
repetition times that are all different, and then has few pulses.

Echoes lie between samples: at an echo the decay by T2' has a cusp, and no derivative.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from pulseq_zero.conversion.repetitions import PulseUse, Repetitions

# The phantoms' field of view [m]
FOV = 0.2

Angles = Literal["anywhere", "special"]
Generator = np.random.Generator
Array = NDArray[np.float64]

_SPECIAL = np.array([0.0, np.pi / 2, np.pi])
_NONE = np.zeros(3)


class Score:
    """Collects pulses and the events that follow them."""

    def __init__(self) -> None:
        self.pulses: list[tuple[float, float, PulseUse]] = []
        self.events: list[list[tuple[float, Array, float, int]]] = []

    def pulse(self, angle: float, phase: float, use: PulseUse) -> None:
        """Append a pulse [rad]."""
        self.pulses.append((angle, phase, use))
        self.events.append([])

    def wait(self, time: float, moment: Array = _NONE) -> None:
        """Append an event of a duration [s] and a gradient moment [1/m]."""
        assert time >= 0, time
        self.events[-1].append((time, moment, 0.0, 0))

    def sample(self, time: float, moment: Array, phase: float) -> None:
        """Append an event that ends with a sample."""
        self.events[-1].append((time, moment, phase, 1))

    def finish(self) -> Repetitions:
        """Return the sequence in float64."""
        angle, phase, use = zip(*self.pulses, strict=True)
        time, moment, receiver, sampled = zip(*(e for es in self.events for e in es), strict=True)
        return Repetitions(
            pulse_angle=torch.tensor(angle, dtype=torch.float64),
            pulse_phase=torch.tensor(phase, dtype=torch.float64),
            pulse_use=use,
            event_count=tuple(len(events) for events in self.events),
            event_time=torch.tensor(time, dtype=torch.float64),
            gradient_moment=torch.from_numpy(np.array(moment)),
            adc_phase=torch.tensor(receiver, dtype=torch.float64),
            adc_usage=torch.tensor(sampled),
        )


class Readout:
    """Samples along x with what comes before and after, always of the same duration and moment.

    Attributes
    ----------
    samples
        Number of samples.
    dwell
        [s]
    dk
        Their distance in k-space [1/m].
    off
        How far the echo lies before the middle, in samples; never a whole number.
    duration
        Of the samples [s].
    """

    def __init__(self, rng: Generator) -> None:
        self.samples = int(rng.integers(4, 17))
        self.dwell = float(rng.uniform(10e-6, 80e-6))
        self.dk = float(rng.uniform(0.6, 1.0)) / FOV
        self.off = float(rng.integers(-1, 2) + rng.uniform(0.25, 0.75))
        self.duration = self.samples * self.dwell
        self._lines = rng.permutation(np.arange(-8, 8))
        self._played = 0

    @property
    def to_echo(self) -> float:
        """Time from the first sample's begin to the echo [s]."""
        return (self.samples / 2 + self.off) * self.dwell

    @property
    def prephase(self) -> Array:
        """Moment that puts the echo there [1/m]."""
        return np.array([-(self.samples / 2 + self.off) * self.dk, 0.0, 0.0])

    @property
    def total(self) -> Array:
        """Moment of the samples [1/m]."""
        return np.array([self.samples * self.dk, 0.0, 0.0])

    def play(
        self,
        score: Score,
        before: tuple[float, Array],
        after: tuple[float, Array],
        phase: float = 0.0,
    ) -> None:
        """Play the next line; its encoding is taken back afterwards."""
        line = np.array([0.0, self._lines[self._played % len(self._lines)] * self.dk, 0.0])
        self._played += 1
        score.wait(before[0], before[1] + line)
        for _ in range(self.samples):
            score.sample(self.dwell, np.array([self.dk, 0.0, 0.0]), phase)
        score.wait(after[0], after[1] - line)


def spoiled_gre(rng: Generator, angles: Angles = "anywhere") -> Repetitions:
    """Gradient echoes spoiled by a gradient and by quadratic phases."""
    score, readout = Score(), Readout(rng)
    count = int(rng.integers(6, 25))
    side = rng.uniform(1e-3, 3e-3), rng.uniform(1e-3, 15e-3)
    increment, spoiler = rng.uniform(0, 2 * np.pi), _crusher(rng)
    for number, angle in enumerate(_near_each_other(rng, 0.05, 1.2, count, angles)):
        phase = increment * number * (number + 1) / 2 % (2 * np.pi)
        score.pulse(angle, phase, "excitation")
        readout.play(score, (side[0], readout.prephase), (side[1], spoiler), -phase)
    return score.finish()


def bssfp(rng: Generator, angles: Angles = "anywhere") -> Repetitions:
    """Balanced steady-state free precession, perhaps after a half pulse or an inversion."""
    score, readout = Score(), Readout(rng)
    count = int(rng.integers(6, 25))
    TR = readout.duration + rng.uniform(2e-3, 6e-3)
    before = TR / 2 - readout.to_echo
    advance = rng.choice([np.pi, rng.uniform(0, 2 * np.pi)])
    angle = _near_each_other(rng, 0.2, 1.4, count, angles)
    if rng.random() < 0.3:
        score.pulse(_angle(rng, 2.5, 3.3, angles), 0.0, "inversion")
        score.wait(rng.uniform(10e-3, 0.5), _crusher(rng))
    if rng.random() < 0.5:
        score.pulse(angle[0] / 2, -advance, "excitation")
        score.wait(TR / 2)
    for number in range(count):
        phase = advance * number
        score.pulse(angle[number], phase, "excitation")
        rest = TR - before - readout.duration
        rephase = -readout.prephase - readout.total
        readout.play(score, (before, readout.prephase), (rest, rephase), -phase)
    return score.finish()


def tse(rng: Generator, angles: Angles = "anywhere") -> Repetitions:
    """Turbo spin echo: one or two echo trains, perhaps each after an inversion."""
    score, readout = Score(), Readout(rng)
    echoes, shots = int(rng.integers(3, 11)), int(rng.integers(1, 3))
    spacing = readout.duration + rng.uniform(5e-3, 12e-3)
    before = spacing / 2 - readout.to_echo
    after = spacing - before - readout.duration
    crusher, inversion = _crusher(rng), rng.random() < 0.4
    inversion_time, recovery = rng.uniform(0.05, 1.5), rng.uniform(0.05, 1.0)
    spoiler, inversion_spoiler = _crusher(rng), _crusher(rng)
    for _ in range(shots):
        if inversion:
            score.pulse(_angle(rng, 2.5, 3.3, angles), 0.0, "inversion")
            score.wait(inversion_time, inversion_spoiler)
        score.pulse(_angle(rng, 1.2, 1.9, angles), np.pi / 2 + rng.normal(0, 0.1), "excitation")
        score.wait(spacing / 2, crusher)
        back = crusher - readout.prephase - readout.total
        for angle in _angles(rng, 0.6, 3.2, echoes, angles):
            score.pulse(angle, rng.normal(0, 0.1), "refocusing")
            readout.play(score, (before, crusher + readout.prephase), (after, back))
        score.wait(recovery, spoiler)
    return score.finish()


def epi(rng: Generator, angles: Angles = "anywhere") -> Repetitions:
    """Echo-planar imaging in one to three shots, of gradient or spin echoes."""
    score, readout = Score(), Readout(rng)
    readout.samples = int(rng.integers(4, 9))
    lines, shots = int(rng.integers(3, 7)), int(rng.integers(1, 4))
    spin_echo, inversion = rng.random() < 0.5, rng.random() < 0.5
    inversion_time, echo_time = rng.uniform(0.05, 1.5), rng.uniform(10e-3, 30e-3)
    recovery, crusher, spoiler = rng.uniform(0.05, 1.0), _crusher(rng), _crusher(rng)
    blip = np.array([0.0, readout.dk, 0.0])
    for _ in range(shots):
        if inversion:
            score.pulse(_angle(rng, 2.5, 3.3, angles), 0.0, "inversion")
            score.wait(inversion_time, spoiler)
        score.pulse(_angle(rng, 0.5, 1.8, angles), 0.0, "excitation")
        corner = readout.prephase - lines / 2 * blip
        if spin_echo:
            score.wait(echo_time, crusher)
            score.pulse(_angle(rng, 2.0, 3.3, angles), np.pi / 2, "refocusing")
            score.wait(echo_time / 3, crusher)
        score.wait(1e-3, corner)
        for line in range(lines):
            sign = 1 if line % 2 == 0 else -1
            for _ in range(readout.samples):
                score.sample(readout.dwell, sign * readout.dk * np.array([1.0, 0.0, 0.0]), 0.0)
            score.wait(60e-6, blip)
        score.wait(recovery, spoiler)
    return score.finish()


def steam(rng: Generator, angles: Angles = "anywhere") -> Repetitions:
    """Stimulated echoes of two to four cycles of three pulses."""
    score, readout = Score(), Readout(rng)
    echo_time = readout.duration + rng.uniform(4e-3, 20e-3)
    mixing_time, recovery = rng.uniform(10e-3, 0.3), rng.uniform(20e-3, 1.0)
    dephaser, spoiler, last = _crusher(rng), _crusher(rng), _crusher(rng)
    before = echo_time / 2 - readout.to_echo
    for _ in range(int(rng.integers(2, 5))):
        score.pulse(_angle(rng, 1.0, 2.0, angles), _phase(rng), "excitation")
        score.wait(echo_time / 2, dephaser)
        score.pulse(_angle(rng, 1.0, 2.0, angles), _phase(rng), "preparation")
        score.wait(mixing_time, spoiler)
        score.pulse(_angle(rng, 1.0, 2.0, angles), _phase(rng), "preparation")
        readout.play(score, (before, dephaser + readout.prephase), (recovery, last))
    return score.finish()


def dream(rng: Generator, angles: Angles = "anywhere") -> Repetitions:
    """Map B1: two pulses, then gradient echoes that see FID and stimulated echo alike."""
    score, readout = Score(), Readout(rng)
    dephaser, spoiler = _crusher(rng), _crusher(rng)
    side = rng.uniform(1e-3, 3e-3), rng.uniform(1e-3, 3e-3)
    prepare = rng.uniform(0.7, 1.2)
    score.pulse(_special(rng, prepare, angles), 0.0, "excitation")
    score.wait(rng.uniform(1e-3, 4e-3), dephaser)
    score.pulse(_special(rng, prepare, angles), 0.0, "preparation")
    score.wait(rng.uniform(3e-3, 20e-3), spoiler)
    train = _near_each_other(rng, 0.1, 0.5, int(rng.integers(4, 13)), angles)
    for angle in train:
        score.pulse(angle, 0.0, "excitation")
        readout.play(score, (side[0], readout.prephase), (side[1], dephaser - readout.total))
    return score.finish()


def dante(rng: Generator, angles: Angles = "anywhere") -> Repetitions:
    """Two or three trains of small pulses, each before a gradient echo."""
    score, readout = Score(), Readout(rng)
    count, spacing = int(rng.integers(3, 8)), rng.uniform(0.5e-3, 3e-3)
    moment, spoiler = _crusher(rng), _crusher(rng)
    advance, recovery = rng.choice([0.0, np.pi, _phase(rng)]), rng.uniform(5e-3, 0.5)
    for _ in range(int(rng.integers(2, 4))):
        for number, angle in enumerate(_near_each_other(rng, 0.05, 0.4, count, angles)):
            score.pulse(angle, advance * number, "preparation")
            score.wait(spacing, moment)
        score.pulse(_angle(rng, 0.2, 1.6, angles), _phase(rng), "excitation")
        readout.play(score, (2e-3, readout.prephase), (recovery, spoiler))
    return score.finish()


def hyperecho(rng: Generator, angles: Angles = "anywhere") -> Repetitions:
    """Pulses, a refocusing one, and the pulses back: everything comes together (Hennig 2001)."""
    score, readout = Score(), Readout(rng)
    count = int(rng.integers(2, 6))
    spacing, crusher = readout.duration + rng.uniform(3e-3, 10e-3), _crusher(rng)
    angle = _angles(rng, 0.2, 3.0, count, angles)
    phase = rng.uniform(0, 2 * np.pi, count)
    train = [
        *zip(angle, phase, strict=True),
        (np.pi, 0.0),
        *zip(-angle[::-1], -phase[::-1], strict=True),
    ]
    score.pulse(_angle(rng, 1.2, 1.9, angles), np.pi / 2, "excitation")
    score.wait(spacing / 2, crusher)
    before = spacing / 2 - readout.to_echo
    for flip, axis in train:
        score.pulse(flip, axis, "refocusing")
        rest = spacing - before - readout.duration
        back = crusher - readout.total - readout.prephase
        readout.play(score, (before, crusher + readout.prephase), (rest, back))
    return score.finish()


def mrf(rng: Generator, angles: Angles = "anywhere") -> Repetitions:
    """Fingerprinting: an inversion, then angles, phases and repetition times that vary.

    Repetition times are either on a raster, so that states meet, or all different.
    """
    score, readout = Score(), Readout(rng)
    on_raster = rng.random() < 0.5
    count = int(rng.integers(6, 13) if on_raster else rng.integers(4, 7))
    shortest, raster = rng.uniform(4e-3, 8e-3), rng.uniform(0.5e-3, 2e-3)
    steps = rng.integers(0, 5, count) if on_raster else rng.uniform(0, 5, count)
    spoiler, phase = _crusher(rng) * float(rng.random() < 0.7), 0.0
    score.pulse(_angle(rng, 2.8, 3.3, angles), 0.0, "inversion")
    score.wait(rng.uniform(5e-3, 40e-3), _crusher(rng))
    for number, angle in enumerate(_near_each_other(rng, 0.1, 1.2, count, angles)):
        phase += rng.choice([0.0, np.pi, 0.3 * number])
        score.pulse(angle, phase, "excitation")
        rest = shortest - 1e-3 + raster * steps[number]
        back = spoiler - readout.total - readout.prephase
        readout.play(score, (1e-3, readout.prephase), (rest, back), -phase)
    return score.finish()


KINDS: dict[str, Callable[..., Repetitions]] = {
    "spoiled GRE": spoiled_gre,
    "bSSFP": bssfp,
    "TSE": tse,
    "EPI": epi,
    "STEAM": steam,
    "DREAM": dream,
    "DANTE": dante,
    "hyperecho": hyperecho,
    "MRF": mrf,
}


def _phase(rng: Generator) -> float:
    return float(rng.uniform(0, 2 * np.pi))


def _crusher(rng: Generator) -> Array:
    """Draw a moment [1/m], of less than a turn to several turns in a voxel, in any direction."""
    direction = rng.normal(size=3) if rng.random() < 0.5 else np.eye(3)[rng.integers(3)]
    size = np.exp(rng.uniform(np.log(15.0), np.log(800.0)))
    return size * direction / np.linalg.norm(direction)


def _special(rng: Generator, angle: Any, angles: Angles) -> Any:
    """Put an exact 0, π/2 or π in the place of half of the angles, if wanted."""
    angle = np.asarray(angle, dtype=float)
    if angles == "special":
        angle = np.where(rng.random(angle.shape) < 0.5, rng.choice(_SPECIAL, angle.shape), angle)
    return angle if angle.ndim else float(angle)


def _angles(rng: Generator, low: float, high: float, count: int, angles: Angles) -> Array:
    return _special(rng, rng.uniform(low, high, count), angles)


def _angle(rng: Generator, low: float, high: float, angles: Angles) -> float:
    return float(_angles(rng, low, high, 1, angles)[0])


def _near_each_other(rng: Generator, low: float, high: float, count: int, angles: Angles) -> Array:
    """Draw the angles of a train: constant, ramped, or all different."""
    first, last = rng.uniform(low, high, 2)
    train = (
        np.full(count, first),
        np.linspace(first, last, count),
        rng.uniform(low, high, count),
    )[rng.integers(3)]
    return _special(rng, train, angles)
