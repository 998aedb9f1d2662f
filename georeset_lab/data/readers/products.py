"""Which modalities the products in a source make: a folder, a path, a list, each told from its metadata."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from georeset_lab.data.readers.folder import Find, in_order, scan_folder
from georeset_lab.data.readers.product import Product, find_products, joined_notes, recognise
from georeset_lab.data.readers.zarr import is_zarr
from georeset_lab.errors import SceneReadError


def scan(folder: Path) -> tuple[dict[str, Find], list[str]]:
    """Modalities of a folder: its products first, then what the names of the files outside them make certain.

    Raises
    ------
    SceneReadError
        Nothing is understood, or a product is damaged.
    """
    products = find_products(folder)
    if not products:
        return scan_folder(folder)
    found: dict[str, Find] = {}
    for product in products:
        found.setdefault(product.modality, Find(None)).items.append(product)
    for name, find in found.items():
        find.sensor = sensor_of([p for p in products if p.modality == name])
    notes: list[str] = []
    try:
        beside, _ = scan_folder(folder)
    except SceneReadError:
        beside = {}
    own = {layer.path for p in products for layer in p.layers}
    families = {re.sub(r"\d|_.*", "", name) for name in found}
    for name, find in beside.items():
        # Further images of a product (other pixel sizes, angles, quick-looks) are told by the same name as it is.
        items = [p for p in find.items if p not in own]
        if items and re.sub(r"\d|_.*", "", name) not in families and find.sensor is not None:
            found[name] = Find(find.sensor, items)
    if "s2" in found and "s2_l1c" in found:
        del found["s2_l1c"]
        notes.append("Level 1C left out: Level 2A of the same place is there; name both in a dict to have both")
    elif "s2_l1c" in found:
        found["s2"] = found.pop("s2_l1c")
    return in_order(found), notes


def resolve(part: Any) -> Any:
    """A path, or list of paths, with products in place of the paths that are some; anything else as it is."""
    if isinstance(part, list | tuple):
        out: list[Any] = []
        for one in part:
            found = resolve(one)
            out += found if isinstance(found, list) and not isinstance(one, list | tuple) else [found]
        return out
    if not isinstance(part, str | os.PathLike):
        return part
    path = Path(part)
    if is_zarr(path) or not path.exists():
        return part
    products = find_products(path) if path.is_dir() else recognise(path)
    return products or part


def products_in(part: Any) -> list[Product]:
    """The products that `resolve` put into a part; empty if it is anything else."""
    items = part if isinstance(part, list) else [part]
    return [p for p in items if isinstance(p, Product)]


def sensor_of(products: Sequence[Product]) -> str | None:
    """Sensor of several products of one modality: that of all, or the table for all satellites of a pair."""
    names = {p.sensor for p in products}
    if len(names) == 1:
        return next(iter(names))
    plain = {re.sub(r"^(sentinel-2)[abc]-", r"\1-", n or "") for n in names}
    if len(plain) == 1 and "" not in plain:
        return next(iter(plain))
    listed = ", ".join(sorted(str(n) for n in names))
    raise SceneReadError(f"Products of several sensors ({listed}) were given as one modality; name them in a dict.")


def notes_of(part: Any) -> tuple[str, ...]:
    """Notes of the products in a part."""
    return joined_notes(products_in(part))
