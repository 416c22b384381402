"""Linear systems with one matrix: factorisations, proofs of definiteness, and code that the user brings.

``factorization`` is SuperLU and LAPACK behind one function; ``definite`` shows by an elimination, its own rounding
included, that a matrix is positive definite; ``updated`` solves with a sparse matrix that low-rank terms are added to;
``user_code`` checks what a user's solver or operator returns.
"""
