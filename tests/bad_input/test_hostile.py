"""Files that others have written, and values that no file can hold: a sentence, and quickly."""

from __future__ import annotations

import io
import sys
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from click.testing import CliRunner

from pulseq_zero.cli import main
from pulseq_zero.errors import ConfigError, OptimizationError, PulseqZeroError, StoreError
from pulseq_zero.experiments.layout import check_results
from pulseq_zero.experiments.plan import check_experiment, check_functions, read_plan
from pulseq_zero.experiments.section import read
from pulseq_zero.experiments.settings import Experiment
from pulseq_zero.figures.style import save_figure
from pulseq_zero.files.loading import check_arguments, check_reference
from pulseq_zero.files.store import load_table, load_tensors, save_table, save_tensors
from pulseq_zero.files.yaml import read_yaml
from pulseq_zero.optimization.loss import evaluate_loss
from pulseq_zero.optimization.optimize import optimize
from pulseq_zero.optimization.parameters import Parameter, as_parameters
from pulseq_zero.optimization.settings import OptimizationSettings
from support.acquisitions import showing
from support.refusal import check
from support.toy import inversion_recovery, one_voxel

CODE = """
from os import system
from functools import partial
from subprocess import call as sequence
from math import sqrt

import torch

train = partial(system)


def own(TI=1.0, flip=3.1):
    pass


def loss(context):
    return lambda parameters, image: image.abs().sum()
"""


@pytest.fixture
def project():
    """Write a project with one file of code, and a file that lies outside of it."""
    here = Path("project")
    here.mkdir()
    (here / "mine.py").write_text(CODE)
    Path("outside.py").write_text(CODE)
    installed = here / "venv/site-packages/installed.py"
    installed.parent.mkdir(parents=True)
    installed.write_text(CODE)
    return here


@pytest.mark.parametrize(
    "reference",
    [
        "subprocess:call",
        "os:system",
        "builtins:print",
        "shutil:rmtree",
        "numpy:load",
        "torch.hub:load",
        "pip._internal:main",
        "pulseq_zero.files.store:save_json",
        "venv/site-packages/installed.py:own",
        "../outside.py:own",
        "./../outside.py:own",
        "mine/../../outside.py:own",
    ],
)
def test_a_file_names_no_function_of_others(project, monkeypatch, reference):
    monkeypatch.chdir(project)
    with pytest.raises(ConfigError, match=r"is no function of the project, .* if you trust it"):
        check_reference(reference)


@pytest.mark.parametrize("name", ["system", "sequence", "sqrt", "train"])
def test_a_file_names_no_function_that_the_project_only_imports(project, monkeypatch, name):
    monkeypatch.chdir(project)
    check(
        lambda: check_reference(f"mine.py:{name}"),
        f"'mine.py:{name}' is a function of Python's own library; name one that makes a sequence "
        "or a loss",
    )


def test_functions_that_a_file_may_name(project, monkeypatch):
    monkeypatch.chdir(project)
    check_reference("mine.py:own")
    check_reference("pulseq_zero.optimization.losses:contrast")
    check_reference("numpy.linalg:norm", packages=["numpy"])
    Path("linked").symlink_to("..", target_is_directory=True)
    check_reference("linked/outside.py:own")


GOOD = {
    "title": "good",
    "sequence": {"function": "mine.py:own"},
    "parameters": {"TI": {"start": 1.0}, "flip": {"start": [1.0, 2.0]}},
    "loss": {"function": "mine.py:loss"},
    "optimizer": {"iterations": 10},
}
SCAN = {"first": 1.0, "last": 2.0, "count": 3}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"scan": {"parameter": "TE", **SCAN}},
            "scan.parameter: 'TE' is no parameter that is one number; these are ['TI']",
        ),
        (
            {"scan": {"parameter": "flip", **SCAN}},
            "scan.parameter: 'flip' is no parameter that is one number; these are ['TI']",
        ),
        (
            {"report_iterations": [3, 11]},
            "report_iterations: 11 is beyond the last iteration, 10",
        ),
        ({"figure": "inversion_time"}, None),
        ({"figure": "ernst_angle"}, None),
        (
            {"loss": {"function": "os:system"}},
            None,
        ),
        ({"sequence": {"function": "mine.py:call"}}, None),
    ],
)
def test_experiments_that_could_not_end(project, monkeypatch, changes, message):
    monkeypatch.chdir(project)
    experiment = read(Experiment, {**GOOD, **changes}, "it")
    if message is None:
        with pytest.raises(PulseqZeroError):
            check_experiment(experiment, [])
    else:
        check(lambda: check_experiment(experiment, []), message)
    check_experiment(read(Experiment, GOOD, "it"), [])


