"""What a simulation takes, refuses, falls back to, and says about itself."""

import dataclasses
import math

import pytest
import torch

from pulseq_zero.errors import SimulationError
from pulseq_zero.simulation import Simulator, Thresholds, converged_accuracy, simulate
from pulseq_zero.simulation.mrzero import compute_graph, rotation_table
from pulseq_zero.simulation.pdg import main_pass
from support.sequences import CASES, Writer, phantom, turbo_spin_echo


def norm(tensor: torch.Tensor) -> float:
    return float(tensor.abs().square().sum().sqrt())


def test_full_excitation_measures_the_proton_density():
    write = Writer()
    write.pulse(90, 90, "excitation")
    write.sample(1e-9, 0.0)
    data = phantom(8)
    data.B1, data.T2dash = torch.ones_like(data.B1), torch.full_like(data.T2dash, 1e3)
    signal = simulate(write.finish(), data).signal
    assert float(signal[0, 0].abs()) == pytest.approx(float(data.PD.sum()), rel=1e-4)


def test_looser_accuracy_leaves_out_more_and_says_so():
    data, repetitions = phantom(12, shape="box"), CASES["tse"](12)
    tight, loose = (simulate(repetitions, data, a) for a in (1e-4, 1e-1))
    change = norm(tight.signal - loose.signal) / norm(tight.signal)
    assert loose.states < tight.states
    assert loose.error.neglected_states > tight.error.neglected_states
    assert 1e-5 < change < 1e-1


@pytest.mark.parametrize("shape", ["sinc", "box"])
@pytest.mark.parametrize("case", ["tse", "tse 180", "epi", "gre", "bssfp"])
def test_the_accuracy_is_the_error_and_what_is_left_out_tells_it(case, shape):
    data = phantom(10, shape=shape)
    data.T2[::7] = 1.5  # fluid, far from the mean
    repetitions = turbo_spin_echo(16, 180.0) if case == "tse 180" else CASES[case](12)
    exact = simulate(repetitions, data, 1e-9).signal
    for accuracy in (1e-2, 1e-3, 1e-4):
        result = simulate(repetitions, data, accuracy)
        error = norm(result.signal - exact) / norm(exact)
        assert error < 3 * accuracy
        assert abs(result.error.neglected_states - error) < 0.3 * accuracy


@pytest.mark.parametrize("accuracy", [1e-2, 1e-3, 1e-4])
def test_voxels_far_from_all_others_count(accuracy):
    repetitions, data = turbo_spin_echo(16, 180.0), phantom(12)
    data.B1 = torch.ones_like(data.B1)
    data.B1[:, ::9] = 0.6
    result = simulate(repetitions, data, accuracy)
    exact = simulate(repetitions, data, 1e-9).signal
    assert norm(result.signal - exact) < 5 * accuracy * norm(exact)


def test_what_is_left_out_is_told_where_states_are_too_many():
    """Radial readouts without spoiling: no two states come together."""
    repetitions, data = CASES["radial"](24), phantom(12)
    few = Thresholds(max_state_count=50, min_emitted_signal=1e-4, min_latent_signal=1e-4)
    result = Simulator(data, thresholds=few)(repetitions)
    exact = simulate(repetitions, data, 1e-5).signal
    error = norm(result.signal - exact) / norm(exact)
    assert error > 1e-3
    assert 0.2 * error < result.error.neglected_states < 2 * error


def test_diffusion_bound_holds_and_is_kept():
    repetitions = CASES["spiral"](12)
    repetitions = dataclasses.replace(repetitions, event_time=10 * repetitions.event_time)
    data = phantom(12, shape="point")
    data.D = 1000 * data.D
    thresholds = Thresholds(min_emitted_signal=1e-3, min_latent_signal=1e-3)
    for accuracy in (1e-1, 1e-2):
        graph = compute_graph(repetitions, data, thresholds, rotation_table(data))
        ours = Simulator(data, accuracy, thresholds=thresholds)(repetitions, graph)
        reference = Simulator(data, engine="mrzero", thresholds=thresholds)(repetitions, graph)
        error = norm(ours.signal - reference.signal) / norm(reference.signal)
        assert ours.error.diffusion <= 0.1 * accuracy
        assert error <= ours.error.diffusion + 1e-5


