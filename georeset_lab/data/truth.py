"""Labels and places from the truth of a simulated scene, as a person would click them. Real scenes have no truth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from georeset_lab.errors import LabelError

if TYPE_CHECKING:
    import geopandas as gpd
    import xarray as xr

    from georeset_lab.data.scene import Scene

__all__ = ["truth_labels", "truth_place"]


def truth_labels(scene: Scene, *, per_class: int = 20, seed: int = 0) -> gpd.GeoDataFrame:
    """Points with the true land cover, spread over the scene.

    Parameters
    ----------
    scene : Scene
        A simulated one.
    per_class : int
        Points of each class; fewer where a class has fewer pixels.
    seed : int
        Drives the draw.

    Returns
    -------
    geopandas.GeoDataFrame
        Column ``label``, points in longitude and latitude: what ``probe(emb, labels)`` takes.

    Raises
    ------
    LabelError
        The scene has no truth.
    """
    import geopandas as gpd

    cover = _cover(scene)
    rng = np.random.default_rng(seed)
    labels: list[str] = []
    rows: list[int] = []
    cols: list[int] = []
    for code, name in enumerate(cover.attrs["classes"]):
        y, x = np.nonzero(cover.values == code)
        picked = rng.permutation(y.size)[:per_class]
        labels += [str(name)] * picked.size
        rows += y[picked].tolist()
        cols += x[picked].tolist()
    points = gpd.points_from_xy(cover["x"].values[cols], cover["y"].values[rows], crs=str(scene.crs))
    return gpd.GeoDataFrame({"label": labels}, geometry=points).to_crs("EPSG:4326")


def truth_place(scene: Scene, label: str, *, across: int = 18) -> tuple[float, float]:
    """Longitude and latitude of the place that is most purely of one class.

    Parameters
    ----------
    scene : Scene
        A simulated one.
    label : str
        Class of its land cover; where it is absent, the most common class is taken.
    across : int
        Width in pixels of the square that is judged.

    Raises
    ------
    LabelError
        The scene has no truth.
    """
    from pyproj import Transformer
    from scipy.ndimage import uniform_filter

    cover = _cover(scene)
    names = [str(n) for n in cover.attrs["classes"]]
    counts = np.bincount(cover.values.ravel(), minlength=len(names))
    code = names.index(label) if label in names and counts[names.index(label)] else int(counts.argmax())
    share = uniform_filter((cover.values == code).astype(np.float32), across, mode="constant")
    row, col = np.unravel_index(int(share.argmax()), share.shape)
    to_degrees = Transformer.from_crs(str(scene.crs), "EPSG:4326", always_xy=True)
    lon, lat = to_degrees.transform(float(cover["x"][col]), float(cover["y"][row]))
    return float(lon), float(lat)


def _cover(scene: Scene) -> xr.DataArray:
    if scene.truth is None or "land_cover" not in scene.truth:
        raise LabelError(
            f"Scene {scene.name!r} has no truth; only simulated scenes do. Bring labels of your own: a GeoJSON file "
            "or a GeoDataFrame with a column 'label'."
        )
    return scene.truth["land_cover"]
