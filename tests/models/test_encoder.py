"""What the encoder promises of any input: silence where nothing was measured, sharpness, and no trace of its windows."""

from __future__ import annotations

import copy
from itertools import combinations

import numpy as np
import pytest
import torch

from georeset_lab.data.bands import band_table
from georeset_lab.data.sensors import sensor
from georeset_lab.errors import ShapeMismatch
from georeset_lab.models.canvas import Map
from georeset_lab.models.checkpoint import load_model
from georeset_lab.models.core import WHOLE, core_of
from georeset_lab.models.encoder import Encoder, EncoderConfig
from georeset_lab.models.fusion import Gaussian
from georeset_lab.models.painting import paint
from georeset_lab.models.pixels import Series

CORE = 96
SIZE = CORE + 2 * 48


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    torch.manual_seed(0)
    return Encoder().eval().requires_grad_(False)


@pytest.fixture(scope="module")
def table() -> torch.Tensor:
    return torch.from_numpy(band_table(sensor("sentinel-2-l2a").bands))


def _texture(dates: int = 1, seed: int = 0, size: int = SIZE) -> torch.Tensor:
    return 0.1 + 0.2 * torch.rand(dates, 12, size, size, generator=torch.Generator().manual_seed(seed))


def _encode(encoder: Encoder, x: torch.Tensor, table: torch.Tensor, **options: object) -> Gaussian:
    settings = {"cell_m": 60.0, "day_of_year": torch.full((len(x),), float("nan")), **options}
    return encoder.dense(x, table, **settings)  # type: ignore[arg-type]


def test_output_is_the_core_pixel_major(encoder: Encoder, table: torch.Tensor) -> None:
    out = _encode(encoder, _texture(), table)
    assert out.eta.shape == out.tau.shape == (CORE, CORE, 64)
    assert float(out.tau.min()) >= 0


def test_pixels_without_measurement_are_silent_and_all_nan_gives_the_prior(
    encoder: Encoder, table: torch.Tensor
) -> None:
    x = _texture()
    x[:, :, 60:70, 60:80] = float("nan")
    out = _encode(encoder, x, table)
    hole = torch.zeros(CORE, CORE, dtype=torch.bool)
    hole[12:22, 12:32] = True
    assert float(out.tau[hole].abs().max()) == float(out.eta[hole].abs().max()) == 0.0
    assert float(out.tau[~hole].sum(-1).min()) > 0
    nothing = _encode(encoder, torch.full_like(x, float("nan")), table)
    assert float(nothing.tau.abs().max()) == float(nothing.eta.abs().max()) == 0.0


def test_order_of_bands_does_not_matter(encoder: Encoder, table: torch.Tensor) -> None:
    x, order = _texture(), torch.randperm(12, generator=torch.Generator().manual_seed(3))
    a, b = _encode(encoder, x, table), _encode(encoder, x[:, order], table[order])
    torch.testing.assert_close(a.mean, b.mean, atol=1e-5, rtol=0)
    torch.testing.assert_close(a.var, b.var, atol=1e-5, rtol=0)


def test_a_date_without_measurement_changes_nothing(encoder: Encoder, table: torch.Tensor) -> None:
    x = _texture(dates=2)
    x[1] = float("nan")
    days = torch.tensor([100.0, 200.0])
    both = _encode(encoder, x, table, day_of_year=days)
    one = _encode(encoder, x[:1], table, day_of_year=days[:1])
    torch.testing.assert_close(both.mean, one.mean, atol=1e-5, rtol=0)


