"""Compiled loops over blocks of voxels: propagation and its adjoint, step by step.

The steps are those of `rotation_steps`, `relaxation_steps` and `emission_steps`; `block` says how
states are stored.
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
    add_state,
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
    turning_sum,
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
from pulseq_zero.simulation.compiled.rotation_steps import (
    ROTATION_ROWS,
    add_turn_gradients,
    angle_sum,
    make_rotation,
    make_turn,
    position_sums,
    rotate,
    rotate_adjoint,
    rotate_back,
    turn_states,
    turn_sum,
)

_ONE, _ZERO = np.float32(1), np.float32(0)

_compiled = kept(fastmath=True, nogil=True)


@_compiled
def emit(graph, hand_overs, items, drive, voxels, shim, emitted, first, stop):
    """Propagate voxels ``first`` to ``stop`` and write what the items emit.

    Parameters are those of `arrays`; ``shim`` is (repetitions,), ``emitted`` (items, 2 * voxels).
    """
    first_state, transverse, largest = graph.first_state, graph.transverse, graph.largest
    forward, first_forward = graph.forward, graph.first_forward
    first_given = hand_overs.first
    order, first_item, local, sign = items.order, items.first, items.state, items.sign
    angle = drive.angle
    phase, duration, b_end = drive.phase, drive.duration, drive.b_end
    k_anchor, t_anchor, b_anchor = drive.k_anchor, drive.t_anchor, drive.b_anchor
    repetitions = len(angle)
    before = aligned_zeros(largest + 1, 2 * BLOCK)
    states = aligned_zeros(largest + 1, 2 * BLOCK)
    rotation = aligned_zeros(1, ROTATION_ROWS * BLOCK)[0]
    rates = aligned_zeros(1, 2 * BLOCK)[0]
    factor = aligned_zeros(1, 2 * BLOCK)[0]
    turn = aligned_zeros(1, 2 * BLOCK)[0]
    tissue = aligned_zeros(1, TISSUE_ROWS * BLOCK)[0]
    field = aligned_zeros(len(voxels.B1), 2 * BLOCK)
    for start in range(first, stop, BLOCK):
        size = min(BLOCK, stop - start)
        largest_D = load_voxels(tissue, field, before, voxels, start, size)
        for r in range(repetitions):
            make_rotation(rotation, angle[r], phase[r], field, shim[r])
            rotate(
                rotation, before, 0, states, forward,
                first_forward[r, 0], first_forward[r, 1], first_forward[r, 2], False,
            )  # fmt: skip
            rotate(
                rotation, before, 0, states, forward,
                first_forward[r, 2], first_forward[r, 3], first_forward[r + 1, 0], True,
            )  # fmt: skip
            for place in range(first_item[r], first_item[r + 1]):
                i = order[place]
                make_emission(factor, rotation, k_anchor, t_anchor, b_anchor, sign, i, tissue)
                emit_item(emitted, i, start, size, factor, states, local[i])
            if r + 1 == repetitions:
                break
            a, count = first_state[r], first_state[r + 1] - first_state[r]
            make_rates(rates, duration[r], tissue)
            decay(states, 0, before, 0, count, transverse[r], b_end, a, rates, tissue, largest_D)
            recover(before, transverse[r], rates)
            hand_over(before, 0, hand_overs, first_given[r], first_given[r + 1], tissue, _ONE)
            if make_turn(turn, phase, field, shim, r):
                turn_states(before, 0, transverse[r], turn, _ONE)


@_compiled
def adjoint(
    graph, hand_overs, items, drive, voxels, shim,
    gradient, position_slopes, emitted, sums, maps, wanted, first, stop,
):  # fmt: skip
    """Take the items' gradient back for voxels ``first`` to ``stop``.

    ``sums`` receives the gradients of `Drive`, ``maps`` those of the maps (empty arrays where
    they are not wanted), ``emitted`` the magnetisation (likewise); ``wanted`` tells whether
    gradients by phases, by times and positions, and by totals are. ``position_slopes`` are
    `arrays.SlopeArrays`: for each of its axes a further gradient is taken back, all of
    them below each other in arrays of displaced gradients.

    On the way forward the states before each pulse are kept, and all is done that the items
    have to do with; on the way back all that pulses and relaxation have.
    """
    first_state, transverse, largest = graph.first_state, graph.transverse, graph.largest
    forward, first_forward = graph.forward, graph.first_forward
    backward, first_backward = graph.backward, graph.first_backward
    first_given = hand_overs.first
    order, first_item, local, sign = items.order, items.first, items.state, items.sign
    angle = drive.angle
    phase, duration, b_end = drive.phase, drive.duration, drive.b_end
    k_anchor, t_anchor, b_anchor = drive.k_anchor, drive.t_anchor, drive.b_anchor
    g_angle = sums.angle
    g_phase, g_duration, g_b_end = sums.phase, sums.duration, sums.b_end
    g_k, g_t, g_b, g_total = sums.k_anchor, sums.t_anchor, sums.b_anchor, sums.total
    axes, b_slope, item_slope = position_slopes.axes, position_slopes.state, position_slopes.item
    want_maps, want_emitted = len(maps.R1) > 0, len(emitted) > 0
    want_phase, timing, want_total = wanted.phase or want_maps, wanted.timing, wanted.total
    repetitions, item_count, rows = len(angle), len(order), largest + 1
    given_axes = len(gradient) // max(1, item_count) - 1
    # States before the pulses: one before the first, and a last one of zeros.
    before = aligned_zeros(first_state[repetitions] + 2, 2 * BLOCK)
    states = aligned_zeros(largest + 1, 2 * BLOCK)
    toward = aligned_zeros(largest + 1, 2 * BLOCK)
    back = aligned_zeros(largest + 1, 2 * BLOCK)
    pulled = aligned_zeros(item_count, 2 * BLOCK)
    displaced = aligned_zeros(len(axes) * rows, 2 * BLOCK)
    displaced_back = aligned_zeros(len(axes) * rows, 2 * BLOCK)
    displaced_pulled = aligned_zeros(len(axes) * item_count, 2 * BLOCK)
    rotation = aligned_zeros(1, ROTATION_ROWS * BLOCK)[0]
    rates = aligned_zeros(1, 2 * BLOCK)[0]
    slopes = aligned_zeros(1, BLOCK)[0]
    factor = aligned_zeros(1, 2 * BLOCK)[0]
    slope = aligned_zeros(1, 2 * BLOCK)[0]
    other = aligned_zeros(1, 2 * BLOCK)[0]
    turn = aligned_zeros(1, 2 * BLOCK)[0]
    tissue = aligned_zeros(1, TISSUE_ROWS * BLOCK)[0]
    by_tissue = aligned_zeros(1, TISSUE_ROWS * BLOCK)[0]
    field = aligned_zeros(len(voxels.B1), 2 * BLOCK)
    by_field = aligned_zeros(len(voxels.B1), 2 * BLOCK)
    for start in range(first, stop, BLOCK):
        size = min(BLOCK, stop - start)
        largest_D = load_voxels(tissue, field, before, voxels, start, size)
        by_tissue[:] = _ZERO
        by_field[:] = _ZERO
        old = 0
        for r in range(repetitions):
            make_rotation(rotation, angle[r], phase[r], field, shim[r])
            rotate(
                rotation, before, old, states, forward,
                first_forward[r, 0], first_forward[r, 1], first_forward[r, 2], False,
            )  # fmt: skip
            rotate(
                rotation, before, old, states, forward,
                first_forward[r, 2], first_forward[r, 3], first_forward[r + 1, 0], True,
            )  # fmt: skip
            for place in range(first_item[r], first_item[r + 1]):
                i = order[place]
                slope[:] = _ZERO
                load_gradient(gradient, i, start, size, slope)
                make_emission(factor, rotation, k_anchor, t_anchor, b_anchor, sign, i, tissue)
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
                if want_emitted:
                    emit_item(emitted, i, start, size, factor, states, local[i])
                if want_phase or timing:
                    emission_slope(slope, factor, states, local[i])
                    g_phase[r] -= turning_sum(slope)
                if timing:
                    anchor_sums(slope, tissue, sign, i, g_k, g_t, g_b)
                if want_maps:
                    emission_map_gradients(
                        slope, k_anchor, i, t_anchor[i], b_anchor[i], sign[i], shim[r],
                        by_tissue, by_field,
                    )  # fmt: skip
            if r + 1 == repetitions:
                break
            a, count = first_state[r], first_state[r + 1] - first_state[r]
            old = 1 + a
            make_rates(rates, duration[r], tissue)
            decay(states, 0, before, old, count, transverse[r], b_end, a, rates, tissue, largest_D)
            recover(before, old + transverse[r], rates)
            hand_over(before, old, hand_overs, first_given[r], first_given[r + 1], tissue, _ONE)
            if make_turn(turn, phase, field, shim, r):
                turn_states(before, old, transverse[r], turn, _ONE)
        toward[:] = _ZERO
        displaced[:] = _ZERO
        for r in range(repetitions - 1, -1, -1):
            for place in range(first_item[r], first_item[r + 1]):
                i = order[place]
                add_state(toward, local[i], pulled, i)
                for axis in range(len(axes)):
                    row = axis * item_count + i
                    add_state(displaced, axis * rows + local[i], displaced_pulled, row)
            make_rotation(rotation, angle[r], phase[r], field, shim[r])
            old = 1 + first_state[r - 1] if r > 0 else 0
            slopes[:] = _ZERO
            rotate_adjoint(
                rotation, before, old, toward, back, slopes, backward,
                first_backward[r, 0], first_backward[r, 1], first_backward[r, 2], False,
            )  # fmt: skip
            rotate_adjoint(
                rotation, before, old, toward, back, slopes, backward,
                first_backward[r, 2], first_backward[r, 3], first_backward[r + 1, 0], True,
            )  # fmt: skip
            g_angle[r] += angle_sum(slopes, field, shim[r], angle[r], by_field)
            if r == 0:
                break
            a, count, many = old - 1, first_state[r] - first_state[r - 1], transverse[r - 1]
            if want_phase or want_total:
                by_phase = turn_sum(before, old, back, 0, many, slope)
                g_phase[r - 1] += by_phase
                g_phase[r] -= by_phase
            if want_total:
                position_sums(slope, tissue, r - 1, g_total)
            for axis in range(len(axes)):
                at = axis * rows
                rotate_back(
                    rotation, displaced, displaced_back, at, at + largest, backward,
                    first_backward[r, 0], first_backward[r, 1], first_backward[r, 2], False,
                )  # fmt: skip
                rotate_back(
                    rotation, displaced, displaced_back, at, at + largest, backward,
                    first_backward[r, 2], first_backward[r, 3], first_backward[r + 1, 0], True,
                )  # fmt: skip
                by_total = turn_sum(before, old, displaced_back, at, many, other)
                g_total[r - 1, axes[axis]] += by_total
            hand_over(before, old, hand_overs, first_given[r - 1], first_given[r], tissue, -_ONE)
            if want_maps:
                hand_over_map_gradients(
                    before,
                    old,
                    back,
                    hand_overs,
                    first_given[r - 1],
                    first_given[r],
                    tissue,
                    by_tissue,
                )
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
                add_turn_gradients(by_field, shim[r - 1], shim[r], slope)
                decay_map_gradients(
                    before, old, back, count, many, duration[r - 1], b_end, a, by_tissue
                )
            make_rates(rates, duration[r - 1], tissue)
            if make_turn(turn, phase, field, shim, r - 1):
                turn_states(back, 0, many, turn, -_ONE)
                for axis in range(len(axes)):
                    turn_states(displaced_back, axis * rows, many, turn, -_ONE)
            decay(back, 0, toward, 0, count, many, b_end, a, rates, tissue, largest_D)
            for axis in range(len(axes)):
                at = axis * rows
                decay(
                    displaced_back, at, displaced, at, count, many,
                    b_end, a, rates, tissue, largest_D,
                )  # fmt: skip
        if want_maps:
            add_map_gradients(by_tissue, by_field, maps, start, size)
            for v in range(size):
                maps.initial[0, start + v] += back[0, v]
                maps.initial[1, start + v] += back[0, BLOCK + v]
