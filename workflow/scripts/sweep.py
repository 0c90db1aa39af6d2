"""Collect the numbers of all runs of a sweep in one table."""

from pathlib import Path
from typing import Any

import pandas as pd

from pulseq_zero.logs import logged
from pulseq_zero.store import load_json, save_table
from pulseq_zero.sweeps import comparison_results, sweep_results, sweep_table


def main(
    name: str,
    sweep: dict[str, list[Any]],
    compare: dict[str, dict[str, Any]],
    evaluations: list[Path],
    table: Path,
) -> None:
    runs = sweep_table(name, sweep)
    numbers = dict(zip([*runs.index, *compare], map(load_json, evaluations), strict=True))
    parts = [sweep_results(runs, numbers)]
    parts += [
        comparison_results(list(sweep), other, experiment, numbers[other])
        for other, experiment in compare.items()
    ]
    save_table(table, pd.concat(parts))


if "snakemake" in globals():
    with logged(snakemake.log[0]):
        main(
            snakemake.params.name,
            snakemake.params.sweep,
            snakemake.params.compare,
            [Path(file) for file in snakemake.input.evaluations],
            Path(snakemake.output.table),
        )
