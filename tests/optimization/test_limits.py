"""Limits: RF against closed forms, gradients and timing against what was put in, refusals."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pypulseq as pp
import pytest
import torch
from pypulseq.utils.safe_pns_prediction import safe_example_hw

from pulseq_zero.conversion import SequenceModel
from pulseq_zero.errors import ConfigError, SequenceError
from pulseq_zero.files.seq import read_seq
from pulseq_zero.optimization.limits import PulseShapes, check_limits
from pulseq_zero.optimization.penalties import excess, gradient_amplitude, relative_sar

GAMMA = 42.576e6
SYSTEM = pp.Opts(
    max_grad=30,
    grad_unit="mT/m",
    max_slew=100,
    slew_unit="T/m/s",
    rf_dead_time=100e-6,
    rf_ringdown_time=20e-6,
)


def pulses(flips, duration=2e-3, wait=10e-3) -> pp.Sequence:
    seq = pp.Sequence(SYSTEM)
    for flip in flips:
        seq.add_block(
            pp.make_block_pulse(flip, duration=duration, delay=1e-4, system=SYSTEM, use="other")
        )
        seq.add_block(pp.make_delay(wait))
    return seq


def values(table):
    return dict(zip(table["quantity"], table["value"], strict=True))


def passed(table):
    flags = [None if pd.isna(flag) else bool(flag) for flag in table["passed"]]
    return dict(zip(table["quantity"], flags, strict=True))


@pytest.fixture
def written(tmp_path):
    def write(seq, name="a.seq"):
        seq.write(str(tmp_path / name))
        return read_seq(tmp_path / name)

    return write


@pytest.mark.parametrize(("flip", "duration"), [(math.pi / 2, 1e-3), (math.pi, 2e-3), (0.1, 5e-4)])
def test_a_block_pulse_has_its_flip_angle_over_gamma_and_time(written, flip, duration):
    seq = written(pulses([flip], duration))
    b1 = flip / (2 * math.pi * GAMMA * duration)
    found = values(check_limits(seq, SYSTEM))
    assert found["b1_peak"] == pytest.approx(b1, rel=1e-5)
    assert found["rf_energy"] == pytest.approx(b1**2 * duration, rel=1e-5)
    total = float(seq.duration()[0])
    assert found["b1_rms"] == pytest.approx(b1 * math.sqrt(duration / total), rel=1e-5)


def test_a_gaussian_pulse_has_the_energy_of_its_integral(written):
    """A Gauss of standard deviation s: ∫ g² dt = ∫ g dt² / (2 √π s), where its tails are cut."""
    flip, duration, bandwidth_product = 1.0, 8e-3, 10.0
    seq = pp.Sequence(SYSTEM)
    rf = pp.make_gauss_pulse(
        flip, duration=duration, time_bw_product=bandwidth_product, system=SYSTEM, use="excitation"
    )
    seq.add_block(rf)
    time = rf.t - duration / 2
    peak = np.abs(rf.signal).max()
    width = float(np.sqrt(-(time[1000] ** 2) / (2 * math.log(rf.signal[1000] / peak))))
    area = flip / (2 * math.pi)
    energy = area**2 / (2 * math.sqrt(math.pi) * width) / GAMMA**2
    assert values(check_limits(written(seq), SYSTEM))["rf_energy"] == pytest.approx(energy, 1e-3)


def test_pulse_shapes_scale_to_other_flip_angles_and_have_gradients():
    flips = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64, requires_grad=True)
    shapes = PulseShapes.of(pulses([0.3, 0.7, 0.2]))
    scaled = values(check_limits(pulses(flips.tolist()), SYSTEM))
    angles = flips.detach()
    assert float(shapes.energy(angles)) == pytest.approx(scaled["rf_energy"], rel=1e-9)
    assert float(shapes.b1_rms(angles)) == pytest.approx(scaled["b1_rms"], rel=1e-9)
    assert float(shapes.peak(angles).max()) == pytest.approx(scaled["b1_peak"], rel=1e-9)
    assert torch.autograd.gradcheck(shapes.energy, flips)
    assert torch.autograd.gradcheck(shapes.b1_rms, flips)
    (slope,) = torch.autograd.grad(shapes.energy(flips) * 1e12, flips)
    torch.testing.assert_close(slope, 2e12 * shapes.energy_per_square * flips.detach())


def test_a_pulse_that_turns_nothing_has_no_shape():
    with pytest.raises(SequenceError, match="pulse 1 has a flip angle of zero"):
        PulseShapes.of(pulses([1.0, 0.0]))


def test_gradient_amplitude_and_slew_are_those_put_in(written):
    seq = pp.Sequence(SYSTEM)
    amplitude = 20e-3 * GAMMA
    seq.add_block(
        pp.make_trapezoid("x", amplitude=amplitude, rise_time=4e-4, flat_time=1e-3, system=SYSTEM),
        pp.make_trapezoid("y", amplitude=-amplitude / 2, rise_time=1e-4, flat_time=1e-3),
    )
    found = values(check_limits(written(seq), SYSTEM))
    assert found["gradient_amplitude"] == pytest.approx(20e-3, rel=1e-5)
    assert found["gradient_slew"] == pytest.approx(100.0, rel=1e-5)


def test_limits_are_judged_from_both_sides(written):
    seq = pulses([math.pi / 2])
    seq.add_block(pp.make_trapezoid("x", area=1000, system=SYSTEM))
    seq = written(seq)
    b1 = math.pi / 2 / (2 * math.pi * GAMMA * 2e-3)
    table = check_limits(seq, SYSTEM, {"b1_peak": 1.01 * b1, "b1_rms": 1e-9})
    assert passed(table)["b1_peak"] is True
    assert passed(table)["b1_rms"] is False
    assert passed(table)["rf_energy"] is None
    assert all(passed(table)[name] for name in ("gradient_amplitude", "gradient_slew"))
    weaker = pp.Opts(max_grad=5, grad_unit="mT/m", max_slew=10, slew_unit="T/m/s")
    found = passed(check_limits(seq, weaker))
    assert found["gradient_amplitude"] is found["gradient_slew"] is False


def test_timing_is_checked_with_the_systems_dead_times(written):
    seq = pp.Sequence(pp.Opts())
    seq.add_block(pp.make_block_pulse(1.0, duration=1e-3, use="excitation"))
    strict = pp.Opts(rf_dead_time=3e-4)
    assert passed(check_limits(written(seq), pp.Opts()))["timing_errors"] is True
    assert values(check_limits(written(seq), strict))["timing_errors"] == 1
    assert passed(check_limits(written(seq), strict))["timing_errors"] is False


@pytest.fixture
def asc_file(tmp_path):
    """Write what a scanner's file says of nerve stimulation: the same on all axes."""
    lines = ['asCOMP.tName = "none"']
    for axis in "XYZ":
        for number, (tau, weight) in enumerate(((0.2, 0.5), (10.0, 0.2), (3.0, 0.3))):
            lines += [f"flGSWDTau{axis}[{number}] = {tau}", f"flGSWDA{axis}[{number}] = {weight}"]
        lines += [f"flGSWDStimulationLimit{axis} = 25.0"]
        lines += [f"flGSWDStimulationThreshold{axis} = 20.0"]
        lines += [f"asGPAParameters[0].sGCParameters.flGScaleFactor{axis} = 0.5"]
    (tmp_path / "scanner.asc").write_text("\n".join(lines))
    return tmp_path / "scanner.asc"


