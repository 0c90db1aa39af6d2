"""A train with a flip angle of its own for each line: images, train, loss."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from pulseq_zero.experiments.experiment import SequenceSetup
from pulseq_zero.experiments.kinds import kind
from pulseq_zero.experiments.settings import Experiment
from pulseq_zero.figures.history import loss_terms
from pulseq_zero.figures.style import BLACK, BLUE, GREEN, GREY, ORANGE, rows, show_image, style


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
    brightest = float(max(start.abs().max(), optimized.abs().max()))
    with style():
        figure = plt.figure(figsize=(7.2, 5.8))
        upper, lower = rows(figure, 1.0, 1.05)
        titles = ("Start", f"Optimized, iteration {best_iteration}")
        for axes, image, title in zip(
            upper.subplots(1, 2), (start, optimized), titles, strict=True
        ):
            show_image(axes, image.abs(), title, vmin=0, vmax=brightest)

        train, losses = lower.subplots(1, 2, width_ratios=(1.3, 1.0))
        train.step(pulses, degrees[0], where="mid", color=GREY, ls="--", label="start")
        train.step(pulses, degrees[best_iteration], where="mid", color=BLUE, label="optimized")
        train.axvline(len(pulses) // 2 + 1, color=BLACK, lw=0.8, ls=":", label="centre of k-space")
        train.set(title="Train", xlabel="Pulse", ylabel="Flip angle [°]", ylim=(0, None))
        train.legend()

        losses.plot(history["iteration"], history["loss"], color=BLACK, label="loss")
        for term, colour in zip(loss_terms(history), (BLUE, ORANGE, GREEN), strict=False):
            losses.plot(history["iteration"], history[term], color=colour, label=term)
        losses.axvline(best_iteration, color=GREY, lw=0.8, ls=":")
        losses.set(title="Loss and its terms", xlabel="Iteration", ylabel="[a.u.]")
        losses.legend()
        for axes in (train, losses):
            axes.grid(True)
        figure.supxlabel(f"Images simulated at accuracy {accuracy:g}", fontsize=7)
    return figure
