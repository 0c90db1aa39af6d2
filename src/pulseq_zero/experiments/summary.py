"""The numbers of a whole run, and the table that sets them beside the abstract's."""

from __future__ import annotations

import math
import platform
import re
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import pandas as pd

from pulseq_zero.experiments import kinds
from pulseq_zero.experiments.stages import OPTIMIZED, START

# A backslash makes any of these plain in reStructuredText, and parts the braces of Jinja
_SPECIAL = re.compile(r"[^\w\s]|_")

PACKAGES = ("pulseq-zero", "pypulseq", "MRzeroCore", "torch", "numpy", "snakemake")


def summarize(
    evaluations: Mapping[str, Mapping[str, Any]], figures: Mapping[str, str]
) -> dict[str, Any]:
    """Bring the evaluations of all experiments into one summary.

    Parameters
    ----------
    evaluations
        For each experiment what `pulseq_zero.experiments.evaluation.evaluate` and the exports gave.
    figures
        For each experiment its kind; the first of a kind that repeats an experiment of the
        abstract is that part of the summary.
    """
    summary: dict[str, Any] = {"export": {}}
    for name, numbers in evaluations.items():
        kind = kinds.of(figures[name])
        part = kind.abstract
        if part is None or part in summary:
            continue
        summary[part] = kind.summary(numbers)
        export = numbers["export"]
        summary["export"] |= {
            f"{part}_start_identical": _identical(export[START]),
            f"{part}_optimized_identical": _identical(export[OPTIMIZED]),
            f"{part}_optimized_nrmse": export["imported_nrmse"],
        }
    summary["experiments"] = dict(evaluations)
    summary["versions"] = {"python": platform.python_version()}
    summary["versions"] |= {package: version(package) for package in PACKAGES}
    return summary


def _identical(export: Mapping[str, Any]) -> bool:
    return bool(export["identical_to_plain_pypulseq"] and export["identical_to_traced"])


def comparison(summary: Mapping[str, Any], abstract: Mapping[str, Any]) -> pd.DataFrame:
    """Table of the abstract's numbers, ours, and why they differ.

    Parameters
    ----------
    summary
        What `summarize` returned.
    abstract
        For each part of the summary a list of rows with ``quantity``, ``abstract``, ``ours``
        (a format string over that part) and ``reason``.
    """
    return pd.DataFrame(
        [
            {
                "Quantity": f"{part.upper()}: {row['quantity']}",
                "Abstract": row["abstract"],
                "This run": row["ours"].format(**summary[part]),
                "Why they differ": row["reason"],
            }
            for part, part_rows in abstract.items()
            if part in summary
            for row in part_rows
            if _known(row["ours"], summary[part])
        ]
    )


def validation_table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Return the rows as a table to read."""

    def percent(value: float) -> str:
        return "" if math.isnan(value) else f"{100 * value:.2g} %"

    return pd.DataFrame(
        [
            {
                "Experiment": row["experiment"],
                "Stage": row["stage"],
                "Result": "passed" if row["passed"] else "FAILED",
                "PDG and judge, same physics": percent(row["pdg_vs_bloch_nrmse"]),
                "Scatter of the judge": percent(row["bloch_scatter"]),
                "PDG and judge, full physics": percent(row["pdg_vs_bloch_full_nrmse"]),
                "The same, pulses played": percent(row["pdg_played_vs_bloch_full_nrmse"]),
                "Scatter of the judge, full physics": percent(row["bloch_full_scatter"]),
                "PDG, loose and tight": percent(row["pdg_loose_vs_tight_nrmse"]),
                "Imported and traced": percent(row["import_vs_trace_nrmse"]),
                "Loss in the optimizer": f"{row['loss_optimizer']:.4g}",
                "Loss, tight": f"{row['loss_tight']:.4g}",
                "Loss under the judge": f"{row['loss_bloch']:.4g}",
                "Loss, full physics": f"{row['loss_bloch_full']:.4g}",
                "Against the start": percent(row["optimized_vs_start_nrmse"]),
                "The same, full physics": percent(row["optimized_vs_start_full_nrmse"]),
                "Brain against the start": percent(
                    row.get("optimized_vs_start_nrmse_brain", math.nan)
                ),
                "Brain, full physics": percent(
                    row.get("optimized_vs_start_full_nrmse_brain", math.nan)
                ),
            }
            for row in rows
        ]
    )


def out_of_sample_table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Table to be read of what optimized sequences are worth on other phantoms, one a row.

    Parameters
    ----------
    rows
        What `pulseq_zero.experiments.robustness.robustness_table` has, with ``experiment``.
    """
    table: dict[str, dict[str, str]] = {}
    for row in rows:
        cells = table.setdefault(row["phantom"], {"Phantom": row["phantom"]})
        gain = f"{row['noisy_gain']:.4g} ± {row['noisy_gain_sd']:.1g}"
        cells[f"{row['experiment']}: gain in noise"] = gain
        cells[f"{row['experiment']}: NRMSE"] = f"{row['nrmse']:.3f}"
    return pd.DataFrame(list(table.values()))


def _known(template: str, values: Mapping[str, Any]) -> bool:
    """Tell whether a run has all that a row shows; a short run lacks late iterations."""
    try:
        template.format(**values)
    except KeyError:
        return False
    return True


def list_table(table: pd.DataFrame) -> str:
    """Write a table of plain text as reStructuredText has it."""
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in [list(table.columns), *table.to_numpy().tolist()]:
        lines += [f"   {' ' if index else '*'} - {as_text(cell)}" for index, cell in enumerate(row)]
    return "\n".join(lines)


def as_text(value: object) -> str:
    """Write plain text so that neither reStructuredText nor Jinja takes it for more.

    Names and settings come from files that others may have written: markup in them must not
    include a file, load an image or run a script where the report is read.
    """
    return _SPECIAL.sub(r"\\\g<0>", " ".join(str(value).split()))
