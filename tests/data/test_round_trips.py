"""Properties that hold for any pixels: numbers to physical values and back, and from disk to the scene and back."""

from __future__ import annotations

import math
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from georeset_lab.data.bands import BandSpec
from georeset_lab.data.calibration import Calibration
from georeset_lab.data.flags import FLAGS, UNUSABLE, bit_of, flag_bits, has_flag
from georeset_lab.data.load import load_scene
from georeset_lab.data.masks import QA_TABLES, unusable
from georeset_lab.data.readers.raster import read_raster
from georeset_lab.data.scene_store import open_scene, write_scene
from georeset_lab.errors import BandMismatch, UnitError

sys.path.insert(0, str(Path(__file__).parent))
import products

quick = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
scales = st.floats(1e-6, 10, allow_nan=False)
offsets = st.floats(-200, 200, allow_nan=False)
kinds = st.sampled_from(["uint8", "uint16", "int16", "int32", "float32"])


# ------------------------------------------------------------------------------------------ numbers and physical values
@given(
    raw=hnp.arrays("uint16", st.tuples(st.just(1), st.integers(1, 4), st.integers(1, 6), st.integers(1, 6))),
    data=st.data(),
)
@settings(max_examples=150, deadline=None)
def test_counts_come_back_from_their_physical_values(raw: np.ndarray, data: st.DataObject) -> None:
    bands = raw.shape[1]
    scale = tuple(data.draw(st.lists(st.floats(1e-5, 1e-2), min_size=bands, max_size=bands)))
    offset = tuple(data.draw(st.lists(st.floats(-0.5, 0.5), min_size=bands, max_size=bands)))
    nodata = data.draw(st.one_of(st.none(), st.integers(0, 65535)))
    saturated = data.draw(st.one_of(st.none(), st.integers(0, 65535)))
    values = Calibration(scale, offset, nodata, saturated=saturated).apply(raw)
    missing = (raw == nodata) | (raw == saturated)
    assert np.array_equal(np.isnan(values), missing)
    back = (values.astype(float) - np.array(offset)[:, None, None]) / np.array(scale)[:, None, None]
    # float32 keeps 24 bits of the physical value, so a count is known to its step or to 2e-7 of value / scale.
    reach = 4e-7 * (np.abs(values) + np.abs(np.array(offset)[:, None, None])) / np.array(scale)[:, None, None] + 0.01
    assert (np.abs(back - raw)[~missing] <= np.broadcast_to(reach, raw.shape)[~missing]).all()


@given(kelvin=st.floats(200, 340), constants=st.sampled_from([(607.76, 1260.56), (774.8853, 1321.0789)]))
@settings(max_examples=60, deadline=None)
def test_brightness_temperature_inverts_the_law_of_planck(kelvin: float, constants: tuple[float, float]) -> None:
    k1, k2 = constants
    radiance = k1 / math.expm1(k2 / kelvin)
    raw = np.full((1, 1, 1, 1), (radiance - 0.1) / 3.342e-4)
    got = Calibration((3.342e-4,), (0.1,), planck=(constants,)).apply(raw)
    assert float(got[0, 0, 0, 0]) == pytest.approx(kelvin, abs=1e-3)


@given(decibel=st.floats(-50, 20), amplitude=st.booleans())
@settings(max_examples=60, deadline=None)
def test_power_and_amplitude_come_back_as_the_decibels_they_were(decibel: float, amplitude: bool) -> None:
    raw = np.full((1, 1, 1, 1), 10 ** (decibel / (20 if amplitude else 10)))
    got = Calibration((1.0,), (0.0,), to_db=True, amplitude=amplitude).apply(raw)
    assert float(got[0, 0, 0, 0]) == pytest.approx(decibel, abs=1e-4)


@given(st.floats(allow_nan=True), st.floats(allow_nan=True))
@settings(max_examples=80, deadline=None)
def test_a_band_is_built_only_from_wavelengths_that_can_be_micrometres(centre: float, width: float) -> None:
    if 0.2 <= centre <= 100 and 0 < width <= centre:
        assert BandSpec("b", centre, width, 10).center_um == centre
    else:
        with pytest.raises(UnitError, match="micrometres"):
            BandSpec("b", centre, width, 10)


# ---------------------------------------------------------------------------------------------------------------- flags
@pytest.mark.parametrize("kind", ["bqa", *QA_TABLES])
def test_the_usual_flags_mask_exactly_what_the_products_table_calls_unusable(kind: str) -> None:
    values = np.arange(2**16)
    assert np.array_equal(has_flag(flag_bits(values, kind), UNUSABLE), unusable(values, kind))


@given(
    hnp.arrays("uint16", st.tuples(st.integers(1, 8), st.integers(1, 8))),
    st.sampled_from(["scl", "qa_pixel", "fmask", "bqa"]),
)
@settings(max_examples=60, deadline=None)
def test_flags_are_the_same_lazily_in_any_integer_type_and_with_missing_pixels(qa: np.ndarray, kind: str) -> None:
    import xarray as xr

    whole = flag_bits(qa, kind)
    lazy = flag_bits(xr.DataArray(qa, dims=("y", "x")).chunk({"x": 3}), kind)
    assert lazy.chunks is not None
    assert np.array_equal(lazy.values, whole)
    assert np.array_equal(flag_bits(qa.astype("int32"), kind), whole)
    holes = qa.astype("float64")
    holes[0, 0] = np.nan
    got = flag_bits(holes, kind)
    assert got[0, 0] == FLAGS["nodata"]
    assert np.array_equal(got.ravel()[1:], whole.ravel()[1:])


