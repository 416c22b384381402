"""Numbers of a few bits: exact bounds, exact bytes, the optimum by integration, and today's row rounding bit by bit."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from helpers.other_arrays import xp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm

from lowrank import Quantized, gaussian_losses, integer_product, quantize
from lowrank.arrays import to_numpy
from lowrank.gaussian_levels import lloyd_max, optimal_clip, uniform_loss
from lowrank.integer_products import scaled_product
from lowrank.packing import bytes_of, pack, unpack

ALL_BITS = [2, 3, 4, 5, 7, 8, 11, 12, 16, 23, 24]
REAL = (np.float32, np.float64)


def random(*shape: int, dtype: type = np.float64, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    found = rng.standard_t(2, shape)
    if np.dtype(dtype).kind == "c":
        found = found + 1j * rng.standard_t(2, shape)
    return found.astype(dtype)


def losses(a: np.ndarray, q: Quantized, h: np.ndarray | float = 1.0) -> np.ndarray:
    """Weighted squared errors of the rows."""
    return np.sum(h * (a - q.to_dense()) ** 2, axis=1)


# packing


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 24), st.integers(0, 20), st.integers(0, 2**32 - 1))
def test_packing_is_that_of_numpy_and_gives_every_number_back(bits, width, seed):
    numbers = np.random.default_rng(seed).integers(0, 2**bits, (3, width)).astype(np.uint32)
    single = ((numbers[:, :, None] >> np.arange(bits - 1, -1, -1, dtype=np.uint32)) & 1).astype(np.uint8)
    codes = pack(numbers, bits)
    assert np.array_equal(codes, np.packbits(single.reshape(3, -1), axis=1))
    assert codes.shape == (3, bytes_of(width, bits)) == (3, math.ceil(width * bits / 8))
    assert np.array_equal(unpack(codes, bits, width), numbers)


# the bound


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("bits", ALL_BITS)
def test_entries_are_off_by_half_a_step_and_the_rounding_that_is_stated(bits, dtype):
    """In exact arithmetic, for every entry, at the largest numbers and far below them."""
    m, u = 2 ** (bits - 1) - 1, Fraction(float(np.finfo(dtype).eps)) / 2
    for a in (random(4, 30, dtype=dtype), random(2, 30, dtype=dtype) * dtype(1e-30), _near_the_largest(dtype)):
        q = quantize(a, bits)
        assert q.to_dense().dtype == dtype
        for row, found, scale in zip(a, q.to_dense(), q.scales, strict=True):
            s = Fraction(float(scale))
            for w, v in zip(row.tolist(), found.tolist(), strict=True):
                assert abs(Fraction(w) - Fraction(v)) <= s / 2 + (2 * m + 1) * u * s
        assert np.all(abs(q.integers()) <= m)
        assert np.all(np.max(abs(q.integers()), axis=1) >= m - (m > 2**22))  # a scale rounded up may leave one unused


def _near_the_largest(dtype: type) -> np.ndarray:
    return (np.array([[1, -0.7, 0.3, 0.01], [0.6, 0.6, -0.6, 0.1]]) * np.finfo(dtype).max).astype(dtype)


@pytest.mark.parametrize("bits", [8, 10, 11, 16, 24])
def test_narrow_scales_cut_nothing_off(bits):
    """Half precision holds 11 bits: beyond, a scale rounded down would cut off many steps."""
    a = random(200, 16)
    q = quantize(a, bits, scales="float16")
    s = q.scales.astype(float) * 2.0**q.exponent
    normal = q.scales >= np.finfo(np.float16).tiny
    assert np.count_nonzero(normal) > 150
    assert np.all((abs(a - q.to_dense()) <= s[:, None] * (0.5 + 2.0**-25))[normal])
    assert q.scales.dtype == np.float16


def test_subnormal_numbers_are_off_by_half_of_what_scales_can_be():
    tau = 2.0**-1074
    a = np.array([[5, -3, 2, 1], [1, 0, 0, -1], [900, 800, 30, 2]]) * tau
    for bits in (2, 4, 8):
        q, m = quantize(a, bits), 2 ** (bits - 1) - 1
        assert np.all(abs(a - q.to_dense()) <= q.scales[:, None] / 2 + (m + 1) * tau)


@pytest.mark.parametrize("gamma", [0.3, 0.9])
def test_a_given_gamma_is_taken_and_cuts_off_at_the_largest_level(gamma):
    a = np.random.default_rng(0).standard_normal((20, 40))
    for bits in (2, 4, 8):
        q, m = quantize(a, bits, gamma=gamma), 2 ** (bits - 1) - 1
        assert q.scales == pytest.approx(gamma * np.max(abs(a), axis=1) / m, rel=4e-16)
        top = m * q.scales[:, None]
        assert np.all(abs(a - q.to_dense()) <= np.maximum(q.scales[:, None] / 2, abs(a) - top) * (1 + 1e-12))
        assert np.any(abs(a) > top)


def reference_rounding(table: np.ndarray, bits: int, group: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Row rounding with half-precision scales, written out: integers, scales and their unit."""
    m = 2 ** (bits - 1) - 1
    groups = table.reshape(len(table), -1, group).astype(float)
    exact = np.max(np.abs(groups), axis=2) / m
    unit = math.ldexp(1.0, math.frexp(np.max(exact))[1] - 1)
    scales = (exact / unit).astype(np.float16)
    step = (scales.astype(float) * unit).astype(table.dtype).astype(float)[:, :, None]
    numbers = np.clip(np.rint(np.divide(groups, step, out=np.zeros_like(groups), where=step > 0)), -m, m)
    return numbers.astype(int).reshape(table.shape), scales, unit


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("bits", range(2, 9))
def test_gamma_one_per_row_is_row_rounding_bit_by_bit(bits, dtype):
    from ml import round_rows

    for a in (
        random(40, 24, dtype=dtype),
        random(40, 24, dtype=dtype) * np.geomspace(1, 1e-9, 40, dtype=dtype)[:, None],
    ):
        for group in (24, 8):
            numbers, scales, unit = reference_rounding(a, bits, group)
            q = quantize(a, bits, group=None if group == 24 else group, scales="float16")
            assert np.array_equal(q.integers(), numbers)
            assert np.array_equal(q.scales, scales.reshape(-1))
            assert 2.0**q.exponent == unit
            rounded = round_rows(a, bits, group=group)
            assert np.array_equal(rounded.to_dense(), q.to_dense())
            assert np.array_equal(rounded.scales, scales)
            assert rounded.nbytes == q.nbytes


