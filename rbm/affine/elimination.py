"""Dirichlet conditions: fixed unknowns are eliminated, and their values lifted into the right-hand side.

The affine form is kept, for values that depend on the parameters, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from lowrank import LowRankMatrix
from rbm.affine.constraints import Constraints
from rbm.affine.entries import dense_entries, entries
from rbm.affine.foreign import csr, is_foreign
from rbm.affine.linear_rows import Linear, row_matrix
from rbm.affine.terms import Terms, is_coefficient, is_number, operator_term, output_pairs, term_pairs, vector_term
from rbm.arithmetic import extended
from rbm.arithmetic.low_rank import SplitLowRank
from rbm.errors import ModelError
from rbm.parameters.coefficients import Coefficient
from rbm.parameters.products import factored, key, multiplied
from rbm.parameters.space import ParameterSpace

__all__ = ["Constrained", "constrain"]


@dataclass(frozen=True, eq=False)
class Constrained:
    """A system without its fixed unknowns; ``rbm.FullOrderModel(**constrained.arguments, ...)`` makes a model of it."""

    operators: Terms  #: [(theta_q, A_q (m, m)), ...]
    rhs: Terms  #: those of f, merged with the lifting terms
    product: Any  #: P (m, m)
    outputs: Mapping[str, Any]
    constraints: Constraints

    @property
    def free(self) -> np.ndarray:
        """The numbers (m,) of the unknowns that are left, ascending."""
        return self.constraints.free

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of :class:`rbm.FullOrderModel` that are known: all but parameters and stability."""
        known = {"operators": self.operators, "rhs": self.rhs, "product": self.product}
        return {**known, "outputs": dict(self.outputs), "constraints": self.constraints}

    def expand(self, x: Any, mus: Any = None) -> np.ndarray:
        """Return vectors with all unknowns, (M, n) or (n,), from the free ones; see :meth:`Constraints.expand`."""
        return self.constraints.expand(x, mus)

    def __repr__(self) -> str:
        fixed, terms = len(self.constraints.fixed), len(self.constraints.sources)
        return (
            f"Constrained({len(self.free)} free and {fixed} fixed unknowns, {len(self.operators)} operator and "
            f"{len(self.rhs)} right-hand side terms, {terms} terms of fixed values)"
        )


def constrain(
    operators: Terms,
    rhs: Terms,
    product: Any,
    fixed: Any,
    values: Any = None,
    *,
    outputs: Mapping[str, Any] | None = None,
    parameters: ParameterSpace | None = None,
) -> Constrained:
    """Eliminate the unknowns that Dirichlet conditions fix, and lift their values into the right-hand side.

    With F the free and D the fixed unknowns, and u_D = sum_c c(mu) g_c, the rows F of A(mu) u = f(mu) are

        sum_q theta_q A_q,FF u_F = sum_q phi_q f_q,F - sum_q sum_c theta_q c A_q,FD g_c,

    again an affine system. Its coefficients theta_q c are formulas where both factors are numbers or formulas, so that
    models can be saved. Terms with the same coefficient are added; those that are zero are left out.

    Parameters
    ----------
    operators, rhs, product : as :class:`rbm.FullOrderModel` takes them, with all n unknowns; matrices of other codes as
        :func:`csr` does; low-rank factors stay factors. Rows and columns of the fixed unknowns are dropped, whatever
        they hold
    fixed : numbers (d,) of the fixed unknowns, from 0, in any order; or a mask (n,) of truth values
    values : their values g, in the order of `fixed`: a number, (d,), or (n,), of which the fixed ones count; or
        [(c, g_c), ...] with coefficients. Zero by default
    outputs : also restricted to the free unknowns. What fixed values bring to a linear one, psi c l_D^T g_c, is kept as
        an offset, pairs (psi c, number). A quadratic one that reads values that are not zero is refused
    parameters : the model's, needed where a coefficient that is a function is multiplied by another

    Vectors A g, and their sums, are formed in about twice the working precision and rounded once, so that each entry is
    right to u = 2^-53 of itself and 2^-70 of what was added. Bounds are about the system that is returned.

    Raises ModelError for numbers outside the range, given twice, or values that do not fit; LinearOperators are
    refused, as they show no columns. Cost: one product with A_q,FD for each operator term.

    Examples
    --------
    >>> import numpy as np, rbm
    >>> stiffness = 4 * (2 * np.eye(3) - np.eye(3, k=1) - np.eye(3, k=-1))
    >>> made = constrain([("k", stiffness)], [(1.0, np.zeros(3))], stiffness, fixed=[0, 2], values=[("T", [1.0, 0.0])])
    >>> made.rhs
    [('T * k', array([4.]))]
    """
    pairs = term_pairs("operators", operators)
    product = _matrix("the product", product)
    n = product.shape[0]
    matrices = [(c, _matrix(f"operator term {q}", a)) for q, (c, a) in enumerate(pairs)]
    terms = [(c, operator_term(f"operator term {q}", a, n)) for q, (c, a) in enumerate(matrices)]
    loads = [(c, vector_term(f"right-hand side term {q}", f, n)) for q, (c, f) in enumerate(term_pairs("rhs", rhs))]
    dofs = _fixed(fixed, n)
    free, order = np.setdiff1d(np.arange(n), dofs), np.argsort(dofs)
    given = [(c, g) for c, g in _values(values, dofs, n) if g.any()]
    inner = [(c, _part(a, free, free)) for c, a in terms]
    lifting = [(c, _part(a, free, dofs)) for c, a in terms] if given else []
    constraints = Constraints(
        free,
        dofs[order],
        tuple(c for c, _ in given),
        np.array([g[order] for _, g in given]).reshape(len(given), len(dofs)),
        parameters,
    )
    return Constrained(
        inner,
        _merged([(c, f[free]) for c, f in loads], lifting, given, parameters),
        _part(product, free, free),
        {name: _restricted(name, output, constraints, parameters) for name, output in (outputs or {}).items()},
        constraints,
    )


