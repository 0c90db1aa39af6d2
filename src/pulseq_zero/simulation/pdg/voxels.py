"""The phantom's maps as the main pass needs them."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pulseq_zero.conversion.repetitions import Repetitions
from pulseq_zero.errors import SimulationError
from pulseq_zero.simulation.pdg.pulse_profiles import Stack

if TYPE_CHECKING:
    import MRzeroCore as mr0

_MAPS = ("PD", "T1", "T2", "T2dash", "D", "B0", "B1", "coil_sens", "voxel_pos")


@dataclass(frozen=True)
class Voxels:
    """Per-voxel quantities in SI units, all with gradients where the maps have them.

    Attributes
    ----------
    R1, R2, R2dash
        (voxels,) relaxation rates [1/s].
    D
        (voxels,) diffusion coefficients [m²/s].
    B0
        (voxels,) off-resonance [Hz]: transverse magnetisation turns by exp(2πi B0 t).
    B1
        (shims, voxels) magnitude of the transmit field relative to the nominal one.
    B1_phase
        (shims, voxels) phase of the transmit field [rad].
    weight
        (coils, voxels) complex: coil sensitivity times proton density.
    initial
        (voxels,) complex: longitudinal magnetisation before the first pulse.
    position
        (xyz, voxels) [m].
    basis
        (shims, terms, voxels) what the profiles of played pulses are made of, see
        `pulse_profiles.Profiles`; without terms where pulses act at once.
    """

    R1: Tensor
    R2: Tensor
    R2dash: Tensor
    D: Tensor
    B0: Tensor
    B1: Tensor
    B1_phase: Tensor
    weight: Tensor
    initial: Tensor
    position: Tensor
    basis: Tensor

    @classmethod
    def of(
        cls,
        data: mr0.SimData,
        *,
        device: torch.device | str,
        dtype: torch.dtype,
        shims: Tensor | None = None,
        initial: Tensor | None = None,
    ) -> Voxels:
        """Prepare the maps of a phantom.

        Parameters
        ----------
        data
            The phantom.
        device, dtype
            Where to compute, and in which real precision.
        shims
            (shims, transmit channels) complex weights, or None to add all channels up.
        initial
            (voxels,) magnetisation before the first pulse, or None for full relaxation.
        """
        check_maps(data)
        cdtype = dtype.to_complex()

        def real(tensor: Tensor) -> Tensor:
            return tensor.to(device=device, dtype=dtype)

        channels = data.B1.to(device=device, dtype=cdtype)
        if shims is None:
            transmit = channels.sum(0, keepdim=True)
        else:
            check_channels(shims, len(channels))
            transmit = shims.to(device=device, dtype=cdtype) @ channels
        proton_density = real(data.PD).abs()
        if initial is None:
            initial = torch.ones_like(proton_density)
        elif initial.shape != proton_density.shape:
            raise SimulationError(
                f"the initial magnetisation has shape {tuple(initial.shape)}, "
                f"but the phantom has {proton_density.numel()} voxels"
            )
        return cls(
            R1=1 / real(data.T1).abs(),
            R2=1 / real(data.T2).abs(),
            R2dash=1 / real(data.T2dash).abs(),
            D=real(data.D) * 1e-9,
            B0=real(data.B0),
            B1=transmit.abs(),
            B1_phase=transmit.angle(),
            weight=data.coil_sens.to(device=device, dtype=cdtype) * proton_density,
            initial=initial.to(device=device, dtype=cdtype),
            position=real(data.voxel_pos).T.contiguous(),
            basis=proton_density.new_empty(len(transmit), 0, len(proton_density)),
        )

    def __len__(self) -> int:
        """Return the number of voxels."""
        return self.R1.shape[0]

    @property
    def coils(self) -> int:
        """Number of receive coils."""
        return self.weight.shape[0]

    def part(self, voxels: slice | Tensor) -> Voxels:
        """Return some of the voxels, by a range or by their numbers."""
        return replace(
            self,
            **{e.name: getattr(self, e.name)[..., voxels].contiguous() for e in fields(self)},
        )

    def detach(self) -> Voxels:
        """Return the same voxels cut off from whatever the maps were made of."""
        return replace(self, **{e.name: getattr(self, e.name).detach() for e in fields(self)})


def maps_require_grad(data: mr0.SimData) -> bool:
    """Tell whether any map of the phantom is to be differentiated by."""
    return any(getattr(data, name).requires_grad for name in _MAPS)


class MapsVersion:
    """Tells whether the maps of a phantom are what they were: neither replaced nor altered.

    It holds on to the tensors, so that no other can come to lie where one of them did.
    """

    def __init__(self, data: mr0.SimData) -> None:
        self._maps = [getattr(data, name) for name in (*_MAPS, "nyquist")]
        if any(values.is_inference() for values in self._maps):
            raise SimulationError(
                "the phantom was made inside of torch.inference_mode(), where no change of its "
                "maps is seen; use torch.no_grad() instead"
            )
        self._counts = [values._version for values in self._maps]

    def is_that_of(self, data: mr0.SimData) -> bool:
        """Tell whether a phantom has the same maps."""
        other = MapsVersion(data)
        return self._counts == other._counts and all(
            one is another for one, another in zip(self._maps, other._maps, strict=True)
        )


def answer_of_a_voxel(data: mr0.SimData, k: Tensor) -> Tensor:
    """Return what is left of a voxel's signal at (..., xyz) frequencies [1/m], (...)."""
    flat, nyquist = k.reshape(-1, 3), data.nyquist.cpu()
    try:
        answer = data.dephasing_func(flat, nyquist)
    except RuntimeError:
        # MRzeroCore's exact sinc knows float32 only
        answer = data.dephasing_func(flat.float(), nyquist.float()).to(k.dtype)
    return answer.reshape(k.shape[:-1])


