"""`ExplorerTests`: what must work in an explorer, whatever shows it. Its subclasses say where: JupyterLab or a served page.

The fixture ``person`` sits before an explorer of `planted_scene`, without labels; `download` and `revive` differ.
"""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from tests.widgets.lab import press
from tests.widgets.person import LONG_S, Person
from tests.widgets.planted import SCENE_SHAPE, planted_scene_classes

ROWS, COLS = SCENE_SHAPE


class ExplorerTests:
    """One page, one kernel or server for all tests; each begins without labels."""

    def download(self, person: Person) -> bytes:
        """Save the labels as GeoJSON by the browser."""
        raise NotImplementedError

    def revive(self, person: Person) -> None:
        """Lose the page and what is behind it, and come back."""
        raise NotImplementedError

    def test_the_map_shows_with_scale_graticule_and_legend(self, person):
        person.wait("explorer.map.shown is not None and explorer.state.status == ''")
        person.page.wait_for_function(
            """() => {
                const found = [];
                const look = (root) => root.querySelectorAll('*').forEach((e) => {
                    if (e.matches('.leaflet-gr-layer-pane img')) found.push(e);
                    if (e.shadowRoot) look(e.shadowRoot);
                });
                look(document);
                return found.some((e) => e.complete && e.naturalWidth > 50 && e.getBoundingClientRect().width > 100);
            }"""
        )
        person.page.get_by_text("Embedding: principal axes", exact=True).last.wait_for()
        person.page.locator(".leaflet-control-scale-line").get_by_text("m").first.wait_for()
        person.page.locator(".lv-points").wait_for()

    @pytest.mark.parametrize(("row", "col"), [(12, 20), (41, 66), (55, 3)])
    def test_a_click_selects_the_pixel_under_it(self, person, row, col):
        person.click_pixel(row, col)
        person.wait("explorer.state.point is not None")
        assert person.look("list(explorer.state.point)[:2]") == [row, col]
        person.page.get_by_text(f"row {row}, column {col}").first.wait_for()
        person.page.get_by_text("Seen from above").wait_for()
        person.page.get_by_text("wavelength (µm)").first.wait_for()

    def test_a_polygon_labels_its_pixels_and_its_corners_are_no_labels(self, person):
        person.open("Labels")
        person.wait("explorer.state.tool == 'label'")
        person.add_class("field")
        person.polygon([(20, 20), (20, 50), (40, 50), (40, 20)])
        person.wait("len(explorer.labeller.labels['features']) == 1")
        inside = person.look("explorer.state.pixels_in(explorer.labeller.labels['features'][0]['geometry']).tolist()")
        rows, cols = np.divmod(inside, COLS)
        assert len(inside) == pytest.approx(20 * 30, rel=0.08)
        assert (rows.min(), rows.max()) == (pytest.approx(20, abs=1), pytest.approx(40, abs=1))
        assert (cols.min(), cols.max()) == (pytest.approx(20, abs=1), pytest.approx(50, abs=1))
        person.page.get_by_text("1 label", exact=True).wait_for()

    def test_the_map_of_classes_follows_every_label(self, person):
        person.label_two_classes()
        person.wait("explorer.map.layer == 'label'")
        person.page.get_by_text("share of the map").first.wait_for()
        person.page.get_by_text("land <b>").first.wait_for()
        before, picture = person.look("explorer.state.prediction['label'].values.tolist()"), person.picture()
        person.label([(50, 30)])
        person.wait("explorer.state.prediction['label'].values[50, 30] == "
                    "list(explorer.state.prediction['class'].values).index('land <b>')", timeout_s=LONG_S)  # fmt: skip
        person.wait("'cause' in explorer.state.prediction and not explorer.labeller.live._busy", timeout_s=LONG_S)
        assert person.look("explorer.state.prediction['label'].values.tolist()") != before
        assert person.picture() != picture
        person.page.get_by_label("What the map shows").or_(person.page.locator(".gr-map select")).first.select_option(
            "Main cause of doubt"
        )
        person.wait("explorer.map.shown.name == 'Main cause of doubt'")
        person.page.get_by_text("share of all doubt").wait_for()

    def test_undo_takes_the_last_label_back_and_redo_brings_it_again(self, person):
        person.open("Labels")
        person.add_class("water")
        person.label([(8, 8), (30, 12)])
        press(person.page.get_by_role("button", name="Undo"))
        person.wait("explorer.labeller.book.counts['water'] == 1")
        person.page.get_by_text("1 label", exact=True).wait_for()
        press(person.page.get_by_role("button", name="Redo"))
        person.wait("explorer.labeller.book.counts['water'] == 2")
        person.page.get_by_text("2 labels", exact=True).wait_for()

    def test_a_lasso_in_the_latent_space_lights_the_map(self, person):
        from playwright.sync_api import expect

        person.open("Latent space")
        person.wait("bool(explorer.latent.points) and not explorer.latent.busy", timeout_s=LONG_S)
        shade = person.page.locator(".leaflet-gr-mask-pane img").last
        expect(shade).not_to_have_attribute("src", re.compile("^data:image/png"))
        person.lasso(0.02, 0.02, 0.55, 0.98)
        person.wait("explorer.state.selected is not None")
        many = person.look("int(explorer.state.selected.size)")
        assert 0 < many < ROWS * COLS
        person.page.get_by_text(f"{many:,} selected").wait_for()
        person.page.get_by_role("heading", name="Brushed pixels").wait_for()
        # What is not selected lies in the shade: the picture says so at every pixel.
        person.wait("explorer.map.canvas.mask.layers[1].url.startswith('data:image/png')")
        expect(shade).to_have_attribute("src", person.look("explorer.map.canvas.mask.layers[1].url"))
        press(person.page.get_by_role("button", name="Unselect"))
        person.wait("explorer.state.selected is None")

    def test_similar_places_are_found_by_a_click(self, person):
        person.open("Similar places")
        person.wait("explorer.state.tool == 'similar'")
        person.click_pixel(12, 20)
        person.wait("explorer.state.similarity is not None", timeout_s=LONG_S)
        person.page.locator(".gl-hit").first.wait_for()
        person.wait("explorer.map.layer == 'similarity'")

    def test_a_modality_is_switched_off_and_on(self, person):
        person.open("Certainty")
        box = person.page.locator(".gl-card input[data-value=s1]")
        box.uncheck()
        person.wait("'s1' not in explorer.state.present")
        person.page.get_by_text("Fused, 2 of 3").wait_for()
        box.check()
        person.wait("len(explorer.state.present) == 3")

    def test_a_learning_curve_is_drawn_on_demand_with_advice(self, person):
        person.open("Labels")
        person.do(
            "for code in (0, 1):\n"
            "    explorer.labeller.book.add_class(f'kind {code}')\n"
            f"for row, col, code in {some_places()}:\n"
            "    place = explorer.state.place_of(row, col)\n"
            "    explorer.labeller.book.add_point(place.lon, place.lat, f'kind {code}')\n"
        )
        press(person.page.get_by_role("button", name="Estimate", exact=True))
        panel = "explorer.labeller.learning"
        person.wait(f"not {panel}._busy and ({panel}.curve is not None or {panel}._trouble)", timeout_s=LONG_S)
        assert person.look(f"{panel}._trouble") == ""
        person.page.get_by_text("balanced accuracy (%)").wait_for()
        person.page.get_by_text("labels per class", exact=True).wait_for()
        assert person.look("explorer.labeller.learning.curve.advice")
        person.page.get_by_text("right on held-out places").wait_for()
        assert {"embedding", "raw bands"} == set(person.look("list(explorer.labeller.learning.curve.scores)"))

    def test_labels_are_downloaded_as_they_were_given(self, person):
        person.open("Labels")
        person.add_class("<img src=x onerror=document.title='bad'>")
        person.label([(8, 8), (41, 66)])
        found = json.loads(self.download(person))
        assert [f["geometry"]["type"] for f in found["features"]] == ["Point", "Point"]
        for feature, (row, col) in zip(found["features"], [(8, 8), (41, 66)], strict=True):
            lon, lat = person.look(f"list(explorer.state.place_of({row}, {col}))[2:]")
            assert feature["geometry"]["coordinates"] == pytest.approx([lon, lat], abs=5e-5)
        assert person.page.title() != "bad"

    def test_no_label_is_lost_with_the_page_or_the_kernel(self, person):
        person.label_two_classes()
        kept = person.look("[str(item) for item in explorer.labeller.book.items]")
        self.revive(person)
        assert person.look("[str(item) for item in explorer.labeller.book.items]") == kept
        person.open("Labels")
        person.page.get_by_text("2 labels", exact=True).first.wait_for()
        person.wait("explorer.state.prediction is not None", timeout_s=LONG_S)


def some_places() -> list[tuple[int, int, int]]:
    """Row, column and code of ten places of each of two planted classes."""
    codes = planted_scene_classes()
    common = np.bincount(codes.ravel()).argsort()[::-1][:2]
    out = []
    for number, code in enumerate(common):
        rows, cols = np.nonzero(codes == code)
        out += [(int(rows[i]), int(cols[i]), number) for i in np.linspace(0, len(rows) - 1, 10).astype(int)]
    return out