def _matrix(name: str, given: Any) -> Any:
    """Return a matrix that shows its entries, sparse, dense, or an operator's low-rank factors."""
    if is_foreign(given):
        return csr(given)
    if isinstance(given, LowRankMatrix) and name != "the product":
        return given
    if not (sp.issparse(given) or isinstance(given, np.ndarray | list)) and hasattr(given, "matvec"):
        raise ModelError(
            f"{name} is a {type(given).__name__}, which shows no columns to eliminate; give the matrix, sparse or dense"
        )
    matrix = entries(name, given)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ModelError(f"{name} has shape {matrix.shape}, expected a square matrix in all unknowns")
    return matrix


def _part(matrix: Any, rows: np.ndarray, columns: np.ndarray) -> Any:
    """Return rows and columns of a matrix, as it is stored."""
    if isinstance(matrix, LowRankMatrix):
        return LowRankMatrix(matrix.U[rows], matrix.s, matrix.V[columns])
    return sp.csr_array(matrix[rows][:, columns]) if sp.issparse(matrix) else matrix[np.ix_(rows, columns)]


def _fixed(given: Any, n: int) -> np.ndarray:
    """Return the numbers of the fixed unknowns (d,), checked, in the order given."""
    array = np.asarray(given)
    if array.dtype.kind == "b":
        if array.shape != (n,):
            raise ModelError(f"a mask of fixed unknowns must have shape ({n},), got {array.shape}")
        array = np.flatnonzero(array)
    if array.size and array.dtype.kind == "f" and np.all(array == np.rint(array)):  # as files hold them
        array = array.astype(np.int64)
    if array.size == 0 or array.dtype.kind not in "iu" or array.size != max(array.shape, default=0):
        raise ModelError(
            f"fixed must be the numbers of the fixed unknowns, whole numbers from 0 to {n - 1}, or a mask ({n},), got "
            f"shape {array.shape} of {array.dtype}"
        )
    dofs = array.ravel().astype(np.int64)
    wrong = dofs[(dofs < 0) | (dofs >= n)]
    if len(wrong):
        hint = "; they are counted from 0, subtract 1" if dofs.max() == n and dofs.min() >= 1 else ""
        raise ModelError(f"fixed has the unknown {wrong[0]}, outside 0 to {n - 1}{hint}")
    unique, counts = np.unique(dofs, return_counts=True)
    if counts.max() > 1:
        raise ModelError(f"fixed has the unknown {unique[counts > 1][0]} more than once; give each once")
    if len(dofs) == n:
        raise ModelError(f"all {n} unknowns are fixed: nothing is left to solve for")
    return dofs


def _values(given: Any, dofs: np.ndarray, n: int) -> list[tuple[Coefficient, np.ndarray]]:
    """Return the terms of the fixed values, [(c, g_c (d,)), ...] in the order of `dofs`."""
    if given is None:
        return []
    first = given[0] if isinstance(given, list | tuple) and len(given) else None
    pairs: Terms = [(1.0, given)]
    if isinstance(first, str) or (isinstance(first, list | tuple) and len(first) == 2 and is_coefficient(first[0])):
        pairs = term_pairs("values", given)
    made = []
    for k, (coefficient, g) in enumerate(pairs):
        name = f"term {k} of values" if len(pairs) > 1 else "values"
        array = dense_entries(name, g)
        if array.size == max(array.shape, default=1):
            array = array.ravel() if array.ndim else np.full(len(dofs), array)
        if array.shape == (n,):
            array = array[dofs]
        if array.shape != (len(dofs),):
            raise ModelError(
                f"{name} has shape {np.shape(g)}, expected a number, ({len(dofs)},) as fixed, or ({n},) for all "
                "unknowns"
            )
        made.append((coefficient, array))
    return made


