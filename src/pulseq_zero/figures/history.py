"""Figure of any optimization: images, losses and parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from pulseq_zero.figures.style import (
    BLACK,
    RED,
    SIGNAL,
    chart_row,
    image_row,
    legend_below,
    panels,
    show_pair,
    style,
    with_unit,
)

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
    with style():
        figure, (pictures, courses) = panels(
            image_row(2),
            chart_row(*(1.0,) * (1 + len(parameters))),
            note=f"Images simulated at accuracy {accuracy:g}",
        )
        show_pair(pictures, start, optimized, ("Start", "Optimized"), SIGNAL)
        _draw_courses(courses, history, parameters, units)
    return figure


def courses_figure(history: pd.DataFrame, parameters: Mapping[str, Tensor]) -> Figure:
    """Draw the courses of losses and parameters alone.

    Parameters
    ----------
    history, parameters
        As for `history_figure`.
    """
    with style():
        figure, (courses,) = panels(chart_row(*(1.0,) * (1 + len(parameters))))
        _draw_courses(courses, history, parameters, {})
    return figure


def _draw_courses(
    axes: Sequence[Axes],
    history: pd.DataFrame,
    parameters: Mapping[str, Tensor],
    units: Mapping[str, str],
) -> None:
    losses, *courses = axes
    losses.plot(history["iteration"], history["loss"], color=BLACK, label="loss")
    for term in loss_terms(history):
        losses.plot(history["iteration"], history[term], label=term)
    if history["verified_loss"].notna().any():
        losses.plot(
            history["iteration"], history["verified_loss"], "x", color=RED, label="verified"
        )
    losses.set(title="Loss and its terms", xlabel="Iteration")
    legend_below(losses)
    for course, (name, values) in zip(courses, parameters.items(), strict=True):
        course.plot(history["iteration"], values.flatten(1) if values.ndim > 1 else values)
        course.set(title=with_unit(name, units.get(name)), xlabel="Iteration")
    for each in axes:
        each.grid(True)
