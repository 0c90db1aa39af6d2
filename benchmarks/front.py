"""Tell how far the points of a front still move: search on where the pipeline's runs end.

Usage: python benchmarks/front.py [config/experiments/tse_pareto.yaml ...] [--iterations 1000]

Each run of experiments and sweeps over flip angles is made anew with more iterations. The table has
the error in the brain and the power of the measured shots after as many iterations as the
experiment has, and after all of them, simulated at the tight accuracy, and by how much they move.
A run takes about a minute and a half of processor time.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from pulseq_zero.experiments.evaluation import errors_to_start, measured_shots, powers
from pulseq_zero.experiments.models import SequenceModels, setups_of
from pulseq_zero.experiments.optimization import optimize_experiment
from pulseq_zero.experiments.reconstruction import make_reconstruction, shown_images
from pulseq_zero.experiments.section import read
from pulseq_zero.experiments.settings import Config, Experiment
from pulseq_zero.experiments.sweeps import sweep_runs, sweep_table
from pulseq_zero.files.yaml import read_yaml
from pulseq_zero.optimization.run import OptimizationResult
from pulseq_zero.phantom import Phantom, build_phantom

CONFIG = Path("config/config.yaml")
FRONT = [Path(f"config/experiments/{name}.yaml") for name in ("tse_pareto", "tse_brain")]


def point_of(
    result: OptimizationResult, last: int, experiment: Experiment, phantom: Phantom, config: Config
) -> dict[str, float]:
    """Return error and power of the best of the first iterations, at the tight accuracy."""
    setups = setups_of(experiment)
    start = next(iter(setups.values())).start
    best = int(result.history["loss"][: last + 1].idxmin())
    simulation = config.simulation
    models = SequenceModels.of(
        setups, phantom, experiment.image, simulation.tight_accuracy, simulation.simulator
    )
    reconstruction = make_reconstruction(experiment.reconstruction)
    with torch.no_grad():
        acquired = models(start, reconstruction)
        target = shown_images(acquired)
        images = shown_images(models(result.at(best), reconstruction))
    name = str(experiment.flip_angles)
    repetitions = next(iter(acquired.values())).repetitions
    return {
        "loss": float(result.history["loss"][best]),
        **errors_to_start(images, target, phantom, experiment.image.axes),
        **powers(result.at(best)[name], start[name], measured_shots(repetitions, start[name])),
    }


def moved(
    run: str, content: dict[str, Any], iterations: int, phantom: Phantom, config: Config
) -> dict[str, Any]:
    """Search on in one run, and return where its point was and where it is."""
    experiment = read(Experiment, content, run)
    result, _ = optimize_experiment(
        experiment,
        config.simulation,
        [phantom],
        iterations=iterations,
        verify_every=None,
        progress=False,
    )
    row: dict[str, Any] = {"run": run.partition("/")[2] or run}
    lasts = (experiment.optimizer.iterations, iterations)
    points = [point_of(result, last, experiment, phantom, config) for last in lasts]
    for last, point in zip(lasts, points, strict=True):
        row[f"loss, {last}"] = f"{point['loss']:.3g}"
        row[f"error, {last}"] = f"{point['nrmse_brain']:.4f}"
        row[f"power, {last}"] = f"{point['relative_sar_measured']:.3f}"
    for name, key in (("error", "nrmse_brain"), ("power", "relative_sar_measured")):
        row[f"{name} moves by"] = f"{points[1][key] - points[0][key]:+.4f}"
    return row


def main() -> None:
    """Search on in all runs, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("experiments", type=Path, nargs="*", default=FRONT)
    parser.add_argument("--iterations", type=int, default=1000)
    options = parser.parse_args()
    config = read(Config, read_yaml(CONFIG), str(CONFIG))
    phantom = build_phantom(config.phantom)
    rows = []
    for file in options.experiments:
        content, name = read_yaml(file), file.stem
        runs = {name: content}
        if "sweep" in content:
            runs = sweep_runs(content, sweep_table(name, content["sweep"]))
        for run, each in runs.items():
            rows.append(moved(run, each, options.iterations, phantom, config))
            print(rows[-1], flush=True)
    print(pd.DataFrame(rows).to_markdown(index=False))


if __name__ == "__main__":
    main()
