"""Receiver noise: complex and white, added to the signal before the reconstruction."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from pulseq_zero.imaging.acquisition import Acquisition


def noise_deviation(acquisition: Acquisition, region: Tensor, snr: float) -> float:
    """Return the standard deviation of the noise that gives an image a signal-to-noise ratio.

    The ratio is that of the mean magnitude of a region, in the image without noise, to the
    standard deviation of the real part of a pixel, which is that of the imaginary part and the same
    everywhere; of several coils, in the image of each. The image is that by the adjoint, the first
    of several.

    Parameters
    ----------
    acquisition
        Without noise.
    region
        (x, y[, z]) bool: the pixels whose magnitude counts.
    snr
        The ratio.

    Returns
    -------
    float
        The standard deviation of the real and of the imaginary part of a sample.
    """
    _, (first, *_) = acquisition.reconstructions
    mean = float(first(acquisition.signal).abs()[region].mean())
    return mean / snr / first.noise_gain


def noisy_acquisitions(
    acquisition: Acquisition, deviation: float, *, count: int, seed: int
) -> Iterator[Acquisition]:
    """Acquire a signal again and again, each time with other noise.

    Acquisitions with as many samples get the same noise of the same seed, one after the other.

    Parameters
    ----------
    acquisition
        Without noise.
    deviation
        Standard deviation of the real and of the imaginary part of the noise of a sample.
    count
        Number of acquisitions.
    seed
        Of the random numbers.

    Yields
    ------
    Acquisition
        With noise.
    """
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        yield with_noise(acquisition, deviation, generator)


def with_noise(
    acquisition: Acquisition, deviation: float, generator: torch.Generator
) -> Acquisition:
    """Add noise to a signal.

    Parameters
    ----------
    acquisition
        Without noise.
    deviation
        Standard deviation of the real and of the imaginary part of the noise of a sample.
    generator
        Of the random numbers.
    """
    signal = acquisition.signal
    drawn = torch.randn((*signal.shape, 2), generator=generator, dtype=signal.real.dtype)
    noise = torch.view_as_complex(drawn).to(signal.device)
    return acquisition.with_signal(signal + deviation * noise)
