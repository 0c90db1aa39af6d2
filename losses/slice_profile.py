"""Slice profile of an excitation: all of the slice alike, and nothing beside it."""

import torch
from torch import Tensor

from pulseq_zero.optimization.losses import Loss, LossContext, LossFunction, Parameters


def slice_profile(
    context: LossContext, slice_thickness: float = 6e-3, transition: float = 1.2e-3
) -> LossFunction:
    r"""Distance of a profile along y from a rectangle of magnetisation in phase.

    .. math:: L = \min_\varphi \langle |m(y) - e^{i\varphi}|^2 \rangle_{|y| \le (d - t) / 2}
                  + \langle |m(y)|^2 \rangle_{|y| \ge (d + t) / 2}

    with thickness d and width t of the transition, in which all profiles are equally good. The
    best phase is that of the mean, so that the first term is :math:`1 - 2 |\langle m \rangle| +
    \langle |m|^2 \rangle`.

    Parameters
    ----------
    context
        Phantom and start image; the phantom's field of view is the image's.
    slice_thickness
        d [m].
    transition
        t [m].
    """
    pixels = context.start_image.shape[1]
    position = (torch.arange(pixels) - pixels // 2) * context.phantom.fov[1] / pixels
    inside = position.abs() <= (slice_thickness - transition) / 2
    outside = position.abs() >= (slice_thickness + transition) / 2

    def loss(parameters: Parameters, image: Tensor) -> Loss:
        profile = image.mean(0)
        of_slice = profile[inside]
        in_phase = 1 - 2 * of_slice.mean().abs() + of_slice.abs().square().mean()
        return {"slice": in_phase, "outside": profile[outside].abs().square().mean()}

    return loss
