"""Full Bloch simulation of a ``.seq`` file: pulses take their time, gradients play during them.

The judge of what instantaneous pulses leave out: slice profiles, off-resonance during pulses,
adiabatic inversion. It reads the file with PyPulseq and shares the spins with `isochromats`,
nothing with the phase distribution graphs.

Signs are those of MR-zero: spins turn by exp(-2πi f t). The course of a pulse therefore runs
backwards, its phase at the centre being as written.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import MRzeroCore as mr0
import numpy as np
import pypulseq
import torch
from torch import Tensor

from pulseq_zero.errors import SequenceError
from pulseq_zero.seq_files import read_seq
from pulseq_zero.simulation.isochromats import Ensemble, Steps, ensembles

_AXES = ("gx", "gy", "gz")


@dataclass(frozen=True)
class RFPulse:
    """A pulse in short steps.

    Attributes
    ----------
    start
        When it begins [s], since the start of the block.
    step
        Duration of each step [s].
    field
        (steps,) complex amplitude [Hz], phases included.
    """

    start: float
    step: float
    field: np.ndarray

    @property
    def stop(self) -> float:
        """When it ends [s], since the start of the block."""
        return self.start + self.step * len(self.field)


@dataclass(frozen=True)
class Block:
    """A block of a sequence, as spins feel it.

    Attributes
    ----------
    duration
        [s].
    moment
        Gradient moment (xyz,) [1/m] from the start of the block to a time [s].
    pulse
        The pulse, if any.
    sample_time
        (samples,) [s], since the start of the block.
    receiver_phase
        (samples,) [rad].
    """

    duration: float
    moment: Callable[[float], np.ndarray]
    pulse: RFPulse | None
    sample_time: np.ndarray
    receiver_phase: np.ndarray


def read_blocks(path: Path | str, rf_step: float = 1e-5) -> list[Block]:
    """Read the blocks of a ``.seq`` file.

    Parameters
    ----------
    path
        The file.
    rf_step
        Longest step of a pulse [s].
    """
    sequence = read_seq(path)
    return [
        _read_block(sequence.get_block(number), sequence.system, rf_step)
        for number in sequence.block_events
    ]


def bloch_signal(
    blocks: list[Block],
    data: mr0.SimData,
    spins: int,
    *,
    seed: int = 0,
    voxel_size: tuple[float, float, float] | None = None,
) -> Tensor:
    """Simulate blocks with a given number of spins; parameters as in `isochromat_signal`.

    To see slice profiles, give a ``voxel_size`` that reaches beyond the slice in z.

    Returns
    -------
    Tensor
        (samples, coils) complex.
    """
    samples = sum(len(block.sample_time) for block in blocks)
    signal = torch.zeros(samples, data.coil_sens.shape[0], dtype=torch.complex64)
    for ensemble in ensembles(data, spins, seed=seed, voxel_size=voxel_size):
        signal += _play(blocks, ensemble)
    receiver = np.concatenate([block.receiver_phase for block in blocks])
    phase = torch.from_numpy(receiver).float()
    return signal * torch.polar(torch.ones_like(phase), phase)[:, None]


def play_pulse(pulse: RFPulse, ensemble: Ensemble, moment: Callable[[float], np.ndarray]) -> None:
    """Rotate spins by a pulse, step by step, under the gradients that play meanwhile.

    In each step the field is constant, so that its rotation about the axis
    (Re b, Im b, -Δf) is exact. Relaxation acts half before the pulse and half after it.

    Parameters
    ----------
    pulse
        The pulse.
    ensemble
        The spins.
    moment
        Gradient moment [1/m] up to a time since the start of the block.
    """
    duration = pulse.stop - pulse.start
    half_decay = torch.exp(-0.5 * duration * ensemble.R2)
    ensemble.transverse *= half_decay
    ensemble.recover(0.5 * duration)
    transmit = ensemble.field() * (math.pi * pulse.step)
    a = torch.ones_like(ensemble.transverse)
    b = torch.zeros_like(a)
    edges = [moment(pulse.start + n * pulse.step) for n in range(len(pulse.field) + 1)]
    for n, field in enumerate(pulse.field.tolist()):
        # Half of the angles by which the step turns about the axes.
        along_z = math.pi * (
            ensemble.position @ torch.from_numpy(edges[n + 1] - edges[n]).float()
            + ensemble.frequency * pulse.step
        )
        across = field * transmit
        half = torch.sqrt(along_z**2 + across.abs() ** 2)
        ratio = torch.sinc(half / math.pi)
        step_a = torch.complex(half.cos(), along_z * ratio)
        step_b = -1j * across * ratio
        a, b = step_a * a - step_b.conj() * b, step_b * a + step_a.conj() * b
    ensemble.apply(a, b)
    ensemble.transverse *= half_decay
    ensemble.recover(0.5 * duration)


def _play(blocks: list[Block], ensemble: Ensemble) -> Tensor:
    """Return the (samples, coils) signal of some voxels."""
    steps, sums = Steps(ensemble), []
    for block in blocks:
        now = 0.0
        # A pulse comes before the samples of its block or after them, never in between.
        marks = [(time, False) for time in block.sample_time.tolist()]
        if block.pulse is not None:
            marks.append((block.pulse.start, True))
        for time, is_pulse in [*sorted(marks), (block.duration, None)]:
            moment = torch.from_numpy(block.moment(time) - block.moment(now))
            ensemble.transverse *= steps.factor(moment, time - now)
            ensemble.recover(time - now)
            now = time
            if is_pulse and block.pulse is not None:
                play_pulse(block.pulse, ensemble, block.moment)
                now = block.pulse.stop
            elif is_pulse is False:
                sums.append(ensemble.transverse.sum(1))
    if not sums:
        return torch.zeros(0, ensemble.weight.shape[1], dtype=torch.complex64)
    return torch.stack(sums) @ ensemble.weight


def _read_block(block: SimpleNamespace, system: pypulseq.Opts, rf_step: float) -> Block:
    if getattr(block, "rotation", None) is not None:
        raise SequenceError("rotated blocks cannot be simulated; write the gradients as rotated")
    waveforms = [_waveform(getattr(block, axis, None)) for axis in _AXES]

    def moment(time: float) -> np.ndarray:
        return np.array([_integral(times, values, time) for times, values in waveforms])

    adc, rf = getattr(block, "adc", None), getattr(block, "rf", None)
    sample_time, receiver_phase = np.zeros(0), np.zeros(0)
    if adc is not None:
        since_start = (np.arange(adc.num_samples) + 0.5) * adc.dwell
        middle = 0.5 * adc.num_samples * adc.dwell
        offset, phase = 2 * np.pi * _frequency(adc, system), _phase(adc, system)
        phase = phase + offset * middle - offset * (since_start - middle)
        sample_time = adc.delay + since_start
        receiver_phase = np.pi / 2 - phase
    return Block(
        duration=float(block.block_duration),
        moment=moment,
        pulse=None if rf is None else _pulse(rf, system, rf_step),
        sample_time=sample_time,
        receiver_phase=receiver_phase,
    )


def _pulse(rf: SimpleNamespace, system: pypulseq.Opts, longest: float) -> RFPulse:
    count = max(1, math.ceil(rf.shape_dur / longest - 1e-9))
    step = rf.shape_dur / count
    time = (np.arange(count) + 0.5) * step
    signal = np.asarray(rf.signal, dtype=complex)
    shape = np.interp(time, rf.t, signal.real) + 1j * np.interp(time, rf.t, signal.imag)
    centre = pypulseq.calc_rf_center(rf)[0]
    own = np.exp(1j * np.angle(shape.sum()))
    offset = 2 * np.pi * _frequency(rf, system)
    at_centre = _phase(rf, system) + offset * centre
    course = shape.conj() * own**2 * np.exp(1j * (at_centre - offset * (time - centre)))
    return RFPulse(start=float(rf.delay), step=step, field=course)


def _frequency(event: SimpleNamespace, system: pypulseq.Opts) -> float:
    return event.freq_offset + 1e-6 * getattr(event, "freq_ppm", 0) * system.gamma * system.B0


def _phase(event: SimpleNamespace, system: pypulseq.Opts) -> float:
    return event.phase_offset + 1e-6 * getattr(event, "phase_ppm", 0) * system.gamma * system.B0


def _waveform(gradient: SimpleNamespace | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the corners of a gradient: times [s] and amplitudes [Hz/m]."""
    if gradient is None:
        return np.zeros(1), np.zeros(1)
    if gradient.type == "trap":
        lengths = [gradient.delay, gradient.rise_time, gradient.flat_time, gradient.fall_time]
        return np.cumsum(lengths), np.array([0, gradient.amplitude, gradient.amplitude, 0])
    times, values = np.asarray(gradient.tt), np.asarray(gradient.waveform)
    if times[0] > 0:
        times, values = np.append(0, times), np.append(gradient.first, values)
    if times[-1] < gradient.shape_dur:
        times, values = np.append(times, gradient.shape_dur), np.append(values, gradient.last)
    return gradient.delay + times, values


def _integral(times: np.ndarray, values: np.ndarray, until: float) -> float:
    """Integrate a function that is linear between its corners and zero outside."""
    inside = times < until
    corners = np.append(times[inside], min(max(until, times[0]), times[-1]))
    heights = np.append(values[inside], np.interp(corners[-1], times, values))
    return float(np.trapezoid(heights, corners))
