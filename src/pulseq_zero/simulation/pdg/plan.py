"""The plan: which state is measured over which segment of which readout."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from pulseq_zero.conversion.repetitions import Repetitions
from pulseq_zero.simulation.pdg.graph import StateGraph
from pulseq_zero.simulation.pdg.readouts import Pattern, PatternTable, cut_into_segments
from pulseq_zero.simulation.pdg.timeline import Integrals, Items

# Dephasing times this close below zero [s] count as zero.
_ZERO_TIME = 1e-9


@dataclass(frozen=True)
class Plan:
    """States, edges and items, valid as long as the graph and the trajectory hold.

    Items that share a pattern lie one behind the other.

    Attributes
    ----------
    graph
        States and edges.
    items
        Measured states and segments, see `Items`.
    patterns
        The segments that differ.
    first_item
        (patterns + 1,) where the items of a pattern begin.
    sample_count
        Number of samples in the signal.
    """

    graph: StateGraph
    items: Items
    patterns: tuple[Pattern, ...]
    first_item: tuple[int, ...]
    sample_count: int

    @property
    def item_count(self) -> int:
        """Number of items."""
        return len(self.items.state)

    @cached_property
    def sign(self) -> tuple[int, ...]:
        """(patterns,) sign of the dephasing time."""
        return tuple(pattern.sign for pattern in self.patterns)

    @cached_property
    def rows(self) -> tuple[int, ...]:
        """(patterns,) number of samples."""
        return tuple(len(pattern.offset) for pattern in self.patterns)

    @cached_property
    def item_sign(self) -> np.ndarray:
        """(items,) sign of the dephasing time of each item."""
        return np.repeat(self.sign, np.diff(self.first_item)).astype(np.int64)

    @cached_property
    def items_by_repetition(self) -> tuple[np.ndarray, np.ndarray]:
        """(items,) the items in the order of their repetitions, and where each begins."""
        repetition = self.graph.repetition[self.items.state.numpy()]
        order = np.argsort(repetition, kind="stable")
        first = np.searchsorted(repetition[order], np.arange(len(self.graph.count) + 1))
        return order, first

    @cached_property
    def blocks(self) -> list[tuple[int, slice, slice]]:
        """For each pattern: its place, its items and their rows."""
        first_row = self.items.first_row.tolist()
        return [
            (place, slice(start, stop), slice(first_row[start], first_row[stop]))
            for place, (start, stop) in enumerate(
                zip(self.first_item[:-1], self.first_item[1:], strict=True)
            )
        ]


def make_plan(
    graph: StateGraph,
    repetitions: Repetitions,
    integrals: Integrals,
    start: torch.Tensor,
    patterns: PatternTable,
    longest: int | None = None,
) -> Plan:
    """Find the items and group them by pattern.

    Parameters
    ----------
    graph
        States and edges.
    repetitions
        The sequence, on the CPU.
    integrals, start
        What happens between the pulses, and where the states start.
    patterns
        An empty table, which this call fills.
    longest
        Largest number of samples in a segment, if any.
    """
    position = integrals.position.detach().numpy()
    start_time = start.detach().numpy()[:, 3]
    is_sample = repetitions.is_sample.numpy()
    sample_before = np.concatenate([[0], np.cumsum(is_sample)])
    measured = np.flatnonzero(graph.emits)
    first_measured = np.searchsorted(measured, graph.first_state)

    # For each group of items that differ only in their state: pattern, anchor, first sample,
    # number of samples, states.
    groups: list[tuple[int, int, int, int, np.ndarray]] = []
    event_of_sample = np.flatnonzero(is_sample)
    for repetition, (first, count) in enumerate(
        zip(repetitions.first_event, repetitions.event_count, strict=True)
    ):
        states = measured[first_measured[repetition] : first_measured[repetition + 1]]
        first_sample, stop_sample = sample_before[first], sample_before[first + count]
        if len(states) == 0 or first_sample == stop_sample:
            continue
        events = event_of_sample[first_sample:stop_sample]
        trajectory = position[events]
        for begin, end in cut_into_segments(events, trajectory, patterns.reach, longest):
            time = start_time[states, None] + trajectory[begin:end, 3]
            # Time grows along the readout, so that the refocusing samples come first.
            refocusing = (time < -_ZERO_TIME).sum(1)
            for negative in np.unique(refocusing).tolist():
                same = states[refocusing == negative]
                parts = ((-1, begin, begin + negative), (1, begin + negative, end))
                for sign, a, b in parts:
                    if a == b:
                        continue
                    # Anchored where the magnetisation has decayed least by T2', so that no
                    # exponent of the encoding is positive because of T2'.
                    anchor = a if sign > 0 else b - 1
                    number = patterns.number(sign, trajectory[a:b] - trajectory[anchor])
                    groups.append((number, events[anchor], first_sample + a, b - a, same))
    return _assemble(graph, groups, event_of_sample, patterns)


def _assemble(
    graph: StateGraph,
    groups: list[tuple[int, int, int, int, np.ndarray]],
    event_of_sample: np.ndarray,
    patterns: PatternTable,
) -> Plan:
    groups.sort(key=lambda group: group[0])
    size = np.array([len(group[4]) for group in groups], dtype=np.int64)

    def per_item(values: list[int]) -> np.ndarray:
        return np.repeat(np.array(values, dtype=np.int64), size)

    pattern = per_item([group[0] for group in groups])
    first_sample = per_item([group[2] for group in groups])
    rows = per_item([group[3] for group in groups])
    state = np.concatenate([group[4] for group in groups]) if groups else pattern
    first_row = np.concatenate([[0], np.cumsum(rows)])
    sample = np.arange(first_row[-1]) - np.repeat(first_row[:-1] - first_sample, rows)
    first_item = np.searchsorted(pattern, np.arange(len(patterns.patterns) + 1))
    return Plan(
        graph=graph,
        items=Items(
            state=torch.from_numpy(state),
            anchor=torch.from_numpy(per_item([group[1] for group in groups])),
            first_row=torch.from_numpy(first_row),
            event=torch.from_numpy(event_of_sample[sample]),
            sample=torch.from_numpy(sample),
        ),
        patterns=tuple(patterns.patterns),
        first_item=tuple(first_item.tolist()),
        sample_count=len(event_of_sample),
    )
