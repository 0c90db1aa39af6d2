"""A multi-echo sequence of one line, and a bar of two tissues."""

from __future__ import annotations

import math
from dataclasses import replace

import pypulseq as pp
import torch

from pulseq_zero.phantom import Phantom, TissuePool

N, FOV, ECHOES = 16, 0.16, 2


def echo_train(
    spacing: float = 10e-3, flip_angle: float = math.pi, echoes: int = ECHOES
) -> pp.Sequence:
    """Refocus again and again; the echo spacing in seconds, the flip angle in radians."""
    system = pp.Opts(rf_dead_time=100e-6, rf_ringdown_time=20e-6, adc_dead_time=10e-6)
    seq = pp.Sequence(system)
    gx = pp.make_trapezoid("x", flat_area=N / FOV, flat_time=1.6e-3, system=system)
    adc = pp.make_adc(N, duration=1.6e-3, delay=gx.rise_time, system=system)
    pre = pp.make_trapezoid("x", area=gx.area / 2 + 0.5 / FOV, duration=1e-3, system=system)
    crusher = pp.make_trapezoid("z", area=1000, duration=1e-3, system=system)
    pulse = {"duration": 2e-4, "delay": 1e-4, "system": system}
    excite = pp.make_block_pulse(math.pi / 2, phase_offset=math.pi / 2, use="excitation", **pulse)
    refocus = pp.make_block_pulse(flip_angle, use="refocusing", **pulse)
    seq.add_block(excite)
    seq.add_block(pre, crusher)
    # From the centre of a pulse to the end of its block, and to its start
    after, before = 1.2e-4, 2e-4
    wait = spacing / 2 - 1e-3 - after - before
    seq.add_block(pp.make_delay(round(wait / 1e-5) * 1e-5))
    half = pp.calc_duration(gx) / 2 + 1e-3
    first, second = (
        pp.make_delay(round((spacing / 2 - half - end) / 1e-5) * 1e-5) for end in (after, before)
    )
    for echo in range(echoes):
        seq.add_block(refocus)
        seq.add_block(first)
        seq.add_block(crusher)
        seq.add_block(gx, adc, pp.make_label("ECO", "SET", echo))
        seq.add_block(crusher)
        seq.add_block(second)
    seq.set_definition("FOV", [FOV, FOV, 5e-3])
    return seq


def two_echo_trains(spacing: float = 10e-3) -> dict[str, pp.Sequence]:
    """Return a train of full and one of half refocusing."""
    return {"full": echo_train(spacing), "half": echo_train(spacing, math.pi / 2)}


def bar() -> Phantom:
    """Return a bar along x, half of it of short T2 (40 ms), half of long (120 ms)."""
    PD = torch.zeros(N, 1)
    PD[3:13] = 1.0
    left = torch.arange(N)[:, None] < 8
    short, long = torch.where(left, PD, 0.0), torch.where(left, 0.0, PD)
    return Phantom(
        pools={"short": TissuePool.of(short, 1.0, 0.04), "long": TissuePool.of(long, 1.0, 0.12)},
        masks={"short": short, "long": long, "brain": short + long},
        fov=(FOV, FOV),
        slice_thickness=5e-3,
    )


def bars_by_iteration(iteration, phantom, count=2, first=0, batch=False):
    """Return the bar, shorter by two pixels in every other iteration; or all that there are."""

    def short(number: int) -> Phantom:
        inside = torch.zeros(N, 1)
        inside[5 - number : 11 + number] = 1.0
        pools = {
            name: replace(pool, PD=pool.PD * inside, T2=pool.T2 * (1 + 0.1 * number))
            for name, pool in phantom.pools.items()
        }
        masks = {name: mask * inside for name, mask in phantom.masks.items()}
        return replace(phantom, pools=pools, masks=masks)

    return [short(n) for n in range(count)] if batch else short((first + iteration) % count)


def no_phantom(iteration, fails=False):
    """Return what is no phantom, or fail."""
    return 1 / (0.0 if fails else 2.0)


def as_at_the_start(context, share: float = 0.5):
    """Keep the image of the start; how bright it is, and of how many pixels, is told."""
    inside, target = context.region("brain", share), context.start_image.abs()

    def loss(acquisition):
        magnitude = acquisition.images.abs()
        return {
            "changed": (magnitude - target).square().mean(),
            "brightness": 1e-3 * magnitude[:, inside].mean(),
            "pixels": inside.sum(),
        }

    return loss


def t2(acquisition, largest: float = 0.3) -> torch.Tensor:
    """Fit T2 [s] to the magnitudes of two echoes."""
    first, second = acquisition.images.abs()
    times = acquisition.repetitions.time_since_excitation()
    spacing = times[N + N // 2] - times[N // 2]
    fitted = spacing / torch.log((first + 1e-3) / (second + 1e-3)).clamp_min(1e-3)
    return fitted.clamp_max(largest)


def network(hidden: int = 4) -> torch.nn.Module:
    """Return a small network from the echoes of a pixel to its T2 in 0.1 s."""
    return torch.nn.Sequential(
        torch.nn.Linear(ECHOES, hidden), torch.nn.Tanh(), torch.nn.Linear(hidden, 1)
    )


def t2_by_network(acquisition, network) -> torch.Tensor:
    """Let a network make a map of T2 [s]."""
    return 0.1 * network(acquisition.images.abs().movedim(0, -1))[..., 0]


def truth(context, share: float = 0.5):
    """Hold a map of T2 against the truth."""
    short, long = context.region("short", share), context.region("long", share)

    def loss(image):
        return (image[short] - 0.04).square().mean() + (image[long] - 0.12).square().mean()

    return loss


def scaled_ratio(context, share: float = 0.5):
    """Let a multiple of the second sequence be as bright as the first, by the sum of `scale`."""
    inside = context.region("brain", share)

    def loss(parameters, acquisition):
        full, half = (acquisition[name].images.abs()[:, inside].mean() for name in ("full", "half"))
        return (full - parameters["scale"].sum() * half).square()

    return loss


def apart(context, weight: float = 1.0):
    """Let the fitted T2 of two tissues differ."""
    short, long = context.region("short", 0.5), context.region("long", 0.5)

    def loss(image):
        return {"apart": weight * (image[short].mean() - image[long].mean())}

    return loss


def later_echo(context, region: str = "long"):
    """Let a region be bright in the last echo."""
    inside = context.region(region, 0.5)

    def loss(acquisition):
        return -acquisition.images[-1].abs()[inside].mean()

    return loss
