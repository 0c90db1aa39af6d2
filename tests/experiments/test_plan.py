"""The runs of a config: which there are, what they share, and where they lie."""

from __future__ import annotations

import copy

import pytest
import yaml

from pulseq_zero.errors import ConfigError
from pulseq_zero.experiments.layout import ResultFiles
from pulseq_zero.experiments.plan import _moves_the_start, check_functions, read_plan

CONFIG = {
    "experiments": ["one", "other", "swept", "over_T1"],
    "phantom": {"source": "icbm152", "matrix": 32},
    "other_phantoms": {"weak": {"scale": {"B1": 0.8}}},
    "validation": {"tolerance": 0.1},
}


@pytest.fixture
def folder(root, tmp_path, monkeypatch):
    """Write experiments that differ in what their names say."""
    monkeypatch.chdir(root)
    one = yaml.safe_load((root / "config/experiments/flair_ti.yaml").read_text())
    other = copy.deepcopy(one)
    other["loss"]["settings"]["share"] = 0.5
    other |= {"validation": {"largest": 64}, "report_iterations": [3]}
    other["ensemble"] = [{"scale": {"B1": 0.8}}]
    swept = {**one, "sweep": {"loss.settings.share": [0.5, 0.6]}, "compare": ["other"]}
    over_T1 = {**one, "sweep": {"phantom.tissues.csf.T1": [4.0, 4.5]}}
    for name, content in zip(CONFIG["experiments"], (one, other, swept, over_T1), strict=True):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content))
    return tmp_path


def test_the_runs_of_a_plan(folder):
    plan = read_plan(CONFIG, folder)
    assert list(plan.experiments) == ["one", "other"]
    assert plan.runs_of("swept") == ["swept/share=0.5", "swept/share=0.6"]
    assert plan.stages("other") == ["start", "optimized", "iteration_3"]
    assert plan.compared("swept") == [("other", "optimized"), ("other", "iteration_3")]
    check_functions(plan)


def test_runs_share_phantoms_and_starts_where_nothing_differs(folder):
    plan = read_plan(CONFIG, folder)
    assert plan.phantom_of("one") == plan.phantom_of("swept/share=0.5") == "phantom"
    hot, cold = (plan.phantom_of(run) for run in plan.runs_of("over_T1"))
    assert len({hot, cold, "phantom"}) == 3
    assert plan.phantom_settings(hot)["tissues"] == {"csf": {"T1": 4.0}}
    assert plan.phantom_settings(plan.ensemble_of("other")[0])["scale"] == {"B1": 0.8}
    assert [plan.start_of(run) for run in plan.runs_of("swept")] == ["one", "one"]
    assert [plan.start_of(run) for run in plan.runs_of("over_T1")] == plan.runs_of("over_T1")
    # The judge of the other has another limit
    assert [plan.start_of(run) for run in plan.experiments] == ["one", "other"]


def test_runs_of_a_sweep_share_a_start_that_no_experiment_has(folder):
    plan = read_plan({**CONFIG, "experiments": ["swept", "other"]}, unlike_others(folder))
    assert [plan.start_of(run) for run in plan.runs_of("swept")] == ["swept", "swept"]


def unlike_others(folder):
    content = yaml.safe_load((folder / "swept.yaml").read_text())
    content["image"] = {"fov": [0.2, 0.2]}
    (folder / "swept.yaml").write_text(yaml.safe_dump(content))
    return folder


@pytest.mark.parametrize(
    ("setting", "shared"),
    [
        ("parameters.TI.learning_rate", True),
        ("parameters.TI.begin", True),
        ("parameters.TI.start", False),
        ("image.fov", False),
        ("loss.settings.share", True),
    ],
)
def test_only_what_moves_the_start_gives_each_run_one(setting, shared):
    assert _moves_the_start(setting) is not shared


def test_the_judge_is_the_config_s_with_an_experiment_s_changes(folder):
    judge = read_plan(CONFIG, folder).judge_of("other")
    assert (judge.tolerance, judge.largest, judge.thickness) == (0.1, 64, 2.0)


def test_variants_of_a_scan_are_changes_of_the_run(folder, root):
    content = yaml.safe_load((folder / "one.yaml").read_text())
    content["sweep"] = {"phantom.tissues.csf.T1": [4.0]}
    content["scan"]["variants"]["changes"] = {
        "dark": {"loss.settings.bright": None, "phantom.tissues.csf.T2": 1.0},
        "fine": {"sequence.arguments.n_read": 96},
    }
    (folder / "over_T1.yaml").write_text(yaml.safe_dump(content))
    plan = read_plan(CONFIG, folder)
    run = plan.runs["over_T1/T1=4.0"]
    dark, fine = plan.variants_of("over_T1/T1=4.0").values()
    assert dark.loss.settings == {"dark": "csf", "bright": None}
    assert dark.phantom == {"tissues": {"csf": {"T1": 4.0, "T2": 1.0}}}
    assert (dark.scan.first, dark.scan.count, dark.scan.variants) == (2.8, 17, None)
    assert fine.sequence.arguments == {"n_read": 96}
    assert (fine.phantom, fine.loss, fine.scan.tolerance) == (run.phantom, run.loss, 0.01)
    assert plan.changed_phantom(dark.phantom)["matrix"] == [32, 32]
    assert plan.variants_of("swept/share=0.5").keys() == plan.variants_of("one").keys()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"parameters.TI.start": 2.0},
            "the dotted name of a setting inside sequence, sequences, image",
        ),
        ({"loss.function.name": 2.0}, "loss.function is a value and has no settings"),
        ({"image.matrix": 64}, "image.matrix: "),
        ({"phantom.tissues.csf.T1": -1.0}, "tissues.csf.T1"),
        ({"loss.settings.shares": 0.5}, "shares"),
    ],
)
def test_a_variant_that_cannot_be_is_refused_with_its_place(folder, change, message):
    content = yaml.safe_load((folder / "one.yaml").read_text())
    content["scan"]["variants"]["changes"] = {"odd": change}
    (folder / "one.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError, match=r"one\.yaml: ") as error:
        check_functions(read_plan(CONFIG, folder), folder)
    assert message in str(error.value)
    assert "scan.variants" in str(error.value)


def test_other_phantoms_are_changes_of_the_run_s_own(folder):
    plan = read_plan(CONFIG, folder)
    (settings,) = plan.other_phantoms("over_T1/T1=4.5").values()
    assert settings["tissues"] == {"csf": {"T1": 4.5}}
    assert settings["scale"] == {"B1": 0.8}


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("one", {"figure": "slice_profile"}, "one.yaml: figure: slice_profile needs the samples"),
        ("one", {"ensemble": [{"scale": {"B3": 1}}]}, "one.yaml: phantom.scale: unknown key 'B3'"),
        ("swept", {"compare": ["nothing"]}, "swept.yaml: compare: 'nothing' is no experiment"),
        (
            "swept",
            {"sweep": {"optimizer.seed": [-1]}},
            "swept.yaml, run seed=-1: optimizer.seed: -1 is less than",
        ),
    ],
)
def test_what_a_plan_cannot_mean_is_refused_with_its_place(folder, name, changes, message):
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **changes}))
    with pytest.raises(ConfigError) as caught:
        check_functions(read_plan(CONFIG, folder), folder)
    assert message in str(caught.value)


def test_the_files_of_a_run_bear_its_name(tmp_path):
    files = ResultFiles(tmp_path).run("swept/share=0.5")
    assert files.seq("start") == tmp_path / "swept/share=0.5/start/swept/share=0.5.seq"
    assert set(files.stage("start").values()) >= {files.image("start"), files.seq("start")}
