"""Pulses as they are played, against Bloch's equation, finite differences, and each other."""

import dataclasses

import numpy as np
import pypulseq as pp
import pytest
import torch

from pulseq_zero.conversion import SequenceModel, convert
from pulseq_zero.errors import SimulationError
from pulseq_zero.phantom import Phantom, TissuePool
from pulseq_zero.simulation import Simulator
from pulseq_zero.simulation.pdg import pulse_tables
from pulseq_zero.simulation.pdg.propagation import TorchBackend
from pulseq_zero.simulation.pdg.pulse_families import Family
from support.definition import Spins, play

SYSTEM = pp.Opts(max_grad=40, grad_unit="mT/m", max_slew=150, slew_unit="T/m/s", B0=3)
OFFSETS, FIELDS = np.linspace(-200, 200, 5), np.linspace(0.6, 1.4, 5)


def phantom(thickness=1e-3, B0=(0.0,), B1=(1.0,), T1=1e9, T2=1e9, T2dash=1e9, D=0.0, PD=None):
    """Make box voxels in a row along x."""

    def column(values):
        return torch.tensor(np.asarray(values, dtype=float))[:, None]

    count = max(len(B0), len(B1))
    B0, B1 = np.broadcast_to(B0, count), np.broadcast_to(B1, count)
    PD = torch.ones(count, 1) if PD is None else column(PD)
    pool = TissuePool.of(PD, T1, T2, T2dash, D, column(B0), column(B1).to(torch.complex64))
    return Phantom({"tissue": pool}, {}, (1e-3 * count, 1e-3), thickness).simulation_data("box")


def bloch(sequence, data, spins=1, step=4e-6, axis=2):
    """Play a sequence to spins along an axis of each voxel; as the simulation turns samples."""
    size = 0.5 / float(data.nyquist[axis])
    along = (np.arange(spins) + 0.5) / spins * size - size / 2
    total = 0
    for voxel, place in enumerate(data.voxel_pos.double().numpy()):
        places = np.tile(place, (spins, 1))
        places[:, axis] += along if spins > 1 else 0.0
        weight = float(data.PD[voxel]) / spins
        those = Spins(
            places,
            frequencies=float(data.B0[voxel]),
            T1=float(data.T1[voxel]),
            T2=float(data.T2[voxel]),
            B1=complex(data.B1[0, voxel]),
            coil=weight,
        )
        total = total + np.array(play(sequence, those, step=step))
    return 1j * total


def played(sequence, data, accuracy=1e-4, **options):
    repetitions = convert(sequence, pulses="played")
    return Simulator(data, accuracy, **options)(repetitions).signal[:, 0].numpy()


def distance(one, other):
    return np.linalg.norm(one - other) / np.linalg.norm(other)


def adc(samples=4, **options):
    return pp.make_adc(samples, dwell=1e-4, system=SYSTEM, **options)


def after(*pulses):
    """Play pulses one after the other, and sample."""
    sequence = pp.Sequence(SYSTEM)
    for pulse in pulses:
        sequence.add_block(pulse)
    sequence.add_block(adc())
    return sequence


def selective(flip, use, duration=3e-3, thickness=5e-3, **options):
    return pp.make_sinc_pulse(
        flip,
        system=SYSTEM,
        duration=duration,
        slice_thickness=thickness,
        apodization=0.5,
        time_bw_product=4,
        return_gz=True,
        use=use,
        **options,
    )


def echoes(
    flip=1.5, refocusing=2.4, phase=0.3, area=1200.0, wait=2.5e-3, thickness=5e-3, shape=None
):
    """Three echoes of selective pulses, with crushers, that are no CPMG train."""
    sequence = pp.Sequence(SYSTEM)
    rf, gz, rewinder = selective(flip, "excitation", thickness=thickness, phase_offset=np.pi / 2)
    again, slab, _ = selective(refocusing, "refocusing", phase_offset=phase)
    if shape is not None:
        again.signal = again.signal * shape
    crusher = pp.make_trapezoid("z", area=area, system=SYSTEM, duration=2e-3)
    spoiler = pp.make_trapezoid("x", area=300.0, system=SYSTEM, duration=2e-3)
    delay = pp.make_delay(wait)
    sequence.add_block(rf, gz)
    sequence.add_block(rewinder)
    for _ in range(3):
        sequence.add_block(delay, spoiler)
        sequence.add_block(crusher)
        sequence.add_block(again, slab)
        sequence.add_block(crusher)
        sequence.add_block(delay, spoiler)
        sequence.add_block(adc())
    return sequence


