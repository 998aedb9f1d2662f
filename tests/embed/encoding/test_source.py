"""What a sensor's pixels become: averaged as they are stored where that says the same, as physical values elsewhere."""

from dataclasses import replace

import dask.array as da
import numpy as np
import pytest
import xarray as xr

from georeset_lab.data.modality import Calibration
from georeset_lab.embed.encoding.source import Source
from georeset_lab.embed.encoding.tiles import Span
from tests.embed.scenes import NEEDS, modality, texture

SIDE, TIMES = 64, ["2024-05-01", "2024-06-01", "2024-07-01"]
PLAIN = Calibration((1e-4, 2e-4), (-0.1, 0.0), nodata=0)


@pytest.fixture(scope="module")
def numbers():
    draw = np.random.default_rng(0)
    numbers = (1000 + 9000 * texture((SIDE, SIDE), 2, dates=3)).astype(np.uint16)
    numbers[draw.random(numbers.shape) < 0.2] = 0
    numbers[:, :, :6, :9] = 0
    numbers[0, 0, 20, 20] = 65535
    return numbers


def of(numbers, calibration, hidden=None):
    """A modality that is stored in this way."""
    some = modality(numbers, times=TIMES)
    mask = None if hidden is None else xr.DataArray(hidden, dims=("time", "y", "x"))
    return replace(some, raw=some.raw.copy(data=numbers), calibration=calibration, mask=mask)


@pytest.mark.parametrize("dates", [None, [0, 2]], ids=["all dates", "two dates"])
@pytest.mark.parametrize("lazy", [False, True], ids=["in memory", "lazy"])
@pytest.mark.parametrize("clouds", [False, True], ids=["clear", "clouds"])
@pytest.mark.parametrize(
    ("calibration", "dtype", "as_stored"),
    [
        (PLAIN, np.uint16, True),
        (replace(PLAIN, nodata=-1), np.int16, True),
        (replace(PLAIN, nodata=None), np.uint16, None),  # with clouds there is no number for what they hide
        (replace(PLAIN, nodata=-1), np.uint16, None),
        (replace(PLAIN, saturated=65535), np.uint16, False),
        (replace(PLAIN, to_db=True), np.uint16, False),
        (PLAIN, np.float32, False),
    ],
    ids=["plain", "signed", "no nodata", "nodata out of range", "saturated", "decibels", "floats"],
)
def test_means_of_stored_numbers_are_means_of_physical_values(
    monkeypatch, numbers, dates, lazy, clouds, calibration, dtype, as_stored
):
    hidden = np.random.default_rng(1).random((3, SIDE, SIDE)) < 0.3 if clouds else None
    if hidden is not None:
        hidden[:, 30:40, 30:40] = True
    stored = of(numbers.astype(dtype), calibration, hidden)
    physical = replace(stored, raw=stored.data.drop_vars("band"), calibration=Calibration.identity(2), mask=None)
    expected = Source(physical, NEEDS, dates=dates, cell_m=160.0)
    if lazy:
        stored = replace(stored, raw=stored.raw.copy(data=da.from_array(stored.raw.data, chunks=(1, 2, 40, 40))))
    source = Source(stored, NEEDS, dates=dates, cell_m=160.0)
    asked = []
    monkeypatch.setattr(Source, "_numbers", lambda self, *at, how=Source._numbers: asked.append(at) or how(self, *at))
    rows, cols = Span(2, source.grid.shape.y), Span(0, source.grid.shape.x - 3)
    found = source._window(rows, cols)
    assert bool(asked) is (as_stored if as_stored is not None else not clouds)
    asked.clear()
    wanted = expected._window(rows, cols)
    assert not asked, "what is compared with takes the other way"
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    assert np.isnan(found).any() == (clouds or calibration.nodata == 0), "the clouds and the corner without data"
    assert np.isfinite(found).mean() > 0.8
