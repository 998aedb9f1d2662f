"""Losses: pure functions of tensors, one file each, named after the paper or the idea. No models, no data.

============  =====================================================================================================
``infonce``   Contrast by cosine; the baseline without uncertainty.
``pmi``       Contrast of Gaussian experts; learns what each modality knows and how surely. The default.
============  =====================================================================================================
"""
