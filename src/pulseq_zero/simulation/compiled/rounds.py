"""Edges of the graph gathered by state, as the compiled loops read them."""

from __future__ import annotations

import numpy as np

from pulseq_zero.simulation.pdg.graph import KINDS, StateGraph

# Places of the kinds of edges in the rounds of their states.
_FORWARD_SLOT = {"++": 0, "-+": 1, "z+": 2, "zz": 0, "+z": 1, "-z": 2}
_BACKWARD_SLOT = {"++": 0, "-+": 1, "+z": 2, "-z": 3, "zz": 0, "z+": 1}


def forward_rounds(graph: StateGraph) -> tuple[np.ndarray, np.ndarray]:
    """Gather each state's ancestors: one of each kind in a round.

    Parameters
    ----------
    graph
        States and edges.

    Returns
    -------
    rounds, first_round
        (rounds, 4): state, and its ancestors of kinds ++, -+, z+ (for transverse states) or
        zz, +z, -z (for longitudinal ones), all numbered within their repetitions; -1 for none.
        (repetitions + 1, 4): where a repetition's first rounds of transverse and of longitudinal
        states begin, and where those that add to these.
    """
    slot = np.array([_FORWARD_SLOT[kind] for kind in KINDS])[graph.kind]
    states = np.arange(len(graph.emits)) - graph.first_state[graph.repetition]
    return _rounds(
        state=states,
        group=4 * graph.repetition + ~graph.is_transverse,
        edge_state=graph.target,
        slot=slot,
        partner=graph.source,
        slots=3,
        repetitions=len(graph.count),
    )


def backward_rounds(graph: StateGraph) -> tuple[np.ndarray, np.ndarray]:
    """Gather each state's descendants, as `forward_rounds` does the ancestors.

    Returns
    -------
    rounds, first_round
        (rounds, 5): state *before* the pulse, and its descendants of kinds ++, -+, +z, -z (for
        transverse states) or zz, z+ (for longitudinal ones).
    """
    # The state before the first pulse comes first; all others move on by one repetition.
    transverse = np.concatenate([[False], graph.is_transverse])
    pulse = np.concatenate([[0], graph.repetition + 1])
    first = np.concatenate([[0], 1 + graph.first_state[:-1]])
    edge_pulse = graph.repetition[graph.target]
    slot = np.array([_BACKWARD_SLOT[kind] for kind in KINDS])[graph.kind]
    used = pulse < len(graph.count)
    return _rounds(
        state=(np.arange(len(pulse)) - first[pulse])[used],
        group=(4 * pulse + ~transverse)[used],
        edge_state=first[edge_pulse] + graph.source,
        slot=slot,
        partner=graph.target - graph.first_state[edge_pulse],
        slots=4,
        repetitions=len(graph.count),
    )


def _rounds(
    state: np.ndarray,
    group: np.ndarray,
    edge_state: np.ndarray,
    slot: np.ndarray,
    partner: np.ndarray,
    slots: int,
    repetitions: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Fill rounds; a state with two partners in a slot gets a second round.

    ``group`` is four times the repetition, plus one for longitudinal states; rounds that add to
    others come two groups later. ``edge_state`` counts over all states.
    """
    address = edge_state * slots + slot
    order = np.argsort(address, kind="stable")
    ordered = address[order]
    # How many edges with the same state and slot come before.
    repeat = np.arange(len(order)) - np.searchsorted(ordered, ordered)
    depth = np.ones(len(state), dtype=np.int64)
    np.maximum.at(depth, edge_state[order], repeat + 1)
    first = np.concatenate([[0], np.cumsum(depth)])
    owner = np.repeat(np.arange(len(state)), depth)
    table = np.full((first[-1], 1 + slots), -1, dtype=np.int32)
    table[:, 0] = state[owner]
    table[first[edge_state[order]] + repeat, 1 + slot[order]] = partner[order]
    groups = group[owner] + 2 * (np.arange(len(owner)) > first[owner])
    sequence = np.argsort(groups, kind="stable")
    bounds = np.searchsorted(groups[sequence], np.arange(4 * repetitions + 4))
    return table[sequence], bounds.reshape(-1, 4)
