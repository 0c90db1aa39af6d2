"""The width of the point-spread function, where it is known."""

import math
from dataclasses import replace

import pytest
import torch

from pulseq_zero.conversion import SequenceModel
from pulseq_zero.errors import SequenceError
from pulseq_zero.imaging.point_spread import point_spread_width
from pulseq_zero.phantom import Phantom
from pulseq_zero.phantom.pool import TissuePool

FOV = (0.224, 0.224)
PIXEL = 3.5e-3


def tissue(T2: float) -> Phantom:
    pool = TissuePool.of(torch.ones(4, 4), T1=0.1, T2=T2)
    return Phantom({"tissue": pool}, {}, FOV, 5e-3)


@pytest.fixture(scope="module")
def one_shot(tse):
    """64 echoes of one shot, in lines that ascend, after a shot that is not measured."""
    flips = torch.full((2, 65), math.pi)
    flips[:, 0] = math.pi / 2
    model = SequenceModel(tse, arguments={"TE": 12e-3})
    return model({"flip_angles": flips.double()}).detach()


def test_lines_of_equal_weight_give_a_dirichlet_kernel(one_shot):
    assert point_spread_width(one_shot, tissue(1e6), FOV) / PIXEL == pytest.approx(1.207, abs=2e-3)


def test_decay_over_the_echoes_gives_a_lorentzian(one_shot):
    # |∫ exp(-k / K) exp(2πiky) dk| over k > 0 is half its maximum at y = ± √3 / 2πK,
    # with a decay to 1/e over K = T2 / TE lines of 1 / FOV
    T2 = 0.036
    expected = math.sqrt(3) / (math.pi * T2 / 12e-3) * FOV[1]
    # Lines are a sum and no integral
    assert point_spread_width(one_shot, tissue(T2), FOV) == pytest.approx(expected, rel=0.03)


def test_a_single_line_has_no_width(one_shot):
    alone = replace(one_shot, gradient_moment=one_shot.gradient_moment * torch.tensor([1, 0, 1]))
    with pytest.raises(SequenceError, match="fewer than two lines"):
        point_spread_width(alone, tissue(1.0), FOV)