def answer_of_cells(data: mr0.SimData, stack: Stack, k: Tensor) -> Tensor:
    """Return what is left of the signal of a voxel's cells at (..., xyz) frequencies [1/m], (...).

    Where a voxel has several along an axis, they are samples of what varies more slowly, so that
    frequencies beyond half of theirs have no signal; along other axes each is as wide as the voxel.
    """
    size = stack.size.to(k)
    seen = (k.detach().abs() < 0.5 / size) | size.isinf()
    return answer_of_a_voxel(data, torch.where(size.isinf(), k, 0.0)) * seen.all(-1)


def check_channels(shims: Tensor, channels: int) -> None:
    """Refuse (shims, transmit channels) weights that are not those of the phantom's channels."""
    if shims.shape[1] != channels:
        raise SimulationError(
            f"the sequence shims {shims.shape[1]} transmit channels, but the phantom has {channels}"
            "; give it a B1 map for each"
        )


def distinct_shims(repetitions: Repetitions) -> tuple[Tensor | None, tuple[int, ...]]:
    """Return (shims, channels) weights and which of them each repetition uses."""
    shim, count = repetitions.shim, len(repetitions.event_count)
    if shim is None:
        return None, (0,) * count
    if shim.requires_grad:
        return shim, tuple(range(count))
    numbers: dict[tuple[complex, ...], int] = {}
    number = tuple(numbers.setdefault(tuple(weights), len(numbers)) for weights in shim.tolist())
    return torch.tensor(list(numbers), dtype=shim.dtype), number


def check_maps(data: mr0.SimData) -> None:
    """Refuse maps that hold no numbers.

    Raises
    ------
    SimulationError
        If a map holds NaN, or infinities where they mean nothing.
    """
    count = data.PD.numel()
    for name in _MAPS:
        values = getattr(data, name).detach()
        place = 0 if name == "voxel_pos" else -1
        if values.ndim == 0 or values.shape[place] != count:
            raise SimulationError(
                f"the phantom's {name} has shape {tuple(values.shape)}, but there are {count} "
                "voxels; give all maps for each of them"
            )
        if name in ("T1", "T2", "T2dash") and bool((values == 0).any()):
            raise SimulationError(
                f"the phantom's {name} is zero in {int((values == 0).sum())} places; mask these "
                "voxels"
            )
        # Infinite relaxation times stand for no relaxation.
        bad = values.isnan() if name in ("T1", "T2", "T2dash") else ~values.isfinite()
        if bool(bad.any()):
            raise SimulationError(
                f"the phantom's {name} is not finite in {int(bad.sum())} places; mask these voxels"
            )
    if data.PD.numel() == 0:
        raise SimulationError("the phantom has no voxels; lower the threshold of its PD")
