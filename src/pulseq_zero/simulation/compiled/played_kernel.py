"""Compiled loops over blocks of voxels where pulses are played; the sibling of `kernel`.

Each voxel is a stack of cells, which share all but the pulses and their place along the stack. Cell
after cell goes through the sequence, and a voxel's signal is summed before it turns in the plane.
"""

# Compiled functions have no annotations: numba derives the types from the arguments.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from pulseq_zero.importing.loops import kept
from pulseq_zero.simulation.compiled.block import (
    BLOCK,
    TISSUE_ROWS,
    add_map_gradients,
    aligned_zeros,
    load_voxels,
)
from pulseq_zero.simulation.compiled.emission_steps import (
    anchor_sums,
    displaced_adjoint,
    emission_adjoint,
    emission_map_gradients,
    emission_slope,
    emit_item,
    load_gradient,
    make_emission,
)
from pulseq_zero.simulation.compiled.played_steps import (
    PULSE_ROWS,
    SPINOR_ROWS,
    add_emitted,
    add_pulled,
    basis_gradients,
    coefficient_gradients,
    load_basis,
    make_factors,
    make_spinors,
    place_sum,
    play,
    play_adjoint,
    play_back,
    spinor_gradients,
    within_cell,
)
from pulseq_zero.simulation.compiled.relaxation_steps import (
    add_displaced_decay,
    decay,
    decay_map_gradients,
    decay_sums,
    hand_back,
    hand_over,
    hand_over_map_gradients,
    make_rates,
    recover,
)
from pulseq_zero.simulation.compiled.rotation_steps import ROTATION_ROWS, position_sums, turn_sum

_ONE, _ZERO = np.float32(1), np.float32(0)
_TURN = np.float32(2 * np.pi)

_compiled = kept(fastmath=True, nogil=True)


@_compiled
def emit(graph, hand_overs, items, drive, voxels, pulses, emitted, first, stop):
    """Propagate voxels ``first`` to ``stop`` and write what the items emit, as `kernel.emit`.

    ``pulses`` are `arrays.PulseArrays`.
    """
    first_state, transverse, largest = graph.first_state, graph.transverse, graph.largest
    forward, first_forward = graph.forward, graph.first_forward
    first_given = hand_overs.first
    order, first_item, local, sign = items.order, items.first, items.state, items.sign
    phase, duration, b_end = drive.phase, drive.duration, drive.b_end
    k_anchor, t_anchor, b_anchor = drive.k_anchor, drive.t_anchor, drive.b_anchor
    coefficients, basis, layer = pulses.coefficients, pulses.basis, pulses.layer
    shim, pulse_of, turns = pulses.shim, pulses.pulse, pulses.turn
    largest_layers = pulses.largest_layers
    repetitions, cells, shims = len(phase), coefficients.shape[1], len(basis)
    before = aligned_zeros(largest + 1, 2 * BLOCK)
    states = aligned_zeros(largest + 1, 2 * BLOCK)
    summed = aligned_zeros(len(order), 2 * BLOCK)
    spinor = aligned_zeros(1, SPINOR_ROWS * BLOCK)[0]
    pulse = aligned_zeros(1, PULSE_ROWS * BLOCK)[0]
    rates = aligned_zeros(1, 2 * BLOCK)[0]
    factor = aligned_zeros(1, 2 * BLOCK)[0]
    frame = aligned_zeros(1, ROTATION_ROWS * BLOCK)[0]
    tissue = aligned_zeros(1, TISSUE_ROWS * BLOCK)[0]
    field = aligned_zeros(len(voxels.B1), 2 * BLOCK)
    polynomials = aligned_zeros(largest_layers * shims * basis.shape[1], BLOCK)
    masks = aligned_zeros(largest_layers, BLOCK)
    present = np.zeros(largest_layers, np.int64)
    for start in range(first, stop, BLOCK):
        size = min(BLOCK, stop - start)
        summed[:] = _ZERO
        found = load_basis(polynomials, masks, present, basis, layer, start, size)
        for cell in range(cells):
            largest_D = load_voxels(tissue, field, before, voxels, start, size)
            for r in range(repetitions):
                make_spinors(
                    spinor, coefficients, cell, pulse_of[r], polynomials, present, found, shims,
                    shim[pulse_of[r]], phase[r], field,
                )  # fmt: skip
                make_factors(pulse, spinor)
                play(
                    pulse, before, 0, states, forward,
                    first_forward[r, 0], first_forward[r, 1], first_forward[r, 2], False,
                )  # fmt: skip
                play(
                    pulse, before, 0, states, forward,
                    first_forward[r, 2], first_forward[r, 3], first_forward[r + 1, 0], True,
                )  # fmt: skip
                for place in range(first_item[r], first_item[r + 1]):
                    i = order[place]
                    add_emitted(summed, i, states, local[i], turns[i, cell, 0], turns[i, cell, 1])
                if r + 1 == repetitions:
                    break
                a, count, many = first_state[r], first_state[r + 1] - first_state[r], transverse[r]
                make_rates(rates, duration[r], tissue)
                decay(states, 0, before, 0, count, many, b_end, a, rates, tissue, largest_D)
                recover(before, many, rates)
                hand_over(before, 0, hand_overs, first_given[r], first_given[r + 1], tissue, _ONE)
        for i in range(len(order)):
            make_emission(factor, frame, k_anchor, t_anchor, b_anchor, sign, i, tissue)
            emit_item(emitted, i, start, size, factor, summed, i)


