"""How far one image is from another."""

from __future__ import annotations

import math

import numpy as np
from skimage.metrics import normalized_root_mse, structural_similarity
from torch import Tensor

# Pixels along the side of the window that similarity is computed in, scikit-image's default
_WINDOW = 7


def nrmse(image: Tensor, reference: Tensor) -> float:
    """Root mean square error, normalized by the root mean square of the reference.

    Parameters
    ----------
    image, reference
        (x, y) images, both complex or both real.
    """
    a, b = image.detach().cpu().numpy(), reference.detach().cpu().numpy()
    # Real and imaginary part side by side have the Euclidean norm of the complex image
    a, b = (np.stack([z.real, z.imag]) for z in (a, b))
    return float(normalized_root_mse(b, a, normalization="euclidean"))


def ssim(image: Tensor, reference: Tensor) -> float:
    """Structural similarity of the magnitudes (Wang et al., doi:10.1109/TIP.2003.819861).

    Parameters
    ----------
    image, reference
        (x, y) images. The data range is that of the reference, from 0 to its maximum. Pixels of
        images narrower than the window, such as profiles, count several times.
    """
    a, b = image.detach().abs().cpu().numpy(), reference.detach().abs().cpu().numpy()
    for axis, pixels in enumerate(a.shape):
        times = math.ceil(_WINDOW / pixels)
        a, b = np.repeat(a, times, axis), np.repeat(b, times, axis)
    return float(structural_similarity(b, a, win_size=_WINDOW, data_range=float(b.max())))
