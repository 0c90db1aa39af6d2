"""Bloch equations, for pulses as PyPulseq has them and for repetitions."""

import numpy as np


def rotate(axis, angle, magnetisation):
    """Rotate vectors (spins, xyz) about axes (spins, xyz), right-handed."""
    c, s = np.cos(angle)[:, None], np.sin(angle)[:, None]
    along = np.sum(axis * magnetisation, axis=1, keepdims=True)
    return c * magnetisation + s * np.cross(axis, magnetisation) + (1 - c) * along * axis


def after_pulse(rf, offsets, magnetisation=(0.0, 0.0, 1.0)):
    """Magnetisation (spins, xyz) of spins at some offsets [Hz] right after a pulse.

    dM/dt = Ω x M with Ω = 2π (Re B, Im B, f): Pulseq's field B(t) = s(t) exp(i (φ + 2π f_0 t)),
    with t from the start of the shape, turns along with the spins at f_0.
    """
    steps = max(len(rf.t), 1000)
    t = (np.arange(steps) + 0.5) * rf.shape_dur / steps
    signal = np.interp(t, rf.t, rf.signal.real) + 1j * np.interp(t, rf.t, rf.signal.imag)
    field = signal * np.exp(1j * (2 * np.pi * rf.freq_offset * t + rf.phase_offset))
    spins = np.tile(np.array(magnetisation), (len(offsets), 1))
    duration = rf.shape_dur / steps
    for b1 in field:
        b = np.stack([np.full_like(offsets, b1.real), np.full_like(offsets, b1.imag), offsets], 1)
        size = np.maximum(np.linalg.norm(b, axis=1), 1e-12)
        spins = rotate(b / size[:, None], 2 * np.pi * size * duration, spins)
    return spins


def after_repetitions(repetitions, positions, offsets, events):
    """Magnetisation (spins, xyz) of spins after the first events of repetitions."""
    spins = np.tile(np.array([0.0, 0.0, 1.0]), (len(offsets), 1))
    time = repetitions.event_time.detach().numpy()
    moment = repetitions.gradient_moment.detach().numpy()
    angle = repetitions.pulse_angle.detach().numpy()
    phase = repetitions.pulse_phase.detach().numpy()
    event = 0
    for pulse, count in enumerate(repetitions.event_count):
        axis = np.array([np.cos(phase[pulse]), np.sin(phase[pulse]), 0.0])
        ones = np.ones((len(offsets), 1))
        spins = rotate(axis * ones, angle[pulse] * ones[:, 0], spins)
        for _ in range(count):
            if event == events:
                return spins
            cycles = positions @ moment[event] + offsets * time[event]
            up = np.array([0.0, 0.0, 1.0])
            spins = rotate(up * ones, 2 * np.pi * cycles, spins)
            event += 1
    return spins


def signal_of(course, positions, frequencies=0.0, T1=np.inf, T2=np.inf):
    """Signal (samples,) of single spins at some positions [m].

    ``course`` is what ``read_course`` reads from a file, or ``course_of`` makes of repetitions.
    """
    frequencies = np.broadcast_to(frequencies, len(positions))
    spins = np.tile(np.array([0.0, 0.0, 1.0]), (len(positions), 1))
    transverse, along, signal = np.zeros(len(positions), complex), spins[:, 2], []
    for pulse, moment, time, relaxation, is_sample in zip(
        course.pulse, course.moment, course.time, course.relaxation, course.is_sample, strict=True
    ):
        if pulse is not None:
            spins = np.stack([transverse.real, transverse.imag, along], 1)
            spins = _played(pulse, positions, frequencies, spins)
            transverse, along = spins[:, 0] + 1j * spins[:, 1], spins[:, 2]
        turns = positions @ moment + frequencies * time
        transverse = transverse * np.exp(2j * np.pi * turns - relaxation / T2)
        along = 1 + (along - 1) * np.exp(-relaxation / T1)
        if is_sample:
            signal.append(transverse.sum())
    return np.array(signal) * np.exp(1j * np.array(course.receiver_phase))


def _played(pulse, positions, frequencies, spins):
    ones = np.ones((len(positions), 1))
    if pulse.field is None:
        axis = np.array([np.cos(pulse.phase), np.sin(pulse.phase), 0.0])
        return rotate(axis * ones, pulse.angle * ones[:, 0], spins)
    gradients = np.zeros((len(pulse.field), 3)) if pulse.gradient is None else pulse.gradient
    fields = pulse.angle * pulse.field * np.exp(1j * pulse.phase)
    for field, gradient in zip(fields, gradients, strict=True):
        offsets = frequencies + positions @ gradient
        b = np.stack([field.real + 0 * offsets, field.imag + 0 * offsets, offsets], 1)
        size = np.maximum(np.linalg.norm(b, axis=1), 1e-12)
        spins = rotate(b / size[:, None], 2 * np.pi * size * pulse.step, spins)
    return spins


def apart(one, other):
    """Norm of the difference of two signals, relative to the second."""
    return float(np.linalg.norm(one - other) / np.linalg.norm(other))