# the scale


def test_clips_and_errors_of_a_normal_are_those_of_integration():
    stated = {2: (1.224, 0.1902), 3: (1.952, 0.04686), 4: (2.474, 0.01289), 5: (2.899, 3.693e-3), 6: (3.270, 1.069e-3)}
    for bits, (clip, loss) in {**stated, 8: (3.920, 8.83e-5)}.items():
        assert optimal_clip(bits) == pytest.approx(clip, abs=6e-4)
        assert gaussian_losses(8)[bits] == pytest.approx(loss, rel=4e-4)
    for bits in (2, 3, 5):  # another quadrature, cell by cell
        c = optimal_clip(bits)
        m = 2 ** (bits - 1) - 1
        s = c / m
        cells = [(max(k - 0.5, 0) * s, (k + 0.5) * s if k < m else np.inf, k * s) for k in range(m + 1)]
        whole = sum(2 * quad(lambda x, v=v: (x - v) ** 2 * norm.pdf(x), a, b)[0] for a, b, v in cells)
        assert uniform_loss(bits, c) == pytest.approx(whole, rel=1e-8)
        assert min(uniform_loss(bits, c * (1 + e)) for e in (-1e-3, 1e-3)) > uniform_loss(bits, c)
    table = gaussian_losses()
    assert table[0] == 1
    assert np.isnan(table[1])
    assert np.all(np.diff(table[2:]) < 0)
    # from 11 bits on the limit takes over from the sum: no step in between
    assert np.all(np.abs(np.diff(np.log(table[2:] * 4.0 ** np.arange(2, 25)), 2))[7:] < 0.01)