def test_converged_accuracy():
    data, repetitions = phantom(10, shape="box"), CASES["tse"](10)
    found = converged_accuracy(repetitions, data, change=1e-3, start=0.3)
    assert found.accuracy < 0.3
    at, half, quarter = (simulate(repetitions, data, found.accuracy / f).signal for f in (1, 2, 4))
    changes = [norm(at - finer) / norm(finer) for finer in (half, quarter)]
    assert found.change == pytest.approx(max(changes), rel=1e-3)
    assert found.change <= 1e-3
    converged = converged_accuracy(repetitions, data, change=1e-3, start=found.accuracy)
    assert (converged.accuracy, converged.change) == (found.accuracy, found.change)
    assert torch.equal(found.signal, at)
    with pytest.raises(SimulationError, match="still changes"):
        converged_accuracy(repetitions, data, change=1e-9, start=0.3, smallest=0.2)


def test_an_image_that_is_not_finite_is_no_lack_of_accuracy():
    data, repetitions = phantom(10, shape="box"), CASES["tse"](10)
    with pytest.raises(SimulationError, match=r"not finite at accuracy 0\.3; check how it is made"):
        converged_accuracy(repetitions, data, start=0.3, image=lambda signal: signal / 0)


def train_of_different_intervals(pulses=9):
    """Stimulated echoes of all orders: no two of (3^n - 1) / 2 states come together."""
    write = Writer()
    for number in range(pulses):
        write.pulse(50.0, 0.0, "undefined")
        write.wait(1e-3 * 1.37**number, kx=40.0 * 1.7**number)
        for _ in range(4):
            write.sample(1e-4, kx=5.0)
    return write.finish()


def test_states_that_are_cut_off_are_never_missing_unnoticed():
    data, repetitions = phantom(8, shape="box"), train_of_different_intervals()
    few = dataclasses.replace(Thresholds.of_accuracy(1e-4), max_state_count=30)
    exact = simulate(repetitions, data, 1e-6)
    assert exact.error.cut_states == 0
    with pytest.warns(UserWarning, match="more states than are followed; spoil what need"):
        result = Simulator(data, 1e-4, thresholds=few)(repetitions)
    error = norm(result.signal - exact.signal) / norm(exact.signal)
    assert 1e-3 < error < 3 * result.error.cut_states


def test_an_image_does_not_converge_where_states_are_cut_off(monkeypatch):
    cut = dataclasses.replace(Thresholds.of_accuracy(1e-2), max_state_count=30)
    monkeypatch.setattr(Thresholds, "of_accuracy", lambda accuracy: cut)
    with (
        pytest.warns(UserWarning),
        pytest.raises(SimulationError, match=r"cannot be told to 0\.001"),
    ):
        converged_accuracy(train_of_different_intervals(), phantom(8, shape="box"), change=1e-3)


def test_simulators_share_a_graph():
    """Differences between nearly equal phantoms are then those of the phantoms."""
    data, repetitions = phantom(12, shape="box"), CASES["tse"](12)
    graph = Simulator(data, 1e-2).graph(repetitions)
    step = 1e-3

    def signal(change, accuracy, **options):
        changed = phantom(12, shape="box")
        changed.T2 = changed.T2 * (1 + change)
        simulator = Simulator(changed, accuracy, dtype=torch.float64)
        return simulator(repetitions, **options).signal

    exact = signal(step, 1e-6) - signal(-step, 1e-6)
    shared = signal(step, 1e-2, graph=graph) - signal(-step, 1e-2, graph=graph)
    assert norm(shared - exact) < 2e-2 * norm(exact)
    with pytest.raises(SimulationError, match="the graph has 14 repetitions, but the sequence 12"):
        Simulator(data, 1e-2)(CASES["gre"](12), graph)
    with pytest.raises(SimulationError, match="needs a graph of MRzeroCore"):
        Simulator(data, 1e-2, engine="mrzero")(repetitions, graph)


