"""`Embeddings` in memory: fusion, labels and CRS, points and windows, forms, summaries."""

from __future__ import annotations

import warnings
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import rioxarray
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from georeset_lab.embed import fused as fused_module
from georeset_lab.embed.embeddings import Embeddings, Expert
from georeset_lab.errors import GeoresetWarning, MissingCRS, OutsideScene, ShapeMismatch, UnknownModality

ATTRS = {
    "model": "default", "seed": 3, "none": None, "quick": True, "share": np.float32(0.5),
    "bands": {"s2": ["B02", "B03"]}, "dates": {"s2": ["2020-06-01"]},
}  # fmt: skip


def grid(height: int = 20, width: int = 30, *, left: float = 500_000.0, top: float = 4_100_000.0) -> GeoBox:
    return GeoBox((height, width), Affine(10.0, 0.0, left, 0.0, -10.0, top), "EPSG:32618")


def expert(shape: tuple[int, int, int], seed: int, dtype: str = "float32") -> Expert:
    rng = np.random.default_rng(seed)
    tau = rng.gamma(1.0, 3.0, shape)
    return Expert((tau * rng.normal(size=shape)).astype(dtype), tau.astype(dtype))


def embeddings(height: int = 20, width: int = 30, dim: int = 5, dtype: str = "float32", **kwargs: float) -> Embeddings:
    shape = (height, width, dim)
    experts = {"s2": expert(shape, 0, dtype), "s1": expert(shape, 1, dtype)}
    return Embeddings(experts, grid(height, width, **kwargs), attrs=ATTRS)


# -- fusion -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float16", 1e-6)])
def test_fusion_is_the_product_of_the_experts_and_one_prior(dtype: str, tolerance: float) -> None:
    emb = embeddings(dtype=dtype)
    eta = sum(np.asarray(e.eta, np.float64) for e in emb.experts.values())
    tau = sum(np.asarray(e.tau, np.float64) for e in emb.experts.values())
    np.testing.assert_allclose(emb.mean.values, (eta / (1 + tau)).transpose(2, 0, 1), rtol=1e-5, atol=tolerance)
    np.testing.assert_allclose(emb.variance.values, (1 / (1 + tau)).transpose(2, 0, 1), rtol=1e-5)
    np.testing.assert_allclose(emb.certainty.values, 1 - emb.variance.values, atol=1e-7)


def test_one_expert_alone_has_the_posterior_under_the_prior() -> None:
    emb = embeddings()
    tau = np.asarray(emb.experts["s1"].tau)
    np.testing.assert_allclose(emb.expert("s1").variance.values, (1 / (1 + tau)).transpose(2, 0, 1), rtol=1e-6)


def test_a_pixel_that_nothing_measured_is_the_prior_and_not_observed() -> None:
    shape = (4, 5, 3)
    eta, tau = np.ones(shape, np.float32), np.ones(shape, np.float32)
    eta[1, 2], tau[1, 2] = 0, 0
    tau[0, 0], eta[0, 0] = (0, 0, 1), (0, 0, 1)  # silent in its first dimensions only
    emb = Embeddings({"s2": Expert(eta, tau)}, grid(4, 5))
    assert np.argwhere(~emb.observed).tolist() == [[1, 2]]
    assert emb.mean.values[:, 1, 2].tolist() == [0, 0, 0]
    assert emb.variance.values[:, 1, 2].tolist() == [1, 1, 1]


def test_dropping_a_modality_never_lowers_the_variance() -> None:
    emb = embeddings()
    for name in emb.modalities:
        assert (emb.without(name).variance.values >= emb.variance.values).all()


