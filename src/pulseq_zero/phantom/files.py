"""Phantoms from a user's own files: plain NIfTI maps, MRzero's .npz and .mat."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from scipy import io
from torch import Tensor

from pulseq_zero.errors import PhantomError
from pulseq_zero.files.paths import is_file
from pulseq_zero.phantom.phantom import Phantom
from pulseq_zero.phantom.pool import TissuePool, real_map

_NPZ_MAPS = ("PD", "T1", "T2", "T2dash", "D", "B0", "B1")
_NPZ_OPTIONAL = {"B0", "B1"}
# Cosine of the angle between two axes that counts as a right one
_ASKEW = 1e-2
_MAT_MAPS = ("PD", "T1", "T2", "B0", "B1")


@dataclass(frozen=True)
class Volume:
    """A map with axes x, y, z from left, posterior and inferior.

    Attributes
    ----------
    data
        (x, y, z) values.
    affine
        (4, 4) voxel indices to positions [mm].
    """

    data: np.ndarray
    affine: np.ndarray

    @property
    def voxel_size(self) -> np.ndarray:
        """(3,) extent of a voxel [m]."""
        return 1e-3 * np.linalg.norm(self.affine[:3, :3], axis=0)

    def placement(self, index: int) -> dict[str, Any]:
        """Return ``position`` and ``orientation`` of a phantom that is one slice of the volume."""
        zero = (self.data.shape[0] // 2, self.data.shape[1] // 2, index)
        # Axes that are not quite at right angles become the nearest that are
        left, _, right = np.linalg.svd(1e-3 * self.affine[:3, :3] / self.voxel_size)
        return {
            "position": tuple((1e-3 * nibabel.affines.apply_affine(self.affine, zero)).tolist()),
            "orientation": tuple(map(tuple, (left @ right).tolist())),
        }


def read_volume(path: Path | str) -> Volume:
    """Read a NIfTI file and turn its axes as `Volume` has them.

    Raises
    ------
    PhantomError
        If the file is missing, no NIfTI, not a single volume, or on axes that are askew.
    """
    try:
        check_gzip(Path(path))
        image: Any = nibabel.load(path)
        affine = np.diag([*[unit_of_length(image)] * 3, 1.0]) @ image.affine
        check_axes(affine, path)
        image = nibabel.as_closest_canonical(type(image)(image.dataobj, affine, image.header))
        data = np.asarray(image.dataobj)
    except FileNotFoundError as error:
        raise PhantomError(f"{path} does not exist; check the path in the config") from error
    except PhantomError:
        raise
    # A damaged file makes the readers raise whatever Python can, here and below
    except Exception as error:
        raise PhantomError(
            f"{path} cannot be read as NIfTI ({_reason(error)}); export it again"
        ) from error
    if data.ndim == 2:
        data = data[..., None]
    if data.ndim != 3:
        raise PhantomError(f"{path} has shape {data.shape}; give one volume (x, y, z) a file")
    return Volume(data, image.affine)


def unit_of_length(image: nibabel.spatialimages.SpatialImage) -> float:
    """Return the unit of an image's affine [mm]: what does not say any is in millimetres."""
    units = getattr(image.header, "get_xyzt_units", lambda: ("mm", "sec"))()
    return {"meter": 1e3, "mm": 1.0, "micron": 1e-3}.get(units[0], 1.0)


def check_axes(affine: np.ndarray, path: Path | str) -> None:
    """Refuse an affine [mm] whose axes span no boxes.

    Raises
    ------
    PhantomError
        If an axis has no length, or two are far from a right angle.
    """
    axes = affine[:3, :3]
    size = np.linalg.norm(axes, axis=0)
    is_box = bool(np.isfinite(affine).all() and (size > 0).all())
    if is_box:
        cosines = (axes / size).T @ (axes / size) - np.eye(3)
        is_box = bool(np.abs(cosines).max() < _ASKEW)
    if not is_box:
        raise PhantomError(
            f"the axes of {path} are not at right angles, or without a length, so that its voxels "
            "are no boxes; resample it onto a grid that is"
        )


def check_gzip(path: Path) -> None:
    """Read a compressed file to its end, where its checksum stands; nibabel does not.

    Raises
    ------
    OSError, EOFError, zlib.error
        If the file is missing, cut or damaged.
    """
    if path.suffix == ".gz":
        with gzip.open(path) as file:
            while file.read(2**20):
                pass


