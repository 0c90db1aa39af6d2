"""The loops of the isochromat simulation, compiled: one voxel after the other, step by step.

Spins turn by exp(2πi f t), as Pulseq counts frequencies. A pulse is a matrix of SU(2), whose first
column (a, b) takes the transverse magnetisation m (complex) and the longitudinal z to

    m' = a*² m - b² m* + 2 a* b z,    z' = (|a|² - |b|²) z - 2 Re(a* b* m).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

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

# Cells of a voxel along axes across which dephasing is known exactly, a power of 2
CELLS = 2

# The largest angle [rad] that is put into a series, and what the series may leave out
_LARGEST = np.float32(2)
_LEFT_OUT = 1e-5


class PulseKinds(NamedTuple):
    """Kinds of pulses that take their time; those of one kind differ by amplitude and phase.

    Attributes
    ----------
    strongest
        (kinds,) largest amplitude that a spin feels [Hz].
    first_term
        (kinds + 1,) where their terms begin, in `_rotate_by_series`.
    columns, frequency_step
        (kinds,) number of columns of the kind's table, and their distance [Hz]; no columns
        where the gradient changes during the pulse, which then is integrated spin by spin.
    first_entry, tables
        (kinds,) where a (4 terms, columns) table begins in (entries,).
    step
        (kinds,) duration of the pulse's steps [s].
    first_step, field, gradient
        (kinds + 1,) where the steps of a kind begin in (steps,) the complex course relative to
        the amplitude and in (steps, xyz) the gradient [Hz/m].
    """

    strongest: Array
    first_term: Array
    columns: Array
    frequency_step: Array
    first_entry: Array
    tables: Array
    step: Array
    first_step: Array
    field: Array
    gradient: Array


class Spreading(NamedTuple):
    """How spins are spread over a voxel, and what is known without spreading them.

    Attributes
    ----------
    is_spread
        (xyz,) bool: along which axes.
    main
        Number of the main axis, along which crushers wind; -1 where there is none.
    in_proportion
        (xyz and time,) of moments and times to the moment along the main axis [m/m and s m].
    is_known
        Whether what T2' and cells do to samples is known exactly.
    interval
        From pulse to pulse in a train [s]; 0 where there is none.
    left
        (samples,) what is left of a sample by dephasing across cells and voxels.
    time
        (samples,) that T2' has acted for [s], negative before an echo; 0 where spins of all
        frequencies are added up.
    """

    is_spread: Array
    main: int
    in_proportion: Array
    is_known: bool
    interval: float
    left: Array
    time: Array


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
def _add_step(product, across, along):  # type: ignore[no-untyped-def]
    """Multiply rotations by that of a constant field from the left, in place.

    Parameters
    ----------
    product
        (4, columns) Re a, Im a, Re b, Im b.
    across
        π times transverse field (complex) [Hz] times duration [s].
    along
        (columns,) the same of the longitudinal field.
    """
    ax, ay, bx, by = product[0], product[1], product[2], product[3]
    cx, cy = np.float32(across.real), np.float32(across.imag)
    size = cx * cx + cy * cy
    for c in range(len(along)):
        half = np.sqrt(along[c] * along[c] + size) + np.float32(1e-12)
        cosine, sine = _cosine_and_sine(half * np.float32(0.5 / math.pi))
        ratio = sine / half
        sx, sy, ux, uy = cosine, -along[c] * ratio, cy * ratio, -cx * ratio
        ax[c], ay[c], bx[c], by[c] = (
            sx * ax[c] - sy * ay[c] - ux * bx[c] - uy * by[c],
            sx * ay[c] + sy * ax[c] - ux * by[c] + uy * bx[c],
            ux * ax[c] - uy * ay[c] + sx * bx[c] + sy * by[c],
            ux * ay[c] + uy * ax[c] + sx * by[c] - sy * bx[c],
        )


@_compiled
def series_nodes(terms):  # type: ignore[no-untyped-def]
    """Return the amplitudes, relative to the largest, at which a series is determined.

    Squared they are the Chebyshev nodes in (0, 1): what a pulse does is a series in its power.
    """
    return np.sqrt(0.5 + 0.5 * np.cos(math.pi * (np.arange(terms) + 0.5) / terms))


@_compiled
def series_matrix(terms):  # type: ignore[no-untyped-def]
    """Return the (terms, nodes) matrix that makes coefficients of values at the nodes."""
    order = np.arange(terms).reshape(-1, 1)
    matrix = 2 / terms * np.cos(math.pi * order * (np.arange(terms) + 0.5) / terms)
    matrix[0] /= 2
    return matrix


@_compiled
def _place_in_cells(  # type: ignore[no-untyped-def]
    shift, centre, size, main, in_proportion, interval, off_resonance, width,
    position, frequency, equilibrium,
):  # fmt: skip
    """Spread the spins of one voxel evenly along the direction that crushers wind in.

    Each has the same weight. It is in the middle of one of the cells along the other axes, and its
    place along the main axis is such that phases from pulse to pulse are those of a regular
    lattice. Of two frequencies that dephase in the interval between pulses as T2' does it has one.
    """
    count = len(equilibrium)
    equilibrium[:] = 1
    own = 0.0
    if interval > 0:
        dephased = math.exp(-2 * math.pi * width * interval)
        own = math.acos(dephased) / (2 * math.pi * interval)
    for s in range(count):
        frequency[s] = off_resonance + own
        slant, cell = in_proportion[3] * own, s // 2
        own = -own
        for axis in range(3):
            position[axis, s] = centre[axis]
            if axis != main and size[axis] > 0:
                place = ((cell % CELLS + 0.5) / CELLS - 0.5) * size[axis]
                cell //= CELLS
                position[axis, s] += place
                slant += in_proportion[axis] * place
        if main >= 0:
            u = s / count + shift[main] - slant / size[main]
            position[main, s] += (u - math.floor(u) - 0.5) * size[main]


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
def _series_by_table(table, columns, step, gradient, position, frequency, series):  # type: ignore[no-untyped-def]
    """Interpolate the series of pulses under a constant gradient at the spins' frequencies.

    Parameters
    ----------
    table
        (4 terms, columns) flat; the middle column has frequency 0.
    columns
        Their number.
    step
        From column to column [Hz].
    gradient
        (xyz) [Hz/m].
    position, frequency
        (xyz, spins) [m] and (spins,) [Hz].
    series
        (4 terms, spins): what to fill in.
    """
    one, middle = np.float32(1), np.float32((columns - 1) / 2)
    last, per_step = np.float32(columns - 1.01), np.float32(1 / step)
    gx, gy, gz = gradient[0] * per_step, gradient[1] * per_step, gradient[2] * per_step
    count = series.shape[1]
    column, right = np.empty(count, np.uint32), np.empty(count, np.float32)
    for s in range(count):
        place = gx * position[0, s] + gy * position[1, s] + gz * position[2, s]
        place = min(max(place + frequency[s] * per_step + middle, np.float32(0)), last)
        # Without a sign, so that no index counts from the end: only then is this vectorized
        whole = np.int32(place)
        column[s], right[s] = np.uint32(whole), place - np.float32(whole)
    for row in range(series.shape[0]):
        values = table[row * columns : (row + 1) * columns]
        for s in range(count):
            left = column[s]
            series[row, s] = (one - right[s]) * values[left] + right[s] * values[
                left + np.uint32(1)
            ]


@_compiled
def _series_by_steps(  # type: ignore[no-untyped-def]
    field, step, gradient, strongest, position, frequency, series
):
    """Integrate pulses under a gradient that changes, for each spin by itself.

    Parameters
    ----------
    field, gradient
        (steps,) complex course, relative to the amplitude, and (steps, xyz) [Hz/m].
    step
        Duration of each step [s].
    strongest
        The largest amplitude [Hz].
    position, frequency, series
        As for `_series_by_table`.
    """
    count = series.shape[1]
    terms = series.shape[0] // 4
    to_series = series_matrix(terms)
    values, along = np.empty((4, count), np.float32), np.empty(count, np.float32)
    scale = np.float32(math.pi * step)
    series[:] = 0
    nodes = series_nodes(terms)
    for node in range(terms):
        amplitude = strongest * nodes[node]
        values[:] = 0
        values[0] = 1
        for n in range(len(field)):
            gx, gy, gz = gradient[n]
            for s in range(count):
                place = gx * position[0, s] + gy * position[1, s] + gz * position[2, s]
                along[s] = scale * (place + frequency[s])
            _add_step(values, math.pi * step * amplitude * field[n], along)
        for term in range(terms):
            for part in range(4):
                factor = to_series[term, node]
                if part >= 2:
                    factor /= nodes[node]
                for s in range(count):
                    series[4 * term + part, s] += np.float32(factor) * values[part, s]


@_compiled
def _find_series(kinds, k, position, frequency, series):  # type: ignore[no-untyped-def]
    """Fill in what pulses of one kind do to the spins, as `_rotate_by_series` takes it."""
    if kinds.columns[k] > 0:
        first = kinds.first_entry[k]
        table = kinds.tables[first : first + series.shape[0] * kinds.columns[k]]
        _series_by_table(
            table, kinds.columns[k], kinds.frequency_step[k], kinds.gradient[kinds.first_step[k]],
            position, frequency, series,
        )  # fmt: skip
    else:
        steps = slice(kinds.first_step[k], kinds.first_step[k + 1])
        _series_by_steps(
            kinds.field[steps], kinds.step[k], kinds.gradient[steps], kinds.strongest[k],
            position, frequency, series,
        )  # fmt: skip


@_compiled
def _rotate_by_series(m, series, size, phase, product):  # type: ignore[no-untyped-def]
    """Rotate each spin by what a pulse does to it.

    Parameters
    ----------
    m
        (xyz, spins) magnetisation.
    series
        (4 terms, spins): of Re a, Im a, Re b and Im b of a pulse of phase 0 in Chebyshev
        polynomials of 2 size² - 1, for b times the size: a is even in the amplitude, b odd.
    size
        Amplitude, relative to the largest.
    phase
        [rad].
    product
        (4, spins) to work in.

    Sums of series are normalized: not even hundreds of pulses lose magnetisation.
    """
    count = m.shape[1]
    x = 2 * size * size - 1
    before, now = 1.0, x
    for part in range(4):
        for s in range(count):
            product[part, s] = series[part, s]
    for term in range(1, series.shape[0] // 4):
        factor = np.float32(now)
        for part in range(4):
            for s in range(count):
                product[part, s] += factor * series[4 * term + part, s]
        before, now = now, 2 * x * now - before
    one, two = np.float32(1), np.float32(2)
    cosine, sine = np.float32(size * math.cos(phase)), np.float32(size * math.sin(phase))
    square = np.float32(size * size)
    for s in range(count):
        ax, ay, ux, uy = product[0, s], product[1, s], product[2, s], product[3, s]
        norm = one / np.sqrt(ax * ax + ay * ay + square * (ux * ux + uy * uy))
        ax, ay = ax * norm, ay * norm
        bx, by = (ux * cosine - uy * sine) * norm, (ux * sine + uy * cosine) * norm
        px, py = ax * ax - ay * ay, -two * ax * ay
        qx, qy = bx * bx - by * by, two * bx * by
        x, y, z = m[0, s], m[1, s], m[2, s]
        m[0, s] = (px - qx) * x - (py + qy) * y + two * (ax * bx + ay * by) * z
        m[1, s] = (py - qy) * x + (px + qx) * y + two * (ax * by - ay * bx) * z
        m[2, s] = (
            (ax * ax + ay * ay - bx * bx - by * by) * z
            - two * (ax * bx - ay * by) * x
            - two * (ax * by + ay * bx) * y
        )


@_compiled
def _turn_back(m, frequency, off_resonance, time, seen):  # type: ignore[no-untyped-def]
    """Fill in transverse magnetisation without what spins' own frequencies did in a time [s]."""
    turns = np.float32(time)
    for s in range(len(frequency)):
        cosine, sine = _cosine_and_sine(turns * (frequency[s] - np.float32(off_resonance)))
        seen[0, s] = m[0, s] * cosine + m[1, s] * sine
        seen[1, s] = m[1, s] * cosine - m[0, s] * sine


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
    moment, time, relaxation, is_new, samples, sample_moment, sample_time, sample_relaxation,
    spreading,
    pulse, angle, phase, turn, channels, kind, kinds, signal,
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
    spreading
        How spins are spread, and what is left of samples.
    pulse
        (steps,) number of the pulse that the step begins with, -1 where there is none.
    angle, phase, turn
        (pulses,) nominal angle [rad], or amplitude [Hz] of one that takes its time; phase [rad];
        turn about z after a rotation at once [rad].
    channels
        (pulses, channels) complex weights of the transmit channels.
    kind
        (pulses,) which of the kinds it is, -1 for a rotation at once.
    kinds
        Pulses of the same course at different amplitudes, as `PulseKinds`.
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
    strongest, first_term = kinds.strongest, kinds.first_term
    in_series = np.empty(4 * first_term[-1] * most, np.float32)
    for v in range(voxels):
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
                _place_in_cells(
                    shift[seed, v], centre[v], size, spreading.main, spreading.in_proportion,
                    spreading.interval, off_resonance[v], width[v],
                    position, frequency, equilibrium,
                )  # fmt: skip
            else:
                _place_spins(
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
                _find_series(
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
                        after = complex(math.cos(turn[p] / 2), math.sin(turn[p] / 2))
                        _rotate(m, math.cos(half) / after, math.sin(half) * axis * after)
                    else:
                        k = kind[p]
                        first = 4 * first_term[k] * count
                        rows = 4 * (first_term[k + 1] - first_term[k])
                        _rotate_by_series(
                            m, series[first : first + rows * count].reshape(rows, count),
                            angle[p] * abs(field) / strongest[k], turned, product,
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
                            off_resonance[v], seen_position, seen_frequency, turns, is_near, far,
                        )  # fmt: skip
                        prepared = e
                    here = slice(sample, sample + samples[e])
                    if spreading.is_known and spreading.interval > 0:
                        _turn_back(
                            m, frequency, off_resonance[v], spreading.time[here].mean(), seen
                        )
                    else:
                        seen[:] = m[:2]
                    _read_out(
                        seen, turns, is_near, far, outside, terms, sample_moment[e],
                        sample_time[e], np.float32(-sample_relaxation[e] * R2[v]), centre[v],
                        off_resonance[v], seen_position, seen_frequency, scratch,
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


@_compiled
def pulse_table(field, step, amplitudes, frequencies):  # type: ignore[no-untyped-def]
    """Integrate a pulse at all amplitudes and frequencies.

    Parameters
    ----------
    field
        (steps,) complex field of the pulse, relative to its amplitude.
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
    product = np.empty((4, len(frequencies)), np.float32)
    along = (math.pi * step * frequencies).astype(np.float32)
    for row in range(len(amplitudes)):
        product[:] = 0
        product[0] = 1
        for n in range(len(field)):
            _add_step(product, math.pi * step * amplitudes[row] * field[n], along)
        for part in range(4):
            table[row, :, part] = product[part]
    return table
