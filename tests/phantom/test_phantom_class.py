from dataclasses import replace

import MRzeroCore as mr0
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pulseq_zero.errors import PhantomError, StoreError
from pulseq_zero.files.store import save_tensors
from pulseq_zero.phantom import Phantom, TissuePool
from pulseq_zero.phantom.resample import resample


@pytest.fixture(params=["brain", "tiny"])
def phantom(request) -> Phantom:
    return request.getfixturevalue(request.param)


def test_simulation_data_hold_each_pool_of_each_voxel_once(phantom):
    data = phantom.simulation_data()
    present = {name: pool.PD > 1e-6 for name, pool in phantom.pools.items()}
    assert len(data.PD) == sum(int(inside.sum()) for inside in present.values())
    for key in ("PD", "T1", "T2", "T2dash", "D", "B0", "B1", "coil_sens"):
        name = "coil_sensitivity" if key == "coil_sens" else key
        expected = [getattr(phantom.pools[p], name)[..., inside] for p, inside in present.items()]
        assert torch.equal(getattr(data, key), torch.cat(expected, -1)), key
    assert data.PD.dtype == torch.float32
    assert data.B1.dtype == torch.complex64


def test_voxels_are_where_the_fft_has_them(phantom):
    data = phantom.simulation_data()
    first = next(iter(phantom.pools.values())).PD > 1e-6
    x, y = first.nonzero(as_tuple=True)
    nx, ny = phantom.matrix
    expected = torch.stack(
        [
            (x - nx // 2) * phantom.fov[0] / nx,
            (y - ny // 2) * phantom.fov[1] / ny,
            torch.zeros(len(x)),
        ],
        1,
    )
    torch.testing.assert_close(data.voxel_pos[: len(x)], expected.float(), rtol=1e-5, atol=1e-8)
    size = torch.tensor([*phantom.fov, phantom.slice_thickness])
    torch.testing.assert_close(data.size, size)
    torch.testing.assert_close(data.nyquist, torch.tensor([nx, ny, 1]) / size / 2)


def test_voxel_shapes(brain):
    edge = torch.tensor([[200.0, 0.0, 0.0], [230.0, 0.0, 0.0]])
    sinc, box = (brain.simulation_data(shape) for shape in ("sinc", "box"))
    assert sinc.dephasing_func(edge, sinc.nyquist).tolist() == pytest.approx([1.0, 0.0], abs=1e-3)
    side = 0.224 / 96
    torch.testing.assert_close(
        box.dephasing_func(edge, box.nyquist), torch.sinc(edge[:, 0] * side), rtol=1e-4, atol=1e-5
    )


def test_simulated_signal_is_the_sum_of_the_magnetisation(brain):
    """A free induction decay starts with all spins in phase."""
    sequence = mr0.Sequence(normalized_grads=False)
    repetition = sequence.new_rep(1)
    repetition.pulse.angle = torch.tensor(torch.pi / 2)
    repetition.pulse.usage = mr0.PulseUsage.EXCIT
    repetition.event_time[:] = 1e-7
    repetition.adc_usage[:] = 1
    data = brain.scaled(B0=0).simulation_data()
    graph = mr0.compute_graph(sequence, data, 10, 1e-5)
    signal = mr0.execute_graph(graph, sequence, data, print_progress=False)
    expected = (data.PD * torch.sin(torch.pi / 2 * data.B1[0].real)).sum()
    assert signal.abs().item() == pytest.approx(expected.item(), rel=1e-4)


def test_maps_combine_the_pools(tiny):
    maps = tiny.maps()
    one, two = tiny.pools.values()
    torch.testing.assert_close(maps["PD"], one.PD + two.PD)
    torch.testing.assert_close(maps["T1"] * maps["PD"], one.PD * one.T1 + two.PD * two.T1)
    torch.testing.assert_close(maps["B1"], one.B1.sum(0).abs())
    assert maps["T2dash"].isinf().all()


def test_maps_are_zero_where_nothing_is(brain):
    maps = brain.maps()
    for values in maps.values():
        assert (values[maps["PD"] == 0] == 0).all()
        assert values.isfinite().all()


def test_saved_phantoms_come_back_bit_by_bit(tmp_path, phantom, assert_same_pools):
    phantom.save(tmp_path / "p.safetensors")
    loaded = Phantom.load(tmp_path / "p.safetensors")
    assert_same_pools(phantom, loaded)
    assert all(torch.equal(mask, loaded.masks[name]) for name, mask in phantom.masks.items())
    assert list(loaded.masks) == list(phantom.masks)
    assert (loaded.fov, loaded.slice_thickness) == (phantom.fov, phantom.slice_thickness)
    assert loaded.origin == phantom.origin


def test_other_files_are_no_phantoms(tmp_path):
    save_tensors(tmp_path / "a.safetensors", {"PD": torch.ones(2, 2)})
    with pytest.raises(PhantomError, match=r"a\.safetensors holds no phantom"):
        Phantom.load(tmp_path / "a.safetensors")
    with pytest.raises(StoreError, match=r"b\.safetensors does not exist"):
        Phantom.load(tmp_path / "b.safetensors")


def test_scaling(tiny):
    scaled = tiny.scaled(B1=0.8, T1=1.1)
    for name, pool in tiny.pools.items():
        torch.testing.assert_close(scaled.pools[name].B1, 0.8 * pool.B1)
        torch.testing.assert_close(scaled.pools[name].T1, 1.1 * pool.T1)
        assert torch.equal(scaled.pools[name].T2, pool.T2)
    with pytest.raises(PhantomError, match="no map 'T3' to scale"):
        tiny.scaled(T3=2.0)
    with pytest.raises(PhantomError, match="T1 of 'first' is not above zero"):
        tiny.scaled(T1=0.0)


def test_unknown_and_empty_regions_are_named(tiny):
    with pytest.raises(PhantomError, match=r"no region 'csf', only \['left'\]"):
        tiny.mask("csf")
    with pytest.raises(PhantomError, match=r"no pixel of 1 x 1 lies to 0\.9 in region 'left'"):
        tiny.mask("left", (1, 1))


def test_region_leaves_out_pixels_at_its_edge(tiny):
    # Nine of 18 voxels, each half a pixel; pixels are centred on the field of view as voxels are.
    assert tiny.mask("left", (9, 17), 0.9).sum(0).unique().tolist() == [4]
    assert tiny.mask("left", (9, 17), 0.2).sum(0).unique().tolist() == [5]
    assert tiny.mask("left", (18, 17)).sum(0).unique().tolist() == [9]


def broken(tiny: Phantom, name: str, value: float) -> Phantom:
    pool = tiny.pools["first"]
    values = getattr(pool, name).clone()
    values[..., 3, 5] = value
    return replace(tiny, pools={"first": replace(pool, **{name: values})})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PD", -0.1),
        ("PD", torch.nan),
        ("PD", torch.inf),
        ("T1", 0.0),
        ("T1", -1.0),
        ("T1", torch.nan),
        ("T2", 0.0),
        ("T2dash", -1.0),
        ("D", -1.0),
        ("D", torch.nan),
        ("B0", torch.nan),
        ("B0", torch.inf),
        ("B1", torch.nan),
        ("coil_sensitivity", torch.nan),
    ],
)
def test_unphysical_maps_are_named_with_the_voxel(tiny, name, value):
    with pytest.raises(PhantomError, match=rf"{name} of 'first' is .* in 1 voxels.* \(3, 5\)"):
        broken(tiny, name, value)


