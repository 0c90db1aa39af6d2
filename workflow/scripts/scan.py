"""Compute the loss over one parameter by brute force."""

from pathlib import Path
from typing import Any

import pandas as pd
import torch
from tqdm import tqdm

from pulseq_zero.errors import ConfigError
from pulseq_zero.experiment import make_loss, sequence_setup
from pulseq_zero.logs import logged
from pulseq_zero.losses import LossContext
from pulseq_zero.phantom import Phantom
from pulseq_zero.store import load_tensors, save_table


def main(
    experiment: dict[str, Any],
    accuracy: float,
    simulation: dict[str, Any],
    phantom: Path,
    start: Path,
    scan: Path,
) -> None:
    setup = sequence_setup(experiment)
    imaged = Phantom.load(phantom)
    model = setup.imaging_model(imaged, accuracy, simulation)
    context = LossContext(imaged, load_tensors(start)[0]["image"], setup.start)
    loss_function = make_loss(experiment["loss"], context)
    settings = experiment["scan"]
    name = settings["parameter"]
    if name not in setup.start or setup.start[name].ndim > 0:
        raise ConfigError(f"scan: {name!r} is no scalar parameter of this experiment")
    rows = []
    grid = torch.linspace(
        settings["first"], settings["last"], settings["count"], dtype=torch.float64
    )
    for value in tqdm(grid, unit="point"):
        parameters = {**setup.start, name: value}
        with torch.no_grad():
            loss = loss_function(parameters, model(parameters).image)
        terms = loss if isinstance(loss, dict) else {"loss": loss}
        terms = {term: float(part) for term, part in terms.items()}
        rows.append({name: float(value), **terms, "loss": sum(terms.values())})
    save_table(scan, pd.DataFrame(rows))


if "snakemake" in globals():
    torch.set_num_threads(snakemake.threads)
    with logged(snakemake.log[0]):
        main(
            snakemake.params.experiment,
            snakemake.params.accuracy,
            snakemake.params.simulation,
            Path(snakemake.input.phantom),
            Path(snakemake.input.start),
            Path(snakemake.output.scan),
        )