@pytest.mark.parametrize("dates", [1, 2])
def test_what_lies_beyond_the_scene_changes_nothing(encoder: Encoder, table: torch.Tensor, dates: int) -> None:
    scene = _texture(dates, size=96)
    scene[:, :, :5] = float("nan")  # the scene begins inside a stride
    said = []
    for beyond in (Encoder.rim_cells * 6, 24, Encoder.margin_cells * 6):
        x = torch.full((dates, 12, 96 + 2 * beyond, 96 + 2 * beyond), float("nan"))
        inside = slice(beyond, beyond + 96)
        x[:, :, inside, inside] = scene
        said.append(_encode(encoder, x, table, core=(inside, inside)))
    for other in said[1:]:
        torch.testing.assert_close(said[0].mean, other.mean, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(said[0].var, other.var, atol=1e-6, rtol=1e-5)


def test_weights_that_are_being_trained_give_the_same_map(encoder: Encoder, table: torch.Tensor) -> None:
    x, frozen = _texture(), _encode(encoder, _texture(), table)
    trained = copy.deepcopy(encoder).requires_grad_(True)
    torch.testing.assert_close(_encode(trained, x, table).eta, frozen.eta)


def test_a_core_is_a_cut_of_the_whole(encoder: Encoder, table: torch.Tensor) -> None:
    x = _texture()
    whole = _encode(encoder, x, table, core=WHOLE)
    for core in ((slice(0, 1), slice(3, 50)), (slice(17, 91), slice(100, None))):
        cut = _encode(encoder, x, table, core=core)
        torch.testing.assert_close(cut.eta, whole.eta[core], atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(cut.tau, whole.tau[core], atol=1e-6, rtol=1e-5)


def test_shifting_the_scene_by_a_stride_shifts_the_map(encoder: Encoder, table: torch.Tensor) -> None:
    step = 24
    x = _texture(size=SIZE + step)
    a, b = _encode(encoder, x[:, :, :SIZE, :SIZE], table), _encode(encoder, x[:, :, step:, step:], table)
    torch.testing.assert_close(a.mean[step:, step:], b.mean[:-step, :-step], atol=2e-5, rtol=0)


def test_crops_agree_with_the_dense_path_of_one_window(table: torch.Tensor) -> None:
    torch.manual_seed(0)
    encoder = Encoder(EncoderConfig(context_power=1.0)).eval().requires_grad_(False)
    x = _texture(dates=2, size=48)
    x[0, :, 5:20, 7:20] = float("nan")
    days = torch.tensor([30.0, 200.0])
    points = torch.randint(0, 48, (1, 25, 2), generator=torch.Generator().manual_seed(0))
    crops = encoder.crops(x[None], table, cell_m=60.0, day_of_year=days[None], points=points)
    with torch.inference_mode():
        series = encoder._series(x[None], table)
        channels = series.channels
        parts = [encoder._cells(encoder._sum_cells(encoder._series(one[None, None], table)), channels) for one in x]
        tokens, valids = zip(
            *(encoder._tokens(part, 60.0, days[i : i + 1]) for i, part in enumerate(parts)), strict=True
        )
        attended = [
            encoder._attend(t.flatten(1, 2), v.flatten(1), 60.0).view(1, 4, 4, -1)
            for t, v in zip(tokens, valids, strict=True)
        ]
        context, _ = encoder._over_dates(torch.cat(attended), torch.cat(valids))
        cells = encoder._cells(encoder._sum_cells(series).over_dates(), channels)
        carried = torch.cat([encoder.head.cells(encoder._to_cells(context[None]), cells.near), cells.signature], -1)
        one, canvas = series.map(lambda z: z[0]), Map.of_its_own(core_of(x, WHOLE, 0), 64, torch.float32, x.device)
        paint(encoder.parts, carried[0], cells.look.known[0], cells.look.guide[0], one, canvas)
        dense = canvas.result
    row, col = points[0].T
    torch.testing.assert_close(dense.eta[row, col], crops.pixels.eta[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(dense.tau[row, col], crops.pixels.tau[0], atol=1e-5, rtol=1e-4)


# Reflectances of B01 .. B12 of plain covers; any two of them side by side make an edge.
COVERS = {
    "crop": (0.03, 0.04, 0.07, 0.05, 0.10, 0.25, 0.32, 0.34, 0.36, 0.36, 0.18, 0.09),
    "soil": (0.09, 0.10, 0.13, 0.17, 0.20, 0.22, 0.24, 0.26, 0.27, 0.28, 0.34, 0.29),
    "water": (0.04, 0.05, 0.05, 0.03, 0.03, 0.02, 0.02, 0.02, 0.02, 0.02, 0.01, 0.01),
    "roofs": (0.12, 0.13, 0.15, 0.16, 0.17, 0.19, 0.20, 0.21, 0.22, 0.22, 0.23, 0.22),
    "straw": (0.06, 0.07, 0.10, 0.13, 0.16, 0.20, 0.22, 0.24, 0.26, 0.26, 0.32, 0.22),
}


@pytest.mark.parametrize(("left", "right"), list(combinations(COVERS, 2)))
@pytest.mark.parametrize("name", ["untrained", "default"])
def test_a_planted_edge_rises_within_two_pixels(
    encoder: Encoder, table: torch.Tensor, name: str, left: str, right: str
) -> None:
    model = encoder if name == "untrained" else load_model(name).encoder
    x = torch.empty(1, 12, SIZE, SIZE)
    x[..., : SIZE // 2] = torch.tensor(COVERS[left])[None, :, None, None]
    x[..., SIZE // 2 :] = torch.tensor(COVERS[right])[None, :, None, None]
    x += 0.005 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    profile = _encode(model, x, table).mean[20:-20].mean(0)
    start = profile[:8].mean(0)
    axis = profile[-8:].mean(0) - start
    along = ((profile - start) @ axis / (axis @ axis)).numpy()
    between = np.flatnonzero((along > 0.1) & (along < 0.9))
    assert len(between) <= 1, along[40:56].round(2)


def test_deterministic_encoder_claims_the_same_precision_everywhere(table: torch.Tensor) -> None:
    torch.manual_seed(0)
    out = _encode(Encoder(EncoderConfig(deterministic=True)).eval(), _texture(), table)
    assert torch.equal(out.tau, torch.ones_like(out.tau))


def test_a_tile_that_is_not_whole_strides_is_refused(encoder: Encoder, table: torch.Tensor) -> None:
    with pytest.raises(ShapeMismatch, match=r"multiples of 24"):
        _encode(encoder, _texture(size=100), table)


def test_statistics_of_a_window_are_those_of_the_whole_image(encoder: Encoder, table: torch.Tensor) -> None:
    x = _texture(dates=2, size=48)
    x[0, :, 5:20, 7:20] = float("nan")
    with torch.inference_mode():
        values, cover, channels = encoder.basis(x, table)
        series = Series(values, cover, torch.isfinite(x).any(1), channels)
        whole = encoder.statistics._over_dates(series, *encoder.statistics._squares(series))
        for first, size in (((0, 0), (48, 48)), ((6, 0), (12, 30)), ((30, 36), (18, 12))):
            part = encoder.statistics.window(series, first, size)
            for z, all_of_it in zip(part, whole, strict=True):
                inside = all_of_it[..., first[0] : first[0] + size[0], first[1] : first[1] + size[1]]
                torch.testing.assert_close(z, inside, atol=1e-6, rtol=1e-5)
