"""What was once accepted and gave another result than was meant."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pypulseq
import pytest
import scipy.io
import torch

from pulseq_zero.conversion import convert
from pulseq_zero.errors import ConfigError, SequenceError
from pulseq_zero.experiments.layout import check_names
from pulseq_zero.experiments.scanning import scan
from pulseq_zero.experiments.settings import only_sections
from pulseq_zero.experiments.steps import export, trace
from pulseq_zero.experiments.sweeps import stage_numbers
from pulseq_zero.figures.history import loss_terms
from pulseq_zero.files.yaml import read_yaml
from pulseq_zero.judge.seq import read_course
from pulseq_zero.optimization.loss import HISTORY, evaluate_loss
from pulseq_zero.optimization.run import Record
from pulseq_zero.optimization.steppers import Evaluation
from pulseq_zero.phantom import Phantom, TissuePool, build_phantom
from pulseq_zero.tracing import tracing
from support.acquisitions import showing
from support.refusal import check
from support.toy import inversion_recovery, one_voxel

ROOT = Path(__file__).parents[2]
ONES = np.ones((16, 18, 3), np.float32)
MAPS = {f"{name}_map": ONES for name in ("PD", "T1", "T2", "T2dash", "D")}


@pytest.mark.parametrize("name", [*HISTORY, 3, None])
def test_a_term_that_is_called_as_a_column_of_the_history(name):
    check(
        lambda: evaluate_loss(
            lambda parameters, image: {name: torch.tensor(1.0)}, {}, showing(torch.ones(2, 2))
        ),
        f"the loss function returned a term named {name!r}, but a name must be text, and "
        "iteration, loss, verified_loss, accuracy, seconds are what the history has beside the "
        "terms; call it otherwise",
    )


def test_a_history_has_no_other_columns_than_terms_may_not_be_called():
    record = Record(1e-3)
    record.add({}, Evaluation({}, 1.0, {}, {}), 1.0)
    assert set(record.rows[0]) == set(HISTORY)
    assert loss_terms(pd.DataFrame(columns=[*HISTORY, "image"])) == ["image"]


@pytest.mark.parametrize(("parameter", "term"), [("TI", "TI"), ("loss", "a"), ("variant", "a")])
def test_a_scan_whose_parameter_is_called_as_another_column(parameter, term):
    Path("scanned.py").write_text(
        "from support.toy import inversion_recovery\n\n\n"
        f"def sequence({parameter}=1.0):\n    return inversion_recovery({parameter})\n\n\n"
        f"def loss(context):\n    return lambda p, image: {{{term!r}: image.abs().sum()}}\n"
    )
    experiment = only_sections(
        {
            "sequence": {"function": "scanned.py:sequence"},
            "sequences": {},
            "reconstruction": None,
            "parameters": {parameter: {"start": 1.0}},
            "image": {},
            "loss": {"function": "scanned.py:loss"},
            "scan": {"parameter": parameter, "first": 1.0, "last": 2.0, "count": 2},
        }
    )
    check(
        lambda: scan(experiment, one_voxel(), None, accuracy=1e-2, simulator={}),
        f"scan: the parameter is called {parameter!r}, as is another column of the scan's table; "
        "rename the argument of the sequence function, or the term of the loss",
    )


def test_a_parameter_beside_a_column_of_its_name_in_the_table_of_a_sweep():
    evaluation = {
        "stages": {"optimized": {"iteration": 3, "sar": 0.5}},
        "iterations": 5,
        "seconds_per_iteration": 1.0,
        "loss": {"start": 2.0, "best": 1.0, "best_verified": None, "fell_in_last_quarter": 0.0},
        "parameters": {"sar": {"best": 7.0}, "TI": {"best": 3.0}},
    }
    numbers = stage_numbers(evaluation, "optimized")
    assert (numbers["sar"], numbers["parameters.sar"], numbers["TI"]) == (0.5, 7.0, 3.0)


UNLIKE_ITSELF = """
import itertools
import random

from support.toy import inversion_recovery

count = itertools.count()


def drawn(TI=1.0):
    return inversion_recovery(TI + round(random.random(), 2))


def counted(TI=1.0):
    return inversion_recovery(TI + 1e-2 * next(count))


def by_process(TI=1.0):
    import os
    return inversion_recovery(TI + 1e-5 * os.getpid())


def itself(TI=1.0):
    return inversion_recovery(TI)
