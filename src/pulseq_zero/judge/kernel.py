"""The loops of the isochromat simulation, compiled: one voxel after the other, step by step.

Spins turn by exp(2πi f t), as Pulseq counts frequencies; `pulse_series` says what pulses do.
"""

# Compiled functions have no annotations: numba derives the types from the arguments.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import math

import numpy as np

from pulseq_zero.judge.placing import place_in_cells, place_spins
from pulseq_zero.judge.pulse_series import find_series, rotate_by_series
from pulseq_zero.judge.reading_out import is_alike, prepare_readout, read_out, turn_back
from pulseq_zero.judge.trigonometry import compiled, cosine_and_sine, inlined


@inlined
def rotate(m, a, b):
    """Rotate all spins of a voxel alike."""
    p, q, r, t = a.conjugate() ** 2, b**2, 2 * a.conjugate() * b, 2 * (a * b).conjugate()
    xx, xy, xz = np.float32(p.real - q.real), np.float32(-p.imag - q.imag), np.float32(r.real)
    yx, yy, yz = np.float32(p.imag - q.imag), np.float32(p.real + q.real), np.float32(r.imag)
    zx, zy, zz = np.float32(-t.real), np.float32(t.imag), np.float32(abs(a) ** 2 - abs(b) ** 2)
    for s in range(m.shape[1]):
        x, y, z = m[0, s], m[1, s], m[2, s]
        m[0, s] = xx * x + xy * y + xz * z
        m[1, s] = yx * x + yy * y + yz * z
        m[2, s] = zx * x + zy * y + zz * z


