"""Simulate iterations of an optimization accurately and compare their images with the start."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from tqdm import tqdm

from pulseq_zero.experiments.evaluation import joined, mean_ssim
from pulseq_zero.experiments.experiment import stage_values
from pulseq_zero.experiments.layout import RunFiles
from pulseq_zero.experiments.models import SequenceModels, setups_of, stored_images
from pulseq_zero.experiments.reconstruction import make_reconstruction, shown_images
from pulseq_zero.experiments.settings import Experiment
from pulseq_zero.experiments.stages import START, TIGHT, at_iteration
from pulseq_zero.files.store import save_table
from pulseq_zero.imaging.metrics import nrmse
from pulseq_zero.optimization.penalties import relative_sar
from pulseq_zero.phantom import Phantom

SECTIONS = (
    "sequence", "sequences", "parameters", "image", "reconstruction", "loss", "optimizer",
    "report_iterations",
)  # fmt: skip


def run(
    experiment: Experiment,
    accuracy: float,
    simulator: Mapping[str, Any],
    phantom: Path,
    start: RunFiles,
    optimization: Path,
    quality: Path,
) -> None:
    """Look at the images of every few iterations, of the last, and of those that are reported.

    Parameters
    ----------
    experiment
        The experiment.
    accuracy, simulator
        Accuracy and further settings of the `Simulator`.
    phantom, start
        What is imaged, and the files of the run that has the images at the start values.
    optimization
        The parameters of all iterations.
    quality
        A row an image: ``iteration``, ``nrmse``, ``ssim``, and ``relative_sar`` of experiments
        with flip angles.
    """
    setups = setups_of(experiment)
    setup = next(iter(setups.values()))
    models = SequenceModels.of(setups, Phantom.load(phantom), experiment.image, accuracy, simulator)
    reconstruction = make_reconstruction(experiment.reconstruction)
    target = stored_images(experiment, start, START, TIGHT)
    last, step = experiment.optimizer.iterations, experiment.optimizer.look_every
    name = experiment.flip_angles
    looked_at = sorted({*range(0, last + 1, step), last, *experiment.report_iterations})
    rows = []
    for iteration in tqdm(looked_at, unit="image"):
        values = stage_values(setup, at_iteration(iteration), optimization)
        with torch.no_grad():
            images = shown_images(models(values, reconstruction))
        row = {
            "iteration": iteration,
            "nrmse": nrmse(joined(images).abs(), joined(target).abs()),
            "ssim": mean_ssim(images, target, experiment.image.axes),
        }
        if name is not None:
            row["relative_sar"] = float(relative_sar(values[name], setup.start[name]))
        rows.append(row)
    save_table(quality, pd.DataFrame(rows))
