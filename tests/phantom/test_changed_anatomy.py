"""Deformed anatomies and lesions: what stays, what moves, and what is refused."""

import math
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from pulseq_zero.errors import ConfigError, PhantomError
from pulseq_zero.phantom import Phantom, TissuePool, build_phantom
from pulseq_zero.phantom.deformation import Deformation, deformed
from pulseq_zero.phantom.lesions import lesion_shares, with_lesions
from pulseq_zero.phantom.settings import read_config, read_definition

DEFORM = {"seed": 3, "largest": 0.006, "smoothness": 0.02}
MILLIMETRES = (1e-3, 1e-3)


@pytest.fixture(scope="module")
def moved() -> Phantom:
    return build_phantom({"deform": DEFORM})


@pytest.fixture(scope="module")
def lesioned() -> Phantom:
    return build_phantom({"lesions": {"seed": 1}})


def shares_of(phantom: Phantom) -> torch.Tensor:
    """Return what the tissues of a modelled head fill of each voxel."""
    table = read_definition("phantoms/brain_3T.yaml")["tissues"]
    densities = {name: values["PD"]["value"] for name, values in table.items()}
    densities["lesion"] = phantom.origin["settings"].get("lesions", {}).get("PD")
    return sum(pool.PD / densities[name] for name, pool in phantom.pools.items())


@pytest.mark.parametrize("change", [{"deform": DEFORM}, {"lesions": {}}])
def test_tissues_share_voxels_as_before(brain, change):
    share = shares_of(build_phantom(change))
    assert share.max().item() <= 1 + 1e-5
    inside = build_phantom(change).masks["brain"] > 0.99
    torch.testing.assert_close(share[inside], torch.ones(int(inside.sum())), rtol=1e-4, atol=1e-4)


def test_regions_follow_their_tissues(moved, lesioned):
    for phantom in (moved, lesioned):
        for name, density in (("gm", 0.8), ("wm", 0.7), ("lesion", 0.69)):
            if name in phantom.pools:
                torch.testing.assert_close(
                    phantom.masks[name], phantom.pools[name].PD / density, rtol=1e-5, atol=1e-6
                )
        parts = [phantom.masks[name] for name in ("gm", "wm", "lesion") if name in phantom.masks]
        torch.testing.assert_close(sum(parts), phantom.masks["brain"], rtol=1e-5, atol=1e-6)
        ventricles = phantom.masks["csf"] > 0.999
        assert ventricles.any()
        assert phantom.pools["csf"].PD[ventricles].min() > 0.98


@pytest.mark.parametrize("change", [{"deform": DEFORM}, {"lesions": {}}])
def test_the_fields_are_those_of_the_scanner(brain, change):
    changed = build_phantom(change)
    for pool in changed.pools.values():
        assert torch.equal(pool.B0, brain.pools["wm"].B0)
        assert torch.equal(pool.B1, brain.pools["wm"].B1)
    assert changed.position == brain.position


@pytest.mark.parametrize("change", [{"deform": DEFORM}, {"lesions": {"seed": 4}}])
def test_a_seed_gives_one_anatomy(change):
    section, settings = next(iter(change.items()))
    one, other = build_phantom(change), build_phantom(change)
    another = build_phantom({section: {**settings, "seed": 5}})
    for name, pool in one.pools.items():
        assert torch.equal(pool.PD, other.pools[name].PD)
    assert not torch.equal(one.pools["wm"].PD, another.pools["wm"].PD)


def test_the_anatomy_does_not_depend_on_the_grid(moved, lesioned):
    for phantom in (moved, lesioned):
        coarse = build_phantom({**phantom.origin["settings"], "matrix": 48})
        for name, mask in coarse.masks.items():
            assert mask.mean() == pytest.approx(phantom.masks[name].mean().item(), rel=1e-5)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("shape", "size"), [((60, 80), MILLIMETRES), ((31, 64), (2e-3, 1e-3))])
def test_nothing_folds_and_the_largest_displacement_is_as_asked(seed, shape, size):
    deform = Deformation(shape, size, seed=seed, largest=4e-3, smoothness=1.2e-2)
    assert np.hypot(*deform.displacement).max() == pytest.approx(4e-3)
    # By central differences, which the class does not use
    along_x, along_y = np.gradient(deform.displacement, *size, axis=(1, 2))
    determinant = (1 + along_x[0]) * (1 + along_y[1]) - along_x[1] * along_y[0]
    assert determinant.min() > 0
    assert deform.jacobian().min() > 0
    edge = np.ones(shape, bool)
    edge[1:-1, 1:-1] = False
    assert np.abs(deform.displacement[:, edge]).max() == 0


def test_neighbours_move_alike():
    deform = Deformation((120, 120), MILLIMETRES, seed=0, largest=4e-3, smoothness=2e-2)
    steps = np.abs(np.diff(deform.displacement, axis=1)).max() / 1e-3
    # A Gaussian of standard deviation s bends by no more than a few times its height over s
    assert steps < 4 * 4e-3 / 2e-2


