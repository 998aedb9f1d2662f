"""Rectified means: against plain loops, with holes, and 0 where nothing counts."""

from __future__ import annotations

import numpy as np
import torch

from georeset_lab.models.responses import rectified_means


def test_they_are_the_mean_rectified_answers_of_the_measured_pixels() -> None:
    torch.manual_seed(0)
    values, present = torch.randn(2, 3, 12, 12), torch.rand(2, 12, 12) > 0.3
    kernels, threshold = torch.randn(4, 3, 3, 3), torch.randn(4)
    means, share = rectified_means(values, present, kernels, threshold, 6)
    assert torch.equal(share, present.view(2, 2, 6, 2, 6).float().mean((2, 4)))
    padded = np.pad(values.numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)))
    for n, i, j in np.ndindex(2, 2, 2):
        answers = []
        for y, x in np.ndindex(6, 6):
            row, col = 6 * i + y, 6 * j + x
            if present[n, row, col]:
                patch = padded[n, :, row : row + 3, col : col + 3]
                answers.append(np.einsum("krij,rij->k", kernels.numpy(), patch) - threshold.numpy())
        both = np.concatenate([np.maximum(answers, 0), np.maximum(np.negative(answers), 0)], 1).mean(0)
        np.testing.assert_allclose(means[n, i, j], both, atol=1e-5)


def test_a_cell_without_a_pixel_that_counts_is_zero() -> None:
    means, share = rectified_means(
        torch.zeros(1, 3, 12, 12), torch.zeros(1, 12, 12, dtype=torch.bool), torch.ones(4, 3, 3, 3), torch.ones(4), 6
    )
    assert torch.equal(means, torch.zeros(1, 2, 2, 8))
    assert float(share.max()) == 0.0
