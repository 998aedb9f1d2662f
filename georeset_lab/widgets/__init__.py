"""Views of embeddings. They hold no computation of their own: every number comes from a call into ``embed/``."""
