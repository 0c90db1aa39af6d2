"""Inside of `with tracing():` a script computes with tensors as with the numbers of `trace`."""

import copy
import dataclasses
import importlib

import numpy as np
import pypulseq as pp
import pytest
import torch

from pulseq_zero.conversion import convert
from pulseq_zero.tracing import GradientLossWarning, trace, tracing


@dataclasses.dataclass
class Protocol:
    angle: float
    fov: float = 0.2


def played(rf):
    seq = pp.Sequence()
    seq.add_block(rf)
    seq.add_block(pp.make_adc(1, dwell=1e-5))
    return seq


def one_or_two_sides(x):
    """As PyPulseq's examples begin."""
    width, height = (x, x) if isinstance(x, (int, float)) else x
    return played(pp.make_block_pulse(width * height, duration=1e-3, use="excitation"))


def times_an_array(x):
    signal = np.linspace(0.1, 1.0, 100) * x + x / (1 + np.arange(100)) - (np.ones(100) - x)
    rf = pp.make_arbitrary_rf(signal, 0.5, no_signal_scaling=True, dwell=1e-5, use="excitation")
    return played(rf)


def copied(x):
    rf = pp.make_block_pulse(0.5, duration=1e-3, use="excitation")
    rf.phase_offset = 2 * x
    other = copy.deepcopy(rf)
    other.phase_offset = other.phase_offset * 3
    return played(other)


def replaces(x):
    protocol = dataclasses.replace(Protocol(0.1), angle=x * 2)
    angle = protocol.angle if isinstance(protocol.angle, float) else 0.0
    return played(pp.make_block_pulse(angle, duration=1e-3, use="excitation"))


def rescales(x):
    rf = pp.make_block_pulse(0.5, duration=1e-3, use="excitation")
    rf.signal = rf.signal * x
    return played(rf)


@pytest.mark.parametrize("function", [one_or_two_sides, times_an_array, copied, replaces, rescales])
def test_both_ways_give_the_same_numbers_and_gradients(function):
    def of(sequence, x):
        repetitions = convert(sequence)
        both = torch.cat([repetitions.pulse_angle, repetitions.pulse_phase])
        return both, torch.autograd.grad(both.sum(), x)[0]

    x = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    values, slope = of(trace(function, {"x": x}).sequence, x)
    with tracing():
        # By its name in this module, as scripts call functions
        sequence = globals()[function.__name__](x)
    found, found_slope = of(sequence, x)
    torch.testing.assert_close(found, values, rtol=1e-12, atol=0)
    torch.testing.assert_close(found_slope, slope, rtol=1e-9, atol=0)
    assert slope != 0


def test_functions_of_another_script_get_numbers(tmp_path, monkeypatch):
    """As they are imported: by their names in this one."""
    (tmp_path / "protocols.py").write_text(
        "import numpy as np\nimport pypulseq as pp\n\n\n"
        "def shaped(x):\n    signal = np.linspace(0.1, 1, 10) * x\n"
        "    return pp.make_arbitrary_rf(signal, 0.5, no_signal_scaling=True, dwell=1e-5,"
        " use='excitation')\n"
    )
    (tmp_path / "scan.py").write_text(
        "import pulseq_zero\nimport pypulseq as pp\nfrom protocols import shaped\n\n\n"
        "def scan(x):\n    with pulseq_zero.tracing():\n        seq = pp.Sequence()\n"
        "        seq.add_block(shaped(x))\n        seq.add_block(pp.make_adc(1, dwell=1e-5))\n"
        "    return seq\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    x = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    angle = convert(importlib.import_module("scan").scan(x)).pulse_angle.sum()
    assert angle.item() == pytest.approx(2 * np.pi * 1e-5 * 0.7 * 5.5, rel=1e-6)
    assert torch.autograd.grad(angle, x)[0].item() == pytest.approx(angle.item() / 0.7, rel=1e-6)


def in_torch(x):
    """Means tensors, which it gets."""
    return played(pp.make_block_pulse(torch.sigmoid(x), duration=1e-3, use="excitation"))


def by_a_method(x):
    return played(pp.make_block_pulse(x.sigmoid(), duration=1e-3, use="excitation"))


@pytest.mark.parametrize("function", [in_torch, by_a_method])
def test_functions_that_compute_with_tensors_get_them(function):
    x = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    with tracing():
        # By its name in this module, as scripts call functions
        sequence = globals()[function.__name__](x)
    (slope,) = torch.autograd.grad(convert(sequence).pulse_angle.sum(), x)
    share = 1 / (1 + np.exp(-0.7))
    assert slope.item() == pytest.approx(share * (1 - share))


def test_functions_are_as_before_when_it_is_over():
    before = rescales
    with tracing():
        assert rescales is not before
    assert rescales is before


def multiplies_in_place(x):
    rf = pp.make_block_pulse(0.5, duration=1e-3, use="excitation")
    rf.signal *= x


def overwrites(x):
    rf = pp.make_block_pulse(0.5, duration=1e-3, use="excitation")
    rf.signal[:] = rf.signal * x


@pytest.mark.parametrize(
    ("function", "way"),
    [
        (multiplies_in_place, r"rf\.signal = rf\.signal \* x instead of rf\.signal \*= x"),
        (overwrites, r"assign the new one: rf\.signal = y"),
    ],
)
def test_a_change_in_place_says_what_to_write(function, way):
    with pytest.warns(GradientLossWarning, match=way):
        trace(function, {"x": torch.tensor(0.7)})


@pytest.mark.parametrize("name", ["hanning", "hamming", "blackman", "bartlett", "ones"])
def test_windows_times_a_tensor(name):
    """As in the signal of a pulse, in a script without functions."""
    x = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    with tracing():
        window = getattr(np, name)(20)
        rf = pp.make_arbitrary_rf(
            window * x, 0.5, no_signal_scaling=True, dwell=1e-5, use="excitation"
        )
        seq = played(rf)
    angle = convert(seq).pulse_angle.sum()
    (slope,) = torch.autograd.grad(angle, x)
    assert slope.item() == pytest.approx(angle.item() / 0.7, rel=1e-9)
    assert slope.item() == pytest.approx(2 * np.pi * 1e-5 * getattr(np, name)(20).sum(), rel=1e-9)


def test_where_an_array_takes_no_tensor_the_error_names_the_way():
    x = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    rf = pp.make_block_pulse(1.0, duration=1e-3, use="excitation")
    with pytest.raises(TypeError, match="Tensor") as caught, tracing():
        rf.signal *= x
    assert "in a function that takes the tensor" in caught.value.__notes__[0]
