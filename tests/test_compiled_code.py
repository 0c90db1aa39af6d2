"""Where numba keeps what it has compiled: a folder that can be written, or one of the process."""

import os
from pathlib import Path

import numba
import pytest

import pulseq_zero


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """Let no folder be written, as for another user than who has installed the package."""
    monkeypatch.setattr(os, "access", lambda path, mode: str(path).startswith(str(tmp_path)))
    monkeypatch.setenv("XDG_CACHE_HOME", "/nonexistent/cache")
    monkeypatch.setenv("NUMBA_CACHE_DIR", "")
    monkeypatch.setattr(numba.config, "CACHE_DIR", numba.config.CACHE_DIR)


def test_a_process_that_can_write_nowhere_has_a_folder_of_its_own(nowhere):
    with pytest.warns(UserWarning, match="set NUMBA_CACHE_DIR to one that can be written"):
        pulseq_zero._keep_compiled()
    folder = Path(os.environ["NUMBA_CACHE_DIR"])
    assert folder.is_dir()
    assert folder.stat().st_mode & 0o077 == 0
    assert str(folder) == numba.config.CACHE_DIR


def test_a_user_without_a_home_has_no_folder_there(nowhere, tmp_path, monkeypatch):
    for name in ("XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)
    monkeypatch.chdir(tmp_path)
    with pytest.warns(UserWarning, match="set NUMBA_CACHE_DIR"):
        pulseq_zero._keep_compiled()


@pytest.mark.parametrize("name", ["NUMBA_CACHE_DIR", "XDG_CACHE_HOME"])
def test_a_folder_that_is_named_serves(nowhere, tmp_path, monkeypatch, name, recwarn):
    monkeypatch.setenv(name, str(tmp_path / "to/be/made"))
    pulseq_zero._keep_compiled()
    assert not recwarn
    assert os.environ[name] == str(tmp_path / "to/be/made")
