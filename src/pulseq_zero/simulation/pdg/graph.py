"""The phase distribution graph as arrays, and which of its states are kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from pulseq_zero.simulation.pdg.leeway import Leeway

# How a pulse makes a state out of an ancestor, in the order of the codes in `StateGraph.kind`.
# The last two act on the complex conjugate of the ancestor. The first edge of a state leads
# to its position, and MRzeroCore differentiates this along it: that is zz or z+ if there is one.
KINDS = ("zz", "z+", "++", "+z", "-z", "-+")
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
            min_state_magnetisation=0.03 * accuracy,
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
    of the takers by linear interpolation. A taker may have no ancestors: then it is there only
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
    leeway
        How far flip angles may change until other states matter; None where derivatives by them
        did not count.
    pieces
        In how many pieces each of the played pulses is cut; nothing if none is.
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
    leeway: Leeway | None = None
    pieces: tuple[int, ...] = ()

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
        """Tell whether both graphs hold the same states, edges and measured states, as strong."""
        names = ("count", "transverse", "first_edge", "kind", "source", "emits", "strength")
        return all(np.array_equal(getattr(self, n), getattr(other, n)) for n in names) and all(
            np.array_equal(getattr(self.hand_over, n), getattr(other.hand_over, n))
            for n in ("giver", "taker", "share", "shift")
        )
