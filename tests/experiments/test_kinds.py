"""The kinds of experiments: what they use, refuse, draw and report, whatever names there are."""

from __future__ import annotations

import ast
import inspect
import math
from importlib import import_module

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.text import Text

from pulseq_zero.experiments import kinds
from pulseq_zero.experiments.experiment import sequence_setup
from pulseq_zero.experiments.kinds.kind import Kind, RunResults
from pulseq_zero.experiments.settings import Experiment
from pulseq_zero.experiments.stages import ENDS
from pulseq_zero.figures.style import column, save_figure
from pulseq_zero.phantom import Phantom, TissuePool
from support.refusal import check

SEQUENCES = """
import numpy as np
import pypulseq as pp

def times(wait=1.0): ...
def angle(nominal=0.2, TR=0.1, TE=5e-3):
    sequence = pp.Sequence()
    sequence.add_block(pp.make_block_pulse(nominal, duration=1e-3, use="excitation"))
    return sequence
def angles(refocusing=np.ones((2, 3))): ...
def train(pulses=np.ones(4)): ...
def pulse(amplitudes=np.ones(8)):
    sequence = pp.Sequence()
    shape = np.repeat(amplitudes, 100)
    sequence.add_block(pp.make_arbitrary_rf(shape, 0, no_signal_scaling=True, use="excitation"))
    return sequence
"""

LOSSES = """
def tissues(context, dark="muscle", bright="fat"): ...
def power(context, flip_angles="refocusing"): ...
def none(context): ...
"""

# What each kind is tried with: no name is that of the gallery's experiments
EXPERIMENTS = {
    "history": ("times", "wait", "none"),
    "inversion_time": ("times", "wait", "tissues"),
    "ernst_angle": ("angle", "nominal", "tissues"),
    "flip_angles": ("angles", "refocusing", "power"),
    "flip_angle_train": ("train", "pulses", "power"),
    "slice_profile": ("pulse", "amplitudes", "none"),
}


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Make an experiment of a kind, with changes."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kind_sequences.py").write_text(SEQUENCES)
    (tmp_path / "kind_losses.py").write_text(LOSSES)

    def make(kind, **changes):
        function, parameter, loss = EXPERIMENTS[kind]
        settings = {"flip_angles": parameter} if loss == "power" else {}
        content = {
            "title": kind,
            "sequence": {"function": f"kind_sequences.py:{function}"},
            "parameters": {parameter: {"upper": 2.0, "unit": "au"}},
            "loss": {"function": f"kind_losses.py:{loss}", "settings": settings},
            "optimizer": {"iterations": 2},
            "scan": {"parameter": parameter, "first": 0.1, "last": 1.0, "count": 4},
            "figure": kind,
        }
        return Experiment(**{**content, **changes})

    return make


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    halves = torch.zeros(2, 4, 4)
    halves[0, :2] = halves[1, 2:] = 1.0
    return Phantom(
        pools={
            "muscle": TissuePool.of(halves[0], 1.2, 0.05),
            "fat": TissuePool.of(halves[1], 0.4, 0.08),
        },
        masks={"muscle": halves[0], "fat": halves[1]},
        fov=(0.2, 0.2),
        slice_thickness=5e-3,
    )


def setup_of(experiment):
    return sequence_setup(experiment.sequence, experiment.parameters)


def results_of(experiment, phantom) -> RunResults:
    """Results of three iterations, made up."""
    (name,) = experiment.parameters
    start = setup_of(experiment).start[name]
    image = torch.ones(4, 4) + 0.1j
    loss = {"muscle": [1.0, 0.8, 0.7], "fat": [-0.5, -0.6, -0.7], "iteration": [0, 1, 2]}
    history = pd.DataFrame({**loss, "loss": [0.5, 0.2, 0.1], "verified_loss": [0.5, np.nan, 0.1]})
    scanned = {name: [0.1, 0.5, 1.0], "loss": [0.5, 0.1, 0.3]}
    return RunResults(
        start=image,
        optimized=0.9 * image,
        accuracy=1e-3,
        fov=(0.2, 0.2),
        history=history,
        parameters={name: torch.stack([start, 0.9 * start, 0.8 * start])},
        best=2,
        scan=pd.DataFrame(scanned),
        minima=pd.DataFrame(
            {
                "variant": ["as it is", "without fat"],
                name: [0.5, 0.4],
                "uncertainty": [0.1, np.nan],
            }
        ),
        quality=pd.DataFrame({"iteration": [0, 2], "nrmse": [0, 0.1], "ssim": [1, 0.9]}),
        judge=dict.fromkeys(ENDS, image),
        phantom=phantom,
    )


