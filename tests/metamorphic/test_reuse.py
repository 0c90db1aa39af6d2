"""What a simulator keeps from one call to the next changes nothing: history does not matter."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given

from pulseq_zero.simulation import Simulator
from pulseq_zero.simulation.pdg.propagation import TorchBackend
from support.cases import Case, cases
from support.engines import ACCURACY, EXAMPLES, assert_same, with_hard_pulses
from support.phase_graph import phase_graph_signal

BACKENDS = {
    "compiled": {},
    "torch": {"dtype": torch.float64, "backend": TorchBackend()},
}


def other_sequences(sequence, rng):
    """Change what an optimization changes, and back."""
    angle, time, moment = sequence.pulse_angle, sequence.event_time, sequence.gradient_moment
    scatter = torch.from_numpy(rng.uniform(0.3, 1.7, len(angle)))
    yield replace(sequence, pulse_angle=angle * scatter)
    yield replace(sequence, pulse_phase=sequence.pulse_phase + scatter)
    yield replace(sequence, event_time=time * 1.1)
    yield replace(sequence, gradient_moment=moment * 0.9)
    yield replace(sequence, adc_phase=sequence.adc_phase + 0.4)
    yield replace(sequence, adc_usage=torch.where(sequence.is_sample.cumsum(0) > 3, 1, 0)
                  * sequence.adc_usage)  # fmt: skip
    yield sequence


@pytest.mark.parametrize("backend", BACKENDS)
@EXAMPLES
@given(case=cases())
def test_other_sequences_before(backend, case):
    sequence, data, rng = case.draw()
    kept = Simulator(data, ACCURACY, **BACKENDS[backend])
    kept(sequence)
    for other in other_sequences(sequence, rng):
        fresh = Simulator(data, ACCURACY, **BACKENDS[backend])(other).signal
        assert_same(kept(other).signal, fresh, data)


@pytest.mark.parametrize("differentiated", [False, True])
@pytest.mark.parametrize("name", ["pulse_angle", "pulse_phase", "event_time", "gradient_moment"])
def test_sequences_changed_in_place(name, differentiated):
    sequence, data, _ = Case("TSE", "anywhere", "random", "box", 4).draw(voxels=12)
    kept = Simulator(data, ACCURACY)
    sequence.pulse_angle.requires_grad_(differentiated)
    kept(sequence)
    with torch.no_grad():
        getattr(sequence, name).mul_(1.2)
    fresh = Simulator(data, ACCURACY)(sequence).signal
    assert_same(kept(sequence).signal, fresh, data)


@pytest.mark.parametrize("field", ["signal", "time"])
def test_played_pulses_changed_in_place(field):
    sequence, data, _ = Case("TSE", "anywhere", "random", "box", 4).draw(voxels=12)
    sequence = with_hard_pulses(sequence)
    kept = Simulator(data, ACCURACY)
    kept(sequence)
    getattr(sequence.played, field).mul_(1.2)
    fresh = Simulator(data, ACCURACY)(sequence).signal
    assert_same(kept(sequence).signal, fresh, data)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("how", ["replaced", "in place"])
@pytest.mark.parametrize("name", ["PD", "T1", "T2", "T2dash", "D", "B0", "B1", "voxel_pos"])
def test_other_maps_before(name, how, backend):
    """States are those of the phantom as it is now."""
    sequence, data, _ = Case("TSE", "anywhere", "random", "box", 4).draw(voxels=12)
    for before, after in ((1e-3, 1.0), (1.0, 0.2)):
        original = getattr(data, name).clone()
        setattr(data, name, original * before)
        kept = Simulator(data, ACCURACY, **BACKENDS[backend])
        kept(sequence)
        if how == "replaced":
            setattr(data, name, original * after)
        else:
            getattr(data, name).copy_(original * after)
        reference = phase_graph_signal(sequence, data)
        assert_same(kept(sequence).signal, reference, data)
        setattr(data, name, original)


@pytest.mark.parametrize("backend", BACKENDS)
def test_maps_replaced_more_than_once(backend):
    """A map may lie where an older one did."""
    sequence, data, _ = Case("spoiled GRE", "anywhere", "smooth", "box", 1).draw(voxels=12)
    kept = Simulator(data, ACCURACY, **BACKENDS[backend])
    for shift in np.linspace(5, 50, 10):
        data.B0 = data.B0 + 1.0
        data.B0 = data.B0 + float(shift)
        fresh = Simulator(data, ACCURACY, **BACKENDS[backend])(sequence).signal
        assert_same(kept(sequence).signal, fresh, data)
