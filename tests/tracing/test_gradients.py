"""Gradients of every continuous argument of every function, against plain PyPulseq."""

import inspect
import math
import sys
import types

import numpy as np
import pypulseq as pp
import pytest
import torch
from pypulseq.convert import convert

from pulseq_zero.conversion import SequenceModel
from pulseq_zero.tracing import Program, check_gradients, is_traced, raw, trace

SYSTEM = pp.Opts(
    max_grad=32,
    grad_unit="mT/m",
    max_slew=130,
    slew_unit="T/m/s",
    rf_ringdown_time=20e-6,
    rf_dead_time=100e-6,
    adc_dead_time=10e-6,
)
RANDOM = np.random.default_rng(0)

WAVEFORM = np.cumsum(RANDOM.normal(size=60)) * 1e4
WAVEFORM -= np.linspace(WAVEFORM[0], WAVEFORM[-1], 60)
ENVELOPE = np.hanning(400) + 0.01
TIMES = np.array([0, 1e-4, 3e-4, 5e-4])
AMPLITUDES = np.array([0, 1e5, 1.2e5, 0])
TURNS = np.linspace(0, 4 * np.pi, 200)
OFFSETS = np.array([100.0, 1.0, 3.0, 0.2])
SPIRAL = np.stack([TURNS * np.cos(TURNS), TURNS * np.sin(TURNS)]) * 3


def trap(axis="x", **arguments):
    return pp.make_trapezoid(axis, system=SYSTEM, **arguments)


def sinc(**arguments):
    defaults = {
        "flip_angle": 1.0,
        "duration": 2.0001e-3,
        "apodization": 0.5,
        "slice_thickness": 5e-3,
        "delay": 100e-6,
        "return_gz": True,
        "system": SYSTEM,
        "use": "excitation",
    }
    return pp.make_sinc_pulse(**defaults | arguments)


def gauss(**arguments):
    return pp.make_gauss_pulse(
        **{"flip_angle": 1.0, "use": "excitation", "system": SYSTEM} | arguments
    )


def block_pulse(flip_angle=1.0, **arguments):
    return pp.make_block_pulse(flip_angle, system=SYSTEM, use="excitation", **arguments)


def arbitrary_rf(signal, flip_angle=1.0, **arguments):
    return pp.make_arbitrary_rf(signal, flip_angle, system=SYSTEM, use="excitation", **arguments)


def adiabatic(pulse_type="hypsec", **arguments):
    defaults = {
        "beta": 800.0,
        "mu": 4.9,
        "adiabaticity": 4.0,
        "duration": 10e-3,
        "bandwidth": 40000.0,
        "slice_thickness": 0.1,
        "return_gz": True,
        "system": SYSTEM,
    }
    return pp.make_adiabatic_pulse(pulse_type, **defaults | arguments)


def delayed_off_resonance(make_pulse, **constant):
    def make(offsets, **delay_and_dwell):
        names = ("freq_offset", "phase_offset", "freq_ppm", "phase_ppm")
        return make_pulse(**dict(zip(names, offsets, strict=True)), **delay_and_dwell, **constant)

    return make


def arbitrary_grad(waveform, **arguments):
    return pp.make_arbitrary_grad("x", waveform, system=SYSTEM, **arguments)


def extended(amplitudes=AMPLITUDES, times=TIMES, **arguments):
    return pp.make_extended_trapezoid(
        "x", times=times, amplitudes=amplitudes, system=SYSTEM, **arguments
    )


def area_between(area, start, end):
    return pp.make_extended_trapezoid_area(area, "x", start, end, system=SYSTEM)


def triple(a, t):
    return extended(np.array([0, a, 0]), np.array([0, t, 2 * t]))


def added(*gradients, **arguments):
    return pp.add_gradients(list(gradients), system=SYSTEM, **arguments)


def two_traps(a, b):
    return added(trap(area=a, duration=1e-3), trap(area=b, duration=2e-3, delay=2e-4))


