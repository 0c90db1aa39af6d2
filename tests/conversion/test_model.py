"""Sequence functions as differentiable maps, on the sequences of this repository."""

import importlib.util
import logging
import warnings
from pathlib import Path

import MRzeroCore as mr0
import numpy as np
import pytest
import torch

from pulseq_zero.conversion import SequenceModel
from pulseq_zero.conversion.repetitions import repetitions_from_mr0
from pulseq_zero.errors import GradientLostError, SequenceError

SEQUENCES = Path(__file__).parents[2] / "sequences"


def script(name):
    specification = importlib.util.spec_from_file_location(name, SEQUENCES / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return getattr(module, name)


def parameter(value):
    return torch.tensor(value, dtype=torch.float64, requires_grad=True)


CASES = {
    "epi_ir": (
        {"TI": 0.8, "flip_angle": 1.2},
        {"n_read": 16, "n_phase": 8, "dwell": 1e-5},
    ),
    "tse": (
        {"flip_angles": np.linspace(1.0, 3.0, 10).reshape(2, 5), "TE": 12e-3, "TR": 0.5},
        {"n_read": 16, "sampling_time": 3.2e-3},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_repetitions_equal_those_of_the_written_file(name, tmp_path):
    values, arguments = CASES[name]
    model = SequenceModel(script(name), arguments=arguments, on_loss="raise")
    ours = model({key: parameter(value) for key, value in values.items()})
    model.sequence.write(str(tmp_path / "test.seq"))
    # MRzeroCore's importer hands on phases in Pulseq's sense
    imported = repetitions_from_mr0(mr0.Sequence.import_file(str(tmp_path / "test.seq")))
    theirs = imported.conjugate()
    assert ours.adc_usage.sum() == theirs.adc_usage.sum() > 0
    torch.testing.assert_close(ours.pulse_angle, theirs.pulse_angle.double(), rtol=0, atol=1e-5)
    torch.testing.assert_close(
        torch.exp(1j * ours.pulse_phase),
        torch.exp(1j * theirs.pulse_phase.double()),
        rtol=0,
        atol=1e-5,
    )
    # .seq files hold amplitudes with six digits
    torch.testing.assert_close(ours.kspace(), theirs.kspace(), rtol=0, atol=2e-3)
    torch.testing.assert_close(
        ours.adc_phase[ours.is_sample],
        theirs.adc_phase[theirs.is_sample].double(),
        rtol=0,
        atol=1e-6,
    )


@pytest.mark.parametrize("name", CASES)
def test_the_written_file_is_that_of_plain_pypulseq(name, tmp_path):
    values, arguments = CASES[name]
    model = SequenceModel(script(name), arguments=arguments)
    model({key: parameter(value) for key, value in values.items()})
    model.sequence.write(str(tmp_path / "traced.seq"))
    script(name)(**values, **arguments).write(str(tmp_path / "plain.seq"))
    assert (tmp_path / "traced.seq").read_bytes() == (tmp_path / "plain.seq").read_bytes()


def test_replay_equals_a_new_run_and_its_gradient_finite_differences():
    values, arguments = CASES["tse"]
    weights = {}
    random = torch.Generator().manual_seed(0)

    def summary(scale):
        parameters = {key: parameter(np.asarray(value) * scale) for key, value in values.items()}
        del parameters["TE"], parameters["TR"]
        reps = model(parameters)
        total = 0.0
        for name in ("pulse_angle", "pulse_phase", "gradient_moment", "event_time"):
            tensor = getattr(reps, name)
            if name not in weights:
                weights[name] = torch.randn(tensor.shape, generator=random, dtype=torch.float64)
            total = total + (tensor * weights[name]).sum()
        return total, parameters

    model = SequenceModel(
        script("tse"), arguments=arguments | {"TE": 12e-3, "TR": 0.5}, rounding="zero"
    )
    total, parameters = summary(1.0)
    total.backward()
    slope = sum((p.grad * p.detach()).sum() for p in parameters.values())
    step = 1e-6
    difference = (summary(1 + step)[0] - summary(1 - step)[0]) / (2 * step)
    assert model.retraces == 0
    assert slope.item() == pytest.approx(difference.item(), rel=1e-6)


def test_replay_for_other_parameters_equals_a_fresh_trace():
    values, arguments = CASES["tse"]
    other = {key: parameter(np.asarray(value) * 1.05) for key, value in values.items()}
    model = SequenceModel(script("tse"), arguments=arguments)
    model({key: parameter(value) for key, value in values.items()})
    replayed = model(other)
    assert model.retraces == 0
    fresh = SequenceModel(script("tse"), arguments=arguments)(other)
    for name in ("pulse_angle", "pulse_phase", "event_time", "gradient_moment", "adc_phase"):
        torch.testing.assert_close(
            getattr(replayed, name), getattr(fresh, name), rtol=1e-12, atol=1e-12
        )


def test_a_broken_guard_runs_the_function_again_and_says_where(caplog):
    def function(delay):
        if delay > 2e-3:
            delay = delay + 1e-3
        return _one_pulse(delay)

    model = SequenceModel(function)
    short = model({"delay": parameter(1e-3)})
    with caplog.at_level(logging.INFO, logger="pulseq_zero"):
        long = model({"delay": parameter(5e-3)})
    assert model.retraces == 1
    assert "test_model.py" in caplog.text
    longer = long.event_time.sum() - short.event_time.sum()
    assert longer.item() == pytest.approx(5e-3)
    for delay, added in ((1.5e-3, 0.5e-3), (6e-3, 6e-3), (1e-3, 0.0)):
        again = model({"delay": parameter(delay)})
        assert (again.event_time.sum() - short.event_time.sum()).item() == pytest.approx(added)
    assert model.retraces == 1
    assert [values["delay"].item() for values in model.traced_at] == [5e-3, 1e-3]


def test_a_parameter_without_effect_is_named():
    with pytest.raises(GradientLostError, match="unused"):
        SequenceModel(lambda delay, unused: _one_pulse(delay))(
            {"delay": parameter(1e-3), "unused": parameter(1.0)}
        )


def test_a_function_that_returns_no_sequence_is_refused():
    with pytest.raises(SequenceError, match="no sequence"):
        SequenceModel(lambda delay: None)({"delay": parameter(1e-3)})


def test_one_of_several_sequences_is_not_taken():
    with pytest.raises(SequenceError, match="returned 2 sequences"):
        SequenceModel(lambda delay: (_one_pulse(delay), "name", _one_pulse(delay)))(
            {"delay": parameter(1e-3)}
        )


def test_a_sequence_may_come_with_what_is_none():
    alone = SequenceModel(_one_pulse)({"delay": parameter(1e-3)})
    named = SequenceModel(lambda delay: (_one_pulse(delay), "name"))({"delay": parameter(1e-3)})
    assert torch.equal(named.event_time, alone.event_time)


def _two_peaks(samples, center=None):
    import pypulseq as pp

    seq = pp.Sequence()
    seq.add_block(
        pp.make_arbitrary_rf(
            samples, 1.0, no_signal_scaling=True, dwell=1e-5, center=center, use="excitation"
        )
    )
    seq.add_block(pp.make_adc(2, dwell=1e-5))
    return seq


@pytest.mark.parametrize("center", [None, 1e-4])
def test_a_centre_that_jumps_is_told(center):
    samples = np.full(20, 50.0)
    samples[5], samples[15] = 100.0, 99.0
    model = SequenceModel(_two_peaks, arguments={"center": center})
    before = model({"samples": parameter(samples)}).event_time[0]
    samples[15] = 101.0
    if center is None:
        with pytest.warns(UserWarning, match=r"jumps from 0.055 to 0.155 ms.*center="):
            after = model({"samples": parameter(samples)}).event_time[0]
        assert float(before - after) == pytest.approx(1e-4)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            after = model({"samples": parameter(samples)}).event_time[0]
        assert float(before) == float(after)


def test_a_centre_that_a_parameter_moves_is_not_told():
    def function(duration):
        import pypulseq as pp

        seq = pp.Sequence()
        if duration > 1.5e-3:
            duration = duration + 1e-4
        seq.add_block(pp.make_sinc_pulse(1.0, duration=duration, use="excitation"))
        seq.add_block(pp.make_adc(2, dwell=1e-5))
        return seq

    model = SequenceModel(function, rounding="zero")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model({"duration": parameter(1e-3)})
        model({"duration": parameter(2e-3)})
    assert model.retraces == 1


def _one_pulse(delay):
    import pypulseq as pp

    seq = pp.Sequence()
    seq.add_block(pp.make_block_pulse(1.0, duration=1e-3, use="excitation"))
    seq.add_block(pp.make_delay(delay))
    seq.add_block(pp.make_adc(4, dwell=1e-5))
    return seq


@pytest.mark.parametrize(
    ("name", "start", "count"),
    [("epi_ir", {"TI": 0.8}, 1), ("tse", {"flip_angles": CASES["tse"][0]["flip_angles"]}, 0)],
)
def test_only_events_that_depend_on_a_parameter_count_as_moving(name, start, count):
    model = SequenceModel(script(name), arguments=CASES[name][1])
    repetitions = model({key: parameter(value) for key, value in start.items()})
    assert int(repetitions.moving.sum()) == count


def test_a_dwell_time_moves_every_sample():
    model = SequenceModel(script("epi_ir"), arguments={"n_read": 16, "n_phase": 8})
    repetitions = model({"dwell": parameter(1e-5)})
    assert bool(repetitions.moving[repetitions.is_sample].all())
