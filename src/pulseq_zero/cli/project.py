"""What a command works on: an experiment file, and the config that goes with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pulseq_zero.errors import ConfigError, PulseqZeroError
from pulseq_zero.experiments.layout import check_names, check_results
from pulseq_zero.experiments.plan import check_experiment
from pulseq_zero.experiments.section import read
from pulseq_zero.experiments.settings import Config, Experiment
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


def read_project(
    file: Path,
    config_file: Path | None,
    *,
    iterations: int | None = None,
    device: str | None = None,
) -> Project:
    """Read an experiment and the config, and check both.

    Parameters
    ----------
    file
        The experiment file.
    config_file
        The config; by default that of the working directory, or else the defaults. Which
        experiments it lists does not matter.
    iterations, device
        In place of what the files say.

    Raises
    ------
    ConfigError
        If one of them is wrong, in one sentence that names the file.
    """
    check_names([file.stem])
    if config_file is None and CONFIG.is_file():
        config_file = CONFIG
    settings = {"experiments": [file.stem]}
    if config_file is not None:
        settings |= read_yaml(config_file)
    config = read(
        Config, _with(settings, "simulation", device=device), str(config_file or "--device")
    )
    check_results(config.results)
    content = _with(read_yaml(file), "optimizer", iterations=iterations)
    experiment = read(Experiment, content, str(file))
    if experiment.sweep:
        raise ConfigError(
            f"{file} is a sweep of many runs, which the pipeline runs: name it under experiments "
            f"in {CONFIG} and start snakemake, or remove the key sweep"
        )
    own = experiment.phantom
    changes = [own, *(changed(own, further) for further in experiment.ensemble)]
    try:
        phantoms = [read_config(changed(config.phantom, each)) for each in changes]
        check_experiment(experiment, config.packages)
    except PulseqZeroError as error:
        raise ConfigError(f"{file}: {error}") from error
    return Project(file.stem, experiment, config, phantoms)


def _with(content: Mapping[str, Any], section: str, **values: Any) -> dict[str, Any]:
    """Replace what is given in a section of a file's content."""
    given = {name: value for name, value in values.items() if value is not None}
    inside = content.get(section, {})
    if not given or not isinstance(inside, Mapping):
        return dict(content)
    return {**content, section: {**inside, **given}}
