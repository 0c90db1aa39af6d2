"""The prepass, beside MRzeroCore's and by itself."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch

from pulseq_zero.simulation import Thresholds
from pulseq_zero.simulation.mrzero import compute_graph, rotation_table, select_states
from pulseq_zero.simulation.pdg.graph import KINDS
from pulseq_zero.simulation.pdg.prepass import make_graph
from pulseq_zero.simulation.pdg.representatives import Representatives
from pulseq_zero.simulation.pdg.timeline import Integrals
from support.sequences import CASES, Writer, fingerprinting, phantom


def ours(repetitions, data, thresholds):
    voxels = Representatives.of(data)
    return make_graph(repetitions, Integrals.of(repetitions), data, voxels, thresholds)


def edges_of(graph):
    """List each repetition's edges as kind and type of ancestor, whatever the states' order."""
    begin = np.searchsorted(graph.repetition[graph.target], np.arange(len(graph.count) + 1))
    return [sorted(KINDS[kind] for kind in graph.kind[a:b]) for a, b in itertools.pairwise(begin)]


@pytest.mark.parametrize("case", CASES)
def test_all_states_and_edges_are_those_of_mrzerocore(case):
    data, repetitions = phantom(16), CASES[case](5)
    everything = Thresholds(10000, 0.0, 0.0, 0.0)
    graph = ours(repetitions, data, everything)
    theirs = select_states(
        compute_graph(repetitions, data, everything, rotation_table(data)), everything
    )
    assert graph.count.tolist() == theirs.count.tolist()
    assert graph.transverse.tolist() == theirs.transverse.tolist()
    assert edges_of(graph) == edges_of(theirs)


def test_it_repeats_exactly_and_in_the_order_of_the_sequence_alone():
    data, thresholds = phantom(16, shape="box"), Thresholds.of_accuracy(1e-4)
    first, second = (ours(CASES["tse"](16), data, thresholds) for _ in range(2))
    assert first.same_structure(second)


def test_more_states_for_more_accuracy_up_to_the_largest_number():
    data, repetitions = phantom(16, shape="box"), CASES["tse"](16)
    counts = [
        len(ours(repetitions, data, Thresholds.of_accuracy(a)).emits) for a in (1e-1, 1e-2, 1e-3)
    ]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]
    few = dataclasses.replace(Thresholds.of_accuracy(1e-3), max_state_count=3)
    assert int(ours(repetitions, data, few).count.max()) <= 2 * 3 + 1


def test_echoes_of_equal_pulses_come_together():
    """Hahn echo, stimulated echo and three more after three pulses: Hahn 1950."""
    write = Writer()
    for wait in (1e-2, 3e-2, 7e-2):
        write.pulse(60, 0, "undefined")
        write.wait(wait, kx=1e4 * wait)
    repetitions = write.finish(torch.float64)
    data = phantom(8, shape="box")
    everything = Thresholds(
        min_state_magnetisation=0.0, min_emitted_signal=0.0, min_latent_signal=0.0
    )
    graph = ours(repetitions, data, everything)
    # +, z0; then +k, -k, 0 transverse and longitudinal k, -k, 0; then 3 of each as (3^n ± 1) / 2
    assert graph.transverse.tolist() == [1, 4 - 1, 13 - 4]
    assert len(edges_of(graph)) == 3


def test_negative_angles_turn_the_other_way():
    data = phantom(8)
    table = rotation_table(data)
    thresholds = Thresholds.of_accuracy(1e-3)
    graphs = []
    for sign, phase in ((1, 0.0), (-1, 180.0)):
        write = Writer()
        write.pulse(sign * 70, phase, "excitation")
        write.wait(1e-2, kx=100.0)
        write.pulse(sign * 130, phase, "refocusing")
        write.wait(1e-2, kx=50.0)
        write.sample(1e-5, 50.0)
        graphs.append(ours(write.finish(torch.float64), data, thresholds))
    assert graphs[0].same_structure(graphs[1])
    assert float(table[270, 0]) < 0 < float(table[90, 0])
    assert math.isclose(float(table[90, 0]), 1.0, abs_tol=0.1)


def test_rounding_of_the_moments_splits_no_state():
    data, thresholds = phantom(16), Thresholds.of_accuracy(1e-4)
    exact = CASES["tse"](16)
    random = np.random.default_rng(0)
    error = 1 + 1e-6 * torch.from_numpy(random.uniform(-1, 1, exact.gradient_moment.shape))
    rounded = dataclasses.replace(
        exact, gradient_moment=(exact.gradient_moment * error).to(exact.gradient_moment.dtype)
    )
    one, other = (ours(r, data, thresholds) for r in (exact, rounded))
    assert other.count.tolist() == one.count.tolist()
    assert edges_of(other) == edges_of(one)


def nine_voxels(off_resonance: float):
    """Return voxels of all kinds, whose B0 and decay by T2' are scaled."""
    data = phantom(3)
    few = torch.arange(9) % len(data.PD)
    for name in ("PD", "T1", "T2", "T2dash", "D", "B0", "voxel_pos"):
        setattr(data, name, getattr(data, name)[few])
    data.B1, data.coil_sens = data.B1[:, few], data.coil_sens[:, few]
    data.B0, data.T2dash = off_resonance * data.B0, data.T2dash / max(off_resonance, 1e-9)
    return data


def test_what_a_phantom_cannot_tell_apart_comes_together():
    """A train of 300 repetitions that are all different; without off-resonance times are alike."""
    repetitions, thresholds = fingerprinting(300), Thresholds.of_accuracy(1e-3)
    graph = ours(repetitions, nine_voxels(0.0), thresholds)
    assert graph.cut == 0
    assert len(graph.emits) < 20_000
    few = fingerprinting(12)
    counts = [
        len(ours(few, nine_voxels(scale), thresholds).emits) for scale in (0.0, 1e-3, 1e-2, 1e-1, 1)
    ]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1] / 2