def equal_traps(a, b):
    return added(*(trap(amplitude=x, flat_time=1e-3, rise_time=2e-4) for x in (a, b)))


def arbitrary_and_trap(waveform, b):
    return added(
        arbitrary_grad(waveform, delay=5e-5),
        trap(area=b, duration=2e-3, delay=2e-4),
        max_slew=1e12,
        max_grad=1e9,
    )


def extended_and_trap(amplitudes, b):
    return added(extended(amplitudes), trap(area=b, duration=2e-3, delay=2e-4))


def aligned(duration, area):
    return pp.align(
        left=trap(area=area, duration=duration),
        center=trap("y", area=area, duration=1e-3),
        right=[trap("z", area=area / 2, duration=1e-3)],
    )


def rotated(gradient, angle, *others):
    return pp.rotate(gradient, *others, angle=angle, axis="z", system=SYSTEM)


def with_limits(max_grad):
    system = pp.Opts(max_grad=max_grad, grad_unit="mT/m", max_slew=100, slew_unit="T/m/s")
    return pp.make_trapezoid("x", amplitude=system.max_grad * 0.9, duration=2e-3, system=system)


def with_rise_time(rise_time):
    system = pp.Opts(max_grad=30, grad_unit="mT/m", rise_time=rise_time)
    return pp.make_extended_trapezoid_area(700.0, "x", system.max_slew * 1e-5, 0.0, system=system)


def with_dead_times(rf_dead, ringdown, adc_dead):
    system = pp.Opts(rf_dead_time=rf_dead, rf_ringdown_time=ringdown, adc_dead_time=adc_dead)
    rf = pp.make_block_pulse(1.0, duration=1e-3, use="excitation", system=system)
    adc = pp.make_adc(4, dwell=1e-5, system=system)
    return rf, adc, pp.calc_duration(rf), pp.calc_duration(adc)


def with_rasters(rf_raster, grad_raster):
    system = pp.Opts(rf_raster_time=rf_raster, grad_raster_time=grad_raster)
    rf = pp.make_sinc_pulse(1.0, duration=2e-3, use="excitation", system=system)
    return rf, pp.make_arbitrary_grad("x", WAVEFORM * 0.1, system=system)


def with_slew(max_slew, gamma):
    system = pp.Opts(max_grad=30, grad_unit="mT/m", max_slew=max_slew, slew_unit="T/m/s")
    strong = pp.Opts(max_grad=30, grad_unit="mT/m", gamma=gamma)
    return (
        pp.make_extended_trapezoid_area(700.0, "x", system.max_slew * 1e-5, 0.0, system=system),
        trap(amplitude=0.5 * strong.max_grad, duration=5e-3),
    )


def in_parts_per_million(frequency, phase, B0):
    """Read back what a sequence makes of the offsets."""
    seq = pp.Sequence(pp.Opts(B0=B0))
    seq.add_block(block_pulse(duration=1e-3, freq_ppm=frequency, phase_ppm=phase))
    return seq.rf_times()[1]


def in_numpy_and_math(x, y):
    """Arithmetic as scripts do it."""
    total = sum([x, 2 * y, 3.0]) + max(x, y) - min([x, y, 0.5])
    table = np.array([x, y, 1.0])
    table[1] = table[0] * y
    stacked = np.stack([table, np.arange(3) * x])
    return [
        total,
        math.sqrt(x) + math.sin(y) * math.exp(-x) + math.atan2(x, y) + math.hypot(x, y),
        np.sqrt(table) @ np.linspace(x, y, 3),
        stacked.T.reshape(2, 3)[1] ** 2,
        np.linalg.norm(stacked) + np.abs(np.sum(np.exp(1j * table))),
        np.interp(np.array([0.1, 0.5]) * x, table.cumsum(), table),
        np.where(table > 1, table, -table).mean() + np.prod(table) + np.std(table),
        divmod(x, y)[1] + x % 0.7 + abs(-y) + x**y + 2**x + math.pow(x, 3),
        np.convolve(table, np.diff(stacked[1])) + np.max(stacked, axis=0)[0],
        complex(0, 1) * np.exp(1j * x) / (1 + 1j * y),
        np.angle(np.exp(1j * table)) + np.clip(table, 0, 1) + np.unwrap(table),
        np.fft.ifft(np.fft.fft(table) * x).real,
    ]


