"""Losses: pure functions of tensors, one file each, named after the paper or the idea. No models, no data.

==============  ===================================================================================================
``prediction``  Gaussian prediction of what a clean view by all sensors says; the variance is what a modality cannot
                know. The default.
``pmi``         Contrast of Gaussian experts: any sensor, no targets, and which dimension belongs to whom.
``infonce``     Contrast by cosine; the baseline without uncertainty.
==============  ===================================================================================================
"""
