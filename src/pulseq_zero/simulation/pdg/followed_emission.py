"""What the states that are followed would emit, part by part of the phantom."""

# Compiled functions have no annotations: numba derives the types from the arguments.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from collections.abc import Callable
from itertools import starmap

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pulseq_zero.simulation.kernel_math import exponential
from pulseq_zero.simulation.pdg.loops import compiled

# Parts of the phantom may add up to this much more than if their phases were random.
_FEW = np.float32(2.0)

# So many states in samples are looked at at once.
_AT_ONCE = 2**19

_SQUARED_TURN = (2 * np.pi) ** 2


def squared_answers(
    answers: Callable[[Tensor], Tensor],
    places: list[NDArray[np.float64]],
    positions: list[NDArray[np.float64]],
) -> list[NDArray[np.float32]]:
    """Return the squared answer of a voxel's shape, (states, samples) of each repetition.

    Of many repetitions at once, as each call takes its time however little it has to do.
    """
    shapes = [
        (len(place), len(position)) for place, position in zip(places, positions, strict=True)
    ]
    ends = np.cumsum([states * samples for states, samples in shapes])
    found: list[NDArray[np.float32]] = []
    while len(found) < len(shapes):
        first = len(found)
        before = ends[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(ends, before + _AT_ONCE, side="right")))
        pairs = list(zip(places, positions, strict=True))[first:last]
        k = torch.from_numpy(np.concatenate(list(starmap(_frequencies, pairs))))
        squared = (
            answers(k).detach().square().float().numpy() if len(k) else np.zeros(0, np.float32)
        )
        parts = np.split(squared, ends[first : last - 1] - before)
        found += [
            part.reshape(shape) for part, shape in zip(parts, shapes[first:last], strict=True)
        ]
    return found


@compiled
def _frequencies(place, position):
    """Return what all states have in all samples, (states * samples, xyz) in float32."""
    k = np.empty((len(place) * len(position), 3), np.float32)
    for state in range(len(place)):
        for e in range(len(position)):
            for axis in range(3):
                k[state * len(position) + e, axis] = place[state, axis] + position[e, axis]
    return k


@compiled
def emissions(place, position, linear, quadratic, shape, spectrum, rates, stride):
    """Return the squared signal of each state in all samples, for a magnetisation of 1.

    In each part of the phantom: what it may be and what it is on average. Parts of a phantom
    that are in phase with each other add up; a few of them may, where most are not.
    """
    amplitude, noise, extent, gradient, coherence, time_step = spectrum
    _, R2, R2dash, D = rates
    voxels = len(R2)
    samples = len(position)
    bound = np.zeros((len(place), voxels), np.float32)
    fair = np.zeros((len(place), voxels), np.float32)
    relaxed = np.empty((samples, voxels), np.float32)
    for e in range(samples):
        for v in range(voxels):
            relaxed[e, v] = exponential(np.float32(-2 * position[e, 3]) * R2[v])
    smallest_D = np.min(D)
    x = np.empty(voxels, np.float32)
    for state in range(len(place)):
        kx, ky, kz, tau = place[state, 0], place[state, 1], place[state, 2], place[state, 3]
        square = kx * kx + ky * ky + kz * kz
        nearest = np.inf
        for e in range(samples):
            seen = shape[state, e]
            t = tau + position[e, 3]
            nearest = min(nearest, abs(t))
            if seen < 1e-14:
                continue
            b = square * position[e, 3] + quadratic[e]
            b += kx * linear[e, 0] + ky * linear[e, 1] + kz * linear[e, 2]
            seen *= exponential(np.float32(-2 * _SQUARED_TURN * smallest_D * b))
            nx = np.int64(np.rint((kx + position[e, 0] + t * gradient[0]) * extent[0]))
            ny = np.int64(np.rint((ky + position[e, 1] + t * gradient[1]) * extent[1]))
            nz = np.int64(np.rint((kz + position[e, 2] + t * gradient[2]) * extent[2]))
            across, along, through, _ = amplitude.shape
            here = amplitude[nx % across, ny % along, nz % through]
            late = min(np.int64(np.rint(abs(t) / time_step)), len(coherence) - 1)
            together = coherence[late]
            parts = np.float32(0.0)
            for v in range(voxels):
                c = together[v] * together[v]
                power = c * here[v] * here[v] + (np.float32(1.0) - c) * noise[v]
                x[v] = np.sqrt(power)
                parts += power
            c = together[voxels] * together[voxels]
            total = c * here[voxels] * here[voxels] + (np.float32(1.0) - c) * noise[voxels]
            if parts <= 0:
                continue
            typical = total / parts
            for v in range(voxels):
                power = seen * relaxed[e, v] * x[v]
                fair[state, v] += power * x[v] * typical
                bound[state, v] += power * x[v] * max(typical, _FEW)
        for v in range(voxels):
            left = stride * exponential(np.float32(-2 * nearest) * R2dash[v])
            bound[state, v] *= left
            fair[state, v] *= left
    return bound, fair