def test_baselines_name_no_function_of_others(project, monkeypatch):
    monkeypatch.chdir(project)
    sweep = {
        **GOOD,
        "sweep": {"optimizer.iterations": [1, 2]},
        "baselines": {"a": {"function": "os:system", "values": [1.0]}},
    }
    Path("swept.yaml").write_text(yaml.safe_dump(sweep))
    plan = read_plan({"experiments": ["swept"]}, Path())
    check(
        lambda: check_functions(plan, Path()),
        "swept.yaml: baselines: a: 'os:system' is no function of the project, which is what lies "
        f"in {Path.cwd()}; name it under packages in the config, if you trust it",
    )


@pytest.mark.parametrize(
    "folder",
    ["src", "src/results", "SRC", "config", "docs/a", "losses", "phantoms", "sequences", "tests"],
)
def test_results_in_a_folder_of_sources(folder):
    with pytest.raises(ConfigError, match=rf"results: {folder} is in .* choose another folder"):
        check_results(folder)
    check_results("results/src")


@pytest.mark.parametrize("name", ["..", "...", "a b", "-x", "1", "phantom", "figures", "echo.x"])
def test_an_experiment_whose_folder_would_lie_elsewhere(name):
    Path(f"{name}.yaml").write_text("title: x")
    result = CliRunner().invoke(main, ["run", "--", f"{name}.yaml"])
    assert result.exit_code == 1
    assert "cannot name an experiment" in result.output or "is called as" in result.output


BOMB = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "a.yaml holds more than 1000000 values, which no experiment needs"),
        (BOMB.replace("[", "{").replace("]", "}"), None),
        ("a: &a {b: *a}", "a.yaml is nested too deeply, or within itself"),
        (f"a: {'[' * 300}{']' * 300}", "a.yaml is nested too deeply, or within itself"),
        (f"a: {'[' * 50000}", None),
        (f"{'a: {' * 3000}", None),
        (f"a: {'9' * 10000}", None),
    ],
    ids=range(7),
)
def test_yaml_that_explodes(text, message):
    Path("a.yaml").write_text(text)
    begin = time.process_time()
    if message is None:
        with pytest.raises(ConfigError, match=r"^a\.yaml "):
            read_yaml(Path("a.yaml"))
    else:
        check(lambda: read_yaml(Path("a.yaml")), message)
    assert time.process_time() - begin < 10


def test_many_start_values():
    content = {**GOOD, "parameters": {"flip": {"start": [0.5] * 200_000}}}
    begin = time.process_time()
    assert len(read(Experiment, content, "it").parameters["flip"].start) == 200_000
    content["parameters"]["flip"]["start"][150_000] = "many"
    with pytest.raises(ConfigError, match="must be a number or a list of numbers") as caught:
        read(Experiment, content, "it")
    assert len(str(caught.value)) < 500
    assert time.process_time() - begin < 60


