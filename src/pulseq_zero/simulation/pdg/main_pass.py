"""The main pass: from the sequence's numbers to the samples of each state, and back.

S(row, c) = Σ_v E(row, v) C(c, v) X(item, v): all states and readouts that share a pattern
are one matrix product, and so are their gradients. Nothing of the size of the phantom is
kept between forward and backward: the backward pass propagates once more.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pulseq_zero.errors import SimulationError
from pulseq_zero.simulation.denormals import denormals_flushed
from pulseq_zero.simulation.pdg.backend import Adjoint, Backend, Drive, Played, Wanted
from pulseq_zero.simulation.pdg.encoded_nodes import EncodedNodes
from pulseq_zero.simulation.pdg.encoding import EncodingCache, encoding_matrix
from pulseq_zero.simulation.pdg.nodes import Nodes, overlaps
from pulseq_zero.simulation.pdg.plan import Plan
from pulseq_zero.simulation.pdg.position_slopes import PositionSlopes
from pulseq_zero.simulation.pdg.pulse_profiles import Stack
from pulseq_zero.simulation.pdg.voxels import Voxels

_DRIVE = ("angle", "phase", "duration", "b_end", "k_anchor", "t_anchor", "b_anchor", "total")
_MAPS = ("R1", "R2", "R2dash", "D", "B0", "B1", "B1_phase", "weight", "initial", "position")
_INPUTS = (*_DRIVE, "offset", "factor", "profiles", *_MAPS, "basis")
_SMALLEST_PART = 64
# What is interpolated passes the processor's cache several times [bytes].
_IN_CACHE = 4 * 2**20


@dataclass(frozen=True)
class PlayedJob:
    """What is known of played pulses beside the numbers that are differentiated by.

    Attributes
    ----------
    pulse, shim, layer
        As in `Played`, the layers of all voxels.
    stack
        The cells of each voxel.
    """

    pulse: tuple[int, ...]
    shim: tuple[int, ...]
    layer: Tensor
    stack: Stack


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
    played
        How pulses are played; None where each acts at once.
    nodes
        Where the magnetisation is propagated, if it is not in every voxel; the voxels are in the
        order of tissues then, and neither maps nor times and moments are differentiated by.
    encoded
        What samples see of the nodes, where that is known; voxels are not looked at then.
    allowed
        How large the last coefficients of the nodes' polynomials may be.
    tissues
        The voxels of each tissue, where each has factors of its own; None where all share them.
    """

    plan: Plan
    shim: tuple[int, ...]
    backend: Backend
    cache: EncodingCache
    memory: int
    b_offset: Tensor
    moving: tuple[bool, ...]
    slopes: PositionSlopes | None
    played: PlayedJob | None = None
    nodes: Nodes | None = None
    encoded: EncodedNodes | None = None
    allowed: float = math.inf
    tissues: tuple[slice, ...] | None = None

    @property
    def hands_over(self) -> bool:
        """Whether there are states that go on in others."""
        return len(self.plan.graph.hand_over.giver) > 0

    def within(self, where: slice) -> list[tuple[int, slice]]:
        """For each row of factors: its number, and its voxels' in a part."""
        if self.tissues is None:
            return [(0, slice(0, where.stop - where.start))]
        return overlaps(self.tissues, where)


