"""Embeddings on disk: a Zarr store that survives a kill, is opened only if it is whole, and goes out as COG or GeoParquet."""