def block(flip, **options):
    return pp.make_block_pulse(flip, system=SYSTEM, use="excitation", **options)


SINGLE = {
    "hard": after(block(1.2, duration=1e-3)),
    "hard, off resonance": after(block(1.2, duration=1e-3, freq_offset=150, phase_offset=0.4)),
    "sinc": after(
        pp.make_sinc_pulse(
            np.pi / 2, duration=3e-3, time_bw_product=4, system=SYSTEM, use="excitation"
        )
    ),
    "fat saturation": after(
        pp.make_gauss_pulse(
            1.9, duration=8e-3, bandwidth=400, freq_offset=-440, system=SYSTEM, use="saturation"
        )
    ),
    "fat saturation at 1.5 T": after(
        pp.make_gauss_pulse(
            1.9, duration=16e-3, bandwidth=200, freq_offset=-220, system=SYSTEM, use="saturation"
        )
    ),
    "asymmetric": after(
        pp.make_arbitrary_rf(
            np.exp(-np.linspace(0, 4, 300)) * np.sin(np.linspace(0, 9, 300)) * np.exp(1j),
            1.3,
            dwell=1e-5,
            system=SYSTEM,
            use="excitation",
        )
    ),
    "spin lock": after(
        block(np.pi / 2, duration=5e-4),
        block(2 * np.pi * 300 * 20e-3, duration=20e-3, phase_offset=-np.pi / 2),
        block(np.pi / 2, duration=5e-4, phase_offset=np.pi),
        pp.make_delay(1e-3),
        block(np.pi / 2, duration=2e-4),
    ),
    "adiabatic": after(
        pp.make_adiabatic_pulse("hypsec", duration=10e-3, system=SYSTEM, use="inversion"),
        pp.make_delay(1e-3),
        block(np.pi / 2, duration=2e-4),
    ),
    "MLEV-4": after(
        block(np.pi / 2, duration=5e-4),
        *(
            event
            for phase in (1, 1, 3, 3)
            for event in (
                pp.make_delay(4e-3),
                block(np.pi, duration=1e-3, phase_offset=phase * np.pi / 2),
                pp.make_delay(4e-3),
            )
        ),
        block(np.pi / 2, duration=5e-4, phase_offset=np.pi),
        pp.make_delay(1e-3),
        block(np.pi / 2, duration=2e-4),
    ),
}


@pytest.mark.parametrize("kind", SINGLE)
def test_single_spins_turn_as_bloch_has_it(kind):
    offsets = OFFSETS - 240 if kind == "fat saturation" else OFFSETS
    data = phantom(B0=offsets, B1=FIELDS)
    expected = bloch(SINGLE[kind], data)
    assert distance(played(SINGLE[kind], data), expected) < 1e-3


def off_centre():
    rf, gz, rewinder = selective(np.pi / 2, "excitation")
    rf.freq_offset = gz.amplitude * 2e-3
    sequence = pp.Sequence(SYSTEM)
    sequence.add_block(rf, gz)
    sequence.add_block(rewinder)
    sequence.add_block(adc())
    return sequence


def inversion():
    rf, gz, _ = pp.make_adiabatic_pulse(
        "hypsec", duration=10e-3, slice_thickness=6e-3, return_gz=True, system=SYSTEM,
        use="inversion",
    )  # fmt: skip
    sequence = pp.Sequence(SYSTEM)
    sequence.add_block(rf, gz)
    sequence.add_block(pp.make_trapezoid("z", area=-gz.area / 2, system=SYSTEM))
    sequence.add_block(block(1.0, duration=1e-4))
    sequence.add_block(adc())
    return sequence


