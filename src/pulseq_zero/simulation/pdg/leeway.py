"""How far flip angles may change until a graph no longer serves."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pulseq_zero.conversion.played import PlayedPulses
from pulseq_zero.conversion.repetitions import Repetitions

# Pulses differ by their flip angles alone if what they otherwise differ by turns no spin by more
# than this [rad].
_ACROSS = 1e-6


@dataclass(frozen=True)
class Leeway:
    """What the states that a graph leaves out may grow to when flip angles change.

    Each array of two is of states that are not carried on, and of those that are not measured;
    signals are relative to the strongest of their repetition.

    Attributes
    ----------
    left_out
        (2,) root sum of the squared signals that they lead to.
    growth
        (2,) likewise of the sum of their squared derivatives by all flip angles [1/rad].
    allowed
        (2,) what they may lead to.
    transfer, steepness
        (repetitions, kinds of edges, representatives) what pulses multiply power by, and the
        squared derivative of what they multiply magnetisation by [1/rad²].
    share
        (representatives,) of the proton density.
    """

    left_out: NDArray[np.float64]
    growth: NDArray[np.float64]
    allowed: NDArray[np.float64]
    transfer: NDArray[np.float32]
    steepness: NDArray[np.float32]
    share: NDArray[np.float32]

    def covers(self, change: NDArray[np.float64]) -> bool:
        """Tell whether what is left out stays within what it may be.

        What a state gains is at most the root sum of squares of the changes times that of its
        derivatives (Cauchy-Schwarz), and adds to what it was as if with a random sign. That is
        the first order. In the second, a state has gone through two transitions that were about
        nothing: of these there are some only where changes are larger than what they change.

        Parameters
        ----------
        change
            (repetitions,) of the flip angles [rad].
        """
        grown = np.hypot(self.left_out, math.sqrt(change @ change) * self.growth)
        if np.any(grown > self.allowed):
            return False
        square = (change**2)[:, None, None] * self.steepness
        opened = np.where(square > self.transfer, square, 0.0).max(1).sum(0)
        return bool(math.sqrt(0.5 * (self.share @ opened**2)) <= self.allowed.min())


def change_of_flip_angles(before: Repetitions, after: Repetitions) -> NDArray[np.float64] | None:
    """Return by how much flip angles have changed; None if pulses differ by anything else.

    Parameters
    ----------
    before, after
        Two sequences of as many repetitions, on the CPU.

    Returns
    -------
    NDArray or None
        (repetitions,) [rad]; of played pulses that of the area of their magnitude.
    """
    if before.played is not None and after.played is not None:
        return _change_of_played(before.played, after.played)
    if before.played is not None or after.played is not None:
        return None
    angle, other = (r.pulse_angle.detach().double() for r in (before, after))
    turned = (after.pulse_phase.detach() - before.pulse_phase.detach()).double()
    if bool(((other * turned.sin()).abs() > _ACROSS).any()):
        return None
    change: NDArray[np.float64] = (other * turned.cos() - angle).numpy()
    return change


def _change_of_played(one: PlayedPulses, other: PlayedPulses) -> NDArray[np.float64] | None:
    if (one.step_count, one.pulse) != (other.step_count, other.pulse):
        return None
    if not all(
        torch.equal(getattr(one, n), getattr(other, n)) for n in ("time", "moment", "centre")
    ):
        return None
    turn = 2 * math.pi * one.time.detach().double()
    signal, changed = one.signal.detach(), other.signal.detach()
    size = one.sums(signal.abs().square()).clamp_min(torch.finfo(torch.float64).tiny)
    scale = one.sums((signal.conj() * changed).real) / size
    across = one.sums(turn * (changed - scale[one.pulse_of_step] * signal).abs())
    area = one.sums(turn * signal.abs())[list(one.pulse)]
    turned = (other.phase.detach() - one.phase.detach()).double()
    after = scale[list(one.pulse)] * area
    if bool((across > _ACROSS).any()) or bool(((after * turned.sin()).abs() > _ACROSS).any()):
        return None
    change: NDArray[np.float64] = (after * turned.cos() - area).numpy()
    return change
