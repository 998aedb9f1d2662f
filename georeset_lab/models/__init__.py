"""The encoder and its parts: tensors in, tensors out. No files but checkpoints, no xarray."""
