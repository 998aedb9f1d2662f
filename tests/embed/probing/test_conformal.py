from __future__ import annotations

import numpy as np
import pytest

from georeset_lab.embed.probing.conformal import SetRule, coverage, fit_sets, labels_needed, set_note
from georeset_lab.embed.probing.cv import Features, cross_fit
from georeset_lab.embed.probing.fit import fit_linear, softmax
from georeset_lab.errors import InvalidOption, ShapeMismatch

NAMES = ("sea", "wood", "town")


def drawn(n: int, seed: int, sharp: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of three classes that are right about themselves, and a class drawn from each."""
    rng = np.random.default_rng(seed)
    proba = softmax(sharp * rng.normal(size=(n, 3)))
    return proba, (proba.cumsum(axis=1) > rng.random(n)[:, None]).argmax(axis=1)


@pytest.mark.parametrize(("alpha", "needed"), [(0.1, 9), (0.05, 19), (0.2, 4), (0.3, 3), (0.5, 1)])
def test_so_many_labels_are_needed_that_the_limit_is_one_of_their_scores(alpha, needed):
    assert labels_needed(alpha) == needed
    proba = softmax(np.random.default_rng(0).normal(size=(needed, 2)))
    y = np.zeros(needed, int)
    assert fit_sets(proba[1:], y[1:], alpha=alpha) is None
    found = fit_sets(proba, y, alpha=alpha)
    assert found.limits[0] == np.sort(1 - proba[:, 0])[int(np.ceil((needed + 1) * (1 - alpha) - 1e-9)) - 1]


@pytest.mark.parametrize("n", [9, 10, 19, 20, 60])
def test_the_limit_is_the_score_of_the_stated_rank(n):
    proba, y = drawn(n, n)
    scores = sorted(float(1 - p[k]) for p, k in zip(proba, y, strict=True))
    rule = fit_sets(proba, y)
    if not rule.by_class:
        assert rule.limits[0] == scores[int(np.ceil((n + 1) * 0.9 - 1e-9)) - 1]
    for k in range(3) if rule.by_class else ():
        own = sorted(1 - proba[y == k, k])
        assert rule.limits[k] == own[int(np.ceil((len(own) + 1) * 0.9 - 1e-9)) - 1]


@pytest.mark.parametrize("n", [30, 90])
def test_coverage_is_within_binomial_bounds_on_exchangeable_places(n):
    truth, places, per_class = [], [], []
    for seed in range(300):
        rule = fit_sets(*drawn(n, seed))
        proba, y = drawn(400, 10_000 + seed)
        sets = rule.sets(proba)
        truth.append(coverage(sets, y))
        places.append(1 - proba[np.arange(y.size), y] <= rule.limits[y])
        per_class.append([coverage(sets[y == k], y[y == k]) for k in range(3)])
    # With n labels coverage is a Beta variable of mean >= 1 - alpha, and below 1 - alpha + K / (n + K).
    low, high = 0.9, 0.9 + 3 / (n + 3)
    error = 3 * np.std(truth) / np.sqrt(300)
    assert low - error < np.mean(places) < high + error
    assert low - error < np.mean(truth)
    if n == 90:
        assert np.min(np.mean(per_class, axis=0)) > 0.885


def test_a_limit_for_each_class_covers_each_class_however_common_it_is():
    """The third class is hard; a common limit leaves it out, its own does not."""
    rng = np.random.default_rng(0)

    def hard(n: int, share: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
        y = rng.choice(3, n, p=share)
        return softmax(np.where(np.eye(3)[y] > 0, np.where(y == 2, 0.0, 2.5)[:, None], 0) + rng.normal(size=(n, 3))), y

    proba, y = hard(8000, (0.5, 0.4, 0.1))
    own = fit_sets(proba, y)
    common = SetRule(np.full(3, np.quantile(1 - proba[np.arange(y.size), y], 0.9)), 0.1, False, y.size)
    test, truth = hard(20_000, (0.2, 0.2, 0.6))
    covered = [coverage(r.sets(test)[truth == 2], truth[truth == 2]) for r in (own, common)]
    assert covered[0] > 0.88
    assert covered[1] < 0.75


def test_no_set_is_empty_and_the_winner_is_always_in():
    proba, y = drawn(500, 1, sharp=4)
    rule = SetRule(np.zeros(3), 0.1, True, 9)
    sets = rule.sets(proba)
    assert (sets.sum(axis=1) == 1).all()
    assert (sets.argmax(axis=1) == proba.argmax(axis=1)).all()
    assert fit_sets(proba, y).sets(proba.astype("f4")).dtype == bool


def test_a_stricter_alpha_gives_larger_sets():
    proba, y = drawn(300, 2)
    sizes = [fit_sets(proba, y, alpha=a).sets(proba).sum() for a in (0.3, 0.2, 0.1, 0.05)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]


def test_the_note_says_for_what_the_sets_hold_and_what_is_missing():
    proba, y = drawn(60, 0)
    counts = np.bincount(y, minlength=3)
    assert "90% of the places of each class" in set_note(fit_sets(proba, y), counts, NAMES)
    keep = np.concatenate([np.flatnonzero(y == 0), np.flatnonzero(y == 1), np.flatnonzero(y == 2)[:4]])
    few = fit_sets(proba[keep], y[keep])
    assert not few.by_class
    assert np.ptp(few.limits) == 0
    note = set_note(few, np.bincount(y[keep], minlength=3), NAMES)
    assert "not of each class: 'town' below 9 labels" in note
    none = fit_sets(proba[:8], y[:8])
    assert none is None
    assert "8 labels could be held out, sets of 90% need 9" in set_note(none, np.bincount(y[:8], minlength=3), NAMES)


def test_wrong_arguments_are_named():
    proba, y = drawn(20, 0)
    with pytest.raises(InvalidOption, match=r"alpha=1\.5"):
        fit_sets(proba, y, alpha=1.5)
    with pytest.raises(ShapeMismatch, match=r"proba has shape \(20, 3\) and y \(19,\)"):
        fit_sets(proba, y[1:])


def blocks(n_blocks: int, per_block: int, seed: int, *, shared: float) -> tuple[np.ndarray, ...]:
    """Three classes in ground blocks; ``shared`` is how much of the noise is common to a whole block."""
    rng = np.random.default_rng(seed)
    y = np.repeat(rng.permutation(np.arange(n_blocks) % 3), per_block)
    block = np.repeat(np.arange(n_blocks), per_block)
    own = rng.normal(size=(y.size, 4))
    x = 1.6 * np.eye(3, 4)[y] + np.sqrt(shared) * rng.normal(size=(n_blocks, 4))[block] + np.sqrt(1 - shared) * own
    return x, y, block


def reported(x: np.ndarray, y: np.ndarray, fold: np.ndarray) -> float:
    splits = [(np.flatnonzero(fold != f), np.flatnonzero(fold == f)) for f in range(5)]
    return float(
        np.nanmean(cross_fit(Features.of(x), y, splits, n_classes=3, penalties=(0.1,)).fold_scores["coverage"])
    )


def held_out(x: np.ndarray, y: np.ndarray, fold: np.ndarray, how: dict) -> np.ndarray:
    """Probabilities of each sample from a fit without its fold."""
    out = np.empty((y.size, 3))
    for f in range(5):
        out[fold == f] = softmax(fit_linear(x[fold != f], y[fold != f], **how).logits(x[fold == f]))
    return out


def test_held_out_blocks_show_the_gap_that_random_folds_hide():
    """Where whole blocks share their noise, limits from random folds cover new blocks too rarely; those from blocks do."""
    new = {"blocks": [], "random": []}
    for seed in range(8):
        x, y, block = blocks(15, 12, seed, shared=0.9)
        test, truth, _ = blocks(300, 2, 1000 + seed, shared=0.9)
        rng = np.random.default_rng(seed)
        by_block = np.empty(y.size, int)
        for k in range(3):  # five folds of one block of each class
            for f, b in enumerate(rng.permutation(np.unique(block[y == k]))):
                by_block[block == b] = f
        how = {"center": x.mean(axis=0), "scale": x.std(axis=0), "n_classes": 3, "penalty": 0.1}
        proba = softmax(fit_linear(x, y, **how).logits(test))
        for name, fold in (("blocks", by_block), ("random", rng.permutation(np.arange(y.size) % 5))):
            new[name].append(coverage(fit_sets(held_out(x, y, fold, how), y).sets(proba), truth))
    assert np.mean(new["random"]) < 0.85
    assert np.mean(new["blocks"]) > np.mean(new["random"]) + 0.05


def test_reported_coverage_is_honest_on_independent_labels():
    """Mean over data sets of what nested folds report, against the promise and against new places."""
    found = []
    for seed in range(8):
        x, y, _ = blocks(90, 1, seed, shared=0.5)
        found.append(reported(x, y, np.random.default_rng(seed).permutation(np.arange(y.size) % 5)))
    assert np.mean(found) == pytest.approx(0.91, abs=0.04)


def test_coverage_is_not_reported_where_it_cannot_be():
    x, y, _ = blocks(90, 1, 0, shared=0.5)
    two = [(np.flatnonzero(np.arange(90) % 2 != f), np.flatnonzero(np.arange(90) % 2 == f)) for f in range(2)]
    cross = cross_fit(Features.of(x), y, two, n_classes=3, penalties=(0.1,))
    assert np.isnan(cross.fold_scores["coverage"]).all()
    assert cross.sets is not None
    assert cross_fit(Features.of(x), y, [], n_classes=3).sets is None


def test_what_a_fold_reports_knows_nothing_of_it():
    """Nonsense labels in one fold change neither its limits nor its sizes: only its own coverage."""
    x, y, _ = blocks(90, 1, 3, shared=0.5)
    fold = np.arange(90) % 5
    splits = [(np.flatnonzero(fold != f), np.flatnonzero(fold == f)) for f in range(5)]
    wrong = np.where(fold == 2, (y + 1) % 3, y)
    a, b = (cross_fit(Features.of(x), v, splits, n_classes=3, penalties=(0.1,)).fold_scores for v in (y, wrong))
    assert a["set_size"][2] == b["set_size"][2]
    assert a["coverage"][2] > 0.7 > b["coverage"][2]
