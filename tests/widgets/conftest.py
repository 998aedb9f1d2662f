"""One small simulated scene with embeddings whose first dimensions are the planted land cover; a JupyterLab to test in."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest

from tests.widgets.lab import LabServer, Notebooks, started_browser


@pytest.fixture(scope="session")
def story() -> SimpleNamespace:
    from georeset_lab.data.simulate import simulate_scene
    from georeset_lab.data.truth import truth_labels, truth_place
    from georeset_lab.embed.embeddings import Embeddings, Expert
    from georeset_lab.embed.probe import fit_probe
    from georeset_lab.embed.search import similar

    scene = simulate_scene(seed=0, size=(60, 72), modalities=("s2", "s1", "dem"))
    codes = scene.truth["land_cover"].values.astype(int)
    noise = np.random.default_rng(0)
    experts = {}
    for name, precision in (("s2", 4.0), ("s1", 1.0), ("dem", 0.25)):
        mean = 2.0 * np.eye(8, dtype=np.float32)[codes] + 0.4 * noise.normal(size=(*codes.shape, 8)).astype(np.float32)
        tau = np.full(mean.shape, precision, np.float32)
        experts[name] = Expert(mean * tau, tau)
    experts["s2"].tau[:10, :10], experts["s2"].eta[:10, :10] = 0, 0
    emb = Embeddings(experts, scene["s2"].grid, attrs={"model": "planted", "model_hash": "abc"}, scene=scene)
    probe = fit_probe(emb, truth_labels(scene, per_class=12), scene=scene)
    query = truth_place(scene, "built")
    return SimpleNamespace(
        scene=scene, emb=emb, probe=probe, prediction=probe.predict(emb), query=query, hits=similar(emb, at=query, k=5)
    )


@pytest.fixture(autouse=True)
def _widgets_of_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Panel, once a test of the dashboard has loaded it, gives every new widget a comm that cannot be closed here."""
    import comm

    monkeypatch.setattr(comm, "create_comm", comm._create_comm)


@pytest.fixture(scope="session")
def html(story) -> str:
    from georeset_lab.widgets.page import build_page

    return build_page(
        story.scene,
        story.emb,
        hits=story.hits,
        query=story.query,
        probe=story.probe,
        prediction=story.prediction,
        timings={"encode": 1.0},
    )


@pytest.fixture(scope="session")
def lab_server(tmp_path_factory) -> Iterator[LabServer]:
    """One JupyterLab for all browser tests of a process."""
    server = LabServer(tmp_path_factory.mktemp("lab"))
    try:
        server.wait()
        yield server
    finally:
        server.close()


@pytest.fixture
def open_notebook(lab_server) -> Iterator[Notebooks]:
    """``open_notebook(cells)`` opens and runs a fresh notebook and returns its page.

    The test fails afterwards if the browser logged an error or wanted anything but map tiles from the network.
    """
    with started_browser() as browser:
        notebooks = Notebooks(lab_server, browser)
        try:
            yield notebooks
        finally:
            lab_server.end_sessions()
        wrong = notebooks.messages.wrong()
    assert not wrong, "in the browser's console:\n" + "\n".join(wrong)
