"""Loss makers for images and contrasts.

A *loss maker* builds a loss function, see `pulseq_zero.optimization.loss`, for an experiment from
its phantom, its start image and its settings. An own one looks just like those here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pulseq_zero.errors import ConfigError
from pulseq_zero.optimization.loss import Loss as Loss
from pulseq_zero.optimization.loss import LossFunction as LossFunction
from pulseq_zero.optimization.loss import Parameters as Parameters
from pulseq_zero.optimization.penalties import relative_sar
from pulseq_zero.phantom import Phantom

if TYPE_CHECKING:
    from pulseq_zero.imaging.acquisition import Acquisition


@dataclass(frozen=True)
class LossContext:
    """What a loss maker may build on.

    Attributes
    ----------
    phantom
        The phantom with its region masks.
    start_image
        (..., x, y[, z]) image at the start values; if there are several, all of them. Of several
        sequences, by their names.
    start_parameters
        The start values.
    modules
        Networks that are trained along, by their names.
    """

    phantom: Phantom
    start_image: Any
    start_parameters: Parameters
    modules: Mapping[str, torch.nn.Module] = field(default_factory=dict)

    @property
    def matrix(self) -> tuple[int, ...]:
        """Pixels of the image along x, y and z."""
        of_several = isinstance(self.start_image, Mapping)
        image = next(iter(self.start_image.values())) if of_several else self.start_image
        return tuple(image.shape[-len(self.phantom.matrix) :])

    def region(self, name: str, share: float = 0.9) -> Tensor:
        """(x, y[, z]) bool: pixels that lie in a region of the phantom to at least this share."""
        return self.phantom.mask(name, matrix=self.matrix, threshold=share)


LossMaker = Callable[..., LossFunction]


def contrast(
    context: LossContext, dark: str = "csf", bright: str | None = "brain", share: float = 0.9
) -> LossFunction:
    """Mean magnitude in one region minus mean magnitude in another.

    Parameters
    ----------
    context
        Phantom and start image.
    dark, bright
        Names of the regions whose signal shall vanish, and grow; None for no bright one.
    share
        Share of a pixel that must lie in the region for the pixel to count.

    Returns
    -------
    LossFunction
        Its terms are the mean signal of the dark and the *negative* mean signal of the bright
        region.
    """
    signs = {dark: 1} if bright is None else {dark: 1, bright: -1}
    regions = {name: context.region(name, share) for name in signs}

    def loss(parameters: Parameters, image: Tensor) -> Loss:
        magnitude = image.abs()
        return {name: sign * magnitude[regions[name]].mean() for name, sign in signs.items()}

    return loss


def image_and_sar(
    context: LossContext,
    flip_angles: str = "flip_angles",
    image_scale: float = 1.0,
    image_weight: float = 1e3,
    sar_weight: float = 1e-4,
) -> LossFunction:
    r"""Keep the magnitude image of the start values at a lower RF power.

    .. math:: L = w_i \langle (s|x| - s|x_0|)^2 \rangle + w_s \langle \alpha^2 \rangle

    with the image :math:`x`, the image :math:`x_0` of the start values, and the flip angles
    :math:`\alpha` in degrees.

    Parameters
    ----------
    context
        The start image is the target.
    flip_angles
        Name of the parameter that holds the flip angles [rad].
    image_scale
        Factor s between this project's image (1 for fully relaxed, undephased magnetisation
        of proton density 1) and the scale that the weight is meant for.
    image_weight, sar_weight
        The two weights.

    Raises
    ------
    ConfigError
        If there is no such parameter.
    """
    _flip_angles(context, flip_angles)
    target = context.start_image.abs().detach()

    def loss(parameters: Parameters, image: Tensor) -> Loss:
        difference = image_scale * (image.abs() - target)
        flips_deg = torch.rad2deg(parameters[flip_angles])
        return {
            "image": image_weight * difference.square().mean(),
            "sar": sar_weight * flips_deg.square().mean(),
        }

    return loss


def error_and_power(
    context: LossContext,
    region: str = "brain",
    flip_angles: str = "flip_angles",
    sar_weight: float = 5e-3,
    share: float = 0.9,
) -> LossFunction:
    r"""Keep the magnitude image of the start values in a region at a lower RF power.

    .. math:: L = \frac{\sum_r (|x| - |x_0|)^2}{\sum_r |x_0|^2} + w \, \mathrm{SAR}

    with the image :math:`x` and the image :math:`x_0` of the start values in the region r, and the
    `relative_sar` of all pulses: its terms are the squared NRMSE of the region and the power.

    Parameters
    ----------
    context
        The start image is the target.
    region
        Name of the region that matters.
    flip_angles
        Name of the parameter that holds the flip angles [rad].
    sar_weight
        Weight w.
    share
        Share of a pixel that must lie in the region for the pixel to count.

    Raises
    ------
    ConfigError
        If there is no such parameter.
    """
    start = _flip_angles(context, flip_angles)
    inside = context.region(region, share)
    target = context.start_image.abs().detach()[inside]
    size = target.square().sum()

    def loss(parameters: Parameters, image: Tensor) -> Loss:
        return {
            "image": (image.abs()[inside] - target).square().sum() / size,
            "sar": sar_weight * relative_sar(parameters[flip_angles], start),
        }

    return loss


def signal_to_noise(
    context: LossContext,
    region: str = "brain",
    deviation: float = 1.0,
    per_time: bool = False,
    share: float = 0.9,
) -> LossFunction:
    r"""Signal-to-noise ratio of a region in the image by the adjoint, negative.

    .. math:: L = -\frac{\langle |x| \rangle_r}{\sigma g} \left[ / \sqrt{T} \right]

    with the image :math:`x` in the region r, the noise :math:`\sigma` of a sample, the noise
    :math:`g` of a pixel relative to it, see `pulseq_zero.imaging.noise_gain`, and the duration
    T [s] of the sequence. The slope of g by the trajectory is left out.

    Parameters
    ----------
    context
        The phantom.
    region
        Name of the region.
    deviation
        Standard deviation of the real and of the imaginary part of the noise of a sample.
    per_time
        Whether the ratio is that of a unit of scan time.
    share
        Share of a pixel that must lie in the region for the pixel to count.
    """

    def loss(acquisition: Acquisition) -> Tensor:
        reconstruction = acquisition.reconstruction
        inside = context.phantom.mask(region, matrix=reconstruction.matrix, threshold=share)
        signal = reconstruction(acquisition.signal).abs()[inside].mean()
        ratio = signal / (deviation * reconstruction.noise_gain)
        return -ratio / acquisition.sequence.duration.sqrt() if per_time else -ratio

    return loss


def _flip_angles(context: LossContext, name: str) -> Tensor:
    """Return the start values of the flip angles."""
    if name not in context.start_parameters:
        raise ConfigError(
            f"the loss counts the parameter {name!r} as flip angles, but the parameters "
            f"are {sorted(context.start_parameters)}"
        )
    return context.start_parameters[name]
