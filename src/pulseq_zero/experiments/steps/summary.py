"""Put the numbers of all experiments together: tables, and the report's first page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pulseq_zero.experiments.layout import ResultFiles
from pulseq_zero.experiments.settings import NoiseSettings
from pulseq_zero.experiments.summary import (
    as_text,
    comparison,
    list_table,
    out_of_sample_table,
    summarize,
    validation_table,
)
from pulseq_zero.files.store import atomic_path, load_json, load_table, save_json, save_table
from pulseq_zero.files.yaml import read_yaml


def run(
    figures: Mapping[str, str],
    sweeps: Sequence[str],
    is_robust: bool,
    noise: NoiseSettings,
    accuracy: Mapping[str, float],
    abstract: Path,
    template: Path,
    out_of_sample: Path,
    results: ResultFiles,
) -> None:
    """Put the numbers of all experiments together.

    Parameters
    ----------
    figures
        Of each experiment of one run the kind.
    sweeps
        The sweeps.
    is_robust
        Whether the experiments were evaluated on other phantoms.
    noise
        Receiver noise that they were evaluated with there.
    accuracy
        The levels of accuracy by their names.
    abstract, template, out_of_sample
        The abstract's numbers, the text of the report's first page with places for tables, and
        that of its part on other phantoms.
    results
        The files of all runs, of which ``numbers``, ``table`` and the first page are made.
    """
    files = {name: results.run(name) for name in figures}
    validation = [row for each in files.values() for row in load_json(each.validation)]
    save_json(results.numbers("validation"), validation)
    save_table(results.table("validation"), validation_table(validation))
    robustness: list[dict[str, Any]] = []
    if is_robust:
        rows = pd.concat([load_table(each.robustness) for each in files.values()])
        robustness = _records(rows)
        save_table(results.table("robustness"), rows)
        save_json(results.numbers("robustness"), robustness)
    if sweeps:
        tables = {name: _records(load_table(results.sweep(name))) for name in sweeps}
        save_json(results.numbers("sweep"), tables)

    evaluations = {name: load_json(each.evaluation) for name, each in files.items()}
    numbers = summarize(evaluations, figures)
    numbers |= {"accuracy": dict(accuracy), "validation": validation}
    elsewhere = ""
    if is_robust:
        numbers |= {"noise": noise.model_dump(), "robustness": robustness}
        elsewhere = out_of_sample.read_text(encoding="utf-8").format(
            table=list_table(out_of_sample_table(robustness)),
            **{**noise.model_dump(), "region": as_text(noise.region)},
        )
    save_json(results.numbers("summary"), numbers)
    text = template.read_text(encoding="utf-8").format(
        table=list_table(comparison(numbers, read_yaml(abstract))),
        validation=list_table(validation_table(validation)),
        out_of_sample=elsewhere,
        **accuracy,
    )
    with atomic_path(results.front_page) as path:
        path.write_text(text, encoding="utf-8")


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of a table; pandas writes what is missing as JSON has it."""
    rows: list[dict[str, Any]] = json.loads(table.to_json(orient="records"))
    return rows
