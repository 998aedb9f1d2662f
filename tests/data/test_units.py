"""Scales and offsets are decided from stated facts, then from the numbers, and refused when those disagree."""

from __future__ import annotations

import numpy as np
import pytest

from georeset_lab.data.bands import BandSpec
from georeset_lab.data.readers.baseline import baseline_offset, settle
from georeset_lab.data.readers.plausible import Numbers
from georeset_lab.data.readers.suspect import contradictions
from georeset_lab.data.sensors import sensor
from georeset_lab.data.units import Decision, Undecided, decide
from georeset_lab.errors import UnitError

L2A = sensor("sentinel-2-l2a")
L1C = sensor("sentinel-2-l1c")
OLI = sensor("landsat-8-l2")
TWO_CUSTOM = [BandSpec("red", 0.66, 0.03, 30), BandSpec("nir", 0.84, 0.1, 30)]

# Reflectance of common surfaces at 0.44 0.49 0.56 0.66 0.70 0.74 0.78 0.83 0.86 0.95 1.61 2.20 um, rounded from library
# spectra by hand; independent of the simulator.
SURFACES = {
    "water": [0.04, 0.045, 0.05, 0.03, 0.025, 0.02, 0.018, 0.015, 0.012, 0.01, 0.006, 0.004],
    "conifer": [0.02, 0.022, 0.035, 0.02, 0.055, 0.16, 0.2, 0.21, 0.22, 0.22, 0.1, 0.045],
    "broadleaf": [0.022, 0.025, 0.06, 0.03, 0.1, 0.3, 0.4, 0.42, 0.44, 0.44, 0.21, 0.09],
    "crop": [0.03, 0.035, 0.08, 0.04, 0.12, 0.35, 0.46, 0.48, 0.5, 0.5, 0.24, 0.12],
    "dry grass": [0.05, 0.065, 0.1, 0.12, 0.16, 0.22, 0.25, 0.27, 0.29, 0.3, 0.35, 0.25],
    "soil": [0.06, 0.08, 0.12, 0.17, 0.19, 0.21, 0.23, 0.25, 0.27, 0.28, 0.36, 0.3],
    "roof": [0.1, 0.12, 0.14, 0.17, 0.18, 0.19, 0.2, 0.21, 0.22, 0.22, 0.25, 0.24],
    "asphalt": [0.06, 0.065, 0.07, 0.08, 0.085, 0.09, 0.095, 0.1, 0.1, 0.105, 0.13, 0.13],
    "snow": [0.85, 0.86, 0.85, 0.83, 0.82, 0.8, 0.78, 0.76, 0.74, 0.6, 0.08, 0.06],
    "cloud": [0.55, 0.55, 0.54, 0.54, 0.54, 0.54, 0.54, 0.53, 0.52, 0.45, 0.35, 0.25],
}
PATH = [0.1, 0.07, 0.045, 0.025, 0.02, 0.015, 0.013, 0.011, 0.01, 0.005, 0.002, 0.001]

_PIXELS = 600


def a_landscape(rng: np.random.Generator, *, top_of_atmosphere: bool) -> np.ndarray:
    """Reflectance ``(band, pixel)`` of a mixture of surfaces: fuzzy fields, light and shade, a little cloud."""
    ground = ["water", "conifer", "broadleaf", "crop", "dry grass", "soil", "roof", "asphalt"]
    chosen = rng.choice(ground, size=rng.integers(2, 6), replace=False).tolist()
    if rng.random() < 0.2:
        chosen.append("snow")
    share = rng.dirichlet(np.full(len(chosen), 0.8))
    spectra = np.array([SURFACES[c] for c in chosen])
    weight = rng.dirichlet(0.15 * (share * len(chosen) + 0.05), size=_PIXELS)
    pixels = weight @ spectra * rng.lognormal(0, 0.18, (_PIXELS, 1)) * rng.normal(1, 0.05, (_PIXELS, 12))
    cloudy = rng.random(_PIXELS) < rng.choice([0, 0, 0.1, 0.3])
    pixels[cloudy] = SURFACES["cloud"] * rng.uniform(0.6, 1.4, (int(cloudy.sum()), 1))
    values = pixels.T
    if top_of_atmosphere:
        values = values * 0.9 + np.array(PATH)[:, None] * rng.uniform(0.7, 1.4)
        values[9] *= 0.35
        values = np.insert(values, 10, rng.uniform(0.0005, 0.004) + np.where(cloudy, 0.01, 0.0), axis=0)
    return np.asarray(np.maximum(values + rng.normal(0, 0.002, values.shape), 0.0001))


def numbers(values: np.ndarray, dtype: str = "uint16") -> Numbers:
    return Numbers.of(np.asarray(values, dtype=np.float64), np.dtype(dtype))


def offset_of(decision: Decision) -> float:
    return decision.calibration.offset[0]


