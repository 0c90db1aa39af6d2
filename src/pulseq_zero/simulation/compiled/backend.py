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
from pulseq_zero.simulation.compiled.kernel_steps import BLOCK
from pulseq_zero.simulation.compiled.rounds import backward_rounds, forward_rounds
from pulseq_zero.simulation.pdg.backend import Adjoint, Drive, Played, Wanted
from pulseq_zero.simulation.pdg.graph import StateGraph
from pulseq_zero.simulation.pdg.plan import Plan
from pulseq_zero.simulation.pdg.position_slopes import PositionSlopes
from pulseq_zero.simulation.pdg.voxels import Voxels

_SUMS = ("angle", "phase", "duration", "b_end", "k_anchor", "t_anchor", "b_anchor", "total")
_MAPS = ("R1", "R2", "R2dash", "D", "B0", "B1", "B1_phase", "position")


class CompiledBackend:
    """Propagates in compiled loops; the same results as `TorchBackend`.

    The first use on a machine compiles for some seconds; later ones read numba's cache.
    Uses as many threads as torch does.
    """

    def __init__(self) -> None:
        self._arrays: tuple[Plan, tuple, tuple, tuple] | None = None

    def bytes_per_voxel(self, plan: Plan, *, adjoint: bool, axes: int = 0) -> int:
        """Memory needed for each voxel, in float32; states are kept for single blocks only."""
        return 8 * (2 + axes if adjoint else 1) * plan.item_count

    def emit(
        self, plan: Plan, drive: Drive, voxels: Voxels, played: Played | None = None
    ) -> Tensor:
        """Return the magnetisation of each item at its anchor, (items, voxels) complex."""
        emitted = torch.empty(plan.item_count, len(voxels), dtype=torch.complex64)
        common = (*self._arrays_of(plan), _drive_arrays(drive), _voxel_arrays(voxels))
        target = torch.view_as_real(emitted).flatten(1).numpy()

        pulses = None if played is None else (_pulse_arrays(played, drive, voxels.basis),)

        def work(first: int, stop: int) -> None:
            if pulses is None:
                kernel.emit(*common, target, first, stop)
            else:
                played_kernel.emit(*common, pulses, target, first, stop)

        _share(work, len(voxels))
        return emitted

    def turn(self, values: Tensor, k: Tensor, voxels: Voxels) -> None:
        """Turn what voxels emit by their places, see `Backend.turn`."""
        target = torch.view_as_real(values).flatten(1).numpy()
        fields = (voxels.position, voxels.B0, voxels.B1_phase[0] / (2 * math.pi))
        arrays = tuple(x.contiguous().numpy() for x in fields)
        places = k.detach().contiguous().numpy()

        def work(first: int, stop: int) -> None:
            turning.turn(target, places, arrays, first, stop)

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
        maps, initial = _map_arrays(result, voxels)
        by_basis = torch.zeros_like(voxels.basis)
        common = (*self._arrays_of(plan), _drive_arrays(drive), _voxel_arrays(voxels))
        given = torch.view_as_real(gradient.flatten(0, 1)).flatten(1).numpy()

        of_pulses = None if played is None else _pulse_arrays(played, drive, voxels.basis)
        loops, by_pulses = (kernel if played is None else played_kernel), []

        def work(first: int, stop: int) -> tuple[np.ndarray, ...]:
            sums = tuple(np.zeros_like(getattr(result, name).numpy()) for name in _SUMS)
            pulses: tuple = ()
            if played is not None:
                by_coefficients = torch.zeros_like(played.coefficients)
                by_pulses.append(by_coefficients)
                receive = (by_coefficients.numpy(), by_basis.numpy())
                pulses = ((of_pulses, receive),)
            loops.adjoint(
                *common,
                *pulses,
                given,
                _slope_arrays(slopes),
                emitted,
                sums,
                (maps, initial),
                (wanted.phase, wanted.timing, wanted.total),
                first,
                stop,
            )
            return sums

        for sums in _share(work, len(voxels)):
            for name, part in zip(_SUMS, sums, strict=True):
                getattr(result, name).numpy()[...] += part
        if played is not None:
            result.coefficients = torch.stack(by_pulses).sum(0)
            result.basis = by_basis
        if wanted.maps:
            result.maps["initial"] = torch.complex(*torch.from_numpy(initial))
        return result

    def _arrays_of(self, plan: Plan) -> tuple[tuple, tuple, tuple]:
        if self._arrays is None or self._arrays[0] is not plan:
            graph = plan.graph
            state = plan.items.state.numpy()
            local = state - graph.first_state[graph.repetition[state]]
            largest = max(1, int(graph.count.max(initial=1)))
            self._arrays = (
                plan,
                (
                    graph.first_state, graph.transverse,
                    *forward_rounds(graph), *backward_rounds(graph), largest,
                ),
                (*_within_repetitions(graph), graph.first_given),
                (*plan.items_by_repetition, local, plan.item_sign.astype(np.float32)),
            )  # fmt: skip
        return self._arrays[1:]