def test_many_values_of_a_sweep_that_are_text():
    values = [f"file_{number}" for number in range(1500)]
    content = {**GOOD, "sweep": {"sequence.arguments.file": values}}
    assert read(Experiment, content, "it").sweep["sequence.arguments.file"] == values


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ("long", "start values must be numbers, not 'long'"),
        (None, "start values must be numbers, not None"),
        ({}, "start values must be numbers, not {}"),
        ({"a": 1}, "start values must be numbers, not {'a': 1}"),
        ([[1], [1, 2]], "start values must be numbers, not [[1], [1, 2]]"),
        (1j, "start values must be numbers, not 1j"),
        ([1, 2j], "start values must be numbers, not [1, 2j]"),
        (torch.ones(2) * 1j, None),
        (torch.ones(2, device="meta"), None),
        (np.array(["a"]), None),
        (np.array([None]), None),
        (np.array("2020-01-01", "datetime64[D]"), None),
        (10**400, None),
        ([10**400], None),
        (float("inf"), "start values must be finite numbers"),
        ([1.0, float("nan")], "start values must be finite numbers"),
        ([], "there must be at least one start value"),
        (torch.ones(0, 3), "there must be at least one start value"),
        (object(), None),
        (print, None),
        (lambda: 1, None),
    ],
)
def test_start_values(start, message):
    if message is None:
        with pytest.raises(OptimizationError, match=r"^parameter 'TI': start values must be"):
            as_parameters({"TI": start})
    else:
        check(lambda: as_parameters({"TI": start}), f"parameter 'TI': {message}")


def test_start_values_that_are_part_of_a_graph_or_change_later():
    given = torch.ones(2, requires_grad=True)
    parameter = Parameter(2 * given)
    assert parameter.start.is_leaf
    assert not parameter.start.requires_grad
    changing = torch.ones(2, dtype=torch.float64)
    kept = Parameter(changing)
    changing += 1
    assert torch.equal(kept.start, torch.ones(2, dtype=torch.float64))
    sparse = Parameter(torch.eye(2).to_sparse().to_dense())
    assert torch.equal(sparse.start, torch.eye(2, dtype=torch.float64))


@pytest.mark.parametrize(
    ("term", "what"),
    [
        (torch.ones(2), "a tensor of shape (2,)"),
        (torch.ones(0), "a tensor of shape (0,)"),
        (torch.ones(1, device="meta"), "a meta tensor of shape (1,)"),
        (torch.ones(1).to_sparse(), "a sparse tensor of shape (1,)"),
        (torch.ones(()) * 1j, "a complex tensor of shape ()"),
        (1.0, "1.0"),
        (None, "None"),
        ("low", "'low'"),
        (np.float64(1), "np.float64(1.0)"),
        ([torch.ones(())], "[tensor(1.)]"),
        ((), "()"),
        (print, "<built-in function print>"),
        ("a\n" * 1000, None),
    ],
)
def test_what_is_no_loss(term, what):
    for given in (term, {"a": term}):
        with pytest.raises(OptimizationError) as caught:
            evaluate_loss(lambda parameters, image: given, {}, showing(torch.ones(2, 2)))  # noqa: B023
        said = str(caught.value)
        assert "\n" not in said
        assert len(said) < 300
        assert what is None or said == (
            f"the loss function returned {what}, but every loss must be a real scalar tensor; take "
            "the mean, or the magnitude"
        )


def pops(parameters, image):
    return image.abs().sum() * parameters.pop("TI")


def goes_back(parameters, image):
    loss = image.abs().sum()
    loss.backward()
    return loss


def changes_in_place(parameters, image):
    parameters["TI"].add_(1.0)
    return image.abs().sum()


def exits(parameters, image):
    sys.exit(3)


def exiting_sequence(TI):
    sys.exit("enough")


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (goes_back, r"the loss cannot be differentiated: .* neither call backward\(\)"),
        (
            changes_in_place,
            r"the loss function fails in iteration 0: RuntimeError: a leaf Variable",
        ),
        (exits, r"the loss function fails in iteration 0: SystemExit: 3 \("),
    ],
)
def test_losses_that_do_more_than_they_should(loss, message):
    with pytest.raises(OptimizationError, match=message):
        optimize(inversion_recovery, loss, {"TI": 1.0}, one_voxel(), iterations=1, progress=False)


def test_a_loss_that_takes_out_what_it_has_used():
    found = optimize(
        inversion_recovery, pops, {"TI": 1.0}, one_voxel(), iterations=1, progress=False
    )
    assert list(found.best) == ["TI"]


