"""Weights equal to those of torchao and bitsandbytes, for the schemes that they share with ours."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from benchmarks import quantize_networks  # noqa: E402

SHAPES = [(17, 64), (384, 384)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("bits", "group"), [(8, None), (4, None), (4, 32), (3, None)])
def test_torchao_rounds_alike(shape, bits, group):
    pytest.importorskip("torchao", reason="pip install --no-deps torchao")
    w = np.random.default_rng(bits).standard_normal(shape).astype(np.float32)
    ours, theirs = quantize_networks.ours(w, bits, group), quantize_networks.torchao(w, bits, group)
    np.testing.assert_allclose(theirs, ours, rtol=2e-7, atol=0)


@pytest.mark.parametrize("shape", SHAPES)
def test_bitsandbytes_rounds_alike_but_at_ties(shape):
    """It divides in half precision, so that numbers near the middle of two integers may fall to the other side."""
    pytest.importorskip("bitsandbytes", reason="pip install --no-deps bitsandbytes")
    w = np.random.default_rng(0).standard_normal(shape).astype(np.float16).astype(np.float32)
    ours = quantize_networks.ours(w, 8, None)
    off = np.abs(quantize_networks.bitsandbytes(w) - ours) / (np.abs(w).max(1, keepdims=True) / 127)
    assert off.max() < 1 + 1e-4
    assert np.mean(off > 1e-4) < 1e-3
