"""Clicks and shapes become examples, examples a ranking; a thumbnail leads to its place and labels nothing."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from georeset_lab.embed.embeddings import Embeddings, Expert
from georeset_lab.embed.profiles.place_pixels import distance_km
from georeset_lab.embed.search import similar
from georeset_lab.widgets.similar_panel import HINT, ONLY_AGAINST, SimilarPanel
from georeset_lab.widgets.state import Exploration
from georeset_lab.widgets.thumbnails import small_url
from tests.widgets.lab import ask, execute, press, wait_for
from tests.widgets.markup import read
from tests.widgets.planted import planted_embeddings


@pytest.fixture
def state() -> Exploration:
    state = Exploration(planted_embeddings(90, 120))
    state.tool = "similar"
    return state


def click(state: Exploration, row: int, col: int) -> tuple[float, float]:
    place = state.place_of(row, col)
    state.click(place.lon, place.lat)
    return place.lon, place.lat


def area(state: Exploration, rows: tuple[int, int], cols: tuple[int, int]) -> dict:
    corners = [
        state.place_of(r, c)
        for r, c in ((rows[0], cols[0]), (rows[0], cols[1]), (rows[1], cols[1]), (rows[1], cols[0]))
    ]
    return shapely.geometry.mapping(shapely.Polygon([(p.lon, p.lat) for p in corners]))


def test_a_click_finds_places_by_evidence_and_the_map_gets_the_scores(state):
    panel = SimilarPanel(state)
    assert HINT in read(panel).text
    at = click(state, 30, 40)
    expected = similar(state.emb, at=at, k=12, score="pmi")
    np.testing.assert_allclose(state.similarity.map, expected.map, atol=1e-4)
    cards = read(panel)
    assert len(cards.of("button", "gl-hit")) == len(expected.places) > 3
    first = expected.places.iloc[0]
    km = distance_km(at, (first["lon"], first["lat"]))
    far = f"{1000 * km:.0f} m away" if km < 1 else f"{km:.1f} km away"
    for words in (
        f"1 · {first['score']:.1f}",
        f"unsure {first['uncertainty']:.2f}",
        far,
        "in nat",
        "1 = nothing is known",
    ):
        assert words in cards.text
    assert HINT not in cards.text


@pytest.mark.parametrize("tool", ["look", "label"])
def test_with_another_tool_clicks_and_shapes_are_none_of_its_business(state, tool):
    state.tool = tool
    panel = SimilarPanel(state)
    click(state, 30, 40)
    state.drawn = area(state, (10, 20), (10, 20))
    assert panel.examples == []
    assert "Press a button" in read(panel).text


def test_a_shape_is_an_example_and_avoiding_is_another(state):
    panel = SimilarPanel(state)
    state.drawn = area(state, (10, 20), (30, 42))
    assert "area of 1." in read(panel).text
    alone = state.similarity
    panel.heard("sign", "against", checked=None, at=None)
    against = click(state, 70, 100)
    assert [e.against for e in panel.examples] == [False, True]
    expected = similar(state.emb, like=[state.drawn], not_like=[against], k=12, score="pmi")
    np.testing.assert_allclose(state.similarity.map, expected.map, atol=1e-4)
    assert not np.allclose(state.similarity.map, alone.map)
    assert len(read(panel).of("span", "gl-minus")) == 1
    panel.heard("sign", "for", checked=None, at=None)
    assert panel.against is False


def test_the_switch_takes_the_tool_in_hand(state):
    state.tool = "look"
    panel = SimilarPanel(state)
    pressed = [b["aria-pressed"] for b in read(panel).of("button") if "aria-pressed" in b]
    assert pressed == ["false", "false"]
    panel.heard("sign", "against", checked=None, at=None)
    assert state.tool == "similar"
    pressed = [b["aria-pressed"] for b in read(panel).of("button") if "aria-pressed" in b]
    assert pressed == ["false", "true"]


def test_examples_can_be_removed_one_by_one_and_cleared(state):
    panel = SimilarPanel(state)
    first, second = click(state, 30, 40), click(state, 60, 80)
    both = state.similarity.map.values
    panel.heard("remove", "0", checked=None, at=None)
    assert [e.where for e in panel.examples] == [second]
    np.testing.assert_allclose(state.similarity.map, similar(state.emb, at=second, score="pmi").map, atol=1e-4)
    assert not np.allclose(state.similarity.map, both)
    panel.heard("remove", "7", checked=None, at=None)
    assert len(panel.examples) == 1
    panel.heard("clear", "", checked=None, at=None)
    assert panel.examples == []
    assert state.similarity is None
    assert read(panel).of("button", "gl-hit") == []
    assert first != second


def test_only_examples_to_avoid_find_nothing_and_say_so(state):
    panel = SimilarPanel(state)
    panel.against = True
    click(state, 30, 40)
    assert ONLY_AGAINST in read(panel).text
    assert state.similarity is None


def test_a_thumbnail_leads_to_its_place_and_adds_no_example(state):
    panel = SimilarPanel(state)
    click(state, 30, 40)
    place = state.similarity.places.iloc[2]
    panel.heard("go", "2", checked=None, at=None)
    assert (state.point.row, state.point.col) == state.emb.pixel(place["lon"], place["lat"])
    assert len(panel.examples) == 1
    state.tool = "label"
    heard = []
    state.observe(heard.append, "clicked")
    panel.heard("go", "0", checked=None, at=None)
    assert heard == []  # no label either
    panel.heard("go", "99", checked=None, at=None)


def test_an_example_that_saw_nothing_is_refused_and_the_others_stay(state):
    experts = {n: Expert(e.eta.copy(), e.tau.copy()) for n, e in state.emb.experts.items()}
    for expert in experts.values():
        expert.eta[:10, :10], expert.tau[:10, :10] = 0, 0
    state = Exploration(Embeddings(experts, state.emb.grid))
    state.tool = "similar"
    panel = SimilarPanel(state)
    click(state, 30, 40)
    before = state.similarity.map.values
    click(state, 3, 3)
    assert len(panel.examples) == 1
    assert "Nothing was observed" in read(panel).text
    np.testing.assert_array_equal(state.similarity.map.values, before)
    click(state, 60, 70)
    assert "Nothing was observed" not in read(panel).text
    panel.add((0.0, 0.0))
    assert "outside the map" in read(panel).text
    assert len(panel.examples) == 2


def test_switching_a_modality_off_searches_again_and_keeps_examples_for_later():
    emb = planted_embeddings(90, 120)
    experts = {n: Expert(e.eta.copy(), e.tau.copy()) for n, e in emb.experts.items()}
    experts["s2"].eta[:10, :10], experts["s2"].tau[:10, :10] = 0, 0
    state = Exploration(Embeddings(experts, emb.grid))
    state.tool = "similar"
    panel = SimilarPanel(state)
    at = click(state, 3, 3)
    both = state.similarity.map.values
    state.present = ("s1",)
    np.testing.assert_allclose(state.similarity.map, similar(state.emb.only("s1"), at=at, score="pmi").map, atol=1e-4)
    state.present = ("s2",)
    assert len(panel.examples) == 1
    assert state.similarity is None
    state.present = ("s2", "s1")
    np.testing.assert_allclose(state.similarity.map.values, both, atol=1e-4)


def test_one_more_example_is_all_that_is_looked_up_and_scored(state, monkeypatch):
    from georeset_lab.embed.finding import examples
    from georeset_lab.widgets import similar_panel

    looked, scored = [], []
    make, scan = similar_panel.make_query, examples.scan
    monkeypatch.setattr(similar_panel, "make_query", lambda *a: looked.append(a) or make(*a))
    monkeypatch.setattr(examples, "scan", lambda *a, **k: scored.append(a) or scan(*a, **k))
    panel = SimilarPanel(state)
    for col in (20, 50, 80):
        click(state, 30, col)
    assert len(panel.examples) == len(looked) == len(scored) == 3
    panel.remove(0)
    assert len(looked) == len(scored) == 3
    state.present = ("s2",)  # another map: both examples anew
    assert len(looked) == len(scored) == 5


def test_a_search_that_was_overtaken_is_not_run(state, monkeypatch):
    queue, ran = [], []
    state.run = lambda job, done, *, doing="", later=False: queue.append((job, done))  # type: ignore[method-assign]
    panel = SimilarPanel(state)
    real = panel._search
    monkeypatch.setattr(panel, "_search", lambda emb, examples: ran.append(len(examples)) or real(emb, examples))
    for row in (20, 40, 60):
        click(state, row, 50)
    for job, done in queue:  # the last one asks for cards while we go through them
        done(job())
    assert ran == [3]
    assert len(queue) == 4
    assert len(read(panel).of("button", "gl-hit")) == len(state.similarity.places)
    assert len(panel.examples) == 3


def test_embeddings_without_variance_are_searched_by_cosine():
    emb = planted_embeddings(60, 60)
    mean, _, seen = emb.vectors()
    lone = Embeddings(emb.experts, emb.grid)
    lone.__dict__["_fused"] = (
        mean.reshape(60, 60, -1), np.full((60, 60, emb.dim), np.nan, np.float32), seen.reshape(60, 60),
    )  # fmt: skip
    state = Exploration(lone)
    state.tool = "similar"
    panel = SimilarPanel(state)
    click(state, 30, 30)
    text = read(panel).text
    assert "unsure unknown" in text
    assert "cosine" in text
    assert state.similarity.map.attrs["score"] == "cosine"


def test_a_thumbnail_shows_its_place_framed_in_the_ground_around_it(state):
    panel = SimilarPanel(state)
    click(state, 30, 40)
    places, cards = state.similarity.places, read(panel)
    a = state.emb.grid.affine
    for place, frame, img in zip(places.itertuples(), cards.of("i", "gl-frame"), cards.of("img"), strict=True):
        left, _, right, top = place.geometry.bounds
        col, row, side = round((left - a.c) / 10), round((a.f - top) / 10), round((right - left) / 10)
        x0, y0 = min(max(col - side, 0), 120 - 3 * side), min(max(row - side, 0), 90 - 3 * side)
        expected = panel.looks.embedding(slice(y0, y0 + 3 * side), slice(x0, x0 + 3 * side))
        assert img["src"] == small_url(expected)
        share = {k: float(v.rstrip("%")) / 100 for k, v in (part.split(":") for part in frame["style"].split(";"))}
        assert share["left"] * 3 * side == pytest.approx(col - x0, abs=0.05)
        assert share["top"] * 3 * side == pytest.approx(row - y0, abs=0.05)
        assert (share["width"], share["height"]) == pytest.approx((1 / 3, 1 / 3), abs=0.001)


def test_a_scene_gives_the_pictures(story):
    state = Exploration(story.emb, story.scene)
    state.tool = "similar"
    panel = SimilarPanel(state)
    click(state, 30, 40)
    with_scene = read(panel).of("img")
    lone = SimilarPanel(Exploration(Embeddings(story.emb.experts, story.emb.grid)))
    lone.state.tool = "similar"
    click(lone.state, 30, 40)
    without = read(lone).of("img")
    assert len(with_scene) == len(without) > 0
    assert all(a["src"] != b["src"] for a, b in zip(with_scene, without, strict=True))
    frames = read(panel).of("i", "gl-frame")
    assert len(frames) == len(with_scene)


CELL = """
from tests.widgets.planted import planted_embeddings
from georeset_lab.widgets.state import Exploration
from georeset_lab.widgets.similar_panel import SimilarPanel
state = Exploration(planted_embeddings(90, 120))
panel = SimilarPanel(state)
def click(row, col):
    place = state.place_of(row, col)
    state.click(place.lon, place.lat)
