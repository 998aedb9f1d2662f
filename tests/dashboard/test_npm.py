from __future__ import annotations

import pytest

from georeset_lab.dashboard.npm import find_bundle


@pytest.fixture
def roots(tmp_path):
    first, second = tmp_path / "user", tmp_path / "env"
    package = second / "jupyter-leaflet"
    package.mkdir(parents=True)
    first.mkdir()
    (package / "index.js").write_text("define([])")
    (package / "icon.png").write_bytes(b"png")
    (package / "notes.py").write_text("secret = 1")
    (second / "@scope" / "name").mkdir(parents=True)
    (second / "@scope" / "name" / "index.js").write_text("1")
    (second / "secret.js").write_text("beside the packages")
    (tmp_path / "secret.js").write_text("above the packages")
    (second / "linked").symlink_to(package)
    (package / "out.js").symlink_to(tmp_path / "secret.js")
    return [first, second]


@pytest.mark.parametrize(
    ("package", "name", "file"),
    [
        ("jupyter-leaflet", "index", "jupyter-leaflet/index.js"),
        ("jupyter-leaflet", "index.js", "jupyter-leaflet/index.js"),
        ("jupyter-leaflet", "icon.png", "jupyter-leaflet/icon.png"),
        ("@scope/name", "index", "@scope/name/index.js"),
        ("linked", "index", "jupyter-leaflet/index.js"),
    ],
)
def test_a_bundle_is_found_where_it_was_installed(roots, package, name, file):
    assert find_bundle(package, name, roots) == (roots[1] / file).resolve()


@pytest.mark.parametrize(
    ("package", "name"),
    [
        ("jupyter-leaflet", "../secret"),
        ("jupyter-leaflet", "../../secret.js"),
        ("jupyter-leaflet", "x/../../secret.js"),
        ("jupyter-leaflet", "/etc/passwd"),
        ("jupyter-leaflet", "..\\secret"),
        ("jupyter-leaflet", "out.js"),
        ("jupyter-leaflet", "notes.py"),
        ("jupyter-leaflet", ""),
        ("jupyter-leaflet", "."),
        ("jupyter-leaflet", "index\0.js"),
        ("..", "secret"),
        (".", "secret"),
        ("@scope/..", "secret"),
        ("@../user", "secret"),
        ("", "secret"),
        ("nobody", "index"),
    ],
)
def test_nothing_else_is_handed_out(roots, package, name):
    assert find_bundle(package, name, roots) is None


@pytest.mark.parametrize(
    "path",
    [
        "/npm/jupyter-leaflet@1/dist/../../../../../../etc/passwd",
        "/npm/jupyter-leaflet@1/dist/%2e%2e/%2e%2e/kernels/python3/kernel.json",
        "/npm/jupyter-leaflet@1/dist/%2fetc%2fpasswd",
        "/npm/..@1/dist/nbextensions.js",
        "/npm/%2e%2e@1/dist/x.js",
        "/npm/jupyter-leaflet@1/index.js",
        "/npm/",
    ],
)
def test_the_server_answers_404_to_a_path_that_leads_out(dashboard, path):
    assert dashboard.get(path)[0] == 404


def test_the_server_hands_out_the_installed_map_library(dashboard):
    status, headers, body = dashboard.get("/npm/jupyter-leaflet@%5E0.20/dist/index")
    assert status == 200
    assert headers["Content-Type"].startswith("text/javascript")
    assert len(body) > 100_000
    assert dashboard.get("/npm/jupyter-leaflet@0/dist/index", **{"If-None-Match": headers["Etag"]})[0] == 304
