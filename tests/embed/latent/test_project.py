"""Points for the eye: the draw, and UMAP in a process that can be given up and takes one job after the other."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import numpy as np
import pytest

from georeset_lab.embed.latent import project
from georeset_lab.embed.latent.project import POLITENESS, UmapWorker, sample_points
from georeset_lab.errors import NothingObserved


def test_only_observed_pixels_are_drawn_each_once_and_in_order():
    observed = np.arange(10_000).reshape(100, 100) % 3 == 0
    picked = sample_points(observed, limit=500)
    assert picked.size == 500
    assert (np.diff(picked) > 0).all()
    assert observed.ravel()[picked].all()


def test_a_small_map_is_drawn_whole():
    assert sample_points(np.array([True, False, True])).tolist() == [0, 2]


def test_nothing_observed_is_refused():
    with pytest.raises(NothingObserved, match="nothing to project"):
        sample_points(np.zeros((3, 3), bool))


def test_a_layout_that_is_not_ready_is_given_up_and_its_process_ends():
    with UmapWorker() as umap:
        umap.give(np.random.default_rng(0).normal(size=(100, 4)))
        start = time.monotonic()
        assert umap.result(within_s=0.05) is None
        assert time.monotonic() - start < 5
    assert umap._process.poll() is not None
    assert not umap._root.exists()


@pytest.mark.skipif(not hasattr(os, "nice"), reason="Windows has other priorities")
@pytest.mark.parametrize(("polite", "more"), [(True, POLITENESS), (False, 0)])
def test_a_polite_worker_lets_others_go_first(polite, more):
    wanted = min(19, os.getpriority(os.PRIO_PROCESS, 0) + more)
    with UmapWorker(polite=polite) as umap:
        until = time.monotonic() + 60
        while os.getpriority(os.PRIO_PROCESS, umap._process.pid) != wanted:
            assert umap.alive
            assert time.monotonic() < until
            time.sleep(0.02)


def test_a_worker_that_has_ended_takes_nothing_and_answers_nothing():
    with UmapWorker() as umap:
        umap._process.kill()
        umap._process.wait()
        assert not umap.alive
        job = umap.give(np.zeros((20, 3)))
        assert umap.result(job, within_s=60) is None
        umap.forget(job)


@pytest.mark.slow
def test_jobs_are_done_in_turn_a_forgotten_one_is_left_out_and_the_process_ends_with_its_owner():
    vectors = np.random.default_rng(0).normal(size=(3, 40, 5)).astype(np.float32)
    with UmapWorker() as umap:
        jobs = [umap.give(v, epochs=5) for v in vectors]
        umap.forget(jobs[1])
        first, third = (umap.result(jobs[i], within_s=300) for i in (0, 2))
        assert umap.warm
        assert first.shape == third.shape == (40, 2)
        assert not np.allclose(first, third)
        assert umap.result(jobs[1], within_s=0) is None
        umap._process.stdin.close()  # what the system does when the owner is killed
        assert umap._process.wait(timeout=60) == 0
        assert not umap._root.exists()


@pytest.mark.slow
def test_an_idle_worker_ends_itself(monkeypatch):
    code = "import sys; from georeset_lab.embed.latent import project; project.IDLE_S = 0.1; "
    code += "project._layout = lambda *a: None; project._serve(project.Path(sys.argv[1]))"
    real = subprocess.Popen
    monkeypatch.setattr(project.subprocess, "Popen", lambda c, **k: real([sys.executable, "-c", code, c[-1]], **k))
    with UmapWorker() as umap:
        assert umap._process.wait(timeout=120) == 0


@pytest.mark.slow
def test_umap_keeps_planted_groups_apart():
    rng = np.random.default_rng(0)
    group = rng.integers(0, 3, 240)
    vectors = 6 * np.eye(8)[group] + rng.normal(size=(240, 8))
    with UmapWorker() as umap:
        umap.give(vectors)
        xy = umap.result(within_s=300)
    assert xy is not None
    distance = np.linalg.norm(xy[:, None] - xy[None], axis=-1)
    np.fill_diagonal(distance, np.inf)
    assert (group[distance.argmin(axis=1)] == group).mean() > 0.95
