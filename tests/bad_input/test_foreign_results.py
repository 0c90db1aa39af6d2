"""Results whose files have the right names, and hold something else: `show` and `export`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner

from pulseq_zero.cli import main
from pulseq_zero.files.store import save_table, save_tensors
from support.toy import inversion_recovery

IMAGE, SIGNAL = torch.ones(8, 8, dtype=torch.complex64), torch.ones(8, 1, dtype=torch.complex64)
ABOUT = {
    "fov": [0.2, 0.2],
    "position": [0.0, 0.0, 0.0],
    "orientation": np.eye(3).tolist(),
    "accuracy": 1e-3,
}
HISTORY = {"iteration": [0], "loss": [1.0], "verified_loss": [np.nan]}


def write(image=IMAGE, signal=SIGNAL, history=HISTORY, parameters=(1.0,), **about):
    for stage in ("start", "optimized"):
        file = Path("own") / stage / "image_tight.safetensors"
        save_tensors(file, {"image": image, "signal": signal}, {**ABOUT, **about})
        inversion_recovery().write(str(file.with_name("own.seq")))
    save_table(Path("own/optimization/history.csv"), pd.DataFrame(history))
    save_tensors(
        Path("own/optimization/parameters.safetensors"),
        {"TI": torch.tensor(parameters)},
        {"best_iteration": 0},
    )


def refused(command):
    result = CliRunner().invoke(main, [command, "own"])
    assert isinstance(result.exception, SystemExit)
    assert result.exit_code == 1
    return result.output.removeprefix("Error: ").rstrip()


@pytest.mark.parametrize("command", ["show", "export"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("fov", "wide"),
        ("fov", [0.2]),
        ("fov", [0.2] * 4),
        ("fov", None),
        ("position", "here"),
        ("position", [0.0, 0.0]),
        ("position", [0.0, 0.0, None]),
        ("orientation", [[1.0]]),
        ("orientation", 3),
        ("accuracy", "fine"),
        ("image", torch.ones(8)),
        ("image", torch.ones(0, 8)),
        ("signal", torch.ones(8)),
        ("signal", torch.ones(0, 1)),
    ],
)
def test_images_of_something_else(command, name, value):
    write(**{name: value})
    assert refused(command) == (
        f"own/start/image_tight.safetensors holds something else as {name!r}; make it again"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"history": {**HISTORY, "loss": ["low"]}},
            "own/optimization/history.csv has no numbers in the column 'loss'; make it again",
        ),
        (
            {"history": {name: [] for name in HISTORY}},
            "own/optimization/history.csv has no numbers in the column 'iteration'; make it again",
        ),
        (
            {"parameters": (1.0, 2.0)},
            "own/optimization/parameters.safetensors and own/optimization/history.csv differ in "
            "their iterations; make both again",
        ),
    ],
)
def test_a_history_of_something_else(changes, message):
    write(**changes)
    assert refused("show") == message


def test_an_experiment_file_of_something_else():
    write()
    Path("own/experiment.yaml").write_text("parameters: 3")
    assert refused("show").startswith("own/experiment.yaml: ")
