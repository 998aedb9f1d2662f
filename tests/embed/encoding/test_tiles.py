"""Cells are absolute, blocks cover what was asked for exactly once, and output grids lie where they should."""

from __future__ import annotations

import math

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from georeset_lab.embed.encoding.tiles import (
    PIXELS_PER_CELL,
    CellLattice,
    Needs,
    Span,
    first_pixel,
    is_rotated,
    output_grid,
    tile_plan,
)
from georeset_lab.errors import GridMismatch, UnitError

UTM = "EPSG:32633"
NEEDS = Needs(stride_cells=4, margin_cells=8, rim_cells=4)
UNIT = 4 * PIXELS_PER_CELL


def grid(shape=(50, 70), pixel=10.0, x0=600_000.0, y0=5_000_000.0, height=None) -> GeoBox:
    return GeoBox(shape, Affine(pixel, 0, x0, 0, -(height or pixel), y0), UTM)


@pytest.mark.parametrize("pixel", [10.0, 30.0, 0.3, 7.0 / 3.0, 9.99999])
@pytest.mark.parametrize("shift", [0.0, 0.5, 0.25, 0.77])
def test_a_crop_gives_every_pixel_the_number_it_had(pixel, shift):
    whole = grid((400, 400), pixel, 600_000.0 + shift * pixel, 5_000_000.0 - shift * pixel)
    ref = CellLattice.of(whole, NEEDS)
    for dy, dx in [(1, 1), (17, 230), (333, 5)]:
        part = CellLattice.of(whole[dy : dy + 20, dx : dx + 20], NEEDS)
        assert (part.first[0] - ref.first[0], part.first[1] - ref.first[1]) == (dy, dx)


def test_rows_are_numbered_downwards_whichever_way_northing_runs():
    north_up, south_up = grid(), GeoBox((50, 70), Affine(10, 0, 600_000, 0, 10, 4_000_000), UTM)
    assert first_pixel(north_up.affine.f, north_up.affine.e) == -500_000
    assert first_pixel(south_up.affine.f, south_up.affine.e) == 400_000


def test_sentinel_and_landsat_cells_are_multiples_of_their_size_in_the_crs():
    for pixel in (10.0, 30.0):
        g = grid((60, 60), pixel, 600_120.0, 4_999_980.0)
        lattice = CellLattice.of(g, NEEDS)
        block = next(lattice.blocks(Span(0, 60), Span(0, 60), max_cells=96))
        x, y = g.affine * (block.read_cols.start, block.read_rows.start)
        assert x % (pixel * 24) == pytest.approx(0)
        assert y % (pixel * 24) == pytest.approx(0)


def test_a_rotated_grid_is_anchored_at_its_own_first_pixel():
    turned = GeoBox((30, 30), Affine.translation(600_000, 5e6) * Affine.rotation(20) * Affine.scale(10, -10), UTM)
    assert is_rotated(turned)
    assert not is_rotated(grid())
    lattice = CellLattice.of(turned, NEEDS)
    assert lattice.first == (0, 0)


