"""The states of a sequence, kept for the next one as long as they serve."""

from __future__ import annotations

import warnings
from dataclasses import replace

import torch

from pulseq_zero.conversion.played import PlayedPulses
from pulseq_zero.conversion.repetitions import Repetitions
from pulseq_zero.simulation.denormals import denormals_flushed
from pulseq_zero.simulation.pdg.graph import StateGraph
from pulseq_zero.simulation.pdg.leeway import change_of_flip_angles
from pulseq_zero.simulation.pdg.prepared_phantom import PreparedPhantom
from pulseq_zero.simulation.pdg.prepass import make_graph
from pulseq_zero.simulation.pdg.timeline import Integrals


class KeptGraph:
    """Finds states in a phantom.

    Where flip angles are differentiated by, a graph is kept as long as they change by so little
    that what it leaves out stays within the accuracy; elsewhere as long as the sequence stays.
    """

    def __init__(self, phantom: PreparedPhantom) -> None:
        self._phantom = phantom
        self._known: tuple[Repetitions, tuple[bool, bool], StateGraph] | None = None

    @property
    def made_of(self) -> Repetitions | None:
        """The sequence whose graph may serve for the next one, too, where flip angles are others.

        None if the next one's states do not depend on what was simulated before.
        """
        if self._known is None or self._known[2].leeway is None:
            return None
        return self._known[0]

    def of(self, repetitions: Repetitions, integrals: Integrals) -> tuple[StateGraph, Repetitions]:
        """Return the states of a sequence, and the sequence that they were found for."""
        known, numerics = self._known, self._phantom.numerics
        wanted = (self._slopes_matter(repetitions), _positions_matter(repetitions))
        if known is None or known[1] != wanted or not _serves(known[2], known[0], repetitions):
            voxels, played = self._phantom.followed(repetitions, slopes=wanted[0])
            with denormals_flushed():
                made = make_graph(
                    repetitions,
                    integrals,
                    self._phantom.data,
                    voxels,
                    numerics.thresholds,
                    slopes=wanted[0],
                    positions=wanted[1],
                    played=played,
                )
            if made.cut > numerics.accuracy:
                warnings.warn(
                    f"about {made.cut:.1g} of the signal is missing: the sequence makes more "
                    "states than are followed; spoil what need not come together again, play "
                    "fewer pulses, or allow more by thresholds=Thresholds(...)",
                    stacklevel=5,
                )
            if repetitions.played is not None:
                made = replace(made, pieces=repetitions.played.pieces)
            self._known = (repetitions.snapshot(), wanted, made)
            return made, repetitions
        return known[2], known[0]

    def _slopes_matter(self, repetitions: Repetitions) -> bool:
        """Tell whether flip angles are differentiated by, of pulses or through the field."""
        angles = [repetitions.pulse_angle, repetitions.shim, self._phantom.data.B1]
        if repetitions.played is not None:
            angles.append(repetitions.played.signal)
        return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in angles)


def _positions_matter(repetitions: Repetitions) -> bool:
    """Tell whether times or moments are differentiated by."""
    given = repetitions.event_time.requires_grad or repetitions.gradient_moment.requires_grad
    moving = repetitions.moving is None or bool(repetitions.moving.any())
    return torch.is_grad_enabled() and given and moving


def _serves(graph: StateGraph, made_of: Repetitions, other: Repetitions) -> bool:
    """Tell whether the graph of one sequence does for another."""
    if not (made_of.same_trajectory(other) and made_of.same_shim(other)):
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
