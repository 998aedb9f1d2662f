"""torchgeo's published encoders behind our interface: ``encode(scene, model="torchgeo:dofa_base_patch16_224")``.

The one file that imports torchgeo. Bands and scaling are in ``torchgeo_inputs.py``. These encoders say nothing of how
sure they are: tau is 1 wherever a pixel was measured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from georeset_lab.errors import CheckpointError
from georeset_lab.files import sha256
from georeset_lab.models.core import Core, core_of
from georeset_lab.models.fusion import Gaussian
from georeset_lab.models.torchgeo_inputs import Images, croma_inputs, rgb_inputs, spectral_inputs
from georeset_lab.models.vit import blend_windows, split_windows

__all__ = ["PREFIX", "RANDOM", "TorchgeoEncoder", "list_torchgeo", "load_torchgeo", "torchgeo_hash"]

PREFIX = "torchgeo:"
RANDOM = ":random"
"""Ending of a name that asks for random weights: for tests, timings, and architectures without published weights."""

_PATCH, _WINDOW, _STRIDE = 6, 32, 16
_WINDOWS_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class TorchgeoConfig:
    """What the encode pipeline asks of an encoder's sizes."""

    latent_dim: int
    n_virtual: int
    """Layers of a pixel that are held at once; plans the memory of a block."""
    stride: int = _STRIDE
    """Cells of 6 pixels between windows of `_WINDOW` cells (192 pixels), which are resized to what the network takes."""
    patch: int = _PATCH


@dataclass(frozen=True)
class _Family:
    """How one kind of network is called."""

    factories: dict[str, str | None]
    """torchgeo's function -> its published weights, None where there are none."""
    side: int
    """Pixels along the side of the images it takes."""
    width: Callable[[Any], int]
    inputs: Callable[[Tensor, Tensor], Images]
    tokens: Callable[[nn.Module, Images, float], Tensor]
    """Network, images (N, C, side, side) and their pixel in metres -> (N, tokens, D), row by row."""
    arguments: dict[str, Any]


