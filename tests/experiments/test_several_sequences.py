"""Experiments of several sequences, which share parameters."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import torch

from pulseq_zero.errors import ConfigError, SequenceError
from pulseq_zero.experiments.models import setups_of
from pulseq_zero.experiments.plan import check_experiment
from pulseq_zero.experiments.section import read
from pulseq_zero.experiments.settings import Experiment
from pulseq_zero.experiments.stages import OPTIMIZED, START, of_sequence
from pulseq_zero.files.store import load_tensors
from support.echoes import N, bar, echo_train
from support.whole_run import run_steps

ECHOES = f"{Path(__file__).parents[1]}/support/echoes.py"
NAMES = ("full", "half")
PLAYED = {"function": f"{ECHOES}:echo_train"}

EXPERIMENT = {
    "title": "Two trains",
    "sequences": {
        "full": {"function": f"{ECHOES}:echo_train", "pulses": "instantaneous"},
        "half": {
            "function": f"{ECHOES}:echo_train",
            "arguments": {"flip_angle": 1.5},
            "pulses": "instantaneous",
        },
    },
    "parameters": {
        "spacing": {"start": 0.02, "lower": 0.006, "learning_rate": 1e-3},
        "scale": {
            "start": [1.0, 2.0],
            "lower": [0.5, 0.5],
            "upper": [1.2, 9.0],
            "learning_rate": 0.1,
            "in_sequence": False,
        },
    },
    "image": {"matrix": [N, 1]},
    "loss": {"function": f"{ECHOES}:scaled_ratio"},
    "optimizer": {"iterations": 3},
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return run_steps(Experiment(**EXPERIMENT), bar(), tmp_path_factory.mktemp("results"))


def test_each_sequence_is_exported_as_its_function_makes_it(files, tmp_path):
    parameters, found = load_tensors(files.parameters)
    spacing = float(parameters["spacing"][int(found["best_iteration"])])
    for name, angle in zip(NAMES, (torch.pi, 1.5), strict=True):
        echo_train(spacing, angle).write(str(tmp_path / "own.seq"))
        exported = files.seq(of_sequence(OPTIMIZED, name))
        assert exported.read_bytes() == (tmp_path / "own.seq").read_bytes()


def test_a_parameter_of_the_loss_alone_is_optimized_within_bounds_of_its_elements(files):
    scale = load_tensors(files.parameters)[0]["scale"]
    assert scale.shape == (4, 2)
    assert not torch.equal(scale[0], scale[-1])
    assert (scale <= torch.tensor([1.2, 9.0])).all()


def test_all_are_judged_and_reported(files):
    stages = [of_sequence(end, name) for name in NAMES for end in (START, OPTIMIZED)]
    rows = json.loads(files.validation.read_text())
    assert [row["stage"] for row in rows] == stages
    assert all(row["passed"] for row in rows)
    # The loss is that of all sequences together
    assert rows[1]["loss_bloch"] == rows[3]["loss_bloch"] < rows[0]["loss_bloch"]
    numbers = json.loads(files.evaluation.read_text())
    assert sorted(numbers["stages"]) == sorted(stages)
    assert numbers["export"]["optimized/half"]["identical_to_plain_pypulseq"] is True
    limits = pd.read_csv(files.limits)
    assert set(limits["stage"]) == set(stages)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sequence": EXPERIMENT["sequences"]["full"]}, "give one sequence, or several by their"),
        ({"sequences": {"full": EXPERIMENT["sequences"]["full"]}}, "sequences: "),
        (
            {
                "sequences": {
                    **EXPERIMENT["sequences"],
                    "half": {"function": f"{ECHOES}:echo_train"},
                }
            },
            "sequences: pulses must be the same of all",
        ),
    ],
)
def test_sequences_that_cannot_be_meant_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        read(Experiment, {**EXPERIMENT, **change}, "my.yaml")


def test_a_parameter_that_no_sequence_takes_is_refused():
    experiment = Experiment(**{**EXPERIMENT, "parameters": {"TI": {"start": 1.0}}})
    with pytest.raises(SequenceError, match="no sequence function has an argument 'TI'"):
        setups_of(experiment)


def test_a_kind_of_one_sequence_is_refused(monkeypatch, root):
    monkeypatch.chdir(root)
    experiment = Experiment(**{**EXPERIMENT, "figure": "inversion_time"})
    with pytest.raises(ConfigError, match="figure: inversion_time is of one sequence"):
        check_experiment(experiment, [])
