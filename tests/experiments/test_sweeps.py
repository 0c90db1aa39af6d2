"""Sweeps: from lists of values to runs, and from runs to a table."""

from __future__ import annotations

import pandas as pd
import pytest

from pulseq_zero.experiments.experiment import load_loss_maker, sequence_setup
from pulseq_zero.experiments.kinds.flip_angles import front_figure
from pulseq_zero.experiments.kinds.inversion_time import inversion_time_sweep_figure
from pulseq_zero.experiments.kinds.kind import setting_label
from pulseq_zero.experiments.section import read
from pulseq_zero.experiments.settings import Experiment
from pulseq_zero.experiments.sweeps import (
    comparison_results,
    sweep_results,
    sweep_runs,
    sweep_table,
)
from pulseq_zero.figures.style import save_figure
from pulseq_zero.figures.sweep import sweep_figure
from pulseq_zero.files.yaml import read_yaml
from support.refusal import check


@pytest.fixture
def experiment(root):
    return read_yaml(root / "config/experiments/flair_ti.yaml")


def refused(root, experiment, sweep, message):
    """Check that a sweep is refused, by its schema, by itself, or by what its runs become."""

    def read_runs():
        content = {**experiment, "sweep": sweep}
        read(Experiment, content, "my.yaml")
        for name, settings in sweep_runs(content, sweep_table("my", sweep)).items():
            run = read(Experiment, settings, f"my.yaml, run {name}")
            sequence_setup(run.sequence, run.parameters, root)
            load_loss_maker(run.loss, root)

    check(read_runs, message)


def test_all_combinations_are_run_under_names_that_tell_them_apart():
    table = sweep_table("my", {"loss.settings.share": [0.5, 1e-7], "image.matrix": [[32, 32]]})
    assert list(table.index) == ["my/share=0.5,matrix=32x32", "my/share=1e-07,matrix=32x32"]
    assert table["image.matrix"].tolist() == [[32, 32], [32, 32]]


def test_a_run_keeps_its_name_when_others_come_and_go():
    few, many = ({"phantom.tissues.csf.T1": values} for values in ([4.3], [3.5, 4.3]))
    assert set(sweep_table("my", few).index) < set(sweep_table("my", many).index)


def test_settings_of_equal_last_names_are_told_apart():
    table = sweep_table("my", {"phantom.tissues.csf.T1": [4.0], "phantom.tissues.gm.T1": [1.5]})
    assert list(table.index) == ["my/csf.T1=4.0,gm.T1=1.5"]


def test_a_name_is_a_file_name():
    table = sweep_table("my", {"phantom.file": ["../a b.npz", "$(rm)"], "phantom.scalp": [True]})
    assert list(table.index) == ["my/file=.._a_b.npz,scalp=true", "my/file=_rm_,scalp=true"]


def test_the_runs_are_experiments_with_the_values(root, experiment):
    experiment["sweep"] = {
        "loss.settings.share": [0.5],
        "phantom.tissues.csf.T1": [4.0, 4.5],
        "sequence.arguments.dwell": [5e-6],
    }
    runs = sweep_runs(experiment, sweep_table("my", experiment["sweep"]))
    run = runs["my/share=0.5,T1=4.5,dwell=5e-06"]
    run = read(Experiment, run, "run")
    assert run.loss.settings == {"dark": "csf", "bright": "brain", "share": 0.5}
    assert run.phantom == {"tissues": {"csf": {"T1": 4.5}}}
    setup = sequence_setup(run.sequence, run.parameters, root)
    assert setup.arguments == {"dwell": 5e-6}
    assert not run.sweep
    # One run must not change another
    assert runs["my/share=0.5,T1=4.0,dwell=5e-06"]["phantom"]["tissues"]["csf"]["T1"] == 4.0


