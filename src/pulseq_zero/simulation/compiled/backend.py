"""The compiled backend: numba loops on the CPU, in float32, one thread per share of voxels."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pulseq_zero.simulation.compiled import kernel, played_kernel, turning
from pulseq_zero.simulation.compiled.arrays import (
    Asked,
    DriveArrays,
    GraphArrays,
    HandOverArrays,
    ItemArrays,
    arrays_of_drive,
    arrays_of_plan,
    arrays_of_pulses,
    arrays_of_shims,
    arrays_of_slopes,
    arrays_of_voxels,
    gradients_of_drive,
    gradients_of_voxels,
)
from pulseq_zero.simulation.compiled.block import BLOCK
from pulseq_zero.simulation.pdg.backend import Adjoint, Drive, Played, Wanted
from pulseq_zero.simulation.pdg.plan import Plan
from pulseq_zero.simulation.pdg.position_slopes import PositionSlopes
from pulseq_zero.simulation.pdg.voxels import Voxels


class CompiledBackend:
    """Propagates in compiled loops; the same results as `TorchBackend`.

    The first use on a machine compiles for some seconds; later ones read numba's cache.
    Uses as many threads as torch does.
    """

    def __init__(self) -> None:
        self._known: tuple[Plan, tuple[GraphArrays, HandOverArrays, ItemArrays]] | None = None

    def bytes_per_voxel(self, plan: Plan, *, adjoint: bool, axes: int = 0) -> int:
        """Memory needed for each voxel, in float32; states are kept for single blocks only."""
        return 8 * (2 + axes if adjoint else 1) * plan.item_count

    def emit(
        self, plan: Plan, drive: Drive, voxels: Voxels, played: Played | None = None
    ) -> Tensor:
        """Return the magnetisation of each item at its anchor, (items, voxels) complex."""
        emitted = torch.empty(plan.item_count, len(voxels), dtype=torch.complex64)
        target = torch.view_as_real(emitted).flatten(1).numpy()
        common = (*self._arrays_of(plan), arrays_of_drive(drive), arrays_of_voxels(voxels))
        shims = arrays_of_shims(drive)
        pulses = None if played is None else arrays_of_pulses(played, drive, voxels.basis)

        def work(first: int, stop: int) -> None:
            if pulses is None:
                kernel.emit(*common, shims, target, first, stop)
            else:
                played_kernel.emit(*common, pulses, target, first, stop)

        _share(work, len(voxels))
        return emitted

    def turn(self, values: Tensor, k: Tensor, voxels: Voxels) -> None:
        """Turn what voxels emit by their places, see `Backend.turn`."""
        target = torch.view_as_real(values).flatten(1).numpy()
        fields = (voxels.position, voxels.B0, voxels.B1_phase[0] / (2 * math.pi))
        position, B0, phase = (x.contiguous().numpy() for x in fields)
        places = k.detach().contiguous().numpy()

        def work(first: int, stop: int) -> None:
            turning.turn(target, places, position, B0, phase, first, stop)

        _share(work, len(voxels))

    def adjoint(
        self,
        plan: Plan,
        drive: Drive,
        voxels: Voxels,
        gradient: Tensor,
        slopes: PositionSlopes | None,
        wanted: Wanted,
        played: Played | None = None,
    ) -> Adjoint:
        """Return the gradients, see `propagation.Backend.adjoint`."""
        result = Adjoint.zeros(drive, voxels, maps=wanted.maps)
        if wanted.emitted:
            result.emitted = torch.empty_like(gradient[0])
            emitted = torch.view_as_real(result.emitted).flatten(1).numpy()
        else:
            emitted = np.empty((0, 0), np.float32)
        common = (*self._arrays_of(plan), arrays_of_drive(drive), arrays_of_voxels(voxels))
        given = torch.view_as_real(gradient.flatten(0, 1)).flatten(1).numpy()
        asked = Asked(wanted.phase, wanted.timing, wanted.total)
        maps, of_slopes = gradients_of_voxels(result, voxels), arrays_of_slopes(slopes)
        by_basis, by_pulses = torch.zeros_like(voxels.basis), []
        shims = arrays_of_shims(drive)
        pulses = None if played is None else arrays_of_pulses(played, drive, voxels.basis)

        def work(first: int, stop: int) -> DriveArrays:
            sums = gradients_of_drive(drive)
            rest = (given, of_slopes, emitted, sums, maps, asked, first, stop)
            if played is None:
                kernel.adjoint(*common, shims, *rest)
            else:
                by_coefficients = torch.zeros_like(played.coefficients)
                by_pulses.append(by_coefficients)
                receive = (by_coefficients.numpy(), by_basis.numpy())
                played_kernel.adjoint(*common, pulses, *receive, *rest)
            return sums

        for sums in _share(work, len(voxels)):
            for name, part in sums._asdict().items():
                getattr(result, name).numpy()[...] += part
        if played is not None:
            result.coefficients = torch.stack(by_pulses).sum(0)
            result.basis = by_basis
        if wanted.maps:
            result.maps["initial"] = torch.complex(*torch.from_numpy(maps.initial))
        return result

    def _arrays_of(self, plan: Plan) -> tuple[GraphArrays, HandOverArrays, ItemArrays]:
        if self._known is None or self._known[0] is not plan:
            self._known = (plan, arrays_of_plan(plan))
        return self._known[1]


def _share(work: Callable[[int, int], Any], voxels: int) -> list[Any]:
    """Share the voxels out among threads, in whole blocks."""
    blocks = -(-voxels // BLOCK)
    threads = min(torch.get_num_threads(), blocks)
    bounds = [BLOCK * (blocks * t // threads) for t in range(threads)] + [voxels]
    if threads == 1:
        return [work(0, voxels)]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, bounds[:-1], bounds[1:]))