def test_shims_weight_the_transmit_channels():
    data = phantom(10, transmitters=3, complex_b1=True)
    repetitions = CASES["bssfp"](10)
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(3, dtype=torch.complex64, generator=generator)
    combined = phantom(10, transmitters=3, complex_b1=True)
    combined.B1 = (weights[:, None] * data.B1).sum(0, keepdim=True)
    shim = weights.expand(len(repetitions.pulse_use), 3).clone()
    for engine in ("pdg", "mrzero"):
        thresholds = Thresholds(min_emitted_signal=1e-3, min_latent_signal=1e-3)
        simulator = Simulator(data, engine=engine, thresholds=thresholds)
        graph = compute_graph(repetitions, combined, thresholds, rotation_table(combined))
        signal = simulator(dataclasses.replace(repetitions, shim=shim), graph).signal
        expected = Simulator(combined, thresholds=thresholds)(repetitions, graph).signal
        assert norm(signal - expected) < 1e-4 * norm(expected), engine


def test_the_prepass_sees_each_repetitions_shim():
    """Of two opposite channels, each repetition drives one: their sum would do nothing."""
    data = phantom(10, transmitters=2)
    data.B1 = torch.stack([data.B1[0], -data.B1[0]])
    repetitions = CASES["tse"](10)
    shim = torch.zeros(len(repetitions.pulse_use), 2, dtype=torch.complex64)
    shim[::2, 0], shim[1::2, 1] = 1.0, -1.0
    alone = phantom(10)
    alone.B1 = data.B1[:1]
    expected = simulate(repetitions, alone, 1e-3).signal
    signal = simulate(dataclasses.replace(repetitions, shim=shim), data, 1e-3).signal
    assert norm(signal - expected) < 2e-3 * norm(expected)


def test_gradients_of_shims():
    data, repetitions = phantom(8, transmitters=2, complex_b1=True), CASES["gre"](6)
    repetitions = repetitions.map(lambda t: t.double() if t.is_floating_point() else t)
    generator = torch.Generator().manual_seed(0)
    shim = 1 + 0.3 * torch.randn(6, 2, dtype=torch.complex128, generator=generator)
    thresholds = Thresholds.of_accuracy(1e-3)
    graph = compute_graph(repetitions, data, thresholds, rotation_table(data))
    simulator = Simulator(data, dtype=torch.float64)

    def loss(weights):
        return simulator(dataclasses.replace(repetitions, shim=weights), graph).signal.abs().sum()

    leaf = shim.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(leaf), leaf)
    direction = torch.randn(6, 2, dtype=torch.complex128, generator=generator)
    step = 1e-6
    expected = (loss(shim + step * direction) - loss(shim - step * direction)) / (2 * step)
    actual = (gradient.conj() * direction).real.sum()
    assert float(actual) == pytest.approx(float(expected), rel=1e-5)


def test_initial_magnetisation():
    data, repetitions = phantom(8), CASES["gre"](8)
    initial = torch.linspace(-1, 1, data.PD.numel()).to(torch.complex64)
    thresholds = Thresholds()
    graph = compute_graph(repetitions, data, thresholds, rotation_table(data))
    ours, reference = (
        Simulator(data, engine=engine, thresholds=thresholds, initial=initial)(
            repetitions, graph
        ).signal
        for engine in ("pdg", "mrzero")
    )
    relaxed = Simulator(data, thresholds=thresholds)(repetitions, graph).signal
    assert norm(ours - reference) < 1e-5 * norm(reference)
    assert norm(ours - relaxed) > 0.1 * norm(relaxed)


def test_moving_phantoms_go_to_mrzerocore():
    data, repetitions = phantom(6), CASES["epi"](6)

    def still(time):
        return torch.eye(3).expand(len(time), 3, 3), torch.zeros(len(time), 3)

    expected = simulate(repetitions, data).signal
    data.phantom_motion = still
    with pytest.warns(UserWarning, match="moves"):
        result = simulate(repetitions, data)
    assert result.engine == "mrzero"
    assert norm(result.signal - expected) < 1e-4 * norm(expected)


def test_kept_matrices_follow_the_bound():
    data, repetitions = phantom(16), CASES["radial"](16)
    for memory, expected in ((2**20, 2**19), (2**28, 2**27)):
        simulator = Simulator(data, memory=memory)
        simulator(repetitions)
        kept = simulator._sampler._cache._matrices.values()
        assert 0 < sum(m.numel() * m.element_size() for m in kept) <= expected