@pytest.mark.parametrize(("product", "toa"), [(L2A, False), (L1C, True)], ids=["L2A", "L1C"])
def test_offset_of_synthetic_sentinel2_is_right_in_999_of_1000_cases(product: object, toa: bool) -> None:
    rng = np.random.default_rng(42)
    right = wrong = asked = 0
    for case in range(600):
        counts = np.round(a_landscape(rng, top_of_atmosphere=toa) * 1e4)
        planted = -0.1 if case % 2 else 0.0
        if planted:
            counts += 1000
        try:
            found = offset_of(decide(numbers(counts), product.bands, name="s2", sensor=product))  # type: ignore[attr-defined]
        except Undecided:
            asked += 1
            continue
        right, wrong = right + (found == planted), wrong + (found != planted)
    assert wrong == 0, f"{wrong} wrong, {asked} asked back, {right} right of 600"
    assert asked <= (0 if toa else 90), f"asked back {asked} times of 600"


@pytest.mark.parametrize("how", ["collection-2", "x 10000", "reflectance"])
def test_landsat_surface_reflectance_is_recognised_however_it_is_stored(how: str) -> None:
    rng = np.random.default_rng(7)
    bands = [b for b in OLI.bands if b.kind == "reflectance"]
    for _ in range(40):
        reflectance = a_landscape(rng, top_of_atmosphere=False)[[0, 1, 2, 3, 8, 10, 11]]
        stored = {
            "collection-2": np.round((reflectance + 0.2) / 2.75e-5),
            "x 10000": np.round(reflectance * 1e4),
            "reflectance": reflectance,
        }[how]
        scale = None if how != "x 10000" else (1e-4, 0.0)
        found = decide(
            numbers(stored, "float32" if how == "reflectance" else "uint16"), bands, name="l8", sensor=OLI, given=scale
        ).calibration
        physical = np.median(stored, axis=1) * np.array(found.scale) + np.array(found.offset)
        np.testing.assert_allclose(physical, np.median(reflectance, axis=1), atol=1e-4)


def test_landsat_counts_of_another_collection_are_refused_rather_than_misread() -> None:
    stored = np.round(a_landscape(np.random.default_rng(3), top_of_atmosphere=False)[[0, 1, 2, 3, 8, 10, 11]] * 1e4)
    bands = [b for b in OLI.bands if b.kind == "reflectance"]
    with pytest.raises(UnitError, match=r"do not fit a way in which landsat-8-l2 is stored.*scale=\{'l8'"):
        decide(numbers(stored), bands, name="l8", sensor=OLI)


def test_float_reflectance_with_the_offset_left_in_is_recognised() -> None:
    values = a_landscape(np.random.default_rng(0), top_of_atmosphere=False)
    plain = decide(numbers(values, "float32"), L2A.bands, name="s2", sensor=L2A)
    lifted = decide(numbers(values + 0.1, "float32"), L2A.bands, name="s2", sensor=L2A)
    assert (plain.calibration.scale[0], offset_of(plain)) == (1.0, 0.0)
    assert (lifted.calibration.scale[0], offset_of(lifted)) == (1.0, -0.1)


def test_float_counts_are_scaled_like_integer_ones() -> None:
    counts = a_landscape(np.random.default_rng(0), top_of_atmosphere=False) * 1e4
    found = decide(numbers(counts, "float32"), L2A.bands, name="s2", sensor=L2A)
    assert (found.calibration.scale[0], offset_of(found), found.inferred) == (1e-4, 0.0, True)


@pytest.mark.parametrize(
    ("values", "dtype", "message"),
    [
        (lambda r: np.round(r * 255), "uint8", "8-bit numbers"),
        (lambda r: np.round(np.minimum(r * 255, 255)), "uint16", "do not fit a way in which sentinel-2-l2a"),
        (lambda r: r * 100, "float32", "do not fit a way in which sentinel-2-l2a"),
    ],
    ids=["bytes", "bytes in 16 bits", "per cent"],
)
def test_pictures_and_percentages_are_refused(values: object, dtype: str, message: str) -> None:
    reflectance = np.minimum(a_landscape(np.random.default_rng(1), top_of_atmosphere=False), 0.9)
    with pytest.raises(UnitError, match=message):
        decide(numbers(values(reflectance), dtype), L2A.bands, name="s2", sensor=L2A)  # type: ignore[operator]


def test_counts_given_as_reflectance_of_an_unknown_sensor_are_refused_with_the_call_that_fixes_it() -> None:
    counts = np.random.default_rng(0).integers(200, 4000, (2, 500))
    with pytest.raises(UnitError, match=r"do not fit reflectance 0\.\.1\. State it: load_scene\(\.\.\., scale="):
        decide(numbers(counts), TWO_CUSTOM, name="cube", sensor=None)
    stated = decide(numbers(counts), TWO_CUSTOM, name="cube", given=(1e-4, 0.0))
    assert stated.calibration.scale == (1e-4, 1e-4)


