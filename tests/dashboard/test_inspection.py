from __future__ import annotations

import json
import os
import re
import time

import pytest

from georeset_lab.dashboard import inspection
from georeset_lab.dashboard.inspection import inspect_upload
from georeset_lab.embed.labels.book import LabelBook
from tests.dashboard import hostile

LIMITS = {"scene_bytes": 50_000_000, "labels_bytes": 2_000_000, "decoded_bytes": 200_000_000, "pixels": 16_000_000}


@pytest.fixture
def upload(tmp_path):
    """A path such as the server chooses: no ending, no name."""
    return tmp_path / "0123456789abcdef"


def test_a_geotiff_is_told_by_its_content_and_its_facts_are_reported(upload):
    verdict = inspect_upload(hostile.geotiff(upload), LIMITS)
    assert verdict.ok, verdict.message
    assert verdict.kind == "scene"
    facts = verdict.facts
    assert (facts["bands"], facts["width"], facts["height"], facts["crs"]) == (4, 64, 64, "EPSG:32718")
    assert facts["names"] == ["B02", "B03", "B04", "B08"]
    assert len(facts["sha256"]) == 64


def test_labels_are_checked_and_written_anew_for_the_book(upload):
    verdict = inspect_upload(hostile.labels(upload), LIMITS)
    assert verdict.ok, verdict.message
    assert verdict.kind == "labels"
    assert verdict.facts["classes"] == {"water": 1, hostile.MARKUP: 1}
    book = LabelBook()
    assert book.add_labels(upload.with_name(f"{upload.name}.checked")).added == 2


def test_a_bomb_is_refused_by_what_it_declares_before_a_pixel_is_read(upload):
    hostile.bomb(upload)
    assert upload.stat().st_size < 3_000_000
    start = time.monotonic()
    verdict = inspect_upload(upload, LIMITS)
    assert not verdict.ok
    assert "40000 x 40000 pixels of 10 bands, 16.0 GB once unpacked" in verdict.message
    assert "16 million pixels and 200 MB are taken" in verdict.message
    assert time.monotonic() - start < 20


def test_blocks_that_are_too_large_to_hold_are_refused(upload):
    limits = {**LIMITS, "decoded_bytes": 10**9, "scene_bytes": 10**9}
    hostile.empty(
        upload,
        width=3000,
        height=3000,
        count=16,
        blockysize=3000,
        interleave="pixel",
        dtype="uint16",
        compress="deflate",
    )
    assert "blocks of 3000 x 3000 pixels" in inspect_upload(upload, limits).message


def test_a_scene_that_is_cut_off_is_refused(upload):
    payload = hostile.geotiff(upload, size=256).read_bytes()
    upload.write_bytes(payload[: len(payload) // 2])
    assert "could not be read" in inspect_upload(upload, LIMITS).message


def test_a_scene_whose_pixels_are_damaged_is_refused_with_the_place(upload):
    payload = bytearray(hostile.geotiff(upload, size=256, compress="deflate").read_bytes())
    middle = len(payload) // 2
    payload[middle : middle + 200] = bytes(200)
    upload.write_bytes(payload)
    assert "damaged or cut off: the pixels at row" in inspect_upload(upload, LIMITS).message


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "neither"),
        (b"PK\x03\x04" + bytes(100), "neither"),
        (b"<VRTDataset><VRTRasterBand/></VRTDataset>", "neither"),
        (b"#!/bin/sh\nrm -rf /", "neither"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "neither"),
        (b"II*\x00" + b"\xff" * 200, "could not be read"),
        (b"{" * 100_000, "nested too deeply|neither"),
        (b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}", "nested too deeply"),
        (b'{"type": "FeatureCollection", "features": []}', "no labels"),
        (b'{"type": "FeatureCollection", "features": [{"type": "Feature", "geometry": null}]}', "label"),
        (b'{"type": "Topology", "x": NaN}', "NaN"),
        (b'{"type": "FeatureCollection", "features": "' + b"x" * 3_000_000 + b'"}', "3 MB of labels; up to 2 MB"),
        (b"PAR1" + bytes(1000) + b"PAR1", "GeoParquet|could not"),
    ],
)  # fmt: skip
def test_whatever_else_it_is_there_is_a_sentence_about_it(upload, content, says):
    upload.write_bytes(content)
    verdict = inspect_upload(upload, LIMITS)
    assert not verdict.ok
    assert re.search(says, verdict.message), verdict.message


def test_a_scene_that_lies_nowhere_is_refused(upload):
    assert "where on Earth" in inspect_upload(hostile.geotiff(upload, crs=None), LIMITS).message


def test_labels_with_a_path_for_a_crs_are_refused(upload):
    hostile.labels(upload)
    found = json.loads(upload.read_text())
    for name in ("+init=/etc/passwd:1", "EPSG:4326;/etc/passwd"):
        upload.write_text(json.dumps({**found, "crs": {"type": "name", "properties": {"name": name}}}))
        assert not inspect_upload(upload, LIMITS).ok


@pytest.mark.skipif(os.name != "posix", reason="limits of a process")
def test_a_process_that_takes_too_much_memory_or_time_ends_alone(upload, monkeypatch, tmp_path):
    code = tmp_path / "greedy.py"
    for body, says in (
        (
            "import georeset_lab.dashboard.inspect_upload as i; i._limit_this_process(); x = bytearray(6 << 30)",
            "too much memory",
        ),
        ("import time; time.sleep(60)", "within 1 seconds"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "ended the process"),
        ("print('{\"ok\": true')", "ended the process"),
    ):
        code.write_text(body)
        monkeypatch.setattr(inspection, "WALL_SECONDS", 1 if "sleep" in body else 60)
        monkeypatch.setattr(inspection, "_command", lambda path, limits: [inspection.sys.executable, "-P", str(code)])
        verdict = inspect_upload(upload, LIMITS)
        assert not verdict.ok
        assert says in verdict.message


def test_the_inspecting_process_sees_no_secrets_of_the_server(monkeypatch):
    monkeypatch.setenv("BOKEH_SECRET_KEY", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setenv("HTTPS_PROXY", "x")
    assert not {"BOKEH_SECRET_KEY", "AWS_SECRET_ACCESS_KEY", "HTTPS_PROXY"} & set(inspection._environment())
