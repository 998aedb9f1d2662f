"""`Signature`: what an image says of a place in closed form: colours, textures, roughness. Fitted once, never trained.

Its dimensions are the mean of the encoder's local dimensions before any learning (``encoder.py``) and, read from a clean
view by all sensors, the targets of its training (``train/targets.py``). Its constants are set by ``train/fitting.py``.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from georeset_lab.models.pixels import Series
from georeset_lab.models.responses import rectified_means
from georeset_lab.models.spectrum import WAVELENGTHS_UM

_SHARES = {"pixel": 8, "texture": 20, "radar": 8, "wide": 18, "teacher": 10}
"""Of 64 dimensions, in order; other sizes are shared out alike."""
BLOCKS = tuple(_SHARES)
LOCAL = ("pixel", "texture", "radar", "wide")
N_OPTICAL, N_RADAR = len(WAVELENGTHS_UM), 2
FARTHEST = 4.0
"""Standard deviations at which a dimension is cut off: snow, glint and another sensor's pixels stay within bounds."""


class Answers(NamedTuple):
    """What the kernels answer in cells, (..., Ny, Nx, F): sums over pixels, in shares of a cell; those of dates add up."""

    optical: Tensor
    radar: Tensor
    light: Tensor
    """(..., Ny, Nx, 1): pixels that saw reflectance."""
    echo: Tensor
    """(..., Ny, Nx, 1): pixels that saw backscatter."""

    def means(self) -> Tensor:
        """Mean answers of what was seen: optical, then radar; 0 where nothing was."""
        pairs = ((self.optical, self.light), (self.radar, self.echo))
        return torch.cat([total / share.clamp_min(1e-9) for total, share in pairs], -1)


class Signature(nn.Module):
    """Principal components of colours and of rectified random responses, turned at random.

    Parameters
    ----------
    sizes : dict
        Dimensions of each block, from `share_out`; block ``teacher`` has none here.
    n_kernels : int
        Optical kernels; half as many read the radar.

    Notes
    -----
    Ours. Whitened components cost up to ten points of accuracy at 5 labels; components turned by a random rotation cost
    none, and every dimension still has variance 1, that of the prior (README, "What was tried").
    """

    def __init__(self, sizes: dict[str, int], n_kernels: int) -> None:
        super().__init__()
        self.sizes, self.n_kernels = dict(sizes), n_kernels
        n_rough = n_kernels // 2
        widths = {"pixel": N_OPTICAL, "texture": 2 * n_kernels, "radar": 2 * n_rough, "wide": 2 * n_kernels}
        self.n_features = widths["texture"] + widths["radar"]
        for name, bands, count in (("optical", N_OPTICAL, n_kernels), ("echo", N_RADAR, n_rough)):
            self.register_buffer(f"{name}_kernels", torch.randn(count, bands, 3, 3) / (9 * bands) ** 0.5)
            self.register_buffer(f"{name}_threshold", torch.zeros(count))
        for block, width in widths.items():
            self.register_buffer(f"{block}_centre", torch.zeros(width))
            self.register_buffer(f"{block}_turn", torch.randn(width, sizes[block]) / width**0.5)

    def answers(self, series: Series, patch: int) -> Answers:
        """Answers of the kernels in each cell of each date, (B, T, Ny, Nx, F).

        Parameters
        ----------
        series : Series
            Of a batch, (B, T, R', Y, X).
        patch : int
            Pixels along the side of a cell.
        """
        values, channels = series.values, series.channels
        b, t = values.shape[:2]
        totals, shares = [], []
        for name, part in (("optical", channels.optical), ("echo", channels.radar)):
            kernels = self.get_buffer(f"{name}_kernels")
            if part.start == part.stop:
                blank = values.new_zeros(b, t, *(n // patch for n in values.shape[-2:]), 2 * len(kernels) + 1)
                totals.append(blank[..., :-1])
                shares.append(blank[..., -1:])
                continue
            columns = channels.places[part] - (0 if name == "optical" else N_OPTICAL)
            means, share = rectified_means(
                values[:, :, part].flatten(0, 1),
                series.saw(part).flatten(0, 1),
                kernels[:, columns],
                self.get_buffer(f"{name}_threshold"),
                patch,
            )
            totals.append((means * share[..., None]).unflatten(0, (b, t)))
            shares.append(share[..., None].unflatten(0, (b, t)))
        return Answers(*totals, *shares)

    def read_cells(self, answers: Answers) -> dict[str, Tensor]:
        """Dimensions of cells, (..., size) for each of the blocks texture, radar and wide; 0 where not seen."""
        n, means = 2 * self.n_kernels, answers.means()
        parts = {
            "texture": (means[..., :n], answers.light),
            "radar": (means[..., n:], answers.echo),
            "wide": (means[..., :n], answers.light),
        }
        return {block: self._turn(block, z) * (share > 0) for block, (z, share) in parts.items()}

    def read_pixels(self, colours: Tensor, lit: Tensor) -> Tensor:
        """Dimensions of pixels (..., size) from the optical virtual bands (..., 10); 0 where no light was seen (...).

        A sensor without reflectance has no colours, (..., 0).
        """
        if not colours.shape[-1]:
            return colours.new_zeros(*lit.shape, self.sizes["pixel"])
        return self._turn("pixel", colours) * lit[..., None]

    def parts(self, of_cells: Tensor, colours: Tensor, lit: Tensor) -> dict[int, Tensor]:
        """What is known of the local dimensions, each part under its first dimension; arguments as of `whole`."""
        return {0: self.read_pixels(colours, lit), self.sizes["pixel"]: of_cells}

    def whole(self, of_cells: Tensor, colours: Tensor, lit: Tensor) -> Tensor:
        """All dimensions (..., D) in the order of the blocks; the teacher's are 0.

        Parameters
        ----------
        of_cells : Tensor, shape (..., n)
            Texture, radar and wide.
        colours : Tensor, shape (..., 10) or, of a sensor without reflectance, (..., 0)
        lit : Tensor, shape (...), bool
        """
        unknown = of_cells.new_zeros(*of_cells.shape[:-1], self.sizes["teacher"])
        return torch.cat([self.read_pixels(colours, lit), of_cells, unknown], -1)

    def _turn(self, block: str, features: Tensor) -> Tensor:
        turned: Tensor = (features - self.get_buffer(f"{block}_centre")) @ self.get_buffer(f"{block}_turn")
        return turned.clamp(-FARTHEST, FARTHEST)


def share_out(latent_dim: int, n_local: int) -> dict[str, int]:
    """Dimensions of each block; all but the last fill ``n_local``, the last the rest."""
    sizes: dict[str, int] = {}
    for names, room in ((LOCAL, n_local), (tuple(b for b in BLOCKS if b not in LOCAL), latent_dim - n_local)):
        whole = sum(_SHARES[n] for n in names)
        edges = [round(room * sum(_SHARES[n] for n in names[:i]) / whole) for i in range(len(names) + 1)]
        sizes |= {n: edges[i + 1] - edges[i] for i, n in enumerate(names)}
    return sizes