def test_blocks_and_vectors_and_maps_are_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    emb = embeddings(50, 40)
    mean, variance, observed = emb.vectors()
    assert mean.flags.c_contiguous
    assert np.shares_memory(mean, emb.mean.values)
    for limit in (1 << 31, 0):  # kept, and made again for each block
        monkeypatch.setattr(fused_module, "FUSE_IN_MEMORY_BYTES", limit)
        monkeypatch.setattr(fused_module, "BLOCK_PIXELS", 400)
        again = embeddings(50, 40)
        got = [np.full_like(a, -9) for a in (mean, variance, observed)]
        for index, *parts in again.blocks():
            for whole, part in zip(got, parts, strict=True):
                whole[index] = part
        for a, b in zip(got, (mean, variance, observed), strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_map_beyond_the_memory_limit_is_lazy_and_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = embeddings()
    monkeypatch.setattr(fused_module, "FUSE_IN_MEMORY_BYTES", 0)
    monkeypatch.setattr(fused_module, "BLOCK_PIXELS", 100)
    emb = embeddings()
    for kind in ("mean", "variance", "certainty"):
        lazy = getattr(emb, kind)
        assert lazy.chunks is not None
        np.testing.assert_array_equal(lazy.values, getattr(wanted, kind).values)
    np.testing.assert_array_equal(emb.observed, wanted.observed)


@pytest.mark.parametrize(
    ("experts", "message"),
    [
        ({}, "at least one expert"),
        ({"s2": (4, 5, 3), "s1": (4, 5, 2)}, "have shapes"),
        ({"s2": (5, 4, 3)}, "the grid has"),
    ],
)
def test_experts_that_do_not_fit_the_grid_are_refused(experts: dict, message: str) -> None:
    with pytest.raises(ShapeMismatch, match=message):
        Embeddings({k: expert(v, 0) for k, v in experts.items()}, grid(4, 5))


def test_an_expert_of_a_wrong_shape_or_type_is_refused() -> None:
    one = np.ones((2, 2, 3), np.float32)
    with pytest.raises(ShapeMismatch, match=r"both must be \(Y, X, D\)"):
        Expert(one, one[:1])
    with pytest.raises(ShapeMismatch, match="float64"):
        Expert(one.astype(float), one.astype(float))


# -- labels and CRS ---------------------------------------------------------------------------------------------------


def test_the_map_is_labelled_with_dims_centres_crs_units_and_provenance() -> None:
    mean = embeddings().mean
    assert mean.dims == ("dim", "y", "x")
    assert (float(mean.x[0]), float(mean.y[0])) == (500_005.0, 4_099_995.0)
    assert mean.rio.crs.to_epsg() == 32618
    assert mean.rio.transform() == grid().affine
    assert mean.attrs["units"] == "1"
    assert "mean" in mean.attrs["long_name"]
    assert (mean.attrs["model"], mean.attrs["seed"]) == ("default", 3)
    assert "B03" in mean.attrs["bands"]


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 7), (20, 30)])
def test_rio_to_raster_and_netcdf_give_the_map_back(tmp_path, height: int, width: int) -> None:
    emb = embeddings(height, width)
    emb.mean.rio.to_raster(tmp_path / "m.tif")
    with rioxarray.open_rasterio(tmp_path / "m.tif") as back:
        assert back.rio.transform() == emb.grid.affine
        assert back.rio.crs.to_epsg() == 32618
        np.testing.assert_array_equal(back.values, emb.mean.values)
    emb.mean.to_netcdf(tmp_path / "m.nc", engine="h5netcdf")
    with xr.open_dataarray(tmp_path / "m.nc", engine="h5netcdf", decode_coords="all") as back:
        assert back.rio.crs.to_epsg() == 32618
        np.testing.assert_array_equal(back.values, emb.mean.values)


def test_a_rotated_grid_keeps_its_affine() -> None:
    affine = Affine.translation(500_000, 4_100_000) @ Affine.rotation(30) @ Affine.scale(10, -10)
    emb = Embeddings({"s2": expert((6, 8, 2), 0)}, GeoBox((6, 8), affine, "EPSG:32618"))
    assert emb.mean.rio.transform().almost_equals(affine)


