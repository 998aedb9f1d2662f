"""The shell: what is refused is one clear line and status 2; what is asked for is done."""

from __future__ import annotations

import subprocess
import sys

import pytest

from georeset_lab import cli
from georeset_lab.errors import SceneReadError, UnitsInferred


@pytest.fixture
def untrained(tmp_path_factory):
    from georeset_lab.models.checkpoint import make_model, save_model
    from georeset_lab.train.loop import untrained

    return save_model(make_model(untrained(), name="untrained"), tmp_path_factory.mktemp("model") / "untrained")


def test_help_is_quick_and_names_every_command():
    code = (
        "import sys, georeset_lab.cli as c\ntry: c.main(['--help'])\nexcept SystemExit: print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("False")
    for command in ("demo", "encode", "export", "train", "evaluate", "models"):
        assert command in done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["encode", "nowhere.tif", "--out", "x.zarr"], "no file or folder nowhere.tif"),
        (["encode", "a.tif", "s1=b.tif", "--out", "x.zarr"], "NAME=ITEM for each of several modalities"),
        (["export", "nowhere.zarr", "--out", "a.html"], "no file or folder nowhere.zarr"),
        (["train", "no_such_recipe"], "no_such_recipe"),
        (["demo", "--model", "no_such_model", "--size", "48"], "no_such_model"),
        (["evaluate", "first", "--data", "no_such_folder"], "no_such_folder"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_with_status_2(arguments, says, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("georeset: ")
    assert says in error
    assert "Traceback" not in error


def test_debug_shows_the_whole_error():
    with pytest.raises(SceneReadError, match=r"nowhere\.tif"):
        cli.main(["--debug", "encode", "nowhere.tif", "--sensor", "sentinel-2-l2a", "--out", "x.zarr"])


def test_a_command_is_needed(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main([])
    assert stopped.value.code == 2
    assert "COMMAND" in capsys.readouterr().err


def test_warnings_of_the_package_are_notes_and_others_are_silent(capsys):
    cli._note(UnitsInferred("scale taken from the numbers"), UnitsInferred)
    cli._note(DeprecationWarning("noise"), DeprecationWarning)
    assert capsys.readouterr().err == "note: scale taken from the numbers\n"


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (["simulated"], "simulated"),
        (["s2=a.tif"], {"s2": "a.tif"}),
        (["s2=a.tif", "s1=b=c.tif"], {"s2": "a.tif", "s1": "b=c.tif"}),
    ],
)
def test_sources_are_named_or_single(given, meant):
    assert cli._named(given) == meant


def test_a_run_in_the_way_is_not_overwritten(tmp_path, capsys):
    (tmp_path / "state").mkdir()
    assert cli.main(["train", "simulated", "--out", str(tmp_path)]) == 2
    assert "--resume" in capsys.readouterr().err


@pytest.mark.slow
def test_the_folder_of_a_rival_has_a_name_that_every_disk_takes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "georeset_runs" / "sensors-slots"
    run.mkdir(parents=True)
    (run / "log.jsonl").write_text("", encoding="utf-8")
    assert cli.main(["train", "sensors:slots", "--data", str(tmp_path)]) == 2
    assert "sensors-slots holds a run already" in capsys.readouterr().err.replace("\\", "/")


def test_encode_writes_a_store_that_opens(tmp_path, untrained, capsys, monkeypatch):
    import georeset_lab as gl

    real = gl.load_scene
    monkeypatch.setattr(gl, "load_scene", lambda source, **_: real(source, size=(48, 48)).only("s2", "s1"))
    store = tmp_path / "emb.zarr"
    assert cli.main(["encode", "simulated", "--out", str(store), "--model", str(untrained), "--quiet", "--fast"]) == 0
    emb = gl.open_embeddings(store)
    assert emb.attrs["fast"] is True
    assert emb.modalities == ("s2", "s1")
    assert emb.shape == (48, 48)
    assert str(store) in capsys.readouterr().out


@pytest.mark.slow
def test_demo_leaves_a_page_and_says_where(tmp_path, untrained, capsys):
    page = tmp_path / "demo.html"
    assert cli.main(["demo", "--size", "60", "--model", str(untrained), "--out", str(page)]) == 0
    said = capsys.readouterr().out
    assert page.resolve().as_uri() in said
    for step in ("simulate", "encode", "similar", "probe", "predict", "page"):
        assert step in said
    assert "raw bands" in page.read_text(encoding="utf-8")


def test_export_writes_a_page_of_stored_embeddings_with_the_class_map_of_labels(tmp_path, capsys):
    import json

    import numpy as np

    from georeset_lab.widgets.state import Exploration
    from tests.widgets.planted import planted_classes, planted_embeddings

    emb = planted_embeddings(30, 40)
    emb.to_zarr(tmp_path / "emb.zarr")
    state, codes, features = Exploration(emb), planted_classes(30, 40), []
    for code in (0, 1):
        for flat in np.flatnonzero(codes.ravel() == code)[::20]:
            place = state.place_of(*divmod(int(flat), 40))
            point = {"type": "Point", "coordinates": [place.lon, place.lat]}
            features.append({"type": "Feature", "geometry": point, "properties": {"label": f"class {code}"}})
    (tmp_path / "labels.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    out = tmp_path / "deep" / "page.html"
    arguments = ["export", str(tmp_path / "emb.zarr"), "--labels", str(tmp_path / "labels.geojson"), "--out", str(out)]
    assert cli.main([*arguments, "--no-umap", "--quiet"]) == 0
    said = capsys.readouterr().out
    assert "balanced accuracy by spatial block: embedding" in said
    assert out.as_uri() in said
    html = out.read_text(encoding="utf-8")
    assert '<option value="doubt_overlap">' in html
    assert html.count('"label":"class 0"') == sum(f["properties"]["label"] == "class 0" for f in features)
