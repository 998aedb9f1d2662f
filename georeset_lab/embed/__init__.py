"""From a frozen model to answers: embeddings with their uncertainty, where they lie, what is similar, what a probe says.

Here lie what one asks (``encode.py``, ``search.py``, ``probe.py``, ``foreign.py``) and what one gets (``embeddings.py``, whose
modalities are `Expert`s fused by a `FusedMap`); how it is done is in the folders.
"""
