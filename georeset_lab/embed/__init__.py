"""From a frozen model to answers: embeddings with their uncertainty, where they lie, what is similar, what a probe says."""