def test_provenance_travels_through_every_operation() -> None:
    emb = embeddings()
    derived = [emb.only("s1"), emb.without("s1"), emb.expert("s2"), emb.astype("int8"), emb.astype("float16")]
    derived.append(emb.crop(bounds=(500_000, 4_099_900, 500_100, 4_100_000)))
    for other in derived:
        assert other.attrs == ATTRS
        assert other.variance.attrs["model"] == "default"
    lon, lat = centre(emb, 3, 4)
    assert emb.at(lon, lat).attrs["model"] == "default"


# -- points -----------------------------------------------------------------------------------------------------------


def centre(emb: Embeddings, row: float, col: float) -> tuple[float, float]:
    """Lon, lat of a place counted in pixels from the outer corner, by pyproj alone."""
    a, b, c, d, e, f = tuple(emb.grid.affine)[:6]
    x, y = a * (col + 0.5) + b * (row + 0.5) + c, d * (col + 0.5) + e * (row + 0.5) + f
    return Transformer.from_crs("EPSG:32618", "EPSG:4326", always_xy=True).transform(x, y)


@pytest.mark.parametrize("off_meridian_m", [-100_000.0, 100_000.0])
@pytest.mark.parametrize("rotation", [0.0, 12.0])
def test_at_is_the_pixel_that_holds_the_point_at_the_corners_far_off_the_meridian(
    off_meridian_m: float, rotation: float
) -> None:
    shape = (300, 400)
    affine = Affine.translation(500_000 + off_meridian_m, 6_600_000) @ Affine.rotation(rotation) @ Affine.scale(10, -10)
    box = GeoBox(shape, affine, "EPSG:32618")
    row, col = np.mgrid[: shape[0], : shape[1]]
    own = np.stack([row, col], axis=2).astype(np.float32)  # each pixel knows its row and column
    emb = Embeddings({"s2": Expert(own * 1e6, np.full_like(own, 1e6))}, box)
    for r, c in [(0, 0), (0, shape[1] - 1), (shape[0] - 1, 0), (shape[0] - 1, shape[1] - 1)]:
        for dr, dc in [(0, 0), (0.49, 0.49), (-0.49, 0.49), (0.49, -0.49), (-0.49, -0.49)]:
            found = emb.at(*centre(emb, r + dr, c + dc))
            assert (int(found.row), int(found.col)) == (r, c)
            assert np.abs(found["mean"].values - (r, c)).max() < 0.01
            x, y = emb.grid.affine @ (c + 0.5, r + 0.5)
            assert abs(float(found.x) - x) + abs(float(found.y) - y) < 1e-6


def test_at_shows_the_fused_and_each_modality() -> None:
    emb = embeddings()
    found = emb.at(*centre(emb, 7, 11))
    np.testing.assert_array_equal(found["mean"].values, emb.mean.values[:, 7, 11])
    np.testing.assert_array_equal(found["certainty"].values, emb.certainty.values[:, 7, 11])
    np.testing.assert_array_equal(
        found["expert_variance"].sel(modality="s1").values, emb.expert("s1").variance.values[:, 7, 11]
    )
    assert found["observed"].values.all()


def test_a_point_on_the_outer_edge_belongs_to_the_last_pixel() -> None:
    emb = embeddings(20, 30)
    assert emb.pixel(*centre(emb, 19.5, 29.5)) == (19, 29)
    assert emb.pixel(*centre(emb, -0.5, -0.5)) == (0, 0)


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ((-75.0, 40.0), r"lon=-75, lat=40 is outside the map, which covers lon -75\.0\d+ to -74\.9\d+"),
        ((37.0446, -75.0), r"look swapped: pass lon=-75, lat=37\.0446"),
        ((float("nan"), 37.0), "lon=nan"),
        ((0.0, 91.0), "lat=91"),
    ],
)
def test_a_point_outside_is_refused_with_what_was_given_and_where_the_map_is(point, message: str) -> None:
    with pytest.raises(OutsideScene, match=message):
        embeddings().at(*point)