def _within_repetitions(graph: StateGraph) -> tuple[np.ndarray, ...]:
    """Return the hand-overs, states numbered within their repetitions."""
    given = graph.hand_over
    first = graph.first_state[graph.repetition[given.giver]]
    return (
        given.giver - first,
        given.taker - first[:, None],
        given.share.astype(np.float32),
        given.shift.astype(np.float32),
    )


def _share(work: Callable[[int, int], Any], voxels: int) -> list[Any]:
    """Share the voxels out among threads, in whole blocks."""
    blocks = -(-voxels // BLOCK)
    threads = min(torch.get_num_threads(), blocks)
    bounds = [BLOCK * (blocks * t // threads) for t in range(threads)] + [voxels]
    if threads == 1:
        return [work(0, voxels)]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, bounds[:-1], bounds[1:]))


def _drive_arrays(drive: Drive) -> tuple:
    numbers = (getattr(drive, name).detach().contiguous().numpy() for name in _SUMS)
    return (*numbers, np.array(drive.shim, dtype=np.int64))


def _pulse_arrays(played: Played, drive: Drive, basis: Tensor) -> tuple:
    """Return what `played_kernel` needs of the pulses.

    What a cell emits turns by its place along the stack: (items, cells, cosine and sine).
    """
    place = played.place.to(torch.float64)
    turns = drive.k_anchor.detach()[:, :3] @ place.T
    angle = 2 * math.pi * (turns - turns.round())
    layer = played.layer.numpy()
    starts = range(0, len(layer), BLOCK)
    return (
        played.coefficients.detach().contiguous().numpy(),
        basis.detach().contiguous().numpy(),
        layer,
        np.array(played.shim, dtype=np.int64),
        np.array(played.pulse, dtype=np.int64),
        torch.stack([angle.cos(), angle.sin()], -1).float().contiguous().numpy(),
        place.contiguous().numpy(),
        max(len(np.unique(layer[start : start + BLOCK])) for start in starts),
    )


def _slope_arrays(slopes: PositionSlopes | None) -> tuple[np.ndarray, ...]:
    if slopes is None:
        return np.empty(0, np.int64), np.empty((0, 0), np.float32), np.empty((0, 2), np.float32)
    item = slopes.item.contiguous().flatten(0, 1).numpy()
    return np.array(slopes.axes), slopes.state.contiguous().numpy(), item


def _voxel_arrays(voxels: Voxels) -> tuple:
    initial = torch.view_as_real(voxels.initial.resolve_conj()).T.contiguous()
    maps = (voxels.R1, voxels.R2, voxels.R2dash, voxels.D, voxels.B0, voxels.B1, voxels.B1_phase)
    return tuple(part.detach().contiguous().numpy() for part in (*maps, voxels.position, initial))


def _map_arrays(result: Adjoint, voxels: Voxels) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """Return the arrays that receive the maps' gradients, empty where not wanted."""
    if result.maps:
        maps = tuple(result.maps[name].numpy() for name in _MAPS)
        return maps, np.zeros((2, len(voxels)), np.float32)
    none = np.empty(0, np.float32)
    by_shim, by_axis = np.empty((len(voxels.B1), 0), np.float32), np.empty((3, 0), np.float32)
    return (none, none, none, none, none, by_shim, by_shim, by_axis), np.empty((2, 0), np.float32)
