"""Bring the evaluations on other phantoms of all experiments into one table."""

import json
from pathlib import Path

import pandas as pd

from pulseq_zero.logs import logged
from pulseq_zero.store import load_table, save_json, save_table


def main(tables: list[Path], table: Path, as_json: Path) -> None:
    rows = pd.concat([load_table(file) for file in tables])
    save_table(table, rows)
    # pandas writes what is missing as JSON has it
    save_json(as_json, json.loads(rows.to_json(orient="records")))


if "snakemake" in globals():
    with logged(snakemake.log[0]):
        main(
            [Path(file) for file in snakemake.input.tables],
            Path(snakemake.output.table),
            Path(snakemake.output.json),
        )
