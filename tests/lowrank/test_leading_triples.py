"""The singular triples that are kept are those of LAPACK's whole decomposition, to round-off."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from helpers.other_arrays import xp
from helpers.spectra import DTYPES, matrix, random

from lowrank import leading_triples as module
from lowrank import truncated_svd
from lowrank.leading_triples import leading_triples

SHAPES = [(1, 1), (2, 2), (1, 7), (5, 3), (3, 5), (70, 70), (130, 100), (100, 150), (200, 90), (40, 300)]


@pytest.fixture(autouse=True)
def _small_ones_too(monkeypatch):
    monkeypatch.setattr(module, "FEW", 1)


def check(x: np.ndarray, k: int) -> None:
    u, s, vh = leading_triples(x, lambda values: k)
    reference = np.linalg.svd(x, compute_uv=False)
    few = 40 * float(np.finfo(x.dtype).eps)
    assert (u.shape, s.shape, vh.shape) == ((len(x), k), (k,), (k, x.shape[1]))
    assert (u.dtype, s.dtype, vh.dtype) == (x.dtype, x.real.dtype, x.dtype)
    assert abs(s - reference[:k]).max(initial=0) <= few * reference[0]
    assert abs(u.conj().T @ u - np.eye(k)).max(initial=0) <= few
    assert abs(vh @ vh.conj().T - np.eye(k)).max(initial=0) <= few
    assert np.linalg.norm(x @ vh.conj().T - u * s) <= few * max(x.shape) ** 0.5 * reference[0]
    assert np.linalg.norm(u.conj().T @ x - s[:, None] * vh) <= few * max(x.shape) ** 0.5 * reference[0]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_triples_are_those_of_the_whole_decomposition(shape, dtype):
    for x in (random(dtype, *shape), np.asfortranarray(random(dtype, *shape))):
        kept = x.copy()
        for k in sorted({0, 1, min(shape) // 3, min(shape)}):
            check(x, k)
        assert np.array_equal(x, kept)  # the matrix is not overwritten


@pytest.mark.parametrize("dtype", DTYPES)
def test_dependent_columns_and_zero_have_orthonormal_vectors(dtype):
    x = random(dtype, 60, 5) @ random(dtype, 5, 50)
    check(x, 20)
    check(np.zeros((30, 20), dtype), 7)
    check(np.eye(30, dtype=dtype), 11)


@pytest.mark.parametrize("dtype", DTYPES)
def test_count_sees_all_singular_values(dtype):
    x, values = matrix("algebraic", dtype, 80, 60)
    seen = []
    leading_triples(x, lambda s: seen.append(s.copy()) or 3)
    assert len(seen) == 1
    assert abs(seen[0] - values).max() <= 40 * float(np.finfo(dtype).eps) * values[0]


def test_without_the_routines_all_vectors_are_computed(monkeypatch):
    x = random(np.complex128, 50, 40)
    monkeypatch.setattr(module, "_routines", lambda kind: None)
    check(x, 9)


@pytest.mark.parametrize("which", [0, 1])
def test_where_lapack_reports_a_failure_all_vectors_are_computed(monkeypatch, which):
    real = module._routines("d")
    failing = tuple((lambda *given: 1) if k == which else call for k, call in enumerate(real))
    monkeypatch.setattr(module, "_routines", lambda kind: failing)
    check(random(np.float64, 50, 40), 9)


def test_routines_that_are_not_there_or_have_other_integers_are_not_called(monkeypatch):
    from scipy.linalg import cython_lapack

    module._routines.cache_clear()
    monkeypatch.setattr(cython_lapack, "__pyx_capi__", {}, raising=False)
    try:
        assert module._routines("d") is None
        check(random(np.float64, 30, 20), 4)
    finally:
        monkeypatch.undo()
        module._routines.cache_clear()
    assert module._routines("d") is not None
    assert module._routines("g") is None
    new = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)(
        ("PyCapsule_New", ctypes.pythonapi)
    )
    signature = b"void (int64_t *, int64_t *)"
    assert module._called(new(1, signature, None)) is None


def test_an_array_of_another_module_stays_in_it():
    x = random(np.float64, 20, 10)
    u, s, vh = leading_triples(xp.asarray(x), lambda values: 4)
    assert type(u) is type(xp.asarray(x))
    assert [tuple(part.shape) for part in (u, s, vh)] == [(20, 4), (4,), (4, 10)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "rank"), [(100, 25), (127, 31), (128, 32), (200, 34), (200, 50), (256, 43), (256, 64)])
def test_small_matrices_of_many_terms_are_decomposed_to_round_off(n, rank, dtype):
    """Up to 256 rows, where more than a sixth of the terms is asked for, no method but LAPACK's is as fast."""
    for kind in ("flat", "algebraic", "exponential"):
        x, values = matrix(kind, dtype, n, n)
        found = truncated_svd(x, rank)
        assert abs(found.s - values[: found.rank]).max() <= 60 * float(np.finfo(dtype).eps) * values[0]
