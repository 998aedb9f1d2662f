"""``binder/`` holds what repo2docker needs; a real build is not made here."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BINDER = ROOT / "binder"


@pytest.mark.parametrize("script", ["postBuild", "start"])
def test_scripts_can_be_run_and_are_bash(script):
    path = BINDER / script
    assert os.access(path, os.X_OK)
    assert path.read_text(encoding="utf-8").startswith("#!/usr/bin/env bash\n")
    assert subprocess.run(["bash", "-n", path], check=False).returncode == 0


def test_start_hands_over_to_what_it_was_given():
    found = subprocess.run(
        [BINDER / "start", "bash", "-c", "echo $OMP_NUM_THREADS"], capture_output=True, text=True, check=True
    )
    assert found.stdout == "1\n"


def test_the_environment_has_python_and_the_package_is_installed_at_pinned_versions():
    import yaml

    found = yaml.safe_load((BINDER / "environment.yml").read_text(encoding="utf-8"))
    assert "python=3.11" in found["dependencies"]
    assert {"pip", "jupyterlab"} <= set(found["dependencies"])
    install = (BINDER / "postBuild").read_text(encoding="utf-8")
    assert '-c constraints.txt ".[dashboard]"' in install
    assert (ROOT / "constraints.txt").is_file()
