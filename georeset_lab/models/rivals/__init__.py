"""Rival tokenizers and baselines behind the interface of our encoder: `crops` for training, `dense` for `encode`."""
