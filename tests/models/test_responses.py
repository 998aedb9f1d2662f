"""Responses: against plain loops, with holes, and linear in nothing but what was measured."""

from __future__ import annotations

import numpy as np
import torch

from georeset_lab.models.responses import Responses


def test_they_are_the_mean_rectified_answers_of_the_measured_pixels() -> None:
    torch.manual_seed(0)
    module = Responses(3, 4).requires_grad_(False)
    values, measured = torch.randn(1, 2, 3, 12, 12), torch.rand(1, 2, 12, 12) > 0.3
    values = values * measured[:, :, None]
    out = module(values, measured, 6)
    weight, bias = module.kernels.weight.numpy(), module.kernels.bias.numpy()
    padded = np.pad(values[0].numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)))
    for cell in np.ndindex(2, 2):
        answers = []
        for t, y, x in np.ndindex(2, 6, 6):
            row, col = 6 * cell[0] + y, 6 * cell[1] + x
            if measured[0, t, row, col]:
                answers.append(np.einsum("krij,rij->k", weight, padded[t, :, row : row + 3, col : col + 3]) + bias)
        both = np.concatenate([np.maximum(answers, 0), np.maximum(np.negative(answers), 0)], 1).mean(0)
        np.testing.assert_allclose(out[0, cell[0], cell[1]], both, atol=1e-5)


def test_a_cell_without_measurement_is_zero() -> None:
    module = Responses(3, 4).requires_grad_(False)
    out = module(torch.zeros(1, 1, 3, 12, 12), torch.zeros(1, 1, 12, 12, dtype=torch.bool), 6)
    assert torch.equal(out, torch.zeros(1, 2, 2, 8))
