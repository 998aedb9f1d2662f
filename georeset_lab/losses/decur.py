"""DeCUR: correlations that make some dimensions common to two modalities and leave the rest to each."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from georeset_lab.errors import ShapeMismatch
from georeset_lab.losses.shapes import require_one_shape

OFF_DIAGONAL_WEIGHT = 0.0051
"""Weight of the off-diagonal correlations: ``lambd`` of DeCUR and of Barlow Twins."""


def decur_loss(
    first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor], n_common: int, *, weight: float = OFF_DIAGONAL_WEIGHT
) -> Tensor:
    """Distance of the correlations of two modalities from "common dimensions agree, the others have nothing in common".

    Parameters
    ----------
    first, second : pair of Tensor, shape (B, D)
        Two views of one modality, then two of the other; at least two samples.
    n_common : int
        The first ``n_common`` dimensions are shared by the modalities, 0 to D; DeCUR takes 7/8 of D for S1 with S2.
    weight : float
        Weight of the off-diagonal terms.

    Returns
    -------
    Tensor, shape ()
        0 when every target is met; unchanged if a dimension is shifted or rescaled.

    Raises
    ------
    ShapeMismatch
        The four embeddings differ in shape, or have fewer than ``n_common`` dimensions.

    Notes
    -----
    Wang et al. (2024), "Decoupling common and unique representations for multimodal self-supervised learning", with the
    averages of the published code (``models/decur.py``): a third for each modality by itself and a third across, itself
    half common and half unique. Across modalities only the first views meet, and correlations between a common and a
    unique dimension are free; within a modality all dimensions are pushed to the identity, so the unique ones stay
    informative.
    """
    require_one_shape("decur_loss", "two views of each modality, all of one shape (B, D)", *first, *second)
    if not 0 <= n_common <= first[0].shape[-1]:
        raise ShapeMismatch(
            f"decur_loss got n_common={n_common} for {first[0].shape[-1]} dimensions; it needs 0 <= n_common <= D."
        )
    across = correlation(first[0], second[0])
    common = _off_target(across[:n_common, :n_common], 1.0, weight)
    unique = _off_target(across[n_common:, n_common:], 0.0, weight)
    within = sum(_off_target(correlation(*views), 1.0, weight) for views in (first, second))
    return (within + 0.5 * (common + unique)) / 3.0


def correlation(first: Tensor, second: Tensor) -> Tensor:
    """Correlation (D, D) over the batch of every dimension of one embedding (B, D) with every one of the other."""
    z1, z2 = (F.batch_norm(z, None, None, training=True) for z in (first, second))
    return z1.T @ z2 / len(first)


def _off_target(matrix: Tensor, diagonal: float, weight: float) -> Tensor:
    """Squared distance of the diagonal from its target, plus the weighted squares off the diagonal."""
    found = matrix.diagonal()
    return ((found - diagonal) ** 2).sum() + weight * ((matrix**2).sum() - (found**2).sum())
