"""Closed forms of signals, to hold results against."""

from __future__ import annotations

import math

import pandas as pd
import torch
from torch import Tensor

from pulseq_zero.phantom import Phantom
from pulseq_zero.phantom.grid import area_average


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


def ernst_image(
    phantom: Phantom, flip_angle: float, TR: float, TE: float, matrix: tuple[int, int]
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
        signal = PD * ernst_signal(angle, T1, TR) * torch.exp(-TE * rate)
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

    Returns
    -------
    DataFrame
        ``flip_angle`` [rad]; ``tissues``, the difference of the formula's values with PD and T1
        of the tissues alone; ``phantom``, the difference of the means of `ernst_image` over the
        pixels that lie in the regions to 90 %.
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
        image = ernst_image(phantom, angle, TR, TE, matrix)
        of_phantom.append(float(image[regions[0]].mean() - image[regions[1]].mean()))
    return pd.DataFrame(
        {
            "flip_angle": angles.numpy(),
            "tissues": (signal[bright] - signal[dark]).numpy(),
            "phantom": of_phantom,
        }
    )