def build_nifti(settings: Mapping[str, Any]) -> Phantom:
    """Build a phantom of plain NIfTI maps; maps that are not given are homogeneous.

    Parameters
    ----------
    settings
        Checked config of the source ``nifti``.
    """
    given = settings["maps"]
    density_path = given["PD"]
    density = read_volume(density_path)
    index = slice_index(settings, density.data.shape[2], density_path)
    maps: dict[str, Any] = {}
    for name, value in given.items():
        if isinstance(value, str):
            volume = read_volume(value)
            check_same_grid(value, volume, density_path, density)
            maps[name] = _tensor(volume.data[:, :, index], value)
        else:
            maps[name] = value
    size = density.voxel_size
    extent = size * density.data.shape
    masks = read_masks(settings, density, index)
    phantom = single_pool(maps, extent, float(size[2]), masks, settings)
    return replace(phantom, **density.placement(index))


def build_npz(settings: Mapping[str, Any]) -> Phantom:
    """Build a phantom of a .npz file as MRzero has it.

    Arrays ``tissue_<region>`` become masks. Without B0 or B1 the fields are homogeneous.

    Parameters
    ----------
    settings
        Checked config of the source ``npz``.
    """
    path = settings["file"]
    _demand_file(path)
    try:
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception as error:
        raise PhantomError(
            f"{path} cannot be read as .npz ({_reason(error)}); save it again"
        ) from error

    missing = [f"{m}_map" for m in _NPZ_MAPS if m not in _NPZ_OPTIONAL and f"{m}_map" not in arrays]
    if missing:
        raise PhantomError(f"{path} has no {missing[0]}; save it with {', '.join(missing)}")
    shape = _shape_3d(arrays["PD_map"])
    if len(shape) != 3 or 0 in shape:
        raise PhantomError(
            f"PD_map of {path} has shape {arrays['PD_map'].shape}; save maps (x, y) or (x, y, z)"
        )
    regions = {name: array for name, array in arrays.items() if name.startswith("tissue_")}
    for name, array in {
        **{f"{m}_map": arrays.get(f"{m}_map") for m in _NPZ_MAPS},
        **regions,
    }.items():
        if array is not None and _shape_3d(array)[-3:] != shape:
            raise PhantomError(
                f"{name} of {path} has shape {array.shape}, but PD_map has "
                f"{arrays['PD_map'].shape}; save all maps on the same grid"
            )

    index = slice_index(settings, shape[2], path)

    def chosen(name: str) -> Tensor:
        array = arrays[name]
        return _tensor(array.reshape(_shape_3d(array))[..., index], f"{name} of {path}")

    extent = np.array([*settings["fov"], settings["slice_thickness"] * shape[2]])
    if "FOV" in arrays:
        extent = _extent(arrays["FOV"], path)
    grid = Volume(np.empty(shape, bool), np.diag([*(1e3 * extent / shape), 1.0]))
    masks = {
        name.removeprefix("tissue_"): real_map(f"{name} of {path}", chosen(name))
        for name in regions
    }
    return single_pool(
        {name: chosen(f"{name}_map") for name in _NPZ_MAPS if f"{name}_map" in arrays},
        extent,
        float(extent[2] / shape[2]),
        {**masks, **read_masks(settings, grid, index)},
        settings,
    )


