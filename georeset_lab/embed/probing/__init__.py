"""Few-shot classifiers over embeddings: fitted in a blink, tested elsewhere, with doubts, their causes and prediction sets."""
