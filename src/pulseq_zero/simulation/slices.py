"""How far beyond its nominal thickness a slice is excited."""

from __future__ import annotations

import torch
from torch import Tensor

from pulseq_zero.conversion.repetitions import Repetitions
from pulseq_zero.simulation.pdg.pulse_families import families_of
from pulseq_zero.simulation.pdg.pulse_tables import turned_by

# Uses of pulses whose transverse magnetisation is never seen.
_UNSEEN = ("inversion", "saturation", "preparation")
# Where |b| is smaller a pulse turns by less than 4 degrees.
_NOTHING = 0.03
# Out to so many times the band of a pulse, which holds all but this part of its power, in so many
# places it is looked for.
_OUT_TO, _OUTSIDE, _PLACES = 3.0, 1e-4, 601


@torch.no_grad()
def excited_thickness(repetitions: Repetitions, axis: int = 2, field: float = 1.0) -> float:
    """Return the extent around the isocentre along an axis in which pulses excite [m].

    Parameters
    ----------
    repetitions
        A sequence whose pulses are played.
    axis
        0 to 2 for x, y, z.
    field
        The largest transmit field, relative to the nominal one.

    Returns
    -------
    float
        Zero if no pulse has a gradient along that axis.
    """
    played = repetitions.played
    if played is None:
        return 0.0
    seen = {
        pulse
        for pulse, use in zip(played.pulse, repetitions.pulse_use, strict=True)
        if use not in _UNSEEN
    }
    furthest = 0.0
    for family in families_of(played.map(Tensor.detach)):
        k = float(family.moment[:, axis].sum().abs())
        if k == 0 or not seen.intersection(family.members):
            continue
        scale = field * float(family.scale.abs().max())
        reach = _OUT_TO * _band(family.signal) / k
        place = torch.zeros(_PLACES, 3, dtype=torch.float64)
        place[:, axis] = torch.linspace(-reach, reach, _PLACES)
        none = torch.zeros(1, dtype=torch.float64)
        _, b = turned_by(family, torch.tensor([scale], dtype=torch.float64), place, none)
        turning = b[0, :, 0].abs() > _NOTHING
        if bool(turning.any()):
            furthest = max(furthest, float(place[turning, axis].abs().max()))
    return 2 * furthest


def _band(signal: Tensor) -> float:
    """Return the largest frequency of a pulse, in periods over its duration."""
    power = torch.fft.fft(signal, 8 * len(signal)).abs().square()
    frequency = torch.fft.fftfreq(8 * len(signal)).abs() * len(signal)
    order = frequency.argsort()
    inside = power[order].cumsum(0) >= (1 - _OUTSIDE) * power.sum()
    return float(frequency[order][inside.to(torch.int8).argmax()])
