"""COG and GeoParquet: the same numbers at the same places for other programs, or a named error and no file."""

from __future__ import annotations

import json
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox

from georeset_lab.embed import fused as fused_module
from georeset_lab.embed.embeddings import Embeddings, Expert
from georeset_lab.errors import NothingObserved, StoreError

ATTRS = {"model": "default", "bands": {"s2": ["B02"]}}


def embeddings(shape: tuple[int, int] = (30, 40), rotation: float = 0.0) -> Embeddings:
    rng = np.random.default_rng(0)
    tau = rng.gamma(1, 1, (*shape, 3)).astype(np.float32)
    tau[2:5, 1:4] = 0
    eta = tau * rng.normal(size=tau.shape).astype(np.float32)
    affine = Affine.translation(500_000, 4_100_000) @ Affine.rotation(rotation) @ Affine.scale(10, -10)
    return Embeddings({"s2": Expert(eta, tau)}, GeoBox(shape, affine, "EPSG:32618"), attrs=ATTRS)


@pytest.mark.parametrize(("shape", "rotation"), [((30, 40), 0.0), ((300, 280), 0.0), ((1, 1), 0.0), ((30, 40), 20.0)])
def test_a_cog_holds_mean_and_variance_by_name_where_they_lie(tmp_path: Path, shape, rotation: float) -> None:
    emb = embeddings(shape, rotation)
    path = emb.to_cog(tmp_path / "e.tif")
    with rasterio.open(path) as found:
        assert found.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert found.descriptions == ("mean_00", "mean_01", "mean_02", "variance_00", "variance_01", "variance_02")
        assert found.crs.to_epsg() == 32618
        assert found.transform.almost_equals(emb.grid.affine)
        assert np.isnan(found.nodata)
        assert (found.tags()["model"], json.loads(found.tags()["bands"])) == ("default", {"s2": ["B02"]})
        values = found.read()
        assert bool(found.overviews(1)) == (max(shape) > 128)
    seen = emb.observed
    np.testing.assert_array_equal(values[:3, seen], emb.mean.values[:, seen])
    np.testing.assert_array_equal(values[3:, seen], emb.variance.values[:, seen])
    assert np.isnan(values[:, ~seen]).all()
    assert [p.name for p in tmp_path.iterdir()] == ["e.tif"]


def test_a_cog_can_leave_the_variance_out_and_replaces_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "e.tif").write_text("old")
    with rasterio.open(embeddings().to_cog(tmp_path / "e.tif", variance=False)) as found:
        assert found.count == 3


@pytest.mark.parametrize("rotation", [0.0, 20.0])
def test_geoparquet_has_a_point_and_the_values_of_each_observed_pixel(tmp_path: Path, rotation: float) -> None:
    emb = embeddings(rotation=rotation)
    path = emb.to_geoparquet(tmp_path / "e.parquet")
    frame = gpd.read_parquet(path)
    assert len(frame) == emb.observed.sum() < emb.observed.size
    assert frame.crs.to_epsg() == 32618
    row, col = frame["row"].to_numpy(), frame["col"].to_numpy()
    np.testing.assert_array_equal(frame[[f"mean_{i:02d}" for i in range(3)]], emb.mean.values[:, row, col].T)
    np.testing.assert_array_equal(frame[[f"variance_{i:02d}" for i in range(3)]], emb.variance.values[:, row, col].T)
    for point, r, c in zip(frame.geometry[:50], row, col, strict=False):
        assert (point.x, point.y) == pytest.approx(emb.grid.affine @ (c + 0.5, r + 0.5))
    lonlat = frame.to_crs("EPSG:4326").geometry
    assert all(emb.pixel(p.x, p.y) == (r, c) for p, r, c in zip(lonlat[:50], row, col, strict=False))
    assert json.loads(pq.read_schema(path).metadata[b"georeset"]) == ATTRS


def test_geoparquet_can_hold_every_pixel_and_no_variance(tmp_path: Path) -> None:
    emb = embeddings()
    frame = gpd.read_parquet(emb.to_geoparquet(tmp_path / "e.parquet", observed_only=False, variance=False))
    assert len(frame) == emb.observed.size
    assert not [c for c in frame if c.startswith("variance")]


def test_a_flipped_bit_in_geoparquet_is_seen_when_checksums_are_asked_for(tmp_path: Path) -> None:
    path = embeddings().to_geoparquet(tmp_path / "e.parquet")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(OSError, match=r"(?i)crc|checksum|corrupt"):
        pq.read_table(path, page_checksum_verification=True)


def test_exports_stream_a_store_that_is_larger_than_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    emb = embeddings((60, 70))
    stored = emb.to_zarr(tmp_path / "e.zarr")
    wanted = gpd.read_parquet(emb.to_geoparquet(tmp_path / "a.parquet"))
    emb.to_cog(tmp_path / "a.tif")
    monkeypatch.setattr(fused_module, "FUSE_IN_MEMORY_BYTES", 0)
    frame = gpd.read_parquet(stored.to_geoparquet(tmp_path / "b.parquet"))
    with rasterio.open(stored.to_cog(tmp_path / "b.tif")) as found, rasterio.open(tmp_path / "a.tif") as first:
        np.testing.assert_array_equal(found.read(), first.read())
    keys = ["row", "col"]
    a, b = (f.sort_values(keys).reset_index(drop=True) for f in (frame, wanted))
    assert a.drop(columns="geometry").equals(b.drop(columns="geometry"))
    assert a.geometry.geom_equals(b.geometry).all()


def test_a_map_without_a_measurement_says_so(tmp_path: Path) -> None:
    zero = np.zeros((4, 5, 2), np.float32)
    emb = Embeddings({"s2": Expert(zero, zero)}, embeddings((4, 5)).grid)
    with pytest.raises(NothingObserved, match="observed_only=False"):
        emb.to_geoparquet(tmp_path / "e.parquet")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["to_cog", "to_geoparquet"])
def test_a_folder_that_cannot_be_is_a_named_error(tmp_path: Path, kind: str) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StoreError, match="Could not write"):
        getattr(embeddings(), kind)(tmp_path / "file" / "e.out")
