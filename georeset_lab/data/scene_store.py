"""Scenes as Zarr stores: written whole or not at all, read back bit by bit, refused when damaged.

What is stored is what the scene holds: raw numbers, calibration, bands, masks, times, grids, notes, truth. How a store
is guarded is in ``sealed_store.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from georeset_lab.data.bands import BandSpec
from georeset_lab.data.calibration import Calibration
from georeset_lab.data.flags import FLAG_ATTRS
from georeset_lab.data.grids import crs_of
from georeset_lab.data.modality import DIMS, Modality
from georeset_lab.data.scene import Scene
from georeset_lab.data.sealed_store import (
    CheckedArray,
    Seal,
    check_sealed,
    is_sealed,
    number,
    plain,
    write_array,
    write_sealed,
)
from georeset_lab.errors import StoreError

if TYPE_CHECKING:
    from odc.geo.crs import CRS
    from odc.geo.geobox import GeoBox

KIND, VERSION = "scene", 1


def write_scene(scene: Scene, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write a scene as a Zarr store (format 3) and return its path.

    Lazy modalities are read chunk by chunk. Until everything is written the store has a temporary name beside the
    final one, which is removed on failure.

    Raises
    ------
    StoreError
        Something is at ``path`` already and ``overwrite`` is False, it is no scene store, or the disk refused.
    """
    path = Path(path)
    write_sealed(path, lambda folder: _write(scene, folder), kind=KIND, version=VERSION, overwrite=overwrite)
    return path


def open_scene(path: str | Path) -> Scene:
    """Scene of a store that `write_scene` made; pixels stay on disk until they are read.

    Raises
    ------
    StoreError
        There is no store, it is not a scene, it was never finished, or something in it is damaged or missing. Damage
        inside a chunk shows when that chunk is read.
    """
    import zarr

    path = Path(path)
    seal = check_sealed(path, kind=KIND, version=VERSION)
    try:
        root: Any = zarr.open_group(path, mode="r")
        head = dict(root.attrs)
        modalities = {
            key: _read_modality(path, f"modality_{i}", root, seal) for i, key in enumerate(head["modalities"])
        }
        truth = _read_truth(path, root, seal) if head["truth"] else None
        return Scene(modalities, _crs(head["crs"]), name=head["name"], truth=truth)
    except StoreError:
        raise
    except Exception as err:
        raise StoreError(f"{path} does not hold a scene as this package writes it: {err!r}.") from err


def is_scene_store(path: str | Path) -> bool:
    """Whether a folder claims to be a scene store; `open_scene` tells whether it is a sound one."""
    return is_sealed(Path(path), KIND)


def _write(scene: Scene, folder: Path) -> None:
    import zarr

    root = zarr.open_group(folder, mode="w-", zarr_format=3)
    root.update_attributes(
        {
            "name": scene.name,
            "crs": scene.crs.to_wkt(),
            "modalities": list(scene.modalities),
            "truth": scene.truth is not None,
        }
    )
    for i, modality in enumerate(scene.modalities.values()):
        _write_modality(root.create_group(f"modality_{i}"), modality)
    if scene.truth is not None:
        _write_truth(root.create_group("truth"), scene.truth)


def _write_modality(group: Any, modality: Modality) -> None:
    group.update_attributes(
        {
            "name": modality.name,
            "sensor": modality.sensor,
            "notes": list(modality.notes),
            "bands": [plain(asdict(band)) for band in modality.bands],
            "calibration": plain(asdict(modality.calibration)),
            "grid": _grid_attrs(modality.grid),
            "has_time": "time" in modality.raw.coords,
        }
    )
    write_array(group, "raw", modality.raw.data, DIMS)
    if modality.mask is not None:
        write_array(group, "mask", modality.mask.data, ("time", "y", "x"))
    if modality.flags is not None:
        write_array(group, "flags", modality.flags.data, ("time", "y", "x"))
    write_array(group, "time", modality.times.view("int64"), ("time",))


