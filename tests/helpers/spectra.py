"""Matrices with known singular values, for the tests of the low-rank floor."""

from __future__ import annotations

import numpy as np

DTYPES = [np.float32, np.float64, np.complex64, np.complex128]


def random(dtype: type, *shape: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    real = rng.standard_normal(shape)
    return (real + 1j * rng.standard_normal(shape) if np.dtype(dtype).kind == "c" else real).astype(dtype)


def spectrum(kind: str, k: int) -> np.ndarray:
    i = np.arange(k)
    return {
        "flat": np.linspace(1, 0.3, k),
        "exponential": 10.0**-i,
        "slow": 10.0 ** (-i / 10),
        "algebraic": 1.0 / (1 + i) ** 2,
        "rank 5": (i < 5).astype(float),
        "zero": np.zeros(k),
    }[kind]


KINDS = ["flat", "exponential", "slow", "algebraic", "rank 5", "zero"]


def matrix(kind: str, dtype: type, m: int, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """An (m, n) matrix and its singular values (min(m, n),), before it is rounded to `dtype`."""
    wide = np.complex128 if np.dtype(dtype).kind == "c" else np.float64
    k = min(m, n)
    left, right = (np.linalg.qr(random(wide, size, k, seed=seed + i))[0] for i, size in ((1, m), (2, n)))
    values = spectrum(kind, k)
    return ((left * values) @ right.conj().T).astype(dtype), values


def spd(n: int, dtype: type = np.float64, condition: float = 100.0, seed: int = 9) -> np.ndarray:
    """A Hermitian positive definite matrix of that condition number."""
    q = np.linalg.qr(random(np.complex128 if np.dtype(dtype).kind == "c" else np.float64, n, n, seed=seed))[0]
    p = (q * np.geomspace(1, condition, n)) @ q.conj().T
    return ((p + p.conj().T) / 2).astype(dtype)
