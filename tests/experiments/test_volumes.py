"""Experiments on volumes, in all steps of the pipeline, and their exports."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from pulseq_zero.cli.export import export_results
from pulseq_zero.experiments.settings import Experiment
from pulseq_zero.experiments.stages import OPTIMIZED, START
from pulseq_zero.files.store import load_tensors
from support.volumes import FOV, MATRIX, box
from support.whole_run import run_steps

VOLUMES = f"{Path(__file__).parents[1]}/support/volumes.py"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    experiment = Experiment(
        title="A volume",
        sequence={"function": f"{VOLUMES}:volume", "pulses": "instantaneous"},
        parameters={"flip": {"start": 0.08, "lower": 0.01, "learning_rate": 0.03}},
        image={"matrix": list(MATRIX)},
        loss={"function": f"{VOLUMES}:brighter"},
        optimizer={"iterations": 2},
    )
    return run_steps(experiment, box(), tmp_path_factory.mktemp("results"), tolerance=0.1)


def test_a_volume_is_optimized_judged_and_reported(files):
    rows = json.loads(files.validation.read_text())
    assert [row["stage"] for row in rows] == [START, OPTIMIZED]
    assert rows[1]["loss_optimizer"] < rows[0]["loss_optimizer"]
    assert all(row["passed"] for row in rows)
    stored, metadata = load_tensors(files.image(OPTIMIZED))
    assert stored["image"].shape == (2, *MATRIX)
    assert metadata["fov"] == pytest.approx(FOV)
    numbers = json.loads(files.evaluation.read_text())
    assert 0 < numbers["stages"][OPTIMIZED]["ssim_to_start"] < 1


def test_its_exported_images_lie_where_the_phantom_does(files):
    nifti = next(path for path in export_results(files) if path.name == "optimized.nii.gz")
    stored = nibabel.load(nifti)
    # Of each echo a volume
    assert stored.shape == (*MATRIX, 2)
    values = np.asarray(stored.dataobj)[..., 0]
    bright = np.argwhere(values > 0.5 * values.max()).mean(0)
    phantom = box()
    expected = np.argwhere((phantom.masks["brain"] > 0).numpy()).mean(0)
    size = np.array(FOV) / MATRIX
    centre = (expected - np.array(MATRIX) // 2) * size
    found = nibabel.affines.apply_affine(stored.affine, bright) / 1e3
    np.testing.assert_allclose(found, centre, atol=0.5 * size.max())
    np.testing.assert_allclose(np.abs(np.diag(stored.affine)[:3]), 1e3 * size, rtol=1e-6)
