"""Modelled field maps: they look like those of a head, but nobody measured them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

# CODATA 2018, proton gyromagnetic ratio / 2 pi [Hz/T].
PROTON_FREQUENCY = 42.577478518e6


def cavity_field(
    x: Tensor, y: Tensor, z: float, model: Mapping[str, Any], field_strength: float
) -> Tensor:
    r"""Off-resonance outside of air-filled spheres in tissue.

    A sphere of radius :math:`a` shifts the field along z at distance :math:`r` by

    .. math:: \Delta B = B_0 \frac{\Delta\chi}{3} \frac{a^3}{r^3} (3 \cos^2\theta - 1)

    with the angle :math:`\theta` to z (Schenck, Med Phys 23:815 (1996)).

    Parameters
    ----------
    x, y
        (x,) and (y,) positions [m].
    z
        Position of the slice [m].
    model
        ``susceptibility_difference`` and ``cavities``, each with ``centre`` [m] and ``radius``
        [m].
    field_strength
        B0 [T].

    Returns
    -------
    Tensor
        (x, y) off-resonance [Hz].
    """
    shift = PROTON_FREQUENCY * field_strength * model["susceptibility_difference"] / 3
    off_resonance = torch.zeros(len(x), len(y), dtype=torch.float64)
    for cavity in model["cavities"]:
        centre, radius = cavity["centre"], cavity["radius"]
        height_squared = (z - centre[2]) ** 2
        squared = (x[:, None] - centre[0]) ** 2 + (y[None, :] - centre[1]) ** 2 + height_squared
        # The field inside the air is of no interest, but must not become infinite.
        squared = squared.clamp(min=radius**2)
        off_resonance += shift * radius**3 / squared**1.5 * (3 * height_squared / squared - 1)
    return off_resonance


def bright_centre(
    x: Tensor, y: Tensor, maximum: float, centre: Sequence[float], width: Sequence[float]
) -> Tensor:
    """Transmit field that falls off from the centre, as dielectric effects make it at 3 T.

    Parameters
    ----------
    x, y
        (x,) and (y,) positions [m].
    maximum
        B1 at the centre, relative to the nominal one.
    centre
        Position of the maximum [m].
    width
        Distances along x and y where it has fallen to 1/e [m].

    Returns
    -------
    Tensor
        (x, y) relative B1.
    """
    along_x = ((x - centre[0]) / width[0]) ** 2
    along_y = ((y - centre[1]) / width[1]) ** 2
    return maximum * torch.exp(-(along_x[:, None] + along_y[None, :]))
