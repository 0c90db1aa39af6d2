"""The numbers that an experiment is judged by."""

import pandas as pd
import pytest

from pulseq_zero.experiments.evaluation import fell_in_last_quarter


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([4.0, 3.0, 2.0, 2.0, 2.0], 0.0),
        ([4.0, 3.0, 2.0, 1.5, 1.0], 0.5),
        # Of the best so far, whatever it is now
        ([4.0, 1.0, 3.0, 3.0, 3.0], 0.0),
        ([0.0, -1.0, -2.0, -3.0, -4.0], 0.25),
        ([1.0, 0.0], None),
    ],
)
def test_what_a_loss_fell_by_at_the_end_is_a_part_of_what_is_left(losses, expected):
    assert fell_in_last_quarter(pd.Series(losses)) == expected
