"""Nothing that is opened can run code, nothing reaches out by itself, and the floors of the dependencies hold (R8)."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests.test_layers import FILES, PACKAGE, imported_modules, layer_of

ROOT = PACKAGE.parent
NEVER = {"pickle", "cPickle", "joblib", "dill", "cloudpickle", "shelve", "marshal", "torchvision", "timm", "torchgeo"}
# Heavy widget libraries belong to the two layers that show things.
VIEWS_ONLY = {"leafmap", "panel", "ipyleaflet", "holoviews"}
UNSAFE = {"torch.load", "torch.save", "fabric.save", "fabric.load", "yaml.load", "eval", "exec", "os.system"}
CODE = [PACKAGE / "__init__.py", *FILES]


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", CODE, ids=name)
def test_no_file_imports_what_can_run_code_or_is_ruled_out(path):
    roots = {module.split(".")[0] for module in imported_modules(ast.parse(path.read_text(encoding="utf-8")))}
    ruled_out = set(NEVER)
    if path == PACKAGE / "models" / "torchgeo_models.py":
        ruled_out -= {"torchgeo"}
    if path.parent == PACKAGE or layer_of(path) not in ("widgets", "dashboard"):
        ruled_out |= VIEWS_ONLY
    assert not roots & ruled_out


def dangerous_calls(tree: ast.AST) -> list[str]:
    """Calls that unpickle or execute: ``torch.load``, ``torch.save``, ``allow_pickle=True``, ``eval``, ``exec``."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        if called in (
            "torch.load",
            "torch.save",
            "eval",
            "exec",
            "yaml.load",
            "fabric.save",
            "fabric.load",
            "os.system",
        ):
            found.append(called)
        if called.endswith(("to_pickle", "read_pickle")):
            found.append(called)
        for keyword in node.keywords:
            is_true = isinstance(keyword.value, ast.Constant) and keyword.value.value is True
            if keyword.arg in ("allow_pickle", "shell") and is_true:
                found.append(f"{called}({keyword.arg}=True)")
    return found


@pytest.mark.parametrize("path", CODE, ids=name)
def test_no_call_unpickles_or_executes(path):
    assert dangerous_calls(ast.parse(path.read_text(encoding="utf-8"))) == []


def test_the_check_sees_a_planted_unsafe_call():
    planted = "import numpy as np\ntorch.load(p)\nnp.load(p, allow_pickle=True)\nmodel.eval()\n"
    assert dangerous_calls(ast.parse(planted)) == ["torch.load", "np.load(allow_pickle=True)"]


FLOORS = {"torch": "2.6", "bokeh": "3.8.2", "rasterio": "1.4.4", "jupyter-server": "2.20"}


def declared() -> dict[str, Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    return {r.name: r for r in map(Requirement, [*project["dependencies"], *extras])}


@pytest.mark.parametrize(("package", "floor"), FLOORS.items())
def test_the_metadata_refuses_a_version_below_the_floor(package, floor):
    specifier = declared()[package].specifier
    older = ".".join([*floor.split(".")[:-1], str(int(floor.split(".")[-1]) - 1), "99"])
    assert Version(floor) in specifier
    assert Version(older) not in specifier


def test_gdal_is_recent_enough_to_open_what_others_wrote():
    import rasterio

    assert Version(rasterio.__gdal_version__) >= Version("3.10")


@pytest.mark.parametrize("path", FILES, ids=name)
def test_every_imported_distribution_is_declared(path):
    known = {r.replace("-", "_").lower() for r in declared()} | {"georeset_lab"}
    renamed = {"sklearn": "scikit_learn", "umap": "umap_learn", "PIL": "pillow", "odc": "odc_geo", "affine": "rasterio"}
    imported = {module.split(".")[0] for module in imported_modules(ast.parse(path.read_text(encoding="utf-8")))}
    third_party = {renamed.get(m, m).lower() for m in imported if m not in _standard_library()}
    assert third_party <= known


def _standard_library() -> frozenset[str]:
    import sys

    return sys.stdlib_module_names


def test_no_address_of_a_package_registry_stands_in_the_repository():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    address = re.compile(r"https?://[^\s\"')]*(pypi|pythonhosted|anaconda\.org|conda-forge|download\.pytorch)", re.I)
    texts = [ROOT / f for f in listed if Path(f).suffix in (".py", ".toml", ".md", ".txt", ".ipynb", ".cff", ".json")]
    assert texts, "run from a git checkout"
    assert [name(p) for p in texts if p.is_file() and address.search(p.read_text(encoding="utf-8"))] == []
