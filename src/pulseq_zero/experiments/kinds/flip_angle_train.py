"""A train with a flip angle of its own for each line: images, train, loss."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from pulseq_zero.experiments.experiment import SequenceSetup
from pulseq_zero.experiments.kinds import kind
from pulseq_zero.experiments.settings import Experiment
from pulseq_zero.figures.history import loss_terms
from pulseq_zero.figures.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    SIGNAL,
    chart_row,
    image_row,
    legend_below,
    panels,
    show_pair,
    style,
)


class Kind(kind.Kind):
    """Flip angles (pulses,) [rad], called as the loss's setting ``flip_angles`` says."""

    sections = ("parameters", "loss")

    def check(self, experiment: Experiment, setup: SequenceSetup) -> None:
        """Check that there is a train."""
        kind.require_flip_angles(experiment, setup, "flip_angle_train", ("pulse",))

    def draw(self, experiment: Experiment, results: kind.RunResults) -> Figure:
        """Draw images, train and loss."""
        return flip_angle_train_figure(
            results.start,
            results.optimized,
            results.history,
            results.parameters[kind.given(experiment.flip_angles)],
            results.best,
            results.accuracy,
        )


def flip_angle_train_figure(
    start: Tensor,
    optimized: Tensor,
    history: pd.DataFrame,
    flip_angles: Tensor,
    best_iteration: int,
    accuracy: float,
) -> Figure:
    """Draw the train.

    Parameters
    ----------
    start, optimized
        (x, y) images of the start and of the best angles.
    history
        A row an iteration: ``loss`` and its terms.
    flip_angles
        (iterations, pulses) the course of the angles [rad].
    best_iteration
        The iteration that the optimized image belongs to.
    accuracy
        Accuracy of the simulation that the images were made with.
    """
    degrees = torch.rad2deg(flip_angles).numpy()
    pulses = np.arange(1, degrees.shape[1] + 1)
    with style():
        figure, (pictures, (train, losses)) = panels(
            image_row(2),
            chart_row(1.3, 1.0, height=6.0),
            note=f"Images simulated at accuracy {accuracy:g}",
        )
        titles = ("Start", f"Optimized, iteration {best_iteration}")
        show_pair(pictures, start, optimized, titles, SIGNAL)

        train.step(pulses, degrees[0], where="mid", color=GREY, ls="--", label="start")
        train.step(pulses, degrees[best_iteration], where="mid", color=BLUE, label="optimized")
        train.axvline(len(pulses) // 2 + 1, color=BLACK, lw=0.8, ls=":", label="centre of k-space")
        train.set(title="Train", xlabel="Pulse", ylabel="Flip angle [°]", ylim=(0, None))
        legend_below(train, columns=3)

        losses.plot(history["iteration"], history["loss"], color=BLACK, label="loss")
        for term, colour in zip(loss_terms(history), (BLUE, ORANGE, GREEN), strict=False):
            losses.plot(history["iteration"], history[term], color=colour, label=term)
        losses.axvline(best_iteration, color=GREY, lw=0.8, ls=":")
        losses.set(title="Loss and its terms", xlabel="Iteration")
        # Terms of power and sharpness begin far above what they end at
        shown = ["loss", *loss_terms(history)]
        ends = float(history[shown].iloc[-1].abs().max()) or 1.0
        losses.set_yscale("symlog", linthresh=ends)
        legend_below(losses)
        for axes in (train, losses):
            axes.grid(True)
    return figure
