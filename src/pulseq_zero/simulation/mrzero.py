"""MRzeroCore's own engine: the reference, and the way for what ours leaves out.

Its prepass makes a graph of states, its main pass simulates them, and `select_states` gives the
graph to our main pass instead.

It lets spins turn by exp(-2πi (k·r + f t)), where Pulseq has the other sense: it is given the
conjugate of everything, see `Repetitions.conjugate`, and its signal is conjugated.
"""

from __future__ import annotations

import contextlib
import copy
import gc
import math
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pulseq_zero.conversion.repetitions import Repetitions
from pulseq_zero.simulation.pdg.graph import KINDS, StateGraph, Thresholds

if TYPE_CHECKING:
    import MRzeroCore as mr0

_KIND_CODE = {name: code for code, name in enumerate(KINDS)}


def has_motion(data: mr0.SimData) -> bool:
    """Tell whether the phantom moves."""
    return data.voxel_motion is not None or data.phantom_motion is not None


def simulate(
    repetitions: Repetitions,
    data: mr0.SimData,
    thresholds: Thresholds,
    initial: Tensor | None = None,
    graph: mr0.Graph | None = None,
) -> tuple[Tensor, int]:
    """Simulate with MRzeroCore, both passes.

    Parameters
    ----------
    repetitions, data, thresholds, initial
        As for `execute_graph`.
    graph
        What `compute_graph` returned, or None to make it.

    Returns
    -------
    tuple
        The signal, as `execute_graph` returns it, and the number of simulated states.
    """
    if graph is None:
        graph = compute_graph(repetitions, data, thresholds, rotation_table(data))
    signal = execute_graph(graph, repetitions, data, thresholds, initial)
    return signal, len(select_states(graph, thresholds).emits)


def rotation_table(data: mr0.SimData) -> Tensor:
    """Effect of a pulse on the phantom as a whole, from which the prepass estimates signals.

    MRzeroCore averages sin(B1 α) over the voxels. Near α = π it averages to nothing although it
    is large in most of them, wherever B1 is above or below 1: stimulated echoes of refocusing
    pulses would be left out. Its root mean square says what there is.

    Returns
    -------
    Tensor
        (361, 3) sin(B1 α), cos(B1 α) and sin²(B1 α / 2) for α from 0 to 2π.
    """
    angle = torch.linspace(0, 2 * math.pi, 361)
    transmit = data.B1.detach().sum(0).abs().float().cpu()
    weight = data.PD.detach().float().cpu() / float(data.PD.detach().sum())
    table = data.avg_B1_trig.detach().cpu().clone()
    table[:, 0] = (torch.sin(angle[:, None] * transmit).square() @ weight).sqrt()
    table[180:, 0] *= -1  # a root has lost the sign
    return table


def compute_graph(
    repetitions: Repetitions, data: mr0.SimData, thresholds: Thresholds, rotations: Tensor
) -> mr0.Graph:
    """Run MRzeroCore's prepass, without its printing, for its main pass.

    ``rotations`` is the phantom's `rotation_table`.

    States beyond the voxels' Nyquist frequency are cut off where the voxels are band-limited
    (sinc). Box and point voxels answer there too, so that nothing may be cut off.
    """
    import MRzeroCore as mr0

    nyquist = data.nyquist.tolist() if is_band_limited(data) else [float("inf")] * 3
    sequence = repetitions.detach().to("cpu").to_mr0()
    with _silent(), _without_garbage_collection():
        graph = mr0.compute_graph_ext(
            sequence,
            float(data.T1.detach().mean()),
            float(data.T2.detach().mean()),
            float(data.T2dash.detach().mean()),
            float(data.D.detach().mean()),
            thresholds.max_state_count,
            thresholds.min_state_magnetisation,
            nyquist,
            data.size.tolist(),
            rotations,
        )
        _put_in_order(graph)
    return graph


def _put_in_order(graph: mr0.Graph) -> None:
    """Sort states and their ancestors in place.

    The prepass lists them in the order of a randomized hash table. Edges, which are unique,
    give an order of their own: sums are then made alike, the ancestor that a state's
    dephasing is traced back along is always the same, and results repeat bit for bit.
    """
    number = {id(state): index for index, state in enumerate(graph[0])}
    for states in graph[1:]:
        edges = {}
        for state in states:
            ordered = sorted(
                ((_KIND_CODE[edge[0]], number[id(edge[1])]), place)
                for place, edge in enumerate(state.ancestors)
            )
            edges[id(state)] = [edge for edge, _ in ordered]
            state.ancestors = [state.ancestors[place] for _, place in ordered]
        states.sort(key=lambda state: edges[id(state)])
        number = {id(state): index for index, state in enumerate(states)}


