"""What ``import georeset_lab`` costs and offers, seen in a fresh process."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import georeset_lab

HEAVY = ("torch", "torchgeo", "torchvision", "lightning", "leafmap", "panel", "umap", "numba", "sklearn", "xarray")


def fresh(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    return done.stdout.strip()


def test_import_loads_no_heavy_library():
    loaded = fresh(f"import sys, georeset_lab; print([m for m in {HEAVY!r} if m in sys.modules])")
    assert loaded == "[]"


def test_import_costs_less_than_half_a_second_of_cpu():
    code = "import time; t = time.process_time(); import georeset_lab; print(time.process_time() - t)"
    assert float(fresh(code)) < 0.5


@pytest.mark.parametrize("name", georeset_lab.__all__)
def test_every_public_name_resolves(name):
    assert getattr(georeset_lab, name) is not None


def test_dir_lists_the_public_names_only():
    assert dir(georeset_lab) == sorted(georeset_lab.__all__)


def test_an_unknown_name_lists_what_there_is():
    with pytest.raises(AttributeError, match=r"no attribute 'encod'; it has load_scene, encode"):
        georeset_lab.encod


@pytest.mark.parametrize(
    "first", ["import georeset_lab.train", "from georeset_lab.train import loop", "georeset_lab.train"]
)
def test_train_is_a_verb_and_a_package_in_any_order(first):
    code = f"import georeset_lab\n{first}\nimport georeset_lab.train.loop as loop\n"
    assert fresh(code + "print(callable(georeset_lab.train), loop.__name__)") == "True georeset_lab.train.loop"


def test_the_train_verb_shows_its_real_signature():
    from georeset_lab import api

    assert inspect.signature(georeset_lab.train) == inspect.signature(api.train)


@pytest.mark.parametrize("verb", ["load_scene", "encode", "similar", "probe", "train"])
def test_a_verb_takes_at_most_two_positional_arguments_and_no_kwargs(verb):
    parameters = inspect.signature(getattr(georeset_lab, verb)).parameters.values()
    kinds = [p.kind for p in parameters]
    assert kinds.count(inspect.Parameter.POSITIONAL_OR_KEYWORD) <= 2
    assert inspect.Parameter.VAR_KEYWORD not in kinds


def test_compiled_loops_are_kept_outside_the_package():
    """Or they stay behind when pip removes the package, and an editable install of the next one is not found."""
    from pathlib import Path

    import georeset_lab
    from georeset_lab.embed.finding import kernels

    home = Path(georeset_lab.__file__).parent
    assert home not in Path(kernels.cosine._cache.cache_path).parents  # type: ignore[attr-defined]
