"""The phase distribution graph as arrays, and the way there from MRzeroCore's prepass."""

from __future__ import annotations

import contextlib
import gc
import math
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pulseq_zero.repetitions import Repetitions

if TYPE_CHECKING:
    import MRzeroCore as mr0

# How a pulse makes a state out of an ancestor, in the order of the codes in `StateGraph.kind`.
# The last two act on the complex conjugate of the ancestor. The first edge of a state leads
# to its position, and MRzeroCore differentiates this along it: that is zz or z+ if there is one.
KINDS = ("zz", "z+", "++", "+z", "-z", "-+")
_KIND_CODE = {name: code for code, name in enumerate(KINDS)}
CONJUGATING = np.array([False, False, False, False, True, True])


@dataclass(frozen=True)
class Thresholds:
    """Which states of the graph are made, carried on, and measured.

    Signals are relative to the strongest of a repetition. The last two bound what all states
    that are left out add up to; where MRzeroCore makes the graph, that of each one.

    Attributes
    ----------
    max_state_count
        Largest number of states that the prepass makes in a repetition, of transverse and of
        longitudinal ones each.
    min_state_magnetisation
        The prepass drops states with less magnetisation.
    min_emitted_signal
        States with less signal are not measured.
    min_latent_signal
        States that lead to less signal are not carried on.
    """

    max_state_count: int = 200
    min_state_magnetisation: float = 1e-4
    min_emitted_signal: float = 1e-2
    min_latent_signal: float = 1e-2

    @classmethod
    def of_accuracy(cls, accuracy: float) -> Thresholds:
        """Derive all thresholds from the one number that a user gives.

        The prepass looks far below the accuracy, as many weak states may lead to something that
        matters. Its number of states is bounded, lest those of a sequence in which none come
        together (radial readouts without spoiling) fill the memory; see `StateGraph.cut`.
        """
        return cls(
            max_state_count=10_000,
            min_state_magnetisation=0.01 * accuracy,
            min_emitted_signal=accuracy,
            min_latent_signal=accuracy,
        )

    def finer(self, factor: float) -> Thresholds:
        """Return smaller thresholds by a factor, and four times the number of states."""
        return Thresholds(
            max_state_count=4 * self.max_state_count,
            min_state_magnetisation=factor * self.min_state_magnetisation,
            min_emitted_signal=factor * self.min_emitted_signal,
            min_latent_signal=factor * self.min_latent_signal,
        )


@dataclass(frozen=True)
class HandOver:
    """States that end with a repetition, and hand their magnetisation over to others.

    The takers have the giver's kind and gradient moments, but other dephasing times. What B0 makes
    of the difference is put on each voxel. What T2' leaves of the giver is made of what it leaves
    of the takers by polynomial interpolation. A taker may have no ancestors: then it is there only
    for what it receives.

    Attributes
    ----------
    giver
        (handovers,) number of the state over all repetitions, in ascending order.
    taker
        (handovers, takers) likewise; the giver itself fills the room of fewer.
    share
        (handovers, takers) what each taker receives; in sum 1.
    shift
        (handovers, takers) by how much more the taker is dephased than the giver [s].
    """

    giver: np.ndarray
    taker: np.ndarray
    share: np.ndarray
    shift: np.ndarray

    @classmethod
    def none(cls) -> HandOver:
        """Return none."""
        none = np.zeros((0, 0))
        return cls(np.zeros(0, np.int64), none.astype(np.int64), none.astype(np.float32), none)


