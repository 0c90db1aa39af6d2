import json
import shutil
from pathlib import Path

import MRzeroCore as mr0
import nibabel
import numpy as np
import pytest
import requests
import scipy.io
import torch
from MRzeroCore.phantom import brainweb
from MRzeroCore.phantom.nifti_phantom import NiftiPhantom

from pulseq_zero.errors import PhantomError
from pulseq_zero.phantom import Phantom, build_phantom

RANDOM = np.random.default_rng(0)
SHAPE = (20, 18, 5)
AFFINE = np.array([[4.0, 0, 0, -40], [0, 5, 0, -45], [0, 0, 6, -10], [0, 0, 0, 1]])
MAPS = ("PD", "T1", "T2", "T2dash", "D", "B0", "B1")


@pytest.fixture
def volumes() -> dict[str, np.ndarray]:
    maps = {name: RANDOM.uniform(0.1, 1, SHAPE).astype(np.float32) for name in MAPS}
    maps["PD"][:4] = 0
    maps["T1"][:4] = np.nan
    maps["B0"] = 100 * maps["B0"] - 50
    return maps


@pytest.fixture
def nifti_config(tmp_path, volumes) -> dict:
    return {
        "source": "nifti",
        "maps": {name: write(tmp_path / f"{name}.nii.gz", data) for name, data in volumes.items()},
    }


def write(path, data, affine=AFFINE) -> str:
    nibabel.save(nibabel.Nifti1Image(data, affine), path)
    return str(path)


def assert_maps(phantom: Phantom, volumes: dict[str, np.ndarray], index: int) -> None:
    pool = phantom.pools["tissue"]
    present = pool.PD > 0
    assert torch.equal(pool.PD, torch.from_numpy(volumes["PD"][:, :, index].copy()))
    for name, data in volumes.items():
        actual = pool.B1[0].real if name == "B1" else getattr(pool, name)
        expected = torch.from_numpy(data[:, :, index].copy())
        assert torch.equal(actual[present], expected[present]), name


# Plain NIfTI maps


@pytest.mark.parametrize("index", [None, 0, 4])
def test_nifti_maps(nifti_config, volumes, index):
    chosen = {} if index is None else {"slice": index}
    phantom = build_phantom({**nifti_config, **chosen})
    assert_maps(phantom, volumes, 2 if index is None else index)
    assert phantom.fov == pytest.approx((0.08, 0.09))
    assert phantom.slice_thickness == pytest.approx(0.006)
    assert torch.equal(phantom.masks["brain"] > 0, phantom.pools["tissue"].PD > 0)


def test_nifti_axes_are_turned_to_left_right_and_posterior_anterior(tmp_path, volumes):
    turned = AFFINE @ np.array([[0, -1, 0, 19], [1, 0, 0, 0], [0, 0, -1, 4], [0, 0, 0, 1.0]])
    maps = {}
    for name, data in volumes.items():
        # Axes as a file may have them: anterior, left, inferior.
        stored = data.transpose(1, 0, 2)[:, ::-1, ::-1]
        maps[name] = write(tmp_path / f"{name}.nii", np.ascontiguousarray(stored), turned)
    phantom = build_phantom({"source": "nifti", "maps": maps, "slice": 1})
    assert_maps(phantom, volumes, 1)
    assert phantom.fov == pytest.approx((0.08, 0.09))


def test_numbers_stand_for_homogeneous_maps_and_the_rest_has_defaults(tmp_path, volumes):
    maps = {"PD": write(tmp_path / "PD.nii", volumes["PD"]), "T1": 1.5, "T2": 0.1}
    pool = build_phantom({"source": "nifti", "maps": maps}).pools["tissue"]
    assert pool.T1.unique().tolist() == [1.5]
    assert pool.T2dash.isinf().all()
    assert (pool.D == 0).all() and (pool.B0 == 0).all() and (pool.B1 == 1).all()


def test_integer_two_dimensional_maps_and_masks(tmp_path):
    density = RANDOM.integers(0, 255, (20, 18)).astype(np.uint8)
    csf = (density > 200).astype(np.uint8)
    phantom = build_phantom(
        {
            "source": "nifti",
            "maps": {"PD": write(tmp_path / "PD.nii", density), "T1": 1.5, "T2": 0.1},
            "masks": {"csf": write(tmp_path / "csf.nii", csf)},
        }
    )
    assert torch.equal(phantom.pools["tissue"].PD, torch.from_numpy(density).float())
    assert torch.equal(phantom.masks["csf"], torch.from_numpy(csf).float())
    assert phantom.mask("csf", (20, 18)).sum() == csf.sum()


