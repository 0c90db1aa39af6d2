"""Pulse diagram and k-space of sequences whose times are known."""

from contextlib import nullcontext

import numpy as np
import pypulseq as pp
import pytest

from pulseq_zero.conversion import convert
from pulseq_zero.figures.sequence import (
    kspace_figure,
    kspace_figures,
    pulse_diagram,
    pulse_diagrams,
)
from pulseq_zero.figures.style import column

SYSTEM = pp.Opts(rf_ringdown_time=0.0, rf_dead_time=0.0, adc_dead_time=0.0)


def echoes(TE, lines, TR=3.0, along_z=0.0):
    """Spin echoes, a line of k-space each; a preparation comes first."""
    seq = pp.Sequence(SYSTEM)
    gx = pp.make_trapezoid("x", flat_area=160, flat_time=3.2e-3, system=SYSTEM)
    adc = pp.make_adc(16, duration=gx.flat_time, delay=gx.rise_time, system=SYSTEM)
    seq.add_block(pp.make_block_pulse(np.pi, duration=1e-3, system=SYSTEM, use="inversion"))
    seq.add_block(pp.make_delay(0.5))
    for line in range(lines):
        seq.add_block(pp.make_block_pulse(1.5, duration=1e-3, system=SYSTEM, use="excitation"))
        moments = [pp.make_trapezoid("y", area=100 * line, duration=2e-3, system=SYSTEM)]
        if along_z:
            moments.append(
                pp.make_trapezoid("z", area=along_z * line, duration=2e-3, system=SYSTEM)
            )
        seq.add_block(*moments)
        seq.add_block(pp.make_delay(TE - 2.5e-3 - pp.calc_duration(gx) / 2))
        seq.add_block(gx, adc)
        seq.add_block(pp.make_delay(TR - TE))
    return seq, pp.calc_duration(gx)


@pytest.mark.parametrize("TE", [0.02, 0.236])
def test_the_zoom_goes_from_the_excitation_to_the_end_of_the_readout(TE):
    sequence, readout = echoes(TE, lines=2)
    figure = pulse_diagram(sequence, "title")
    zoom = figure.subfigs[1].axes[-1]
    begin = 0.501
    assert zoom.get_xlabel() == f"Time after {begin:g} s [ms]"
    end = TE + 0.5e-3 + readout / 2
    assert zoom.get_xlim() == pytest.approx((0, 1e3 * end))
    assert [axes.get_ylabel() for axes in figure.subfigs[1].axes][1] == "RF phase"


def test_without_uses_the_zoom_begins_at_the_excitation():
    """Files of before 1.5 have none: the angle tells a pulse of 90° from one of 180°."""
    seq = pp.Sequence(SYSTEM)
    for angle in (np.pi, np.pi / 2, np.pi):
        seq.add_block(pp.make_block_pulse(angle, duration=1e-3, system=SYSTEM, use="undefined"))
        seq.add_block(pp.make_delay(0.01))
    seq.add_block(pp.make_adc(16, dwell=1e-4, system=SYSTEM))
    zoom = pulse_diagram(seq, "title").subfigs[1].axes[-1]
    assert zoom.get_xlabel() == "Time after 0.011 s [ms]"
    assert zoom.get_xlim() == pytest.approx((0, 22.0 + 1.6))


def test_each_readout_is_one_bar_from_its_first_sample_to_its_last():
    sequence, _ = echoes(0.02, lines=2)
    whole = pulse_diagram(sequence, "title").subfigs[0].axes[-1]
    (bars,) = whole.collections
    found = [path.get_extents().intervalx for path in bars.get_paths()]
    assert whole.get_xlabel() == "Time [s]"
    # The echo is in the middle of the samples, which are in the middle of their 0.2 ms
    first = 0.501 + 0.5e-3 + 0.02 - 1.5e-3
    np.testing.assert_allclose(found[0], [first, first + 3e-3], rtol=1e-6)
    np.testing.assert_allclose(np.diff(found), 3e-3, rtol=1e-6)


def test_of_a_train_further_readouts_are_shown():
    sequence, readout = echoes(0.02, lines=5, TR=0.025)
    zoom = pulse_diagram(sequence, "title").subfigs[1].axes[-1]
    first = 0.02 + 0.5e-3 + readout / 2
    _, end = zoom.get_xlim()
    assert 2e3 * first < end <= 3e3 * first


def test_the_order_along_z_is_shown_where_there_is_one():
    flat, _ = echoes(0.02, lines=2)
    assert len(kspace_figure(convert(flat), "title").axes) == 3
    deep, _ = echoes(0.02, lines=2, along_z=50.0)
    figure = kspace_figure(convert(deep), "title")
    order = next(axes for axes in figure.axes if axes.get_ylabel() == "$k_z$ [1/m]")
    places = order.collections[0].get_offsets()
    assert places[:, 0].tolist() == list(range(1, 33))
    assert places[-1, 1] - places[0, 1] == pytest.approx(50, rel=1e-3)


@pytest.mark.parametrize("narrow", [False, True])
def test_of_several_sequences_each_is_drawn(narrow):
    made = {"short": echoes(0.02, lines=2)[0], "long": echoes(0.2, lines=3)[0]}
    with column() if narrow else nullcontext():
        pulses = pulse_diagrams(made, "title")
        kspace = kspace_figures({name: convert(each) for name, each in made.items()}, "title")
    parts = pulses.subfigs
    titles = [part.axes[0].get_title() for part in parts]
    assert titles == [
        f"{name}: {what}"
        for name in made
        for what in ("Whole sequence", "From excitation to readout")
    ]
    # As long as each lasts
    wholes = [part.axes[-1].get_xlim()[1] for part in parts[::2]]
    assert wholes == pytest.approx([float(each.duration()[0]) for each in made.values()])
    samples = {
        axes.get_title(): len(axes.collections[0].get_offsets())
        for part in kspace.subfigs
        for axes in part.axes
        if axes.get_title().endswith("Samples")
    }
    assert samples == {"short: Samples": 32, "long: Samples": 48}
