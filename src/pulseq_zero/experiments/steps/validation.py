"""Join the validations of all experiments."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pulseq_zero.experiments.validation import validation_table
from pulseq_zero.store import load_json, save_json, save_table


def run(experiments: Sequence[Path], validation: Path, table: Path) -> None:
    """Join validations.

    Parameters
    ----------
    experiments
        Those of the experiments.
    validation, table
        All rows, as JSON and as a table to read.
    """
    rows = [row for file in experiments for row in load_json(file)]
    save_json(validation, rows)
    save_table(table, validation_table(rows))