@dataclass(frozen=True)
class StateGraph:
    """The states that are simulated and the pulses' edges between them.

    States lie one repetition behind the other. In a repetition the transverse states come
    first, then the longitudinal state without dephasing, then the other longitudinal ones.
    Source ``-1`` is the magnetisation before the first pulse.

    Attributes
    ----------
    count
        (repetitions,) number of states.
    transverse
        (repetitions,) how many of them are transverse; also where z0 lies.
    first_edge
        (states + 1,) where the edges that lead into a state begin.
    kind
        (edges,) code of the transition, see `KINDS`.
    source
        (edges,) number of the ancestor *within the repetition before*.
    emits
        (states,) whether the state is measured.
    strength
        (states,) about the signal of measured states, relative to the strongest of their
        repetition; None where it is not known.
    hand_over
        States that go on in others.
    cut
        What states would add that were not made as there are too many, as a part of the signal:
        an estimate, zero where all were made.
    """

    count: np.ndarray
    transverse: np.ndarray
    first_edge: np.ndarray
    kind: np.ndarray
    source: np.ndarray
    emits: np.ndarray
    strength: np.ndarray | None = None
    hand_over: HandOver = field(default_factory=HandOver.none)
    cut: float = 0.0

    @cached_property
    def first_state(self) -> np.ndarray:
        """(repetitions + 1,) where the states of a repetition begin."""
        return np.concatenate([[0], np.cumsum(self.count)])

    @cached_property
    def first_given(self) -> np.ndarray:
        """(repetitions + 1,) where the hand-overs at the end of a repetition begin."""
        return np.searchsorted(self.hand_over.giver, self.first_state)

    @cached_property
    def without_ancestors(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(takers,) states without ancestors, one that hands over to each, and its shift [s]."""
        taker, first = np.unique(self.hand_over.taker, return_index=True)
        first = first[np.diff(self.first_edge)[taker] == 0]
        giver = np.repeat(self.hand_over.giver, self.hand_over.taker.shape[1])
        return (
            self.hand_over.taker.ravel()[first],
            giver[first],
            self.hand_over.shift.ravel()[first],
        )

    @cached_property
    def repetition(self) -> np.ndarray:
        """(states,) the repetition that a state belongs to."""
        return np.repeat(np.arange(len(self.count)), self.count)

    @cached_property
    def is_transverse(self) -> np.ndarray:
        """(states,) whether a state is transverse."""
        within = np.arange(len(self.emits)) - self.first_state[self.repetition]
        return within < self.transverse[self.repetition]

    @cached_property
    def target(self) -> np.ndarray:
        """(edges,) the state that an edge leads into, numbered over all repetitions."""
        return np.repeat(np.arange(len(self.emits)), np.diff(self.first_edge))

    def same_structure(self, other: StateGraph) -> bool:
        """Tell whether both graphs hold the same states, edges and measured states."""
        names = ("count", "transverse", "first_edge", "kind", "source", "emits")
        return all(np.array_equal(getattr(self, n), getattr(other, n)) for n in names) and all(
            np.array_equal(getattr(self.hand_over, n), getattr(other.hand_over, n))
            for n in ("giver", "taker", "share", "shift")
        )


def rotation_table(data: mr0.SimData) -> Tensor:
    """Effect of a pulse on the phantom as a whole, from which the prepass estimates signals.

    MRzeroCore averages sin(B1 α) over the voxels. Near α = π it averages to nothing although it
    is large in most of them, wherever B1 is above or below 1: stimulated echoes of refocusing
    pulses would be left out. Its root mean square says what there is.

    Returns
    -------
    Tensor
        (361, 3) sin(B1 α), cos(B1 α) and sin²(B1 α / 2) for α from 0 to 2π.
    """
    angle = torch.linspace(0, 2 * math.pi, 361)
    transmit = data.B1.detach().sum(0).abs().float().cpu()
    weight = data.PD.detach().float().cpu() / float(data.PD.detach().sum())
    table = data.avg_B1_trig.detach().cpu().clone()
    table[:, 0] = (torch.sin(angle[:, None] * transmit).square() @ weight).sqrt()
    table[180:, 0] *= -1  # a root has lost the sign
    return table


def compute_graph(
    repetitions: Repetitions, data: mr0.SimData, thresholds: Thresholds, rotations: Tensor
) -> mr0.Graph:
    """Run MRzeroCore's prepass, without its printing, for its main pass.

    ``rotations`` is the phantom's `rotation_table`.

    States beyond the voxels' Nyquist frequency are cut off where the voxels are band-limited
    (sinc). Box and point voxels answer there too, so that nothing may be cut off.
    """
    import MRzeroCore as mr0

    nyquist = data.nyquist.tolist() if is_band_limited(data) else [float("inf")] * 3
    sequence = repetitions.detach().to("cpu").to_mr0()
    with _silent(), _without_garbage_collection():
        graph = mr0.compute_graph_ext(
            sequence,
            float(data.T1.detach().mean()),
            float(data.T2.detach().mean()),
            float(data.T2dash.detach().mean()),
            float(data.D.detach().mean()),
            thresholds.max_state_count,
            thresholds.min_state_magnetisation,
            nyquist,
            data.size.tolist(),
            rotations,
        )
        _put_in_order(graph)
    return graph


def _put_in_order(graph: mr0.Graph) -> None:
    """Sort states and their ancestors in place.

    The prepass lists them in the order of a randomized hash table. Edges, which are unique,
    give an order of their own: sums are then made alike, the ancestor that a state's
    dephasing is traced back along is always the same, and results repeat bit for bit.
    """
    number = {id(state): index for index, state in enumerate(graph[0])}
    for states in graph[1:]:
        edges = {}
        for state in states:
            ordered = sorted(
                ((_KIND_CODE[edge[0]], number[id(edge[1])]), place)
                for place, edge in enumerate(state.ancestors)
            )
            edges[id(state)] = [edge for edge, _ in ordered]
            state.ancestors = [state.ancestors[place] for _, place in ordered]
        states.sort(key=lambda state: edges[id(state)])
        number = {id(state): index for index, state in enumerate(states)}


def is_band_limited(data: mr0.SimData) -> bool:
    """Tell whether the voxels have no signal beyond their Nyquist frequency."""
    beyond = 1.3 * data.nyquist[None] + 10.0
    if not bool(beyond.isfinite().all()):
        return False
    return float(data.dephasing_func(beyond, data.nyquist).abs().max()) < 1e-6


def select_states(graph: mr0.Graph, thresholds: Thresholds) -> StateGraph:
    """Keep the states that MRzeroCore's main pass would simulate.

    Parameters
    ----------
    graph
        What `compute_graph` returned: one list of states before the first pulse, then one
        for each repetition.
    thresholds
        Which states are carried on and measured.
    """
    with _without_garbage_collection():
        return _select_states(graph, thresholds)


def _select_states(graph: mr0.Graph, thresholds: Thresholds) -> StateGraph:
    min_latent, min_emitted = thresholds.min_latent_signal, thresholds.min_emitted_signal
    counts, transverse_counts, edge_counts, kinds, sources, emits = [], [], [], [], [], []
    number_before = {id(graph[0][0]): 0}
    for states in graph[1:]:
        by_type: dict[str, list] = {"+": [], "z0": [], "z": []}
        for state in states:
            kind = state.dist_type
            if kind != "z0" and state.latent_signal < min_latent:
                continue
            edges = [
                (_KIND_CODE[edge[0]], number_before[id(edge[1])])
                for edge in state.ancestors
                if id(edge[1]) in number_before
            ]
            if kind != "z0" and not edges:
                continue
            emitted = kind == "+" and state.emitted_signal >= min_emitted
            by_type[kind].append((state, edges, emitted))
        kept = by_type["+"] + by_type["z0"] + by_type["z"]
        number_before = {id(state): number for number, (state, _, _) in enumerate(kept)}
        counts.append(len(kept))
        transverse_counts.append(len(by_type["+"]))
        for _, edges, emitted in kept:
            edge_counts.append(len(edges))
            emits.append(emitted)
            for code, source in edges:
                kinds.append(code)
                sources.append(source)
    return StateGraph(
        count=np.array(counts, dtype=np.int64),
        transverse=np.array(transverse_counts, dtype=np.int64),
        first_edge=np.concatenate([[0], np.cumsum(edge_counts)]).astype(np.int64),
        kind=np.array(kinds, dtype=np.int64),
        source=np.array(sources, dtype=np.int64),
        emits=np.array(emits, dtype=bool),
    )


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Keep the prepass quiet: it prints below Python, straight to the file descriptor."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    saved, sink = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(sink, 1)
        yield
    finally:
        os.dup2(saved, 1)
        os.close(saved)
        os.close(sink)


@contextlib.contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Hold the collector back: it would walk over all of torch for thousands of new states."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
