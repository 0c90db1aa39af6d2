"""The images of an experiment, and the reconstruction that makes them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from pulseq_zero.errors import ConfigError
from pulseq_zero.experiments.settings import ReconstructionSettings
from pulseq_zero.files.loading import failure, load_function

if TYPE_CHECKING:
    from pulseq_zero.imaging.acquisition import Acquisition, ReconstructionFunction


def make_reconstruction(
    given: ReconstructionSettings | None,
    modules: Mapping[str, torch.nn.Module] | None = None,
    base: Path | None = None,
) -> ReconstructionFunction | None:
    """Make what an experiment's ``reconstruction`` section names; None where it has none.

    Parameters
    ----------
    given
        The section.
    modules
        Those that it may ask for by their names.
    base
        Folder that file names are relative to.

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
        asked = inspect.signature(function)
        named = {name: m for name, m in (modules or {}).items() if name in asked.parameters}
        asked.bind(*(() if is_class else (None,)), **settings, **named)
        made = function(**settings) if is_class else partial(function, **settings, **named)
    except TypeError as error:
        raise ConfigError(f"{place}: {error}") from error
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{place} fails: {failure(error, function)}") from error
    if not callable(made):
        raise ConfigError(f"{place} must be a function of the acquisition, or a torch.nn.Module")
    return made


# Of the only sequence, which has the empty name, or of several
Images = Mapping[str, Tensor]
T = TypeVar("T")


def one_or_all(by_name: Mapping[str, T]) -> T | Mapping[str, T]:
    """Return what there is of the only sequence, or of several by their names, as losses do."""
    return by_name.get("", by_name)


def shown_images(acquired: Mapping[str, Acquisition]) -> dict[str, Tensor]:
    """Return what an experiment shows of the acquisitions of its sequences, by their names."""
    return {name: shown_image(acquisition) for name, acquisition in acquired.items()}


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
