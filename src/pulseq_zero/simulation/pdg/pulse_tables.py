"""What shapes of pulses do: elements (a, b) of SU(2), composed of their steps.

A shape is expanded once, by its strength and by off-resonance, and kept: pulses that differ by
their flip angle are polynomials of that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pulseq_zero.errors import SimulationError
from pulseq_zero.simulation.pdg.chebyshev import Range, chebyshev_nodes, polynomials, to_terms
from pulseq_zero.simulation.pdg.pulse_families import Family, SilentPulses

# Polynomials beyond an exponential type t are as many as t/3 and this number.
_BEYOND = 8
# Of larger types, tables of polynomials take a GiB
_MOST = 8000.0
# The largest strength of an expansion is a power of 2, or so many between two of them: one serves
# for a while as flip angles grow.
_STRENGTHS = 4
# A gradient that changes by no more than this part of it is constant.
_CONSTANT = 1e-12
# So many numbers are composed at once: more do not fit into the caches of processors
_AT_ONCE = 2**17


@dataclass(frozen=True)
class ShapeTable:
    """A shape as polynomials in its strength and in off-resonance.

    Attributes
    ----------
    strongest
        The strength that is 1 to the polynomials.
    terms
        (4, strength terms, places, offset terms) of a and b, real and imaginary parts;
        differentiable.
    """

    strongest: float
    terms: Tensor


class ShapeTables:
    """Expands shapes, and keeps what the last pulses needed for the next ones.

    What is kept follows from the shapes alone, bit by bit, and not from what was kept before.
    """

    def __init__(self) -> None:
        self._known: list[tuple[_Key, ShapeTable]] = []

    def of(
        self, families: list[Family], most: float, place: Tensor, interval: Range
    ) -> list[ShapeTable]:
        """Return the expansion of each shape, and forget those of others.

        Parameters
        ----------
        families
            Pulses by their shape.
        most
            The largest transmit field.
        place
            (places, xyz) [m].
        interval
            Off-resonance [Hz].
        """
        found: list[ShapeTable] = []
        kept: list[tuple[_Key, ShapeTable]] = []
        for family in families:
            largest = float(family.scale.detach().abs().max()) * most
            strongest = 2 ** (math.ceil(_STRENGTHS * math.log2(max(largest, 1e-12))) / _STRENGTHS)
            key = _Key(
                strongest,
                interval,
                (family.signal, family.time, family.moment, family.centre, place),
            )
            table = self._find(key)
            if table is None:
                table = ShapeTable(strongest, _expand(family, strongest, place, interval))
            found.append(table)
            if not table.terms.requires_grad:
                kept.append((key.snapshot(), table))
        self._known = kept
        return found

    def _find(self, key: _Key) -> ShapeTable | None:
        return next((table for known, table in self._known if known.is_that_of(key)), None)


@dataclass(frozen=True)
class _Key:
    strongest: float
    interval: Range
    tensors: tuple[Tensor, ...]

    def snapshot(self) -> _Key:
        # What pulses are made of may be changed in place
        return replace(self, tensors=tuple(tensor.detach().clone() for tensor in self.tensors))

    def is_that_of(self, other: _Key) -> bool:
        return (
            (self.strongest, self.interval) == (other.strongest, other.interval)
            and not any(tensor.requires_grad for tensor in other.tensors)
            and all(map(torch.equal, self.tensors, other.tensors))
        )


def _expand(family: Family, strongest: float, place: Tensor, interval: Range) -> Tensor:
    """Return the terms of `ShapeTable`."""
    time, signal = family.time.detach(), family.signal.detach()
    area = math.pi * float((signal.abs() * time).sum())
    strength = chebyshev_nodes(degree(area * strongest))
    offset = chebyshev_nodes(degree(math.pi * float(time.sum()) * interval.half))
    frequency = interval.at(offset)
    a, b = turned_everywhere(family, strongest * strength, place, frequency)
    values = torch.stack([a.real, a.imag, b.real, b.imag])
    # (4, strengths, places, offsets) in polynomials of the strength and of the offset
    in_strength = torch.einsum("ts,xspo->xtpo", to_terms(strength), values)
    return torch.einsum("ko,xtpo->xtpk", to_terms(offset), in_strength)


def turned_everywhere(
    family: Family, strength: Tensor, place: Tensor, offset: Tensor
) -> tuple[Tensor, Tensor]:
    """Return what `turned_by` does, to the rounding of polynomials.

    Under a gradient that is constant, or none, place and off-resonance are one frequency: the
    pulse is composed at few of these, and interpolated.
    """
    given = (family.time, family.moment, family.centre, place)
    gradient = family.moment / family.time[:, None]
    constant = gradient.mean(0)
    is_constant = bool(((gradient - constant).abs() <= _CONSTANT * constant.abs().max()).all())
    if is_constant and not any(values.requires_grad for values in given):
        frequency = (place @ constant)[:, None] + offset
        among = Range.of(frequency)
        # By the precession that `turned_by` takes out, a is of up to twice the type of b
        nodes = chebyshev_nodes(degree(2 * math.pi * float(family.time.sum()) * among.half))
        if len(nodes) < frequency.numel():
            a, b = turned_by(family, strength, torch.zeros_like(place[:1]), among.at(nodes))
            terms = polynomials(among.relative(frequency.flatten()), len(nodes))
            between = (to_terms(nodes).T @ terms).to(a.dtype)
            a, b = ((x[:, 0] @ between).unflatten(1, frequency.shape) for x in (a, b))
            return a, b
    each = len(family.time) * len(strength) * len(offset)
    parts = [
        turned_by(family, strength, some, offset) for some in place.split(max(1, _AT_ONCE // each))
    ]
    a, b = (torch.cat(part, 1) for part in zip(*parts, strict=True))
    return a, b


def degree(kind: float) -> int:
    """Return how many polynomials hold a function of an exponential type on [-1, 1]."""
    if not kind <= _MOST:
        raise SimulationError(
            f"a pulse turns spins by up to {2 * kind:.3g} rad, by its field or off resonance, more "
            f"than the {2 * _MOST:g} rad that can be played; lower its amplitude, or play several "
            "pulses, one after the other"
        )
    return 1 if kind == 0 else math.ceil(1.35 * kind + min(_BEYOND, 3 + 20 * kind))


def turned_by(
    family: Family, strength: Tensor, place: Tensor, offset: Tensor
) -> tuple[Tensor, Tensor]:
    """Compose the steps of a pulse, (strengths, places, offsets) complex a and b.

    ``strength`` multiplies the signal, ``place`` is (places, xyz) [m], ``offset`` [Hz].

    With w half the rotation vector of a step's mean field and s half the change of it across the
    step, it turns by w + s x w / 6: to fourth order in its duration (Magnus expansion; Blanes et
    al., Phys. Rep. 470, 2009, doi:10.1016/j.physrep.2008.11.001).
    """
    gradient = family.moment / family.time[:, None]
    steps = (family.time, family.moment, _change(gradient), family.signal, _change(family.signal))
    # Of long pulses only so many, or nothing would hold them
    count = max(1, _AT_ONCE // (len(strength) * len(place) * len(offset)))
    parts = (
        _composed(*some, strength=strength, place=place, offset=offset)
        for some in zip(*(each.split(count) for each in steps), strict=True)
    )
    a, b, turn = next(parts)
    for a2, b2, more in parts:
        a, b, turn = a2 * a - b2.conj() * b, b2 * a + a2.conj() * b, turn + more
    before = _until(family, place, offset)
    after = turn - before
    one = torch.ones_like(before)
    # Turns about z by minus what precession does before and after the centre
    p, q = torch.polar(one, before), torch.polar(one, after)
    return a * p * q, b * p * q.conj()


def _composed(
    time: Tensor,
    moment: Tensor,
    slope: Tensor,
    signal: Tensor,
    bend: Tensor,
    *,
    strength: Tensor,
    place: Tensor,
    offset: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compose steps of a pulse: a, b (strengths, places, offsets), turns (places, offsets) [rad].

    ``slope`` and ``bend`` are by how much gradient and signal change across each.
    """

    def shaped(values: Tensor, dimensions: int) -> Tensor:
        return values.reshape(-1, *[1] * dimensions)

    # (steps, strengths, places, offsets), in the plane as complex numbers
    plane = math.pi * shaped(signal * time, 3) * strength[:, None, None]
    bend = math.pi * shaped(bend * time, 3) * strength[:, None, None]
    turn = (moment @ place.T)[..., None] + shaped(time, 2) * offset
    turn = math.pi * turn[:, None]
    slope = math.pi * (slope * time[:, None] @ place.T)[:, None, :, None]
    about_xy = plane + 1j / 6 * (slope * plane - turn * bend)
    about_z = turn + (bend.conj() * plane).imag / 6
    half = (about_z.square() + _square(about_xy)).clamp_min(1e-60).sqrt()
    sine = half.sin() / half
    a = torch.complex(half.cos(), -sine * about_z)
    b = -1j * sine * about_xy
    while len(a) > 1:
        if len(a) % 2:
            a = torch.cat([a, torch.ones_like(a[:1])])
            b = torch.cat([b, torch.zeros_like(b[:1])])
        a1, a2, b1, b2 = a[::2], a[1::2], b[::2], b[1::2]
        a, b = a2 * a1 - b2.conj() * b1, b2 * a1 + a2.conj() * b1
    return a[0], b[0], turn.sum(0)[0]


