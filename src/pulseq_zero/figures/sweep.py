"""Figure of any sweep: how what was found depends on what was swept."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pulseq_zero.figures.style import chart_row, legend_below, panels, style


def sweep_figure(
    results: pd.DataFrame, settings: Mapping[str, str], found: Mapping[str, str]
) -> Figure:
    """Draw the loss and the scalar parameters over the first setting of any sweep.

    Parameters
    ----------
    results
        The table of `pulseq_zero.experiments.sweeps.sweep_results`.
    settings
        The swept settings, each with its label; each combination of those after the first is a
        line.
    found
        The scalar parameters, each with its label.
    """
    with style():
        figure, (drawn,) = panels(chart_row(*(1.0,) * (1 + len(found)), in_page=2))
        for axes, (name, label) in zip(drawn, {"loss": "Loss", **found}.items(), strict=True):
            _lines(axes, results, settings, name)
            axes.set(ylabel=label, xlabel=next(iter(settings.values())))
            axes.grid(True)
        if len(settings) > 1:
            legend_below(drawn[0])
    return figure


def _lines(axes: Axes, results: pd.DataFrame, settings: Mapping[str, str], name: str) -> None:
    first, *others = settings
    groups = results.groupby(others, sort=False) if others else [((), results)]
    for values, group in groups:
        label = ", ".join(
            f"{settings[key]} = {value}" for key, value in zip(others, values, strict=True)
        )
        if pd.api.types.is_number(group[first].iloc[0]):
            ordered = group.sort_values(first)
            axes.plot(ordered[first], ordered[name], "o-", label=label)
        else:
            axes.plot(group[first].map(str), group[name], "o-", label=label)
