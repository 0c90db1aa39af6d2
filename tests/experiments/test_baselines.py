"""What optimized flip angles are compared with, and the numbers of the comparison."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pulseq_zero.conversion import convert
from pulseq_zero.errors import ConfigError
from pulseq_zero.experiments.baselines import baseline_table
from pulseq_zero.experiments.evaluation import measured_shots, powers, region_errors
from pulseq_zero.experiments.plan import read_plan
from pulseq_zero.experiments.section import read
from pulseq_zero.experiments.settings import Experiment
from pulseq_zero.files.loading import load_function

ROOT = Path(__file__).parents[2]
TRAIN = str(ROOT / "sequences" / "refocusing_trains.py")


@pytest.fixture(scope="module")
def tse():
    return load_function("sequences/tse.py:tse", ROOT)


def experiment(tmp_path, body):
    """Make an experiment of a short train with a baseline of one's own."""
    (tmp_path / "trains.py").write_text(f"import numpy as np\ndef train(x):\n    return {body}\n")
    content = {
        "title": "Toy",
        "sequence": {"function": f"{ROOT}/sequences/tse.py:tse", "arguments": {"n_read": 16}},
        "parameters": {"flip_angles": {"start": [[1.57, 3.14, 3.14, 3.14, 3.14]] * 5}},
        "loss": {"function": "pulseq_zero.optimization.losses:error_and_power"},
        "optimizer": {"iterations": 1},
        "figure": "flip_angles",
        "sweep": {"loss.settings.sar_weight": [0.1]},
        "baselines": {"equal": {"function": f"{tmp_path}/trains.py:train", "values": [3.14, 2.0]}},
    }
    return read(Experiment, content, "toy")


def test_a_baseline_has_the_numbers_of_a_stage(small_brain, tmp_path):
    toy = experiment(tmp_path, "np.array([[1.57, x, x, x, x]] * 5)")
    measured = torch.tensor([False, True, True, True, True])
    table = baseline_table(toy, small_brain, measured, accuracy=1e-2)
    assert table["baseline"].tolist() == ["equal", "equal"]
    assert table["value"].tolist() == [3.14, 2.0]
    # The start itself
    start = table.iloc[0]
    assert start["relative_sar"] == pytest.approx(1)
    assert start["nrmse_to_start"] == pytest.approx(0, abs=1e-6)
    assert start["nrmse_brain"] == pytest.approx(0, abs=1e-6)
    lower = table.iloc[1]
    power = (1.57**2 + 4 * 2.0**2) / (1.57**2 + 4 * 3.14**2)
    assert lower["relative_sar"] == pytest.approx(power)
    assert lower["relative_sar_measured"] == pytest.approx(power)
    assert lower["nrmse_brain"] > 0.01


def test_a_baseline_of_another_shape_is_refused(small_brain, tmp_path):
    toy = experiment(tmp_path, "np.full(5, x)")
    with pytest.raises(
        ConfigError, match=r"baselines: equal: .* makes flip angles of shape \(5,\)"
    ):
        baseline_table(toy, small_brain, None, accuracy=1e-2)


def test_measured_shots_are_those_with_samples(tse):
    repetitions = convert(tse())
    angles = torch.zeros(5, 17)
    assert measured_shots(repetitions, angles).tolist() == [False, True, True, True, True]
    # Angles that are not those of all pulses tell nothing
    assert measured_shots(repetitions, torch.zeros(5, 16)) is None
    assert measured_shots(repetitions, torch.zeros(85)) is None


def test_power_is_told_with_and_without_what_is_not_measured():
    start, angles = torch.ones(2, 3), torch.tensor([[3.0, 3, 3], [0.5, 0.5, 0.5]])
    found = powers(angles, start, torch.tensor([False, True]))
    assert found["relative_sar"] == pytest.approx((9 + 0.25) / 2)
    assert found["relative_sar_measured"] == pytest.approx(0.25)
    assert "relative_sar_measured" not in powers(angles, start, None)


def test_errors_of_regions_are_theirs_alone(small_brain):
    target = torch.ones(32, 32) + 0j
    brain = small_brain.mask("brain", (32, 32))
    errors = region_errors(
        {"": torch.where(brain, 1.5 * target, 7 * target)}, {"": target}, small_brain
    )
    # No pixel of this size lies in CSF
    assert errors == {"nrmse_brain": pytest.approx(0.5)}


@pytest.mark.parametrize("name", ["constant", "stabilized", "traps"])
def test_trains_at_180_degrees_are_the_start(name, tse):
    default = np.rad2deg(load_function("sequences/tse.py:tse", ROOT).__defaults__[0])
    train = load_function(f"{TRAIN}:{name}")
    np.testing.assert_allclose(np.rad2deg(train(180.0)), default)


def test_trains_are_as_their_sources_have_them():
    stabilized = np.rad2deg(load_function(f"{TRAIN}:stabilized")(120.0))[1]
    np.testing.assert_allclose(stabilized, [90, 150, *[120] * 15])
    traps = np.rad2deg(load_function(f"{TRAIN}:traps")(60.0))[1, 1:]
    assert traps.max() == pytest.approx(180)
    # The centre of k-space: lines 0 to 3 of 64 belong to echo 9
    assert int(traps.argmax()) == 8
    assert traps[0] == pytest.approx(120) and traps[-1] == pytest.approx(60)
    assert (np.diff(traps[1:9]) > 0).all() and (np.diff(traps[8:]) < 0).all()


def test_the_runs_of_a_sweep_have_no_baselines():
    config = {
        "experiments": ["tse_sar", "tse_brain", "tse_pareto"],
        "phantom": {"source": "icbm152"},
    }
    plan = read_plan(config, ROOT / "config" / "experiments")
    assert plan.sweeps["tse_pareto"].baselines
    assert len(plan.runs) == 6
    assert all(not run.baselines for run in plan.runs.values())
