"""Blocks of Riesz solves, whichever goes first, put their answers where they belong."""

from __future__ import annotations

import numpy as np
import pytest

from problems import thermal_block
from rbm.affine import representers


@pytest.mark.parametrize("threads", ["1", "2"])
@pytest.mark.parametrize(("r", "b"), [(0, 5), (3, 0), (4, 7), (9, 9), (8, 10)])
def test_blocks_are_the_same_as_all_together(monkeypatch: pytest.MonkeyPatch, r: int, b: int, threads: str) -> None:
    monkeypatch.setattr(representers, "APART", 1)
    monkeypatch.setattr(representers, "COLUMNS", 4)
    monkeypatch.setenv("RBM_NUM_THREADS", threads)
    inner, rng = thermal_block((2, 2), 12).inner_product, np.random.default_rng(0)
    functionals, others = rng.standard_normal((inner.shape[0], r)), rng.standard_normal((inner.shape[0], b))
    others *= 10.0 ** np.arange(b)  # each has a norm of its own
    start = inner.factorized()(functionals) if r else functionals
    whole, apart = (f(inner, functionals, start, others) for f in (representers.together, representers.represented))
    np.testing.assert_allclose(apart.representers, whole.representers, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(apart.norms, whole.norms, rtol=1e-10)
    assert apart.distances.shape == (r,)
    assert np.all(apart.distances <= 1e-12)
