import numpy as np
import pytest
import torch
from scipy import ndimage

from georeset_lab.models.pixels import Series
from georeset_lab.models.sharpness import LAGS, N_SHARPNESS, sharpness, sum_steps
from georeset_lab.models.spectral import Channels

CHANNELS = Channels(torch.arange(4), slice(0, 4), slice(0, 4), slice(0, 0))
PATCH, SIDE = 6, 48


def series_of(image: np.ndarray, measured: np.ndarray | None = None) -> Series:
    values = torch.tensor(image, dtype=torch.float32).expand(1, 1, 4, *image.shape).clone()
    seen = torch.ones(1, 1, *image.shape, dtype=torch.bool) if measured is None else torch.tensor(measured)[None, None]
    return Series(torch.where(seen[:, :, None], values, 0.0), torch.ones_like(values), seen, CHANNELS)


def sharpness_of(series: Series) -> torch.Tensor:
    return sharpness(*(z.sum(1) for z in sum_steps(series, PATCH)))


def calm(seed: int = 0) -> np.ndarray:
    return 1.0 + 0.02 * np.random.default_rng(seed).normal(size=(SIDE, SIDE))


def test_structure_function_equals_numpy():
    image = np.random.default_rng(3).normal(size=(SIDE, SIDE))
    found = sharpness_of(series_of(image))[0, 2, 3].double().numpy()
    rows, cols = np.mgrid[2 * PATCH : 3 * PATCH, 3 * PATCH : 4 * PATCH].reshape(2, -1)
    logs = []
    for lag in LAGS:
        down = (image[rows + lag, cols] - image[rows, cols]) ** 2
        right = (image[rows, cols + lag] - image[rows, cols]) ** 2
        logs.append(np.log(np.concatenate([down, right]).mean() + 1e-6))
    wanted = [(logs[0] + 6) / 3, (logs[1] - logs[0] - 0.7) / 0.5, (logs[2] - logs[1] - 0.7) / 0.5]
    assert found == pytest.approx(wanted, abs=1e-4)
    assert sharpness_of(series_of(image)).shape == (1, SIDE // PATCH, SIDE // PATCH, N_SHARPNESS)


def test_compiled_sums_are_those_of_the_formula():
    draw = np.random.default_rng(5)
    series = series_of(draw.normal(size=(SIDE, SIDE)), draw.random((SIDE, SIDE)) > 0.2)
    with torch.no_grad():
        compiled = sum_steps(series, PATCH)
    for mine, truth in zip(compiled, sum_steps(series, PATCH), strict=True):
        torch.testing.assert_close(mine, truth, rtol=1e-5, atol=1e-6)


def test_blur_is_told_from_a_calm_field_of_any_contrast():
    rich = 0.5 * ndimage.gaussian_filter(np.random.default_rng(1).normal(size=(SIDE, SIDE)), 1.0) + calm()
    for field in (calm(), rich, 5 * rich):
        before = sharpness_of(series_of(field))[..., 1].mean()
        for sigma in (1, 2, 4):
            after = sharpness_of(series_of(ndimage.gaussian_filter(field, sigma)))[..., 1].mean()
            assert after > before + 0.4
    assert (
        abs(float(sharpness_of(series_of(rich))[..., 1].mean() - sharpness_of(series_of(5 * rich - 4))[..., 1].mean()))
        < 0.05
    )


def test_what_was_not_measured_takes_no_part():
    image = calm(2)
    hole = np.ones((SIDE, SIDE), dtype=bool)
    hole[:, :14] = False
    found = sharpness_of(series_of(image, hole))
    assert (found[0, :, :2] == 0).all()
    spoilt = np.where(hole, image, 1e6)
    assert torch.equal(found, sharpness_of(series_of(spoilt, hole)))
    whole = sharpness_of(series_of(image))
    assert torch.equal(found[0, :, 3:], whole[0, :, 3:])
