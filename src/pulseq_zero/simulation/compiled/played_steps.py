"""Steps of the compiled loops that differ where pulses are played, beside `rotation_steps`.

A pulse is an element (a, b) of SU(2) in every cell of every voxel. With ā the conjugate of a it
makes, of ancestors m,

- ++: ā² · m,  -+: -b² · m*,  z+: √2 ā b · m
- zz: (|a|² - |b|²) · m,  +z: -√2 ā b̄ · m,  -z: -√2 a b · m*

which is `propagation`'s rotation where a = cos(θ/2) and b = -i sin(θ/2) exp(iφ). States lie in the
frame of the scanner throughout. A gradient g = ∂L/∂Re + i ∂L/∂Im of f x is ḡ-linear: conj(f) g for
x and conj(x) g for f.
"""

# Compiled functions have no annotations: numba derives the types from the arguments.
# mypy: disable-error-code="no-untyped-def, call-arg"

from __future__ import annotations

import numpy as np
from numba import njit

from pulseq_zero.simulation.compiled.block import BLOCK, inlined, row_of, unsigned
from pulseq_zero.simulation.kernel_math import sine_and_cosine, wide_vectors

# Where the rows of a pulse begin: its factors, real and imaginary parts.
PULSE_ROWS = 9
_PP, _PPI, _MP, _MPI, _ZP, _ZPI, _PZ, _PZI, _ZZ = range(0, PULSE_ROWS * BLOCK, BLOCK)
# Likewise of a and b.
SPINOR_ROWS = 4
_A, _AI, _B, _BI = range(0, SPINOR_ROWS * BLOCK, BLOCK)

_ZERO, _ONE, _TWO = np.float32(0), np.float32(1), np.float32(2)
_ROOT_TWO = np.float32(np.sqrt(2.0))
_PER_TURN = np.float32(0.5 / np.pi)
_TURN = np.float32(2 * np.pi)


