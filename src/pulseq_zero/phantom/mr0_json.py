"""Phantoms in the format of MRzeroCore, read by MRzeroCore; BrainWeb is one of them."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import math
import operator
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import MRzeroCore as mr0
import nibabel
import numpy as np
import torch
from MRzeroCore.phantom import tissue_dict
from MRzeroCore.phantom.brainweb import generate_brainweb_phantoms
from MRzeroCore.phantom.nifti_phantom import (
    NiftiMapping,
    NiftiPhantom,
    NiftiRef,
    NiftiTissue,
    ResliceConfig,
)
from torch import Tensor

from pulseq_zero.errors import PhantomError
from pulseq_zero.files.paths import is_file
from pulseq_zero.phantom.files import (
    Volume,
    check_axes,
    check_gzip,
    read_masks,
    slice_index,
    unit_of_length,
)
from pulseq_zero.phantom.nifti import JSON_NAMES, reslice_config
from pulseq_zero.phantom.phantom import Phantom
from pulseq_zero.phantom.pool import TissuePool

Entry = TypeVar("Entry")

# What MRzeroCore gives a formula to compute with, and what it may do with it.
_FORMULA_NAMES = ("x", "x_min", "x_max", "x_mean", "x_std")
_ARITHMETIC = (
    ast.Expression,
    ast.BinOp,
    ast.UnaryOp,
    ast.Compare,
    ast.operator,
    ast.unaryop,
    ast.cmpop,
    ast.expr_context,
)

# Voxels along an axis; more is a slip of the pen, and no memory holds them.
_LARGEST_AXIS = 2048

# In the order in which MRzeroCore fetches them.
_BRAINWEB_SUBJECTS = (4, 5, 6, 18, 20, 38, *range(41, 55))


def build_mr0_json(settings: Mapping[str, Any]) -> Phantom:
    """Build a phantom of one slice of a phantom JSON of MRzeroCore.

    Parameters
    ----------
    settings
        Checked config of the source ``mr0_json``.
    """
    path = Path(settings["file"])
    config = _read_json(path)
    shape, affine = _native_grid(path, config)
    index = slice_index(settings, shape[2], path)
    grid = Volume(np.broadcast_to(False, shape), affine)
    masks = read_masks(settings, grid, index)
    return _build(path, config, shape, affine, (index, index + 1), masks, settings)


def build_brainweb(settings: Mapping[str, Any]) -> Phantom:
    """Build a phantom of a slab of a BrainWeb subject, which is downloaded if it is not there.

    Parameters
    ----------
    settings
        Checked config of the source ``brainweb``.
    """
    folder, subject = Path(settings["folder"]), settings["subject"]
    name = f"brainweb-subj{subject:02d}"
    path = folder / name / f"{name}-{settings['field_strength']}T.json"
    if not is_file(path):
        _download_brainweb(folder, _BRAINWEB_SUBJECTS.index(subject) + 1)
    config = _read_json(path)
    shape, affine = _native_grid(path, config)
    step = np.linalg.norm(affine[:3, 2]) * 1e-3
    middle = (settings["slice_position"] - affine[2, 3] * 1e-3) / step
    half = max(settings["slice_thickness"] / step, 1.0) / 2
    first, last = round(middle + 0.5 - half), round(middle + 0.5 + half)
    if first < 0 or last > shape[2]:
        low, high = affine[2, 3] * 1e-3, affine[2, 3] * 1e-3 + step * (shape[2] - 1)
        raise PhantomError(
            f"phantom.slice_position is {settings['slice_position']:g} m, but {path} reaches from "
            f"{low:g} to {high:g} m; choose a slice inside"
        )
    return _build(path, config, shape, affine, (first, last), {}, settings)


def _build(
    path: Path,
    config: NiftiPhantom,
    shape: tuple[int, int, int],
    affine: np.ndarray,
    slices: tuple[int, int],
    masks: Mapping[str, Tensor],
    settings: Mapping[str, Any],
) -> Phantom:
    """Make a phantom of the average of the slices from the first to before the last."""
    first, last = slices
    slab = affine.copy()
    slab[:, 2] *= last - first
    slab[:3, 3] += affine[:3, 2] * (first + last - 1) / 2
    config.reslice_to = reslice_config((*shape[:2], 1), slab)
    with _asking_mr0(path):
        tissues = mr0.TissueDict.load(path.parent, config)
    pools = {name: _pool(tissue) for name, tissue in tissues.items()}
    pools = {name: pool for name, pool in pools.items() if pool.PD.any()}
    grid = Volume(np.broadcast_to(False, (*shape[:2], 1)), slab)
    size = grid.voxel_size
    return Phantom(
        pools=pools,
        masks={**_regions(pools), **masks},
        fov=(float(size[0] * shape[0]), float(size[1] * shape[1])),
        slice_thickness=float(size[2]),
        origin={"settings": dict(settings)},
        **grid.placement(0),
    )


def _pool(tissue: mr0.VoxelGridPhantom) -> TissuePool:
    return TissuePool.of(
        PD=tissue.PD[..., 0],
        T1=tissue.T1[..., 0],
        T2=tissue.T2[..., 0],
        T2dash=tissue.T2dash[..., 0],
        D=tissue.D[..., 0],
        B0=tissue.B0[..., 0],
        B1=tissue.B1[..., 0],
        coil_sensitivity=tissue.coil_sens[..., 0],
    )


def _regions(pools: Mapping[str, TissuePool]) -> dict[str, Tensor]:
    """Return each tissue's share of the voxels, where its largest PD is the whole voxel."""
    shares = {name: pool.PD / pool.PD.max() for name, pool in pools.items()}
    brain = [shares[name] for name in ("gm", "wm") if name in shares] or list(shares.values())
    return {**shares, "brain": torch.stack(brain).sum(0).clamp(max=1.0)} if shares else {}


