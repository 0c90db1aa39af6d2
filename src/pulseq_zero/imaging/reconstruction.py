"""Images from signals: the adjoint of the encoding, by separable products or FFT."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pulseq_zero.errors import SimulationError, check_grid, shown
from pulseq_zero.imaging.density import sample_areas
from pulseq_zero.imaging.planes import sample_volumes

# Samples this close to the grid, in steps of 1 / field of view, count as lying on it.
_ON_GRID = 1e-4

# What takes 8 GiB
_MOST_PIXELS = 2**30

# So many samples of a volume are transformed at a time where they do not lie on the grid.
_SAMPLES_AT_ONCE = 4096


def reconstruct(
    signal: Tensor,
    kspace: Tensor,
    matrix: Sequence[int] = (64, 64),
    fov: Sequence[float] = (0.224, 0.224),
    *,
    sensitivities: Tensor | None = None,
    voxel_size: Sequence[float] | None = None,
) -> Tensor:
    r"""Reconstruct an image as the adjoint of the encoding, compensated for the sampling density.

    .. math:: I(r) = \frac{1}{X Y} \sum_j w_j s_j \, e^{-2 \pi i k_j \cdot r}

    at the pixels :math:`r = ((x - \lfloor X/2 \rfloor) \, \mathrm{FOV}_x / X, (y - \lfloor Y/2
    \rfloor) \, \mathrm{FOV}_y / Y)`. With a matrix and field of view of three numbers it is a
    volume, likewise along z. The weight :math:`w_j` is the area of k-space that a sample
    stands for, see `pulseq_zero.imaging.density.sample_areas`: 1 on the Cartesian grid, less where
    samples are dense, and shared by averages.

    With this normalization, an image has in each pixel the sum of the transverse magnetisation
    times proton density of the voxels that lie there: 1 for a uniform object of PD = 1 and M = 1
    whose voxels are the pixels, however k-space is sampled. If the phantom's grid is finer or
    coarser than the image, give ``voxel_size``: the value is then 1 again.

    Differentiable with respect to the signal and, where it requires gradients, ``kspace``.

    Parameters
    ----------
    signal
        (samples, coils) complex.
    kspace
        (samples, at least 2 or 3) kx, ky and, for a volume, kz [1/m]; further columns are ignored.
    matrix
        Number of pixels along x and y, or x, y and z.
    fov
        Field of view along the same axes [m].
    sensitivities
        (coils, x, y[, z]) complex coil sensitivities C to combine the coils' images with, as
        ``Σ C* I / Σ |C|²``. Without them, several coils are combined by root of sum of squares,
        which has no phase.
    voxel_size
        Size of the phantom's voxels along the same axes [m], if it is not that of the pixels.

    Returns
    -------
    Tensor
        (x, y[, z]) complex.

    Raises
    ------
    SimulationError
        If shapes do not fit together.
    SequenceError
        If the samples of a volume do not lie in planes along kz.
    """
    images = reconstruct_coils(signal, kspace, matrix, fov, voxel_size=voxel_size)
    if sensitivities is not None:
        if sensitivities.shape != images.shape:
            raise SimulationError(
                f"sensitivities have shape {tuple(sensitivities.shape)}, "
                f"but {tuple(images.shape)} was expected"
            )
        power = sensitivities.abs().square().sum(0)
        combined = (sensitivities.conj() * images).sum(0)
        return combined / torch.where(power > 0, power, torch.ones_like(power))
    if len(images) == 1:
        return images[0]
    return torch.linalg.vector_norm(images, dim=0).to(images.dtype)


def noise_gain(
    kspace: Tensor,
    matrix: Sequence[int] = (64, 64),
    fov: Sequence[float] = (0.224, 0.224),
    *,
    voxel_size: Sequence[float] | None = None,
) -> float:
    r"""Return the noise of a pixel, relative to that of a sample.

    Complex white noise whose real and imaginary part have the standard deviation 1 in each sample
    gives noise of the same kind in every pixel of a coil's image, of the standard deviation

    .. math:: \frac{1}{X Y} \sqrt{\sum_j w_j^2}

    times the factor of ``voxel_size``, as all waves of the sum in `reconstruct` have the
    magnitude 1. Parameters as there.
    """
    gain = float(_weights(kspace.detach(), fov).square().sum().sqrt()) / math.prod(matrix)
    return gain * _voxel_factor(voxel_size, matrix, fov)


def reconstruct_coils(
    signal: Tensor,
    kspace: Tensor,
    matrix: Sequence[int] = (64, 64),
    fov: Sequence[float] = (0.224, 0.224),
    *,
    voxel_size: Sequence[float] | None = None,
) -> Tensor:
    """Reconstruct the image of each coil; see `reconstruct`.

    Returns
    -------
    Tensor
        (coils, x, y[, z]) complex.
    """
    _check(signal, kspace, matrix, fov)
    weights = _weights(kspace, fov).to(signal.device, signal.real.dtype)
    images = adjoint(signal * weights[:, None], kspace, matrix, fov) / math.prod(matrix)
    return images * _voxel_factor(voxel_size, matrix, fov)


def _weights(kspace: Tensor, fov: Sequence[float]) -> Tensor:
    return sample_areas(kspace, fov) if len(fov) == 2 else sample_volumes(kspace, fov)


def _voxel_factor(
    voxel_size: Sequence[float] | None, matrix: Sequence[int], fov: Sequence[float]
) -> float:
    if voxel_size is None:
        return 1.0
    return math.prod(voxel_size) * math.prod(matrix) / math.prod(fov)


def adjoint(signal: Tensor, kspace: Tensor, matrix: Sequence[int], fov: Sequence[float]) -> Tensor:
    r"""Apply the adjoint of the encoding, :math:`\sum_j s_j e^{2 \pi i k_j \cdot r}`, to each coil.

    Parameters as for `reconstruct`, which adds the weights.

    Returns
    -------
    Tensor
        (coils, x, y[, z]) complex.
    """
    # Positions in steps of 1 / field of view: whole numbers on the Cartesian grid.
    steps = kspace[:, : len(fov)].to(signal.device).double()
    steps = steps * torch.tensor(fov, dtype=torch.float64, device=signal.device)
    index = steps.detach().round()
    on_grid = bool(((steps.detach() - index).abs() < _ON_GRID).all())
    if on_grid and not kspace.requires_grad:
        return _by_fft(signal, index.long(), matrix)
    return _by_products(signal, steps, matrix)


def _by_fft(signal: Tensor, index: Tensor, matrix: Sequence[int]) -> Tensor:
    """Sum up samples on the grid; frequencies beyond it alias, as they do on the pixels."""
    cell = torch.zeros_like(index[:, 0])
    for axis, count in enumerate(matrix):
        cell = cell * count + index[:, axis] % count
    grid = signal.new_zeros(math.prod(matrix), signal.shape[1]).index_add(0, cell, signal)
    axes = tuple(range(1, 1 + len(matrix)))
    return torch.fft.fftshift(torch.fft.fftn(grid.T.reshape(-1, *matrix), dim=axes), dim=axes)


def _by_products(signal: Tensor, steps: Tensor, matrix: Sequence[int]) -> Tensor:
    """Multiply by exp(-2πi kx x) from the left and by those of the other axes from the right."""
    if len(matrix) == 3:
        parts = zip(signal.split(_SAMPLES_AT_ONCE), steps.split(_SAMPLES_AT_ONCE), strict=True)
        return torch.stack([_volume_by_products(*part, matrix) for part in parts]).sum(0)
    along_x, along_y = (
        _waves(steps[:, axis], count, signal.dtype) for axis, count in enumerate(matrix)
    )
    return torch.stack([along_x.T @ (coil[:, None] * along_y) for coil in signal.T])


def _volume_by_products(signal: Tensor, steps: Tensor, matrix: Sequence[int]) -> Tensor:
    along_x, along_y, along_z = (
        _waves(steps[:, axis], count, signal.dtype) for axis, count in enumerate(matrix)
    )
    across = (along_y[:, :, None] * along_z[:, None, :]).flatten(1)
    return torch.stack([along_x.T @ (coil[:, None] * across) for coil in signal.T]).reshape(
        -1, *matrix
    )


def _waves(steps: Tensor, count: int, dtype: torch.dtype) -> Tensor:
    """Return (samples, pixels) exp(-2πi k r); the phase is made in float64."""
    pixel = torch.arange(count, device=steps.device) - count // 2
    turns = steps[:, None] * (pixel.double() / count)
    angle = (2 * math.pi * (turns - turns.detach().round())).to(dtype.to_real())
    return torch.complex(angle.cos(), -angle.sin())


def check_signal(signal: Any, samples: int | None = None) -> None:
    """Refuse what is no signal, or none of so many samples."""
    if not isinstance(signal, Tensor):
        raise SimulationError(f"signal must be a complex tensor, not {shown(signal)}")
    if signal.ndim != 2 or not signal.is_complex():
        raise SimulationError(
            f"signal must be complex and (samples, coils), not {signal.dtype} "
            f"of shape {tuple(signal.shape)}"
        )
    if samples is not None and len(signal) != samples:
        raise SimulationError(f"signal has {len(signal)} samples, but {samples} were expected")


def check_pixels(matrix: Sequence[int]) -> None:
    """Refuse an image that takes more than 8 GiB."""
    if math.prod(matrix) > _MOST_PIXELS:
        size = " x ".join(map(str, matrix))
        raise SimulationError(
            f"an image of {size} pixels fits into no memory; give a smaller matrix or field of view"
        )


def _check(signal: Tensor, kspace: Tensor, matrix: Sequence[int], fov: Sequence[float]) -> None:
    check_signal(signal)
    check_grid(matrix, fov, SimulationError)
    if not isinstance(kspace, Tensor) or kspace.is_complex():
        raise SimulationError(f"kspace must be a tensor of real numbers, not {shown(kspace)}")
    if kspace.ndim != 2 or kspace.shape[1] < 2 or len(kspace) != len(signal):
        raise SimulationError(
            f"kspace must be ({len(signal)}, 2 or more) as the signal has {len(signal)} samples, "
            f"not {tuple(kspace.shape)}"
        )
    if len(signal) == 0:
        raise SimulationError("there are no samples to reconstruct an image from")
    if len(matrix) != len(fov):
        raise SimulationError(
            f"matrix {matrix} and fov {fov} must be two or three positive numbers each"
        )
    if not bool(kspace.detach().isfinite().all()):
        raise SimulationError("kspace holds values that are not finite")
    check_pixels(matrix)
