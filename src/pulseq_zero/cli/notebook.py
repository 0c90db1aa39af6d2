"""How results show themselves in IPython and notebooks: as tables and figures.

IPython is told here how to show each class; the classes themselves know nothing of figures.
"""

from __future__ import annotations

import base64
import html
import io
from collections import Counter
from dataclasses import asdict
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from pulseq_zero.conversion.repetitions import Repetitions
from pulseq_zero.errors import SequenceError
from pulseq_zero.figures.history import courses_figure
from pulseq_zero.figures.phantom import phantom_figure
from pulseq_zero.figures.sequence import kspace_figure
from pulseq_zero.figures.signal import acquisition_figure, signal_figure
from pulseq_zero.imaging.acquisition import Acquisition
from pulseq_zero.optimization.optimize import OptimizationResult
from pulseq_zero.phantom import MAP_UNITS, Phantom
from pulseq_zero.simulation import Simulation
from pulseq_zero.tracing import GradientReport

# Figures are stored with the notebook: small ones will do on a screen.
_DPI = 80


def load_ipython_extension(shell: Any) -> None:
    """Teach a running IPython; ``import pulseq_zero`` in a notebook does it.

    Parameters
    ----------
    shell
        What ``IPython.get_ipython()`` returns.
    """
    # Before the first figure: else matplotlib takes it that the notebook's own are not to be shown
    plt.install_repl_displayhook()
    formatter = shell.display_formatter.formatters["text/html"]
    formatter.for_type(OptimizationResult, optimization_html)
    formatter.for_type(Acquisition, acquisition_html)
    formatter.for_type(Simulation, simulation_html)
    formatter.for_type(Repetitions, repetitions_html)
    formatter.for_type(Phantom, phantom_html)
    formatter.for_type(GradientReport, gradients_html)


def optimization_html(result: OptimizationResult) -> str:
    """Show start, best and last values, and the courses of loss and parameters."""
    stages = {"start": 0, f"best (iteration {result.best_iteration})": result.best_iteration}
    stages["last"] = len(result.history) - 1
    table = pd.DataFrame(
        {
            stage: {
                "loss": f"{result.history['loss'][iteration]:.5g}",
                **{name: _short(value) for name, value in result.at(iteration).items()},
            }
            for stage, iteration in stages.items()
        }
    )
    return _page(table, courses_figure(result.history, result.parameters))


def acquisition_html(acquisition: Acquisition) -> str:
    """Show the image, or the first of several, and the signal."""
    try:
        labels, _ = acquisition.reconstructions
        image = acquisition.images.flatten(0, len(labels) - 1)[0] if labels else acquisition.image
    except SequenceError:
        # A signal need not be an image's
        figure = signal_figure(acquisition.signal)
    else:
        figure = acquisition_figure(image, acquisition.signal)
    simulation = acquisition.simulation
    return _page(pd.DataFrame() if simulation is None else _simulation_table(simulation), figure)


def simulation_html(simulation: Simulation) -> str:
    """Show the signal, and what was left out of it."""
    return _page(_simulation_table(simulation), signal_figure(simulation.signal))


def repetitions_html(repetitions: Repetitions) -> str:
    """Show what a sequence is made of, and its samples in k-space."""
    numbers = {f"{use} pulses": count for use, count in Counter(repetitions.pulse_use).items()}
    numbers["events"] = len(repetitions.event_time)
    numbers["samples"] = int(repetitions.is_sample.sum())
    seconds = float(repetitions.event_time.detach().double().sum())
    table = pd.DataFrame({"": {**numbers, "duration": f"{seconds:.4g} s"}})
    return _page(table, kspace_figure(repetitions, "k-space") if numbers["samples"] else None)


def phantom_html(phantom: Phantom) -> str:
    """Show the tissues' mean values, and all maps."""
    units = {name: unit for name, unit in MAP_UNITS.items() if name not in ("PD", "B0", "B1")}
    table = pd.DataFrame(
        {
            tissue: {
                "voxels": str(int((pool.PD > 0).sum())),
                **{
                    f"{name} [{unit}]": f"{_mean(getattr(pool, name), pool.PD):.3g}"
                    for name, unit in units.items()
                },
            }
            for tissue, pool in phantom.pools.items()
        }
    ).T
    return _page(table, phantom_figure(phantom))


def gradients_html(report: GradientReport) -> str:
    """Show the checks, the worst first."""
    table = pd.DataFrame([asdict(check) for check in report.checks])
    if len(table):
        table = table.sort_values("error", ascending=False, ignore_index=True)
    notes = "".join(
        f"<p>{html.escape(f'{name}: {decision}')}</p>"
        for name, decision in report.decisions.items()
    )
    return _page(table) + f"<p>worst error: {report.worst:.2g}</p>" + notes


def _simulation_table(simulation: Simulation) -> pd.DataFrame:
    samples, coils = simulation.signal.shape
    return pd.DataFrame(
        {
            "": {
                "samples": str(samples),
                "coils": str(coils),
                "engine": simulation.engine,
                "states": str(simulation.states),
                "neglected states": f"{simulation.error.neglected_states:.2g} of the signal",
                "error by diffusion": f"below {simulation.error.diffusion:.2g}",
            }
        }
    )


def _short(values: Tensor) -> str:
    if values.numel() == 1:
        return f"{float(values):.5g}"
    shape = " x ".join(map(str, values.shape))
    return f"{shape}: {float(values.min()):.4g} to {float(values.max()):.4g}"


def _mean(values: Tensor, weight: Tensor) -> float:
    total = torch.where(weight > 0, weight * values, 0.0).sum()
    return float(total / weight.sum())


def _page(table: pd.DataFrame, figure: Figure | None = None) -> str:
    page = table.to_html(border=0, justify="left", max_rows=20)
    if figure is None:
        return page
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=_DPI, metadata={"Software": None})
    plt.close(figure)
    data = base64.b64encode(picture.getvalue()).decode("ascii")
    return f'{page}<img src="data:image/png;base64,{data}">'
