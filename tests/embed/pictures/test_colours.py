"""Pictures: colours that mean what they say, transparency where nothing was measured, axes with units."""

from __future__ import annotations

import base64
import io

import matplotlib
import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from PIL import Image

from georeset_lab.embed.embeddings import Embeddings, Expert
from georeset_lab.embed.pictures import plot as plot_module
from georeset_lab.embed.pictures.colours import (
    PaletteImage,
    axes_rgb,
    certainty_image,
    certainty_palette,
    class_image,
    class_palette,
    pca_axes,
    pca_rgb,
    png_bytes,
    png_data_url,
    scale_image,
    stretch_rgb,
)
from georeset_lab.embed.pictures.plot import plot_embeddings, thinned
from georeset_lab.errors import NothingObserved, ShapeMismatch

matplotlib.use("Agg")


def lightness(rgb: np.ndarray) -> np.ndarray:
    """CIE lightness L* of sRGB 0..255."""
    return lab(linear(rgb))[..., 0]


def linear(rgb: np.ndarray) -> np.ndarray:
    unit = np.asarray(rgb, float) / 255
    return np.where(unit <= 0.04045, unit / 12.92, ((unit + 0.055) / 1.055) ** 2.4)


def lab(light: np.ndarray) -> np.ndarray:
    """CIE L*a*b* (D65) of linear RGB."""
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = light @ to_xyz.T / (0.9505, 1.0, 1.089)
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=-1)


# Machado, Oliveira and Fernandes 2009: complete protanopia and deuteranopia, on linear RGB.
BLIND = {
    "normal": np.eye(3),
    "protan": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deutan": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
}


def test_the_certainty_scale_is_dark_when_unsure_and_grows_lighter_without_a_turn() -> None:
    steps = lightness(certainty_palette())
    assert steps[0] < 20
    assert steps[-1] > 85
    assert (np.diff(steps) > -0.2).all()  # 8-bit rounding only


@pytest.mark.parametrize("eyes", BLIND)
@pytest.mark.parametrize(("n", "apart"), [(8, 10.0), (16, 10.0)])
def test_class_colours_stay_apart_for_colour_blind_eyes(eyes: str, n: int, apart: float) -> None:
    seen = lab(np.clip(linear(class_palette(n)) @ BLIND[eyes].T, 0, 1))
    distance = np.linalg.norm(seen[:, None] - seen[None], axis=-1)
    assert distance[~np.eye(n, dtype=bool)].min() >= apart


def test_more_classes_than_colours_are_still_different() -> None:
    assert len({tuple(c) for c in class_palette(40)}) == 40


def test_pca_colours_recover_planted_axes() -> None:
    rng = np.random.default_rng(0)
    shape, dim = (40, 50), 16
    basis = np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    planted = rng.normal(size=(shape[0] * shape[1], 3)) * (5, 3, 2)
    vectors = (planted @ basis[:, :3].T + 0.01 * rng.normal(size=(len(planted), dim)) + 7).astype(np.float32)
    observed = np.ones(len(vectors), bool)
    _, axes, share = pca_axes(vectors, observed)
    np.testing.assert_allclose(np.abs(axes.T @ basis[:, :3]), np.eye(3), atol=0.1)
    assert share.sum() > 0.99
    picture = pca_rgb(vectors, observed, shape).reshape(-1, 4)
    for i in range(3):
        assert abs(np.corrcoef(picture[:, i], planted[:, i])[0, 1]) > 0.97


def test_the_same_map_gives_the_same_colours_whatever_the_sign_of_the_solver() -> None:
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(600, 5)).astype(np.float32) * (3, 2, 1, 0.5, 0.1)
    vectors = vectors.astype(np.float32)
    seen = np.ones(600, bool)
    _, axes, _ = pca_axes(vectors, seen)
    assert (axes[np.abs(axes).argmax(axis=0), range(3)] > 0).all()
    np.testing.assert_array_equal(pca_rgb(vectors, seen, (20, 30)), pca_rgb(vectors.copy(), seen, (20, 30)))


