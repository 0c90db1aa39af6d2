import math
import sys

import pytest
import torch
import yaml

from pulseq_zero.errors import ConfigError, PhantomError
from pulseq_zero.phantom import MAP_UNITS, build_phantom
from pulseq_zero.phantom.settings import read_definition

DEFINITION = "phantoms/brain_3T.yaml"


def test_size_and_pools(brain):
    assert brain.matrix == (96, 96)
    assert brain.fov == (0.224, 0.224)
    assert brain.slice_thickness == 0.005
    assert list(brain.pools) == ["gm", "wm", "csf", "scalp"]
    assert set(brain.masks) == {"csf", "gm", "wm", "brain"}


def test_without_nilearn_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "nilearn", None)
    # In a place that no other test has loaded
    with pytest.raises(PhantomError, match=r"needs nilearn: pip install 'pulseq-zero\[brain\]'"):
        build_phantom({"slice_position": 0.0123})


def test_building_again_gives_the_same(brain):
    again = build_phantom({})
    for name, pool in brain.pools.items():
        assert torch.equal(pool.PD, again.pools[name].PD)
        assert torch.equal(pool.B0, again.pools[name].B0)
    assert all(torch.equal(mask, again.masks[name]) for name, mask in brain.masks.items())


def test_values_are_those_of_the_table(brain):
    for name, pool in brain.pools.items():
        values = read_definition(DEFINITION)["tissues"][name]
        for key in ("T1", "T2", "T2dash", "D"):
            assert getattr(pool, key).unique().item() == pytest.approx(values[key]["value"])
        assert pool.PD.max().item() == pytest.approx(values["PD"]["value"])
    null = math.log(2) * brain.pools["csf"].T1.max().item()
    assert null == pytest.approx(2.98, abs=0.005)


def test_tissues_share_the_volume_of_a_voxel(brain):
    tissues = read_definition(DEFINITION)["tissues"]
    share = sum(pool.PD / tissues[name]["PD"]["value"] for name, pool in brain.pools.items())
    assert share.max().item() <= 1 + 1e-5
    inside = brain.masks["brain"] > 0.99
    torch.testing.assert_close(share[inside], torch.ones(int(inside.sum())), rtol=1e-4, atol=1e-4)


def test_partial_volume_is_kept_as_pools(brain):
    several = sum((pool.PD > 0).int() for pool in brain.pools.values()) > 1
    assert 0.2 < (several.sum() / (brain.maps()["PD"] > 0).sum()).item() < 0.8


def test_volumes_are_those_of_a_brain(brain):
    voxel = 0.224**2 / 96**2 * 1e4  # cm²
    area = {name: mask.sum().item() * voxel for name, mask in brain.masks.items()}
    # An axial slice at the level of the basal ganglia; the ventricles' four horns have 5 to 15 cm².
    assert 150 < area["brain"] < 220
    assert 0.7 < area["gm"] / area["wm"] < 1.7
    assert 4 < area["csf"] < 15


def test_ventricles_are_four_horns_apart_from_other_csf(brain):
    inside = brain.masks["csf"] > 0.5
    x, y = inside.nonzero(as_tuple=True)
    assert {bool(front) for front in y > 50} == {True, False}
    assert {bool(right) for right in x > 48} == {True, False}
    # None near the surface of the brain, where the sulci are.
    where = (brain.masks["brain"] > 0.5).nonzero()
    low, high = where.min(0).values, where.max(0).values
    assert (x.min() - low[0] > 10) and (high[0] - x.max() > 10)
    assert (y.min() - low[1] > 15) and (high[1] - y.max() > 15)
    csf = brain.pools["csf"].PD
    assert (csf[inside] > 0.5).all()
    assert csf.sum() > 2 * brain.masks["csf"].sum(), "sulci hold CSF, too"


def test_front_of_the_head_is_at_large_y_and_both_sides_are_alike(brain):
    assert brain.masks["brain"].T.flip(1).sub(brain.masks["brain"].T).abs().mean() < 0.1
    frontal = brain.maps()["B0"][40:56, 80:90].max()
    assert frontal > 3 * brain.maps()["B0"][40:56, 6:16].abs().max()


@pytest.mark.parametrize("matrix", [(64, 64), (48, 48), (96, 96), (80, 64)])
@pytest.mark.parametrize("name", ["csf", "gm", "wm", "brain"])
def test_regions_have_pixels_of_their_own(brain, name, matrix):
    threshold = 0.9 if min(matrix) >= 64 else 0.7
    inside = brain.mask(name, matrix, threshold)
    assert inside.shape == matrix
    assert inside.dtype == torch.bool
    assert inside.sum() >= 4
    if name != "csf":
        assert not (inside & brain.mask("csf", matrix, threshold)).any()


def test_image_pixels_of_the_csf_region_hold_hardly_anything_else(brain):
    from pulseq_zero.phantom.grid import area_average

    csf = area_average(brain.pools["csf"].PD, brain.fov, (64, 64))
    assert csf[brain.mask("csf")].min() > 0.89


