"""What pulses multiply states by, in the representatives."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pulseq_zero.conversion.repetitions import Repetitions
from pulseq_zero.simulation.pdg.graph import KINDS
from pulseq_zero.simulation.pdg.pulse_profiles import Stack
from pulseq_zero.simulation.pdg.representatives import Representatives

_ZZ, _ZP, _PP, _PZ, _MZ, _MP = (KINDS.index(k) for k in ("zz", "z+", "++", "+z", "-z", "-+"))


@dataclass(frozen=True)
class PlayedPrepass:
    """What pulses that are played do where the states are followed.

    Attributes
    ----------
    a, b
        (repetitions, representatives) complex.
    changed
        The same with larger flip angles, and by how much they are, (repetitions,) [rad]; None where
        derivatives by them do not matter.
    stack
        The cells of each voxel.
    """

    a: NDArray[np.complex128]
    b: NDArray[np.complex128]
    changed: tuple[NDArray[np.complex128], NDArray[np.complex128], NDArray[np.float64]] | None
    stack: Stack


def factors_at_once(
    repetitions: Repetitions, voxels: Representatives
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return what each kind of transition multiplies by, (repetitions, `KINDS`, representatives).

    Its real and imaginary part, and the squared derivative of it by the flip angle.
    """
    angle = repetitions.pulse_angle.detach().double().numpy()[:, None]
    phase = repetitions.pulse_phase.detach().double().numpy()[:, None]
    field = voxels.field(repetitions)
    size = np.abs(field)
    flip = angle * size
    turn = np.exp(1j * (phase + np.angle(field)))
    zeta = -1j * math.sqrt(0.5) * np.sin(flip) * turn
    flipped = np.sin(flip / 2) ** 2
    factors = np.empty((len(flip), len(KINDS), flip.shape[1]), dtype=np.complex128)
    factors[:, _ZZ], factors[:, _PP] = np.cos(flip), 1 - flipped
    factors[:, _MP], factors[:, _ZP] = flipped * turn * turn, zeta
    factors[:, _PZ], factors[:, _MZ] = -zeta.conjugate(), -zeta
    sine, cosine = (size * np.sin(flip)) ** 2, (size * np.cos(flip)) ** 2
    steepness = np.empty(factors.shape, dtype=np.float32)
    steepness[:, _ZZ], steepness[:, _PP], steepness[:, _MP] = sine, sine / 4, sine / 4
    steepness[:, (_ZP, _PZ, _MZ)] = cosine[:, None] / 2
    return factors.real.astype(np.float32), factors.imag.astype(np.float32), steepness


def factors_of_played(
    played: PlayedPrepass,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return what `factors_at_once` does, of pulses that are played."""

    def factors(a: NDArray[np.complex128], b: NDArray[np.complex128]) -> NDArray[np.complex128]:
        values = np.empty((len(a), len(KINDS), a.shape[1]), dtype=np.complex128)
        values[:, _ZZ], values[:, _PP] = np.abs(a) ** 2 - np.abs(b) ** 2, a.conj() ** 2
        values[:, _MP], values[:, _ZP] = -(b**2), math.sqrt(2) * a.conj() * b
        values[:, _MZ] = -math.sqrt(2) * a * b
        values[:, _PZ] = values[:, _MZ].conj()
        return values

    here = factors(played.a, played.b)
    steepness = np.zeros(here.shape, np.float32)
    if played.changed is not None:
        a, b, angle = played.changed
        change = np.abs(factors(a, b) - here) / angle[:, None, None]
        steepness = (change**2).astype(np.float32)
    return here.real.astype(np.float32), here.imag.astype(np.float32), steepness
