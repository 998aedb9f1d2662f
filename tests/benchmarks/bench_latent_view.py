"""The latent view at 50 thousand and a million points: PCA, lasso and colours in Python, painting in Chromium.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.bench_latent_view [store.zarr]

Needs Chromium. The store gives the vectors (a simulated scene is encoded without one); the million are its pixels again
and again with noise. Painting is one frame of a plot of 860 x 360 pixels, timed in the page.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

REPEATS, FRAMES = 5, 30
NAMES = (
    "css", "points", "frame", "colours", "palette", "legend", "marked", "ring", "busy", "note", "plane", "choices",
    "colour_by", "height",
)  # fmt: skip
FAKE_MODEL = """
const hears = {};
const model = {
  get: (n) => window.traits[n], set() {}, save_changes() {}, send() {}, off() {},
  on: (n, does) => (hears[n] ??= []).push(does),
};
render({ model, el: document.body });
"""
TURN = """async (frames) => {
  const over = document.querySelector('.lv-over'), root = document.querySelector('.lv'), spent = [];
  for (let i = 0; i < frames; i++) {
    over.dispatchEvent(new WheelEvent('wheel', { deltaY: i % 2 ? 8 : -8, clientX: 300, clientY: 200, cancelable: true }));
    await new Promise((next) => requestAnimationFrame(() => requestAnimationFrame(next)));
    spent.push(Number(root.dataset.paintMs));
  }
  return spent;
}"""


def timed(does: Callable[[], Any], repeats: int = REPEATS) -> str:
    """Median wall and CPU milliseconds."""
    wall, cpu = [], []
    for _ in range(repeats):
        starts = time.perf_counter(), time.process_time()
        does()
        wall.append(time.perf_counter() - starts[0])
        cpu.append(time.process_time() - starts[1])
    return f"{1e3 * np.median(wall):8.0f} ms wall {1e3 * np.median(cpu):8.0f} ms CPU"


def bench(name: str, emb: Any) -> Any:
    """Python's part; returns the view."""
    from georeset_lab.widgets.latent_view import LatentView
    from georeset_lab.widgets.state import Exploration

    state = Exploration(emb)
    print(f"\n{name}; load {os.getloadavg()[0]:.1f}")
    made: list[Any] = []
    print(f"  {'view with PCA':<28}{timed(lambda: made.append(LatentView(state, cache=None, plane='pca')), 2)}")
    view = made[-1]
    xy = view._map.shown("pca")[1]
    middle, angle = np.median(xy, axis=0), np.linspace(0, 2 * np.pi, 200)
    radius = np.median(np.linalg.norm(xy - middle, axis=1)) * (1 + 0.2 * np.sin(7 * angle))
    line = np.stack([middle[0] + radius * np.cos(angle), middle[1] + radius * np.sin(angle)], axis=1).tolist()
    print(f"  {'lasso of half the points':<28}{timed(lambda: view._hear(None, {'type': 'lasso', 'line': line}, None))}")
    state.selected = None
    for key in ("certainty:fused", "place"):
        view.colour_by = "knows" if "knows" in dict(view.choices) else "place"
        print(f"  {'colour by ' + key:<28}{timed(lambda k=key: setattr(view, 'colour_by', k), 1)}")
    print(f"  {'sent: positions, colours':<28}{len(view.points) / 1e6:8.2f} MB {len(view.colours) / 1e6:13.2f} MB")
    return view


def paint(view: Any, page: Any, what: str) -> None:
    """The browser's part."""
    traits = json.dumps({name: getattr(view, name) for name in NAMES})
    script = view._esm.replace("export default { render };", FAKE_MODEL)
    page.set_content("<body></body>")
    page.evaluate(f"window.traits = {traits}")
    page.add_script_tag(content=script, type="module")
    page.wait_for_function("document.querySelector('.lv')?.dataset.paintMs > 0")
    spent = page.evaluate(TURN, FRAMES)
    print(f"  {'paint, ' + what:<28}{np.median(spent):8.0f} ms wall, best {min(spent):.0f}, worst {max(spent):.0f}")


def main(store: str | None) -> None:
    from playwright.sync_api import sync_playwright

    import georeset_lab as gl
    from tests.benchmarks.bench_search import embeddings_of
    from tests.widgets.lab import FLAGS, chromium

    emb = gl.open_embeddings(store) if store else gl.encode(gl.load_scene("simulated"), progress=False)
    mean, variance, _ = emb.vectors()
    noise = np.random.default_rng(0).standard_normal((1_000_000, mean.shape[1]), np.float32) / 10
    many = np.resize(mean, noise.shape) + noise
    views = {"a scene": bench(f"{len(mean):,} pixels", emb)}
    large = embeddings_of(many, np.ascontiguousarray(np.resize(variance, noise.shape)), (1000, 1000))
    views["a million"] = bench("1,000,000 pixels", large)
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium(), args=list(FLAGS))
        page = browser.new_page(viewport={"width": 1100, "height": 600})
        print(f"\nChromium; load {os.getloadavg()[0]:.1f}")
        for name, view in views.items():
            paint(view, page, name)
            view._state.selected = view._map.pixels[::2]
            paint(view, page, f"{name}, half selected")
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
