"""A pulse given by its samples: the pulse, its slice profile, and Bloch integration."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from pulseq_zero.experiments.experiment import SequenceSetup, sequence_setup
from pulseq_zero.experiments.kinds import kind
from pulseq_zero.experiments.settings import Experiment
from pulseq_zero.experiments.stages import ENDS, OPTIMIZED, START
from pulseq_zero.figures.history import loss_terms
from pulseq_zero.figures.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    SIGNAL,
    chart_row,
    legend_below,
    panels,
    style,
)


class Kind(kind.Kind):
    """One parameter, the samples (samples,) of a pulse [Hz], with an upper bound.

    The slice is selected along y.
    """

    sections = ("sequence", "parameters")
    needs = (kind.JUDGE,)

    def check(self, experiment: Experiment, setup: SequenceSetup) -> None:
        """Check that there are samples, and a bound."""
        one = list(setup.start.values())
        kind.require(
            len(one) == 1 and one[0].ndim == 1,
            "slice_profile",
            "the samples of a pulse as the only parameter, a value for each",
        )
        kind.require(
            _samples(experiment)[1] is not None,
            "slice_profile",
            "one bound of all samples; give it as upper:",
        )

    def draw(self, experiment: Experiment, results: kind.RunResults) -> Figure:
        """Draw the pulse, the loss, and the profile."""
        name, limit = _samples(experiment)
        samples = results.parameters[name]
        return slice_profile_figure(
            dict(zip(ENDS, (results.start, results.optimized), strict=True)),
            results.judge,
            {START: samples[0], OPTIMIZED: samples[results.best]},
            kind.given(limit),
            _duration(experiment),
            results.fov[1],
            results.history,
        )


def _samples(experiment: Experiment) -> tuple[str, float | None]:
    """Name of the samples, and their bound."""
    ((name, settings),) = experiment.parameters.items()
    return name, settings.upper if isinstance(settings.upper, float) else None


def _duration(experiment: Experiment) -> float:
    """Duration of the pulse [s], as the sequence has it at the start."""
    setup = sequence_setup(kind.given(experiment.sequence), experiment.parameters)
    sequence = setup.sequence(setup.start)
    blocks = map(sequence.get_block, sequence.block_events)
    return float(next(block.rf.shape_dur for block in blocks if block.rf is not None))


def slice_profile_figure(
    profiles: Mapping[str, Tensor],
    judged: Mapping[str, Tensor],
    samples: Mapping[str, Tensor],
    limit: float,
    duration: float,
    fov: float,
    history: pd.DataFrame,
) -> Figure:
    """Draw the slice profile experiment.

    Parameters
    ----------
    profiles
        ``start`` and ``optimized``: (x, y) complex images, the slice being selected along y.
    judged
        The same from Bloch integration of the exported files.
    samples
        ``start`` and ``optimized``: (samples,) amplitudes of the pulse [Hz].
    limit
        Largest amplitude allowed [Hz].
    duration
        Of the pulse [s].
    fov
        Field of view along y [m]; profiles are drawn in its middle half.
    history
        A row an iteration: ``loss`` and its terms.
    """
    colours = {"start": GREY, "optimized": BLUE}
    with style():
        figure, ((pulse, losses), (linear, decibels)) = panels(
            chart_row(1.3, 1.0, height=5.8), chart_row(1.0, 1.0, height=6.2)
        )
        for stage, colour in colours.items():
            values = samples[stage].numpy()
            # Each sample is held as long as the others
            edges_ms = 1e3 * duration * np.linspace(0, 1, len(values) + 1)
            pulse.stairs(values, edges_ms, baseline=None, color=colour, label=stage, lw=1.2)
        for bound in (-limit, limit):
            pulse.axhline(bound, color=BLACK, lw=0.8, ls=":")
        pulse.set(title="Pulse", xlabel="Time [ms]", ylabel="Amplitude [Hz]")
        pulse.set_ylim(-1.15 * limit, 1.15 * limit)

        losses.semilogy(history["iteration"], history["loss"], color=BLACK, label="loss")
        for term, colour in zip(loss_terms(history), (ORANGE, GREEN), strict=False):
            losses.semilogy(history["iteration"], history[term], color=colour, label=term)
        losses.set(title="Loss and its terms", xlabel="Iteration")

        for stage, colour in colours.items():
            profile, judge = (
                image.abs().mean(0).numpy() for image in (profiles[stage], judged[stage])
            )
            y_mm = 1e3 * fov * (np.arange(len(profile)) - len(profile) // 2) / len(profile)
            linear.plot(y_mm, profile, color=colour, label=stage)
            linear.plot(y_mm, judge, ".", ms=3, color=colour, label=f"{stage}, Bloch")
            decibels.plot(y_mm, 20 * np.log10(np.maximum(profile, 1e-6)), color=colour)
            decibels.plot(y_mm, 20 * np.log10(np.maximum(judge, 1e-6)), ".", ms=3, color=colour)
        linear.set(title="Profile", ylabel=SIGNAL)
        decibels.set(title="Profile, logarithmic", ylabel=SIGNAL.replace("M₀", "dB, 0 is M₀"))
        decibels.set_ylim(-70, 5)
        for axes in (linear, decibels):
            axes.set(xlabel="y [mm]", xlim=(-250 * fov, 250 * fov))
        for axes in (pulse, losses, linear, decibels):
            axes.grid(True)
        for axes in (pulse, losses, linear):
            legend_below(axes)
    return figure
