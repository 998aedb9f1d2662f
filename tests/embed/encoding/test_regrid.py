"""Regridding agrees with a slow loop over pixel centres, whatever the grids, and does not depend on blocks or tiles."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from georeset_lab.embed.encoding.regrid import Regrid
from georeset_lab.embed.encoding.tiles import Span

UTM = "EPSG:32633"


def box(shape, affine) -> GeoBox:
    return GeoBox(shape, affine, UTM)


SOURCE = box((23, 31), Affine(10, 0, 600_000, 0, -10, 5_000_000))
TARGETS = {
    "same": SOURCE,
    "window of it": SOURCE[4:20, 3:9],
    "half a pixel off": box((22, 30), Affine(10, 0, 600_005, 0, -10, 4_999_995)),
    "finer": box((92, 124), Affine(2.5, 0, 600_000, 0, -2.5, 5_000_000)),
    "finer, not whole": box((70, 90), Affine(3.3, 0, 600_001, 0, -3.3, 5_000_000)),
    "coarser": box((8, 11), Affine(30, 0, 599_990, 0, -30, 5_000_010)),
    "coarser, not whole": box((17, 23), Affine(13.7, 0, 600_000, 0, -13.7, 5_000_000)),
    "coarser one way": box((5, 100), Affine(3.1, 0, 600_000, 0, -47, 5_000_000)),
    "upside down": box((9, 12), Affine(26, 0, 600_000, 0, 26, 4_999_770)),
    "one pixel": box((1, 1), Affine(1000, 0, 599_900, 0, -1000, 5_000_100)),
    "elsewhere": box((3, 3), Affine(10, 0, 700_000, 0, -10, 5_000_000)),
    "turned, coarser": box(
        (9, 9), Affine.translation(600_050, 4_999_990) * Affine.rotation(15) * Affine.scale(25, -25)
    ),
    "turned, finer": box((30, 30), Affine.translation(600_050, 4_999_990) * Affine.rotation(-33) * Affine.scale(4, -4)),
}


def slow(source: GeoBox, target: GeoBox, values: np.ndarray) -> np.ndarray:
    """What the definition says, one target pixel at a time."""
    out = np.zeros((*target.shape, values.shape[2]))
    m = ~source.affine * target.affine
    back = np.array(~m).reshape(3, 3)
    turned = abs(m.b) + abs(m.d) > 1e-9
    mean_y, mean_x = (abs(m.e) > 1, abs(m.a) > 1) if not turned else (abs(m.determinant) > 2,) * 2
    sy, sx = np.indices(source.shape)
    tx, ty, _ = np.floor(np.tensordot(back, np.stack([sx + 0.5, sy + 0.5, np.ones(sx.shape)]), 1) + 1e-6)
    for i in range(target.shape.y):
        for j in range(target.shape.x):
            x, y = np.floor(np.array(m).reshape(3, 3)[:2] @ (j + 0.5, i + 0.5, 1) + 1e-6)
            hit = (ty == i if mean_y else sy == y) & (tx == j if mean_x else sx == x)
            if hit.any():
                out[i, j] = values[hit].mean(axis=0)
    return out


def regrid(rule: Regrid, values: np.ndarray, *, tile=1000, piece=1000) -> np.ndarray:
    shape = rule.target.shape
    out = np.zeros((*shape, values.shape[2]))
    for y in range(0, shape.y, tile):
        for x in range(0, shape.x, tile):
            rows, cols = Span(y, min(y + tile, shape.y)), Span(x, min(x + tile, shape.x))
            part = np.zeros((rows.size, cols.size, values.shape[2]))
            need_rows, need_cols = rule.footprint(rows, cols)
            for sy in range(need_rows.start, need_rows.stop, piece):
                for sx in range(need_cols.start, need_cols.stop, piece):
                    src_rows, src_cols = (
                        Span(sy, min(sy + piece, need_rows.stop)),
                        Span(sx, min(sx + piece, need_cols.stop)),
                    )
                    rule.add(part, values[slice(*src_rows), slice(*src_cols)], src_rows, src_cols, rows, cols)
            out[slice(*rows), slice(*cols)] = rule.finish(part, rows, cols)
    return out


@pytest.fixture(scope="module")
def values():
    return np.random.default_rng(0).normal(size=(*SOURCE.shape, 2))


@pytest.mark.parametrize("name", TARGETS)
def test_it_agrees_with_the_definition(name, values):
    rule = Regrid(SOURCE, TARGETS[name])
    expected = slow(SOURCE, TARGETS[name], values)
    np.testing.assert_allclose(regrid(rule, values), expected, atol=1e-12)
    if name != "elsewhere":
        assert np.abs(expected).sum() > 0


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize(("tile", "piece"), [(5, 1000), (1000, 4), (7, 3)])
def test_tiles_and_blocks_change_nothing(name, tile, piece, values):
    rule = Regrid(SOURCE, TARGETS[name])
    np.testing.assert_allclose(regrid(rule, values, tile=tile, piece=piece), regrid(rule, values), atol=1e-12)


def test_the_same_grid_is_recognised():
    assert Regrid(SOURCE, SOURCE).is_identity
    assert Regrid(SOURCE, TARGETS["window of it"]).is_identity
    assert not Regrid(SOURCE, TARGETS["finer"]).is_identity


def test_a_source_read_upside_down_lands_right_way_up(values):
    flipped = box(SOURCE.shape, Affine(10, 0, 600_000, 0, 10, 5_000_000 - 230))
    np.testing.assert_array_equal(regrid(Regrid(flipped, SOURCE), values), values[::-1])


def test_a_coarse_output_keeps_the_mean_precision_not_the_sum():
    tau = np.full((*SOURCE.shape, 2), 3.0)
    out = regrid(Regrid(SOURCE, box((2, 3), Affine(100, 0, 600_000, 0, -100, 5_000_000))), tau)
    np.testing.assert_allclose(out, 3.0)


def test_ground_half_unmeasured_is_half_as_sure():
    tau = np.full((*SOURCE.shape, 1), 4.0)
    tau[:5, :10] = 0
    out = regrid(Regrid(SOURCE, box((2, 3), Affine(100, 0, 600_000, 0, -100, 5_000_000))), tau)
    assert out[0, 0, 0] == pytest.approx(2.0)
    assert out[0, 1, 0] == pytest.approx(4.0)


def test_the_footprint_of_a_target_outside_is_empty():
    rows, cols = Regrid(SOURCE, TARGETS["elsewhere"]).footprint(Span(0, 3), Span(0, 3))
    assert rows.size * cols.size == 0