CASES = {
    "trapezoid, area": (lambda area: trap(area=area), {"area": 1000.0}),
    "trapezoid, small area": (lambda area: trap(area=area), {"area": 30.0}),
    "trapezoid, no area": (lambda area: trap(area=area, duration=1e-3), {"area": 0.0}),
    "trapezoid, area and duration": (
        lambda area, duration: trap(area=area, duration=duration),
        {"area": 1000.0, "duration": 2e-3},
    ),
    "trapezoid, amplitude and duration": (
        lambda amplitude, duration: trap(amplitude=amplitude, duration=duration),
        {"amplitude": 1e5, "duration": 2e-3},
    ),
    "trapezoid, flat area and flat time": (
        lambda area, time: trap(flat_area=area, flat_time=time),
        {"area": 200.0, "time": 2e-3},
    ),
    "trapezoid, rise, fall and delay": (
        lambda area, duration, rise, fall, delay: trap(
            area=area, duration=duration, rise_time=rise, fall_time=fall, delay=delay
        ),
        {"area": 200.0, "duration": 2e-3, "rise": 3e-4, "fall": 2e-4, "delay": 1e-4},
    ),
    "sinc": (
        lambda flip, duration, tbw, apodization, thickness: sinc(
            flip_angle=flip,
            duration=duration,
            time_bw_product=tbw,
            apodization=apodization,
            slice_thickness=thickness,
        ),
        {"flip": 1.0, "duration": 2.0001e-3, "tbw": 4.0, "apodization": 0.5, "thickness": 5e-3},
    ),
    "sinc, position and offsets": (
        lambda position, frequency, phase: sinc(
            center_pos=position, freq_offset=frequency, phase_offset=phase
        ),
        {"position": 0.5, "frequency": 500.0, "phase": 1.0},
    ),
    "sinc, delay": (lambda delay: sinc(delay=delay, return_gz=False), {"delay": 1e-3}),
    "sinc, ppm": (
        lambda frequency, phase: sinc(freq_ppm=frequency, phase_ppm=phase),
        {"frequency": 3.0, "phase": 1.0},
    ),
    "sinc, dwell": (
        lambda dwell: sinc(dwell=dwell, duration=2e-3),
        {"dwell": 1.0001e-5},
    ),
    "gauss": (
        lambda flip, duration, tbw, apodization, position: gauss(
            flip_angle=flip,
            duration=duration,
            time_bw_product=tbw,
            apodization=apodization,
            center_pos=position,
        ),
        {"flip": 1.0, "duration": 2.0001e-3, "tbw": 4.0, "apodization": 0.3, "position": 0.4},
    ),
    "gauss, bandwidth": (
        lambda bandwidth, thickness: gauss(
            duration=2e-3, bandwidth=bandwidth, return_gz=True, slice_thickness=thickness
        ),
        {"bandwidth": 2000.0, "thickness": 5e-3},
    ),
    "block": (
        lambda flip, duration, phase: block_pulse(flip, duration=duration, phase_offset=phase),
        {"flip": 1.0, "duration": 1.0001e-3, "phase": 0.3},
    ),
    "block, bandwidth": (
        lambda flip, bandwidth, tbw: block_pulse(flip, bandwidth=bandwidth, time_bw_product=tbw),
        {"flip": 1.0, "bandwidth": 1000.1, "tbw": 3.0},
    ),
    "arbitrary pulse": (
        lambda signal, flip, center: arbitrary_rf(signal, flip, center=center),
        {"signal": ENVELOPE, "flip": 1.0, "center": 2e-4},
    ),
    "gauss, delay, dwell and offsets": (
        delayed_off_resonance(gauss, duration=2e-3),
        {"delay": 1e-3, "dwell": 1.0001e-5, "offsets": OFFSETS},
    ),
    "block, delay and offsets": (
        delayed_off_resonance(block_pulse, duration=1e-3),
        {"delay": 1e-3, "offsets": OFFSETS},
    ),
    "arbitrary pulse, delay, dwell and offsets": (
        delayed_off_resonance(arbitrary_rf, signal=ENVELOPE),
        {"delay": 1e-3, "dwell": 1.0001e-6, "offsets": OFFSETS},
    ),
    "arbitrary pulse, slice": (
        lambda thickness, tbw: arbitrary_rf(
            ENVELOPE, slice_thickness=thickness, bandwidth=1, time_bw_product=tbw, return_gz=True
        ),
        {"thickness": 50e-3, "tbw": 3.0},
    ),
    "adiabatic, delay, dwell and offsets": (
        delayed_off_resonance(adiabatic, return_gz=False),
        {"delay": 1e-3, "dwell": 1.0001e-5, "offsets": OFFSETS},
    ),
    "arbitrary pulse, not scaled": (
        lambda signal: arbitrary_rf(signal, no_signal_scaling=True),
        {"signal": ENVELOPE},
    ),
    "arbitrary pulse, slice selective": (
        lambda signal, bandwidth: arbitrary_rf(
            signal, bandwidth=bandwidth, return_gz=True, slice_thickness=5e-3
        ),
        {"signal": ENVELOPE, "bandwidth": 2000.0},
    ),
    "complex pulse": (
        lambda amplitude, slope: arbitrary_rf(
            amplitude * np.hanning(200) * np.exp(1j * slope * np.linspace(-1, 1, 200))
        ),
        {"amplitude": 1.0, "slope": 2.0},
    ),
    "hypsec": (
        lambda beta, mu, adiabaticity: adiabatic(beta=beta, mu=mu, adiabaticity=adiabaticity),
        {"beta": 800.0, "mu": 4.9, "adiabaticity": 4.0},
    ),
    "hypsec, duration": (
        lambda duration, thickness: adiabatic(duration=duration, slice_thickness=thickness),
        {"duration": 10.0001e-3, "thickness": 0.1},
    ),
    "wurst": (
        lambda bandwidth, power, duration: adiabatic(
            "wurst", bandwidth=bandwidth, n_fac=power, duration=duration
        ),
        {"bandwidth": 20000.0, "power": 38.5, "duration": 10.0001e-3},
        {"step": 1e-7, "tolerance": 1e-4},
    ),
    "arbitrary gradient": (lambda w: arbitrary_grad(w), {"w": WAVEFORM}),
    "arbitrary gradient, oversampled": (
        lambda w: arbitrary_grad(w, first=0, last=0, oversampling=True),
        {"w": WAVEFORM[:59] * 0.3},
    ),
    "arbitrary gradient, first, last and delay": (
        lambda first, last, delay: arbitrary_grad(
            WAVEFORM * 0.3, first=first, last=last, delay=delay
        ),
        {"first": 1e3, "last": 2e3, "delay": 1e-4},
    ),
    "extended trapezoid": (
        lambda a: extended(a, skip_check=True),
        {"a": AMPLITUDES + 1.0},
    ),
    "extended trapezoid, times": (
        lambda t: extended(times=t, skip_check=True),
        {"t": TIMES},
        {"step": 1e-7},
    ),
    "extended trapezoid, lists": (triple, {"a": 1e5, "t": 1e-4}, {"step": 1e-7}),
    "extended trapezoid, converted": (
        lambda a: extended(a, convert_to_arbitrary=True),
        {"a": AMPLITUDES},
    ),
    "extended trapezoid of an area": (
        lambda area, start, end: area_between(area, start, end),
        {"area": 700.0, "start": 1e5, "end": 2e5},
    ),
    "extended trapezoid of a small area": (
        lambda area, end: area_between(area, 0.0, end),
        {"area": 31.0, "end": 2e5},
    ),
    "add, traps": (two_traps, {"a": 100.0, "b": 300.0}),
    "add, equal timing": (equal_traps, {"a": 1e5, "b": 2e5}),
    "add, arbitrary": (arbitrary_and_trap, {"waveform": WAVEFORM * 0.2, "b": 300.0}),
    "add, extended": (extended_and_trap, {"amplitudes": AMPLITUDES, "b": 100.0}),
    "split": (
        lambda a: pp.split_gradient(trap(area=a, duration=2e-3), system=SYSTEM),
        {"a": 300.0},
    ),
    "split at": (
        lambda a: pp.split_gradient_at(trap(area=a, duration=2e-3), 1e-3, system=SYSTEM),
        {"a": 300.0},
    ),
    "split at, extended": (
        lambda a: pp.split_gradient_at(extended(a), 2e-4, system=SYSTEM),
        {"a": AMPLITUDES},
    ),
    "scale": (
        lambda a, s: pp.scale_grad(trap(area=a, duration=2e-3), s, system=SYSTEM),
        {"a": 100.0, "s": 0.5},
    ),
    "scale, arbitrary": (
        lambda w, s: pp.scale_grad(arbitrary_grad(w), s, system=SYSTEM),
        {"w": WAVEFORM, "s": 0.5},
    ),
    "rotate": (
        lambda a, angle: rotated(trap(area=a, duration=2e-3), angle),
        {"a": 100.0, "angle": 0.3},
    ),
    "rotate two": (
        lambda a, angle: rotated(
            trap(area=a, duration=2e-3), angle, trap("y", area=a / 2, duration=2e-3)
        ),
        {"a": 100.0, "angle": 0.3},
    ),
    "rotate, arbitrary": (
        lambda w, angle: rotated(arbitrary_grad(w), angle),
        {"w": WAVEFORM * 0.3, "angle": 0.3},
    ),
    "align": (aligned, {"duration": 2e-3, "area": 100.0}),
    "duration": (
        lambda d: pp.calc_duration(pp.make_delay(0.9 * d), trap(area=100.0, duration=d)),
        {"d": 2e-3},
    ),
    "centre of a pulse": (
        lambda duration: pp.calc_rf_center(sinc(duration=duration)[0]),
        {"duration": 2.0001e-3},
    ),
    "spectrum of a pulse": (
        lambda flip: abs(
            pp.calc_rf_bandwidth(sinc(flip_angle=flip, duration=2e-3)[0], return_spectrum=True)[1]
        ).sum(),
        {"flip": 1.0},
    ),
    "trajectory": (lambda k: pp.traj_to_grad(k, raster_time=1e-5), {"k": SPIRAL}),
    "trajectory, raster": (
        lambda raster: pp.traj_to_grad(SPIRAL, raster_time=raster),
        {"raster": 1e-5},
    ),
    "points": (
        lambda a, t: pp.points_to_waveform(amplitudes=a, grad_raster_time=1e-5, times=t),
        {"a": AMPLITUDES, "t": TIMES + 1e-7},
    ),
    "adc, dwell": (
        lambda dwell, delay, f, p: pp.make_adc(
            64, dwell=dwell, delay=delay, freq_offset=f, phase_offset=p, system=SYSTEM
        ),
        {"dwell": 1e-5, "delay": 2e-4, "f": 10.0, "p": 1.0},
    ),
    "adc, ppm": (
        lambda f, p: pp.make_adc(8, dwell=1e-5, freq_ppm=f, phase_ppm=p),
        {"f": 3.0, "p": 1.0},
    ),
    "adc, duration and modulation": (
        lambda duration, modulation: pp.make_adc(
            8, duration=duration, phase_modulation=modulation, system=SYSTEM
        ),
        {"duration": 1e-3, "modulation": np.linspace(0, 1, 8)},
    ),
    "delay": (lambda d: pp.make_delay(d), {"d": 1e-3}),
    "trigger": (lambda d, u: pp.make_trigger("physio1", d, u), {"d": 1e-3, "u": 2e-3}),
    "digital output": (
        lambda d, u: pp.make_digital_output_pulse("osc0", d, u),
        {"d": 1e-3, "u": 2e-3},
    ),
    "soft delay": (
        lambda d, o, f: pp.make_soft_delay("TE", offset=o, factor=f, default_duration=d),
        {"d": 1e-3, "o": 1e-3, "f": 2.0},
    ),
    "limits": (with_limits, {"max_grad": 31.0}),
    "slew rate and gyromagnetic ratio": (with_slew, {"max_slew": 98.0, "gamma": 42.58e6}),
    "dead times": (
        with_dead_times,
        {"rf_dead": 1.1e-4, "ringdown": 2.1e-5, "adc_dead": 1.1e-5},
    ),
    "rasters": (with_rasters, {"rf_raster": 1.0001e-6, "grad_raster": 1.0001e-5}),
    "parts per million": (in_parts_per_million, {"frequency": 3.0, "phase": 1.0, "B0": 3.0}),
    "rise time": (with_rise_time, {"rise_time": 2.013e-4}),
    "units": (lambda g: convert(g, "mT/m"), {"g": 30.0}),
    "numpy and math": (in_numpy_and_math, {"x": 1.3, "y": 0.8}),
}  # fmt: skip


