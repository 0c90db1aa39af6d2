"""Many optimizations, in one process, in threads and in pools: nothing is left of any of them."""

import multiprocessing
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import torch

from support.soak import left, memory, optimized

# A tape of one of them, and what hangs on it, takes 0.1 MiB; allocators and caches fill up first.
MOST = 8.0  # MiB

# So many are done before, that each of four threads has done some
FIRST = 8

# How many optimizations; what takes minutes is for itself.
FEW = pytest.param(8, id="few")
MANY = pytest.param(300, id="many", marks=pytest.mark.soak)


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@contextmanager
def nothing_is_left():
    """Assert that neither tapes nor files, and no memory, stay of what is done meanwhile."""
    before, taken = left(), memory()
    yield
    assert left() == before
    assert memory() < taken + MOST


@pytest.mark.parametrize("count", [FEW, MANY])
def test_one_after_the_other(count):
    first = [optimized(number) for number in range(3)]
    with nothing_is_left():
        found = [optimized(number) for number in range(count)]
    assert found[:3] == first


@pytest.mark.parametrize("count", [FEW, MANY])
def test_four_threads(count):
    """They find what one finds."""
    with ThreadPoolExecutor(4) as pool:
        first = list(pool.map(optimized, range(FIRST)))
        with nothing_is_left():
            found = list(pool.map(optimized, range(count)))
    assert found[:FIRST] == first == [optimized(number) for number in range(FIRST)]


@pytest.mark.parametrize(
    ("start", "count"),
    [
        pytest.param("fork", 4, id="few, forked"),
        pytest.param("fork", 100, id="many, forked", marks=pytest.mark.soak),
        pytest.param("spawn", 100, id="many, spawned", marks=pytest.mark.soak),
    ],
)
def test_a_pool_of_processes(start, count):
    """It ends, though this process has computed with several threads, and finds what one finds."""
    if start not in multiprocessing.get_all_start_methods():
        pytest.skip("this system does not fork")
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        here = [optimized(number) for number in range(4)]
        context = multiprocessing.get_context(start)
        with nothing_is_left(), ProcessPoolExecutor(2, context) as pool:
            tasks = [pool.submit(optimized, number) for number in range(count)]
            found = [task.result(timeout=120) for task in tasks]
    finally:
        torch.set_num_threads(threads)
    assert found[:4] == here


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_process_computes_with_one_thread():
    """Those of OpenMP stay behind in its parent: it would wait for them for ever."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        assert pool.submit(torch.get_num_threads).result(timeout=60) == 1
