"""Compute the loss over one parameter by brute force."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from tqdm import tqdm

from pulseq_zero.errors import ConfigError
from pulseq_zero.experiments.experiment import make_loss, sequence_setup
from pulseq_zero.experiments.settings import Experiment
from pulseq_zero.files.store import load_tensors, save_table
from pulseq_zero.optimization.losses import LossContext, sum_of, terms_of
from pulseq_zero.phantom import Phantom

SECTIONS = ("sequence", "parameters", "image", "loss", "scan")


def run(
    experiment: Experiment,
    accuracy: float,
    simulator: Mapping[str, Any],
    phantom: Path,
    start: Path,
    scan: Path,
) -> None:
    """Compute the loss at all values of a scan.

    Parameters
    ----------
    experiment
        The experiment.
    accuracy, simulator
        Accuracy and further settings of the `Simulator`.
    phantom, start
        What is imaged, and the image at the start values.
    scan
        A row a value: the parameter, the terms of the loss, and ``loss``.

    Raises
    ------
    ConfigError
        If the parameter is none, or no scalar.
    """
    settings = experiment.scan
    if settings is None:
        raise ConfigError("the experiment has no section scan")
    setup = sequence_setup(experiment.sequence, experiment.parameters)
    imaged = Phantom.load(phantom)
    model = setup.imaging_model(imaged, experiment.image, accuracy, simulator)
    context = LossContext(imaged, load_tensors(start)[0]["image"], setup.start)
    loss_function = make_loss(experiment.loss, context)
    name = settings.parameter
    if name not in setup.start or setup.start[name].ndim > 0:
        raise ConfigError(f"scan: {name!r} is no scalar parameter of this experiment")
    rows = []
    values = torch.linspace(settings.first, settings.last, settings.count, dtype=torch.float64)
    for value in tqdm(values, unit="point"):
        parameters = {**setup.start, name: value}
        with torch.no_grad():
            terms = terms_of(loss_function(parameters, model(parameters).image))
        shown = {term: float(part) for term, part in terms.items()}
        rows.append({name: float(value), **shown, "loss": float(sum_of(terms))})
    save_table(scan, pd.DataFrame(rows))
