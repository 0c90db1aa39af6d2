"""The main pass: from the sequence's numbers to the samples of each state, and back.

S(row, c) = Σ_v E(row, v) C(c, v) X(item, v): all states and readouts that share a pattern
are one matrix product, and so are their gradients. Nothing of the size of the phantom is
kept between forward and backward: the backward pass propagates once more.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pulseq_zero.errors import SimulationError
from pulseq_zero.simulation.pdg.encoding import EncodingCache, encoding_matrix
from pulseq_zero.simulation.pdg.plan import Plan
from pulseq_zero.simulation.pdg.position_slopes import PositionSlopes
from pulseq_zero.simulation.pdg.propagation import Adjoint, Backend, Drive, Wanted
from pulseq_zero.simulation.pdg.voxels import Voxels

_DRIVE = ("angle", "phase", "duration", "b_end", "k_anchor", "t_anchor", "b_anchor", "total")
_MAPS = ("R1", "R2", "R2dash", "D", "B0", "B1", "B1_phase", "weight", "initial", "position")
_INPUTS = (*_DRIVE, "offset", "factor", *_MAPS)
_SMALLEST_PART = 64


@dataclass(frozen=True)
class Job:
    """What a pass needs besides the numbers it is differentiated by.

    Attributes
    ----------
    plan
        States, edges and items.
    shim
        Number of each repetition's row in `Voxels.B1`.
    backend
        Who propagates.
    cache
        Encoding matrices of this phantom.
    memory
        Bound for everything made on the way [bytes].
    b_offset
        (rows,) diffusion weighting relative to the anchors [s/m²]. Its effect is left to the
        caller; it is needed for the gradient of each voxel's diffusion coefficient.
    moving
        For each pattern, whether its trajectory may depend on what is differentiated by.
    slopes
        What changes with the states' positions beyond their phase; None where nothing does, or
        where positions are not differentiated by.
    """

    plan: Plan
    shim: tuple[int, ...]
    backend: Backend
    cache: EncodingCache
    memory: int
    b_offset: Tensor
    moving: tuple[bool, ...]
    slopes: PositionSlopes | None


def sample_states(job: Job, drive: Drive, offset: Tensor, factor: Tensor, voxels: Voxels) -> Tensor:
    """Sample every item at every row.

    Parameters
    ----------
    job
        The task.
    drive
        What the sequence does to the states.
    offset
        (rows, 4) trajectory relative to the anchors. The values lie in the patterns already;
        this is where their gradient goes.
    factor
        (rows,) what all voxels of a row have in common.
    voxels
        The phantom.

    Returns
    -------
    Tensor
        (rows, coils) complex.
    """
    numbers = (getattr(drive, name) for name in _DRIVE)
    maps = (getattr(voxels, name) for name in _MAPS)
    return _SampleStates.apply(job, *numbers, offset, factor, *maps)


def magnetisation_at_samples(
    job: Job, drive: Drive, voxels: Voxels, factor: Tensor, seen: slice
) -> Tensor:
    """Add up all states at some samples, voxel by voxel.

    Parameters
    ----------
    job, drive, factor, voxels
        As for `sample_states`.
    seen
        The samples, by their numbers in the signal.

    Returns
    -------
    Tensor
        (samples, voxels) complex.
    """
    result = voxels.initial.new_zeros(seen.stop - seen.start, len(voxels))
    sample = job.plan.items.sample.to(result.device)
    for where in _parts(job, voxels, adjoint=False):
        part = voxels.part(where)
        emitted = job.backend.emit(job.plan, drive, part)
        for place, items, block in job.plan.blocks:
            pattern = job.plan.patterns[place]
            matrix = encoding_matrix(pattern, part, weighted=False)
            of_item = sample[block].view(-1, len(matrix)) - seen.start
            share = factor[block].view(-1, len(matrix))
            for item in ((of_item[:, 0] >= 0) & (of_item[:, 0] < len(result))).nonzero()[:, 0]:
                here = share[item, :, None] * matrix * emitted[items][item]
                result[of_item[item], where] += here
    return result


class _SampleStates(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, job: Job, *tensors: Tensor) -> Tensor:
        ctx.job = job
        drive, factor, voxels = _unpack(job, tensors)
        rows = int(job.plan.items.first_row[-1])
        result = voxels.weight.new_zeros(rows, voxels.coils)
        for where in _parts(job, voxels, adjoint=False):
            part = voxels.part(where)
            emitted = job.backend.emit(job.plan, drive, part)
            for place, items, block in job.plan.blocks:
                samples = emitted[items] @ _matrix(job, place, part, where).T
                result[block] += _to_rows(samples, voxels.coils)
        ctx.save_for_backward(*tensors, result)
        return result * factor[:, None]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        if torch.is_grad_enabled():
            raise SimulationError(
                "the simulation cannot be differentiated twice; call backward without "
                "create_graph, or simulate with engine='mrzero'"
            )
        job: Job = ctx.job
        *inputs, samples = ctx.saved_tensors
        drive, factor, voxels = _unpack(job, inputs)
        asked = dict(zip(_INPUTS, ctx.needs_input_grad[1:], strict=True))
        wanted = Wanted(
            phase=asked["phase"],
            timing=any(asked[name] for name in _DRIVE[2:]),
            total=asked["total"],
            maps=any(asked[name] for name in _MAPS),
            emitted=(asked["offset"] and any(job.moving)) or any(asked[name] for name in _MAPS),
        )
        raw = gradients[0].conj().resolve_conj()
        slope = raw * factor[:, None]
        by_axis = [raw * row[:, None] for row in job.slopes.row] if job.slopes else []
        total = Adjoint.zeros(drive, voxels, maps=wanted.maps)
        if wanted.maps:
            total.maps["weight"] = torch.zeros_like(voxels.weight)
        offset = torch.zeros(len(slope), 4, dtype=torch.float64, device=slope.device)
        for where in _parts(job, voxels, adjoint=True):
            part = voxels.part(where)
            gradient = slope.new_empty(1 + len(by_axis), job.plan.item_count, len(part))
            for place, items, block in job.plan.blocks:
                matrix = _matrix(job, place, part, where)
                for given, target in zip((slope, *by_axis), gradient, strict=True):
                    folded = _to_items(given[block], job.plan.rows[place])
                    torch.mm(folded, matrix, out=target[items])
            found = job.backend.adjoint(job.plan, drive, part, gradient, job.slopes, wanted)
            del gradient
            for name in _DRIVE:
                getattr(total, name).add_(getattr(found, name))
            for name, values in found.maps.items():
                total.maps[name][..., where] += values
            if found.emitted is None:
                continue
            for place, items, block in job.plan.blocks:
                emitted, here = found.emitted[items], slope[block]
                if asked["offset"] and job.moving[place]:
                    matrix = _matrix(job, place, part, where)
                    sign = job.plan.sign[place]
                    offset[block] += _offset_gradient(matrix, emitted, here, part, sign)
                if wanted.maps:
                    weighted = here * job.b_offset[block, None]
                    _add_map_gradients(job, place, part, where, emitted, here, weighted, total)
        found_by_name: dict[str, Tensor] = {name: getattr(total, name) for name in _DRIVE}
        found_by_name |= total.maps
        found_by_name |= {"offset": offset, "factor": (raw * samples).real.sum(1)}
        return (
            None,
            *(
                found_by_name[name].to(given.dtype) if asked[name] else None
                for name, given in zip(_INPUTS, inputs, strict=True)
            ),
        )


def _unpack(job: Job, tensors: Sequence[Tensor]) -> tuple[Drive, Tensor, Voxels]:
    values = dict(zip(_INPUTS, tensors, strict=True))
    drive = Drive(**{name: values[name] for name in _DRIVE}, shim=job.shim)
    return drive, values["factor"], Voxels(**{name: values[name] for name in _MAPS})


def _parts(job: Job, voxels: Voxels, *, adjoint: bool) -> list[slice]:
    """Cut the voxels so that a part's states and matrices fit into the memory."""
    scale = voxels.R1.element_size() / 4
    longest = max(job.plan.rows, default=1) * voxels.coils
    axes = len(job.slopes.axes) if adjoint and job.slopes else 0
    states = job.backend.bytes_per_voxel(job.plan, adjoint=adjoint, axes=axes)
    each = scale * (states + 4 * 8 * longest)
    size = max(_SMALLEST_PART, int(job.memory / each))
    count = math.ceil(len(voxels) / size)
    # Parts of equal size, so that none is a small rest.
    bounds = [len(voxels) * number // count for number in range(count + 1)]
    return [slice(a, b) for a, b in itertools.pairwise(bounds)]


def _matrix(job: Job, place: int, part: Voxels, where: slice) -> Tensor:
    pattern = job.plan.patterns[place]
    return job.cache.get_or_make(
        (pattern.key, where.start, where.stop),
        lambda: encoding_matrix(pattern, part),
    )


def _to_rows(samples: Tensor, coils: int) -> Tensor:
    """Turn (items, coils * rows) into (items * rows, coils)."""
    return samples.view(len(samples), coils, -1).transpose(1, 2).reshape(-1, coils)


def _to_items(samples: Tensor, rows: int) -> Tensor:
    """Turn (items * rows, coils) into (items, coils * rows)."""
    coils = samples.shape[1]
    return samples.view(-1, rows, coils).transpose(1, 2).reshape(-1, coils * rows)


def _offset_gradient(
    matrix: Tensor, emitted: Tensor, slope: Tensor, part: Voxels, sign: int
) -> Tensor:
    """Return the gradient of a block's offsets, (rows, 4).

    The encoding's derivatives are E · 2πi r and E · (2πi B0 - R2 ∓ R2').
    """
    result = torch.zeros(len(slope), 4, dtype=torch.float64, device=slope.device)

    def product(weighted: Tensor) -> Tensor:
        return (_to_rows(weighted @ matrix.T, part.coils) * slope).sum(1)

    for axis, position in enumerate(part.position):
        if bool(position.any()):
            # A real product on (items, 2 * voxels): a quarter of the work of a complex one.
            flat = torch.view_as_real(emitted).flatten(1) * position.repeat_interleave(2)
            weighted = torch.view_as_complex(flat.unflatten(1, (-1, 2)))
            result[:, axis] = -2 * math.pi * product(weighted).imag
    decay = -(part.R2 + sign * part.R2dash)
    result[:, 3] = product(emitted * torch.complex(decay, 2 * math.pi * part.B0)).real
    return result


def _add_map_gradients(
    job: Job,
    place: int,
    part: Voxels,
    where: slice,
    emitted: Tensor,
    slope: Tensor,
    weighted_slope: Tensor,
    total: Adjoint,
) -> None:
    """Add the gradients that come through the encoding matrix and diffusion along it."""
    pattern = job.plan.patterns[place]
    matrix = encoding_matrix(pattern, part, weighted=False)
    # (coils, rows, voxels): dL = Re Σ change · dlog(E) + Re Σ change / C · dC
    shape = (part.coils, len(matrix), len(part))
    change = (_to_items(slope, len(matrix)).T @ emitted).view(shape) * matrix
    total.maps["weight"][:, where] += change.sum(1).conj()
    offset = torch.from_numpy(pattern.offset).to(part.R2)
    weighted = (change * part.weight[:, None]).sum(0)
    total.maps["position"][:, where] -= 2 * math.pi * (offset[:, :3].T @ weighted.imag)
    over_time = offset[:, 3].to(weighted.dtype) @ weighted
    total.maps["B0"][where] -= 2 * math.pi * over_time.imag
    total.maps["R2"][where] -= over_time.real
    total.maps["R2dash"][where] -= pattern.sign * over_time.real
    spread = (_to_items(weighted_slope, len(matrix)).T @ emitted).view(shape) * matrix
    total.maps["D"][where] -= (spread.sum(1) * part.weight).real.sum(0)
