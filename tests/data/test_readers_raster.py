"""GeoTIFFs are read by window, typed errors name file, band and block, and no other driver ever opens a file."""

from __future__ import annotations

import http.server
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine

from georeset_lab.data.readers.raster import read_raster, read_window
from georeset_lab.errors import GeoresetError, MissingCRS, SceneReadError, UnitError

UTM = "EPSG:32633"


def write(path: Path, values: np.ndarray, **options: Any) -> Path:
    """GeoTIFF of ``(band, y, x)`` with 10 m pixels at (500000, 5000000)."""
    bands, rows, cols = values.shape
    names = options.pop("names", None)
    tags = options.pop("tags", {})
    scales = options.pop("scales", None)
    profile = {
        "driver": "GTiff", "count": bands, "height": rows, "width": cols, "dtype": values.dtype, "crs": UTM,
        "transform": Affine(10, 0, 500000, 0, -10, 5000000), "tiled": True, "blockxsize": 64, "blockysize": 64,
    } | options  # fmt: skip
    with rasterio.open(path, "w", **profile) as dst:
        dst.write(values)
        if names:
            dst.descriptions = names
        if scales:
            dst.scales = scales
        if tags:
            dst.update_tags(**tags)
    return path


def counts(bands: int = 3, rows: int = 200, cols: int = 150) -> np.ndarray:
    return np.random.default_rng(0).integers(1, 5000, (bands, rows, cols), dtype=np.uint16)


def test_what_a_file_states_is_reported_untouched(tmp_path: Path) -> None:
    values = counts()
    path = write(
        tmp_path / "x.tif", values, names=("B02", "B03", "B04"), nodata=7, scales=(1e-4,) * 3,
        tags={"datetime": "2021-05-06T10:11:12Z"},
    )  # fmt: skip
    piece = read_raster(path)
    assert np.array_equal(piece.raw[0], values)
    assert piece.names == ("B02", "B03", "B04")
    assert piece.nodata == 7
    assert piece.stated == ((1e-4, 0.0),) * 3
    assert str(piece.times[0]) == "2021-05-06T10:11:12.000000000"
    assert piece.grid.crs.epsg == 32633
    assert piece.grid.affine[:6] == (10, 0, 500000, 0, -10, 5000000)


def test_lazy_windows_equal_the_whole(tmp_path: Path) -> None:
    values = counts()
    piece = read_raster(write(tmp_path / "x.tif", values), chunks=64)
    assert piece.is_lazy
    assert piece.raw.chunks[2] == (64, 64, 64, 8)
    assert np.array_equal(piece.raw[0].compute(), values)
    assert np.array_equal(piece.raw[:, 1, 30:90, 10:].compute()[0], values[1, 30:90, 10:])
    assert np.array_equal(piece.raw[0, [2, 0]][:, ::3, ::-1].compute(), values[[2, 0]][:, ::3, ::-1])


def test_a_south_up_file_is_turned_over(tmp_path: Path) -> None:
    values = counts()
    path = write(tmp_path / "x.tif", values, transform=Affine(10, 0, 500000, 0, 10, 4998000))
    for chunks in (None, 64):
        piece = read_raster(path, chunks=chunks)
        assert piece.grid.affine[:6] == (10, 0, 500000, 0, -10, 5000000)
        assert np.array_equal(np.asarray(piece.raw)[0], values[:, ::-1])


def test_no_crs_is_refused_unless_given(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tif", counts(), crs=None)
    with pytest.raises(MissingCRS, match=r'does not say in which.*crs="EPSG:32633"'):
        read_raster(path)
    assert read_raster(path, crs=UTM).grid.crs.epsg == 32633
    with pytest.raises(MissingCRS, match="'moon' is not a coordinate reference system"):
        read_raster(path, crs="moon")


def test_a_missing_or_empty_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SceneReadError, match=r"There is no file .*gone.tif"):
        read_raster(tmp_path / "gone.tif")
    (tmp_path / "empty.tif").touch()
    with pytest.raises(SceneReadError, match="is empty"):
        read_raster(tmp_path / "empty.tif")


def test_complex_numbers_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "slc.tif", np.ones((1, 64, 64), np.complex64))
    with pytest.raises(UnitError, match="single-look"):
        read_raster(path)


@pytest.mark.parametrize("name", ["scene.tif", "scene.vrt", "scene.nc"])
def test_a_vrt_under_any_name_opens_no_file_and_no_socket(tmp_path: Path, name: str) -> None:
    secret = write(tmp_path / "secret.tif", counts(1))
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        do_HEAD = do_GET

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = f"/vsicurl/http://127.0.0.1:{server.server_address[1]}/x.tif"
        for source in (str(secret), address):
            vrt = tmp_path / name
            vrt.write_text(
                '<VRTDataset rasterXSize="150" rasterYSize="200"><VRTRasterBand dataType="UInt16" band="1">'
                "<SimpleSource>"
                f"<SourceFilename>{source}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
            )
            with pytest.raises(SceneReadError, match=r"is text .* never opened"):
                read_raster(vrt)
    finally:
        server.shutdown()
    assert asked == []