def test_a_place_has_what_was_where_its_displacement_points():
    deform = Deformation((80, 90), MILLIMETRES, seed=1, largest=5e-3, smoothness=2e-2)
    x, y = np.indices((80, 90)) * 1e-3
    # Linear maps are interpolated exactly
    np.testing.assert_allclose(deform(x), x + deform.displacement[0], atol=1e-12)
    np.testing.assert_allclose(deform(y), y + deform.displacement[1], atol=1e-12)
    shares = np.random.default_rng(0).dirichlet(np.ones(4), size=(80, 90))
    after = [deform(shares[..., number]) for number in range(4)]
    np.testing.assert_allclose(sum(after), 1, atol=1e-12)
    assert min(share.min() for share in after) >= 0


def test_what_would_fold_is_refused():
    with pytest.raises(PhantomError, match=r"displacements of 0\.02 m that change over 0\.005 m "):
        build_phantom({"deform": {"largest": 0.02, "smoothness": 0.005}})


def test_any_phantom_can_be_deformed(tiny):
    """Infinite times, channels and pools that end somewhere stay what they are."""
    settings = {"seed": 0, "largest": 0.01, "smoothness": 0.04}
    after = deformed(tiny, settings)
    assert not torch.equal(after.pools["first"].PD, tiny.pools["first"].PD)
    for name, pool in after.pools.items():
        before = tiny.pools[name]
        for field in fields(TissuePool):
            assert getattr(pool, field.name).dtype == getattr(before, field.name).dtype
        for field in ("B0", "B1", "coil_sensitivity"):
            assert torch.equal(getattr(pool, field), getattr(before, field))
        present = pool.PD > 0
        assert pool.T2dash[present].isinf().all() == before.T2dash.isinf().all()
        assert before.T1.min() * 0.999 <= pool.T1[present].min()
        assert pool.T1[present].max() <= before.T1.max() * 1.001
    assert 0 <= after.masks["left"].min() <= after.masks["left"].max() <= 1


def test_fields_of_a_file_go_on_around_the_tissue(tiny):
    pool = tiny.pools["first"]
    inside = torch.zeros(18, 17)
    inside[4:14, 4:13] = 1
    cut = replace(pool, PD=pool.PD * inside, B1=pool.B1 * inside, B0=pool.B0 * inside)
    settings = {"seed": 0, "largest": 0.02, "smoothness": 0.06}
    after = deformed(replace(tiny, pools={"first": cut}), settings).pools["first"]
    grown = (after.PD > 0) & (inside == 0)
    assert grown.any()
    assert (after.B1[:, grown].abs() > 0).all()
    kept = (after.PD > 0) & (inside == 1)
    assert torch.equal(after.B1[:, kept], pool.B1[:, kept])


def test_lesions_are_discs_of_the_radii_that_were_asked_for():
    white = np.ones((150, 160))
    settings = read_config({"lesions": {"count": 12, "radius": [0.003, 0.006], "seed": 2}})
    shares = lesion_shares(white, MILLIMETRES, settings["lesions"])
    area = shares.sum() * 1e-6
    assert 12 * math.pi * 3e-3**2 < area < 12 * math.pi * 6e-3**2
    one = read_config({"lesions": {"count": 1, "radius": [0.004, 0.004]}})["lesions"]
    for size in (MILLIMETRES, (1e-3, 0.8e-3)):
        area = lesion_shares(white, size, one).sum() * math.prod(size)
        assert area == pytest.approx(math.pi * 4e-3**2, rel=0.02)
    assert shares.max() == 1
    assert shares.min() == 0


def test_lesions_lie_in_white_matter_and_take_its_place(brain, lesioned):
    lesion = lesioned.masks["lesion"]
    voxel = 0.224**2 / 96**2
    area = lesion.sum().item() * voxel
    assert 8 * math.pi * 2e-3**2 < area < 8 * math.pi * 4e-3**2
    torch.testing.assert_close(lesioned.masks["wm"] + lesion, brain.masks["wm"])
    torch.testing.assert_close(lesioned.masks["brain"], brain.masks["brain"])
    for name in ("gm", "csf", "scalp"):
        torch.testing.assert_close(
            lesioned.pools[name].PD, brain.pools[name].PD, rtol=0.02, atol=1e-6
        )


