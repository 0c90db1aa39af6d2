"""The images that are reported: accurate enough that they do not change, or refused."""

import math

import numpy as np
import pytest
import torch

from pulseq_zero.errors import SimulationError
from pulseq_zero.experiments.settings import only_sections
from pulseq_zero.experiments.stages import START
from pulseq_zero.experiments.steps import simulate as simulation
from pulseq_zero.experiments.steps import trace
from pulseq_zero.files.store import load_tensors

EXPERIMENT = only_sections(
    {
        "sequence": {
            "function": "sequences/tse.py:tse",
            "arguments": {"n_read": 16},
            "pulses": "instantaneous",
        },
        "parameters": {
            "flip_angles": {"start": np.tile([math.pi / 2] + [math.pi] * 8, (3, 1)).tolist()}
        },
        "image": {},
        "sequences": {},
        "reconstruction": None,
        "modules": {},
    }
)


@pytest.fixture
def simulated(tmp_path, small_brain, root, monkeypatch):
    """Simulate the start of a short TSE; returns its tensors and metadata."""
    monkeypatch.chdir(root)
    phantom, sequence = tmp_path / "phantom.safetensors", tmp_path / "sequence.safetensors"
    small_brain.save(phantom)
    trace.run(EXPERIMENT, START, sequence, tmp_path / "traced.seq")

    def simulate(accuracy, change):
        image = tmp_path / "tse" / "start" / "image.safetensors"
        simulation.run(EXPERIMENT, accuracy, change, {}, phantom, sequence, image)
        return load_tensors(image)

    return simulate


def test_the_accuracy_is_raised_until_the_image_stays(simulated):
    loose, as_asked = simulated(1e-1, None)
    assert as_asked["accuracy"] == 1e-1
    assert as_asked["change"] is None
    tight, found = simulated(1e-1, 1e-2)
    assert found["accuracy"] < 1e-1
    assert 0 < found["change"] <= 1e-2
    moved = torch.linalg.vector_norm(tight["image"] - loose["image"])
    assert moved > 1e-2 * torch.linalg.vector_norm(tight["image"])


def test_an_accuracy_that_is_enough_is_left_as_it_is(simulated):
    _, found = simulated(1e-5, 1e-3)
    assert found["accuracy"] == 1e-5
    assert found["change"] <= 1e-3


def test_an_image_that_does_not_stay_is_refused(simulated):
    with pytest.raises(SimulationError, match=r"tse/start: the image still .*tight_accuracy"):
        simulated(1e-8, 1e-9)
