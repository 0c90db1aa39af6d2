"""Experiments whose image an own reconstruction makes, or of which there are several."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import torch

from pulseq_zero.errors import ConfigError, SimulationError
from pulseq_zero.experiments.experiment import optimizer_settings
from pulseq_zero.experiments.reconstruction import make_reconstruction
from pulseq_zero.experiments.section import read
from pulseq_zero.experiments.settings import Experiment, ReconstructionSettings
from pulseq_zero.experiments.stages import OPTIMIZED, START
from pulseq_zero.files.store import load_tensors
from pulseq_zero.imaging.model import ImagingModel
from support.echoes import ECHOES, N, bar, echo_train
from support.whole_run import run_steps

ECHO_TRAIN = f"{Path(__file__).parents[1]}/support/echoes.py"

EXPERIMENT = {
    "title": "T2 of two echoes",
    "sequence": {"function": f"{ECHO_TRAIN}:echo_train", "pulses": "instantaneous"},
    "parameters": {"spacing": {"start": 0.02, "lower": 0.006, "learning_rate": 2e-3}},
    "image": {"matrix": [N, 1]},
    "reconstruction": {"function": f"{ECHO_TRAIN}:t2", "settings": {"largest": 0.2}},
    "loss": {"function": f"{ECHO_TRAIN}:apart"},
    "optimizer": {
        "iterations": 3,
        "noise": 1e-4,
        "optimizer": {"name": "AdamW", "settings": {"weight_decay": 0.0}},
        "scheduler": {"name": "ExponentialLR", "settings": {"gamma": 0.5}},
    },
}


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """Run an experiment whose image is a map of T2; returns its files."""
    return run_steps(Experiment(**EXPERIMENT), bar(), tmp_path_factory.mktemp("results"))


def test_the_image_is_what_the_reconstruction_makes(fitted):
    spacing = load_tensors(fitted.parameters)[0]["spacing"]
    best = int(load_tensors(fitted.parameters)[1]["best_iteration"])
    stages = {START: 0, OPTIMIZED: best}
    for stage, iteration in stages.items():
        model = ImagingModel(
            echo_train, bar(), matrix=(N, 1), pulses="instantaneous", accuracy=1e-2
        )
        first, second = model({"spacing": spacing[iteration]}).images.abs()
        # Two echoes of a spin echo train, s1 = s exp(-TE / T2) and s2 = s exp(-2 TE / T2)
        expected = spacing[iteration] / torch.log(first / second)
        for image in (
            fitted.image(stage), fitted.imported(stage), fitted.judge(stage, "instantaneous"),
        ):  # fmt: skip
            found = load_tensors(image)[0]["image"]
            assert found.shape == (N, 1)
            assert not found.is_complex()
            inside = bar().mask("short", (N, 1))
            assert found[inside].mean() == pytest.approx(float(expected[inside].mean()), rel=0.05)


def test_optimizer_and_scheduler_are_those_that_are_named(fitted):
    spacing = load_tensors(fitted.parameters)[0]["spacing"]
    steps = spacing.diff().abs()
    # The first step of Adam is its learning rate, and the schedule halves it from step to step
    assert steps[0] == pytest.approx(2e-3, rel=1e-3)
    assert (steps[1:] < 0.8 * steps[:-1]).all()


def test_it_is_judged_reported_and_evaluated_on_other_phantoms(fitted):
    rows = json.loads(fitted.validation.read_text())
    assert [row["stage"] for row in rows] == [START, OPTIMIZED]
    assert all(row["import_vs_trace_nrmse"] < 1e-2 for row in rows)
    numbers = json.loads(fitted.evaluation.read_text())
    assert numbers["stages"][OPTIMIZED]["nrmse_to_start"] > 0
    # Two echoes have no one point-spread function
    assert numbers["stages"][START]["point_spread_width_m"] is None
    (row,) = pd.read_csv(fitted.robustness).to_dict("records")
    assert row["noisy_gain_sd"] > 0


def test_without_one_all_images_are_shown(tmp_path):
    experiment = Experiment(
        **{
            **EXPERIMENT,
            "reconstruction": None,
            "loss": {"function": f"{ECHO_TRAIN}:later_echo"},
            "optimizer": {"iterations": 1},
        }
    )
    files = run_steps(experiment, bar(), tmp_path)
    assert load_tensors(files.image(START))[0]["image"].shape == (ECHOES, N, 1)
    rows = json.loads(files.validation.read_text())
    assert all(row["passed"] for row in rows)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"function": f"{ECHO_TRAIN}:missing"}, r"has no function 'missing'"),
        (
            {"function": f"{ECHO_TRAIN}:t2", "settings": {"smallest": 1}},
            r"reconstruction '.*:t2': got an unexpected keyword argument 'smallest'",
        ),
    ],
)
def test_a_reconstruction_that_cannot_be_meant_is_refused(given, message):
    with pytest.raises(ConfigError, match=message):
        make_reconstruction(ReconstructionSettings(**given))


def test_a_reconstruction_that_fails_says_where():
    def broken(acquisition):
        return acquisition.images[7]

    model = ImagingModel(echo_train, bar(), matrix=(N, 1), reconstruction=broken)
    with pytest.raises(SimulationError, match=r"the reconstruction fails: IndexError: .*line"):
        _ = model({}).image


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        ({"optimizer": {"name": "Adem"}}, "torch.optim has no 'Adem'"),
        ({"optimizer": {"name": "AdamW", "settings": {"decay": 1}}}, "AdamW: .*'decay'"),
        ({"scheduler": {"name": "Adam"}}, "torch.optim.lr_scheduler has no 'Adam'"),
    ],
)
def test_an_optimizer_that_torch_does_not_have_is_refused(optimizer, message):
    given = {**EXPERIMENT, "optimizer": {"iterations": 1, **optimizer}}
    with pytest.raises(ConfigError, match=message):
        optimizer_settings(read(Experiment, given, "my.yaml").optimizer)
