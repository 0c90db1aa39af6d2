"""Wrong inputs, and the sentence that each of them gets."""

import pytest


@pytest.fixture(autouse=True)
def inside(tmp_path, monkeypatch):
    """Paths in messages are then as short as those that a user names."""
    monkeypatch.chdir(tmp_path)
