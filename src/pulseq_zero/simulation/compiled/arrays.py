"""The arrays that the compiled loops read and write, by name.

What stands here in one order is read by name in `kernel`, `played_kernel` and their steps.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pulseq_zero.simulation.compiled.block import BLOCK
from pulseq_zero.simulation.compiled.rounds import backward_rounds, forward_rounds
from pulseq_zero.simulation.pdg.backend import Adjoint, Drive, Played
from pulseq_zero.simulation.pdg.plan import Plan
from pulseq_zero.simulation.pdg.position_slopes import PositionSlopes
from pulseq_zero.simulation.pdg.voxels import Voxels

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Integers = NDArray[np.int64]


class GraphArrays(NamedTuple):
    """States and edges; see `rounds.forward_rounds` and `rounds.backward_rounds`.

    Attributes
    ----------
    first_state
        (repetitions + 1,) number of each repetition's first state.
    transverse
        (repetitions,) how many of them, which come first, are transverse.
    forward, first_forward, backward, first_backward
        The rounds.
    largest
        The most states of a repetition.
    """

    first_state: Integers
    transverse: Integers
    forward: NDArray[np.int32]
    first_forward: Integers
    backward: NDArray[np.int32]
    first_backward: Integers
    largest: int


class HandOverArrays(NamedTuple):
    """States that others stand for; numbers are within their repetitions.

    Attributes
    ----------
    giver, taker, share, shift
        As in `graph.HandOver`.
    first
        (repetitions + 1,) number of each repetition's first.
    """

    giver: Integers
    taker: Integers
    share: Floats
    shift: Floats
    first: Integers


class ItemArrays(NamedTuple):
    """What is sampled.

    Attributes
    ----------
    order
        (items,) their numbers by repetition.
    first
        (repetitions + 1,) where each repetition begins in it.
    state
        (items,) the state of each, within its repetition.
    sign
        (items,) of T2' at the anchor.
    """

    order: Integers
    first: Integers
    state: Integers
    sign: Floats


class DriveArrays(NamedTuple):
    """The numbers of `backend.Drive`, or their gradients."""

    angle: Floats
    phase: Floats
    duration: Floats
    b_end: Floats
    k_anchor: Doubles
    t_anchor: Floats
    b_anchor: Floats
    total: Floats


class VoxelArrays(NamedTuple):
    """Maps of `voxels.Voxels`.

    Attributes
    ----------
    initial
        (2, voxels) real and imaginary part.
    """

    R1: Floats
    R2: Floats
    R2dash: Floats
    D: Floats
    B0: Floats
    B1: Floats
    B1_phase: Floats
    position: Floats
    initial: Floats


class PulseArrays(NamedTuple):
    """What played pulses do; see `backend.Played`.

    Attributes
    ----------
    coefficients, basis, layer, shim, pulse
        As there.
    turn
        (items, cells, 2) cosine and sine of what a cell emits, by its place along the stack.
    place
        (cells, axes) of the cells.
    largest_layers
        The most layers of a block.
    """

    coefficients: Floats
    basis: Floats
    layer: Integers
    shim: Integers
    pulse: Integers
    turn: Floats
    place: Doubles
    largest_layers: int


class SlopeArrays(NamedTuple):
    """What `position_slopes.PositionSlopes` has, (axes,), (axes, states), (axes * items, 2)."""

    axes: Integers
    state: Floats
    item: Floats


class Asked(NamedTuple):
    """Which gradients are asked for: by phases, by times and positions, by totals."""

    phase: bool
    timing: bool
    total: bool


def arrays_of_plan(plan: Plan) -> tuple[GraphArrays, HandOverArrays, ItemArrays]:
    """Return what all voxels have in common of a plan."""
    graph, given = plan.graph, plan.graph.hand_over
    first = graph.first_state[graph.repetition[given.giver]]
    state = plan.items.state.numpy()
    forward, backward = forward_rounds(graph), backward_rounds(graph)
    order, first_item = plan.items_by_repetition
    return (
        GraphArrays(
            first_state=graph.first_state,
            transverse=graph.transverse,
            forward=forward[0],
            first_forward=forward[1],
            backward=backward[0],
            first_backward=backward[1],
            largest=max(1, int(graph.count.max(initial=1))),
        ),
        HandOverArrays(
            giver=given.giver - first,
            taker=given.taker - first[:, None],
            share=given.share.astype(np.float32),
            shift=given.shift.astype(np.float32),
            first=graph.first_given,
        ),
        ItemArrays(
            order=order,
            first=first_item,
            state=state - graph.first_state[graph.repetition[state]],
            sign=plan.item_sign.astype(np.float32),
        ),
    )


def arrays_of_drive(drive: Drive) -> DriveArrays:
    """Return the numbers of a drive."""
    return DriveArrays(*(_array(getattr(drive, name)) for name in DriveArrays._fields))


def arrays_of_shims(drive: Drive) -> Integers:
    """Return (repetitions,) the shims of a drive."""
    return np.array(drive.shim, dtype=np.int64)


def gradients_of_drive(drive: Drive) -> DriveArrays:
    """Return zeros to add gradients to."""
    return DriveArrays(**{k: np.zeros_like(x) for k, x in arrays_of_drive(drive)._asdict().items()})


def arrays_of_voxels(voxels: Voxels) -> VoxelArrays:
    """Return the maps of voxels."""
    maps = {name: _array(getattr(voxels, name)) for name in VoxelArrays._fields[:-1]}
    initial = torch.view_as_real(voxels.initial.resolve_conj()).T
    return VoxelArrays(**maps, initial=_array(initial))


def gradients_of_voxels(result: Adjoint, voxels: Voxels) -> VoxelArrays:
    """Return the arrays that receive the maps' gradients, empty where not wanted."""
    if result.maps:
        maps = {name: result.maps[name].numpy() for name in VoxelArrays._fields[:-1]}
        return VoxelArrays(**maps, initial=np.zeros((2, len(voxels)), np.float32))
    none = np.empty(0, np.float32)
    by_shim, by_axis = np.empty((len(voxels.B1), 0), np.float32), np.empty((3, 0), np.float32)
    empty = np.empty((2, 0), np.float32)
    return VoxelArrays(none, none, none, none, none, by_shim, by_shim, by_axis, empty)