panel
"""


@pytest.mark.browser
@pytest.mark.parametrize("dark", [False, True])
def test_in_a_browser_examples_come_and_go_and_a_thumbnail_leads_to_its_place(open_notebook, tmp_path, dark):
    page = open_notebook([CELL], dark=dark)
    press(page.get_by_role("button", name="Look for"))
    assert wait_for(page, "state.tool == 'similar'")
    execute(page, "click(30, 40)")
    page.locator(".gl-hit").first.wait_for()
    assert page.locator(".gl-hit").count() == ask(page, "len(state.similarity.places)")
    press(page.get_by_role("button", name="Avoid"))
    assert wait_for(page, "panel.against")
    execute(page, "click(70, 100)")
    page.locator(".gl-chip.gl-minus").wait_for()
    page.locator(".gl-hit").nth(1).click()
    want = ask(page, "list(state.emb.pixel(*state.similarity.places[['lon', 'lat']].iloc[1]))")
    here = "[state.point.row, state.point.col]"
    assert wait_for(page, f"{here} != [70, 100] and {here}") == want
    page.screenshot(path=tmp_path / "similar.png")
    press(page.locator(".gl-chip.gl-minus button"))
    assert wait_for(page, "len(panel.examples) == 1")
    press(page.get_by_role("button", name="Clear"))
    assert wait_for(page, "state.similarity is None")
    page.locator(".gl-note", has_text="Click the map").wait_for()
    assert ask(page, "state.status") == ""
