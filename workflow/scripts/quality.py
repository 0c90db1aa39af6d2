"""Simulate iterations of an optimization accurately and compare their images with the start."""

from pathlib import Path
from typing import Any

import pandas as pd
import torch
from tqdm import tqdm

from pulseq_zero.evaluation import flip_angles_of
from pulseq_zero.experiment import sequence_setup, stage_values
from pulseq_zero.limits import relative_sar
from pulseq_zero.logs import logged
from pulseq_zero.metrics import nrmse, ssim
from pulseq_zero.phantom import Phantom
from pulseq_zero.store import load_tensors, save_table


def main(
    experiment: dict[str, Any],
    accuracy: float,
    simulation: dict[str, Any],
    phantom: Path,
    start: Path,
    optimization: Path,
    quality: Path,
) -> None:
    setup = sequence_setup(experiment)
    model = setup.imaging_model(Phantom.load(phantom), accuracy, simulation)
    target = load_tensors(start)[0]["image"].abs()
    last = experiment["optimizer"]["iterations"]
    step = experiment["optimizer"].get("verify_every", 10)
    asked = experiment.get("report_iterations", [])
    name = flip_angles_of(experiment)
    rows = []
    for iteration in tqdm(sorted({*range(0, last + 1, step), last, *asked}), unit="image"):
        values = stage_values(setup, f"iteration_{iteration}", optimization)
        with torch.no_grad():
            image = model(values).image.abs()
        row = {"iteration": iteration, "nrmse": nrmse(image, target), "ssim": ssim(image, target)}
        if name is not None:
            row["relative_sar"] = float(relative_sar(values[name], setup.start[name]))
        rows.append(row)
    save_table(quality, pd.DataFrame(rows))


if "snakemake" in globals():
    torch.set_num_threads(snakemake.threads)
    with logged(snakemake.log[0]):
        main(
            snakemake.params.experiment,
            snakemake.params.accuracy,
            snakemake.params.simulation,
            Path(snakemake.input.phantom),
            Path(snakemake.input.start),
            Path(snakemake.input.optimization),
            Path(snakemake.output.quality),
        )
