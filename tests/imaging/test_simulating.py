"""One call from any form of a sequence to its image."""

import numpy as np
import pypulseq as pp
import pytest
import torch

import pulseq_zero
from pulseq_zero.errors import SequenceError
from pulseq_zero.phantom import Phantom, TissuePool


def two_lines(flip=0.5, ppm=0.0):
    """Sample the centre twice, as an image of one pixel."""
    seq = pp.Sequence()
    rf = pp.make_block_pulse(flip, duration=1e-4, use="excitation", freq_ppm=ppm)
    for _ in range(2):
        seq.add_block(rf)
        seq.add_block(pp.make_adc(1, duration=1e-3))
        seq.add_block(pp.make_delay(1.0))
    seq.set_definition("FOV", [0.1, 0.1, 5e-3])
    return seq


@pytest.fixture(scope="module")
def phantom():
    PD = torch.ones(2, 2)
    return Phantom(
        pools={"water": TissuePool.of(PD, 1.0, 0.1)},
        masks={},
        fov=(0.1, 0.1),
        slice_thickness=5e-3,
    )


def test_files_sequences_and_repetitions_are_alike(phantom, tmp_path):
    two_lines().write(str(tmp_path / "two.seq"))
    repetitions = pulseq_zero.convert(two_lines(), pulses="played")
    of_file = pulseq_zero.simulate(tmp_path / "two.seq", phantom)
    given = {"fov": (0.1, 0.1)}
    for same in (
        pulseq_zero.simulate(str(tmp_path / "two.seq"), phantom),
        pulseq_zero.simulate(two_lines(), phantom),
        pulseq_zero.simulate(repetitions, phantom, **given),
        pulseq_zero.simulate(repetitions, phantom.simulation_data(), **given),
    ):
        torch.testing.assert_close(same.signal, of_file.signal, rtol=1e-4, atol=0)
        torch.testing.assert_close(same.image, of_file.image, rtol=1e-4, atol=0)
    # A flip of the whole magnetisation, which T2 and T2' leave for half the readout
    first = torch.tensor(0.5).sin() * torch.exp(torch.tensor(-0.55e-3 / 0.1))
    assert abs(of_file.signal[0, 0]) / 4 == pytest.approx(float(first), rel=1e-2)


def test_what_was_traced_is_differentiable(phantom):
    flip = torch.tensor(0.5, requires_grad=True)
    with pulseq_zero.tracing():
        sequence = two_lines(flip)
    value = pulseq_zero.simulate(sequence, phantom).signal[0, 0].abs()
    (slope,) = torch.autograd.grad(value, flip)
    assert float(slope / value.detach()) == pytest.approx(1 / np.tan(0.5), rel=1e-2)


def test_the_system_says_what_parts_per_million_are_of(phantom, tmp_path):
    two_lines(0.01, ppm=50.0).write(str(tmp_path / "ppm.seq"))
    with pytest.warns(UserWarning, match=r"counts as 1\.5 T"):
        weak = pulseq_zero.simulate(tmp_path / "ppm.seq", phantom).signal[0].abs()
    strong = pulseq_zero.simulate(tmp_path / "ppm.seq", phantom, system=pp.Opts(B0=7)).signal[0]
    # A small flip excites by the Fourier transform of the pulse, 0.1 ms long
    expected = [np.sinc(42.576e6 * field * 50e-6 * 1e-4) for field in (1.5, 7.0)]
    assert float(strong.abs() / weak) == pytest.approx(abs(expected[1] / expected[0]), rel=2e-3)


def test_refusals(phantom):
    repetitions = pulseq_zero.convert(two_lines())
    with pytest.raises(SequenceError, match=r"state no field of view; give it as fov=\(x, y\)"):
        pulseq_zero.simulate(repetitions, phantom)
    bare = two_lines()
    del bare.definitions["FOV"]
    with pytest.raises(SequenceError, match="has no definition FOV"):
        pulseq_zero.simulate(bare, phantom.simulation_data())
    with pytest.raises(SequenceError, match="a system is of a file"):
        pulseq_zero.simulate(two_lines(), phantom, system=pp.Opts())
