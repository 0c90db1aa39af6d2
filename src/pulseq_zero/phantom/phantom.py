"""The phantom: tissue pools on a grid of voxels, and regions to measure in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from pulseq_zero.errors import PhantomError, check_mapping, is_number, shown
from pulseq_zero.files.store import load_tensors, save_tensors
from pulseq_zero.phantom.grid import area_average
from pulseq_zero.phantom.nifti import save_nifti
from pulseq_zero.phantom.pool import TissuePool, check_pool, real_map

if TYPE_CHECKING:
    import MRzeroCore as mr0

MAP_UNITS: Mapping[str, str] = {
    "PD": "relative",
    "T1": "s",
    "T2": "s",
    "T2dash": "s",
    "D": "1e-3 mm²/s",
    "B0": "Hz",
    "B1": "relative",
}
"""The maps of a phantom and their units, those of MRzeroCore."""

# Voxels with less are dropped by MRzeroCore, too.
_PD_THRESHOLD = 1e-6
_FORMAT = "pulseq-zero phantom 2"

Direction = tuple[float, float, float]
_UNTURNED: tuple[Direction, ...] = ((1, 0, 0), (0, 1, 0), (0, 0, 1))


@dataclass(frozen=True, repr=False)
class Phantom:
    """Tissue pools in a slice of voxels, or in a volume of several slices.

    Tensors are (x, y), and (x, y, z) in a volume: x from left to right, y from posterior to
    anterior, z from bottom to top. Voxel i of n is centred at (i - n // 2) voxel sizes. A voxel may
    hold several pools (partial volume), each of which is simulated by itself.

    Attributes
    ----------
    pools
        The tissues by name.
    masks
        (x, y), or (x, y, z) in a volume: share of each voxel that belongs to a region, between 0
        and 1, by name.
    fov
        Extent of the grid along x and y [m].
    slice_thickness
        Extent of the voxels along z [m], of a volume that of each of its slices.
    origin
        What the phantom was made of, as JSON can hold it.
    position
        Where its zero lies in the coordinates of what it was made of [m], towards the right,
        front and top of the patient. The simulated scanner has it in its isocentre.
    orientation
        (3, 3) directions of x, y and z (columns) in these coordinates.

    Raises
    ------
    PhantomError
        If a map is misshapen or unphysical, or the phantom has no extent.
    """

    pools: dict[str, TissuePool]
    masks: dict[str, Tensor]
    fov: tuple[float, float]
    slice_thickness: float
    origin: dict[str, Any] = field(default_factory=dict)
    position: Direction = (0.0, 0.0, 0.0)
    orientation: tuple[Direction, ...] = _UNTURNED

    def __post_init__(self) -> None:
        check_mapping("pools", self.pools, PhantomError)
        check_mapping("masks", self.masks, PhantomError)
        lengths = (*self.fov, self.slice_thickness)
        # Those that are not finite extend along no axis, as the next sentence says
        if not all(is_number(length) or isinstance(length, float) for length in lengths):
            raise PhantomError(
                f"fov and slice_thickness are {shown(self.fov)} and {shown(self.slice_thickness)}, "
                "but must be lengths in m"
            )
        if len(self.fov) != 2 or not all(0 < length < math.inf for length in lengths):
            raise PhantomError(
                f"the phantom measures {' x '.join(f'{length:g}' for length in lengths)} m, but "
                "must extend along x, y and z; correct the field of view or the slice thickness"
            )
        if not self.pools:
            raise PhantomError("the phantom has no tissue pool; give it at least one")
        for name, pool in self.pools.items():
            check_pool(name, pool, self.matrix)
        if not any((pool.PD > _PD_THRESHOLD).any() for pool in self.pools.values()):
            raise PhantomError(
                "the phantom is empty: PD is zero in every voxel of the slice; choose another slice"
            )
        for name, mask in self.masks.items():
            shape = tuple(torch.as_tensor(mask).shape)
            if shape != self.matrix:
                raise PhantomError(
                    f"mask {name!r} has shape {shape}, but the maps have "
                    f"{self.matrix}; give it on the same grid"
                )
            real_map(f"mask {name!r}", mask)
            if not ((mask >= 0) & (mask <= 1)).all():
                raise PhantomError(
                    f"mask {name!r} has values outside 0 to 1; a mask holds each voxel's share"
                )

    def __repr__(self) -> str:
        matrix = " x ".join(map(str, self.matrix))
        return f"Phantom({matrix} voxels, pools {', '.join(self.pools)})"

    @property
    def matrix(self) -> tuple[int, ...]:
        """Number of voxels along x and y, and along z in a volume."""
        return tuple(next(iter(self.pools.values())).PD.shape)

    @property
    def is_volume(self) -> bool:
        """Whether it has several slices, or one that is a grid along z, too."""
        return len(self.matrix) == 3

    @property
    def extent(self) -> tuple[float, ...]:
        """Extent along x and y, and along z in a volume [m]."""
        return (*self.fov, *(self.slice_thickness * count for count in self.matrix[2:]))

    def maps(self) -> dict[str, Tensor]:
        """Combine the pools into (x, y), or (x, y, z), float32 maps to look at.

        Returns
        -------
        dict
            The maps of `MAP_UNITS`: PD summed over the pools, the others averaged with PD as
            weight and zero where nothing is. B1 is the magnitude of all channels together.
        """
        pools = list(self.pools.values())
        weight = torch.stack([pool.PD for pool in pools])
        total = weight.sum(0)
        maps = {"PD": total}
        for name in list(MAP_UNITS)[1:]:
            values = torch.stack(
                [pool.B1.sum(0).abs() if name == "B1" else getattr(pool, name) for pool in pools]
            )
            product = torch.where(weight > 0, weight * values, 0.0).sum(0)
            maps[name] = torch.where(total > 0, product / total, 0.0)
        return maps

    def mask(
        self, name: str, matrix: Sequence[int] | None = None, threshold: float = 0.9
    ) -> Tensor:
        """Return the pixels of an image that lie in a region.

        Parameters
        ----------
        name
            One of ``masks``.
        matrix
            Matrix of an image with the phantom's field of view; by default 64 x 64 pixels, and the
            voxels of a volume.
        threshold
            Share of a pixel's area that must belong to the region. A high one leaves out the
            pixels at the edge, which show other tissue as well.

        Returns
        -------
        Tensor
            (x, y), or (x, y, z), bool.

        Raises
        ------
        PhantomError
            If there is no such region, no pixel is left of it, or the matrix is of other axes.
        """
        if name not in self.masks:
            raise PhantomError(
                f"the phantom has no region {name!r}, only {sorted(self.masks)}; "
                "name its file under masks in the phantom's config"
            )
        if matrix is None:
            matrix = self.matrix if self.is_volume else (64, 64)
        if len(matrix) != len(self.matrix):
            raise PhantomError(
                f"a matrix of {len(matrix)} axes does not fit the phantom's {len(self.matrix)}; of "
                "a volume, take a slice by Phantom.slice, or ask for x, y and z"
            )
        share = area_average(self.masks[name].double(), self.extent, matrix)
        if not (share >= threshold).any():
            pixels = " x ".join(map(str, matrix))
            raise PhantomError(
                f"no pixel of {pixels} lies to {threshold:g} in region {name!r}, "
                f"at most to {float(share.max()):.2g}; ask for a smaller share, refine the image "
                "or choose another slice"
            )
        return share >= threshold

    def scaled(self, **factors: float) -> Phantom:
        """Return the same phantom with some maps multiplied, e.g. ``scaled(B1=0.8, T1=1.1)``."""
        unknown = set(factors) - set(MAP_UNITS)
        if unknown:
            raise PhantomError(
                f"the phantom has no map {sorted(unknown)[0]!r} to scale; "
                f"choose among {', '.join(MAP_UNITS)}"
            )
        pools = {
            name: replace(pool, **{key: getattr(pool, key) * by for key, by in factors.items()})
            for name, pool in self.pools.items()
        }
        return replace(self, pools=pools, origin={**self.origin, "scaled": factors})

    def slice(self, number: int) -> Phantom:
        """Return a slice of a volume, by its number from the bottom, in the isocentre."""
        if not self.is_volume or not 0 <= number < self.matrix[2]:
            raise PhantomError(
                f"there is no slice {number}; a volume's are numbered from 0 to its number less 1"
            )
        pools = {
            name: TissuePool(*(getattr(pool, each.name)[..., number] for each in fields(pool)))
            for name, pool in self.pools.items()
        }
        masks = {name: mask[..., number] for name, mask in self.masks.items()}
        height = (number - self.matrix[2] // 2) * self.slice_thickness
        upwards = torch.tensor(self.orientation, dtype=torch.float64)[:, 2]
        position = torch.tensor(self.position, dtype=torch.float64) + height * upwards
        x, y, z = position.tolist()
        return replace(self, pools=pools, masks=masks, position=(x, y, z))

    def thickened(self, thickness: float) -> Phantom:
        """Return a slice of another thickness [m], as if the same went on to both sides.

        Raises
        ------
        PhantomError
            If it is a volume.
        """
        if self.is_volume:
            raise PhantomError("a volume cannot be thickened: what lies beside a slice is in it")
        share = thickness / self.slice_thickness
        pools = {name: replace(pool, PD=pool.PD * share) for name, pool in self.pools.items()}
        return replace(self, pools=pools, slice_thickness=thickness)

    @property
    def affine(self) -> Tensor:
        """(3, 4) float32 voxel indices to positions [mm] in unturned axes.

        MRzeroCore simulates a phantom in the isocentre, wherever it lies, but turned as it is.
        """
        size = [self.fov[0] / self.matrix[0], self.fov[1] / self.matrix[1], self.slice_thickness]
        zero = torch.tensor([*(count // 2 for count in self.matrix), 0][:3])
        first = torch.tensor(self.position) - torch.tensor(size) * zero
        return 1e3 * torch.cat([torch.diag(torch.tensor(size)), first[:, None]], 1)

    def to_mr0(self) -> mr0.TissueDict:
        """Return the pools as MRzeroCore has them, with (x, y, z) maps.

        B1 and coil sensitivities keep the sense of this class. To simulate with MRzeroCore itself,
        whose spins turn the other way, conjugate them; see `Repetitions.conjugate`.
        """
        import MRzeroCore as mr0

        return mr0.TissueDict(
            {
                name: mr0.VoxelGridPhantom(
                    *(self.with_z(getattr(pool, each.name)) for each in fields(pool)), self.affine
                )
                for name, pool in self.pools.items()
                if (pool.PD > _PD_THRESHOLD).any()
            }
        )

    def with_z(self, values: Tensor) -> Tensor:
        """Give (..., x, y) values of a slice the axis z that those of a volume have."""
        return values if self.is_volume else values[..., None]

    def simulation_data(self, voxel_shape: Literal["sinc", "box"] = "sinc") -> mr0.SimData:
        """Return all pools' voxels, one behind the other, as the simulation wants them.

        Parameters
        ----------
        voxel_shape
            ``"sinc"`` for band-limited voxels, ``"box"`` for sharp-edged ones.

        Returns
        -------
        mr0.SimData
            float32 data of the voxels that hold something.
        """
        return self.to_mr0().build(_PD_THRESHOLD, voxel_shape)

    def save(self, path: Path | str) -> None:
        """Save the phantom as safetensors."""
        tensors = {
            f"pools/{name}/{each.name}": getattr(pool, each.name)
            for name, pool in self.pools.items()
            for each in fields(pool)
        }
        tensors |= {f"masks/{name}": mask for name, mask in self.masks.items()}
        metadata = {
            "format": _FORMAT,
            "pools": list(self.pools),
            "masks": list(self.masks),
            "fov": self.fov,
            "slice_thickness": self.slice_thickness,
            "origin": self.origin,
            "position": self.position,
            "orientation": self.orientation,
        }
        save_tensors(path, tensors, metadata)

    @classmethod
    def load(cls, path: Path | str) -> Phantom:
        """Load a phantom that `save` saved, bit by bit the same."""
        tensors, metadata = load_tensors(path)
        if metadata.get("format") != _FORMAT:
            raise PhantomError(f"{path} holds no phantom of this version; build the phantom again")
        try:
            return cls(
                pools={
                    name: TissuePool(
                        **{e.name: tensors[f"pools/{name}/{e.name}"] for e in fields(TissuePool)}
                    )
                    for name in metadata["pools"]
                },
                masks={name: tensors[f"masks/{name}"] for name in metadata["masks"]},
                fov=(metadata["fov"][0], metadata["fov"][1]),
                slice_thickness=metadata["slice_thickness"],
                origin=metadata["origin"],
                position=tuple(metadata["position"]),
                orientation=tuple(map(tuple, metadata["orientation"])),
            )
        except (KeyError, IndexError, TypeError) as error:
            raise PhantomError(
                f"{path} lacks {error} of a phantom; build the phantom again"
            ) from error

    def save_nifti(self, folder: Path | str, name: str = "phantom") -> Path:
        """Save the phantom as `pulseq_zero.phantom.nifti.save_nifti` does."""
        return save_nifti(self, folder, name)
