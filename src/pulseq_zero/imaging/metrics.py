"""How far one image is from another."""

from __future__ import annotations

import math

import numpy as np
from skimage import metrics
from torch import Tensor

from pulseq_zero.imaging.pictures import planes_of

# Pixels along the side of the window that similarity is computed in, scikit-image's default
_WINDOW = 7


def nrmse(image: Tensor, reference: Tensor) -> float:
    """Root mean square error, normalized by the root mean square of the reference.

    Parameters
    ----------
    image, reference
        (..., x, y[, z]) images, both complex or both real.
    """
    a, b = image.detach().cpu().numpy(), reference.detach().cpu().numpy()
    # Real and imaginary part side by side have the Euclidean norm of the complex image
    a, b = np.stack([(z.real, z.imag) for z in (a, b)])
    return float(_rms(b - a) / _rms(b))


def _rms(values: np.ndarray) -> np.floating:
    return np.sqrt(np.mean(values**2, dtype=np.float64))


def ssim(image: Tensor, reference: Tensor, axes: int = 2) -> float:
    """Structural similarity of the magnitudes (Wang et al., doi:10.1109/TIP.2003.819861).

    Parameters
    ----------
    image, reference
        (..., x, y[, z]) images; that of several, or of the planes of volumes, is the mean. The data
        range is that of all of the reference, from 0 to its maximum. Pixels of images narrower than
        the window, such as profiles, count several times.
    axes
        How many axes an image has, 2 or 3.
    """
    planes, others = (
        planes_of(each.detach().abs(), axes).cpu().numpy() for each in (image, reference)
    )
    for axis in (1, 2):
        times = math.ceil(_WINDOW / planes.shape[axis])
        planes, others = np.repeat(planes, times, axis), np.repeat(others, times, axis)
    largest = float(others.max())
    similarities = [
        metrics.structural_similarity(b, a, win_size=_WINDOW, data_range=largest)
        for a, b in zip(planes, others, strict=True)
    ]
    return float(np.mean(similarities))
