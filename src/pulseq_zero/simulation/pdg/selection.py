"""Which of the states that the prepass found are simulated, and which are measured."""

# Compiled functions have no annotations: numba derives the types from the arguments.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray

from pulseq_zero.simulation.pdg.graph import KINDS, HandOver, StateGraph, Thresholds
from pulseq_zero.simulation.pdg.handing_over import TAKERS
from pulseq_zero.simulation.pdg.leeway import Leeway
from pulseq_zero.simulation.pdg.loops import compiled, inlined

TRANSVERSE, UNDEPHASED, LONGITUDINAL = 0, 1, 2

# Squared signals below this are none.
_NOTHING = 1e-18

# Derivatives may err by this many times the accuracy, relative to the largest.
_STEEPER = 3.0

# What is left out may grow to this many times the thresholds before a graph is made anew.
_GROWN = 1.2


@dataclass
class Candidates:
    """The states of one repetition, or of all.

    Attributes
    ----------
    kinds
        (states,) TRANSVERSE, UNDEPHASED or LONGITUDINAL.
    power
        (states, representatives) squared magnetisation after the pulse.
    slope
        (states, representatives) sum of its squared derivatives by all flip angles so far.
    decay
        (states, representatives) what is left of the power at the end of the repetition.
    edges
        (states,) number of edges that lead into a state.
    edge_kind, edge_source
        (edges,) as in `StateGraph`.
    transfer, steepness
        (repetitions * kinds of edges, representatives) what pulses multiply power by, and the
        squared derivative of what they multiply magnetisation by.
    too_weak, too_many
        (repetitions * 2, representatives) power of the states that were not made, transverse and
        longitudinal: as each is too weak, and as there are too many.
    bound, fair
        (transverse states, representatives) squared signal in all samples, for a magnetisation
        of 1: what it may be, and what it is on average.
    giver, taker, share, shift
        (handovers, ...) as in `graph.HandOver`, states numbered within the repetition.
    """

    kinds: NDArray[np.int8]
    power: NDArray[np.float32]
    slope: NDArray[np.float32]
    decay: NDArray[np.float32]
    edges: NDArray[np.int64]
    edge_kind: NDArray[np.int8]
    edge_source: NDArray[np.int32]
    transfer: NDArray[np.float32]
    steepness: NDArray[np.float32]
    too_weak: NDArray[np.float32]
    too_many: NDArray[np.float32]
    bound: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    fair: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    giver: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    taker: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, TAKERS), np.int64))
    share: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, TAKERS), np.float32))
    shift: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, TAKERS)))


def select(
    found: list[Candidates], thresholds: Thresholds, share: NDArray[np.float64], *, slopes: bool
) -> tuple[StateGraph, float]:
    """Keep the states that count.

    What a state leads to is the signal that it and all its descendants emit, relative to the
    strongest of each repetition: the power that it has, times the power that one of it would
    emit, which is propagated back from the last repetition to the first. Of two states that lead
    into one, the signals may add up or cancel; on average, powers add. The least important
    states are left out, as many as together keep the threshold.

    The same with derivatives by the flip angles, where they matter: by those of pulses before a
    state, of its power, and by those after it, of what it leads to. Then the graph also has its
    `Leeway`.

    Parameters
    ----------
    found
        The states of each repetition; taken apart.
    thresholds
        What may be left out.
    share
        (representatives,) of the proton density.
    slopes
        Whether derivatives by the flip angles matter.

    Returns
    -------
    graph, too_weak
        The graph, and what states would have emitted that were too weak to be made: as a part of
        the signal, judged by the weakest that were made.
    """
    count = np.array([len(part.kinds) for part in found])
    transverse = np.array([len(part.bound) for part in found])
    given = np.array([len(part.giver) for part in found])
    every = _joined(found)
    first = np.concatenate([[0], np.cumsum(count)])
    kept, number, emits, strength, too_weak, too_many, left_out, growth = _judge(
        first,
        np.concatenate([[0], np.cumsum(transverse)]),
        np.concatenate([[0], np.cumsum(every.edges)]),
        (every.edge_kind, every.edge_source),
        (every.kinds, every.power, every.slope, every.bound, every.fair, every.decay),
        (every.transfer, every.steepness, every.too_weak, every.too_many),
        (every.giver, every.taker, every.share, np.concatenate([[0], np.cumsum(given)])),
        (thresholds.min_latent_signal, thresholds.min_emitted_signal),
        slopes,
    )
    repetition = np.repeat(np.arange(len(count)), count)
    target = np.repeat(np.arange(len(every.kinds)), every.edges)
    # Ancestors of the first repetition are the state before the first pulse, always kept.
    ancestor = np.where(
        repetition[target] > 0, first[repetition[target] - 1] + every.edge_source, 0
    )
    used = kept[target] & ((repetition[target] == 0) | kept[ancestor])
    into = np.bincount(target[used], minlength=len(every.kinds))[kept]
    is_transverse = kept & (every.kinds == TRANSVERSE)
    leeway = None
    if slopes:
        leeway = Leeway(
            left_out=left_out,
            growth=growth,
            allowed=_GROWN
            * np.array([thresholds.min_latent_signal, thresholds.min_emitted_signal]),
            transfer=every.transfer.reshape(len(count), len(KINDS), -1),
            steepness=every.steepness.reshape(len(count), len(KINDS), -1),
            share=share.astype(np.float32),
        )
    graph = StateGraph(
        count=np.bincount(repetition[kept], minlength=len(count)),
        transverse=np.bincount(repetition[is_transverse], minlength=len(count)),
        first_edge=np.concatenate([[0], np.cumsum(into)]),
        kind=every.edge_kind[used].astype(np.int64),
        source=np.where(repetition[target] > 0, number[ancestor], 0)[used],
        emits=emits[kept],
        strength=strength[kept],
        hand_over=_kept_hand_over(every, np.repeat(first[:-1], given), kept),
        cut=too_many,
        leeway=leeway,
    )
    return graph, too_weak