# Arguments that no number of an event follows continuously.
ONLY_CHECKED = "a limit, which is checked, and reaches what is rounded up to a raster only"
ROUNDED = "rounded to a raster or to a count"
COUNT = "a count, a name or a number of an event"
WITHOUT_CASE = {
    ONLY_CHECKED: {
        **dict.fromkeys(
            (
                "add_gradients", "make_adiabatic_pulse", "make_arbitrary_grad",
                "make_arbitrary_rf", "make_extended_trapezoid", "make_gauss_pulse",
                "make_sinc_pulse", "make_trapezoid",
            ),
            frozenset({"max_grad", "max_slew"}),
        ),
        "Opts": {"adc_raster_time", "block_duration_raster"},
    },
    ROUNDED: {
        "split_gradient_at": {"time_point"},
        "points_to_waveform": {"grad_raster_time"},
        "calc_adc_segments": {"dwell", "num_samples"},
        "calc_rf_bandwidth": {"cutoff", "dw", "dt"},
        "round_half_up": {"n", "decimals"},
    },
    COUNT: {
        "enable_trace": {"limit"},
        "make_adc": {"num_samples"},
        "make_label": {"label", "type", "value"},
        "make_soft_delay": {"numID"},
        "Opts": {"adc_samples_divisor", "adc_samples_limit"},
    },
    "PyPulseq 1.5 finds ramps of no points only": {
        "calc_ramp": {"k0", "k_end", "max_grad", "max_points", "max_slew"},
    },
    "reads files": {"calc_SAR": {"file"}},
}  # fmt: skip


