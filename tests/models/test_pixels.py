"""What pixels say by themselves: a date seen twice says what it says once, and reaches the same weights."""

import pytest
import torch
from torch.nn import functional as F

from georeset_lab.models.pixels import PixelStatistics, PixelView, Series, every_second
from georeset_lab.models.spectral import Channels

N_VIRTUAL, PLACES = 9, (0, 1, 4, 8)
CHANNELS = Channels(torch.tensor(PLACES), slice(0, 3), slice(0, 2), slice(2, 3))


@pytest.fixture
def statistics():
    return PixelStatistics(N_VIRTUAL)


def once(seed: int = 0) -> Series:
    draw = torch.Generator().manual_seed(seed)
    measured = torch.rand(1, 12, 13, generator=draw) > 0.2
    values = torch.randn(1, len(PLACES), 12, 13, generator=draw) * measured[:, None]
    return Series(values, torch.rand(values.shape, generator=draw) * measured[:, None], measured, CHANNELS)


def whole_image(statistics: PixelStatistics, series: Series) -> PixelView:
    """All pixels by the formula that GPUs take."""
    return statistics._over_dates(series, *statistics._squares(series))


def test_a_date_seen_twice_reaches_the_same_weights_as_once(statistics):
    weight = torch.randn(5, statistics.n_features, generator=torch.Generator().manual_seed(1))
    said = []
    for repeat in (1, 2):
        series = once().map(lambda z, n=repeat: torch.cat([z] * n))
        features, columns = whole_image(statistics, series).features.flatten(1).T, statistics.columns(series)[0]
        assert features.shape[1] == (4 if repeat == 1 else 5) * len(PLACES), "a single date has no spread over dates"
        said.append(F.linear(features, weight[:, columns]))
    torch.testing.assert_close(*said)


def test_a_cover_that_all_pixels_share_is_no_feature_of_theirs(statistics):
    series, weight = once(), torch.randn(5, statistics.n_features, generator=torch.Generator().manual_seed(1))
    even = torch.tensor([0.9, 0.2, 0.7, 1.0])[None, :, None, None].expand(series.values.shape)
    shared, each = (series._replace(cover=cover) for cover in (even, even * series.measured[:, None]))
    said = []
    for one in (shared, each):
        columns, others = statistics.columns(one)
        view = whole_image(statistics, one)
        assert len(view.features) == len(columns) == (3 if one is shared else 4) * len(PLACES)
        own = F.linear(view.features.flatten(1).T, weight[:, columns]) + weight[:, others] @ one.shared
        said.append(own[view.observed.flatten()])
        assert torch.equal(view.lit, each.measured[0])
    torch.testing.assert_close(*said)


def test_each_feature_has_a_place_of_its_own(statistics):
    twice = once().map(lambda z: torch.cat([z] * 2))
    columns = torch.cat(statistics.columns(twice)).tolist()
    assert len(set(columns)) == len(columns)
    assert {c % N_VIRTUAL for c in columns} == set(PLACES)
    assert sorted(c // N_VIRTUAL for c in columns) == sorted(list(range(5)) * len(PLACES))


def test_points_say_what_their_pixels_say_in_the_whole_image(statistics):
    series = once()
    points = torch.tensor([[[0, 0], [5, 7], [11, 12], [3, 0]]])
    whole, some = whole_image(statistics, series), statistics.at_points(series.map(lambda z: z[None]), points)
    rows, cols = points[0].T
    for name, dense, sparse in zip(whole._fields, whole, some, strict=True):
        torch.testing.assert_close(sparse[..., 0, :], dense[..., rows, cols], msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("first", [(0, 0), (2, 3), (5, 6)], ids=["corner", "inside", "far corner"])
@pytest.mark.parametrize("dates", [1, 3])
def test_a_compiled_window_is_a_cut_of_the_whole_image(statistics, first, dates):
    parts = [once(seed) for seed in range(dates)]
    series = Series(*(torch.cat(z) for z in list(zip(*parts, strict=True))[:3]), CHANNELS)
    whole, window = whole_image(statistics, series), statistics.window(series, first, (7, 7))
    for name, dense, cut in zip(whole._fields, whole, window, strict=True):
        expected = dense[..., first[0] : first[0] + 7, first[1] : first[1] + 7]
        torch.testing.assert_close(cut, expected, atol=2e-6, rtol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


def test_every_second_pixel_is_a_checkerboard():
    image = torch.arange(24).view(4, 6)
    assert every_second(image).tolist() == [[0, 2, 4], [7, 9, 11], [12, 14, 16], [19, 21, 23]]
    swap = torch.tensor([[True, False, False]] * 4)
    assert every_second(image, swap)[:, 0].tolist() == [1, 6, 13, 18]


@pytest.mark.parametrize("dates", [1, 2])
@pytest.mark.parametrize("even", [False, True], ids=["each its cover", "one cover"])
@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("holes", [True, False])
def test_a_sparse_window_says_what_its_pixels_say_and_loses_none(monkeypatch, statistics, dates, even, compiled, holes):
    parts = [once(seed) for seed in range(dates)]
    series = Series(*(torch.cat(z) for z in list(zip(*parts, strict=True))[:3]), CHANNELS)
    if not holes:
        draw = torch.Generator().manual_seed(5)
        values, cover = torch.randn(2, *series.values.shape, generator=draw)
        series = series._replace(values=values, cover=cover.abs(), measured=torch.ones_like(series.measured))
    if even:
        cover = torch.tensor([0.9, 0.2, 0.7, 1.0])[None, :, None, None]
        series = series._replace(cover=cover.expand(series.values.shape))
    if not compiled:  # as on a GPU
        device = type("Device", (), {"type": "cuda"})
        monkeypatch.setattr(torch.Tensor, "device", device, raising=False)
    first, size = ((2, 3), (6, 8)) if holes else ((0, 0), (12, 12))
    full, thin = (statistics.window(series, first, size, sparse=sparse) for sparse in (False, True))
    seen, pair = full.observed, full.observed.unflatten(-1, (-1, 2))
    torch.testing.assert_close(thin.observed, pair.float().mean(-1))
    assert thin.observed.sum() * 2 == seen.sum(), "each pixel that was measured counts"
    swap = (thin.observed > 0) & ~every_second(seen)
    assert bool(swap.any()) is holes
    for name, dense, some in zip(full._fields, full, thin, strict=True):
        if name != "observed":
            torch.testing.assert_close(some, every_second(dense, swap), msg=lambda m, n=name: f"{n}: {m}")