def verse():
    """Play a pulse under a gradient that is weaker where the field is strong."""
    raster = SYSTEM.grad_raster_time
    time = (np.arange(200) + 0.5) * raster
    gradient = 3e5 + 2e5 * np.cos(2 * np.pi * time / 2e-3)
    gradient[:20] *= np.linspace(0, 1, 20)
    gradient[-20:] *= np.linspace(1, 0, 20)
    k = np.cumsum(gradient) * raster
    k -= k[-1] / 2
    field = gradient * np.sinc(k * 4e-3) * np.cos(np.pi * k / k[-1] / 2) ** 2
    rf = pp.make_arbitrary_rf(
        field, 1.2, dwell=raster, system=SYSTEM, use="excitation", return_gz=False
    )
    gz = pp.make_arbitrary_grad("z", gradient, first=0.0, last=0.0, system=SYSTEM)
    gz.delay = rf.delay
    sequence = pp.Sequence(SYSTEM)
    sequence.add_block(rf, gz)
    sequence.add_block(pp.make_trapezoid("z", area=-gz.area / 2, system=SYSTEM))
    sequence.add_block(adc())
    return sequence


def steady(balanced):
    rf, gz, rewinder = selective(0.5, "excitation", duration=2e-3)
    spoiler = pp.make_trapezoid("z", area=800, system=SYSTEM)
    sequence = pp.Sequence(SYSTEM)
    for number in range(12):
        phase = np.pi * number if balanced else np.deg2rad(117) * number * (number + 1) / 2
        rf.phase_offset = phase % (2 * np.pi)
        sequence.add_block(rf, gz)
        sequence.add_block(rewinder)
        sequence.add_block(adc(2, phase_offset=rf.phase_offset))
        sequence.add_block(rewinder if balanced else spoiler)
    return sequence


SLICES = {
    "echoes": (echoes, 1e-2),
    "off centre": (off_centre, 1.4e-2),
    "adiabatic inversion": (inversion, 1.2e-2),
    "VERSE": (verse, 1.6e-2),
    "spoiled": (lambda: steady(False), 1e-2),
    "balanced": (lambda: steady(True), 1e-2),
}


@pytest.mark.parametrize("kind", SLICES)
def test_slices_have_the_profile_of_bloch(kind):
    make, thickness = SLICES[kind]
    data = phantom(thickness, B0=(0.0, 60.0), B1=(1.0, 0.8))
    sequence = make()
    expected = bloch(sequence, data, spins=1201, step=1e-5)
    # Echoes of crushed states come from the edges of slice and voxel
    assert distance(played(sequence, data), expected) < (4e-3 if kind == "echoes" else 1e-3)


def test_each_layer_of_a_volume_sees_its_part_of_the_profile():
    data = phantom(2e-3, B0=np.zeros(6), PD=(1.0, 1.0, 2.0, 2.0, 3.0, 3.0))
    data.voxel_pos = torch.zeros(6, 3)
    data.voxel_pos[:, 2] = 2e-3 * (torch.arange(6) - 2.5)
    sequence = off_centre()
    expected = bloch(sequence, data, spins=301)
    assert distance(played(sequence, data), expected) < 1e-3


@pytest.mark.parametrize("angle", [0.4, 1.2])
def test_an_oblique_slice_of_turned_voxels_is_a_straight_one(angle):
    straight = phantom(B0=np.zeros(40))
    straight.voxel_pos = torch.zeros(40, 3)
    straight.voxel_pos[:, 2] = 0.3e-3 * (torch.arange(40) - 20)
    # Points: boxes do not turn with their places
    straight.nyquist = torch.full((3,), torch.inf)
    straight.dephasing_func = lambda k, _: torch.ones_like(k[:, 0])
    turned = phantom(B0=np.zeros(40))
    turned.nyquist, turned.dephasing_func = straight.nyquist, straight.dephasing_func
    turned.voxel_pos = torch.zeros(40, 3)
    turned.voxel_pos[:, 1] = -np.sin(angle) * straight.voxel_pos[:, 2]
    turned.voxel_pos[:, 2] = np.cos(angle) * straight.voxel_pos[:, 2]
    rf, gz, rewinder = selective(np.pi / 2, "excitation")
    signals = []
    for data, turn in ((straight, 0.0), (turned, angle)):
        sequence = pp.Sequence(SYSTEM)
        sequence.add_block(rf, *pp.rotate(gz, angle=turn, axis="x", system=SYSTEM))
        sequence.add_block(*pp.rotate(rewinder, angle=turn, axis="x", system=SYSTEM))
        sequence.add_block(adc())
        signals.append(played(sequence, data))
    assert distance(*signals) < 1e-3


