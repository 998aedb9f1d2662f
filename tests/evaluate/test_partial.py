"""``georeset evaluate partial``: calibration, missing sensors, the run and its report.

Its other measures are tested in ``test_windows.py``, ``test_corrupt.py``, ``test_robust.py`` and ``test_retrieval.py``.
"""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from georeset_lab.data.simulate import simulate_scene
from georeset_lab.evaluate import calibrate, fusing, missing, partial, partial_report, retrieval, robust
from georeset_lab.evaluate.corrupt import corrupt, kinds_for
from georeset_lab.evaluate.rows import Row
from georeset_lab.evaluate.tasks import missing_tasks
from georeset_lab.evaluate.windows import real_windows
from georeset_lab.models.fusion import Gaussian, fuse

AGREEMENT = ("strength_variance", "variance_error", "strength_error", "within")


# Calibration


@pytest.mark.parametrize(("kind", "cases"), [("expert", 6), ("fused", 4)])
def test_cases_stack_every_view_and_know_the_truth_where_it_is_settled(model, windows, monkeypatch, kind, cases):
    clean = {n: robust.experts(model.encoder, v) for n, v in windows.views.items()}
    whole = fuse(list(clean.values()))
    # An untrained encoder is sure of little: lower its variances so that some dimensions are settled, and some not.
    middle = float(whole.tau.median())
    monkeypatch.setattr(calibrate, "experts", lambda e, v: Gaussian(*(z / middle for z in robust.experts(e, v))))
    mean, variance, truth = calibrate._cases(model, windows, kind, seed=0)
    assert mean.shape == variance.shape == truth.shape == (cases * 8 * 64, 8)
    assert ((variance > 0) & (variance <= 1)).all()
    assert np.isfinite(mean).all()
    scaled = Gaussian(*(z / middle for z in whole))
    settled = np.tile((scaled.var < 0.5).flatten(0, 1).numpy(), (cases, 1))
    assert 0.2 < settled.mean() < 0.8
    np.testing.assert_array_equal(np.isnan(truth), ~settled)
    expected = np.tile(scaled.mean.flatten(0, 1).numpy(), (cases, 1))
    np.testing.assert_allclose(truth[settled], expected[settled], atol=1e-5)
    block = mean.reshape(cases, 8, 64, 8)
    if kind == "expert":
        np.testing.assert_allclose(block[0], clean["s1"].eta / middle / (1 + clean["s1"].tau / middle), atol=1e-5)
        np.testing.assert_allclose(block[1], clean["s2"].eta / middle / (1 + clean["s2"].tau / middle), atol=1e-5)
    else:
        spoilt = robust.experts(model.encoder, corrupt(windows.views["s2"], "cloud", 2, 0))
        both = fuse([Gaussian(*(z / middle for z in e)) for e in (spoilt, clean["s1"])])
        np.testing.assert_allclose(block[0], both.mean, atol=1e-5)


def test_the_scale_is_the_median_over_places_and_mends_the_slope(windows, others, monkeypatch):
    """Planted: errors are twice what is claimed, ten times so at one place of those that the scale is fitted on."""

    def planted(_, places, kind, seed):
        cases = 6 if kind == "expert" else 4
        rng = np.random.default_rng(len(kind) + len(places.names))
        place = np.tile(np.repeat(places.place, 64), cases)
        variance = rng.uniform(0.05, 0.4, (len(place), 8))
        truth = rng.normal(size=variance.shape) * np.sqrt(2 * variance)
        if places is others:
            truth[place == 1] *= 5**0.5
        truth[::3, 2] = np.nan
        return np.zeros_like(truth), variance, truth

    monkeypatch.setattr(calibrate, "_cases", planted)
    found = calibrate.calibrated(None, windows, others)
    assert list(found) == ["expert", "fused"]
    for mine in found.values():
        assert mine["scales"] == pytest.approx([2, 10, 2], rel=0.1)
        assert mine["scale"] == pytest.approx(2, rel=0.05)
        assert mine["slope_unscaled"] == pytest.approx(2, rel=0.1)
        assert mine["slope"] == pytest.approx(1, rel=0.1)
        assert mine["slope"] == pytest.approx(mine["slope_unscaled"] / mine["scale"], rel=1e-6)
        assert 3 < mine["ratio"] < 9, "0.4 / 0.05 = 8 at the ends, less within the tenths"
        assert mine["spearman"] > 0.2


