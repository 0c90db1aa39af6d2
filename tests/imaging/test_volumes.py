"""Volumes and images by label, held against the phantom that they are of."""

import MRzeroCore as mr0
import numpy as np
import pypulseq as pp
import pytest
import torch

from pulseq_zero.errors import PhantomError, SequenceError
from pulseq_zero.imaging.model import ImagingModel
from pulseq_zero.imaging.reconstruction import reconstruct
from pulseq_zero.phantom import Phantom, TissuePool, build_phantom
from pulseq_zero.phantom.resample import resample
from support.refusal import check

N, FOV, THICKNESS = 8, 0.16, 0.01
SLICES = 4


@pytest.fixture(scope="module")
def volume():
    """Nothing is alike in any direction."""
    generator = torch.Generator().manual_seed(2)
    PD = torch.rand(N, N, SLICES, generator=generator)
    pool = TissuePool.of(PD, T1=10.0, T2=10.0)
    return Phantom({"tissue": pool}, {"upper": (PD > 0.5).float()}, (FOV, FOV), THICKNESS)


def gradient_echo_3d(flip=np.pi / 2, label=""):
    """Excite all, encode x, y and z; wait until everything has relaxed before each excitation."""
    seq = pp.Sequence()
    extent = SLICES * THICKNESS
    gx = pp.make_trapezoid("x", flat_area=N / FOV, flat_time=N * 1e-5)
    pre = pp.make_trapezoid("x", area=-gx.area / 2 - 0.5 / FOV, duration=5e-4)
    adc = pp.make_adc(N, dwell=1e-5, delay=gx.rise_time)
    for partition in range(SLICES):
        for line in range(N):
            seq.add_block(pp.make_block_pulse(flip, duration=1e-5, delay=1e-4, use="excitation"))
            seq.add_block(
                pre,
                pp.make_trapezoid("y", area=(line - N // 2) / FOV, duration=5e-4),
                pp.make_trapezoid("z", area=(partition - SLICES // 2) / extent, duration=5e-4),
            )
            events = [gx, adc]
            if label:
                events.append(pp.make_label(label, "SET", partition))
            seq.add_block(*events)
            seq.add_block(pp.make_trapezoid("z", area=1e4, duration=2e-2), pp.make_delay(200.0))
    seq.set_definition("FOV", [FOV, FOV, extent])
    return seq


def test_a_volume_is_its_proton_density(volume):
    """Of fully relaxed magnetisation, each voxel has its density."""
    model = ImagingModel(
        gradient_echo_3d, volume, matrix=(N, N, SLICES), pulses="instantaneous",
        arguments={"label": "PAR"},
    )  # fmt: skip
    acquisition = model({})
    found = acquisition.image
    assert found.shape == (N, N, SLICES)
    torch.testing.assert_close(found.abs(), volume.pools["tissue"].PD, atol=2e-3, rtol=0)
    assert torch.equal(acquisition.images, found)
    told = ImagingModel(
        gradient_echo_3d, volume, fov=(FOV, FOV, SLICES * THICKNESS), pulses="instantaneous"
    )({})
    assert told.image.shape == found.shape
    torch.testing.assert_close(told.image, found, atol=1e-5, rtol=0)


def test_a_volume_as_one_image_is_refused(volume):
    model = ImagingModel(gradient_echo_3d, volume, pulses="instantaneous")
    with pytest.raises(SequenceError, match="give matrix and field of view of three numbers"):
        _ = model({}).image


def test_the_volume_off_the_grid_is_the_sum_of_its_definition():
    generator = torch.Generator().manual_seed(0)
    matrix, fov = (4, 3, 2), (0.2, 0.1, 0.05)
    x, y, z = ((torch.arange(n, dtype=torch.float64) - n // 2) for n in matrix)
    steps = torch.cartesian_prod(z, y, x)[:, [2, 1, 0]] + torch.tensor([0.3, 0.0, 0.0])
    kspace = steps / torch.tensor(fov)
    signal = torch.randn(len(kspace), 1, dtype=torch.complex128, generator=generator)
    found = reconstruct(signal, kspace, matrix, fov)
    for i, j, k in [(0, 0, 0), (3, 1, 1), (2, 2, 0)]:
        place = torch.stack([x[i] / 4 * 0.2, y[j] / 3 * 0.1, z[k] / 2 * 0.05])
        expected = (signal[:, 0] * torch.exp(-2j * torch.pi * (kspace @ place))).sum() / 24
        torch.testing.assert_close(found[i, j, k], expected)


def test_samples_that_lie_in_no_planes_need_an_own_reconstruction():
    kspace = torch.rand(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    signal = torch.ones(50, 1, dtype=torch.complex64)
    check(
        lambda: reconstruct(signal, 10 * kspace, (4, 4, 4), (1.0, 1.0, 1.0)),
        "the samples of the volume do not lie in planes along kz, which the reconstruction needs; "
        "give your own, reconstruction=...",
    )


def echoes(count=3, sets=1, missing=False):
    """Read one line in several echoes, each a ms later, with opposite sign in the second set."""
    seq = pp.Sequence()
    gx = pp.make_trapezoid("x", flat_area=N / FOV, flat_time=N * 1e-5)
    back = pp.make_trapezoid("x", area=-gx.area, duration=5e-4)
    pre = pp.make_trapezoid("x", area=-gx.area / 2 - 0.5 / FOV, duration=5e-4)
    adc = pp.make_adc(N, dwell=1e-5, delay=gx.rise_time)
    for number in range(sets):
        phase = number * np.pi
        rf = pp.make_block_pulse(
            np.pi / 2, duration=1e-5, delay=1e-4, phase_offset=phase, use="excitation"
        )
        seq.add_block(rf)
        seq.add_block(pre)
        for echo in range(count - int(missing and number == 1)):
            labels = [pp.make_label("ECO", "SET", echo), pp.make_label("SET", "SET", number)]
            seq.add_block(gx, adc, *labels)
            seq.add_block(back)
        seq.add_block(pp.make_trapezoid("z", area=1e4, duration=2e-2), pp.make_delay(200.0))
    seq.set_definition("FOV", [FOV, FOV, THICKNESS])
    return seq


@pytest.fixture(scope="module")
def line():
    PD = torch.zeros(N, 1)
    PD[2:5] = 1.0
    pool = TissuePool.of(PD, T1=10.0, T2=5e-3)
    return Phantom({"tissue": pool}, {}, (FOV, FOV), THICKNESS)


def test_each_echo_is_an_image_that_decays_by_t2(line):
    model = ImagingModel(echoes, line, matrix=(N, 1), pulses="instantaneous")
    acquisition = model({})
    images = acquisition.images
    assert acquisition.reconstructions[0] == {"ECO": [0, 1, 2]}
    assert images.shape == (3, N, 1)
    duration = pp.calc_duration(pp.make_trapezoid("x", flat_area=N / FOV, flat_time=N * 1e-5))
    decay = np.exp(-(duration + 5e-4) / 5e-3)
    for early, late in ((0, 1), (1, 2)):
        ratio = images[late].abs().sum() / images[early].abs().sum()
        assert float(ratio) == pytest.approx(decay, rel=1e-3)
    with pytest.raises(SequenceError, match=r"3 echoes \(label ECO\).*take acquisition.images"):
        _ = acquisition.image


def test_several_labels_are_several_axes(line):
    model = ImagingModel(echoes, line, matrix=(N, 1), pulses="instantaneous", arguments={"sets": 2})
    acquisition = model({})
    assert acquisition.reconstructions[0] == {"ECO": [0, 1, 2], "SET": [0, 1]}
    assert acquisition.images.shape == (3, 2, N, 1)
    # The second set was excited with the opposite sign, and received without
    torch.testing.assert_close(
        acquisition.images[:, 1], -acquisition.images[:, 0], atol=1e-4, rtol=0
    )


def test_a_combination_that_is_missing_is_named(line):
    model = ImagingModel(
        echoes, line, matrix=(N, 1), pulses="instantaneous",
        arguments={"sets": 2, "missing": True},
    )  # fmt: skip
    check(
        lambda: model({}).images,
        "no sample has the labels ECO 2, SET 1, but others have each of them; let the sequence "
        "sample an image for every combination, or reconstruct them one by one",
    )


def test_phantoms_of_mrzerocore_are_taken(volume):
    grid = volume.to_mr0()["tissue"]
    settings = {"matrix": (N, N, SLICES), "pulses": "instantaneous"}
    expected = ImagingModel(gradient_echo_3d, volume, **settings)({}).signal
    for phantom in (grid, grid.build(), mr0.TissueDict({"tissue": grid})):
        found = ImagingModel(gradient_echo_3d, phantom, **settings)({}).signal
        torch.testing.assert_close(found, expected)
    check(
        lambda: ImagingModel(gradient_echo_3d, "brain"),
        "the phantom must be a Phantom, or one of MRzeroCore, not 'brain'; "
        "pulseq_zero.build_phantom makes one",
    )


def test_a_volume_is_stored_averaged_and_cut_as_a_slice_is(volume, tmp_path):
    assert repr(volume) == "Phantom(8 x 8 x 4 voxels, pools tissue)"
    volume.save(tmp_path / "p.safetensors")
    loaded = Phantom.load(tmp_path / "p.safetensors")
    PD = volume.pools["tissue"].PD
    assert torch.equal(loaded.pools["tissue"].PD, PD)
    coarse = resample(volume, (4, 8, 2)).pools["tissue"].PD
    # Voxel i is centred at (i - n // 2) of its size, so that its edges halve finer ones
    share = torch.tensor([0.25, 0.5, 0.25])
    expected = torch.einsum("i,k,ijk->j", share, share, PD[1:4, :, 1:4])
    torch.testing.assert_close(coarse[1, :, 1], expected)
    assert torch.equal(volume.slice(3).pools["tissue"].PD, PD[..., 3])
    assert volume.slice(3).position == (0.0, 0.0, THICKNESS)
    assert volume.mask("upper").shape == (N, N, SLICES)
    check(
        lambda: volume.thickened(0.02),
        "a volume cannot be thickened: what lies beside a slice is in it",
    )
    with pytest.raises(PhantomError, match="a matrix of 2 axes does not fit the phantom's 3"):
        volume.mask("upper", (4, 4))
    volume.save_nifti(tmp_path)
    again = mr0.TissueDict.load(tmp_path / "phantom.json")["tissue"]
    torch.testing.assert_close(again.PD.float(), PD)


def test_the_brain_is_a_volume_of_slices():
    """Each slice is that of its position, but for centre and shim, which they share."""
    settings = {"source": "icbm152", "matrix": 32, "B0_scale": 0.0}
    brain = build_phantom({**settings, "slices": 3})
    assert brain.matrix == (32, 32, 3)
    middle = build_phantom(settings)
    for name, pool in middle.pools.items():
        assert torch.equal(brain.slice(1).pools[name].PD, pool.PD)
        assert torch.equal(brain.slice(1).pools[name].B1, pool.B1)
    above = build_phantom({**settings, "slice_position": 0.017})
    shares = [p.masks["brain"].sum() for p in (brain.slice(2), above)]
    assert float(shares[0]) == pytest.approx(float(shares[1]), rel=1e-5)
