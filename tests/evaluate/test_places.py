from __future__ import annotations

import numpy as np
import pytest

from georeset_lab.errors import SceneReadError
from georeset_lab.evaluate.tasks import all_tasks

pytestmark = pytest.mark.real_data
CLASSES = {
    "chile": {"water", "trees", "crops", "built", "rangeland"},
    "denmark": {"trees", "crops", "built", "rangeland"},
    "para-s2": {"dryout", "forest", "village", "water"},
    "para-l5": {"cleared", "fallen_dry", "forest", "water"},
    "potsdam": {"roof", "pavement", "low vegetation", "tree", "water"},
    "slovenia": {"forest", "grassland", "shrubland"},
}


@pytest.fixture(scope="module")
def tasks(shared_data):
    return {s.name: s.read(shared_data) for s in all_tasks()}


@pytest.mark.parametrize("name", CLASSES)
def test_classes_follow_the_stated_rule(tasks, name):
    assert set(tasks[name].classes.values()) == CLASSES[name]


@pytest.mark.parametrize("name", CLASSES)
def test_sides_share_no_group_and_both_have_every_class(tasks, name):
    t = tasks[name]
    sides = [set(np.unique(t.groups[(t.side == s) & (t.labels > 0)])) for s in (0, 1)]
    assert sides[0]
    assert sides[1]
    assert not sides[0] & sides[1]
    for code in t.classes:
        assert (t.side[t.labels == code] == 0).sum() >= 50
        assert (t.side[t.labels == code] == 1).sum() >= 50


@pytest.mark.parametrize("name", CLASSES)
def test_labelled_pixels_were_measured_in_physical_units(tasks, name):
    t = tasks[name]
    first = next(iter(t.scene.modalities.values()))
    optical = first.select_bands([b.name for b in first.bands if b.kind == "reflectance"])
    values = optical.read(slice(None), slice(None))[:, :, t.labels > 0]
    assert np.isfinite(values).mean() > 0.99
    assert np.nanpercentile(values, 1) > -0.1
    assert np.nanpercentile(values, 99) < 1.2
    assert t.side.shape == t.labels.shape == t.groups.shape == tuple(t.grid.shape)


def test_potsdam_sides_are_the_upstream_tiles(tasks):
    t = tasks["potsdam"]
    assert (t.side == 0).sum() == 14 * 32 * 32
    assert (t.side == 1).sum() == 4 * 32 * 32
    # Upstream labels 5672 pixels, one of them on a pixel that was not measured; the 91 of soil are too few.
    assert (t.labels > 0).sum() == 5671
    assert "soil" not in t.classes.values()


def test_potsdam_has_the_good_bands_only(tasks):
    assert len(tasks["potsdam"].scene["enmap"].bands) == 218


def test_polygons_lie_on_the_pixels_they_were_drawn_on(tasks):
    # Water is darker than forest in the near infrared, in both scenes.
    for name, key in (("para-s2", "s2"), ("para-l5", "l5")):
        t = tasks[name]
        m = t.scene[key]
        nir = int(np.argmin([abs(b.center_um - 0.83) for b in m.bands]))
        code = {v: k for k, v in t.classes.items()}
        values = m.read(slice(None), slice(None))[0, nir]
        assert np.nanmedian(values[t.labels == code["water"]]) < 0.5 * np.nanmedian(values[t.labels == code["forest"]])


def test_slovenia_has_three_clear_dates(tasks):
    times = tasks["slovenia"].scene["s2"].times.astype("datetime64[D]").astype(str).tolist()
    assert times == ["2015-07-11", "2015-08-30", "2015-09-09"]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SceneReadError, match=r"Task 'chile' needs .*S2L2A.tif"):
        all_tasks()[0].read(tmp_path)


def test_identity_follows_the_content(shared_data, tmp_path):
    spec = next(s for s in all_tasks() if s.name == "para-s2")
    before = spec.identity(shared_data)
    for f in spec.files:
        (tmp_path / f).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f).write_bytes((shared_data / f).read_bytes())
    assert spec.identity(tmp_path) == before
    (tmp_path / spec.files[1]).write_bytes(b"{}")
    assert spec.identity(tmp_path) != before