@pytest.mark.parametrize("name", ["/vsicurl/http://127.0.0.1:9/x.tif", "GTIFF_DIR:1:x.tif", "http://127.0.0.1:9/x.tif"])
def test_addresses_and_driver_prefixes_are_no_files(name: str) -> None:
    with pytest.raises(SceneReadError, match="There is no file"):
        read_raster(Path(name))


@pytest.mark.parametrize("content", [b"PK\x03\x04rubbish", b"\x89PNG\r\n\x1a\nrubbish", bytes(64)])
def test_other_formats_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.tif"
    path.write_bytes(content)
    with pytest.raises(SceneReadError, match="neither GeoTIFF nor JPEG 2000"):
        read_raster(path)


def test_a_truncated_block_is_named_with_band_and_path(tmp_path: Path) -> None:
    values = counts(2, 256, 256)
    path = write(tmp_path / "x.tif", values, interleave="band", compress=None)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - 40_000])
    piece = read_raster(path, chunks=64)
    with pytest.raises(SceneReadError, match=r"x\.tif is truncated or damaged: band 2, block \(\d, \d\) of 64 x 64"):
        piece.raw.compute()
    assert np.array_equal(piece.raw[0, 0, :64, :64].compute(), values[0, :64, :64])


@pytest.mark.parametrize("compress", [None, "deflate"])
def test_a_file_cut_anywhere_gives_a_typed_error_or_exact_data(tmp_path: Path, compress: str | None) -> None:
    values = counts(2, 130, 130)
    path = write(tmp_path / "x.tif", values, compress=compress)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for cut in rng.integers(0, len(whole), 40):
        path.write_bytes(whole[:cut])
        try:
            read = read_raster(path, crs=UTM).raw
        except SceneReadError:
            refused += 1
            continue
        assert np.array_equal(read[0], values), f"cut at {cut} of {len(whole)} changed pixels without an error"
    assert refused >= 35


def test_damaged_headers_give_typed_errors(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tif", counts(2, 130, 130), names=("B02", "B04"), compress="deflate")
    whole = path.read_bytes()
    rng = np.random.default_rng(1)
    for _ in range(150):
        damaged = bytearray(whole)
        for spot in rng.integers(0, 2048, 3):
            end = int(rng.integers(0, 2))
            damaged[len(whole) - 1 - spot if end else spot] = int(rng.integers(0, 256))
        path.write_bytes(bytes(damaged))
        try:
            np.asarray(read_raster(path, crs=UTM).raw)
        except GeoresetError:
            continue


def test_an_absurd_raster_stays_lazy_and_is_read_by_window_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "bomb.tif"
    profile = {
        "driver": "GTiff", "count": 3, "height": 300_000, "width": 400_000, "dtype": "uint8", "crs": UTM, "tiled": True,
        "transform": Affine(10, 0, 0, 0, -10, 0), "blockxsize": 512, "blockysize": 512, "sparse_ok": True,
        "bigtiff": "YES",
    }  # fmt: skip
    with rasterio.open(path, "w", **profile):
        pass
    code = f"""
        import resource; resource.setrlimit(resource.RLIMIT_AS, ({4 * 2**30}, {4 * 2**30}))
        from pathlib import Path
        from georeset_lab.data.readers.raster import read_raster
        piece = read_raster(Path({str(path)!r}))
        assert piece.is_lazy and piece.raw.shape == (1, 3, 300000, 400000)
        assert piece.raw[0, :, 150000:150100, 7:107].compute().shape == (3, 100, 100)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-800:]


def test_blocks_too_large_to_hold_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "strip.tif"
    profile = {
        "driver": "GTiff", "count": 1, "height": 40_000, "width": 40_000, "dtype": "uint8", "crs": UTM,
        "transform": Affine(10, 0, 0, 0, -10, 0), "tiled": True, "blockxsize": 32_768, "blockysize": 32_768,
        "sparse_ok": True,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile):
        pass
    with pytest.raises(SceneReadError, match="blocks of 32768 x 32768 pixels"):
        read_raster(path)


def test_a_window_is_read_without_the_rest(tmp_path: Path) -> None:
    values = counts()
    path = write(tmp_path / "x.tif", values)
    assert np.array_equal(read_window(path, [3, 1], slice(5, 70), slice(60, 61)), values[[2, 0], 5:70, 60:61])


def test_a_header_that_claims_thousands_of_bands_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    values = np.ones((2, 8, 8), "uint16")
    with rasterio.open(path, "w", driver="GTiff", count=2, height=8, width=8, dtype="uint16", crs="EPSG:32633",
                       transform=Affine(10, 0, 5e5, 0, -10, 5.8e6), interleave="pixel") as out:  # fmt: skip
        out.write(values)
    data = bytearray(path.read_bytes())
    at = data.index(b"\x15\x01\x03\x00\x01\x00\x00\x00")  # tag 277, samples per pixel, as one short number
    data[at + 8 : at + 10] = (32513).to_bytes(2, "little")
    path.write_bytes(bytes(data))
    with pytest.raises(SceneReadError, match=r"claims 32513 bands|cannot be opened"):
        read_raster(path)
