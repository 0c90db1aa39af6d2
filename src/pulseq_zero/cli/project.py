"""What a command works on: an experiment file, and the config that goes with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pulseq_zero.errors import ConfigError, PulseqZeroError
from pulseq_zero.experiments import kinds
from pulseq_zero.experiments.experiment import load_loss_maker, sequence_setup
from pulseq_zero.experiments.settings import Config, Experiment, read
from pulseq_zero.files.yaml import read_yaml
from pulseq_zero.phantom.settings import changed, read_config

CONFIG = Path("config/config.yaml")


@dataclass(frozen=True)
class Project:
    """An experiment with everything that the config says about it.

    Attributes
    ----------
    name
        Name of the experiment: that of its file.
    experiment
        The experiment.
    config
        The config.
    phantoms
        Settings of its phantom, and of those that it is optimized on as well.
    """

    name: str
    experiment: Experiment
    config: Config
    phantoms: list[dict[str, Any]]


def read_project(file: Path, config_file: Path | None) -> Project:
    """Read an experiment and the config, and check both.

    Parameters
    ----------
    file
        The experiment file.
    config_file
        The config; by default that of the working directory, or else the defaults.

    Raises
    ------
    ConfigError
        If one of them is wrong, in one sentence that names the file.
    """
    if config_file is None and CONFIG.is_file():
        config_file = CONFIG
    if config_file is None:
        config = Config(experiments=[file.stem])
    else:
        config = read(Config, read_yaml(config_file), str(config_file))
    experiment = read(Experiment, read_yaml(file), str(file))
    if experiment.sweep:
        raise ConfigError(
            f"{file} is a sweep of many runs, which the pipeline runs: name it under experiments "
            f"in {CONFIG} and start snakemake, or remove the key sweep"
        )
    own = experiment.phantom
    changes = [own, *(changed(own, further) for further in experiment.ensemble)]
    try:
        phantoms = [read_config(changed(config.phantom, each)) for each in changes]
        setup = sequence_setup(experiment.sequence, experiment.parameters)
        load_loss_maker(experiment.loss)
        kinds.of(experiment.figure).check(experiment, setup)
    except PulseqZeroError as error:
        raise ConfigError(f"{file}: {error}") from error
    return Project(file.stem, experiment, config, phantoms)
