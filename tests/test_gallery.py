"""The gallery's sequences and losses, held against closed forms and Bloch integration."""

import math
import subprocess
import sys

import pypulseq as pp
import pytest
import torch

from pulseq_zero.conversion.seq_import import imported_repetitions
from pulseq_zero.experiments.closed_forms import (
    ExcitedSlice,
    ernst_contrast,
    ernst_image,
    ernst_signal,
)
from pulseq_zero.files.loading import load_function
from pulseq_zero.imaging.metrics import nrmse, ssim
from pulseq_zero.imaging.model import ImagingModel
from pulseq_zero.imaging.reconstruction import reconstruct
from pulseq_zero.judge.isochromats import isochromat_signal
from pulseq_zero.judge.seq import read_course
from pulseq_zero.optimization.losses import LossContext
from pulseq_zero.phantom import Phantom, build_phantom
from pulseq_zero.phantom.pool import TissuePool

WHITE_MATTER = {"T1": 0.83, "T2": 0.075}


def load(reference, root):
    return load_function(reference, root)


def number(value):
    return torch.tensor(value, dtype=torch.float64)


@pytest.fixture(scope="module")
def point():
    """One voxel in the centre, so small that no encoding winds in it."""
    pool = TissuePool.of(torch.ones(1, 1), **WHITE_MATTER)
    return Phantom({"wm": pool}, {}, (1e-4, 1e-4), 5e-3)


@pytest.fixture(scope="module")
def bar(root):
    maps = {"PD": str(root / "phantoms/bar.nii.gz"), "T1": 3.0, "T2": 2.0}
    return build_phantom({"source": "nifti", "maps": maps})


@pytest.mark.parametrize("name", ["gre", "ir_flash", "rf_pulse"])
def test_the_sequences_keep_their_timing(name, root):
    sequence = load(f"sequences/{name}.py:{name}", root)()
    passed, errors = sequence.check_timing()
    assert passed, errors
    assert sequence.definitions["Name"] == name


def test_repetitions_last_as_long_as_asked(root):
    sequence = load("sequences/gre.py:gre", root)(n_phase=8, n_dummy=2, TR=0.05)
    assert sequence.duration()[0] == pytest.approx(10 * 0.05, abs=1e-9)
    for name, argument in (("gre", {"TE": 1e-3}), ("ir_flash", {"TI": 0.05})):
        with pytest.raises(ValueError, match="too short"):
            load(f"sequences/{name}.py:{name}", root)(**argument)


def test_the_formula_is_highest_at_the_ernst_angle():
    angles = torch.linspace(0, math.pi / 2, 90001, dtype=torch.float64)
    highest = float(angles[ernst_signal(angles, 0.83, 0.1).argmax()])
    assert highest == pytest.approx(math.acos(math.exp(-0.1 / 0.83)), abs=1e-4)


def test_a_spoiled_gradient_echo_gives_ernst_s_signal(root, point):
    gre = load("sequences/gre.py:gre", root)
    at_once = {"accuracy": 1e-6, "pulses": "instantaneous"}
    model = ImagingModel(gre, point, arguments={"n_phase": 8, "n_read": 8}, **at_once)
    with torch.no_grad():
        kspace = model({"flip_angle": number(0.7)}).signal[:, 0].reshape(8, 8)
    # In the middle of a line there is an echo, and no line dephases in a point
    expected = float(ernst_image(point, 0.7, TR=0.1, TE=5e-3, matrix=(1, 1)))
    largest = kspace[:, 4].abs().max()
    measured = kspace[:, 4].abs() / largest
    assert float(measured.min()) > 0.98
    single = ImagingModel(
        gre, point, arguments={"n_phase": 8, "n_read": 8, "n_dummy": 0}, pulses="instantaneous"
    )
    with torch.no_grad():
        first = single({"flip_angle": number(0.7)}).signal[4, 0].abs()
    # The first pulse meets all of the magnetisation: the scale of the signal
    of_first = math.sin(0.7) * math.exp(-5e-3 / WHITE_MATTER["T2"])
    assert float(kspace[:, 4].abs().mean() / first) == pytest.approx(expected / of_first, rel=0.02)


