"""The prepass: which states a sequence makes, and how large they are in some voxels.

It follows Endres et al., MRM 2024 (doi:10.1002/mrm.30055) and MRzeroCore's prepass, but many
voxels instead of an average one. It lists everything in an order that follows from the sequence
alone, so that results repeat bit for bit, and keeps states as arrays. States that agree in
position are one; positions are compared in float64.

A state of no power may have a slope: at a flip angle of zero, all that the pulse would make does.
So beside the magnetisation the sum of its squared derivatives by all flip angles is followed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pulseq_zero.conversion.repetitions import Repetitions
from pulseq_zero.simulation.pdg.following import ROUNDING, follow
from pulseq_zero.simulation.pdg.graph import StateGraph, Thresholds
from pulseq_zero.simulation.pdg.pulse_factors import PlayedPrepass
from pulseq_zero.simulation.pdg.representatives import Representatives
from pulseq_zero.simulation.pdg.selection import select
from pulseq_zero.simulation.pdg.timeline import Integrals

if TYPE_CHECKING:
    import MRzeroCore as mr0

# Derivatives by times and moments weigh states otherwise than signals do: by their dephasing time,
# by diffusion, by the slope of a voxel's answer where it is zero itself. To be on the safe side,
# states are then chosen more accurately by this factor.
_BY_POSITION = 0.3

# As many states, transverse and longitudinal ones each, as some two gigabytes hold in all of a
# sequence.
_ALL_STATES = 1_000_000

# States are made anew, a quarter to a sixteenth as strong, while those that were too weak to be
# made would have emitted more than this part of what may be left out.
_SHARE, _WEAKER, _WEAKEST, _ROUNDS = 0.25, 0.25, 0.0625, 6
# Where all intervals differ, magnetisation is spread over more and weaker ones from the start on.
_SPREAD = 0.2


def make_graph(
    repetitions: Repetitions,
    integrals: Integrals,
    data: mr0.SimData,
    voxels: Representatives,
    thresholds: Thresholds,
    *,
    slopes: bool = False,
    positions: bool = False,
    played: PlayedPrepass | None = None,
) -> StateGraph:
    """Find the states of a sequence, and keep those that matter.

    Parameters
    ----------
    repetitions, integrals
        The sequence, on the CPU, and its running integrals.
    data
        The phantom, for the shape of its voxels.
    voxels
        Where the states are followed.
    thresholds
        Which states are made, carried on and measured.
    slopes
        Whether states matter by what their derivatives by the flip angles would emit, too.
    positions
        Whether each state's position counts, as it is differentiated by. Otherwise states of
        nearly the same position may go on in others, see `graph.HandOver`.
    played
        What pulses do in the ``voxels``, if they are played.
    """
    most = min(thresholds.max_state_count, _ALL_STATES // len(repetitions.event_count))
    if positions:
        thresholds = thresholds.finer(_BY_POSITION)
    thresholds = replace(thresholds, max_state_count=most)
    smallest = thresholds.min_state_magnetisation
    if _all_differ(repetitions):
        smallest *= _SPREAD
    for _ in range(_ROUNDS):
        found = follow(
            repetitions,
            integrals,
            data,
            voxels,
            thresholds,
            smallest,
            slopes,
            not positions,
            played,
        )
        graph, too_weak = select(found, thresholds, voxels.share, slopes=slopes)
        allowed = _SHARE * thresholds.min_latent_signal
        # Weaker states would only take the places of others, where there are too many.
        if too_weak <= allowed or smallest == 0 or graph.cut > too_weak:
            break
        # What they emit falls about as their size does
        smallest *= min(max(0.8 * allowed / too_weak, _WEAKEST), _WEAKER)
    return graph


def _all_differ(repetitions: Repetitions) -> bool:
    """Tell whether most intervals between pulses have a duration of their own."""
    _, total = repetitions.sums_within_repetitions(repetitions.event_time.detach())
    distinct = (total / ROUNDING[3]).round().unique()
    return 2 * len(distinct) > len(total)
