"""The pipeline itself, small: it runs, is complete, and reruns what an edit concerns."""

from __future__ import annotations

import json
import math
import re
import subprocess

import nibabel
import pandas as pd
import psutil
import pytest
import torch

from pulseq_zero.files.store import load_tensors
from support.cluster import wait
from support.pipeline_copy import Pipeline

pytestmark = pytest.mark.pipeline

MAGNITUDE = """
def magnitude(acquisition, scale):
    return scale * acquisition.image.abs()
"""

SWEPT = "swept/weight=1.0,T1=4.0"

OWN_LOSS = """
def darker(context, weight=1.0):
    def loss(parameters, image):
        return weight * image.abs().mean()

    return loss
"""


@pytest.fixture(scope="module")
def pipeline(root, tmp_path_factory) -> Pipeline:
    pipeline = Pipeline(root, tmp_path_factory.mktemp("pipeline"))
    config = pipeline.read("config/config.yaml")
    config["experiments"] = ["flair_ti", "own", "tse_sar", "swept"]
    config["phantom"]["matrix"] = 32
    config["other_phantoms"] = {"B1 x 0.8": {"scale": {"B1": 0.8}}}
    # Coarse as it is: what else is evaluated at the tight accuracy has the same errors then
    config["simulation"].update(accuracy=1e-2, tight_accuracy=1e-3, tight_change=0.5)
    judged = {"tolerance": 0.1, "full_tolerance": 0.3, "largest": 128}
    config["validation"].update(judged, full_accuracy=1e-3)
    pipeline.write("config/config.yaml", config)
    short = {"iterations": 8, "verify_every": 4}
    pipeline.edit(
        "config/experiments/flair_ti.yaml",
        optimizer=short,
        scan={
            **{"first": 2.6, "last": 3.2, "count": 7, "tolerance": 0.2},
            "variants": {
                **{"first": 2.4, "last": 3.4, "count": 6},
                "changes": {
                    "CSF alone": {
                        **{f"phantom.tissues.{name}.PD": 0 for name in ("gm", "wm", "scalp")},
                        "loss.settings.bright": None,
                    }
                },
            },
        },
        parameters={"TI": {"start": 2.0, "learning_rate": 0.1, "lower": 0.1}},
        loss={"settings": {"share": 0.5}},
    )
    tse = pipeline.read("config/experiments/tse_sar.yaml")
    tse["report_iterations"] = [6]
    pipeline.write("config/experiments/tse_sar.yaml", tse)
    pipeline.edit("config/experiments/tse_sar.yaml", optimizer=short)
    (pipeline.folder / "losses/mine.py").write_text(OWN_LOSS)
    (pipeline.folder / "sequences/magnitude.py").write_text(MAGNITUDE)
    own = {
        "title": "An own loss",
        "sequence": {"function": "sequences/epi_ir.py:epi_ir", "arguments": {"TI": 2.5}},
        "parameters": {"flip_angle": {"start": 1.2, "learning_rate": 0.05, "unit": "rad"}},
        # Another field of view than the sequence defines
        "image": {"fov": [0.24, 0.24]},
        "reconstruction": {
            "function": "sequences/magnitude.py:magnitude",
            "settings": {"scale": 3.0},
        },
        "loss": {"function": "losses/mine.py:darker", "settings": {"weight": 2.0}},
        "optimizer": {"iterations": 4, "method": "lbfgs"},
    }
    pipeline.write("config/experiments/own.yaml", own)
    swept = {**own, "ensemble": [{"scale": {"B1": 0.8}}]}
    swept["optimizer"] = {"iterations": 2}
    swept["sweep"] = {"loss.settings.weight": [1.0], "phantom.tissues.csf.T1": [4.0]}
    pipeline.write("config/experiments/swept.yaml", swept)
    # A name that a shell would run
    strange = pipeline.folder / "my $(touch stolen) config.yaml"
    strange.write_text((pipeline.folder / "config/config.yaml").read_text())
    pipeline.run("--configfile", strange.name)
    return pipeline


