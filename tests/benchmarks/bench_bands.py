"""Time of 224 bands beside 12 of the same pixel size and area, for our encoder and the rivals: at most twice for ours.

Run: ``python -m tests.benchmarks.bench_bands``
"""

from __future__ import annotations

from georeset_lab.evaluate.sensors_cost import cost
from georeset_lab.models.checkpoint import load_model, make_model
from georeset_lab.models.rivals.build import RIVALS, build_encoder
from georeset_lab.models.rivals.plain import PlainConfig

MOST = 2.0


def main() -> None:
    """Print a line for each encoder; exit with an error if ours takes more than `MOST` times as long."""
    ratio = 0.0
    for name in ("default", *RIVALS):
        model = load_model(name) if name == "default" else make_model(build_encoder(PlainConfig(name)), name=name)
        c = cost(model)
        more = c["seconds_224"] / c["seconds_12"]
        ratio = more if name == "default" else ratio
        print(
            f"{name:<15} {c['parameters']:>9,} parameters   12 bands {c['gflop_12']:6.0f} GFLOP/MP {c['seconds_12']:6.2f} s/MP"
            f"   224 bands {c['gflop_224']:6.0f} GFLOP/MP {c['seconds_224']:6.2f} s/MP   {more:.2f} x"
        )
    if ratio > MOST:
        raise SystemExit(f"224 bands cost our encoder {ratio:.2f} times as much as 12; at most {MOST} is allowed.")


if __name__ == "__main__":
    main()