@pytest.mark.parametrize("case", ["tse", "epi", "radial"])
def test_the_signal_does_not_depend_on_what_was_simulated_before(case):
    data, repetitions = phantom(12), CASES[case](12)
    used = Simulator(data)
    for change in (1e-7, 1e-6, -1e-6, 1e-5):
        # Readouts this close would share their matrices within one sequence
        close = dataclasses.replace(
            repetitions, gradient_moment=(1 + change) * repetitions.gradient_moment
        )
        used(close)
    assert torch.equal(used(repetitions).signal, Simulator(data)(repetitions).signal)


def test_sequences_without_samples_have_an_empty_signal():
    write = Writer()
    write.pulse(90, 0, "excitation")
    write.wait(1e-3)
    assert simulate(write.finish(), phantom(4)).signal.shape == (0, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"accuracy": 0.0}, "accuracy"),
        ({"dtype": torch.float16}, "dtype"),
        ({"engine": "bloch"}, "engine"),
        ({"memory": 10}, "memory"),
        ({"engine": "mrzero", "dtype": torch.float64}, "float32"),
    ],
)
def test_options_that_cannot_be_meant(options, message):
    with pytest.raises(SimulationError, match=message):
        Simulator(phantom(4), **options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_missing_gpu_is_named():
    with pytest.raises(SimulationError, match="no GPU"):
        Simulator(phantom(4), device="cuda")


def test_what_is_not_finite_is_named():
    repetitions, data = CASES["gre"](4), phantom(4)
    broken = dataclasses.replace(repetitions, pulse_angle=repetitions.pulse_angle * math.nan)
    with pytest.raises(SimulationError, match="pulse_angle"):
        simulate(broken, data)
    with pytest.raises(SimulationError, match="negative"):
        simulate(dataclasses.replace(repetitions, event_time=-repetitions.event_time), data)
    data.B0[0] = math.nan
    with pytest.raises(SimulationError, match="B0"):
        simulate(repetitions, data)


def test_magnetisation_at_the_adc():
    data, repetitions = phantom(10, coils=2, shape="box"), CASES["tse"](8)
    simulator = Simulator(data)
    signal = simulator(repetitions).signal
    first = 0
    for repetition, count in enumerate(repetitions.event_count):
        start = repetitions.first_event[repetition]
        samples = int(repetitions.is_sample[start : start + count].sum())
        found = simulator.magnetisation(repetitions, repetition)
        assert found.shape == (samples, data.PD.numel())
        expected = signal[first : first + samples]
        torch.testing.assert_close(found @ data.coil_sens.T, expected, rtol=1e-3, atol=1e-4)
        first += samples
    with pytest.raises(SimulationError, match="no repetition"):
        simulator.magnetisation(repetitions, 99)


@pytest.mark.parametrize("when", ["before the readouts", "in one readout"])
def test_gradients_of_moving_events_do_not_need_those_of_the_others(when):
    repetitions = CASES["epi"](12)
    moving = torch.zeros(len(repetitions.event_time), dtype=torch.bool)
    readout = repetitions.first_event[-1]
    moving[readout if when == "before the readouts" else readout + 40] = True

    def gradient(known):
        time = repetitions.event_time.clone().requires_grad_()
        sequence = dataclasses.replace(repetitions, event_time=time, moving=known)
        simulate(sequence, phantom(12)).signal.abs().square().sum().backward()
        return time.grad[moving]

    assert gradient(None).abs().min() > 0
    torch.testing.assert_close(gradient(moving), gradient(None), rtol=1e-6, atol=0.0)


def test_encodings_that_fit_into_the_memory_are_made_once(monkeypatch):
    made = []
    plain = main_pass.encoding_matrix
    monkeypatch.setattr(
        main_pass, "encoding_matrix", lambda *given, **how: made.append(1) or plain(*given, **how)
    )
    spokes = CASES["radial"](32)
    moved = dataclasses.replace(
        spokes, gradient_moment=spokes.gradient_moment.clone().requires_grad_()
    )
    simulator = Simulator(phantom(96), 1e-2)
    for _ in range(2):
        before = len(made)
        simulator(moved).signal.abs().sum().backward()
    assert before > 0
    assert len(made) == before
