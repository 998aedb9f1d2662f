"""Landsat MTL files (text and JSON) as groups of keys: Level 2 repeats Level 1's keys with other values."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from georeset_lab.errors import SceneReadError

Groups = Mapping[str, Mapping[str, str]]
"""Group -> key -> value, in the order of the file."""

_LARGEST = 1_000_000
_LINE = re.compile(r"^\s*([A-Z0-9_]+)\s*=\s*(.*?)\s*$", re.MULTILINE)


def read_groups(path: Path) -> Groups:
    """Groups of an MTL file.

    Raises
    ------
    SceneReadError
        The file is too large, or no MTL.
    """
    if path.stat().st_size > _LARGEST:
        raise SceneReadError(f"{path} has more than {_LARGEST / 1e6:g} MB; no MTL file is that large.")
    content = path.read_text(encoding="utf-8", errors="replace")
    groups = _of_json(content, path) if path.suffix.lower() == ".json" else _of_text(content)
    if not any(groups.values()):
        raise SceneReadError(f"{path} holds no group of keys, so it is no MTL file. Fetch the product again.")
    return groups


def flat(groups: Groups) -> dict[str, str]:
    """Keys of all groups; of a key that several groups have, the first, which is that of the product itself.

    A Level 2 MTL carries ``REFLECTANCE_MULT_BAND_1`` twice: its own, and further down that of the Level 1 it came from.
    """
    out: dict[str, str] = {}
    for keys in groups.values():
        for key, value in keys.items():
            out.setdefault(key, value)
    return out


def _of_text(content: str) -> Groups:
    groups: dict[str, dict[str, str]] = {}
    inside = [""]
    for key, value in _LINE.findall(content):
        if key == "GROUP":
            inside.append(value)
        elif key == "END_GROUP":
            if len(inside) > 1:
                inside.pop()
        else:
            groups.setdefault(inside[-1], {}).setdefault(key, value.strip('"'))
    return groups


def _of_json(content: str, path: Path) -> Groups:
    try:
        found: Any = json.loads(content)
    except (ValueError, RecursionError) as err:
        raise SceneReadError(f"{path} is no well-formed JSON ({err}). Fetch the product again.") from err
    if isinstance(found, dict) and len(found) == 1:
        found = next(iter(found.values()))
    if not isinstance(found, dict):
        raise SceneReadError(f"{path} holds no group of keys, so it is no MTL file. Fetch the product again.")
    return {
        str(group): {str(k): str(v) for k, v in keys.items() if isinstance(v, str | int | float)}
        for group, keys in found.items()
        if isinstance(keys, dict)
    }
