"""Keep the image of a train of equal refocusing pulses at a lower RF power."""

import math

from torch import Tensor

from pulseq_zero.optimization.losses import Loss, LossContext, LossFunction, Parameters

N_ECHO = 16


def tse_power(context: LossContext, sar_weight: float = 0.03) -> LossFunction:
    r"""Weigh the error of the image against the power.

    .. math:: L = \frac{\langle (|x| - |x_0|)^2 \rangle}{\langle |x_0|^2 \rangle}
                  + w \frac{\alpha^2 + 16 \beta^2}{\alpha_0^2 + 16 \beta_0^2}

    with the excitation angle α, the angle β of the 16 refocusing pulses, and the index 0 for
    the start.

    Parameters
    ----------
    context
        Start image and start values of ``flip_ex`` [rad] and ``rf_flip`` [degrees].
    sar_weight
        Weight w.
    """
    target = context.start_image.abs().detach()

    def power(parameters: Parameters) -> Tensor:
        refocusing = parameters["rf_flip"] * (math.pi / 180)
        return parameters["flip_ex"].square() + N_ECHO * refocusing.square()

    power_of_start = power(context.start_parameters)

    def loss(parameters: Parameters, image: Tensor) -> Loss:
        error = (image.abs() - target).square().mean() / target.square().mean()
        return {"image": error, "sar": sar_weight * power(parameters) / power_of_start}

    return loss
