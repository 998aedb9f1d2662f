"""Relief and drainage of a simulated place: fractal hills, a river with tributaries in the valleys, a coast or a lake.

Heights and distances only; what covers the ground is in ``landscape.py``. Plausible forms, not an erosion model: the
river takes the cheapest way through the fractal, then the ground is lowered towards it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft, ndimage, sparse
from scipy.sparse import csgraph

from georeset_lab.data.place import Place, stream

_COARSE = 8
"""Fine pixels per node of the graph the rivers are routed on."""


@dataclass(frozen=True, slots=True)
class Terrain:
    """Heights and water of one place on the fine grid, arrays of shape (y, x)."""

    elevation: np.ndarray
    """Ground or water surface, metres."""
    depth: np.ndarray
    """Water depth in metres, 0 on land."""
    river_m: np.ndarray
    """Distance to the main river's centre line, metres."""
    stream_m: np.ndarray
    """Distance to the nearest watercourse of any size, metres."""
    shore_m: np.ndarray
    """Distance from land to the nearest open water, metres; 0 in water."""
    sea: np.ndarray
    """True in the sea or a lake, False in the river."""
    slope: np.ndarray
    """Gradient, metres per metre."""


def fractal(rng: np.random.Generator, shape: tuple[int, int], beta: float) -> np.ndarray:
    """Gaussian noise with a power-law spectrum, zero mean and unit spread, shape (y, x), float32.

    ``beta`` is the slope of the power spectrum (2 rough .. 4 smooth).
    """
    # Padded, so that the far edge does not echo the near one; float32, for speed.
    ny, nx = (fft.next_fast_len(n + max(16, n // 4), real=True) for n in shape)
    fy, fx = fft.fftfreq(ny).astype(np.float32)[:, None], fft.rfftfreq(nx).astype(np.float32)[None, :]
    f2 = fy * fy + fx * fx
    f2[0, 0] = 1.0
    gain = f2 ** np.float32(-beta / 4)
    gain[0, 0] = 0.0
    white = fft.rfft2(rng.standard_normal((ny, nx), dtype=np.float32))
    white *= gain
    field: np.ndarray = fft.irfft2(white, s=(ny, nx))[: shape[0], : shape[1]]
    return (field - field.mean()) / (field.std() + 1e-12)


def build_terrain(place: Place, shape: tuple[int, int], pixel_m: float) -> Terrain:
    """Heights, rivers and open water of ``place`` on a (y, x) grid of ``pixel_m`` metres."""
    rng = stream(place.seed, "terrain")
    hills = fractal(rng, shape, 3.8) * 0.8 + 0.35 * (0.5 - np.abs(fractal(rng, shape, 3.2)))
    hills = ndimage.gaussian_filter(hills, 1.5)
    main, side = _routes(rng, hills)
    river_m, along = _distance(main, shape, pixel_m)
    stream_m = np.minimum(river_m, _distance(side, shape, pixel_m)[0] if len(side) else np.inf)
    half = 0.5 * place.river_width_m * (1 + 0.35 * np.sin(along / 23.0 + rng.uniform(0, 6)) * np.sin(along / 9.0))

    plain = np.exp(rng.uniform(np.log(80), np.log(500)))
    rise = 1 - np.exp(-np.maximum(river_m - half, 0) / plain)
    side_rise = 1 - 0.5 * np.exp(-stream_m / 60.0)
    fall = place.relief_m * 0.02 * along / max(along.max(), 1) * min(shape) * pixel_m / 1000
    elevation = place.base_m - fall + place.relief_m * rise * side_rise * (0.45 + 0.35 * hills - 0.2 * hills.min())

    open_depth = _open_water(rng, place, shape, pixel_m)
    elevation = np.where(open_depth > 0, elevation.min(), elevation)
    inland = ndimage.distance_transform_edt(open_depth <= 0) * pixel_m
    if open_depth.max() > 0:
        low = float(elevation.min())
        elevation = low + (elevation - low) * (1 - np.exp(-inland / 400.0))
    river_depth = np.maximum(0, 1 - (river_m / np.maximum(half, 0.1)) ** 2) * 0.05 * place.river_width_m
    brook_depth = np.where(stream_m < rng.uniform(2, 5), 0.3, 0.0)
    depth = np.maximum(np.maximum(river_depth, brook_depth), open_depth)
    shore = ndimage.distance_transform_edt(np.maximum(river_depth, open_depth) <= 0) * pixel_m
    gy, gx = np.gradient(ndimage.gaussian_filter(elevation, 2), pixel_m) if min(shape) > 1 else (0 * hills, 0 * hills)
    return Terrain(elevation, depth, river_m, stream_m, shore, open_depth > 0, np.hypot(gy, gx))


def _routes(rng: np.random.Generator, hills: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points (row, col) on the fine grid of the main river and of its tributaries."""
    low = hills[_COARSE // 2 :: _COARSE, _COARSE // 2 :: _COARSE]
    ny, nx = low.shape
    y, x = np.indices(low.shape) + 0.5
    margin = np.minimum(np.minimum(y, ny - y) / ny, np.minimum(x, nx - x) / nx)
    cost = np.exp(1.6 * low) + 0.3 * rng.random(low.shape) + 6 * np.exp(-margin / 0.06)
    graph = _grid_graph(cost)
    ids = np.arange(ny * nx).reshape(ny, nx)
    edges = (ids[:, 0], ids[:, -1]) if rng.random() < 0.5 else (ids[0], ids[-1])
    start, end = (int(e[int(rng.integers(len(e) // 5, max(len(e) - len(e) // 5, len(e) // 5 + 1)))]) for e in edges)
    _, before = csgraph.dijkstra(graph, indices=start, return_predecessors=True)
    trunk = _walk(before, end)
    _, before, _ = csgraph.dijkstra(graph, indices=trunk, return_predecessors=True, min_only=True)
    n_side = int(rng.integers(1, 6))
    heads = rng.choice(ny * nx, n_side, replace=False) if ny * nx > n_side else np.empty(0, int)
    sides = [_smooth(_walk(before, int(h)), nx, rng) for h in heads]
    sides = [s for s in sides if len(s)]
    return _smooth(trunk, nx, rng), np.concatenate(sides) if sides else np.empty((0, 2))


def _grid_graph(cost: np.ndarray) -> sparse.csr_array:
    """Eight-neighbour graph; an edge costs the mean of its two nodes times its length."""
    ny, nx = cost.shape
    ids = np.arange(ny * nx).reshape(ny, nx)
    rows, cols, vals = [], [], []
    for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
        a = (slice(0, ny - dy), slice(max(-dx, 0), nx - max(dx, 0)))
        b = (slice(dy, ny), slice(max(dx, 0), nx + min(dx, 0)))
        rows.append(ids[a].ravel())
        cols.append(ids[b].ravel())
        vals.append((0.5 * (cost[a] + cost[b]) * np.hypot(dy, dx)).ravel())
    r, c, v = np.concatenate(rows), np.concatenate(cols), np.concatenate(vals)
    both = (np.concatenate([r, c]), np.concatenate([c, r]))
    return sparse.csr_array((np.concatenate([v, v]), both), shape=(ny * nx, ny * nx))


def _walk(before: np.ndarray, node: int) -> list[int]:
    """Nodes from ``node`` back to the source of the shortest-path tree."""
    path = [node]
    while before[path[-1]] >= 0:
        path.append(int(before[path[-1]]))
    return path


def _smooth(path: list[int], nx: int, rng: np.random.Generator) -> np.ndarray:
    """A path of graph nodes as a smooth dense line of (row, col) on the fine grid, with meanders."""
    if len(path) < 2:
        return np.empty((0, 2))
    points = np.array([divmod(p, nx) for p in path], dtype=float) * _COARSE + _COARSE / 2
    points = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    t = np.arange(len(points))
    dense = np.linspace(0, len(points) - 1, len(points) * _COARSE * 2)
    line = np.stack([np.interp(dense, t, points[:, i]) for i in (0, 1)], axis=1)
    wander = ndimage.gaussian_filter1d(rng.standard_normal(line.shape), 3.0 * _COARSE, axis=0, mode="nearest")
    return ndimage.gaussian_filter1d(line, 2.0 * _COARSE, axis=0, mode="nearest") + 8.0 * wander


def _distance(line: np.ndarray, shape: tuple[int, int], pixel_m: float) -> tuple[np.ndarray, np.ndarray]:
    """Distance in metres to a line of (row, col) points, and the position along it of the nearest point (pixels)."""
    order = np.zeros(shape)
    free = np.ones(shape, dtype=bool)
    rc = np.round(line).astype(int)
    inside = (rc >= 0).all(axis=1) & (rc < np.array(shape)).all(axis=1)
    rc = rc[inside]
    if not len(rc):
        return np.full(shape, 1e5), order
    free[rc[:, 0], rc[:, 1]] = False
    order[rc[:, 0], rc[:, 1]] = np.arange(len(rc)) / 2.0
    far, (iy, ix) = ndimage.distance_transform_edt(free, return_indices=True)
    return far * pixel_m, ndimage.gaussian_filter(order[iy, ix], 3)


def _open_water(rng: np.random.Generator, place: Place, shape: tuple[int, int], pixel_m: float) -> np.ndarray:
    """Depth in metres of the sea or of lakes, 0 elsewhere; drawn for every place so that streams stay aligned."""
    rough = fractal(rng, shape, 3.2)
    angle, offset = rng.uniform(0, 2 * np.pi), rng.uniform(0.15, 0.36)
    centre = rng.uniform(0.2, 0.8, 2)
    radius = rng.uniform(0.08, 0.22)
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]] / float(max(min(shape), 1))
    if place.water == "coast":
        signed = (y - y.mean()) * np.sin(angle) + (x - x.mean()) * np.cos(angle) - offset + 0.07 * rough
    elif place.water == "lake":
        signed = radius * (1 + 0.35 * rough) - np.hypot(y - centre[0] * y.max(), x - centre[1] * x.max())
    else:
        return np.zeros(shape)
    steep = np.exp(rng.uniform(np.log(0.008), np.log(0.05)))
    return np.maximum(signed, 0) * min(shape) * pixel_m * steep