def sample_states(
    job: Job,
    drive: Drive,
    offset: Tensor,
    factor: Tensor,
    voxels: Voxels,
    profiles: Tensor | None = None,
) -> tuple[Tensor, tuple[float, float]]:
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
        (rows,) what all voxels of a row have in common, or (tissues, rows) those of a tissue.
    voxels
        The phantom.
    profiles
        Of the played pulses, see `pulse_profiles.Profiles.coefficients`.

    Returns
    -------
    tuple
        (rows, coils) complex, and with nodes how large their polynomials' last coefficients are;
        where that is more than is allowed, nothing is sampled.
    """
    numbers = (getattr(drive, name) for name in _DRIVE)
    maps = (getattr(voxels, name) for name in (*_MAPS, "basis"))
    if profiles is None:
        profiles = voxels.basis.new_empty(0)
    last: list[tuple[float, float]] = []
    samples = _SampleStates.apply(job, last, *numbers, offset, factor, profiles, *maps)
    return samples, last[0] if last else (0.0, 0.0)


def magnetisation_at_samples(
    job: Job, drive: Drive, voxels: Voxels, factor: Tensor, seen: slice, profiles: Tensor | None
) -> Tensor:
    """Add up all states at some samples, voxel by voxel.

    Parameters
    ----------
    job, drive, factor, voxels, profiles
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
        emitted = job.backend.emit(job.plan, drive, part, _played(job, profiles, where))
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
    @denormals_flushed()
    def forward(ctx: Any, job: Job, last: list[tuple[float, float]], *tensors: Tensor) -> Tensor:
        ctx.job = job
        drive, factor, profiles, voxels = _unpack(job, tensors)
        rows = int(job.plan.items.first_row[-1])
        result = voxels.weight.new_zeros(rows, voxels.coils)
        at_nodes = emit_at_nodes(job, drive, profiles)
        if job.nodes is not None:
            last.append(job.nodes.last_coefficients(at_nodes))
            if max(last[0]) > job.allowed:
                return result
        if job.encoded is not None:
            _sample_nodes(job.plan, job.encoded, at_nodes, factor, result)
        for where in _voxels_to_sample(job, voxels, adjoint=False):
            part = voxels.part(where)
            if job.nodes is None:
                played = _played(job, profiles, where)
                emitted = job.backend.emit(job.plan, drive, part, played)
            else:
                emitted = job.nodes.spread(at_nodes, where)
                job.backend.turn(emitted, drive.k_anchor, part)
            for place, items, block in job.plan.blocks:
                matrix = _matrix(job, place, part, where)
                for number, some in job.within(where):
                    samples = _to_rows(emitted[items, some] @ matrix[:, some].T, voxels.coils)
                    if job.tissues is not None:
                        samples *= factor[number, block, None]
                    result[block] += samples
        ctx.save_for_backward(*tensors, result)
        return result * factor[:, None] if job.tissues is None else result

    @staticmethod
    @denormals_flushed()
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        if torch.is_grad_enabled():
            raise SimulationError(
                "the simulation cannot be differentiated twice; call backward without "
                "create_graph, or simulate with engine='mrzero'"
            )
        job: Job = ctx.job
        *inputs, samples = ctx.saved_tensors
        drive, factor, profiles, voxels = _unpack(job, inputs)
        asked = dict(zip(_INPUTS, ctx.needs_input_grad[2:], strict=True))
        wanted = Wanted(
            phase=asked["phase"],
            timing=any(asked[name] for name in _DRIVE[2:]),
            total=asked["total"],
            maps=any(asked[name] for name in _MAPS),
            emitted=(asked["offset"] and any(job.moving)) or any(asked[name] for name in _MAPS),
        )
        raw = gradients[0].conj().resolve_conj()
        slopes = raw * factor[..., None]
        slope = slopes if job.tissues is None else slopes[0]
        by_axis = [raw * row[:, None] for row in job.slopes.row] if job.slopes else []
        total = Adjoint.zeros(drive, voxels, maps=wanted.maps)
        if wanted.maps:
            total.maps["weight"] = torch.zeros_like(voxels.weight)
        offset = torch.zeros(len(slope), 4, dtype=torch.float64, device=slope.device)
        by_pulses = {
            name: torch.zeros_like(x)
            for name, x in (("profiles", profiles), ("basis", voxels.basis))
        }
        at_nodes = _none_at_nodes(job, slope)
        if job.encoded is not None:
            _gather_at_nodes(job.plan, job.encoded, slopes, at_nodes[0])
        for where in _voxels_to_sample(job, voxels, adjoint=True):
            part = voxels.part(where)
            gradient = slope.new_empty(1 + len(by_axis), job.plan.item_count, len(part))
            for place, items, block in job.plan.blocks:
                matrix, rows = _matrix(job, place, part, where), job.plan.rows[place]
                if job.tissues is not None:
                    for number, some in job.within(where):
                        folded = _to_items(slopes[number, block], rows)
                        gradient[0, items, some] = folded @ matrix[:, some]
                    continue
                for given, target in zip((slope, *by_axis), gradient, strict=True):
                    folded = _to_items(given[block], rows)
                    torch.mm(folded, matrix, out=target[items])
            if job.nodes is not None:
                job.backend.turn(gradient[0], drive.k_anchor, part)
                job.nodes.gather(gradient[0], where, at_nodes[0])
                continue
            played = _played(job, profiles, where)
            found = job.backend.adjoint(job.plan, drive, part, gradient, job.slopes, wanted, played)
            del gradient
            _add_sequence_gradients(found, total, by_pulses["profiles"])
            if found.basis is not None:
                by_pulses["basis"][..., where] += found.basis
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
        if job.nodes is not None:
            for where in _parts(job, job.nodes.voxels, adjoint=True):
                part, given = (
                    _part_of_nodes(job, job.nodes, where),
                    at_nodes[..., where].contiguous(),
                )
                if job.hands_over:
                    job.backend.turn(given[0], -drive.k_anchor, part)
                played = _played(job, profiles, where)
                found = job.backend.adjoint(job.plan, drive, part, given, None, wanted, played)
                _add_sequence_gradients(found, total, by_pulses["profiles"])
        found_by_name: dict[str, Tensor] = {name: getattr(total, name) for name in _DRIVE}
        found_by_name |= total.maps
        found_by_name |= {"offset": offset, "factor": (raw * samples).real.sum(1), **by_pulses}
        return (
            None,
            None,
            *(
                found_by_name[name].to(given.dtype) if asked[name] else None
                for name, given in zip(_INPUTS, inputs, strict=True)
            ),
        )


