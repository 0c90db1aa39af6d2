"""ISMRMRD files hold what their definition asks for, and another program makes the same images."""

from __future__ import annotations

import sys
from types import ModuleType

import ismrmrd
import numpy as np
import pypulseq as pp
import pytest
import torch

from pulseq_zero.errors import SequenceError, StoreError
from pulseq_zero.files.mrd import save_ismrmrd
from pulseq_zero.files.seq import read_seq
from support.volumes import FOV, MATRIX, OVERSAMPLING, volume

ECHOES = 2
# Two points of unequal size, on pixels off the centre, and what each echo leaves of them
POINTS = {(0.02, -0.02, 0.02): 1.0 + 0.5j, (-0.04, 0.04, 0.0): 0.3 + 0.0j}
DECAY = (1.0, 0.6)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Write the file of a signal whose image is known; returns it and the sequence."""
    folder = tmp_path_factory.mktemp("mrd")
    made = volume()
    made.set_definition("TE", [4e-3, 8e-3])
    made.write(str(folder / "volume.seq"))
    sequence = read_seq(folder / "volume.seq")
    kspace = sequence.calculate_kspace()[0]
    echo = np.repeat(np.arange(len(kspace[0]) // 16) % ECHOES, OVERSAMPLING * MATRIX[0])
    # In this project's sense of phase, spins of a place r turn by exp(2πi k·r)
    signal = sum(
        size * np.exp(2j * np.pi * np.asarray(place) @ kspace) for place, size in POINTS.items()
    ) * np.take(DECAY, echo)
    path = folder / "volume.mrd"
    save_ismrmrd(path, torch.from_numpy(np.stack([signal, 2j * signal], 1)), sequence, MATRIX)
    return path, sequence, signal


def read(path):
    dataset = ismrmrd.Dataset(str(path), create_if_needed=False)
    header = ismrmrd.xsd.CreateFromDocument(dataset.read_xml_header())
    count = dataset.number_of_acquisitions()
    return header, [dataset.read_acquisition(number) for number in range(count)]


def test_the_encoded_space_is_that_of_the_samples_and_the_other_that_of_the_image(written):
    header, _ = read(written[0])
    encoding = header.encoding[0]
    sizes = {
        name: (space.matrixSize.x, space.matrixSize.y, space.matrixSize.z)
        for name, space in (("k", encoding.encodedSpace), ("image", encoding.reconSpace))
    }
    assert sizes == {"k": (16, 6, 4), "image": MATRIX}
    for space, factor in ((encoding.encodedSpace, OVERSAMPLING), (encoding.reconSpace, 1)):
        extent = space.fieldOfView_mm
        assert (extent.x, extent.y, extent.z) == pytest.approx((factor * 160, 120, 80), rel=1e-6)
    assert pytest.approx([4.0, 8.0]) == header.sequenceParameters.TE
    assert header.acquisitionSystemInformation.receiverChannels == 2


def test_labels_are_counters_and_the_centre_is_where_kspace_is_zero(written):
    header, acquisitions = read(written[0])
    limits = header.encoding[0].encodingLimits
    found = {
        name: (limit.minimum, limit.maximum, limit.center)
        for name, limit in (
            ("line", limits.kspace_encoding_step_1), ("partition", limits.kspace_encoding_step_2),
            ("contrast", limits.contrast), ("set", limits.set),
        )
    }  # fmt: skip
    assert found == {
        "line": (0, 5, 3), "partition": (0, 3, 2), "contrast": (0, 1, 0), "set": (3, 3, 0)
    }  # fmt: skip
    assert len(acquisitions) == 6 * 4 * 2
    for each in acquisitions:
        idx = each.idx
        line, partition = idx.kspace_encode_step_1, idx.kspace_encode_step_2
        assert each.center_sample == 8
        # In cycles per encoded field of view: whole numbers, of which counters are others' places
        expected = np.stack(
            [np.arange(16) - 8, np.full(16, line - 3), np.full(16, partition - 2)], 1
        )
        np.testing.assert_allclose(each.traj, expected, atol=2e-3)
        assert idx.set == 3
        assert each.sample_time_us == pytest.approx(100)


def test_the_signal_is_that_of_each_adc_in_the_sense_of_phase_of_others(written):
    path, _, signal = written
    _, acquisitions = read(path)
    data = np.concatenate([each.data for each in acquisitions], 1)
    np.testing.assert_allclose(data[0], signal.conj(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(data[1], (2j * signal).conj(), rtol=1e-5, atol=1e-6)


def test_samples_of_noise_are_among_the_others(tmp_path):
    """Each ADC event has the samples of its own, whatever its label says."""
    seq = pp.Sequence()
    adc = pp.make_adc(4, duration=4e-4)
    for noise in (1, 0):
        seq.add_block(adc, pp.make_label("NOISE", "SET", noise))
    seq.set_definition("FOV", [0.1, 0.1, 0.1])
    save_ismrmrd(tmp_path / "a.mrd", torch.arange(8)[:, None] + 0j, seq, (4, 1))
    _, (first, second) = read(tmp_path / "a.mrd")
    assert first.is_flag_set(ismrmrd.ACQ_IS_NOISE_MEASUREMENT)
    assert not second.is_flag_set(ismrmrd.ACQ_IS_NOISE_MEASUREMENT)
    np.testing.assert_array_equal(first.data[0].real, [0, 1, 2, 3])
    np.testing.assert_array_equal(second.data[0].real, [4, 5, 6, 7])


def slices(offsets, gradient="z"):
    """Excite and read a line of each of some slices [m]; a refocusing pulse comes between."""
    system = pp.Opts(rf_dead_time=1e-4, rf_ringdown_time=2e-5, adc_dead_time=1e-5)
    seq = pp.Sequence(system)
    gx = pp.make_trapezoid("x", flat_area=4 / 0.1, flat_time=4e-4, system=system)
    pre = pp.make_trapezoid("x", area=-gx.area / 2, duration=1e-3, system=system)
    adc = pp.make_adc(4, duration=4e-4, delay=gx.rise_time, system=system)
    given = {"duration": 2e-3, "slice_thickness": 4e-3, "delay": 1e-4, "system": system}
    for number, offset in enumerate(offsets):
        for use, angle in (("excitation", 1.5), ("refocusing", 3.0)):
            rf, gz, gz_reph = pp.make_sinc_pulse(angle, return_gz=True, use=use, **given)
            # A refocusing pulse tells nothing of where the slice is
            rf.freq_offset = gz.amplitude * (offset if use == "excitation" else 0.5)
            gz.channel = gz_reph.channel = gradient
            seq.add_block(rf, gz)
            seq.add_block(gz_reph)
        seq.add_block(pre)
        seq.add_block(gx, adc, pp.make_label("SLC", "SET", number))
    seq.set_definition("FOV", [0.1, 0.1, 4e-3])
    return seq


TURNED = [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        # To the left, back and top, in mm, as DICOM has it; phantoms have right, front and top
        ({}, [(0, 0, -30), (0, 0, 12)]),
        ({"position": (0.01, 0.02, 0.1)}, [(-10, -20, 70), (-10, -20, 112)]),
        ({"position": (0.0, 0.0, 0.1), "orientation": TURNED}, [(0, 0, 70), (0, 0, 112)]),
    ],
)
def test_positions_are_those_of_the_slices(tmp_path, place, expected):
    save_ismrmrd(
        tmp_path / "a.mrd", torch.zeros(8, 1) + 0j, slices([-0.03, 0.012]), (4, 1), **place
    )
    _, acquisitions = read(tmp_path / "a.mrd")
    for each, position in zip(acquisitions, expected, strict=True):
        assert list(each.position) == pytest.approx(position, abs=1e-3)
        axes = np.array([each.read_dir, each.phase_dir, each.slice_dir]).T
        to_left = np.diag([-1.0, -1.0, 1.0])
        np.testing.assert_allclose(axes, to_left @ np.array(place.get("orientation", np.eye(3))))


def test_a_slice_along_y_is_there(tmp_path):
    save_ismrmrd(tmp_path / "a.mrd", torch.zeros(4, 1) + 0j, slices([0.02], "y"), (4, 1))
    (only,) = read(tmp_path / "a.mrd")[1]
    assert list(only.position) == pytest.approx([0, -20, 0], abs=1e-3)


def test_what_is_encoded_along_its_thickness_is_no_slice(tmp_path):
    """The image of a slab, whose places are encoded, has its middle where k-space has it."""
    seq = slices([0.02])
    blocks = [seq.get_block(number) for number in seq.block_events]
    encoded = pp.Sequence(seq.system)
    for area in (-250.0, 0.0):
        for block in blocks[:-1]:
            encoded.add_block(block)
        encoded.add_block(pp.make_trapezoid("z", area=area, duration=1e-3, system=seq.system))
        encoded.add_block(blocks[-1])
    encoded.set_definition("FOV", [0.1, 0.1, 4e-3])
    save_ismrmrd(tmp_path / "a.mrd", torch.zeros(8, 1) + 0j, encoded, (4, 1, 2))
    for each in read(tmp_path / "a.mrd")[1]:
        assert list(each.position) == pytest.approx([0, 0, 0], abs=1e-6)


def test_a_signal_of_another_sequence_is_refused(written, tmp_path):
    with pytest.raises(SequenceError, match="the signal has 5 samples, but the sequence takes 768"):
        save_ismrmrd(tmp_path / "a.mrd", torch.zeros(5, 1) + 0j, written[1], MATRIX)
    assert not any(tmp_path.iterdir())


@pytest.fixture
def mrpro(monkeypatch):
    """Import mrpro, where it is installed: ``make test-network`` does so."""
    # Its phantoms alone need torchvision, whose wheel does not load beside torch's for the CPU
    for name in ("torchvision", "torchvision.transforms", "torchvision.transforms.functional"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    return pytest.importorskip("mrpro")


def test_mrpro_reads_it_and_makes_the_same_images(written, mrpro):
    path, *_ = written
    kdata = mrpro.data.KData.from_file(path, mrpro.data.traj_calculators.KTrajectoryIsmrmrd())
    assert kdata.data.shape == (ECHOES, 2, MATRIX[2], MATRIX[1], OVERSAMPLING * MATRIX[0])
    fourier = mrpro.operators.FourierOp.from_kdata(kdata)
    (images,) = fourier.adjoint(kdata.data)
    # (contrasts, coils, z, y, x); points on pixels have all of the signal there
    images = images[:, 0].permute(0, 3, 2, 1)
    expected = torch.zeros(ECHOES, *MATRIX, dtype=torch.complex64)
    for place, size in POINTS.items():
        pixel = [round(r / f * n) + n // 2 for r, f, n in zip(place, FOV, MATRIX, strict=True)]
        for echo, decay in enumerate(DECAY):
            expected[(echo, *pixel)] = decay * np.conj(size)
    scale = images.abs().max() / expected.abs().max()
    assert (images - scale * expected).abs().max() < 1e-3 * images.abs().max()


def one_readout(label=None, **definitions):
    """Return a sequence of one readout, and its signal."""
    seq = pp.Sequence()
    seq.add_block(pp.make_block_pulse(1.0, duration=1e-3, use="excitation"))
    labels = [] if label is None else [pp.make_label("SLC", "SET", label)]
    seq.add_block(pp.make_adc(num_samples=4, duration=1e-3), *labels)
    for name, value in {"FOV": [0.2, 0.2, 5e-3], **definitions}.items():
        seq.set_definition(name, value)
    return seq, torch.ones(4, 1, dtype=torch.complex64)


@pytest.mark.parametrize("label", [-3, 70_000])
def test_labels_that_it_cannot_count_are_refused(tmp_path, label):
    sequence, signal = one_readout(label)
    with pytest.raises(StoreError, match=f"the label SLC counts from {label} to {label}, but"):
        save_ismrmrd(tmp_path / "a.mrd", signal, sequence, (2, 2))


def test_definitions_of_free_text_are_left_out(tmp_path):
    sequence, signal = one_readout(TE="soon", TI=[np.nan], TR=[0.5])
    save_ismrmrd(tmp_path / "a.mrd", signal, sequence, (2, 2))
    stated = read(tmp_path / "a.mrd")[0].sequenceParameters
    assert (stated.TE, stated.TI, stated.TR) == ([], [], [500.0])


def test_the_field_is_that_of_the_definition(tmp_path):
    sequence, signal = one_readout(B0=7.0)
    save_ismrmrd(tmp_path / "a.mrd", signal, sequence, (2, 2))
    header = read(tmp_path / "a.mrd")[0]
    assert header.experimentalConditions.H1resonanceFrequency_Hz == round(7 * 42.576e6)


@pytest.mark.parametrize("field", [np.nan, np.inf, -3.0])
def test_a_field_that_is_none_is_refused(tmp_path, field):
    sequence, signal = one_readout()
    sequence.system.B0 = field
    with pytest.raises(SequenceError, match=f"the system's B0 is {field}, but must be"):
        save_ismrmrd(tmp_path / "a.mrd", signal, sequence, (2, 2))


def test_a_field_of_view_that_is_none_is_refused(tmp_path):
    for stated in ([0.2, 0.2, -1.0], "a b"):
        sequence, signal = one_readout()
        sequence.definitions["FOV"] = stated
        with pytest.raises(SequenceError, match=r"definition FOV is .*, but must be its lengths"):
            save_ismrmrd(tmp_path / "a.mrd", signal, sequence, (2, 2))
