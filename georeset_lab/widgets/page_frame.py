"""The frame of every page that stands alone: header, navigation, footer, style, script, and the rules for a browser.

No request leaves a page: pictures are data URLs, style and script are inline, and a content security policy forbids the
rest. It names our script by its hash, so that even markup that slipped through would not run.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from georeset_lab.data.points import PointGrid, is_points
from georeset_lab.embed.locate import lonlat_of
from georeset_lab.files import write_atomic

if TYPE_CHECKING:
    from georeset_lab.data.scene import Scene
    from georeset_lab.embed.embeddings import Embeddings

__all__ = ["crs_name", "fill_template", "page_facts", "provenance_rows", "write_page"]


def fill_template(
    *,
    title: str,
    headline: str,
    lead: str,
    facts: str,
    sections: Mapping[str, tuple[str, str]],
    provenance: str,
    data: Mapping[str, Any],
    more: tuple[str, ...] = (),
) -> str:
    """HTML of a page.

    Parameters
    ----------
    title, headline, lead : str
        Plain text.
    facts, provenance : str
        HTML of `page_facts` and `provenance_rows`.
    sections : mapping of key to (name in the navigation, HTML)
    data : mapping
        JSON for the scripts.
    more : names of files beside this one, without ending
        Their style and script are added to those of every page.
    """
    folder = resources.files("georeset_lab.widgets")
    css, js = (
        "\n".join((folder / f"{name}.{ending}").read_text("utf-8") for name in ("page", *more))
        for ending in ("css", "js")
    )
    legends = (folder / "embedding_map.css").read_text("utf-8").splitlines() if more else []
    css += "\n".join(line for line in legends if line.startswith(".gr-legend"))  # a legend looks as it does on the map
    return Template((folder / "page.html").read_text("utf-8")).substitute(
        title=escape(f"{title} · georeset_lab"),
        css=css,
        js=js,
        js_hash=base64.b64encode(hashlib.sha256(js.encode()).digest()).decode("ascii"),
        headline=escape(headline),
        lead=escape(lead),
        facts=facts,
        nav="".join(f'<a href="#{key}">{escape(name)}</a>' for key, (name, _) in sections.items()),
        sections="\n".join(html for _, html in sections.values()),
        provenance=provenance,
        # "</" would end the script element; JSON allows the escaped form.
        data=json.dumps(data, separators=(",", ":"), ensure_ascii=True).replace("<", "\\u003c"),
    )


def write_page(path: str | os.PathLike[str], html: str) -> Path:
    """Write a page so that it is whole or absent, and return where it is."""
    target = Path(path).expanduser().resolve()
    write_atomic(target, html.encode("utf-8"))
    return target


def page_facts(emb: Embeddings, timings: Mapping[str, float] | None = None) -> str:
    """Items of the header's list: where, how large, which model."""
    weights = f" · weights {str(emb.attrs['model_hash'])[:8]}" if emb.attrs.get("model_hash") else ""
    model = (str(emb.attrs.get("model", "?")), f"model{weights}")
    if is_points(emb.grid):
        return _items([*_point_facts(emb.grid, emb.dim), model])
    height, width = emb.grid.shape
    box = emb.grid.boundingbox
    lon, lat = (float(v) for v in lonlat_of(emb.grid, (height - 1) / 2, (width - 1) / 2))
    place = f"{abs(lat):.3f}° {'N' if lat >= 0 else 'S'}, {abs(lon):.3f}° {'E' if lon >= 0 else 'W'}"
    pixel = abs(emb.grid.resolution.x)
    facts = [
        (place, f"centre · {crs_name(emb.grid.crs)}"),
        (
            f"{(box.right - box.left) / 1000:.3g} × {(box.top - box.bottom) / 1000:.3g} km",
            "wide × high, north is up",
        ),
        (f"{width:,} × {height:,} pixels", f"of {pixel:g} m, {emb.dim} dimensions each"),
        model,
    ]
    if timings:
        facts.append((f"{sum(timings.values()):.0f} s", "from nothing to this page"))
    return _items(facts)


def _items(facts: Sequence[tuple[str, str]]) -> str:
    return "".join(f"<li><b>{escape(big)}</b><span>{escape(small)}</span></li>" for big, small in facts)


def _point_facts(grid: PointGrid, dim: int) -> list[tuple[str, str]]:
    (west, east), (south, north) = ((float(v.min()), float(v.max())) for v in grid.lonlat)
    return [
        (f"{grid.shape[0]:,} points", f"{dim} dimensions each"),
        (f"{west:.2f}° to {east:.2f}°", f"longitude, east is positive · {crs_name(grid.crs)}"),
        (f"{south:.2f}° to {north:.2f}°", "latitude, north is positive"),
    ]


def crs_name(crs: Any) -> str:
    """EPSG code, or the name where there is none; never the well-known text, which fills a screen."""
    code = crs.to_epsg()
    return f"EPSG:{code}" if code is not None else str(crs.proj.name)


def provenance_rows(emb: Embeddings, scene: Scene | None = None, timings: Mapping[str, float] | None = None) -> str:
    """Rows of the footer: where the numbers come from."""
    keys = ("model", "model_hash", "version", "seed", "scene", "data", "sensors", "bands", "dates", "resolution_m")
    rows = [(key.replace("_", " "), _text(emb.attrs[key])) for key in keys if key in emb.attrs]
    if timings:
        rows.append(("time", ", ".join(f"{step} {seconds:.1f} s" for step, seconds in timings.items())))
    if scene is not None and scene.truth is not None:
        rows.append(
            (
                "simulated",
                "a landscape that never was: plausible, not radiative transfer; easier than a real one",
            )
        )
    return "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in rows)


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{k}: {_text(v)}" for k, v in value.items() if len(v) if hasattr(v, "__len__"))
    if isinstance(value, list | tuple) and len(value) > 12:
        return f"{_text(value[0])} … {_text(value[-1])} ({len(value)})"
    return ", ".join(map(_text, value)) if isinstance(value, list | tuple) else str(value).replace("NaT", "undated")
