"""Real data sets as few-shot tasks, by name: which files, read how. No features and no scores here.

Places of the *test for ever* list only: nothing is ever trained or tuned on them.
"""

from __future__ import annotations

from georeset_lab.evaluate import places
from georeset_lab.evaluate.task import TaskSpec


def all_tasks() -> tuple[TaskSpec, ...]:
    """The tasks of ``georeset evaluate first``, in the order of the report."""
    chips, s2, l5 = "terramind-chips", "rstoolbox-sentinel2-para", "rstoolbox-landsat5-para"
    enmap, patch = "enmap-potsdam", "eolearn-testeopatch"
    dates = ("2015-07-11", "2015-08-30", "2015-09-09")

    def chip(name: str, title: str, folder: str) -> TaskSpec:
        files = tuple(f"{chips}/{folder}/{f}.tif" for f in ("S2L2A", "S1RTC", "LULC"))
        return TaskSpec(name, title, files, places.read_chip, ("s2", "s1"))

    return (
        chip("chile", "Chile, river town (S2 + S1, model-made land cover)", "433D_629L_3_1"),
        chip("denmark", "Denmark, farmland (S2 + S1, model-made land cover)", "637U_59R_1_3"),
        TaskSpec(
            "para-s2",
            "Para, Brazil (Sentinel-2, hand polygons)",
            (f"{s2}/S2_L2A_10m_12bands_x10000.tif", f"{s2}/training_polygons.geojson"),
            places.read_para_s2,
        ),
        TaskSpec(
            "para-l5",
            "Tucurui, Brazil (Landsat 5 TM, hand polygons)",
            (f"{l5}/LT52240631988227_TM_7bands_DN.tif", f"{l5}/training_polygons.geojson"),
            places.read_para_l5,
            ("l5",),
            other_sensor=True,
        ),
        TaskSpec(
            "potsdam",
            "Potsdam (EnMAP, hand-made land cover, upstream tiles)",
            tuple(
                f"{enmap}/{f}"
                for f in ("enmap_potsdam_mosaic.tif", "landcover_mosaic.tif", "bands.csv", "train_files.csv")
            )
            + tuple(f"{enmap}/{f}" for f in ("validation_files.csv", "test_files.csv")),
            places.read_enmap,
            ("enmap",),
            other_sensor=True,
        ),
        TaskSpec(
            "slovenia",
            "Slovenia (Sentinel-2 L1C, three dates, land use)",
            (*(f"{patch}/S2_L1C_{d}.tif" for d in dates), f"{patch}/LULC.tif"),
            places.read_eopatch,
        ),
        *(
            TaskSpec(
                f"{name}-20m",
                f"{title}, the six 20 m bands of Sentinel-2 alone",
                tuple(f"{chips}/{folder}/{f}.tif" for f in ("S2L2A", "LULC")),
                places.read_chip_20m,
                ("s2_20m",),
                other_sensor=True,
                derived=True,
            )
            for name, title, folder in (("chile", "Chile", "433D_629L_3_1"), ("denmark", "Denmark", "637U_59R_1_3"))
        ),
    )


def missing_tasks() -> tuple[TaskSpec, ...]:
    """The tasks of ``georeset evaluate partial``: places of several sensors, one of which goes missing."""
    chips, patch = "terramind-chips", "sits-worldcereal-cubes/BE-31UES-2019a"

    def chip(name: str, folder: str) -> TaskSpec:
        files = tuple(f"{chips}/{folder}/{f}.tif" for f in ("S2L2A", "S1RTC", "DEM", "LULC"))
        return TaskSpec(name, f"{name.title()} (model-made land cover)", files, places.read_chip, ("s2", "s1", "dem"))

    cubes = ("S2_L2A_10m", "S2_L2A_20m", "S1_GRD-ASCENDING_20m", "L8_L2-ST_10m", "labels_10m")
    return (
        chip("chile", "433D_629L_3_1"),
        chip("denmark", "637U_59R_1_3"),
        TaskSpec(
            "belgium",
            "Belgium (a date for each quarter, parcel map)",
            tuple(f"{patch}/{f}.nc" for f in cubes),
            places.read_patch,
            ("s2", "s1", "l8"),
        ),
    )
