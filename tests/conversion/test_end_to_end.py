"""Gradients of a loss of the image with respect to parameters of each kind."""

import MRzeroCore as mr0
import numpy as np
import pypulseq as pp
import pytest
import torch

from pulseq_zero.conversion import SequenceModel
from pulseq_zero.imaging.acquisition import defined_fov, image_of
from pulseq_zero.simulation import Simulator

LIMITS = {
    "max_grad": 40,
    "grad_unit": "mT/m",
    "max_slew": 150,
    "slew_unit": "T/m/s",
    "rf_dead_time": 100e-6,
    "adc_dead_time": 10e-6,
}
N, LINES, FOV = 8, 4, 0.2
# About that of the sequence's images.
BRIGHTNESS = 0.05
ENVELOPE = 500 * np.sin(np.linspace(0.1, 3.0, 100)) * np.exp(0.5j * np.linspace(-1, 1, 100) ** 2)
# A gradient that moves the lines by about a third of their distance
BUMP = np.array([1200.0, 1900.0, 800.0])


def spin_echo(
    flip=1.2,
    phase=0.3,
    TI=0.31,
    TE=0.0412,
    thickness=20e-3,
    tbw=3.0,
    crusher=90.0,
    dwell=2.003e-4,
    envelope=ENVELOPE.real,
    chirp=ENVELOPE.imag,
    readout=1.0,
    frequency=0.0,
    apodization=0.5,
    center=0.5,
    crusher_duration=2e-3,
    bump=None,
    adiabaticity=None,
    ringdown=20e-6,
):
    """Invert, select a slice, refocus with a pulse of samples; no time is rounded."""
    system = pp.Opts(**LIMITS, rf_ringdown_time=ringdown)
    seq = pp.Sequence(system)
    hard = {"duration": 5e-4, "delay": system.rf_dead_time, "system": system}
    if adiabaticity is None:
        inversion = pp.make_block_pulse(2.8, use="inversion", **hard)
    else:
        inversion = pp.make_adiabatic_pulse(
            "hypsec",
            duration=5e-3,
            dwell=1e-5,
            adiabaticity=adiabaticity,
            delay=system.rf_dead_time,
            system=system,
            use="inversion",
        )
    rf, gz, gzr = pp.make_sinc_pulse(
        flip,
        duration=2e-3,
        phase_offset=phase,
        freq_offset=frequency,
        slice_thickness=thickness,
        time_bw_product=tbw,
        apodization=apodization,
        center_pos=center,
        delay=system.rf_dead_time,
        system=system,
        return_gz=True,
        use="excitation",
    )
    refocusing = pp.make_arbitrary_rf(
        envelope + 1j * chirp,
        1.0,
        no_signal_scaling=True,
        dwell=1e-5,
        delay=system.rf_dead_time,
        system=system,
        use="refocusing",
    )
    gx = pp.make_trapezoid("x", amplitude=readout / FOV / dwell, flat_time=N * dwell, system=system)
    adc = pp.make_adc(N, dwell=dwell, delay=gx.rise_time, system=system)
    spoiler = pp.make_trapezoid("z", amplitude=2e5, duration=5e-3, system=system)
    crush = pp.make_trapezoid("z", area=crusher, duration=crusher_duration, system=system)
    # the second crusher leaves a moment through the slice
    uncrush = pp.make_trapezoid("z", area=70.0, duration=2e-3, system=system)
    crushers = [crush]
    if bump is not None:
        amplitudes = np.concatenate([[0.0], bump, [0.0]])
        times = np.array([0.0, 3e-4, 7e-4, 1.2e-3, 1.5e-3])
        moved = pp.make_extended_trapezoid("y", amplitudes=amplitudes, times=times, system=system)
        crushers.append(moved)
    for line in range(LINES):
        gx_pre = pp.make_trapezoid("x", area=gx.area / 2, duration=2e-3, system=system)
        gy = pp.make_trapezoid("y", area=(line - LINES // 2) / FOV, duration=2e-3, system=system)
        seq.add_block(inversion)
        seq.add_block(spoiler)
        seq.add_block(pp.make_delay(TI - pp.calc_duration(spoiler)))
        seq.add_block(rf, gz)
        seq.add_block(gx_pre, gzr)
        seq.add_block(pp.make_delay(TE / 2 - 7e-3))
        seq.add_block(*crushers)
        seq.add_block(refocusing)
        seq.add_block(uncrush, gy)
        seq.add_block(pp.make_delay(TE / 2 - 7e-3))
        seq.add_block(gx, adc)
    seq.set_definition("FOV", [FOV, FOV, 0.1])
    return seq


@pytest.fixture(scope="module")
def phantom():
    """Voxels inside and at the edges of the slice."""
    random = np.random.default_rng(3)
    number = 12
    return mr0.CustomVoxelPhantom(
        pos=(random.uniform(-1, 1, (number, 3)) * [0.08, 0.08, 0.012]).tolist(),
        PD=random.uniform(0.5, 1, number).tolist(),
        T1=random.uniform(0.4, 1.5, number).tolist(),
        T2=random.uniform(0.05, 0.15, number).tolist(),
        T2dash=random.uniform(0.02, 0.05, number).tolist(),
        D=1.0,
        B0=random.uniform(-15, 15, number).tolist(),
        B1=1.0,
        voxel_size=1e-3,
        voxel_shape="box",
    ).build()


class Loss:
    """Distance of the image from one value, with the script run anew, not replayed.

    States are those of the first call: where one comes to count between two sides of a difference,
    the signal jumps by about the accuracy.
    """

    def __init__(self, phantom, sub_pulses):
        self.simulator = Simulator(phantom, 1e-5, dtype=torch.float64)
        self.sub_pulses, self.graph = sub_pulses, None

    def __call__(self, values):
        # rounded numbers are constant for small steps
        model = SequenceModel(
            spin_echo, sub_pulses=self.sub_pulses, rounding="zero", on_loss="raise"
        )
        repetitions = model(values)
        if self.graph is None:
            self.graph = self.simulator.graph(repetitions)
        # A fresh one: kept encodings are those of a trajectory within the tolerance
        simulator = Simulator(self.simulator.data, 1e-5, dtype=torch.float64)
        signal = simulator(repetitions, self.graph).signal
        fov = defined_fov(model.sequence)
        image = image_of(signal, repetitions, simulator.data, matrix=(N, LINES), fov=fov)
        weights = torch.linspace(0.5, 1.5, image.numel(), dtype=torch.float64).reshape(image.shape)
        return (weights * (image / BRIGHTNESS - 0.3).abs().square()).sum()


# Parameter, start value, sub-pulses and relative step.
CASES = {
    "flip angle": ("flip", 1.21, 1, 1e-4),
    "phase offset": ("phase", 0.3, 1, 1e-4),
    "inversion time": ("TI", 0.31, 1, 1e-4),
    "echo time": ("TE", 0.0412, 1, 1e-4),
    "slice thickness": ("thickness", 20.01e-3, {"excitation": 8}, 1e-5),
    "time-bandwidth product": ("tbw", 3.01, {"excitation": 8}, 1e-7),
    "gradient area": ("crusher", 90.0, 1, 1e-5),
    "dwell": ("dwell", 2.503e-4, 1, 1e-5),
    "samples of a pulse": ("envelope", ENVELOPE.real, 1, 1e-5),
    # moves the samples, and with them what the image is reconstructed from
    "readout gradient": ("readout", 1.03, 1, 1e-5),
    "phases of a pulse": ("chirp", ENVELOPE.imag, 1, 1e-4),
    "frequency offset": ("frequency", 41.0, {"excitation": 8}, 1e-4),
    "apodization": ("apodization", 0.43, {"excitation": 8}, 1e-7),
    "centre position": ("center", 0.48, {"excitation": 4}, 1e-7),
    "duration of a gradient": ("crusher_duration", 2.03e-3, 1, 1e-5),
    "amplitudes of a gradient": ("bump", BUMP, 1, 1e-4),
    "adiabatic pulse": ("adiabaticity", 1.1, 1, 1e-5),
    "limit of the system": ("ringdown", 210e-6, 1, 1e-4),
}


@pytest.mark.parametrize("kind", CASES)
def test_the_gradient_of_an_image_loss_equals_differences(kind, phantom):
    name, start, sub_pulses, step = CASES[kind]
    value = torch.tensor(start, dtype=torch.float64, requires_grad=True)

    loss_of = Loss(phantom, sub_pulses)

    def loss(x):
        return loss_of({name: x})

    (gradient,) = torch.autograd.grad(loss(value), value)
    random = np.random.default_rng(0)
    # along the gradient at random: what the samples do must not cancel
    direction = gradient.sign() * torch.from_numpy(np.asarray(random.uniform(0.5, 1, value.shape)))
    length = step * float(value.detach().abs().max())
    with torch.no_grad():
        sides = [float(loss(value + sign * length * direction)) for sign in (1, -1)]
    difference = (sides[0] - sides[1]) / (2 * length)
    found = float((gradient * direction).sum())
    # a change by the whole value counts
    assert abs(found) * float(value.detach().abs().max()) > 1e-3 * float(sum(sides))
    assert found == pytest.approx(difference, rel=1e-4)
