"""Machine-learning extensions over :mod:`lowrank`; factorised embeddings will stand here."""
