"""What a loss needs of the shapes it is given; one message for all of them."""

from __future__ import annotations

from torch import Tensor

from georeset_lab.errors import ShapeMismatch


def require_one_shape(name: str, needed: str, *tensors: Tensor) -> None:
    """Raise ShapeMismatch unless all ``tensors`` have one shape; ``needed`` ends the sentence "name needs ..."."""
    if len({tensor.shape for tensor in tensors}) > 1:
        given = ", ".join(str(tuple(tensor.shape)) for tensor in tensors)
        raise ShapeMismatch(f"{name} got tensors of shape {given}; it needs {needed}.")


def require_square(name: str, scores: Tensor) -> None:
    """Raise ShapeMismatch unless ``scores`` is a table of every pair of a batch, (B, B)."""
    if scores.ndim != 2 or scores.shape[0] != scores.shape[1]:
        raise ShapeMismatch(f"{name} got a table of shape {tuple(scores.shape)}; it needs a square matrix (B, B).")


def require_gaussians(name: str, mean1: Tensor, var1: Tensor, mean2: Tensor, var2: Tensor) -> None:
    """Raise ShapeMismatch unless both sides hold means and variances (B, D) with one D."""
    if not (mean1.ndim == mean2.ndim == 2 and mean1.shape == var1.shape and mean2.shape == var2.shape) or (
        mean1.shape[1] != mean2.shape[1]
    ):
        given = ", ".join(str(tuple(tensor.shape)) for tensor in (mean1, var1, mean2, var2))
        raise ShapeMismatch(
            f"{name} got {given}; it needs mean and variance of one shape (B, D) on each side, with the same D."
        )
