"""Compiled means over cells are those of average pooling; with gradients, torch's are taken."""

import pytest
import torch
from torch.nn import functional as F

from georeset_lab.models.pooling import pool_rectified, pool_squares


@pytest.mark.parametrize("rectified", [False, True])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_both_means_are_those_of_average_pooling(rectified, layout):
    draw = torch.Generator().manual_seed(0)
    values = torch.randn(2, 3, 12, 30, generator=draw).contiguous(memory_format=layout)
    present = torch.rand(2, 12, 30, generator=draw) > 0.2
    there = values * present[:, None]

    def pool():
        return pool_rectified(values, present, 6) if rectified else pool_squares(values, 6)

    pair = (there, there.relu()) if rectified else (values, values.square())
    expected = [F.avg_pool2d(z, 6).movedim(1, -1) for z in pair]
    with torch.no_grad():
        compiled = pool()
    for mine, torchs, truth in zip(compiled, pool(), expected, strict=True):
        torch.testing.assert_close(mine, truth, rtol=1e-5, atol=1e-6)
        assert torch.equal(torchs, truth)


def test_gradients_pass():
    values = torch.randn(1, 2, 6, 6, requires_grad=True)
    sum(z.sum() for z in pool_squares(values, 6)).backward()
    torch.testing.assert_close(values.grad, (1 + 2 * values.detach()) / 36)
