"""The labelled map of the page: class, probability, why it is unsure, and the report beside its baselines."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from georeset_lab.embed.pictures.colours import certainty_palette
from georeset_lab.widgets import page_images as images
from georeset_lab.widgets import page_parts as parts
from georeset_lab.widgets.page_parts import Map
from georeset_lab.widgets.page_sections import truth_codes

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from georeset_lab.data.scene import Scene
    from georeset_lab.embed.probe import Probe
    from georeset_lab.widgets.page_sections import Page

_METRICS = {
    "balanced_accuracy": ("balanced accuracy", "higher is better"),
    "macro_f1": ("macro-F1", "higher is better"),
    "nll": ("log loss", "nats; lower is better"),
    "ece": ("calibration error", "lower is better"),
}

_WHY = {
    "input_uncertainty": ("Doubt of the encoder", "another sensor or date would help here"),
    "weight_uncertainty": ("Doubt of few labels", "more labels would help here"),
}


def probe_section(page: Page, probe: Probe, prediction: xr.Dataset, scene: Scene, number: int) -> str:
    """Class map, how probable it is and why not more, and the report with its baselines."""
    names = [str(c) for c in probe.classes_]
    codes = page.canvas.take(np.asarray(prediction["label"].values)).astype(np.int64)
    items = [Map("Class", "the most probable one", page.class_map("class", codes, names), "Map of classes", "class")]
    best = page.canvas.take(np.asarray(prediction["probability"].values).max(axis=0))
    note = f"of that class; mean {np.nanmean(best):.2f}" if np.isfinite(best).any() else "nothing was measured"
    url = page.value_map("probability", "probability", best, (0, 1))
    items.append(Map("Probability", note, url, "Map of the probability of the most probable class", "probability"))
    share = [f"{100 * (codes == i).sum() / max((codes >= 0).sum(), 1):.0f} %" for i in range(len(names))]
    key = parts.legend(names, images.hexes(images.class_colours(names)), share, title="Share of the map")
    colours = images.hexes(certainty_palette())
    bar = parts.colour_bar(
        colours, "0 · unsure", "1 · sure", "Probability. Doubt is drawn the other way round: dark = much."
    )
    body = parts.maps(items, page.ground, kind="big")
    body += parts.maps(_doubts(page, prediction), page.ground, kind="three more", after=key) + bar
    body += _report(probe) + _against_truth(page, scene, codes, names)
    lead = (
        "A few labels and a small classifier on the frozen embeddings give a map with probabilities, and say whether "
        "another sensor or more labels would help."
    )
    return parts.section(number, "probe", "A labelled map", lead, body)


def _doubts(page: Page, prediction: xr.Dataset) -> list[Map]:
    """Both reasons for doubt on one scale, dark = much; empty if the prediction carries none."""
    if not all(name in prediction for name in _WHY):
        return []
    values = {name: page.canvas.take(np.asarray(prediction[name].values)) for name in _WHY}
    finite = np.concatenate([v[np.isfinite(v)] for v in values.values()])
    top = float(np.percentile(finite, 98)) if finite.size else 1.0
    found = []
    for name, (title, what) in _WHY.items():
        url = page.value_map(name, title.lower(), values[name], (0, max(top, 1e-3)), certainty_palette()[::-1])
        found.append(Map(title, f"{what}; standard deviation of the winning logit, 0 to {top:.1f}", url, title, name))
    return found


def _report(probe: Probe) -> str:
    report = probe.report
    head = ["what the classifier sees"]
    shown = [m for m in _METRICS if m in report]
    head += [f"{_METRICS[m][0]}<br><small>{_METRICS[m][1]}</small>" for m in shown]
    rows = [[escape(str(name)), *(_cell(row, m) for m in shown)] for name, row in report.iterrows()]
    first = report.iloc[0]
    text = f"{first['labels']:.0f} labelled pixels, {first['folds']:.0f} spatial folds; mean ± standard deviation."
    notes = [text, "The baselines see the same pixels, labels and folds.", *_sentences(report.attrs.get("notes", []))]
    below = f'<p class="lead small">{escape(" ".join(notes))}</p>'
    return f"<h3>Scores on ground it was not fitted on</h3>{parts.table(head, rows, ours={0})}{below}"


def _sentences(notes: Iterable[Any]) -> list[str]:
    texts = [str(note).strip().rstrip(".") for note in notes]
    return [text[:1].upper() + text[1:] + "." for text in texts if text]


def _cell(row: pd.Series, metric: str) -> str:
    value, spread = row[metric], row.get(f"{metric}_sd", np.nan)
    if not np.isfinite(value):
        return "–"
    bar = f'<i class="dot" style="width:{56 * value:.0f}px"></i>' if metric == "balanced_accuracy" else ""
    return f"{bar}{value:.2f}" + (f" <small>± {spread:.2f}</small>" if np.isfinite(spread) else "")


def _against_truth(page: Page, scene: Scene, codes: np.ndarray, names: list[str]) -> str:
    """One sentence on the planted truth, class by class; empty for a real scene."""
    truth = truth_codes(page, scene)
    if truth is None or scene.truth is None:
        return ""
    true_names = [str(n) for n in scene.truth["land_cover"].attrs.get("classes", [])]
    recalls = []
    for i, name in enumerate(names):
        there = (truth == true_names.index(name)) & (codes >= 0) if name in true_names else np.zeros(0, bool)
        if there.any():
            recalls.append((name, float((codes[there] == i).mean())))
    if not recalls:
        return ""
    mean = np.mean([r for _, r in recalls])
    shares = ", ".join(f"{escape(n)} {100 * r:.0f} %" for n, r in recalls)
    return (
        f'<p class="note"><b>Against the planted truth</b>, all pixels: {100 * mean:.0f} % balanced accuracy '
        f"({shares}). Only a simulated scene can tell this, and it is easier than a real one.</p>"
    )
