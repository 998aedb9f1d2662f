from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from georeset_lab.errors import ShapeMismatch
from georeset_lab.evaluate import score
from georeset_lab.evaluate.solver import solve_logistic
from georeset_lab.evaluate.splits import make_split


@pytest.fixture(scope="module")
def split(planted_task):
    t = planted_task
    return make_split(t.labels, t.groups, t.side, t.classes, sizes=(5, 20), n_draws=6)


def blobs(n, f, k, spread, seed=0):
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(k), n)
    x = rng.normal(size=(k, f))[y] + spread * rng.normal(size=(n * k, f))
    return (x - x.mean(0)) / x.std(0), y


def objective(x, y, c, coef, intercept):
    logits = x @ coef + intercept
    logits = logits - logits.max(1, keepdims=True)
    loss = np.log(np.exp(logits).sum(1)) - logits[np.arange(y.size), y]
    return c * loss.sum() + 0.5 * (coef**2).sum()


def test_planted_separable_features_score_one(planted_task, split):
    features = np.stack([planted_task.labels == c for c in planted_task.classes], axis=2).astype(float)
    found = score.score_features(features, split)
    assert found.balanced_accuracy.shape == (2, 6)
    assert (found.balanced_accuracy == 1).all()


def test_noise_scores_chance(split):
    noise = np.random.default_rng(0).normal(size=(*split.side.shape, 8))
    mean = score.score_features(noise, split).balanced_accuracy.mean()
    assert abs(mean - 1 / 3) < 0.03


def test_noise_is_answered_with_a_strong_penalty_and_signal_with_a_weak_one(planted_task, split):
    rng = np.random.default_rng(0)
    noise = score.score_features(rng.normal(size=(*split.side.shape, 8)), split).chosen_c
    clear = (planted_task.labels[..., None] == [1, 2, 3]) * 1.0
    signal = score.score_features(clear + rng.normal(0, 0.05, (*split.side.shape, 3)), split).chosen_c
    assert np.median(noise) <= 0.01
    assert np.median(signal) >= 1


@pytest.mark.parametrize(("n", "f", "c"), [(5, 4, 1.0), (20, 60, 0.1), (8, 40, 10.0)])
def test_the_solver_reaches_the_optimum_that_scikit_learn_finds(n, f, c):
    x, y = blobs(n, f, 4, 2.0)
    theirs = LogisticRegression(C=c, tol=1e-10, max_iter=10000).fit(x, y)
    z1 = np.hstack([x, np.ones((y.size, 1))])[None]
    ours = solve_logistic(z1, y, np.ones((1, 1, y.size)), c, tol=1e-10, max_iter=2000)[0, 0]
    best = objective(x, y, c, theirs.coef_.T, theirs.intercept_)
    assert objective(x, y, c, ours[:, :-1].T, ours[:, -1]) == pytest.approx(best, rel=1e-6)
    np.testing.assert_allclose(ours[:, :-1], theirs.coef_, atol=2e-3)


def test_a_batch_gives_what_each_draw_gives_alone():
    pairs = [blobs(10, 6, 3, 1.5, seed) for seed in range(3)]
    x, y = np.stack([p[0] for p in pairs]), pairs[0][1]
    folds = np.stack([np.random.default_rng(s).integers(0, 3 + s, y.size) for s in range(3)])
    c, coef, intercept = score.fit_penalised(x, y, folds)
    for i in range(3):
        alone = score.fit_penalised(x[i : i + 1], y, folds[i : i + 1])
        assert alone[0][0] == c[i]
        np.testing.assert_allclose(alone[1][0], coef[i], atol=0.02)
        np.testing.assert_allclose(alone[2][0], intercept[i], atol=0.02)


def test_held_out_labels_have_no_say_in_a_fold():
    x, y = blobs(12, 5, 3, 1.0)
    z1 = np.hstack([x, np.ones((y.size, 1))])[None]
    keep = np.arange(y.size) % 3 > 0
    some = solve_logistic(z1, y, keep[None, None] * 1.0, 1.0, tol=1e-10)
    sub = solve_logistic(z1[:, keep], y[keep], np.ones((1, 1, keep.sum())), 1.0, tol=1e-10)
    np.testing.assert_allclose(some, sub, atol=1e-3)


def test_a_label_of_weight_two_is_one_given_twice():
    x, y = blobs(8, 5, 3, 2.0)
    folds, weight = np.arange(y.size) % 4, np.random.default_rng(0).integers(1, 4, y.size)
    c, coef, intercept = score.fit_penalised(x[None], y, folds[None], sample_weight=weight)
    x2, y2, folds2 = (np.repeat(a, weight, axis=0) for a in (x, y, folds))
    c2, coef2, intercept2 = score.fit_penalised(x2[None], y2, folds2[None])
    assert c == c2
    np.testing.assert_allclose(coef, coef2, atol=0.02)
    np.testing.assert_allclose(intercept, intercept2, atol=0.02)


def test_the_penalty_is_that_of_least_held_out_loss():
    x, y = blobs(15, 10, 3, 3.0)
    folds = np.arange(y.size) % 5
    c, _, _ = score.fit_penalised(x[None], y, folds[None])
    losses = []
    for value in score.PENALTIES:
        loss = 0.0
        for f in range(5):
            m = LogisticRegression(C=value, tol=1e-8, max_iter=5000).fit(x[folds != f], y[folds != f])
            p = m.predict_proba(x[folds == f])
            loss -= np.log(p[np.arange(p.shape[0]), y[folds == f]]).sum()
        losses.append(loss)
    assert c[0] == score.PENALTIES[int(np.argmin(losses))]


def test_a_class_known_in_one_fold_only_does_not_break_the_choice():
    x, y = blobs(6, 4, 3, 0.2)
    folds = np.where(y == 2, 0, np.arange(y.size) % 3)
    c, coef, intercept = score.fit_penalised(x[None], y, folds[None])
    assert np.isfinite(coef).all()
    assert (np.argmax(x @ coef[0] + intercept[0], 1) == y).all()
    assert c[0] in score.PENALTIES


def test_missing_and_constant_features_become_zero():
    features = np.random.default_rng(0).normal(size=(4, 5, 3))
    features[0, 0, 0] = np.nan
    features[..., 2] = 7.0
    out = score.standardise(features, np.ones((4, 5), bool))
    assert out[0, 0] == 0
    assert (out[:, 2] == 0).all()
    assert out[:, 1].std() == pytest.approx(1, abs=1e-5)


def test_the_scale_is_that_of_the_training_side_alone():
    features = np.zeros((2, 4, 1))
    features[0, :, 0] = [1, 2, 3, 4]
    features[1] = 1000
    train = np.array([[True] * 4, [False] * 4])
    out = score.standardise(features, train).reshape(2, 4)
    assert out[0].mean() == pytest.approx(0, abs=1e-6)
    assert out[0].std() == pytest.approx(1, abs=1e-6)


def test_balanced_accuracy_weighs_classes_not_pixels():
    truth = np.array([0] * 90 + [1] * 10)
    assert score.balanced_accuracy(truth, np.zeros(100, int)) == 0.5


def test_features_of_another_grid_are_refused(split):
    with pytest.raises(ShapeMismatch, match="this task needs"):
        score.score_features(np.zeros((3, 3, 2)), split)
