"""What the judge's compiled loops read, by name."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]


class SpinVoxels(NamedTuple):
    """The phantom.

    Attributes
    ----------
    centre
        (voxels, xyz) [m].
    off_resonance, width
        (voxels,) centre and half width at half maximum of the spins' frequencies [Hz].
    R1, R2
        (voxels,) [1/s].
    transmit
        (voxels, channels) complex transmit field, relative to the nominal one.
    weight
        (voxels, coils) complex: what a voxel's mean magnetisation adds to the signal.
    """

    centre: Array
    off_resonance: Array
    width: Array
    R1: Array
    R2: Array
    transmit: Array
    weight: Array

    def chosen(self, which: Array | slice) -> SpinVoxels:
        """Return some of the voxels, or all."""
        return SpinVoxels(*(values[which] for values in self))


class Steps(NamedTuple):
    """The course, step by step; each begins with a pulse, or with none.

    Attributes
    ----------
    moment, time, relaxation
        (steps, xyz) [1/m] and (steps,) [s]: gradient, precession and relaxation.
    is_new, samples
        (steps,) whether a step differs from the one before, and how many samples are taken around
        its end, equidistant in time and k-space.
    sample_moment, sample_time, sample_relaxation
        (steps, xyz) [1/m] and (steps,) [s]: gradient, precession and relaxation from one
        sample to the next.
    pulse
        (steps,) number of the pulse, -1 where there is none.
    """

    moment: Array
    time: Array
    relaxation: Array
    is_new: Array
    samples: Array
    sample_moment: Array
    sample_time: Array
    sample_relaxation: Array
    pulse: Array


class Pulses(NamedTuple):
    """The pulses.

    Attributes
    ----------
    angle, phase, turn
        (pulses,) nominal angle [rad], or amplitude [Hz] of one that takes its time; phase [rad];
        turn about z after a rotation at once [rad].
    channels
        (pulses, channels) complex weights of the transmit channels.
    kind
        (pulses,) which of the kinds it is, -1 for a rotation at once.
    """

    angle: Array
    phase: Array
    turn: Array
    channels: Array
    kind: Array


class PulseKinds(NamedTuple):
    """Kinds of pulses that take their time; those of one kind differ by amplitude and phase.

    Attributes
    ----------
    strongest
        (kinds,) largest amplitude that a spin feels [Hz].
    first_term
        (kinds + 1,) where their terms begin, in `pulse_series.rotate_by_series`.
    columns, frequency_step
        (kinds,) number of columns of the kind's table, and their distance [Hz]; no columns
        where the gradient changes during the pulse, which then is integrated spin by spin.
    first_entry, tables
        (kinds,) where a (4 terms, columns) table begins in (entries,).
    step
        (kinds,) duration of the pulse's steps [s].
    first_step, field, gradient
        (kinds + 1,) where the steps of a kind begin in (steps,) the complex course relative to
        the amplitude and in (steps, xyz) the gradient [Hz/m].
    """

    strongest: Array
    first_term: Array
    columns: Array
    frequency_step: Array
    first_entry: Array
    tables: Array
    step: Array
    first_step: Array
    field: Array
    gradient: Array


class Spreading(NamedTuple):
    """How spins are spread over a voxel, and what is known without spreading them.

    Attributes
    ----------
    is_spread
        (xyz,) bool: along which axes.
    main
        Number of the main axis, along which crushers wind; -1 where there is none.
    in_proportion
        (xyz and time,) of moments and times to the moment along the main axis [m/m and s m].
    is_known
        Whether what T2' and cells do to samples is known exactly.
    interval
        From pulse to pulse in a train [s]; 0 where there is none.
    left
        (samples,) what is left of a sample by dephasing across cells and voxels.
    time
        (samples,) that T2' has acted for [s], negative before an echo; 0 where spins of all
        frequencies are added up.
    """

    is_spread: Array
    main: int
    in_proportion: Array
    is_known: bool
    interval: float
    left: Array
    time: Array
