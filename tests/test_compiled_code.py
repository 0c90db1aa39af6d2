"""Compiled loops: what they call, and where numba keeps them."""

import os
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import numba
import pytest
from numba.core.dispatcher import Dispatcher

import pulseq_zero


def compiled_loops():
    modules = walk_packages(pulseq_zero.__path__, "pulseq_zero.")
    names = [m.name for m in modules if m.name.split(".")[1] in ("judge", "simulation")]
    for module in map(import_module, names):
        for value in vars(module).values():
            if isinstance(value, Dispatcher) and value.py_func.__module__ == module.__name__:
                yield value.py_func


def test_what_compiled_loops_call_is_inlined():
    """It would round otherwise in a process that compiles than in one that reads numba's cache."""
    called = {
        f"{function.__name__} calls {name}": function.__globals__[name].targetoptions
        for function in compiled_loops()
        for name in function.__code__.co_names
        if isinstance(function.__globals__.get(name), Dispatcher)
    }
    assert len(called) > 50
    for call, options in called.items():
        assert options.get("forceinline") or options.get("inline") == "always", call


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