def test_everything_is_made(pipeline):
    results = pipeline.folder / "results"
    for name in ("phantom", "schematic", "flair_ti", "own", "tse_sar", "tse_sar_pulses"):
        assert (results / f"figures/{name}.png").stat().st_size > 10_000
        assert (results / f"figures/{name}.pdf").read_bytes().startswith(b"%PDF")
    assert (results / "report.html").stat().st_size > 1_000_000
    shape = nibabel.load(results / "phantom/nifti/phantom.nii.gz").shape
    assert shape[:2] == (32, 32)
    text = (results / "own/optimized/own.seq").read_text()
    assert text.startswith("# Pulseq sequence file")
    assert "Name epi_ir" in text
    assert not (pipeline.folder / "stolen").exists()
    # Snakemake fills in <results> in files, not in params
    assert not (pipeline.folder / "<results>").exists()


def test_every_job_says_what_it_has_used(pipeline):
    folder = pipeline.folder / "results/benchmarks"
    jobs = sorted(folder.rglob("*.tsv"))
    for job in jobs:
        used = json.loads(job.with_suffix(".json").read_text())
        assert 0 < used["import_cpu_s"] <= used["cpu_s"]
    assert len(jobs) == len(list(folder.rglob("*.json")))


def front_page_of(pipeline: Pipeline) -> str:
    """Read the report's first page as it is shown, without the marks that all of it is text."""
    return (pipeline.folder / "results/front_page.rst").read_text().replace("\\", "")


def test_the_summary_holds_what_the_report_says(pipeline):
    summary = json.loads((pipeline.folder / "results/summary.json").read_text())
    assert set(summary["flair"]) >= {
        "ti_start_s",
        "ti_final_s",
        "ti_scan_optimum_s",
        "ti_analytic_null_s",
        "iterations",
        "seconds_per_iteration",
    }
    assert summary["flair"]["ti_start_s"] == 2.0
    assert summary["flair"]["iterations"] == 8
    assert 2.6 <= summary["flair"]["ti_scan_optimum_s"] <= 3.2
    assert summary["flair"]["ti_analytic_null_s"] == pytest.approx(math.log(2) * 4.3, rel=1e-3)
    alone = summary["flair"]["ti_variants_s"]["CSF alone"]
    assert alone == pytest.approx(math.log(2) * 4.3, rel=0.02)
    front_page = front_page_of(pipeline)
    assert f"FLAIR: minimum of a scan with CSF alone\n     - not shown\n     - {alone:.3f} s" in (
        front_page
    )
    tse = summary["tse"]
    assert tse["sar_ratio_at_6"] < 1.0
    assert tse["nrmse_at_6"] > 0.0
    assert tse["ssim_best"] > 0.8
    export = summary["export"]
    assert export["flair_start_identical"] is True
    assert export["tse_start_identical"] is True
    assert export["flair_optimized_nrmse"] < 1e-3
    assert export["tse_optimized_nrmse"] < 1e-3
    assert set(summary["experiments"]) == {"flair_ti", "own", "tse_sar"}
    assert summary["versions"]["pypulseq"] == "1.5.0.post1"


def test_the_limits_of_start_and_optimized_sequence_are_checked(pipeline):
    table = pd.read_csv(pipeline.folder / "results/tse_sar/limits.csv")
    assert set(table["stage"]) == {"start", "optimized"}
    judged = table[table["limit"].notna()]
    assert set(judged["quantity"]) == {
        "gradient_amplitude",
        "gradient_slew",
        "timing_errors",
    }
    assert (judged["passed"] == True).all()  # noqa: E712 - a column of objects
    energy = table[table["quantity"] == "rf_energy"].set_index("stage")["value"]
    assert energy["optimized"] < energy["start"]
    proxy = table[table["quantity"] == "relative_sar"].set_index("stage")["value"]
    assert proxy["start"] == 1.0
    assert proxy["optimized"] == pytest.approx(energy["optimized"] / energy["start"], rel=0.02)


def test_the_results_stand_under_the_judge(pipeline):
    rows = json.loads((pipeline.folder / "results/validation.json").read_text())
    assert {(row["experiment"], row["stage"]) for row in rows} == {
        (name, stage) for name in ("flair_ti", "own", "tse_sar") for stage in ("start", "optimized")
    }
    assert all(row["passed"] for row in rows)
    for row in rows:
        assert set(row) >= {
            "pdg_vs_bloch_nrmse",
            "pdg_vs_bloch_full_nrmse",
            "pdg_played_vs_bloch_full_nrmse",
            "pdg_loose_vs_tight_nrmse",
            "import_vs_trace_nrmse",
            "loss_optimizer",
            "loss_tight",
            "loss_bloch",
        }
        assert row["pdg_vs_bloch_nrmse"] < 2 * row["bloch_scatter"] + 0.05
        assert row["import_vs_trace_nrmse"] < 1e-3