def is_band_limited(data: mr0.SimData) -> bool:
    """Tell whether the voxels have no signal beyond their Nyquist frequency."""
    beyond = 1.3 * data.nyquist[None] + 10.0
    if not bool(beyond.isfinite().all()):
        return False
    return float(data.dephasing_func(beyond, data.nyquist).abs().max()) < 1e-6


def select_states(graph: mr0.Graph, thresholds: Thresholds) -> StateGraph:
    """Keep the states that MRzeroCore's main pass would simulate.

    Parameters
    ----------
    graph
        What `compute_graph` returned: one list of states before the first pulse, then one
        for each repetition.
    thresholds
        Which states are carried on and measured.
    """
    with _without_garbage_collection():
        return _select_states(graph, thresholds)


def _select_states(graph: mr0.Graph, thresholds: Thresholds) -> StateGraph:
    min_latent, min_emitted = thresholds.min_latent_signal, thresholds.min_emitted_signal
    counts, transverse_counts, edge_counts, kinds, sources, emits = [], [], [], [], [], []
    number_before = {id(graph[0][0]): 0}
    for states in graph[1:]:
        by_type: dict[str, list] = {"+": [], "z0": [], "z": []}
        for state in states:
            kind = state.dist_type
            if kind != "z0" and state.latent_signal < min_latent:
                continue
            edges = [
                (_KIND_CODE[edge[0]], number_before[id(edge[1])])
                for edge in state.ancestors
                if id(edge[1]) in number_before
            ]
            if kind != "z0" and not edges:
                continue
            emitted = kind == "+" and state.emitted_signal >= min_emitted
            by_type[kind].append((state, edges, emitted))
        kept = by_type["+"] + by_type["z0"] + by_type["z"]
        number_before = {id(state): number for number, (state, _, _) in enumerate(kept)}
        counts.append(len(kept))
        transverse_counts.append(len(by_type["+"]))
        for _, edges, emitted in kept:
            edge_counts.append(len(edges))
            emits.append(emitted)
            for code, source in edges:
                kinds.append(code)
                sources.append(source)
    return StateGraph(
        count=np.array(counts, dtype=np.int64),
        transverse=np.array(transverse_counts, dtype=np.int64),
        first_edge=np.concatenate([[0], np.cumsum(edge_counts)]).astype(np.int64),
        kind=np.array(kinds, dtype=np.int64),
        source=np.array(sources, dtype=np.int64),
        emits=np.array(emits, dtype=bool),
    )


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Keep the prepass quiet: it prints below Python, straight to the file descriptor."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    saved, sink = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(sink, 1)
        yield
    finally:
        os.dup2(saved, 1)
        os.close(saved)
        os.close(sink)


@contextlib.contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Hold the collector back: it would walk over all of torch for thousands of new states."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def execute_graph(
    graph: mr0.Graph,
    repetitions: Repetitions,
    data: mr0.SimData,
    thresholds: Thresholds,
    initial: Tensor | None = None,
) -> Tensor:
    """Simulate with MRzeroCore, in float32 and on the phantom's device.

    Parameters
    ----------
    graph
        What `compute_graph` returned.
    repetitions
        The sequence.
    data
        The phantom.
    thresholds
        Which states are carried on and measured.
    initial
        (voxels,) magnetisation before the first pulse, or None for full relaxation.

    Returns
    -------
    Tensor
        (samples, coils) complex, differentiable.
    """
    import MRzeroCore as mr0

    sequence = repetitions.to(data.device).to_mr0()
    if not sequence:
        return torch.zeros(0, data.coil_sens.shape[0], dtype=torch.complex64, device=data.device)
    signal = mr0.execute_graph(
        graph,
        sequence,
        conjugate_fields(data),
        min_emitted_signal=thresholds.min_emitted_signal,
        min_latent_signal=thresholds.min_latent_signal,
        print_progress=False,
        intitial_mag=None if initial is None else initial.to(torch.complex64),
    )
    return signal.conj().resolve_conj()


def conjugate_fields(data: mr0.SimData) -> mr0.SimData:
    """Return the same phantom, its transmit fields and coil sensitivities conjugated."""
    turned = copy.copy(data)
    turned.B1, turned.coil_sens = data.B1.conj(), data.coil_sens.conj()
    return turned