def _read_json(path: Path) -> NiftiPhantom:
    try:
        config = NiftiPhantom.load(path)
    except FileNotFoundError as error:
        raise PhantomError(f"{path} does not exist; check phantom.file in the config") from error
    # Whatever stands there instead of what MRzeroCore expects raises whatever Python can
    except Exception as error:
        raise PhantomError(
            f"{path} is no phantom JSON of MRzeroCore ({type(error).__name__}: {error}); see "
            "https://github.com/mrx-org/bifti-phantoms"
        ) from error
    _check_names(path)
    for mapping in _entries(config, NiftiMapping):
        mapping.func = safe_formula(mapping.func, path)
    return config


def _check_names(path: Path) -> None:
    """Refuse entries that MRzeroCore would pass over, such as ``B1`` instead of ``B1+``."""
    tissues = json.loads(path.read_text(encoding="utf-8"))["tissues"]
    for name, tissue in tissues.items():
        for entry in tissue:
            if entry not in JSON_NAMES.values():
                raise PhantomError(
                    f"{path}: tissue {name!r} has the entry {entry!r}, but its entries are "
                    f"{', '.join(JSON_NAMES.values())}; correct the JSON"
                )


def safe_formula(formula: Any, path: Path) -> str:
    """Let a formula through that only computes: MRzeroCore evaluates it as Python.

    Numbers become floats, of which powers overflow where those of integers would never end.

    Raises
    ------
    PhantomError
        If it does anything but arithmetic with x and its statistics.
    """
    try:
        tree = ast.parse(formula, mode="eval")
    except (SyntaxError, TypeError, ValueError, RecursionError, MemoryError) as error:
        raise PhantomError(f"{path}: the formula {formula!r} is no formula; correct it") from error
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and type(node.value) in (int, float):
            node.value = _as_float(node.value)
        elif not (
            isinstance(node, _ARITHMETIC)
            or (isinstance(node, ast.Name) and node.id in _FORMULA_NAMES)
        ):
            raise PhantomError(
                f"{path}: the formula {formula!r} may only compute with numbers and "
                f"{', '.join(_FORMULA_NAMES)}; correct it"
            )
    return ast.unparse(tree)


def _as_float(number: Any) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf


