"""Results show themselves as tables and figures, and an optimization shows how far it is."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

import pulseq_zero
from pulseq_zero.cli.notebook import load_ipython_extension
from support.toy import inversion_recovery, negative_signal_loss, one_voxel


class HTMLFormatter:
    """As much of IPython's as is used."""

    def __init__(self):
        self.functions = {}

    def for_type(self, kind, function):
        self.functions[kind] = function

    def __call__(self, thing):
        return self.functions[type(thing)](thing)


@pytest.fixture(scope="module")
def show():
    formatter = HTMLFormatter()
    display = SimpleNamespace(formatters={"text/html": formatter})
    load_ipython_extension(SimpleNamespace(display_formatter=display))
    return formatter


@pytest.fixture(scope="module")
def acquisition():
    parameters = {"TI": torch.tensor(0.5, dtype=torch.float64)}
    return pulseq_zero.ImagingModel(inversion_recovery, one_voxel(), matrix=(8, 1))(parameters)


def test_an_optimization_shows_its_result_and_how_far_it_is(show, capsys):
    start = pulseq_zero.Parameter(0.9, learning_rate=0.1)
    result = pulseq_zero.optimize(
        inversion_recovery, negative_signal_loss, {"TI": start}, one_voxel(), matrix=(8, 1),
        iterations=3,
    )  # fmt: skip
    page = show(result)
    assert f"best (iteration {result.best_iteration})" in page
    assert f"{float(result.best['TI']):.5g}" in page
    assert "<img" in page
    line = capsys.readouterr().err.split("\r")[-1]
    assert "3/3" in line
    assert f"loss={result.history['loss'].iloc[-1]:.5g}" in line
    assert f"TI={float(result.last['TI']):.5g}" in line
    assert "<" in line  # time used < time left


def test_what_was_simulated_is_shown(show, acquisition):
    for thing in (acquisition, acquisition.simulation):
        page = show(thing)
        assert f"<td>{len(acquisition.signal)}</td>" in page
        assert "<img" in page
    page = show(acquisition.repetitions)
    assert "inversion pulses" in page
    assert "<img" in page


def test_a_phantom_shows_its_tissues(show, small_brain):
    page = show(small_brain)
    assert all(f"<th>{tissue}</th>" in page for tissue in small_brain.pools)
    assert "T1 [s]" in page
    assert "<td>4.3</td>" in page  # T1 of CSF
    assert "<img" in page


def test_checked_gradients_show_the_worst_first(show):
    flip = {"flip": torch.tensor(1.2, dtype=torch.float64)}
    report = pulseq_zero.check_gradients(inversion_recovery, flip)
    page = show(report)
    assert f"worst error: {report.worst:.2g}" in page
    assert "rf signal" in page


def test_figures_are_closed_and_the_notebook_s_own_are_left_to_it(show, acquisition):
    import matplotlib.pyplot as plt

    own = plt.figure()
    before = plt.get_fignums()
    show(acquisition)
    assert own.number in before
    assert plt.get_fignums() == before
    plt.close(own)
