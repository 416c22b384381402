"""The compiled search of scales: the bits of the plain one, whatever the layout."""

from __future__ import annotations

import numpy as np
import pytest

from lowrank import quantize, scale_kernels
from lowrank.scale_kernels import CompiledLosses, compiled_losses
from lowrank.scale_search import PlainLosses

SIZES = [*range(1, 36), 64, 127, 128, 129, 136, 255, 256, 257, 384, 511, 768, 1000, 1023, 1537, 4099, 70_001]


def both(w: np.ndarray, h: np.ndarray | None, top: float) -> tuple[CompiledLosses, PlainLosses]:
    weights = np.zeros((0, w.shape[1])) if h is None else h
    return CompiledLosses(w, weights, top), PlainLosses(w, h, lambda t: np.clip(np.round(t), -top, top))


@pytest.mark.parametrize("weighted", [None, "one", "each"])
def test_losses_and_fits_are_those_of_the_definition_to_the_last_bit(weighted):
    """NumPy's order of adding is not promised: where a later version has another one, this says so."""
    rng = np.random.default_rng(0)
    for n in SIZES:
        k = 40 if n < 40 else 3
        w = rng.standard_t(2, (k, n))
        w[0] = 0
        w[1] = np.rint(w[1] * 2) / 2  # ties
        h = {None: None, "one": rng.random((1, n)), "each": rng.random((k, n)) ** 3}[weighted]
        scales = np.abs(rng.standard_normal(k)) / 3
        scales[1], scales[2] = 0.5, rng.choice([0.0, 1e-300, 1e300])
        for top in (1.0, 7.0, 2.0**23 - 1):
            compiled, plain = both(w, h, top)
            exact = plain.losses(scales, np.inf)
            assert np.array_equal(compiled.losses(scales, np.full(k, np.inf)), exact), n
            assert np.array_equal(compiled.fitted(scales, np.ones(k, bool)), plain.fitted(scales, None)), n
            limit = exact * rng.choice([0.2, 1 - 1e-12, 1.0, 1 + 1e-12, 3.0], k)
            found = compiled.losses(scales, limit)
            assert np.array_equal(found < limit, exact < limit), n
            assert np.array_equal(found[exact < limit], exact[exact < limit]), n
            off = np.zeros(k, bool)
            assert np.array_equal(compiled.fitted(scales, off), scales)


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((300, 96), {}), ((300, 96), {"scales": "float16"}), ((300, 96), {"group": 8}), ((96, 300), {"axis": 1}),
        ((300, 96), {"axis": None}), ((40, 3, 5), {}), ((300, 96), {"levels": "gaussian"}), ((5000, 3), {}),
        ((300, 96), {"weights": np.arange(96.0)}), ((40, 96), {"weights": np.arange(40.0 * 96).reshape(40, 96)}),
        ((300, 96), {"bits": np.arange(300) % 7 * 2}), ((4, 0), {}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64"])
def test_which_way_is_taken_changes_no_bit(shape, options, dtype, monkeypatch):
    rng = np.random.default_rng(1)
    a = rng.standard_t(2, shape)
    a = (a + 1j * rng.standard_t(2, shape) if dtype == "complex64" else a).astype(dtype)
    a[0] = 0
    for bits in (2, 4, 8):
        found = []
        for first in (0, 10**12):
            monkeypatch.setattr(scale_kernels, "BEFORE_COMPILING", first)
            found.append(quantize(a, **{"bits": bits, "gamma": "search", **options}).arrays())
        for key, array in found[0].items():
            assert np.array_equal(array, found[1][key]), key


def test_a_kernel_is_taken_when_much_was_searched(monkeypatch):
    monkeypatch.setattr(scale_kernels, "BEFORE_COMPILING", 1000)
    monkeypatch.setattr(scale_kernels._Work, "plain", 0)
    w = np.ones((10, 60))
    assert [compiled_losses(w, None, 3) is None for _ in range(4)] == [True, True, False, False]
    assert scale_kernels._Work.plain == 1200
    assert compiled_losses(w.astype(np.float32), None, 3) is None
    assert compiled_losses(w.view(np.ma.MaskedArray), None, 3) is None
