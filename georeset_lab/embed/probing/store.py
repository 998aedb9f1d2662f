"""Probes on disk: a folder with ``probe.safetensors`` and ``card.json``. Nothing here can run code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from georeset_lab.embed.probing.conformal import ALPHA, SetRule
from georeset_lab.embed.probing.fit import LinearFit
from georeset_lab.embed.probing.unlike import UnlikeRule
from georeset_lab.errors import CheckpointError, InvalidOption
from georeset_lab.files import new_folder, seal, sha256, unseal, write_atomic

if TYPE_CHECKING:
    from georeset_lab.embed.probing.model import Probe

__all__ = ["load_probe", "save_probe"]

FORMAT = "georeset-probe/1"
_ARRAYS, _CARD = "probe.safetensors", "card.json"
_NAMES = ("center", "scale", "weights", "intercept")


def save_probe(probe: Probe, path: str | Path) -> Path:
    """Write arrays and card to a folder that is whole or absent; an older probe there is replaced at the end.

    Raises
    ------
    InvalidOption
        The probe is not fitted, or ``path`` is something else than a probe's folder.
    """
    from safetensors.numpy import save

    folder = Path(path)
    if probe.fit_ is None:
        raise InvalidOption("This probe is not fitted yet, so there is nothing to save.")
    if folder.exists() and not (folder / _CARD).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise InvalidOption(f"{folder} exists and is not a probe's folder; it is not replaced. Give a new path.")
    arrays = {name: np.ascontiguousarray(getattr(probe.fit_, name)) for name in _NAMES}
    if probe.fit_.spread is not None:
        arrays["spread"] = np.ascontiguousarray(probe.fit_.spread)
    sets, unlike = probe.sets_, probe.unlike_
    if sets is not None:
        arrays["set_limits"] = sets.limits
    if unlike is not None:
        arrays["prototypes"] = np.ascontiguousarray(unlike.prototypes)
    payload = save(arrays)
    report = probe.report_
    card = {
        "format": FORMAT,
        "classes": list(probe.classes_),
        "penalty": probe.penalty_,
        "temperature": probe.temperature_,
        "plain_temperature": probe.plain_temperature_,
        "seed": probe.seed,
        "alpha": probe.alpha,
        "set_note": probe.set_note_,
        "sets": None if sets is None else {"alpha": sets.alpha, "by_class": sets.by_class, "n": sets.n},
        "unlike_limit": None if unlike is None else unlike.limit,
        "notes": list(probe.notes_),
        "provenance": probe.provenance_,
        "report": None if report is None else report.replace({np.nan: None}).to_dict(orient="index"),
        "arrays_sha256": sha256(payload),
    }
    with new_folder(folder) as work:
        write_atomic(work / _ARRAYS, payload)
        write_atomic(work / _CARD, seal(card))
    return folder


def load_probe(path: str | Path) -> Probe:
    """Probe of a folder.

    Raises
    ------
    CheckpointError
        There is none, a file is missing or damaged, or it is not a probe of ours.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    from georeset_lab.embed.probing.model import Probe

    folder = Path(path)
    card = _read_card(folder)
    try:
        payload = (folder / _ARRAYS).read_bytes()
    except OSError as err:
        raise CheckpointError(f"{folder} has no readable {_ARRAYS}: {err}. Copy the folder again.") from err
    if sha256(payload) != card["arrays_sha256"]:
        raise CheckpointError(
            f"{folder / _ARRAYS} does not match its card (SHA-256 differs): it is damaged or of another probe. "
            "Copy the folder again or fit the probe anew."
        )
    try:
        arrays = load(payload)
        fit = LinearFit(**{n: arrays[n] for n in _NAMES}, penalty=card["penalty"], spread=arrays.get("spread"))
        # A probe that was saved before there were sets has none.
        sets = SetRule(arrays["set_limits"], **card["sets"]) if card.get("sets") else None
        far = card.get("unlike_limit")
        unlike = None if far is None else UnlikeRule(arrays["prototypes"], far)
    except (SafetensorError, KeyError, TypeError) as err:
        raise CheckpointError(f"{folder / _ARRAYS} holds no probe of this version: {err}") from err
    probe = Probe(seed=card["seed"], alpha=card.get("alpha", ALPHA))
    probe.sets_, probe.unlike_, probe.set_note_ = sets, unlike, card.get("set_note", "")
    probe.fit_, probe.classes_ = fit, tuple(card["classes"])
    probe.penalty_, probe.temperature_ = card["penalty"], card["temperature"]
    probe.plain_temperature_ = card["plain_temperature"]
    probe.notes_, probe.provenance_ = tuple(card["notes"]), card["provenance"]
    probe.report_ = _report(card)
    return probe


def _read_card(folder: Path) -> dict[str, Any]:
    try:
        card = unseal((folder / _CARD).read_bytes())
    except (OSError, ValueError) as err:
        raise CheckpointError(
            f"{folder / _CARD} cannot be used: {err}. It is not a whole folder of Probe.save."
        ) from err
    if card.get("format") != FORMAT:
        raise CheckpointError(
            f"{folder / _CARD} says format {card.get('format')!r}; Probe.load reads {FORMAT!r}: it is not a probe."
        )
    return card


def _report(card: dict[str, Any]) -> Any:
    if card["report"] is None:
        return None
    import pandas as pd

    frame = pd.DataFrame.from_dict(card["report"], orient="index").astype(float)
    frame = frame.astype({"labels": int, "folds": int})
    frame.index.name = "features"
    frame.attrs["notes"] = list(card["notes"])
    return frame
