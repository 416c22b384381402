"""Files of matrices and vectors that other codes write.

``reading`` tells the formats apart by their first bytes; each has a module of its own. What a file claims is compared
with the bytes that it has before memory is taken for it, and nothing in it is run.
"""

from rbm.affine.matrix_files.reading import read_matrices

__all__ = ["read_matrices"]
