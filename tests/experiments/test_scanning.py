"""Brute-force scans: their minimum, how sure it is, and what moves it."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch

from pulseq_zero.errors import ConfigError
from pulseq_zero.experiments import scanning
from pulseq_zero.experiments.layout import RunFiles
from pulseq_zero.experiments.scanning import optimum_uncertainty, scan_optimum
from pulseq_zero.experiments.settings import Experiment, with_sections
from pulseq_zero.experiments.stages import START
from pulseq_zero.experiments.steps import scan as step
from pulseq_zero.files.store import load_table, save_tensors
from pulseq_zero.phantom import build_phantom
from support.acquisitions import showing


def test_the_optimum_of_a_scan_lies_between_its_points():
    values = torch.linspace(0, 3, 13, dtype=torch.float64)
    scan = pd.DataFrame({"TI": values, "loss": (values - 1.3) ** 2})
    assert scan_optimum(scan, "TI") == pytest.approx(1.3)
    # At the border there is nothing to refine
    assert scan_optimum(pd.DataFrame({"TI": values, "loss": values}), "TI") == 0.0


def test_the_uncertainty_is_the_standard_error_of_the_pixels(monkeypatch):
    """Pixels whose parabolas have minima of their own: that of their mean is the mean of these."""
    monkeypatch.setattr(scanning, "_RESAMPLES", 2000)
    minima = 0.1 * torch.randn(8, 8, generator=torch.Generator().manual_seed(1)).double()
    values = torch.linspace(-1, 1, 41, dtype=torch.float64)
    images = (values[:, None, None] - minima).square()
    inside = torch.zeros(8, 8, dtype=torch.bool)
    inside[:5] = True
    # What lies outside of all regions is drawn for nobody
    images[:, ~inside] = torch.nan
    other = torch.zeros(8, 8, dtype=torch.bool)
    other[0, 0] = True

    def loss(parameters, image):
        assert image[other] == (parameters["x"] - minima[other]).square()
        return image[inside].mean()

    parameters = [{"x": value} for value in values]
    shown = [{"": showing(image)} for image in images]
    found = optimum_uncertainty(values, loss, parameters, shown, [inside, other])
    alike = minima[inside & ~other]
    expected = float(alike.std(correction=0)) * math.sqrt(len(alike)) / int(inside.sum())
    assert found == pytest.approx(expected, rel=0.05)


@pytest.fixture(scope="module")
def scanned(root, tmp_path_factory):
    """Scan inversion times of a coarse brain, as the pipeline does."""
    folder = tmp_path_factory.mktemp("scan")
    brain = {"matrix": 32}
    build_phantom(brain).save(folder / "phantom.safetensors")
    start = RunFiles(folder, "small")
    save_tensors(start.image(START), {"image": torch.ones(16, 16) + 0j})
    content = {
        "title": "Small",
        "sequence": {
            "function": f"{root}/sequences/epi_ir.py:epi_ir",
            "arguments": {"n_read": 16, "n_phase": 16},
        },
        "parameters": {"TI": {"start": 2.0}},
        "loss": {
            "function": "pulseq_zero.optimization.losses:contrast",
            "settings": {"share": 0.3},
        },
        "optimizer": {"iterations": 1},
        "scan": {"parameter": "TI", "first": 2.0, "last": 4.0, "count": 9},
    }
    nothing_else = {tissue: {"PD": 0} for tissue in ("gm", "wm", "scalp")}

    def run(first=2.8, last=3.2):
        alone = Experiment(
            **content | {
                "loss": {**content["loss"], "settings": {"share": 0.3, "bright": None}},
                "scan": {"parameter": "TI", "first": first, "last": last, "count": 9},
            }
        )  # fmt: skip
        phantom = {**build_phantom(brain).origin["settings"], "tissues": nothing_else}
        step.run(
            Experiment(**content),
            {"alone": {"experiment": with_sections(alone, step.SECTIONS), "phantom": phantom}},
            1e-3,
            {},
            folder / "phantom.safetensors",
            start,
            folder / "scan.csv",
            folder / "minima.csv",
        )
        return load_table(folder / "scan.csv"), load_table(folder / "minima.csv")

    return run


def test_a_scan_has_its_minimum_beside_that_of_its_variants(scanned):
    table, minima = scanned()
    assert list(table) == ["TI", "csf", "brain", "loss"]
    assert minima["variant"].tolist() == ["as it is", "alone"]
    assert minima["TI"][0] == scan_optimum(table, "TI")
    assert minima["loss"][0] == table["loss"].min()
    # Alone, its null is that of inversion recovery, but for what the inversion leaves
    assert minima["TI"][1] == pytest.approx(math.log(2) * 4.3, rel=0.01)
    assert (minima["uncertainty"] > 0).all()


def test_a_variant_whose_minimum_may_lie_beyond_its_range_is_refused(scanned):
    with pytest.raises(ConfigError, match=r"'alone' is lowest at an end of the range, 3\.2; widen"):
        scanned(3.2, 3.6)


def test_a_loss_that_asks_for_no_regions_has_no_uncertainty(root):
    experiment = Experiment(
        title="Whole",
        sequence={
            "function": f"{root}/sequences/epi_ir.py:epi_ir",
            "arguments": {"n_read": 8, "n_phase": 8},
        },
        parameters={"TI": {"start": 2.0}},
        loss={"function": f"{__file__}:whole"},
        optimizer={"iterations": 1},
        scan={"parameter": "TI", "first": 1.0, "last": 2.0, "count": 3},
    )
    phantom = build_phantom({"matrix": 16})
    found = scanning.scan(experiment, phantom, None, accuracy=0.1, simulator={})
    assert np.isnan(found.uncertainty)


def whole(context):
    def loss(parameters, image):
        return image.abs().mean()

    return loss
