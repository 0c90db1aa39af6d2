"""Figure of any optimization: images, losses and parameters."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure, SubFigure
from torch import Tensor

from pulseq_zero.figures.style import BLACK, RED, rows, show_image, style

_NO_TERMS = ("iteration", "loss", "verified_loss", "accuracy", "seconds")


def loss_terms(history: pd.DataFrame) -> list[str]:
    """Names of the terms of the loss, in the order in which the loss function gave them."""
    return [name for name in history.columns if name not in _NO_TERMS]


def history_figure(
    start: Tensor,
    optimized: Tensor,
    history: pd.DataFrame,
    parameters: dict[str, Tensor],
    units: dict[str, str],
    accuracy: float,
) -> Figure:
    """Draw the course of an optimization.

    Parameters
    ----------
    start, optimized
        (x, y) images of the start and of the best parameters.
    history
        A row an iteration: ``loss``, its terms, and ``verified_loss``.
    parameters
        For each parameter its values (iterations, ...).
    units
        Their units.
    accuracy
        Accuracy of the simulation that the images were made with.
    """
    brightest = float(max(start.abs().max(), optimized.abs().max()))
    with style():
        figure = plt.figure(figsize=(7.2, 5.4))
        upper, lower = rows(figure, 1.0, 1.0)
        for axes, image, title in zip(
            upper.subplots(1, 2), (start, optimized), ("Start", "Optimized"), strict=True
        ):
            show_image(axes, image.abs(), title, vmin=0, vmax=brightest)
        _draw_courses(lower, history, parameters, units)
        figure.supxlabel(f"Images simulated at accuracy {accuracy:g}", fontsize=7)
    return figure


def courses_figure(history: pd.DataFrame, parameters: Mapping[str, Tensor]) -> Figure:
    """Draw the courses of losses and parameters alone.

    Parameters
    ----------
    history, parameters
        As for `history_figure`.
    """
    with style():
        figure = plt.figure(figsize=(7.2, 2.7))
        (row,) = rows(figure, 1.0)
        _draw_courses(row, history, parameters, {})
    return figure


def _draw_courses(
    figure: SubFigure,
    history: pd.DataFrame,
    parameters: Mapping[str, Tensor],
    units: Mapping[str, str],
) -> None:
    losses, *courses = figure.subplots(1, 1 + len(parameters), squeeze=False)[0]
    losses.plot(history["iteration"], history["loss"], color=BLACK, label="loss")
    for term in loss_terms(history):
        losses.plot(history["iteration"], history[term], label=term)
    if history["verified_loss"].notna().any():
        losses.plot(
            history["iteration"], history["verified_loss"], "x", color=RED, label="verified"
        )
    losses.set(title="Loss", xlabel="Iteration")
    losses.legend()
    for axes, (name, values) in zip(courses, parameters.items(), strict=True):
        axes.plot(history["iteration"], values.flatten(1) if values.ndim > 1 else values)
        axes.set(title=f"{name} [{units[name]}]" if units.get(name) else name, xlabel="Iteration")
    for axes in (losses, *courses):
        axes.grid(True)
