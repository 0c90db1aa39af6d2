"""Lesions of white matter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from pulseq_zero.errors import PhantomError
from pulseq_zero.phantom.phantom import Phantom
from pulseq_zero.phantom.pool import TissuePool

LESION = "lesion"
"""The name of the tissue and of its region."""

WHITE_MATTER = "wm"
"""The region that lesions lie in."""

_TISSUE = ("PD", "T1", "T2", "T2dash", "D")
# A voxel with less of it is not inside of white matter
_INSIDE = 0.99


def lesion_shares(
    white_matter: np.ndarray, voxel_size: Sequence[float], settings: Mapping[str, Any]
) -> np.ndarray:
    """Put discs into white matter, at random, apart from each other and from its edge.

    Parameters
    ----------
    white_matter
        (x, y) share of each voxel that is white matter.
    voxel_size
        Size of the voxels along x and y [m].
    settings
        Checked settings ``phantom.lesions``.

    Returns
    -------
    np.ndarray
        (x, y) share of each voxel that lies in a lesion.

    Raises
    ------
    PhantomError
        If they do not fit, or are smaller than a voxel.
    """
    smallest, largest = settings["radius"]
    width = max(voxel_size)
    if smallest < width:
        raise PhantomError(
            f"phantom.lesions.radius: a radius of {smallest:g} m is less than a voxel of "
            f"{width:g} m that the anatomy is known in; raise it"
        )
    generator = np.random.default_rng(settings["seed"])
    # The large ones first, while there is room
    radii = np.sort(generator.uniform(smallest, largest, settings["count"]))[::-1]
    inside = np.pad(white_matter >= _INSIDE, 1)
    room = ndimage.distance_transform_edt(inside, sampling=voxel_size)[1:-1, 1:-1]
    x, y = (np.arange(n) * size for n, size in zip(white_matter.shape, voxel_size, strict=True))
    shares = np.zeros(white_matter.shape)
    for number, radius in enumerate(radii):
        # The edge of a disc is as soft as a voxel is wide
        places = np.flatnonzero(room > radius + width / 2)
        if len(places) == 0:
            raise PhantomError(
                f"phantom.lesions: white matter has no room for lesion {number + 1} of "
                f"{len(radii)}, of a radius of {radius:.2g} m; lower count or radius, or choose "
                "another slice"
            )
        at_x, at_y = np.unravel_index(generator.choice(places), room.shape)
        distance = np.hypot(x[:, None] - x[at_x], y[None, :] - y[at_y])
        shares += (0.5 + (radius - distance) / math.sqrt(math.prod(voxel_size))).clip(0, 1)
        room = np.minimum(room, distance - radius)
    return shares


def lesion_tissue(settings: Mapping[str, Any]) -> dict[str, float]:
    """Return PD, T1, T2, T2dash and D of the settings ``phantom.lesions``."""
    return {name: settings[name] for name in _TISSUE}


def with_lesions(phantom: Phantom, settings: Mapping[str, Any]) -> Phantom:
    """Replace what lies in some discs inside of the region ``wm`` by lesions.

    They are a tissue and a region ``lesion`` and no longer part of the region ``wm``. Fields are
    those of the tissue that most of the voxel was.

    Parameters
    ----------
    phantom
        What is given lesions.
    settings
        Checked settings ``phantom.lesions``.

    Raises
    ------
    PhantomError
        If there is no region of white matter, or no room in it.
    """
    if WHITE_MATTER not in phantom.masks:
        raise PhantomError(
            f"phantom.lesions lie in the region {WHITE_MATTER!r}, but there are only "
            f"{sorted(phantom.masks)}; name its file under phantom.masks"
        )
    if LESION in {*phantom.pools, *phantom.masks}:
        raise PhantomError("the phantom has a 'lesion' already; leave phantom.lesions out")
    voxel_size = [extent / count for extent, count in zip(phantom.fov, phantom.matrix, strict=True)]
    white_matter = phantom.masks[WHITE_MATTER]
    shares = torch.from_numpy(
        lesion_shares(white_matter.double().numpy(), voxel_size, settings)
    ).float()
    pools = {name: replace(pool, PD=pool.PD * (1 - shares)) for name, pool in phantom.pools.items()}
    values = lesion_tissue(settings)
    PD = values.pop("PD") * shares
    most = torch.stack([pool.PD for pool in phantom.pools.values()]).argmax(0)
    pools[LESION] = TissuePool.of(
        PD,
        **values,
        **{name: _of_most(phantom, name, most) for name in ("B0", "B1", "coil_sensitivity")},
    )
    masks = {**phantom.masks, WHITE_MATTER: white_matter * (1 - shares), LESION: shares}
    return replace(phantom, pools=pools, masks=masks)


def _of_most(phantom: Phantom, name: str, most: Tensor) -> Tensor:
    """Take a (..., x, y) map in each voxel from the pool of this (x, y) number."""
    maps = torch.stack([getattr(pool, name) for pool in phantom.pools.values()])
    return maps.gather(0, most.expand(1, *maps.shape[1:]))[0]