# Missing sensors


@pytest.mark.parametrize(("name", "how"), [("s2", "cloud"), ("s2", "haze"), ("s1", "interference")])
def test_a_spoilt_sensor_is_altered_in_physical_units_and_nothing_else(name, how):
    scene = simulate_scene(seed=1, size=(48, 48), modalities=("s2", "s1"), dates=2)
    before = scene[name].read(slice(None), slice(None))
    spoilt = missing._spoilt(scene[name], how, seed=0)
    after = spoilt.read(slice(None), slice(None))
    assert after.shape == before.shape
    assert spoilt.bands == scene[name].bands
    assert spoilt.grid == scene[name].grid
    np.testing.assert_array_equal(spoilt.times, scene[name].times)
    seen = np.isfinite(before)
    assert 0.01 < np.abs(after - before)[seen].mean() < (1 if name == "s2" else 10)
    np.testing.assert_array_equal(missing._spoilt(scene[name], how, seed=0).read(slice(None), slice(None)), after)
    np.testing.assert_array_equal(scene[name].read(slice(None), slice(None)), before)


def test_a_condition_leaves_out_the_places_without_its_sensor(monkeypatch, sensor_maps):
    """Three made-up places, two with a third sensor; every entry says which place it is of."""
    clean, split = sensor_maps
    third = np.random.default_rng(9).normal(size=clean["s1"].shape)
    asked = []

    def encoded(model, scene, condition, seed):
        asked.append((tuple(scene), condition))
        sensor, _, how = condition.partition(" ")
        there = [sensor] if how == "alone" else list(scene)
        maps = {n: {"dem": third, "l8": third, **clean}[n] for n in there}
        return {"fused": np.sum(list(maps.values()), axis=0), **maps}

    sensors = {"chile": ("s2", "s1", "dem"), "denmark": ("s2", "s1", "dem"), "belgium": ("s2", "s1", "l8")}
    monkeypatch.setattr(missing, "_read", lambda data, place, draws: (SimpleNamespace(scene=sensors[place]), split))
    monkeypatch.setattr(missing, "_encoded", encoded)
    monkeypatch.setattr(missing, "_features", lambda maps: maps)
    found = missing.missing(None, None, draws=3)
    assert [c for s, c in asked if s == sensors["belgium"]] == [c for c in missing.CONDITIONS if c != "dem alone"]
    assert {s for s, c in asked if c == "dem alone"} == {("s2", "s1", "dem")}
    for fusion in fusing.FUSIONS:
        assert list(found[fusion]) == list(missing.CONDITIONS)
        for condition, scores in found[fusion].items():
            places = [p for p in sensors if condition != "dem alone" or "dem" in sensors[p]]
            assert scores["place"] == [p for p in places for _ in range(3)]
            assert {len(values) for values in scores.values()} == {3 * len(places)}
    assert np.mean(found["late"]["s1 alone"]["balanced_accuracy"]) > 0.98
    assert abs(np.mean(found["late"]["dem alone"]["balanced_accuracy"]) - 0.5) < 0.1


