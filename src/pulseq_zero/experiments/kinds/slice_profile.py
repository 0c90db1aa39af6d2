"""A pulse given by its samples: the pulse, its slice profile, and Bloch integration."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from pulseq_zero.experiments.experiment import SequenceSetup
from pulseq_zero.experiments.kinds import kind
from pulseq_zero.experiments.settings import Experiment
from pulseq_zero.experiments.stages import ENDS, OPTIMIZED, START
from pulseq_zero.figures.history import loss_terms
from pulseq_zero.figures.style import BLACK, BLUE, GREEN, GREY, ORANGE, rows, style


class Kind(kind.Kind):
    """One parameter, the samples (samples,) of a pulse [Hz], with an upper bound.

    The slice is selected along y.
    """

    sections = ("parameters",)
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
            "a bound of the samples; give it as upper:",
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
            results.fov[1],
            results.history,
        )


def _samples(experiment: Experiment) -> tuple[str, float | None]:
    """Name of the samples, and their bound."""
    ((name, settings),) = experiment.parameters.items()
    return name, settings.upper


def slice_profile_figure(
    profiles: Mapping[str, Tensor],
    judged: Mapping[str, Tensor],
    samples: Mapping[str, Tensor],
    limit: float,
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
    fov
        Field of view along y [m].
    history
        A row an iteration: ``loss`` and its terms.
    """
    colours = {"start": GREY, "optimized": BLUE}
    with style():
        figure = plt.figure(figsize=(7.2, 5.8))
        upper, lower = rows(figure, 1.0, 1.0)
        pulse, losses = upper.subplots(1, 2, width_ratios=(1.3, 1.0))
        for stage, colour in colours.items():
            values = samples[stage].numpy()
            number = np.arange(1, len(values) + 1)
            pulse.step(number, values, where="mid", color=colour, label=stage)
        for bound in (-limit, limit):
            pulse.axhline(bound, color=BLACK, lw=0.8, ls=":")
        pulse.set(title="Pulse", xlabel="Sample", ylabel="Amplitude [Hz]")
        pulse.set_ylim(-1.15 * limit, 1.15 * limit)
        pulse.legend(loc="lower center")

        losses.semilogy(history["iteration"], history["loss"], color=BLACK, label="loss")
        for term, colour in zip(loss_terms(history), (ORANGE, GREEN), strict=False):
            losses.semilogy(history["iteration"], history[term], color=colour, label=term)
        losses.set(title="Loss and its terms", xlabel="Iteration")
        losses.legend()

        linear, decibels = lower.subplots(1, 2, width_ratios=(1.0, 1.0))
        for stage, colour in colours.items():
            profile, judge = (
                image.abs().mean(0).numpy() for image in (profiles[stage], judged[stage])
            )
            y_mm = 1e3 * fov * (np.arange(len(profile)) - len(profile) // 2) / len(profile)
            linear.plot(y_mm, profile, color=colour, label=stage)
            linear.plot(y_mm, judge, ".", ms=4, color=colour, label=f"{stage}, Bloch")
            decibels.plot(y_mm, 20 * np.log10(np.maximum(profile, 1e-6)), color=colour)
            decibels.plot(y_mm, 20 * np.log10(np.maximum(judge, 1e-6)), ".", ms=4, color=colour)
        linear.set(title="Profile", xlabel="y [mm]", ylabel="Magnitude", xlim=(-6, 6))
        linear.legend(loc="lower center", fontsize=7)
        decibels.set(title="Profile, logarithmic", xlabel="y [mm]", ylabel="Magnitude [dB]")
        decibels.set_ylim(-70, 5)
        for axes in (pulse, losses, linear, decibels):
            axes.grid(True)
    return figure
