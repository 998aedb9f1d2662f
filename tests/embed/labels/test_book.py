"""What somebody can do to classes and labels, that it can be taken back, and that it is there after a restart."""

from __future__ import annotations

import gc
import threading
from pathlib import Path

import numpy as np
import pytest
import shapely
from odc.geo.geobox import GeoBox

from georeset_lab.embed.embeddings import Embeddings, Expert
from georeset_lab.embed.labels.book import Change, LabelBook, map_key
from georeset_lab.embed.locate import lonlat_of
from georeset_lab.embed.pictures.colours import class_palette
from georeset_lab.embed.probe import fit_probe
from georeset_lab.errors import GeoresetWarning, InvalidOption, LabelError

LON, LAT = -72.5, -38.8


def square(lon: float = LON, lat: float = LAT, side: float = 0.01) -> shapely.Polygon:
    return shapely.box(lon, lat, lon + side, lat + side)


def book_of(*labels: tuple[float, float, str]) -> LabelBook:
    book = LabelBook()
    for lon, lat, name in labels:
        book.add_point(lon, lat, name)
    return book


def state(book: LabelBook) -> tuple:
    return book.classes, book.items


def test_labels_carry_place_class_source_time_and_a_stable_id():
    book = LabelBook()
    point = book.add_point(LON, LAT, "water")
    field = book.add_polygon(square(), "field", source="suggestion")
    assert [x.id for x in book.items] == [point.id, field.id]
    assert (point.source, field.source) == ("click", "suggestion")
    assert (point.geometry.x, point.geometry.y) == (LON, LAT)
    assert book.class_of(field).name == "field"
    assert point.when.endswith("+00:00")
    book.rename_class("water", "eau")
    book.relabel([point.id], "field")
    assert book.items[0].id == point.id
    assert book.counts == {"eau": 0, "field": 2}


def test_labels_are_what_a_probe_is_fitted_on():
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(2), 30)[:, None] * np.ones((1, 60), int)
    mean = (2.0 * truth[..., None] - 1) * np.ones(4) + 0.1 * rng.normal(size=(60, 60, 4))
    grid = GeoBox.from_bbox((600_000, 5_699_400, 600_600, 5_700_000), "EPSG:32719", resolution=10)
    emb = Embeddings({"s2": Expert((mean / 0.1).astype("f4"), np.full(mean.shape, 9, "f4"))}, grid)
    book = LabelBook()
    for row in (2, 27, 33, 57):
        for col in (3, 30, 55):
            lon, lat = lonlat_of(grid, row, col)
            book.add_point(float(lon), float(lat), ["<b>lac</b>", "forêt"][truth[row, col]])
    frame = book.labels()
    assert list(frame.columns) == ["label", "colour", "id", "source", "when", "lon", "lat", "geometry"]
    assert frame.crs == "EPSG:4326"
    result = fit_probe(emb, frame).predict(emb, uncertainty=False)
    names = np.array(result.attrs["classes"])
    assert (names[result["label"].values] == np.array(["<b>lac</b>", "forêt"])[truth]).mean() > 0.99
    expected = {"<b>lac</b>": [0, 114, 178], "forêt": [0, 158, 115]}  # blue and green, as their names suggest
    assert book.palette(names).tolist() == [expected[name] for name in names]


def test_every_change_can_be_taken_back_and_made_again():
    book, other = LabelBook(), book_of((LON, LAT, "x"), (LON, LAT, "y"))
    states = [state(book)]
    changes = [
        lambda: book.add_class("water"),
        lambda: book.add_point(LON, LAT, "water"),
        lambda: book.add_polygon(square(), "forest"),
        lambda: book.recolour_class("water", "#0000ff"),
        lambda: book.rename_class("forest", "forêt"),
        lambda: book.add_point(LON + 1, LAT, "town"),
        lambda: book.relabel([book.items[0].id], "town"),
        lambda: book.merge_classes("town", "forêt"),
        lambda: book.erase([book.items[1].id]),
        lambda: book.add_labels(other.to_geojson()),
        lambda: book.remove_class("forêt"),
    ]
    for change in changes:
        change()
        states.append(state(book))
        assert len(set(map(repr, states))) == len(states)
    for expected in states[-2::-1]:
        assert book.undo() is not None
        assert state(book) == expected
    assert book.undo() is None
    for expected in states[1:]:
        assert book.redo() is not None
        assert state(book) == expected
    assert book.redo() is None