"""


@pytest.mark.parametrize(
    ("function", "place"),
    [("drawn", "stage start"), ("counted", "stage start"), ("by_process", "another process")],
)
def test_a_sequence_function_of_more_than_its_arguments(monkeypatch, function, place):
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests"), prepend=":")
    Path("unlike.py").write_text(UNLIKE_ITSELF)
    with pytest.raises(
        SequenceError, match=rf"gave another sequence when it ran again \(.*{place}"
    ):
        export_at_start(f"unlike.py:{function}")
    assert not Path("export.json").exists()


def export_at_start(function):
    experiment = only_sections(
        {
            "sequence": {"function": function},
            "sequences": {},
            "parameters": {"TI": {}},
            "image": {},
        }
    )
    sequence, traced, seq, check = map(
        Path, ("a.safetensors", "traced.seq", "a.seq", "export.json")
    )
    trace.run(experiment, "start", sequence, traced)
    script = ROOT / "workflow/scripts/plain_pypulseq.py"
    export.run(experiment, "start", script, traced, seq, check)
    return check


def without(**changes):
    return {**MAPS, **changes}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        *(
            (
                without(**{f"{name}_map": ONES + 1j}),
                f"wrong.npz: {name} is complex, but must hold real numbers; give its real part or "
                "magnitude",
            )
            for name in ("PD", "T1", "T2", "T2dash", "D", "B0")
        ),
        (
            without(tissue_csf=ONES * 1j),
            "tissue_csf of wrong.npz is complex, but must hold real numbers; give its real part or "
            "magnitude",
        ),
        *(
            (
                without(FOV=np.array(fov)),
                f"wrong.npz: the phantom measures {shown} m, but must extend along x, y and z; "
                "correct the field of view or the slice thickness",
            )
            for fov, shown in (
                ([-0.2, 0.2, 0.1], "-0.2 x 0.2 x 0.0333333"),
                ([np.nan, 0.2, 0.1], "nan x 0.2 x 0.0333333"),
                ([0.2, 0.2, 0.0], "0.2 x 0.2 x 0"),
                ([0.2, np.inf, 0.1], "0.2 x inf x 0.0333333"),
            )
        ),
        *(
            (
                without(FOV=np.array(fov)),
                "FOV of wrong.npz must be the lengths [x, y, z] in m; save it again",
            )
            for fov in (0.2, [0.2, 0.2], ["a", "b", "c"], [[0.2, 0.2, 0.2]], [1j, 1, 1])
        ),
        (
            without(T1_map=np.full(ONES.shape, "2020-01-01", "datetime64[s]")),
            "T1_map of wrong.npz holds datetime64[s], but must hold numbers; save it again",
        ),
        (
            without(T1_map=np.full(ONES.shape, 3, "timedelta64[s]")),
            "T1_map of wrong.npz holds timedelta64[s], but must hold numbers; save it again",
        ),
        (
            without(T1_map=np.full(ONES.shape, "long")),
            "T1_map of wrong.npz holds <U4, but must hold numbers; save it again",
        ),
        (
            without(T1_map=np.zeros(ONES.shape, [("r", "u1"), ("g", "u1")])),
            "T1_map of wrong.npz holds [('r', 'u1'), ('g', 'u1')], but must hold numbers; save it "
            "again",
        ),
        *(
            (
                without(PD_map=np.ones(shape)),
                f"PD_map of wrong.npz has shape {shape}; save maps (x, y) or (x, y, z)",
            )
            for shape in ((), (3,), (2, 3, 4, 5), (0, 3))
        ),
        *(
            (
                without(T1_map=np.ones(shape)),
                f"T1_map of wrong.npz has shape {shape}, but PD_map has (16, 18, 3); save all maps "
                "on the same grid",
            )
            for shape in ((), (3,), (16, 18))
        ),
    ],
)
def test_npz_phantoms(arrays, message):
    np.savez("wrong.npz", **arrays)
    check(lambda: build_phantom({"source": "npz", "file": "wrong.npz"}), message)


def test_numbers_of_complex_type_that_are_real():
    """MATLAB makes all of an array complex if one of its maps is."""
    scipy.io.savemat("a.mat", {"maps": np.stack([*[ONES[..., 0]] * 4, ONES[..., 0] * 1j], -1)})
    pool = build_phantom({"source": "mat", "file": "a.mat", "fov": 0.2}).pools["tissue"]
    assert pool.T1.dtype == torch.float32
    assert torch.equal(pool.B1, torch.full((1, 16, 18), 1j))


def nifti(name="T1.nii.gz", data=ONES, affine=None, unit="mm"):
    image = nibabel.Nifti1Image(data, None)
    image.header.set_sform(np.diag([2.0, 2, 5, 1]) if affine is None else affine, code=2)
    image.header.set_xyzt_units(unit)
    nibabel.save(image, name)
    return {"source": "nifti", "maps": {"PD": name, "T1": 1.0, "T2": 0.1, "T2dash": 0.1}}


@pytest.mark.parametrize(("unit", "scale"), [("mm", 1.0), ("meter", 1e-3), ("micron", 1e3)])
def test_nifti_says_the_unit_of_its_lengths(unit, scale):
    phantom = build_phantom(nifti(affine=np.diag([2 * scale, 2 * scale, 5 * scale, 1]), unit=unit))
    assert phantom.fov == pytest.approx((32e-3, 36e-3))
    assert phantom.slice_thickness == pytest.approx(5e-3)


COLLINEAR, FLAT, SHEARED = np.eye(4), np.eye(4), np.eye(4)
COLLINEAR[:3, 1] = COLLINEAR[:3, 0]
FLAT[2, 2] = 0
SHEARED[0, 1] = 0.2


@pytest.mark.parametrize("affine", [COLLINEAR, FLAT, SHEARED])
def test_axes_that_span_no_boxes(affine):
    check(
        lambda: build_phantom(nifti(affine=affine)),
        "phantom.maps: the axes of T1.nii.gz are not at right angles, or without a length, so that "
        "its voxels are no boxes; resample it onto a grid that is",
    )


@pytest.mark.parametrize(
    ("changes", "doubt"),
    [
        ({"T2": 2.5}, "T2 is longer than 2 T1, which no magnetisation has"),
        ({"T1": 1000.0}, "T1 is above 20 s; is it in ms?"),
        ({"T1": 900.0, "T2": 100.0}, "T2 is above 20 s; is it in ms?"),
        ({"B1": 0.0}, "B1 is zero, so that no pulse acts"),
    ],
)
def test_phantoms_that_are_hardly_meant(changes, doubt):
    config = nifti()
    config["maps"] |= changes
    with pytest.warns(UserWarning) as said:
        build_phantom(config)
    assert f"phantom: of 'tissue', in 288 voxels, {doubt}" in [str(one.message) for one in said]


def test_maps_of_complex_numbers_in_python():
    maps = {"PD": torch.ones(16, 16), "T1": 1.0, "T2": 0.1}
    check(
        lambda: TissuePool.of(**{**maps, "B0": torch.full((16, 16), 1j)}),
        "B0 is complex, but must hold real numbers; give its real part or magnitude",
    )
    pools = {"a": TissuePool.of(**maps)}
    check(
        lambda: Phantom(pools, {"csf": torch.full((16, 16), 1j)}, (0.2, 0.2), 0.005),
        "mask 'csf' is complex, but must hold real numbers; give its real part or magnitude",
    )


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (
            lambda: convert(inversion_recovery(), sub_pulses={"exitation": 8}),
            "sub_pulses names the use 'exitation', but pulses are one of ('excitation', "
            "'refocusing', 'inversion', 'saturation', 'preparation', 'other', 'undefined')",
        ),
        *(
            (
                lambda pieces=pieces: convert(inversion_recovery(), sub_pulses=pieces),
                f"sub_pulses is {pieces!r}, but must be a whole number from 1 on, or such numbers "
                "by the use of the pulses",
            )
            for pieces in (0, 2.5, True, "many", {"excitation": -1}, None)
        ),
        (
            lambda: convert(inversion_recovery(), pulses="real"),
            "pulses is 'real', but must be one of ('played', 'instantaneous')",
        ),
        (
            lambda: read_course("a.seq", physics="fully"),
            "physics is 'fully', but must be one of ('instantaneous', 'full')",
        ),
        (
            lambda: tracing(rounding="down").__enter__(),
            "rounding is 'down', but must be one of ('straight-through', 'zero')",
        ),
        (
            lambda: tracing(on_loss="ignore").__enter__(),
            "on_loss is 'ignore', but must be one of ('warn', 'raise')",
        ),
    ],
)
def test_names_that_nothing_has(act, message):
    check(act, message)


def test_a_phantom_json_with_an_entry_that_nobody_reads():
    file = build_phantom(nifti()).save_nifti(Path("json"))
    file.write_text(file.read_text().replace('"B1+": [', '"B1": ['))
    check(
        lambda: build_phantom({"source": "mr0_json", "file": str(file)}),
        "json/phantom.json: tissue 'tissue' has the entry 'B1', but its entries are density, T1, "
        "T2, T2', ADC, dB0, B1+, B1-; correct the JSON",
    )


@pytest.mark.parametrize(
    ("names", "culprit"),
    [
        *(([name], name) for name in ("phantom", "Phantom", "schematic", "figures", "logs")),
        *(([name], name) for name in ("benchmarks", "checkpoints", "validated")),
        *((["own", name], name) for name in ("own_pulses", "own_kspace", "own_validation")),
        (["own_pulses", "own"], "own_pulses"),
        (["own", "Own"], "Own"),
        *(([name], name) for name in ("..", ".hidden", "a b", "", "a/b", "1st")),
    ],
)
def test_experiments_whose_results_would_meet_others(names, culprit):
    with pytest.raises(ConfigError, match=rf"{culprit!r} (is called as|cannot name)"):
        check_names(names)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [2020-01-01]", "a.yaml: 2020-01-01 is a date to YAML; put it in quotes"),
        (
            "a: 2020-01-01 10:00:00",
            "a.yaml: 2020-01-01 10:00:00 is a datetime to YAML; put it in quotes",
        ),
        ("a: !!binary aGk=", "a.yaml: b'hi' is a bytes to YAML; put it in quotes"),
    ],
)
def test_yaml_values_that_are_no_numbers_nor_text(text, message):
    Path("a.yaml").write_text(text)
    check(lambda: read_yaml(Path("a.yaml")), message)


def test_a_function_of_its_arguments_alone(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests"), prepend=":")
    Path("unlike.py").write_text(UNLIKE_ITSELF)
    assert export_at_start("unlike.py:itself").is_file()
    assert isinstance(inversion_recovery(), pypulseq.Sequence)