def arguments_of_pypulseq():
    """List all functions and arguments of PyPulseq but flags, names and systems."""
    functions = {
        name: value for name, value in vars(pp).items() if isinstance(value, types.FunctionType)
    }
    for name, function in {**functions, "Opts": pp.Opts.__init__}.items():
        for argument in inspect.signature(function).parameters.values():
            kind = str(argument.annotation)
            if (
                argument.name not in ("self", "system")
                and "bool'" not in kind
                and "str'" not in kind
            ):
                yield function.__code__, name, argument.name


def holds_traced(value):
    if isinstance(value, types.SimpleNamespace):
        return holds_traced(list(vars(value).values()))
    if isinstance(value, dict):
        return holds_traced(list(value.values()))
    return any(map(holds_traced, value)) if type(value) in (list, tuple) else is_traced(value)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_every_continuous_argument_of_every_function_has_a_case():
    """The twins run PyPulseq's own code objects: these tell which argument was traced."""
    wanted = list(arguments_of_pypulseq())
    codes = {code: name for code, name, _ in wanted}
    traced = set()

    def note(frame, event, _):
        if event == "call" and frame.f_code in codes:
            given = {k for k, value in frame.f_locals.items() if holds_traced(value)}
            traced.update((codes[frame.f_code], argument) for argument in given)

    before = sys.getprofile()
    for function, values, *_ in CASES.values():
        parameters = {key: torch.tensor(value) for key, value in values.items()}
        sys.setprofile(note)
        try:
            trace(function, parameters)
        finally:
            sys.setprofile(before)
    without = {(name, argument) for _, name, argument in wanted} - traced
    excused = {
        (name, argument)
        for functions in WITHOUT_CASE.values()
        for name, arguments in functions.items()
        for argument in arguments
    }
    assert without == excused & {(name, argument) for _, name, argument in wanted}


