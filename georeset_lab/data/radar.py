"""C-band backscatter of a simulated landscape on one date: a table of covers with moisture, growth, wind and slope.

Power before speckle, at 10 m. The table and the effects are plausible numbers in the range of Sentinel-1 gamma nought,
not a scattering model.
"""

from __future__ import annotations

import numpy as np

from georeset_lab.data.landscape import COVERS, Landscape
from georeset_lab.data.season import State, Surface, crop_table

BACKSCATTER_DB = {
    "water": (-19.0, -26.5), "broadleaf": (-8.6, -14.2), "conifer": (-9.2, -14.8), "shrub": (-11.0, -17.2),
    "grass": (-12.8, -19.5), "crop": (-12.5, -20.5), "soil": (-13.5, -22.0), "sand": (-17.0, -24.5),
    "rock": (-10.0, -18.0), "asphalt": (-15.0, -22.5), "concrete": (-11.0, -18.0), "roof tile": (-4.0, -12.0),
    "roof metal": (-3.0, -12.0), "roof dark": (-4.0, -12.0), "garden": (-9.0, -15.0),
}  # fmt: skip
"""Mean VV and VH of a pure cover in dB before moisture, growth, wind and slope act on it."""


def backscatter(
    land: Landscape, surface: Surface, state: State, wind: float, look: float, *, after: bool
) -> np.ndarray:
    """VV and VH gamma nought as linear power without speckle, shape (2, y, x).

    ``wind`` roughens the water (dB); ``look`` is the azimuth the radar looks to, radians clockwise from north.
    """
    cover = land.cover_after if after else land.cover
    power = np.zeros((2, *state.green.shape))
    wet = 9.0 * (state.moisture - 0.2)
    tall = 0.9 * np.minimum(state.lai, 5)
    stems = crop_table(land, "vertical") * state.green
    rough = 1.3 * surface.roughness
    # Corner reflectors: streets that face the radar and tall walls shine.
    corner = 3.2 * land.noise[0].clip(-1, 2.5) + 0.8 * land.parcel_noise[5]
    for k, name in enumerate(COVERS):
        vv, vh = BACKSCATTER_DB[name]
        if name == "water":
            dvv, dvh = wind + 0 * wet, 0.5 * wind + 0 * wet
        elif name in ("broadleaf", "conifer"):
            dvv = 0.3 * wet + 0.6 * land.noise[1] + 0.5 * land.parcel_noise[4]
            dvh = 0.2 * wet + 0.6 * land.noise[1] + 0.5 * land.parcel_noise[4] + 0.25 * (state.lai - 4).clip(-4, 2)
        elif name in ("shrub", "grass", "crop", "garden"):
            open_ground = 1 - 0.6 * state.green
            dvv = open_ground * (wet + rough) + 0.35 * tall - stems + 0.4 * land.noise[1]
            dvh = open_ground * (0.8 * wet + rough) + 1.05 * tall - 0.3 * stems + 0.4 * land.noise[1]
        elif name in ("soil", "sand", "rock"):
            dvv, dvh = wet + rough, 0.8 * wet + rough
        else:
            dvv, dvh = corner, 0.9 * corner
        power += cover[k] * 10 ** (np.stack([vv + dvv, vh + dvh]) / 10)
    facing = np.sin(look) * land.slope_x - np.cos(look) * land.slope_y
    power *= 10 ** (0.35 * np.clip(facing, -0.8, 0.8))  # terrain flattening leaves some of the slope
    return power + 10 ** (-2.9)  # thermal noise near -29 dB