def texts(figure) -> str:
    found = figure.findobj(lambda artist: hasattr(artist, "get_text"))
    return "\n".join(artist.get_text() for artist in found)


def smallest_letters(figure) -> float:
    found = figure.findobj(Text)
    return min(text.get_fontsize() for text in found if text.get_text().strip())


def labels(figure) -> list[tuple[str, str, str]]:
    return sorted((axes.get_title(), axes.get_xlabel(), axes.get_ylabel()) for axes in figure.axes)


def test_the_kinds_are_the_modules():
    assert set(kinds.names()) == set(EXPERIMENTS)
    for name in kinds.names():
        assert isinstance(kinds.of(name), Kind)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_kind_uses_the_sections_that_it_declares(name):
    tree = ast.parse(inspect.getsource(import_module(f"pulseq_zero.experiments.kinds.{name}")))
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "experiment"
    }
    if "flip_angles" in used:
        used = used - {"flip_angles"} | {"parameters", "loss"}
    assert used == set(kinds.of(name).sections)


def test_a_figure_uses_the_sections_of_all_kinds():
    step = import_module("pulseq_zero.experiments.steps.experiment_figure")
    of_kinds = {section for name in kinds.names() for section in kinds.of(name).sections}
    assert set(step.SECTIONS) == of_kinds | {"figure", "image", "sequences"}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_kind_draws_whatever_its_parameter_is_called(make, phantom, tmp_path, name):
    experiment, kind = make(name), kinds.of(name)
    kind.check(experiment, setup_of(experiment))
    figure = kind.draw(experiment, results_of(experiment, phantom))
    said = texts(figure)
    assert "CSF" not in said
    assert "matter" not in said
    if name in ("inversion_time", "ernst_angle"):
        assert "muscle" in said
        assert "fat" in said
    save_figure(figure, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 5_000
    with column():
        narrow = kind.draw(experiment, results_of(experiment, phantom))
    save_figure(narrow, tmp_path / "narrow.png")
    assert narrow.get_figwidth() < 0.5 * figure.get_figwidth()
    # The same is in it, and nothing has become smaller to fit
    assert labels(narrow) == labels(figure)
    assert smallest_letters(narrow) == smallest_letters(figure) >= 7


def test_the_null_is_that_of_the_tissue_that_is_to_be_dark(make, phantom):
    kind = kinds.of("inversion_time")
    found = kind.closed_forms(make("inversion_time"), phantom)
    assert found == {"analytic_null_s": pytest.approx(math.log(2) * 1.2)}


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("inversion_time", {"scan": None}, "needs a scan of the inversion time"),
        (
            "inversion_time",
            {"loss": {"function": "kind_losses.py:none"}},
            "needs a loss whose setting dark names the tissue that is nulled, as in "
            "pulseq_zero.optimization.losses:contrast",
        ),
        (
            "inversion_time",
            {"scan": {"parameter": "TI", "first": 0, "last": 1, "count": 2}},
            "needs a scan of the inversion time",
        ),
        ("ernst_angle", {"scan": None}, "needs a scan of the flip angle"),
        (
            "ernst_angle",
            {"sequence": {"function": "kind_sequences.py:times"}, "parameters": {"wait": {}}},
            "needs a scan of the flip angle",
        ),
        (
            "ernst_angle",
            {
                "sequence": {"function": "kind_sequences.py:times"},
                "parameters": {"wait": {}},
                "scan": {"parameter": "wait", "first": 0, "last": 1, "count": 2},
            },
            "needs a sequence function with the constant argument TR",
        ),
        (
            "flip_angles",
            {"loss": {"function": "kind_losses.py:none"}},
            "needs a parameter flip_angles, or as the loss's setting flip_angles calls it, with a "
            "value for each shot and each pulse of it",
        ),
        (
            "flip_angle_train",
            {"loss": {"function": "kind_losses.py:none"}},
            "needs a parameter flip_angles, or as the loss's setting flip_angles calls it, with a "
            "value for each pulse",
        ),
        (
            "slice_profile",
            {"parameters": {"amplitudes": {}}},
            "needs one bound of all samples; give it as upper:",
        ),
        (
            "slice_profile",
            {"sequence": {"function": "kind_sequences.py:times"}, "parameters": {"wait": {}}},
            "needs the samples of a pulse as the only parameter, a value for each",
        ),
    ],
)
def test_what_cannot_be_of_a_kind_is_refused(make, kind, changes, message):
    experiment = make(kind, **changes)
    setup = setup_of(experiment)
    check(lambda: kinds.of(kind).check(experiment, setup), f"figure: {kind} {message}")
