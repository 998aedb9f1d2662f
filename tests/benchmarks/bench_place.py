"""How fast the views of one place answer, and which rule for several examples finds most.

    python tests/benchmarks/bench_place.py [FOLDER of terramind-chips] [--rules]

Python's side only, without a browser: a switch of `CertaintyView`, a click and a brush of `PlaceView`, a click of
`SimilarPanel`, on the Chile chip (50 k pixels x 64) and on the same tiled to 1 million pixels; medians. ``--rules`` prints
instead the mean average precision of the rules for examples for and against, on the Chile and the Denmark chip.
"""

from __future__ import annotations

import os
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")

import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from odc.geo.geobox import GeoBox
from scipy.special import logsumexp

from georeset_lab.data.load import load_scene
from georeset_lab.data.scene import Scene
from georeset_lab.embed.embeddings import Embeddings, Expert
from georeset_lab.embed.encode import encode
from georeset_lab.embed.finding.examples import combine
from georeset_lab.widgets.certainty_view import CertaintyView
from georeset_lab.widgets.place_view import PlaceView
from georeset_lab.widgets.similar_panel import SimilarPanel
from georeset_lab.widgets.state import Exploration

CHIPS = {"Chile": "433D_629L_3_1", "Denmark": "637U_59R_1_3"}
SENSORS = {"s2": "sentinel-2-l2a", "s1": "sentinel-1-rtc"}


def open_chip(folder: Path, name: str) -> Scene:
    """Sentinel-2 and Sentinel-1 of a chip."""
    files = {"s2": folder / CHIPS[name] / "S2L2A.tif", "s1": folder / CHIPS[name] / "S1RTC.tif"}
    return load_scene(files, sensors=SENSORS, time={"s2": "2020-04-08"})


def tiled(emb: Embeddings, side: int) -> Embeddings:
    """The same map again and again, side x side pixels."""
    times = -(-side // min(emb.shape))
    experts = {
        n: Expert(*(np.ascontiguousarray(np.tile(a, (times, times, 1))[:side, :side]) for a in e.read()))
        for n, e in emb.experts.items()
    }
    return Embeddings(experts, GeoBox((side, side), emb.grid.affine, emb.grid.crs))


def median_ms(act: Callable[[int], object], repeats: int = 9) -> float:
    """Median time of an act, which is told how often it was done; the first time does not count."""
    took = []
    for i in range(repeats + 1):
        start = time.perf_counter()
        act(i)
        took.append(1000 * (time.perf_counter() - start))
    return float(np.median(took[1:]))


def speeds(emb: Embeddings, scene: Scene | None) -> dict[str, float]:
    """Medians in ms of what a user does."""
    height, width = emb.shape
    rng = np.random.default_rng(0)
    places = rng.integers(0, height, 60), rng.integers(0, width, 60)
    out = {}
    one = Exploration(emb, scene)
    view = CertaintyView(one)
    out["switch a modality"] = median_ms(lambda i: view.heard("present", "s2", checked=bool(i % 2), at=None))
    one.present = emb.modalities
    out["click, matrix"] = median_ms(lambda i: setattr(one, "point", one.place_of(places[0][i], places[1][i])))
    half = np.arange(height * width // 2)
    out["brush half the map, matrix"] = median_ms(lambda i: setattr(one, "selected", half[i:]))
    two = Exploration(emb, scene)
    PlaceView(two)
    out["click, place"] = median_ms(lambda i: setattr(two, "point", two.place_of(places[0][i], places[1][i])))
    out["brush half the map, place"] = median_ms(lambda i: setattr(two, "selected", half[i:]))
    three = Exploration(emb, scene)
    panel = SimilarPanel(three)

    def one_example(i: int) -> None:
        panel.examples.clear()
        place = three.place_of(places[0][i], places[1][i])
        panel.add((place.lon, place.lat))

    out["click, first example"] = median_ms(one_example)
    out["click, one more example"] = median_ms(
        lambda i: panel.add(
            (three.place_of(places[0][30 + i], 0).lon, three.place_of(places[0][30 + i], places[1][i]).lat)
        )
    )
    return out


def rules(emb: Embeddings, codes: np.ndarray, draws: int) -> dict[tuple[int, str], float]:
    """Mean average precision by number of examples on each side and rule; examples against are of the best wrong hits."""
    from sklearn.metrics import average_precision_score

    mean, variance, _ = (a.astype(np.float64) for a in emb.vectors())
    rng = np.random.default_rng(0)
    test = rng.choice(len(mean), 8000, replace=False)
    found: dict[tuple[int, str], list[float]] = {}
    for _ in range(draws):
        for code in np.unique(codes):
            if (codes == code).sum() <= 800:
                continue
            truth = codes[test] == code
            for n in (1, 2, 4):
                likes = [
                    pmi(mean, variance, i, test) for i in rng.choice(np.flatnonzero(codes == code), n, replace=False)
                ]
                alone = combine(likes, [], score="pmi")
                wrong = np.flatnonzero(~truth)
                hard = test[rng.choice(wrong[np.argsort(-alone[wrong])[:100]], n, replace=False)]
                unlikes = [pmi(mean, variance, i, test) for i in hard]
                against = logsumexp(unlikes, axis=0) - np.log(n)
                scores = {
                    "examples for alone": alone,
                    "ours": combine(likes, unlikes, score="pmi"),
                    "subtracted": alone - against,
                }
                for name, score in scores.items():
                    found.setdefault((n, name), []).append(average_precision_score(truth, score))
    return {key: float(np.mean(values)) for key, values in found.items()}


def pmi(mean: np.ndarray, variance: np.ndarray, query: int, pixels: np.ndarray) -> np.ndarray:
    """methods.md section 2, (n,), of one pixel with others."""
    l1, l2 = 1 / variance[query], 1 / variance[pixels]
    e1, e2 = mean[query] * l1, mean[pixels] * l2
    both = l1 + l2 - 1
    terms = np.log(l1) + np.log(l2) - np.log(both) + (e1 + e2) ** 2 / both - e1**2 / l1 - e2**2 / l2
    return np.asarray(0.5 * terms.sum(axis=1))


def main() -> None:
    """Print the table."""
    warnings.simplefilter("ignore")
    given = [a for a in sys.argv[1:] if not a.startswith("--")]
    folder = Path(given[0]) if given else Path(__file__).parents[3] / "shared" / "data" / "terramind-chips"
    if "--rules" in sys.argv:
        import rasterio

        for name in CHIPS:
            emb = encode(open_chip(folder, name), progress=False)
            with rasterio.open(folder / CHIPS[name] / "LULC.tif") as file:
                codes = file.read(1).ravel()
            for (n, rule), value in rules(emb, codes, draws=8).items():
                print(f"{name:8} {n} and {n}  {rule:20} {value:.3f}")
        return
    scene = open_chip(folder, "Chile")
    emb = encode(scene, progress=False)
    print(f"load average {os.getloadavg()[0]:.1f}")
    columns = [speeds(emb, scene), speeds(tiled(emb, 1000), None)]
    print(f"{'ms, median of 9':30}{'50 k pixels':>12}{'1 M pixels':>12}")
    for name in columns[0]:
        print(f"{name:30}" + "".join(f"{c[name]:12.0f}" for c in columns))


if __name__ == "__main__":
    main()