@pytest.mark.parametrize("name", CASES)
def test_gradients_equal_finite_differences(name):
    function, values, *options = CASES[name]
    options = dict(*options)
    tolerance = options.pop("tolerance", 1e-5)
    parameters = {key: torch.tensor(value, dtype=torch.float64) for key, value in values.items()}
    report = check_gradients(function, parameters, **options)
    assert {check.parameter for check in report.checks if check.difference} == set(values)
    assert report.worst < tolerance, str(report)


ROOTS = [np.sqrt, np.cbrt, lambda x: math.sqrt(x), lambda x: x**0.5, lambda x: x**0.3]


@pytest.mark.parametrize("root", ROOTS)
def test_the_slope_of_a_root_at_zero_counts_as_zero(root):
    """Else the line in the middle of k-space would make NaN of all gradients."""
    report = check_gradients(
        lambda x: [root(abs(line * x)) for line in (-1.0, 0.0, 1.0)],
        {"x": torch.tensor(2.0, dtype=torch.float64)},
    )
    assert len(report.checks) == 3
    assert report.worst < 1e-8


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_gradient_that_is_no_number_is_an_error():
    """The slope of log x at 0 is infinite, so that of 0 log x is none."""
    report = check_gradients(
        lambda x: (x, 0 * np.log(np.abs(x - 1.0) + 0.0 * x)),
        {"x": torch.tensor(1.0, dtype=torch.float64)},
    )
    assert report.worst == math.inf