@pytest.mark.real_data
def test_places_of_missing_sensors_have_three_each_in_physical_units(shared_data):
    classes = {
        "chile": {"water", "trees", "crops", "built", "rangeland"},
        "denmark": {"trees", "crops", "built", "rangeland"},
        "belgium": {"1110", "9120"},
    }
    third = {"chile": "dem", "denmark": "dem", "belgium": "l8"}
    assert [spec.name for spec in missing_tasks()] == list(classes)
    for spec in missing_tasks():
        task, split = missing._read(shared_data, spec.name, 2)
        assert set(task.classes.values()) == set(split.classes) == classes[spec.name]
        assert list(task.scene) == list(spec.modalities) == ["s2", "s1", third[spec.name]]
        assert missing._fits("dem alone", task) == (third[spec.name] == "dem")
        assert all(missing._fits(c, task) for c in missing.CONDITIONS if c != "dem alone")
        assert task.labels.shape == tuple(task.grid.shape) == tuple(task.scene["s2"].grid.shape)
        mean = {n: np.nanmean(m.read(slice(None), slice(None)), (0, 2, 3)) for n, m in task.scene.modalities.items()}
        assert 0.01 < mean["s2"][0] < 0.1, "blue is dark: no offset is left"
        assert -14 < mean["s1"][0] < -7
        low, high = {"chile": (100, 230), "denmark": (3, 10), "belgium": (280, 300)}[spec.name]
        assert low < mean[third[spec.name]][0] < high, "metres, or kelvins"
        assert len(split.draws) == 2
        assert all(draw.per_class == 50 for draw in split.draws)
    assert {len(m.times) for m in task.scene.modalities.values()} == {4}


@pytest.mark.real_data
def test_parcels_lie_on_the_pixels_of_their_crop(shared_data):
    """Late July in Belgium: winter wheat is ripe or cut, grass is green."""
    task, _ = missing._read(shared_data, "belgium", 2)
    red, near = task.scene["s2"].select_bands(["B04", "B08"]).read(slice(None), slice(None), time=2)[0]
    ndvi = (near - red) / (near + red)
    assert str(task.scene["s2"].times[2])[5:7] == "07"
    assert np.nanmedian(ndvi[task.labels == 9120]) > np.nanmedian(ndvi[task.labels == 1110]) + 0.2


# The run and its report


def planted_job(seed):
    return {
        "ownership": 0.9 + seed / 100, "corruption": 1.0, "unique": 0.7, "shared": 0.8, "supervised_unique": 0.8,
        "leaked": -0.01,
    }  # fmt: skip


def of_missing(draws):
    def scores(places):
        numbers = [0.5 + k / 100 for k in range(len(places) * draws)]
        where = [p for p in places for _ in range(draws)]
        return {**dict.fromkeys(("balanced_accuracy", "nll", "ece", "aurc"), numbers), "place": where}

    rest = dict.fromkeys(missing.CONDITIONS, scores(["chile", "belgium"])) | {"dem alone": scores(["chile"])}
    return dict.fromkeys(fusing.FUSIONS, rest)


MEASURES = ("corruption", "real_clouds", "retrieval", "missing", "claims", "calibrated")
ROWS = [Row("pmi", seed=s, source=f"pmi-seed{s}", identity=f"hash{s}") for s in (0, 1)]
ROWS += [Row("untrained", seed=0), Row("mine", source="mine", identity="hash-mine")]
NAMES = ["our encoder, PMI, seed 0", "our encoder, PMI, seed 1", "mine"]


@pytest.fixture
def toys(monkeypatch, tmp_path, model, windows, others, series, measured):
    """A run over two made-up places and a tiny encoder under three names, whose numbers were made before."""
    data = tmp_path / "data"
    (data / "terramind-chips").mkdir(parents=True)
    (data / "terramind-chips" / "a.txt").write_text("planted")
    monkeypatch.setattr(partial, "real_windows", lambda _, role, dates: windows if role == "test" else others)
    monkeypatch.setattr(partial, "series_windows", lambda _, role: series if role == "test" else None)
    monkeypatch.setattr(partial, "find_models", lambda _: (ROWS, []))
    monkeypatch.setattr(partial, "load", lambda _: model)
    monkeypatch.setattr(
        partial, "_planted",
        lambda quick: [
            (("planted", o, str(s)), ["planted", o, s], lambda s=s: planted_job(s))
            for o in ("pmi", "csd") for s in range(1 if quick else 3)
        ],
    )  # fmt: skip

    def stub(name, *places):
        def known(_, *given):
            assert [id(g) for g in given] == [id(p) for p in places], f"{name} is measured on other places"
            return measured[name]

        monkeypatch.setattr(partial, name, known)

    stub("corruption", windows, series)
    stub("retrieval", windows)
    stub("claims", windows)
    stub("calibrated", windows, others)
    clouds = {"auroc": 0.9, "cloudy": 0.4, "by_date": {"2015-07-11": 0.3, "2015-07-31": 0.8}}
    monkeypatch.setattr(partial, "real_clouds", lambda model, data: clouds)
    monkeypatch.setattr(partial, "missing", lambda model, data, draws: of_missing(draws))
    return data


