"""Which dimensions and places a modality settles: the numbers, and the pictures of them."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import pytest
from affine import Affine
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from odc.geo.geobox import GeoBox

from georeset_lab.embed import fused as fused_module
from georeset_lab.embed.embeddings import Embeddings, Expert
from georeset_lab.embed.pictures import plot_certainty as module
from georeset_lab.embed.pictures.colours import certainty_image
from georeset_lab.embed.pictures.plot_certainty import certainty_maps, column_order
from georeset_lab.errors import UnknownModality

matplotlib.use("Agg")

DIM = 8
SETTLES = {"s2": slice(0, 3), "s1": slice(3, 6), "dem": slice(6, 8)}


def embeddings(
    shape: tuple[int, int] = (30, 40), *, names: tuple[str, ...] = tuple(SETTLES), hole: bool = True
) -> Embeddings:
    """Each modality settles its own dimensions and knows little of the others; s1 did not see the first rows."""
    rng = np.random.default_rng(0)
    experts = {}
    for i, name in enumerate(names):
        tau = rng.uniform(0.0, 0.2, (*shape, DIM))
        tau[..., list(SETTLES.values())[i % 3]] += rng.uniform(4, 9)
        if hole and name == "s1":
            tau[:10] = 0
        experts[name] = Expert((tau * rng.normal(size=tau.shape)).astype(np.float32), tau.astype(np.float32))
    return Embeddings(
        experts, GeoBox(shape, Affine(10, 0, 500_000, 0, -10, 4_100_000), "EPSG:32618"), attrs={"model": "m"}
    )


# -- numbers ----------------------------------------------------------------------------------------------------------


def test_a_profile_shows_the_dimensions_that_a_sensor_settles() -> None:
    emb = embeddings()
    for name, dims in SETTLES.items():
        got = emb.profile(name)
        assert got.dims == ("dim",)
        assert got.dtype == np.float32
        assert str(got.modality.values) == name
        assert (got.values[dims] > 0.75).all()
        assert (np.delete(got.values, np.r_[dims]) < 0.2).all()
    every = emb.profile()
    assert every.dims == ("modality", "dim")
    assert every.modality.values.tolist() == ["s2", "s1", "dem", "fused"]
    assert (every.sel(modality="fused").values > 0.5).all()
    assert every.attrs["model"] == "m"


def test_a_profile_is_the_mean_over_what_the_modality_itself_observed() -> None:
    emb = embeddings()
    every = emb.profile()
    for name in emb.modalities:
        alone = emb.only(name)
        wanted = alone.certainty.values[:, alone.observed].mean(axis=1)
        np.testing.assert_allclose(emb.profile(name).values, wanted, rtol=1e-5)
        np.testing.assert_allclose(every.sel(modality=name).values, wanted, rtol=1e-5)
    wanted = emb.certainty.values[:, emb.observed].mean(axis=1)
    np.testing.assert_allclose(every.sel(modality="fused").values, wanted, rtol=1e-5)
    np.testing.assert_allclose(emb.profile("fused").values, wanted, rtol=1e-5)


@pytest.mark.parametrize(("dtype", "rtol"), [("float32", 1e-6), ("float16", 2e-3), ("int8", 2e-2)])
def test_a_profile_in_parts_of_a_store_is_that_of_the_whole(
    dtype: str, rtol: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = embeddings().profile()
    monkeypatch.setattr(fused_module, "BLOCK_PIXELS", 40 * 7)
    np.testing.assert_allclose(embeddings().astype(dtype).profile().values, wanted.values, rtol=rtol, atol=rtol / 10)
    stored = embeddings().to_zarr(tmp_path / "store", dtype=dtype)
    np.testing.assert_allclose(stored.profile().values, wanted.values, rtol=rtol, atol=rtol / 10)


def test_a_profile_never_fuses_the_whole_map() -> None:
    emb = embeddings()
    emb.profile()
    emb.profile("s2")
    assert "_fused" not in emb.__dict__


def test_a_profile_of_precisions_beyond_float16_arithmetic_is_finite() -> None:
    tau = np.full((2, 2, 3), 65504, np.float16)
    emb = Embeddings(
        {"s2": Expert(tau, tau), "s1": Expert(tau, tau)}, GeoBox((2, 2), Affine(1, 0, 0, 0, -1, 0), "EPSG:32618")
    )
    assert (emb.profile().values > 0.9999).all()


def test_a_modality_that_observed_nothing_has_no_profile_and_no_such_modality_is_named() -> None:
    emb = embeddings((10, 12))
    assert np.isnan(emb.profile("s1").values).all()
    assert np.isnan(emb.profile().sel(modality="s1").values).all()
    with pytest.raises(UnknownModality, match="no expert 'l8'; these embeddings have 's2', 's1', 'dem'"):
        emb.profile("l8")


def test_columns_are_grouped_by_their_leader_and_fall_within_a_group() -> None:
    profile = np.array([[0.04, 0.1, 0.9, 0.3, 0.8], [0.0, 0.2, 0.1, 0.6, 0.1], [np.nan] * 5])
    order, leader = column_order(profile)
    assert order.tolist() == [2, 4, 3, 1, 0]
    assert leader.tolist() == [0, 0, 1, 1, 3]  # none knows the first
    assert column_order(np.full((2, 3), np.nan))[0].tolist() == [0, 1, 2]


# -- pictures ---------------------------------------------------------------------------------------------------------


def test_certainty_maps_have_one_scale_one_title_each_and_show_what_was_not_seen() -> None:
    emb = embeddings()
    figure = emb.plot_certainty()
    *maps, bar = [ax for ax in figure.axes if ax.get_visible()]
    assert [ax.get_title().split(",")[0] for ax in maps] == ["s2", "s1", "dem", "fused"]
    assert bar.get_ylim() == (0, 1)
    assert bar.get_ylabel() == "certainty (0 = prior, 1 = settled)"
    assert bar.get_legend().get_texts()[0].get_text() == "not observed"
    assert figure.get_supxlabel() == "easting (m)"
    assert figure.get_supylabel() == "northing (m), EPSG:32618"
    for ax in maps:
        assert ax.get_xlim() == (500_000, 500_400)
    for ax, name in zip(maps, emb.modalities, strict=False):
        alone = emb.only(name)
        values = alone.certainty.values.mean(axis=0)
        assert ax.get_title() == f"{name}, mean {values[alone.observed].mean():.2f}"
        drawn = ax.images[0].get_array()
        np.testing.assert_allclose(drawn, certainty_image(values, alone.observed).rgba(), atol=2)
    assert (maps[1].images[0].get_array()[:10, :, 3] == 0).all()
    matplotlib.pyplot.close(figure)


def test_limits_from_the_data_are_shared_by_all_maps() -> None:
    emb = embeddings(hole=False)
    figure = emb.plot_certainty(limits=None)
    certainty, observed, _ = certainty_maps(emb)
    np.testing.assert_allclose(figure.axes[-1].get_ylim(), np.percentile(certainty[observed], (2, 98)), rtol=1e-5)
    assert figure.axes[-1].get_legend() is None
    matplotlib.pyplot.close(figure)
    figure = emb.plot_profile(limits=None)
    np.testing.assert_allclose(figure.axes[-1].get_ylim(), np.percentile(emb.profile().values, (2, 98)), rtol=1e-5)
    matplotlib.pyplot.close(figure)


def test_large_maps_are_thinned_as_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    emb = embeddings()
    whole, seen, step = certainty_maps(emb)
    assert step == 1
    monkeypatch.setattr(module, "MAX_PIXELS", 150)
    monkeypatch.setattr(fused_module, "BLOCK_PIXELS", 40 * 7)
    certainty, observed, step = certainty_maps(emb)
    assert step == 3
    np.testing.assert_allclose(certainty, whole[:, ::3, ::3], rtol=1e-6)
    np.testing.assert_array_equal(observed, seen[:, ::3, ::3])
    np.testing.assert_allclose(whole[-1], emb.certainty.values.mean(axis=0), rtol=1e-5)


def overlaps(figure: Figure) -> list[tuple[str, str]]:
    """Pairs of drawn texts that cover each other."""
    figure.canvas.draw()
    texts = [*figure.texts, *(t for ax in figure.axes for t in texts_of(ax))]
    boxes = [(t.get_text(), t.get_window_extent().shrunk(0.9, 0.9)) for t in texts]
    assert "certainty (0 = prior, 1 = settled)" in {name for name, _ in boxes}
    pairs = [(a, b) for i, a in enumerate(boxes) for b in boxes[i + 1 :]]
    return [(a[0], b[0]) for a, b in pairs if a[1].overlaps(b[1])]


def texts_of(ax: Axes) -> list[Text]:
    """What is drawn; a tick that lies outside the limits, or is left from an earlier locator, is an object but not drawn."""
    if not ax.get_visible():
        return []
    found = [ax.title, ax.xaxis.label, ax.yaxis.label]
    for axis in (ax.xaxis, ax.yaxis):
        low, high = sorted(axis.get_view_interval())
        ticks = [t for t in axis.get_major_ticks() if low <= t.get_loc() <= high]
        found += [t for tick in ticks for t in (tick.label1, tick.label2)]
    found += ax.get_legend().get_texts() if ax.get_legend() else []
    found += [t for child in ax.child_axes for t in texts_of(child)]
    return [t for t in found if t.get_visible() and t.get_text()]


@pytest.mark.parametrize("shape", [(30, 40), (12, 90), (90, 9)])
@pytest.mark.parametrize("n", [1, 2, 5, 12])
def test_no_text_covers_another_for_any_number_of_sensors(n: int, shape: tuple[int, int]) -> None:
    names = ("s2", "s1", "dem", "l8", "hyper", *(f"sensor_{i}" for i in range(7)))[:n]
    emb = embeddings(shape, names=names)
    for figure in (emb.plot_certainty(), emb.plot_profile()):
        assert max(figure.get_size_inches()) <= 14
        assert overlaps(figure) == []
        matplotlib.pyplot.close(figure)


def test_the_check_for_covered_text_sees_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NARROW", 0.0)  # titles in one line
    figure = embeddings((90, 9)).plot_certainty()
    assert overlaps(figure)
    matplotlib.pyplot.close(figure)


@pytest.mark.parametrize(("backend", "held"), [("agg", True), ("module://matplotlib_inline.backend_inline", False)])
def test_a_notebook_shows_a_figure_once(backend: str, held: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = []
    monkeypatch.setattr(matplotlib, "get_backend", lambda: backend)
    for make in ("plot_certainty", "plot_profile"):
        figure = getattr(embeddings(), make)()
        assert matplotlib.pyplot.fignum_exists(figure.number) == held
        figures.append(figure)
    for figure in figures:
        matplotlib.pyplot.close(figure)


def test_a_map_that_nothing_measured_has_both_pictures() -> None:
    nothing = Expert(np.zeros((4, 5, 3), np.float32), np.zeros((4, 5, 3), np.float32))
    emb = Embeddings({"s2": nothing}, GeoBox((4, 5), Affine(0.1, 0, 10, 0, -0.1, 40), "EPSG:4326"))
    figure = emb.plot_certainty(limits=None)
    assert figure.axes[0].get_title() == "s2, nothing observed"
    assert figure.get_supxlabel() == "longitude (degrees)"
    matplotlib.pyplot.close(figure)
    matplotlib.pyplot.close(emb.plot_profile(limits=None))


def test_one_modality_is_drawn_once() -> None:
    emb = embeddings(names=("s2",))
    figure = emb.plot_certainty()
    assert len(figure.axes) == 2
    matplotlib.pyplot.close(figure)
    figure = emb.plot_profile()
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["s2"]
    matplotlib.pyplot.close(figure)


def test_the_profile_picture_orders_columns_and_says_who_leads() -> None:
    emb = embeddings()
    figure = emb.plot_profile()
    ax, bar = figure.axes
    assert [t.get_text() for t in ax.get_yticklabels()] == ["s2", "s1", "dem", "fused"]
    order = [int(t.get_text()) for t in ax.get_xticklabels()]
    assert [set(order[d]) for d in SETTLES.values()] == [{0, 1, 2}, {3, 4, 5}, {6, 7}]
    np.testing.assert_array_equal(ax.images[0].get_array(), emb.profile().values[:, order])
    right = ax.child_axes[0]
    assert [t.get_text() for t in right.get_yticklabels()] == ["leads 3", "leads 3", "leads 2", ""]
    assert bar.get_ylabel() == "certainty (0 = prior, 1 = settled)"
    assert bar.get_ylim() == (0, 1)
    matplotlib.pyplot.close(figure)


def test_a_modality_without_a_measurement_is_grey_and_named_in_both_pictures() -> None:
    emb = embeddings((10, 12))
    figure = emb.plot_certainty()
    assert figure.axes[1].get_title() == "s1, nothing observed"
    matplotlib.pyplot.close(figure)
    figure = emb.plot_profile()
    assert figure.axes[-1].get_legend().get_texts()[0].get_text() == "not observed"
    assert np.ma.is_masked(figure.axes[0].images[0].get_array())
    matplotlib.pyplot.close(figure)
