"""Embeddings in two dimensions: PCA at once, UMAP from a process of its own, and which points a hand-drawn line encloses."""
