"""Phantoms in the format of MRzeroCore: a phantom JSON that names NIfTI maps.

See https://github.com/mrx-org/bifti-phantoms for the format.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from pulseq_zero.files.store import atomic_path, save_json

if TYPE_CHECKING:
    from MRzeroCore.phantom.nifti_phantom import ResliceConfig

    from pulseq_zero.phantom.phantom import Phantom

# What the maps are called in the JSON, in which some have a list of channels.
JSON_NAMES = {
    "PD": "density",
    "T1": "T1",
    "T2": "T2",
    "T2dash": "T2'",
    "D": "ADC",
    "B0": "dB0",
    "B1": "B1+",
    "coil_sensitivity": "B1-",
}


def save_nifti(phantom: Phantom, folder: Path | str, name: str = "phantom") -> Path:
    """Save a phantom as MRzeroCore's phantom JSON with its NIfTI maps, and its masks.

    Maps with a single value stand in the JSON as a number. The regions are saved beside it as
    ``<name>_mask_<region>.nii.gz``, for which the format has no place.

    Parameters
    ----------
    phantom
        What to save.
    folder
        Where to save it.
    name
        Stem of all files.

    Returns
    -------
    Path
        The JSON file, which ``mr0.TissueDict.load`` reads.
    """
    from MRzeroCore.phantom.nifti_phantom import NiftiPhantom

    folder = Path(folder)
    affine = np.vstack([phantom.affine.double().numpy(), [0, 0, 0, 1]])
    images: dict[str, list[np.ndarray]] = {}

    def entry(key: str, values: Tensor) -> float | str:
        """Return a map as the JSON has it, and note what is to be written for it."""
        array = phantom.with_z(values).resolve_conj().numpy()
        if key != "density" and (array == array.flat[0]).all() and array.flat[0].imag == 0:
            return float(array.flat[0].real)
        written = images.setdefault(key, [])
        index = next((i for i, other in enumerate(written) if np.array_equal(other, array)), None)
        if index is None:
            index = len(written)
            written.append(array)
        return f"{_file_name(name, key)}[{index}]"

    tissues: dict[str, dict[str, Any]] = {}
    for tissue, pool in phantom.pools.items():
        tissues[tissue] = {}
        for attribute, key in JSON_NAMES.items():
            values = getattr(pool, attribute)
            per_channel = values.ndim > len(phantom.matrix)
            # What is left out is infinite, which JSON cannot say.
            if not (key in ("T1", "T2", "T2'") and values.isinf().all()):
                tissues[tissue][key] = (
                    [entry(key, each) for each in values] if per_channel else entry(key, values)
                )

    for key, arrays in images.items():
        _save_image(folder / _file_name(name, key), np.stack(arrays, -1), affine)
    for region, mask in phantom.masks.items():
        _save_image(folder / f"{name}_mask_{region}.nii.gz", phantom.with_z(mask).numpy(), affine)

    content = NiftiPhantom.default().to_dict()
    content["tissues"] = tissues
    content["reslice_to"] = reslice_config((*phantom.matrix, 1)[:3], affine).to_dict()
    path = folder / f"{name}.json"
    save_json(path, content)
    return path


def reslice_config(shape: tuple[int, ...], affine: np.ndarray) -> ResliceConfig:
    """Return the grid on which MRzeroCore is to give the maps.

    Parameters
    ----------
    shape
        Number of voxels along x, y, z.
    affine
        (3 or 4, 4) voxel indices to positions [mm].
    """
    from MRzeroCore.phantom.nifti_phantom import ResliceConfig

    # MRzeroCore interpolates, and a voxel that lies outside of the map by a rounding error
    # becomes empty. A step that is shorter by less than float32 resolves keeps it inside.
    inside = np.array(affine[:3], dtype=float)
    inside[:, :3] *= 1 - 1e-12
    return ResliceConfig(resolution=list(shape), affine=inside.tolist())


def _file_name(name: str, key: str) -> str:
    return f"{name}.nii.gz" if key == "density" else f"{name}_{key}.nii.gz"


def _save_image(path: Path, data: np.ndarray, affine: np.ndarray) -> None:
    import nibabel

    with atomic_path(path) as temporary:
        nibabel.save(nibabel.Nifti1Image(data, affine), temporary)
