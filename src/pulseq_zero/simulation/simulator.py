"""The signal of a sequence on a phantom."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from pulseq_zero.conversion.played import PlayedPulses
from pulseq_zero.conversion.repetitions import Repetitions
from pulseq_zero.errors import SimulationError
from pulseq_zero.simulation import mrzero
from pulseq_zero.simulation.accuracy import DEFAULT_ACCURACY
from pulseq_zero.simulation.pdg.backend import Backend, Drive
from pulseq_zero.simulation.pdg.encoding import EncodingCache
from pulseq_zero.simulation.pdg.graph import StateGraph, Thresholds
from pulseq_zero.simulation.pdg.leeway import change_of_flip_angles
from pulseq_zero.simulation.pdg.main_pass import Job, magnetisation_at_samples, sample_states
from pulseq_zero.simulation.pdg.nodes import Counts, Interpolation
from pulseq_zero.simulation.pdg.plan import Plan, make_plan
from pulseq_zero.simulation.pdg.played_rows import PlayedPulseRows, followed_pulses
from pulseq_zero.simulation.pdg.position_slopes import (
    PositionSlopes,
    has_one_history,
    make_position_slopes,
)
from pulseq_zero.simulation.pdg.prepass import make_graph
from pulseq_zero.simulation.pdg.propagation import TorchBackend
from pulseq_zero.simulation.pdg.pulse_factors import PlayedPrepass
from pulseq_zero.simulation.pdg.pulse_profiles import Stack
from pulseq_zero.simulation.pdg.readouts import PatternTable
from pulseq_zero.simulation.pdg.representatives import Representatives
from pulseq_zero.simulation.pdg.timeline import Integrals, Timeline, make_timeline, state_positions
from pulseq_zero.simulation.pdg.voxels import (
    MapsVersion,
    Voxels,
    answer_of_a_voxel,
    answer_of_cells,
    check_maps,
    distinct_shims,
    maps_require_grad,
)

if TYPE_CHECKING:
    import MRzeroCore as mr0

Engine = Literal["pdg", "mrzero"]

DEFAULT_MEMORY = 256 * 2**20

# Readout segments that differ by less than this part of the accuracy, in rotations, share an
# encoding matrix; but not by more than the first number, and in float32 not by less than the other.
_TOLERANCE, _SHARED, _ROUNDING = 0.05, 3e-5, 1e-6

# What depends on a state's position by less than this part of the accuracy, relative to its phase
# at the phantom's edge, is differentiated along the state's first ancestor only.
_POSITION_SHARE = 0.1

# Diffusion inside a readout may err by this part of the accuracy before segments are halved.
_DIFFUSION_SHARE = 0.1
_SHORTEST_SEGMENT = 1

# Cells of a voxel are in phase if they are apart by less than this [turns].
_IN_PHASE = 1e-4

# What is left out is judged by a simulation with thresholds smaller by this factor. MRzeroCore's
# are of single states, of which thousands add up.
_FINER = {"pdg": 1e-1, "mrzero": 1e-4}


@dataclass(frozen=True)
class ErrorEstimate:
    """What the simulation leaves out on purpose, relative to the signal.

    Attributes
    ----------
    diffusion
        Bound of the error of using the mean diffusion coefficient between a readout
        segment's anchor and its samples.
    cut_states
        About what states would add that were not made, as a repetition has more of them than
        `Thresholds.max_state_count`; zero where all were made.
    """

    diffusion: float
    cut_states: float
    _neglected_states: Callable[[], float] = field(repr=False)

    @cached_property
    def neglected_states(self) -> float:
        """Root sum of squares over all samples of what the states left out would add.

        Relative to that of the signal; about the accuracy, or more if there are more states than
        the prepass may make. So it is measured: when this is asked for the first time, the
        sequence is simulated once more, with far smaller thresholds and up to four times the
        states. The phantom must be as it was then.
        """
        return self._neglected_states()


@dataclass(frozen=True)
class Simulation:
    """The result of a simulation.

    Attributes
    ----------
    signal
        (samples, coils) complex, differentiable.
    error
        What was left out.
    states
        Number of states that were simulated.
    engine
        Which main pass was used.
    """

    signal: Tensor
    error: ErrorEstimate
    states: int
    engine: Engine


class Simulator:
    """Simulates sequences on one phantom, keeping what they have in common.

    The signal is Σ C PD M exp(iψ) over the voxels, with the coil sensitivities C, the transverse
    magnetisation M = Mx + iMy and the receiver phases ψ. M turns as Pulseq has it, by
    exp(2πi (k·r + t B0)); see `Repetitions`.

    Encoding matrices are kept as long as the phantom does not change; the plan is kept as
    long as the graph and the trajectory do not change. Where flip angles are differentiated by, the
    graph is kept as long as they change by so little that what it leaves out stays within the
    accuracy: what is simulated then depends, within the accuracy, on what was before.

    Parameters
    ----------
    data
        The phantom.
    accuracy
        Relative error of the signal: the states that are left out add up to about this much,
        and approximations inside readouts stay well below it. `ErrorEstimate.neglected_states`
        of the result measures it. (With engine="mrzero", it is the signal of each state that is
        left out; many add up to more.)
    device, dtype
        Where to compute, and in which real precision (torch.float32 or torch.float64).
    engine
        "pdg" for this package's main pass, "mrzero" for MRzeroCore's (slow, float32, the
        only one that knows motion).
    memory
        Bound for encoding matrices and everything of the phantom's size [bytes].
    thresholds
        State thresholds, instead of those that follow from the accuracy.
    initial
        (voxels,) longitudinal magnetisation before the first pulse; None for full relaxation.
    backend
        Who propagates states, or None for compiled loops on the CPU in float32 and torch
        elsewhere.
    """

    def __init__(
        self,
        data: mr0.SimData,
        accuracy: float = DEFAULT_ACCURACY,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        engine: Engine = "pdg",
        memory: int = DEFAULT_MEMORY,
        thresholds: Thresholds | None = None,
        initial: Tensor | None = None,
        backend: Backend | None = None,
    ) -> None:
        _check_options(accuracy, device, dtype, engine, memory)
        if engine == "pdg" and mrzero.has_motion(data):
            warnings.warn(
                "the phantom moves, which only MRzeroCore's main pass knows: using that",
                stacklevel=2,
            )
            engine = "mrzero"
        if engine == "mrzero" and dtype != torch.float32:
            raise SimulationError("MRzeroCore's main pass knows only dtype=torch.float32")
        check_maps(data)
        self.data = data
        self.accuracy = accuracy
        self.device = torch.device(device)
        self.dtype = dtype
        self.engine: Engine = engine
        self.thresholds = thresholds or Thresholds.of_accuracy(accuracy)
        self.initial = initial
        self._memory = memory // 2
        self._backend = backend or _default_backend(self.device, dtype)
        self._cache = EncodingCache(memory // 2)
        self._forget()

    def _forget(self) -> None:
        """Begin anew with a phantom."""
        self._maps = MapsVersion(self.data)
        self._reach = _reach(self.data)
        self._representatives: dict[bool, Representatives] = {}
        self._known_pulses: PlayedPulseRows | None = None
        self._cache.clear()
        self._graph: tuple[Repetitions | mr0.Graph, tuple[bool, bool], StateGraph] | None = None
        self._plan: tuple[StateGraph, Repetitions, Plan, bool] | None = None
        self._voxels: tuple[object, Voxels] | None = None
        self._interpolated: tuple[object, Tensor | None, Interpolation] | None = None

    @property
    def _tolerance(self) -> float:
        """Rotations that readout segments may differ by and share an encoding matrix."""
        if self.dtype == torch.float64:
            return 1e-12
        return max(_ROUNDING, min(_SHARED, _TOLERANCE * self.accuracy))

    def _prepare_for(self, repetitions: Repetitions) -> Repetitions:
        """Return a sequence on the CPU, checked, with nothing kept of another phantom."""
        repetitions = repetitions.to("cpu")
        _check_sequence(repetitions)
        if not self._maps.is_that_of(self.data):
            check_maps(self.data)
            self._forget()
        return repetitions

    def __call__(
        self, repetitions: Repetitions, graph: mr0.Graph | StateGraph | None = None
    ) -> Simulation:
        """Simulate a sequence.

        Parameters
        ----------
        repetitions
            The sequence; its tensors may require gradients.
        graph
            MRzeroCore's phase distribution graph, that of another simulator (see `graph`), or
            None to let the prepass make one.

        Returns
        -------
        Simulation
            Signal and error estimate.
        """
        repetitions = self._prepare_for(repetitions)
        if self.engine == "mrzero":
            if repetitions.played is not None:
                raise SimulationError(
                    "engine='mrzero' knows pulses that act at once only: convert the sequence with "
                    "pulses='instantaneous'"
                )
            return self._with_mrzerocore(repetitions, graph)
        integrals = Integrals.of(repetitions)
        states = self._states(repetitions, integrals, graph)
        known = self._interpolation(states, integrals, repetitions)
        plan, timeline, slopes, diffusion = self._timeline(
            states, integrals, repetitions, by_tissue=known is not None
        )
        signal = self._signal(plan, timeline, slopes, repetitions, known)
        estimate = ErrorEstimate(
            diffusion,
            states.cut,
            partial(self._neglected, repetitions.snapshot(), signal.detach()),
        )
        return Simulation(signal, estimate, len(states.emits), "pdg")

    def _with_mrzerocore(
        self, repetitions: Repetitions, graph: mr0.Graph | StateGraph | None
    ) -> Simulation:
        if isinstance(graph, StateGraph):
            raise SimulationError("engine='mrzero' needs a graph of MRzeroCore, or none")
        signal, states = mrzero.simulate(
            repetitions, self.data, self.thresholds, self.initial, graph
        )
        signal = signal.to(self.device)
        estimate = ErrorEstimate(
            0.0, 0.0, partial(self._neglected, repetitions.snapshot(), signal.detach())
        )
        return Simulation(signal, estimate, states, "mrzero")

    @torch.no_grad()
    def _neglected(self, repetitions: Repetitions, signal: Tensor) -> float:
        """Return how far a signal is from that of far more states, relative to that one."""
        finer = Simulator(
            self.data,
            self.accuracy,
            device=self.device,
            dtype=self.dtype,
            engine=self.engine,
            memory=2 * self._memory,
            thresholds=self.thresholds.finer(_FINER[self.engine]),
            initial=self.initial,
            backend=self._backend,
        )
        return relative_change(signal, finer(repetitions).signal)

    @torch.no_grad()
    def magnetisation(self, repetitions: Repetitions, repetition: int) -> Tensor:
        """Transverse magnetisation that the ADC sees in one repetition, voxel by voxel.

        Parameters
        ----------
        repetitions
            The sequence.
        repetition
            Number of the repetition.

        Returns
        -------
        Tensor
            (samples of that repetition, voxels) complex: with proton density and receiver
            phase, without coil sensitivity. The signal is its sum over coil-weighted voxels.
        """
        if self.engine != "pdg":
            raise SimulationError("only engine='pdg' tells the magnetisation at the ADC")
        repetitions = self._prepare_for(repetitions.detach())
        if not 0 <= repetition < len(repetitions.event_count):
            raise SimulationError(
                f"there is no repetition {repetition}; the sequence has "
                f"{len(repetitions.event_count)}"
            )
        integrals = Integrals.of(repetitions)
        states = self._states(repetitions, integrals, None)
        plan, timeline, slopes, _ = self._timeline(states, integrals, repetitions, by_tissue=False)
        job, drive, voxels, profiles = self._prepare(plan, timeline, slopes, repetitions)
        first = repetitions.first_event[repetition]
        stop = first + repetitions.event_count[repetition]
        begin = int(repetitions.is_sample[:first].sum())
        seen = slice(begin, begin + int(repetitions.is_sample[first:stop].sum()))
        factor = self._real(_row_factor(timeline, self.data, self._stack(repetitions)))
        found = magnetisation_at_samples(job, drive, voxels.detach(), factor, seen, profiles)
        return found * self._receiver(repetitions)[seen, None] * self._real(self.data.PD).abs()

    def graph(self, repetitions: Repetitions) -> StateGraph:
        """Find the states that a sequence is simulated with.

        Handed to other simulators, it makes their signals differ by their phantoms alone: what
        the simulation leaves out cancels in differences between nearly equal phantoms, as for a
        derivative by tissue.

        Parameters
        ----------
        repetitions
            The sequence. If its flip angles require gradients, states count by their derivatives,
            too.
        """
        repetitions = self._prepare_for(repetitions)
        return self._states(repetitions, Integrals.of(repetitions), None)

    @property
    def graph_made_of(self) -> Repetitions | None:
        """The sequence whose graph may serve for the next one, too, where flip angles are others.

        None if the next one's states do not depend on what was simulated before.
        """
        if self._graph is None or self._graph[2].leeway is None:
            return None
        made_of = self._graph[0]
        return made_of if isinstance(made_of, Repetitions) else None

    def _states(
        self, repetitions: Repetitions, integrals: Integrals, graph: mr0.Graph | StateGraph | None
    ) -> StateGraph:
        if isinstance(graph, StateGraph):
            if len(graph.count) != len(repetitions.event_count):
                raise SimulationError(
                    f"the graph has {len(graph.count)} repetitions, but the sequence "
                    f"{len(repetitions.event_count)}; make it of this sequence"
                )
            return graph
        known = self._graph
        wanted = (self._slopes_matter(repetitions), _positions_matter(repetitions))
        if graph is not None:
            if known is None or known[0] is not graph:
                known = (graph, wanted, mrzero.select_states(graph, self.thresholds))
        elif (
            known is None
            or not isinstance(known[0], Repetitions)
            or known[1] != wanted
            or not _serves(known[2], known[0], repetitions)
        ):
            voxels, played = self._followed(repetitions, slopes=wanted[0])
            made = make_graph(
                repetitions,
                integrals,
                self.data,
                voxels,
                self.thresholds,
                slopes=wanted[0],
                positions=wanted[1],
                played=played,
            )
            if made.cut > self.accuracy:
                warnings.warn(
                    f"about {made.cut:.1g} of the signal is missing: the sequence makes more "
                    "states than are followed; spoil what need not come together again, play "
                    "fewer pulses, or allow more by thresholds=Thresholds(...)",
                    stacklevel=4,
                )
            known = (repetitions.snapshot(), wanted, made)
        self._graph = known
        return known[2]

    def _followed(
        self, repetitions: Repetitions, *, slopes: bool
    ) -> tuple[Representatives, PlayedPrepass | None]:
        """Return where the prepass follows the states, and what played pulses do there."""
        is_played = repetitions.played is not None
        if is_played not in self._representatives:
            self._representatives[is_played] = Representatives.of(
                self.data, self.initial, by_offset=is_played
            )
        voxels = self._representatives[is_played]
        pulses = self._pulses(repetitions)
        if pulses is None:
            return voxels, None
        cells, part, cell = voxels.stacked(len(pulses.stack))
        return cells, followed_pulses(pulses, voxels, repetitions, part, cell, slopes=slopes)

    def _pulses(self, repetitions: Repetitions) -> PlayedPulseRows | None:
        """Return what played pulses do in this phantom; None where each acts at once."""
        if repetitions.played is None:
            return None
        if self._known_pulses is None or not self._known_pulses.are_of(repetitions):
            shims, _ = distinct_shims(repetitions)
            voxels = self._prepared_voxels(shims)
            self._known_pulses = PlayedPulseRows.of(repetitions, self.data, voxels, self.accuracy)
        return self._known_pulses

    def _slopes_matter(self, repetitions: Repetitions) -> bool:
        """Tell whether flip angles are differentiated by, of pulses or through the field."""
        angles = [repetitions.pulse_angle, repetitions.shim, self.data.B1]
        if repetitions.played is not None:
            angles.append(repetitions.played.signal)
        return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in angles)

    def _timeline(
        self,
        states: StateGraph,
        integrals: Integrals,
        repetitions: Repetitions,
        *,
        by_tissue: bool,
    ) -> tuple[Plan, Timeline, PositionSlopes | None, float]:
        """Plan, and cut readouts shorter until diffusion inside them is accurate enough.

        It is exact where each tissue is sampled with its own.
        """
        start = state_positions(states, integrals.total)
        spread = 0.0 if by_tissue else _diffusion_spread(self.data)
        # What cells emit is added up at an anchor: they have to stay in phase up to its samples.
        apart = self._moves_along_cells(repetitions, integrals)
        longest = _SHORTEST_SEGMENT if apart else None
        known = self._plan
        reusable = (
            known is not None
            and known[0].same_structure(states)
            and _same_trajectory(known[1], repetitions)
            and known[3] == by_tissue
        )
        while True:
            if reusable and known is not None:
                plan = known[2]
            else:
                patterns = PatternTable(self._reach, self._tolerance)
                plan = make_plan(states, repetitions, integrals, start, patterns, longest)
            timeline = make_timeline(states, integrals, start, plan.items)
            bound = spread * _largest_weighting(timeline, states, plan)
            rows = max(plan.rows, default=0)
            if reusable or bound <= _DIFFUSION_SHARE * self.accuracy or rows <= _SHORTEST_SEGMENT:
                break
            longest = max(_SHORTEST_SEGMENT, rows // 2)
        if not reusable:
            self._plan = (states, repetitions.snapshot(), plan, by_tissue)
        slopes = self._slopes(plan, integrals, start, timeline, repetitions)
        if slopes:
            timeline = make_timeline(states, integrals, start, plan.items, slopes.axes)
        return plan, timeline, slopes, bound

    def _moves_along_cells(self, repetitions: Repetitions, integrals: Integrals) -> bool:
        """Tell whether samples are taken while the cells of a voxel dephase."""
        stack = self._stack(repetitions)
        if stack is None or len(stack) == 1:
            return False
        extent = 2 * stack.place.abs().amax(0)
        position = integrals.position.detach()[:, :3] * extent
        for number, first in enumerate(repetitions.first_event):
            events = slice(first, first + repetitions.event_count[number])
            sampled = position[events][repetitions.is_sample[events]]
            if len(sampled) and float((sampled.amax(0) - sampled.amin(0)).max()) > _IN_PHASE:
                return True
        return False

    def _signal(
        self,
        plan: Plan,
        timeline: Timeline,
        slopes: PositionSlopes | None,
        repetitions: Repetitions,
        known: tuple[Interpolation, Counts] | None,
    ) -> Tensor:
        """Sample states in every voxel, or at nodes between which voxels are interpolated."""
        job, drive, voxels, profiles = self._prepare(plan, timeline, slopes, repetitions)
        offset, stack = self._real(timeline.offset), self._stack(repetitions)
        if known is None:
            factor = self._real(_row_factor(timeline, self.data, stack))
            samples, _ = sample_states(job, drive, offset, factor, voxels, profiles)
        else:
            factor = self._real(_row_factor(timeline, self.data, stack, known[0].D))
            samples = self._interpolated_samples(job, drive, offset, factor, profiles, *known)
        signal = samples.new_zeros(plan.sample_count, voxels.coils)
        signal = signal.index_add(0, plan.items.sample.to(self.device), samples)
        return signal * self._receiver(repetitions)[:, None]

    def _interpolated_samples(
        self,
        job: Job,
        drive: Drive,
        offset: Tensor,
        factor: Tensor,
        profiles: Tensor | None,
        known: Interpolation,
        counts: Counts,
    ) -> Tensor:
        """Sample with as many nodes as it takes, or in each voxel where that takes too many."""
        pulses, played = self._known_pulses, job.played
        if played is not None:
            played = replace(played, layer=known.layer)
        job = replace(job, played=played, tissues=known.tissues, allowed=known.allowed)
        while nodes := known.nodes(counts, job.plan.item_count):
            nodes = nodes.playing(pulses.profiles) if played and pulses else nodes
            job = replace(job, nodes=nodes)
            samples, last = sample_states(job, drive, offset, factor, known.voxels, profiles)
            if max(last) <= known.allowed:
                return samples
            counts = known.more(counts, last)
        voxels = known.voxels
        if played and pulses:
            basis = pulses.profiles.basis(voxels.B1, voxels.B0).to(voxels.B0)
            voxels = replace(voxels, basis=basis)
        return sample_states(replace(job, nodes=None), drive, offset, factor, voxels, profiles)[0]

    def _interpolation(
        self, states: StateGraph, integrals: Integrals, repetitions: Repetitions
    ) -> tuple[Interpolation, Counts] | None:
        """Return how voxels are interpolated, and between how many nodes at first.

        None where each has to be propagated: where there are gradients by positions, or by maps,
        and where states are handed over, which turns them by B0.
        """
        shims, _ = distinct_shims(repetitions)
        voxels, pulses = self._prepared_voxels(shims), self._pulses(repetitions)
        by_position = integrals.total.requires_grad or integrals.position.requires_grad
        by_maps = maps_require_grad(self.data) or voxels.B1.requires_grad
        given = len(states.hand_over.giver) > 0
        if by_position or by_maps or given or len(voxels.B1) > 1:
            return None
        layer = None if pulses is None else pulses.job.layer
        known = self._interpolated
        if known is None or known[0] is not self._voxels or not _same_tensor(known[1], layer):
            known = (self._voxels, layer, Interpolation(voxels, layer, self.accuracy, self._memory))
            self._interpolated = known
            self._cache.clear()
        counts = known[2].counts_for(repetitions)
        return None if counts is None else (known[2], counts)

    def _prepare(
        self,
        plan: Plan,
        timeline: Timeline,
        slopes: PositionSlopes | None,
        repetitions: Repetitions,
    ) -> tuple[Job, Drive, Voxels, Tensor | None]:
        shims, shim = distinct_shims(repetitions)
        voxels = self._prepared_voxels(shims)
        pulses = self._pulses(repetitions)
        phase, profiles, played = repetitions.pulse_phase, None, None
        if pulses is not None and repetitions.played is not None:
            phase = repetitions.played.phase
            profiles = self._real(pulses.coefficients)
            played = pulses.job
            voxels = replace(voxels, basis=pulses.profiles.basis(voxels.B1, voxels.B0))
        job = Job(
            plan=plan,
            shim=shim,
            backend=self._backend,
            cache=self._cache,
            memory=self._memory,
            b_offset=self._real(timeline.b_offset.detach()),
            moving=_moving_patterns(plan, repetitions.moving),
            slopes=slopes.to(self.device, self.dtype) if slopes and slopes.axes else None,
            played=played,
        )
        drive = Drive(
            angle=self._real(repetitions.pulse_angle),
            phase=self._real(_within_a_turn(phase)),
            duration=self._real(timeline.duration),
            b_end=self._real(timeline.b_end),
            k_anchor=timeline.k_anchor.to(self.device),
            t_anchor=self._real(timeline.t_anchor),
            b_anchor=self._real(timeline.b_anchor),
            total=self._real(timeline.total),
            shim=shim,
        )
        return job, drive, voxels, profiles

    def _stack(self, repetitions: Repetitions) -> Stack | None:
        pulses = self._pulses(repetitions)
        return None if pulses is None else pulses.stack

    def _slopes(
        self,
        plan: Plan,
        integrals: Integrals,
        start: Tensor,
        timeline: Timeline,
        repetitions: Repetitions,
    ) -> PositionSlopes | None:
        """Return what has to be followed along every path; None if paths need not be told apart."""
        if not integrals.total.requires_grad or has_one_history(
            plan.graph, _moving_repetitions(repetitions)
        ):
            return None
        dephased = bool((1 / self.data.T2dash.detach()).any())
        return make_position_slopes(
            plan,
            integrals,
            start,
            timeline,
            partial(_answer, self.data, self._stack(repetitions)),
            (1e-9 * float(_mean_diffusion(self.data)), 1e-9 * float(self.data.D.detach().max())),
            _POSITION_SHARE * self.accuracy * 2 * math.pi * float(self._reach[:3].max()),
            (
                repetitions.gradient_moment.requires_grad,
                repetitions.event_time.requires_grad and dephased,
            ),
        )

    def _receiver(self, repetitions: Repetitions) -> Tensor:
        phase = repetitions.adc_phase[repetitions.is_sample].double()
        receiver = torch.polar(torch.ones_like(phase), phase)
        return receiver.to(device=self.device, dtype=self.dtype.to_complex())

    def _real(self, tensor: Tensor) -> Tensor:
        return tensor.to(device=self.device, dtype=self.dtype)

    def _prepared_voxels(self, shims: Tensor | None) -> Voxels:
        """Return the voxels, anew where maps have changed or are differentiated by."""
        version = None if shims is None else shims.tolist()
        differentiated = maps_require_grad(self.data) or (shims is not None and shims.requires_grad)
        if self._voxels is not None and self._voxels[0] == version and not differentiated:
            return self._voxels[1]
        voxels = Voxels.of(
            self.data, device=self.device, dtype=self.dtype, shims=shims, initial=self.initial
        )
        self._voxels = (version, voxels.detach())
        return voxels


def simulate(
    repetitions: Repetitions,
    data: mr0.SimData,
    accuracy: float = DEFAULT_ACCURACY,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    engine: Engine = "pdg",
    memory: int = DEFAULT_MEMORY,
) -> Simulation:
    """Simulate a sequence on a phantom, once.

    For several sequences on one phantom, keep a `Simulator`; its arguments are the same.

    Returns
    -------
    Simulation
        Signal and error estimate.
    """
    simulator = Simulator(data, accuracy, device=device, dtype=dtype, engine=engine, memory=memory)
    return simulator(repetitions)


def relative_change(values: Tensor, better: Tensor) -> float:
    """Return by how much better values differ, relative to their norm."""
    size = float(better.abs().square().sum().sqrt())
    change = float((values - better).abs().square().sum().sqrt())
    return change / size if size > 0 else change


def _default_backend(device: torch.device, dtype: torch.dtype) -> Backend:
    """Choose compiled loops where they apply: on the CPU and in float32."""
    if device.type == "cpu" and dtype == torch.float32:
        # Who computes on a GPU need not wait for the compiler's import.
        from pulseq_zero.simulation.compiled.backend import CompiledBackend

        return CompiledBackend()
    return TorchBackend()


def _check_options(
    accuracy: float,
    device: torch.device | str,
    dtype: torch.dtype,
    engine: str,
    memory: int,
) -> None:
    if not 0 < accuracy < 1:
        raise SimulationError(f"accuracy is {accuracy}, but must lie between 0 and 1")
    if dtype not in (torch.float32, torch.float64):
        raise SimulationError(f"dtype is {dtype}, but must be torch.float32 or torch.float64")
    if engine not in get_args(Engine):
        raise SimulationError(f"engine is {engine!r}, but must be one of {get_args(Engine)}")
    if memory < 2**20:
        raise SimulationError(f"memory is {memory} bytes, but at least 1 MiB is needed")
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise SimulationError(f"device is {device!r}, but must be 'cpu' or 'cuda'") from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise SimulationError("device is 'cuda', but torch finds no GPU; use device='cpu'")


def _check_sequence(repetitions: Repetitions) -> None:
    names = ("pulse_angle", "pulse_phase", "event_time", "gradient_moment", "adc_phase", "shim")
    for name in names:
        values = getattr(repetitions, name)
        if values is not None and not bool(values.detach().isfinite().all()):
            raise SimulationError(f"the sequence's {name} holds values that are not finite")
    if bool((repetitions.event_time < 0).any()):
        raise SimulationError("the sequence holds events of negative duration")


def _positions_matter(repetitions: Repetitions) -> bool:
    """Tell whether times or moments are differentiated by."""
    given = repetitions.event_time.requires_grad or repetitions.gradient_moment.requires_grad
    moving = repetitions.moving is None or bool(repetitions.moving.any())
    return torch.is_grad_enabled() and given and moving


def _serves(graph: StateGraph, made_of: Repetitions, other: Repetitions) -> bool:
    """Tell whether the graph of one sequence does for another."""
    if not (_same_trajectory(made_of, other) and made_of.same_shim(other)):
        return False
    if (
        torch.equal(made_of.pulse_angle, other.pulse_angle)
        and torch.equal(made_of.pulse_phase, other.pulse_phase)
        and _same_pulses(made_of.played, other.played)
    ):
        return True
    change = None if graph.leeway is None else change_of_flip_angles(made_of, other)
    return change is not None and graph.leeway is not None and graph.leeway.covers(change)


def _same_pulses(one: PlayedPulses | None, other: PlayedPulses | None) -> bool:
    return one is other or (one is not None and other is not None and one.same_values(other))


def _same_tensor(one: Tensor | None, other: Tensor | None) -> bool:
    return one is other or (one is not None and other is not None and torch.equal(one, other))


def _same_trajectory(one: Repetitions, other: Repetitions) -> bool:
    return (
        one.event_count == other.event_count
        and torch.equal(one.event_time, other.event_time)
        and torch.equal(one.gradient_moment, other.gradient_moment)
        and torch.equal(one.is_sample, other.is_sample)
    )


def _reach(data: mr0.SimData) -> np.ndarray:
    position = data.voxel_pos.detach().abs().amax(0).double().cpu().numpy()
    # Never zero: a single voxel at the centre would leave a pattern without a scale
    return np.append(position.clip(min=1e-3), float(data.B0.detach().abs().max()) + 1.0)


def _diffusion_spread(data: mr0.SimData) -> float:
    """Return the largest difference of a diffusion coefficient from the mean [m²/s]."""
    return 1e-9 * float((data.D.detach().cpu() - _mean_diffusion(data)).abs().max())


def _mean_diffusion(data: mr0.SimData) -> Tensor:
    weight = data.PD.detach().double().cpu()
    return (data.D.detach().double().cpu() * weight).sum() / weight.sum()


def _largest_weighting(timeline: Timeline, states: StateGraph, plan: Plan) -> float:
    """Return the largest diffusion weighting after an anchor, of states by their strength."""
    b_offset = timeline.b_offset.detach().abs()
    if states.strength is not None and len(b_offset):
        strength = torch.from_numpy(states.strength)[plan.items.state]
        b_offset = b_offset * torch.repeat_interleave(strength, plan.items.first_row.diff())
    return float(b_offset.max()) if len(b_offset) else 0.0


def _row_factor(
    timeline: Timeline, data: mr0.SimData, stack: Stack | None, D: Tensor | None = None
) -> Tensor:
    """Return what all voxels have in common: diffusion after the anchor, voxel shape.

    (rows,) with the phantom's mean diffusion coefficient, or (tissues, rows) with theirs [m²/s].
    """
    of_all = 1e-9 * _mean_diffusion(data) if D is None else D.double().cpu()[:, None]
    diffusion = torch.exp(-of_all * timeline.b_offset)
    cells = 1 if stack is None else len(stack)
    return math.sqrt(2) / cells * diffusion * _answer(data, stack, timeline.k_sample)


def _answer(data: mr0.SimData, stack: Stack | None, k: Tensor) -> Tensor:
    return answer_of_a_voxel(data, k) if stack is None else answer_of_cells(data, stack, k)


def _moving_repetitions(repetitions: Repetitions) -> Tensor | None:
    """Return (repetitions,) whether any event may move, None where that is not known."""
    if repetitions.moving is None:
        return None
    return torch.stack([part.any() for part in repetitions.moving.split(repetitions.event_count)])


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
