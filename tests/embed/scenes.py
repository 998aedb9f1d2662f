"""Small scenes and a transparent encoder for the tests of encoding."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox
from torch.nn import functional as F

from georeset_lab.data.bands import BandSpec
from georeset_lab.data.modality import Calibration, Modality
from georeset_lab.data.scene import Scene
from georeset_lab.embed.encoding.tiles import Needs
from georeset_lab.models.checkpoint import Model, make_model
from georeset_lab.models.encoder import Encoder, EncoderConfig
from georeset_lab.models.fusion import Gaussian

UTM = "EPSG:32633"
WAVES = (0.49, 0.56, 0.66, 0.83, 1.61)


def bands(n=3, gsd_m=10.0) -> tuple[BandSpec, ...]:
    return tuple(BandSpec(f"b{i}", WAVES[i % len(WAVES)], 0.03, gsd_m) for i in range(n))


def grid(shape, pixel=10.0, x0=600_000.0, y0=5_000_010.0) -> GeoBox:
    return GeoBox(shape, Affine(pixel, 0, x0, 0, -pixel, y0), UTM)


def modality(values, where=None, *, name="s2", times=None, pixel=10.0, **kwargs) -> Modality:
    """A modality of reflectance: values (T, C, Y, X), or (Y, X)."""
    values = np.asarray(values, np.float32)
    values = values.reshape((1,) * (4 - values.ndim) + values.shape)
    coords = {} if times is None else {"time": np.array(times, "datetime64[ns]")}
    raw = xr.DataArray(values, dims=("time", "band", "y", "x"), coords=coords)
    n = values.shape[1]
    where = where if where is not None else grid(values.shape[2:], pixel)
    specs = kwargs.pop("bands", bands(n, abs(where.affine.a) or pixel))
    return Modality(name, raw, specs, where, Calibration.identity(n), **kwargs)


def scene(*modalities: Modality) -> Scene:
    return Scene({m.name: m for m in modalities}, modalities[0].grid.crs, "test")


def texture(shape, n=3, seed=0, dates=1) -> np.ndarray:
    """Reflectance between 0 and 0.6, smooth and rough at once, shape (T, C, Y, X)."""
    rng = np.random.default_rng(seed)
    rough = rng.random((dates, n, *shape))
    y, x = np.indices(shape)
    smooth = np.sin(x / 17 + np.arange(n)[:, None, None]) * np.cos(y / 23)
    return np.asarray(0.2 + 0.1 * smooth + 0.2 * rough, np.float32)


NEEDS = Needs(EncoderConfig().stride, Encoder.margin_cells, Encoder.rim_cells)
"""What the encoder asks for."""


class Transparent:
    """Says what the pixels are and where it believes them to be.

    eta: 0 first band of the first date, 1 mean of the 13 x 13 around it, 2 and 3 row and column within the stride,
    4 number of dates, 5 day of year, 6 cell size. tau is 1 where something was measured.
    """

    config = SimpleNamespace(latent_dim=7, stride=4, patch=6, window=8, n_virtual=24)
    margin_cells = rim_cells = 8

    def parameters(self):
        return iter(())

    def eval(self):
        return self

    def dense(self, x, bands, *, cell_m, day_of_year, core, dtype):
        assert x.shape[2] % 24 == 0
        assert x.shape[3] % 24 == 0
        seen = torch.isfinite(x).any(1).any(0)
        own = torch.nan_to_num(x[0, 0])
        ones = torch.isfinite(x[0, 0]).float()
        around = F.avg_pool2d(own[None], 13, 1, 6)[0] / F.avg_pool2d(ones[None], 13, 1, 6)[0].clamp_min(1e-6)
        row, col = torch.meshgrid(torch.arange(x.shape[2]) % 24, torch.arange(x.shape[3]) % 24, indexing="ij")
        flat = [torch.full_like(own, float(v)) for v in (len(x), day_of_year[0], cell_m)]
        eta = torch.stack([own, around, row.float(), col.float(), *flat], -1) * seen[..., None]
        tau = seen[..., None].float().expand_as(eta)
        return Gaussian(torch.nan_to_num(eta)[core], tau[core]).to(dtype)


def transparent() -> Model:
    return Model(Transparent(), {}, "0" * 16, "transparent")


def tiny(seed=0) -> Model:
    """The real encoder, small and untrained."""
    torch.manual_seed(seed)
    config = EncoderConfig(latent_dim=8, n_local=6, width=32, depth=2, heads=2, n_learned=2, head_width=24)
    return make_model(Encoder(config), name="tiny", card={"seed": seed})
