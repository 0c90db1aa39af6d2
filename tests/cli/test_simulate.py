"""A `.seq` file on the command line: image, signal and k-space."""

import ismrmrd
import nibabel
import numpy as np
import pypulseq as pp
import pytest
import torch
from click.testing import CliRunner

import pulseq_zero
from pulseq_zero.cli import main
from pulseq_zero.phantom.from_file import read_phantom
from support.echoes import bar, echo_train

FOV, N = 0.2, 8


def gradient_echo(fov=(FOV, FOV, 5e-3)):
    seq = pp.Sequence(pp.Opts(max_grad=30, grad_unit="mT/m", max_slew=120, slew_unit="T/m/s"))
    rf = pp.make_block_pulse(0.5, duration=1e-4, use="excitation")
    gx = pp.make_trapezoid("x", flat_area=N / FOV, flat_time=1.6e-3)
    adc = pp.make_adc(N, duration=gx.flat_time, delay=gx.rise_time)
    pre = pp.make_trapezoid("x", area=-gx.area / 2 - gx.flat_area / N / 2, duration=1e-3)
    for line in np.arange(N) - N // 2:
        seq.add_block(rf)
        seq.add_block(pre, pp.make_trapezoid("y", area=line / FOV, duration=1e-3))
        seq.add_block(gx, adc)
        seq.add_block(pp.make_delay(10.0))
    if fov is not None:
        seq.set_definition("FOV", list(fov))
    return seq


