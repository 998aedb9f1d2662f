"""Few-shot tables on real data, with the cheap rows in them; a *benchmark* is in ``tests/benchmarks``."""
