"""Images and signals in other programs' formats: read back, they lie where the phantom lies."""

import ismrmrd
import nibabel
import numpy as np
import pypulseq as pp
import pytest
import torch
from nilearn.datasets import load_mni152_brain_mask

from pulseq_zero.conversion import convert
from pulseq_zero.errors import SequenceError, StoreError
from pulseq_zero.files.exports import image_affine, save_image
from pulseq_zero.files.mrd import save_ismrmrd
from pulseq_zero.files.seq import read_seq
from pulseq_zero.imaging.acquisition import acquire
from pulseq_zero.phantom import Phantom, TissuePool, build_phantom
from pulseq_zero.simulation import Simulator
from pulseq_zero.tracing import tracing

FOV, MATRIX, THICKNESS = (0.24, 0.16), (24, 20), 4e-3


def gradient_echo():
    """Take a spoiled image with other pixels and extents along x and y."""
    system = pp.Opts(max_grad=30, grad_unit="mT/m", max_slew=120, slew_unit="T/m/s")
    seq = pp.Sequence(system)
    rf = pp.make_block_pulse(np.pi / 2, duration=1e-4, system=system, use="excitation")
    gx = pp.make_trapezoid("x", flat_area=MATRIX[0] / FOV[0], flat_time=2.4e-3, system=system)
    adc = pp.make_adc(MATRIX[0], duration=gx.flat_time, delay=gx.rise_time, system=system)
    area = gx.area / 2 + gx.flat_area / MATRIX[0] / 2
    gx_pre = pp.make_trapezoid("x", area=-area, duration=1e-3, system=system)
    spoiler = pp.make_trapezoid("z", area=2000, system=system)
    for line in np.arange(MATRIX[1]) - MATRIX[1] // 2:
        gy = pp.make_trapezoid("y", area=line / FOV[1], duration=1e-3, system=system)
        seq.add_block(rf)
        seq.add_block(gx_pre, gy)
        seq.add_block(gx, adc)
        seq.add_block(spoiler, pp.make_delay(10.0))
    seq.set_definition("FOV", [*FOV, THICKNESS])
    return seq


@pytest.fixture(scope="module")
def phantom():
    """Hold two bright spots of unequal size, off the centre, so that nothing is symmetric."""
    PD = torch.zeros(48, 40)
    PD[30:42, 24:28] = 1.0
    PD[8:12, 6:10] = 0.5
    return Phantom(
        pools={"water": TissuePool.of(PD, 0.5, 0.1)},
        masks={},
        fov=FOV,
        slice_thickness=THICKNESS,
    )


@pytest.fixture(scope="module")
def sequence(tmp_path_factory):
    path = tmp_path_factory.mktemp("seq") / "gre.seq"
    gradient_echo().write(str(path))
    return read_seq(path)


def imaged(phantom):
    with tracing():
        repetitions = convert(gradient_echo())
    simulator = Simulator(phantom.simulation_data(), accuracy=1e-4)
    return acquire(repetitions, simulator, matrix=MATRIX, fov=FOV)


@pytest.fixture(scope="module")
def acquisition(phantom):
    return imaged(phantom)


def positions(nifti):
    """(voxels, xyz) positions [mm] of all voxels, and their values."""
    values = np.asarray(nifti.dataobj, dtype=float)
    indices = np.stack(np.meshgrid(*map(np.arange, values.shape), indexing="ij"), -1)
    where = nibabel.affines.apply_affine(nifti.affine, indices.reshape(-1, 3))
    return where, values.reshape(-1)


def centre(nifti, inside):
    where, values = positions(nifti)
    weight = np.where(inside(where), np.maximum(values - 0.1, 0), 0)
    return (weight[:, None] * where).sum(0) / weight.sum()