@pytest.mark.parametrize("limit", ["max_grad", "max_slew"])
def test_limits_reach_what_is_rounded_up_by_the_trend_over_many_rasters(limit):
    system = pp.Opts(grad_raster_time=1e-8)

    def duration(**limits):
        return pp.calc_duration(
            pp.make_trapezoid("x", area=3000.0, system=system, **{"max_slew": 5e9} | limits)
        )

    value = {"max_grad": 1e6, "max_slew": 5e9}[limit]
    parameter = torch.tensor(value, dtype=torch.float64, requires_grad=True)
    made = trace(lambda x: duration(**{limit: x}), {"x": parameter})
    program = Program(made.tape, [(np.asarray(raw(made.result)), np.asarray(made.result.wire))])
    (slope,) = torch.autograd.grad(program({"x": parameter})[0], parameter)
    step = 0.01 * value
    secant = (duration(**{limit: value + step}) - duration(**{limit: value - step})) / (2 * step)
    assert slope.item() == pytest.approx(secant, rel=1e-2)
    assert secant < 0


@pytest.mark.parametrize("make", ["make_block_pulse", "make_sinc_pulse", "make_gauss_pulse"])
def test_a_pulse_of_the_angle_zero_depends_on_it(make):
    """PyPulseq writes zeros over the zeros of its designs."""

    def excite(flip):
        sequence = pp.Sequence()
        sequence.add_block(getattr(pp, make)(flip, duration=1e-3, use="excitation"))
        return sequence

    flip = torch.zeros((), dtype=torch.float64, requires_grad=True)
    angle = SequenceModel(excite)({"flip": flip}).pulse_angle
    (slope,) = torch.autograd.grad(angle.sum(), flip)
    assert float(slope) == pytest.approx(1.0)
