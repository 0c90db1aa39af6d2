"""What pulses that take their time do to spins: series in their amplitude, by frequency.

A pulse is a matrix of SU(2), whose first column (a, b) takes the transverse magnetisation m
(complex) and the longitudinal z to

    m' = a*² m - b² m* + 2 a* b z,    z' = (|a|² - |b|²) z - 2 Re(a* b* m).
"""

# Compiled functions have no annotations: numba derives the types from the arguments.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import math

import numpy as np

from pulseq_zero.judge.trigonometry import compiled, cosine_and_sine, inlined


@inlined
def series_nodes(terms):
    """Return the amplitudes, relative to the largest, at which a series is determined.

    Squared they are the Chebyshev nodes in (0, 1): what a pulse does is a series in its power.
    """
    return np.sqrt(0.5 + 0.5 * np.cos(math.pi * (np.arange(terms) + 0.5) / terms))


@inlined
def series_matrix(terms):
    """Return the (terms, nodes) matrix that makes coefficients of values at the nodes."""
    order = np.arange(terms).reshape(-1, 1)
    matrix = 2 / terms * np.cos(math.pi * order * (np.arange(terms) + 0.5) / terms)
    matrix[0] /= 2
    return matrix


@inlined
def add_step(product, across, along):
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
        cosine, sine = cosine_and_sine(half * np.float32(0.5 / math.pi))
        ratio = sine / half
        sx, sy, ux, uy = cosine, -along[c] * ratio, cy * ratio, -cx * ratio
        ax[c], ay[c], bx[c], by[c] = (
            sx * ax[c] - sy * ay[c] - ux * bx[c] - uy * by[c],
            sx * ay[c] + sy * ax[c] - ux * by[c] + uy * bx[c],
            ux * ax[c] - uy * ay[c] + sx * bx[c] + sy * by[c],
            ux * ay[c] + uy * ax[c] + sx * by[c] - sy * bx[c],
        )


@compiled
def pulse_table(field, step, amplitudes, frequencies):
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
            add_step(product, math.pi * step * amplitudes[row] * field[n], along)
        for part in range(4):
            table[row, :, part] = product[part]
    return table


@inlined
def _series_by_table(table, columns, step, gradient, position, frequency, series):
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


@inlined
def _series_by_steps(field, step, gradient, strongest, position, frequency, series):
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
            add_step(values, math.pi * step * amplitude * field[n], along)
        for term in range(terms):
            for part in range(4):
                factor = to_series[term, node]
                if part >= 2:
                    factor /= nodes[node]
                for s in range(count):
                    series[4 * term + part, s] += np.float32(factor) * values[part, s]


@inlined
def find_series(kinds, k, position, frequency, series):
    """Fill in what pulses of one kind do to the spins, as `rotate_by_series` takes it."""
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


@inlined
def rotate_by_series(m, series, size, phase, product):
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
