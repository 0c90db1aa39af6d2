"""What tests share: the project's folder, its sequences, and phantoms small enough to be fast."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pulseq_zero.files.loading import load_function
from pulseq_zero.phantom import Phantom, build_phantom
from support import fuzzing

ROOT = Path(__file__).parent.parent

fuzzing.register()

# One thread: the phantoms are small, and test runners share the machine
torch.set_num_threads(1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the pipeline, which takes longest, where several processes share the files."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: item.path.parent.name != "pipeline")


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def small_brain() -> Phantom:
    return build_phantom({"source": "icbm152", "matrix": 32})


@pytest.fixture(scope="session")
def ideal_brain() -> Phantom:
    """Without field inhomogeneity, so that closed forms hold."""
    return build_phantom({"source": "icbm152", "matrix": 32, "B0_scale": 0.0, "B1_scale": 0.0})


@pytest.fixture(scope="session")
def epi_ir():
    return load_function("sequences/epi_ir.py:epi_ir", ROOT)


@pytest.fixture(scope="session")
def tse():
    return load_function("sequences/tse.py:tse", ROOT)