def arrays_of_pulses(played: Played, drive: Drive, basis: Tensor) -> PulseArrays:
    """Return what the loops need of the pulses."""
    place = played.place.to(torch.float64)
    turns = drive.k_anchor.detach()[:, :3] @ place.T
    angle = 2 * math.pi * (turns - turns.round())
    layer = played.layer.numpy()
    # The last block is filled up by its last voxel
    blocks = np.sort(np.pad(layer, (0, -len(layer) % BLOCK), "edge").reshape(-1, BLOCK))
    return PulseArrays(
        coefficients=_array(played.coefficients),
        basis=_array(basis),
        layer=layer,
        shim=np.array(played.shim, dtype=np.int64),
        pulse=np.array(played.pulse, dtype=np.int64),
        turn=_array(torch.stack([angle.cos(), angle.sin()], -1).float()),
        place=_array(place),
        largest_layers=1 + int((np.diff(blocks) != 0).sum(1).max()),
    )


def arrays_of_slopes(slopes: PositionSlopes | None) -> SlopeArrays:
    """Return what positions change beyond phases; nothing where there are no slopes."""
    if slopes is None:
        empty = np.empty((0, 0), np.float32), np.empty((0, 2), np.float32)
        return SlopeArrays(np.empty(0, np.int64), *empty)
    item = _array(slopes.item.contiguous().flatten(0, 1))
    return SlopeArrays(np.array(slopes.axes), _array(slopes.state), item)


def _array(tensor: Tensor) -> NDArray:
    return tensor.detach().contiguous().numpy()