def test_a_grid_without_crs_is_named() -> None:
    emb = Embeddings({"s2": expert((2, 2, 1), 0)}, GeoBox((2, 2), Affine.identity(), None))
    with pytest.raises(MissingCRS, match="has no CRS"):
        emb.at(0, 0)


# -- windows and parts ------------------------------------------------------------------------------------------------


def test_crop_by_bounds_keeps_the_pixels_that_are_touched() -> None:
    emb = embeddings()
    part = emb.crop(bounds=(500_045, 4_099_850, 500_100, 4_099_971))
    assert part.grid == emb.grid[2:15, 4:10]
    np.testing.assert_array_equal(part.mean.values, emb.mean.values[:, 2:15, 4:10])


def test_crop_by_lonlat_box_and_geometry_hold_what_was_asked_for() -> None:
    from shapely.geometry import box, mapping

    emb = embeddings(200, 200, left=400_000.0, top=6_600_000.0)
    (west, south), (east, north) = centre(emb, 150, 20), centre(emb, 30, 160)
    part = emb.crop((west, south, east, north))
    shape = box(west, south, east, north)
    for other in (emb.crop(geometry=shape), emb.crop(geometry=mapping(shape))):
        assert other.grid == part.grid
    for lon in (west, east):
        for lat in (south, north):
            part.pixel(lon, lat)  # inside, or it raises
    # The meridians lean by 1.6 degrees here, so the window is larger than the pixels between the two corners.
    to_map = Transformer.from_crs("EPSG:4326", "EPSG:32618", always_xy=True)
    t = np.linspace(0, 1, 400)
    lon = np.concatenate([west + t * (east - west)] * 2 + [np.full(400, west), np.full(400, east)])
    lat = np.concatenate([np.full(400, south), np.full(400, north)] + [south + t * (north - south)] * 2)
    x, y = to_map.transform(lon, lat)
    rows, cols = (6_600_000 - np.asarray(y)) / 10, (np.asarray(x) - 400_000) / 10
    assert part.shape == (
        int(np.ceil(rows.max()) - np.floor(rows.min())),
        int(np.ceil(cols.max()) - np.floor(cols.min())),
    )
    assert part.shape[0] > 121


def test_crop_across_the_antimeridian() -> None:
    pacific = GeoBox((40, 40), Affine(1000.0, 0.0, 3_320_000.0, 0.0, -1000.0, 1_000_000.0), "EPSG:3832")
    emb = Embeddings({"s2": expert((40, 40, 1), 0)}, pacific)
    part = emb.crop((179.95, 8.7, -179.9, 8.9))
    assert 0 < part.shape[0] < 40
    assert 0 < part.shape[1] < 40


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"bbox": (10.0, 40.0, 11.0, 41.0)}, r"bbox=\(10\.0, 40\.0, 11\.0, 41\.0\) does not touch the map"),
        ({"bbox": (-75.1, 38.0, -74.9, 37.0)}, "north below south"),
        ({"bounds": (2.0, 0.0, 1.0, 1.0)}, "left beyond right"),
        ({"bbox": (1.0, 2.0, 3.0)}, "four numbers"),
        ({}, "exactly one of"),
        ({"geometry": 3}, "a int; give"),
    ],
)
def test_a_crop_that_cannot_be_is_refused(kwargs: dict, message: str) -> None:
    with pytest.raises(OutsideScene, match=message):
        embeddings().crop(**kwargs)


@pytest.mark.parametrize("call", ["only", "without", "expert"])
def test_an_unknown_modality_is_named_with_those_there_are(call: str) -> None:
    with pytest.raises(UnknownModality, match="no expert 'l8'; these embeddings have 's2', 's1'"):
        getattr(embeddings(), call)("l8")


def test_leaving_out_every_modality_is_refused() -> None:
    with pytest.raises(UnknownModality, match="no expert left"):
        embeddings().without("s2", "s1")


# -- forms ------------------------------------------------------------------------------------------------------------


