"""Experiments whose networks are trained along, with parameters of the loss alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from pulseq_zero.errors import ConfigError
from pulseq_zero.experiments.modules import make_modules, modules_at
from pulseq_zero.experiments.optimization import optimize_experiment
from pulseq_zero.experiments.plan import check_experiment
from pulseq_zero.experiments.settings import Experiment, ModuleSettings, SimulationSettings
from pulseq_zero.experiments.stages import OPTIMIZED, START
from pulseq_zero.files.store import load_tensors
from pulseq_zero.imaging.model import ImagingModel
from support.echoes import N, bar, echo_train, t2_by_network
from support.whole_run import run_steps

ECHOES = f"{Path(__file__).parents[1]}/support/echoes.py"

EXPERIMENT = {
    "title": "T2 by a network",
    "sequence": {"function": f"{ECHOES}:echo_train", "pulses": "instantaneous"},
    "parameters": {"spacing": {"start": 0.02, "lower": 0.006, "learning_rate": 1e-4}},
    "image": {"matrix": [N, 1]},
    "modules": {"network": {"function": f"{ECHOES}:network", "seed": 3}},
    "reconstruction": {"function": f"{ECHOES}:t2_by_network"},
    "loss": {"function": f"{ECHOES}:truth"},
    "optimizer": {
        "iterations": 8,
        "verify_every": 4,
        "module_optimizer": {"name": "Adam", "settings": {"lr": 0.05}},
    },
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    experiment = Experiment(**EXPERIMENT)
    return experiment, run_steps(experiment, bar(), tmp_path_factory.mktemp("results"))


def test_modules_are_trained_and_kept_with_the_parameters(trained):
    experiment, files = trained
    before, after = (
        torch.nn.utils.parameters_to_vector(
            modules_at(experiment.modules, stage, files.parameters)["network"].parameters()
        )
        for stage in (START, OPTIMIZED)
    )
    assert (after - before).abs().min() > 1e-4
    with torch.random.fork_rng():
        torch.manual_seed(3)
        first = torch.nn.Linear(2, 4).weight
    # As the seed makes them
    assert torch.equal(before[: first.numel()], first.flatten())


def test_images_of_a_stage_are_those_of_its_modules(trained):
    experiment, files = trained
    parameters, found = load_tensors(files.parameters)
    model = ImagingModel(echo_train, bar(), matrix=(N, 1), pulses="instantaneous", accuracy=1e-2)
    for stage, iteration in ((START, 0), (OPTIMIZED, found["best_iteration"])):
        network = modules_at(experiment.modules, stage, files.parameters)["network"]
        with torch.no_grad():
            expected = t2_by_network(model({"spacing": parameters["spacing"][iteration]}), network)
        # The judge has few spins here, in voxels with sharp edges
        for file, bound in (
            (files.image(stage), 1e-3), (files.imported(stage), 1e-2),
            (files.judge(stage, "instantaneous"), 0.2),
        ):  # fmt: skip
            image = load_tensors(file)[0]["image"]
            assert (image - expected).abs().max() < bound * expected.abs().max()
    start, optimized = (
        load_tensors(files.image(stage))[0]["image"] for stage in (START, OPTIMIZED)
    )
    assert (start - optimized).abs().max() > 0.5 * start.abs().max()


def test_losses_under_the_judge_are_those_of_trained_modules(trained):
    _, files = trained
    start, optimized = json.loads(files.validation.read_text())
    for kind in ("tight", "bloch", "bloch_full"):
        assert optimized[f"loss_{kind}"] < 0.7 * start[f"loss_{kind}"]
        assert optimized[f"loss_{kind}"] == pytest.approx(optimized["loss_optimizer"], rel=0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"report_iterations": [1]}, "report_iterations looks at other parameters"),
        (
            {"scan": {"parameter": "spacing", "first": 0.01, "last": 0.02, "count": 2}},
            "scan looks at other parameters",
        ),
    ],
)
def test_what_needs_modules_of_other_iterations_is_refused(change, message, monkeypatch, root):
    monkeypatch.chdir(root)
    experiment = Experiment(**{**EXPERIMENT, **change})
    with pytest.raises(ConfigError, match=message):
        check_experiment(experiment, [])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"function": f"{ECHOES}:bar"}, "modules.net: .* returns Phantom, but must return a mod"),
        (
            {"function": f"{ECHOES}:network", "settings": {"hidden": "many"}},
            "modules.net: '.*:network' fails: TypeError: .*line",
        ),
    ],
)
def test_a_function_that_makes_no_module_is_refused(given, message):
    with pytest.raises(ConfigError, match=message):
        make_modules({"net": ModuleSettings(**given)})


def test_an_optimization_goes_on_from_its_checkpoint_with_modules_and_noise(tmp_path):
    noisy = {**EXPERIMENT["optimizer"], "noise": 0.01, "verify_every": None}
    experiment = Experiment(**{**EXPERIMENT, "optimizer": noisy})
    simulation = SimulationSettings(accuracy=1e-2, tight_accuracy=1e-2)

    def run(iterations, **checkpoint):
        changes = {"iterations": iterations, "progress": False, **checkpoint}
        return optimize_experiment(experiment, simulation, [bar()], **changes)

    whole, modules = run(6)
    file = tmp_path / "checkpoint.safetensors"
    run(3, checkpoint=file, checkpoint_seconds=0.0)
    rest, modules_of_rest = run(6, checkpoint=file)
    assert torch.equal(rest.parameters["spacing"], whole.parameters["spacing"])
    for one, other in zip(
        modules["network"].parameters(), modules_of_rest["network"].parameters(), strict=True
    ):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    "change",
    [
        {"reconstruction": {"function": "subprocess:call"}},
        {"modules": {"network": {"function": "subprocess:call"}}},
        {
            "sequence": None,
            "sequences": {
                "one": EXPERIMENT["sequence"],
                "other": {"function": "subprocess:call", "pulses": "instantaneous"},
            },
        },
    ],
)
def test_functions_of_others_are_refused_wherever_they_are_named(change, monkeypatch, root):
    monkeypatch.chdir(root)
    experiment = Experiment(**{**EXPERIMENT, **change})
    with pytest.raises(ConfigError, match="'subprocess:call' is no function of the project"):
        check_experiment(experiment, [])