def _kept_hand_over(
    every: Candidates, first: NDArray[np.int64], kept: NDArray[np.bool_]
) -> HandOver:
    """Return the hand-overs of states that are kept, in the order of these.

    Those they go on in are kept, too.
    """
    giver, number = every.giver + first, np.cumsum(kept) - 1
    used = np.flatnonzero(kept[giver])
    used = used[np.argsort(giver[used], kind="stable")]
    taker = number[every.taker[used] + first[used, None]]
    return HandOver(number[giver[used]], taker, every.share[used], every.shift[used])


def _joined(found: list[Candidates]) -> Candidates:
    """Move all repetitions into one: there may be millions of states, too many for a copy."""
    columns = {}
    for column in fields(Candidates):
        columns[column.name] = np.concatenate([getattr(part, column.name) for part in found])
        for part in found:
            delattr(part, column.name)
    return Candidates(**columns)


@compiled
def _judge(
    first, first_transverse, first_edge, edges, states, pulses, hand_over, thresholds, slopes
):
    """Return which states are kept, their numbers within repetitions, and which are measured.

    And what those that were not made would have emitted, relative to the signal; and what those
    that are left out would, with the root of its squared derivatives, see `Leeway`.
    """
    edge_kind, source = edges
    kinds, power, slope, bound, fair, decay = states
    transfer, steepness, too_weak, too_many = pulses
    min_latent, min_emitted = thresholds
    giver, taker, part, first_given = hand_over
    repetitions, voxels = len(first) - 1, power.shape[1]
    measured, latent = np.zeros(len(kinds), np.bool_), np.zeros(len(kinds))
    steep, strength = np.zeros(len(kinds)), np.zeros(len(kinds))
    # What a state of power 1 leads to: relative to signals, relative to their derivatives, and
    # the derivatives of that by the angles of the pulses to come.
    widest = np.max(np.diff(first))
    reach = np.zeros((widest, voxels), np.float32)
    next_reach = np.zeros((widest, voxels), np.float32)
    far = np.zeros((widest, voxels), np.float32)
    next_far = np.zeros((widest, voxels), np.float32)
    bent = np.zeros((widest, voxels), np.float32)
    next_bent = np.zeros((widest, voxels), np.float32)
    # As `bent`, but relative to signals
    swing = np.zeros((widest, voxels), np.float32)
    next_swing = np.zeros((widest, voxels), np.float32)
    tilt = np.zeros(len(kinds))
    unseen, unseen_tilt = 0.0, 0.0
    kinds_of_edges = len(transfer) // repetitions
    readouts, slope_readouts = 0, 0
    weak, many = 0.0, 0.0
    for r in range(repetitions - 1, -1, -1):
        a, b = first[r], first[r + 1]
        transverse = first_transverse[r + 1] - first_transverse[r]
        signal, slope_signal = np.zeros(transverse), np.zeros(transverse)
        strongest, steepest = 0.0, 0.0
        for state in range(transverse):
            at = first_transverse[r] + state
            seen, typical, seen_slope, typical_slope = 0.0, 0.0, 0.0, 0.0
            for v in range(voxels):
                seen += bound[at, v] * power[a + state, v]
                typical += fair[at, v] * power[a + state, v]
            if slopes:
                for v in range(voxels):
                    seen_slope += bound[at, v] * slope[a + state, v]
                    typical_slope += fair[at, v] * slope[a + state, v]
            signal[state], slope_signal[state] = seen, seen_slope
            strongest, steepest = max(strongest, typical), max(steepest, typical_slope)
        for n in range(first_given[r], first_given[r + 1]):
            state = giver[n]
            for side in range(TAKERS):
                at, p = taker[n, side], np.abs(part[n, side])
                if p == 0:
                    continue
                for v in range(voxels):
                    next_reach[state, v] += p * next_reach[at, v]
                    next_far[state, v] += p * next_far[at, v]
                    next_bent[state, v] += p * next_bent[at, v]
                    next_swing[state, v] += p * next_swing[at, v]
        per_signal, per_slope = np.float32(0.0), np.float32(0.0)
        if strongest > _NOTHING:
            readouts += 1
            per_signal = np.float32(1 / strongest)
            measured[a : a + transverse] |= _needed(signal / strongest, min_emitted)
            for state in range(transverse):
                strength[a + state] = np.sqrt(min(signal[state] / strongest, 1.0))
        if steepest > _NOTHING:
            slope_readouts += 1
            per_slope = np.float32(1 / steepest)
            measured[a : a + transverse] |= _needed(slope_signal / steepest, _STEEPER * min_emitted)
        if strongest > _NOTHING:
            for state in range(transverse):
                if not measured[a + state]:
                    unseen += signal[state] / strongest
                    unseen_tilt += slope_signal[state] / strongest
        for state in range(b - a):
            at = first_transverse[r] + state
            for v in range(voxels):
                left = decay[a + state, v]
                reach[state, v] = left * next_reach[state, v]
                far[state, v] = left * next_far[state, v]
                bent[state, v] = left * next_bent[state, v]
            if state < transverse:
                for v in range(voxels):
                    reach[state, v] += bound[at, v] * per_signal
                    far[state, v] += bound[at, v] * per_slope
            total, total_slope = 0.0, 0.0
            for v in range(voxels):
                total += power[a + state, v] * reach[state, v]
                total_slope += slope[a + state, v] * far[state, v]
                total_slope += power[a + state, v] * bent[state, v]
            latent[a + state], steep[a + state] = total, total_slope
            if slopes:
                total_tilt = 0.0
                for v in range(voxels):
                    swing[state, v] = decay[a + state, v] * next_swing[state, v]
                    total_tilt += slope[a + state, v] * reach[state, v]
                    total_tilt += power[a + state, v] * swing[state, v]
                tilt[a + state] = total_tilt
        # Those that are missing lead to what the weakest of their kind lead to.
        for kind in range(2):
            begin, stop = (0, transverse) if kind == 0 else (transverse + 1, b - a)
            # Those that only receive come last
            while stop > begin and first_edge[a + stop - 1] == first_edge[a + stop]:
                stop -= 1
            middle = begin + 3 * (stop - begin) // 4
            for v in range(voxels):
                typical = 0.0
                for state in range(middle, stop):
                    typical += reach[state, v]
                typical /= max(stop - middle, 1)
                weak += too_weak[2 * r + kind, v] * typical
                many += too_many[2 * r + kind, v] * typical
        if r == 0:
            continue
        next_reach[:] = 0
        next_far[:] = 0
        next_bent[:] = 0
        next_swing[:] = 0
        for state in range(b - a):
            for e in range(first_edge[a + state], first_edge[a + state + 1]):
                ancestor, kind = source[e], kinds_of_edges * r + edge_kind[e]
                for v in range(voxels):
                    next_reach[ancestor, v] += transfer[kind, v] * reach[state, v]
                if slopes:
                    for v in range(voxels):
                        next_far[ancestor, v] += transfer[kind, v] * far[state, v]
                        next_bent[ancestor, v] += transfer[kind, v] * bent[state, v]
                        next_bent[ancestor, v] += steepness[kind, v] * far[state, v]
                        next_swing[ancestor, v] += transfer[kind, v] * swing[state, v]
                        next_swing[ancestor, v] += steepness[kind, v] * reach[state, v]
    needed = _needed(latent / max(readouts, 1), min_latent)
    if slope_readouts > 0:
        needed |= _needed(steep / slope_readouts, _STEEPER * min_latent)
    kept, emits = np.zeros(len(kinds), np.bool_), np.zeros(len(kinds), np.bool_)
    number = np.full(len(kinds), -1)
    for r in range(repetitions):
        reached = np.zeros(first[r + 1] - first[r], np.bool_)
        for state in range(first[r], first[r + 1]):
            reached[state - first[r]] = r == 0
            for e in range(first_edge[state], first_edge[state + 1]):
                reached[state - first[r]] |= kept[first[r - 1] + source[e]]
            kept[state] = kinds[state] == UNDEPHASED
            kept[state] |= needed[state] and reached[state - first[r]]
        for n in range(first_given[r], first_given[r + 1]):
            for side in range(TAKERS):
                if part[n, side] == 0:
                    continue
                at = first[r] + taker[n, side]
                kept[at] |= kept[first[r] + giver[n]]
        n = 0
        for state in range(first[r], first[r + 1]):
            if kept[state]:
                number[state] = n
                emits[state] = kinds[state] == TRANSVERSE and measured[state]
                n += 1
    # What was not made counts by its derivatives as much as by itself.
    dropped, dropped_tilt = weak + many, weak + many
    for state in range(len(kinds)):
        if not kept[state]:
            dropped += latent[state]
            dropped_tilt += tilt[state]
    scale = max(readouts, 1)
    left_out = np.sqrt(np.array([dropped, unseen]) / scale)
    growth = np.sqrt(np.array([dropped_tilt, unseen_tilt]) / scale)
    return (
        kept, number, emits, strength, np.sqrt(weak / scale), np.sqrt(many / scale),
        left_out, growth,
    )  # fmt: skip


@inlined
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
