"""What is filled is what is normalised; a pixel that lacks a band is told, one that lacks all is zero."""

import torch

from georeset_lab.models.normalise import fill, normalise

BANDS = torch.tensor([[0.49, 0.06, 10.0, 0], [0.56, 0.04, 10.0, 0], [0.0, 0.0, 10.0, 3]])


def _pixels() -> torch.Tensor:
    draw = torch.Generator().manual_seed(0)
    return torch.stack(
        [torch.rand(2, 40, generator=draw), 3 * torch.rand(2, 40, generator=draw), -torch.rand(2, 40) * 90], 1
    )


def test_whole_pixels_are_normalised_and_the_others_zero() -> None:
    x = _pixels()
    x[1, :, 7] = torch.nan
    filled, patchy = fill(x, BANDS)
    assert not patchy
    truth = normalise(x[..., None], BANDS)[..., 0]
    there = torch.ones(2, 40)
    there[1, 7] = 0
    assert torch.equal(filled[:, -1], there)
    torch.testing.assert_close(filled[:, :-1], torch.nan_to_num(truth), rtol=1e-6, atol=1e-6)
    assert float(filled[:, :-1].abs().max()) == 8.0, "clipped"


def test_a_pixel_that_lacks_one_band_is_told() -> None:
    for lost in (torch.nan, torch.inf):
        x = _pixels()
        x[0, 1, 39] = lost
        assert fill(x, BANDS)[1]
