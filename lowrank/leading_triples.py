"""The leading singular triples of an array by LAPACK, without the vectors that nobody asked for."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from math import isfinite
from typing import Any

import numpy as np

from lowrank.dense import adjoint, qr, svd

__all__ = ["leading_triples"]

#: LAPACK's letters of the types, and what its routines of a unitary matrix are called.
LETTERS = {"f": ("s", "sor"), "d": ("d", "dor"), "F": ("c", "cun"), "D": ("z", "zun")}
#: Up to so many rows or columns all vectors cost less than the calls of single routines.
FEW = 64
#: An array that is longer than this many times its shorter side is made triangular first, as LAPACK's gesdd does.
TALL = 11 / 6
#: Room for LAPACK's blocks: columns of a block where it makes the matrix bidiagonal,
BLOCK = 32
#: and where it transforms vectors: up to so many reflections one after the other, which needs a row of room, more in
#: blocks of 16, which need room for their triangles, too.
SINGLY, WIDTH, TRIANGLES = 160, 16, 65 * 64


def leading_triples(x: Any, count: Callable[[Any], int]) -> tuple[Any, Any, Any]:
    """Return U (m, k), s (k,) descending and V^H (k, n), the k leading singular triples of X, right to u s_1.

    X = Q B P^H with B bidiagonal (LAPACK's gebrd), and B = U' diag(s) V'^H (bdsdc): these are the steps of LAPACK's
    SVD. Here U = Q U' and V = P V' are formed for the k columns that are kept only, which of 200 rows and columns and
    k = 50 takes three quarters of the time of :func:`lowrank.dense.svd`.

    x : (m, n), finite and of a size whose squares neither overflow nor vanish
    count : tells from all singular values how many are kept

    All vectors are computed of small arrays and of those of other modules, and where SciPy does not show these routines
    or they do not converge.
    """
    m, n = x.shape
    routines = _routines(x.dtype.char) if isinstance(x, np.ndarray) else None
    found = None
    if routines is not None and min(m, n) > FEW:
        if m < n:
            found = _of_tall(adjoint(x), count, routines)
            found = None if found is None else (adjoint(found[2]), found[1], adjoint(found[0]))
        else:
            found = _of_tall(x, count, routines)
    if found is None:
        u, s, vh = svd(x)
        k = count(s)
        return u[:, :k], s[:k], vh[:k, :]
    return found


def _of_tall(x: np.ndarray, count: Callable[[np.ndarray], int], routines: Any) -> Any:
    """Return the triples for at least as many rows as columns, None where the iteration did not converge."""
    m, n = x.shape
    if m > TALL * n:
        q, r = qr(x)
        found = _of_tall(r, count, routines)
        return None if found is None else (q @ found[0], *found[1:])
    bidiagonalise, decompose, transform = routines
    real, a = x.real.dtype, np.array(x, order="F")
    s, e, room = np.empty(n, real), np.zeros(n, real), np.empty((m + n) * BLOCK, x.dtype)
    left, right = np.empty((n, n), real, order="F"), np.empty((n, n), real, order="F")
    of_q, of_p, more = np.empty(n, x.dtype), np.empty(n, x.dtype), np.empty((3 * n + 4) * n, real)
    whole = np.empty(8 * n, np.intc)
    at_a, at_s, at_e, at_q, at_p, at_room = map(_address, (a, s, e, of_q, of_p, room))
    if bidiagonalise(m, n, at_a, m, at_s, at_e, at_q, at_p, at_room, room.size) or not isfinite(s.sum() + e.sum()):
        return None
    at_whole = _address(whole)
    done = at_s, at_e, _address(left), n, _address(right), n, at_whole, at_whole, _address(more), at_whole
    if decompose(b"U", b"I", n, *done):
        return None
    k = count(s)
    u, v = np.zeros((m, k), x.dtype, order="F"), np.empty((n, k), x.dtype, order="F")
    u[:n], v[:] = left[:, :k], right[:k].T
    if k:
        room = np.empty(k if n <= SINGLY else k * WIDTH + TRIANGLES, x.dtype)
        for which, length, known, scalars, vectors in ((b"Q", m, n, at_q, u), (b"P", n, m, at_p, v)):
            there = at_a, m, scalars, _address(vectors), length, _address(room), room.size
            transform(which, b"L", b"N", length, k, known, *there)
    return u, s[:k], adjoint(v)


@functools.cache
def _routines(kind: str) -> tuple[Callable[..., int], ...] | None:
    """Return LAPACK's gebrd, bdsdc and ormbr of a type, or None where SciPy does not have them as expected.

    SciPy offers these to Cython only, with their signatures: sizes must be integers of C there.
    """
    if kind not in LETTERS:
        return None
    letter, unitary = LETTERS[kind]
    real = LETTERS[kind.lower()][0]
    names = f"{letter}gebrd", f"{real}bdsdc", f"{unitary}mbr"
    try:
        from scipy.linalg import cython_lapack

        capsules = [cython_lapack.__pyx_capi__[name] for name in names]
    except (ImportError, AttributeError, KeyError):
        return None
    made = [_called(capsule) for capsule in capsules]
    return None if any(call is None for call in made) else tuple(c for c in made if c is not None)


def _called(capsule: Any) -> Callable[..., int] | None:
    """Return a function that calls a Fortran routine and returns its `info`; None if its integers are not those of C.

    Integers are passed by their address, as Fortran wants them; `info`, the last argument of all of LAPACK, is added.
    """
    name_of = ctypes.PYFUNCTYPE(ctypes.c_char_p, ctypes.py_object)(("PyCapsule_GetName", ctypes.pythonapi))
    address_of = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
        ("PyCapsule_GetPointer", ctypes.pythonapi)
    )
    signature = name_of(capsule)
    kinds = [kind.strip() for kind in signature.decode().partition("(")[2].rstrip(")").split(",")]
    if kinds[-1] != "int *":
        return None
    routine = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * len(kinds))(address_of(capsule, signature))

    def call(*given: Any) -> int:
        info = ctypes.c_int(0)
        routine(*(ctypes.byref(ctypes.c_int(g)) if isinstance(g, int) else g for g in given), ctypes.byref(info))
        return info.value

    return call


def _address(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