def _native_grid(path: Path, config: NiftiPhantom) -> tuple[tuple[int, int, int], np.ndarray]:
    """Return shape and affine [mm] of the maps, with x, y, z from left, posterior, inferior.

    The maps are looked at before MRzeroCore reads them, which would take maps of different
    shapes without a word.
    """
    first: tuple[Path, tuple[int, ...], np.ndarray] | None = None
    for reference in _references(config):
        file = path.parent / reference.file_name
        try:
            check_gzip(file)
            image = nibabel.load(file)
        except Exception as error:
            raise PhantomError(
                f"{file}, which {path} names, is missing or no NIfTI; check the name in the JSON"
            ) from error
        if not isinstance(image, nibabel.spatialimages.SpatialImage):
            raise PhantomError(f"{file}, which {path} names, is no NIfTI; correct the JSON")
        if image.ndim != 4 or reference.tissue_index >= image.shape[3]:
            raise PhantomError(
                f"{path} names {reference.to_str()}, but {file} has shape {image.shape}; correct "
                "the index in the JSON"
            )
        if unit_of_length(image) != 1:
            raise PhantomError(
                f"{file} is not in millimetres, which MRzeroCore takes it to be; save it with its "
                "affine in mm"
            )
        if first is None:
            first = file, image.shape[:3], image.affine
        elif image.shape[:3] != first[1] or not np.array_equal(image.affine, first[2]):
            raise PhantomError(
                f"{file} has shape {image.shape[:3]}, but {first[0]} has {first[1]}, or their "
                "affines differ; give all maps on the same grid"
            )
    if first is None:
        raise PhantomError(f"{path} names no tissue; add one with its density")
    shape, affine = first[1:]
    if config.reslice_to is not None:
        shape, affine = _reslice_grid(path, config.reslice_to)
    try:
        turned = nibabel.as_closest_canonical(
            nibabel.Nifti1Image(np.broadcast_to(np.uint8(0), shape), affine)
        )
    except Exception as error:
        raise PhantomError(
            f"the affine of {path} or of its maps spans no volume ({error}); correct it"
        ) from error
    check_axes(turned.affine, path)
    return turned.shape, np.array(turned.affine)


def _reslice_grid(path: Path, grid: ResliceConfig) -> tuple[tuple[int, int, int], np.ndarray]:
    """Return the shape and the (4, 4) affine [mm] that a JSON asks for."""
    try:
        x, y, z = (operator.index(count) for count in grid.resolution)
        affine = np.vstack([np.array(grid.affine, dtype=float)[:3], [0, 0, 0, 1]])
        possible = min(x, y, z) > 0 and max(x, y, z) <= _LARGEST_AXIS
        possible = possible and bool(abs(np.linalg.det(affine)) > 0) and np.isfinite(affine).all()
    except (TypeError, ValueError, IndexError, OverflowError, np.linalg.LinAlgError):
        possible = False
    if not possible:
        raise PhantomError(
            f"reslice_to of {path} must hold a resolution of three numbers up to {_LARGEST_AXIS} "
            "and an affine of 3 x 4; correct the JSON"
        )
    return (x, y, z), affine


def _entries(config: NiftiPhantom, kind: type[Entry]) -> Iterator[Entry]:
    """Yield all entries of one kind that the tissues hold."""
    for tissue in config.tissues.values():
        assert isinstance(tissue, NiftiTissue)
        for entry in vars(tissue).values():
            for each in entry if isinstance(entry, list) else [entry]:
                if isinstance(each, kind):
                    yield each


def _references(config: NiftiPhantom) -> Iterator[NiftiRef]:
    """Yield all files that the tissues name."""
    yield from _entries(config, NiftiRef)
    for mapping in _entries(config, NiftiMapping):
        yield mapping.file


@contextlib.contextmanager
def _asking_mr0(path: Path) -> Iterator[None]:
    """Keep MRzeroCore from printing and from using a former content of the same files."""
    tissue_dict._load_cached.cache_clear()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    # The formulas in a phantom JSON may raise whatever Python can.
    except Exception as error:
        raise PhantomError(
            f"MRzeroCore cannot read {path} ({type(error).__name__}: {error}); check its formulas "
            "and maps"
        ) from error


def _download_brainweb(folder: Path, subjects: int) -> None:
    """Let MRzeroCore fetch the first subjects of BrainWeb."""
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            generate_brainweb_phantoms(str(folder), subjects)
    except (OSError, EOFError, ValueError) as error:
        # A failed download leaves its error page behind, which would be taken for data.
        for file in (folder / "cache").glob("*.gz"):
            if file.read_bytes()[:2] != b"\x1f\x8b":
                file.unlink()
        raise PhantomError(
            f"BrainWeb could not be fetched into {folder} ({type(error).__name__}); connect to "
            "the network, or choose another phantom.source"
        ) from error
