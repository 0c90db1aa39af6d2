"""The signal of a sequence on a phantom."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from inspect import signature
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pulseq_zero.conversion.repetitions import Repetitions
from pulseq_zero.errors import SimulationError, check_mapping
from pulseq_zero.simulation import mrzero
from pulseq_zero.simulation.accuracy import DEFAULT_ACCURACY
from pulseq_zero.simulation.checks import (
    check_options,
    check_parts,
    check_repetitions,
    check_sequence,
)
from pulseq_zero.simulation.pdg.backend import Backend
from pulseq_zero.simulation.pdg.cut_pulses import cut_pulses
from pulseq_zero.simulation.pdg.graph import StateGraph, Thresholds
from pulseq_zero.simulation.pdg.kept_graph import KeptGraph
from pulseq_zero.simulation.pdg.kept_plan import KeptPlan
from pulseq_zero.simulation.pdg.perturbed import Perturbed, check_map_names, diffusing
from pulseq_zero.simulation.pdg.prepared_phantom import Numerics, PreparedPhantom
from pulseq_zero.simulation.pdg.propagation import TorchBackend
from pulseq_zero.simulation.pdg.pulse_relaxation import pieces_of
from pulseq_zero.simulation.pdg.sampler import Sampler
from pulseq_zero.simulation.pdg.timeline import Integrals
from pulseq_zero.simulation.pdg.voxels import check_maps
from pulseq_zero.simulation.result import Engine, ErrorEstimate, Simulation, relative_change

if TYPE_CHECKING:
    import MRzeroCore as mr0

DEFAULT_MEMORY = 256 * 2**20
DEFAULT_PULSE_RELAXATION = 7e-3

# What is left out is judged by a simulation with thresholds smaller by this factor. MRzeroCore's
# are of single states, of which thousands add up.
_FINER = {"pdg": 1e-1, "mrzero": 1e-4}


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
    pulse_relaxation
        Part of the magnetisation by which a played pulse may err where relaxation acts before and
        after it and not on the way, and by which all of one shape may that are played within T1;
        those of more are cut into as many pieces as it takes for a fifth of it.
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
        pulse_relaxation: float = DEFAULT_PULSE_RELAXATION,
        backend: Backend | None = None,
    ) -> None:
        check_options(accuracy, device, dtype, engine, memory, pulse_relaxation)
        check_parts(data, thresholds, initial, backend)
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
        self.engine: Engine = engine
        self.initial = initial
        self.pulse_relaxation = pulse_relaxation
        self._numerics = Numerics(
            accuracy=accuracy,
            thresholds=thresholds or Thresholds.of_accuracy(accuracy),
            device=torch.device(device),
            dtype=dtype,
            memory=memory // 2,
            backend=backend or _default_backend(torch.device(device), dtype),
        )
        self._begin_anew()

    @property
    def accuracy(self) -> float:
        """Relative error of the signal."""
        return self._numerics.accuracy

    def _begin_anew(self) -> None:
        """Keep nothing of another phantom."""
        self._phantom = PreparedPhantom(self.data, self.initial, self._numerics)
        self._graph = KeptGraph(self._phantom)
        self._selected: tuple[mr0.Graph, StateGraph] | None = None
        self._plan = KeptPlan(self._phantom)
        self._sampler = Sampler(self._phantom)

    def _prepare_for(self, repetitions: Repetitions) -> Repetitions:
        """Return a sequence on the CPU, checked, with nothing kept of another phantom."""
        check_repetitions(repetitions)
        repetitions = repetitions.to("cpu")
        check_sequence(repetitions)
        if not self._phantom.is_that_of(self.data):
            check_maps(self.data)
            self._begin_anew()
        return repetitions

    def _cut(
        self, repetitions: Repetitions, graph: mr0.Graph | StateGraph | None = None
    ) -> Repetitions:
        """Cut played pulses where relaxation during them matters, or as in a given graph."""
        played = repetitions.played
        if played is None or played.whole:
            return repetitions
        if graph is None:
            pieces = pieces_of(repetitions, self._phantom.mean_tissue, self.pulse_relaxation)
        else:
            pieces = graph.pieces if isinstance(graph, StateGraph) else ()
        is_of_these = len(pieces) == len(played.step_count)
        return cut_pulses(repetitions, pieces) if is_of_these else repetitions

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
        repetitions = self._cut(repetitions, graph)
        integrals = Integrals.of(repetitions)
        states, made_of = self._states(repetitions, integrals, graph)
        known = self._sampler.interpolation(states, integrals, repetitions)
        plan, timeline, slopes, diffusion = self._plan.of(
            states, integrals, repetitions, by_tissue=known is not None
        )
        signal = self._sampler.signal(plan, timeline, slopes, repetitions, known, states, made_of)
        estimate = ErrorEstimate(
            diffusion,
            states.cut,
            partial(self._neglected, repetitions.snapshot(), signal.detach()),
        )
        return Simulation(signal, estimate, len(states.emits), "pdg")

    def _states(
        self, repetitions: Repetitions, integrals: Integrals, given: mr0.Graph | StateGraph | None
    ) -> tuple[StateGraph, Repetitions]:
        """Return the states, and the sequence that they were found for."""
        if given is None:
            return self._graph.of(repetitions, integrals)
        if not isinstance(given, StateGraph):
            if self._selected is None or self._selected[0] is not given:
                selected = mrzero.select_states(given, self._numerics.thresholds)
                self._selected = (given, selected)
            return self._selected[1], repetitions
        if len(given.count) != len(repetitions.event_count):
            raise SimulationError(
                f"the graph has {len(given.count)} repetitions, but the sequence "
                f"{len(repetitions.event_count)}; make it of this sequence"
            )
        return given, repetitions

    def _with_mrzerocore(
        self, repetitions: Repetitions, graph: mr0.Graph | StateGraph | None
    ) -> Simulation:
        if isinstance(graph, StateGraph):
            raise SimulationError("engine='mrzero' needs a graph of MRzeroCore, or none")
        signal, states = mrzero.simulate(
            repetitions, self.data, self._numerics.thresholds, self.initial, graph
        )
        signal = signal.to(self._numerics.device)
        estimate = ErrorEstimate(
            0.0, 0.0, partial(self._neglected, repetitions.snapshot(), signal.detach())
        )
        return Simulation(signal, estimate, states, "mrzero")

    @torch.no_grad()
    def _neglected(self, repetitions: Repetitions, signal: Tensor) -> float:
        """Return how far a signal is from that of far more states, relative to that one."""
        numerics = self._numerics
        finer = Simulator(
            self.data,
            numerics.accuracy,
            device=numerics.device,
            dtype=numerics.dtype,
            engine=self.engine,
            memory=2 * numerics.memory,
            thresholds=numerics.thresholds.finer(_FINER[self.engine]),
            initial=self.initial,
            pulse_relaxation=self.pulse_relaxation,
            backend=numerics.backend,
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
        first = repetitions.first_event[repetition]
        stop = first + repetitions.event_count[repetition]
        begin = int(repetitions.is_sample[:first].sum())
        seen = slice(begin, begin + int(repetitions.is_sample[first:stop].sum()))
        repetitions = self._cut(repetitions)
        integrals = Integrals.of(repetitions)
        states, _ = self._graph.of(repetitions, integrals)
        planned = self._plan.of(states, integrals, repetitions, by_tissue=False)
        return self._sampler.magnetisation(*planned[:3], repetitions, seen)

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
        repetitions = self._cut(self._prepare_for(repetitions))
        return self._graph.of(repetitions, Integrals.of(repetitions))[0]

    def jacobian(self, repetitions: Repetitions, wrt: Sequence[str] = ("T1", "T2")) -> Tensor:
        r"""Differentiate the signal by tissue: :math:`\partial s / \partial p` of each voxel.

        By differences in double precision, with one set of states for all. It is differentiable
        with respect to the sequence, for losses such as the Cramer-Rao bound, see
        `pulseq_zero.imaging.crlb`. For phantoms of few voxels: each is simulated twice a map.

        Parameters
        ----------
        repetitions
            The sequence; its tensors may require gradients.
        wrt
            Maps to differentiate by: ``"PD"``, ``"T1"``, ``"T2"``, ``"T2dash"``, ``"D"``,
            ``"B0"``, or ``"B1"`` for a factor of the transmit field.

        Returns
        -------
        Tensor
            (samples, coils, maps, voxels) complex128, by the units of the maps.

        Raises
        ------
        SimulationError
            If there is no such map, or the engine is MRzeroCore's.
        """
        if self.engine != "pdg":
            raise SimulationError("only engine='pdg' differentiates by tissue")
        check_map_names(wrt)
        # The same pieces in all of the phantoms
        repetitions = self._cut(self._prepare_for(repetitions))
        slopes, graph = dict[str, Tensor](), None
        others = [name for name in wrt if name != "D"]
        if others:
            perturbed = Perturbed.of(self.data, others)
            simulator = self._exactly(perturbed.data)
            graph = simulator.graph(repetitions)
            found = perturbed.slopes(simulator(repetitions, graph).signal)
            slopes |= dict(zip(others, found.unbind(2), strict=True))
        if "D" in wrt:
            (more, less), difference = diffusing(self.data)
            simulator = self._exactly(more)
            graph = graph or simulator.graph(repetitions)
            ends = simulator(repetitions, graph), self._exactly(less)(repetitions, graph)
            change = (ends[0].signal - ends[1].signal) / difference
            slopes["D"] = change.reshape(len(change), -1, len(self.data.PD))
        return torch.stack([slopes[name] for name in wrt], 2)

    def _exactly(self, data: mr0.SimData) -> Simulator:
        """Simulate other phantoms of the same voxels in double precision."""
        numerics, copies = self._numerics, len(data.PD) // len(self.data.PD)
        return Simulator(
            data,
            numerics.accuracy,
            device=numerics.device,
            dtype=torch.float64,
            memory=2 * numerics.memory,
            thresholds=numerics.thresholds,
            initial=None if self.initial is None else self.initial.repeat(copies),
        )

    @property
    def graph_made_of(self) -> Repetitions | None:
        """The sequence whose graph may serve for the next one, too, where flip angles are others.

        None if the next one's states do not depend on what was simulated before.
        """
        return self._graph.made_of


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


def made_simulator(
    data: mr0.SimData, accuracy: float, settings: Mapping[str, Any] | None
) -> Simulator:
    """Make a simulator, with further settings that are given by their names.

    Raises
    ------
    SimulationError
        If they are none.
    """
    settings = {} if settings is None else settings
    check_mapping("simulation", settings, SimulationError)
    known = [n for n in signature(Simulator).parameters if n not in ("data", "accuracy")]
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise SimulationError(
            f"the simulation has no setting {unknown[0]!r}; its settings are {', '.join(known)}"
        )
    return Simulator(data, accuracy, **settings)


def _default_backend(device: torch.device, dtype: torch.dtype) -> Backend:
    """Choose compiled loops where they apply: on the CPU and in float32."""
    if device.type == "cpu" and dtype == torch.float32:
        # Who computes on a GPU need not wait for the compiler's import.
        from pulseq_zero.simulation.compiled.backend import CompiledBackend

        return CompiledBackend()
    return TorchBackend()