class TorchgeoEncoder(nn.Module):
    """One of torchgeo's vision transformers, slid over a map in windows that overlap by half.

    Parameters
    ----------
    net : torch.nn.Module
    family : one of the kinds that this file knows
    """

    margin_cells = rim_cells = _STRIDE

    def __init__(self, net: nn.Module, family: _Family) -> None:
        super().__init__()
        self.net, self._family = net, family
        dim = family.width(net)
        self.config = TorchgeoConfig(dim, max(32, dim // 4))

    @torch.inference_mode()
    def dense(
        self,
        x: Tensor,
        bands: Tensor,
        *,
        cell_m: float,
        day_of_year: Tensor,
        core: Core | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Gaussian:
        """Expert of every pixel from one modality; see `georeset_lab.models.encoder.Encoder.dense`.

        Dates are encoded one by one and averaged where they saw something; the day of the year is not used.

        Raises
        ------
        BandMismatch
            The network reads none of these bands.
        """
        total, seen = x.new_zeros(1), x.new_zeros(1)
        for t in range(len(x)):
            valid = torch.isfinite(x[t]).any(0).to(x)
            if bool(valid.any()):
                total = total + self._map(x[t : t + 1], bands, cell_m) * valid[..., None]
                seen = seen + valid
        rows, cols = core_of(x, core, self.margin_cells * _PATCH)
        if seen.ndim < 2:
            blank = x.new_zeros(rows.stop - rows.start, cols.stop - cols.start, self.config.latent_dim)
            return Gaussian(blank, blank.clone()).to(dtype)
        inner = seen[rows, cols, None]
        eta = total[rows, cols] / inner.clamp_min(1.0)
        return Gaussian(eta, (inner > 0).to(eta).expand_as(eta).contiguous()).to(dtype)

    def _map(self, image: Tensor, bands: Tensor, cell_m: float) -> Tensor:
        """Features (Y, X, D) of one date (1, C, Y, X)."""
        images = self._family.inputs(image, bands)
        layers = images.pixels[0]
        c, height, width = layers.shape
        ny, nx = height // _PATCH, width // _PATCH
        cells = layers.view(c, ny, _PATCH, nx, _PATCH).permute(1, 3, 0, 2, 4).reshape(1, ny, nx, -1)
        windows = split_windows(cells, _WINDOW, _STRIDE)
        _, wy, wx, n, _ = windows.shape
        windows = windows.view(wy * wx, _WINDOW, _WINDOW, c, _PATCH, _PATCH).permute(0, 3, 1, 4, 2, 5)
        windows = windows.reshape(wy * wx, c, _WINDOW * _PATCH, _WINDOW * _PATCH)
        side, pixel_m = self._family.side, cell_m / _PATCH * _WINDOW * _PATCH / self._family.side
        said = []
        for part in windows.split(_WINDOWS_AT_ONCE):
            resized = F.interpolate(part, size=(side, side), mode="bilinear", antialias=True, align_corners=False)
            tokens = self._family.tokens(self.net, images.of(resized), pixel_m)
            edge = round(tokens.shape[1] ** 0.5)
            grid = tokens.transpose(1, 2).unflatten(2, (edge, edge))
            said.append(F.interpolate(grid, size=(_WINDOW, _WINDOW), mode="bilinear", align_corners=False))
        maps = torch.cat(said).flatten(2).transpose(1, 2).reshape(1, wy, wx, n, -1)
        blended = blend_windows(maps, maps.new_ones(1, wy, wx), _WINDOW, _STRIDE, (ny, nx))
        wide = F.interpolate(blended.permute(0, 3, 1, 2), size=(height, width), mode="bilinear", align_corners=False)
        return wide[0].permute(1, 2, 0)


def list_torchgeo() -> list[str]:
    """Names that `load_torchgeo` takes, without the prefix."""
    return sorted(name for family in _FAMILIES for name in family.factories)


def load_torchgeo(name: str) -> TorchgeoEncoder:
    """Build a network of torchgeo and fetch its published weights, which torch keeps in its hub folder.

    Parameters
    ----------
    name : str
        ``"torchgeo:"`` and one of `list_torchgeo`; with ``":random"`` behind it, random weights and no download.

    Raises
    ------
    CheckpointError
        No such network, it has no published weights, or they cannot be fetched.
    """
    plain = name.removeprefix(PREFIX)
    wanted = plain.removesuffix(RANDOM)
    family = next((f for f in _FAMILIES if wanted in f.factories), None)
    if family is None:
        known = ", ".join(repr(PREFIX + n) for n in list_torchgeo())
        raise CheckpointError(f"No torchgeo model {wanted!r}; choose one of {known}.")
    import torchgeo.models

    weights = None
    if not plain.endswith(RANDOM):
        published = family.factories[wanted]
        if published is None:
            raise CheckpointError(
                f"torchgeo has no published weights for {wanted!r}. Use another of {', '.join(list_torchgeo())}, or "
                f"{PREFIX}{wanted}{RANDOM} for random ones."
            )
        enum, member = published.split(".")
        weights = getattr(getattr(torchgeo.models, enum), member)
    make = partial(getattr(torchgeo.models, wanted), **family.arguments)
    try:
        net = _untrained(make) if weights is None else make(weights=weights)
    except OSError as err:
        raise CheckpointError(
            f"The weights of {wanted!r} cannot be fetched ({err}). Call once with a network: they stay in "
            f"{torch.hub.get_dir()}/checkpoints. Or copy that file from a machine that has it."
        ) from err
    return TorchgeoEncoder(net.eval().requires_grad_(False), family).eval()


def torchgeo_hash(encoder: TorchgeoEncoder) -> str:
    """First 16 hexadecimal digits of the SHA-256 over all weights."""
    state = encoder.state_dict()
    return sha256(b"".join(state[k].cpu().contiguous().numpy().tobytes() for k in sorted(state)))[:16]


def _untrained(make: Callable[[], nn.Module]) -> nn.Module:
    """Random weights that do not change the caller's random numbers and are the same each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make()


def _dofa_tokens(net: Any, images: Images, pixel_m: float) -> Tensor:
    waves = torch.tensor([w / 1e3 if w > 0 else _DOFA_RADAR_UM for w in images.nm])
    tokens, _ = net.patch_embed(images.pixels, waves)
    x = torch.cat([net.cls_token.expand(len(tokens), -1, -1), tokens], 1) + net.pos_embed
    for block in net.blocks:
        x = block(x)
    norm = net.fc_norm if net.global_pool else net.norm
    return norm(x[:, 1:])


def _panopticon_tokens(net: Any, images: Images, pixel_m: float) -> Tensor:
    channels = [w if w > 0 else _PANOPTICON_RADAR[k] for w, k in zip(images.nm, images.kinds, strict=True)]
    batch = {"imgs": images.pixels, "chn_ids": torch.tensor([channels] * len(images.pixels))}
    return net.model.forward_features(batch)[:, 1:]


def _croma_tokens(net: Any, images: Images, pixel_m: float) -> Tensor:
    optical = images.nm[0] > 0
    encoder = net.s2_encoder if optical else net.s1_encoder
    return encoder(imgs=images.pixels, attn_bias=net.attn_bias)


def _scalemae_tokens(net: Any, images: Images, pixel_m: float) -> Tensor:
    net.res = pixel_m
    return net.forward_features(images.pixels)[:, 1:]


def _copernicusfm_tokens(net: Any, images: Images, pixel_m: float) -> Tensor:
    """All tokens after the last block, by its norm; place and date are not told (NaN: its own tokens for "unknown")."""
    kept: list[Tensor] = []
    hook = net.blocks[-1].register_forward_hook(lambda _m, _i, out: kept.append(out))
    unknown = torch.full((len(images.pixels), 4), float("nan"))
    unknown[:, 3] = (_COPERNICUS_PATCH * pixel_m / 1e3) ** 2
    known = zip(images.nm, images.widths_nm, strict=True)
    waves, widths = zip(*((w, b) if w > 0 else _COPERNICUS_RADAR_NM for w, b in known), strict=True)
    try:
        net.forward_features(images.pixels, unknown, list(waves), list(widths), kernel_size=_COPERNICUS_PATCH)
    finally:
        hook.remove()
    return (net.fc_norm if net.global_pool else net.norm)(kept[0][:, 1:])


_DOFA_RADAR_UM = 3.75
"""Sentinel-1's "wavelength" as DOFA's examples have it, from memory: not checked against its training code."""
_PANOPTICON_RADAR = {3: -1, 4: -2, 5: -3, 6: -4}
"""Band kinds VV, VH, HH, HV -> channel ids of Panopticon, any orbit."""
_COPERNICUS_RADAR_NM = (5e7, 1e9)
"""Sentinel-1's wavelength and width as Copernicus-FM's examples have them, from memory: not checked either."""
_COPERNICUS_PATCH = 16

_FAMILIES = (
    _Family(
        {
            "dofa_small_patch16_224": None,
            "dofa_base_patch16_224": "DOFABase16_Weights.DOFA_MAE",
            "dofa_large_patch16_224": "DOFALarge16_Weights.DOFA_MAE",
        },
        224, lambda net: int(net.pos_embed.shape[-1]), spectral_inputs, _dofa_tokens, {},
    ),
    _Family(
        {"panopticon_vitb14": "Panopticon_Weights.VIT_BASE14"},
        224, lambda net: int(net.model.embed_dim), spectral_inputs, _panopticon_tokens, {},
    ),
    _Family(
        {"croma_base": "CROMABase_Weights.CROMA_VIT", "croma_large": "CROMALarge_Weights.CROMA_VIT"},
        120, lambda net: int(net.encoder_dim), croma_inputs, _croma_tokens, {},
    ),
    _Family(
        {"scalemae_large_patch16": "ScaleMAELarge16_Weights.FMOW_RGB"},
        224, lambda net: int(net.embed_dim), rgb_inputs, _scalemae_tokens, {"img_size": 224},
    ),
    _Family(
        {"copernicusfm_base": "CopernicusFM_Base_Weights.CopernicusFM_ViT"},
        224, lambda net: int(net.pos_embed.shape[-1]), spectral_inputs, _copernicusfm_tokens, {},
    ),
)  # fmt: skip
