"""Played pulses gathered: by their shape, and those of no strength."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pulseq_zero.conversion.played import PlayedPulses

# Signals that differ by less than this part of their size are the same, and shapes are rounded to
# this part of their largest sample: those of two flip angles are equal, bit by bit.
_SAME, _ROUNDED = 1e-9, 2.0**-32


@dataclass(frozen=True)
class Family:
    """Pulses that differ by a real factor.

    Attributes
    ----------
    signal
        (steps,) what the factors multiply, as in `PlayedPulses`.
    time, moment, centre
        As in `PlayedPulses`, of one of them.
    members
        Their numbers.
    scale
        (members,) their factors.
    """

    signal: Tensor
    time: Tensor
    moment: Tensor
    centre: Tensor
    members: list[int]
    scale: Tensor


@dataclass(frozen=True)
class SilentPulses:
    """Pulses of no strength, which have slopes.

    Attributes
    ----------
    time, moment, centre
        As in `PlayedPulses`, of all of them.
    members
        Their numbers.
    signal
        (members, steps) zeros, to be differentiated by.
    """

    time: Tensor
    moment: Tensor
    centre: Tensor
    members: list[int]
    signal: Tensor


def families_of(played: PlayedPulses) -> list[Family]:
    """Gather the pulses that differ by a real factor only, and depend on parameters likewise.

    Those of no strength are `silent_pulses`.
    """
    signals, times, moments = _split(played)
    # What is differentiated by has to be the same number, and not another of the same value
    apart = any(part.requires_grad for part in (played.time, played.moment, played.centre))
    one = torch.ones(1, dtype=torch.float64)
    families: list[Family] = []
    left: dict[int, list[int]] = {}
    for number, (signal, sounds) in enumerate(zip(signals, _sounding(played), strict=True)):
        if not sounds:
            continue
        if played.scaled[number]:
            left.setdefault(number if apart else -len(signal), []).append(number)
        else:
            own = signal, times[number], moments[number], played.centre[number]
            families.append(Family(*own, [number], one))
    for numbers in left.values():
        while numbers:
            first, among = numbers[0], torch.stack([signals[n] for n in numbers])
            known, values = _shape(signals[first].detach()), among.detach()
            factor = (among @ known.conj()).real / known.abs().square().sum()
            rest = (values - factor.detach()[:, None] * known).abs().square().sum(1)
            alike = rest <= _SAME**2 * values.abs().square().sum(1)
            alike &= _played_alike(numbers, times, moments, played.centre)
            own = known, times[first], moments[first], played.centre[first]
            families.append(Family(*own, _chosen(numbers, alike), factor[alike]))
            numbers = _chosen(numbers, ~alike)
    return families


def silent_pulses(played: PlayedPulses) -> list[SilentPulses]:
    """Gather the pulses of no strength that take as long under the same gradients."""
    signals, times, moments = _split(played)
    left: dict[int, list[int]] = {}
    for number, (signal, sounds) in enumerate(zip(signals, _sounding(played), strict=True)):
        if not sounds:
            left.setdefault(len(signal), []).append(number)
    found = []
    for numbers in left.values():
        while numbers:
            first, alike = numbers[0], _played_alike(numbers, times, moments, played.centre)
            members = _chosen(numbers, alike)
            found.append(
                SilentPulses(
                    time=times[first].detach(),
                    moment=moments[first].detach(),
                    centre=played.centre[first].detach(),
                    members=members,
                    signal=torch.stack([signals[n] for n in members]),
                )
            )
            numbers = _chosen(numbers, ~alike)
    return found


def _sounding(played: PlayedPulses) -> list[bool]:
    """Tell which of the pulses have any strength."""
    sounds: list[bool] = (played.sums(played.signal.detach().abs()) != 0).tolist()
    return sounds


def _shape(signal: Tensor) -> Tensor:
    """Return a signal relative to its largest sample, rounded."""
    relative = torch.view_as_real(signal / signal.abs().max())
    return torch.view_as_complex((relative / _ROUNDED).round() * _ROUNDED)


def _split(played: PlayedPulses) -> tuple[tuple[Tensor, ...], ...]:
    """Return signals, times and moments of each of the pulses."""
    counts = list(played.step_count)
    return tuple(part.split(counts) for part in (played.signal, played.time, played.moment))


def _played_alike(
    numbers: list[int], times: tuple[Tensor, ...], moments: tuple[Tensor, ...], centre: Tensor
) -> Tensor:
    """Tell which pulses of as many steps last as long under the same gradients as the first."""
    alike = centre.detach()[numbers] == centre.detach()[numbers[0]]
    for values in (times, moments):
        those = torch.stack([values[number].detach() for number in numbers])
        alike &= (those == those[0]).flatten(1).all(1)
    return alike


def _chosen(numbers: list[int], which: Tensor) -> list[int]:
    return [number for number, chosen in zip(numbers, which.tolist(), strict=True) if chosen]
