"""The PARDISO of MKL, called through the library that pypardiso loads: all its matrix types, real and complex.

pypardiso finds and loads MKL; its own ``solve`` takes real unsymmetric matrices and compares or hashes the matrix in
each call. Here a matrix is handed over once, a symmetric one as its upper triangle, and its factors are kept until the
object that solves with them is gone.

Source: Schenk and Gaertner, Future Generation Computer Systems 20 (2004) 475-487; documentation of oneMKL PARDISO.
"""

from __future__ import annotations

import ctypes
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import scipy.sparse as sp

from lowrank.optional import require
from rbm.errors import ModelError
from rbm.solvers.patterns import KeptOrders

__all__ = ["Factors", "PardisoError"]

#: Right-hand sides per call: all that a column is depends on is its block.
COLUMNS = 32
#: The code of a pivot that is zero or, of a matrix that is taken for positive definite, not positive.
NOT_POSITIVE = -4
#: Largest number of entries that a 32-bit index counts.
LONGEST = 2**31 - 1
ANALYSE, FACTORISE, SOLVE, RELEASE = 11, 22, 33, -1
#: Types of matrices: those that are given by their upper triangle, and those whose entries are matched to the diagonal.
TRIANGULAR, MATCHED, COMPLEX = (2, -2, 4, -4, 6), (-2, -4, 6, 11, 13), (3, 4, -4, 6, 13)
#: What the codes of PARDISO mean.
CODES = {
    -1: "inconsistent input",
    -2: "out of memory",
    -3: "a failure of the reordering",
    -4: "a zero or non-positive pivot",
    -5: "an internal error",
    -6: "a failure of the preordering: the matrix is structurally singular",
    -7: "a singular diagonal block",
    -8: "more entries than 32-bit integers count",
    -9: "out of memory for out-of-core factors",
}

_orders = KeptOrders()


class PardisoError(ModelError):
    """PARDISO ended with an error code; `code` is it."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what pickle needs."""
        return type(self), (self.args[0], self.code)


@cache
def library() -> Any:
    """Return MKL as a ctypes library. Raises ImportError, with what to install, without pypardiso."""
    wrapper = require("pypardiso", "pypardiso", 'solver="pardiso"', "pardiso")
    return wrapper.PyPardisoSolver().libmkl  # whose search of the file system takes a second: once


class Factors:
    """The factors of one sparse matrix, which it solves with; MKL's memory is freed when the object is gone.

    matrix : (n, n), real or complex; kind : MKL's mtype, the caller's to choose
    threads : of MKL in these calls; None for as many as MKL takes

    Attributes
    ----------
    entries : number of entries of the factor L (of L and U where they differ)
    perturbed : number of pivots that were made larger, so that the factors are those of another matrix

    Raises PardisoError.
    """

    def __init__(self, matrix: Any, kind: int, threads: int | None) -> None:
        self._kind, self._threads, self._n = kind, threads, matrix.shape[0]
        self._lock = threading.Lock()
        self._dtype = np.dtype(complex if kind in COMPLEX else float)
        upper = sp.csr_array(_with_diagonal(matrix, kind), dtype=self._dtype, copy=True)
        upper.sum_duplicates()  # sorted, too: on an entry that is there twice MKL does not come back
        if upper.nnz > LONGEST:
            raise PardisoError(f"the matrix has {upper.nnz} entries, PARDISO takes {LONGEST}", -8)
        self._values = upper.data
        self._rows, self._columns = ((part + 1).astype(np.int32) for part in (upper.indptr, upper.indices))
        self._memory = np.zeros(64, dtype=np.int64)
        self._options = _options(kind)
        self._order = np.zeros(self._n, dtype=np.int32)
        self._release = weakref.finalize(self, _free, self._memory, kind, self._n, self._options)
        self._release.atexit = False  # the process takes its memory with it
        none = np.zeros((self._n, 1), self._dtype, order="F")
        with _threads_set(threads):
            if kind in MATCHED:
                self._call(ANALYSE, none, none)
            else:
                self._analyse(none)
            self._call(FACTORISE, none, none)
        self.entries, self.perturbed = _count(self._options[17], self._options[16]), int(self._options[13])

    def _analyse(self, none: np.ndarray) -> None:
        """Find an order of little fill, or take the one that was found for this pattern before: the same bits."""
        key = _orders.key(self._rows, self._columns)
        known = _orders.get(key)
        self._options[4] = 2 if known is None else 1
        if known is not None:
            self._order[:] = known
        self._call(ANALYSE, none, none)
        if known is None:
            _orders.put(key, self._order.copy())

    def __call__(self, rhs: np.ndarray) -> np.ndarray:
        """Return X (n, k) for right-hand sides (n, k); for complex ones of a real matrix in two parts."""
        if np.iscomplexobj(rhs) and self._dtype.kind != "c":
            return self(rhs.real) + 1j * self(rhs.imag)
        b = np.asarray(rhs, dtype=self._dtype, order="F")
        x = np.empty_like(b, order="F")
        with self._lock, _threads_set(self._threads):
            for start in range(0, b.shape[1], COLUMNS):
                block = slice(start, start + COLUMNS)
                self._call(SOLVE, b[:, block], x[:, block])
        return x

    def _call(self, phase: int, b: np.ndarray, x: np.ndarray) -> None:
        code = _pardiso(
            self._memory, self._kind, phase, self._n, (self._values, self._rows, self._columns), self._order,
            self._options, b, x,
        )  # fmt: skip
        if code:
            what = CODES.get(code, "an unknown error")
            more = '; take fewer unknowns, or an iterative solver ("amg")' if code in (-2, -8, -9) else ""
            raise PardisoError(
                f"PARDISO ended with {what} (code {code}) for a matrix of {self._n} unknowns{more}", code
            )


