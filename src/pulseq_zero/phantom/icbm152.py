"""The ICBM152 average brain, quantified.

The anatomy comes from the maps that nilearn carries in its package (ICBM152 2009a, 1 mm):
Fonov et al., NeuroImage 54:313-327 (2011), doi:10.1016/j.neuroimage.2010.07.033. Skull, scalp
and fields are modelled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from pulseq_zero.errors import PhantomError
from pulseq_zero.phantom.deformation import Deformation
from pulseq_zero.phantom.fields import PROTON_FREQUENCY, bright_centre, cavity_field
from pulseq_zero.phantom.grid import averaging_matrix, voxel_centres, voxel_edges
from pulseq_zero.phantom.lesions import LESION, lesion_shares, lesion_tissue
from pulseq_zero.phantom.phantom import Phantom
from pulseq_zero.phantom.pool import TissuePool

# The average of 152 brains is blurred by their differences, so that narrow sulci lose to their
# banks. An unsharp mask over this width brings them back before voxels are labelled.
_UNSHARP_WIDTH = 2.0  # voxels of 1 mm
_UNSHARP_AMOUNT = 3.0
# Above this share of CSF each lateral ventricle is one piece, apart from all other CSF.
_VENTRICLE_CSF = 0.6

# Of nilearn, which has all three in one space
_MAP = "mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"

_LABELS = ("gm", "wm", "csf", "scalp")


@dataclass(frozen=True)
class _Template:
    """(x, y, z) probabilities of the tissues and the position [m] of the voxel centres."""

    gm: np.ndarray
    wm: np.ndarray
    brain: np.ndarray
    centres: tuple[np.ndarray, np.ndarray, np.ndarray]

    @property
    def csf(self) -> np.ndarray:
        return np.where(self.brain, 1 - self.gm - self.wm, 0)

    def edges(self, axis: int) -> Tensor:
        """Return the edges [m] of the voxels along an axis."""
        centres = torch.from_numpy(self.centres[axis])
        step = float(centres[1] - centres[0])
        return torch.cat([centres - step / 2, centres[-1:] + step / 2])


@dataclass(frozen=True)
class _Anatomy:
    """What lies in a slice.

    Attributes
    ----------
    shares
        (x, y) share of each voxel of the template that a tissue fills.
    ventricles
        (x, y) share that belongs to the lateral ventricles.
    edges
        Edges of the voxels along x and y from the middle of the head [m].
    centre
        The middle of the head in the template (x, y) [m].
    """

    shares: Mapping[str, np.ndarray]
    ventricles: np.ndarray
    edges: tuple[Tensor, Tensor]
    centre: tuple[float, float]

    def changed(self, settings: Mapping[str, Any]) -> _Anatomy:
        """Deform it and give it lesions, if that is asked for."""
        shares, ventricles = self.shares, self.ventricles
        size = [float(edges[1] - edges[0]) for edges in self.edges]
        if "deform" in settings:
            deform = Deformation((len(ventricles), ventricles.shape[1]), size, **settings["deform"])
            shares = {name: deform(share) for name, share in shares.items()}
            ventricles = deform(ventricles)
        if "lesions" in settings:
            lesions = lesion_shares(shares["wm"], size, settings["lesions"])
            shares = {name: share * (1 - lesions) for name, share in shares.items()}
            shares[LESION] = lesions
        return replace(self, shares=shares, ventricles=ventricles)


@dataclass(frozen=True)
class _Slice:
    """What a slice of the phantom holds, on its grid.

    Attributes
    ----------
    shares
        (x, y) share of each voxel that a tissue fills.
    ventricles, shimmed
        (x, y) share of the lateral ventricles, and of what the field is shimmed on.
    B0
        (x, y) off-resonance before the shim [Hz].
    """

    shares: dict[str, Tensor]
    ventricles: Tensor
    shimmed: Tensor
    B0: Tensor


def build_icbm152(settings: Mapping[str, Any], definition: Mapping[str, Any]) -> Phantom:
    """Build a phantom of one axial slice, or of a volume of adjacent ones.

    Each voxel of 1 mm is labelled with its most probable tissue; the labels are averaged over
    the phantom's voxels. So boundaries are sharp, and voxels at a boundary hold several pools.

    Parameters
    ----------
    settings
        Checked config of the source ``icbm152``.
    definition
        Tissues, layers around the brain, and fields.
    """
    position, thickness = settings["slice_position"], settings["slice_thickness"]
    centre = _unchanged(settings, definition, position).centre
    if "slices" not in settings:
        held = _slice(settings, definition, position, centre)
    else:
        count = settings["slices"]
        held = _stacked(
            [
                _slice(settings, definition, position + (k - count // 2) * thickness, centre)
                for k in range(count)
            ]
        )
    shares, shimmed = held.shares, held.shimmed
    B0 = settings["B0_scale"] * (held.B0 - (held.B0 * shimmed).sum() / shimmed.sum())
    matrix, fov = settings["matrix"], settings["fov"]
    x, y = (voxel_centres(matrix[axis], fov[axis]) for axis in (0, 1))
    B1 = 1 + settings["B1_scale"] * (bright_centre(x, y, **definition["B1"]) - 1)
    if B0.ndim == 3:
        B1 = B1[..., None].expand(B0.shape)

    pools = {}
    for name, share in shares.items():
        if name == LESION:
            values = {**lesion_tissue(settings["lesions"]), "shift": 0.0}
        else:
            values = {key: entry["value"] for key, entry in definition["tissues"][name].items()}
        PD = values.pop("PD") * share
        shift = values.pop("shift") * 1e-6 * PROTON_FREQUENCY * definition["field_strength"]
        pools[name] = TissuePool.of(PD, **values, B0=B0 + shift, B1=B1[None])
    if not settings["scalp"]:
        del pools["scalp"]
    masks = {"csf": held.ventricles, "gm": shares["gm"], "wm": shares["wm"]}
    masks["brain"] = shares["gm"] + shares["wm"]
    if LESION in shares:
        masks |= {LESION: shares[LESION], "brain": masks["brain"] + shares[LESION]}
    return Phantom(
        pools=pools,
        masks=masks,
        fov=(fov[0], fov[1]),
        slice_thickness=thickness,
        origin={"settings": dict(settings), "tissues": definition["tissues"]},
        position=(*centre, position),
    )


def _unchanged(
    settings: Mapping[str, Any], definition: Mapping[str, Any], position: float
) -> _Anatomy:
    head = definition["head"] if settings["scalp"] else {**definition["head"], "scalp": 0.0}
    return _anatomy(
        position,
        settings["slice_thickness"],
        tuple(sorted(head.items())),
        tuple(map(tuple, definition["ventricles"])),
    )


def _slice(
    settings: Mapping[str, Any],
    definition: Mapping[str, Any],
    position: float,
    centre: tuple[float, float],
) -> _Slice:
    """Average the anatomy of a slice over the voxels of a grid around a centre."""
    unchanged = _unchanged(settings, definition, position)
    anatomy = unchanged.changed(settings)
    matrix, fov = settings["matrix"], settings["fov"]
    along_x, along_y = (
        averaging_matrix(
            anatomy.edges[axis] + (anatomy.centre[axis] - centre[axis]),
            voxel_edges(matrix[axis], fov[axis]),
        )
        for axis in (0, 1)
    )

    def on_grid(share: np.ndarray) -> Tensor:
        return (along_x @ torch.from_numpy(share) @ along_y.T).float()

    whole = sum(share.sum() for share in anatomy.shares.values())
    area = fov[0] / matrix[0] * fov[1] / matrix[1] * 1e6
    shares = {name: on_grid(share) for name, share in anatomy.shares.items()}
    kept = sum(float(share.sum()) for share in shares.values()) * area
    if kept < 0.999 * whole:
        raise PhantomError(
            f"the head does not fit into a field of view of {fov[0]:g} x {fov[1]:g} m; enlarge "
            "phantom.fov or set phantom.scalp to false"
        )
    x, y = (voxel_centres(matrix[axis], fov[axis]) for axis in (0, 1))
    B0 = cavity_field(
        x + centre[0], y + centre[1], position, definition["B0"], definition["field_strength"]
    )
    # Scanners would be shimmed on the changed head, but the fields are to be the same
    shimmed = on_grid(unchanged.shares["gm"]) + on_grid(unchanged.shares["wm"])
    return _Slice(shares, on_grid(anatomy.ventricles), shimmed, B0)


def _stacked(slices: Sequence[_Slice]) -> _Slice:
    """Put slices one on the other, as (x, y, z)."""
    return _Slice(
        {name: torch.stack([one.shares[name] for one in slices], -1) for name in slices[0].shares},
        *(
            torch.stack([getattr(one, name) for one in slices], -1)
            for name in ("ventricles", "shimmed", "B0")
        ),
    )


# Phantoms that differ by a factor, a deformation or lesions have the same anatomy
@lru_cache(maxsize=8)
def _anatomy(
    position: float,
    thickness: float,
    head: tuple[tuple[str, float], ...],
    ventricles: tuple[tuple[float, ...], ...],
) -> _Anatomy:
    """Label a slice.

    Parameters
    ----------
    position, thickness
        Of the slice along z [m].
    head
        Layers around the brain [m], by name.
    ventricles
        Points (x, y, z) inside of the lateral ventricles [m].
    """
    template = _load_template()
    slab_edges = torch.tensor([position - thickness / 2, position + thickness / 2])
    weights = averaging_matrix(template.edges(2), slab_edges.double())[0].numpy()
    chosen = np.flatnonzero(weights).tolist()
    if not template.brain[:, :, chosen].any():
        z = template.centres[2][template.brain.any((0, 1))]
        raise PhantomError(
            f"there is no brain in the slice at {position:g} m; choose phantom.slice_position "
            f"between {z.min():g} and {z.max():g} m"
        )
    labels = np.stack([_label_slice(template, z, dict(head)) for z in chosen], -1)
    weight = weights[chosen] / weights.sum()
    centre = _centre(labels > 0, template)
    return _Anatomy(
        shares={name: (labels == number) @ weight for number, name in enumerate(_LABELS, start=1)},
        ventricles=_ventricles(template, ventricles)[:, :, chosen] @ weight,
        edges=(template.edges(0) - centre[0], template.edges(1) - centre[1]),
        centre=centre,
    )


def _load_template() -> _Template:
    brain, gm, wm = (_nilearn_map(name) for name in ("t1", "gm", "wm"))
    x, y, z = (
        1e-3 * (brain.affine[axis, 3] + brain.affine[axis, axis] * np.arange(count))
        for axis, count in enumerate(brain.shape)
    )
    return _Template(gm=_scaled(gm), wm=_scaled(wm), brain=_scaled(brain) > 0, centres=(x, y, z))


def _nilearn_map(name: str) -> nibabel.Nifti1Image:
    """Open one of the maps that lie in nilearn, which itself takes seconds to import."""
    package = find_spec("nilearn")
    folders = package.submodule_search_locations if package else None
    file = Path(*(folders or ["nilearn"])[:1], "datasets", "data", _MAP.format(name))
    if not file.is_file():
        raise PhantomError(
            f"the default brain needs nilearn: pip install 'pulseq-zero[brain]', or name a phantom "
            f"of another source under phantom.source; there is no {file}"
        )
    return nibabel.Nifti1Image.from_filename(file)


def _scaled(image: nibabel.Nifti1Image) -> np.ndarray:
    """Return (x, y, z) values from 0 to 1, as nilearn scales them."""
    values = image.get_fdata(dtype=np.float32)
    return values / values.max()


def _label_slice(template: _Template, z: int, head: Mapping[str, float]) -> np.ndarray:
    """Return the (x, y) labels of a slice: 0 for nothing, else counted as in `_LABELS`."""
    brain = template.brain[:, :, z]
    filled = _closed(brain, head["fissure_width"] / 2)
    gm, wm = template.gm[:, :, z], template.wm[:, :, z]
    probabilities = np.stack([gm, wm, np.where(filled, 1 - gm - wm, 0)])
    blurred = ndimage.gaussian_filter(probabilities, (0, _UNSHARP_WIDTH, _UNSHARP_WIDTH))
    sharpened = probabilities + _UNSHARP_AMOUNT * (probabilities - blurred)
    labels = np.where(filled, 1 + sharpened.argmax(0), 0)

    from_brain = _distance(filled)
    labels[(from_brain > 0) & (from_brain <= head["csf"])] = 1 + _LABELS.index("csf")
    skull_inside = _closed(filled, head["smoothing"] / 2)
    from_skull = _distance(skull_inside) - head["csf"] - head["skull"]
    labels[(from_skull > 0) & (from_skull <= head["scalp"])] = 1 + _LABELS.index("scalp")
    return labels


def _distance(inside: np.ndarray) -> np.ndarray:
    """Return the distance [m] of each voxel from a region."""
    return 1e-3 * ndimage.distance_transform_edt(~inside)


def _closed(inside: np.ndarray, radius: float) -> np.ndarray:
    """Return a region with the dents filled that a disc of this radius [m] does not enter."""
    margin = 2 + int(radius * 1e3)
    grown = _distance(np.pad(inside, margin)) <= radius
    closed = _distance(~grown) > radius
    return inside | closed[margin:-margin, margin:-margin]


def _ventricles(template: _Template, seeds: Sequence[Sequence[float]]) -> np.ndarray:
    """Return the (x, y, z) voxels of the lateral ventricles, which hold the seeds [m]."""
    pieces, _ = ndimage.label(template.csf > _VENTRICLE_CSF)
    found = set()
    for seed in seeds:
        index = tuple(
            int(np.abs(axis - value).argmin())
            for axis, value in zip(template.centres, seed, strict=True)
        )
        if pieces[index] == 0:
            raise PhantomError(
                f"there is no CSF at {tuple(seed)} m; correct the point under ventricles in the "
                "definition"
            )
        found.add(pieces[index])
    return np.isin(pieces, list(found))


def _centre(inside: np.ndarray, template: _Template) -> tuple[float, float]:
    """Return the middle (x, y) [m] of what a (x, y, z) mask holds."""
    middle = []
    for axis in (0, 1):
        present = np.flatnonzero(inside.any(tuple({0, 1, 2} - {axis})))
        middle.append(float(template.centres[axis][present[[0, -1]]].mean()))
    return middle[0], middle[1]
