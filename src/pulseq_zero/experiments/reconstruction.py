"""The images of an experiment, and the reconstruction that makes them."""

from __future__ import annotations

import inspect
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from pulseq_zero.errors import ConfigError
from pulseq_zero.experiments.settings import ReconstructionSettings
from pulseq_zero.files.loading import failure, load_function

if TYPE_CHECKING:
    from pulseq_zero.imaging.acquisition import Acquisition, ReconstructionFunction


def make_reconstruction(
    given: ReconstructionSettings | None, base: Path | None = None
) -> ReconstructionFunction | None:
    """Make what an experiment's ``reconstruction`` section names; None where it has none.

    Raises
    ------
    ConfigError
        If there is no such function, if it has no such setting, or if a module cannot be made.
    """
    if given is None:
        return None
    function, settings = load_function(given.function, base), given.settings
    place = f"reconstruction {given.function!r}"
    is_class = inspect.isclass(function)
    try:
        arguments = () if is_class else (None,)
        inspect.signature(getattr(function, "forward", function)).bind(*arguments, **settings)
        made = function(**settings) if is_class else partial(function, **settings)
    except TypeError as error:
        raise ConfigError(f"{place}: {error}") from error
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{place} fails: {failure(error, function)}") from error
    if not callable(made):
        raise ConfigError(f"{place} must be a function of the acquisition, or a torch.nn.Module")
    return made


def shown_image(acquisition: Acquisition) -> Tensor:
    """Return what an experiment shows of an acquisition.

    Returns
    -------
    Tensor
        (..., x, y[, z]) what its own reconstruction makes, or all images by the adjoint.

    Raises
    ------
    ConfigError
        If the reconstruction makes no image.
    """
    if acquisition.own_reconstruction is None and acquisition.shown is None:
        return acquisition.images
    image, axes = acquisition.image, len(acquisition.fov)
    if image.ndim < axes or image.numel() == 0:
        raise ConfigError(
            f"the reconstruction makes something of shape {tuple(image.shape)}, but an experiment "
            f"shows images of {axes} axes, behind as many others as you like; let the loss make "
            "of the image what is none"
        )
    return image
