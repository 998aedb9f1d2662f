"""`inspect_upload`: what an uploaded file is, found out by a process that may fail (`inspect_upload.py`)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import georeset_lab

__all__ = ["Verdict", "inspect_upload"]

WALL_SECONDS = 60
"""After this the process is ended, whatever it is doing."""


@dataclass(frozen=True)
class Verdict:
    """What an upload is, or why it is not taken."""

    ok: bool
    message: str = ""
    """If it is not taken: what it is and what is allowed, in a sentence. May quote the file; show it as text."""
    kind: str = ""
    """``"scene"`` or ``"labels"``."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Scene: bands, names, width, height, crs, pixel. Labels: labels, classes."""


def inspect_upload(path: Path, limits: Mapping[str, int]) -> Verdict:
    """What a file is. Blocks for up to a minute; never raises because of what the file holds.

    Parameters
    ----------
    path : Path
        Under a name of ours. Labels that are taken lie in ``PATH.checked`` afterwards, reduced to what is needed.
    limits : mapping
        ``scene_bytes``, ``labels_bytes``: largest file of each kind; ``decoded_bytes``, ``pixels``: largest raster,
        unpacked.
    """
    try:
        done = subprocess.run(
            _command(path, limits), cwd=path.parent, env=_environment(), stdin=subprocess.DEVNULL, capture_output=True,
            timeout=WALL_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Verdict(False, f"It could not be opened within {WALL_SECONDS} seconds.")
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        return Verdict(False, "Opening it ended the process that was to check it: it needs too much memory or time.")
    if not answer.pop("ok", False):
        return Verdict(False, str(answer.get("message", "")))
    return Verdict(True, kind=str(answer.pop("kind")), facts=answer)


def _command(path: Path, limits: Mapping[str, int]) -> list[str]:
    # -P: the folder of the upload must not be searched for modules.
    module = ["-P", "-m", "georeset_lab.dashboard.inspect_upload"]
    return [sys.executable, *module, str(path), json.dumps(dict(limits))]


def _environment() -> dict[str, str]:
    """The little that Python and GDAL need; no proxy, no credentials."""
    keep = ("PATH", "SYSTEMROOT", "TEMP", "TMP", "LANG", "LD_LIBRARY_PATH", "PROJ_DATA", "PROJ_LIB", "GDAL_DATA")
    own = {
        "PYTHONPATH": str(Path(georeset_lab.__file__).parents[1]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PROJ_NETWORK": "OFF",
        "GDAL_HTTP_MAX_RETRY": "0",
        # A pool of threads would take address space, of which there is little.
        **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    }
    return {**{name: os.environ[name] for name in keep if name in os.environ}, **own}