def test_lloyd_max_levels_are_means_of_their_cells():
    for bits, loss in {2: 0.11748, 3: 0.03455, 4: 0.009501, 8: 4.1185e-5}.items():
        levels, found = lloyd_max(bits)
        assert found == pytest.approx(loss, rel=2e-4)
        assert np.array_equal(levels, -levels[::-1])
        borders = np.concatenate([[-np.inf], (levels[1:] + levels[:-1]) / 2, [np.inf]])
        for i in range(0, len(levels), max(1, len(levels) // 8)):
            a, b = borders[i : i + 2]
            mean = quad(lambda x: x * norm.pdf(x), a, b)[0] / quad(norm.pdf, a, b)[0]
            assert levels[i] == pytest.approx(mean, abs=1e-7)
    assert gaussian_losses(12, "gaussian")[2:] == pytest.approx([lloyd_max(b)[1] for b in range(2, 13)])


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_what_is_found_for_normal_numbers_is_the_optimum(bits):
    a = np.random.default_rng(bits).standard_normal((4, 20_000))
    q = quantize(a, bits, gamma="search")
    power = np.mean(a**2, axis=1)
    clip = q.scales * (2 ** (bits - 1) - 1) / np.sqrt(power)
    assert clip == pytest.approx(np.full(4, optimal_clip(bits)), rel=0.05)
    found = losses(a, q) / len(a[0]) / power
    assert found == pytest.approx(np.full(4, gaussian_losses(bits)[bits]), rel=0.05)
    assert np.mean(found) == pytest.approx(gaussian_losses(bits)[bits], rel=0.03)
    for gamma in (1.0, "search"):
        g = quantize(a[:, :10_000], bits, levels="gaussian", gamma=gamma)
        power = np.mean(a[:, :10_000] ** 2, axis=1)
        assert losses(a[:, :10_000], g) / 10_000 / power == pytest.approx(np.full(4, lloyd_max(bits)[1]), rel=0.1)
        assert g.scales == pytest.approx(np.sqrt(power), rel=0.06)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(2, 12), st.integers(1, 40), st.integers(0, 2**32 - 1), st.sampled_from(["uniform", "gaussian"]),
    st.sampled_from([None, "row", "all"]), st.sampled_from([np.float32, np.float64]),
)  # fmt: skip
def test_a_search_is_never_worse_than_gamma_one(bits, width, seed, levels, weighted, dtype):
    rng = np.random.default_rng(seed)
    a = (rng.standard_t(1.5, (5, width)) * 10.0 ** rng.uniform(-200, 200) ** (dtype == np.float64)).astype(dtype)
    h = {None: None, "row": rng.random(width), "all": rng.random((5, width)) ** 4}[weighted]
    plain = quantize(a, bits, levels=levels)
    found = quantize(a, bits, levels=levels, gamma="search", weights=h)
    unit = np.max(abs(a)) or 1.0
    before, after = (
        np.sum((1 if h is None else h) * ((a.astype(float) - q.to_dense()) / unit) ** 2, axis=1) for q in (plain, found)
    )
    u = float(np.finfo(dtype).eps)
    assert np.all(after <= before * (1 + 1e-6) + width * (8 * u) ** 2)


def test_the_scale_that_is_found_is_the_best_for_its_codes_and_near_the_best_of_all():
    a = np.random.default_rng(5).standard_normal((40, 64))
    h = np.random.default_rng(6).random(64)
    for bits in (2, 3, 4):
        q = quantize(a, bits, gamma="search", weights=h)
        k = q.integers()
        assert q.scales == pytest.approx(np.sum(h * a * k, axis=1) / np.sum(h * k * k, axis=1), rel=1e-9)
        m = 2 ** (bits - 1) - 1
        scan = np.linspace(0.05, 1, 4000)[:, None] * np.max(abs(a), axis=1) / m
        best = np.full(40, np.inf)
        for s in scan:
            r = a - s[:, None] * np.clip(np.rint(a / s[:, None]), -m, m)
            best = np.minimum(best, np.sum(h * r * r, axis=1))
        assert np.all(losses(a, q, h) <= 1.05 * best)
        assert np.mean(losses(a, q, h) / best) <= 1.002
        assert np.mean(losses(a, q, h)) < 0.9 * np.mean(losses(a, quantize(a, bits), h))


def test_weights_of_zero_are_not_looked_at():
    a = np.random.default_rng(1).standard_normal((3, 50))
    a[:, 7] = 1000.0
    h = np.ones(50)
    h[7] = 0
    q = quantize(a, 3, gamma="search", weights=h)
    assert np.all(q.scales * 3 < 4)
    assert np.array_equal(q.scales, quantize(a, 3, gamma="search", weights=np.broadcast_to(h, (3, 50))).scales)
    assert np.array_equal(quantize(a, 3, gamma="search", weights=0 * h).to_dense(), quantize(a, 3).to_dense())


# layouts, bytes, files


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize("levels", ["uniform", "gaussian"])
@pytest.mark.parametrize(
    ("layout", "lines", "width", "scales"),
    [({}, 6, 10, 6), ({"axis": 1}, 10, 6, 10), ({"axis": None}, 1, 60, 1), ({"group": 5}, 6, 10, 12)],
)
def test_sizes_are_exact_and_rows_columns_and_files_are_those_of_the_array(dtype, levels, layout, lines, width, scales):
    a = random(6, 10, dtype=dtype)
    parts = 2 if a.dtype.kind == "c" else 1
    rng = np.random.default_rng(3)
    for bits in (0, 3, 12, rng.choice([0, 2, 5, 12], lines), rng.choice([0, 2, 5, 12], scales)):
        q = quantize(a, bits, levels=levels, **layout)
        units = lines if np.ndim(bits) == 0 or len(bits) == lines else scales
        each = np.broadcast_to(bits, (units,))
        mixed = len(np.unique(each)) > 1
        numbers = width * parts * lines // units
        expected = sum(math.ceil(numbers * int(b) / 8) for b in each)
        assert len(q.codes) == expected
        assert q.nbytes == expected + scales * a.real.dtype.itemsize + (units if mixed else 0)
        assert q.nbytes == sum(x.nbytes for k, x in q.arrays().items() if k != "header") - (0 if mixed else 1)
        dense = q.to_dense()
        assert dense.shape == a.shape
        assert dense.dtype == a.dtype
        assert np.array_equal(q.rows([4, -1, 0, 4]), dense[[4, -1, 0, 4]])
        assert np.array_equal(q.rows(2), dense[2])
        assert np.array_equal(q.columns([[9, 0]]), dense[:, [[9, 0]]])
        assert q.rows([]).shape == (0, 10)
        loaded = Quantized.from_arrays({k: x.copy() for k, x in q.arrays().items()})
        assert np.array_equal(loaded.to_dense(), dense)
        assert (loaded.nbytes, loaded.shape, loaded.dtype, repr(loaded)) == (q.nbytes, q.shape, q.dtype, repr(q))
        assert q.error(a) == pytest.approx(np.linalg.norm(a - dense) / np.linalg.norm(a), rel=1e-5)


def test_a_line_is_quantised_as_if_it_were_alone_and_a_complex_number_is_two_real_ones():
    a = random(5, 8, dtype=np.complex128)
    bits = [2, 0, 9, 24, 9]
    q = quantize(a, bits)
    for i, b in enumerate(bits):
        assert np.array_equal(q.to_dense()[i : i + 1], quantize(a[i : i + 1], b).to_dense())
    pairs = np.stack([a.real, a.imag], axis=2).reshape(5, 16)
    assert np.array_equal(q.to_dense().view(float), quantize(pairs, bits).to_dense())
    h = np.random.default_rng(0).random((5, 8)) ** 3
    found = [
        quantize(x, 4, gamma="search", weights=w).to_dense() for x, w in ((a, h), (pairs, np.repeat(h, 2, axis=1)))
    ]
    assert np.array_equal(found[0].view(float), found[1])
    assert np.array_equal(quantize(a.T, bits, axis=1).to_dense(), q.to_dense().T)
    assert np.array_equal(q.bits, bits)
    assert quantize(a, [4] * 5).bits == 4
    cube = random(3, 4, 5)
    assert np.array_equal(quantize(cube, 5).to_dense(), quantize(cube.reshape(3, 20), 5).to_dense().reshape(3, 4, 5))
    assert np.array_equal(quantize(cube, 5).rows([2]), quantize(cube, 5).to_dense()[[2]])
    assert quantize(cube[0, 0], 5, axis=None).to_dense().shape == (5,)


def test_rows_decode_nothing_but_these_rows():
    """Other rows are damaged so that they cannot be decoded; these come as before."""
    a = random(6, 5)
    q = quantize(a, 3)
    damaged = q.codes.reshape(6, -1).copy()
    damaged[[0, 1, 3, 4], -1] |= 1
    other = Quantized(q.blocks, q.dtype, q.units, damaged.reshape(-1), q.scales, q.exponent, q.levels)
    assert np.array_equal(other.rows([5, 2]), q.to_dense()[[5, 2]])
    with pytest.raises(ValueError, match="not zero: the codes are damaged"):
        other.to_dense()


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize(
    "options",
    [
        {"bits": 2}, {"bits": 5, "axis": 1}, {"bits": 12, "axis": None}, {"bits": [0, 3, 8, 24]},
        {"bits": 4, "group": 4},
        {"bits": 3, "gamma": "search", "weights": np.arange(8.0)}, {"bits": 4, "levels": "gaussian", "gamma": "search"},
        {"bits": 24, "scales": "float32"},
    ],
)  # fmt: skip
def test_other_array_modules_get_the_same_bits(dtype, options):
    """Scales that are searched for are sums over rows, which other libraries add up in another order."""
    rtol = 0 if options.get("gamma") != "search" else 8 * float(np.finfo(dtype).eps)
    a = random(4, 8, dtype=dtype)
    expected = quantize(a, **options)
    if "weights" in options:
        options = {**options, "weights": xp.asarray(options["weights"])}
    found = quantize(xp.asarray(a), **options)
    assert type(found.codes) is type(xp.asarray(a))
    for key, array in expected.arrays().items():
        given = found.arrays()[key]
        assert given.dtype == array.dtype
        np.testing.assert_allclose(given, array, rtol=rtol if key == "scales" else 0, err_msg=key)
    np.testing.assert_allclose(to_numpy(found.to_dense()), expected.to_dense(), rtol=rtol)
    np.testing.assert_allclose(to_numpy(found.rows([3, 1])), expected.rows([3, 1]), rtol=rtol)
    assert found.error(xp.asarray(a)) == pytest.approx(expected.error(a), rel=1e-6)


def test_zero_and_empty_arrays_are_ordinary():
    for shape in ((0, 4), (4, 0), (3, 4)):
        for options in (
            {},
            {"gamma": "search"},
            {"levels": "gaussian", "gamma": "search"},
            {"axis": 1},
            {"axis": None},
        ):
            q = quantize(np.zeros(shape), 4, **options)
            assert np.array_equal(q.to_dense(), np.zeros(shape))
            assert q.error(np.zeros(shape)) == 0
            assert np.array_equal(Quantized.from_arrays(q.arrays()).to_dense(), np.zeros(shape))
    q = quantize(np.zeros((2, 3)), 4)
    assert q.error(np.ones((2, 3))) == 1
    assert quantize(np.ones((2, 3)), 4).error(np.zeros((2, 3))) == np.inf
    assert quantize(np.ones((2, 3)), 0).error(np.ones((2, 3))) == 1


def damaged(key: str, change) -> dict[str, np.ndarray]:
    arrays = {k: x.copy() for k, x in quantize(random(3, 5), [3, 0, 5]).arrays().items()}
    arrays[key] = change(arrays[key])
    return arrays


def put(place: int, value: float):
    def change(array: np.ndarray) -> np.ndarray:
        array[place] = value
        return array

    return change


@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        ("codes", lambda c: c[:-1], "codes must be 6 bytes, got uint8 of shape .5,.: they are cut short"),
        ("codes", lambda c: np.append(c, c[:1]), "codes must be 6 bytes"),
        ("codes", lambda c: c.astype(np.int16), "codes must be 6 bytes, got int16"),
        ("codes", put(0, 0), "codes stand for integers beyond"),
        (
            "codes",
            lambda c: c | np.array([0, 1, 0, 0, 0, 0], np.uint8),
            "the last 1 bits of a row of codes are not zero",
        ),
        ("scales", put(0, np.nan), "scales must be finite and >= 0, got nan"),
        ("scales", put(2, np.inf), "scales must be finite and >= 0, got inf"),
        ("scales", put(2, -1), "scales must be finite and >= 0, got -1"),
        ("scales", lambda s: s[:-1], "scales must be 3 real numbers"),
        ("scales", lambda s: s.astype(complex), "scales must be 3 real numbers, got complex128"),
        ("bits", put(0, 1), "bits must be 0 or 2 .. 24, got 1"),
        ("bits", put(0, 25), "bits must be 0 or 2 .. 24, got 25"),
        ("bits", lambda b: b[:2], "bits must be integers, one or as many"),
        ("bits", lambda b: b.astype(float), "bits must be integers"),
        ("header", put(0, 2), "layout version 2, this package reads 1"),
        ("header", put(1, 7), "describes no array"),
        ("header", put(6, -3), "describes no array"),
        ("header", put(5, 5000), "exponent 5000"),
        ("header", put(7, 10**15), "codes must be"),
        ("header", lambda h: h[:3], "header must be 7 integers"),
    ],
)
def test_damaged_files_are_refused(key, change, message):
    with pytest.raises(ValueError, match=message):
        Quantized.from_arrays(damaged(key, change))


