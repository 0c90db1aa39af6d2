"""What a command works on: an experiment file, and the config that goes with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pulseq_zero.config import read_yaml, validate
from pulseq_zero.errors import ConfigError, PulseqZeroError
from pulseq_zero.experiment import load_loss_maker, sequence_setup
from pulseq_zero.phantom.settings import changed, read_config
from pulseq_zero.shipped import shipped

CONFIG = Path("config/config.yaml")


@dataclass(frozen=True)
class Project:
    """An experiment with everything that the config says about it.

    Attributes
    ----------
    name
        Name of the experiment: that of its file.
    experiment
        Content of its file.
    phantoms
        Settings of its phantom, and of those that it is optimized on as well.
    accuracy, tight_accuracy
        Accuracy of the optimization, and of everything that is reported.
    tight_change
        Change of an image by higher accuracy that counts as none.
    simulation
        Further settings of the simulation.
    limits
        Limits of the RF pulses.
    results
        Folder of the results of all experiments.
    """

    name: str
    experiment: dict[str, Any]
    phantoms: list[dict[str, Any]]
    accuracy: float
    tight_accuracy: float
    tight_change: float
    simulation: dict[str, Any]
    limits: dict[str, float]
    results: Path


def read_project(file: Path, config_file: Path | None) -> Project:
    """Read an experiment and the config, and check both.

    Parameters
    ----------
    file
        The experiment file.
    config_file
        The config; by default that of the working directory, or else the one that comes with
        the package.

    Raises
    ------
    ConfigError
        If one of them is wrong, in one sentence that names the file.
    """
    if config_file is None:
        config_file = CONFIG if CONFIG.is_file() else shipped(str(CONFIG))
    config = read_yaml(config_file)
    validate(config, shipped("workflow/schemas/config.schema.yaml"), str(config_file))
    experiment = read_yaml(file)
    validate(experiment, shipped("workflow/schemas/experiment.schema.yaml"), str(file))
    if "sweep" in experiment:
        raise ConfigError(
            f"{file} is a sweep of many runs, which the pipeline runs: name it under experiments "
            f"in {CONFIG} and start snakemake, or remove the key sweep"
        )
    own = experiment.get("phantom", {})
    changes = [own, *(changed(own, further) for further in experiment.get("ensemble", []))]
    try:
        phantoms = [read_config(changed(config["phantom"], each)) for each in changes]
        sequence_setup(experiment)
        load_loss_maker(experiment["loss"])
    except PulseqZeroError as error:
        raise ConfigError(f"{file}: {error}") from error
    simulation = dict(config["simulation"])
    return Project(
        name=file.stem,
        experiment=experiment,
        phantoms=phantoms,
        accuracy=float(simulation.pop("accuracy")),
        tight_accuracy=float(simulation.pop("tight_accuracy")),
        tight_change=float(simulation.pop("tight_change", 1e-4)),
        simulation=simulation,
        limits=config.get("limits", {}),
        results=Path(config["results"]),
    )
