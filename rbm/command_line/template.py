"""The example that ``rbm reduce --template`` prints, and the small matrices that it is about."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lowrank.writing import write_atomically

__all__ = ["TEMPLATE", "write_template"]

TEMPLATE = """\
# A model for `rbm reduce`: heat in a rod of two materials that gives off heat along its length. At one end its
# temperature is 1; at the other, heat flows in. `rbm reduce --template --out rod` writes this file and its matrices to
# the folder rod, `rbm reduce rod/model.toml` makes the reduced model.
#
# Files are Matrix Market, .npy, .npz, .mat, PETSc binary or HDF5, named relative to this file. For one array of several
# write "all.npz:K". Coefficients are numbers, or formulas in the parameters: + - * / **, parentheses, pi, 1j and
# exp log sqrt sin cos tan sinh cosh tanh abs real imag conj.

version = 1
# solver = "pardiso"  # or "superlu", "cholmod", "amg", "petsc", "auto"; with options: {name = "amg", rtol = 1e-8}
product = "P.mtx"  # P, Hermitian positive definite: errors are measured in (v^H P v)^(1/2)

[parameters]  # name = [low, high], or {range = [low, high], scale = "log"}
# or, of scipy.stats, {distribution = {name = "beta", a = 2.0, b = 5.0, loc = 0.1, scale = 9.9}}, which samples follow
k = {range = [0.1, 10.0], scale = "log"}  # conductivity of the second half, against the first
h = [0.5, 5.0]  # heat that is given off

# A(mu) = sum of coefficient * matrix
[[operators]]
file = "K1.mtx"
coefficient = 1.0

[[operators]]
file = "K2.mtx"
coefficient = "k"

[[operators]]
file = "M.mtx"
coefficient = "h"

# f(mu) = sum of coefficient * vector
[[rhs]]
file = "f.npy"
coefficient = 1.0

[fixed]  # Dirichlet conditions: numbers of the unknowns, from 0, and their values (zero if left out)
dofs = "dofs.npy"
values = "values.npy"

# A lower bound of the coercivity or inf-sup constant with respect to P. Kinds and their options:
#   "number" value, "expression" value       a bound that you know
#   "min-theta" reference, constant          terms that are positive semi-definite, with positive coefficients
#   "scm"                                    any model whose Hermitian part is positive definite
#   "pencil" stiffness, mass, cut            two Hermitian matrices, K - k^2 M for instance
#   "natural-norm", "anchored" training      any model, with a basis by projection = "least-squares"
[stability]
kind = "min-theta"
reference = [1.0, 1.0]

[outputs]  # name = file of a vector l, for l^T u, or of a Hermitian matrix Q, for u^H Q u
tip = "tip.npy"

[training]  # points among which the greedy selects
points = 400
method = "sobol"  # or "grid", "random"
rng = 0

[greedy]
tol = 1e-6  # stop at this error bound
max_basis = 40
relative = false  # true: tol is about the error over the norm of the solution
projection = "galerkin"  # or "least-squares"
split = false  # true: cut the box of parameters until each part meets tol with max_basis vectors
batch = 1  # the most snapshots a step; some more than one with --workers
dual = "all"  # or a list of names of outputs: their dual problems are reduced, too, for values and bounds far sharper
"""

#: Elements of the rod.
ELEMENTS = 60


def write_template(folder: Path) -> Path:
    """Write the example and its matrices to a folder; return the path of the model file.

    Linear elements on [0, 1]; unknown 0, at the warm end, is fixed.
    """
    import scipy.sparse as sp
    from scipy.io import mmwrite  # as it takes time to import

    n, size = ELEMENTS + 1, 1 / ELEMENTS
    left = np.arange(ELEMENTS) < ELEMENTS // 2

    def assembled(element: np.ndarray, which: np.ndarray) -> sp.csr_array:
        first = np.flatnonzero(which)
        i = np.stack([first, first, first + 1, first + 1])
        j = np.stack([first, first + 1, first, first + 1])
        values = np.repeat(element.ravel()[:, None], len(first), axis=1)
        return sp.csr_array((values.ravel(), (i.ravel(), j.ravel())), shape=(n, n))

    stiffness, mass = np.array([[1.0, -1.0], [-1.0, 1.0]]) / size, np.array([[2.0, 1.0], [1.0, 2.0]]) * size / 6
    everywhere = np.ones(ELEMENTS, dtype=bool)
    k1, k2, m = assembled(stiffness, left), assembled(stiffness, ~left), assembled(mass, everywhere)
    end = np.zeros(n)
    end[-1] = 1
    folder.mkdir(parents=True, exist_ok=True)
    for name, matrix in {"K1": k1, "K2": k2, "M": m, "P": k1 + k2 + m}.items():
        mmwrite(folder / f"{name}.mtx", matrix, precision=17)
    vectors = {"f": 2 * end, "tip": end, "dofs": np.array([0]), "values": np.array([1.0])}
    for name, vector in vectors.items():
        np.save(folder / f"{name}.npy", vector)
    write_atomically(folder / "model.toml", TEMPLATE.encode())
    return folder / "model.toml"