def test_a_given_scale_that_makes_no_sense_is_refused() -> None:
    counts = np.random.default_rng(0).integers(200, 4000, (2, 500))
    with pytest.raises(UnitError, match=r"as given: x 1.*middle value of"):
        decide(numbers(counts), TWO_CUSTOM, name="cube", given=1.0)
    with pytest.raises(UnitError, match=r"give \(scale, offset\) or a single scale"):
        decide(numbers(counts), TWO_CUSTOM, name="cube", given=(1, 2, 3))  # type: ignore[arg-type]
    with pytest.raises(UnitError, match="names no value for nir"):
        decide(numbers(counts), TWO_CUSTOM, name="cube", given={"red": (1e-4, 0)})


def test_a_scale_that_was_applied_already_is_detected() -> None:
    reflectance = np.random.default_rng(0).uniform(0.02, 0.5, (2, 500))
    with pytest.raises(UnitError, match=r"physical already: applying it again gives.*scaled twice"):
        decide(numbers(reflectance, "float32"), TWO_CUSTOM, name="cube", stated=[(1e-4, 0.0)] * 2)


def test_a_stated_offset_that_the_dark_pixels_contradict_is_refused() -> None:
    counts = np.round(a_landscape(np.random.default_rng(5), top_of_atmosphere=False) * 1e4)
    with pytest.raises(UnitError, match=r"show no \+1000|below zero"):
        decide(numbers(counts), L2A.bands, name="s2", sensor=L2A, stated=[(1e-4, -0.1)] * 12)


def test_nothing_but_cloud_is_asked_back() -> None:
    cloud = np.array(SURFACES["cloud"])[:, None] * np.random.default_rng(0).uniform(0.8, 1.2, (1, 2000)) * 1e4
    with pytest.raises(Undecided, match=r"may or may not carry Sentinel-2's \+1000.*scale="):
        decide(numbers(np.round(cloud)), L2A.bands, name="s2", sensor=L2A)


@pytest.mark.parametrize(
    ("values", "to_db"),
    [(lambda rng: rng.normal(-12, 4, (2, 900)), False), (lambda rng: 10 ** rng.normal(-1.2, 0.4, (2, 900)), True)],
    ids=["dB", "linear"],
)
def test_backscatter_in_db_and_in_power_are_told_apart(values: object, to_db: bool) -> None:
    s1 = sensor("sentinel-1-grd")
    found = decide(numbers(values(np.random.default_rng(0)), "float32"), s1.bands, name="s1", sensor=s1)  # type: ignore[operator]
    assert found.calibration.to_db is to_db
    assert found.inferred is to_db


def test_amplitude_counts_of_radar_are_refused() -> None:
    s1 = sensor("sentinel-1-grd")
    counts = np.random.default_rng(0).integers(20, 900, (2, 900))
    with pytest.raises(UnitError, match="neither dB nor linear power"):
        decide(numbers(counts), s1.bands, name="s1", sensor=s1)


def test_temperature_in_celsius_is_refused() -> None:
    band = [BandSpec("lst", 11.0, 1.0, 30, kind="temperature")]
    with pytest.raises(UnitError, match="do not fit"):
        decide(numbers(np.full((1, 50), 21.5), "float32"), band, name="lst")


def test_a_cube_of_one_archive_follows_its_surest_date() -> None:
    times = np.array(["2019-05-01", "2019-06-01", "2019-07-01"], dtype="datetime64[ns]")
    assert settle(["undecided", "no offset", "offset"], times) == "no offset"
    assert settle(["undecided", "offset", "undecided"], times) == "offset"


def test_a_cube_across_january_2022_may_mix_baselines() -> None:
    times = np.array(["2021-05-01", "2022-06-01", "2022-07-01"], dtype="datetime64[ns]")
    assert settle(["no offset", "offset", "undecided"], times) == "by date"


def test_offset_cannot_be_told_from_no_pixels() -> None:
    assert baseline_offset(np.array([np.nan, np.nan]), np.array([0.5, 0.6])) == "undecided"


def test_a_red_band_under_the_name_of_a_red_edge_band_is_noticed() -> None:
    values = a_landscape(np.random.default_rng(2), top_of_atmosphere=False)
    mixed = values.copy()
    mixed[6] = values[3]  # B07 holds B04
    assert contradictions(values, L2A.bands) == []
    found = contradictions(mixed, L2A.bands)
    assert len(found) == 1
    assert "band B07" in found[0]
    assert "red" in found[0]


def test_exchanged_red_and_near_infrared_are_noticed() -> None:
    values = a_landscape(np.random.default_rng(2), top_of_atmosphere=False)[[1, 2, 3, 7]]
    bands = [L2A.bands[i] for i in (1, 2, 3, 7)]
    assert contradictions(values, bands) == []
    assert "exchanged" in contradictions(values[[0, 1, 3, 2]], bands)[0]
