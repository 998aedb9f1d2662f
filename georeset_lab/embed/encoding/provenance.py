"""What an embedding map says of its origin: model, data, bands, dates, decisions. The same call says the same."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from georeset_lab.embed.encoding.source import Source
from georeset_lab.embed.encoding.tiles import pixel_size

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from georeset_lab.models.checkpoint import Model

_SAMPLE_SIDE = 8
_SAMPLE_DATES = 3


def provenance(
    model: Model, scene_name: str, sources: Mapping[str, Source], grid: GeoBox, notes: Sequence[str], *, fast: bool
) -> dict[str, Any]:
    """Attributes of the result: everything that fixes its numbers, and no clock, so that a resumed call can compare."""
    from georeset_lab import __version__

    identity = hashlib.sha256("".join(map(fingerprint, sources.values())).encode()).hexdigest()
    return {
        "model": model.name,
        "model_hash": model.hash,
        "version": __version__,
        "seed": model.card.get("seed", 0),
        "scene": scene_name,
        "data": identity,
        "modalities": list(sources),
        "sensors": {n: s.modality.sensor or "" for n, s in sources.items()},
        "bands": {n: list(s.modality.band_names) for n, s in sources.items()},
        "dates": {n: np.datetime_as_string(s.modality.times[s.dates], "D").tolist() for n, s in sources.items()},
        "cell_m": {n: s.cell_m for n, s in sources.items()},
        "resolution_m": list(pixel_size(grid)),
        "fast": fast,
        "notes": {**{n: list(s.modality.notes) for n, s in sources.items()}, "encode": list(notes)},
    }


def fingerprint(source: Source) -> str:
    """SHA-256 of grid, bands, dates and a sparse sample of values: cheap, and different for different data.

    Samples are squares of 8 x 8 pixels in the corners and the middle, on the first, middle and last date.
    """
    m = source.modality
    digest = hashlib.sha256(repr((m.name, tuple(m.grid.shape), tuple(m.grid.affine), str(m.grid.crs))).encode())
    digest.update(repr([(b.name, *row) for b, row in zip(m.bands, source.bands.tolist(), strict=True)]).encode())
    digest.update(m.times[source.dates].astype("datetime64[ns]").astype("<i8").tobytes())
    dates = sorted({source.dates[i * (len(source.dates) - 1) // (_SAMPLE_DATES - 1)] for i in range(_SAMPLE_DATES)})
    ny, nx = m.grid.shape.y, m.grid.shape.x
    far_y, far_x = max(ny - _SAMPLE_SIDE, 0), max(nx - _SAMPLE_SIDE, 0)
    for y, x in sorted({(0, 0), (0, far_x), (far_y // 2, far_x // 2), (far_y, 0), (far_y, far_x)}):
        for t in dates:
            window = m.read(slice(y, min(y + _SAMPLE_SIDE, ny)), slice(x, min(x + _SAMPLE_SIDE, nx)), time=t)
            digest.update(np.ascontiguousarray(window, "<f4").tobytes())
    return digest.hexdigest()