def test_a_sequence_function_that_leaves_python():
    with pytest.raises(PulseqZeroError, match="the sequence function fails: SystemExit: enough"):
        optimize(exiting_sequence, pops, {"TI": 1.0}, one_voxel(), iterations=1, progress=False)


@pytest.mark.parametrize("value", ["high", None, True, [1e-3], float("nan"), 1j])
@pytest.mark.parametrize("name", ["accuracy", "verify_share", "checkpoint_seconds", "noise"])
def test_settings_that_are_no_numbers(name, value):
    with pytest.raises(OptimizationError, match=rf"^{name} is .*, but must be a number$"):
        OptimizationSettings(**{name: value})


@pytest.mark.parametrize("value", [1.5, "a", None, True, [1]])
@pytest.mark.parametrize("name", ["iterations", "seed"])
def test_settings_that_are_no_whole_numbers(name, value):
    with pytest.raises(OptimizationError, match=rf"^{name} is .*, but must be a whole number$"):
        OptimizationSettings(**{name: value})


@pytest.mark.parametrize("value", [64, "64", (64,), (1,) * 4, (0, 64), (64, None), (True, 1)])
@pytest.mark.parametrize("name", ["matrix", "fov"])
def test_settings_that_are_no_pairs(name, value):
    with pytest.raises(
        OptimizationError, match=rf"^{name} is .*, but must be .* along x and y, and z"
    ):
        OptimizationSettings(**{name: value})


@pytest.mark.parametrize("value", [[], "a", 1, {1: 2}, {None: 3}])
@pytest.mark.parametrize("name", ["arguments", "simulation"])
def test_settings_that_are_no_mappings(name, value):
    with pytest.raises(OptimizationError, match=rf"^{name} is .*, but must be a mapping of names"):
        OptimizationSettings(**{name: value})


@pytest.mark.parametrize("seed", [-1, 2**63, 2**64])
def test_seeds_that_are_none(seed):
    check(
        lambda: OptimizationSettings(seed=seed),
        f"seed is {seed}, but must lie between 0 and 2**63 - 1",
    )
    with pytest.raises(ConfigError, match=r"it: optimizer\.seed: "):
        read(Experiment, {**GOOD, "optimizer": {"iterations": 1, "seed": seed}}, "it")


@pytest.mark.parametrize("function", [dict.update, type, iter, range, max])
def test_builtins_as_functions(function):
    with pytest.raises(PulseqZeroError):
        check_arguments(function, ["TI"])


def test_a_parameter_that_is_an_argument_as_well():
    check(
        lambda: optimize(inversion_recovery, pops, {"TI": 1.0}, one_voxel(), arguments={"TI": 2.0}),
        "'TI' is both a parameter and an argument; remove one",
    )


def test_results_of_something_else():
    save_tensors("start/image_tight.safetensors", {"other": torch.ones(2)}, {})
    tensors, metadata = load_tensors("start/image_tight.safetensors")
    for content, name in ((tensors, "image"), (metadata, "accuracy")):
        with pytest.raises(StoreError, match=rf"image_tight\.safetensors holds no '{name}'"):
            content[name]
    assert list(tensors) == ["other"]
    assert metadata.get("accuracy") is None
    save_table("history.csv", pd.DataFrame({"a": [1]}))
    with pytest.raises(StoreError, match=r"history\.csv has no column 'loss'"):
        load_table("history.csv", ("loss",))
    for command in ("show", "export"):
        result = CliRunner().invoke(main, [command, "."])
        assert isinstance(result.exception, SystemExit)
        assert result.exit_code == 1


@pytest.mark.parametrize("title", ["5 $ and $x", "$\\frac$", "a_b $^", "$T_1$", r"\$", "$$"])
def test_titles_that_are_no_mathematics(title):
    figure, axes = plt.subplots()
    axes.set_title(title)
    save_figure(figure, "a.png")
    assert Path("a.png").is_file()


def test_a_terminal_without_other_letters_than_ascii(monkeypatch):
    said = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", said)
    with pytest.raises(SystemExit):
        main(["new", "../µ"], prog_name="pulseq-zero")
    said.write("T² s")
    said.flush()
    assert said.buffer.getvalue().endswith(b"T? s")