def _with_diagonal(matrix: Any, kind: int) -> Any:
    """Return what PARDISO is given: the upper triangle with all diagonal entries, or all of a matrix."""
    if kind not in TRIANGULAR:
        return matrix
    upper = sp.csr_array(sp.triu(matrix, format="csr"))
    if np.count_nonzero(upper.diagonal()) == matrix.shape[0]:
        return upper
    # entries that are stored and zero: adding a diagonal keeps the pattern, where addition alone would drop them
    coo, every = sp.coo_array(upper), np.arange(matrix.shape[0])
    rows, columns = np.append(coo.coords[0], every), np.append(coo.coords[1], every)
    return sp.csr_array((np.append(coo.data, np.zeros(len(every), coo.data.dtype)), (rows, columns)), upper.shape)


def _options(kind: int) -> np.ndarray:
    """Return MKL's iparm: no refinement of its own, METIS, no perturbation of pivots unless they are about zero."""
    options = np.zeros(64, dtype=np.int32)
    options[[0, 1, 9, 17]] = 1, 2, 13 if kind in (11, 13) else 8, -1
    if kind in MATCHED:
        options[[10, 12]] = 1  # scaling, and large entries brought to the diagonal
    if kind in (-2, -4, 6):
        options[20] = 1  # pivots of one or two rows
    return options


def _count(reported: Any, kilobytes: Any) -> float | None:
    """Return a count that MKL reports in 32 bits, None where it cannot be one.

    kilobytes : of the factors; from 2^31 numbers of 8 bytes on the count may have come round to a positive one
    """
    return float(reported) if reported > 0 and 0 <= kilobytes < LONGEST // 128 else None


def _pardiso(
    memory: np.ndarray, kind: int, phase: int, n: int, arrays: tuple[np.ndarray, ...], order: np.ndarray,
    options: np.ndarray, b: np.ndarray, x: np.ndarray,
) -> int:  # fmt: skip
    """Call MKL; the lists of arguments are in its documentation."""
    values, rows, columns = arrays
    error = ctypes.c_int32(0)
    as_int = ctypes.POINTER(ctypes.c_int32)

    def number(value: int) -> Any:
        return ctypes.byref(ctypes.c_int32(value))

    call = library().pardiso
    call(
        memory.ctypes.data_as(ctypes.POINTER(ctypes.c_int64)), number(1), number(1), number(kind), number(phase),
        number(n), values.ctypes.data_as(ctypes.c_void_p), rows.ctypes.data_as(as_int),
        columns.ctypes.data_as(as_int), order.ctypes.data_as(as_int), number(b.shape[1]),
        options.ctypes.data_as(as_int), number(0), b.ctypes.data_as(ctypes.c_void_p),
        x.ctypes.data_as(ctypes.c_void_p), ctypes.byref(error),
    )  # fmt: skip
    return error.value


def _free(memory: np.ndarray, kind: int, n: int, options: np.ndarray) -> None:
    """Give MKL's memory back; nothing if there is none."""
    if np.any(memory):
        none, one = np.zeros((1, 1), complex), np.ones(1, np.int32)
        _pardiso(memory, kind, RELEASE, n, (none, one, one), one, options, none, none)


@contextmanager
def _threads_set(threads: int | None) -> Iterator[None]:
    """Let MKL take so many threads in calls from this thread."""
    if threads is None:
        yield
        return
    switch = library().MKL_Set_Num_Threads_Local
    before = switch(ctypes.c_int(threads))
    try:
        yield
    finally:
        switch(ctypes.c_int(before))
