"""`build_encoder`: the network that a card's sizes name: ours, or one of the `RIVALS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from torch import nn

from georeset_lab.errors import RecipeError
from georeset_lab.models.encoder import Encoder, EncoderConfig
from georeset_lab.models.rivals.band_attention import BandAttention
from georeset_lab.models.rivals.dynamic_patch import DynamicPatch
from georeset_lab.models.rivals.hls import HlsLike
from georeset_lab.models.rivals.late import LateFusion
from georeset_lab.models.rivals.plain import PlainConfig, PlainViT
from georeset_lab.models.rivals.slots import Slots
from georeset_lab.models.rivals.translation import Translated
from georeset_lab.models.rivals.virtual_bands import VirtualBands

_TOKENIZERS: dict[str, Callable[[PlainConfig], nn.Module]] = {
    "band_attention": lambda c: BandAttention(c.width, c.heads, c.token_px),
    "dynamic_patch": lambda c: DynamicPatch(c.width, c.token_px),
    "slots": lambda c: Slots(c.width, c.token_px),
    "virtual_bands": lambda c: VirtualBands(c.width, c.token_px),
    "hls": lambda c: HlsLike(c.width, c.token_px),
    "translation": lambda c: Translated(c.width, c.token_px),
}
RIVALS = (*_TOKENIZERS, "late")
"""Names for ``encoder={"rival": name}`` of a recipe."""


def encoder_config(settings: Mapping[str, Any]) -> EncoderConfig | PlainConfig:
    """Sizes from a recipe or a card; those of a rival have its name under ``rival``.

    Raises
    ------
    RecipeError
        There is no such rival.
    TypeError
        A setting is unknown.
    """
    if "rival" not in settings:
        return EncoderConfig(**settings)
    if settings["rival"] not in RIVALS:
        raise RecipeError(f"Unknown rival {settings['rival']!r}; use one of {', '.join(map(repr, RIVALS))}.")
    return PlainConfig(**settings)


def build_encoder(config: EncoderConfig | PlainConfig | None = None) -> Encoder:
    """Fresh network of these sizes. A rival has what `encode` and training ask of an `Encoder`, no more."""
    if not isinstance(config, PlainConfig):
        return Encoder(config)
    if config.rival == "late":
        return cast(Encoder, LateFusion(config))
    return cast(Encoder, PlainViT(config, _TOKENIZERS[config.rival](config)))
