"""The compiled head of a block says what the head says of each pixel; what was not measured says nothing."""

import pytest
import torch

from georeset_lab.models.emission import MAX_TAU, Emission
from georeset_lab.models.head import DenseHead
from georeset_lab.models.pixels import PixelView
from georeset_lab.models.readout import ReadOut
from georeset_lab.models.signature import N_OPTICAL, Signature
from georeset_lab.models.upsample import by_row

N_LOCAL, N_AROUND, N_OWN, WIDTH, PATCH = 7, 4, 3, 16, 3
TALL, WIDE = 2 * PATCH, 3 * PATCH


@pytest.fixture(params=[True, False], ids=["colours", "radar"])
def said(request):
    draw = torch.Generator().manual_seed(0)

    def rand(*shape):
        return torch.randn(*shape, generator=draw)

    torch.manual_seed(0)
    head = DenseHead(8, 8, 12, WIDTH, N_LOCAL + N_AROUND, N_LOCAL, Emission()).requires_grad_(False)
    signature = Signature(
        {"pixel": N_OWN, "texture": 1, "radar": 1, "wide": N_LOCAL - N_OWN - 2, "teacher": N_AROUND}, 4
    )
    brought = rand(2, 3, PATCH**2, WIDTH + 2 * N_AROUND + N_LOCAL - N_OWN) * 3
    shared, columns, others = rand(2), torch.tensor([0, 3, 4, 7, 11]), torch.tensor([1, 9])
    observed, lit = torch.rand(2, TALL, WIDE, generator=draw) > 0.3
    colours = rand(N_OPTICAL, TALL, WIDE)[: N_OPTICAL if request.param else 0] * 3
    view = PixelView(rand(5, TALL, WIDE), rand(0), rand(0), observed, colours, lit)

    def compiled(power, dtype=torch.float32, products=torch.float32):
        read_out = ReadOut(head, signature, columns, others, shared, power, dtype, products)
        with torch.inference_mode():
            return read_out(brought, view)

    def formula(power):
        rows = by_row(brought, PATCH)
        known = signature.parts(rows[..., WIDTH + 2 * N_AROUND :], colours.movedim(0, -1), lit)
        carried = rows[..., : WIDTH + 2 * N_AROUND]
        raw = head(carried, view.features.movedim(0, -1), columns, head.share(shared, others), known)
        return head.emit(*raw, observed, context_power=power)

    return head, observed, compiled, formula


def test_a_block_is_what_each_pixel_emits(said):
    _, observed, compiled, formula = said
    eta, tau = compiled(0.25)
    expected = formula(0.25)
    torch.testing.assert_close(tau, expected.tau, rtol=2e-5, atol=1e-6)
    torch.testing.assert_close(eta, expected.eta, rtol=2e-5, atol=1e-5)
    assert (tau[~observed] == 0).all()
    assert (eta[~observed] == 0).all()
    assert (tau[observed] > 0).all()


def test_certainty_and_range_are_bounded(said):
    head, observed, compiled, _ = said
    head.local.to_latent.bias[N_LOCAL:] += 5000.0
    head.local.to_latent.bias[:N_LOCAL] += 500.0
    eta, tau = compiled(1.0, torch.float16)
    assert (tau[observed][:, :N_LOCAL] == MAX_TAU).all()
    assert (eta[observed][:, :N_LOCAL] == torch.finfo(torch.float16).max).all()


def test_products_in_bfloat16_change_the_third_digit(said):
    _, observed, compiled, _ = said
    for exact, rounded in zip(compiled(0.25), compiled(0.25, products=torch.bfloat16), strict=True):
        off = (exact - rounded)[observed].square().mean().sqrt() / exact[observed].square().mean().sqrt()
        assert 1e-6 < off < 1e-2
        assert (rounded[~observed] == 0).all()
