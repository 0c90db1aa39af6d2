"""Phantoms that are missing, damaged, misshapen, unphysical or dangerous."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import scipy.io
import torch

import pulseq_zero
from pulseq_zero.phantom import Phantom, build_phantom
from pulseq_zero.phantom.pool import TissuePool
from support.refusal import check
from support.toy import one_voxel


def volume(name, data, affine=None):
    nibabel.save(nibabel.Nifti1Image(data, np.eye(4) if affine is None else affine), name)


@pytest.fixture
def phantom_files(tmp_path):
    """Write one good phantom of each format, and some bad ones."""
    ones = np.ones((20, 18, 3), np.float32)
    for name in ("PD", "T1"):
        volume(f"{name}.nii.gz", ones)
    volume("other.nii.gz", ones[:-1])
    volume("moved.nii.gz", ones, np.diag([2.0, 1, 1, 1]))
    volume("negative.nii.gz", -ones)
    volume("empty.nii.gz", 0 * ones)
    volume("nan.nii.gz", np.nan * ones)
    volume("series.nii.gz", np.ones((20, 18, 3, 2), np.float32))
    volume("five.nii.gz", 5 * ones)
    whole = Path("PD.nii.gz").read_bytes()
    Path("cut.nii.gz").write_bytes(whole[: len(whole) // 2])
    Path("text.nii.gz").write_text("no image")
    maps = {f"{m}_map": ones for m in ("PD", "T1", "T2", "T2dash", "D")}
    np.savez("good.npz", **maps)
    np.savez("few.npz", PD_map=ones)
    np.savez("shapes.npz", **{**maps, "T1_map": ones[1:]})
    np.savez("objects.npz", **{**maps, "T1_map": np.array([{}], dtype=object)})
    Path("cut.npz").write_bytes(Path("good.npz").read_bytes()[:5000])
    np.save("array.npy", ones)
    Path("array.npy").rename("array.npz")
    scipy.io.savemat("good.mat", {"maps": np.ones((20, 18, 5))})
    scipy.io.savemat("four.mat", {"maps": np.ones((20, 18, 4))})
    scipy.io.savemat("zero.mat", {"maps": np.zeros((20, 18, 5))})
    Path("cut.mat").write_bytes(Path("good.mat").read_bytes()[:3000])
    Path("text.json").write_text("{")
    Path("list.json").write_text("[]")
    build_phantom({"source": "mat", "file": "good.mat", "fov": 0.2}).save_nifti(Path("json"))
    good = json.loads(Path("json/phantom.json").read_text())

    def json_with(name, **entries):
        content = copy.deepcopy(good)
        content["tissues"]["tissue"].update(entries)
        Path(f"json/{name}.json").write_text(json.dumps(content))

    density = good["tissues"]["tissue"]["density"]
    json_with("call", T1={"file": density, "func": "x.tofile('stolen')"})
    json_with("escape", T1={"file": density, "func": "().__class__.__base__.__subclasses__()"})
    json_with("name", T1={"file": density, "func": "x + y"})
    json_with("syntax", T1={"file": density, "func": "x +"})
    json_with("power", T1={"file": density, "func": "9**9**9**9 * x"})
    json_with("missing", T1="none.nii.gz[0]")
    json_with("index", T1=density.replace("[0]", "[4]"))
    json_with("zero", T1=0.0)


def nifti(PD="PD.nii.gz", **changes):
    more = {name: changes.pop(name) for name in ("slice", "masks") if name in changes}
    return {"source": "nifti", "maps": {"PD": PD, "T1": 1.0, "T2": 0.1, **changes}, **more}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"source": "nifty"},
            "phantom.source: 'nifty' is not one of ['icbm152', 'brainweb', 'mr0_json', "
            "'npz', 'mat', 'nifti']",
        ),
        (
            {"sourse": "nifti"},
            "phantom: unknown key 'sourse'; the keys are B0_scale, B1_scale, definition, deform, "
            "fov, lesions, matrix, scale, scalp, slice_position, slice_thickness, slices, "
            "source, tissues",
        ),
        ({"matrix": 8}, "phantom.matrix: 8 is less than the minimum of 16"),
        (
            {"matrix": 64.5},
            "phantom.matrix: 64.5 must be a number of voxels from 16 to 1024, for both "
            "axes or along x and y",
        ),
        ({"fov": float("inf")}, "phantom.fov: inf is no finite number"),
        (
            {"slice_position": 10.0},
            "there is no brain in the slice at 10 m; choose phantom.slice_position between "
            "-0.072 and 0.082 m",
        ),
        (
            {"definition": "none.yaml"},
            "phantom.definition: none.yaml does not exist; check the path",
        ),
        (
            {"deform": {"largest": 0.02, "smoothness": 0.005}},
            "phantom.deform: displacements of 0.02 m that change over 0.005 m fold the anatomy; "
            "lower largest or raise smoothness",
        ),
        (
            {"lesions": {"radius": [0.03, 0.03]}},
            "phantom.lesions: white matter has no room for lesion 1 of 8, of a radius of 0.03 m; "
            "lower count or radius, or choose another slice",
        ),
        (
            {"lesions": {"radius": [0.004, 0.002]}},
            "phantom.lesions.radius: 0.004 is larger than 0.002; give the smallest radius first",
        ),
        (
            {"source": "npz", "file": "good.npz", "lesions": {}},
            "phantom.lesions lie in the region 'wm', but there are only ['brain']; name its file "
            "under phantom.masks",
        ),
        ({"source": "nifti", "maps": {}}, "phantom.maps: 'PD' is a required property"),
        (nifti("none.nii"), "phantom.maps: none.nii does not exist; check the path in the config"),
        (
            nifti("cut.nii.gz"),
            "phantom.maps: cut.nii.gz cannot be read as NIfTI (EOFError: Compressed file ended "
            "before the end-of-stream marker was reached); export it again",
        ),
        (
            nifti("text.nii.gz"),
            "phantom.maps: text.nii.gz cannot be read as NIfTI (BadGzipFile: Not a gzipped "
            "file (b'no')); export it again",
        ),
        (
            nifti("series.nii.gz"),
            "phantom.maps: series.nii.gz has shape (20, 18, 3, 2); give one volume (x, y, "
            "z) a file",
        ),
        (
            nifti("negative.nii.gz"),
            "phantom.maps: PD of 'tissue' is negative, infinite or not a number in 360 "
            "voxels, the first at (x, y) = (0, 0); mend the map or set PD to zero there",
        ),
        (
            nifti("empty.nii.gz"),
            "phantom.maps: the phantom is empty: PD is zero in every voxel of the slice; "
            "choose another slice",
        ),
        (
            nifti("nan.nii.gz"),
            "phantom.maps: PD of 'tissue' is negative, infinite or not a number in 360 "
            "voxels, the first at (x, y) = (0, 0); mend the map or set PD to zero there",
        ),
        (
            nifti(T1="other.nii.gz"),
            "phantom.maps: other.nii.gz has shape (19, 18, 3), but PD.nii.gz has (20, 18, "
            "3); give all maps on the same grid",
        ),
        (
            nifti(T1="moved.nii.gz"),
            "phantom.maps: moved.nii.gz and PD.nii.gz differ in their affine; give all "
            "maps on the same grid",
        ),
        (
            nifti(T1="negative.nii.gz"),
            "phantom.maps: T1 of 'tissue' is not above zero or not a number in 360 voxels, "
            "the first at (x, y) = (0, 0); mend the map or set PD to zero there",
        ),
        (
            nifti(T1=-1.0),
            "phantom.maps: T1 of 'tissue' is not above zero or not a number in 360 voxels, "
            "the first at (x, y) = (0, 0); mend the map or set PD to zero there",
        ),
        (
            nifti(slice=3),
            "phantom.maps: phantom.slice is 3, but PD.nii.gz has the slices 0 to 2; choose one",
        ),
        (
            nifti(masks={"csf": "five.nii.gz"}),
            "phantom.maps: mask 'csf' has values outside 0 to 1; a mask holds each voxel's share",
        ),
        (
            nifti(masks={"csf": "other.nii.gz"}),
            "phantom.maps: other.nii.gz has shape (19, 18, 3), but the phantom has (20, "
            "18, 3); give masks on the grid of the maps",
        ),
        ({"source": "npz"}, "phantom: 'file' is a required property"),
        (
            {"source": "npz", "file": "none.npz"},
            "none.npz does not exist; check phantom.file in the config",
        ),
        (
            {"source": "npz", "file": "few.npz"},
            "few.npz has no T1_map; save it with T1_map, T2_map, T2dash_map, D_map",
        ),
        (
            {"source": "npz", "file": "shapes.npz"},
            "T1_map of shapes.npz has shape (19, 18, 3), but PD_map has (20, 18, 3); save "
            "all maps on the same grid",
        ),
        (
            {"source": "npz", "file": "objects.npz"},
            "objects.npz cannot be read as .npz (ValueError: Object arrays cannot be "
            "loaded when allow_pickle=False); save it again",
        ),
        (
            {"source": "npz", "file": "cut.npz"},
            "cut.npz cannot be read as .npz (BadZipFile: File is not a zip file); save it again",
        ),
        (
            {"source": "npz", "file": "array.npz"},
            "array.npz cannot be read as .npz (TypeError: 'numpy.ndarray' object does not "
            "support the context manager protocol); save it again",
        ),
        (
            {"source": "mat", "file": "none.mat", "fov": 0.2},
            "none.mat does not exist; check phantom.file in the config",
        ),
        ({"source": "mat", "file": "good.mat"}, "phantom: 'fov' is a required property"),
        (
            {"source": "mat", "file": "four.mat", "fov": 0.2},
            "four.mat holds arrays of the shapes [(20, 18, 4)]; save one array (x, y, z, "
            "5) of PD, T1, T2, B0, B1",
        ),
        (
            {"source": "mat", "file": "zero.mat", "fov": 0.2},
            "zero.mat: the phantom is empty: PD is zero in every voxel of the slice; "
            "choose another slice",
        ),
        (
            {"source": "mat", "file": "cut.mat", "fov": 0.2},
            "cut.mat cannot be read as .mat (OSError: could not read bytes); save it again",
        ),
        (
            {"source": "mr0_json", "file": "none.json"},
            "none.json does not exist; check phantom.file in the config",
        ),
        (
            {"source": "mr0_json", "file": "text.json"},
            "text.json is no phantom JSON of MRzeroCore (JSONDecodeError: Expecting "
            "property name enclosed in double quotes: line 1 column 2 (char 1)); see "
            "https://github.com/mrx-org/bifti-phantoms",
        ),
        (
            {"source": "mr0_json", "file": "list.json"},
            "list.json is no phantom JSON of MRzeroCore (TypeError: list indices must be "
            "integers or slices, not str); see https://github.com/mrx-org/bifti-phantoms",
        ),
        (
            {"source": "mr0_json", "file": "json/call.json"},
            "json/call.json: the formula \"x.tofile('stolen')\" may only compute with "
            "numbers and x, x_min, x_max, x_mean, x_std; correct it",
        ),
        (
            {"source": "mr0_json", "file": "json/escape.json"},
            "json/escape.json: the formula '().__class__.__base__.__subclasses__()' may "
            "only compute with numbers and x, x_min, x_max, x_mean, x_std; correct it",
        ),
        (
            {"source": "mr0_json", "file": "json/name.json"},
            "json/name.json: the formula 'x + y' may only compute with numbers and x, "
            "x_min, x_max, x_mean, x_std; correct it",
        ),
        (
            {"source": "mr0_json", "file": "json/syntax.json"},
            "json/syntax.json: the formula 'x +' is no formula; correct it",
        ),
        (
            {"source": "mr0_json", "file": "json/power.json"},
            "MRzeroCore cannot read json/power.json (OverflowError: (34, 'Numerical result "
            "out of range')); check its formulas and maps",
        ),
        (
            {"source": "mr0_json", "file": "json/missing.json"},
            "json/none.nii.gz, which json/missing.json names, is missing or no NIfTI; "
            "check the name in the JSON",
        ),
        (
            {"source": "mr0_json", "file": "json/index.json"},
            "json/index.json names phantom.nii.gz[4], but json/phantom.nii.gz has shape "
            "(20, 18, 1, 1); correct the index in the JSON",
        ),
        (
            {"source": "mr0_json", "file": "json/zero.json"},
            "json/zero.json: T1 of 'tissue' is not above zero or not a number in 360 "
            "voxels, the first at (x, y) = (0, 0); mend the map or set PD to zero there",
        ),
        (
            {"source": "brainweb", "folder": "b", "subject": 7},
            "phantom.subject: 7 is not one of [4, 5, 6, 18, 20, 38, 41, 42, 43, 44, 45, "
            "46, 47, 48, 49, 50, 51, 52, 53, 54]",
        ),
    ],
)
def test_phantoms(phantom_files, config, message):
    check(lambda: build_phantom(config), message)
    assert not Path("stolen").exists()


ONES = torch.ones(16, 16)
POOLS = {"a": TissuePool.of(ONES, T1=1.0, T2=0.1)}
GOOD = {"pools": POOLS, "masks": {}, "fov": (0.2, 0.2), "slice_thickness": 0.005}


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (
            lambda: Phantom(**{**GOOD, "fov": "ab"}),
            "fov and slice_thickness are 'ab' and 0.005, but must be lengths in m",
        ),
        (
            lambda: Phantom(**{**GOOD, "slice_thickness": None}),
            "fov and slice_thickness are (0.2, 0.2) and None, but must be lengths in m",
        ),
        (
            lambda: Phantom(**{**GOOD, "pools": [1]}),
            "pools is [1], but must be a mapping of names to values",
        ),
        (
            lambda: Phantom(**{**GOOD, "masks": {"csf": 1.0}}),
            "mask 'csf' has shape (), but the maps have (16, 16); give it on the same grid",
        ),
        (
            lambda: TissuePool.of("dense", T1=1.0, T2=0.1),
            "PD is 'dense', but must hold numbers",
        ),
        *(
            (
                lambda PD=PD: TissuePool.of(PD, T1=1.0, T2=0.1),
                "PD is a sparse or a meta tensor; give a dense one",
            )
            for PD in (ONES.to("meta"), ONES.to_sparse())
        ),
    ],
)
def test_phantoms_of_python(act, message):
    check(act, message)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("T2", torch.ones(2), "T2 has shape (2,), but there are 1 voxels; give all maps for each "
         "of them"),
        ("T2", torch.zeros(1), "T2 is zero in 1 places; mask these voxels"),
    ],
)  # fmt: skip
def test_maps_of_a_simulator(name, values, message):
    data = one_voxel()
    setattr(data, name, values)
    check(lambda: pulseq_zero.Simulator(data), f"the phantom's {message}")


def test_a_phantom_in_mm():
    maps = {f"{name}_map": np.ones((16, 16)) for name in ("PD", "T1", "T2", "T2dash", "D")}
    np.savez("a.npz", FOV=np.array([200.0, 200.0, 5.0]), **maps)
    with pytest.warns(UserWarning, match="phantom: it measures 200 m; is it in mm"):
        build_phantom({"source": "npz", "file": "a.npz"})