def test_the_closed_form_of_a_slice_is_what_is_played(root, point):
    """The edges of the slice are turned by less, and give more than its middle."""
    gre = load("sequences/gre.py:gre", root)
    small = {"n_phase": 8, "n_read": 8}
    # Pieces of pulses take a while, and tell nothing here
    model = ImagingModel(gre, point, arguments=small, simulation={"pulse_relaxation": 1.0})
    excited = ExcitedSlice.of(gre(flip_angle=1.0), 1.0, math.pi / 2, point.slice_thickness)
    with torch.no_grad():
        for degrees in (10, 25, 45):
            angle = number(math.radians(degrees))
            echoes = model({"flip_angle": angle}).signal[:, 0].reshape(8, 8)[:, 4].abs()
            form = {"TR": 0.1, "TE": 5e-3, "matrix": (1, 1)}
            expected = float(ernst_image(point, float(angle), **form, excited=excited))
            assert float(echoes.mean()) == pytest.approx(expected, rel=0.02)
            if degrees > 10:
                alike = float(ernst_image(point, float(angle), **form))
                assert float(echoes.mean()) > 1.05 * alike


def test_a_short_pulse_turns_all_of_a_slice_alike():
    sequence = pp.Sequence()
    rf = pp.make_block_pulse(0.5, duration=1e-4, use="excitation")
    sequence.add_block(rf)
    assert ExcitedSlice.of(sequence, 0.5, 1.0, 5e-3) is None
    sequence.add_block(rf, pp.make_trapezoid("z", amplitude=1.0, duration=2e-3))
    excited = ExcitedSlice.of(sequence, 0.5, 1.0, 5e-3)
    expected = excited.nominal[:, None].expand_as(excited.turned)
    torch.testing.assert_close(excited.turned, expected, rtol=1e-6, atol=1e-9)


def test_closed_forms_of_a_phantom_without_field_errors(ideal_brain):
    contrast = ernst_contrast(ideal_brain, "wm", "gm", TR=0.1, TE=0.0, matrix=(32, 32), count=46)
    best = contrast.loc[contrast["tissues"].idxmax()]
    assert math.degrees(best["flip_angle"]) == pytest.approx(44.5, abs=2)
    # Mixed voxels have less contrast, at the same angle
    mixed = contrast.loc[contrast["phantom"].idxmax()]
    assert mixed["phantom"] < best["tissues"]
    assert mixed["flip_angle"] == pytest.approx(best["flip_angle"], abs=math.radians(5))


def test_the_train_s_closed_form_is_what_is_simulated(root, point):
    ir_flash = load("sequences/ir_flash.py:ir_flash", root)
    train_signal = load("losses/train_contrast.py:train_signal", root)
    angles = torch.deg2rad(torch.linspace(5, 25, 16, dtype=torch.float64))
    at_once = {"accuracy": 1e-6, "pulses": "instantaneous"}
    model = ImagingModel(ir_flash, point, arguments={"n_read": 8, "TI": 1.1}, **at_once)
    with torch.no_grad():
        signal = model({"flip_angles": angles}).signal[:, 0].reshape(16, 8)[:, 4].abs()
    expected = train_signal(angles, WHITE_MATTER["T1"], TI=1.1, TR=6e-3).abs()
    # Relative to the first line: spoiling of a short train is not perfect
    torch.testing.assert_close(
        (signal / signal[0]).double(), expected / expected[0], rtol=0.05, atol=0
    )


def test_power_and_sharpness_of_the_train_cost_only_beyond_the_start(root, small_brain):
    maker = load("losses/train_contrast.py:train_contrast", root)
    start = torch.full((64,), 0.2, dtype=torch.float64)
    image = torch.ones(32, 32, dtype=torch.complex64)
    context = LossContext(small_brain, image, {"flip_angles": start})
    loss = maker(context, TI=1.1, TR=6e-3, unevenness=1.0)
    assert all(float(term) == 0 for term in loss({"flip_angles": start}, image).values())
    stronger = loss({"flip_angles": 1.1 * start}, image)
    assert float(stronger["sar"]) == pytest.approx(10 * (1.1**2 - 1) ** 2)
    even = maker(context, TI=1.1, TR=6e-3, unevenness=0.0)
    unsharp = float(even({"flip_angles": start}, image)["unsharp"])
    spike = start.clone()
    spike[32] = 0.4
    assert 0 < unsharp < float(even({"flip_angles": spike}, image)["unsharp"])