DOTTED = (
    "must be the dotted name of a setting inside sequence, sequences, parameters, image, "
    "reconstruction, modules, loss, optimizer, scan, phantom or phantoms, such as "
    "loss.settings.share"
)


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        ({}, "my.yaml: sweep: {} should be non-empty"),
        ([1], "my.yaml: sweep: [1] is not of type 'object'"),
        ({"optimizer.seed": []}, "my.yaml: sweep.optimizer.seed: [] should be non-empty"),
        ({"optimizer.seed": 1}, "my.yaml: sweep.optimizer.seed: 1 is not of type 'array'"),
        (
            {"optimizer.seed": [1, 1]},
            "my.yaml: sweep.optimizer.seed: [1, 1] has non-unique elements",
        ),
        ({"TI": [1.0]}, f"my.yaml: sweep: 'TI' {DOTTED}"),
        ({"title.de": ["a"]}, f"my.yaml: sweep: 'title.de' {DOTTED}"),
        ({"loss..share": [1]}, f"my.yaml: sweep: 'loss..share' {DOTTED}"),
        (
            {"phantom.file": ["a b", "a/b"]},
            "sweep: two runs would be called 'file=a_b'; change one of the values",
        ),
        (
            {"parameters.TR.start": [1.0]},
            "sweep: parameters.TR.start is no parameter of the experiment, only TI",
        ),
        (
            {"parameters.TI.start.value": [1.0]},
            "sweep: parameters.TI.start.value: parameters.TI.start is a value and has no settings",
        ),
        (
            {"image.matrx": [[32, 32]]},
            "my.yaml, run my/matrx=32x32: image: unknown key 'matrx'; the keys are fov, matrix",
        ),
        (
            {"optimizer.iterations": [10, 0]},
            "my.yaml, run my/iterations=0: optimizer.iterations: 0 is less than the minimum of 1",
        ),
        (
            {"sequence.arguments.TR": [2.0]},
            "epi_ir has no argument 'TR'; its arguments are TI, flip_angle, fov, n_read, n_phase, "
            "slice_thickness, dwell",
        ),
        (
            {"loss.settings.shar": [0.5]},
            "loss 'pulseq_zero.optimization.losses:contrast': got an unexpected keyword argument "
            "'shar'",
        ),
    ],
)
def test_a_wrong_sweep_is_refused_in_one_sentence(root, experiment, sweep, message):
    refused(root, experiment, sweep, message)


def evaluation(found, sar=0.5):
    return {
        "iterations": 8,
        "seconds_per_iteration": 0.1,
        "loss": {
            "start": 2.0,
            "best": 1.0,
            "last": 1.1,
            "best_verified": 1.05,
            "fell_in_last_quarter": 0.1,
        },
        "parameters": {"TI": {"best": found}, "flips": {"best": [0.0, 1.0]}},
        "stages": {
            stage: {
                "iteration": iteration,
                "nrmse_to_start": 0.02 * iteration,
                "ssim_to_start": 1 - 0.01 * iteration,
                "point_spread_width_m": 4e-3,
                "relative_sar": sar,
            }
            for stage, iteration in {"start": 0, "optimized": 7, "iteration_3": 3}.items()
        },
        "scan": {"parameter": "TI", "optimum": 3.0},
        "closed_forms": {"analytic_null_s": 2.9},
    }


SWEEP = {"phantom.tissues.csf.T1": [4.0, 4.5]}


@pytest.fixture
def results():
    table = sweep_table("my", SWEEP)
    numbers = {"my/T1=4.0": evaluation(2.9, 0.3), "my/T1=4.5": evaluation(3.1, 0.6)}
    return sweep_results(table, numbers)


def test_the_results_have_a_row_a_run(results):
    assert results["run"].tolist() == ["T1=4.0", "T1=4.5"]
    assert results["phantom.tissues.csf.T1"].tolist() == [4.0, 4.5]
    assert results["TI"].tolist() == [2.9, 3.1]
    assert results["loss_verified"].tolist() == [1.05, 1.05]
    assert results["scan_optimum"].tolist() == [3.0, 3.0]
    # A table has no place for 85 flip angles
    assert "flips" not in results


