"""The gallery's examples in Python, held against closed forms; each with few iterations."""

import dataclasses
import math
from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pulseq_zero.imaging.model import ImagingModel
from pulseq_zero.phantom import Phantom
from pulseq_zero.phantom.pool import TissuePool


@pytest.fixture(scope="module")
def example(root):
    """Import an example as its script does."""
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(root / "docs/gallery")
        patched.chdir(root)
        yield import_module


def test_echo_times_are_as_the_definition_says(example):
    waits = torch.tensor([0.001, 0.02, 0.0, 0.003], dtype=torch.float64)
    echo_times = example("echo_times")
    sequence = echo_times.multi_echo_gre(waits=waits.numpy(), n_phase=1, n_dummy=0)
    assert sequence.check_timing()[0]
    samples, *_ = sequence.calculate_kspace()
    times = sequence.adc_times()[0].reshape(4, 32)[:, 16] - sequence.rf_times()[0][0]
    np.testing.assert_allclose(times, sequence.definitions["TE"], atol=1e-4)
    np.testing.assert_allclose(samples[0].reshape(4, 32)[:, 16], 0, atol=1e-3)


def test_the_bound_of_echoes_is_that_of_an_exponential(example):
    echo_times = example("echo_times")
    precision = echo_times.Precision(echo_times.voxels([0.8], [0.075], [0.18]))
    first, T2star, found, expected = torch.ones(1, 1), precision.apparent, [], []
    for wait in (0.0, 0.02):
        waits = echo_times.equal(wait)
        with torch.no_grad():
            found.append(float(precision(echo_times.one_line()({"waits": waits}))[0]))
        times = echo_times.times_of(waits)
        expected.append(float(echo_times.rate_deviation(first, T2star[None], times)))
    # Samples around an echo, which the closed form has not, are a sixth of T2* away at most
    assert found[0] / found[1] == pytest.approx(expected[0] / expected[1], rel=0.02)


def test_a_fit_of_exponentials_finds_their_rate(example):
    times = torch.tensor([0.003, 0.02, 0.05, 0.09])
    T2star = torch.tensor([[0.02, 0.05, 0.1]])
    images = 3 * torch.exp(-times.view(-1, 1, 1) / T2star)
    found = example("echo_times").fitted(images, times)
    torch.testing.assert_close(found, T2star.double(), rtol=1e-5, atol=0)


def test_two_times_are_the_best_of_all(example):
    share, second, _ = example("echo_times").two_times(0.05, first=0.0)
    x, w = np.meshgrid(np.linspace(0.5, 3, 501), np.linspace(0.02, 0.98, 481), indexing="ij")
    variance = (1 / w + np.exp(2 * x) / (1 - w)) / x**2
    best = np.unravel_index(variance.argmin(), variance.shape)
    assert second / 0.05 == pytest.approx(x[best], abs=5e-3)
    assert share == pytest.approx(w[best], abs=2e-3)


def test_optimized_echoes_leave_the_equidistant_ones_behind(example):
    echo_times = example("echo_times")
    precision = echo_times.Precision(echo_times.voxels(**echo_times.TISSUES))
    start = echo_times.equal(0.02)
    waits = echo_times.optimized(precision, start, iterations=8)
    model = echo_times.one_line()
    with torch.no_grad():
        before, after = (
            float(precision(model({"waits": each}))[0].mean()) for each in (start, waits)
        )
    assert after < 0.98 * before
    assert math.isfinite(after)


@pytest.fixture(scope="module")
def points(example):
    """Two pixels of a SENSE image with something in them, and their phantom."""
    sense = example("sense")
    PD = torch.zeros(sense.PIXELS, sense.PIXELS)
    PD[12, 5], PD[20, 21] = 1.0, 0.5
    pool = TissuePool.of(PD, 0.3, 10.0, coil_sensitivity=sense.sensitivities(sense.PIXELS))
    return PD, Phantom({"water": pool}, {}, (sense.FOV, sense.FOV), 5e-3)


@pytest.mark.parametrize("pattern", ["regular", "scattered"])
def test_sense_unfolds_an_image(example, points, pattern):
    sense, (PD, phantom) = example("sense"), points
    model = ImagingModel(
        sense.gre,
        phantom,
        # Long enough for the steady state to be there, so that lines differ in place alone
        arguments=sense.ARGUMENTS | {"TR": 1.0, "n_dummy": 3},
        reconstruction=sense.Sense(sense.sensitivities(sense.PIXELS), torch.ones_like(PD) > 0),
        matrix=tuple(PD.shape),
    )
    with torch.no_grad():
        image = model({"lines": getattr(sense, pattern)(sense.LINES)}).image.abs()
    scale = float(image[12, 5])
    assert scale > 0.1
    torch.testing.assert_close(image / scale, PD.double(), rtol=0, atol=0.03)