def test_merging_leaves_one_class_and_removing_takes_its_labels():
    book = book_of((LON, LAT, "a"), (LON, LAT, "b"), (LON, LAT, "a"), (LON, LAT, "c"))
    colour = book.classes[1].colour
    assert book.merge_classes("a", "b") == 2
    assert book.counts == {"b": 3, "c": 1}
    assert book.classes[0].colour == colour
    assert book.remove_class("b") == 3
    assert book.counts == {"c": 1}
    assert book.undo() == "Remove b"
    assert book.undo() == "Merge a into b"
    assert book.counts == {"a": 2, "b": 1, "c": 1}


def test_the_version_grows_with_every_change_and_with_nothing_else():
    book = book_of((LON, LAT, "water"))
    seen = [book.version]
    for change in (book.undo, book.redo, lambda: book.add_class("town"), lambda: book.erase([book.items[0].id])):
        change()
        seen.append(book.version)
    assert seen == [1, 2, 3, 4, 5]
    book.rename_class("town", "town")
    book.erase([])
    assert book.erase_near(LON, LAT, 10) == 0
    book.relabel([], "no such class")
    assert (book.version, [c.name for c in book.classes]) == (5, ["water", "town"])


def test_listeners_hear_what_changed_after_it_is_saved(tmp_path):
    heard: list[Change] = []
    with LabelBook.open(tmp_path, "x") as book:
        stop = book.observe(lambda change: heard.append((change, book.version, book.path.stat().st_size)))
        label = book.add_point(LON, LAT, "water")
        book.undo()
        stop()
        book.redo()
    (first, version, size), (second, *_) = heard
    assert (first.title, first.labels, first.classes) == ("Label water", {label.id}, {1})
    assert (first.version, version) == (1, 1)
    assert size > 0
    assert (second.title, second.labels) == ("Undo: Label water", {label.id})


def test_a_listener_that_fails_keeps_neither_the_label_nor_the_news_from_others():
    book, heard = LabelBook(), []

    def broken(_: Change) -> None:
        raise RuntimeError("a widget")

    book.observe(broken)
    book.observe(heard.append)
    with pytest.raises(RuntimeError, match="a widget"):
        book.add_point(LON, LAT, "water")
    assert len(book.items) == len(heard) == 1


def test_a_listener_may_change_the_book_and_wait_for_a_thread():
    book = LabelBook()

    def answer(change: Change) -> None:
        if change.version == 1:
            other = threading.Thread(target=lambda: book.add_point(LON, LAT, "from a thread"))
            other.start()
            other.join(timeout=10)

    book.observe(answer)
    book.add_point(LON, LAT, "water")
    assert list(book.counts) == ["water", "from a thread"]


def test_many_threads_lose_nothing():
    book = LabelBook()

    def work(name: str) -> None:
        for i in range(50):
            book.add_point(LON + i / 100, LAT, name)
            book.labels()

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert book.counts == dict.fromkeys(sorted(book.counts, key=list(book.counts).index), 50)
    assert len({x.id for x in book.items}) == len({x.number for x in book.items}) == 200


def test_new_classes_take_the_colours_that_can_be_told_apart():
    book = LabelBook()
    for name in "abc":
        book.add_class(name)
    book.remove_class("b")
    assert book.add_class("d").colour == "#56b4e9"  # free again
    assert book.palette(["a", "d", "c"]).tolist() == class_palette(3).tolist()
    assert len({book.add_class(f"class {i}").colour for i in range(13)} | {c.colour for c in book.classes}) == 16
    assert book.palette(["unknown"]).tolist() == [[128, 128, 128]]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("forêt 🏙", "forêt 🏙"),
        ("fore\u0302t", "forêt"),
        ("  water \n body\t", "water   body"),
        ("<img src=x onerror=alert(1)>", "<img src=x onerror=alert(1)>"),
        ("ماء", "ماء"),
        (3, "3"),
        (2.0, "2"),
        (True, "True"),
    ],
)
def test_a_name_is_any_text_on_one_line(given, kept):
    book = LabelBook()
    book.add_point(LON, LAT, given)
    assert [c.name for c in book.classes] == [kept]


@pytest.mark.parametrize("name", ["", "  ", "x" * 201, "half \ud83c", None, ["a"], float("nan")])
def test_a_name_that_cannot_be_shown_or_stored_is_refused(name):
    book = LabelBook()
    with pytest.raises(LabelError, match="name"):
        book.add_point(LON, LAT, name)
    assert state(book) == ((), ())


def test_names_are_shown_as_text():
    book = book_of((LON, LAT, "<script>alert(1)</script>"))
    assert "<script>" not in book._repr_html_()
    assert "&lt;script&gt;" in book._repr_html_()


