"""Scripts whose numbers stand in them, as functions of these numbers; no script changes."""

import inspect
import sys

import pytest
import torch

import pulseq_zero
from support.refusal import check

SCRIPT = """
import pypulseq as pp
from neighbour import DELAY

def main(plot=False, write_seq=False, seq_filename="out.seq"):
    seq = pp.Sequence()
    length = 1e-3  # a constant
    flip: float = 0.5
    twice = 2 * length
    seq.add_block(pp.make_block_pulse(flip, duration=1e-3, delay=DELAY))
    seq.add_block(pp.make_delay(twice))
    seq.add_block(pp.make_adc(1, dwell=1e-5))
    if plot:
        seq.plot()
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "neighbour.py").write_text("DELAY = 1e-3\n")
    path = tmp_path / "write_it.py"
    path.write_text(SCRIPT)
    return path


def duration(sequence):
    """Of the delay."""
    return sequence.block_durations[2]


def test_what_the_function_sets_becomes_an_argument(file):
    main = pulseq_zero.script(file, parameters=["length", "flip"])
    assert list(inspect.signature(main).parameters)[-2:] == ["length", "flip"]
    assert duration(main()) == pytest.approx(2e-3)
    assert duration(main(plot=False, length=5e-3)) == pytest.approx(1e-2)
    assert pulseq_zero.script(file, [], result="twice")() == 2e-3
    assert file.read_text() == SCRIPT
    assert {path.name for path in file.parent.iterdir() if path.is_file()} == {
        "neighbour.py",
        "write_it.py",
    }


def test_the_function_is_differentiable(file):
    flip = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    main = pulseq_zero.script(file, ["flip"])
    angle = pulseq_zero.SequenceModel(main)({"flip": flip}).pulse_angle
    assert angle.tolist() == pytest.approx([0.4])
    assert torch.autograd.grad(angle.sum(), flip)[0].item() == pytest.approx(1.0)


def test_the_function_takes_tensors_inside_of_tracing(file):
    """What a number does that a tensor does not: an array times it, and `isinstance`."""
    text = SCRIPT.replace("import pypulseq as pp", "import numpy as np\nimport pypulseq as pp")
    shape = "(np.ones(4) * flip if isinstance(flip, (int, float)) else None)"
    file.write_text(text.replace("pulse(flip,", f"pulse({shape}.sum() / 4,"))
    flip = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    main = pulseq_zero.script(file, ["flip"])
    with pulseq_zero.tracing():
        sequence = main(flip=flip)
    angle = pulseq_zero.convert(sequence).pulse_angle
    assert angle.tolist() == pytest.approx([0.4])
    assert torch.autograd.grad(angle.sum(), flip)[0].item() == pytest.approx(1.0)


def test_what_the_script_lacks_is_said(file):
    check(
        lambda: pulseq_zero.script("write_it.py", ["length", "width"]),
        "main of write_it.py does not set 'width' once, in a line of its own; its variables are "
        "seq, length, flip, twice",
    )
    check(
        lambda: pulseq_zero.script("write_it.py", ["length"], function="make"),
        "write_it.py has no function 'make'; put what makes the sequence into one, or name it, as "
        "in script(..., function='make')",
    )
    file.write_text(SCRIPT.replace("    seq = pp", "    made = seq = pp"))
    check(
        lambda: pulseq_zero.script("write_it.py", []),
        "main of write_it.py makes 0 sequences; name the variable to return, as in "
        "script(..., result='seq')",
    )
    check(
        lambda: pulseq_zero.script("none.py", []),
        "there is no Python file none.py; mend the name or create the file",
    )
