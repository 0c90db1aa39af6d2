"""Pulseq's definition, played: Bloch's equation for single spins, straight from a Sequence.

Written from the specification alone, and sharing no code with the library:

- the field of a pulse is s(t) exp(i (phase_offset + 2π freq_offset t)), with t from the start of
  its shape, right after its delay;
- the receiver multiplies by exp(-i (phase_offset + 2π freq_offset t + phase_modulation)), with t
  from the start of its first sample;
- a spin at f [Hz] at the place r turns with a field at f + G·r: dM/dt = Ω x M with
  Ω = 2π (Re s, Im s, f + G·r).
"""

import itertools

import numpy as np

AXES = ("x", "y", "z")


def corners(gradient):
    """Return times [s] since the start of the block and amplitudes [Hz/m] of a gradient."""
    if gradient.type == "trap":
        parts = [gradient.delay, gradient.rise_time, gradient.flat_time, gradient.fall_time]
        return np.cumsum(parts), gradient.amplitude * np.array([0.0, 1.0, 1.0, 0.0])
    times = np.concatenate([[0.0], gradient.tt, [gradient.shape_dur]])
    values = np.concatenate([[gradient.first], gradient.waveform, [gradient.last]])
    return gradient.delay + times, values


def area(gradient, until):
    """Integrate a gradient event up to some times [s] since the start of the block [1/m]."""
    times, values = corners(gradient)
    grid = np.unique(np.concatenate([times, np.atleast_1d(until)]))
    heights = np.interp(grid, times, values, left=0.0, right=0.0)
    steps = 0.5 * (heights[1:] + heights[:-1]) * np.diff(grid)
    return np.interp(until, grid, np.concatenate([[0.0], np.cumsum(steps)]))


def moment(gradients, until):
    """Add up the gradient events of a block up to some times: (..., xyz) moments [1/m]."""
    total = np.zeros((*np.shape(until), 3))
    for gradient in gradients:
        total[..., AXES.index(gradient.channel)] += area(gradient, until)
    return total


def turned(magnetisation, axis, angle):
    """Rotate (spins, xyz) vectors right-handed about (spins, xyz) axes of length 1."""
    c, s = np.cos(angle)[:, None], np.sin(angle)[:, None]
    along = np.sum(axis * magnetisation, axis=1, keepdims=True)
    return c * magnetisation + s * np.cross(axis, magnetisation) + (1 - c) * along * axis


class Spins:
    """Some spins.

    Parameters
    ----------
    positions
        (spins, xyz) [m].
    frequencies
        (spins,) or one, off-resonance [Hz].
    T1, T2
        Relaxation times [s].
    B1, coil
        (spins,) or one, complex transmit field and sensitivity.
    """

    def __init__(self, positions, frequencies=0.0, T1=np.inf, T2=np.inf, B1=1.0, coil=1.0):
        self.positions = np.atleast_2d(np.asarray(positions, dtype=float))
        count = len(self.positions)
        self.frequencies = np.broadcast_to(frequencies, count).astype(float)
        self.B1 = np.broadcast_to(B1, count).astype(complex)
        self.coil = np.broadcast_to(coil, count).astype(complex)
        self.T1, self.T2 = T1, T2
        self.M = np.tile([0.0, 0.0, 1.0], (count, 1))

    def wait(self, turns, time):
        """Precess by some turns (spins,) in a time [s], and relax."""
        self.M = turned(self.M, np.tile([0.0, 0.0, 1.0], (len(self.M), 1)), 2 * np.pi * turns)
        self.relax(time)

    def relax(self, time):
        self.M[:, :2] *= np.exp(-time / self.T2)
        self.M[:, 2] = 1 + (self.M[:, 2] - 1) * np.exp(-time / self.T1)

    def nutate(self, field, frequencies, time):
        """Turn about a field (complex) [Hz], being off resonance by (spins,) [Hz], for a time."""
        field = field * self.B1
        omega = 2 * np.pi * np.stack([field.real, field.imag, frequencies], 1)
        size = np.maximum(np.linalg.norm(omega, axis=1), 1e-300)
        self.relax(time / 2)
        self.M = turned(self.M, omega / size[:, None], size * time)
        self.relax(time / 2)

    def seen(self):
        """Return what the coil sees."""
        return np.sum(self.coil * (self.M[:, 0] + 1j * self.M[:, 1]))


def play(sequence, spins, step=2e-6):
    """Play a sequence to some spins; return its signal (samples,).

    Parameters
    ----------
    sequence
        A ``pypulseq.Sequence`` without offsets in parts per million.
    spins
        The spins; they are left as the sequence leaves them.
    step
        Longest step during a pulse [s].
    """
    signal = []
    for number in sequence.block_events:
        signal += _play_block(sequence.get_block(number), spins, step)
    return np.array(signal)


def _play_block(block, spins, step):
    gradients = [g for g in (block.gx, block.gy, block.gz) if g is not None]
    rf, adc, signal = block.rf, block.adc, []
    marks = [0.0, float(block.block_duration)]
    samples, receiver = np.zeros(0), np.zeros(0)
    if adc is not None:
        since = (np.arange(int(adc.num_samples)) + 0.5) * adc.dwell
        samples = adc.delay + since
        receiver = adc.phase_offset + 2 * np.pi * adc.freq_offset * since
        if adc.phase_modulation is not None and len(adc.phase_modulation):
            receiver = receiver + np.asarray(adc.phase_modulation)
    if rf is not None:
        count = int(np.ceil(rf.shape_dur / step - 1e-9))
        marks += (rf.delay + np.linspace(0, rf.shape_dur, count + 1)).tolist()
    marks = np.unique(np.round(np.concatenate([marks, samples]), 12))
    moments = moment(gradients, marks)
    for n, (start, stop) in enumerate(itertools.pairwise(marks)):
        time, middle = stop - start, 0.5 * (start + stop)
        turns = spins.positions @ (moments[n + 1] - moments[n]) + spins.frequencies * time
        if rf is not None and rf.delay < middle < rf.delay + rf.shape_dur:
            t = middle - rf.delay
            shape = np.interp(t, rf.t, rf.signal.real) + 1j * np.interp(t, rf.t, rf.signal.imag)
            field = shape * np.exp(1j * (rf.phase_offset + 2 * np.pi * rf.freq_offset * t))
            spins.nutate(field, turns / time, time)
        else:
            spins.wait(turns, time)
        for sample in np.flatnonzero(np.abs(samples - stop) < 1e-11):
            signal.append(spins.seen() * np.exp(-1j * receiver[sample]))
    return signal
