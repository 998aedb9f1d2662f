"""`BandSpec` refuses what cannot be a band, and `band_table` says to the encoder what it needs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from georeset_lab.data.bands import C_BAND_UM, N_KINDS, BandSpec, band_table
from georeset_lab.errors import BandMismatch, UnitError

RED = BandSpec("B04", 0.6646, 0.031, 10)
VH = BandSpec("VH", C_BAND_UM, 580.0, 10, kind="backscatter", polarization="VH")
DEM = BandSpec("elevation", math.nan, math.nan, 30, kind="elevation")
HOT = BandSpec("B10", 10.895, 0.59, 100, kind="temperature")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"center_um": 664.6, "fwhm_um": 31}, UnitError, r"looks like nanometres: pass center_um=0.6646"),
        ({"center_um": 0.0, "fwhm_um": 0.1}, UnitError, "cannot be micrometres"),
        ({"center_um": math.nan, "fwhm_um": 0.1}, UnitError, "cannot be micrometres"),
        ({"center_um": 0.66, "fwhm_um": 31}, UnitError, "fwhm_um=31 at center_um=0.66"),
        ({"center_um": 0.66, "fwhm_um": 0.03, "gsd_m": 0}, UnitError, "gsd_m=0"),
        ({"center_um": 0.66, "fwhm_um": 0.03, "kind": "radiance"}, BandMismatch, "use one of reflectance"),
        ({"center_um": 0.66, "fwhm_um": 0.03, "polarization": "VV"}, BandMismatch, "other kinds must have none"),
        ({"center_um": C_BAND_UM, "fwhm_um": 580, "kind": "backscatter"}, BandMismatch, "need one of VV, VH"),
        (
            {"center_um": 0.055, "fwhm_um": 0.01, "kind": "backscatter", "polarization": "VV"},
            UnitError,
            "Give micrometres",
        ),
    ],
)
def test_a_band_that_cannot_be_is_refused_with_the_reason(arguments, error, message):
    with pytest.raises(error, match=message):
        BandSpec("x", **{"gsd_m": 10, **arguments})


def test_the_table_has_one_row_per_band_with_numbers_the_encoder_can_use():
    table = band_table([RED, HOT, DEM, VH])
    expected = [(0.6646, 0.031, 10, 0), (10.895, 0.59, 100, 1), (0, 0, 30, 2), (C_BAND_UM, 580, 10, 4)]
    np.testing.assert_allclose(table, np.array(expected, dtype=np.float32))
    assert table.dtype == np.float32
    assert table[:, 3].max() < N_KINDS


def test_the_table_follows_the_order_of_the_bands():
    np.testing.assert_array_equal(band_table([VH, RED]), band_table([RED, VH])[::-1])


def test_no_bands_give_an_empty_table_of_four_columns():
    assert band_table([]).shape == (0, 4)


def test_the_radar_wavelength_is_that_of_5405_megahertz():
    assert pytest.approx(299_792_458 / 5.405e9 * 1e6, abs=0.5) == C_BAND_UM