def _read_modality(path: Path, name: str, root: Any, seal: Seal) -> Modality:
    attrs = dict(root[name].attrs)
    times = _array(path, f"{name}/time", root, seal)[...].view("datetime64[ns]")
    raw = _array(path, f"{name}/raw", root, seal).lazy()
    mask = _array(path, f"{name}/mask", root, seal).lazy() if "mask" in root[name] else None
    coords: dict[str, Any] = {"time": ("time", times)} if attrs["has_time"] else {}
    if "flags" in root[name]:
        flags = _array(path, f"{name}/flags", root, seal).lazy()
        coords["flags"] = (("time", "y", "x"), flags, FLAG_ATTRS)
    return Modality(
        name=attrs["name"],
        raw=xr.DataArray(raw, dims=DIMS, coords=coords),
        bands=tuple(BandSpec(**{k: number(v) for k, v in band.items()}) for band in attrs["bands"]),
        grid=_grid(attrs["grid"]),
        calibration=_calibration(attrs["calibration"]),
        mask=None if mask is None else xr.DataArray(mask, dims=("time", "y", "x")),
        sensor=attrs["sensor"],
        notes=tuple(attrs["notes"]),
    )


def _write_truth(group: Any, truth: xr.Dataset) -> None:
    import odc.geo.xr  # noqa: F401  (registers the accessor)

    coords = [name for name in truth.coords if name not in ("y", "x", "spatial_ref")]
    group.update_attributes({"attrs": plain(truth.attrs), "grid": _grid_attrs(truth.odc.geobox), "arrays": []})
    arrays = []
    for i, name in enumerate((*coords, *truth.data_vars)):
        variable = truth[name].variable
        is_time = np.issubdtype(variable.dtype, np.datetime64)
        values = variable.values.astype("datetime64[ns]").view("int64") if is_time else variable.data
        dims = [str(d) for d in variable.dims]
        write_array(group, f"array_{i}", values, dims)
        arrays.append({"name": str(name), "dims": dims, "is_time": bool(is_time), "is_coord": name in coords})
        arrays[-1]["attrs"] = plain(variable.attrs)
    group.update_attributes({"arrays": arrays})


def _array(path: Path, name: str, root: Any, seal: Seal) -> CheckedArray:
    return CheckedArray(path, name, root[name], seal)


def _read_truth(path: Path, root: Any, seal: Seal) -> xr.Dataset:
    from odc.geo.xr import xr_coords

    head = dict(root["truth"].attrs)
    coords: dict[Any, Any] = dict(xr_coords(_grid(head["grid"]), always_yx=True))
    variables: dict[str, xr.Variable] = {}
    for i, entry in enumerate(head["arrays"]):
        values = _array(path, f"truth/array_{i}", root, seal)[...]
        values = values.view("datetime64[ns]") if entry["is_time"] else values
        attrs = {key: number(value) for key, value in entry["attrs"].items()}
        (coords if entry["is_coord"] else variables)[entry["name"]] = xr.Variable(entry["dims"], values, attrs)
    return xr.Dataset(variables, coords, {key: number(value) for key, value in head["attrs"].items()})


def _grid_attrs(grid: GeoBox) -> dict[str, Any]:
    affine = grid.affine
    return {
        "shape": [int(n) for n in grid.shape],
        "affine": [affine.a, affine.b, affine.c, affine.d, affine.e, affine.f],
        "crs": crs_of(grid).to_wkt(),
    }


def _grid(attrs: Mapping[str, Any]) -> GeoBox:
    from affine import Affine
    from odc.geo.geobox import GeoBox

    return GeoBox(tuple(attrs["shape"]), Affine(*attrs["affine"]), _crs(attrs["crs"]))


def _crs(wkt: str) -> CRS:
    from odc.geo.crs import CRS

    crs = CRS(wkt)
    return CRS(f"EPSG:{crs.epsg}") if crs.epsg and CRS(f"EPSG:{crs.epsg}") == crs else crs


def _calibration(attrs: Mapping[str, Any]) -> Calibration:
    planck = attrs["planck"]
    return Calibration(
        scale=tuple(attrs["scale"]),
        offset=tuple(attrs["offset"]),
        nodata=number(attrs["nodata"]),
        to_db=attrs["to_db"],
        planck=None if planck is None else tuple(None if k is None else (k[0], k[1]) for k in planck),
        amplitude=attrs.get("amplitude", False),  # stores of the first version know neither
        saturated=number(attrs["saturated"]) if attrs.get("saturated") is not None else None,
    )