def test_values_where_nothing_is_do_not_matter():
    PD = torch.ones(16, 16)
    PD[0] = 0
    T1 = torch.where(PD > 0, 1.0, torch.nan)
    phantom = Phantom({"a": TissuePool.of(PD, T1=T1, T2=T1 * 0.1)}, {}, (0.2, 0.2), 0.005)
    assert phantom.simulation_data().T1.unique().tolist() == [1.0]
    assert phantom.maps()["T1"].isfinite().all()


def test_misshapen_maps_and_masks_are_named(tiny):
    pool = tiny.pools["first"]
    with pytest.raises(PhantomError, match=r"T2 of 'first' has shape \(17, 18\)"):
        replace(tiny, pools={"first": replace(pool, T2=pool.T2.T)})
    with pytest.raises(PhantomError, match=r"B1 of 'first' has shape \(18, 17\)"):
        replace(tiny, pools={"first": replace(pool, B1=pool.B1[0])})
    with pytest.raises(PhantomError, match=r"mask 'm' has shape \(3, 3\)"):
        replace(tiny, masks={"m": torch.ones(3, 3)})
    with pytest.raises(PhantomError, match="mask 'm' has values outside 0 to 1"):
        replace(tiny, masks={"m": torch.full((18, 17), 255.0)})


def test_empty_phantoms_are_refused(tiny):
    with pytest.raises(PhantomError, match="no tissue pool"):
        replace(tiny, pools={})
    with pytest.raises(PhantomError, match="PD is zero in every voxel"):
        tiny.scaled(PD=0.0)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(st.integers(2, 30), st.integers(2, 30))
def test_resampling_keeps_values_within_their_range(tiny, nx, ny):
    coarse = resample(tiny, (nx, ny))
    assert coarse.matrix == (nx, ny)
    for name, pool in tiny.pools.items():
        there = coarse.pools[name].PD > 1e-4
        for key in ("T1", "T2", "D", "B0"):
            old = getattr(pool, key)[pool.PD > 0]
            new = getattr(coarse.pools[name], key)[there]
            assert new.min() >= old.min() - 1e-3 * old.abs().max()
            assert new.max() <= old.max() + 1e-3 * old.abs().max()


def test_resampling_onto_the_same_grid_changes_nothing(tiny, assert_same_pools):
    assert_same_pools(tiny, resample(tiny, tiny.matrix), 1e-5)


def test_resampling_keeps_the_total_signal():
    PD = torch.zeros(64, 64)
    PD[10:50, 12:40] = torch.rand(40, 28)
    pool = TissuePool.of(PD, T1=1.0, T2=0.1)
    phantom = Phantom({"a": pool}, {"m": (PD > 0).float()}, (0.2, 0.2), 0.005)
    coarse = resample(phantom, (32, 32))
    assert coarse.pools["a"].PD.mean().item() == pytest.approx(PD.mean().item(), rel=1e-5)
    assert coarse.masks["m"].mean().item() == pytest.approx((PD > 0).float().mean().item())
    assert coarse.pools["a"].T1[coarse.pools["a"].PD > 0].unique().tolist() == pytest.approx([1.0])
