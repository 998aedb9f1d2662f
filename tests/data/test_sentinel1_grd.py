"""Sentinel-1 GRD: counts become sigma nought, in its place, in windows, with every damage named."""

from __future__ import annotations

import pickle
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from pyproj import Geod, Transformer

from georeset_lab import load_scene
from georeset_lab.data.grids import move
from georeset_lab.data.modality import Modality
from georeset_lab.data.readers.sentinel1_lut import read_calibration, read_noise
from georeset_lab.data.readers.sentinel1_place import Place, Ties
from georeset_lab.data.stored import is_direct
from georeset_lab.errors import CroppedToCommonExtent, GeoresetError, GridMismatch, SceneReadError

sys.path.insert(0, str(Path(__file__).parent))
import grd
import products

SHAPE = (230, 310)


def flat(value: int = 200, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    return np.full(shape, value, "uint16")


def speckle(shape: tuple[int, int] = SHAPE, *, seed: int = 0) -> np.ndarray:
    power = np.random.default_rng(seed).gamma(4.4, 0.08 / 4.4, shape)
    return np.maximum(np.sqrt(power) * 500, 1).astype("uint16")


def whole(modality: Modality, band: str = "VV") -> np.ndarray:
    """dB ``(y, x)`` of the whole grid."""
    values = modality.read(slice(0, modality.grid.shape[0]), slice(0, modality.grid.shape[1]), time=0)
    return np.asarray(values)[0, modality.band_names.index(band)]


def in_image(modality: Modality) -> tuple[np.ndarray, np.ndarray]:
    """Line and pixel of the centre of every pixel of the map, from the affine the product was made with."""
    rows, cols = np.indices(modality.grid.shape)
    x, y = move(modality.grid.affine, cols + 0.5, rows + 0.5)
    pixel, line = move(~grd.GROUND, x, y)
    return line, pixel


def well_inside(line: np.ndarray, pixel: np.ndarray, margin: float = 1.0) -> np.ndarray:
    return (line > margin) & (line < SHAPE[0] - 1 - margin) & (pixel > margin) & (pixel < SHAPE[1] - 1 - margin)


# -------------------------------------------------------------------------------------------------------- values
def test_a_product_opens_as_sigma_nought_in_decibels_with_its_facts(tmp_path: Path) -> None:
    folder = grd.product(tmp_path, {"VV": flat(200), "VH": flat(70)})
    for source in (folder, folder / "manifest.safe", tmp_path, {"s1": folder}):
        modality = load_scene(source)["s1"]
        assert modality.sensor == "sentinel-1-grd"
        assert modality.band_names == ("VV", "VH")
        assert [b.polarization for b in modality.bands] == ["VV", "VH"]
        assert str(modality.times[0])[:19] == "2020-06-07T01:08:00"
        assert modality.grid.crs.epsg == grd.EPSG
        assert modality.grid.affine.a == 10
        assert modality.grid.affine.c % 10 == 0
    notes = " | ".join(modality.notes)
    for part in ("sigma nought", "no terrain correction", "orbit: descending, relative orbit 132", "noise not removed"):
        assert part in notes
    inside = well_inside(*in_image(modality))
    for band, count in (("VV", 200), ("VH", 70)):
        np.testing.assert_allclose(whole(modality, band)[inside], 20 * np.log10(count / 500), atol=1e-4)


def test_the_table_is_interpolated_between_its_lines_and_pixels(tmp_path: Path) -> None:
    rows, cols = (np.array(p, float) for p in grd.table_places(SHAPE))
    lut = 400 + 0.5 * rows[:, None] + 0.8 * cols[None, :] + 0.002 * rows[:, None] * cols[None, :]  # bilinear itself
    modality = load_scene(grd.product(tmp_path, {"VV": flat(250)}, sigma_lut=lut))["s1"]
    line, pixel = in_image(modality)
    inside = well_inside(line, pixel)
    expected = 20 * np.log10(250 / (400 + 0.5 * line + 0.8 * pixel + 0.002 * line * pixel))
    assert np.ptp(expected[inside]) > 5
    np.testing.assert_allclose(whole(modality)[inside], expected[inside], atol=0.01)


def test_a_smooth_field_is_where_it_belongs_within_a_hundredth_of_a_decibel(tmp_path: Path) -> None:
    def count(line: np.ndarray, pixel: np.ndarray) -> np.ndarray:
        return 20_000 * (1 + 0.4 * np.sin(line / 40) * np.cos(pixel / 55))

    counts = np.round(count(*np.indices(SHAPE))).astype("uint16")
    modality = load_scene(grd.product(tmp_path, {"VV": counts}, sigma_lut=50_000.0))["s1"]
    line, pixel = in_image(modality)
    inside = well_inside(line, pixel)
    expected = 20 * np.log10(count(line, pixel) / 50_000)
    np.testing.assert_allclose(whole(modality)[inside], expected[inside], atol=0.01)


@pytest.mark.parametrize(("ties", "step"), [("both", 50), ("xml", 50), ("tiff", 50), ("both", 1000), ("both", 200)])
@pytest.mark.parametrize("place", [(60, 70), (150, 250), (201, 20)])
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_bright_target_is_where_the_ties_put_it(tmp_path: Path, ties: str, step: int, place: tuple[int, int]) -> None:
    counts = flat(30)
    counts[place] = 20_000
    modality = load_scene(grd.product(tmp_path, {"VV": counts}, ties=ties, step=step))["s1"]
    power = 10 ** (whole(modality) / 10)
    power = np.where(power > 0.01, power, 0)
    rows, cols = np.indices(power.shape)
    x, y = move(
        modality.grid.affine,
        (cols * power).sum() / power.sum() + 0.5,
        (rows * power).sum() / power.sum() + 0.5,
    )
    want = move(grd.GROUND, place[1], place[0])
    assert np.hypot(x - want[0], y - want[1]) < 0.25 * grd.PIXEL_M


def test_hh_and_hv_are_bands_too(tmp_path: Path) -> None:
    modality = load_scene(grd.product(tmp_path, {"HH": flat(200), "HV": flat(60)}))["s1"]
    assert modality.band_names == ("HH", "HV")
    assert np.nanmedian(whole(modality, "HV")) == pytest.approx(20 * np.log10(60 / 500), abs=1e-3)


def test_zero_is_missing_and_does_not_darken_its_neighbours(tmp_path: Path) -> None:
    counts = flat(200)
    counts[:, :40] = 0
    modality = load_scene(grd.product(tmp_path, {"VV": counts, "VH": counts}))["s1"]
    values = whole(modality)
    line, pixel = in_image(modality)
    inside = well_inside(line, pixel)
    assert np.isnan(values[inside & (pixel < 39.4)]).all()
    np.testing.assert_allclose(values[inside & (pixel > 39.6)], 20 * np.log10(200 / 500), atol=1e-4)
    outside = (line < -0.6) | (pixel < -0.6) | (line > SHAPE[0] - 0.4) | (pixel > SHAPE[1] - 0.4)
    assert outside.any()
    assert np.isnan(values[outside]).all()


# --------------------------------------------------------------------------------------------------------- noise
@pytest.mark.parametrize("old", [False, True])
def test_thermal_noise_is_subtracted_in_power(tmp_path: Path, old: bool) -> None:
    rows, cols = (np.array(p, float) for p in grd.table_places(SHAPE))
    noise = 1000 + 4 * rows[:, None] + 9 * cols[None, :]
    modality = load_scene(grd.product(tmp_path, {"VV": flat(100)}, noise=noise, old_noise=old))["s1"]
    line, pixel = in_image(modality)
    inside = well_inside(line, pixel)
    expected = 10 * np.log10((100.0**2 - 1000 - 4 * line - 9 * pixel) / 500**2)
    np.testing.assert_allclose(whole(modality)[inside], expected[inside], atol=0.01)
    assert any("thermal noise removed" in n for n in modality.notes)


def test_noise_along_azimuth_multiplies_in_its_blocks(tmp_path: Path) -> None:
    high, wide = SHAPE
    blocks = [
        ((0, high - 1, 0, 149), [0, high - 1], [1.0, 3.0]),
        ((0, 99, 150, wide - 1), [0], [2.0]),
    ]
    modality = load_scene(grd.product(tmp_path, {"VV": flat(100)}, noise=2000.0, blocks=blocks))["s1"]
    line, pixel = in_image(modality)
    values = whole(modality)
    far_from_edges = well_inside(line, pixel) & (np.abs(pixel - 149.5) > 1) & (np.abs(line - 99.5) > 1)
    factor = np.where(pixel < 149.5, 1 + 2 * line / (high - 1), np.where(line < 99.5, 2.0, 1.0))
    expected = 10 * np.log10((100.0**2 - 2000 * factor) / 500**2)
    np.testing.assert_allclose(values[far_from_edges], expected[far_from_edges], atol=0.01)


def test_noise_stronger_than_the_signal_leaves_the_floor_not_a_hole(tmp_path: Path) -> None:
    modality = load_scene(grd.product(tmp_path, {"VV": flat(100), "VH": flat(20)}, noise=900.0))["s1"]
    inside = well_inside(*in_image(modality))
    np.testing.assert_allclose(whole(modality, "VH")[inside], -40, atol=1e-4)
    assert (whole(modality, "VV")[inside] > -15).all()


def test_noise_that_the_processor_removed_is_not_removed_again(tmp_path: Path) -> None:
    modality = load_scene(grd.product(tmp_path, {"VV": flat(100)}, noise=4000.0, removed=True))["s1"]
    inside = well_inside(*in_image(modality))
    np.testing.assert_allclose(whole(modality)[inside], 20 * np.log10(100 / 500), atol=1e-4)
    assert any("removed by the processor" in n for n in modality.notes)


# ------------------------------------------------------------------------------------------------------- windows
@pytest.mark.parametrize("window", [(0, 50, 0, 60), (33, 34, 95, 200), (101, 197, 17, 243)])
def test_a_window_is_what_the_whole_holds_there(tmp_path: Path, window: tuple[int, int, int, int]) -> None:
    counts = speckle()
    counts[50:80, 100:130] = 0
    folder = grd.product(tmp_path, {"VV": counts, "VH": speckle(seed=1)}, noise=300.0)
    at_once, lazy = load_scene(folder)["s1"], load_scene(folder, chunks=64)["s1"]
    assert not at_once.is_lazy
    assert lazy.is_lazy
    assert is_direct(lazy.raw.data)
    top, bottom, left, right = window
    part = lazy.read(slice(top, bottom), slice(left, right), time=0)
    full = at_once.read(slice(0, at_once.grid.shape[0]), slice(0, at_once.grid.shape[1]), time=0)
    np.testing.assert_array_equal(part, full[:, :, top:bottom, left:right])
    through_dask = lazy.raw.data[:, :, top:bottom, left:right].compute()
    np.testing.assert_array_equal(lazy.calibration.apply(through_dask), part)


def test_a_large_product_stays_on_disk_and_a_window_costs_what_lies_under_it(tmp_path: Path) -> None:
    shape = (4000, 5000)
    counts = np.tile(speckle((400, 500)), (10, 10))
    folder = grd.product(tmp_path, {"VV": counts}, step=500, tiled=True, compress="deflate")
    modality = load_scene(folder)["s1"]
    assert modality.is_lazy
    high, wide = modality.grid.shape
    assert high * wide > np.prod(shape)
    tracemalloc.start()
    values = modality.read(slice(high // 2, high // 2 + 64), slice(wide // 2, wide // 2 + 64), time=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.isfinite(values).all()
    assert peak < 4 * 2**20  # the image alone has 40 MB
    reader = pickle.dumps(modality.raw.data)
    assert len(reader) < 400_000  # paths and tables travel, pixels do not


def test_it_goes_straight_to_a_crs_that_was_asked_for(tmp_path: Path) -> None:
    counts = flat(30)
    counts[150, 250] = 20_000
    modality = load_scene(grd.product(tmp_path, {"VV": counts}), crs="EPSG:3035")["s1"]
    assert modality.grid.crs.epsg == 3035
    row, col = np.unravel_index(np.nanargmax(whole(modality)), modality.grid.shape)
    found = move(modality.grid.affine, col + 0.5, row + 0.5)
    want = Transformer.from_crs(grd.EPSG, 3035, always_xy=True).transform(*move(grd.GROUND, 250, 150))
    assert np.hypot(found[0] - want[0], found[1] - want[1]) < 0.75 * grd.PIXEL_M  # the nearest of the pixels


def test_line_and_pixel_come_back_from_the_ground_across_the_antimeridian() -> None:
    lines, pixels = np.arange(0, 16_001, 1600.0), np.arange(0, 25_001, 1250.0)
    at, along = np.meshgrid(lines, pixels, indexing="ij")
    lon = 179.2 + along * 1.4e-4 - at * 2e-5 + 1e-10 * along * at
    ties = Ties(lines, pixels, (lon + 180) % 360 - 180, -17 - at * 9e-5 - along * 1.2e-5)
    assert ties.zone.epsg == 32701
    place = Place(ties, (16_001, 25_001), ties.zone, "here")
    rng = np.random.default_rng(0)
    line, pixel = rng.uniform(0, 16_000, 500), rng.uniform(0, 25_000, 500)
    back = place.to_image(*place.to_ground(line, pixel))
    np.testing.assert_allclose(back, [line, pixel], atol=1e-3)
    grid = place.grid(10.0)
    rows, cols = slice(9000, 9100), slice(12_000, 12_100)
    looked_up = place.look_up(grid, rows, cols)
    y, x = np.meshgrid(np.arange(9000, 9100) + 0.5, np.arange(12_000, 12_100) + 0.5, indexing="ij")
    exact = place.to_image(*move(grid.affine, x, y))
    np.testing.assert_allclose(looked_up, exact, atol=2e-3)


@pytest.mark.parametrize("lat", [0.5, 52.0, -78.0])
def test_a_swath_of_250_km_on_the_round_earth_is_placed_between_its_ties(lat: float) -> None:
    earth = Geod(ellps="WGS84")

    def truth(line: np.ndarray, pixel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        same = np.ones(line.size)
        lon, where, back = earth.fwd(13 * same, lat * same, 192 * same, 10 * line.ravel())
        lon, where, _ = earth.fwd(lon, where, back - 90, 10 * pixel.ravel())
        return lon.reshape(line.shape), where.reshape(line.shape)

    lines, pixels = np.linspace(0, 16_700, 10).round(), np.linspace(0, 25_400, 21).round()
    ties = Ties(lines, pixels, *truth(*np.meshgrid(lines, pixels, indexing="ij")))
    place = Place(ties, (16_701, 25_401), ties.zone, "here")
    rng = np.random.default_rng(0)
    line, pixel = rng.uniform(0, 16_700, 1000), rng.uniform(0, 25_400, 1000)
    x, y = Transformer.from_crs(4326, ties.zone.epsg, always_xy=True).transform(*truth(line, pixel))
    np.testing.assert_allclose(place.to_image(x, y), [line, pixel], atol=1e-3)


def test_it_stands_beside_an_optical_scene_on_common_ground(tmp_path: Path) -> None:
    ramp = np.round(20_000 * (1 + np.indices(SHAPE)[1] / SHAPE[1])).astype("uint16")
    folder = grd.product(tmp_path, {"VV": ramp, "VH": ramp}, sigma_lut=50_000.0)
    alone = load_scene(folder)["s1"]
    row, col = alone.grid.shape[0] // 2, alone.grid.shape[1] // 2
    x, y = move(alone.grid.affine, col - 30, row - 25)
    transform = Affine(10, 0, x, 0, -10, y)
    optical = np.random.default_rng(0).integers(500, 3000, (2, 50, 60)).astype("uint16")
    file = products.raster(tmp_path / "optical.tif", optical, 10, transform=transform)
    with pytest.warns(CroppedToCommonExtent):
        scene = load_scene(
            {"s2": file, "s1": folder},
            sensors={"s2": "sentinel-2-l2a"},
            bands={"s2": ["B02", "B03"]},
            scale={"s2": 1e-4},
        )
    assert scene["s1"].grid == scene["s2"].grid
    np.testing.assert_array_equal(whole(scene["s1"]), whole(alone)[row - 25 : row + 25, col - 30 : col + 30])


@pytest.mark.parametrize("chunks", [None, 64])
def test_passes_of_several_dates_are_one_modality_on_the_ground_they_share(tmp_path: Path, chunks: int | None) -> None:
    def counts(line: np.ndarray, pixel: np.ndarray) -> np.ndarray:
        return np.round(20_000 + 40 * line + 20 * pixel).astype("uint16")

    line, pixel = np.indices(SHAPE)
    lut = {"sigma_lut": 50_000.0}
    later_at = move(grd.GROUND, 23, 17)
    later = Affine(*grd.GROUND[:2], later_at[0], *grd.GROUND[3:5], later_at[1])
    folders = [
        grd.product(tmp_path / "b", {"VV": counts(line + 17, pixel + 23)}, ground=later, day="2020-06-19", **lut),
        grd.product(tmp_path / "a", {"VV": counts(line, pixel)}, **lut),
    ]
    with pytest.warns(CroppedToCommonExtent, match="2 Sentinel-1 products cover different ground"):
        modality = load_scene({"s1": folders}, chunks=chunks)["s1"]
    assert [str(t)[:10] for t in modality.times] == ["2020-06-07", "2020-06-19"]
    both = [
        modality.read(slice(0, modality.grid.shape[0]), slice(0, modality.grid.shape[1]), time=t)[0, 0] for t in (0, 1)
    ]
    seen = np.isfinite(both[0]) & np.isfinite(both[1])
    assert seen.sum() > 0.8 * (SHAPE[0] - 17) * (SHAPE[1] - 23)
    np.testing.assert_allclose(both[0][seen], both[1][seen], atol=0.01)


def test_products_without_shared_ground_or_pixel_size_are_no_dates_of_one_modality(tmp_path: Path) -> None:
    here = grd.product(tmp_path / "a", {"VV": flat()})
    far = grd.product(tmp_path / "b", {"VV": flat()}, ground=moved(1, 9000))
    with pytest.raises(GridMismatch, match="share no ground"):
        load_scene({"s1": [here, far]})
    coarse = grd.product(tmp_path / "c", {"VV": flat()}, ground=moved(4, 0))
    file = one(coarse, "annotation/s1a*.xml")
    file.write_text(file.read_text().replace("1.000000e+01</range", "4.000000e+01</range"))
    with pytest.raises(GridMismatch, match=r"pixels of 10 m, .* of 40 m. Load them as two"):
        load_scene({"s1": [here, coarse]})


# -------------------------------------------------------------------------------------------------------- damage
def moved(times: float, east: float) -> Affine:
    a, b, c, d, e, f = grd.GROUND[:6]
    return Affine(times * a, times * b, c + east, times * d, times * e, f)


def one(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("annotation/calibration/calibration-*-vh-*.xml", r"holds no annotation/calibration/.*counts of VH.*fetch all"),
        ("measurement/*-vh-*.tiff", r"with polarization VH, but its image in measurement/ is not there.*fetch all"),
        ("annotation/*-vh-*.xml", r"with polarization VH, but its annotation in annotation/ is not there.*fetch all"),
    ],
)
def test_a_missing_file_is_named_with_what_to_do(tmp_path: Path, pattern: str, message: str) -> None:
    folder = grd.product(tmp_path, {"VV": flat(), "VH": flat()})
    one(folder, pattern).unlink()
    with pytest.raises(SceneReadError, match=message):
        load_scene(folder)


def test_without_a_noise_file_the_rest_is_read_and_a_note_says_so(tmp_path: Path) -> None:
    folder = grd.product(tmp_path, {"VV": flat(), "VH": flat()}, noise=100.0)
    one(folder, "annotation/calibration/noise-*-vh-*.xml").unlink()
    modality = load_scene(folder)["s1"]
    assert any("thermal noise not removed from VH" in n for n in modality.notes)
    inside = well_inside(*in_image(modality))
    np.testing.assert_allclose(whole(modality, "VH")[inside], 20 * np.log10(200 / 500), atol=1e-4)
    np.testing.assert_allclose(whole(modality, "VV")[inside], 10 * np.log10(39_900 / 500**2), atol=1e-4)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.97])
@pytest.mark.parametrize("chunks", [None, 64])
def test_a_truncated_image_is_named(tmp_path: Path, share: float, chunks: int | None) -> None:
    folder = grd.product(tmp_path, {"VV": speckle()})
    file = one(folder, "measurement/*.tiff")
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    with pytest.raises(SceneReadError, match=r"-vv-.*(truncated|cannot be opened)"):
        whole(load_scene(folder, chunks=chunks)["s1"])


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_product_without_ties_is_refused(tmp_path: Path) -> None:
    folder = grd.product(tmp_path, {"VV": flat()}, ties="none")
    with pytest.raises(SceneReadError, match=r"nowhere where its pixels lie.*ground control points.*Fetch"):
        load_scene(folder)


@pytest.mark.parametrize(
    ("pattern", "old", "new", "message"),
    [
        ("annotation/s1a*.xml", "</product>", "", "no well-formed XML"),
        ("annotation/s1a*.xml", "<product>", '<!DOCTYPE a [<!ENTITY b "c">]><product>', "document type"),
        ("annotation/s1a*.xml", "<line>50</line>", "<line>51</line>", "regular net"),
        ("annotation/s1a*.xml", "<latitude>52", "<latitude>-52", "fold the image|contradict"),
        ("annotation/s1a*.xml", "<latitude>52", "<latitude>", "fold the image|contradict"),
        ("annotation/s1a*.xml", "<longitude>", "<longitude>nan", "no number"),
        ("annotation/s1a*.xml", "1.000000e+01</range", "0</range", "rangePixelSpacing of 0 m"),
        ("annotation/s1a*.xml", "<numberOfLines>230", "<numberOfLines>231", "has 230 x 310 pixels, but"),
        ("annotation/calibration/cal*.xml", "5.000000e+02", "0", "not above zero"),
        ("annotation/calibration/cal*.xml", "5.000000e+02", "x", "no list of numbers"),
        ("annotation/calibration/cal*.xml", "5.000000e+02 ", "", "values at"),
        ("annotation/calibration/cal*.xml", "<line>40</line>", "<line>99</line>", "lines of the .* do not increase"),
        ("annotation/calibration/cal*.xml", " 40 80 ", " 80 40 ", "places of the .* do not increase"),
        ("annotation/calibration/noise*.xml", "1.000000e+02", "-1", "noise below zero"),
        ("annotation/calibration/noise*.xml", "</noise>", "", "no well-formed XML"),
        ("manifest.safe", "</xfdu:XFDU>", "", "no well-formed XML"),
    ],
)
def test_damaged_metadata_are_named(tmp_path: Path, pattern: str, old: str, new: str, message: str) -> None:
    folder = grd.product(tmp_path, {"VV": flat()}, noise=100.0)
    file = one(folder, pattern)
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(SceneReadError, match=message) as caught:
        load_scene(folder)
    assert isinstance(caught.value, GeoresetError)
    assert str(tmp_path) in str(caught.value)


def test_images_of_other_sizes_or_kinds_are_refused(tmp_path: Path) -> None:
    folder = grd.product(tmp_path, {"VV": flat(), "VH": flat(shape=(200, 310))})
    with pytest.raises(SceneReadError, match="differ in size"):
        load_scene(folder)
    folder = grd.product(tmp_path / "b", {"VV": flat()}, dtype="int16")
    with pytest.raises(SceneReadError, match=r"1 bands of int16.*one band of uint16"):
        load_scene(folder)


def test_a_single_look_complex_product_is_refused_with_what_to_do(tmp_path: Path) -> None:
    folder = tmp_path / "S1A_IW_SLC__1SDV_20200607T010800_20200607T010825_032904_03CFBA_D457.SAFE"
    (folder / "measurement").mkdir(parents=True)
    (folder / "manifest.safe").write_text("<a/>")
    name = "s1a-iw1-slc-vv-20200607t010800-20200607t010825-032904-03cfba-001.tiff"
    (folder / "measurement" / name).write_bytes(b"II*")
    for source in (folder, tmp_path, {"s1": folder}):
        with pytest.raises(SceneReadError, match=r"in the geometry of the radar.*Give the ground-range product"):
            load_scene(source)


# -------------------------------------------------------------------------------------------------------- tables
def test_vectors_with_pixels_of_their_own_are_interpolated_one_by_one(tmp_path: Path) -> None:
    path = tmp_path / "c.xml"
    path.write_text(
        "<c><calibrationVector><line>-5</line><pixel>0 10</pixel><sigmaNought>100 200</sigmaNought></calibrationVector>"
        "<calibrationVector><line>5</line><pixel>0 5 10</pixel><sigmaNought>300 300 400</sigmaNought></calibrationVector>"
        "</c>"
    )
    found = read_calibration(path).over(slice(0, 8), slice(0, 12))
    assert found[0, 0] == pytest.approx((100 + 300) / 2)
    assert found[0, 5] == pytest.approx((150 + 300) / 2)
    assert found[5, 7] == pytest.approx(340)
    np.testing.assert_allclose(found[7], found[5])  # constant beyond the last line
    assert found[5, 11] == 400


def test_a_noise_file_without_vectors_states_none(tmp_path: Path) -> None:
    path = tmp_path / "n.xml"
    path.write_text('<noise><noiseRangeVectorList count="0"/></noise>')
    assert read_noise(path) is None


def test_a_calibration_file_without_vectors_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.xml"
    path.write_text("<calibration/>")
    with pytest.raises(SceneReadError, match=r"no calibrationVector, so its counts have no unit.*Fetch"):
        read_calibration(path)


def test_a_line_that_comes_twice_is_a_step(tmp_path: Path) -> None:
    path = tmp_path / "c.xml"
    line = "<calibrationVector><line>{}</line><pixel>0 9</pixel><sigmaNought>{} {}</sigmaNought></calibrationVector>"
    path.write_text(f"<c>{''.join(line.format(at, v, v) for at, v in ((0, 100), (5, 100), (5, 300), (9, 300)))}</c>")
    found = read_calibration(path).over(slice(0, 10), slice(0, 10))
    np.testing.assert_allclose(found, np.where(np.arange(10) < 5, 100.0, 300.0)[:, None] * np.ones(10))
