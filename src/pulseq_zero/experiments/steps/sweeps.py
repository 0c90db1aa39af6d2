"""Bring the tables of all sweeps into one file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pulseq_zero.store import load_table, save_json


def run(names: Sequence[str], tables: Sequence[Path], sweeps: Path) -> None:
    """Join tables.

    Parameters
    ----------
    names, tables
        The sweeps and their tables.
    sweeps
        The rows of each, as JSON.
    """
    # pandas writes what is missing as JSON has it
    rows = [json.loads(load_table(table).to_json(orient="records")) for table in tables]
    save_json(sweeps, dict(zip(names, rows, strict=True)))
