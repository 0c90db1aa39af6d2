"""Sweeps: an experiment over lists of values becomes a table of runs, and their results a table."""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from pulseq_zero.errors import ConfigError, shown
from pulseq_zero.experiments.layout import LONGEST_NAME
from pulseq_zero.experiments.stages import OPTIMIZED, START, point_of, sequence_of
from pulseq_zero.files.yaml import Config

# Sections that a sweep has and its runs have not
_OF_SWEEPS = ("sweep", "compare", "baselines")


def sweep_table(name: str, sweep: Mapping[str, list[Any]]) -> pd.DataFrame:
    """List the runs of a sweep: all combinations of the values.

    Parameters
    ----------
    name
        Name of the experiment.
    sweep
        For each setting, by its dotted name such as ``loss.settings.sar_weight``, its values.

    Returns
    -------
    pandas.DataFrame
        A row a run, a column a setting. The index ``run`` holds the names of the runs,
        ``name/setting=value,...``. They depend on the values alone: a run keeps its name, and
        thus its results, when others are added or taken away.

    Raises
    ------
    ConfigError
        If two runs would have the same name.
    """
    short = _short_names(list(sweep))
    rows = list(itertools.product(*sweep.values()))
    labels = [
        ",".join(f"{key}={_text(value)}" for key, value in zip(short, row, strict=True))
        for row in rows
    ]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise ConfigError(f"sweep: two runs would be called {twice[0]!r}; change one of the values")
    longest = max(labels, key=len)
    if len(f"{name}/{longest}") > LONGEST_NAME:
        raise ConfigError(
            f"sweep: a run would be called {shown(longest)}, which is too long for the names of "
            "its results; sweep over what has shorter values, such as the number of a set of them"
        )
    index = pd.Index([f"{name}/{label}" for label in labels], name="run")
    return pd.DataFrame(rows, index=index, columns=list(sweep), dtype=object)


def sweep_runs(experiment: Config, table: pd.DataFrame) -> dict[str, Config]:
    """Write out the experiments that the runs of a sweep are, by the names of the runs.

    Parameters
    ----------
    experiment
        Content of the experiment's file.
    table
        The runs, of `sweep_table`.

    Raises
    ------
    ConfigError
        If a setting cannot be set.
    """
    plain = {key: value for key, value in experiment.items() if key not in _OF_SWEEPS}
    runs = {}
    for run, row in table.iterrows():
        try:
            content = with_settings(plain, row.to_dict())
        except ConfigError as error:
            raise ConfigError(f"sweep: {error}") from error
        content["title"] = f"{experiment['title']}: {_label(run)}"
        runs[str(run)] = content
    return runs


def with_settings(experiment: Config, settings: Mapping[Hashable, Any]) -> Config:
    """Return an experiment with other values of some settings.

    Parameters
    ----------
    experiment
        Content of the experiment's file.
    settings
        Values by the dotted names of the settings.

    Raises
    ------
    ConfigError
        If a setting cannot be set.
    """
    content = copy.deepcopy(experiment)
    for setting, value in settings.items():
        _set(content, str(setting), value)
    return content


def sweep_results(
    table: pd.DataFrame, evaluations: Mapping[str, Mapping[str, Any]]
) -> pd.DataFrame:
    """Collect the numbers of all runs of a sweep.

    Parameters
    ----------
    table
        The runs, of `sweep_table`.
    evaluations
        For each run what `pulseq_zero.experiments.evaluation.evaluate` gave.

    Returns
    -------
    pandas.DataFrame
        A row a run: ``run`` without the experiment's name, ``stage``, the settings by their
        dotted names, the loss at the start and at the best iteration, by which part of it it fell
        in the last quarter of the iterations, the scalar parameters there, and what there is of
        image errors, relative SAR, width of the point-spread function, optimum of the scan and
        closed forms.
    """
    rows = [
        {"run": _label(run), **settings, **stage_numbers(evaluations[str(run)], OPTIMIZED)}
        for run, settings in zip(table.index, table.to_dict("records"), strict=True)
    ]
    return pd.DataFrame(rows)


def comparison_results(
    sweep: list[str], name: str, experiment: Mapping[str, Any], evaluation: Mapping[str, Any]
) -> pd.DataFrame:
    """Give every reported stage of another experiment the row that a run of a sweep has.

    Parameters
    ----------
    sweep
        The swept settings by their dotted names.
    name
        Name of the other experiment.
    experiment
        Content of its file.
    evaluation
        Its numbers.
    """
    settings = {setting: _get(experiment, setting) for setting in sweep}
    points = dict.fromkeys(map(point_of, evaluation["stages"]))
    return pd.DataFrame(
        [
            {"run": name, **settings, **stage_numbers(evaluation, point)}
            for point in points
            if point != START
        ]
    )


def stage_numbers(evaluation: Mapping[str, Any], point: str) -> dict[str, Any]:
    """Choose the numbers of one stage of an experiment that can stand in a row of a table.

    Of several sequences, those of images end in the names of these.
    """
    stages = {
        sequence_of(stage): numbers
        for stage, numbers in evaluation["stages"].items()
        if point_of(stage) == point
    }
    numbers = {
        "stage": point,
        "iteration": next(iter(stages.values()))["iteration"],
        "iterations": evaluation["iterations"],
        "seconds_per_iteration": evaluation["seconds_per_iteration"],
        "loss_start": evaluation["loss"]["start"],
        **{
            f"{key}_{name}" if name else key: value
            for name, of_it in stages.items()
            for key, value in of_it.items()
            if key != "iteration"
        },
    }
    if point == OPTIMIZED:
        numbers["loss"] = evaluation["loss"]["best"]
        numbers["loss_verified"] = evaluation["loss"]["best_verified"]
        numbers["fell_in_last_quarter"] = evaluation["loss"]["fell_in_last_quarter"]
        for name, values in evaluation["parameters"].items():
            if isinstance(values["best"], float):
                numbers[f"parameters.{name}" if name in numbers else name] = values["best"]
    if "scan" in evaluation:
        numbers["scan_optimum"] = evaluation["scan"]["optimum"]
    return numbers | evaluation.get("closed_forms", {})


def _set(content: Config, setting: str, value: Any) -> None:
    *path, last = setting.split(".")
    if path[0] == "parameters" and [*path, last][1] not in content["parameters"]:
        known = ", ".join(content["parameters"])
        raise ConfigError(f"{setting} is no parameter of the experiment, only {known}")
    section = content
    for depth, key in enumerate(path, start=1):
        section = section.setdefault(key, {})
        if not isinstance(section, dict):
            whole = ".".join(path[:depth])
            raise ConfigError(f"{setting}: {whole} is a value and has no settings")
    section[last] = copy.deepcopy(value)


def _get(content: Any, setting: str) -> Any:
    for key in setting.split("."):
        if not isinstance(content, Mapping) or key not in content:
            return None
        content = content[key]
    return content


def _label(run: Hashable) -> str:
    return str(run).partition("/")[2]


def _short_names(settings: list[str]) -> list[str]:
    """Shorten dotted names to as few of their last parts as tell them apart."""
    parts = [setting.split(".") for setting in settings]
    for length in range(1, max(map(len, parts)) + 1):
        short = [".".join(names[-length:]) for names in parts]
        if len(set(short)) == len(short):
            return short
    return settings


def _text(value: Any) -> str:
    """Write a value as a file name can hold it."""
    if isinstance(value, list):
        return "x".join(map(_text, value))
    text = str(value).lower() if isinstance(value, bool | None) else str(value)
    return re.sub(r"[^A-Za-z0-9_.+-]+", "_", text)