def test_the_own_experiment_went_its_way(pipeline):
    history = pd.read_csv(pipeline.folder / "results/own/optimization/history.csv")
    assert len(history) == 5
    assert history["loss"].iloc[-1] < history["loss"].iloc[0]
    # Its loss is twice the mean of an image that its reconstruction makes
    image = load_tensors(pipeline.folder / "results/own/start/image_optimization.safetensors")[0]
    assert history["loss"].iloc[0] == pytest.approx(2 * float(image["image"].mean()), rel=1e-5)
    assert not image["image"].is_complex()


def test_a_sweep_becomes_a_table_and_a_figure(pipeline):
    results = pipeline.folder / "results"
    table = pd.read_csv(results / "swept/sweep.csv")
    assert table["run"].tolist() == ["weight=1.0,T1=4.0"]
    assert table["phantom.tissues.csf.T1"].tolist() == [4.0]
    assert (table["loss"] < table["loss_start"]).all()
    sweeps = json.loads((results / "sweep.json").read_text())
    assert sweeps["swept"][0]["flip_angle"] == pytest.approx(table["flip_angle"][0])
    assert (results / "figures/swept.png").stat().st_size > 10_000
    # Its phantoms: the one with another T1, and that with another B1 as well
    settings = [p.parent for p in results.glob("phantom-*/phantom.safetensors")]
    assert len(settings) == 2


def test_another_value_of_a_sweep_makes_one_more_run(pipeline):
    file = "config/experiments/swept.yaml"
    before = pipeline.read(file)
    pipeline.edit(file, sweep={"loss.settings.weight": [1.0, 2.0]})
    planned = pipeline.planned()
    pipeline.write(file, before)
    for rule in ("all", "sweep", "summary", "report", "validated"):
        assert planned.pop(rule) == {""}
    assert planned == {key: {"swept/weight=2.0,T1=4.0"} for key in ("stage", "optimize")}


def test_runs_that_start_alike_share_their_start(pipeline):
    file = "config/experiments/swept.yaml"
    before = pipeline.read(file)
    swept = {**before, "sweep": {"loss.settings.weight": [1.0, 2.0]}}
    pipeline.write(file, swept)
    like_an_experiment = pipeline.planned()
    pipeline.write(file, {**swept, "image": {"fov": [0.21, 0.21]}})
    unlike_any = pipeline.planned()
    pipeline.write(file, before)
    assert "stage" not in like_an_experiment
    assert unlike_any["stage"] == {"swept"}
    for planned in (like_an_experiment, unlike_any):
        assert planned["optimize"] == {"swept/weight=1.0", "swept/weight=2.0"}


def test_several_sequences_have_stages_of_their_own(pipeline):
    before = pipeline.read("config/config.yaml")
    both = pipeline.read("config/experiments/own.yaml")
    one = both.pop("sequence")
    arguments = {"early": {"TI": 1.0}, "late": {"TI": 2.5}}
    both["sequences"] = {name: {**one, "arguments": each} for name, each in arguments.items()}
    pipeline.write("config/experiments/both.yaml", both)
    pipeline.write(
        "config/config.yaml", {**before, "experiments": [*before["experiments"], "both"]}
    )
    output = pipeline.run("--dry-run").stdout
    planned = pipeline.planned()
    pipeline.write("config/config.yaml", before)
    assert planned["optimize_together"] == {"both"}
    assert "optimize" not in planned
    for stage in ("start", "optimized"):
        for name in arguments:
            assert f"results/both/{stage}/{name}/both.seq" in output


