"""The project's own sequences: timing, trajectory, definitions, and the very same file."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from pulseq_zero.conversion import SequenceModel

PARAMETERS = {
    "epi_ir": {"TI": torch.tensor(1.0, dtype=torch.float64)},
    "tse": {
        "flip_angles": torch.tensor([np.pi / 2] + [np.pi] * 16, dtype=torch.float64).repeat(5, 1)
    },
}


@pytest.fixture(params=["epi_ir", "tse"])
def name(request):
    return request.param


@pytest.fixture
def function(name, request):
    return request.getfixturevalue(name)


def traced(function, name):
    model = SequenceModel(function, arguments={})
    return model, model({k: v.clone().requires_grad_() for k, v in PARAMETERS[name].items()})


def test_timing_and_definitions(function, name):
    sequence = function()
    passed, errors = sequence.check_timing()
    assert passed, errors
    assert sequence.definitions["Name"] == name
    assert list(sequence.definitions["FOV"]) == [0.224, 0.224, 0.005]


def test_the_script_writes_the_same_file_alone_and_traced(function, name, root, tmp_path):
    subprocess.run(
        [sys.executable, root / f"sequences/{name}.py"], cwd=tmp_path, check=True, timeout=120
    )
    alone = (tmp_path / f"{name}.seq").read_bytes()
    model, _ = traced(function, name)
    model.sequence.write(str(tmp_path / "traced.seq"))
    assert (tmp_path / "traced.seq").read_bytes() == alone


def test_k_space_is_a_full_cartesian_grid(function, name):
    _, repetitions = traced(function, name)
    steps = (repetitions.detach().kspace()[:, :2] * 0.224).numpy()
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-6)
    grid = {tuple(step) for step in np.round(steps).astype(int)}
    assert grid == {(x, y) for x in range(-32, 32) for y in range(-32, 32)}


def test_epi_lines_alternate(epi_ir):
    _, repetitions = traced(epi_ir, "epi_ir")
    kx = repetitions.detach().kspace()[:, 0].reshape(64, 64)
    slopes = (kx[:, -1] - kx[:, 0]).sign()
    assert slopes.tolist() == [1.0, -1.0] * 32


def test_the_inversion_time_is_that_between_the_pulse_centres(epi_ir):
    _, repetitions = traced(epi_ir, "epi_ir")
    durations = [t.detach().sum() for t in repetitions.event_time.split(repetitions.event_count)]
    assert float(durations[1] + durations[2]) == pytest.approx(1.0, abs=1e-9)
    degrees = torch.rad2deg(repetitions.pulse_angle.detach())
    assert degrees.tolist() == pytest.approx([90, 180, 90, 90], abs=1e-6)


def test_a_too_short_inversion_time_is_refused(epi_ir):
    with pytest.raises(ValueError, match="too short"):
        epi_ir(TI=1e-3)


def test_tse_is_a_cpmg_train(tse):
    model, repetitions = traced(tse, "tse")
    durations = [
        float(t.detach().sum()) for t in repetitions.event_time.split(repetitions.event_count)
    ]
    assert durations[0] == pytest.approx(6e-3, abs=1e-9)
    assert durations[1:16] == pytest.approx([12e-3] * 15, abs=1e-9)
    # From excitation to excitation it is TR
    assert sum(durations[:17]) == pytest.approx(2.0, abs=1e-9)
    # Excitation along y, refocusing along x
    phases = repetitions.pulse_phase[:3].detach() % (2 * torch.pi)
    assert phases.tolist() == pytest.approx([np.pi / 2, 0, 0], abs=1e-9)
    # Each echo forms at the centre of k-space: no dephasing time is left there
    kspace = repetitions.detach().kspace()
    centre = kspace[kspace[:, 0].abs() < 1e-6]
    assert float(centre[:, 3].abs().max()) < 1e-9
    # The first shot is not measured
    assert not bool(repetitions.adc_usage[: sum(repetitions.event_count[:17])].any())
    assert model.sequence.duration()[0] == pytest.approx(5 * 2.0, abs=1e-3)


def test_tse_takes_other_trains(tse):
    flips = np.full((3, 9), 2.0)
    sequence = tse(flip_angles=flips)
    assert len(sequence.adc_times()[0]) == 2 * 8 * 64
    with pytest.raises(ValueError, match="too short"):
        tse(TE=5e-3)
    with pytest.raises(ValueError, match="too short"):
        tse(TR=0.1)
