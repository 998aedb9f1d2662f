"""Losses: pure functions of tensors, one file each, named after the paper or the idea. No models, no data.

==============  ===================================================================================================
``prediction``  Gaussian prediction of what a clean view by all sensors says; the variance is what a modality cannot
                know. The default.
``pmi``         Contrast of Gaussian experts: any sensor, no targets, and which dimension belongs to whom.
``infonce``     Contrast by cosine; the baseline without uncertainty.
``elk``         Contrast by the overlap of two Gaussians, with a prior to fix the scale; uncertainty by dimension.
``csd``         PCME++: matching by expected distance; the baseline whose variance counts only by its sum.
``prolip``      ProLIP: sigmoid contrast of Gaussians, and a full input inside its masked copy.
``decur``       DeCUR: correlations with some dimensions common to two modalities, the rest to each; no negatives.
``comm``        CoMM: one modality through the fusion against all modalities in another view.
``factorcl``    FactorCL: shared and unique information by bounds on mutual information, with trained critics.
``shapes``      What a loss needs of the shapes it is given; no loss.
==============  ===================================================================================================
"""
