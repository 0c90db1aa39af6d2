"""Whatever the input, there is a sentence or the right result."""

from __future__ import annotations

import copy
import json
import tempfile
import warnings
from dataclasses import fields
from pathlib import Path

import nibabel
import numpy as np
import pytest
import scipy.io
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pulseq_zero.errors import PulseqZeroError
from pulseq_zero.experiments.experiment import sequence_setup
from pulseq_zero.experiments.section import read
from pulseq_zero.experiments.settings import Config, Experiment
from pulseq_zero.files.seq import read_seq
from pulseq_zero.files.yaml import read_yaml
from pulseq_zero.phantom import Phantom, build_phantom
from pulseq_zero.phantom.settings import read_config
from support.fuzzing import tried
from support.hanging import LONGEST, at_most
from support.toy import inversion_recovery

ROOT = Path(__file__).parents[2]
FEW = tried()

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["1e-3", "../x", "$(id)", "{results}", 10**30, -1, 0, [], {}])
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=4,
)


@FEW
@given(content=st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
@at_most(LONGEST)
def test_a_yaml_file_of_anything(tmp_path, content):
    path = tmp_path / "any.yaml"
    path.write_bytes(content)
    try:
        assert isinstance(read_yaml(path), dict)
    except PulseqZeroError as error:
        assert "any.yaml" in str(error)
        assert "\n" not in str(error)


def places(content, here=()):
    """All places in nested keys and values."""
    if isinstance(content, dict | list):
        for key in content if isinstance(content, dict) else range(len(content)):
            yield (*here, key)
            yield from places(content[key], (*here, key))


def changed(content, place, value):
    content = copy.deepcopy(content)
    inner = content
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return content


FILES = {
    "config/config.yaml": Config,
    "config/experiments/flair_ti.yaml": Experiment,
    "config/experiments/tse_sar.yaml": Experiment,
}


@FEW
@given(data=st.data(), file=st.sampled_from(sorted(FILES)), value=values)
@at_most(LONGEST)
def test_a_config_with_anything_anywhere(tmp_path, data, file, value):
    content = read_yaml(ROOT / file)
    content = changed(content, data.draw(st.sampled_from(list(places(content)))), value)
    try:
        # As it would come from a file
        path = tmp_path / "changed.yaml"
        path.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
        content = read_yaml(path)
        found = read(FILES[file], content, "it")
        if isinstance(found, Config):
            read_config(found.phantom)
        else:
            setup = sequence_setup(found.sequence, found.parameters, ROOT)
            assert all(bool(start.isfinite().all()) for start in setup.start.values())
    except PulseqZeroError as error:
        assert "\n" not in str(error).replace(str(value), "")


@FEW
@given(config=st.dictionaries(st.sampled_from(["source", "matrix", "fov", "x"]), values) | values)
@at_most(LONGEST)
def test_a_phantom_config_of_anything(config):
    try:
        found = read_config(config if isinstance(config, dict) else {"matrix": config})
    except PulseqZeroError:
        return
    assert all(isinstance(n, int) and 16 <= n <= 1024 for n in found.get("matrix", []))
    assert all(0 < length < np.inf for length in found.get("fov", []))


RANDOM = np.random.default_rng(1)
MAPS = {name: RANDOM.uniform(0.5, 1, (16, 17, 2)) for name in ("PD", "T1", "T2", "T2dash", "D")}


def write_npz(folder):
    file = folder / "a.npz"
    np.savez_compressed(file, **{f"{name}_map": values for name, values in MAPS.items()})
    return file, {"source": "npz", "file": str(file)}


def write_mat(folder):
    file = folder / "a.mat"
    maps = np.stack([*list(MAPS.values())[:3], np.zeros((16, 17, 2)), np.ones((16, 17, 2))], -1)
    scipy.io.savemat(file, {"maps": maps}, do_compression=True)
    return file, {"source": "mat", "file": str(file), "fov": 0.2}


def write_nifti(folder):
    for name, data in MAPS.items():
        nibabel.save(nibabel.Nifti1Image(data, np.diag([2, 2, 2, 1])), folder / f"{name}.nii.gz")
    maps = {name: str(folder / f"{name}.nii.gz") for name in MAPS}
    return folder / "T1.nii.gz", {"source": "nifti", "maps": maps}


def write_json(folder):
    build_phantom(write_nifti(folder)[1]).save_nifti(folder)
    config = {"source": "mr0_json", "file": str(folder / "phantom.json")}
    return folder / "phantom_T1.nii.gz", config


@pytest.mark.parametrize("write", [write_npz, write_mat, write_nifti, write_json])
@FEW
@given(place=st.floats(0, 1, exclude_max=True), change=st.integers(1, 255) | st.just("cut"))
@at_most(LONGEST)
def test_a_compressed_phantom_with_a_changed_byte(write, place, change):
    """Its checksum tells: there is a sentence, or the change does not touch the maps."""
    with tempfile.TemporaryDirectory() as folder:
        file, config = write(Path(folder))
        whole = build_phantom(config)
        damage(file, place, change)
        try:
            found = build_phantom(config)
        except PulseqZeroError as error:
            assert folder in str(error)
            return
        for name, pool in whole.pools.items():
            for each in fields(pool):
                assert torch.equal(getattr(found.pools[name], each.name), getattr(pool, each.name))


@tried(20)
@given(data=st.data(), value=values)
@at_most(LONGEST)
def test_a_phantom_json_with_anything_anywhere(data, value):
    with tempfile.TemporaryDirectory() as folder:
        _, config = write_json(Path(folder))
        path = Path(config["file"])
        content = json.loads(path.read_text())
        content = changed(content, data.draw(st.sampled_from(list(places(content)))), value)
        path.write_text(json.dumps(content))
        try:
            found = build_phantom(config)
        except PulseqZeroError as error:
            assert folder in str(error)
            return
        assert all(bool((pool.PD >= 0).all()) for pool in found.pools.values())


@FEW
@given(place=st.floats(0, 1, exclude_max=True), change=st.integers(1, 255) | st.just("cut"))
@at_most(LONGEST)
def test_a_seq_file_with_a_changed_byte(place, change):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "a.seq"
        inversion_recovery().write(str(file))
        before = read_seq(file)
        damage(file, place, change)
        try:
            after = read_seq(file, check_signature=True)
        except PulseqZeroError as error:
            assert folder in str(error)
            return
        assert after.write(str(file)) == before.write(str(file))


@FEW
@given(place=st.floats(0, 1, exclude_max=True), change=st.integers(1, 255) | st.just("cut"))
@at_most(LONGEST)
def test_a_seq_file_without_a_signature_with_a_changed_byte(place, change):
    """Nothing tells that it changed: there is a sentence, or a sequence."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "a.seq"
        inversion_recovery().write(str(file))
        text = file.read_text()
        file.write_text(text[: text.index("[SIGNATURE]")])
        damage(file, place, change)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                found = read_seq(file)
            except PulseqZeroError as error:
                assert folder in str(error)
                return
        assert found.block_events


@FEW
@given(place=st.floats(0, 1, exclude_max=True), change=st.integers(1, 255) | st.just("cut"))
@at_most(LONGEST)
def test_a_stored_phantom_with_a_changed_byte(place, change):
    """It has no checksum: there is a sentence, or a phantom that is possible."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "phantom.safetensors"
        build_phantom(write_nifti(Path(folder))[1]).save(file)
        damage(file, place, change)
        try:
            found = Phantom.load(file)
        except PulseqZeroError:
            return
        assert all(bool((pool.PD >= 0).all()) for pool in found.pools.values())


def damage(file, place, change):
    content = bytearray(file.read_bytes())
    at = int(place * len(content))
    if change == "cut":
        content = content[:at]
    else:
        content[at] ^= change
    file.write_bytes(bytes(content))
