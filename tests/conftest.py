"""What every test gets: the shared real data (or a reason to skip), markers that are off by default, one torch thread.

The network is blocked but for loopback by pytest-socket (``addopts`` in pyproject.toml). ``GEORESET_CI=1`` turns on
``slow``, ``browser`` and ``real_data`` and makes a missing folder a failure rather than a skip.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

IN_CI = os.environ.get("GEORESET_CI") == "1"
_OFF_BY_DEFAULT = ("slow", "browser")


def _shared_folder() -> Path:
    given = os.environ.get("GEORESET_SHARED")
    return Path(given) if given else Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what is off by default, unless CI or ``-m`` asks for it."""
    asked = config.getoption("markexpr") or ""
    missing = not _shared_folder().is_dir()
    for item in items:
        for name in _OFF_BY_DEFAULT:
            if item.get_closest_marker(name) and not IN_CI and name not in asked:
                item.add_marker(pytest.mark.skip(reason=f"{name} tests are off by default; run with -m {name}"))
        if item.get_closest_marker("benchmark") and "benchmark" not in asked:
            item.add_marker(pytest.mark.skip(reason="benchmarks run only with -m benchmark"))
        if item.get_closest_marker("real_data") and missing and not IN_CI:
            item.add_marker(pytest.mark.skip(reason=f"no shared data at {_shared_folder()}; set GEORESET_SHARED"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the shared real data; skips without it, fails without it in CI."""
    folder = _shared_folder()
    if not folder.is_dir():
        message = f"no shared data at {folder}; set GEORESET_SHARED to the folder that holds terramind-chips"
        if IN_CI:
            pytest.fail(message)
        pytest.skip(message)
    return folder


@pytest.fixture(autouse=True)
def _one_torch_thread() -> None:
    # Only once torch is loaded: most tests never need it, and importing it costs seconds.
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != 1:
        torch.set_num_threads(1)
