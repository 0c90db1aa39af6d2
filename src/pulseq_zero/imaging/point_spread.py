"""How sharp a sequence images: the width of its point-spread function."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pulseq_zero.conversion.repetitions import Repetitions
from pulseq_zero.errors import SequenceError
from pulseq_zero.imaging.density import sample_areas
from pulseq_zero.imaging.samples import imaged, samples_of_image
from pulseq_zero.imaging.slices import excited_slice
from pulseq_zero.phantom import Phantom
from pulseq_zero.phantom.pool import TissuePool
from pulseq_zero.simulation.simulator import made_simulator

# Points of the point-spread function in a pixel
_FINENESS = 64


def point_spread_width(
    repetitions: Repetitions,
    phantom: Phantom,
    fov: tuple[float, ...],
    *,
    accuracy: float = 1e-5,
    simulation: Mapping[str, Any] | None = None,
) -> float:
    r"""Width of the point-spread function along the phase-encoding direction y [m].

    The signals :math:`s(k_y)` of a point of the phantom's tissue in the lines of k-space, each
    where it crosses :math:`k_x = 0`, weight k-space, as in an image by the area that they stand for
    (lines that are sampled twice count once). The width is the full width at half
    maximum of

    .. math:: \left| \sum_{k_y} s(k_y) e^{-2 \pi i k_y y} \right| .

    It is 1.21 pixels where all lines weigh the same; relaxation along an echo train, and flip
    angles that vary along it, make it another.

    Parameters
    ----------
    repetitions
        The sequence.
    phantom
        The means of its relaxation times, in its region ``brain`` if it has one, are those of
        the point. There is neither off-resonance nor a deviation of B1.
    fov
        Field of view in x and y, and in z of a volume [m].
    accuracy, simulation
        Settings of the `Simulator`.

    Raises
    ------
    SequenceError
        If fewer than two lines cross the centre of k-space along x, or none has a signal; or if the
        samples are of several images, see `pulseq_zero.imaging.samples.samples_of_image`.
    """
    data = excited_slice(_point(phantom, fov), repetitions).simulation_data()
    simulator = made_simulator(data, accuracy, simulation)
    signal = simulator(repetitions).signal[:, 0].detach().cpu()
    kspace = repetitions.kspace().detach().cpu()
    chosen = imaged(repetitions)
    signal, kspace = signal[chosen], kspace[chosen]
    central = kspace[:, 0].abs() * fov[0] < 0.5
    k_y = kspace[central, 1]
    weights = (sample_areas(kspace, fov[:2]) * signal)[central]
    if len(torch.unique((k_y * fov[1]).round())) < 2 or not bool(weights.any()):
        raise SequenceError("fewer than two lines of k-space, or no signal, at its centre along x")
    # Echoes and slices have a width each
    samples_of_image(repetitions, repetitions.kspace().detach(), fov)
    pixel = 0.5 / float(k_y.abs().max())
    y = torch.arange(-8 * _FINENESS, 8 * _FINENESS + 1) * (pixel / _FINENESS)
    spread = (torch.exp(-2j * math.pi * y[:, None] * k_y) @ weights).abs()
    return _full_width_at_half_maximum(y, spread)


def _point(phantom: Phantom, fov: tuple[float, ...]) -> Phantom:
    """Make a phantom of one voxel, too small for the encoding to wind in it."""
    maps = phantom.maps()
    weight = maps["PD"] * phantom.masks.get("brain", torch.ones(()))
    inside = weight > 0
    means = {
        name: float((maps[name] * weight)[inside].sum() / weight.sum())
        for name in ("T1", "T2", "T2dash", "D")
    }
    pool = TissuePool.of(torch.ones(1, 1), **means)
    return Phantom({"point": pool}, {}, (fov[0] * 1e-4, fov[1] * 1e-4), phantom.slice_thickness)


def _full_width_at_half_maximum(position: Tensor, values: Tensor) -> float:
    peak = int(values.argmax())
    half = float(values[peak]) / 2
    edges = []
    for step in (-1, 1):
        outside = peak
        while 0 < outside < len(values) - 1 and values[outside] > half:
            outside += step
        inner, outer = float(values[outside - step]), float(values[outside])
        share = (inner - half) / (inner - outer)
        edges.append(float(position[outside - step]) + share * step * float(position.diff()[0]))
    return edges[1] - edges[0]