def test_nerve_stimulation_grows_with_the_slew_rate_and_fails_beyond_one(written, asc_file):
    """A long linear ramp on x reaches (a1 + a2 + a3) g_scale / limit = 0.5 / 25 of its slew.

    Of the example, that is 0.35 / 30.
    """
    found = []
    for number, slew in enumerate((40.0, 100.0)):
        ramp = 30e-3
        gradient = pp.make_trapezoid(
            "x",
            amplitude=slew * ramp * GAMMA,
            rise_time=ramp,
            flat_time=0.1,
            max_grad=1e12,
            max_slew=1e12,
        )
        seq = pp.Sequence(pp.Opts(max_grad=1e12, max_slew=1e12))
        seq.add_block(gradient)
        found.append(check_limits(written(seq, f"{number}.seq"), seq.system, None, asc_file))
        assert values(found[-1])["pns"] == pytest.approx(0.5 / 25 * slew, rel=1e-2)
        # No scanner is given: what is stated is that of an example, and judges nothing
        example = check_limits(written(seq, f"{number}.seq"), seq.system)
        assert values(example)["pns"] == pytest.approx(0.35 / 30 * slew, rel=1e-2)
        assert passed(example)["pns"] is None
    assert passed(found[0])["pns"] is True
    assert passed(found[1])["pns"] is False


