"""Evaluation on other phantoms, and phantoms that are off by a factor."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pulseq_zero.errors import ConfigError
from pulseq_zero.experiments.experiment import make_loss, sequence_setup
from pulseq_zero.experiments.robustness import robustness_table
from pulseq_zero.experiments.settings import Experiment, NoiseSettings
from pulseq_zero.experiments.summary import out_of_sample_table
from pulseq_zero.files.yaml import read_yaml
from pulseq_zero.imaging.model import ImagingModel
from pulseq_zero.optimization.loss import loss_of
from pulseq_zero.optimization.losses import LossContext
from pulseq_zero.phantom import build_phantom
from pulseq_zero.phantom.settings import changed
from support.acquisitions import showing

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


def test_noise_of_scans_that_are_alike_is_paired_away(tse_sar, small_brain):
    start = set_up(tse_sar).start
    noise = NoiseSettings(count=8)
    (row,) = robustness_table(
        Experiment(**tse_sar), start, {"itself": small_brain}, accuracy=1e-2, noise=noise
    ).to_dict("records")
    assert row["noisy_gain"] == pytest.approx(0, abs=1e-6)
    assert row["noisy_gain_sd_paired"] == pytest.approx(0, abs=1e-6)
    # Two scans differ by the noise of both
    assert row["noisy_gain_sd"] > 1e-3


def test_the_gain_in_noise_is_that_of_scans_with_the_noise_that_was_asked_for(tse_sar, small_brain):
    """Against noise added here to the images, which is white there as well on a full grid."""
    experiment, setup = Experiment(**tse_sar), set_up(tse_sar)
    values = {"flip_angles": 0.7 * setup.start["flip_angles"]}
    noise = NoiseSettings(snr=10.0, count=400, seed=3)
    (row,) = robustness_table(
        experiment, values, {"itself": small_brain}, accuracy=1e-2, noise=noise
    ).to_dict("records")
    model = ImagingModel(setup.function, small_brain, arguments=setup.arguments, accuracy=1e-2)
    with torch.no_grad():
        images = [model(setup.start).image, model(values).image]
    context = LossContext(small_brain, images[0], setup.start)
    loss = make_loss(experiment.loss, context)
    sigma = float(images[0].abs()[context.region("brain")].mean()) / 10.0
    generator = np.random.default_rng(0)

    def losses(parameters, image):
        for _ in range(400):
            drawn = generator.normal(0, sigma, (2, *image.shape))
            noisy = image + torch.from_numpy(drawn[0] + 1j * drawn[1])
            yield loss_of(loss, parameters, showing(noisy))

    before = np.array(list(losses(setup.start, images[0])))
    after = np.array(list(losses(values, images[1])))
    assert row["noisy_gain_sd"] == pytest.approx((before - after).std(), rel=0.15)
    error = row["noisy_gain_sd"] / np.sqrt(200)
    assert row["noisy_gain"] == pytest.approx((before - after).mean(), abs=4 * error)
    assert row["gain"] == pytest.approx(
        loss_of(loss, setup.start, showing(images[0])) - loss_of(loss, values, showing(images[1]))
    )


def test_noise_is_no_other_for_a_louder_image_that_is_scaled(tse_sar, small_brain):
    """A ratio is one: twice the signal has twice the noise."""
    tse_sar["loss"]["settings"]["sar_weight"] = 0.0
    values = {"flip_angles": 0.7 * set_up(tse_sar).start["flip_angles"]}
    phantoms = {"once": small_brain, "twice": small_brain.scaled(PD=2.0)}
    table = robustness_table(Experiment(**tse_sar), values, phantoms, accuracy=1e-2)
    once, twice = table.to_dict("records")
    for column in ("gain", "noisy_gain", "noisy_gain_sd", "noisy_gain_sd_paired"):
        assert twice[column] == pytest.approx(4 * once[column], rel=1e-3)


def test_the_table_of_other_phantoms_has_a_row_for_each():
    def row(experiment, phantom, gain):
        noisy = {"noisy_gain": gain, "noisy_gain_sd": 0.00131, "noisy_gain_sd_paired": 1.0}
        return {"experiment": experiment, "phantom": phantom, "nrmse": 0.04029, **noisy}

    rows = [row("a", "own", 0.63209), row("a", "lesions", 0.6), row("b", "own", 1.4)]
    table = out_of_sample_table([*rows, row("b", "lesions", 1.3)])
    assert table["Phantom"].tolist() == ["own", "lesions"]
    assert table["a: gain in noise"].tolist() == ["0.6321 ± 0.001", "0.6 ± 0.001"]
    assert table["b: gain in noise"].tolist() == ["1.4 ± 0.001", "1.3 ± 0.001"]
    assert table["a: NRMSE"].tolist() == ["0.040", "0.040"]


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
