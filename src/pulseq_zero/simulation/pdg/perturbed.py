"""A phantom and its neighbours, all in one, for derivatives by tissue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pulseq_zero.errors import SimulationError

if TYPE_CHECKING:
    import MRzeroCore as mr0

# By what a map is more and less: by parts of it, or, of maps that may be zero, by numbers in their
# units. In float64, rounding and what is left out of the difference leave parts of 1e-6 or less.
_BY_PARTS = dict.fromkeys(("T1", "T2", "T2dash", "B1"), (0.0001, -0.0001))
_BY_NUMBERS = {"PD": (1e-3, 0.0), "B0": (1e-4, -1e-4)}
# Within a readout all voxels diffuse with the phantom's mean, which has to be as much more or less:
# these are phantoms of their own
_DIFFUSION = "D"
_DIFFUSION_STEP = 1e-3
_MAPS = (*_BY_PARTS, *_BY_NUMBERS)
MAPS = (*_MAPS, _DIFFUSION)
"""Maps that a signal can be differentiated by."""


@dataclass(frozen=True)
class Perturbed:
    """Each voxel twice for each map: with a little more of it, and with a little less.

    Each has receive coils of its own, so that one simulation, with one set of states for all,
    tells them apart.

    Attributes
    ----------
    data
        Of all these voxels.
    difference
        (maps, voxels) by what the two differ, in the units of the maps.
    """

    data: mr0.SimData
    difference: Tensor

    @classmethod
    def of(cls, data: mr0.SimData, maps: Sequence[str]) -> Perturbed:
        """Perturb some maps.

        Parameters
        ----------
        data
            The phantom.
        maps
            Names of its maps, other than D.
        """
        import MRzeroCore as mr0

        copies, voxels = 2 * len(maps), len(data.PD)
        kinds = dict.fromkeys(_MAPS, torch.float64) | {"B1": torch.complex128}
        found = {name: getattr(data, name).detach().to(kind) for name, kind in kinds.items()}
        perturbed = {name: _repeated(values, copies) for name, values in found.items()}
        differences = []
        for number, name in enumerate(maps):
            steps = _BY_PARTS[name] if name in _BY_PARTS else _BY_NUMBERS[name]
            for copy, step in enumerate(steps, start=2 * number):
                here = slice(copy * voxels, (copy + 1) * voxels)
                if name in _BY_PARTS:
                    perturbed[name][..., here] *= 1 + step
                else:
                    perturbed[name][here] += step
            # A factor of the transmit field is one itself
            by_its_size = name in _BY_PARTS and name != "B1"
            size = found[name] if by_its_size else torch.ones(voxels, dtype=torch.float64)
            differences.append((steps[0] - steps[1]) * size)
        made = mr0.SimData(
            **perturbed,
            D=data.D.detach().double().repeat(copies),
            coil_sens=_own_coils(data.coil_sens.detach().to(torch.complex128), copies),
            size=data.size,
            affine=data.affine,
            voxel_pos=data.voxel_pos.detach().double().repeat(copies, 1),
            nyquist=data.nyquist,
            dephasing_func=data.dephasing_func,
        )
        return cls(made, torch.stack(differences))

    def slopes(self, signal: Tensor) -> Tensor:
        """Return the slopes of a (samples, coils of all) signal.

        Returns
        -------
        Tensor
            (samples, coils, maps, voxels) complex128.
        """
        maps, voxels = self.difference.shape
        apart = signal.reshape(len(signal), -1, maps, 2, voxels)
        difference = self.difference.to(signal.device)
        # By an infinite time nothing changes
        return (apart[..., 0, :] - apart[..., 1, :]) / difference


def check_map_names(maps: Sequence[str]) -> None:
    """Refuse what is no map that a signal can be differentiated by.

    Raises
    ------
    SimulationError
        If there is no such map, or none was named.
    """
    unknown = [name for name in maps if name not in MAPS]
    if unknown or not maps:
        raise SimulationError(
            f"the phantom has no map {unknown[0]!r} to differentiate by; choose among "
            f"{', '.join(MAPS)}"
            if unknown
            else f"name at least one map to differentiate by, of {', '.join(MAPS)}"
        )


def diffusing(data: mr0.SimData) -> tuple[list[mr0.SimData], float]:
    """Return phantoms whose voxels diffuse a little more, and a little less, and the difference.

    Each voxel has receive coils of its own. The difference is in 1e-3 mm²/s, as the map D.
    """
    import MRzeroCore as mr0

    names = ("PD", "T1", "T2", "T2dash", "B0")
    made = [
        mr0.SimData(
            **{name: getattr(data, name).detach().double() for name in names},
            D=data.D.detach().double() + step,
            B1=data.B1.detach().to(torch.complex128),
            coil_sens=_own_coils(data.coil_sens.detach().to(torch.complex128), 1),
            size=data.size,
            affine=data.affine,
            voxel_pos=data.voxel_pos.detach().double(),
            nyquist=data.nyquist,
            dephasing_func=data.dephasing_func,
        )
        for step in (_DIFFUSION_STEP, -_DIFFUSION_STEP)
    ]
    return made, 2 * _DIFFUSION_STEP


def _repeated(values: Tensor, copies: int) -> Tensor:
    return values.repeat(*[1] * (values.ndim - 1), copies)


def _own_coils(sensitivity: Tensor, copies: int) -> Tensor:
    """Give each coil (coils, voxels) to each voxel of each copy: (coils x copies x voxels, ...)."""
    each = sensitivity.repeat(1, copies)
    return torch.diag_embed(each).flatten(0, 1)
