"""A map of one tile is kept as it came; larger maps, and tiles of another type, are copied into place or made there.

Of the int8 form tiles are coded while they are made.
"""

import numpy as np
import pytest
import torch
from odc.geo.geobox import GeoBox

from georeset_lab.embed.encoding.coded import Coded
from georeset_lab.embed.encoding.sinks import MemorySink
from georeset_lab.embed.encoding.tiles import Span, Tile
from georeset_lab.embed.expert import Expert, Quantization
from georeset_lab.embed.stores.layout import Layout
from georeset_lab.errors import ShapeMismatch
from georeset_lab.models.canvas import Map
from georeset_lab.models.fusion import Gaussian

GRID = GeoBox.from_bbox((0, 0, 60, 40), "EPSG:32632", shape=(4, 6))


def numbers(rows: int, cols: int, dtype: type = np.float16) -> tuple[np.ndarray, np.ndarray]:
    eta = np.arange(rows * cols * 2, dtype=dtype).reshape(rows, cols, 2)
    return eta, eta + 1


@pytest.mark.parametrize(("dtype", "kept"), [(np.float16, True), (np.float32, False)])
def test_one_tile(dtype, kept):
    sink, parts = MemorySink(GRID, ("s2",), 2, np.float16), numbers(4, 6, dtype)
    sink.write(Tile((0, 0), Span(0, 4), Span(0, 6)), {"s2": Expert(*parts)})
    expert = sink.finish({}).experts["s2"]
    for mine, came in zip((expert.eta, expert.tau), parts, strict=True):
        assert mine.dtype == np.float16
        assert np.array_equal(mine, came)
        assert np.shares_memory(mine, came) == kept


def test_two_tiles_lie_side_by_side():
    sink, left, right = MemorySink(GRID, ("s2",), 2, np.float16), numbers(4, 2), numbers(4, 4)
    sink.write(Tile((0, 0), Span(0, 4), Span(0, 2)), {"s2": Expert(*left)})
    sink.write(Tile((0, 1), Span(0, 4), Span(2, 6)), {"s2": Expert(*right)})
    expert = sink.finish({}).experts["s2"]
    for mine, a, b in zip((expert.eta, expert.tau), left, right, strict=True):
        assert np.array_equal(mine, np.concatenate([a, b], 1))


def test_what_is_made_in_its_place_stays_there_beside_what_is_copied():
    sink, left, right = MemorySink(GRID, ("s2",), 2, np.float16), numbers(4, 2), numbers(4, 4)
    first, second = Tile((0, 0), Span(0, 4), Span(0, 2)), Tile((0, 1), Span(0, 4), Span(2, 6))
    made = tuple(z.numpy() for z in sink.canvas(first, "s2", (slice(0, 4), slice(0, 2))).result)
    for place, part in zip(made, left, strict=True):
        place[...] = part
    sink.write(first, {"s2": Expert(*made)})
    sink.write(second, {"s2": Expert(*right)})
    expert = sink.finish({}).experts["s2"]
    for mine, place, a, b in zip((expert.eta, expert.tau), made, left, right, strict=True):
        assert np.shares_memory(mine, place)
        assert np.array_equal(mine, np.concatenate([a, b], 1))


CORE = (slice(3, 10), slice(2, 11))
BLOCKS = [((y, x), (4, 6)) for y in (0, 4, 8) for x in (0, 6)]


def painted(canvas):
    draw = torch.Generator().manual_seed(0)
    for first, size in BLOCKS:
        eta, tau = torch.randn(*size, 2, generator=draw), 10 * torch.rand(*size, 2, generator=draw)
        canvas.put(first, size, Gaussian(eta * tau, tau))
    return canvas.result


def test_codes_are_those_of_the_finished_map():
    rule = Quantization.fixed(2)
    codes = painted(Coded(CORE, 2, rule))
    kept = painted(Map.of_its_own(CORE, 2, torch.float32, torch.device("cpu")))
    assert codes.shape == (7, 9, 2)
    assert codes.quantization is rule
    for mine, wanted in zip((codes.eta, codes.tau), rule.encode(*(z.numpy() for z in kept)), strict=True):
        np.testing.assert_array_equal(mine, wanted)


def test_what_cannot_be_coded_is_refused():
    canvas = Coded(CORE, 2, Quantization.fixed(2))
    with pytest.raises(ShapeMismatch, match="not finite"):
        canvas.put((4, 6), (4, 6), Gaussian(torch.full((4, 6, 2), torch.nan), torch.ones(4, 6, 2)))


@pytest.mark.parametrize("dtype", ["int8", "float16", "float32"])
def test_only_stores_of_codes_are_painted_with_codes(dtype):
    rules = {"s2": Quantization.fixed(2)} if dtype == "int8" else {}
    layout = Layout(GRID, ("s2",), 2, dtype, (4, 6), {}, False, rules)
    canvas = Coded.of_store(layout, "s2", CORE)
    assert (canvas is None) == (dtype != "int8")
    assert canvas is None or canvas.result.quantization == rules["s2"]
