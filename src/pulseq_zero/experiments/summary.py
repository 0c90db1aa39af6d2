"""The numbers of a whole run, and the table that sets them beside the abstract's."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import pandas as pd

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
        For each experiment how it is drawn: the first inversion time experiment is the
        summary's ``flair``, the first flip angle experiment its ``tse``.
    """
    summary: dict[str, Any] = {"export": {}}
    for name, numbers in evaluations.items():
        kind = {"inversion_time": "flair", "flip_angles": "tse"}.get(figures[name])
        if kind is None or kind in summary:
            continue
        summary[kind] = _flair(numbers) if kind == "flair" else _tse(numbers)
        export = numbers["export"]
        summary["export"] |= {
            f"{kind}_start_identical": _identical(export["start"]),
            f"{kind}_optimized_identical": _identical(export["optimized"]),
            f"{kind}_optimized_nrmse": export["imported_nrmse"],
        }
    summary["experiments"] = dict(evaluations)
    summary["versions"] = {"python": platform.python_version()}
    summary["versions"] |= {package: version(package) for package in PACKAGES}
    return summary


def _identical(export: Mapping[str, Any]) -> bool:
    return bool(export["identical_to_plain_pypulseq"] and export["identical_to_traced"])


def _flair(numbers: Mapping[str, Any]) -> dict[str, Any]:
    inversion_time = numbers["parameters"]["TI"]
    return {
        "ti_start_s": inversion_time["start"],
        "ti_final_s": inversion_time["last"],
        "ti_best_s": inversion_time["best"],
        "ti_scan_optimum_s": numbers["scan"]["optimum"],
        "ti_analytic_null_s": numbers["analytic_null_s"],
        "iterations": numbers["iterations"],
        "seconds_per_iteration": numbers["seconds_per_iteration"],
        "loss_start": numbers["loss"]["start"],
        "loss_final": numbers["loss"]["last"],
    }


def _tse(numbers: Mapping[str, Any]) -> dict[str, Any]:
    stages = numbers["stages"]
    best = stages["optimized"]
    summary = {
        "iterations": numbers["iterations"],
        "best_iteration": numbers["best_iteration"],
        "sar_ratio_best": best["relative_sar"],
        "nrmse_best": numbers["nrmse_to_start_in_optimization"],
        "nrmse_best_tight": best["nrmse_to_start"],
        "ssim_best": best["ssim_to_start"],
        "seconds_per_iteration": numbers["seconds_per_iteration"],
    }
    for stage in stages.values():
        at = f"at_{stage['iteration']}"
        if stage is not best and stage["iteration"] > 0:
            summary[f"sar_ratio_{at}"] = stage["relative_sar"]
            summary[f"nrmse_{at}"] = stage["nrmse_to_start"]
            summary[f"ssim_{at}"] = stage["ssim_to_start"]
    return summary


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


def _known(template: str, values: Mapping[str, Any]) -> bool:
    """Tell whether a run has all that a row shows; a short run lacks late iterations."""
    try:
        template.format(**values)
    except KeyError:
        return False
    return True


def list_table(table: pd.DataFrame) -> str:
    """Write a table as reStructuredText has it."""
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in [list(table.columns), *table.to_numpy().tolist()]:
        lines += [f"   {' ' if index else '*'} - {cell}" for index, cell in enumerate(row)]
    return "\n".join(lines)
