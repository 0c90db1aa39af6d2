"""Put the numbers of all experiments together, beside those of the abstract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pulseq_zero.config import read_yaml
from pulseq_zero.experiments.summary import comparison, list_table, summarize
from pulseq_zero.experiments.validation import validation_table
from pulseq_zero.store import atomic_path, load_json, save_json


def run(
    experiments: Sequence[str],
    evaluations: Sequence[Path],
    figures: Mapping[str, str],
    accuracy: Mapping[str, float],
    validation: Path,
    abstract: Path,
    template: Path,
    summary: Path,
    front_page: Path,
) -> None:
    """Put the numbers of all experiments together.

    Parameters
    ----------
    experiments, evaluations
        Their names and their numbers.
    figures
        How each is drawn.
    accuracy
        The levels of accuracy by their names.
    validation
        The validations of all experiments.
    abstract, template
        The abstract's numbers, and the text of the report's first page with places for tables.
    summary, front_page
        The numbers, and that text with this run's.
    """
    numbers = summarize(dict(zip(experiments, map(load_json, evaluations), strict=True)), figures)
    numbers["accuracy"] = dict(accuracy)
    numbers["validation"] = load_json(validation)
    save_json(summary, numbers)
    text = template.read_text(encoding="utf-8").format(
        table=list_table(comparison(numbers, read_yaml(abstract))),
        validation=list_table(validation_table(numbers["validation"])),
        **accuracy,
    )
    with atomic_path(front_page) as path:
        path.write_text(text, encoding="utf-8")
