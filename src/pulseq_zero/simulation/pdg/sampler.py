"""The signal of a planned sequence in a phantom."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from pulseq_zero.conversion.repetitions import Repetitions
from pulseq_zero.simulation.pdg.backend import Drive
from pulseq_zero.simulation.pdg.encoded_nodes import NodeEncodings
from pulseq_zero.simulation.pdg.encoding import EncodingCache
from pulseq_zero.simulation.pdg.graph import StateGraph
from pulseq_zero.simulation.pdg.main_pass import (
    Job,
    emit_at_nodes,
    magnetisation_at_samples,
    sample_states,
)
from pulseq_zero.simulation.pdg.nodes import Counts, Interpolation, Nodes
from pulseq_zero.simulation.pdg.plan import Plan
from pulseq_zero.simulation.pdg.position_slopes import PositionSlopes
from pulseq_zero.simulation.pdg.prepared_phantom import PreparedPhantom
from pulseq_zero.simulation.pdg.pulse_profiles import Stack
from pulseq_zero.simulation.pdg.timeline import Integrals, Timeline
from pulseq_zero.simulation.pdg.voxels import Voxels, distinct_shims, maps_require_grad


class Sampler:
    """Samples states in a phantom's voxels, or at nodes between which voxels are interpolated.

    Encoding matrices are kept.
    """

    def __init__(self, phantom: PreparedPhantom) -> None:
        self._phantom = phantom
        self._cache = EncodingCache(phantom.numerics.memory)
        self._encodings: NodeEncodings | None = None
        self._interpolated: tuple[Voxels, Tensor | None, Interpolation] | None = None
        self._counted: tuple[StateGraph, Interpolation, Counts] | None = None
        self._known_factor: tuple[tuple[Tensor, ...], Interpolation, Tensor] | None = None

    def signal(
        self,
        plan: Plan,
        timeline: Timeline,
        slopes: PositionSlopes | None,
        repetitions: Repetitions,
        known: Interpolation | None,
        states: StateGraph,
        made_of: Repetitions,
    ) -> Tensor:
        """Return the signal, (samples, coils) complex.

        Parameters
        ----------
        plan, timeline, slopes
            As `KeptPlan.of` has them.
        repetitions
            The sequence.
        known
            How voxels are interpolated, see `interpolation`; None to propagate each.
        states, made_of
            The graph, and the sequence that it was made of: this one takes as many nodes.
        """
        job, drive, voxels, profiles = self._prepare(plan, timeline, slopes, repetitions)
        phantom, stack = self._phantom, self._phantom.stack(repetitions)
        offset = phantom.numerics.real(timeline.offset)
        if known is None:
            factor = phantom.row_factor(timeline, stack)
            samples, _ = sample_states(job, drive, offset, factor, voxels, profiles)
        else:
            factor = self._factor(timeline, stack, known)
            counted = self._counted
            if counted is None or counted[0] is not states or counted[1] is not known:
                its = (job, drive, profiles)
                if made_of is not repetitions:
                    its_job, its_drive, _, its_profiles = self._prepare(
                        plan, timeline, slopes, made_of
                    )
                    its = (its_job, its_drive, its_profiles)
                counts = self._count(made_of, known, *its)
                counted = (states, known, counts)
                self._counted = counted
            samples = self._interpolated_samples(
                job, drive, offset, factor, profiles, repetitions, *counted
            )
        signal = samples.new_zeros(plan.sample_count, voxels.coils)
        signal = signal.index_add(0, plan.items.sample.to(signal.device), samples)
        return signal * self._receiver(repetitions)[:, None]

    def magnetisation(
        self,
        plan: Plan,
        timeline: Timeline,
        slopes: PositionSlopes | None,
        repetitions: Repetitions,
        seen: slice,
    ) -> Tensor:
        """Return (samples, voxels) complex what each voxel emits, without coil sensitivities.

        Parameters
        ----------
        plan, timeline, slopes, repetitions
            As for `signal`.
        seen
            The samples, by their numbers in the signal.
        """
        job, drive, voxels, profiles = self._prepare(plan, timeline, slopes, repetitions)
        factor = self._phantom.row_factor(timeline, self._phantom.stack(repetitions))
        found = magnetisation_at_samples(job, drive, voxels.detach(), factor, seen, profiles)
        density = self._phantom.numerics.real(self._phantom.data.PD).abs()
        return found * self._receiver(repetitions)[seen, None] * density

    def interpolation(
        self, states: StateGraph, integrals: Integrals, repetitions: Repetitions
    ) -> Interpolation | None:
        """Return how voxels are interpolated.

        None where each has to be propagated: where there are gradients by positions, or by maps.
        """
        phantom = self._phantom
        shims, _ = distinct_shims(repetitions)
        voxels, pulses = phantom.voxels(shims), phantom.pulses(repetitions)
        by_position = integrals.total.requires_grad or integrals.position.requires_grad
        by_maps = maps_require_grad(phantom.data) or voxels.B1.requires_grad
        if by_position or by_maps or len(voxels.B1) > 1:
            return None
        layer = None if pulses is None else pulses.job.layer
        known, numerics = self._interpolated, phantom.numerics
        if known is None or known[0] is not voxels or not _same_tensor(known[1], layer):
            made = Interpolation(voxels, layer, numerics.accuracy, numerics.memory)
            known = (voxels, layer, made)
            self._interpolated = known
            # Those of samples, of polynomials and of nodes
            share = numerics.memory // 3
            self._encodings = NodeEncodings(made.voxels, numerics.backend, share)
            self._cache = EncodingCache(share)
        return known[2] if known[2].is_gain(repetitions, states.hand_over) else None

    @torch.no_grad()
    def _count(
        self,
        made_of: Repetitions,
        known: Interpolation,
        job: Job,
        drive: Drive,
        profiles: Tensor | None,
    ) -> Counts:
        """Return between how many nodes voxels are interpolated at first."""
        pulses = self._phantom.pulses(made_of)

        def emit(nodes: Nodes) -> Tensor:
            nodes = nodes if pulses is None else nodes.playing(pulses.profiles)
            return emit_at_nodes(replace(job, nodes=nodes), drive, profiles)

        return known.count(made_of, job.plan.graph.hand_over, emit)

    def _factor(self, timeline: Timeline, stack: Stack | None, known: Interpolation) -> Tensor:
        """Return what voxels of a tissue have in common, (tissues, rows); see `row_factor`."""
        made_of: tuple[Tensor, ...] = (timeline.k_sample, timeline.b_offset)
        if stack is not None:
            made_of = (*made_of, stack.place, stack.size)
        kept = self._known_factor
        if kept is None or kept[1] is not known or not _same_tensors(kept[0], made_of):
            kept = made_of, known, self._phantom.row_factor(timeline, stack, known.D)
            self._known_factor = kept
        return kept[2]

    def _interpolated_samples(
        self,
        job: Job,
        drive: Drive,
        offset: Tensor,
        factor: Tensor,
        profiles: Tensor | None,
        repetitions: Repetitions,
        states: StateGraph,
        known: Interpolation,
        counts: Counts,
    ) -> Tensor:
        """Sample with as many nodes as it takes, or in each voxel where that takes too many."""
        pulses, played = self._phantom.pulses(repetitions), job.played
        if played is not None:
            played = replace(played, layer=known.layer)
        job = replace(job, played=played, tissues=known.tissues, allowed=known.allowed)
        # The sequence will probably be simulated again, with other flip angles
        encodings = None if states.leeway is None else self._encodings
        while nodes := known.nodes(counts, job.plan.item_count):
            encoded = None
            if encodings is not None:
                encoded = encodings.of(job.plan, drive.k_anchor, nodes)
            nodes = nodes.playing(pulses.profiles) if played and pulses else nodes
            job = replace(job, nodes=nodes, encoded=encoded)
            samples, last = sample_states(job, drive, offset, factor, known.voxels, profiles)
            if max(last) <= known.allowed:
                return samples
            counts = known.more(counts, last)
        voxels = known.voxels
        if played and pulses:
            basis = pulses.profiles.basis(voxels.B1, voxels.B0).to(voxels.B0)
            voxels = replace(voxels, basis=basis)
        return sample_states(
            replace(job, nodes=None, encoded=None), drive, offset, factor, voxels, profiles
        )[0]

    def _prepare(
        self,
        plan: Plan,
        timeline: Timeline,
        slopes: PositionSlopes | None,
        repetitions: Repetitions,
    ) -> tuple[Job, Drive, Voxels, Tensor | None]:
        shims, shim = distinct_shims(repetitions)
        phantom, numerics = self._phantom, self._phantom.numerics
        real = numerics.real
        voxels, pulses = phantom.voxels(shims), phantom.pulses(repetitions)
        phase, profiles, played = repetitions.pulse_phase, None, None
        if pulses is not None and repetitions.played is not None:
            phase = repetitions.played.phase
            profiles = real(pulses.coefficients)
            played = pulses.job
            voxels = replace(voxels, basis=pulses.profiles.basis(voxels.B1, voxels.B0))
        job = Job(
            plan=plan,
            shim=shim,
            backend=numerics.backend,
            cache=self._cache,
            memory=numerics.memory,
            b_offset=real(timeline.b_offset.detach()),
            moving=_moving_patterns(plan, repetitions.moving),
            slopes=slopes.to(numerics.device, numerics.dtype) if slopes and slopes.axes else None,
            played=played,
        )
        drive = Drive(
            angle=real(repetitions.pulse_angle),
            phase=real(_within_a_turn(phase)),
            duration=real(timeline.duration),
            b_end=real(timeline.b_end),
            k_anchor=timeline.k_anchor.to(numerics.device),
            t_anchor=real(timeline.t_anchor),
            b_anchor=real(timeline.b_anchor),
            total=real(timeline.total),
            shim=shim,
        )
        return job, drive, voxels, profiles

    def _receiver(self, repetitions: Repetitions) -> Tensor:
        numerics = self._phantom.numerics
        phase = repetitions.adc_phase[repetitions.is_sample].double()
        receiver = torch.polar(torch.ones_like(phase), phase)
        return receiver.to(device=numerics.device, dtype=numerics.dtype.to_complex())


def _same_tensors(some: tuple[Tensor, ...], others: tuple[Tensor, ...]) -> bool:
    return len(some) == len(others) and all(map(torch.equal, some, others))


def _same_tensor(one: Tensor | None, other: Tensor | None) -> bool:
    return one is other or (one is not None and other is not None and torch.equal(one, other))


def _moving_patterns(plan: Plan, moving: Tensor | None) -> tuple[bool, ...]:
    """Tell for each pattern whether an event between an anchor and its samples may move."""
    if moving is None:
        return (True,) * len(plan.patterns)
    items = plan.items
    moved = moving.long().cumsum(0)
    anchor = torch.repeat_interleave(items.anchor, items.first_row.diff())
    rows = moved[items.event] != moved[anchor]
    return tuple(bool(rows[block].any()) for _, _, block in plan.blocks)


def _within_a_turn(phase: Tensor) -> Tensor:
    """Take whole turns off: in float32 they would cost accuracy."""
    return torch.remainder(phase.double(), 2 * math.pi)
