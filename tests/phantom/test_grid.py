import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pulseq_zero.phantom.grid import area_average, averaging_matrix, voxel_centres, voxel_edges

counts = st.integers(1, 40)
extents = st.floats(1e-3, 10.0)


@pytest.mark.parametrize(("count", "expected"), [(4, [-2, -1, 0, 1]), (5, [-2, -1, 0, 1, 2])])
def test_centres_are_where_the_fft_has_them(count, expected):
    torch.testing.assert_close(voxel_centres(count, count * 1.0), torch.tensor(expected).double())


@given(counts, extents)
def test_centres_lie_between_their_edges(count, extent):
    edges = voxel_edges(count, extent)
    torch.testing.assert_close((edges[1:] + edges[:-1]) / 2, voxel_centres(count, extent))
    assert float(edges[-1] - edges[0]) == pytest.approx(extent)


@given(counts, counts, st.floats(-1.0, 1.0))
def test_averages_keep_what_lies_inside_and_stay_between_its_extremes(source, target, shift):
    source_edges = voxel_edges(source, 1.0) + shift
    matrix = averaging_matrix(source_edges, voxel_edges(target, 20.0))
    assert float(matrix.min()) >= 0
    assert float(matrix.sum(1).max()) <= 1 + 1e-9
    # The wide target grid holds the whole source: each source cell is counted exactly once.
    widths = torch.full((source,), 1.0 / source, dtype=torch.float64)
    torch.testing.assert_close(
        matrix.sum(0) * 20.0 / target, widths, rtol=1e-6, atol=1e-7 * 20.0 / target
    )


def test_average_by_hand():
    matrix = averaging_matrix(torch.tensor([0.0, 1.0, 2.0, 3.0]), torch.tensor([0.0, 1.5, 4.5]))
    torch.testing.assert_close(matrix, torch.tensor([[2 / 3, 1 / 3, 0], [0, 1 / 6, 1 / 3]]))


@given(st.integers(1, 30))
def test_the_same_grid_changes_nothing(count):
    values = torch.rand(count, 7)
    assert torch.equal(area_average(values, (0.224, 0.1), (count, 7)), values)


def test_complex_maps_with_channels_are_averaged_as_real_ones_are():
    values = torch.randn(3, 12, 8, dtype=torch.complex64)
    actual = area_average(values, (1.0, 2.0), (5, 4))
    assert actual.dtype == torch.complex64
    for channel, average in zip(values, actual, strict=True):
        expected = area_average(channel.real.contiguous(), (1.0, 2.0), (5, 4))
        torch.testing.assert_close(average.real, expected)
