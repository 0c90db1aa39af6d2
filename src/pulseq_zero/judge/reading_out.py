"""Samples of a voxel's spins: many at once where spins turn by little."""

# Compiled functions have no annotations: numba derives the types from the arguments.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import math

import numpy as np

from pulseq_zero.judge.trigonometry import cosine_and_sine, inlined

# The largest angle [rad] that is put into a series, and what the series may leave out
_LARGEST = np.float32(2)
_LEFT_OUT = 1e-5


@inlined
def is_alike(steps, step, other):
    """Whether spins turn alike in two readouts."""
    return (
        steps.samples[step] == steps.samples[other]
        and steps.sample_time[step] == steps.sample_time[other]
        and steps.sample_moment[step, 0] == steps.sample_moment[other, 0]
        and steps.sample_moment[step, 1] == steps.sample_moment[other, 1]
        and steps.sample_moment[step, 2] == steps.sample_moment[other, 2]
    )


@inlined
def turn_back(m, frequency, off_resonance, time, seen):
    """Fill in transverse magnetisation without what spins' own frequencies did in a time [s]."""
    turns = np.float32(time)
    for s in range(len(frequency)):
        cosine, sine = cosine_and_sine(turns * (frequency[s] - np.float32(off_resonance)))
        seen[0, s] = m[0, s] * cosine + m[1, s] * sine
        seen[1, s] = m[1, s] * cosine - m[0, s] * sine


@inlined
def prepare_readout(
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


@inlined
def read_out(
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
        cosine, sine = cosine_and_sine((np.float32(j) - half) * own)
        x, y = real[j], imaginary[j]
        real[j], imaginary[j] = x * cosine - y * sine, y * cosine + x * sine
    for n in range(others):
        s = far[n]
        turns = kx * position[0, s] + ky * position[1, s] + kz * position[2, s]
        turns += time * frequency[s]
        x, y = m[0, s], m[1, s]
        for j in range(samples):
            cosine, sine = cosine_and_sine((np.float32(j) - half) * turns)
            real[j] += x * cosine - y * sine
            imaginary[j] += y * cosine + x * sine
    for j in range(samples):
        scale = np.exp((np.float32(j) - half) * decay) / np.float32(m.shape[1])
        found[j] = complex(real[j] * scale, imaginary[j] * scale)
