"""`Asked`: what the caller of `load_scene` said, for all modalities or one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from georeset_lab.errors import UnknownModality


@dataclass(frozen=True)
class Asked:
    """The arguments of `load_scene` that may differ by modality."""

    sensors: Any
    bands: Any
    crs: Any
    scale: Any
    time: Any
    chunks: int | None

    def of(self, what: str, name: str) -> Any:
        """One argument for one modality; a dict is looked up, anything else holds for all."""
        value = getattr(self, what)
        return value.get(name) if isinstance(value, Mapping) else value

    def check(self, names: Sequence[str]) -> None:
        """Refuse dicts that name modalities which do not exist."""
        for what in ("sensors", "bands", "scale", "time"):
            value = getattr(self, what)
            unknown = [k for k in value if k not in names] if isinstance(value, Mapping) else []
            if unknown:
                raise UnknownModality(
                    f"{what}= names {', '.join(map(repr, unknown))}, but the modalities are "
                    f"{', '.join(map(repr, names))}."
                )