def slopes_at_zero(pulses: SilentPulses, place: Tensor, offset: Tensor) -> Tensor:
    """Return b of pulses of no strength, (members, places, offsets), linear in their signals.

    As `turned_by`, to the first order: a is 1, and each step turns what those before it and after
    it only let precess.
    """
    time, moment = pulses.time, pulses.moment
    turn = math.pi * ((moment @ place.T)[..., None] + time[:, None, None] * offset)
    before = turn.cumsum(0) - turn
    after = turn.sum(0) - turn - before
    weight = -1j * torch.sinc(turn / math.pi) * torch.polar(torch.ones_like(turn), after - before)
    slope = math.pi * (_change(moment / time[:, None]) * time[:, None] @ place.T)[..., None]
    plane = math.pi * pulses.signal * time
    bend = math.pi * torch.stack([_change(signal) for signal in pulses.signal]) * time
    b = torch.einsum("ms,spo->mpo", plane, weight * (1 + 1j / 6 * slope))
    b = b - torch.einsum("ms,spo->mpo", bend, 1j / 6 * weight * turn)
    until = _until(pulses, place, offset)
    return b * torch.polar(torch.ones_like(until), 2 * until - turn.sum(0))


def _change(mean: Tensor) -> Tensor:
    """Return by how much what has these means in the steps changes across each of them."""
    if len(mean) == 1:
        return torch.zeros_like(mean)
    padded = torch.cat([2 * mean[:1] - mean[1:2], mean, 2 * mean[-1:] - mean[-2:-1]])
    return 0.5 * (padded[2:] - padded[:-2])


def _square(values: Tensor) -> Tensor:
    return values.real.square() + values.imag.square()


def _until(family: Family | SilentPulses, place: Tensor, offset: Tensor) -> Tensor:
    """Return (places, offsets) half the angle of precession before the centre."""
    ends, centre = family.time.cumsum(0), family.centre
    step = int(torch.searchsorted(ends.detach(), centre.detach()).clamp(max=len(ends) - 1))
    part = (centre - ends[step] + family.time[step]) / family.time[step]
    passed = family.moment[:step].sum(0) + part * family.moment[step]
    return math.pi * ((place @ passed)[:, None] + centre * offset)