def test_a_readout_along_the_slice_sees_its_profile():
    rf, gz, rewinder = selective(np.pi / 2, "excitation")
    sequence = pp.Sequence(SYSTEM)
    sequence.add_block(rf, gz)
    sequence.add_block(rewinder)
    readout = pp.make_trapezoid("z", flat_area=600, flat_time=1.6e-3, system=SYSTEM)
    before = pp.make_trapezoid("z", area=-readout.area / 2, system=SYSTEM)
    sequence.add_block(before)
    sequence.add_block(readout, adc(16, delay=readout.rise_time))
    data = phantom(1e-2, B0=(0.0, 40.0))
    assert distance(played(sequence, data), bloch(sequence, data, spins=1201)) < 1e-3


def test_pulses_that_take_no_time_are_rotations():
    sequence = after(block(1.2, duration=2e-6), pp.make_delay(3e-3), block(2.0, duration=2e-6))
    data = phantom(B0=OFFSETS, B1=FIELDS, T1=0.5, T2=0.05, T2dash=0.03)
    at_once = Simulator(data, 1e-4)(convert(sequence)).signal[:, 0].numpy()
    assert distance(played(sequence, data), at_once) < 2e-3


def test_they_need_hardly_more_states_than_rotations():
    data = phantom(8e-3, B0=(0.0, 30.0), B1=(1.0, 0.9), T1=1.0, T2=0.08)
    sequence = echoes()
    played_states = Simulator(data)(convert(sequence, pulses="played")).states
    assert played_states <= 1.5 * Simulator(data)(convert(sequence)).states


def test_both_backends_agree():
    data = phantom(8e-3, B0=(0.0, 30.0), B1=(1.0, 0.8), T1=1.0, T2=0.08, T2dash=0.05, D=2.0)
    precise = played(echoes(), data, dtype=torch.float64, backend=TorchBackend())
    assert distance(played(echoes(), data), precise) < 2e-6


def test_both_backends_agree_where_states_go_on_in_others():
    random = np.random.default_rng(0)
    sequence = pp.Sequence(SYSTEM)
    spoiler = pp.make_trapezoid("z", area=800, duration=2e-3, system=SYSTEM)
    for number in range(30):
        sequence.add_block(block(0.3 + 0.5 * abs(np.sin(number / 8)), duration=5e-4))
        sequence.add_block(adc(2))
        sequence.add_block(spoiler)
        sequence.add_block(pp.make_delay(6e-3 + 1e-5 * random.integers(300)))
    repetitions = convert(sequence, pulses="played")
    signals, slopes = [], []
    data = phantom(2e-3, B0=(0.0, 30.0, -20.0), B1=(1.0, 0.9, 1.1), T1=1.0, T2=0.08, T2dash=0.05)
    graph = Simulator(data, 1e-3).graph(repetitions)
    assert len(graph.hand_over.giver) > 100
    for dtype in (torch.float64, torch.float32):
        data.B0 = data.B0.detach().clone().requires_grad_()
        signal = Simulator(data, 1e-3, dtype=dtype)(repetitions, graph).signal
        (slope,) = torch.autograd.grad(signal.abs().sum(), data.B0)
        signals.append(signal.detach()[:, 0].numpy())
        slopes.append(slope)
    assert distance(signals[1], signals[0]) < 1e-5
    torch.testing.assert_close(slopes[1], slopes[0], rtol=1e-4, atol=1e-6)