def evaluate(data, out, **kwargs):
    return partial.run(data, out=out, progress=False, command="georeset evaluate partial", **kwargs)


def forbid(monkeypatch, *names):
    for name in names:
        monkeypatch.setattr(partial, name, lambda *_, **__: pytest.fail("a finished number was computed again"))


def count(monkeypatch):
    calls = []
    for name in MEASURES:
        real = getattr(partial, name)
        monkeypatch.setattr(partial, name, lambda *a, n=name, f=real, **k: calls.append(n) or f(*a, **k))
    return calls


def table_rows(markdown, title):
    """First cells of the table under a heading."""
    section = markdown.split(f"## {title}", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1, "a table has one width"
    return [line.split("|")[1].strip() for line in lines[2:]]


def test_a_run_writes_both_files_and_every_table_has_a_row_for_every_encoder(toys, tmp_path):
    found = evaluate(toys, tmp_path / "out")
    assert [p.name for p in found.paths] == ["partial.md", "partial.json"]
    text = found.paths[0].read_text(encoding="utf-8")
    assert text == found.markdown
    assert json.loads(found.paths[1].read_text(encoding="utf-8")) == found.numbers
    assert list(found.numbers["encoders"]) == NAMES, "rows without weights of their own are left out"
    assert all(tuple(parts) == partial.PARTS for parts in found.numbers["encoders"].values())
    assert table_rows(text, "Planted truth") == ["pmi (3 seeds)", "csd (3 seeds)"]
    kinds = list(found.numbers["encoders"]["mine"]["corruption"])
    assert table_rows(text, "Encoders side by side") == ["our encoder, PMI (2 seeds)", "mine"]
    families = ["our encoder, PMI (2 seeds)", "mine"]
    assert table_rows(text, "Corruption of real windows") == [
        *families, *(row for _ in families for row in ("corruption", "---", *kinds))
    ]  # fmt: skip
    assert [f for f in families if f"**{f}**" in text] == families
    assert table_rows(text, "Real clouds in Slovenia") == NAMES
    assert table_rows(text, "Radar finds its optical twin") == [n for n in NAMES for _ in retrieval.LEVELS]
    assert table_rows(text, "What each sensor claims") == [n for n in NAMES for _ in range(3 * 4)]
    assert table_rows(text, "Realised against predicted error") == [n for n in NAMES for _ in range(2)]
    assert [name for name in NAMES if f"**{name}**" in text] == NAMES
    assert text.count("| product |") == len(NAMES)
    assert text.count("| late |") == 2 * len(NAMES), "its scores, and what it loses more than the product"
    assert text.count("| dem alone (chile) |") == len(NAMES), "it is said where a condition was not everywhere"
    about = found.numbers["about"]
    assert about["command"] in text
    assert about["places"] == ["place 1", "place 2"]
    assert about["scale_fitted_on"] == ["place 3", "place 4", "place 5"]
    assert not about["quick"]
    assert len(about["code"]) == 16
    assert "never trained on: place 1, place 2." in text
    assert about["windows"] == [8, 12, 4]
    assert "8 windows of these places, 4 of several dates, 12 to fit the scale on." in text


def test_numbers_of_the_report_are_those_that_were_found(toys, tmp_path):
    found = evaluate(toys, None)
    assert found.paths == ()
    cells = {name: line for name in NAMES for line in found.markdown.splitlines() if line.startswith(f"| {name} |")}
    mine = found.numbers["encoders"]["mine"]["calibration"]["fused"]
    assert cells["mine"].endswith(f"| {mine['ratio']:.1f} | {mine['spearman']:.2f} |")
    assert "| pmi (3 seeds) | .910 ±.025 | 1.000 ±.000 |" in found.markdown
    assert "(40 % are cloud" in found.markdown
    mine = found.numbers["encoders"]["mine"]["corruption"]["s2/dates"]
    cells = [f"{mine[k]:.2f}" for k in ("strength_variance", "within", "strength_error", "variance_error")]
    alone = found.markdown.split("**mine**")[1]
    assert f"| s2/dates | {' | '.join(cells)} |" in alone


def test_encoders_side_by_side_are_their_own_means(toys, tmp_path):
    found = evaluate(toys, None)
    parts = found.numbers["encoders"]["mine"]
    row = next(line for line in found.markdown.split("side by side")[1].splitlines() if line.startswith("| mine |"))
    cells = [cell.strip() for cell in row.split("|")[2:-1]]
    kinds = parts["corruption"].values()
    clean = parts["missing"]["product"]["clean"]["balanced_accuracy"]
    assert cells[0] == f"{np.mean([k['strength_variance'] for k in kinds]):.2f}"
    assert cells[2] == f"{parts['clouds']['auroc']:.2f}"
    assert cells[4] == f"{np.mean(clean):.2f}"
    assert cells[-2:] == [f"{parts['calibration']['fused'][k]:.2f}" for k in ("slope", "ratio")]


def test_what_no_seed_has_is_shown_as_absent():
    assert partial_report._over_seeds([np.nan, np.nan]) == "-"
    assert partial_report._over_seeds([0.5, np.nan]) == "0.50"


def test_seeds_of_a_family_are_shown_as_mean_and_spread():
    def scores(value):
        return {"corruption": {k: dict.fromkeys(AGREEMENT, value) for k in ("s2/cloud", "s1/blur")}}

    found = {f"ours, seed {s}": scores(v) for s, v in enumerate((0.5, 0.6, 0.7))} | {"theirs": scores(-0.25)}
    text = partial_report._corruption(found)
    assert text.count("0.60 ±0.10") == 4 * 3, "four numbers in the means and for each of two kinds"
    assert text.count("-0.25") == 4 * 3
    assert "| ours (3 seeds) |" in text
    assert "| theirs |" in text


def test_a_second_run_reads_every_number_back_and_writes_the_same(toys, tmp_path, monkeypatch):
    one = evaluate(toys, tmp_path / "out")
    assert len(list((tmp_path / "out" / "parts").glob("*.json"))) == 2 * 3 + 3 * 6
    forbid(monkeypatch, *MEASURES, "load", "run_planted")
    two = evaluate(toys, tmp_path / "out")
    assert two.markdown == one.markdown
    assert two.numbers == one.numbers


def test_a_run_that_was_stopped_goes_on_where_it_was(toys, tmp_path, monkeypatch):
    calls, real = count(monkeypatch), partial.calibrated

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(partial, "calibrated", stopped)
    with pytest.raises(KeyboardInterrupt):
        evaluate(toys, tmp_path / "out")
    assert calls == list(MEASURES[:-1])
    monkeypatch.setattr(partial, "calibrated", real)
    evaluate(toys, tmp_path / "out")
    assert calls[5:] == ["calibrated", *MEASURES, *MEASURES]


def test_a_damaged_number_is_computed_again(toys, tmp_path, monkeypatch):
    one = evaluate(toys, tmp_path / "out")
    for path in (tmp_path / "out" / "parts").glob("*.json"):
        if "R@1" in path.read_text(encoding="utf-8"):
            path.write_text(path.read_text(encoding="utf-8").replace("0.", "1.", 1), encoding="utf-8")
    calls = count(monkeypatch)
    assert evaluate(toys, tmp_path / "out").numbers == one.numbers
    assert calls == ["retrieval"] * 3


@pytest.mark.parametrize("what", ["data", "weights", "code"])
def test_what_changed_is_computed_anew(toys, tmp_path, monkeypatch, what):
    evaluate(toys, tmp_path / "out")
    calls = count(monkeypatch)
    if what == "data":
        (toys / "terramind-chips" / "a.txt").unlink()
    if what == "weights":
        monkeypatch.setattr(partial, "find_models", lambda _: ([*ROWS[:3], replace(ROWS[3], identity="new")], []))
    if what == "code":
        monkeypatch.setattr(partial, "code_identity", lambda *_: "another")
    evaluate(toys, tmp_path / "out")
    assert len(calls) == (6 if what == "weights" else 18)


def test_quick_asks_for_less(toys, tmp_path, monkeypatch):
    asked, seen, real = [], [], partial.real_windows
    monkeypatch.setattr(partial, "real_windows", lambda d, r, *, dates: seen.append(dates) or real(d, r, dates=dates))
    monkeypatch.setattr(partial, "find_models", lambda folder: asked.append(folder) or (ROWS, []))
    found = evaluate(toys, tmp_path / "out", models=tmp_path, quick=True)
    evaluate(toys, tmp_path / "out", models=tmp_path)
    assert asked == [None, tmp_path]
    assert seen == [1, 1, 4, 4]
    assert found.numbers["about"]["quick"]
    assert list(found.numbers["planted"]["pmi"]) == ["0"]
    assert len(found.numbers["encoders"]["mine"]["missing"]["late"]["clean"]["nll"]) == 4


@pytest.mark.parametrize(("quick", "seeds", "steps"), [(True, 1, 300), (False, 5, 1500)])
def test_planted_jobs_are_all_objectives_and_seeds_each_with_its_own(monkeypatch, quick, seeds, steps):
    asked = []

    def note(objective, seed, *, steps):
        asked.append((objective, str(seed), steps))
        return partial_of_planted

    partial_of_planted = partial.run_planted.__globals__["Planted"](*[0.5] * 6)
    monkeypatch.setattr(partial, "run_planted", note)
    jobs = list(partial._planted(quick))
    assert len({json.dumps(identity) for _, identity, _ in jobs}) == len(jobs) == seeds * len(partial.CONTRASTS)
    for where, identity, make in jobs:
        assert make()["ownership"] == 0.5
        assert asked[-1] == (*where[1:], steps)
        assert identity[1:] == [where[1], int(where[2]), steps]


@pytest.mark.real_data
@pytest.mark.slow
def test_a_real_quick_run_is_whole_and_is_read_back(shared_data, tmp_path, monkeypatch, model):
    row = Row("tiny", source="tiny", identity="1")
    monkeypatch.setattr(partial, "find_models", lambda _: ([row], []))
    monkeypatch.setattr(partial, "load", lambda _: model)
    real = partial.run_planted
    monkeypatch.setattr(partial, "run_planted", lambda o, s, *, steps: real(o, s, steps=3))
    one = evaluate(shared_data, tmp_path / "out", quick=True)
    assert list(one.numbers["planted"]) == list(partial.CONTRASTS)
    (parts,) = one.numbers["encoders"].values()
    assert list(parts) == list(partial.PARTS)
    view = real_windows(shared_data, "test").views["s2"]
    assert [k for k in parts["corruption"] if k.startswith("s2/")] == [f"s2/{k}" for k in (*kinds_for(view), "dates")]
    assert "s1/dates" in parts["corruption"]
    assert parts["retrieval"]["windows"] == 46, "one date of each ground"
    assert one.numbers["about"]["windows"] == [46, 87, 9]
    assert len(parts["clouds"]["by_date"]) == 5
    for fusion in fusing.FUSIONS:
        for condition in missing.CONDITIONS:
            scores = parts["missing"][fusion][condition]
            places = ["chile", "denmark"] if condition == "dem alone" else ["chile", "denmark", "belgium"]
            assert scores["place"] == [p for p in places for _ in range(2)]
            assert {len(values) for values in scores.values()} == {2 * len(places)}, "two draws of each place"
            assert all(0 <= v <= 1 for v in scores["balanced_accuracy"])
    assert 1 <= len(parts["calibration"]["expert"]["scales"]) <= 9, (
        "of the places where this tiny encoder settles anything"
    )
    forbid(monkeypatch, *MEASURES, "load", "run_planted")
    two = evaluate(shared_data, tmp_path / "out", quick=True)
    assert two.markdown == one.markdown
    np.testing.assert_equal(two.numbers, one.numbers)
