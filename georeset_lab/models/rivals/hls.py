"""`HlsLike`: every sensor brought to the seven bands and 30 m of Harmonized Landsat Sentinel-2, then one network."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from georeset_lab.data.bands import band_table
from georeset_lab.data.sensors import sensor
from georeset_lab.models.normalise import normalise
from georeset_lab.models.rivals.plain import patches
from georeset_lab.models.rivals.slots import fill, home, slot_table

PIXEL_M = 30.0
SLOPE_OFFSET = {
    "s2a": ((.9959, -.0002), (.9778, -.004), (1.0053, -.0009), (.9765, .0009), (.9983, -.0001), (.9987, -.0011),
            (1.003, -.0012)),
    "s2b": ((.9959, -.0002), (.9778, -.004), (1.0075, -.0008), (.9761, .001), (.9966, 0.0), (1.0, -.0003),
            (.9867, .0004)),
}  # fmt: skip
"""Sentinel-2 to OLI band-pass adjustment, slope and offset of CA, B, G, R, NIR (8A), SWIR 1, SWIR 2 (hls.gsfc.nasa.gov)."""

_S2_BANDS = ("B01", "B02", "B03", "B04", "B8A", "B11", "B12")
_S2B_UM = (0.4422, 0.4921, 0.559, 0.6649, 0.864, 1.6104, 2.1857)
_BLOCKS = (24, 12, 8, 6, 4, 3, 2, 1)
"""Sides of blocks of pixels that fit the stride of the windows."""
_ALIKE_UM = 0.02


class HlsLike(nn.Module):
    """Seven bands at 30 m and their masks through one patch projection.

    Parameters
    ----------
    width, token_px : int

    Notes
    -----
    "HLS-like", not HLS: made from L2A products, so of the official chain (Claverie et al. 2018) it has the band-pass
    adjustment and the 30 m grid, but not LaSRC, Fmask or the view-angle correction. Pixels finer than 30 m are averaged
    over blocks and repeated, so the tokens lie where those of the other rivals do. Sensors other than Sentinel-2 and
    Landsat 8 fill the seven bands as in `georeset_lab.models.rivals.slots.fill`, without adjustment.
    """

    def __init__(self, width: int, token_px: int) -> None:
        super().__init__()
        self.side = token_px
        self.project = nn.Linear(2 * len(_S2_BANDS) * token_px**2, width)

    def forward(self, x: Tensor, bands: Tensor, pixel_m: float) -> tuple[Tensor, Tensor]:
        """Tokens and which of them were measured; see `georeset_lab.models.rivals.plain.Tokenizer`."""
        values = to_hls(x, bands, pixel_m)
        seen = torch.isfinite(values)
        table = slot_table("landsat-8-l2").to(x)
        full = torch.cat([torch.nan_to_num(normalise(values, table)), seen.to(x.dtype)], 1)
        return self.project(patches(full, self.side).flatten(-2)), patches(seen, self.side).any(-1).any(-1)


def to_hls(x: Tensor, bands: Tensor, pixel_m: float) -> Tensor:
    """The seven HLS bands (N, 7, Y, X) on the pixels given; NaN where there is none.

    Parameters
    ----------
    x : Tensor, shape (N, C, Y, X)
        Surface reflectance.
    bands : Tensor, shape (C, 4)
    pixel_m : float
        Side of a pixel; finer ones than 30 m are averaged over the largest block up to 30 m that fits.
    """
    oli = slot_table("landsat-8-l2").to(x)
    s2 = _sentinel2().to(x)
    tables = [oli.cpu(), slot_table("sentinel-2-l2a")]
    if home(bands, tables) == 1 and _is_sentinel2(bands):
        values = fill(x, bands, s2)
        numbers = x.new_tensor(SLOPE_OFFSET[_satellite(bands)])
        values = values * numbers[:, 0, None, None] + numbers[:, 1, None, None]
    else:
        values = fill(x, bands, oli)
    block = next(n for n in _BLOCKS if n * pixel_m <= PIXEL_M * 1.01 or n == 1)
    if block == 1:
        return values
    seen = torch.isfinite(values).to(values.dtype)
    share = F.avg_pool2d(seen, block)
    mean = F.avg_pool2d(torch.nan_to_num(values), block) / share
    return mean.masked_fill(share == 0, torch.nan).repeat_interleave(block, 2).repeat_interleave(block, 3)


def _sentinel2() -> Tensor:
    of_name = {b.name: b for b in sensor("sentinel-2-l2a").bands}
    return torch.from_numpy(band_table([of_name[n] for n in _S2_BANDS]))


def _is_sentinel2(bands: Tensor) -> bool:
    """Whether all reflectance bands lie on bands of Sentinel-2."""
    known = torch.cat([slot_table("sentinel-2-l2a")[:, 0], torch.tensor([1.3735])])
    light = bands[bands[:, 3] == 0, 0].cpu()
    return bool(((light[:, None] - known).abs().min(1).values < _ALIKE_UM).all())


def _satellite(bands: Tensor) -> str:
    """``"s2a"`` or ``"s2b"``, whichever the centres are nearer to."""
    centres = bands[bands[:, 3] == 0, 0].cpu()[:, None]
    a, b = (torch.tensor(um) for um in (tuple(_sentinel2()[:, 0].tolist()), _S2B_UM))
    away = [((centres - um).abs().min(0).values).sum() for um in (a, b)]
    return "s2a" if bool(away[0] <= away[1]) else "s2b"
