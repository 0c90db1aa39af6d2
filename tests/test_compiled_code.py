"""Compiled loops: what they call, and where numba keeps them."""

import ast
import os
import shutil
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import numba
import pytest
from numba.core.dispatcher import Dispatcher

import pulseq_zero
from pulseq_zero.importing import loops
from pulseq_zero.importing.loops import find_folder

IGNORED = shutil.ignore_patterns("__pycache__")


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


def test_loops_are_kept_by_the_text_of_all_of_them():
    """Numba itself goes by the file of a loop, and not by those of what it calls."""
    for function in compiled_loops():
        dispatcher = vars(sys.modules[function.__module__])[function.__name__]
        kept = dispatcher.stats.cache_path
        always_inlined = dispatcher.targetoptions.get("inline") == "always"
        assert always_inlined if kept is None else f"loops-{loops._digest()}" in kept


@pytest.mark.parametrize("file", ["judge/trigonometry.py", "simulation/pdg/handing_over.py"])
def test_another_text_is_kept_elsewhere(tmp_path, monkeypatch, file):
    library = tmp_path / "library"
    shutil.copytree(Path(pulseq_zero.__file__).parent, library, ignore=IGNORED)
    monkeypatch.setattr(loops, "_LIBRARY", library)
    digest = loops._digest.__wrapped__
    before = digest()
    assert before == loops._digest()
    (library / file).write_text((library / file).read_text() + "# Another\n")
    assert digest() != before
    assert loops._folder(str(tmp_path)).parent == tmp_path


def test_what_loops_take_from_other_files_is_of_files_with_loops():
    """Constants are compiled, too."""
    taken = set()
    for function in compiled_loops():
        tree = ast.parse(Path(sys.modules[function.__module__].__file__).read_text())
        imports = [each for each in ast.walk(tree) if isinstance(each, ast.ImportFrom)]
        homes = {
            alias.asname or alias.name: each.module for each in imports for alias in each.names
        }
        taken |= {homes[name] for name in function.__code__.co_names if name in homes}
    of_library = {name for name in taken if name.startswith("pulseq_zero.")}
    assert len(of_library) > 10
    for name in of_library:
        assert loops._HAS_LOOPS.search(Path(sys.modules[name].__file__).read_text()), name


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """Let no folder be written, as for another user than who has installed the package."""
    monkeypatch.setattr(os, "access", lambda path, mode: str(path).startswith(str(tmp_path)))
    monkeypatch.setenv("XDG_CACHE_HOME", "/nonexistent/cache")
    monkeypatch.setenv("NUMBA_CACHE_DIR", "")
    monkeypatch.setattr(numba.config, "CACHE_DIR", numba.config.CACHE_DIR)


def test_a_process_that_can_write_nowhere_has_a_folder_of_its_own(nowhere):
    with pytest.warns(UserWarning, match="set NUMBA_CACHE_DIR to one that can be written"):
        find_folder()
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
        find_folder()


@pytest.mark.parametrize("name", ["NUMBA_CACHE_DIR", "XDG_CACHE_HOME"])
def test_a_folder_that_is_named_serves(nowhere, tmp_path, monkeypatch, name, recwarn):
    monkeypatch.setenv(name, str(tmp_path / "to/be/made"))
    find_folder()
    assert not recwarn
    assert os.environ[name] == str(tmp_path / "to/be/made")
