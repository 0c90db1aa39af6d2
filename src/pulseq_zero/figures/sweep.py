"""Figure of any sweep: how what was found depends on what was swept."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pulseq_zero.figures.style import style


def sweep_figure(results: pd.DataFrame, settings: list[str], found: list[str]) -> Figure:
    """Draw the loss and the scalar parameters over the first setting of any sweep.

    Parameters
    ----------
    results
        The table of `pulseq_zero.experiments.sweeps.sweep_results`.
    settings
        The swept settings; each combination of those after the first is a line.
    found
        Names of the scalar parameters.
    """
    with style():
        figure = plt.figure(figsize=(7.2, 2.8 * (1 + len(found))))
        panels = np.atleast_1d(figure.subplots(1 + len(found), 1))
        for axes, name in zip(panels, ["loss", *found], strict=True):
            _lines(axes, results, settings, name)
            axes.set(ylabel=name)
            axes.grid(True)
        panels[-1].set_xlabel(settings[0])
        if len(settings) > 1:
            panels[0].legend()
    return figure


def _lines(axes: Axes, results: pd.DataFrame, settings: list[str], name: str) -> None:
    first, *others = settings
    groups = results.groupby(others, sort=False) if others else [((), results)]
    for values, group in groups:
        label = ", ".join(f"{key} = {value}" for key, value in zip(others, values, strict=True))
        if pd.api.types.is_number(group[first].iloc[0]):
            ordered = group.sort_values(first)
            axes.plot(ordered[first], ordered[name], "o-", label=label)
        else:
            axes.plot(group[first].map(str), group[name], "o-", label=label)
