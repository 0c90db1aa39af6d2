"""Differentiable penalties of what costs the patient or the hardware something, for losses.

Imports neither PyPulseq nor SciPy, so that losses do not wait for them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pulseq_zero.conversion.repetitions import Repetitions
from pulseq_zero.errors import SequenceError


def relative_sar(flip_angles: Tensor, reference: Tensor) -> Tensor:
    """Sum of squared flip angles, relative to a reference.

    The energy of a pulse of fixed shape and duration grows with the square of its flip angle,
    hence so does the specific absorption rate (SAR) of a train of such pulses.

    Parameters
    ----------
    flip_angles
        (...) flip angles [rad].
    reference
        (...) the flip angles that count as 1 [rad].

    Raises
    ------
    SequenceError
        If all reference angles are zero.
    """
    energy = reference.square().sum()
    if float(energy) == 0.0:
        raise SequenceError("the reference flip angles are all zero: nothing to be relative to")
    return flip_angles.square().sum() / energy


def gradient_amplitude(repetitions: Repetitions) -> Tensor:
    """Mean gradient of each event.

    Events end at the corners of gradients, unless conversion was told otherwise, so that this
    is the amplitude on a flat top.

    Returns
    -------
    Tensor
        (events, xyz) [Hz/m], differentiable; zero for events that take no time.
    """
    time = repetitions.event_time[:, None]
    lasts = time > 0
    return torch.where(lasts, repetitions.gradient_moment / torch.where(lasts, time, 1.0), 0.0)


def excess(values: Tensor, limit: float) -> Tensor:
    r"""Penalty :math:`\langle \max(0, |v| / l - 1)^2 \rangle`: zero, smoothly, within a limit."""
    return (values.abs() / limit - 1).clamp_min(0).square().mean()
