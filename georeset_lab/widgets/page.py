"""`build_page`: one self-contained HTML file that shows a scene, its embeddings and what was found in them.

Pieces are in ``page_parts.py``, pictures in ``page_images.py``, sections in ``page_sections.py``; what is around them, and
why no request leaves the page, in ``page_frame.py``. The page of an `Explorer` is made in ``page_export.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from georeset_lab.embed.latent.project import UmapWorker, sample_points
from georeset_lab.embed.locate import lonlat_of
from georeset_lab.embed.pictures.colours import pca_axes, pca_rgb
from georeset_lab.widgets import page_images as images
from georeset_lab.widgets import page_parts as parts
from georeset_lab.widgets import page_sections as sections
from georeset_lab.widgets.page_frame import fill_template, page_facts, provenance_rows
from georeset_lab.widgets.page_images import Canvas
from georeset_lab.widgets.page_report import probe_section
from georeset_lab.widgets.page_sections import Page

if TYPE_CHECKING:
    import xarray as xr

    from georeset_lab.data.scene import Scene
    from georeset_lab.embed.embeddings import Embeddings
    from georeset_lab.embed.probe import Probe
    from georeset_lab.embed.search import Similar

UMAP_SECONDS = 20.0
"""How long the page waits for UMAP after the vectors are there; then it says that it shows PCA alone."""


def build_page(
    scene: Scene,
    emb: Embeddings,
    *,
    hits: Similar | None = None,
    query: tuple[float, float] | None = None,
    query_note: str = "the place asked for",
    probe: Probe | None = None,
    prediction: xr.Dataset | None = None,
    umap: UmapWorker | None = None,
    timings: Mapping[str, float] | None = None,
    seed: int = 0,
) -> str:
    """HTML of a page that stands alone.

    Parameters
    ----------
    scene : Scene
        What was encoded.
    emb : Embeddings
        What came out.
    hits : Similar, optional
        Places found; ``query`` is where was pointed at, (lon, lat), and ``query_note`` a few words on it.
    probe, prediction : Probe and Dataset, optional
        A fitted probe and its ``predict(emb)``.
    umap : UmapWorker, optional
        A worker that was started earlier; without it the page has PCA alone and says so.
    timings : mapping of step to seconds, optional
        Shown in the header and footer.
    seed : int
        Drives which points are drawn.

    Returns
    -------
    str
        About a megabyte for a scene of 200 x 200 pixels. Every text that comes from data is escaped.
    """
    page = _shared(scene, emb)
    picked = sample_points(emb.observed, seed=seed)
    vectors = _vectors(emb, picked)
    if umap is not None:
        umap.give(vectors, seed=seed)
    made = {"scene": sections.scene_section(page, scene, 1)}
    made["certainty"] = sections.certainty_section(page, emb, 3)
    if hits is not None:
        made["similar"] = sections.similar_section(page, emb, hits, query, query_note, len(made) + 2)
    if probe is not None and prediction is not None:
        made["probe"] = probe_section(page, probe, prediction, scene, len(made) + 2)
    middle = lonlat_of(emb.grid, *((n - 1) / 2 for n in emb.grid.shape))
    made["next"] = sections.next_section(scene, query or (float(middle[0]), float(middle[1])), len(made) + 2)
    # Last, so that UMAP has had the time of all the others.
    plots = _plots(page, vectors, picked, prediction, probe, umap)
    made["embedding"] = sections.embedding_section(page, emb, plots, 2)
    return _fill(page, scene, emb, made, dict(timings or {}))


def _shared(scene: Scene, emb: Embeddings) -> Page:
    canvas = Canvas.of(emb)
    height, width = canvas.shape
    box = emb.grid.boundingbox
    flat, seen = canvas.mean.reshape(-1, emb.dim), canvas.observed.ravel()
    colours, share = pca_rgb(flat, seen, canvas.shape), pca_axes(flat, seen)[2]
    ground = parts.Ground(height, width, box.right - box.left)
    backdrop = _backdrop(canvas, scene)
    return Page(canvas, ground, colours, share, colours if backdrop is None else backdrop)


def _backdrop(canvas: Canvas, scene: Scene) -> np.ndarray | None:
    """True colour of the sharpest optical modality, or None if there is none."""
    for modality in sorted((scene[name] for name in scene), key=lambda m: m.pixel_m):
        bands = images.nearest_bands(modality, (0.665, 0.56, 0.49), within_um=0.05)
        if bands is not None:
            return images.natural(canvas.read(modality, bands, images.best_date(modality)))
    return None


def _vectors(emb: Embeddings, picked: np.ndarray) -> np.ndarray:
    out = np.empty((len(picked), emb.dim), np.float32)
    for index, mean, _, _ in emb.blocks():
        flat = np.arange(index.start, index.stop) if isinstance(index, slice) else index
        at = np.searchsorted(picked, flat)
        hit = (at < len(picked)) & (picked[np.minimum(at, len(picked) - 1)] == flat)
        out[at[hit]] = mean[hit]
    return out


def _plots(
    page: Page,
    vectors: np.ndarray,
    picked: np.ndarray,
    prediction: xr.Dataset | None,
    probe: Probe | None,
    umap: UmapWorker | None,
) -> str:
    width = page.canvas.grid.shape[1]
    rows, cols = np.divmod(picked, width)
    places = np.stack([(cols + 0.5) / width, (rows + 0.5) / page.canvas.grid.shape[0]], axis=1)
    names: list[str] = []
    if prediction is not None and probe is not None:
        names = [str(c) for c in probe.classes_]
        rgb = images.class_colours(names)
        codes = np.asarray(prediction["label"].values).ravel()[picked]
        colours = images.hexes(np.where(codes[:, None] >= 0, rgb[np.maximum(codes, 0)], 128))
        meaning = "coloured by the probe's class"
    else:
        h, w = page.canvas.shape
        at = (np.minimum((places[:, 1] * h).astype(int), h - 1), np.minimum((places[:, 0] * w).astype(int), w - 1))
        colours = images.hexes(page.colours[at])
        meaning = "coloured as on the map"
    center, directions, share = pca_axes(vectors, np.ones(len(vectors), bool), 2)
    xy = (vectors - center) @ directions
    note = f"{len(picked):,} pixels, {meaning}; the axes hold {100 * share.sum():.0f} % of the spread"
    axes = (f"component 1, {100 * share[0]:.0f} %", f"component 2, {100 * share[1]:.0f} %")
    drawn = parts.scatter(xy, colours, places, title="PCA", note=note, axes=axes)
    layout = None if umap is None else umap.result(within_s=UMAP_SECONDS)
    if layout is not None:
        note = f"the same pixels; neighbours stay neighbours, distances between groups mean little; {meaning}"
        drawn += parts.scatter(layout, colours, places, title="UMAP", note=note, axes=None)
    else:
        why = "was not asked for" if umap is None else f"was not ready within {UMAP_SECONDS:.0f} s"
        drawn += f'<p class="note"><b>PCA alone</b>: UMAP {why}.</p>'
    key = parts.legend(names, images.hexes(images.class_colours(names))) if names else ""
    intro = "<h3>The same pixels without the map</h3>" + key
    return f'{intro}<div class="maps plots">{drawn}</div>'


_NAMES = {
    "scene": "Scene", "embedding": "Embedding", "certainty": "Certainty", "similar": "Similar places",
    "probe": "Labelled map", "next": "Try next",
}  # fmt: skip


def _fill(page: Page, scene: Scene, emb: Embeddings, made: Mapping[str, str], timings: dict[str, float]) -> str:
    order = [key for key in _NAMES if key in made]
    height, width = emb.grid.shape
    corners = [lonlat_of(emb.grid, r, c) for r in (-0.5, height - 0.5) for c in (-0.5, width - 0.5)]
    seen = ", ".join(images.label_of(n) for n in emb.modalities)
    return fill_template(
        title=scene.name,
        headline=f"What {len(emb.modalities)} sensors know about one place" if len(emb.modalities) > 1 else scene.name,
        lead=f"Scene “{scene.name}”, seen by {seen}. Each pixel became an embedding that knows how sure it is; below is "
        "what was measured, what the encoder made of it, and what a few labels turn that into.",
        facts=page_facts(emb, timings),
        sections={key: (_NAMES[key], made[key]) for key in order},
        provenance=provenance_rows(emb, scene, timings),
        data={"tables": page.tables, "corners": [[round(float(v), 7) for v in pair] for pair in corners]},
    )
