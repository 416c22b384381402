"""Codes of derivatives: levels at rest under Lloyd's iteration, errors that halve with a bit, intervals, refusals."""

from __future__ import annotations

import doctest
import functools
import itertools
import math

import numpy as np
import pytest
from scipy.integrate import quad

from lowrank.packing import pack, unpack
from ml.tuning import derivative_code as module
from ml.tuning.derivative_code import NAMED, derivative_code

BITS = (2, 3, 4, 6, 8)
SMOOTH = [name for name in NAMED if name != "relu"]


known = functools.cache(derivative_code)


def functions(name):
    """The functions themselves: their derivatives are what the code knows."""
    from scipy.special import expit, ndtr

    return {
        "gelu": lambda x: x * ndtr(x),
        "gelu_tanh": lambda x: x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
        "silu": lambda x: x * expit(x),
        "tanh": np.tanh,
        "relu": lambda x: np.maximum(x, 0),
        "sigmoid": expit,
        "softplus": lambda x: np.logaddexp(0, x),
    }[name]


@pytest.mark.parametrize("name", list(NAMED))
def test_named_derivatives_are_those_of_the_functions(name):
    x = np.linspace(-7.3, 7.1, 301)
    f, h = functions(name), 1e-5
    np.testing.assert_allclose(NAMED[name](x), (f(x + h) - f(x - h)) / (2 * h), rtol=1e-6, atol=2e-10)


@pytest.mark.parametrize("name", SMOOTH)
def test_error_halves_with_each_bit(name):
    errors = np.array([known(name, b).relative_error for b in BITS])
    slope = np.polyfit(BITS, np.log2(errors), 1)[0]
    assert -1.03 < slope < -0.95
    assert np.all(np.diff(np.log2(errors)) / np.diff(BITS) < -0.9)


def test_errors_of_gelu():
    """No code has less: the best one of 2 bits is found by dynamic programming on a fine line."""
    assert known("gelu", 2).relative_error == pytest.approx(0.1325, abs=2e-4)
    assert known("gelu", 4).relative_error == pytest.approx(0.0318, abs=1e-4)
    wide = np.random.default_rng(0).normal(scale=1.5, size=20_000)
    assert derivative_code("gelu", 2, wide).relative_error == pytest.approx(0.113, abs=2e-3)


@pytest.mark.parametrize("bits", [2, 4])
def test_error_is_the_integral(bits):
    code = known("gelu", bits)

    def density(x):
        return math.exp(-x * x / 2) / math.sqrt(2 * math.pi)

    ends = [-8.0, *code.thresholds, 8.0]
    off = sum(
        quad(lambda x, v=code.levels[k]: (NAMED["gelu"](x) - v) ** 2 * density(x), a, b)[0]
        for a, b, k in zip(ends[:-1], ends[1:], code.codes, strict=True)
    )
    whole = quad(lambda x: NAMED["gelu"](x) ** 2 * density(x), -8, 8)[0]
    assert code.relative_error == pytest.approx(math.sqrt(off / whole), rel=1e-4)


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("bits", [1, 2, 4, 6])
def test_levels_are_a_fixed_point_of_lloyd(name, bits):
    """Each level is the mean of f' over its cell, by integration over its intervals; borders are the middles."""
    code = known(name, bits)
    edges = np.concatenate([[-8.0], code.thresholds, [8.0]])
    nodes, weights = np.polynomial.legendre.leggauss(24)
    mass, moment = np.zeros(len(code.levels)), np.zeros(len(code.levels))
    for a, b, k in zip(edges[:-1], edges[1:], code.codes, strict=True):
        for left, right in itertools.pairwise(np.linspace(a, b, 12)):
            x = (left + right) / 2 + (right - left) / 2 * nodes
            w = weights * (right - left) / 2 * np.exp(-(x**2) / 2)
            mass[k] += w.sum()
            moment[k] += w @ NAMED[name](x)
    spread = np.ptp(code.levels)
    seen = mass > 1e-9 * mass.sum()
    np.testing.assert_allclose((moment / np.maximum(mass, 1e-300))[seen], code.levels[seen], atol=2e-4 * spread)
    assert np.all(np.diff(code.levels) > 0)
    jumps = np.sort((code.levels[1:] + code.levels[:-1]) / 2)
    at = NAMED[name](code.thresholds)
    nearest = jumps[np.argmin(np.abs(at[:, None] - jumps), axis=1)]
    np.testing.assert_allclose(at, nearest, atol=1e-12)


def test_samples_are_their_own_density():
    x = np.random.default_rng(1).normal(0.7, 0.1, size=3000)
    code = derivative_code("tanh", 3, x)
    d, q = NAMED["tanh"](x), code.derivative(x)
    assert code.relative_error == pytest.approx(np.linalg.norm(d - q) / np.linalg.norm(d), rel=1e-9)
    for level in code.levels:
        assert np.mean(d[q == level]) == pytest.approx(level, abs=1e-12)
    other = derivative_code("tanh", 3)
    assert code.relative_error < 0.8 * np.linalg.norm(d - other.derivative(x)) / np.linalg.norm(d)
    assert derivative_code("tanh", 3, np.full(5, 0.3)).levels == pytest.approx([NAMED["tanh"](np.array(0.3))])
    far = derivative_code("gelu", 2, np.array([40.0, 41.0, -30.0, 0.2]))
    assert far.relative_error < 1e-12
    assert far.derivative(35.0) == pytest.approx(1)


