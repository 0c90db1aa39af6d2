"""How far beyond its nominal thickness a slice is excited.

What lies far out is excited little, but in a train of pulses it is not saturated, either. The
middle, which is turned by α, has 1 + N (1 - cos α) times less magnetisation than that, where N is
of how many earlier pulses the longitudinal magnetisation knows.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from pulseq_zero.conversion.repetitions import Repetitions
from pulseq_zero.simulation.pdg.pulse_families import families_of
from pulseq_zero.simulation.pdg.pulse_relaxation import decay_between, remembered
from pulseq_zero.simulation.pdg.pulse_tables import turned_by

# Uses of pulses whose transverse magnetisation is never seen.
_UNSEEN = ("inversion", "saturation", "preparation")
# Where |b| of a right angle is smaller nothing is excited: less than 4 degrees. Relative to that of
# pulses of other angles.
_NOTHING = 0.03
# Pulses are looked at with their angles rounded up to multiples of this [rad]: while these change,
# a slice stays as thick. Those that turn forth and back have an angle of less than so much of what
# their magnitude would turn by.
_STEP, _ONE_WAY = math.pi / 8, 0.5
# Angles that differ by this part of it are the same: files have six digits of amplitudes.
_ALIKE = 1e-3
# Out to so many times the band of a pulse, which holds all but this part of its power, in so many
# places it is looked for.
_OUT_TO, _OUTSIDE, _PLACES = 3.0, 1e-4, 601


def strengths(repetitions: Repetitions) -> Tensor:
    """Return (repetitions,) what angles pulses are looked at with [rad]: theirs, rounded up.

    Of pulses that turn forth and back, or about axes that turn, that of their magnitude.
    """
    return _rounded_up(_turns(repetitions))


def _rounded_up(angle: Tensor) -> Tensor:
    return (angle / _STEP - _ALIKE).ceil() * _STEP


def _turns(repetitions: Repetitions) -> Tensor:
    angle, played = repetitions.pulse_angle.detach().double().abs(), repetitions.played
    if played is None:
        return angle
    area = 2 * math.pi * played.sums(played.signal.detach().abs() * played.time.detach())
    most = area.double()[list(played.pulse)]
    return torch.where(angle > _ONE_WAY * most, angle, most)


@torch.no_grad()
def excited_thickness(
    repetitions: Repetitions, axis: int = 2, field: float = 1.0, T1: float = 1.0
) -> float:
    """Return the extent around the isocentre along an axis in which pulses excite [m].

    Parameters
    ----------
    repetitions
        A sequence whose pulses are played.
    axis
        0 to 2 for x, y, z.
    field
        The largest transmit field, relative to the nominal one.
    T1
        Of what is excited [s].

    Returns
    -------
    float
        Zero if no pulse has a gradient along that axis.
    """
    played = repetitions.played
    if played is None:
        return 0.0
    pulse, turns = np.array(played.pulse), _turns(repetitions)
    stronger = np.ones(len(played.step_count))
    stronger[pulse] = (_rounded_up(turns) / turns.clamp_min(1e-9)).numpy()
    lasts = float(repetitions.event_time.detach().sum())
    is_seen = np.array([use not in _UNSEEN for use in repetitions.pulse_use])
    excites = is_seen & np.array([use != "refocusing" for use in repetitions.pulse_use])
    furthest = 0.0
    for family in families_of(played.map(Tensor.detach)):
        k = float(family.moment[:, axis].sum().abs())
        those = np.isin(pulse, family.members)
        if k == 0 or not (those & is_seen).any():
            continue
        scale = field * float((family.scale.abs().numpy() * stronger[family.members]).max())
        reach = _OUT_TO * _band(family.signal) / k
        place = torch.zeros(_PLACES, 3, dtype=torch.float64)
        place[:, axis] = torch.linspace(-reach, reach, _PLACES)
        none = torch.zeros(1, dtype=torch.float64)
        _, b = turned_by(family, torch.tensor([scale], dtype=torch.float64), place, none)
        count, size = int((those & excites).sum()), b[0, :, 0].abs()
        known = float(remembered(np.array(decay_between(count, lasts / T1)), count))
        earlier = max(known - 1, 0.0)
        turning = size > _least(2 * math.asin(min(float(size.max()), 1.0)), earlier)
        if bool(turning.any()):
            furthest = max(furthest, float(place[turning, axis].abs().max()))
    return 2 * furthest


def _least(angle: float, earlier: float) -> float:
    """Return the |b| below which spins give nothing, beside those that are turned by an angle.

    ``earlier`` is how many pulses before the last one are remembered.
    """
    angle = min(angle, math.pi / 2)
    in_middle = math.sin(angle / 2) / math.sin(math.pi / 4)
    return _NOTHING * in_middle / (1 + earlier * (1 - math.cos(angle)))


def _band(signal: Tensor) -> float:
    """Return the largest frequency of a pulse, in periods over its duration."""
    power = torch.fft.fft(signal, 8 * len(signal)).abs().square()
    frequency = torch.fft.fftfreq(8 * len(signal)).abs() * len(signal)
    order = frequency.argsort()
    inside = power[order].cumsum(0) >= (1 - _OUTSIDE) * power.sum()
    return float(frequency[order][inside.to(torch.int8).argmax()])
