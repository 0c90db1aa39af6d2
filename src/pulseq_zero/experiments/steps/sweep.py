"""Collect the numbers of all runs of a sweep in one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pulseq_zero.experiments.sweeps import comparison_results, sweep_results, sweep_table
from pulseq_zero.store import load_json, save_table


def run(
    name: str,
    sweep: Mapping[str, list[Any]],
    compare: Mapping[str, Mapping[str, Any]],
    evaluations: Sequence[Path],
    table: Path,
) -> None:
    """Collect the numbers of all runs.

    Parameters
    ----------
    name, sweep
        The sweep, and its values.
    compare
        The experiments that stand beside it, as their files have them.
    evaluations
        The numbers of the runs, then of those experiments.
    table
        A row a run, and a row a stage of the others.
    """
    runs = sweep_table(name, sweep)
    numbers = dict(zip([*runs.index, *compare], map(load_json, evaluations), strict=True))
    parts = [sweep_results(runs, numbers)]
    parts += [
        comparison_results(list(sweep), other, experiment, numbers[other])
        for other, experiment in compare.items()
    ]
    save_table(table, pd.concat(parts))