def test_files_with_other_keys_are_refused():
    arrays = quantize(random(2, 2), 4).arrays()
    for wrong in ({}, {**arrays, "more": arrays["bits"]}, {k: arrays[k] for k in ("codes", "bits", "header")}):
        with pytest.raises(ValueError, match="has the arrays codes, scales, bits, header"):
            Quantized.from_arrays(wrong)


@pytest.mark.parametrize(
    ("a", "options", "message"),
    [
        (np.ones((2, 4)), {"bits": 1}, "bits must be 0 or 2 .. 24 for uniform levels, got 1; one bit has no levels"),
        (np.ones((2, 4)), {"bits": 25}, "got 25"),
        (np.ones((2, 4)), {"bits": -2}, "got -2"),
        (np.ones((2, 4)), {"bits": 2.5}, "bits must be an integer"),
        (np.ones((2, 4)), {"bits": [4, 1]}, "got 1"),
        (np.ones((2, 4)), {"bits": [4, 4, 4]}, "bits must be one integer, or 2 .* got 3"),
        (np.ones((2, 4)), {"bits": [4] * 3, "group": 2}, "2 or 4"),
        (np.ones((2, 4)), {"bits": 13, "levels": "gaussian"}, "0 or 2 .. 12 for gaussian levels, got 13"),
        (np.ones((2, 4)), {"bits": 4, "levels": "normal"}, "levels must be"),
        (np.ones((2, 4)), {"bits": 4, "group": 3}, "group must divide the length 4 of a row, got 3"),
        (np.ones((2, 4)), {"bits": 4, "group": 2, "axis": 1}, "needs axis=0, got axis=1"),
        (np.ones((2, 4)), {"bits": 4, "axis": 2}, "axis must be 0"),
        (np.ones(4), {"bits": 4}, "a vector has one scale with axis=None"),
        (np.ones((2, 2, 2)), {"bits": 4, "axis": 1}, "axis=1 needs a matrix"),
        (
            np.array([[1.0, np.nan]]),
            {"bits": 4},
            r"a has 1 entries that are NaN or infinite, the first at index \(0, 1\)",
        ),
        (np.ones((2, 4)), {"bits": 4, "gamma": 0}, 'gamma must be "search" or a number'),
        (np.ones((2, 4)), {"bits": 4, "gamma": "best"}, "got 'best'"),
        (np.ones((2, 4)), {"bits": 4, "weights": np.ones(3)}, r"weights must have the shape \(2, 4\) of a"),
        (np.ones((2, 4)), {"bits": 4, "weights": -np.ones(4)}, "weights must be finite and >= 0"),
        (np.ones((2, 4)), {"bits": 4, "scales": "int8"}, "scales must be one of float16"),
    ],
)
def test_bad_input_is_named(a, options, message):
    with pytest.raises(ValueError, match=message):
        quantize(a, **options)