def test_the_noise_of_sense_is_that_of_pruessmann(example):
    """Of two pixels that fold onto each other, by the formula of Cartesian SENSE."""
    sense = example("sense")
    coils = sense.sensitivities(sense.PIXELS).to(torch.complex128)
    everywhere = torch.ones(sense.PIXELS, sense.PIXELS, dtype=torch.bool)

    def deviation(lines):
        kspace = torch.zeros(len(lines), sense.PIXELS, 4, dtype=torch.float64)
        kspace[:, :, 1] = (lines / sense.FOV)[:, None]
        acquired = SimpleNamespace(kspace=kspace.flatten(0, 1))
        return sense.Sense(coils, everywhere).deviation(acquired)

    steps = torch.arange(-16, 16, dtype=torch.float64)
    found = deviation(steps[::2]) / deviation(steps) / math.sqrt(2)
    folded = torch.stack([coils[:, 9, 4], coils[:, 9, 20]], 1)
    information = folded.mH @ folded
    g = (torch.linalg.inv(information).diagonal() * information.diagonal()).real.sqrt()
    torch.testing.assert_close(found[9, [4, 20]], g, rtol=1e-9, atol=0)


def test_mprage_reads_all_of_k_space_at_its_inversion_time(example):
    mprage = example("mprage").mprage
    matrix, fov = (8, 4, 6), (0.2, 0.1, 0.15)
    sequence = mprage(TI=0.5, matrix=matrix, fov=fov, n_dummy=0)
    assert sequence.check_timing()[0]
    kspace, *_ = sequence.calculate_kspace()
    steps = (kspace * np.array(fov)[:, None]).round(6)
    assert np.allclose(steps, steps.round(), atol=1e-3)
    assert len(np.unique(steps.round(), axis=1).T) == math.prod(matrix)
    sample = int(np.flatnonzero((steps.round() == 0).all(0))[0])
    # Nine pulses a train, of which the first three invert
    begin, pulses = 0.0, []
    for number in sequence.block_events:
        rf = sequence.get_block(number).rf
        if rf is not None:
            pulses.append(begin + rf.delay + rf.center)
        begin += sequence.block_durations[number]
    trains = np.reshape(pulses, (4, 9))
    train = trains[sample // (8 * 6)]
    excitation = train[train < sequence.adc_times()[0][sample]][-1]
    assert excitation - train[1] == pytest.approx(0.5, abs=2e-5)


def test_the_cycle_of_mprage_is_the_end_of_many_cycles(example):
    mprage = example("mprage")
    T1, TI, angle, recovery, pulses = 1.2, 0.8, 0.3, 0.4, 16

    def relaxed(magnetisation, time):
        return 1 - (1 - magnetisation) * math.exp(-time / T1)

    magnetisation = 1.0
    for _ in range(60):
        magnetisation = relaxed(-magnetisation, TI - pulses // 2 * mprage.TR)
        for pulse in range(pulses):
            if pulse == pulses // 2:
                signal = magnetisation * math.sin(angle)
            magnetisation = relaxed(magnetisation * math.cos(angle), mprage.TR)
        magnetisation = relaxed(magnetisation, recovery)
    assert mprage.cycle_signal(T1, TI, angle, recovery, pulses) == pytest.approx(signal, rel=1e-9)


def test_the_closed_form_of_mprage_is_that_of_isochromats(example):
    mprage = example("mprage")
    protocol = mprage.PROTOCOLS["ADNI"]
    # The formula knows neither the decay until the echo, of some percent, nor imperfect spoiling
    judged = mprage.judged_contrast(protocol)
    assert judged == pytest.approx(mprage.closed_form(**protocol), rel=0.07)


def test_a_fit_tells_the_t1_of_blocks(example):
    t1_network = example("t1_network")
    phantom, T1 = t1_network.blocks(3)
    trial = t1_network.Trial(phantom, t1_network.TIMES)
    found = t1_network.Fit(t1_network.TIMES.values())(t1_network.contrasts(trial.clean))
    # The inversion is not perfect; the fit does not know of it
    torch.testing.assert_close(
        found[t1_network.inner(T1)], T1[t1_network.inner(T1)], rtol=0.05, atol=0
    )


def test_the_bound_of_inversion_times_is_that_of_fisher(example):
    times, T1, step = np.array([0.2, 0.9, 2.5]), 1.3, 1e-5

    def signal(amplitude, log_T1):
        return amplitude * (1 - 2 * np.exp(-times / np.exp(log_T1)))

    slopes = np.stack(
        [
            (signal(1 + step, np.log(T1)) - signal(1 - step, np.log(T1))) / (2 * step),
            (signal(1, np.log(T1) + step) - signal(1, np.log(T1) - step)) / (2 * step),
        ]
    )
    expected = np.sqrt(np.linalg.inv(slopes @ slopes.T)[1, 1])
    found = example("t1_network").bound(times, np.array([T1]))
    assert found[0] == pytest.approx(expected, rel=1e-6)


def test_times_and_network_learn_together(example):
    t1_network = example("t1_network")
    result, network = t1_network.learn(2)
    torch.manual_seed(0)
    untrained = t1_network.Network()
    assert all(float(result.parameters[name][2]) != time for name, time in t1_network.TIMES.items())
    assert any(
        not torch.equal(one, other)
        for one, other in zip(network.parameters(), untrained.parameters(), strict=True)
    )


def test_transmit_fields_solve_helmholtz_s_equation(example):
    """In a homogeneous medium, so does every derivative of a solution."""
    ptx_shim = example("ptx_shim")
    field, step = ptx_shim.transmit_fields()[2], ptx_shim.FOV / ptx_shim.PIXELS
    middle = field[1:-1, 1:-1]
    around = field[2:, 1:-1] + field[:-2, 1:-1] + field[1:-1, 2:] + field[1:-1, :-2]
    frequency, vacuum = 2 * math.pi * 297e6, 4e-7 * math.pi
    number = frequency * vacuum * complex(frequency * 52 * 8.854e-12, -0.55)
    inside = slice(8, 22), slice(8, 22)
    laplacian = ((around - 4 * middle) / step**2)[inside]
    expected = -number * middle[inside]
    # Differences of the second order have an error of (k step)² / 12 and its like
    assert float((laplacian - expected).norm() / expected.norm()) < 0.04


def test_weights_even_the_image_out(example):
    ptx_shim = example("ptx_shim")
    fields = ptx_shim.transmit_fields()
    brain = torch.zeros(ptx_shim.PIXELS, ptx_shim.PIXELS, dtype=torch.bool)
    brain[10:22, 8:24] = True
    start = ptx_shim.circular(fields, brain)
    assert float(ptx_shim.total(start, fields)[brain].abs().mean()) == pytest.approx(1)
    fitted = ptx_shim.least_squares(fields, brain, start, steps=50)
    assert ptx_shim.unevenness(fitted, fields, brain) < ptx_shim.unevenness(start, fields, brain)
    imaging = ptx_shim.Imaging(ptx_shim.head(fields))
    target = torch.full(brain.shape, float(imaging(start).image.abs()[brain].mean()))
    _, course = ptx_shim.optimized(imaging, start, target, brain, iterations=3)
    assert course[-1] < 0.98 * course[0]


def test_without_decay_a_single_shot_shows_the_ideal_image(example):
    tse_network = example("tse_network")
    brain = tse_network.head(0)
    pools = {
        name: TissuePool.of(pool.PD, pool.T1, 1e3, D=0.0) for name, pool in brain.pools.items()
    }
    phantom = dataclasses.replace(brain, pools=pools)
    model = ImagingModel(tse_network.single_shot, phantom, matrix=(32, 32))
    refocusing = torch.from_numpy(tse_network.FULL)
    with torch.no_grad():
        image = model({"refocusing": refocusing}).image.abs()
    # Excitation and refocusing share a slice profile, so that other paths have some signal
    assert float(tse_network.nrmse(image, tse_network.ideal(phantom))) < 0.03


def test_angles_and_a_network_against_blurring_learn_together(example, monkeypatch):
    tse_network = example("tse_network")
    monkeypatch.setattr(tse_network, "TRAINING", range(1))
    start = torch.full((32,), 2.5, dtype=torch.float64)
    found, network, course = tse_network.learn(start, 0.1, 1, angles=True)
    assert bool(((found - start).abs() > 0.005).any())
    assert float(network.scale.detach()) != 1
    assert course[-1] < course[0]


def test_the_even_train_is_more_even_than_where_it_begins(example):
    tse_network = example("tse_network")

    def unevenness(angles):
        signal = tse_network.lines_of_tissues(angles)["white matter"]
        return float(signal.std() / signal.mean())

    ramp = torch.deg2rad(torch.linspace(50, 150, 32, dtype=torch.float64))
    assert unevenness(tse_network.even_train(8)) < 0.9 * unevenness(ramp)


def slews(course, raster=1e-5):
    """Return gradient and slew rate of a course from rest [T/m, T/m/s], as magnitudes."""
    gradient = np.diff(course, axis=0) / raster / 42.576e6
    slew = np.diff(gradient, axis=0, prepend=0) / raster
    return np.hypot(*gradient.T), np.hypot(*slew.T)


@pytest.mark.parametrize("density", [1.0, 1.5, 2.0])
def test_spirals_reach_the_edge_in_time_within_the_limits(example, density):
    trajectory = example("trajectory")
    course = trajectory.course(24, density)
    assert len(course) == round(trajectory.DURATION / trajectory.RASTER) + 1
    assert math.hypot(*course[-1]) == pytest.approx(12 / trajectory.FOV, rel=1e-3)
    gradient, slew = slews(course)
    assert gradient.max() <= trajectory.MAX_GRAD
    # As fast as the slew rate allows, but for the start
    assert slew.max() <= 1.001 * trajectory.MAX_SLEW
    assert slew[20:].min() > 0.97 * trajectory.MAX_SLEW
    # Kim's spiral: the radius is a power of the angle
    radius, angle = np.hypot(*course[1:].T), np.unwrap(np.arctan2(*course[1:, ::-1].T))
    power = np.polyfit(np.log(angle[200:] - angle[0] + 1e-9), np.log(radius[200:]), 1)[0]
    assert power == pytest.approx(density, rel=0.1)


def test_gradients_that_are_limited_are_not_exceeded(example):
    trajectory = example("trajectory")
    course = trajectory.variable_density_spiral(0.224, 32, 6e-3, 1.0, 5e-3, 100.0)
    gradient, _ = slews(course)
    assert gradient.max() == pytest.approx(5e-3, rel=1e-3)


def test_an_even_spiral_lasts_as_long_as_the_closed_form_says(example):
    """But for the start, which the closed form has not."""
    trajectory = example("trajectory")
    closed = trajectory.duration_by_closed_form(trajectory.course())
    assert 0.9 * trajectory.DURATION < closed < trajectory.DURATION


def test_splines_bend_a_course_from_rest(example):
    trajectory = example("trajectory")
    bends = 3 * torch.randn(2, 12, generator=torch.Generator().manual_seed(1)).double()
    course = trajectory.course(20, 1.5)
    straight, bent = (
        trajectory.spiral(given, course, **trajectory.FREE) for given in (None, bends.numpy())
    )
    assert straight.check_timing()[0]
    difference = bent.calculate_kspace()[0] - straight.calculate_kspace()[0]
    assert np.abs(difference[:, 0]).max() < 1e-2
    assert np.abs(difference).max() > 0.5


def test_least_squares_finds_what_was_encoded_and_its_noise(example):
    trajectory = example("trajectory")
    pixels = trajectory.PIXELS
    inside = torch.zeros(pixels, pixels, dtype=torch.bool)
    inside[10:18, 12:20] = True
    random = torch.Generator().manual_seed(0)
    image = torch.where(inside, torch.randn(pixels, pixels, generator=random).double(), 0.0)
    kspace = torch.from_numpy(trajectory.course(32, 1.0)[1:])
    reconstruct = trajectory.LeastSquares(inside)
    encoding, *_ = reconstruct.matrices(kspace)
    # By the definition: spins of a place r turn by exp(2πi k·r)
    x = (torch.arange(pixels) - pixels // 2).double() * trajectory.FOV / pixels
    places = torch.cartesian_prod(x, x)[inside.flatten()]
    torch.testing.assert_close(
        encoding, torch.exp(2j * torch.pi * (kspace @ places.T)), rtol=0, atol=1e-9
    )
    found = reconstruct.image_of((encoding @ image[inside].to(encoding.dtype))[:, None], kspace)
    # Smoothed by the penalty, which is small
    assert (found.real - image)[inside].norm() < 0.3 * image.norm()
    assert not found[~inside].any()
    noise = torch.randn(200, len(kspace), 2, generator=random).double()
    images = torch.stack(
        [reconstruct.image_of(torch.view_as_complex(each)[:, None], kspace) for each in noise]
    )
    acquired = SimpleNamespace(kspace=kspace)
    expected = reconstruct.deviation(acquired)[inside]
    measured = images.real.std(0)[inside]
    assert float((measured / expected).mean()) == pytest.approx(1, abs=0.03)


def test_a_bent_spiral_errs_less_and_keeps_the_limits(example):
    trajectory = example("trajectory")
    scene = trajectory.Scene.of(trajectory.head(), interleaves=10)
    reconstruct = trajectory.LeastSquares(scene.inside)
    result = trajectory.optimized(scene, reconstruct, trajectory.course(24, 1.5), iterations=4)
    assert result.history["image"].iloc[-1] < 0.985 * result.history["image"][0]
    # The penalty of what is 2 % beyond the limits everywhere is 0.012
    assert result.history["limits"].iloc[-1] < 0.012


def test_the_script_holds_the_limits(example):
    trajectory = example("trajectory")
    course = trajectory.course(24, 1.5)
    sequence = trajectory.spiral(course=course)
    assert sequence.system.max_slew == pytest.approx(50 * 42.576e6)
    assert sequence.check_timing()[0]
    with pytest.raises(ValueError, match="Slew rate violation"):
        trajectory.spiral(course=1.1 * course)
