"""Images for other programs, as NIfTI."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from pulseq_zero.errors import StoreError
from pulseq_zero.files.store import atomic_path


def image_affine(
    matrix: Sequence[int],
    fov: Sequence[float],
    slice_thickness: float,
    position: Sequence[float] = (0.0, 0.0, 0.0),
    orientation: ArrayLike | None = None,
) -> NDArray[np.float64]:
    r"""Where the pixels of an image lie.

    .. math:: r(i, j, k) = p + O \, \mathrm{diag}(\Delta) \,
              (i - \lfloor X/2 \rfloor, j - \lfloor Y/2 \rfloor, k)^T

    with the pixel size :math:`\Delta`, as the reconstruction and the phantom have it.

    Parameters
    ----------
    matrix
        Pixels X, Y along x and y, and slices along z of a volume.
    fov
        Field of view along x and y [m].
    slice_thickness
        Thickness of the slice, or of each slice [m].
    position
        Where the k-space centre's pixel (X // 2, Y // 2), and slice Z // 2 of Z, lies [m]:
        towards the right, front and top of the patient: the position of the phantom.
    orientation
        (3, 3) directions of x, y and z (columns) in these coordinates; by default they agree.

    Returns
    -------
    ndarray
        (4, 4) pixel indices to positions [mm] in NIfTI's coordinates (RAS+).

    Raises
    ------
    StoreError
        If a length is not above zero, or the directions are not orthonormal.
    """
    size = np.array([fov[0] / matrix[0], fov[1] / matrix[1], slice_thickness])
    if not (np.isfinite(size).all() and (size > 0).all()):
        raise StoreError(
            f"the image's pixels measure {size.tolist()} m; give a field of view and a slice "
            "thickness above zero"
        )
    axes = np.eye(3) if orientation is None else np.asarray(orientation, dtype=float)
    if axes.shape != (3, 3) or not np.allclose(axes.T @ axes, np.eye(3), atol=1e-6):
        raise StoreError(
            "the image's orientation must be three orthogonal directions of length 1, the columns "
            "of a 3 x 3 matrix"
        )
    affine = np.eye(4)
    affine[:3, :3] = 1e3 * axes * size
    centre = np.array([*(count // 2 for count in matrix), 0][:3])
    affine[:3, 3] = 1e3 * np.asarray(position, dtype=float) - affine[:3, :3] @ centre
    return affine


def save_image(
    path: Path | str,
    image: Tensor,
    fov: Sequence[float],
    slice_thickness: float,
    position: Sequence[float] = (0.0, 0.0, 0.0),
    orientation: ArrayLike | None = None,
) -> None:
    """Save the magnitude of an image as NIfTI.

    Parameters
    ----------
    path
        The file, ``.nii`` or ``.nii.gz``.
    image
        (x, y) complex or real image, (x, y, z) of a volume, or (x, y, z, images) of several.
    fov, slice_thickness, position, orientation
        Its geometry, see `image_affine`.

    Raises
    ------
    StoreError
        If the file cannot be written or the geometry is wrong.
    """
    if not str(path).endswith((".nii", ".nii.gz")):
        raise StoreError(f"{path} must end in .nii or .nii.gz to be a NIfTI file")
    affine = image_affine(image.shape[:3], fov, slice_thickness, position, orientation)
    magnitude = image.detach().abs().float().cpu().numpy()
    nifti = nibabel.Nifti1Image(np.atleast_3d(magnitude), affine)
    # 2: aligned to another image, to what the phantom was made of
    nifti.set_sform(affine, code=2)
    nifti.set_qform(affine, code=2)
    nifti.header.set_xyzt_units("mm", "sec")
    with atomic_path(path) as temporary:
        nibabel.save(nifti, temporary)