def test_wrong_rows_and_shapes_are_named():
    q = quantize(np.ones((2, 4)), 4)
    with pytest.raises(IndexError, match="row 2 is outside the 2"):
        q.rows(2)
    with pytest.raises(IndexError, match="column -5 is outside the 4"):
        q.columns([-5])
    with pytest.raises(TypeError, match="named by integers, got dtype float64"):
        q.rows([0.5])
    with pytest.raises(ValueError, match=r"has shape \(2, 4\), got \(4, 2\)"):
        q.error(np.ones((4, 2)))
    with pytest.raises(ValueError, match="only uniform levels of real arrays"):
        quantize(np.ones((2, 2)), 4, levels="gaussian").integers()
    with pytest.raises(ValueError, match=r"hi must be 0 .. 12 for gaussian levels, got 13"):
        gaussian_losses(13, "gaussian")


# integer products


@pytest.mark.parametrize("bits", [(4, 4), (8, 8), (8, 12), (16, 16)])
def test_integer_products_are_those_of_the_decoded_matrices(bits):
    a, b = random(7, 50), random(50, 9, seed=1)
    q, p = quantize(a, bits[0]), quantize(b, bits[1], axis=1)
    k = integer_product(q, p)
    exact = q.integers().astype(np.int64) @ p.integers().astype(np.int64)
    assert np.array_equal(k, exact)
    small = 50 * (2 ** (bits[0] - 1) - 1) * (2 ** (bits[1] - 1) - 1) < 2**31
    assert k.dtype == (np.int32 if small else np.int64)
    if small:
        assert np.array_equal(k, q.integers() @ p.integers())  # accumulated in 32 bits
    # scales of powers of two: the floating-point product of the decoded matrices is exact, too, and the same
    scale = 2.0 ** np.arange(-3, 4)[:, None], 2.0 ** np.arange(-4, 5)
    q, p = quantize(q.integers() * scale[0], bits[0]), quantize(p.integers() * scale[1], bits[1], axis=1)
    assert np.array_equal(scaled_product(q, p), q.to_dense() @ p.to_dense())


