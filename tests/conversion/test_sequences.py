"""Whole sequences: the same file as plain PyPulseq, the same repetitions as from the file."""

import inspect

import MRzeroCore as mr0
import numpy as np
import pytest
import torch

from pulseq_zero.conversion import SequenceModel, convert
from pulseq_zero.conversion.repetitions import repetitions_from_mr0
from pulseq_zero.files.seq import read_seq
from pulseq_zero.judge.course import course_of
from pulseq_zero.judge.seq import read_course
from pulseq_zero.tracing import check_gradients
from support import scripts
from support.bloch import apart, signal_of

SCRIPTS = ["gre", "radial", "ute", "epi_se", "haste", "spiral", "mprage"]

# What the gradients may be checked for: numbers that no test of this kind rounds at its edge.
CONTINUOUS = {
    "gre": {"flip_angle": 0.31, "fov": 0.2031},
    "radial": {"flip_angle": 0.31, "fov": 0.2031},
    "ute": {"flip_angle": 0.21, "fov": 0.2031},
    "epi_se": {"fov": 0.2031},
    "haste": {"flip_angle": 2.51, "fov": 0.2031},
    "spiral": {"flip_angle": 0.31, "turns": 2.97},
    "mprage": {"flip_angle": 0.151, "fov": 0.2031},
}


def continuous(function):
    """All arguments of a script that are numbers with a fraction."""
    return {
        name: torch.tensor(parameter.default, dtype=torch.float64, requires_grad=True)
        for name, parameter in inspect.signature(function).parameters.items()
        if isinstance(parameter.default, float)
    }


@pytest.fixture(params=SCRIPTS)
def converted(request, tmp_path):
    """Name a script, its repetitions by way of the tape, and its file."""
    function = getattr(scripts, request.param)
    model = SequenceModel(function, on_loss="raise")
    ours = model(continuous(function))
    model.sequence.write(str(tmp_path / "traced.seq"))
    function().write(str(tmp_path / "plain.seq"))
    assert (tmp_path / "traced.seq").read_bytes() == (tmp_path / "plain.seq").read_bytes()
    return request.param, ours.detach(), tmp_path / "plain.seq"


def imported(file):
    """Let MRzeroCore read a file; its importer hands on phases in Pulseq's sense."""
    return repetitions_from_mr0(mr0.Sequence.import_file(str(file))).conjugate()


def test_a_script_converts_as_its_file_does(converted):
    name, ours, file = converted
    theirs = imported(file)
    assert len(ours.event_count) == len(theirs.event_count)
    # MRzeroCore turns adiabatic pulses by the integral of their envelope
    ordinary = torch.tensor([use != "inversion" for use in ours.pulse_use])
    close = {"rtol": 0, "atol": 1e-5}
    torch.testing.assert_close(
        ours.pulse_angle[ordinary], theirs.pulse_angle[ordinary].double(), **close
    )
    turn = ours.pulse_phase - theirs.pulse_phase.double()
    receiver = (ours.adc_phase[ours.is_sample]) - theirs.adc_phase[theirs.is_sample].double()
    if name == "mprage":
        # all phases after the adiabatic pulse are turned alike
        receiver, turn = receiver + turn[1], turn[1:] - turn[1]
    torch.testing.assert_close(torch.cos(turn), torch.ones_like(turn), **close)
    torch.testing.assert_close(torch.cos(receiver), torch.ones_like(receiver), **close)
    # .seq files hold amplitudes with six digits, the importer moments in float32
    torch.testing.assert_close(ours.kspace(), theirs.kspace(), rtol=1e-5, atol=3e-3)
    for field in ("event_time", "gradient_moment"):
        _, our_total = ours.sums_within_repetitions(getattr(ours, field))
        _, their_total = theirs.sums_within_repetitions(getattr(theirs, field))
        torch.testing.assert_close(our_total[:-1], their_total[:-1], rtol=1e-5, atol=3e-3)