# Gradients

START = {
    "flip": 1.5,
    "refocusing": 2.4,
    "phase": 0.3,
    "area": 1200.0,
    "wait": 2.5e-3,
    "thickness": 5e-3,
}
STEPS = {"flip": 1e-5, "refocusing": 1e-5, "phase": 1e-5, "area": 0.1, "wait": 1e-7}
STEPS["thickness"] = 1e-8
WEIGHT = torch.randn(12, generator=torch.Generator().manual_seed(1), dtype=torch.complex128)
MAPS = {"T1": 1e-3, "T2": 1e-5, "T2dash": 1e-5, "D": 1e-3, "B0": 1e-2, "B1": 1e-4}


def tissue():
    return phantom(
        8e-3, B0=(0.0, 30.0, -60.0), B1=(1.0, 0.8, 1.15), T1=1.0, T2=0.08, T2dash=0.05, D=2.0
    )


def loss(model, parameters, data, graph=None, dtype=torch.float64):
    simulator = Simulator(data, 1e-4, dtype=dtype)
    signal = simulator(model(parameters), graph).signal[:, 0]
    return (WEIGHT * signal.to(torch.complex128)).real.sum(), simulator


@pytest.fixture(scope="module")
def differentiated():
    """Both backends' gradients by everything, and how to evaluate the loss again."""
    # A rounded time has no slope for a finite difference
    model = SequenceModel(echoes, pulses="played", rounding="zero")
    random = np.random.default_rng(0)
    samples = len(echoes().get_block(5).rf.signal)
    values = {name: torch.tensor(value, dtype=torch.float64) for name, value in START.items()}
    values["shape"] = torch.from_numpy(1 + 0.01 * random.normal(size=samples))
    graph = Simulator(tissue(), 1e-4, dtype=torch.float64).graph(model(values))
    gradients = {}
    for dtype in (torch.float64, torch.float32):
        given = {name: value.clone().requires_grad_() for name, value in values.items()}
        data = tissue()
        for name in MAPS:
            setattr(data, name, getattr(data, name).clone().requires_grad_())
        loss(model, given, data, graph, dtype)[0].backward()
        gradients[dtype] = {name: value.grad for name, value in given.items()}
        gradients[dtype] |= {name: getattr(data, name).grad for name in MAPS}

    def at(changed, data=None):
        with torch.no_grad():
            return float(loss(model, {**values, **changed}, data or tissue(), graph)[0])

    return gradients, values, at


@pytest.mark.parametrize("name", [*START, "shape", *MAPS])
def test_compiled_gradients_are_those_of_torch(differentiated, name):
    gradients, _, _ = differentiated
    precise, found = gradients[torch.float64][name], gradients[torch.float32][name]
    assert float((found - precise).abs().max()) < 5e-5 * float(precise.abs().max())


@pytest.mark.parametrize("name", [*START, "shape"])
def test_gradients_are_finite_differences(differentiated, name):
    gradients, values, at = differentiated
    direction, step = torch.ones(()), STEPS.get(name, 1e-4)
    if name == "shape":
        direction = torch.randn(len(values[name]), generator=torch.Generator().manual_seed(2))
    above, below = (at({name: values[name] + way * step * direction}) for way in (1, -1))
    expected = float((gradients[torch.float64][name] * direction).sum())
    # What matters less than a tenth of the accuracy is differentiated along one path only
    assert (above - below) / (2 * step) == pytest.approx(expected, rel=3e-5)


@pytest.mark.parametrize("name", MAPS)
def test_gradients_by_maps_are_finite_differences(differentiated, name):
    gradients, _, at = differentiated
    losses = []
    for way in (1, -1):
        data = tissue()
        changed = getattr(data, name).clone()
        changed[..., 1] += way * MAPS[name]
        setattr(data, name, changed)
        losses.append(at({}, data))
    expected = float(gradients[torch.float64][name].real[..., 1].sum())
    found = (losses[0] - losses[1]) / (2 * MAPS[name])
    assert found == pytest.approx(expected, rel=5e-3)