def test_what_is_not_observed_is_transparent_and_does_not_shift_the_colours() -> None:
    rng = np.random.default_rng(2)
    vectors = rng.normal(size=(100, 4)).astype(np.float32)
    seen = np.ones(100, bool)
    seen[30:40] = False
    wild = vectors.copy()
    wild[30:40] = np.nan
    a, b = pca_rgb(vectors, seen, (10, 10)), pca_rgb(wild, seen, (10, 10))
    np.testing.assert_array_equal(a, b)
    assert (a.reshape(-1, 4)[30:40] == 0).all()
    assert (a.reshape(-1, 4)[seen, 3] == 255).all()


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_few_dimensions_and_a_single_pixel_have_a_picture(dim: int) -> None:
    vectors = np.random.default_rng(0).normal(size=(6, dim)).astype(np.float32)
    assert pca_rgb(vectors, np.ones(6, bool), (2, 3)).shape == (2, 3, 4)
    assert pca_rgb(vectors[:1], np.ones(1, bool), (1, 1))[0, 0, 3] == 255


def test_nothing_observed_is_named() -> None:
    with pytest.raises(NothingObserved, match="No pixel was observed"):
        pca_rgb(np.zeros((4, 3), np.float32), np.zeros(4, bool), (2, 2))


def test_three_axes_are_the_three_colours() -> None:
    vectors = np.stack([np.linspace(0, 1, 100), np.linspace(1, 0, 100), np.full(100, 0.5)], axis=1).astype(np.float32)
    picture = axes_rgb(vectors, np.ones(100, bool), (10, 10), (0, 1, 2)).reshape(-1, 4)
    assert picture[0, 0] == 0
    assert picture[-1, 0] == 255
    assert picture[0, 1] == 255
    with pytest.raises(ShapeMismatch, match="give three dimensions between 0 and 2"):
        axes_rgb(vectors, np.ones(100, bool), (10, 10), (0, 1, 3))


def test_scale_image_keeps_order_ends_and_holes() -> None:
    values = np.array([[0.0, 0.25, 0.5], [1.0, np.nan, 7.0]])
    image = certainty_image(values)
    assert image.index[1, 1] == 0
    assert image.palette[0, 3] == 0
    assert (image.index[0, 0], image.index[1, 0], image.index[1, 2]) == (1, 255, 255)
    np.testing.assert_array_equal(image.rgba()[0, 0, :3], certainty_palette()[0])
    np.testing.assert_array_equal(image.rgba()[1, 0, :3], certainty_palette()[255])
    hidden = scale_image(values, low=0, high=1, observed=np.array([[False, True, True]] * 2))
    assert hidden.index[0, 0] == 0


def test_class_image_maps_codes_to_colours() -> None:
    image = class_image(np.array([[0, 1], [2, -1]]), 3)
    np.testing.assert_array_equal(image.rgba()[0, :, :3], class_palette(3)[:2])
    assert image.rgba()[1, 1, 3] == 0
    with pytest.raises(ShapeMismatch, match="codes below n"):
        class_image(np.array([[3]]), 3)


def test_stretch_makes_grey_or_colour_and_hides_nan() -> None:
    band = np.linspace(0, 1, 100).reshape(1, 10, 10).copy()
    band[0, 3, 3] = np.nan
    grey = stretch_rgb(band)
    assert (grey[..., 0] == grey[..., 1]).all()
    assert grey[3, 3, 3] == 0
    assert (stretch_rgb(np.full((3, 2, 2), np.nan)) == 0).all()
    with pytest.raises(ShapeMismatch, match=r"needs \(3, Y, X\)"):
        stretch_rgb(np.zeros((2, 4, 4)))


def test_a_data_url_holds_the_same_pixels() -> None:
    rng = np.random.default_rng(0)
    palette = PaletteImage(rng.integers(0, 7, (30, 40)).astype(np.uint8), rng.integers(0, 256, (7, 4)).astype(np.uint8))
    for image, wanted in ((palette, palette.rgba()), (palette.rgba(), palette.rgba())):
        url = png_data_url(image)
        head, data = url.split(",", 1)
        assert head == "data:image/png;base64"
        with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
            np.testing.assert_array_equal(np.asarray(picture.convert("RGBA")), wanted)
    with pytest.raises(ShapeMismatch, match="uint8"):
        png_data_url(np.zeros((2, 2, 3)))


def test_a_palette_png_of_a_class_map_is_small() -> None:
    codes = np.kron(np.random.default_rng(0).integers(0, 8, (32, 32)), np.ones((32, 32), int))
    assert len(png_bytes(class_image(codes, 8))) <= 200_000 / 4


