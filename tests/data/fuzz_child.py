"""Opens mutated copies of products and rasters, one after another, in this process; started by ``test_fuzz_readers.py``.

    python fuzz_child.py SEEDS FIRST COUNT

prints a JSON line before and after each case, so that a crash is known by the case it happened in. Memory is limited to
4 GiB of addresses; torch is never imported.
"""

from __future__ import annotations

import json
import random
import re
import resource
import sys
import time
import traceback
import warnings
from pathlib import Path

LIMIT = 4 * 2**30
TEXT = (".xml", ".txt", ".json", ".hdr")
WORDS = (
    b"", b"0", b"-1", b"1e999", b"nan", b"-inf", b"99999999999999999999", b"2147483648", b"NaN", b"abc", b"\xff\xfe", b"{", b"}",
    b"<a>", b"</a>", b'"', b"<!DOCTYPE a>", b"../../../../etc/passwd", b"/dev/zero", b"{}", b"[]", b"null", b"\x00", b"1" * 400,
)  # fmt: skip


def mutate(data: bytes, text: bool, rng: random.Random) -> bytes:
    """One of the usual ways of breaking a file."""
    out = bytearray(data)
    kind = rng.randrange(7)
    if not out:
        return b"\x00"
    if text and kind < 4:
        return _mutate_text(data, rng)
    if kind == 0:
        return bytes(out[: rng.randrange(len(out))])
    if kind == 1:
        for _ in range(rng.choice((1, 1, 2, 8, 64))):
            out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    elif kind == 2:  # headers lie in the first bytes
        for _ in range(rng.choice((1, 2, 4))):
            out[rng.randrange(min(512, len(out)))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    elif kind == 3:
        at = rng.randrange(len(out))
        out[at : at + 4] = rng.choice(
            (b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\x7f\xff\xff\xff", b"\x00\x00\x00\x80")
        )
    elif kind == 4:
        at, length = rng.randrange(len(out)), rng.randrange(1, 64)
        del out[at : at + length]
    elif kind == 5:
        at, length = rng.randrange(len(out)), rng.randrange(1, 64)
        out[at:at] = out[rng.randrange(len(out)) :][:length]
    else:
        out = bytearray(rng.randbytes(rng.randrange(1, 400)))
    return bytes(out)


def _mutate_text(data: bytes, rng: random.Random) -> bytes:
    tokens = list(re.finditer(rb"[\w.+-]+", data))
    for _ in range(rng.choice((1, 1, 1, 3))):
        found = rng.choice(tokens)
        word = rng.choice(WORDS) if rng.random() < 0.8 else rng.choice(tokens)[0]
        data = data[: found.start()] + word + data[found.end() :]
        tokens = list(re.finditer(rb"[\w.+-]+", data)) or tokens
    return data


def open_and_read(seed: Path, options: dict) -> str:
    """What became of it: ``"ok"`` or the name of a typed error; anything else is raised."""
    from georeset_lab.data.load import load_scene
    from georeset_lab.errors import GeoresetError

    try:
        scene = load_scene(seed, **options)
        for modality in scene.modalities.values():
            modality.read(slice(0, 16), slice(0, 16), time=0)
            if modality.flags is not None:
                modality.flags[0, :16, :16].values.sum()
    except GeoresetError as err:
        return type(err).__name__
    return "ok"


def say(what: dict) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))
    seeds, first, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    table = json.loads((seeds / "table.json").read_text())
    warnings.simplefilter("ignore")
    files = {name: sorted(p for p in (seeds / name).rglob("*") if p.is_file()) for name in table}
    for name, options in table.items():  # the seeds themselves open
        assert open_and_read(seeds / options["path"], options["options"]) == "ok", name
    for case in range(first, first + count):
        rng = random.Random(case)
        name = rng.choice(list(table))
        target = rng.choice(files[name])
        data = target.read_bytes()
        say({"case": case, "seed": name, "file": target.name})
        start = time.process_time()
        try:
            target.write_bytes(mutate(data, target.suffix.lower() in TEXT, rng))
            what = open_and_read(seeds / table[name]["path"], table[name]["options"])
            trouble = ""
        except BaseException as err:  # MemoryError and RecursionError are failures too
            what, trouble = f"untyped {type(err).__name__}", traceback.format_exc()[-1500:]
        finally:
            target.write_bytes(data)
        say({"done": case, "what": what, "s": time.process_time() - start, "trouble": trouble})


if __name__ == "__main__":
    main()
