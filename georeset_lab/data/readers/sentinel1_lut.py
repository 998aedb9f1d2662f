"""Look-up tables of a Sentinel-1 product over its lines and pixels: calibration and thermal noise.

Sentinel-1 Product Specification (S1-RS-MDA-52-7441): sigma nought = (DN^2 - noise) / A^2, where A (``sigmaNought``) and
the noise of the range vectors are interpolated bilinearly. Since IPF 2.90 the noise is the product of range vectors
(``noiseRangeVector``) and of factors along azimuth in blocks (``noiseAzimuthVector``); before it was one list of
``noiseVector``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from georeset_lab.data.readers.xmlfile import elements, number, read_xml, text
from georeset_lab.errors import SceneReadError


@dataclass(frozen=True, eq=False)
class Table:
    """Values at some pixels of some lines; between them bilinear, beyond the first and last ones constant."""

    lines: np.ndarray
    """``(N,)``, increasing; one that comes twice is a step."""
    pixels: tuple[np.ndarray, ...]
    """Of each line, increasing; they may differ from line to line."""
    values: tuple[np.ndarray, ...]

    def over(self, rows: slice, cols: slice) -> np.ndarray:
        """Values ``(rows, columns)`` float64 at the pixels of a window."""
        at, columns = np.arange(rows.start, rows.stop, dtype=float), np.arange(cols.start, cols.stop, dtype=float)
        before = np.clip(np.searchsorted(self.lines, at, side="right") - 1, 0, len(self.lines) - 1)
        after = np.minimum(before + 1, len(self.lines) - 1)
        gap = np.maximum(self.lines[after] - self.lines[before], 1.0)
        share = np.clip((at - self.lines[before]) / gap, 0, 1)[:, None]
        first = int(before.min())
        needed = range(first, int(after.max()) + 1)
        profiles = np.stack([np.interp(columns, self.pixels[i], self.values[i]) for i in needed])
        out: np.ndarray = profiles[before - first] * (1 - share)
        out += profiles[after - first] * share
        return out


@dataclass(frozen=True, eq=False)
class Block:
    """Factor of the noise along azimuth in a rectangle of the image."""

    rows: slice
    cols: slice
    lines: np.ndarray
    values: np.ndarray


@dataclass(frozen=True, eq=False)
class Noise:
    """Thermal noise as power in units of DN^2."""

    table: Table
    blocks: tuple[Block, ...] = ()

    def over(self, rows: slice, cols: slice) -> np.ndarray:
        """Noise ``(rows, columns)`` float64 at the pixels of a window."""
        out = self.table.over(rows, cols)
        for block in self.blocks:
            top, bottom = max(rows.start, block.rows.start), min(rows.stop, block.rows.stop)
            left, right = max(cols.start, block.cols.start), min(cols.stop, block.cols.stop)
            if top < bottom and left < right:
                factor = np.interp(np.arange(top, bottom, dtype=float), block.lines, block.values)
                out[top - rows.start : bottom - rows.start, left - cols.start : right - cols.start] *= factor[:, None]
        return out


def read_calibration(path: Path) -> Table:
    """Table of A for sigma nought.

    Raises
    ------
    SceneReadError
        The file is missing or damaged, or a factor is not above zero.
    """
    table = _table(read_xml(path), path, "calibrationVector", "sigmaNought")
    if table is None:
        raise SceneReadError(f"{path} holds no calibrationVector, so its counts have no unit. Fetch the product again.")
    if any((v <= 0).any() for v in table.values):
        raise SceneReadError(f"{path} holds a sigmaNought that is not above zero. Fetch the product again.")
    return table


def read_noise(path: Path) -> Noise | None:
    """Thermal noise; None if the file states none.

    Raises
    ------
    SceneReadError
        The file is damaged, or states noise below zero.
    """
    root = read_xml(path)
    table = _table(root, path, "noiseRangeVector", "noiseRangeLut") or _table(root, path, "noiseVector", "noiseLut")
    if table is None:
        return None
    blocks = tuple(_block(e, path) for e in elements(root, "noiseAzimuthVector"))
    if any((v < 0).any() for v in (*table.values, *(b.values for b in blocks))):
        raise SceneReadError(f"{path} states thermal noise below zero. Fetch the product again.")
    return Noise(table, blocks)


def _table(root: Element, path: Path, vector: str, value: str) -> Table | None:
    found = []
    for element in elements(root, vector):
        line = number(text(element, "line"), f"line of a {vector}", path)
        pixels, values = _numbers(element, "pixel", path), _numbers(element, value, path)
        _same_length(pixels, values, f"{vector} at line {line:g}", path)
        found.append((line, pixels, values))
    if not found:
        return None
    lines = np.array([line for line, _, _ in found])
    _in_order(lines, f"lines of the {vector}s", path)
    return Table(lines, tuple(p for _, p, _ in found), tuple(v for _, _, v in found))


def _block(element: Element, path: Path) -> Block:
    lines, values = _numbers(element, "line", path), _numbers(element, "noiseAzimuthLut", path)
    _same_length(lines, values, "noiseAzimuthVector", path)
    spans = []
    for first, last in (("firstAzimuthLine", "lastAzimuthLine"), ("firstRangeSample", "lastRangeSample")):
        # Stripmap products have one swath and may leave the bounds of its only block out.
        start = number(text(element, first) or "0", first, path)
        stop = number(text(element, last) or "1e9", last, path)
        spans.append(slice(int(start), int(stop) + 1))
    return Block(spans[0], spans[1], lines, values)


def _numbers(element: Element, name: str, path: Path) -> np.ndarray:
    parts = text(element, name).split()
    try:
        found = np.array(parts, dtype=float)
    except ValueError:
        found = np.array([np.nan])
    if not parts or not np.isfinite(found).all():
        raise SceneReadError(f"{path} gives a {name} that is no list of numbers. Fetch the product again.")
    return found


def _same_length(at: np.ndarray, values: np.ndarray, what: str, path: Path) -> None:
    if at.size != values.size:
        raise SceneReadError(
            f"{path}: the {what} gives {values.size} values at {at.size} places. Fetch the product again."
        )
    _in_order(at, f"places of the {what}", path)


def _in_order(at: np.ndarray, what: str, path: Path) -> None:
    if (np.diff(at) < 0).any():
        raise SceneReadError(f"{path}: the {what} do not increase. Fetch the product again.")