# -- axes -------------------------------------------------------------------------------------------------------------


def embeddings(affine: Affine, crs: str = "EPSG:32618", shape: tuple[int, int] = (30, 40), hole: bool = True):
    rng = np.random.default_rng(0)
    tau = rng.gamma(1, 1, (*shape, 4)).astype(np.float32)
    if hole:
        tau[:5, :6] = 0
    eta = tau * rng.normal(size=tau.shape).astype(np.float32)
    return Embeddings({"s2": Expert(eta, tau)}, GeoBox(shape, affine, crs))


@pytest.mark.parametrize(
    ("pixel", "crs", "xlabel", "right"),
    [
        (10.0, "EPSG:32618", "easting (m)", 500_400.0),
        (100.0, "EPSG:32618", "easting (km)", 504.0),
        (0.001, "EPSG:4326", "longitude (degrees)", 10.04),
    ],
)
def test_plot_axes_carry_the_units_of_the_map(pixel: float, crs: str, xlabel: str, right: float) -> None:
    left, top = (10.0, 40.0) if crs == "EPSG:4326" else (500_000.0, 4_100_000.0)
    ax = plot_embeddings(embeddings(Affine(pixel, 0, left, 0, -pixel, top), crs))
    assert ax.get_xlabel() == xlabel
    assert ax.get_xlim()[1] == pytest.approx(right)
    assert ax.get_legend().get_texts()[0].get_text() == "not observed"
    matplotlib.pyplot.close(ax.figure)


@pytest.mark.parametrize("rotation", [0.0, 30.0])
def test_plot_draws_each_pixel_where_it_lies(rotation: float) -> None:
    affine = Affine.translation(500_000, 4_100_000) @ Affine.rotation(rotation) @ Affine.scale(100, -100)
    emb = embeddings(affine)
    ax = emb.plot(kind="certainty")
    picture = ax.images[0]
    shown = ax.transData.inverted().transform(picture.get_transform().transform([(40, 30)]))[0]
    np.testing.assert_allclose(shown, np.array(affine @ (40, 30)) / 1000)
    assert "dark = unsure" in ax.figure.axes[-1].get_ylabel()
    assert ax.figure.axes[-1].get_ylim() == (0, 1)
    matplotlib.pyplot.close(ax.figure)
    ax = emb.plot(kind="certainty", limits=None)
    certainty = emb.certainty.values.mean(axis=0)[emb.observed]
    np.testing.assert_allclose(ax.figure.axes[-1].get_ylim(), np.percentile(certainty, (2, 98)), rtol=1e-5)
    matplotlib.pyplot.close(ax.figure)


def test_plot_names_bands_and_refuses_other_kinds() -> None:
    emb = embeddings(Affine(10, 0, 500_000, 0, -10, 4_100_000), hole=False)
    ax = emb.plot((0, 1, 2))
    assert ax.get_title() == "Dimensions 0, 1, 2 as red, green, blue"
    assert ax.get_legend() is None
    matplotlib.pyplot.close(ax.figure)
    with pytest.raises(ShapeMismatch, match="is not a picture"):
        emb.plot(kind="umap")  # type: ignore[arg-type]
    with pytest.raises(ShapeMismatch, match="one number per pixel"):
        emb.plot((0, 1, 2), kind="certainty")


def test_a_large_map_is_thinned_to_every_step_th_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    from georeset_lab.embed import fused

    emb = embeddings(Affine(10, 0, 500_000, 0, -10, 4_100_000))
    monkeypatch.setattr(fused, "BLOCK_PIXELS", 40 * 7)  # parts that do not start at multiples of the step
    mean, variance, observed, step = thinned(emb, max_pixels=150)
    assert step == 3
    np.testing.assert_array_equal(mean, emb.mean.values.transpose(1, 2, 0)[::3, ::3])
    np.testing.assert_array_equal(variance, emb.variance.values.transpose(1, 2, 0)[::3, ::3])
    np.testing.assert_array_equal(observed, emb.observed[::3, ::3])
    monkeypatch.setattr(plot_module, "MAX_PIXELS", 150)
    ax = emb.plot()
    assert ax.get_xlim() == (500_000, 500_400)
    matplotlib.pyplot.close(ax.figure)