def _merged(loads: Terms, lifting: Terms, given: Terms, parameters: ParameterSpace | None) -> Terms:
    """Return the terms of the right-hand side, f minus what the fixed values bring, those of one coefficient added."""
    brought: dict[Any, tuple[Any, extended.Extended]] = {}
    values = np.stack([g for _, g in given], axis=1) if given else np.zeros((0, 0))
    for theta, columns in lifting:
        if isinstance(columns, LowRankMatrix):
            columns = SplitLowRank(columns)
        elif not (columns.nnz if sp.issparse(columns) else columns.any()):
            continue
        number, symbol = factored(theta)
        images = extended.product(columns, values)
        for k, (c, _) in enumerate(given):
            scale, other = factored(c)
            # the sign is in the vector, so that coefficients equal those of f
            factor = extended.two_product(np.asarray(-number), np.asarray(scale))
            image = _scaled(factor, (images[0][:, k], images[1][:, k]))
            _add(brought, multiplied(symbol, other, parameters), image)
    own: dict[Any, list[tuple[Coefficient, np.ndarray]]] = {}
    for c, f in loads:
        own.setdefault(key(factored(c)[1]), []).append((c, f))
    kept: list[tuple[Coefficient, np.ndarray]] = []
    for name, terms in own.items():
        if name not in brought:
            kept += terms  # as they were given
            continue
        for c, f in terms:
            number, symbol = factored(c)
            _add(brought, symbol, extended.two_product(np.asarray(number), f))
    made = [(1.0 if symbol is None else symbol, hi + lo) for symbol, (hi, lo) in brought.values()]
    terms = [(c, f) for c, f in (*kept, *made) if f.any()]
    return terms or [(1.0, np.zeros_like(loads[0][1]))]


def _add(sums: dict[Any, tuple[Any, extended.Extended]], symbol: Any, vector: extended.Extended) -> None:
    name = key(symbol)
    sums[name] = (symbol, extended.add(sums[name][1], vector)) if name in sums else (symbol, vector)


def _scaled(factor: extended.Extended, vector: extended.Extended) -> extended.Extended:
    """Return the product of a number and a vector, both hi + lo."""
    hi, lo = extended.scale(factor[0], vector)
    return extended.add((hi, lo), (factor[1] * vector[0], np.zeros_like(vector[0])))


def _restricted(name: str, output: Any, constraints: Constraints, parameters: ParameterSpace | None) -> Any:
    """Return an output without the fixed unknowns; what these bring to a linear one is an offset."""
    n, free, fixed = constraints.dimension, constraints.free, constraints.fixed
    moved = fixed[constraints.values.any(axis=0)] if len(constraints.sources) else fixed[:0]
    if isinstance(output, Linear):
        return _restricted_rows(name, output, free, moved, n)
    made: list[tuple[Coefficient, Any]] = []
    brought: dict[Any, tuple[Any, extended.Extended]] = {}
    for c, given in output_pairs(f"output {name!r}", output):
        if is_number(given):
            made.append((c, given))
            continue
        array = csr(given) if is_foreign(given) else entries(f"output {name!r}", given)
        if array.shape == (n, n):
            reads = array[moved].any() if isinstance(array, np.ndarray) else array[moved].count_nonzero() > 0
            if reads:
                raise ModelError(
                    f"quadratic output {name!r} reads fixed unknowns with values that are not zero, and would miss "
                    "their share: set its rows and columns there to zero, and add what they bring, with "
                    "constraints.fixed_values(mus)"
                )
            made.append((c, _part(array, free, free)))
            continue
        vector = vector_term(f"output {name!r}", array, n, functional=True)
        made.append((c, vector[free]))
        if vector[moved].any():
            _bring(brought, c, vector[fixed], constraints, parameters)
    return [*made, *((1.0 if symbol is None else symbol, (hi + lo)[0]) for symbol, (hi, lo) in brought.values())]


def _restricted_rows(name: str, output: Linear, free: np.ndarray, moved: np.ndarray, n: int) -> Linear:
    """Return an array-valued output of the free unknowns; it may not read fixed values that are not zero."""
    pairs = [(c, row_matrix(f"output {name!r}", given, n)) for c, given in output_pairs(name, output.rows)]
    if any(abs(matrix[:, moved]).sum() > 0 for _, matrix in pairs):
        raise ModelError(
            f"the rows of output {name!r} read fixed unknowns with values that are not zero, and an array-valued "
            "output has no offset: set its columns there to zero, and add C_D g to the values, with "
            "constraints.fixed_values(mus)"
        )
    return Linear([(c, matrix[:, free]) for c, matrix in pairs])


def _bring(
    sums: dict[Any, tuple[Any, extended.Extended]],
    psi: Coefficient,
    functional: np.ndarray,
    constraints: Constraints,
    parameters: ParameterSpace | None,
) -> None:
    """Add psi l_D^T g(mu), of a functional l_D (d,) on the fixed unknowns, to sums by coefficient."""
    number, symbol = factored(psi)
    images = extended.product(functional[None], constraints.values.T)  # (1, k)
    for k, source in enumerate(constraints.sources):
        scale, other = factored(source)
        factor = extended.two_product(np.asarray(number), np.asarray(scale))
        _add(sums, multiplied(symbol, other, parameters), _scaled(factor, (images[0][:, k], images[1][:, k])))
