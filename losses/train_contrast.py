"""Contrast of an inversion-recovery train that is even, at no more power than the start."""

import torch
from torch import Tensor

from pulseq_zero.optimization.losses import Loss, LossContext, LossFunction, Parameters
from pulseq_zero.optimization.penalties import relative_sar


def train_signal(flip_angles: Tensor, T1: float, TI: float, TR: float) -> Tensor:
    r"""Signal of each line of a perfectly spoiled train after a perfect inversion.

    .. math:: S_n = M_n \sin\alpha_n, \quad M_{n+1} = 1 - (1 - M_n \cos\alpha_n) e^{-TR / T_1}

    Parameters
    ----------
    flip_angles
        (lines,) flip angles [rad].
    T1, TI, TR
        Relaxation time, inversion time up to the line n // 2 of n, and time from pulse to
        pulse [s].

    Returns
    -------
    Tensor
        (lines,) relative to the equilibrium magnetisation.
    """
    since_inversion = torch.tensor(TI - len(flip_angles) // 2 * TR)
    magnetisation = 1 - 2 * torch.exp(-since_inversion / T1)
    decay = torch.exp(torch.tensor(-TR / T1))
    signal = []
    for angle in flip_angles:
        signal.append(magnetisation * angle.sin())
        magnetisation = 1 - (1 - magnetisation * angle.cos()) * decay
    return torch.stack(signal)


def train_contrast(
    context: LossContext,
    TI: float,
    TR: float,
    bright: str = "wm",
    dark: str = "gm",
    flip_angles: str = "flip_angles",
    unevenness: float = 0.05,
    weight: float = 10.0,
) -> LossFunction:
    r"""Difference of two tissues' signals, within the power of the start, from an even train.

    .. math:: L = \bar S_d - \bar S_b + w \max(0, SAR - 1)^2 + w \max(0, U - U_0)^2, \quad
              U = \langle (S_n / \langle S \rangle - 1)^8 \rangle^{1/8}

    :math:`\bar S` are means over regions of the magnitude image. SAR is the sum of squared flip
    angles, relative to the start. U is how much the signal :math:`S_n` of the bright tissue, by
    `train_signal`, varies from line to line, which would widen the point spread or spoil it; by
    its high power, no single line may stand out.

    Parameters
    ----------
    context
        Phantom and start values.
    TI, TR
        As the sequence has them [s].
    bright, dark
        Names of the regions; the bright one is a tissue of the phantom.
    flip_angles
        Name of the parameter that holds the flip angles [rad].
    unevenness
        :math:`U_0`, that costs nothing.
    weight
        Weight w.
    """
    bright_region, dark_region = context.region(bright), context.region(dark)
    pool = context.phantom.pools[bright]
    T1 = float(pool.T1[pool.PD > 0].mean())
    start = context.start_parameters[flip_angles]

    def variation(angles: Tensor) -> Tensor:
        signal = train_signal(angles, T1, TI, TR)
        return (signal / signal.mean() - 1).pow(8).mean().pow(1 / 8)

    def loss(parameters: Parameters, image: Tensor) -> Loss:
        magnitude, angles = image.abs(), parameters[flip_angles]
        return {
            "contrast": magnitude[dark_region].mean() - magnitude[bright_region].mean(),
            "sar": weight * (relative_sar(angles, start) - 1).clamp_min(0).square(),
            "unsharp": weight * (variation(angles) - unevenness).clamp_min(0).square(),
        }

    return loss
