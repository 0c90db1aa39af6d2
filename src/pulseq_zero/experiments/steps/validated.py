"""Stop where a result does not stand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pulseq_zero.experiments.evaluation import require_scans_agree
from pulseq_zero.experiments.layout import ResultFiles
from pulseq_zero.experiments.validation import require_passed
from pulseq_zero.files.store import load_json


def run(
    experiments: Sequence[str], sweeps: Sequence[str], validation: Path, results: ResultFiles
) -> None:
    """Check the results of all runs.

    Parameters
    ----------
    experiments, sweeps
        Experiments of one run, and of many.
    validation
        The validations of all experiments.
    results
        The files of all runs.

    Raises
    ------
    ValidationError
        If a result does not stand.
    """
    require_passed(load_json(validation))
    require_scans_agree({name: load_json(results.run(name).evaluation) for name in experiments})
    for name in sweeps:
        require_scans_agree(load_json(results.evaluations(name)))