def test_matrix_averages_a_users_phantom(nifti_config):
    phantom = build_phantom({**nifti_config, "matrix": [16, 16]})
    assert phantom.matrix == (16, 16)
    assert phantom.fov == pytest.approx((0.08, 0.09))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"T1": "nowhere/T1.nii"}, r"nowhere/T1\.nii does not exist"),
        ({"T1": -1.0}, "T1 of 'tissue' is not above zero"),
        ({"D": -1.0}, "D of 'tissue' is negative"),
    ],
)
def test_bad_nifti_config(nifti_config, change, message):
    nifti_config["maps"] |= change
    with pytest.raises(PhantomError, match=message):
        build_phantom(nifti_config)


MOVED = np.array([[0, 0, 0, 1]] * 3 + [[0] * 4])


def test_nifti_maps_of_different_grids_are_named(tmp_path, nifti_config, volumes):
    nifti_config["maps"]["T2"] = write(tmp_path / "small.nii", volumes["T2"][:-1])
    with pytest.raises(PhantomError, match=r"small\.nii has shape \(19, 18, 5\).* has \(20, 18, 5"):
        build_phantom(nifti_config)
    nifti_config["maps"]["T2"] = write(tmp_path / "moved.nii", volumes["T2"], AFFINE + MOVED)
    with pytest.raises(PhantomError, match=r"moved\.nii and .* differ in their affine"):
        build_phantom(nifti_config)


def test_nifti_values_that_cannot_be_are_named(tmp_path, nifti_config, volumes):
    volumes["T2"][10, 9, 2] = 0
    write(tmp_path / "T2.nii.gz", volumes["T2"])
    with pytest.raises(PhantomError, match=r"phantom\.maps: T2 of 'tissue' .* \(10, 9\)"):
        build_phantom(nifti_config)
    assert build_phantom({**nifti_config, "slice": 1})


def test_no_nifti_at_all(tmp_path, nifti_config, volumes):
    (tmp_path / "text.nii").write_text("no image")
    nifti_config["maps"]["PD"] = str(tmp_path / "text.nii")
    with pytest.raises(PhantomError, match=r"text\.nii cannot be read as NIfTI"):
        build_phantom(nifti_config)
    nifti_config["maps"]["PD"] = write(tmp_path / "4d.nii", np.ones((*SHAPE, 2), np.float32))
    with pytest.raises(PhantomError, match=r"4d\.nii has shape .* one volume \(x, y, z\) a file"):
        build_phantom(nifti_config)


def test_wrong_and_empty_slices(tmp_path, nifti_config, volumes):
    with pytest.raises(PhantomError, match=r"phantom\.slice is 5, but .* slices 0 to 4"):
        build_phantom({**nifti_config, "slice": 5})
    volumes["PD"][:, :, 3] = 0
    write(tmp_path / "PD.nii.gz", volumes["PD"])
    with pytest.raises(PhantomError, match="PD is zero in every voxel of the slice"):
        build_phantom({**nifti_config, "slice": 3})


def test_masks_of_another_grid_or_range_are_named(tmp_path, nifti_config):
    small = write(tmp_path / "small.nii", np.ones((20, 18, 4), np.uint8))
    with pytest.raises(PhantomError, match=r"small\.nii has shape .* masks on the grid"):
        build_phantom({**nifti_config, "masks": {"csf": small}})
    bright = write(tmp_path / "bright.nii", np.full(SHAPE, 255, np.uint8))
    with pytest.raises(PhantomError, match="mask 'csf' has values outside 0 to 1"):
        build_phantom({**nifti_config, "masks": {"csf": bright}})


# MRzero's .npz and .mat


@pytest.fixture
def npz(tmp_path, volumes) -> str:
    path = tmp_path / "phantom.npz"
    arrays = {f"{name}_map": data for name, data in volumes.items()}
    np.savez(path, **arrays, FOV=[0.2, 0.18, 0.025], tissue_csf=volumes["PD"] > 0.5)
    return str(path)


def test_npz(npz, volumes):
    phantom = build_phantom({"source": "npz", "file": npz, "slice": 3})
    assert_maps(phantom, volumes, 3)
    assert phantom.fov == pytest.approx((0.2, 0.18))
    assert phantom.slice_thickness == pytest.approx(0.005)
    assert torch.equal(phantom.masks["csf"] > 0, torch.from_numpy(volumes["PD"][..., 3] > 0.5))


