"""Images of several axes, taken apart into planes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad


def planes_of(image: Tensor, axes: int = 2) -> Tensor:
    """Take images apart into planes.

    Parameters
    ----------
    image
        (..., x, y[, z]) one image, or several.
    axes
        How many axes an image has, 2 or 3.

    Returns
    -------
    Tensor
        (planes, x, y), z varying fastest.
    """
    if axes == 3:
        image = image.movedim(-1, -3)
    return image.reshape(-1, *image.shape[-2:])


def stacked(image: Tensor, axes: int = 2) -> Tensor:
    """Return (x, y), (x, y, z) of a volume, or of several images (x, y, z, images), as NIfTI has.

    Parameters
    ----------
    image, axes
        As for `planes_of`.
    """
    if image.ndim == axes:
        return image
    volumes = image if axes == 3 else image[..., None]
    return volumes.flatten(0, -4).movedim(0, -1)


def side_by_side(image: Tensor, axes: int = 2) -> Tensor:
    """Lay the planes of images out as one picture, left to right and from the top down.

    Parameters
    ----------
    image, axes
        As for `planes_of`.

    Returns
    -------
    Tensor
        (x, y), about as many planes wide as high; what is left over of it is 0.
    """
    planes = planes_of(image, axes)
    count = len(planes)
    across = math.ceil(math.sqrt(count))
    down = math.ceil(count / across)
    left_over = torch.zeros(across * down - count, *planes.shape[1:], dtype=planes.dtype)
    grid = torch.cat([planes, left_over.to(planes.device)]).unflatten(0, (down, across))
    # y points up in a picture: its first line is the last along y
    return torch.cat([torch.cat(list(line), 0) for line in grid.flip(0)], 1)


def beside(pictures: Sequence[Tensor]) -> Tensor:
    """Lay pictures (x, y) out from left to right; where one is lower than others it is 0."""
    height = max(picture.shape[1] for picture in pictures)
    return torch.cat([pad(picture, (0, height - picture.shape[1])) for picture in pictures])
