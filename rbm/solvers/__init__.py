"""Linear systems with one matrix: factorisations, proofs of definiteness, and code that the user brings.

``factorization`` is SuperLU and LAPACK behind one function, in the order that ``graph`` finds; ``definite`` and
``cholesky_proof`` show by an elimination, its own rounding included, that a matrix is positive definite; ``updated``
solves with a sparse matrix that low-rank terms are added to; ``user_code`` checks what a user's solver or operator
returns; ``choice`` reads `solver=`, and the classes here are what it takes, with ``rigid_body_modes`` for multigrid.
"""

from rbm.solvers.amg import AMG
from rbm.solvers.automatic import Auto
from rbm.solvers.cholmod import Cholmod
from rbm.solvers.pardiso import Pardiso
from rbm.solvers.petsc import PETSc
from rbm.solvers.rigid_body_modes import rigid_body_modes
from rbm.solvers.superlu import SuperLU

__all__ = ["AMG", "Auto", "Cholmod", "PETSc", "Pardiso", "SuperLU", "rigid_body_modes"]
