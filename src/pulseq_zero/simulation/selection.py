"""Which of the states that the prepass found are simulated, and which are measured."""

# Compiled functions have no annotations: numba derives the types from the arguments.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pulseq_zero.simulation.graph import StateGraph, Thresholds

TRANSVERSE, UNDEPHASED, LONGITUDINAL = 0, 1, 2

# Squared signals below this are none.
_NOTHING = 1e-18

_compiled = njit(cache=True, error_model="numpy")


@dataclass
class Candidates:
    """The states of one repetition, or of all.

    Attributes
    ----------
    kinds
        (states,) TRANSVERSE, UNDEPHASED or LONGITUDINAL.
    power
        (states, representatives) squared magnetisation after the pulse.
    emission
        (states,) squared signal in all samples, for a magnetisation of 1.
    decay
        (states, representatives) what is left of the power at the end of the repetition.
    edges
        (states,) number of edges that lead into a state.
    edge_kind, edge_source
        (edges,) as in `StateGraph`.
    transfer
        (repetitions, kinds of edges, representatives) what pulses multiply power by.
    """

    kinds: NDArray[np.int8]
    power: NDArray[np.float32]
    emission: NDArray[np.float64]
    decay: NDArray[np.float32]
    edges: NDArray[np.int64]
    edge_kind: NDArray[np.int8]
    edge_source: NDArray[np.int32]
    transfer: NDArray[np.float64]


def select(found: list[Candidates], thresholds: Thresholds) -> StateGraph:
    """Keep the states that count.

    What a state leads to is the signal that it and all its descendants emit, relative to the
    strongest of each repetition: the power that it has, times the power that one of it would
    emit, which is propagated back from the last repetition to the first. Of two states that lead
    into one, the signals may add up or cancel; on average, powers add. The least important
    states are left out, as many as together keep the threshold.
    """
    count = np.array([len(part.kinds) for part in found])
    every = _joined(found)
    first = np.concatenate([[0], np.cumsum(count)])
    kept, number, emits = _judge(
        first,
        np.concatenate([[0], np.cumsum(every.edges)]),
        (every.edge_kind, every.edge_source),
        (every.kinds, every.power, every.emission, every.decay, every.transfer),
        (thresholds.min_latent_signal, thresholds.min_emitted_signal),
    )
    repetition = np.repeat(np.arange(len(count)), count)
    target = np.repeat(np.arange(len(every.kinds)), every.edges)
    # Ancestors of the first repetition are the state before the first pulse, always kept.
    ancestor = np.where(
        repetition[target] > 0, first[repetition[target] - 1] + every.edge_source, 0
    )
    used = kept[target] & ((repetition[target] == 0) | kept[ancestor])
    into = np.bincount(target[used], minlength=len(every.kinds))[kept]
    transverse = kept & (every.kinds == TRANSVERSE)
    return StateGraph(
        count=np.bincount(repetition[kept], minlength=len(count)),
        transverse=np.bincount(repetition[transverse], minlength=len(count)),
        first_edge=np.concatenate([[0], np.cumsum(into)]),
        kind=every.edge_kind[used].astype(np.int64),
        source=np.where(repetition[target] > 0, number[ancestor], 0)[used],
        emits=emits[kept],
    )


def _joined(found: list[Candidates]) -> Candidates:
    """Move all repetitions into one: there may be millions of states, too many for a copy."""
    columns = {}
    for column in fields(Candidates):
        columns[column.name] = np.concatenate([getattr(part, column.name) for part in found])
        for part in found:
            delattr(part, column.name)
    return Candidates(**columns)


@_compiled
def _judge(first, first_edge, edges, candidates, thresholds):
    """Return which states are kept, their numbers within repetitions, and which are measured."""
    edge_kind, source = edges
    kinds, power, emission, decay, transfer = candidates
    min_latent, min_emitted = thresholds
    repetitions, voxels = len(first) - 1, power.shape[1]
    measured, latent = np.zeros(len(kinds), np.bool_), np.zeros(len(kinds))
    # What a state of power 1 leads to.
    reach = np.zeros(power.shape, np.float32)
    readouts = 0
    for r in range(repetitions - 1, -1, -1):
        a, b = first[r], first[r + 1]
        signal = np.zeros(b - a)
        for state in range(a, b):
            signal[state - a] = emission[state] * np.sum(power[state]) / voxels
        strongest = np.max(signal)
        if strongest > _NOTHING:
            readouts += 1
            measured[a:b] = _needed(signal / strongest, min_emitted)
        for state in range(a, b):
            for v in range(voxels):
                reach[state, v] *= decay[state, v]
                if strongest > _NOTHING:
                    reach[state, v] += emission[state] / strongest
                latent[state] += power[state, v] * reach[state, v] / voxels
            if r > 0:
                for e in range(first_edge[state], first_edge[state + 1]):
                    ancestor, kind = first[r - 1] + source[e], edge_kind[e]
                    for v in range(voxels):
                        reach[ancestor, v] += transfer[r, kind, v] * reach[state, v]
    needed = _needed(latent / max(readouts, 1), min_latent)
    kept, emits = np.zeros(len(kinds), np.bool_), np.zeros(len(kinds), np.bool_)
    number = np.full(len(kinds), -1)
    for r in range(repetitions):
        n = 0
        for state in range(first[r], first[r + 1]):
            reached = r == 0
            for e in range(first_edge[state], first_edge[state + 1]):
                reached = reached or kept[first[r - 1] + source[e]]
            if kinds[state] == UNDEPHASED or (needed[state] and reached):
                kept[state], number[state] = True, n
                emits[state] = kinds[state] == TRANSVERSE and measured[state]
                n += 1
    return kept, number, emits


@_compiled
def _needed(power, bound):
    """Return which parts of a signal are needed for the others to stay below a bound."""
    needed = np.ones(len(power), np.bool_)
    left_out = 0.0
    for n in np.argsort(power, kind="mergesort"):
        left_out += power[n]
        if left_out >= bound**2:
            break
        needed[n] = False
    return needed