def test_files_of_newer_scanners_are_read(written, asc_file):
    """Where values stand elsewhere, in any encoding, and scale factors of gradients are missing."""
    seq = pp.Sequence(pp.Opts(max_slew=200, slew_unit="T/m/s"))
    seq.add_block(pp.make_trapezoid("x", area=2000, system=seq.system))
    older = values(check_limits(written(seq), seq.system, None, asc_file))["pns"]
    lines = asc_file.read_text().replace("flGSWD", "GradPatSup.Phys.PNS.flGSWD").splitlines()
    asc_file.write_bytes("\r\n".join(["# µT", *lines]).encode("latin-1"))
    found = values(check_limits(written(seq), seq.system, None, asc_file))["pns"]
    assert found == pytest.approx(older, rel=1e-12)
    asc_file.write_text("\n".join(line for line in lines if "GScale" not in line))
    with pytest.warns(UserWarning, match=r"scanner\.asc has no scale factors of gradients: 1/π"):
        found = values(check_limits(written(seq), seq.system, None, asc_file))["pns"]
    assert found == pytest.approx(older / 0.5 / math.pi, rel=1e-6)


def test_a_file_that_is_no_scanner_s_is_refused(tmp_path):
    seq = pulses([1.0])
    with pytest.raises(ConfigError, match=r"pns_hardware: .*none.asc does not exist; correct"):
        check_limits(seq, SYSTEM, None, tmp_path / "none.asc")
    (tmp_path / "other.asc").write_text('asCOMP[0].tName = "other"\n')
    with pytest.raises(ConfigError, match=r"other.asc has no values for nerve stimulation"):
        check_limits(seq, SYSTEM, None, tmp_path / "other.asc")


def test_nerves_forget_what_lies_long_before_a_wait():
    """Long waits are cut for speed: the stimulation is that of PyPulseq on all of the sequence."""
    seq = pp.Sequence(pp.Opts(max_slew=200, slew_unit="T/m/s"))
    for amplitude in (6e5, 4e5):
        seq.add_block(pp.make_trapezoid("x", amplitude=amplitude, flat_time=1e-3))
        seq.add_block(pp.make_trapezoid("z", area=300), pp.make_delay(0.15))
        seq.add_block(pp.make_delay(0.15))
    _, stimulation, _, _ = seq.calculate_pns(safe_example_hw(), do_plots=False)
    table = check_limits(seq, seq.system)
    assert values(table)["pns"] == pytest.approx(float(stimulation.max()), rel=1e-9)
    assert values(table)["pns"] > 0.1
    assert seq.duration()[0] == pytest.approx(0.6, rel=1e-2)


def test_an_unknown_limit_is_named():
    with pytest.raises(ConfigError, match="no RF limit 'b2_peak'"):
        check_limits(pulses([1.0]), SYSTEM, {"b2_peak": 1.0})


def test_gradient_amplitude_of_events_is_that_of_the_flat_top():
    def sequence(strength):
        seq = pulses([1.0])
        gx = pp.make_trapezoid("x", amplitude=strength, flat_time=1e-3, system=SYSTEM)
        adc = pp.make_adc(10, duration=1e-3, delay=gx.rise_time, system=SYSTEM)
        seq.add_block(gx, adc)
        return seq

    strength = torch.tensor(4e5, dtype=torch.float64, requires_grad=True)
    amplitude = gradient_amplitude(SequenceModel(sequence)({"strength": strength}))
    assert float(amplitude.max()) == pytest.approx(4e5, rel=1e-6)
    (slope,) = torch.autograd.grad(amplitude.max(), strength)
    assert float(slope) == pytest.approx(1.0, rel=1e-6)


def test_excess_is_zero_within_the_limit_and_smooth_at_it():
    inside = torch.tensor([0.5, -1.0], dtype=torch.float64)
    assert float(excess(inside, 1.0)) == 0.0
    outside = torch.tensor([1.5, -3.0], dtype=torch.float64, requires_grad=True)
    assert float(excess(outside, 1.0).detach()) == pytest.approx((0.25 + 4.0) / 2)
    assert torch.autograd.gradcheck(lambda v: excess(v, 1.0), outside)


def test_relative_sar_is_a_ratio_of_squares():
    reference = torch.tensor([math.pi / 2, math.pi])
    assert float(relative_sar(reference / 2, reference)) == pytest.approx(0.25)
    with pytest.raises(SequenceError, match="all zero"):
        relative_sar(reference, torch.zeros(2))
