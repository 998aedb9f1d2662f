"""The compiled emission of a block is that of the formula; what was not measured says nothing."""

import pytest
import torch

from georeset_lab.models.emission import MAX_TAU, Emission
from georeset_lab.models.head import DenseHead


@pytest.mark.parametrize("deterministic", [False, True])
def test_a_block_is_what_each_pixel_emits(deterministic):
    draw = torch.Generator().manual_seed(0)
    head = DenseHead(16, 8, 12, 16, 11, 7, Emission(deterministic=deterministic))
    each = 1 if deterministic else 2
    local, around = torch.randn(5 * 9, each * 7, generator=draw) * 4, torch.randn(5 * 9, each * 4, generator=draw)
    observed = torch.rand(5, 9, generator=draw) > 0.3
    if not deterministic:
        local[0, 7], local[1, 7] = 5000.0, -90.0  # beyond the bound, and next to nothing
        observed[0, :2] = True
    expected = head.emit(local.view(5, 9, -1), around.view(5, 9, -1), observed, context_power=0.25)
    eta, tau = head.emit_block(local, around, observed, context_power=0.25)
    torch.testing.assert_close(tau, expected.tau, rtol=1e-5, atol=1e-30)
    torch.testing.assert_close(eta, expected.eta, rtol=1e-5, atol=1e-30)
    assert (tau[~observed] == 0).all()
    if not deterministic:
        assert tau[0, 0, 0] == MAX_TAU
