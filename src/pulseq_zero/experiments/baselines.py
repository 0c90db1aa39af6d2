"""Simple sequences that an optimized one has to be better than, in the same numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from pulseq_zero.errors import ConfigError
from pulseq_zero.experiments.evaluation import errors_to_start, powers
from pulseq_zero.experiments.models import SequenceModels, setups_of
from pulseq_zero.experiments.reconstruction import make_reconstruction, shown_images
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
    setups = setups_of(experiment)
    values = next(iter(setups.values())).start
    flips = experiment.flip_angles
    if flips is None:
        raise ConfigError("baselines: the experiment has no flip angles to compare with")
    start = values[flips]
    models = SequenceModels.of(setups, phantom, experiment.image, accuracy, simulator or {})
    reconstruction = make_reconstruction(experiment.reconstruction)
    rows = []
    with torch.no_grad():
        target = shown_images(models(values, reconstruction))
        for name, baseline in experiment.baselines.items():
            function = load_function(baseline.function)
            for value in baseline.values:
                angles = torch.as_tensor(function(value), dtype=start.dtype)
                if angles.shape != start.shape:
                    raise ConfigError(
                        f"baselines: {name}: {baseline.function} makes flip angles of shape "
                        f"{tuple(angles.shape)}, but the experiment's have {tuple(start.shape)}"
                    )
                acquired = models({**values, flips: angles}, reconstruction)
                rows.append(
                    {
                        "baseline": name,
                        "value": value,
                        **powers(angles, start, measured),
                        **errors_to_start(
                            shown_images(acquired), target, phantom, experiment.image.axes
                        ),
                    }
                )
    return pd.DataFrame(rows)
