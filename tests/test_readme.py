"""README keeps its promises: two set-up commands, lines that run, a small picture, files that exist."""

from __future__ import annotations

import ast
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
LINES = re.search(r"^```python\n(.*?)^```", README, re.M | re.S)


def test_exactly_two_set_up_commands_one_for_the_demo_and_one_for_the_tests():
    first, *rest = runpy.run_path(str(ROOT / ".ci" / "readme_commands.py"))["commands"]()
    assert len(rest) == 1
    assert "pip install" in first
    assert first.endswith("georeset demo")
    assert "pip install" in rest[0]
    assert rest[0].endswith("pytest")


def test_ci_runs_the_commands_of_the_readme_and_not_a_copy_of_them():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "readme_commands.py 1" in script
    assert "readme_commands.py 2" in script
    assert "pip install" not in script


def test_the_shown_lines_are_about_ten():
    assert LINES is not None
    assert 8 <= sum(bool(line.strip()) for line in LINES[1].splitlines()) <= 12


@pytest.mark.slow
def test_the_shown_lines_run_and_give_what_they_say():
    assert LINES is not None
    names: dict = {}
    # The first landscape, but small; everything else as printed.
    code = LINES[1].replace('gl.load_scene("simulated")', 'gl.load_scene("simulated", size=(96, 96))')
    assert code != LINES[1]
    exec(compile(ast.parse(code), "README.md", "exec"), names)
    assert set(names["result"].data_vars) >= {"label", "probability", "entropy"}
    assert list(names["probe"].report.index)[:2] == ["embedding", "raw bands"]
    assert names["hits"].places["rank"].is_monotonic_increasing


def test_files_named_in_the_readme_exist_and_the_pictures_are_small():
    named = re.findall(r"`((?:tests|notebooks|\.ci)/[\w./]+|constraints\.txt|CITATION\.cff)`", README)
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)
    assert pictures
    for path in [*named, *pictures]:
        assert (ROOT / path).is_file(), path
    assert max((ROOT / path).stat().st_size for path in pictures) < 300_000
    assert sum((ROOT / path).stat().st_size for path in pictures) < 1_500_000


def test_the_table_has_its_markers_and_names_its_command():
    table = README.split("<!-- table:first -->", 1)[1].split("<!-- /table:first -->", 1)[0]
    assert "georeset evaluate first" in table


def test_the_table_of_sensors_has_its_markers_and_names_its_commands():
    table = README.split("<!-- table:sensors -->", 1)[1].split("<!-- /table:sensors -->", 1)[0]
    assert "georeset evaluate sensors" in table
    assert "georeset train sensors" in table


def test_constraints_are_names_and_versions_only():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
    assert len(lines) > 100
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line)] == []