def test_stages_of_another_experiment_stand_beside():
    other = {"phantom": {"tissues": {"csf": {"T1": 3.9}}}}
    rows = comparison_results(list(SWEEP), "other", other, evaluation(3.0))
    assert rows["stage"].tolist() == ["optimized", "iteration_3"]
    assert rows["iteration"].tolist() == [7, 3]
    assert rows["phantom.tissues.csf.T1"].tolist() == [3.9, 3.9]
    assert comparison_results(["loss.x"], "other", {}, evaluation(3.0))["loss.x"].isna().all()


def test_the_figures_draw(results, tmp_path, small_brain):
    image = small_brain.masks["brain"]
    compared = comparison_results([], "other", {}, evaluation(3.0))
    names = [*results["run"], "other optimized", "other iteration_3"]
    numbers = {"relative_sar_measured": 0.5, "nrmse_brain": 0.03}
    regional, compared = results.assign(**numbers), compared.assign(**numbers)
    baselines = regional.assign(baseline="constant", value=[1.0, 2.0]).drop(
        columns="point_spread_width_m"
    )
    labels = {"phantom.tissues.csf.T1": "T1 of CSF [s]"}
    figures = {
        "any": sweep_figure(results, labels, {"TI": "TI [s]"}),
        "text": sweep_figure(results.assign(run=["a", "b"]), {"run": "run"}, {}),
        "several": sweep_figure(results, {**labels, "iteration": "iteration"}, {"TI": "TI [s]"}),
        "times": inversion_time_sweep_figure(results, labels, "csf"),
        "front": front_figure(
            regional, compared, baselines, dict.fromkeys(names, image), image, 1e-5
        ),
        "alone": front_figure(
            results,
            pd.DataFrame(columns=results.columns),
            pd.DataFrame(),
            dict.fromkeys(names, image),
            image,
            1e-5,
        ),
    }
    for name, figure in figures.items():
        save_figure(figure, tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 5_000


@pytest.mark.parametrize(
    ("setting", "label"),
    [
        ("phantom.tissues.csf.T1", "T1 of CSF [s]"),
        ("phantom.tissues.gm.D", "D of gm [1e-3 mm²/s]"),
        ("phantom.scale.B1", "B1 [factor]"),
        ("phantom.slice_position", "slice position [m]"),
        ("parameters.TI.begin", "begin of TI [s]"),
        ("loss.settings.sar_weight", "sar weight"),
    ],
)
def test_a_setting_is_labelled_with_its_unit(setting, label):
    experiment = Experiment(
        title="any",
        sequence={"function": "a.py:a"},
        parameters={"TI": {"unit": "s"}},
        loss={"function": "a.py:b"},
        optimizer={"iterations": 1},
    )
    assert setting_label(setting, experiment) == label


def test_the_numbers_of_several_sequences_stand_beside_one_another():
    stages = {
        f"{point}/{name}": {"iteration": iteration, "nrmse_to_start": error}
        for point, iteration, errors in (("start", 0, (0.0, 0.0)), ("optimized", 3, (0.1, 0.2)))
        for name, error in zip(("early", "late"), errors, strict=True)
    }
    evaluation = {
        "iterations": 4,
        "seconds_per_iteration": 1.0,
        "loss": {"start": 2.0, "best": 1.0, "best_verified": None, "fell_in_last_quarter": 0.0},
        "parameters": {"TI": {"best": 0.5}},
        "stages": stages,
    }
    table = comparison_results([], "both", {}, evaluation)
    assert table["stage"].tolist() == ["optimized"]
    assert table["iteration"].tolist() == [3]
    assert table["nrmse_to_start_early"].tolist() == [0.1]
    assert table["nrmse_to_start_late"].tolist() == [0.2]
    assert table["TI"].tolist() == [0.5]
