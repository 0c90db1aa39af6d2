"""Which played pulses depend on the parameters by a real factor of their signals alone."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from pulseq_zero.conversion.assembly import Assembly
from pulseq_zero.tracing import GuardBroken, Program

# Gradients across a signal that are none, relative to those along it.
_ACROSS = 1e-7

# So far from their values are parameters when it is asked, absolutely and relatively: gradients
# across may vanish right there.
_AWAY = 1e-4


def scaled_pulses(program: Program, assembly: Assembly) -> tuple[bool, ...]:
    """Tell which pulses depend on the parameters by a real factor of their signals alone.

    Whatever the parameters, signals then change along themselves: not at all across, which is
    asked for in random directions. Of all pulses at once; only where some do is each asked by
    itself.

    Parameters
    ----------
    program, assembly
        Of the sequence, whose pulses are played.

    Returns
    -------
    tuple
        (pulses,) False for those of no strength, too.
    """
    counts = assembly.step_count
    generator = torch.Generator().manual_seed(0)
    if not counts:
        return ()
    try:
        wanted, signal = _signal(program, generator, _AWAY)
    except GuardBroken:
        wanted, signal = _signal(program, generator, 0.0)
    if not signal.requires_grad:
        return (True,) * len(counts)
    pulse = torch.repeat_interleave(torch.tensor(counts))
    along, size = _relative(signal.detach().double(), pulse, len(counts))
    has_signal = size > 0
    across = torch.randn(signal.shape, generator=generator, dtype=torch.float64)
    across = across - along * _sums((along * across).sum(0), pulse, len(counts))[pulse]
    across, _ = _relative(across * has_signal[pulse], pulse, len(counts))
    # Gradients of two pulses by one parameter might cancel each other
    sign = torch.randn(len(counts), generator=generator, dtype=torch.float64)[pulse]
    by_all = _gradients(signal, sign * along, wanted)
    if bool((_gradients(signal, across, wanted) <= _ACROSS * by_all).all()):
        return tuple(has_signal.tolist())
    ends = [0, *itertools.accumulate(counts)]
    found = []
    for (first, last), sounds in zip(itertools.pairwise(ends), has_signal.tolist(), strict=True):
        here = slice(first, last)
        most, usual = (
            float(_gradients(signal[:, here], direction[:, here], wanted).max())
            for direction in (across, along)
        )
        found.append(sounds and most <= _ACROSS * max(usual, 1e-300))
    return tuple(found)


def _signal(
    program: Program, generator: torch.Generator, away: float
) -> tuple[list[Tensor], Tensor]:
    """Return the inputs, and (parts, steps) signals, not far away from where they were traced."""
    sources = {name: x.detach().clone() for name, x in program.sources.items()}
    for name, x in sources.items():
        if x.is_floating_point():
            aside = torch.rand(x.shape, generator=generator, dtype=torch.float64).to(x)
            sources[name] = (x + away * (1 + x.abs()) * aside).requires_grad_()
    inputs = [x for x in sources.values() if x.is_floating_point()]
    return inputs, torch.stack(program(sources)[5:7])


def _sums(values: Tensor, pulse: Tensor, count: int) -> Tensor:
    return torch.zeros(count, dtype=torch.float64).index_add(0, pulse, values)


def _relative(values: Tensor, pulse: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return (parts, steps) relative to the size of each pulse, and (pulses,) these."""
    size = _sums(values.square().sum(0), pulse, count).sqrt()
    return values / size.clamp_min(1e-300)[pulse], size


def _gradients(signal: Tensor, direction: Tensor, inputs: Sequence[Tensor]) -> Tensor:
    """Return how much each number of the inputs changes a signal in a direction."""
    along = (signal * direction.to(signal)).sum()
    found = torch.autograd.grad(along, inputs, retain_graph=True, allow_unused=True)
    every = [torch.zeros_like(x) if g is None else g for x, g in zip(inputs, found, strict=True)]
    return torch.cat([gradient.flatten().abs().double().cpu() for gradient in every])
