"""Pages that the system must clear while arrays come and go, in a process that is set up as a worker of dask."""

import json
import os
import platform
import subprocess
import sys

import pytest

from georeset_lab.embed.encoding import freed_memory

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has this setting")

SCRIPT = """
import json, resource, threading
import numpy as np
from georeset_lab.embed.encoding.freed_memory import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(50):
        np.ones(1 << 18)  # 2 MB: 512 pages
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

outside = faults()
with keep_freed_memory():
    with keep_freed_memory():
        faults()
    inside = faults()
print(json.dumps([outside, inside, faults()]))
"""


def faults(**environment):
    env = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")} | {"NUMPY_MADVISE_HUGEPAGE": "0"}
    told = subprocess.run([sys.executable, "-c", SCRIPT], env=env | environment, capture_output=True, check=True)
    return json.loads(told.stdout)


@glibc
def test_freed_memory_is_kept_inside_and_given_back_afterwards():
    before, inside, after = faults(MALLOC_TRIM_THRESHOLD_="65536")
    assert before > 50 * 500, "each array costs its pages anew"
    assert inside < before / 10, "also after an inner one has ended"
    assert after > 50 * 500


@pytest.mark.parametrize("value", [None, "", "all"])
def test_without_the_setting_nothing_is_touched(monkeypatch, value):
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)
    if value is not None:
        monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", value)
    assert freed_memory._glibc() is None
    with freed_memory.keep_freed_memory():
        pass


@glibc
def test_an_error_inside_restores_the_setting(monkeypatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "131072")
    seen = []

    def fail():
        with freed_memory.keep_freed_memory():
            seen.append(freed_memory._inside)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert seen == [1]
    assert freed_memory._inside == 0
