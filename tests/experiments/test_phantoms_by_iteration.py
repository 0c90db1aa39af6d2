"""Experiments whose phantoms are others in each iteration of the optimization."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pulseq_zero.errors import ConfigError
from pulseq_zero.experiments.optimization import optimize_experiment
from pulseq_zero.experiments.phantoms import phantoms_by_iteration
from pulseq_zero.experiments.plan import check_experiment
from pulseq_zero.experiments.section import read
from pulseq_zero.experiments.settings import Experiment, PhantomsSettings, SimulationSettings
from pulseq_zero.experiments.stages import OPTIMIZED, START
from pulseq_zero.files.store import load_tensors
from pulseq_zero.imaging.model import ImagingModel
from support.echoes import N, bar, echo_train
from support.whole_run import run_steps

ECHOES = f"{Path(__file__).parents[1]}/support/echoes.py"
COARSE = SimulationSettings(accuracy=1e-2, tight_accuracy=1e-3)

EXPERIMENT = {
    "title": "Bars of any T2",
    "sequence": {"function": f"{ECHOES}:echo_train", "pulses": "instantaneous"},
    "parameters": {"spacing": {"start": 0.02, "lower": 0.006, "learning_rate": 1e-3}},
    "image": {"matrix": [N, 1]},
    "phantoms": {"function": f"{ECHOES}:bars_by_iteration", "settings": {"count": 2}},
    "loss": {"function": f"{ECHOES}:as_at_the_start"},
    "optimizer": {"iterations": 3, "verify_every": 2},
}


def optimized(change=None, **settings):
    experiment = Experiment(**{**EXPERIMENT, **(change or {})})
    return optimize_experiment(experiment, COARSE, [bar()], progress=False, **settings)[0]


def test_the_loss_is_made_of_the_phantom_that_is_imaged():
    """Of each phantom its start image and its masks, not those of the experiment's own."""
    result = optimized()
    # At the start values the image is that of the start, in all pixels of what is imaged
    assert result.history["changed"][0] == pytest.approx(0, abs=1e-12)
    assert result.history["changed"][1] > 1e-12
    assert result.history["pixels"].to_list() == [6.0, 8.0, 6.0, 8.0]


def test_a_batch_is_the_mean_over_its_phantoms():
    alone = [
        optimized({"phantoms": {**EXPERIMENT["phantoms"], "settings": {"count": 2, "first": n}}})
        for n in (0, 1)
    ]
    both = optimized(
        {"phantoms": {**EXPERIMENT["phantoms"], "settings": {"count": 2, "batch": True}}}
    )
    for term in ("pixels", "brightness"):
        mean = sum(each.history[term][0] for each in alone) / 2
        assert both.history[term][0] == pytest.approx(mean, rel=1e-6)


def test_it_goes_on_from_its_checkpoint(tmp_path):
    file = tmp_path / "checkpoint.safetensors"
    optimized(iterations=2, checkpoint=file, checkpoint_seconds=0.0)
    rest = optimized(iterations=4, checkpoint=file)
    whole = optimized(iterations=4)
    assert torch.equal(rest.parameters["spacing"], whole.parameters["spacing"])
    assert rest.history["verified_loss"].equals(whole.history["verified_loss"])


def test_a_checkpoint_of_other_phantoms_is_refused(tmp_path):
    file = tmp_path / "checkpoint.safetensors"
    optimized(iterations=1, checkpoint=file)
    other = {"phantoms": {**EXPERIMENT["phantoms"], "settings": {"count": 3}}}
    with pytest.raises(Exception, match="belongs to a run with other settings"):
        optimized(other, iterations=2, checkpoint=file)
    other = {"loss": {**EXPERIMENT["loss"], "settings": {"share": 0.4}}}
    with pytest.raises(Exception, match="belongs to a run with other settings"):
        optimized(other, iterations=2, checkpoint=file)


def test_the_own_phantom_is_given_to_who_asks_for_it():
    given = PhantomsSettings(function=f"{ECHOES}:bars_by_iteration", settings={"count": 4})
    own = replace(bar(), slice_thickness=7e-3)
    made = phantoms_by_iteration(given, own)(3)
    assert made.slice_thickness == 7e-3


@pytest.mark.parametrize(
    ("phantoms", "message"),
    [
        ({"function": f"{ECHOES}:bar"}, "phantoms '.*:bar': too many positional arguments"),
        (
            {"function": f"{ECHOES}:bars_by_iteration", "settings": {"size": 1}},
            "phantoms '.*bars_by_iteration': got an unexpected keyword argument 'size'",
        ),
        ({"function": "subprocess:call"}, "is no function of the project"),
    ],
)
def test_functions_that_cannot_be_called_so_are_refused_before_anything_runs(
    phantoms, message, monkeypatch, root
):
    monkeypatch.chdir(root)
    experiment = Experiment(**{**EXPERIMENT, "phantoms": phantoms})
    with pytest.raises(ConfigError, match=message):
        check_experiment(experiment, [])


def test_what_is_no_phantom_is_named():
    given = {"phantoms": {"function": f"{ECHOES}:no_phantom"}}
    with pytest.raises(ConfigError, match="no_phantom', iteration 0: it returns float, but must"):
        optimized(given)
    given["phantoms"]["settings"] = {"fails": True}
    with pytest.raises(ConfigError, match="no_phantom', iteration 0: it fails: ZeroDivisionError"):
        optimized(given)


def test_an_ensemble_beside_them_is_refused():
    with pytest.raises(ConfigError, match="phantoms: an ensemble comes from their function, too"):
        read(Experiment, {**EXPERIMENT, "ensemble": [{"matrix": 8}]}, "a file")


def test_all_else_is_done_on_the_own_phantom(tmp_path):
    experiment = Experiment(**{**EXPERIMENT, "optimizer": {"iterations": 2}})
    files = run_steps(experiment, bar(), tmp_path)
    parameters, found = load_tensors(files.parameters)
    model = ImagingModel(echo_train, bar(), matrix=(N, 1), pulses="instantaneous", accuracy=1e-2)
    for stage, at in ((START, 0), (OPTIMIZED, int(found["best_iteration"]))):
        with torch.no_grad():
            expected = model({"spacing": parameters["spacing"][at]}).images
        image = load_tensors(files.image(stage))[0]["image"]
        assert (image - expected).abs().max() < 1e-3 * expected.abs().max()
    rows = json.loads(files.validation.read_text())
    # All of its pixels, and those of no other
    assert [row["stage"] for row in rows] == [START, OPTIMIZED]
    assert rows[0]["loss_tight"] == pytest.approx(10, abs=0.1)
