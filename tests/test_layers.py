"""The order of the layers: a file imports only from its own layer and from those above it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "georeset_lab"
# From the top (knows nothing) to the bottom (knows all); the contract of design.md section 5.
ORDER = (
    "errors",
    "files",
    "compiled",
    "data",
    "models",
    "losses",
    "train",
    "embed",
    "evaluate",
    "widgets",
    "dashboard",
    "api",
    "cli",
    "__main__",
)
FILES = sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


def imported_modules(tree: ast.AST) -> set[str]:
    """Dotted names of every import in a tree, at the top or inside a function, but for ``if TYPE_CHECKING`` blocks."""
    skipped: set[ast.AST] = set()
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            skipped.update(inner for child in node.body for inner in ast.walk(child))
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def layer_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def layers_used(tree: ast.AST) -> set[str]:
    parts = [name.split(".") for name in imported_modules(tree)]
    found = {p[1] for p in parts if p[0] == "georeset_lab" and len(p) > 1}
    return {name for name in found if name in ORDER or (PACKAGE / name).exists() or (PACKAGE / f"{name}.py").exists()}


def parse(source: str) -> ast.AST:
    return ast.parse(source)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_file_imports_only_from_its_own_layer_or_above(path):
    layer = layer_of(path)
    assert layer in ORDER, f"{layer} is not a layer of the design; add it to ORDER with its place"
    allowed = set(ORDER[: ORDER.index(layer) + 1])
    if layer == "losses":
        allowed -= {"models"}
    below = layers_used(parse(path.read_text(encoding="utf-8"))) - allowed
    assert not below, f"{path.name} in {layer}/ imports from {sorted(below)}"


@pytest.mark.parametrize(
    "path", [p for p in FILES if layer_of(p) in ("data", "errors")], ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_data_never_imports_torch(path):
    roots = {name.split(".")[0] for name in imported_modules(parse(path.read_text(encoding="utf-8")))}
    assert not roots & {"torch", "lightning", "timm", "torchgeo", "torchvision"}


def test_a_planted_breach_is_seen_even_inside_a_function():
    tree = parse("def f():\n    from georeset_lab.embed.encode import encode\n    import georeset_lab.api\n")
    assert layers_used(tree) == {"embed", "api"}


def test_type_checking_imports_do_not_count():
    tree = parse("if TYPE_CHECKING:\n    from georeset_lab.embed.embeddings import Embeddings\n")
    assert layers_used(tree) == set()


def test_importing_a_name_from_the_package_root_counts_as_its_layer():
    assert layers_used(parse("from georeset_lab import api")) == {"api"}
