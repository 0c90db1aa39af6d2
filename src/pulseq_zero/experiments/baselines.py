"""Simple sequences that an optimized one has to be better than, in the same numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from pulseq_zero.errors import ConfigError
from pulseq_zero.experiments.evaluation import errors_to_start, powers
from pulseq_zero.experiments.experiment import sequence_setup
from pulseq_zero.experiments.reconstruction import shown_image
from pulseq_zero.experiments.settings import Experiment
from pulseq_zero.files.loading import load_function
from pulseq_zero.phantom import Phantom


def baseline_table(
    experiment: Experiment,
    phantom: Phantom,
    measured: Tensor | None,
    *,
    accuracy: float,
    simulator: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """Simulate the flip angles of an experiment's baselines.

    Parameters
    ----------
    experiment
        The experiment, with flip angles.
    phantom
        What is imaged.
    measured
        (shots,) bool, which shots are measured; None if unknown.
    accuracy, simulator
        Settings of the simulation.

    Returns
    -------
    pandas.DataFrame
        A row a value: ``baseline``, ``value``, powers and image errors, as a stage has them.

    Raises
    ------
    ConfigError
        If the experiment has no flip angles, or a baseline makes none of their shape.
    """
    setup = sequence_setup(experiment.sequence, experiment.parameters)
    flips = experiment.flip_angles
    if flips is None:
        raise ConfigError("baselines: the experiment has no flip angles to compare with")
    start = setup.start[flips]
    model = setup.imaging_model(
        phantom, experiment.image, experiment.reconstruction, accuracy, simulator or {}
    )
    rows = []
    with torch.no_grad():
        target = shown_image(model(setup.start))
        for name, baseline in experiment.baselines.items():
            function = load_function(baseline.function)
            for value in baseline.values:
                angles = torch.as_tensor(function(value), dtype=start.dtype)
                if angles.shape != start.shape:
                    raise ConfigError(
                        f"baselines: {name}: {baseline.function} makes flip angles of shape "
                        f"{tuple(angles.shape)}, but the experiment's have {tuple(start.shape)}"
                    )
                image = shown_image(model({**setup.start, flips: angles}))
                rows.append(
                    {
                        "baseline": name,
                        "value": value,
                        **powers(angles, start, measured),
                        **errors_to_start(image, target, phantom, experiment.image.axes),
                    }
                )
    return pd.DataFrame(rows)
