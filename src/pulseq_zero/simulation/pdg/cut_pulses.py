"""Played pulses cut into pieces, so that relaxation acts between these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pulseq_zero.conversion.played import PlayedPulses
from pulseq_zero.conversion.repetitions import Repetitions
from pulseq_zero.simulation.pdg.pulse_relaxation import piece_ends

# Ends of events that are nearer to those of others are the same [s]
_SAME = 1e-9


def cut_pulses(repetitions: Repetitions, pieces: Sequence[int]) -> Repetitions:
    """Cut pulses into pieces, each of which acts in its middle: a repetition a piece.

    Samples stay, and so do labels. Events that end during a pulse go on to the end of the next one,
    or end with the pulse. Pulses during which samples are taken stay whole.

    Parameters
    ----------
    repetitions
        A sequence whose pulses are played; its tensors may require gradients.
    pieces
        (pulses,) in how many pieces to cut each of the different pulses.
    """
    played = repetitions.played
    if played is None or max(pieces) == 1:
        return repetitions
    cuts = [_Cut.of(played, number, count) for number, count in enumerate(pieces)]
    for number in _sampled_meanwhile(repetitions, cuts):
        cuts[number] = _Cut.of(played, number, 1)
    own = [cuts[pulse] for pulse in played.pulse]
    each = torch.tensor([len(cut) for cut in own])
    uses = [
        use if piece == len(cut) // 2 else "other"
        for use, cut in zip(repetitions.pulse_use, own, strict=True)
        for piece in range(len(cut))
    ]

    def repeated(values: Tensor) -> Tensor:
        return values.repeat_interleave(each, 0)

    return replace(
        repetitions,
        pulse_angle=repeated(repetitions.pulse_angle / each),
        pulse_phase=repeated(repetitions.pulse_phase),
        pulse_use=tuple(uses),
        shim=None if repetitions.shim is None else repeated(repetitions.shim),
        played=_cut_played(played, cuts, repeated(played.phase)),
        **_events(repetitions, own),
    )


@dataclass(frozen=True)
class _Cut:
    """A pulse cut into pieces.

    Attributes
    ----------
    steps
        Of each piece.
    centre
        (pieces,) when each acts, since its first step began [s].
    lead, tail
        (xyzt,) gradient moment [1/m] and time [s] from the first piece's centre to the pulse's,
        and from that to the last piece's.
    between
        (pieces - 1, xyzt) the same from one piece to the next.
    """

    steps: tuple[int, ...]
    centre: Tensor
    lead: Tensor
    tail: Tensor
    between: Tensor

    def __len__(self) -> int:
        """Return the number of pieces."""
        return len(self.steps)

    @classmethod
    def of(cls, played: PlayedPulses, number: int, pieces: int) -> _Cut:
        """Cut one of the pulses."""
        own, steps = played.centre[number], played.steps[number]
        course = torch.cat([played.moment[steps], played.time[steps, None]], 1).double()
        edge = torch.cat([torch.zeros_like(course[:1]), course.cumsum(0)])
        ends = torch.from_numpy(piece_ends(len(course), pieces))
        start, stop = edge[ends[:-1], 3], edge[ends[1:], 3]
        centre = (start + stop) / 2 if pieces > 1 else own[None]

        def until(time: Tensor) -> Tensor:
            step = torch.searchsorted(edge[:, 3].detach().contiguous(), time.detach(), right=True)
            step = (step - 1).clamp(0, len(course) - 1)
            part = (time - edge[step, 3]) / course[step, 3]
            return edge[step] + part[:, None] * course[step]

        (at_own,), at = until(own[None]), until(centre)
        return cls(
            steps=tuple(ends.diff().tolist()),
            centre=centre - start,
            lead=at_own - at[0],
            tail=at[-1] - at_own,
            between=at.diff(dim=0),
        )


def _cut_played(played: PlayedPulses, cuts: Sequence[_Cut], phase: Tensor) -> PlayedPulses:
    """Return the pieces as pulses; ``phase`` is that of each repetition that there will be."""
    first = torch.tensor([0, *map(len, cuts)]).cumsum(0).tolist()
    return replace(
        played,
        centre=torch.cat([cut.centre for cut in cuts]).to(played.centre.dtype),
        step_count=tuple(count for cut in cuts for count in cut.steps),
        scaled=tuple(
            scaled for scaled, cut in zip(played.scaled, cuts, strict=True) for _ in cut.steps
        ),
        pulse=tuple(
            first[pulse] + piece for pulse in played.pulse for piece in range(len(cuts[pulse]))
        ),
        phase=phase,
        whole=tuple(number for number, cut in enumerate(cuts) for _ in cut.steps),
    )


def _sampled_meanwhile(repetitions: Repetitions, cuts: Sequence[_Cut]) -> set[int]:
    """Return which pulses would be cut where samples are taken."""
    played = repetitions.played
    if played is None:
        return set()
    found = set[int]()
    running, total = repetitions.sums_within_repetitions(repetitions.event_time.detach())
    for repetition, first in enumerate(repetitions.first_event):
        part = slice(first, first + repetitions.event_count[repetition])
        times = running[part][repetitions.is_sample[part]]
        if len(times) == 0:
            continue
        here = played.pulse[repetition]
        if len(cuts[here]) > 1 and times[0] < cuts[here].tail[3] + _SAME:
            found.add(here)
        if repetition + 1 < len(played.pulse):
            then = played.pulse[repetition + 1]
            rest = total[repetition] - times[-1]
            if len(cuts[then]) > 1 and rest < cuts[then].lead[3] + _SAME:
                found.add(then)
    return found


def _events(repetitions: Repetitions, cuts: Sequence[_Cut]) -> dict[str, Any]:
    """Return the fields of events, where the pulse of each repetition is cut."""
    time = repetitions.event_time.detach().tolist()
    groups: list[list[int]] = []
    counts: list[int] = []
    corrections: list[tuple[int, Tensor]] = []
    for repetition, first in enumerate(repetitions.first_event):
        here = cuts[repetition]
        then = cuts[repetition + 1] if repetition + 1 < len(cuts) else None
        for piece in here.between:
            corrections.append((len(groups), piece))
            groups.append([])
            counts.append(1)
        own = [[e] for e in range(first, first + repetitions.event_count[repetition])]
        if len(here) > 1:
            _absorb(own, time, float(here.tail[3]), 0)
            corrections.append((len(groups), -here.tail))
        if then is not None and len(then) > 1:
            _absorb(own, time, float(then.lead[3]), -1)
            corrections.append((len(groups) + len(own) - 1, -then.lead))
        groups += own
        counts.append(len(own))
    where = torch.zeros(len(time), dtype=torch.int64)
    for number, group in enumerate(groups):
        where[group] = number
    last = [group[-1] for group in groups if group]
    at = torch.tensor([number for number, _ in corrections])
    change = torch.stack([values for _, values in corrections])
    of_events = torch.cat([repetitions.gradient_moment, repetitions.event_time[:, None]], 1)
    summed = of_events.new_zeros(len(groups), 4, dtype=torch.float64)
    summed = summed.index_add(0, where, of_events.double()).index_add(0, at, change)

    def placed(values: Tensor) -> Tensor:
        return values.new_zeros(len(groups)).index_add(0, where[last], values[last])

    moving = repetitions.moving
    if moving is not None:
        moved = torch.zeros(len(groups), dtype=torch.int64).index_add(0, where, moving.long())
        moved[at] += int(change.requires_grad)
        moving = moved > 0
    return {
        "event_count": tuple(counts),
        # A part that was all of an event may be less than nothing by rounding
        "event_time": summed[:, 3].clamp_min(0.0).to(repetitions.event_time.dtype),
        "gradient_moment": summed[:, :3].to(repetitions.gradient_moment.dtype),
        "adc_phase": placed(repetitions.adc_phase),
        "adc_usage": placed(repetitions.adc_usage),
        "moving": moving,
    }


def _absorb(groups: list[list[int]], time: Sequence[float], until: float, end: int) -> None:
    """Join the first events (``end`` 0) or the last ones (-1) that take no longer than a time."""
    while len(groups) > 1 and sum(time[e] for e in groups[end]) <= until + _SAME:
        joined = groups[0] + groups[1] if end == 0 else groups[-2] + groups[-1]
        groups[:] = [joined, *groups[2:]] if end == 0 else [*groups[:-2], joined]