@inlined
def load_basis(rows, masks, present, basis, layer, start, size):
    """Fill the rows of polynomials in each of the layers that a block has voxels in.

    ``masks`` receives a row of ones and zeros for each of them, ``present`` their numbers; returns
    how many there are. Rows of layers lie behind each other, in them those of shims.
    """
    wide_vectors()
    found = 0
    for v in range(size):
        known = False
        for place in range(found):
            known |= present[place] == layer[start + v]
        if not known:
            present[found] = layer[start + v]
            found += 1
    shims, terms, _ = basis.shape
    for place in range(found):
        for v in range(BLOCK):
            masks[place, v] = _ZERO
        for v in range(size):
            if layer[start + v] == present[place]:
                masks[place, v] = _ONE
        for row in range(shims * terms):
            target = place * shims * terms + row
            for v in range(BLOCK):
                rows[target, v] = _ZERO
            for v in range(size):
                u = unsigned(start + v)
                rows[target, v] = masks[place, v] * basis[row // terms, row % terms, u]
    return found


@inlined
def make_spinors(
    spinor, coefficients, cell, pulse, rows, present, found, shims, shim, phase, field
):
    """Fill the rows of a and b of a pulse in a cell; b turned by pulse and field."""
    wide_vectors()
    terms = coefficients.shape[4]
    for v in range(SPINOR_ROWS * BLOCK):
        spinor[v] = _ZERO
    for place in range(found):
        of_pulse = coefficients[present[place], cell, pulse]
        first = (place * shims + shim) * terms
        for term in range(terms):
            ar, ai, br, bi = (
                of_pulse[0, term], of_pulse[1, term], of_pulse[2, term], of_pulse[3, term]
            )  # fmt: skip
            for v in range(BLOCK):
                value = rows[first + term, v]
                spinor[_A + v] += ar * value
                spinor[_AI + v] += ai * value
                spinor[_B + v] += br * value
                spinor[_BI + v] += bi * value
    for v in range(BLOCK):
        turns = _PER_TURN * (phase + field[shim, BLOCK + v])
        sine, cosine = sine_and_cosine(turns - np.rint(turns))
        br, bi = spinor[_B + v], spinor[_BI + v]
        spinor[_B + v] = cosine * br - sine * bi
        spinor[_BI + v] = cosine * bi + sine * br


@inlined
def make_factors(pulse, spinor):
    """Fill the rows of a pulse's factors."""
    wide_vectors()
    for v in range(BLOCK):
        ar, ai, br, bi = spinor[_A + v], spinor[_AI + v], spinor[_B + v], spinor[_BI + v]
        pulse[_PP + v], pulse[_PPI + v] = ar * ar - ai * ai, -_TWO * ar * ai
        pulse[_MP + v], pulse[_MPI + v] = bi * bi - br * br, -_TWO * br * bi
        pulse[_ZP + v] = _ROOT_TWO * (ar * br + ai * bi)
        pulse[_ZPI + v] = _ROOT_TWO * (ar * bi - ai * br)
        pulse[_PZ + v] = _ROOT_TWO * (ai * bi - ar * br)
        pulse[_PZI + v] = _ROOT_TWO * (ar * bi + ai * br)
        pulse[_ZZ + v] = ar * ar + ai * ai - br * br - bi * bi


@inlined
def play(pulse, before, first, after, rounds, begin, middle, stop, adding):
    """Make the states after a pulse, or add to them; as `rotation_steps.rotate`."""
    wide_vectors()
    last = len(before) - 1
    for n in range(begin, middle):
        state, a = unsigned(rounds[n, 0]), row_of(rounds[n, 1], first, last)
        b, c = row_of(rounds[n, 2], first, last), row_of(rounds[n, 3], first, last)
        for v in range(BLOCK):
            ar, ai, br, bi = before[a, v], before[a, BLOCK + v], before[b, v], before[b, BLOCK + v]
            cr, ci = before[c, v], before[c, BLOCK + v]
            real = pulse[_PP + v] * ar - pulse[_PPI + v] * ai
            real += pulse[_MP + v] * br + pulse[_MPI + v] * bi
            real += pulse[_ZP + v] * cr - pulse[_ZPI + v] * ci
            imag = pulse[_PP + v] * ai + pulse[_PPI + v] * ar
            imag += pulse[_MPI + v] * br - pulse[_MP + v] * bi
            imag += pulse[_ZP + v] * ci + pulse[_ZPI + v] * cr
            after[state, v] = after[state, v] + real if adding else real
            after[state, BLOCK + v] = after[state, BLOCK + v] + imag if adding else imag
    for n in range(middle, stop):
        state, a = unsigned(rounds[n, 0]), row_of(rounds[n, 1], first, last)
        b, c = row_of(rounds[n, 2], first, last), row_of(rounds[n, 3], first, last)
        for v in range(BLOCK):
            br, bi = before[b, v], before[b, BLOCK + v]
            cr, ci = before[c, v], before[c, BLOCK + v]
            zz, pr, pi = pulse[_ZZ + v], pulse[_PZ + v], pulse[_PZI + v]
            real = zz * before[a, v] + pr * (br + cr) - pi * (bi + ci)
            imag = zz * before[a, BLOCK + v] + pr * (bi - ci) + pi * (br - cr)
            after[state, v] = after[state, v] + real if adding else real
            after[state, BLOCK + v] = after[state, BLOCK + v] + imag if adding else imag


@inlined
def play_back(pulse, toward, back, first, last, rounds, begin, middle, stop, adding):
    """Take a gradient back through a pulse, see `rounds.backward_rounds`.

    It lies from ``first`` on, in both arrays, up to a ``last`` row of zeros.
    """
    wide_vectors()
    for n in range(begin, middle):
        state = unsigned(first + rounds[n, 0])
        a, b = row_of(rounds[n, 1], first, last), row_of(rounds[n, 2], first, last)
        c, d = row_of(rounds[n, 3], first, last), row_of(rounds[n, 4], first, last)
        for v in range(BLOCK):
            ar, ai, br, bi = toward[a, v], toward[a, BLOCK + v], toward[b, v], toward[b, BLOCK + v]
            s = toward[c, v] + toward[d, v]
            t = toward[c, BLOCK + v] - toward[d, BLOCK + v]
            real = pulse[_PP + v] * ar + pulse[_PPI + v] * ai
            real += pulse[_MP + v] * br + pulse[_MPI + v] * bi
            real += pulse[_PZ + v] * s + pulse[_PZI + v] * t
            imag = pulse[_PP + v] * ai - pulse[_PPI + v] * ar
            imag += pulse[_MPI + v] * br - pulse[_MP + v] * bi
            imag += pulse[_PZ + v] * t - pulse[_PZI + v] * s
            back[state, v] = back[state, v] + real if adding else real
            back[state, BLOCK + v] = back[state, BLOCK + v] + imag if adding else imag
    for n in range(middle, stop):
        state = unsigned(first + rounds[n, 0])
        a, b = row_of(rounds[n, 1], first, last), row_of(rounds[n, 2], first, last)
        for v in range(BLOCK):
            br, bi = toward[b, v], toward[b, BLOCK + v]
            zz, zr, zi = pulse[_ZZ + v], pulse[_ZP + v], pulse[_ZPI + v]
            real = zz * toward[a, v] + zr * br + zi * bi
            imag = zz * toward[a, BLOCK + v] + zr * bi - zi * br
            back[state, v] = back[state, v] + real if adding else real
            back[state, BLOCK + v] = back[state, BLOCK + v] + imag if adding else imag


@inlined
def play_adjoint(
    pulse, before, first, toward, back, sums, rounds, begin, middle, stop, adding
):  # fmt: skip
    """Take the gradient back through a pulse; add those by its factors to ``sums``.

    ``first`` is where the states before the pulse begin.
    """
    wide_vectors()
    last = len(toward) - 1
    for n in range(begin, middle):
        state, place = unsigned(rounds[n, 0]), unsigned(first + rounds[n, 0])
        a, b = row_of(rounds[n, 1], 0, last), row_of(rounds[n, 2], 0, last)
        c, d = row_of(rounds[n, 3], 0, last), row_of(rounds[n, 4], 0, last)
        for v in range(BLOCK):
            m, w = before[place, v], before[place, BLOCK + v]
            ar, ai, br, bi = toward[a, v], toward[a, BLOCK + v], toward[b, v], toward[b, BLOCK + v]
            s = toward[c, v] + toward[d, v]
            t = toward[c, BLOCK + v] - toward[d, BLOCK + v]
            real = pulse[_PP + v] * ar + pulse[_PPI + v] * ai
            real += pulse[_MP + v] * br + pulse[_MPI + v] * bi
            real += pulse[_PZ + v] * s + pulse[_PZI + v] * t
            imag = pulse[_PP + v] * ai - pulse[_PPI + v] * ar
            imag += pulse[_MPI + v] * br - pulse[_MP + v] * bi
            imag += pulse[_PZ + v] * t - pulse[_PZI + v] * s
            back[state, v] = back[state, v] + real if adding else real
            back[state, BLOCK + v] = back[state, BLOCK + v] + imag if adding else imag
            sums[_PP + v] += ar * m + ai * w
            sums[_PPI + v] += ai * m - ar * w
            sums[_MP + v] += br * m - bi * w
            sums[_MPI + v] += br * w + bi * m
            sums[_PZ + v] += s * m + t * w
            sums[_PZI + v] += t * m - s * w
    for n in range(middle, stop):
        state, place = unsigned(rounds[n, 0]), unsigned(first + rounds[n, 0])
        a, b = row_of(rounds[n, 1], 0, last), row_of(rounds[n, 2], 0, last)
        for v in range(BLOCK):
            m, w = before[place, v], before[place, BLOCK + v]
            ar, ai, br, bi = toward[a, v], toward[a, BLOCK + v], toward[b, v], toward[b, BLOCK + v]
            zz, zr, zi = pulse[_ZZ + v], pulse[_ZP + v], pulse[_ZPI + v]
            real = zz * ar + zr * br + zi * bi
            imag = zz * ai + zr * bi - zi * br
            back[state, v] = back[state, v] + real if adding else real
            back[state, BLOCK + v] = back[state, BLOCK + v] + imag if adding else imag
            sums[_ZZ + v] += ar * m + ai * w
            sums[_ZP + v] += br * m + bi * w
            sums[_ZPI + v] += bi * m - br * w


@inlined
def spinor_gradients(sums, spinor, slope, phase, field, shim, by_field):
    """Turn the gradients by a pulse's factors into those by a and b; return that by its phase.

    In ``slope`` they are those of b before it was turned; ``by_field`` receives that by the
    phase of the field.
    """
    wide_vectors()
    by_phase = _ZERO
    for v in range(BLOCK):
        ar, ai, br, bi = spinor[_A + v], spinor[_AI + v], spinor[_B + v], spinor[_BI + v]
        pr, pi, mr, mi = sums[_PP + v], sums[_PPI + v], sums[_MP + v], sums[_MPI + v]
        zr, zi, qr, qi = sums[_ZP + v], sums[_ZPI + v], sums[_PZ + v], sums[_PZI + v]
        zz = sums[_ZZ + v]
        # Of the conjugate of a: 2 a g(++) + √2 b̄ g(z+) - √2 b g(+z) + 2 ā g(zz)
        gr = _TWO * (ar * pr - ai * pi + ar * zz)
        gr += _ROOT_TWO * (br * zr + bi * zi - br * qr + bi * qi)
        gi = _TWO * (ar * pi + ai * pr - ai * zz)
        gi += _ROOT_TWO * (br * zi - bi * zr - br * qi - bi * qr)
        # Of b: -2 b̄ g(-+) + √2 a g(z+) - √2 conj(a g(+z)) - 2 b g(zz)
        hr = -_TWO * (br * mr + bi * mi + br * zz)
        hr += _ROOT_TWO * (ar * zr - ai * zi - ar * qr + ai * qi)
        hi = -_TWO * (br * mi - bi * mr + bi * zz)
        hi += _ROOT_TWO * (ar * zi + ai * zr + ar * qi + ai * qr)
        turned = hi * br - hr * bi
        by_phase += turned
        by_field[shim, BLOCK + v] += turned
        turns = _PER_TURN * (phase + field[shim, BLOCK + v])
        sine, cosine = sine_and_cosine(turns - np.rint(turns))
        slope[_A + v], slope[_AI + v] = gr, -gi
        slope[_B + v] = cosine * hr + sine * hi
        slope[_BI + v] = cosine * hi - sine * hr
    return by_phase


@inlined
def coefficient_gradients(
    slope, by_coefficients, cell, pulse, rows, present, found, shims, shim
):  # fmt: skip
    """Add the gradients by the coefficients of a pulse in a cell."""
    wide_vectors()
    terms = by_coefficients.shape[4]
    for place in range(found):
        of_pulse = by_coefficients[present[place], cell, pulse]
        first = (place * shims + shim) * terms
        for term in range(terms):
            ar = ai = br = bi = _ZERO
            for v in range(BLOCK):
                value = rows[first + term, v]
                ar += slope[_A + v] * value
                ai += slope[_AI + v] * value
                br += slope[_B + v] * value
                bi += slope[_BI + v] * value
            of_pulse[0, term] += ar
            of_pulse[1, term] += ai
            of_pulse[2, term] += br
            of_pulse[3, term] += bi


@inlined
def basis_gradients(
    slope, coefficients, by_basis, cell, pulse, masks, present, found, shim, start, size
):  # fmt: skip
    """Add the gradients by the polynomials that the voxels of a block have."""
    wide_vectors()
    terms = coefficients.shape[4]
    for place in range(found):
        of_pulse = coefficients[present[place], cell, pulse]
        for term in range(terms):
            ar, ai, br, bi = (
                of_pulse[0, term], of_pulse[1, term], of_pulse[2, term], of_pulse[3, term]
            )  # fmt: skip
            for v in range(size):
                change = ar * slope[_A + v] + ai * slope[_AI + v]
                change += br * slope[_B + v] + bi * slope[_BI + v]
                by_basis[shim, term, unsigned(start + v)] += masks[place, v] * change


@inlined
def add_emitted(summed, item, states, state, cosine, sine):
    """Add what a cell emits to its voxel's sum, turned by its place."""
    wide_vectors()
    for v in range(BLOCK):
        real, imag = states[state, v], states[state, BLOCK + v]
        summed[item, v] += cosine * real - sine * imag
        summed[item, BLOCK + v] += cosine * imag + sine * real


@inlined
def add_pulled(toward, state, pulled, row, cosine, sine):
    """Add the gradient of what a voxel emits to that of a cell's state."""
    wide_vectors()
    for v in range(BLOCK):
        real, imag = pulled[row, v], pulled[row, BLOCK + v]
        toward[state, v] += cosine * real + sine * imag
        toward[state, BLOCK + v] += cosine * imag - sine * real


@inlined
def place_sum(pulled, item, states, state, cosine, sine):
    """Return the gradient by the phase of what a cell emits."""
    wide_vectors()
    total = _ZERO
    for v in range(BLOCK):
        real, imag = states[state, v], states[state, BLOCK + v]
        x, y = cosine * real - sine * imag, cosine * imag + sine * real
        total += pulled[item, BLOCK + v] * x - pulled[item, v] * y
    return total


@njit(inline="always")
def within_cell(slope):
    """Add up a row."""
    total = _ZERO
    for v in range(BLOCK):
        total += slope[v]
    return total