def test_fields_are_plausible_and_shimmed(brain):
    inside = brain.masks["brain"] > 0.5
    maps = brain.maps()
    assert -20 < maps["B0"][inside].min() < 0
    assert 30 < maps["B0"][inside].max() < 70
    assert abs(maps["B0"][inside].mean()) < 1
    assert 0.75 < maps["B1"][inside].min() < 0.85
    assert 1.15 < maps["B1"][inside].max() < 1.25
    assert maps["B1"][inside].mean() == pytest.approx(1.0, abs=0.05)


def test_fields_can_be_switched_off():
    phantom = build_phantom({"B0_scale": 0, "B1_scale": 0})
    for pool in phantom.pools.values():
        assert (pool.B0 == 0).all()
        assert (pool.B1 == 1).all()


def test_scalp_can_be_switched_off(brain):
    bare = build_phantom({"scalp": False})
    assert list(bare.pools) == ["gm", "wm", "csf"]
    assert torch.equal(bare.pools["gm"].PD, brain.pools["gm"].PD)
    assert (brain.maps()["PD"] > 0).sum() > (bare.maps()["PD"] > 0).sum() + 500


def test_scalp_is_a_closed_ring_with_a_gap(brain):
    scalp = brain.pools["scalp"].PD > 0
    others = sum(pool.PD for name, pool in brain.pools.items() if name != "scalp") > 0
    assert not (scalp & others).any()
    for line in (scalp[48], scalp[:, 48]):
        assert int((line.int().diff() == 1).sum()) == 2


@pytest.mark.parametrize("shape", [{"matrix": 64}, {"matrix": [120, 100], "fov": (0.24, 0.23)}])
def test_tissue_volumes_do_not_depend_on_the_grid(brain, shape):
    other = build_phantom(shape)
    for name in brain.masks:
        areas = [
            phantom.masks[name].mean().item() * phantom.fov[0] * phantom.fov[1]
            for phantom in (brain, other)
        ]
        assert areas[0] == pytest.approx(areas[1], rel=1e-5)


def test_thick_slices_average_thin_ones():
    thin = [
        build_phantom({"slice_position": z, "slice_thickness": 0.001}).masks["gm"]
        for z in (0.011, 0.012)
    ]
    thick = build_phantom({"slice_position": 0.0115, "slice_thickness": 0.002}).masks["gm"]
    # The head's centre may move by half a voxel of the template between slices.
    assert (torch.stack(thin).mean(0) - thick).abs().mean() < 0.02


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"fov": 0.18}, "head does not fit into a field of view of 0.18 x 0.18 m"),
        ({"slice_position": 0.2}, "no brain in the slice at 0.2 m"),
        ({"slice_position": -0.5}, "no brain in the slice at -0.5 m"),
    ],
)
def test_slices_and_grids_without_a_whole_head_are_refused(config, message):
    with pytest.raises(PhantomError, match=message):
        build_phantom(config)


def test_smaller_fov_is_enough_without_scalp():
    assert build_phantom({"fov": 0.192, "scalp": False}).fov == (0.192, 0.192)


def test_own_tissue_values(tmp_path, brain):
    definition = read_definition(DEFINITION)
    definition["tissues"]["csf"]["T1"]["value"] = 4.0
    definition["tissues"]["scalp"]["shift"]["value"] = -3.4
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(definition))
    own = build_phantom({"definition": str(path)})
    assert own.pools["csf"].T1.unique().item() == 4.0
    torch.testing.assert_close(
        own.pools["scalp"].B0 - brain.pools["scalp"].B0,
        torch.full((96, 96), -3.4e-6 * 42.577478518e6 * 3),
        rtol=1e-3,
        atol=1e-3,
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["tissues"]["gm"].pop("T1"), r"tissues\.gm: 'T1' is a required property"),
        (lambda d: d["tissues"]["gm"]["T1"].update(value=0), r"tissues\.gm\.T1\.value: 0 is less"),
        (lambda d: d["tissues"]["gm"]["T1"].update(source="x"), "gm.T1 names the source 'x'"),
        (lambda d: d["head"].update(hair=1), r"head: unknown key 'hair'; the keys are csf"),
        (lambda d: d.update(ventricles=[[0, 0, 1.0]]), "there is no CSF at"),
    ],
)
def test_bad_definitions_are_refused(tmp_path, change, message):
    definition = read_definition(DEFINITION)
    change(definition)
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(definition))
    with pytest.raises((ConfigError, PhantomError), match=message):
        build_phantom({"definition": str(path)})


def test_missing_and_broken_definitions_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.yaml does not exist"):
        build_phantom({"definition": "nowhere.yaml"})
    (tmp_path / "own.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match=r"own\.yaml is no valid YAML"):
        build_phantom({"definition": str(tmp_path / "own.yaml")})


def test_definition_is_found_from_any_folder(tmp_path, monkeypatch, brain):
    monkeypatch.chdir(tmp_path)
    assert read_definition(DEFINITION)["field_strength"] == 3.0


def test_all_maps_have_units(brain):
    assert set(brain.maps()) == set(MAP_UNITS)


def test_a_tissue_without_proton_density_is_left_out(brain):
    without = build_phantom({"tissues": {"gm": {"PD": 0}, "scalp": {"PD": 0}}})
    assert set(without.to_mr0()) == {"wm", "csf"}
    assert torch.equal(without.pools["csf"].PD, brain.pools["csf"].PD)
    # Regions are of the anatomy
    assert torch.equal(without.masks["gm"], brain.masks["gm"])
