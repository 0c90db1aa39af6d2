"""Report a sweep: the numbers of its runs, their table, and its figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from pulseq_zero.experiments import kinds
from pulseq_zero.experiments.baselines import baseline_table
from pulseq_zero.experiments.kinds.kind import SweepResults, setting_label
from pulseq_zero.experiments.layout import FIGURES, ResultFiles
from pulseq_zero.experiments.pictures import pictured
from pulseq_zero.experiments.settings import Experiment, only_sections
from pulseq_zero.experiments.stages import OPTIMIZED, START, of_sequence
from pulseq_zero.experiments.steps.evaluate import measured_in, numbers_of
from pulseq_zero.experiments.sweeps import comparison_results, sweep_results, sweep_table
from pulseq_zero.figures.style import save_in_widths
from pulseq_zero.files.store import load_json, load_table, save_json, save_table
from pulseq_zero.phantom import Phantom

SECTIONS = (
    "sequence", "sequences", "parameters", "image", "reconstruction", "loss", "scan", "figure",
    "sweep", "baselines",
)  # fmt: skip


def run(
    name: str,
    experiment: Experiment,
    runs: Mapping[str, Mapping[str, Any]],
    starts: Mapping[str, str],
    phantoms: Sequence[Path],
    stages: Sequence[str],
    compare: Mapping[str, Mapping[str, Any]],
    compared: Sequence[tuple[str, str]],
    accuracy: float,
    simulator: Mapping[str, Any],
    results: ResultFiles,
) -> None:
    """Report a sweep.

    Parameters
    ----------
    name, experiment
        The sweep.
    runs
        The sections of its runs that `pulseq_zero.experiments.steps.evaluate` uses.
    starts, phantoms
        For each run the run that has its start, and what was imaged.
    stages
        The stages of a run that are reported.
    compare, compared
        The experiments that stand beside it, as their files have them, and their stages.
    accuracy, simulator
        Accuracy of the baselines, and further settings of the `Simulator`.
    results
        The files of all runs, of which ``evaluations``, ``sweep``, ``baselines`` and the figure are
        made.
    """
    numbers = {
        run: numbers_of(
            only_sections(sections),
            stages,
            simulator,
            phantom,
            results.run(run),
            results.run(starts[run]),
        )
        for (run, sections), phantom in zip(runs.items(), phantoms, strict=True)
    }
    save_json(results.evaluations(name), numbers)
    tables = [sweep_results(sweep_table(name, experiment.sweep), numbers)]
    tables += [
        comparison_results(
            list(experiment.sweep), other, content, load_json(results.run(other).evaluation)
        )
        for other, content in compare.items()
    ]
    save_table(results.sweep(name), pd.concat(tables))

    # As it is read, values of a setting that are lists are text
    rows = load_table(results.sweep(name))
    own, others = rows.iloc[: len(runs)], rows.iloc[len(runs) :]
    at = {
        **{row: (run, OPTIMIZED) for row, run in zip(own["run"], runs, strict=True)},
        **{f"{other} {stage}": (other, stage) for other, stage in compared},
    }
    names = list(experiment.sequences_by_name)

    def picture(run: str, stage: str) -> tuple[Tensor, list[dict[str, Any]]]:
        of_run = list(compare[run].get("sequences", {})) or [""] if run in compare else names
        files = [results.run(run).image(of_sequence(stage, name)) for name in of_run]
        return pictured(files, experiment.image.axes)

    loaded = {row: picture(run, stage) for row, (run, stage) in at.items()}
    first = results.run(next(iter(starts.values())))
    begin, at_start = picture(next(iter(starts.values())), START)
    baselines = pd.DataFrame(columns=["baseline", "value"])
    if experiment.baselines:
        baselines = baseline_table(
            experiment,
            Phantom.load(phantoms[0]),
            measured_in(experiment, first),
            accuracy=accuracy,
            simulator=simulator,
        )
    save_table(results.baselines(name), baselines)
    drawn = SweepResults(
        settings={name: setting_label(name, experiment) for name in experiment.sweep},
        runs=own,
        compared=others,
        baselines=baselines,
        images={row: image for row, (image, _) in loaded.items()},
        start=begin,
        accuracy=max(
            each["accuracy"]
            for metadata in (at_start, *(found for _, found in loaded.values()))
            for each in metadata
        ),
    )
    save_in_widths(
        lambda: kinds.of(experiment.figure).draw_sweep(experiment, drawn),
        *(results.figure(name, suffix) for suffix in FIGURES),
    )
