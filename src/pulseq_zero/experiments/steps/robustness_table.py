"""Bring the evaluations on other phantoms of all experiments into one table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from pulseq_zero.store import load_table, save_json, save_table


def run(tables: Sequence[Path], table: Path, numbers: Path) -> None:
    """Join tables.

    Parameters
    ----------
    tables
        Those of the experiments.
    table, numbers
        All rows, as a table and as JSON.
    """
    rows = pd.concat([load_table(file) for file in tables])
    save_table(table, rows)
    # pandas writes what is missing as JSON has it
    save_json(numbers, json.loads(rows.to_json(orient="records")))
