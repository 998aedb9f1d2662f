"""A map of one tile is kept as it came; larger maps, and tiles of another type, are copied into place or made there."""

import numpy as np
import pytest
from odc.geo.geobox import GeoBox

from georeset_lab.embed.encoding.sinks import MemorySink
from georeset_lab.embed.encoding.tiles import Span, Tile

GRID = GeoBox.from_bbox((0, 0, 60, 40), "EPSG:32632", shape=(4, 6))


def numbers(rows: int, cols: int, dtype: type = np.float16) -> tuple[np.ndarray, np.ndarray]:
    eta = np.arange(rows * cols * 2, dtype=dtype).reshape(rows, cols, 2)
    return eta, eta + 1


@pytest.mark.parametrize(("dtype", "kept"), [(np.float16, True), (np.float32, False)])
def test_one_tile(dtype, kept):
    sink, parts = MemorySink(GRID, ("s2",), 2, np.float16), numbers(4, 6, dtype)
    sink.write(Tile((0, 0), Span(0, 4), Span(0, 6)), {"s2": parts})
    expert = sink.finish({}).experts["s2"]
    for mine, came in zip((expert.eta, expert.tau), parts, strict=True):
        assert mine.dtype == np.float16
        assert np.array_equal(mine, came)
        assert np.shares_memory(mine, came) == kept


def test_two_tiles_lie_side_by_side():
    sink, left, right = MemorySink(GRID, ("s2",), 2, np.float16), numbers(4, 2), numbers(4, 4)
    sink.write(Tile((0, 0), Span(0, 4), Span(0, 2)), {"s2": left})
    sink.write(Tile((0, 1), Span(0, 4), Span(2, 6)), {"s2": right})
    expert = sink.finish({}).experts["s2"]
    for mine, a, b in zip((expert.eta, expert.tau), left, right, strict=True):
        assert np.array_equal(mine, np.concatenate([a, b], 1))


def test_what_is_made_in_its_place_stays_there_beside_what_is_copied():
    sink, left, right = MemorySink(GRID, ("s2",), 2, np.float16), numbers(4, 2), numbers(4, 4)
    first, second = Tile((0, 0), Span(0, 4), Span(0, 2)), Tile((0, 1), Span(0, 4), Span(2, 6))
    made = sink.room(first, "s2")
    for place, part in zip(made, left, strict=True):
        place[...] = part
    sink.write(first, {"s2": made})
    sink.write(second, {"s2": right})
    expert = sink.finish({}).experts["s2"]
    for mine, place, a, b in zip((expert.eta, expert.tau), made, left, right, strict=True):
        assert np.shares_memory(mine, place)
        assert np.array_equal(mine, np.concatenate([a, b], 1))