def build_mat(settings: Mapping[str, Any]) -> Phantom:
    """Build a phantom of a .mat file as MRzero has it: one array (x, y[, z], 5).

    The last axis holds PD, T1, T2, B0 and B1.

    Parameters
    ----------
    settings
        Checked config of the source ``mat``.
    """
    path = settings["file"]
    _demand_file(path)
    try:
        content = io.loadmat(path)
    except NotImplementedError as error:
        raise PhantomError(f"{path} is a MATLAB 7.3 file; save it with '-v7'") from error
    except Exception as error:
        raise PhantomError(
            f"{path} cannot be read as .mat ({_reason(error)}); save it again"
        ) from error

    arrays = [value for name, value in content.items() if not name.startswith("__")]
    shapes = [array.shape for array in arrays]
    if len(arrays) != 1 or arrays[0].ndim not in (3, 4) or arrays[0].shape[-1] != len(_MAT_MAPS):
        raise PhantomError(
            f"{path} holds arrays of the shapes {shapes}; save one array (x, y, z, 5) of "
            f"{', '.join(_MAT_MAPS)}"
        )
    data = arrays[0] if arrays[0].ndim == 4 else arrays[0][:, :, None]
    index = slice_index(settings, data.shape[2], path)
    maps: dict[str, Any] = {
        name: _tensor(data[:, :, index, number], path) for number, name in enumerate(_MAT_MAPS)
    }
    maps |= {"T2dash": settings["T2dash"], "D": settings["D"]}
    thickness = settings["slice_thickness"]
    extent = np.array([*settings["fov"], thickness * data.shape[2]])
    grid = Volume(np.empty(data.shape[:3], bool), np.diag([*(1e3 * extent / data.shape[:3]), 1.0]))
    return single_pool(maps, extent, thickness, read_masks(settings, grid, index), settings)


def single_pool(
    maps: Mapping[str, Any],
    extent: np.ndarray,
    slice_thickness: float,
    masks: Mapping[str, Tensor],
    settings: Mapping[str, Any],
) -> Phantom:
    """Make a phantom with one tissue, whose region ``brain`` is all of it unless given."""
    pool = TissuePool.of(**maps)
    return Phantom(
        pools={"tissue": pool},
        masks={"brain": (pool.PD > 0).float(), **masks},
        fov=(float(extent[0]), float(extent[1])),
        slice_thickness=slice_thickness,
        origin={"settings": dict(settings)},
    )


def slice_index(settings: Mapping[str, Any], count: int, path: Path | str) -> int:
    """Return the number of the slice to take, the middle one unless the config names it."""
    index = settings.get("slice", count // 2)
    if index >= count:
        raise PhantomError(
            f"phantom.slice is {index}, but {path} has the slices 0 to {count - 1}; choose one"
        )
    return index


def read_masks(settings: Mapping[str, Any], grid: Volume, index: int) -> dict[str, Tensor]:
    """Read one slice of the masks that the config names.

    Parameters
    ----------
    settings
        Config with or without ``masks``.
    grid
        A volume with the grid on which the masks must be.
    index
        Number of the slice.
    """
    masks = {}
    for name, path in settings.get("masks", {}).items():
        volume = read_volume(path)
        if volume.data.shape != grid.data.shape:
            raise PhantomError(
                f"{path} has shape {volume.data.shape}, but the phantom has {grid.data.shape}; "
                "give masks on the grid of the maps"
            )
        masks[name] = real_map(str(path), _tensor(volume.data[:, :, index], path))
    return masks


def check_same_grid(path: str, volume: Volume, other_path: str, other: Volume) -> None:
    """Raise an error if two files differ in shape or position."""
    if volume.data.shape != other.data.shape:
        raise PhantomError(
            f"{path} has shape {volume.data.shape}, but {other_path} has {other.data.shape}; "
            "give all maps on the same grid"
        )
    if not np.allclose(volume.affine, other.affine, atol=1e-3):
        raise PhantomError(
            f"{path} and {other_path} differ in their affine; give all maps on the same grid"
        )


def _demand_file(path: str) -> None:
    if not is_file(path):
        raise PhantomError(f"{path} does not exist; check phantom.file in the config")


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _shape_3d(array: np.ndarray) -> tuple[int, ...]:
    """Return the shape of a map, with a slice axis if it has none."""
    return (*array.shape, 1) if array.ndim == 2 else array.shape


def _extent(fov: np.ndarray, path: str) -> np.ndarray:
    """Return the extent [m] that a .npz file states."""
    if fov.shape != (3,) or fov.dtype.kind not in "iuf":
        raise PhantomError(f"FOV of {path} must be the lengths [x, y, z] in m; save it again")
    return fov.astype(float)


def _tensor(array: np.ndarray, name: str) -> Tensor:
    # Dates, text and colours would become numbers, or fail
    if array.dtype.kind not in "biufc":
        raise PhantomError(f"{name} holds {array.dtype}, but must hold numbers; save it again")
    # Files may be big-endian, read-only, or of integers.
    kind = np.complex64 if np.iscomplexobj(array) else np.float32
    return torch.from_numpy(np.array(array, dtype=kind))
