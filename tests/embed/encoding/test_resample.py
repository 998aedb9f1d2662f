"""Samples agree with a slow loop over pixel centres, over what was measured, whatever the sizes, strips and layers."""

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from georeset_lab.embed.encoding import resample
from georeset_lab.embed.encoding.resample import Resample
from georeset_lab.embed.encoding.tiles import Span, regular_grid

SOURCE = GeoBox((23, 31), Affine(10, 0, 600_000, 0, -10, 5_000_000), "EPSG:32633")
TALL = GeoBox((40, 11), Affine(30, 0, 600_000, 0, -8, 5_000_000), "EPSG:32633")


@pytest.fixture(scope="module")
def values():
    draw = np.random.default_rng(0)
    values = draw.random((2, 3, 40, 31), np.float32)
    values[draw.random(values.shape) < 0.3] = np.nan
    values[0, 0, 3, 4] = np.inf
    values[:, :, :6, :9] = np.nan
    return values


def slow(source, target, values):
    """What the definition says, one sample at a time."""
    m = ~source.affine * target.affine
    out = np.full((*values.shape[:2], *target.shape), np.nan)
    x, y = np.arange(source.shape.x), np.arange(source.shape.y)
    for i in range(target.shape.y):
        for j in range(target.shape.x):
            rows = ((y + 0.5 - m.f) / m.e // 1 == i) if m.e > 1 else (y == (m.e * (i + 0.5) + m.f) // 1)
            cols = ((x + 0.5 - m.c) / m.a // 1 == j) if m.a > 1 else (x == (m.a * (j + 0.5) + m.c) // 1)
            some = values[:, :, rows][..., cols].astype(np.float64)
            seen = np.isfinite(some)
            counts = seen.sum((2, 3))
            sums = np.where(seen, some, 0).sum((2, 3))
            out[:, :, i, j] = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    return out


@pytest.mark.parametrize("size_m", [4.0, 10.0, 26.7, 30.0, 71.0])
@pytest.mark.parametrize("source", [SOURCE, TALL], ids=["square", "tall pixels"])
@pytest.mark.parametrize("strip", [1, 3000, 1 << 20])
def test_samples_are_means_over_what_was_measured(monkeypatch, values, size_m, source, strip):
    monkeypatch.setattr(resample, "_STRIP_BYTES", strip)
    values = values[..., : source.shape.y, : source.shape.x]
    target = regular_grid(source, size_m)
    asked = []

    def pixels(rows, cols):
        asked.append(rows.size * cols.size)
        return values[..., slice(*rows), slice(*cols)]

    whole = Span(0, target.shape.y), Span(0, target.shape.x)
    found = Resample(source, target).read(*whole, pixels, (2, 3))
    finite = np.where(np.isinf(values), np.nan, values)
    found = np.where(np.isinf(found), np.nan, found)  # a repeated pixel stays as it is
    np.testing.assert_allclose(found, slow(source, target, finite), rtol=1e-5)
    assert strip > 1 or len(asked) > 3, "pixels are asked for in strips"
    part = Span(1, target.shape.y - 1), Span(2, target.shape.x)
    some = Resample(source, target).read(*part, pixels, (2, 3))
    np.testing.assert_array_equal(np.where(np.isinf(some), np.nan, some), found[..., slice(*part[0]), slice(*part[1])])


def test_nothing_is_asked_for_beyond_the_pixels(values):
    target = regular_grid(SOURCE, 30.0)
    far = Span(100, 104), Span(3, 5)
    found = Resample(SOURCE, target).read(*far, lambda *_: pytest.fail("nothing is there"), (1, 2))
    assert found.shape == (1, 2, 4, 2)
    assert np.isnan(found).all()