def test_flags_that_cannot_be_are_named() -> None:
    with pytest.raises(BandMismatch, match="No kind of quality band is called 'mood'"):
        flag_bits(np.zeros(3, int), "mood")
    with pytest.raises(BandMismatch, match="No flag is called 'rain'; choose from nodata, saturated"):
        bit_of(["rain"])
    with pytest.raises(UnitError, match="holds fractions"):
        flag_bits(np.array([0.5]), "scl")
    assert flag_bits(np.array([-1, 70_000]), "qa_pixel").tolist() == [1, 1]


# ------------------------------------------------------------------------------------------------------- write and read
@given(kind=kinds, shape=st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)), scale=scales, offset=offsets,
       corner=st.tuples(st.integers(-900, 900), st.integers(-900, 900)), turn=st.sampled_from([0, 30]),
       data=st.data())  # fmt: skip
@quick
def test_a_geotiff_comes_back_with_its_pixels_place_and_scale(kind, shape, scale, offset, corner, turn, data) -> None:
    values = data.draw(hnp.arrays(kind, shape, elements=None if kind != "float32" else st.floats(-1e6, 1e6, width=32)))
    angle = math.radians(turn)
    cosine, sine = 10 * math.cos(angle), 10 * math.sin(angle)
    affine = Affine(cosine, sine, corner[0] * 1e3, sine, -cosine, corner[1] * 1e3)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.tif"
        with rasterio.open(path, "w", driver="GTiff", count=shape[0], height=shape[1], width=shape[2], dtype=kind,
                           crs="EPSG:32633", transform=affine) as out:  # fmt: skip
            out.write(values)
            out.scales, out.offsets = (scale,) * shape[0], (offset,) * shape[0]
        whole, lazy = read_raster(path), read_raster(path, chunks=4)
    assert np.array_equal(whole.raw[0], values, equal_nan=True)
    assert whole.grid.affine[:6] == pytest.approx(affine[:6])
    assert whole.stated == ((scale, offset),) * shape[0] or (scale, offset) == (1, 0)
    assert lazy.is_lazy
    assert (lazy.grid, lazy.stated, lazy.names) == (whole.grid, whole.stated, whole.names)


@given(shape=st.tuples(st.integers(2, 3), st.integers(2, 7), st.integers(2, 7)), gain=st.floats(1e-5, 2e-4), data=st.data(),
       interleave=st.sampled_from(["bsq", "bil", "bip"]), big=st.booleans())  # fmt: skip
@quick
def test_an_envi_raster_comes_back_in_every_order_of_its_bytes(shape, gain, data, interleave, big) -> None:
    values = data.draw(hnp.arrays("int16", shape, elements=st.integers(500, 4000)))
    centres = ", ".join(str(500 + 50 * i) for i in range(shape[0]))
    header = {"wavelength": f"{{{centres}}}", "wavelength units": "Nanometers", "fwhm": f"{{{', '.join(['20'] * shape[0])}}}",
              "data gain values": f"{{{', '.join([repr(gain)] * shape[0])}}}"}  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = products.envi(Path(folder) / "a.img", values, header, interleave=interleave, big=big)
        got = load_scene(path)["image"].read(slice(None), slice(None))[0]
    np.testing.assert_allclose(got, values * gain, rtol=1e-6)


@given(offset=st.integers(-2000, 0), quantification=st.integers(5000, 20_000), seed=st.integers(0, 99))
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
def test_reflectance_written_as_a_safe_folder_comes_back(offset: int, quantification: int, seed: int) -> None:
    reflectance = np.random.default_rng(seed).uniform(0.15, 0.25, (12, 12))
    counts = np.round(reflectance * quantification - offset).astype("uint16")
    with tempfile.TemporaryDirectory() as folder:
        root = products.safe(
            Path(folder), {"B02": counts, "B03": counts}, offsets=offset, quantification=quantification
        )
        got = load_scene(root)["s2"].read(slice(None), slice(None))[0, 0]
    assert np.abs(got - reflectance).max() <= 0.5 / quantification + 1e-6


def test_flags_and_their_choice_survive_the_scene_store(tmp_path: Path) -> None:
    scl = np.full((6, 6), 4, "uint8")
    scl[0, :4] = (8, 3, 11, 0)
    counts = {b: np.random.default_rng(1).integers(2000, 3000, (12, 12)).astype("uint16") for b in ("B02", "B03")}
    counts["B02"][5, 5] = 65535
    scene = load_scene(products.safe(tmp_path, counts, scl=scl))
    back = open_scene(write_scene(scene, tmp_path / "a.zarr"))["s2"]
    for name in FLAGS:
        assert np.array_equal(back.flagged(name).values, scene["s2"].flagged(name).values), name
    assert back.calibration == scene["s2"].calibration
    for m in (back, back.masked_by("snow"), scene.crop(bounds=scene["s2"].grid.boundingbox.bbox)["s2"]):
        assert m.flags is not None
        assert m.flags.attrs["flag_meanings"].split() == list(FLAGS)
    here, there = (m.masked_by("snow").read(slice(None), slice(None)) for m in (scene["s2"], back))
    assert np.array_equal(here, there, equal_nan=True)
