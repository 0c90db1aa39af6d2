"""Evaluation on other phantoms, and phantoms that are off by a factor."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pulseq_zero.errors import ConfigError
from pulseq_zero.experiments.experiment import sequence_setup
from pulseq_zero.experiments.robustness import robustness_table
from pulseq_zero.experiments.settings import Experiment
from pulseq_zero.files.yaml import read_yaml
from pulseq_zero.phantom import build_phantom
from pulseq_zero.phantom.settings import changed

SMALL = {"source": "icbm152", "matrix": 32}


@pytest.fixture
def tse_sar(root):
    experiment = read_yaml(root / "config/experiments/tse_sar.yaml")
    experiment["sequence"]["function"] = f"{root}/sequences/tse.py:tse"
    return experiment


def set_up(content):
    experiment = Experiment(**content)
    return sequence_setup(experiment.sequence, experiment.parameters)


def test_start_values_gain_nothing_on_any_phantom(tse_sar, small_brain):
    start = set_up(tse_sar).start
    phantoms = {"itself": small_brain, "B1": small_brain.scaled(B1=0.8)}
    table = robustness_table(Experiment(**tse_sar), start, phantoms, accuracy=1e-2)
    assert table["phantom"].tolist() == ["itself", "B1"]
    assert table["gain"].tolist() == [0.0, 0.0]
    assert table["nrmse"].abs().max() < 1e-6
    assert table["relative_sar"].tolist() == [1.0, 1.0]


def test_half_the_angles_are_a_quarter_of_the_power_and_another_image(tse_sar, small_brain):
    start = set_up(tse_sar).start
    halved = {"flip_angles": start["flip_angles"] / 2}
    (row,) = robustness_table(
        Experiment(**tse_sar), halved, {"itself": small_brain}, accuracy=1e-2
    ).to_dict("records")
    assert row["relative_sar"] == pytest.approx(0.25)
    assert row["nrmse"] > 0.1
    assert row["gain"] == pytest.approx(row["loss_start"] - row["loss_optimized"])
    # The target is the image of the start there, so at the start power is all there is
    assert row["loss_start"] == pytest.approx(1e-4 * (80 * 180**2 + 5 * 90**2) / 85, rel=1e-5)


def test_maps_are_scaled_and_values_of_tissues_replaced(small_brain):
    changes = {"scale": {"B1": 0.8, "T1": 1.1}, "tissues": {"csf": {"T1": 4.0}}}
    phantom = build_phantom({**SMALL, **changes})
    for name, before in small_brain.pools.items():
        after = phantom.pools[name]
        torch.testing.assert_close(after.B1, 0.8 * before.B1)
        torch.testing.assert_close(after.T2, before.T2)
        T1 = torch.full_like(before.T1, 4.0) if name == "csf" else before.T1
        torch.testing.assert_close(after.T1, 1.1 * T1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale": {"B2": 1}}, r"phantom\.scale: unknown key 'B2'; the keys are B0, B1, D, PD"),
        ({"scale": {"T1": 0}}, r"phantom\.scale\.T1: 0 is less than or equal to the minimum of 0"),
        ({"tissues": {"fat": {}}}, r"phantom\.tissues: unknown key 'fat'; the keys are csf, gm"),
        ({"tissues": {"csf": {"T3": 1}}}, r"phantom\.tissues\.csf: unknown key 'T3'"),
        ({"tissues": {"csf": {"T1": -1}}}, r"phantom\.tissues\.csf\.T1: -1 is less than"),
    ],
)
def test_changes_that_cannot_be_meant_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        build_phantom({**SMALL, **change})


def test_changes_go_into_the_phantoms_settings():
    config = {"source": "icbm152", "scale": {"T1": 1.1}, "matrix": 64}
    assert changed(config, {"scale": {"B1": 0.8}, "matrix": 32}) == {
        "source": "icbm152",
        "scale": {"T1": 1.1, "B1": 0.8},
        "matrix": 32,
    }
    assert config["scale"] == {"T1": 1.1}
    other = {"source": "npz", "file": "a.npz"}
    assert changed(config, other) == other


def test_an_optimization_can_begin_elsewhere_than_at_the_start_values(tse_sar):
    tse_sar["parameters"]["flip_angles"]["begin"] = 1.5
    setup = set_up(tse_sar)
    np.testing.assert_array_equal(setup.parameters["flip_angles"].start, np.full((5, 17), 1.5))
    assert float(setup.start["flip_angles"][0, 1]) == pytest.approx(np.pi)


@pytest.mark.parametrize(
    ("begin", "message"),
    [
        ([1.0, 2.0], r"begin: must be one number or have the shape of the start values, \(5, 17\)"),
        (7.0, "parameter 'flip_angles': a start value lies outside the bounds"),
    ],
)
def test_a_wrong_begin_is_refused(tse_sar, begin, message):
    tse_sar["parameters"]["flip_angles"]["begin"] = begin
    with pytest.raises(ConfigError, match=message):
        set_up(tse_sar)