def test_npz_gives_the_voxels_that_mrzerocore_gives(npz):
    ours = build_phantom({"source": "npz", "file": npz, "slice": 3}).simulation_data()
    theirs = mr0.VoxelGridPhantom.load(npz)
    theirs.tissue_masks = {}
    theirs = theirs.slices([3]).build()
    for name in ("PD", "T1", "T2", "T2dash", "D", "B0", "B1", "voxel_pos", "size", "nyquist"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name), msg=name)


def test_npz_without_fields_fov_and_slices(tmp_path, volumes):
    path = tmp_path / "flat.npz"
    arrays = {f"{name}_map": volumes[name][:, :, 0] for name in MAPS if name not in ("B0", "B1")}
    np.savez(path, **arrays)
    phantom = build_phantom({"source": "npz", "file": path, "fov": 0.21})
    assert phantom.fov == (0.21, 0.21)
    assert phantom.slice_thickness == pytest.approx(0.008)
    assert (phantom.pools["tissue"].B0 == 0).all()


def test_npz_with_transmit_channels(tmp_path, volumes):
    B1 = (RANDOM.normal(size=(2, *SHAPE)) + 1j).astype(np.complex64)
    arrays = {f"{name}_map": volumes[name] for name in MAPS if name != "B1"}
    np.savez(tmp_path / "p.npz", **arrays, B1_map=B1)
    phantom = build_phantom({"source": "npz", "file": tmp_path / "p.npz", "slice": 1})
    present = phantom.pools["tissue"].PD > 0
    expected = torch.from_numpy(B1[..., 1])
    assert torch.equal(phantom.pools["tissue"].B1[:, present], expected[:, present])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"T1_map": None}, r"p\.npz has no T1_map"),
        ({"T1_map": np.ones((3, 3, 3))}, r"T1_map of .*p\.npz has shape \(3, 3, 3\)"),
        ({"tissue_csf": np.ones((3, 3, 3))}, r"tissue_csf of .*p\.npz has shape"),
        ({"T2_map": np.zeros(SHAPE)}, r"p\.npz: T2 of 'tissue' is not above zero"),
    ],
)
def test_bad_npz(tmp_path, volumes, change, message):
    arrays = {**{f"{name}_map": data for name, data in volumes.items()}, **change}
    path = tmp_path / "p.npz"
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(PhantomError, match=message):
        build_phantom({"source": "npz", "file": path})


@pytest.mark.parametrize(("source", "extra"), [("npz", {}), ("mat", {"fov": 0.2})])
def test_missing_and_broken_files(tmp_path, source, extra):
    config = {"source": source, "file": tmp_path / f"a.{source}", **extra}
    with pytest.raises(PhantomError, match=rf"a\.{source} does not exist"):
        build_phantom(config)
    (tmp_path / f"a.{source}").write_text("nothing of the kind")
    with pytest.raises(PhantomError, match=rf"a\.{source} cannot be read"):
        build_phantom(config)


def test_mat(tmp_path, volumes):
    names = ("PD", "T1", "T2", "B0", "B1")
    path = tmp_path / "p.mat"
    scipy.io.savemat(path, {"phantom": np.stack([volumes[name] for name in names], -1)})
    phantom = build_phantom({"source": "mat", "file": path, "fov": [0.2, 0.18], "slice": 2})
    assert_maps(phantom, {name: volumes[name] for name in names}, 2)
    assert phantom.fov == (0.2, 0.18)
    pool = phantom.pools["tissue"]
    assert pool.T2dash.unique().item() == pytest.approx(0.03)
    assert pool.D.unique().item() == 1.0


@pytest.mark.parametrize(
    "content",
    [{"a": np.ones((20, 18, 4))}, {"a": np.ones((20, 18, 5)), "b": np.ones((20, 18, 5))}, {}],
)
def test_bad_mat(tmp_path, content):
    scipy.io.savemat(tmp_path / "p.mat", content)
    with pytest.raises(PhantomError, match=r"p\.mat holds arrays of the shapes .* save one array"):
        build_phantom({"source": "mat", "file": tmp_path / "p.mat", "fov": 0.2})


# MRzeroCore's phantom JSON