def test_int8_is_within_half_a_step_of_each_expert() -> None:
    emb = embeddings(40, 50)
    compact = emb.astype("int8")
    for name in emb.modalities:
        rule = compact.experts[name].quantization
        assert rule is not None
        alone, small = emb.expert(name), compact.expert(name)
        error = np.abs(small.mean.values - alone.mean.values)
        assert (error <= 0.501 * rule.scale[:, None, None]).all()
        ratio = np.log(small.variance.values / alone.variance.values)
        assert np.abs(ratio).max() <= 0.501 * rule.step
        assert rule.step < 0.02
    assert compact.dtype == "int8"
    assert sum(e.nbytes for e in compact.experts.values()) * 4 == sum(e.nbytes for e in emb.experts.values())


def test_forms_keep_silence_exactly() -> None:
    shape = (5, 6, 4)
    eta, tau = (a.copy() for a in (expert(shape, 0).eta, expert(shape, 0).tau))
    eta[2:, 3:], tau[2:, 3:] = 0, 0
    emb = Embeddings({"s2": Expert(eta, tau)}, grid(5, 6))
    for dtype in ("int8", "float16", "float32"):
        other = emb.astype(dtype)
        np.testing.assert_array_equal(other.observed, emb.observed)
        assert (other.variance.values[:, 2:, 3:] == 1).all()
        assert (other.mean.values[:, 2:, 3:] == 0).all()


def test_int8_again_is_the_same_int8() -> None:
    once = embeddings().astype("int8")
    twice = once.astype("int8")
    for name in once.modalities:
        np.testing.assert_array_equal(once.experts[name].eta, twice.experts[name].eta)
        np.testing.assert_array_equal(once.experts[name].tau, twice.experts[name].tau)


def test_float16_clips_rather_than_overflows() -> None:
    big = np.full((2, 2, 1), 1e6, np.float32)
    emb = Embeddings({"s2": Expert(big, big)}, grid(2, 2)).astype("float16")
    assert np.isfinite(emb.mean.values).all()
    assert abs(float(emb.mean.values[0, 0, 0]) - 1) < 1e-3


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(ShapeMismatch, match="choose one of float32, float16, int8"):
        embeddings().astype("int4")  # type: ignore[arg-type]


# -- summary ----------------------------------------------------------------------------------------------------------


def test_the_summary_is_short_and_escapes_what_it_shows() -> None:
    emb = Embeddings({"s2": expert((8, 9, 3), 0)}, grid(8, 9), attrs={"model": "<script>alert(1)</script>"})
    html = emb._repr_html_()
    assert len(html) < 4000
    assert "<script>" not in html
    assert "8 x 9 pixels, 3 dimensions" in html
    assert "data:image/png;base64," in html
    assert repr(emb) == "<Embeddings 8 x 9 x 3, s2, float32 in memory, EPSG:32618>"


@pytest.mark.real_data
@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "mean", "cosine", "spread"), [("float16", 2e-3, 0.99999, 1e-3), ("int8", 0.02, 0.9995, 0.013)]
)
def test_the_loss_of_compact_forms_on_a_real_scene_is_what_the_docstring_says(
    shared_data: Path, dtype: str, mean: float, cosine: float, spread: float
) -> None:
    emb = chile(shared_data)
    a, b = emb.vectors(), emb.astype(dtype).vectors()
    assert np.abs(a[0] - b[0]).max() <= mean
    similar = (a[0] * b[0]).sum(axis=1) / np.linalg.norm(a[0], axis=1) / np.linalg.norm(b[0], axis=1)
    assert similar.min() >= cosine
    assert np.abs(np.log(a[1] / b[1])).max() <= spread


@lru_cache(maxsize=1)
def chile(shared_data: Path) -> Embeddings:
    from georeset_lab.data.load import load_scene
    from georeset_lab.embed.encode import encode

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GeoresetWarning)  # reading it has its own tests
        scene = load_scene(shared_data / "terramind-chips/433D_629L_3_1")
    return encode(scene, dtype="float32", progress=False)