def call(*arguments, fails=0):
    result = CliRunner().invoke(main, ["simulate", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    assert result.exit_code == fails, result.output
    return result.output


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Hold a phantom of one bright voxel off the centre, and a file."""
    monkeypatch.chdir(tmp_path)
    PD = np.zeros((16, 16))
    PD[10, 4] = 1.0
    everywhere = np.ones_like(PD)
    np.savez(
        "spot.npz", PD_map=PD, T1_map=everywhere, T2_map=0.1 * everywhere,
        T2dash_map=0.1 * everywhere, D_map=0 * everywhere, FOV=[FOV, FOV, 5e-3],
    )  # fmt: skip
    gradient_echo().write("gre.seq")
    return tmp_path


def test_figures_image_and_signal_are_written(folder):
    said = call("gre.seq", "--phantom", "spot.npz")
    assert "8 pulses, 64 samples" in said
    assert "8 x 8 pixels, 200 x 200 mm" in said
    assert sorted(path.name for path in (folder / "gre").iterdir()) == sorted(
        line.removeprefix("gre/") for line in said.splitlines()[1:]
    )
    for figure in (folder / "gre").glob("*.png"):
        assert figure.read_bytes().startswith(b"\x89PNG")
    nifti = nibabel.load(folder / "gre/image.nii.gz")
    assert nifti.header.get_zooms() == pytest.approx((25.0, 25.0, 5.0))
    # The voxel lies 2 of 16 to the right and 4 to the back, half as many pixels
    brightest = np.unravel_index(np.argmax(nifti.get_fdata()), nifti.shape)
    assert brightest == (5, 2, 0)
    signal = pulseq_zero.simulate("gre.seq", read_phantom("spot.npz")).signal
    data = ismrmrd.Dataset("gre/signal.mrd", create_if_needed=False)
    lines = [data.read_acquisition(n).data for n in range(data.number_of_acquisitions())]
    np.testing.assert_array_equal(np.concatenate(lines, 1).T.conj(), signal.numpy())


def test_a_field_of_view_that_the_file_lacks_is_the_phantom_s_or_given(folder):
    gradient_echo(fov=None).write("bare.seq")
    said = call("bare.seq", "--phantom", "spot.npz", "--output", "bare")
    assert said.startswith(
        "Warning: the sequence states no field of view: that of the phantom, 200 x 200 mm, is "
        "taken; give another as fov=, or as --fov to the command\n"
    )
    assert "8 x 8 pixels, 200 x 200 mm" in said
    call("gre.seq", "--phantom", "spot.npz", "--output", "stated")
    images = [nibabel.load(f"{name}/image.nii.gz").get_fdata() for name in ("bare", "stated")]
    np.testing.assert_array_equal(*images)
    said = call(
        "bare.seq", "--phantom", "spot.npz", "--fov", "0.4", "0.2", "--matrix", "16", "8",
        "--output", "wide",
    )  # fmt: skip
    assert "16 x 8 pixels, 400 x 200 mm" in said
    assert nibabel.load(folder / "wide/image.nii.gz").header.get_zooms() == pytest.approx(
        (25.0, 25.0, 5.0)
    )


def test_of_what_makes_no_image_there_is_the_signal(folder):
    """Such as a spectrum: one sample after each of two saturations, the second one spoiled."""
    seq = pp.Sequence()
    for spoils in (0, 1):
        seq.add_block(pp.make_block_pulse(0.5, duration=1e-4, use="excitation"))
        seq.add_block(pp.make_trapezoid("z", area=1e3 * (1 + spoils), duration=5e-3))
        seq.add_block(pp.make_adc(1, dwell=1e-3))
    seq.write("spectrum.seq")
    said = call("spectrum.seq", "--phantom", "spot.npz")
    assert "2 pulses, 2 samples" in said
    assert "no image, as the samples are at several kz" in said
    assert {path.name for path in (folder / "spectrum").iterdir()} == {
        "kspace.png", "pulses.png", "signal.mrd", "signal.png"
    }  # fmt: skip
    data = ismrmrd.Dataset("spectrum/signal.mrd", create_if_needed=False)
    assert data.number_of_acquisitions() == 2
    seq = pp.Sequence()
    seq.add_block(pp.make_block_pulse(0.5, duration=1e-4, use="excitation"))
    seq.write("silent.seq")
    assert "has no ADC samples" in call("silent.seq", "--phantom", "spot.npz", fails=1)


def test_phantoms_come_from_one_file_of_any_kind(folder):
    phantom = read_phantom("spot.npz")
    phantom.save("spot.safetensors")
    (folder / "settings.yaml").write_text("{source: npz, file: spot.npz}")
    (folder / "config.yaml").write_text("phantom: {source: npz, file: spot.npz}")
    for name in ("spot.safetensors", "settings.yaml", "config.yaml"):
        assert torch.equal(read_phantom(name).maps()["PD"], phantom.maps()["PD"])
    (folder / "spot.txt").write_text("no phantom")
    said = call("gre.seq", "--phantom", "spot.txt", fails=1)
    assert said == (
        "Error: spot.txt is none of .json, .npz, .mat, .safetensors and .yaml; name NIfTI maps in "
        "a YAML file, as phantoms/README.md has it\n"
    )


def test_several_echoes_are_several_images(folder):
    echo_train().write("echoes.seq")
    bar().save("bar.safetensors")
    said = call("echoes.seq", "--phantom", "bar.safetensors", "--matrix", "16", "1")
    assert "images (2 by label ECO) of 16 x 1 pixels" in said
    first, second = np.moveaxis(nibabel.load("echoes/image.nii.gz").get_fdata()[:, 0, 0], 1, 0)
    # The later one is darker, as T2 has it
    assert second[5] / first[5] == pytest.approx(np.exp(-10e-3 / 0.04), rel=0.05)


def two_echoes_of_two_sets():
    """Return each line at two echoes, twice; the second set is excited half as strongly."""
    seq = pp.Sequence(pp.Opts(max_grad=30, grad_unit="mT/m", max_slew=120, slew_unit="T/m/s"))
    gx = pp.make_trapezoid("x", flat_area=N / FOV, flat_time=1.6e-3)
    adc = pp.make_adc(N, duration=gx.flat_time, delay=gx.rise_time)
    pre = pp.make_trapezoid("x", area=-gx.area / 2 - gx.flat_area / N / 2, duration=1e-3)
    back = pp.make_trapezoid("x", area=-gx.area, duration=2e-3)
    for flip, number in ((0.5, 0), (0.25, 1)):
        # before the first pulse, and after the first set
        seq.add_block(pp.make_adc(N, dwell=1e-5), pp.make_label("NOISE", "SET", 1))
        for line in np.arange(N) - N // 2:
            seq.add_block(pp.make_block_pulse(flip, duration=1e-4, use="excitation"))
            seq.add_block(pre, pp.make_trapezoid("y", area=line / FOV, duration=1e-3))
            for echo in (0, 1):
                labels = [("NOISE", 0), ("SET", number), ("ECO", echo)]
                set_labels = [pp.make_label(name, "SET", value) for name, value in labels]
                seq.add_block(gx, adc, *set_labels)
                if echo == 0:
                    seq.add_block(back)
            seq.add_block(pp.make_delay(10.0))
    seq.set_definition("FOV", [FOV, FOV, 5e-3])
    return seq


def test_every_contrast_is_written(folder):
    """By their labels: the second echo is darker by T2, the second set by its flip angle."""
    two_echoes_of_two_sets().write("many.seq")
    said = call("many.seq", "--phantom", "spot.npz")
    assert "images (2 by label ECO, 2 by label SET) of 8 x 8 pixels" in said
    acquisition = pulseq_zero.simulate("many.seq", read_phantom("spot.npz"))
    images = nibabel.load(folder / "many/image.nii.gz").get_fdata()
    assert images.shape == (8, 8, 1, 4)
    expected = acquisition.images.abs().reshape(4, 8, 8).numpy()
    np.testing.assert_allclose(np.moveaxis(images[:, :, 0], -1, 0), expected, rtol=1e-6)
    echoes, sets = expected.reshape(2, 2, 64).max(-1)[:, 0], expected[:2].reshape(2, 64).max(-1)
    # T2 and T2' of 0.1 s, with echoes 3.6 ms and a little more apart
    assert np.exp(-4.2e-3 / 0.05) < echoes[1] / echoes[0] < np.exp(-3.6e-3 / 0.05)
    assert sets[1] / sets[0] == pytest.approx(np.sin(0.25) / np.sin(0.5), rel=1e-3)
    data = ismrmrd.Dataset("many/signal.mrd", create_if_needed=False)
    acquired = [data.read_acquisition(n) for n in range(data.number_of_acquisitions())]
    noise = [acquired.pop(place) for place in (2 * N + 1, 0)]
    assert [(each.idx.set, each.idx.contrast) for each in acquired] == [
        (number, echo) for number in (0, 1) for _ in range(N) for echo in (0, 1)
    ]
    # what follows noise is in its place
    assert all(each.is_flag_set(ismrmrd.ACQ_IS_NOISE_MEASUREMENT) for each in noise)
    assert not noise[1].data.any()
    signal = np.delete(acquisition.signal.numpy(), np.s_[2 * N * N : 2 * N * N + N], axis=0)
    np.testing.assert_array_equal(
        np.concatenate([each.data for each in acquired], 1).T.conj(), signal
    )


def test_a_volume_is_written(folder):
    """A spot in the middle of four partitions, along z as far as the file says."""
    seq = pp.Sequence(pp.Opts(max_grad=30, grad_unit="mT/m", max_slew=120, slew_unit="T/m/s"))
    gx = pp.make_trapezoid("x", flat_area=N / FOV, flat_time=1.6e-3)
    adc = pp.make_adc(N, duration=gx.flat_time, delay=gx.rise_time)
    pre = pp.make_trapezoid("x", area=-gx.area / 2 - gx.flat_area / N / 2, duration=1e-3)
    for partition in range(-2, 2):
        for line in np.arange(N) - N // 2:
            seq.add_block(pp.make_block_pulse(0.5, duration=1e-4, use="excitation"))
            gz = pp.make_trapezoid("z", area=partition / 0.04, duration=1e-3)
            seq.add_block(pre, pp.make_trapezoid("y", area=line / FOV, duration=1e-3), gz)
            seq.add_block(gx, adc, pp.make_label("PAR", "SET", partition + 2))
            seq.add_block(pp.make_delay(10.0))
    seq.set_definition("FOV", [FOV, FOV, 0.04])
    seq.write("volume.seq")
    said = call("volume.seq", "--phantom", "spot.npz")
    assert "image of 8 x 8 x 4 pixels, 200 x 200 x 40 mm" in said
    nifti = nibabel.load(folder / "volume/image.nii.gz")
    assert nifti.header.get_zooms() == pytest.approx((25.0, 25.0, 10.0))
    brightest = np.unravel_index(np.argmax(nifti.get_fdata()), nifti.shape)
    assert brightest == (5, 2, 2)
    header = ismrmrd.xsd.CreateFromDocument(
        ismrmrd.Dataset("volume/signal.mrd", create_if_needed=False).read_xml_header()
    )
    assert header.encoding[0].reconSpace.matrixSize.z == 4
