"""Fits keep BLAS to one thread, and leave it as they found it."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from georeset_lab.embed.probing import laplace, solver
from georeset_lab.embed.probing.cv import Features, cross_fit
from georeset_lab.embed.probing.one_thread import one_blas_thread


def threads() -> set[int]:
    return {found["num_threads"] for found in threadpool_info() if found["user_api"] == "blas"}


@pytest.fixture
def three():
    """Three threads to begin with, however CI sets them."""
    import scipy.linalg  # noqa: F401  brings a BLAS of its own

    with threadpool_limits(3, "blas"):
        assert threads() == {3}
        yield


def test_threads_come_back_whoever_goes_first(three):
    inside, go = threading.Barrier(2), threading.Event()

    def other() -> None:
        with one_blas_thread():
            inside.wait(20)
            assert go.wait(20)

    late = threading.Thread(target=other)
    with one_blas_thread():
        late.start()
        inside.wait(20)
        with one_blas_thread():
            assert threads() == {1}
        assert threads() == {1}
    go.set()
    late.join(20)
    assert threads() == {3}
    with pytest.raises(ValueError, match="mine"), one_blas_thread():
        raise ValueError("mine")
    assert threads() == {3}


def test_a_probe_fits_on_one_thread_and_no_more_often_than_folds_and_penalties_ask(three, monkeypatch):
    from sklearn.linear_model import LogisticRegression

    seen, fit, spread = [], LogisticRegression.fit, laplace._sum_zero_basis
    monkeypatch.setattr(LogisticRegression, "fit", lambda *a, **k: seen.append(threads()) or fit(*a, **k))
    monkeypatch.setattr(laplace, "_sum_zero_basis", lambda k: seen.append(threads()) or spread(k))
    rng = np.random.default_rng(0)
    y = np.arange(600) % 3
    x = np.eye(3, 5)[y] + rng.normal(size=(600, 5))
    fold = np.arange(600) % 4
    splits = [(np.flatnonzero(fold != f), np.flatnonzero(fold == f)) for f in range(4)]
    cross_fit(Features.of(x), y, splits, n_classes=3, penalties=(0.1, 1.0, 10.0))
    fits = 4 * 3 + 6  # every fold with every penalty, and every pair of folds once with the chosen ones
    assert fits <= len([s for s in seen if s == {1}]) == len(seen) <= 2 * fits + 4 * 3
    assert threads() == {3}


def test_the_fit_of_a_click_is_on_one_thread(three, monkeypatch):
    seen, whole = [], solver._coordinates
    monkeypatch.setattr(solver, "_coordinates", lambda *a: seen.append(threads()) or whole(*a))
    y = np.arange(30) % 3
    solver.solve(np.eye(3, 4)[y], y, n_classes=3, penalty=1.0)
    assert seen == [{1}]
    assert threads() == {3}
