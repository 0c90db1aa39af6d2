"""The loops of the isochromat simulation, compiled: one voxel after the other, step by step.

Spins turn by exp(2πi f t), as Pulseq counts frequencies. A pulse is a matrix of SU(2), whose first
column (a, b) takes the transverse magnetisation m (complex) and the longitudinal z to

    m' = a*² m - b² m* + 2 a* b z,    z' = (|a|² - |b|²) z - 2 Re(a* b* m).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

Array = np.ndarray[Any, Any]

# Taylor series of sin πx and cos πx for |x| <= 1/2: what is left out is below 1e-9.
_SINE = tuple((-1.0) ** n * math.pi ** (2 * n + 1) / math.factorial(2 * n + 1) for n in range(7))
_COSINE = tuple((-1.0) ** n * math.pi ** (2 * n) / math.factorial(2 * n) for n in range(8))

# Generator of the lattice of spins: they lie at (s g, s g², s, s g³) / n modulo 1 in x, y, z and
# the quantile of T2' (Korobov's form), evenly along z, where crushers wind most. Of the few
# numbers that were tried, seeds scattered least with this one. Axes that no spins are spread over
# take no power of g.
_GENERATOR = 14471

# The largest angle [rad] that is put into a series, and what the series may leave out
_LARGEST = np.float32(2)
_LEFT_OUT = 1e-5

_compiled = njit(cache=True, fastmath=True, nogil=True)


@njit(cache=True, fastmath=True, nogil=True, inline="always")
def _cosine_and_sine(turns):  # type: ignore[no-untyped-def]
    """Of 2π turns, by the double angle; in this form a compiler vectorizes it."""
    x = turns - np.rint(turns)
    square = x * x
    sine, cosine = np.float32(_SINE[6]), np.float32(_COSINE[7])
    for n in range(5, -1, -1):
        sine = sine * square + np.float32(_SINE[n])
    for n in range(6, -1, -1):
        cosine = cosine * square + np.float32(_COSINE[n])
    sine *= x
    return np.float32(1) - np.float32(2) * sine * sine, np.float32(2) * sine * cosine


@_compiled
def _place_spins(  # type: ignore[no-untyped-def]
    shift, centre, size, off_resonance, width, position, frequency, equilibrium
):
    """Spread the spins of one voxel over a lattice in (x, y, z, quantile) with a random shift.

    In x, y and the quantile of T2', points lie denser towards the edges, by u -> 3u² - 2u³,
    and each stands for as much less: this makes the integrand periodic, which is what lattices
    integrate well, and samples the tails of the frequencies.
    """
    count = len(equilibrium)
    for s in range(count):
        weight, generator = 1.0, _GENERATOR % count
        multiple = generator
        for axis in range(4):
            if axis < 3 and size[axis] == 0:
                position[axis, s] = centre[axis]
                continue
            u = (s if axis == 2 else (s * multiple) % count) / count + shift[axis]
            u -= math.floor(u)
            if axis != 2:
                multiple = (multiple * generator) % count
                weight *= 6 * u * (1 - u)
                u = u * u * (3 - 2 * u)
            if axis < 3:
                position[axis, s] = centre[axis] + (u - 0.5) * size[axis]
            else:
                # A quantile of exactly 0 or 1 would be an infinite frequency
                u = min(max(u, 1e-9), 1 - 1e-9)
                frequency[s] = off_resonance + width * math.tan(math.pi * (u - 0.5))
        equilibrium[s] = weight
    equilibrium /= equilibrium.mean()


@_compiled
def _rotate(m, a, b):  # type: ignore[no-untyped-def]
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


@_compiled
def _rotate_by_table(  # type: ignore[no-untyped-def]
    m, table, shape, row, phase, gradient, position, frequency, step
):
    """Rotate each spin by what a pulse does at its frequency.

    The table (4, entries) holds Re a, Im a, Re b, Im b of all kinds of pulses at phase 0; the shape
    says where this kind's begins, and its numbers of rows, of equal amplitude, and of columns, of
    which the middle one has frequency 0. Interpolated rotations are normalized: not even hundreds
    of pulses lose magnetisation.
    """
    first, rows, columns = shape
    lower = min(int(row), rows - 2)
    above = np.float32(row - lower)
    below, one = np.float32(1) - above, np.float32(1)
    cosine, sine = np.float32(math.cos(phase)), np.float32(math.sin(phase))
    middle = np.float32((columns - 1) / 2)
    last = np.float32(columns - 1.01)
    per_step = np.float32(1 / step)
    gx, gy, gz = gradient[0] * per_step, gradient[1] * per_step, gradient[2] * per_step
    a_real, a_imaginary, b_real, b_imaginary = table[0], table[1], table[2], table[3]
    start, columns = np.uint32(first + lower * columns), np.uint32(columns)
    for s in range(m.shape[1]):
        place = gx * position[0, s] + gy * position[1, s] + gz * position[2, s]
        place = min(max(place + frequency[s] * per_step + middle, np.float32(0)), last)
        # Without a sign, so that no index counts from the end: only then is this vectorized
        column = np.int32(place)
        right = place - np.float32(column)
        lower_left = start + np.uint32(column)
        lower_right = lower_left + np.uint32(1)
        upper_left, upper_right = lower_left + columns, lower_right + columns
        w00, w01 = below * (one - right), below * right
        w10, w11 = above * (one - right), above * right
        ax = (
            w00 * a_real[lower_left] + w01 * a_real[lower_right]
            + w10 * a_real[upper_left] + w11 * a_real[upper_right]
        )  # fmt: skip
        ay = (
            w00 * a_imaginary[lower_left] + w01 * a_imaginary[lower_right]
            + w10 * a_imaginary[upper_left] + w11 * a_imaginary[upper_right]
        )  # fmt: skip
        ux = (
            w00 * b_real[lower_left] + w01 * b_real[lower_right]
            + w10 * b_real[upper_left] + w11 * b_real[upper_right]
        )  # fmt: skip
        uy = (
            w00 * b_imaginary[lower_left] + w01 * b_imaginary[lower_right]
            + w10 * b_imaginary[upper_left] + w11 * b_imaginary[upper_right]
        )  # fmt: skip
        norm = one / np.sqrt(ax * ax + ay * ay + ux * ux + uy * uy)
        ax, ay = ax * norm, ay * norm
        bx, by = (ux * cosine - uy * sine) * norm, (ux * sine + uy * cosine) * norm
        px, py = ax * ax - ay * ay, np.float32(-2) * ax * ay
        qx, qy = bx * bx - by * by, np.float32(2) * bx * by
        x, y, z = m[0, s], m[1, s], m[2, s]
        two = np.float32(2)
        m[0, s] = (px - qx) * x - (py + qy) * y + two * (ax * bx + ay * by) * z
        m[1, s] = (py - qy) * x + (px + qx) * y + two * (ax * by - ay * bx) * z
        m[2, s] = (
            (ax * ax + ay * ay - bx * bx - by * by) * z
            - two * (ax * bx - ay * by) * x
            - two * (ax * by + ay * bx) * y
        )


@_compiled
def _prepare_readout(  # type: ignore[no-untyped-def]
    moment, time, samples, centre, off_resonance, position, frequency, turned, is_near, far
):
    """See by how much each spin turns in half a readout, beyond what its voxel's middle does.

    Fills in the angles [rad] and which of them are small enough for a series; returns the number of
    the others, whose indices are filled in, and of the terms that the series needs.
    """
    half = np.float32(math.pi * (samples - 1))
    kx, ky, kz = half * moment[0], half * moment[1], half * moment[2]
    kt = half * time
    own = np.float32(kx * centre[0] + ky * centre[1] + kz * centre[2] + kt * off_resonance)
    largest = np.float32(0)
    for s in range(len(frequency)):
        angle = kx * position[0, s] + ky * position[1, s] + kz * position[2, s]
        angle += kt * frequency[s] - own
        near = abs(angle) < _LARGEST
        turned[s] = angle if near else np.float32(0)
        is_near[s] = np.float32(1) if near else np.float32(0)
        largest = max(largest, abs(turned[s]))
    others = 0
    for s in range(len(frequency)):
        if is_near[s] == 0:
            far[others] = s
            others += 1
    terms, left_out = 1, largest
    while left_out > _LEFT_OUT:
        terms += 1
        left_out *= largest / terms
    return others, terms


@_compiled
def _read_out(  # type: ignore[no-untyped-def]
    m, turned, is_near, far, others, terms, moment, time, decay, centre, off_resonance,
    position, frequency, scratch, found,
):  # fmt: skip
    """Take equidistant samples of magnetisation that stands as in the middle of them.

    A spin turns from there by an angle wx, x going from -1 to 1. The series of exp(iwx) makes
    moments of w of the sum over spins, so that spins need not be turned sample by sample; few
    have too wide a frequency for that.
    """
    samples = len(found)
    real, imaginary = scratch[0, :samples], scratch[1, :samples]
    power, place = scratch[2, :samples], scratch[3, :samples]
    weighted_x, weighted_y = scratch[4, : m.shape[1]], scratch[5, : m.shape[1]]
    half = np.float32((samples - 1) / 2)
    for j in range(samples):
        place[j] = (np.float32(j) - half) / max(half, np.float32(0.5))
        power[j] = np.float32(1)
        real[j] = imaginary[j] = np.float32(0)
    for s in range(m.shape[1]):
        weighted_x[s], weighted_y[s] = m[0, s] * is_near[s], m[1, s] * is_near[s]
    for term in range(terms):
        sum_x = sum_y = np.float32(0)
        next_ = np.float32(1 / (term + 1))
        for s in range(m.shape[1]):
            x, y = weighted_x[s], weighted_y[s]
            sum_x += x
            sum_y += y
            # Times i w / n
            factor = turned[s] * next_
            weighted_x[s], weighted_y[s] = -y * factor, x * factor
        for j in range(samples):
            real[j] += power[j] * sum_x
            imaginary[j] += power[j] * sum_y
            power[j] *= place[j]
    kx, ky, kz = moment[0], moment[1], moment[2]
    own = np.float32(kx * centre[0] + ky * centre[1] + kz * centre[2] + time * off_resonance)
    for j in range(samples):
        cosine, sine = _cosine_and_sine((np.float32(j) - half) * own)
        x, y = real[j], imaginary[j]
        real[j], imaginary[j] = x * cosine - y * sine, y * cosine + x * sine
    for n in range(others):
        s = far[n]
        turns = kx * position[0, s] + ky * position[1, s] + kz * position[2, s]
        turns += time * frequency[s]
        x, y = m[0, s], m[1, s]
        for j in range(samples):
            cosine, sine = _cosine_and_sine((np.float32(j) - half) * turns)
            real[j] += x * cosine - y * sine
            imaginary[j] += y * cosine + x * sine
    for j in range(samples):
        scale = np.exp((np.float32(j) - half) * decay) / np.float32(m.shape[1])
        found[j] = complex(real[j] * scale, imaginary[j] * scale)


@_compiled
def _is_alike(step, other, samples, moment, time):  # type: ignore[no-untyped-def]
    """Whether spins turn alike in two readouts."""
    return (
        samples[step] == samples[other]
        and time[step] == time[other]
        and moment[step, 0] == moment[other, 0]
        and moment[step, 1] == moment[other, 1]
        and moment[step, 2] == moment[other, 2]
    )


@_compiled
def simulate_voxels(  # type: ignore[no-untyped-def]
    shift, spins, centre, size, off_resonance, width, R1, R2, transmit, weight,
    moment, time, relaxation, is_new, samples, sample_moment, sample_time, sample_relaxation, share,
    pulse, angle, phase, turn, channels, gradient, kind, tables, table_shape, table_step,
    signal,
):  # fmt: skip
    """Add the signal of all voxels, for each of the seeds that shifts are given for.

    Parameters
    ----------
    shift
        (seeds, voxels, 4) shifts of the spins' lattice.
    spins
        (voxels,) number of spins.
    centre, size
        (voxels, xyz) and (xyz,) of the voxels [m]; zero where no spins are to be spread.
    off_resonance, width
        (voxels,) centre and half width at half maximum of the spins' frequencies [Hz].
    R1, R2
        (voxels,) [1/s].
    transmit
        (voxels, channels) complex transmit field, relative to the nominal one.
    weight
        (voxels, coils) complex: what a voxel's mean magnetisation adds to the signal.
    moment, time, relaxation
        (steps, xyz) [1/m] and (steps,) [s]: gradient, precession and relaxation of a step.
    is_new, samples
        (steps,) whether a step differs from the one before, and how many samples are taken around
        its end, equidistant in time and k-space.
    sample_moment, sample_time, sample_relaxation
        (steps, xyz) [1/m] and (steps,) [s]: gradient, precession and relaxation from one
        sample to the next.
    share
        (samples,) what is left of a sample by dephasing across axes that no spins are spread over.
    pulse
        (steps,) number of the pulse that the step begins with, -1 where there is none.
    angle, phase, turn
        (pulses,) nominal angle [rad], or amplitude [Hz] of a pulse with a table; phase [rad]; turn
        about z after a rotation at once [rad].
    channels
        (pulses, channels) complex weights of the transmit channels.
    gradient
        (pulses, xyz) gradient that is on during the pulse [Hz/m].
    kind
        (pulses,) number of its table, -1 for a rotation at once.
    tables
        (4, entries) the tables of `pulse_table`, one behind the other.
    table_shape, table_step
        (kinds, 3) where a table begins, and its numbers of amplitudes and frequencies;
        (kinds, 2) its steps of amplitude and of frequency [Hz].
    signal
        (seeds, samples, coils) complex: what to add to.

    Returns
    -------
    array
        (voxels,) squared norm of the difference that the first two seeds make in the signal.
    """
    seeds, voxels, most = shift.shape[0], len(spins), spins.max()
    others, far = np.empty((6, most), np.float32), np.empty(most, np.int64)
    scratch = np.empty((6, max(most, samples.max() if len(samples) else 0)), np.float32)
    found = np.empty((seeds, signal.shape[1]), np.complex64)
    difference = np.zeros(voxels)
    for v in range(voxels):
        count = spins[v]
        # Exactly as large as they are, so that they are known to lie without gaps
        m, position = np.empty((3, count), np.float32), np.empty((3, count), np.float32)
        frequency, equilibrium = others[0, :count], others[1, :count]
        cosine, sine = others[2, :count], others[3, :count]
        turns, is_near = others[4, :count], others[5, :count]
        for seed in range(seeds):
            _place_spins(
                shift[seed, v], centre[v], size, off_resonance[v], width[v],
                position, frequency, equilibrium,
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
                        after = complex(math.cos(turn[p] / 2), math.sin(turn[p] / 2))
                        _rotate(m, math.cos(half) / after, math.sin(half) * axis * after)
                    else:
                        row = angle[p] * abs(field) / table_step[kind[p], 0]
                        _rotate_by_table(
                            m, tables, table_shape[kind[p]], row, turned, gradient[p],
                            position, frequency, table_step[kind[p], 1],
                        )  # fmt: skip
                if is_new[e]:
                    kx, ky, kz = moment[e, 0], moment[e, 1], moment[e, 2]
                    for s in range(count):
                        cosine[s], sine[s] = _cosine_and_sine(
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
                    if prepared < 0 or not _is_alike(
                        e, prepared, samples, sample_moment, sample_time
                    ):
                        outside, terms = _prepare_readout(
                            sample_moment[e], sample_time[e], samples[e], centre[v],
                            off_resonance[v], position, frequency, turns, is_near, far,
                        )  # fmt: skip
                        prepared = e
                    _read_out(
                        m, turns, is_near, far, outside, terms, sample_moment[e], sample_time[e],
                        np.float32(-sample_relaxation[e] * R2[v]), centre[v], off_resonance[v],
                        position, frequency, scratch, found[seed, sample : sample + samples[e]],
                    )  # fmt: skip
                    sample += samples[e]
            for n in range(found.shape[1]):
                found[seed, n] *= share[n]
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


@_compiled
def pulse_table(field, step, amplitudes, frequencies):  # type: ignore[no-untyped-def]
    """Integrate a pulse at all amplitudes and frequencies.

    Parameters
    ----------
    field
        (steps,) complex course of the pulse, relative to its amplitude.
    step
        Duration of each of its steps [s].
    amplitudes, frequencies
        [Hz].

    Returns
    -------
    array
        (amplitudes, frequencies, 4) Re a, Im a, Re b, Im b. In each step the field is constant,
        so that its rotation about the axis (Re b, Im b, f) is exact.
    """
    table = np.empty((len(amplitudes), len(frequencies), 4), np.float32)
    columns = len(frequencies)
    product = np.empty((4, columns), np.float32)
    ax, ay, bx, by = product[0], product[1], product[2], product[3]
    along = (math.pi * step * frequencies).astype(np.float32)
    for row in range(len(amplitudes)):
        product[:] = 0
        ax[:] = 1
        for n in range(len(field)):
            across = math.pi * step * amplitudes[row] * field[n]
            cx, cy = np.float32(across.real), np.float32(across.imag)
            size = cx * cx + cy * cy
            for c in range(columns):
                half = math.sqrt(along[c] * along[c] + size) + np.float32(1e-12)
                cosine, sine = _cosine_and_sine(half * np.float32(0.5 / math.pi))
                ratio = sine / half
                # This step's (a, b), then their product with what came before
                sx, sy, ux, uy = cosine, -along[c] * ratio, cy * ratio, -cx * ratio
                ax[c], ay[c], bx[c], by[c] = (
                    sx * ax[c] - sy * ay[c] - ux * bx[c] - uy * by[c],
                    sx * ay[c] + sy * ax[c] - ux * by[c] + uy * bx[c],
                    ux * ax[c] - uy * ay[c] + sx * bx[c] + sy * by[c],
                    ux * ay[c] + uy * ax[c] + sx * by[c] - sy * bx[c],
                )
        for part in range(4):
            table[row, :, part] = product[part]
    return table
