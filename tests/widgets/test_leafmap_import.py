"""leafmap without what no map needs: quick to import, and whole for whoever asks for the rest."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

SCRIPT = """
import json, sys
from georeset_lab.widgets.leafmap_import import LATER, import_leafmap
{before}
leafmap = import_leafmap()
heavy = ("pystac_client", "plotly.express._core")
first = [name for name in heavy if name in sys.modules]
same = leafmap is import_leafmap() is __import__("leafmap") and leafmap.Map().zoom > 0
import plotly.express
from leafmap.leafmap import pc
used = [pc.Client.__name__, plotly.express.bar.__name__]
finders = [type(f).__name__ for f in sys.meta_path if "Later" in type(f).__name__]
print(json.dumps([first, same, used, [name for name in heavy if name not in sys.modules], finders]))
"""


@pytest.mark.parametrize(
    ("before", "loaded"),
    [("", []), ("import leafmap", ["pystac_client", "plotly.express._core"])],
    ids=["first", "after the user's own import"],
)
def test_what_no_map_needs_is_imported_at_its_first_use_and_is_whole_then(before, loaded):
    script = SCRIPT.format(before=before)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    first, same, used, missing, finders = json.loads(done.stdout.splitlines()[-1])
    assert first == loaded
    assert same
    assert used == ["Client", "bar"]
    assert not missing
    assert not finders
