"""The +1000 of Sentinel-2 is told rightly on every real set at hand, as it is and with 1000 added or taken away."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from georeset_lab.data.readers.baseline import baseline_offset
from georeset_lab.data.readers.deciding import decide_parts
from georeset_lab.data.readers.sampling import sample
from georeset_lab.data.readers.source import read_source
from georeset_lab.data.sensors import sensor
from georeset_lab.errors import GeoresetWarning

pytestmark = pytest.mark.real_data

PICTURES: dict[str, tuple[str, list[int]]] = {
    "terramind-chips/*/S2L2A.tif": ("sentinel-2-l2a", [0, 0, 1000, 0, 0]),
    "terramind-chips/*/S2L1C.tif": ("sentinel-2-l1c", [1000, 0, 1000, 1000, 0]),
    "majortom-s2l2a-199U_1099R": ("sentinel-2-l2a", [0]),
    "ssl4eo-s12-0000200/s2a/*/*": ("sentinel-2-l2a", [0, 0]),
    "ssl4eo-s12-0000200/s2c/*/*": ("sentinel-2-l1c", [0, 0]),
    "bigearthnet-examples/*S2*/*": ("sentinel-2-l2a", [0] * 6),
    "sentinel2-20m-sattestdata/*.tif": ("sentinel-2-l1c", [0]),
    "rstoolbox-sentinel2-para/S2*.tif": ("sentinel-2-l2a", [1000]),
    "ravaen-lahinch-s2-series/S2*.tif": ("sentinel-2-l1c", [0] * 5),
}
"""Pattern of the pictures, sensor, and the offset each carries (from SOURCE.md)."""

ASKED_WITH_OFFSET = {
    "38D_378R_2_3", "609U_541L_3_0", "S2B_MSIL2A_20180204T94161_57_38", "20200604T054639_20200604T054831_T43RCP",
    "20200813T054639_20200813T054952_T43RCP",
}  # fmt: skip
"""Level 2A pictures of dry ground or snow that would be asked back, never misread, if they carried the offset."""


def lows(path: Path, sensor_name: str) -> tuple[np.ndarray, np.ndarray]:
    """First percentiles of the bands of one picture, in stored counts, and their wavelengths."""
    known = sensor(sensor_name)
    low, um = [], []
    for piece in read_source(path):
        seen = sample(piece.raw, 0)
        for name, values in zip(piece.names, seen, strict=True):
            band = known.find(str(name))
            if band is not None and np.isfinite(values).any():
                low.append(np.nanpercentile(values, 1))
                um.append(band.center_um)
    return np.array(low), np.array(um)


def pictures(data: Path) -> Iterator[tuple[Path, str, int]]:
    for pattern, (name, offsets) in PICTURES.items():
        found = sorted(data.glob(pattern))
        assert len(found) == len(offsets), pattern
        yield from ((path, name, offset) for path, offset in zip(found, offsets, strict=True))


def test_every_picture_is_told_rightly_as_it_is_and_with_the_offset_changed(shared_data: Path) -> None:
    wrong, asked = [], set()
    for path, name, offset in pictures(shared_data):
        low, um = lows(path, name)
        for carried in (0, 1000):
            verdict = baseline_offset(low - offset + carried, um)
            label = path.parent.name if path.suffix else path.name
            if verdict == "undecided" and carried != offset:
                asked.add(label)
            elif verdict != ("offset" if carried else "no offset"):
                wrong.append((str(path), carried, verdict))
    assert wrong == []
    assert asked <= ASKED_WITH_OFFSET


@pytest.mark.parametrize(
    "cube",
    ["sits-openeo-gfmap-cubes/s2_12dates_2023-04.nc", "sits-openeo-gfmap-cubes/s2_19dates_10m_rgbn_scl_cloudy.nc",
     "sits-worldcereal-cubes/BE-31UDS-2018/S2_L2A_10m.nc", "sits-worldcereal-cubes/BE-31UES-2019a/S2_L2A_20m.nc",
     "sits-worldcereal-cubes/BE-31UES-2019b/S2_L2A_20m.nc", "sits-worldcereal-cubes/TZ-37MBS-2021/S2_L2A_20m.nc"],
)  # fmt: skip
def test_cloudy_cubes_are_settled_as_a_whole_even_if_they_state_nothing(cube: str, shared_data: Path) -> None:
    from dataclasses import replace

    from georeset_lab.data.readers.assemble import Wish, sort_pieces
    from georeset_lab.data.readers.stack import join_acquisitions

    known = sensor("sentinel-2-l2a")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GeoresetWarning)
        parts, _, _ = sort_pieces(read_source(shared_data / cube), Wish("s2", known))
        (part,), _ = join_acquisitions(parts, known.band_names, "s2")
        silent = replace(part, stated=(None,) * len(part.bands))
        decided = decide_parts([silent], name="s2", sensor=known, scale=None)
    assert {d.decision.calibration.offset[0] for d in decided} == {0.0}