@compiled
def simulate_voxels(shift, spins, size, voxels, spreading, steps, pulses, kinds, signal):
    """Add the signal of all voxels, for each of the seeds that shifts are given for.

    Parameters
    ----------
    shift
        (seeds, voxels, 4) shifts of the spins' lattice.
    spins
        (voxels,) number of spins.
    size
        (xyz,) of the voxels [m]; zero where no spins are to be spread.
    voxels, spreading, steps, pulses, kinds
        As `arrays` has them: the phantom, how spins are spread and what is left of samples, the
        course, and the pulses that take their time.
    signal
        (seeds, samples, coils) complex: what to add to.

    Returns
    -------
    array
        (voxels,) squared norm of the difference that the first two seeds make in the signal.
    """
    seeds, most = shift.shape[0], spins.max()
    centre, off_resonance, width = voxels.centre, voxels.off_resonance, voxels.width
    R1, R2, transmit, weight = voxels.R1, voxels.R2, voxels.transmit, voxels.weight
    moment, time, relaxation = steps.moment, steps.time, steps.relaxation
    is_new, samples, pulse = steps.is_new, steps.samples, steps.pulse
    angle, phase, kind, channels = pulses.angle, pulses.phase, pulses.kind, pulses.channels
    others, far = np.empty((6, most), np.float32), np.empty(most, np.int64)
    scratch = np.empty((6, max(most, samples.max() if len(samples) else 0)), np.float32)
    found = np.empty((seeds, signal.shape[1]), np.complex64)
    difference = np.zeros(len(spins))
    strongest, first_term = kinds.strongest, kinds.first_term
    in_series = np.empty(4 * first_term[-1] * most, np.float32)
    for v in range(len(spins)):
        count = spins[v]
        # Exactly as large as they are, so that they are known to lie without gaps
        m, position = np.empty((3, count), np.float32), np.empty((3, count), np.float32)
        frequency, equilibrium = others[0, :count], others[1, :count]
        cosine, sine = others[2, :count], others[3, :count]
        turns, is_near = others[4, :count], others[5, :count]
        seen, seen_position = np.empty((2, count), np.float32), np.empty((3, count), np.float32)
        seen_frequency = np.empty(count, np.float32)
        product, series = np.empty((4, count), np.float32), in_series[: 4 * first_term[-1] * count]
        for seed in range(seeds):
            if spreading.is_known:
                place_in_cells(
                    shift[seed, v], centre[v], size, spreading.main, spreading.in_proportion,
                    spreading.interval, off_resonance[v], width[v],
                    position, frequency, equilibrium,
                )  # fmt: skip
            else:
                place_spins(
                    shift[seed, v], centre[v], size, off_resonance[v], width[v],
                    position, frequency, equilibrium,
                )  # fmt: skip
            seen_position[:], seen_frequency[:] = position, frequency
            if spreading.is_known:
                # Samples see them where and as they are without frequencies of their own
                seen_frequency[:] = off_resonance[v]
                if spreading.main >= 0:
                    seen_position[spreading.main] += np.float32(spreading.in_proportion[3]) * (
                        frequency - np.float32(off_resonance[v])
                    )
            for k in range(len(strongest)):
                first, rows = 4 * first_term[k] * count, 4 * (first_term[k + 1] - first_term[k])
                find_series(
                    kinds, k, position, frequency,
                    series[first : first + rows * count].reshape(rows, count),
                )  # fmt: skip
            m[:2] = 0
            m[2] = equilibrium
            sample, since_pulse, prepared, outside, terms = 0, 0.0, -1, 0, 0
            for e in range(len(time)):
                p = pulse[e]
                if p >= 0:
                    decay, since_pulse = np.float32(math.exp(-since_pulse * R1[v])), 0.0
                    for s in range(count):
                        m[2, s] = equilibrium[s] + (m[2, s] - equilibrium[s]) * decay
                    field = 0j
                    for channel in range(transmit.shape[1]):
                        field += transmit[v, channel] * channels[p, channel]
                    turned = phase[p] + math.atan2(field.imag, field.real)
                    if kind[p] < 0:
                        half = 0.5 * angle[p] * abs(field)
                        axis = complex(math.sin(turned), -math.cos(turned))
                        after = complex(math.cos(pulses.turn[p] / 2), math.sin(pulses.turn[p] / 2))
                        rotate(m, math.cos(half) / after, math.sin(half) * axis * after)
                    else:
                        k = kind[p]
                        first = 4 * first_term[k] * count
                        rows = 4 * (first_term[k + 1] - first_term[k])
                        rotate_by_series(
                            m, series[first : first + rows * count].reshape(rows, count),
                            angle[p] * abs(field) / strongest[k], turned, product,
                        )  # fmt: skip
                if is_new[e]:
                    kx, ky, kz = moment[e, 0], moment[e, 1], moment[e, 2]
                    for s in range(count):
                        cosine[s], sine[s] = cosine_and_sine(
                            position[0, s] * kx + position[1, s] * ky + position[2, s] * kz
                            + frequency[s] * time[e]
                        )  # fmt: skip
                since_pulse += relaxation[e]
                decay = np.float32(math.exp(-relaxation[e] * R2[v]))
                for s in range(count):
                    x, y = m[0, s], m[1, s]
                    m[0, s] = decay * (x * cosine[s] - y * sine[s])
                    m[1, s] = decay * (y * cosine[s] + x * sine[s])
                if samples[e] > 0:
                    if prepared < 0 or not is_alike(steps, e, prepared):
                        outside, terms = prepare_readout(
                            steps.sample_moment[e], steps.sample_time[e], samples[e], centre[v],
                            off_resonance[v], seen_position, seen_frequency, turns, is_near, far,
                        )  # fmt: skip
                        prepared = e
                    here = slice(sample, sample + samples[e])
                    if spreading.is_known and spreading.interval > 0:
                        turn_back(m, frequency, off_resonance[v], spreading.time[here].mean(), seen)
                    else:
                        seen[:] = m[:2]
                    read_out(
                        seen, turns, is_near, far, outside, terms, steps.sample_moment[e],
                        steps.sample_time[e], np.float32(-steps.sample_relaxation[e] * R2[v]),
                        centre[v], off_resonance[v], seen_position, seen_frequency, scratch,
                        found[seed, here],
                    )  # fmt: skip
                    sample += samples[e]
            for n in range(found.shape[1]):
                dephased = 2 * math.pi * width[v] * abs(spreading.time[n])
                found[seed, n] *= spreading.left[n] * math.exp(-dephased)
        for coil in range(weight.shape[1]):
            for seed in range(seeds):
                for sample in range(found.shape[1]):
                    signal[seed, sample, coil] += weight[v, coil] * found[seed, sample]
            if seeds > 1:
                apart = 0.0
                for sample in range(found.shape[1]):
                    apart += abs(found[0, sample] - found[1, sample]) ** 2
                difference[v] += abs(weight[v, coil]) ** 2 * apart
    return difference