def test_an_image_lies_where_the_phantom_lies(phantom, acquisition, tmp_path):
    phantom.save_nifti(tmp_path)
    save_image(tmp_path / "image.nii.gz", acquisition.image, FOV, THICKNESS)
    density = nibabel.load(tmp_path / "phantom.nii.gz").slicer[..., 0]
    image = nibabel.load(tmp_path / "image.nii.gz")
    assert image.shape == (*MATRIX, 1)
    assert image.get_data_dtype() == np.float32
    np.testing.assert_array_equal(image.get_fdata()[..., 0], acquisition.image.abs().numpy())
    assert image.header.get_zooms() == pytest.approx((10.0, 8.0, 4.0))
    assert nibabel.aff2axcodes(image.affine) == ("R", "A", "S")
    assert nibabel.aff2axcodes(density.affine) == ("R", "A", "S")
    for half in (lambda where: where[:, 0] > 0, lambda where: where[:, 0] < 0):
        # Half a pixel of the image: its edges are blurred, flips are off by several pixels
        np.testing.assert_allclose(centre(image, half), centre(density, half), atol=4.0)
    # The corner of the pixels and of the voxels is the same point only if origins agree
    for which in (image, density):
        middle = np.array([n // 2 for n in which.shape[:2]] + [0])
        np.testing.assert_allclose(nibabel.affines.apply_affine(which.affine, middle), 0, atol=1e-5)


def test_an_image_lies_over_the_maps_that_the_phantom_was_made_of(tmp_path):
    """A marker in the corner of a slice that is not the middle one, of maps that lie oblique."""
    density = np.zeros((48, 40, 5), np.float32)
    density[36:44, 4:10, 3] = 1.0
    density[8:12, 20:24, [0, 1, 2, 4]] = 1.0
    affine = np.eye(4)
    affine[:3, :3] = nibabel.eulerangles.euler2mat(0.2, -0.1, 0.3) * (5.0, 4.0, 4.0)
    affine[:3, 3] = (-80.0, 15.0, 30.0)
    source = nibabel.Nifti1Image(density, affine)
    nibabel.save(source, tmp_path / "PD.nii.gz")
    maps = {"PD": str(tmp_path / "PD.nii.gz"), "T1": 0.5, "T2": 0.1}
    phantom = build_phantom({"source": "nifti", "maps": maps, "slice": 3})
    phantom.save(tmp_path / "phantom.safetensors")
    phantom = Phantom.load(tmp_path / "phantom.safetensors")
    save_image(
        tmp_path / "image.nii.gz",
        imaged(phantom).image,
        FOV,
        phantom.slice_thickness,
        phantom.position,
        phantom.orientation,
    )
    image = nibabel.load(tmp_path / "image.nii.gz")
    marker = nibabel.affines.apply_affine(affine, (39.5, 6.5, 3))

    def near(where):
        return np.linalg.norm(where - marker, axis=1) < 60

    np.testing.assert_allclose(centre(image, near), marker, atol=1.0)
    # All of the image lies in the plane of the slice
    index = nibabel.affines.apply_affine(np.linalg.inv(affine), positions(image)[0])
    np.testing.assert_allclose(index[:, 2], 3, atol=1e-4)
    assert image.header.get_zooms() == pytest.approx((10.0, 8.0, 4.0))


def test_a_volume_lies_where_its_slices_do(tmp_path):
    """A marker in one voxel, exported as a volume and in its slice."""
    density = torch.full((6, 5, 4), 0.1)
    density[4, 1, 3] = 1.0
    volume = Phantom(
        pools={"tissue": TissuePool.of(density, 1.0, 0.1)},
        masks={},
        fov=FOV,
        slice_thickness=THICKNESS,
        position=(0.01, -0.02, 0.03),
    )
    of_slice = volume.slice(3)
    found = []
    for phantom, name in ((volume, "volume.nii.gz"), (of_slice, "slice.nii.gz")):
        image = phantom.pools["tissue"].PD
        geometry = (phantom.fov, phantom.slice_thickness, phantom.position, phantom.orientation)
        save_image(tmp_path / name, image, *geometry)
        where, values = positions(nibabel.load(tmp_path / name))
        found.append(where[values.argmax()])
    # (4 - 3) of 40 mm, (1 - 2) of 32 mm, (3 - 2) of 4 mm, from the position
    np.testing.assert_allclose(found[0], [10 + 40, -20 - 32, 30 + 4], atol=1e-4)
    np.testing.assert_allclose(found[1], found[0], atol=1e-4)


@pytest.mark.parametrize("position", [0.012, -0.01])
def test_the_default_brain_lies_in_mni_space(tmp_path, position):
    phantom = build_phantom({"slice_position": position, "fov": [0.224, 0.24], "matrix": [56, 48]})
    brain = phantom.masks["brain"]
    save_image(
        tmp_path / "brain.nii.gz", brain, phantom.fov, phantom.slice_thickness, phantom.position
    )
    where, share = positions(nibabel.load(tmp_path / "brain.nii.gz"))
    np.testing.assert_allclose(where[:, 2], 1e3 * position, atol=1e-4)
    template = load_mni152_brain_mask(resolution=1)
    across, inside = positions(template)
    inside = inside * (np.abs(across[:, 2] - 1e3 * position) < 2.6)
    centres = [
        (w[:, None] * x[:, :2]).sum(0) / w.sum() for x, w in ((where, share), (across, inside))
    ]
    # The brain of the phantom has no CSF, a few mm more in front than behind
    np.testing.assert_allclose(*centres, atol=3.0)
    phantom.save_nifti(tmp_path)
    maps = nibabel.load(tmp_path / "phantom_mask_brain.nii.gz")
    np.testing.assert_allclose(
        maps.affine, nibabel.load(tmp_path / "brain.nii.gz").affine, atol=1e-4
    )


def test_position_and_orientation_reach_the_affine(tmp_path):
    turned = np.array([[0, -1, 0], [0, 0, 1], [-1, 0, 0]], dtype=float)
    position = (0.01, -0.02, 0.03)
    affine = image_affine(MATRIX, FOV, THICKNESS, position, turned)
    at_centre = nibabel.affines.apply_affine(affine, (12, 10, 0))
    np.testing.assert_allclose(at_centre, (10, -20, 30))
    # A step along x leads along the first column, by the pixel's size in mm
    np.testing.assert_allclose(affine[:3, 0], (0, 0, -10))
    np.testing.assert_allclose(affine[:3, 1], (-8, 0, 0))
    np.testing.assert_allclose(affine[:3, 2], (0, 4, 0))
    image = torch.rand(MATRIX, dtype=torch.complex64)
    save_image(tmp_path / "image.nii", image, FOV, THICKNESS, position, turned)
    stored = nibabel.load(tmp_path / "image.nii")
    for stated, code in (stored.get_sform(coded=True), stored.get_qform(coded=True)):
        np.testing.assert_allclose(stated, affine, atol=1e-4)
        assert code == 2
    assert stored.header.get_xyzt_units()[0] == "mm"


def test_another_program_reconstructs_the_same_image(sequence, acquisition, tmp_path):
    path = tmp_path / "signal.mrd"
    save_ismrmrd(path, acquisition.signal, sequence, MATRIX)
    dataset = ismrmrd.Dataset(str(path), create_if_needed=False)
    header = ismrmrd.xsd.CreateFromDocument(dataset.read_xml_header())
    space = header.encoding[0].reconSpace
    assert (space.matrixSize.x, space.matrixSize.y, space.matrixSize.z) == (*MATRIX, 1)
    extent = space.fieldOfView_mm
    assert (extent.x, extent.y, extent.z) == pytest.approx((240, 160, 4))
    acquisitions = [dataset.read_acquisition(n) for n in range(dataset.number_of_acquisitions())]
    assert len(acquisitions) == MATRIX[1]
    data = np.concatenate([each.data for each in acquisitions], 1).T
    np.testing.assert_array_equal(data, acquisition.signal.to(torch.complex64).numpy().conj())
    trajectory = np.concatenate([each.traj for each in acquisitions])
    expected = acquisition.repetitions.kspace()[:, :2].numpy() * FOV
    np.testing.assert_allclose(trajectory[:, :2], expected, atol=2e-3)
    # As ISMRMRD's readers have it: Σ s exp(2πi k·r)
    axes = [(np.arange(n) - n // 2) / n for n in MATRIX]
    x, y = np.meshgrid(*axes, indexing="ij")
    turns = x[..., None] * trajectory[:, 0] + y[..., None] * trajectory[:, 1]
    image = np.exp(2j * np.pi * turns) @ data[:, 0] * (5e-3 * 4e-3 / np.prod(FOV))
    expected = acquisition.image.numpy().conj()
    assert np.linalg.norm(image - expected) < 1e-2 * np.linalg.norm(expected)


def test_refusals(sequence, acquisition, tmp_path):
    image, signal = acquisition.image, acquisition.signal
    with pytest.raises(StoreError, match=r"must end in \.nii or \.nii\.gz"):
        save_image(tmp_path / "image.png", image, FOV, THICKNESS)
    with pytest.raises(StoreError, match="above zero"):
        save_image(tmp_path / "image.nii", image, FOV, 0.0)
    with pytest.raises(StoreError, match="three orthogonal directions"):
        save_image(tmp_path / "image.nii", image, FOV, THICKNESS, orientation=np.ones((3, 3)))
    with pytest.raises(SequenceError, match="the sequence takes 480"):
        save_ismrmrd(tmp_path / "signal.mrd", signal[1:], sequence, MATRIX)
    bare = pp.Sequence()
    with pytest.raises(SequenceError, match="no definition FOV"):
        save_ismrmrd(tmp_path / "signal.mrd", signal, bare, MATRIX)
    assert not any(tmp_path.iterdir())
