import json
import math
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pulseq_zero.errors import StoreError
from pulseq_zero.files.store import (
    atomic_path,
    load_json,
    load_table,
    load_tensors,
    remove_leftovers,
    save_json,
    save_table,
    save_tensors,
)

ALL_TYPES = [
    torch.float32,
    torch.float64,
    torch.int64,
    torch.bool,
    torch.complex64,
    torch.complex128,
]


@pytest.mark.parametrize("dtype", ALL_TYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3, 4)])
def test_tensors_come_back_bit_by_bit(tmp_path, dtype, shape):
    random = torch.randn(shape, dtype=torch.complex128) * 3
    tensor = random.to(dtype) if dtype.is_complex else random.real.to(dtype)
    save_tensors(tmp_path / "a.safetensors", {"a": tensor})
    loaded, metadata = load_tensors(tmp_path / "a.safetensors")
    assert loaded["a"].dtype == dtype
    assert torch.equal(loaded["a"], tensor)
    assert metadata == {}


def test_views_conjugates_and_shared_memory_are_saved_as_they_look(tmp_path):
    base = torch.randn(4, 5, dtype=torch.complex64)
    tensors = {"base": base, "transposed": base.T, "conjugate": base.conj(), "same": base}
    save_tensors(tmp_path / "a.safetensors", tensors)
    loaded, _ = load_tensors(tmp_path / "a.safetensors")
    assert all(torch.equal(loaded[name], tensor) for name, tensor in tensors.items())


def test_gradients_do_not_hinder_saving(tmp_path):
    save_tensors(tmp_path / "a.safetensors", {"a": torch.ones(2, requires_grad=True)})
    assert not load_tensors(tmp_path / "a.safetensors")[0]["a"].requires_grad


def test_equal_content_makes_equal_files(tmp_path):
    metadata = {"b": [1, 2.5, None], "a": {"c": "text"}}
    for name in ("one", "two"):
        save_tensors(tmp_path / name, {"y": torch.arange(3), "x": torch.ones(2)}, metadata)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert load_tensors(tmp_path / "one")[1] == metadata


@given(
    st.recursive(
        st.none() | st.booleans() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=10,
    )
)
def test_json_comes_back(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("json") / "a.json"
    save_json(path, content)
    assert load_json(path) == content


def test_json_takes_arrays_tensors_and_paths(tmp_path):
    save_json(
        tmp_path / "a.json",
        {"n": np.float32(0.5), "i": np.arange(2), "t": torch.tensor([1.5]), "p": tmp_path},
    )
    assert load_json(tmp_path / "a.json") == {"n": 0.5, "i": [0, 1], "t": [1.5], "p": str(tmp_path)}


@pytest.mark.parametrize("content", [{"a": math.nan}, [math.inf], {"a": object()}])
def test_what_json_cannot_hold_is_refused(tmp_path, content):
    with pytest.raises(StoreError, match=r"a\.json cannot be written"):
        save_json(tmp_path / "a.json", content)
    assert list(tmp_path.iterdir()) == []


def test_table_comes_back_bit_by_bit(tmp_path):
    table = pd.DataFrame(
        {"iteration": range(100), "loss": np.random.default_rng(0).normal(size=100) * 1e-7}
    )
    save_table(tmp_path / "a.csv", table)
    pd.testing.assert_frame_equal(load_table(tmp_path / "a.csv"), table, check_exact=True)


def test_parquet_is_written_or_says_what_is_missing(tmp_path):
    table = pd.DataFrame({"a": [1.0, 2.0]})
    if find_spec("pyarrow") is None:
        with pytest.raises(StoreError, match="needs pyarrow"):
            save_table(tmp_path / "a.parquet", table)
    else:
        save_table(tmp_path / "a.parquet", table)
        pd.testing.assert_frame_equal(load_table(tmp_path / "a.parquet"), table)


def test_unknown_table_format_is_refused(tmp_path):
    with pytest.raises(StoreError, match=r"name it \.csv or \.parquet"):
        save_table(tmp_path / "a.txt", pd.DataFrame())


def test_interrupted_writing_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "deep" / "figure.nii.gz"
    with atomic_path(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.suffixes == path.suffixes
        temporary.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_path(path) as temporary:
        temporary.write_text("half of the ne")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_what_a_killed_process_was_writing_is_removed_and_nothing_else(tmp_path):
    program = """
import os, signal, sys
from pulseq_zero.files.store import atomic_path

with atomic_path(sys.argv[1]) as path:
    path.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "below/a.csv")], check=False)
    (left,) = (tmp_path / "below").iterdir()
    hidden = tmp_path / ".12-mine.csv"
    hidden.write_text("")
    with atomic_path(tmp_path / "a.csv") as path:
        path.write_text("whole")
        remove_leftovers(tmp_path)
    assert not left.exists()
    assert hidden.exists()
    assert (tmp_path / "a.csv").read_text() == "whole"


def test_writing_nothing_is_an_error(tmp_path):
    with (
        pytest.raises(StoreError, match=r"a\.png cannot be written"),
        atomic_path(tmp_path / "a.png"),
    ):
        pass


def test_unwritable_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"file/a\.json cannot be written .*check the folder"):
        save_json(tmp_path / "file" / "a.json", {})


@pytest.mark.parametrize("load", [load_json, load_tensors, load_table])
def test_missing_file_is_named(tmp_path, load):
    with pytest.raises(StoreError, match=r"missing\.csv does not exist"):
        load(tmp_path / "missing.csv")


@pytest.mark.parametrize("load", [load_json, load_tensors])
@pytest.mark.parametrize("content", [b"", b"{", json.dumps({}).encode() + b"\xff"])
def test_damaged_file_is_named(tmp_path, load, content):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(StoreError, match="is damaged"):
        load(tmp_path / "a")


def test_foreign_safetensors_file_is_refused(tmp_path):
    import safetensors.torch

    safetensors.torch.save_file({"a": torch.ones(1)}, tmp_path / "a")
    with pytest.raises(StoreError, match="written by this package"):
        load_tensors(tmp_path / "a")
