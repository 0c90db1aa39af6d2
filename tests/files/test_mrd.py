"""ISMRMRD files hold what their definition asks for, and another program makes the same images."""

from __future__ import annotations

import ismrmrd
import numpy as np
import pypulseq as pp
import pytest
import torch

from pulseq_zero.errors import SequenceError
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


def test_a_signal_of_another_sequence_is_refused(written, tmp_path):
    with pytest.raises(SequenceError, match="the signal has 5 samples, but the sequence takes 768"):
        save_ismrmrd(tmp_path / "a.mrd", torch.zeros(5, 1) + 0j, written[1], MATRIX)
    assert not any(tmp_path.iterdir())


def test_mrpro_reads_it_and_makes_the_same_images(written):
    """Where mrpro is installed, which the environment has no need of."""
    mrpro = pytest.importorskip("mrpro")
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