@pytest.mark.parametrize("name", ["brain", "tiny"])
def test_mrzerocore_reads_back_what_was_saved(tmp_path, request, name, capsys):
    phantom = request.getfixturevalue(name)
    path = phantom.save_nifti(tmp_path / "deep", "head")
    assert capsys.readouterr().out == ""
    ours, theirs = phantom.simulation_data(), mr0.TissueDict.load(path).build()
    for key in ("PD", "T1", "T2", "T2dash", "D", "B0", "B1", "coil_sens", "voxel_pos", "size"):
        actual, expected = getattr(theirs, key), getattr(ours, key)
        torch.testing.assert_close(actual, expected, rtol=1e-6, atol=1e-6, msg=key)
    assert {p.name for p in path.parent.iterdir()} >= {"head.json", "head.nii.gz"}


@pytest.mark.parametrize("name", ["brain", "tiny"])
def test_a_saved_phantom_can_be_the_source(tmp_path, request, name, assert_same_pools, capsys):
    phantom = request.getfixturevalue(name)
    path = phantom.save_nifti(tmp_path)
    masks = {region: str(tmp_path / f"phantom_mask_{region}.nii.gz") for region in phantom.masks}
    again = build_phantom({"source": "mr0_json", "file": path, "masks": masks})
    assert capsys.readouterr().out == ""
    assert_same_pools(phantom, again, 1e-6)
    assert all(torch.equal(mask, again.masks[region]) for region, mask in phantom.masks.items())
    assert again.fov == pytest.approx(phantom.fov)
    assert again.slice_thickness == pytest.approx(phantom.slice_thickness)


def test_saving_numbers_as_numbers_and_shared_maps_once(tmp_path, brain):
    content = json.loads(brain.save_nifti(tmp_path).read_text())
    assert content["tissues"]["csf"]["T1"] == pytest.approx(4.3)
    assert {tissue["dB0"] for tissue in content["tissues"].values()} == {"phantom_dB0.nii.gz[0]"}
    image = nibabel.load(tmp_path / "phantom_dB0.nii.gz")
    assert image.shape == (96, 96, 1, 1)
    assert image.header.get_zooms()[:3] == pytest.approx((224 / 96, 224 / 96, 5.0))


def test_regions_of_a_json_are_its_tissues(tmp_path, brain):
    path = brain.save_nifti(tmp_path)
    again = build_phantom({"source": "mr0_json", "file": path})
    assert set(again.masks) == {"gm", "wm", "csf", "scalp", "brain"}
    torch.testing.assert_close(again.masks["gm"], brain.masks["gm"], rtol=1e-5, atol=1e-5)
    assert again.masks["csf"].sum() > brain.masks["csf"].sum()


@pytest.fixture
def volume_json(tmp_path, volumes) -> str:
    """Write a three-dimensional phantom with a formula, flipped along x."""
    flipped = np.diag([-1.0, 1, 1, 1])
    flipped[0, 3] = SHAPE[0] - 1
    maps = {name: data[::-1, :, :, None] for name, data in volumes.items()}
    maps["T1"] = np.nan_to_num(maps["T1"], nan=1.0)
    for name in ("PD", "T1", "B0"):
        write(tmp_path / f"{name}.nii.gz", np.ascontiguousarray(maps[name]), AFFINE @ flipped)
    content = NiftiPhantom.default().to_dict()
    content["tissues"] = {
        "a": {
            "density": "PD.nii.gz[0]",
            "T1": "T1.nii.gz[0]",
            "T2": 0.1,
            "T2'": 0.05,
            "ADC": 1.0,
            "dB0": {"file": "B0.nii.gz[0]", "func": "x - 440"},
        }
    }
    path = tmp_path / "volume.json"
    path.write_text(json.dumps(content))
    return str(path)


@pytest.mark.parametrize("index", range(5))
def test_slice_of_a_json_volume(volume_json, volumes, index):
    phantom = build_phantom({"source": "mr0_json", "file": volume_json, "slice": index})
    pool = phantom.pools["a"]
    present = pool.PD > 0
    torch.testing.assert_close(pool.PD, torch.from_numpy(volumes["PD"][..., index].copy()))
    for actual, expected in ((pool.T1, volumes["T1"]), (pool.B0, volumes["B0"] - 440)):
        torch.testing.assert_close(
            actual[present], torch.from_numpy(expected[..., index].copy())[present]
        )
    assert phantom.fov == pytest.approx((0.08, 0.09))
    assert set(phantom.masks) == {"a", "brain"}


