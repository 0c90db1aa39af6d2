"""Command lines that cannot be meant."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from click.exceptions import NoSuchOption
from click.testing import CliRunner

from pulseq_zero.cli import main

EXPERIMENT = "config/experiments/echo.yaml"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Lay out an experiment, and files that are none."""
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(main, ["new", "echo"]).exit_code == 0
    Path("empty").mkdir()
    Path("text.yaml").write_text("a: [1")
    Path("list.yaml").write_text("- 1")
    Path("blank").write_text("")
    good = yaml.safe_load(Path(EXPERIMENT).read_text())
    phantom = {"source": "icbm152", "matrix": 16}
    accuracy = {"accuracy": 1e-2, "tight_accuracy": 1e-2}
    config = {"experiments": ["a"], "phantom": phantom, "simulation": accuracy}
    for name, content in {
        "sweep": {**good, "sweep": {"loss.settings.bright": ["csf"]}},
        "unknown": {**good, "sequnce": {}},
        "no_file": {**good, "sequence": {"function": "none.py:f"}},
        "no_function": {**good, "loss": {"function": "losses/echo_loss.py:none"}},
        # Which experiments there are does not matter to a command
        "no_experiments": {"results": "results", "simulation": {"device": "abacus"}},
        "in_a_file": {**config, "results": "blank"},
    }.items():
        Path(f"{name}.yaml").write_text(yaml.safe_dump(content))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("fly", "No such command 'fly'."),
        ("run", "Missing argument 'EXPERIMENT'."),
        ("run none.yaml", "Invalid value for 'EXPERIMENT': File 'none.yaml' does not exist."),
        ("run empty", "Invalid value for 'EXPERIMENT': File 'empty' is a directory."),
        (
            "run text.yaml",
            'text.yaml is no valid YAML: while parsing a flow sequence in "<unicode string>", '
            "line 1, column 4: a: [1 ^ expected ',' or ']', but got '<stream end>' in "
            '"<unicode string>", line 1, column 6: a: [1 ^',
        ),
        ("run list.yaml", "list.yaml must hold keys and values, not list"),
        ("check blank", "blank must hold keys and values, not NoneType"),
        (
            "run sweep.yaml",
            "sweep.yaml is a sweep of many runs, which the pipeline runs: name it under "
            "experiments in config/config.yaml and start snakemake, or remove the key sweep",
        ),
        (
            "run unknown.yaml",
            "unknown.yaml: the file: unknown key 'sequnce'; the keys are baselines, compare, "
            "ensemble, figure, image, loss, modules, optimizer, parameters, phantom, phantoms, "
            "reconstruction, report_iterations, scan, sequence, sequences, sweep, title, "
            "validation",
        ),
        (
            "check no_file.yaml",
            "no_file.yaml: there is no Python file none.py; mend the name or create the file",
        ),
        (
            "check no_function.yaml",
            "no_function.yaml: losses/echo_loss.py has no function 'none'; its name goes behind "
            "the colon",
        ),
        (
            f"run {EXPERIMENT} --config none.yaml",
            "Invalid value for '--config': File 'none.yaml' does not exist.",
        ),
        (
            f"check {EXPERIMENT} --config no_experiments.yaml",
            "no_experiments.yaml: simulation.device: 'abacus' must be cpu or cuda",
        ),
        (
            f"run {EXPERIMENT} --iterations 0",
            f"{EXPERIMENT}: optimizer.iterations: 0 is less than the minimum of 1",
        ),
        (
            f"run {EXPERIMENT} --config in_a_file.yaml",
            "blank/echo/experiment.yaml cannot be written (Not a directory); check the folder, "
            "its permissions and the space left",
        ),
        (f"run {EXPERIMENT} --fast", NoSuchOption("--fast").format_message()),
        ("show none", "Invalid value for 'RESULTS': Directory 'none' does not exist."),
        ("show blank", "Invalid value for 'RESULTS': Directory 'blank' is a file."),
        (
            "show empty",
            "empty/start/image_tight.safetensors does not exist; check the path or make the "
            "file first",
        ),
        (
            "export empty",
            "empty/start/image_tight.safetensors does not exist; check the path or make the "
            "file first",
        ),
        ("new", "Missing argument 'NAME'."),
        (
            "new ../up",
            "'../up' cannot name an experiment; use small letters, digits and underscores, a "
            "letter first",
        ),
        (
            "new echo",
            f"{EXPERIMENT} exists and is not overwritten; choose another name or remove the file",
        ),
    ],
)
def test_commands(project, arguments, message):
    result = CliRunner().invoke(main, arguments.split())
    assert isinstance(result.exception, SystemExit)
    assert result.exit_code > 0
    # A command that is used wrongly shows its usage first
    said = result.output.rpartition("Error: ")[2].removesuffix("\n")
    assert said.replace(f"{Path.cwd()}/", "") == message