def test_optimized_sequences_are_evaluated_on_other_phantoms(pipeline):
    rows = json.loads((pipeline.folder / "results/robustness.json").read_text())
    assert [(row["experiment"], row["phantom"]) for row in rows] == [
        (experiment, phantom)
        for experiment in ("flair_ti", "own", "tse_sar")
        for phantom in ("its own", "B1 x 0.8")
    ]
    by = {(row["experiment"], row["phantom"]): row for row in rows}
    summary = json.loads((pipeline.folder / "results/summary.json").read_text())
    own = by["tse_sar", "its own"]
    assert own["nrmse"] == pytest.approx(summary["tse"]["nrmse_best_tight"], rel=1e-2)
    assert own["relative_sar"] == pytest.approx(summary["tse"]["sar_ratio_best"])
    assert by["flair_ti", "its own"]["relative_sar"] is None
    # With receiver noise as well, whose mean adds to both losses
    for row in rows:
        assert 0 < row["noisy_gain_sd"] < 1
        assert row["noisy_gain"] == pytest.approx(row["gain"], abs=5 * row["noisy_gain_sd"])
    assert summary["robustness"] == rows
    assert "tse_sar: gain in noise" in front_page_of(pipeline)


def test_a_second_run_has_nothing_to_do(pipeline):
    assert pipeline.planned() == {}


def test_a_report_that_is_missing_is_made(pipeline):
    report = pipeline.folder / "results/report.html"
    aside = report.rename(report.with_suffix(".aside"))
    planned = pipeline.planned()
    aside.rename(report)
    assert planned == {"report": {""}, "all": {""}}


def test_after_a_kill_the_same_command_goes_on(pipeline):
    results = pipeline.folder / "results"
    figure, report = results / "figures/schematic.png", results / "report.html"
    before = figure.read_bytes()
    figure.unlink()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    killed = pipeline.start("--cores", "1", **quiet)
    process = psutil.Process(killed.pid)
    try:
        locks = pipeline.folder / ".snakemake/locks"
        wait(lambda: process.children() and [*locks.glob("*")], 300, "a job has begun")
        jobs = process.children(recursive=True)
        process.suspend()
        refused = pipeline.run(check=False)
    finally:
        killed.kill()
        killed.wait()
    assert refused.returncode != 0
    assert "cannot be locked" in refused.stderr
    assert psutil.wait_procs(jobs, timeout=60)[1] == []
    (results / f".{killed.pid}-0123abcd-schematic.png").touch()
    done = pipeline.run()
    assert "The run before was killed" in done.stderr
    assert figure.read_bytes() == before
    assert report.stat().st_mtime > figure.stat().st_mtime
    assert pipeline.left_behind() == []


def test_a_change_of_one_experiment_reruns_that_one_only(pipeline):
    file = "config/experiments/tse_sar.yaml"
    before = pipeline.read(file)
    pipeline.edit(file, loss={"settings": {"sar_weight": 2e-4, "image_scale": 2.0}})
    planned = pipeline.planned()
    pipeline.write(file, before)
    for rule in ("all", "summary", "report", "validated", "overview_figures"):
        # The schematic shows the last experiment's loss
        assert planned.pop(rule) == {""}
    assert set().union(*planned.values()) == {"tse_sar"}
    made = {"optimize", "judge", "validate", "robustness", "evaluate_with_quality"}
    # That of an iteration
    assert set(planned) == {*made, "stage"}


def edited(pipeline: Pipeline, file: str) -> dict[str, set[str]]:
    """Plan after adding a line to a file."""
    path = pipeline.folder / file
    content = path.read_text()
    path.write_text(content + "\n# a comment\n")
    try:
        return pipeline.planned()
    finally:
        path.write_text(content)


def test_an_edit_of_a_sequence_reruns_what_uses_it(pipeline):
    planned = edited(pipeline, "sequences/tse.py")
    assert planned["stage"] == {"tse_sar"}
    assert planned["optimize"] == {"tse_sar"}
    assert "phantom" not in planned


def test_an_edit_of_a_reconstruction_reruns_what_makes_images_by_it(pipeline):
    planned = edited(pipeline, "sequences/magnitude.py")
    for rule in ("all", "sweep", "summary", "report", "validated"):
        assert planned.pop(rule) == {""}
    by_it = {"own", SWEPT}
    for rule in ("stage", "optimize"):
        assert planned.pop(rule) == by_it
    assert planned == {rule: {"own"} for rule in ("judge", "validate", "robustness", "evaluate")}


def test_an_edit_of_a_figure_reruns_the_figure(pipeline):
    planned = edited(pipeline, "src/pulseq_zero/figures/phantom.py")
    assert set(planned) == {"overview_figures", "report", "all"}


