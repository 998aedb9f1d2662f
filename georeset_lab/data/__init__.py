"""Pixels with meaning: bands, sensors, modalities, scenes, readers, labels and the simulated scene. No torch here."""
