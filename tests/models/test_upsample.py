"""The compiled weights of cells are those of the formula, and what they carry stays on its side of an edge."""

import pytest
import torch

from georeset_lab.models.pixels import every_second
from georeset_lab.models.upsample import GuidedUpsample, _around, _by_cell, _inside_cell, by_row, spline_matrix

PATCH, BANDS = 6, 5


@pytest.fixture
def strip():
    draw = torch.Generator().manual_seed(0)
    cells, known = torch.randn(7, 9, BANDS, generator=draw), torch.rand(7, 9, generator=draw) > 0.2
    known[0:5, 0:5] = False  # one cell knows nothing around it
    pixels, noise = torch.randn(BANDS, 18, 30, generator=draw), torch.rand(1, 18, 30, generator=draw)
    return torch.randn(7, 9, 4, generator=draw), cells, known, pixels, noise


def test_compiled_weights_are_those_of_the_formula(strip):
    context, cells, known, pixels, noise = strip
    upsample = GuidedUpsample(PATCH)
    spline = spline_matrix(5, PATCH)[2 * PATCH : 3 * PATCH]
    spatial = (spline[:, None, :, None] * spline[None, :, None, :]).reshape(PATCH**2, 25)
    guide, spread = (_by_cell(z, PATCH, PATCH) for z in (pixels, noise))
    weight = upsample.weights(spatial, guide, spread, _around(cells), _around(known[..., None])[..., 0])
    expected = by_row(weight @ _around(context), PATCH)
    brought = by_row(upsample.by_cell(context, cells, known, pixels, noise), PATCH)
    torch.testing.assert_close(brought, expected, atol=1e-5, rtol=1e-5)
    assert (brought[:PATCH, :PATCH] == 0).all(), "where no cell around is known, nothing is brought"


def test_compiled_smoothing_is_the_formula():
    draw = torch.Generator().manual_seed(3)
    upsample, shape = GuidedUpsample(PATCH), (2, 7, 9)
    features, cells = torch.randn(*shape, 4, generator=draw), torch.randn(*shape, BANDS, generator=draw) * 0.3
    known, noise = torch.rand(shape, generator=draw) > 0.3, torch.rand(*shape, 1, generator=draw) * 0.1
    known[0, :6, :6] = False
    with torch.no_grad():
        compiled = upsample.smooth(features, cells, known, noise)
    torch.testing.assert_close(compiled, upsample.smooth(features, cells, known, noise), rtol=1e-5, atol=1e-6)
    assert (compiled[0, 2, 2] == 0).all(), "where no cell around is known, there is nothing"


def test_a_pixel_takes_its_context_from_its_own_side_of_an_edge():
    left = torch.arange(9) < 4  # the edge lies inside the strip, between two cells
    context = torch.where(left, 1.0, -1.0).expand(7, 9)[..., None]
    cells = torch.where(left, 2.0, 0.0).expand(7, 9)[..., None].expand(7, 9, BANDS)
    pixels = torch.where(torch.arange(30) < 12, 2.0, 0.0).expand(BANDS, 18, 30)
    known, noise = torch.ones(7, 9, dtype=torch.bool), torch.zeros(1, 18, 30)
    brought = by_row(GuidedUpsample(PATCH).by_cell(context, cells, known, pixels, noise), PATCH)
    assert (brought[:, :12] > 0.9).all()
    assert (brought[:, 12:] < -0.9).all()


@pytest.mark.parametrize("compiled", [True, False])
def test_every_second_pixel_is_brought_what_it_is_brought_among_all(strip, compiled):
    context, cells, known, pixels, noise = strip
    upsample = GuidedUpsample(PATCH)
    full = by_row(upsample.by_cell(context, cells, known, pixels, noise), PATCH)
    thin = [every_second(z) for z in (pixels, noise)]
    if compiled:
        brought = by_row(upsample.by_cell(context, cells, known, *thin), PATCH)
    else:
        guide, spread = (_by_cell(z, PATCH, PATCH // 2) for z in thin)
        weight = upsample.weights(
            _inside_cell(PATCH, 2), guide, spread, _around(cells), _around(known[..., None])[..., 0]
        )
        brought = by_row(weight @ _around(context), PATCH)
    torch.testing.assert_close(brought.movedim(-1, 0), every_second(full.movedim(-1, 0)), atol=1e-5, rtol=1e-5)