def test_relu_has_one_bit_and_is_exact():
    for bits in (1, 4, 8):
        code = derivative_code("relu", bits)
        assert code.bits == 1
        assert code.relative_error == 0
        x = np.array([-3.0, -1e-300, -0.0, 0.0, 1e-300, 2.0])
        np.testing.assert_array_equal(code.derivative(x), [0, 0, 0, 0, 1, 1])
    leaky = derivative_code(lambda x: np.where(x > 0, x, x / 8), 4, derivative=lambda x: np.where(x > 0, 1.0, 0.125))
    assert leaky.bits == 1
    np.testing.assert_array_equal(leaky.levels, [0.125, 1.0])


def test_intervals_are_found_where_the_derivative_is_not_monotone():
    for name, bits, intervals in (("gelu", 4, 20), ("tanh", 4, 31), ("softplus", 4, 16)):
        code = known(name, bits)
        assert len(code.codes) == len(code.thresholds) + 1 == intervals
        x = np.random.default_rng(0).normal(size=20_000)
        nearest = np.argmin(np.abs(NAMED[name](x)[:, None] - code.levels), axis=1)
        assert np.mean(code.encode(x) != nearest) < 1e-4
    wave = derivative_code(lambda x: np.sin(9 * x), 2)
    x = np.linspace(-3, 3, 5001)
    assert np.mean(wave.encode(x) != np.argmin(np.abs(9 * np.cos(9 * x)[:, None] - wave.levels), axis=1)) < 2e-3
    near = np.linspace(-3e-6, 3e-6, 1001)  # all codes are passed within one cell of the line
    steep = derivative_code(lambda x: x, 3, near, derivative=lambda x: np.tanh(1e6 * x))
    assert len(steep.levels) == len(steep.codes) == 8
    nearest = np.argmin(np.abs(np.tanh(1e6 * near)[:, None] - steep.levels), axis=1)
    np.testing.assert_array_equal(steep.encode(near), nearest)


def test_a_function_of_your_own_is_differentiated():
    given = derivative_code(functions("gelu"), 4)
    named = derivative_code("gelu", 4)
    assert given.relative_error == pytest.approx(named.relative_error, rel=1e-5)
    x = np.linspace(-4, 4, 999)
    assert np.mean(given.encode(x) != named.encode(x)) < 0.01
    line = derivative_code(lambda x: 3.0 * x, 4, derivative=lambda x: np.full_like(x, 3.0))
    assert (line.bits, len(line.thresholds), line.relative_error) == (1, 0, 0.0)
    np.testing.assert_array_equal(line.derivative([1.0, -2.0]), [3.0, 3.0])


@pytest.mark.parametrize("bits", BITS)
def test_codes_pack_to_the_byte(bits):
    code = known("silu", bits)
    x = np.random.default_rng(2).normal(size=77)
    codes = code.encode(x)
    assert codes.dtype == np.uint8
    assert codes.max() < 2**bits
    packed = pack(codes.astype(np.int32)[None], bits)
    assert packed.nbytes == code.nbytes(77) == math.ceil(77 * bits / 8)
    np.testing.assert_array_equal(code.decode(unpack(packed, bits, 77)[0]), code.derivative(x))


def test_what_is_refused():
    for bits in (0, 9, 2.5, True, "4"):
        with pytest.raises(ValueError, match=rf"bits must be an integer, 1 .. 8, got {bits!r}"):
            derivative_code("gelu", bits)
    with pytest.raises(ValueError, match=r"one of gelu, gelu_tanh, .*, got 'glu'"):
        derivative_code("glu")
    with pytest.raises(ValueError, match="must be functions of arrays, got 3"):
        derivative_code(3)
    with pytest.raises(ValueError, match=r"f is NaN or infinite at x = -8\.\d+: it must be finite"):
        derivative_code(np.sqrt)
    with pytest.raises(ValueError, match="derivative is NaN or infinite at x = "):
        derivative_code(np.tanh, derivative=lambda x: np.where(x > 3, np.nan, x))
    with pytest.raises(ValueError, match="must act on each entry"):
        derivative_code(np.sum)
    with pytest.raises(ValueError, match="derivative is for a function of your own"):
        derivative_code("gelu", derivative=np.cos)
    with pytest.raises(ValueError, match="1 of 3 samples are NaN or infinite"):
        derivative_code("gelu", 4, np.array([0.0, np.nan, 1.0]))
    with pytest.raises(ValueError, match="density has no samples"):
        derivative_code("gelu", 4, np.zeros(0))
    with pytest.raises(ValueError, match="got 'uniform'"):
        derivative_code("gelu", 4, "uniform")
    with pytest.raises(ValueError, match="x has NaN entries"):
        derivative_code("gelu").encode([0.0, np.nan])


def test_examples():
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("far", [1e4, 1e7, 1e30])
def test_a_sample_far_away_leaves_the_code_of_the_others(far):
    x = np.random.default_rng(0).standard_normal(1000)
    near, code = derivative_code("gelu", 4, x), derivative_code("gelu", 4, np.append(x, far))
    slope = NAMED["gelu"](x)
    off = np.linalg.norm(code.derivative(x) - slope) / np.linalg.norm(slope)
    assert len(code.thresholds) >= len(near.thresholds) - 1
    assert off < 1.1 * near.relative_error
    assert off < 1.1 * code.relative_error


def test_a_line_has_one_level():
    code = derivative_code(lambda x: 3 * x, 4)
    assert len(code.levels) == 1
    assert abs(code.levels[0] - 3) < 1e-9
    assert code.derivative(np.array([-1e3, 0.0, 2.0])).shape == (3,)