def _unpack(job: Job, tensors: Sequence[Tensor]) -> tuple[Drive, Tensor, Tensor, Voxels]:
    values = dict(zip(_INPUTS, tensors, strict=True))
    drive = Drive(**{name: values[name] for name in _DRIVE}, shim=job.shim)
    voxels = Voxels(**{name: values[name] for name in (*_MAPS, "basis")})
    return drive, values["factor"], values["profiles"], voxels


def _played(job: Job, profiles: Tensor | None, where: slice) -> Played | None:
    """Return what pulses do in some voxels, None where each acts at once."""
    known = job.played
    if known is None or profiles is None:
        return None
    layer = (known.layer if job.nodes is None else job.nodes.layer)[where]
    return Played(profiles, layer, known.pulse, known.shim, known.stack.place)


def emit_at_nodes(job: Job, drive: Drive, profiles: Tensor | None) -> Tensor:
    """Return what items emit at the nodes, (items, nodes); nothing where there are none."""
    if job.nodes is None:
        return drive.angle.new_empty(0)
    emitted = _none_at_nodes(job, job.nodes.voxels.weight)[0]
    for where in _parts(job, job.nodes.voxels, adjoint=False):
        part = _part_of_nodes(job, job.nodes, where)
        found = job.backend.emit(job.plan, drive, part, _played(job, profiles, where))
        if job.hands_over:
            job.backend.turn(found, -drive.k_anchor, part)
        emitted[:, where] = found
    return emitted


def _part_of_nodes(job: Job, nodes: Nodes, where: slice) -> Voxels:
    """Return some of the nodes; with B0 where that turns what is handed over.

    What is emitted has to be turned back by B0 then: each voxel knows its own.
    """
    part = nodes.voxels.part(where)
    return replace(part, B0=nodes.offset[where]) if job.hands_over else part


def _none_at_nodes(job: Job, like: Tensor) -> Tensor:
    """Return (1, items, nodes) zeros."""
    return like.new_zeros(1, job.plan.item_count, len(job.nodes.voxels) if job.nodes else 0)


def _sample_nodes(
    plan: Plan, encoded: EncodedNodes, at_nodes: Tensor, factor: Tensor, result: Tensor
) -> None:
    """Add the samples, (rows, coils), of what items emit at the nodes, (items, nodes)."""
    for (_, items, block), of_tissues in zip(plan.blocks, encoded.blocks, strict=True):
        parts = at_nodes[items].split([matrix.shape[1] for matrix in of_tissues], dim=1)
        for part, matrix, scale in zip(parts, of_tissues, factor, strict=True):
            samples = torch.bmm(part[:, None], matrix)[:, 0]
            result[block] += _to_rows(samples, result.shape[1]) * scale[block, None]


def _gather_at_nodes(plan: Plan, encoded: EncodedNodes, slopes: Tensor, at_nodes: Tensor) -> None:
    """Set the gradient at the nodes, (items, nodes), from those of each tissue's samples."""
    for (place, items, block), of_tissues in zip(plan.blocks, encoded.blocks, strict=True):
        parts = at_nodes[items].split([matrix.shape[1] for matrix in of_tissues], dim=1)
        for part, matrix, slope in zip(parts, of_tissues, slopes, strict=True):
            folded = _to_items(slope[block], plan.rows[place])
            part.copy_(torch.bmm(folded[:, None], matrix.mT)[:, 0])


def _add_sequence_gradients(found: Adjoint, total: Adjoint, by_profiles: Tensor) -> None:
    """Add the gradients by what the sequence does in some voxels to those by all."""
    for name in _DRIVE:
        getattr(total, name).add_(getattr(found, name))
    if found.coefficients is not None:
        by_profiles += found.coefficients


def _voxels_to_sample(job: Job, voxels: Voxels, *, adjoint: bool) -> list[slice]:
    """Cut the voxels into parts; none where samples are known by what nodes emit."""
    return [] if job.encoded is not None else _parts(job, voxels, adjoint=adjoint)


def _parts(job: Job, voxels: Voxels, *, adjoint: bool) -> list[slice]:
    """Cut the voxels so that a part's states and matrices fit into the memory."""
    scale = voxels.R1.element_size() / 4
    longest = max(job.plan.rows, default=1) * voxels.coils
    axes = len(job.slopes.axes) if adjoint and job.slopes else 0
    memory, emitted = job.memory, 8 * job.plan.item_count
    if job.nodes is None or voxels is job.nodes.voxels:
        emitted = job.backend.bytes_per_voxel(job.plan, adjoint=adjoint, axes=axes)
    else:
        memory = min(memory, _IN_CACHE)
    each = scale * (emitted + 4 * 8 * longest)
    size = max(_SMALLEST_PART, int(memory / each))
    count = math.ceil(len(voxels) / size)
    # Parts of equal size, so that none is a small rest.
    bounds = [len(voxels) * number // count for number in range(count + 1)]
    return [slice(a, b) for a, b in itertools.pairwise(bounds)]


def _matrix(job: Job, place: int, part: Voxels, where: slice) -> Tensor:
    pattern = job.plan.patterns[place]
    return job.cache.get_or_make(
        (pattern.key, where.start, where.stop, job.tissues is None),
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