def test_a_script_gives_the_signal_of_its_file(converted):
    name, ours, file = converted
    if name == "mprage":
        pytest.skip(
            "MRzeroCore turns adiabatic pulses by the integral of their envelope; see below"
        )
    phantom = _voxels()
    signals = [_signal(sequence.to_mr0(), phantom) for sequence in (ours, imported(file))]
    error = torch.linalg.norm(signals[0] - signals[1]) / torch.linalg.norm(signals[1])
    assert error < 1e-4


def test_a_script_gives_the_signal_that_bloch_gives(converted):
    """Spins in the plane of the slice, on resonance, feel pulses as rotations: all else counts.

    The numbers of the file are judged to the last digit. Those of the script differ from them, as
    the file has six digits of amplitudes.
    """
    name, ours, file = converted
    random = np.random.default_rng(0)
    plane = random.uniform(-0.08, 0.08, (4, 3)) * [1, 1, 0]
    relaxation = {"T1": np.array([1.0, 1.5, 0.4, 3.0]), "T2": np.array([0.1, 0.02, 0.05, 0.04])}
    # relaxation within an adiabatic pulse is not that of a rotation at its centre
    relaxation = {} if name == "mprage" else relaxation
    course = read_course(file, "full", rf_step=1e-6)
    expected = signal_of(course, plane, **relaxation)
    of_file = signal_of(course_of(convert(read_seq(file))), plane, **relaxation)
    # the adiabatic pulse is cut into other pieces here and there
    assert apart(of_file, expected) < (1e-4 if name == "mprage" else 1e-9)
    assert apart(signal_of(course_of(ours), plane, **relaxation), expected) < 5e-3


def _voxels():
    number = 5
    random = np.random.default_rng(0)
    return mr0.CustomVoxelPhantom(
        pos=(random.uniform(-0.08, 0.08, (number, 3)) * [1, 1, 0]).tolist(),
        PD=[1.0, 0.8, 0.6, 1.0, 0.9],
        T1=[1.0, 1.5, 0.4, 3.0, 0.8],
        T2=[0.1, 0.08, 0.12, 1.0, 0.05],
        T2dash=[0.03] * number,
        D=0.0,
        B0=[0.0, 10.0, -20.0, 5.0, 0.0],
        B1=1.0,
        voxel_size=0.01,
        voxel_shape="sinc",
    ).build()


def _signal(sequence, phantom):
    graph = mr0.compute_graph(sequence, phantom, 1000, 1e-4)
    return mr0.execute_graph(graph, sequence, phantom, 1e-4, 1e-4, print_progress=False).detach()


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_gradients_of_a_script_equal_finite_differences(name):
    values = {key: torch.tensor(v, dtype=torch.float64) for key, v in CONTINUOUS[name].items()}
    report = check_gradients(getattr(scripts, name), values)
    assert not report.decisions
    assert {check.parameter for check in report.checks if check.difference} == set(values)
    assert report.worst < 1e-6, str(report)[:2000]


def test_labels_are_those_of_pypulseq():
    model = SequenceModel(scripts.gre)
    labels = model(continuous(scripts.gre)).labels
    assert labels["LIN"].tolist() == np.repeat(range(4), 16).tolist()
    assert labels["SLC"].tolist() == np.repeat(range(4), 16).tolist()


def test_later_changes_of_a_sequence_are_followed():
    def function(scale, axis=None, TR=None):
        seq = scripts.gre(flip_angle=0.3 * scale)
        if axis:
            seq.mod_grad_axis(axis, scale * 0.5)
        if TR:
            seq.apply_soft_delay(TR=TR * scale)
        return seq

    one = {"scale": torch.tensor(1.0, dtype=torch.float64, requires_grad=True)}
    plain = SequenceModel(function)(one)
    halved = SequenceModel(function, arguments={"axis": "x"})(one)
    torch.testing.assert_close(halved.gradient_moment[:, 0], plain.gradient_moment[:, 0] / 2)
    torch.testing.assert_close(halved.gradient_moment[:, 1], plain.gradient_moment[:, 1])
    longer = SequenceModel(function, arguments={"TR": 9e-3})(one).event_time.sum()
    assert (longer - plain.event_time.sum()).item() == pytest.approx(3 * 7e-3)
    (slope,) = torch.autograd.grad(longer, one["scale"])
    assert slope.item() == pytest.approx(3 * 9e-3)