@_compiled
def adjoint(
    graph, hand_overs, items, drive, voxels, pulses, by_coefficients, by_basis,
    gradient, position_slopes, emitted, sums, maps, wanted, first, stop,
):  # fmt: skip
    """Take the items' gradient back for voxels ``first`` to ``stop``, as `kernel.adjoint`.

    ``by_coefficients`` and ``by_basis`` receive the gradients by those of the pulses.
    """
    first_state, transverse, largest = graph.first_state, graph.transverse, graph.largest
    forward, first_forward = graph.forward, graph.first_forward
    backward, first_backward = graph.backward, graph.first_backward
    first_given = hand_overs.first
    order, first_item, local, sign = items.order, items.first, items.state, items.sign
    phase, duration, b_end = drive.phase, drive.duration, drive.b_end
    k_anchor, t_anchor, b_anchor = drive.k_anchor, drive.t_anchor, drive.b_anchor
    coefficients, basis, layer = pulses.coefficients, pulses.basis, pulses.layer
    shim, pulse_of, turns = pulses.shim, pulses.pulse, pulses.turn
    where, largest_layers = pulses.place, pulses.largest_layers
    g_phase, g_duration, g_b_end = sums.phase, sums.duration, sums.b_end
    g_k, g_t, g_b, g_total = sums.k_anchor, sums.t_anchor, sums.b_anchor, sums.total
    axes, b_slope, item_slope = position_slopes.axes, position_slopes.state, position_slopes.item
    want_maps, want_emitted = len(maps.R1) > 0, len(emitted) > 0
    timing, want_total = wanted.timing, wanted.total
    repetitions, item_count, rows = len(phase), len(order), largest + 1
    cells, shims = coefficients.shape[1], len(basis)
    given_axes = len(gradient) // max(1, item_count) - 1
    # States before the pulses: one before the first, and a last one of zeros.
    before = aligned_zeros(first_state[repetitions] + 2, 2 * BLOCK)
    states = aligned_zeros(largest + 1, 2 * BLOCK)
    toward = aligned_zeros(largest + 1, 2 * BLOCK)
    back = aligned_zeros(largest + 1, 2 * BLOCK)
    summed = aligned_zeros(item_count, 2 * BLOCK)
    pulled = aligned_zeros(item_count, 2 * BLOCK)
    displaced = aligned_zeros(len(axes) * rows, 2 * BLOCK)
    displaced_back = aligned_zeros(len(axes) * rows, 2 * BLOCK)
    displaced_pulled = aligned_zeros(len(axes) * item_count, 2 * BLOCK)
    spinor = aligned_zeros(1, SPINOR_ROWS * BLOCK)[0]
    pulse = aligned_zeros(1, PULSE_ROWS * BLOCK)[0]
    by_factors = aligned_zeros(1, PULSE_ROWS * BLOCK)[0]
    by_spinor = aligned_zeros(1, SPINOR_ROWS * BLOCK)[0]
    rates = aligned_zeros(1, 2 * BLOCK)[0]
    factor = aligned_zeros(1, 2 * BLOCK)[0]
    slope = aligned_zeros(1, 2 * BLOCK)[0]
    other = aligned_zeros(1, 2 * BLOCK)[0]
    frame = aligned_zeros(1, ROTATION_ROWS * BLOCK)[0]
    tissue = aligned_zeros(1, TISSUE_ROWS * BLOCK)[0]
    by_tissue = aligned_zeros(1, TISSUE_ROWS * BLOCK)[0]
    field = aligned_zeros(len(voxels.B1), 2 * BLOCK)
    polynomials = aligned_zeros(largest_layers * shims * basis.shape[1], BLOCK)
    masks = aligned_zeros(largest_layers, BLOCK)
    present = np.zeros(largest_layers, np.int64)
    by_field = aligned_zeros(len(voxels.B1), 2 * BLOCK)
    # What is emitted is in the frame of the scanner, and depends on no phase of the field
    not_turned = aligned_zeros(1, 2 * BLOCK)
    for start in range(first, stop, BLOCK):
        size = min(BLOCK, stop - start)
        by_tissue[:] = _ZERO
        by_field[:] = _ZERO
        summed[:] = _ZERO
        found = load_basis(polynomials, masks, present, basis, layer, start, size)
        largest_D = load_voxels(tissue, field, before, voxels, start, size)
        for i in range(item_count):
            slope[:] = _ZERO
            load_gradient(gradient, i, start, size, slope)
            make_emission(factor, frame, k_anchor, t_anchor, b_anchor, sign, i, tissue)
            emission_adjoint(slope, factor, pulled, i)
            for axis in range(len(axes)):
                other[:] = _ZERO
                if axis < given_axes:
                    load_gradient(gradient, (axis + 1) * item_count + i, start, size, other)
                row = axis * item_count + i
                displaced_adjoint(
                    other, factor, pulled, i, displaced_pulled, row,
                    item_slope[row, 0], item_slope[row, 1], tissue,
                )  # fmt: skip
        for cell in range(cells):
            old = 0
            for r in range(repetitions):
                make_spinors(
                    spinor, coefficients, cell, pulse_of[r], polynomials, present, found, shims,
                    shim[pulse_of[r]], phase[r], field,
                )  # fmt: skip
                make_factors(pulse, spinor)
                play(
                    pulse, before, old, states, forward,
                    first_forward[r, 0], first_forward[r, 1], first_forward[r, 2], False,
                )  # fmt: skip
                play(
                    pulse, before, old, states, forward,
                    first_forward[r, 2], first_forward[r, 3], first_forward[r + 1, 0], True,
                )  # fmt: skip
                for place in range(first_item[r], first_item[r + 1]):
                    i = order[place]
                    cosine, sine = turns[i, cell, 0], turns[i, cell, 1]
                    if want_emitted or want_maps or timing:
                        add_emitted(summed, i, states, local[i], cosine, sine)
                    if timing and cells > 1:
                        by_place = place_sum(pulled, i, states, local[i], cosine, sine)
                        for axis in range(3):
                            g_k[i, axis] += _TURN * where[cell, axis] * by_place
                if r + 1 == repetitions:
                    break
                a, count, many = first_state[r], first_state[r + 1] - first_state[r], transverse[r]
                old = 1 + a
                make_rates(rates, duration[r], tissue)
                decay(states, 0, before, old, count, many, b_end, a, rates, tissue, largest_D)
                recover(before, old + many, rates)
                hand_over(before, old, hand_overs, first_given[r], first_given[r + 1], tissue, _ONE)
            toward[:] = _ZERO
            displaced[:] = _ZERO
            for r in range(repetitions - 1, -1, -1):
                for place in range(first_item[r], first_item[r + 1]):
                    i = order[place]
                    cosine, sine = turns[i, cell, 0], turns[i, cell, 1]
                    add_pulled(toward, local[i], pulled, i, cosine, sine)
                    for axis in range(len(axes)):
                        row = axis * item_count + i
                        state = axis * rows + local[i]
                        add_pulled(displaced, state, displaced_pulled, row, cosine, sine)
                make_spinors(
                    spinor, coefficients, cell, pulse_of[r], polynomials, present, found, shims,
                    shim[pulse_of[r]], phase[r], field,
                )  # fmt: skip
                make_factors(pulse, spinor)
                old = 1 + first_state[r - 1] if r > 0 else 0
                by_factors[:] = _ZERO
                play_adjoint(
                    pulse, before, old, toward, back, by_factors, backward,
                    first_backward[r, 0], first_backward[r, 1], first_backward[r, 2], False,
                )  # fmt: skip
                play_adjoint(
                    pulse, before, old, toward, back, by_factors, backward,
                    first_backward[r, 2], first_backward[r, 3], first_backward[r + 1, 0], True,
                )  # fmt: skip
                which = shim[pulse_of[r]]
                g_phase[r] += spinor_gradients(
                    by_factors, spinor, by_spinor, phase[r], field, which, by_field
                )
                coefficient_gradients(
                    by_spinor, by_coefficients, cell, pulse_of[r], polynomials, present, found,
                    shims, which,
                )  # fmt: skip
                if want_maps:
                    basis_gradients(
                        by_spinor, coefficients, by_basis, cell, pulse_of[r], masks, present, found,
                        which, start, size,
                    )  # fmt: skip
                if r == 0:
                    break
                a, count, many = old - 1, first_state[r] - first_state[r - 1], transverse[r - 1]
                if want_total:
                    turn_sum(before, old, back, 0, many, slope)
                    position_sums(slope, tissue, r - 1, g_total)
                    by_place = within_cell(slope)
                    for axis in range(3):
                        g_total[r - 1, axis] += _TURN * where[cell, axis] * by_place
                for axis in range(len(axes)):
                    at = axis * rows
                    play_back(
                        pulse, displaced, displaced_back, at, at + largest, backward,
                        first_backward[r, 0], first_backward[r, 1], first_backward[r, 2], False,
                    )  # fmt: skip
                    play_back(
                        pulse, displaced, displaced_back, at, at + largest, backward,
                        first_backward[r, 2], first_backward[r, 3], first_backward[r + 1, 0], True,
                    )  # fmt: skip
                    by_total = turn_sum(before, old, displaced_back, at, many, other)
                    g_total[r - 1, axes[axis]] += by_total
                hand_over(
                    before, old, hand_overs, first_given[r - 1], first_given[r], tissue, -_ONE
                )
                if want_maps:
                    hand_over_map_gradients(
                        before, old, back, hand_overs, first_given[r - 1], first_given[r],
                        tissue, by_tissue,
                    )  # fmt: skip
                hand_back(back, 0, hand_overs, first_given[r - 1], first_given[r], tissue)
                for axis in range(len(axes)):
                    at = axis * rows
                    hand_back(
                        displaced_back, at, hand_overs, first_given[r - 1], first_given[r], tissue
                    )
                    add_displaced_decay(back, displaced_back, at, count, b_slope, axis, a, tissue)
                if timing:
                    g_duration[r - 1] += decay_sums(
                        before, old, back, count, many, tissue, factor, g_b_end, a
                    )
                if want_maps:
                    decay_map_gradients(
                        before, old, back, count, many, duration[r - 1], b_end, a, by_tissue
                    )
                make_rates(rates, duration[r - 1], tissue)
                decay(back, 0, toward, 0, count, many, b_end, a, rates, tissue, largest_D)
                for axis in range(len(axes)):
                    at = axis * rows
                    decay(
                        displaced_back, at, displaced, at, count, many,
                        b_end, a, rates, tissue, largest_D,
                    )  # fmt: skip
            if want_maps:
                for v in range(size):
                    maps.initial[0, start + v] += back[0, v]
                    maps.initial[1, start + v] += back[0, BLOCK + v]
        if want_emitted or want_maps or timing:
            for r in range(repetitions):
                for place in range(first_item[r], first_item[r + 1]):
                    i = order[place]
                    make_emission(factor, frame, k_anchor, t_anchor, b_anchor, sign, i, tissue)
                    slope[:] = _ZERO
                    load_gradient(gradient, i, start, size, slope)
                    if want_emitted:
                        emit_item(emitted, i, start, size, factor, summed, i)
                    emission_slope(slope, factor, summed, i)
                    if timing:
                        anchor_sums(slope, tissue, sign, i, g_k, g_t, g_b)
                    if want_maps:
                        emission_map_gradients(
                            slope, k_anchor, i, t_anchor[i], b_anchor[i], sign[i], 0,
                            by_tissue, not_turned,
                        )  # fmt: skip
        if want_maps:
            add_map_gradients(by_tissue, by_field, maps, start, size)