@pytest.mark.parametrize("max_cells", [1, 4, 12, 96])
@pytest.mark.parametrize(("rows", "cols"), [((0, 1), (0, 1)), ((3, 4), (0, 61)), ((5, 130), (77, 200))])
def test_blocks_cover_what_was_asked_for_exactly_once(max_cells, rows, cols):
    lattice = CellLattice((2000, 2000), (-1234, 77), NEEDS)
    rows, cols = (Span(500 + start, 500 + stop) for start, stop in (rows, cols))
    hits = np.zeros((rows.size, cols.size), int)
    for block in lattice.blocks(rows, cols, max_cells=max_cells):
        hits[block.rows.within(rows), block.cols.within(cols)] += 1
        for wanted, read, first in zip(
            (block.rows, block.cols), (block.read_rows, block.read_cols), lattice.first, strict=True
        ):
            assert (read.start + first) % UNIT == (read.stop + first) % UNIT == 0
            margin = 8 * PIXELS_PER_CELL
            assert margin <= wanted.start - read.start < margin + UNIT
            assert margin <= read.stop - wanted.stop < margin + UNIT
            assert read.size <= max(max_cells // 4, 1) * UNIT + 2 * margin
    assert (hits == 1).all()


@pytest.mark.parametrize(("n", "first"), [(48, 0), (50, 7), (1, -13), (500, 23)])
def test_beyond_the_scene_only_the_windows_that_reach_back_into_it_are_read(n, first):
    lattice = CellLattice((n, n), (first, first), NEEDS)
    blocks = list(lattice.blocks(Span(0, n), Span(0, n), max_cells=12))
    low, high = min(b.read_rows.start for b in blocks), max(b.read_rows.stop for b in blocks)
    assert UNIT <= -low < 2 * UNIT, "one stride before the one that holds the first pixel"
    assert UNIT <= high - n < 2 * UNIT
    assert {(b.read_rows, b.read_cols) for b in blocks} == {(b.read_cols, b.read_rows) for b in blocks}


def test_an_empty_span_needs_no_block():
    lattice = CellLattice((9, 9), (0, 0), NEEDS)
    assert list(lattice.blocks(Span(0, 0), Span(0, 5), max_cells=8)) == []


def test_tiles_cover_the_output_exactly_once_in_row_order():
    hits = np.zeros((100, 33), int)
    tiles = tile_plan((100, 33), (48, 32))
    for tile in tiles:
        hits[slice(*tile.rows), slice(*tile.cols)] += 1
    assert (hits == 1).all()
    assert [t.index for t in tiles] == sorted(t.index for t in tiles)
    assert tiles[-1].index == (2, 1)


def test_the_default_output_is_the_grid_of_the_finest_modality():
    fine = grid()
    out, factor = output_grid([grid((17, 24), 30.0), fine])
    assert out == fine
    assert factor == 1


def test_the_default_output_is_coarsened_to_a_whole_multiple_within_the_limit():
    big = grid((3000, 3000), x0=600_010.0)
    out, factor = output_grid([big])
    assert factor == 2
    assert math.prod(out.shape) <= 4_000_000
    assert out.affine.a == 20
    assert out.affine.c == 600_000  # an absolute multiple of 20 m, not the scene's corner
    assert out.shape.x * 20 >= 30_000


def test_an_explicit_resolution_is_obeyed_even_above_the_limit():
    out, factor = output_grid([grid((3000, 3000))], 10)
    assert out.shape == (3000, 3000)
    assert factor == 1


def test_a_resolution_that_a_modality_has_gives_exactly_its_grid():
    coarse = grid((17, 24), 30.0, x0=599_990.0)
    assert output_grid([grid(), coarse], 30.0)[0] == coarse


@pytest.mark.parametrize("resolution_m", [2.5, 10.0, 13.0, 20.0, 100.0, 5000.0])
def test_an_output_covers_the_scene_and_not_a_whole_pixel_more(resolution_m):
    g = grid((50, 70), x0=600_010.0, y0=5_000_030.0)
    out, _ = output_grid([g], resolution_m)
    box, inner = out.extent.boundingbox, g.extent.boundingbox
    assert box.left <= inner.left < box.left + resolution_m
    assert box.right >= inner.right > box.right - resolution_m
    assert box.bottom <= inner.bottom < box.bottom + resolution_m
    assert box.top >= inner.top > box.top - resolution_m
    assert box.left % resolution_m == pytest.approx(0, abs=1e-6)


def test_crops_of_one_raster_have_outputs_on_one_lattice():
    g = grid((100, 100), x0=600_010.0)
    whole, part = output_grid([g], 70.0)[0], output_grid([g[13:60, 29:90]], 70.0)[0]
    shift_x, shift_y = ~whole.affine * (part.affine.c, part.affine.f)
    assert shift_x == pytest.approx(round(shift_x), abs=1e-9)
    assert shift_y == pytest.approx(round(shift_y), abs=1e-9)


def test_only_ground_that_all_modalities_share_is_mapped():
    west, east = grid((50, 50)), grid((50, 50), x0=600_200.0)
    out, _ = output_grid([west, east])
    # One pixel more than shared: a modality's last pixel may be partly covered.
    assert 30 <= out.shape.x <= 31
    with pytest.raises(GridMismatch, match="share no ground"):
        output_grid([west, grid((50, 50), x0=700_000.0)])


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1)])
def test_tiny_scenes_have_a_grid(shape):
    assert output_grid([grid(shape)])[0].shape == shape
    assert math.prod(output_grid([grid(shape)], 30.0)[0].shape) >= 1


def test_a_rotated_scene_keeps_its_rotation_at_any_resolution():
    turned = GeoBox((30, 30), Affine.translation(600_000, 5e6) * Affine.rotation(20) * Affine.scale(10, -10), UTM)
    assert output_grid([turned])[0] == turned
    out, _ = output_grid([turned], 25.0)
    assert is_rotated(out)
    assert out.shape == (12, 12)


@pytest.mark.parametrize("bad", [0, -10, math.nan, math.inf])
def test_a_resolution_that_is_no_length_is_refused(bad):
    with pytest.raises(UnitError, match="resolution_m="):
        output_grid([grid()], bad)