@pytest.mark.parametrize(("bits", "count"), [(4, 2001), (8, 2001), (12, 2049), (16, 2001)])
def test_the_largest_sums_are_exact(bits, count):
    """Odd ones: beyond 2^24 single precision would round them."""
    m = 2 ** (bits - 1) - 1
    ones = np.full((1, count), float(m))
    assert integer_product(quantize(ones, bits), quantize(ones.T, bits, axis=1))[0, 0] == count * m * m


def test_sums_that_could_be_rounded_are_refused():
    a = quantize(random(2, 300), 24)
    with pytest.raises(ValueError, match="could reach 2^53 and be rounded".replace("^", r"\^")):
        integer_product(a, quantize(random(300, 2), 24, axis=1))
    with pytest.raises(ValueError, match="the right matrix needs one scale per column"):
        integer_product(a, quantize(random(300, 2), 4))
    with pytest.raises(ValueError, match="the left matrix needs one scale per row"):
        integer_product(quantize(random(2, 300), 4, group=10), a)
    with pytest.raises(ValueError, match="do not fit"):
        integer_product(a, quantize(random(30, 2), 4, axis=1))


def test_pytorch_decodes_to_the_same_numbers():
    torch = pytest.importorskip("torch")
    a = random(20, 64, dtype=np.float32)
    for bits in (4, 8):
        q, m = quantize(a, bits), 2 ** (bits - 1) - 1
        zeros = torch.zeros(20, dtype=torch.int32)
        peer = torch.fake_quantize_per_channel_affine(torch.tensor(a), torch.tensor(q.scales), zeros, 0, -m, m).numpy()
        off = peer != q.to_dense()
        # it multiplies with 1 / s, and may come down on the other side of a half
        assert np.count_nonzero(off) <= 2
        assert np.allclose(abs(a - peer)[off], abs(a - q.to_dense())[off], rtol=1e-5)
