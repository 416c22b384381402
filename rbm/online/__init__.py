"""The online stage: small dense arrays, all parameter points of a batch at once."""