def profile_model(root, bar):
    rf_pulse = load("sequences/rf_pulse.py:rf_pulse", root)
    return ImagingModel(
        rf_pulse, bar, pulses="played", matrix=(1, 128), fov=(0.008, 0.032), accuracy=1e-7
    )


def windowed_sinc(root):
    return torch.from_numpy(load("sequences/rf_pulse.py:windowed_sinc", root)())


def test_the_simulated_profile_is_that_of_bloch_integration(root, bar, tmp_path):
    samples, file = windowed_sinc(root), tmp_path / "pulse.seq"
    load("sequences/rf_pulse.py:rf_pulse", root)(samples.numpy()).write(str(file))
    model = profile_model(root, bar)
    with torch.no_grad():
        acquisition = model({"samples": samples})
    signal = isochromat_signal(read_course(file), bar.simulation_data("box"), 64)
    judged = reconstruct(
        signal,
        acquisition.repetitions.kspace(),
        (1, 128),
        (0.008, 0.032),
        voxel_size=(0.008, 0.032 / 256),
    )
    assert nrmse(acquisition.image, judged) < 0.02
    # Middle of the slice: 90 degrees
    assert float(acquisition.image[0, 64].abs()) == pytest.approx(1.0, abs=0.01)


def test_a_file_is_imported_with_its_played_pulses(root, bar, tmp_path):
    samples, file = windowed_sinc(root), tmp_path / "pulse.seq"
    load("sequences/rf_pulse.py:rf_pulse", root)(samples.numpy()).write(str(file))
    model = profile_model(root, bar)
    with torch.no_grad():
        traced = model({"samples": samples}).repetitions
    imported = imported_repetitions(file, "played")
    torch.testing.assert_close(imported.played.signal, traced.played.signal, rtol=0, atol=1e-3)
    torch.testing.assert_close(imported.played.moment, traced.played.moment, rtol=0, atol=1e-3)
    torch.testing.assert_close(imported.event_time, traced.event_time, rtol=0, atol=1e-9)
    assert imported_repetitions(file).played is None


def test_gradients_of_a_pulse_s_samples_are_those_of_differences(root, bar):
    maker = load("losses/slice_profile.py:slice_profile", root)
    model, samples = profile_model(root, bar), windowed_sinc(root)
    with torch.no_grad():
        context = LossContext(bar, model({"samples": samples}).image, {"samples": samples})
    loss = maker(context)

    def at(values):
        return torch.stack(list(loss({}, model({"samples": values}).image).values())).sum()

    leaf = samples.clone().requires_grad_()
    (slope,) = torch.autograd.grad(at(leaf), leaf)
    direction = slope / slope.norm()
    step = 2.0
    with torch.no_grad():
        difference = (at(samples + step * direction) - at(samples - step * direction)) / (2 * step)
    assert float(difference) == pytest.approx(float(slope.norm()), rel=0.01)


def test_a_script_that_was_not_fetched_is_asked_for(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="make gallery"):
        load("sequences/pypulseq_tse.py:pypulseq_tse", root)()


def test_profiles_have_a_structural_similarity():
    profile = torch.rand(1, 128, generator=torch.Generator().manual_seed(0))
    assert ssim(profile, profile) == pytest.approx(1.0)
    assert ssim(profile, profile.flip(1)) < 0.9


def test_the_gallery_s_config_can_be_run(root):
    """All but the experiment whose script has to be fetched."""
    experiments = "experiments=[gre_ernst,ir_flash_train,rf_pulse,t2star_echoes]"
    command = ["snakemake", "--configfile", "config/gallery.yaml", "--config", experiments]
    options = ["--dry-run", "--quiet", "--forceall", "--nolock", "--cores", "1"]
    planned = subprocess.run(
        [sys.executable, "-m", *command, *options],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert planned.returncode == 0, planned.stdout + planned.stderr
