"""Closed forms of signals, to hold results against."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pypulseq
import torch
from torch import Tensor

from pulseq_zero.phantom import Phantom
from pulseq_zero.phantom.grid import area_average

# As many strengths of a pulse, and places across its slice
_STRENGTHS, _PLACES = 91, 161


def ernst_signal(flip_angle: Tensor, T1: Tensor | float, TR: float) -> Tensor:
    r"""Transverse magnetisation of a perfectly spoiled gradient echo in the steady state.

    .. math:: M = \sin\alpha \, \frac{1 - E_1}{1 - E_1 \cos\alpha}, \quad E_1 = e^{-TR / T_1},

    relative to the equilibrium (Ernst and Anderson, Rev Sci Instrum 37:93, 1966,
    doi:10.1063/1.1719961).

    Parameters
    ----------
    flip_angle
        (...) flip angles [rad].
    T1
        Relaxation time [s], a number or (...).
    TR
        Time from pulse to pulse [s].
    """
    decay = torch.exp(-TR / torch.as_tensor(T1, dtype=flip_angle.dtype))
    return flip_angle.sin() * (1 - decay) / (1 - decay * flip_angle.cos())


@dataclass(frozen=True)
class ExcitedSlice:
    """The angles that a pulse turns spins by, across its slice and as strong as it may be.

    Attributes
    ----------
    nominal
        (strengths,) flip angles in the middle of the slice, by the area of the pulse [rad].
    turned
        (strengths, places) by how much spins are turned [rad].
    share
        Of a place in the thickness of the slice.
    """

    nominal: Tensor
    turned: Tensor
    share: float

    @classmethod
    def of(
        cls, sequence: pypulseq.Sequence, nominal: float, largest: float, thickness: float
    ) -> ExcitedSlice | None:
        """Follow the first pulse that excites under a gradient along z.

        Its samples turn spins one after the other, each at once, with precession between them.

        Parameters
        ----------
        sequence
            A sequence whose pulse has the flip angle ``nominal`` [rad].
        nominal, largest
            Flip angles [rad]: that of the sequence, and up to which one spins are followed.
        thickness
            Of the slice [m]; followed are spins in four times that.

        Returns
        -------
        ExcitedSlice or None
            None where there is no such pulse.
        """
        blocks = (sequence.get_block(number) for number in sequence.block_events)
        found = (
            (block.rf, block.gz.amplitude)
            for block in blocks
            if block.rf is not None and block.rf.use == "excitation" and block.gz is not None
        )
        rf, gradient = next(found, (None, 0.0))
        if rf is None:
            return None
        strength = np.linspace(0, largest, _STRENGTHS) / nominal
        place = (np.arange(_PLACES) / (_PLACES - 1) - 0.5) * 4 * thickness
        dwell = rf.shape_dur / len(rf.signal)
        precession = np.exp(-1j * np.pi * gradient * place * dwell)
        a = np.ones((_STRENGTHS, _PLACES), dtype=complex)
        b = np.zeros_like(a)
        for sample in rf.signal:
            half = np.pi * abs(sample) * dwell * strength[:, None]
            sine = -1j * np.sin(half) * np.exp(1j * np.angle(sample))
            a, b = np.cos(half) * a - sine.conj() * b, sine * a + np.cos(half) * b
            a, b = precession * a, precession.conj() * b
        turned = 2 * np.arcsin(np.abs(b).clip(max=1))
        share = float(place[1] - place[0]) / thickness
        return cls(torch.from_numpy(strength * nominal), torch.from_numpy(turned), share)

    def ernst_signal(self, flip_angle: Tensor, T1: Tensor | float, TR: float) -> Tensor:
        """Sum `ernst_signal` over the slice, in parts of what the thickness has.

        Parameters
        ----------
        flip_angle
            (...) nominal flip angles [rad].
        T1
            Relaxation time [s], a number or (...).
        TR
            Time from pulse to pulse [s].
        """
        times = torch.as_tensor(T1, dtype=torch.float64).expand(flip_angle.shape)
        result = torch.zeros_like(flip_angle)
        for time in times.unique():
            here = times == time
            summed = self.share * ernst_signal(self.turned, float(time), TR).sum(1)
            values = np.interp(flip_angle[here].numpy(), self.nominal.numpy(), summed.numpy())
            result[here] = torch.from_numpy(values).to(result)
        return result


def ernst_image(
    phantom: Phantom,
    flip_angle: float,
    TR: float,
    TE: float,
    matrix: tuple[int, int],
    excited: ExcitedSlice | None = None,
) -> Tensor:
    r"""Gradient echo image by `ernst_signal`, each voxel with its own flip angle.

    To the formula's value come proton density, B1, and the decay
    :math:`e^{-TE (1/T_2 + 1/T_2')}`. Left out are imperfect spoiling, the way into the steady
    state, and the point spread of the image.

    Parameters
    ----------
    phantom
        The phantom.
    flip_angle
        Nominal flip angle [rad].
    TR, TE
        Repetition and echo time [s].
    matrix
        Pixels in x and y of an image of the phantom's field of view.
    excited
        What the pulses make of the slice; None where they turn all of it alike.

    Returns
    -------
    Tensor
        (x, y) magnitude, 1 for undephased magnetisation 1 of proton density 1.
    """
    total = torch.zeros(phantom.matrix, dtype=torch.float64)
    for pool in phantom.pools.values():
        PD, T1, T2, T2dash = (getattr(pool, n).double() for n in ("PD", "T1", "T2", "T2dash"))
        rate = 1 / T2 + 1 / T2dash
        angle = flip_angle * pool.B1.sum(0).abs().double()
        steady = ernst_signal if excited is None else excited.ernst_signal
        signal = PD * steady(angle, T1, TR) * torch.exp(-TE * rate)
        total += torch.where(PD > 0, signal, 0.0)
    return area_average(total, phantom.fov, matrix)


def ernst_contrast(
    phantom: Phantom,
    bright: str,
    dark: str,
    *,
    TR: float,
    TE: float,
    matrix: tuple[int, int],
    count: int = 181,
    excited: ExcitedSlice | None = None,
) -> pd.DataFrame:
    """Difference of two tissues' gradient echo signals over the flip angle, by `ernst_signal`.

    Parameters
    ----------
    phantom
        The phantom.
    bright, dark
        Names of two tissues, which are also regions of it.
    TR, TE
        Repetition and echo time [s].
    matrix
        Pixels in x and y of the image.
    count
        Number of flip angles from 0 to a right angle.
    excited
        What the pulses make of the slice; None where they turn all of it alike.

    Returns
    -------
    DataFrame
        ``flip_angle`` [rad]; ``tissues``, the difference of the formula's values with PD and T1
        of the tissues alone, all of which is turned alike; ``phantom``, the difference of the
        means of `ernst_image` over the pixels that lie in the regions to 90 %.
    """
    angles = torch.linspace(0, math.pi / 2, count, dtype=torch.float64)
    signal = {}
    for name in (bright, dark):
        pool = phantom.pools[name]
        wholly = pool.PD.max() == pool.PD
        signal[name] = pool.PD[wholly].double().mean() * ernst_signal(
            angles, float(pool.T1[wholly].mean()), TR
        )
    regions = [phantom.mask(name, matrix) for name in (bright, dark)]
    of_phantom = []
    for angle in angles.tolist():
        image = ernst_image(phantom, angle, TR, TE, matrix, excited)
        of_phantom.append(float(image[regions[0]].mean() - image[regions[1]].mean()))
    return pd.DataFrame(
        {
            "flip_angle": angles.numpy(),
            "tissues": (signal[bright] - signal[dark]).numpy(),
            "phantom": of_phantom,
        }
    )