def three(flips):
    sequence = pp.Sequence(SYSTEM)
    for number in range(3):
        rf, gz, rewinder = selective(flips[number], "excitation")
        sequence.add_block(rf, gz)
        sequence.add_block(rewinder)
        sequence.add_block(adc())
    return sequence


def test_flip_angles_of_zero_have_their_gradients():
    model = SequenceModel(three, pulses="played")
    data = phantom(8e-3)
    slopes = []
    for start in (0.0, 1e-3):
        flips = torch.full((3,), start, dtype=torch.float64, requires_grad=True)
        Simulator(data, 1e-4, dtype=torch.float64)(
            model({"flips": flips})
        ).signal.real.sum().backward()
        slopes.append(flips.grad)
    torch.testing.assert_close(slopes[0], slopes[1], rtol=1e-2, atol=1e-3)
    assert float(slopes[0].abs().min()) > 0.1


def counted(monkeypatch):
    """Count how often shapes are composed of their steps."""
    shapes, turned_by = [], pulse_tables.turned_by
    monkeypatch.setattr(
        pulse_tables, "turned_by", lambda *given: (shapes.append(given[0]), turned_by(*given))[1]
    )
    return shapes


def test_a_shape_is_composed_once_however_its_flip_angles_change(monkeypatch):
    shapes, data = counted(monkeypatch), phantom(8e-3)
    model, simulator = SequenceModel(three, pulses="played"), Simulator(data, 1e-4)
    for flips in ([0.3, 0.5, 0.9], [0.31, 0.52, 0.88], [0.33, -0.87, 0.0]):
        kept = simulator(model({"flips": torch.tensor(flips)})).signal
        assert len(shapes) == 1
        torch.testing.assert_close(
            kept,
            Simulator(data, 1e-4)(model({"flips": torch.tensor(flips)})).signal,
            rtol=0,
            atol=0,
        )
        del shapes[1:]


def test_a_shape_is_composed_anew_where_it_or_the_phantom_is_another(monkeypatch):
    shapes = counted(monkeypatch)
    simulator = Simulator(phantom(8e-3), 1e-4)
    for duration, count in ((1e-3, 1), (2e-3, 2), (2e-3, 2)):
        simulator(convert(after(block(0.7, duration=duration)), pulses="played"))
        assert len(shapes) == count
    Simulator(phantom(8e-3, B0=(0.0, 50.0)), 1e-4)(
        convert(after(block(0.7, duration=2e-3)), pulses="played")
    )
    assert len(shapes) == count + 1


# Several transmit channels


def shimmed(excited=1.0, refocused=1.0):
    """Make an echo of pulses that are felt as so many times what they are, complex numbers."""
    rf, gz, rewinder = selective(
        1.5 * abs(excited), "excitation", phase_offset=np.pi / 2 + np.angle(excited)
    )
    again, slab, _ = selective(
        2.4 * abs(refocused), "refocusing", phase_offset=0.3 + np.angle(refocused)
    )
    sequence = pp.Sequence(SYSTEM)
    sequence.add_block(rf, gz)
    sequence.add_block(rewinder)
    sequence.add_block(pp.make_delay(2e-3))
    sequence.add_block(again, slab)
    sequence.add_block(pp.make_delay(2e-3))
    sequence.add_block(adc())
    return sequence


SHIM = torch.tensor([[1.0, 0.4j], [0.6, 0.3 - 0.4j]], dtype=torch.complex64)


def two_channels(thickness=8e-3):
    data = phantom(thickness, B0=(0.0, 30.0, -50.0))
    fields = [[0.9, 0.7 + 0.2j, 0.8], [0.5, 0.4j, 0.6 - 0.3j]]
    data.B1 = torch.tensor(fields, dtype=torch.complex64)
    return data


def with_shim(shim):
    return dataclasses.replace(convert(shimmed(), pulses="played"), shim=shim)


