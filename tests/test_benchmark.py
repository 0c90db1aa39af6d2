"""What the benchmark reads from the pipeline's results, and the page that it writes."""

import json
import subprocess
import sys

import numpy as np
import pytest


@pytest.fixture
def benchmark(root, monkeypatch):
    monkeypatch.syspath_prepend(root / "benchmarks")
    import page
    import run

    yield run, page
    for name in ("run", "page"):
        sys.modules.pop(name)


@pytest.fixture
def results(tmp_path):
    jobs = {
        "phantom": {"rule": "phantom", "import_cpu_s": 1.0, "cpu_s": 3.0},
        "tse/sar_weight=1e-05/optimize": {"rule": "optimize", "import_cpu_s": 2.0, "cpu_s": 40.0},
        "tse/judge_start": {"rule": "judge", "import_cpu_s": 1.5, "cpu_s": 7.0},
    }
    for name, used in jobs.items():
        file = tmp_path / "benchmarks" / f"{name}.tsv"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("s\tcpu_time\n1\t1\n")
        (file.parent / file.name.replace(".tsv", ".json")).write_text(json.dumps(used))
    rows = [
        {"experiment": "tse_sar", "stage": stage, "pdg_played_vs_bloch_full_nrmse": error}
        for stage, error in (("start", 0.01), ("optimized", 0.02))
    ]
    (tmp_path / "validation.json").write_text(json.dumps(rows))
    return tmp_path


def test_cpu_seconds_of_all_jobs_are_added_up(benchmark, results):
    assert benchmark[0].read_pipeline(results) == {
        "case": "pipeline",
        "jobs": 3,
        "cpu_s": 50.0,
        "import_cpu_s": 4.5,
        "judge_cpu_s": 7.0,
        "rules": {
            "judge": {"jobs": 1, "cpu_s": 7.0, "largest_cpu_s": 7.0},
            "optimize": {"jobs": 1, "cpu_s": 40.0, "largest_cpu_s": 40.0},
            "phantom": {"jobs": 1, "cpu_s": 3.0, "largest_cpu_s": 3.0},
        },
    }


def test_results_that_are_not_there_are_asked_for_in_one_sentence(
    benchmark, results, tmp_path, capsys
):
    run, _ = benchmark
    (results / "benchmarks/phantom.json").unlink()
    assert run.read_pipeline(results) is None
    assert run.read_pipeline(tmp_path / "none") is None
    assert run.read_agreement(tmp_path / "none", "tse_sar") is None
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 3
    assert all("run `make reproduce`" in line for line in said)


def test_the_agreement_with_the_judge_is_that_of_the_start(benchmark, results):
    assert benchmark[0].read_agreement(results, "tse_sar") == 0.01
    assert benchmark[0].read_agreement(results, "flair_ti") is None


def test_the_page_shows_what_was_measured(benchmark, results, tmp_path):
    run, page = benchmark
    step = {"threads": 1, "ours_step_s": 0.02, "peer_step_s": 2.0, "states": 900}
    played = {**step, "instantaneous_step_s": 0.01, "instantaneous_states": 800}
    rows = [
        run.read_pipeline(results),
        {"case": "tse step", **step, "voxels": 8238},
        {"case": "tse_played", **played, "nrmse_vs_judge": 0.0107},
    ]
    (tmp_path / "benchmark.json").write_text(json.dumps(rows))
    page.main(tmp_path / "benchmark.json", tmp_path / "page.md")
    text = " ".join((tmp_path / "page.md").read_text().split())
    assert "3 jobs, takes 50 CPU seconds" in text
    assert "4 until the jobs have imported what they need (1.5 a job), and 7 in the jobs" in text
    assert "| optimize | 1 | 40 | 40 |" in text
    assert "8238 voxels" in text
    assert "| 0.011 |" in text


def test_a_job_says_beside_its_benchmark_what_it_used(root, monkeypatch):
    monkeypatch.syspath_prepend(root / "workflow/scripts")
    import step

    sys.modules.pop("step")
    place = step.beside_benchmark("my/logs/logs/tse/a=1e-05/scan.log", {"results": "my/logs"})
    assert str(place) == "my/logs/benchmarks/tse/a=1e-05/scan.json"
    assert str(step.beside_benchmark("results/logs/x.log", {})) == "results/benchmarks/x.json"
    before = step.cpu_seconds()
    subprocess.run([sys.executable, "-c", "sum(range(10**7))"], check=True)
    assert step.cpu_seconds() > before + 0.05


def test_a_front_is_searched_on_from_where_the_runs_end(root, monkeypatch, small_brain):
    monkeypatch.syspath_prepend(root / "benchmarks")
    monkeypatch.chdir(root)
    import front

    sys.modules.pop("front")
    content = front.read_yaml(root / "config/experiments/tse_pareto.yaml")
    content["sequence"]["pulses"] = "instantaneous"
    content["optimizer"]["iterations"] = 1
    (run, each), *_ = front.sweep_runs(
        content, front.sweep_table("tse_pareto", content["sweep"])
    ).items()
    config = front.read(
        front.Config, {"experiments": ["x"], "simulation": {"tight_accuracy": 1e-2}}, "config"
    )
    row = front.moved(run, each, 2, small_brain, config)
    assert row["run"] == "sar_weight=0.0003,begin=1.4"
    # The start, 80 degrees in all 85 pulses, has a quarter of the power; steps are of 0.05 rad
    assert float(row["power, 1"]) == pytest.approx((1.4**2) / (np.pi**2), abs=0.05)
    assert float(row["loss, 2"]) > 0
    assert [name for name in row if "1" in name] == ["loss, 1", "error, 1", "power, 1"]
    assert [name for name in row if "2" in name] == ["loss, 2", "error, 2", "power, 2"]
    way = float(row["power, 2"]) - float(row["power, 1"])
    assert float(row["power moves by"]) == pytest.approx(way, abs=1.1e-3)