def test_lesions_have_the_values_that_are_asked_for(lesioned):
    """White matter of the table times the ratios of BrainWeb's table, unless others are given."""
    white = {
        name: entry["value"]
        for name, entry in read_definition("phantoms/brain_3T.yaml")["tissues"]["wm"].items()
    }
    pool = lesioned.pools["lesion"]
    rates = {name: 1 / star - 1 / T2 for name, star, T2 in (("lesion", 204, 237), ("wm", 61, 70))}
    expected = {
        "T1": white["T1"] * 752 / 500,
        "T2": white["T2"] * 237 / 70,
        "T2dash": white["T2dash"] * rates["wm"] / rates["lesion"],
        "D": white["D"],
    }
    for name, value in expected.items():
        assert getattr(pool, name).unique().item() == pytest.approx(value, rel=0.02)
    density = white["PD"] * 0.76 / 0.77
    assert (pool.PD / lesioned.masks["lesion"])[lesioned.masks["lesion"] > 0].max() == (
        pytest.approx(density, rel=0.01)
    )
    own = build_phantom({"lesions": {"T1": 1.4, "T2": 0.11, "PD": 0.8, "D": 1.0}}).pools["lesion"]
    assert own.T1.unique().item() == pytest.approx(1.4)
    assert own.T2.unique().item() == pytest.approx(0.11)
    assert own.D.unique().item() == 1.0
    assert own.PD.max().item() == pytest.approx(0.8, rel=0.05)


def test_phantoms_of_files_are_changed_as_the_modelled_one_is(brain, tmp_path):
    """A head of one's own has the region white matter, whatever its pools are called."""
    path = brain.save_nifti(tmp_path)
    changed = build_phantom(
        {
            "source": "mr0_json",
            "file": str(path),
            "deform": {"largest": 0.004},
            "lesions": {"count": 3, "radius": [0.0025, 0.003]},
            "matrix": 48,
        }
    )
    assert changed.matrix == (48, 48)
    assert changed.pools["lesion"].PD.sum() > 0
    assert changed.masks["lesion"].max() <= 1
    area = changed.masks["lesion"].sum().item() * 0.224**2 / 48**2
    assert area == pytest.approx(3 * math.pi * 2.75e-3**2, rel=0.25)
    for name in ("gm", "wm", "csf"):
        before = brain.masks["brain"] if name == "brain" else brain.pools[name].PD
        assert changed.pools[name].PD.mean() == pytest.approx(before.mean().item(), rel=0.1)


def test_fields_of_a_file_are_those_of_the_scanner(brain, tmp_path):
    source = {"source": "mr0_json", "file": str(brain.save_nifti(tmp_path))}
    changed = build_phantom(
        {**source, "deform": DEFORM, "lesions": {"count": 2, "radius": [0.0025, 0.003]}}
    )
    for pool in changed.pools.values():
        inside = pool.PD > 0
        assert (inside & (brain.maps()["PD"] == 0)).any() or pool is changed.pools["lesion"]
        for name in ("B0", "B1"):
            torch.testing.assert_close(
                getattr(pool, name)[..., inside],
                getattr(brain.pools["wm"], name)[..., inside],
                rtol=1e-4,
                atol=1e-3,
            )


def test_lesions_need_white_matter_and_must_not_be_there_already(tiny, lesioned):
    settings = read_config({"lesions": {}})["lesions"]
    with pytest.raises(PhantomError, match=r"lie in the region 'wm', but there are only \['left'"):
        with_lesions(tiny, settings)
    with pytest.raises(PhantomError, match="has a 'lesion' already"):
        with_lesions(lesioned, settings)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lesions": {"count": 200}}, r"no room for lesion \d+ of 200, of a radius of 0\.00"),
        ({"lesions": {"radius": [0.0005, 0.001]}}, r"0\.0005 m is less than a voxel of 0\.001 m"),
        ({"slice_position": 0.012, "lesions": {"radius": [0.03, 0.04]}}, "no room for lesion 1 of"),
    ],
)
def test_lesions_that_do_not_fit_are_refused(change, message):
    with pytest.raises(PhantomError, match=message):
        build_phantom(change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"deform": {"largest": 0}}, r"phantom\.deform\.largest: 0 is less than or equal to"),
        ({"deform": {"largest": 5}}, r"phantom\.deform\.largest: 5 is greater than the maximum of"),
        ({"deform": {"size": 1}}, r"deform: unknown key 'size'; the keys are largest, seed, smoo"),
        ({"deform": {"seed": 0.5}}, r"phantom\.deform\.seed: 0\.5 is not of type 'integer'"),
        ({"lesions": {"radius": [0.005, 0.002]}}, r"radius: 0\.005 is larger than 0\.002; give "),
        ({"lesions": {"radius": 0.003}}, r"phantom\.lesions\.radius: 0\.003 is not of type"),
        ({"lesions": {"count": 0}}, r"phantom\.lesions\.count: 0 is less than the minimum of 1"),
        ({"lesions": {"T1": -1}}, r"phantom\.lesions\.T1: -1 is less than or equal to"),
        ({"lesions": True}, r"phantom\.lesions: True is not of type 'object'"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(change, message):
    with pytest.raises(ConfigError, match=message) as error:
        build_phantom(change)
    assert "\n" not in str(error.value)