def test_shims_weight_the_fields_of_the_channels():
    data, expected = two_channels(), 0
    found = Simulator(data, 1e-4)(with_shim(SHIM)).signal[:, 0].numpy()
    for voxel, felt in enumerate((SHIM @ data.B1).T.numpy()):
        alone = phantom(8e-3, B0=(float(data.B0[voxel]),), PD=(float(data.PD[voxel]),))
        alone.voxel_pos = data.voxel_pos[voxel : voxel + 1]
        expected = expected + bloch(shimmed(*felt), alone, spins=601, step=1e-5)
    assert distance(found, expected) < 1e-3


def test_gradients_by_shims_are_finite_differences():
    way = torch.tensor([[0.3, 1j], [1.0 - 0.5j, 0.2]], dtype=torch.complex64)

    def loss(shim):
        signal = Simulator(two_channels(), 1e-4, dtype=torch.float64)(with_shim(shim)).signal
        return (WEIGHT[: len(signal)] * signal[:, 0]).real.sum()

    shim = SHIM.to(torch.complex128).requires_grad_()
    (gradient,) = torch.autograd.grad(loss(shim), shim)
    slope = float((gradient.conj() * way).real.sum())
    with torch.no_grad():
        change = loss(SHIM + 1e-4 * way.to(torch.complex128)) - loss(
            SHIM - 1e-4 * way.to(torch.complex128)
        )
    assert slope == pytest.approx(float(change) / 2e-4, rel=2e-3)


# What is refused


def test_positions_of_voxels_are_not_differentiated_by():
    data = phantom(8e-3)
    data.voxel_pos = data.voxel_pos.clone().requires_grad_()
    with pytest.raises(SimulationError, match="voxel_pos"):
        Simulator(data)(convert(echoes(), pulses="played"))


def test_mrzerocore_plays_no_pulses():
    with pytest.raises(SimulationError, match="instantaneous"):
        Simulator(phantom(), engine="mrzero")(convert(echoes(), pulses="played"))


def test_stored_repetitions_play_the_same_pulses():
    repetitions = convert(echoes(), pulses="played")
    again = type(repetitions).from_tensors(*repetitions.to_tensors())
    one, other = (Simulator(phantom(8e-3))(each).signal for each in (repetitions, again))
    assert torch.equal(one, other)


def test_a_long_pulse_is_composed_part_by_part(monkeypatch):
    """What would not fit into the memory at once; turned off its axis by gradient and offset."""
    sequence, data = pp.Sequence(SYSTEM), phantom(8e-3, B0=(40.0,))
    rf, gz, rewinder = selective(0.7, "excitation")
    for event in ((rf, gz), (rewinder,), (adc(),)):
        sequence.add_block(*event)
    at_once = played(sequence, data, dtype=torch.float64)
    monkeypatch.setattr(pulse_tables, "_AT_ONCE", 1)
    torch.testing.assert_close(played(sequence, data, dtype=torch.float64), at_once)


@pytest.mark.parametrize("gradient", [(0.0, 0.0, 0.0), (2e5, 0.0, 4e5), "changing"])
def test_few_frequencies_tell_what_a_pulse_does_everywhere_under_a_constant_gradient(gradient):
    generator = torch.Generator().manual_seed(0)
    time = 1e-5 * (1 + torch.rand(120, generator=generator, dtype=torch.float64))
    steps = torch.linspace(-1, 1, 120, dtype=torch.float64)
    changing = gradient == "changing"
    direction = torch.tensor((2e5, 0.0, 4e5) if changing else gradient, dtype=torch.float64)
    moment = (time * (1 + steps.square() if changing else 1))[:, None] * direction
    # Chirped, so that both parts of a and b matter
    signal = torch.polar(300 * torch.cos(steps), 9 * steps.square())
    family = Family(signal, time, moment, 0.6 * time.sum(), [0], torch.ones(1))
    place = 1e-2 * torch.rand(60, 3, generator=generator, dtype=torch.float64)
    strength, offset = (
        torch.linspace(*ends, 4, dtype=torch.float64) for ends in ((-2, 2), (-300, 150))
    )
    found = pulse_tables.turned_everywhere(family, strength, place, offset)
    expected = pulse_tables.turned_by(family, strength, place, offset)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
