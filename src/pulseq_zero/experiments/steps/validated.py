"""Stop where a result does not stand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pulseq_zero.experiments.evaluation import require_scans_agree
from pulseq_zero.experiments.validation import require_passed
from pulseq_zero.store import load_json


def run(runs: Sequence[str], validation: Path, evaluations: Sequence[Path]) -> None:
    """Check the results of all runs.

    Parameters
    ----------
    runs, evaluations
        Names of the runs, and their numbers.
    validation
        The validations of all experiments.

    Raises
    ------
    ValidationError
        If a result does not stand.
    """
    require_passed(load_json(validation))
    require_scans_agree(dict(zip(runs, map(load_json, evaluations), strict=True)))
