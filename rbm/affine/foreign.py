"""Reads the matrices of other codes, by the methods they have; none of these packages is imported.

Known are matrices of NGSolve, PETSc, dolfinx, MFEM and pyMOR, beside those of SciPy and NumPy (scikit-fem's are
SciPy's).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp

from rbm.affine.entries import entries
from rbm.errors import ModelError

__all__ = ["csr", "is_foreign"]


def csr(matrix: Any, *, real_if_exact: bool = False) -> sp.csr_array:
    """Return the matrix of another code as a SciPy csr_array (n, m), in double precision and as a copy.

    Parameters
    ----------
    matrix : one of these

        - NGSolve: an assembled ``BilinearForm``, or its ``.mat``; of symmetric storage both triangles are returned
        - PETSc (petsc4py): a ``Mat`` of one process, as dolfinx and Firedrake assemble it
        - dolfinx: a ``MatrixCSR``
        - MFEM (PyMFEM): a ``SparseMatrix`` that is finalised, or a ``BilinearForm`` that was assembled and finalised
        - pyMOR: an operator with a ``.matrix``
        - SciPy: a sparse matrix or array of any format, scikit-fem's for example; NumPy: an array with two axes
    real_if_exact : drop the imaginary parts if all of them are zero. Codes with complex spaces give complex numbers for
        real forms too, which doubles the cost of all that follows

    Entries given more than once are added. Rows and columns of Dirichlet conditions are left as they are:
    :func:`rbm.constrain` eliminates them.

    Raises ModelError, with the type, for anything else, a matrix that is spread over several processes, and NaN.

    Examples
    --------
    >>> import numpy as np
    >>> csr(np.array([[2.0, 0.0], [0.0, 3.0]])).nnz
    2
    """
    kind = type(matrix).__name__
    found = matrix
    for has, read in READERS:
        if has(matrix):
            try:
                found = read(matrix)
            except ModelError:
                raise
            except Exception as error:  # each package has its own
                raise ModelError(
                    f"the {kind} has no entries to read ({type(error).__name__}: {error}); assemble it, and finalise "
                    "it, before it is given to rbm.csr"
                ) from error
            break
    else:
        if not (sp.issparse(matrix) or isinstance(matrix, np.ndarray)):
            raise ModelError(
                f"rbm.csr reads matrices of NGSolve, PETSc, dolfinx, MFEM, pyMOR, SciPy and NumPy, got a {kind}; give "
                "a scipy.sparse matrix made from its entries, scipy.sparse.coo_array((values, (rows, columns)))"
            )
    made = entries(f"the {kind}", found)
    if made.ndim != 2:
        raise ModelError(f"the {kind} has shape {made.shape}; a matrix has two axes")
    made = sp.csr_array(made)
    if real_if_exact and made.dtype.kind == "c" and not made.data.imag.any():
        made = sp.csr_array((made.data.real.copy(), made.indices, made.indptr), shape=made.shape)
    return made


def is_foreign(given: Any) -> bool:
    """Return True for what :func:`csr` reads and SciPy and NumPy do not."""
    return not (sp.issparse(given) or isinstance(given, np.ndarray)) and any(has(given) for has, _ in READERS)


def _has(*names: str) -> Callable[[Any], bool]:
    def has(given: Any) -> bool:
        return not isinstance(given, np.ndarray) and all(callable(getattr(given, name, None)) for name in names)

    return has


def _of_ngsolve(matrix: Any) -> Any:
    rows, columns, values = (np.array(part) for part in matrix.COO())
    shape = (matrix.height, matrix.width)
    if values.ndim != 1 or len(values) != len(rows):
        raise ModelError(
            f"the {type(matrix).__name__} has blocks of {values.shape[1:] or 'several numbers'} for entries; take a "
            "space with one number per unknown"
        )
    made = sp.coo_array((values, (rows.astype(np.int64), columns.astype(np.int64))), shape=shape)
    if "Symmetric" not in type(matrix).__name__:
        return made
    # symmetric storage holds one triangle
    other = rows != columns
    mirrored = sp.coo_array((values[other], (columns[other], rows[other])), shape=shape)
    return made + mirrored


def _of_ngsolve_form(form: Any) -> Any:
    return _of_ngsolve(form.mat)


def _is_ngsolve_form(given: Any) -> bool:
    # by its class, as a form that is not assembled raises an error for .mat, which should be seen
    return hasattr(type(given), "mat") and callable(getattr(given, "Assemble", None))


def _of_petsc(matrix: Any) -> Any:
    shape = tuple(int(extent) for extent in matrix.getSize())
    start, columns, values = (np.array(part) for part in matrix.getValuesCSR())
    if len(start) != shape[0] + 1:
        raise ModelError(
            f"the {type(matrix).__name__} of {shape[0]} rows has {len(start) - 1} of them in this process; assemble it "
            "in one process, or write it to a file and read that with rbm.read_matrices"
        )
    return sp.csr_array((values, columns, start), shape=shape)


def _of_dolfinx(matrix: Any) -> Any:
    return matrix.to_scipy()


def _of_mfem(matrix: Any) -> Any:
    if not matrix.Finalized():  # its arrays are then anything
        raise ModelError(f"the {type(matrix).__name__} is not finalised; call .Finalize() once it is assembled")
    # the arrays belong to MFEM, which may free them
    values, columns, start = (
        np.array(part) for part in (matrix.GetDataArray(), matrix.GetJArray(), matrix.GetIArray())
    )
    return sp.csr_array((values, columns, start), shape=(matrix.Height(), matrix.Width()))


def _of_mfem_form(form: Any) -> Any:
    return _of_mfem(form.SpMat())


def _is_array(given: Any) -> bool:
    return sp.issparse(given) or isinstance(given, np.ndarray)


#: What an object has, and how it is read; the first that fits.
READERS: tuple[tuple[Callable[[Any], bool], Callable[[Any], Any]], ...] = (
    (_has("COO"), _of_ngsolve),
    (_is_ngsolve_form, _of_ngsolve_form),
    (_has("getValuesCSR", "getSize"), _of_petsc),
    (_has("GetIArray", "GetJArray", "GetDataArray"), _of_mfem),
    (_has("SpMat"), _of_mfem_form),
    (_has("to_scipy"), _of_dolfinx),
    (lambda given: _is_array(getattr(given, "matrix", None)), lambda operator: operator.matrix),
)
