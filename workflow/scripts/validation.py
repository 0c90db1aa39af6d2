"""Join the validations of all experiments."""

from pathlib import Path

from pulseq_zero.logs import logged
from pulseq_zero.store import load_json, save_json, save_table
from pulseq_zero.validation import validation_table


def main(experiments: list[Path], validation: Path, table: Path) -> None:
    rows = [row for file in experiments for row in load_json(file)]
    save_json(validation, rows)
    save_table(table, validation_table(rows))


if "snakemake" in globals():
    with logged(snakemake.log[0]):
        main(
            [Path(file) for file in snakemake.input.experiments],
            Path(snakemake.output.validation),
            Path(snakemake.output.table),
        )
