"""What torchgeo's published encoders want to be given: which bands, and how scaled. One function for each manner."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from georeset_lab.errors import BandMismatch

__all__ = ["Images", "croma_inputs", "rgb_inputs", "spectral_inputs"]

_KIND_LIGHT, _KIND_VV, _KIND_VH, _KIND_HH, _KIND_HV = 0, 3, 4, 5, 6  # codes of `band_table`

# Sentinel-2 without B10: centre in nm, then mean and standard deviation of 10000 x reflectance in SSL4EO-S12 (Wang et al.
# 2023, as in torchgeo.models.resnet). The encoders were trained on data scaled by statistics of their own sets; one fixed
# table keeps absolute reflectance and lets tiles of a scene agree, which statistics of each image would not.
_S2_NM = (442.7, 492.4, 559.8, 664.6, 704.1, 740.5, 782.8, 832.8, 864.7, 945.1, 1613.7, 2202.4)
_S2_MEAN = (1612.9, 1397.6, 1322.3, 1373.1, 1561.0, 2108.4, 2390.7, 2318.7, 2581.0, 837.7, 2195.2, 1537.4)
_S2_STD = (791.0, 854.3, 878.7, 1144.9, 1127.5, 1164.2, 1276.0, 1249.5, 1345.9, 577.5, 1340.0, 1142.9)
_S1_MEAN, _S1_STD = {"co": -12.59, "cross": -20.26}, {"co": 5.26, "cross": 5.91}

_RGB_NM = (664.6, 559.8, 492.4)
_TRUE_COLOUR_WHITE = 0.3
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_NEAR_NM = 40.0


@dataclass(frozen=True)
class Images:
    """Scaled images and what their channels are."""

    pixels: Tensor
    """(N, C, Y, X), 0 (the mean) where nothing was measured."""
    nm: tuple[float, ...]
    """Centre wavelength of each channel; 0 for radar."""
    widths_nm: tuple[float, ...]
    kinds: tuple[int, ...]
    """Kind codes of `georeset_lab.data.bands.band_table`."""

    def of(self, pixels: Tensor) -> Images:
        """The same channels of other pixels."""
        return replace(self, pixels=pixels)


def spectral_inputs(x: Tensor, bands: Tensor) -> Images:
    """Every reflectance and backscatter band, standardised by a fixed table that is interpolated over wavelength.

    Parameters
    ----------
    x : Tensor, shape (N, C, Y, X)
        Reflectance 0..1, backscatter in dB; NaN where nothing was measured.
    bands : Tensor, shape (C, 4)
        Band table.

    Raises
    ------
    BandMismatch
        There is neither.
    """
    keep = [i for i, kind in enumerate(bands[:, 3].tolist()) if int(kind) == _KIND_LIGHT or int(kind) >= _KIND_VV]
    if not keep:
        raise BandMismatch(
            "This encoder reads reflectance and backscatter; the modality has neither. Leave it out: encode(scene, "
            "modalities=[...]), or use model='default', which reads temperature and elevation too."
        )
    chosen = bands[keep]
    kinds = tuple(int(k) for k in chosen[:, 3].tolist())
    light = chosen[:, 3] == _KIND_LIGHT
    nm = torch.where(light, chosen[:, 0] * 1e3, 0.0)
    mean, std = (_along(nm, table) / 1e4 for table in (_S2_MEAN, _S2_STD))
    for i, kind in enumerate(kinds):
        if kind != _KIND_LIGHT:
            way = "co" if kind in (_KIND_VV, _KIND_HH) else "cross"
            mean[i], std[i] = _S1_MEAN[way], _S1_STD[way]
    scaled = (x[:, keep] - mean[:, None, None]) / std[:, None, None]
    widths = torch.where(light, chosen[:, 1] * 1e3, 0.0)
    return Images(torch.nan_to_num(scaled), tuple(nm.tolist()), tuple(widths.tolist()), kinds)


def croma_inputs(x: Tensor, bands: Tensor) -> Images:
    """The twelve bands of Sentinel-2, or VV and VH of Sentinel-1, 0..1 between two deviations around the mean.

    A band that is not there is replaced by the nearest one that is, as in the authors' examples for other sensors.

    Raises
    ------
    BandMismatch
        There is neither reflectance nor VV and VH.
    """
    whole = spectral_inputs(x, bands)
    radar = [i for i, kind in enumerate(whole.kinds) if kind in (_KIND_VV, _KIND_VH)]
    light = [i for i, kind in enumerate(whole.kinds) if kind == _KIND_LIGHT]
    if light:
        order = [min(light, key=lambda i: abs(whole.nm[i] - nm)) for nm in _S2_NM]
    elif {whole.kinds[i] for i in radar} == {_KIND_VV, _KIND_VH}:
        order = sorted(radar, key=lambda i: whole.kinds[i])
    else:
        raise BandMismatch("CROMA reads Sentinel-2, or VV with VH of Sentinel-1; use model='default' for other bands.")
    pixels = (whole.pixels[:, order] / 4.0 + 0.5).clamp(0.0, 1.0)
    nm, widths = (tuple(z[i] for i in order) for z in (whole.nm, whole.widths_nm))
    return Images(pixels, nm, widths, tuple(whole.kinds[i] for i in order))


def rgb_inputs(x: Tensor, bands: Tensor) -> Images:
    """Red, green and blue as a picture: white at reflectance 0.3, then the statistics of ImageNet.

    Raises
    ------
    BandMismatch
        One of the three colours is missing.
    """
    light = [i for i, kind in enumerate(bands[:, 3].tolist()) if int(kind) == _KIND_LIGHT]
    centres = (bands[:, 0] * 1e3).tolist()
    order = [min(light, key=lambda i: abs(centres[i] - nm), default=None) for nm in _RGB_NM]
    chosen = [i for i, nm in zip(order, _RGB_NM, strict=True) if i is not None and abs(centres[i] - nm) < _NEAR_NM]
    if len(set(chosen)) < len(_RGB_NM):
        raise BandMismatch(
            "This encoder reads red, green and blue; not all three are there. Use model='default', which reads any bands."
        )
    mean, std = (x.new_tensor(z)[:, None, None] for z in (_IMAGENET_MEAN, _IMAGENET_STD))
    scaled = ((x[:, chosen] / _TRUE_COLOUR_WHITE).clamp(0.0, 1.0) - mean) / std
    widths = tuple(float(bands[i, 1]) * 1e3 for i in chosen)
    return Images(torch.nan_to_num(scaled), tuple(centres[i] for i in chosen), widths, (_KIND_LIGHT,) * 3)


def _along(nm: Tensor, table: tuple[float, ...]) -> Tensor:
    """Values of a table at wavelengths, linear between its bands and constant beyond. The water vapour band is no neighbour."""
    known = [(w, v) for w, v in zip(_S2_NM, table, strict=True) if w != _S2_NM[9]]
    place, value = (nm.new_tensor(z) for z in zip(*known, strict=True))
    right = torch.searchsorted(place, nm.clamp(place[0], place[-1])).clamp(1, len(known) - 1)
    share = ((nm - place[right - 1]) / (place[right] - place[right - 1])).clamp(0.0, 1.0)
    return value[right - 1] * (1 - share) + value[right] * share