REFUSED = {
    "two classes of one name": (lambda b: b.add_class("water"), "already"),
    "a name that is taken": (lambda b: b.rename_class("town", "water"), r"merge_classes\('town', 'water'\)"),
    "an unknown class": (lambda b: b.rename_class("x", "y"), "There is no class 'x'; there are 'water', 'town'"),
    "a class into itself": (lambda b: b.merge_classes("town", "town"), "into itself"),
    "a colour that is none": (lambda b: b.recolour_class("town", "red;background:url(x)"), "hexadecimal"),
    "an unknown label": (lambda b: b.erase(["L000000000000"]), "There is no label 'L000000000000'"),
    "a line": (lambda b: b.add_polygon(shapely.LineString([(0, 0), (1, 1)]), "x"), "points and polygons"),
    "an empty polygon": (lambda b: b.add_polygon(shapely.Polygon(), "x"), "an empty Polygon"),
    "a polygon without area": (lambda b: b.add_polygon(shapely.Polygon([(0, 0), (1, 1), (2, 2)]), "x"), "nothing"),
    "metres": (lambda b: b.add_point(600_000, 5_700_000, "x"), "no longitude and latitude"),
    "no number": (lambda b: b.add_point(float("nan"), 0, "x"), "geometry|longitude"),
    "another source": (lambda b: b.add_point(0, 0, "x", source="guess"), "click, polygon, import, suggestion"),
    "a distance below zero": (lambda b: b.erase_near(0, 0, -1), "metres"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_makes_no_sense_is_refused_and_changes_nothing(what):
    call, message = REFUSED[what]
    book = book_of((LON, LAT, "water"), (LON, LAT, "town"))
    before = state(book), book.version
    with pytest.raises((LabelError, InvalidOption), match=message):
        call(book)
    assert (state(book), book.version) == before


def test_no_more_classes_than_a_picture_can_show():
    book = LabelBook()
    for i in range(255):
        book.add_class(str(i))
    with pytest.raises(LabelError, match="class 256; 255 can be drawn"):
        book.add_point(LON, LAT, "one more")
    assert len({c.colour for c in book.classes}) > 100


def test_erasing_near_a_point_counts_metres_on_the_ground():
    degree_lon = 111_320 * np.cos(np.radians(LAT))
    book = book_of(
        (LON + 90 / degree_lon, LAT, "a"), (LON + 110 / degree_lon, LAT, "b"), (LON, LAT + 90 / 111_320, "c")
    )
    book.add_polygon(square(LON - 0.005, LAT - 0.005), "around")
    book.add_polygon(square(LON + 0.01, LAT), "far")
    assert book.erase_near(LON, LAT, 100) == 3
    assert [n for n, many in book.counts.items() if many] == ["b", "far"]
    assert LabelBook().erase_near(LON, LAT, 100) == 0


def test_erasing_under_a_shape_takes_points_and_what_is_mostly_covered():
    book = book_of((LON, LAT, "in"), (LON + 0.1, LAT, "out"))
    book.add_polygon(square(LON - 0.001, LAT - 0.001, 0.004), "mostly")
    book.add_polygon(square(LON, LAT, 0.5), "large")
    assert book.erase_under(square(LON - 0.002, LAT - 0.002, 0.005)) == 2
    assert [n for n, many in book.counts.items() if many] == ["out", "large"]
    assert book.undo() == "Erase 2 labels"
    assert len(book.items) == 4


def test_a_bow_tie_is_split_and_a_shape_across_180_degrees_is_cut():
    book = LabelBook()
    tie = book.add_polygon(shapely.Polygon([(0, 0), (1, 1), (1, 0), (0, 1)]), "x").geometry
    assert tie.area == pytest.approx(0.5)
    across = book.add_polygon(shapely.box(179.5, 10, 180.5, 11), "x").geometry
    assert across.area == pytest.approx(1)
    assert across.bounds == (-180, 10, 180, 11)
    assert book.add_point(190, 0, "x").geometry.x == -170
    for shape in (tie, across):
        assert shape.is_valid
        assert all(p.exterior.is_ccw for p in shapely.get_parts(shape))


def test_a_restart_finds_labels_classes_and_what_can_be_undone(tmp_path):
    book = LabelBook.open(tmp_path, "x")
    book.add_point(LON, LAT, "water")
    book.add_polygon(square(), "forêt <b>")
    book.recolour_class("water", "#0000ff")
    book.undo()
    expected, version = state(book), book.version
    book.close()
    again = LabelBook.open(tmp_path, "x")
    assert (state(again), again.version, again.notes) == (expected, version, ())
    assert (again.undo_title, again.redo_title) == ("Label forêt <b>", "Recolour water")
    again.redo()
    assert again.classes[0].colour == "#0000ff"
    new = again.add_point(LON, LAT, "water")
    assert new.number > expected[1][-1].number
    again.close()


def test_two_explorers_of_one_kernel_share_a_book_that_a_forgotten_one_does_not_hold(tmp_path):
    book = LabelBook.open(tmp_path, "x")
    assert LabelBook.open(tmp_path, "x") is book
    assert LabelBook.open(tmp_path, "y") is not book
    book.add_point(LON, LAT, "water")
    del book
    gc.collect()
    again = LabelBook.open(tmp_path, "x")
    assert (again.notes, again.counts) == ((), {"water": 1})
    again.close()


def test_a_copy_is_told_with_a_warning_and_its_labels_can_be_brought_home(tmp_path):
    from georeset_lab.embed.labels import book as label_book

    first = LabelBook.open(tmp_path, "x")
    first.add_point(LON, LAT, "water")
    label_book._OPEN.clear()  # as another kernel
    with pytest.warns(GeoresetWarning, match="open in another kernel"):
        second = LabelBook.open(tmp_path, "x")
    second.add_point(LON + 1, LAT, "town")
    assert first.counts == {"water": 1}
    stem = second.path.stem
    second.close()
    first.close()
    with pytest.warns(GeoresetWarning, match=stem):
        home = LabelBook.open(tmp_path, "x")
    with LabelBook.open(tmp_path, stem) as left:
        done = home.add_labels(left.labels())
    assert (done.added, done.unchanged) == (1, 1)
    assert home.counts == {"water": 1, "town": 1}
    home.close()


def test_labels_outlive_the_line_that_made_their_class(tmp_path):
    book = LabelBook.open(tmp_path, "x")
    book.add_class("water")
    book.add_class("town", "#00ff00")
    book.add_point(LON, LAT, "town")
    book.close()
    lines = book.path.read_bytes().splitlines(keepends=True)
    book.path.write_bytes(b"".join(lines[:2] + lines[3:]))
    with pytest.warns(GeoresetWarning, match="1 changes and 0 records are missing"):
        again = LabelBook.open(tmp_path, "x")
    assert again.counts == {"water": 0, "class 2": 1}
    again.undo()
    again.redo()
    assert list(again.labels()["label"]) == ["class 2"]
    again.rename_class("class 2", "town")
    assert again.counts == {"water": 0, "town": 1}
    again.close()


@pytest.mark.parametrize("key", ["../../etc/passwd", "a/b", "", ".hidden", "x" * 500, "ünï 🏙", "C:\\x", "a\x00b"])
def test_a_key_never_leaves_its_folder(tmp_path, key):
    with LabelBook.open(tmp_path / "in", key) as book:
        book.add_point(LON, LAT, "water")
        assert book.path.resolve().parent == (tmp_path / "in").resolve()
    with LabelBook.open(tmp_path / "in", key) as again:
        assert again.counts == {"water": 1}
    assert [p for p in tmp_path.rglob("*") if (tmp_path / "in") not in (p, *p.parents)] == []


def test_labels_are_kept_beside_the_notebook_for_each_map(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one = np.ones((4, 5, 3), "f4")
    grid = GeoBox.from_bbox((0, 0, 50, 40), "EPSG:32631", resolution=10)
    emb = Embeddings({"s2": Expert(one, one)}, grid, attrs={"scene": "Río/../x", "data": "abc", "model_hash": "m"})
    with LabelBook.for_map(emb) as book:
        book.add_point(3, 0, "water")
        assert book.path.parent == tmp_path / ".georeset_labels"
        assert book.path.name.startswith("R-o-x-")
    key = map_key(emb)
    assert map_key(Embeddings(emb.experts, grid, attrs={**emb.attrs, "model_hash": "other"})) == key
    others = [
        map_key(emb, "second try"),
        map_key(Embeddings(emb.experts, grid, attrs={**emb.attrs, "data": "def"})),
        map_key(
            Embeddings(emb.experts, GeoBox.from_bbox((0, 0, 50, 40), "EPSG:32632", resolution=10), attrs=emb.attrs)
        ),
    ]
    assert len({key, *others}) == 4


def test_a_book_in_memory_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    book = book_of((LON, LAT, "water"))
    assert book.path is None
    book.close()
    assert list(Path(tmp_path).iterdir()) == []