def edit(path: str, change) -> None:
    content = json.loads(Path(path).read_text())
    change(content["tissues"]["a"], content)
    Path(path).write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, c: t.update(T1="no.nii[0]"), r"no\.nii, which .*volume\.json names, is missing"),
        (lambda t, c: t.update(T1="T1.nii.gz[3]"), r"T1\.nii\.gz\[3\], but .* correct the index"),
        (lambda t, c: t.update(T1="T1.nii.gz"), r"volume\.json is no phantom JSON .*Invalid"),
        (lambda t, c: t.update(T1=-1.0), r"volume\.json: T1 of 'a' is not above zero"),
        (
            lambda t, c: t["dB0"].update(func="y + 1"),
            r"volume\.json: the formula 'y \+ 1' may only",
        ),
        (lambda t, c: c.pop("units"), r"volume\.json is no phantom JSON .*units"),
        (lambda t, c: c.update(tissues={}), r"volume\.json names no tissue"),
    ],
)
def test_bad_json(volume_json, change, message):
    edit(volume_json, change)
    with pytest.raises(PhantomError, match=message):
        build_phantom({"source": "mr0_json", "file": volume_json})


def test_json_maps_of_different_shapes_are_named(tmp_path, volume_json):
    write(tmp_path / "T1.nii.gz", np.ones((19, 18, 5, 1), np.float32))
    with pytest.raises(PhantomError, match=r"T1\.nii\.gz has shape \(19, 18, 5\), but .*PD\.nii"):
        build_phantom({"source": "mr0_json", "file": volume_json})


def test_changed_files_are_read_again(tmp_path, volume_json, volumes):
    config = {"source": "mr0_json", "file": volume_json}
    before = build_phantom(config).pools["a"].PD
    image = nibabel.load(tmp_path / "PD.nii.gz")
    write(tmp_path / "PD.nii.gz", 2 * np.asarray(image.dataobj), image.affine)
    assert torch.equal(build_phantom(config).pools["a"].PD, 2 * before)


@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_missing_and_broken_json(tmp_path, content):
    config = {"source": "mr0_json", "file": tmp_path / "a.json"}
    with pytest.raises(PhantomError, match=r"a\.json does not exist"):
        build_phantom(config)
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(PhantomError, match=r"a\.json is no phantom JSON"):
        build_phantom(config)


# BrainWeb


def no_network(*_args, **_kwargs):
    raise requests.ConnectionError("no route")


def test_brainweb_without_network(tmp_path, monkeypatch):
    monkeypatch.setattr(requests, "post", no_network)
    with pytest.raises(PhantomError, match=r"BrainWeb could not be fetched .* connect to the netw"):
        build_phantom({"source": "brainweb", "folder": tmp_path / "brainweb"})


def test_brainweb_answers_with_an_error_page(tmp_path, monkeypatch):
    page = type("Answer", (), {"content": b"<html>try later</html>"})
    monkeypatch.setattr(requests, "post", lambda *_args, **_kwargs: page)
    for _ in range(2):
        with pytest.raises(PhantomError, match="BrainWeb could not be fetched"):
            build_phantom({"source": "brainweb", "folder": tmp_path})
    assert list((tmp_path / "cache").iterdir()) == [], "the error page is not taken for data"


def test_brainweb(tmp_path, monkeypatch, capsys):
    """The downloader with a small head in place of BrainWeb's volumes of 362 x 434 x 362."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in (40, 48, 40)), indexing="ij")
    radius = np.sqrt(x**2 + y**2 + z**2)
    shells = {"csf": (0, 0.2), "wht": (0.2, 0.5), "gry": (0.5, 0.7), "fat": (0.7, 0.8)}

    def shell(_subject, alias, _cache):
        low, high = shells.get(alias, (2, 2))
        return ((radius >= low) & (radius < high)).astype(np.float32)

    monkeypatch.setattr(brainweb, "load_tissue", shell)
    config = {"source": "brainweb", "folder": tmp_path, "matrix": 32, "slice_position": -0.0805}
    phantom = build_phantom(config)
    assert capsys.readouterr().out == ""
    assert phantom.matrix == (32, 32)
    assert list(phantom.pools) == ["gm", "wm", "csf", "fat"]
    assert phantom.fov == pytest.approx((0.02, 0.024))
    assert phantom.slice_thickness == pytest.approx(0.005)
    assert phantom.mask("csf", (32, 32), 0.5).any()
    assert (phantom.pools["fat"].B0[phantom.pools["fat"].PD > 0.1].mean()) < -400

    shutil.rmtree(tmp_path / "cache")
    monkeypatch.setattr(brainweb, "load_tissue", no_network)
    assert build_phantom(config).matrix == (32, 32), "nothing is fetched twice"
    with pytest.raises(PhantomError, match=r"slice_position is 0\.05 m, but .* reaches from"):
        build_phantom({**config, "slice_position": 0.05})