def test_an_edit_of_a_kind_reruns_what_is_drawn_and_reported_of_its_experiments(pipeline):
    planned = edited(pipeline, "src/pulseq_zero/experiments/kinds/flip_angles.py")
    assert planned["evaluate_with_quality"] == {"tse_sar"}
    assert set(planned) == {"evaluate_with_quality", "summary", "report", "validated", "all"}


def test_an_edit_of_the_simulation_reruns_what_simulates(pipeline):
    planned = edited(pipeline, "src/pulseq_zero/simulation/simulator.py")
    assert planned["optimize"] == {"flair_ti", "own", "tse_sar", SWEPT}
    assert "phantom" not in planned


def test_an_edit_of_the_phantoms_table_reruns_the_phantom(pipeline):
    assert "phantom" in edited(pipeline, "phantoms/brain_3T.yaml")


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_gpu_is_asked_for_where_the_config_says_so(pipeline, device):
    before = pipeline.read("config/config.yaml")
    pipeline.edit("config/config.yaml", simulation={"device": device})
    profile = "workflow/profiles/slurm"
    output = pipeline.run("--dry-run", "--forceall", "--workflow-profile", profile).stdout
    pipeline.write("config/config.yaml", before)
    _, *jobs = re.split(r"^ *rule (\w+):$", output, flags=re.MULTILINE)
    pairs = zip(jobs[::2], jobs[1::2], strict=True)
    asking = {name for name, job in pairs if re.search(r"resources:.*\bgpu=1", job)}
    simulating = {
        "stage", "optimize", "scan", "evaluate", "evaluate_with_quality", "sweep", "validate",
        "robustness",
    }  # fmt: skip
    assert asking == (simulating if device == "cuda" else set())


def test_an_optimization_can_be_repeated(pipeline):
    file = pipeline.folder / "results/flair_ti/optimization/parameters.safetensors"
    before = load_tensors(file)[0]["TI"]
    pipeline.run("--forcerun", "optimize", "--", str(file.relative_to(pipeline.folder)))
    after = load_tensors(file)[0]["TI"]
    assert torch.equal(after, before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"experiments": ["missing"]}, r"cannot read config/experiments/missing\.yaml"),
        ({"experimants": []}, "the config: the file: unknown key 'experimants'"),
        ({"phantom": {"source": "nifty"}}, "nifty"),
        (
            {"other_phantoms": {"odd": {"scale": {"B2": 1}}}},
            r"the config: other_phantoms: odd: phantom\.scale: unknown key 'B2'",
        ),
        ({"results": "../outside"}, "the config: results: "),
    ],
)
def test_a_wrong_config_stops_the_run_with_one_sentence(pipeline, change, message):
    before = pipeline.read("config/config.yaml")
    pipeline.write("config/config.yaml", {**before, **change})
    done = pipeline.run(check=False)
    pipeline.write("config/config.yaml", before)
    assert done.returncode != 0
    assert re.search(message, done.stderr)
    assert "Traceback" not in done.stderr


def test_a_phantom_in_a_file_whose_name_is_a_wildcard_is_refused(pipeline):
    before = pipeline.read("config/config.yaml")
    (pipeline.folder / "a{b}.npz").touch()
    changed = {
        "phantom": {"source": "npz", "file": "a{b}.npz"},
        # What the others change is not in a file
        "experiments": ["own"],
        "other_phantoms": None,
    }
    pipeline.write("config/config.yaml", {**before, **changed})
    done = pipeline.run(check=False)
    pipeline.write("config/config.yaml", before)
    assert done.returncode != 0
    assert re.search(
        r"the phantom's file a\{b\}\.npz has a brace in its name.*rename it", done.stderr
    )


def test_a_result_that_does_not_stand_fails_the_run_and_is_marked_in_the_report(pipeline):
    results = pipeline.folder / "results"
    file = results / "own/validation.json"
    before, report = file.read_text(), (results / "report.html").read_bytes()
    rows = json.loads(before)
    rows[1]["passed"] = False
    file.write_text(json.dumps(rows))
    done = pipeline.run(check=False)
    file.write_text(before)
    assert done.returncode != 0
    assert "the loss of own (optimized) improves in the optimizer, but not under" in done.stderr
    assert "FAILED" in (results / "front_page.rst").read_text()
    assert (results / "report.html").read_bytes() != report
