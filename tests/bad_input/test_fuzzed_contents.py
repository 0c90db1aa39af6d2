"""Numbers of `.seq` files, maps of phantoms, results of losses: a sentence, or what is possible."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import pulseq_zero
from pulseq_zero.conversion import convert
from pulseq_zero.errors import PulseqZeroError
from pulseq_zero.files.seq import read_seq
from pulseq_zero.phantom import build_phantom
from support.fuzzing import tried
from support.hanging import LONGEST, at_most
from support.seq_text import text_of
from support.toy import inversion_recovery, one_voxel, signal_loss

FEW = tried()


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


words = (
    st.integers().map(str)
    | st.floats().map(str)
    | st.sampled_from(["0", "-1", "1e400", "nan", "-inf", "9" * 30, "1e30", "0x10", "1_0", "x", ""])
    | st.text(max_size=4)
)


@FEW
@given(
    version=st.sampled_from(["1.2.0", "1.3.0", "1.4.1", "1.5.0"]),
    place=st.floats(0, 1, exclude_max=True),
    word=words,
)
def test_a_seq_file_with_another_word(version, place, word):
    lines = text_of(version).split("\n")
    split = [
        (line, number) for line, text in enumerate(lines) for number in range(len(text.split()))
    ]
    line, number = split[int(place * len(split))]
    changed = lines[line].split()
    changed[number] = word
    lines[line] = " ".join(changed)
    with tempfile.TemporaryDirectory() as folder, at_most(LONGEST):
        file = Path(folder) / "a.seq"
        file.write_text("\n".join(lines), encoding="utf-8")
        try:
            repetitions = convert(read_seq(file))
        except PulseqZeroError as error:
            assert "\n" not in str(error)
            return
    for values in (repetitions.pulse_angle, repetitions.event_time, repetitions.gradient_moment):
        assert bool(values.isfinite().all())
    assert bool((repetitions.event_time >= 0).all())


NUMBERS = st.sampled_from(
    [0.0, 1.0, -1.0, 1e-3, 0.1, 3.0, 1e3, 1e30, -1e-30, np.nan, np.inf, -np.inf]
)
KINDS = st.sampled_from(["f8", "f4", "f2", "c16", "i4", "u1", "?", "U3", "M8[s]", "O"])


@st.composite
def maps(draw):
    shape = draw(
        st.sampled_from([(16, 16), (16, 16), (16, 17, 1), (16,), (), (0, 16), (1, 1), (2,) * 4])
    )
    values = draw(arrays.arrays(np.float64, shape, elements=NUMBERS, fill=NUMBERS))
    with np.errstate(all="ignore"):
        return values.astype(draw(KINDS))


@FEW
@given(name=st.sampled_from(["PD", "T1", "T2", "T2dash", "D", "B0", "B1"]), values=maps())
def test_a_phantom_with_any_map(name, values):
    usual = {"PD": 1.0, "T1": 1.0, "T2": 0.1, "T2dash": 0.1, "D": 1.0, "B0": 0.0, "B1": 1.0}
    given_maps = {f"{key}_map": np.full((16, 16), value) for key, value in usual.items()}
    given_maps[f"{name}_map"] = values
    with tempfile.TemporaryDirectory() as folder, at_most(LONGEST):
        file = Path(folder) / "a.npz"
        np.savez(file, allow_pickle=True, **given_maps)
        try:
            phantom = build_phantom({"source": "npz", "file": str(file)})
        except PulseqZeroError as error:
            assert folder in str(error)
            assert "\n" not in str(error)
            return
    for pool in phantom.pools.values():
        there = pool.PD > 0
        assert bool((pool.PD >= 0).all())
        for each in (pool.PD, pool.D, pool.B0, pool.B1):
            assert bool(each[..., there].isfinite().all())
        # What never relaxes is possible
        for times in (pool.T1, pool.T2, pool.T2dash):
            assert bool((times[there] > 0).all())


def of_image(make):
    return st.just(lambda image: make(image.abs().sum()))


REAL = st.sampled_from([0.0, 1.0, -1.0, 1e30, np.nan, np.inf])
RESULTS = st.recursive(
    st.one_of(
        *[
            of_image(lambda total, dtype=dtype: total.to(dtype))
            for dtype in (
                torch.float64,
                torch.float32,
                torch.float16,
                torch.complex64,
                torch.int64,
                torch.bool,
            )
        ],
        of_image(lambda total: total),
        of_image(lambda total: total * np.nan),
        of_image(lambda total: total.expand(2)),
        of_image(lambda total: total.reshape(1, 1)),
        of_image(lambda total: total.detach()),
        of_image(lambda total: float(total.detach())),
        of_image(lambda total: total.to("meta")),
        of_image(lambda total: total.reshape(1).to_sparse()),
        of_image(lambda total: torch.nn.Parameter(torch.ones(()))),
        (REAL | st.none() | st.text(max_size=4) | st.binary(max_size=3)).map(
            lambda x: lambda image: x
        ),
        REAL.map(lambda x: lambda image: torch.tensor(x)),
    ),
    lambda inner: st.one_of(
        st.dictionaries(
            st.text(max_size=3) | st.sampled_from(["loss", 1, None]), inner, max_size=3
        ).map(lambda terms: lambda image: {name: term(image) for name, term in terms.items()}),
        st.lists(inner, max_size=2).map(
            lambda terms: lambda image: [term(image) for term in terms]
        ),
    ),
    max_leaves=3,
)


def optimized(loss):
    return pulseq_zero.optimize(
        inversion_recovery, loss, {"flip": 1.0}, one_voxel(), iterations=2, progress=False
    )


@pytest.fixture(scope="module")
def compiled():
    # what is compiled on first use is not to count as a hang
    optimized(signal_loss)


@FEW
@given(result=RESULTS)
def test_a_loss_that_returns_anything(compiled, result):
    def loss(parameters, image):
        return result(image)

    try:
        with at_most(LONGEST):
            found = optimized(loss)
    except PulseqZeroError as error:
        assert "\n" not in str(error)
        return
    assert bool(torch.isfinite(torch.tensor(found.history["loss"].to_numpy())).all())
    assert np.isfinite(found.best["flip"].item())
