"""A volume in several echoes, of a box of two tissues."""

from __future__ import annotations

import pypulseq as pp
import torch

from pulseq_zero.phantom import Phantom, TissuePool

MATRIX, FOV = (8, 6, 4), (0.16, 0.12, 0.08)
OVERSAMPLING = 2


def volume(flip: float = 0.2, echoes: int = 2) -> pp.Sequence:
    """Sample a volume, with twice as many samples as pixels along x; the angle in radians."""
    seq = pp.Sequence(pp.Opts(rf_dead_time=1e-4, rf_ringdown_time=2e-5, adc_dead_time=1e-5))
    samples = OVERSAMPLING * MATRIX[0]
    gx = pp.make_trapezoid("x", flat_area=MATRIX[0] / FOV[0], flat_time=1.6e-3)
    adc = pp.make_adc(samples, duration=gx.flat_time, delay=gx.rise_time)
    # A sample in the middle of each step: that of the centre lies at zero
    area = gx.area / 2 + gx.flat_area / samples / 2
    rf = pp.make_block_pulse(flip, duration=1e-4, delay=1e-4, use="excitation", system=seq.system)
    for partition in range(MATRIX[2]):
        for line in range(MATRIX[1]):
            steps = [(line - 3) / FOV[1], (partition - 2) / FOV[2]]
            seq.add_block(rf)
            seq.add_block(
                pp.make_trapezoid("x", area=-area, duration=1e-3),
                *(
                    pp.make_trapezoid(c, area=a, duration=1e-3)
                    for c, a in zip("yz", steps, strict=True)
                ),
            )
            for echo in range(echoes):
                if echo:
                    seq.add_block(pp.make_trapezoid("x", area=-gx.area, duration=1e-3))
                labels = {"LIN": line, "PAR": partition, "ECO": echo, "SET": 3}
                made = [pp.make_label(name, "SET", value) for name, value in labels.items()]
                seq.add_block(gx, adc, *made)
            seq.add_block(
                pp.make_trapezoid("z", area=500.0, duration=2e-3),
                *(pp.make_trapezoid("y", area=-a, duration=1e-3) for a in steps[:1]),
            )
    seq.set_definition("FOV", list(FOV))
    return seq


def box() -> Phantom:
    """Return a box off the centre, whose upper half is another tissue."""
    PD = torch.zeros(MATRIX)
    PD[2:6, 1:4, 1:4] = 1.0
    upper = torch.arange(MATRIX[2]) > 2
    below, above = torch.where(upper, 0.0, PD), torch.where(upper, PD, 0.0)
    return Phantom(
        pools={"below": TissuePool.of(below, 0.3, 0.05), "above": TissuePool.of(above, 1.5, 0.05)},
        masks={"below": below, "above": above, "brain": PD},
        fov=FOV[:2],
        slice_thickness=FOV[2] / MATRIX[2],
    )


def brighter(context, share: float = 0.5):
    """Let the box be bright in the first echo."""
    inside = context.region("brain", share)

    def loss(acquisition):
        return -acquisition.images[0].abs()[inside].mean()

    return loss
