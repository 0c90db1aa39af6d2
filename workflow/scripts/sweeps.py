"""Bring the tables of all sweeps into one file."""

import json
from pathlib import Path

from pulseq_zero.logs import logged
from pulseq_zero.store import load_table, save_json


def main(tables: dict[str, Path], sweeps: Path) -> None:
    # pandas writes what is missing as JSON has it
    rows = {name: load_table(table).to_json(orient="records") for name, table in tables.items()}
    save_json(sweeps, {name: json.loads(text) for name, text in rows.items()})


if "snakemake" in globals():
    with logged(snakemake.log[0]):
        main(
            dict(zip(snakemake.params.names, map(Path, snakemake.input.tables), strict=True)),
            Path(snakemake.output.sweeps),
        )
