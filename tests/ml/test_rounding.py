"""Tables rounded row by row: the error of a rounding, the bytes of the packing, and the figures of a real table."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_factorize import real_table

from ml import round_rows
from ml.embeddings.rounding import _packed, _unpacked


def random(*shape: int, dtype: type = np.float64, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("group", [None, 8])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_entries_are_off_by_half_a_step_and_what_the_scale_is_off(bits, group, dtype):
    table = random(50, 24, dtype=dtype) * np.geomspace(1, 1e-2, 50, dtype=dtype)[:, None]
    rounded = round_rows(table, bits, group=group)
    largest = 2 ** (bits - 1) - 1
    blocks = table.reshape(50, -1, group or 24)
    step = np.max(abs(blocks), axis=2, keepdims=True) / largest
    bound = (
        step / 2 * (1 + 2.0**-9 * largest) + 2.0**-24 * np.max(step) * largest
    )  # half precision below 6e-5 is coarser
    assert np.all(abs(rounded.to_dense().reshape(blocks.shape) - blocks) <= bound)
    assert rounded.to_dense().dtype == dtype
    assert rounded.nbytes == 50 * (-(-24 * bits // 8) + 2 * blocks.shape[1])


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 8), st.integers(0, 9), st.integers(0, 2**32 - 1))
def test_packing_gives_every_integer_back(bits, width, seed):
    largest = 2 ** (bits - 1) - 1
    numbers = np.random.default_rng(seed).integers(-largest, largest + 1, (5, width)).astype(np.int8)
    codes = _packed(numbers, bits)
    assert codes.shape == (5, -(-width * bits // 8))
    assert np.array_equal(_unpacked(codes, bits, width), numbers)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_multiples_of_a_power_of_two_are_exact_at_any_scale(bits):
    largest = 2 ** (bits - 1) - 1
    numbers = np.array([[largest, 0, -1, -largest]], dtype=float)
    for scale in (2.0**-200, 1.0, 2.0**300):
        assert np.array_equal(round_rows(scale * numbers, bits).to_dense(), scale * numbers)


def test_lookup_takes_ids_of_any_shape_and_names_wrong_ones():
    table = random(9, 6)
    rounded = round_rows(table, 4, group=3)
    ids = np.array([[8, 0], [8, 8]])
    assert np.array_equal(rounded.lookup(ids), rounded.to_dense()[ids])
    assert rounded.lookup(np.zeros((2, 0), int)).shape == (2, 0, 6)
    with pytest.raises(IndexError, match=r"id 9 at index \(0,\)"):
        rounded.lookup([9])


def test_zero_and_empty_tables_are_ordinary():
    for shape in ((0, 4), (4, 0), (3, 4)):
        assert np.array_equal(round_rows(np.zeros(shape), 4).to_dense(), np.zeros(shape))


@pytest.mark.parametrize(
    ("table", "arguments", "message"),
    [
        (np.ones((2, 4)), {"bits": 9}, "bits must be 2 .. 8, got 9"),
        (np.ones((2, 4)), {"bits": 1}, "got 1"),
        (np.ones((2, 4)), {"bits": 4, "group": 3}, "group must divide the width 4, got 3"),
        (np.ones((2, 4)) + 1j, {"bits": 4}, "only real NumPy tables .* complex128"),
        (np.array([[np.nan]]), {"bits": 4}, "table has 1 entries"),
    ],
)
def test_bad_input_is_named(table, arguments, message):
    with pytest.raises(ValueError, match=message):
        round_rows(table, **arguments)


@pytest.mark.parametrize(
    ("bits", "group", "ratio", "error", "cosine"),
    [
        (8, None, 3.98, 0.007, 1.0),
        (4, None, 7.92, 0.132, 0.991),
        (4, 32, 7.11, 0.097, 0.995),
        (3, 32, 9.14, 0.226, 0.975),
        (2, 32, 12.80, 0.658, 0.820),
    ],
)
def test_a_real_table_survives_rounding(bits, group, ratio, error, cosine):
    """Figures of another program on another machine, to the digits they were printed with."""
    table = real_table()
    report = round_rows(table, bits, group=group).report(table)
    assert abs(report.relative_error - error) <= 0.5001e-3
    assert abs(report.cosine - cosine) <= 0.5001e-3
    assert abs(report.size_ratio - ratio) <= 0.5001e-2


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bits", range(2, 9))
def test_tables_near_the_largest_and_the_smallest_numbers_are_rounded_alike(dtype, bits):
    largest, top = 2 ** (bits - 1) - 1, np.finfo(dtype).max
    for factor in (1.0, 0.6, 0.3):
        table = factor * top * np.array([[1, -0.5, 0.25]], dtype=dtype)
        found = round_rows(table, bits).to_dense()
        step = float(factor * top) / largest
        assert np.all(abs(found / 2 - table / 2) <= step / 4 * (1 + 2.0**-9 * largest))
    table = np.finfo(dtype).tiny * np.array([[largest, -largest, 0]], dtype=dtype)
    assert np.array_equal(round_rows(table, bits).to_dense(), table)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_rows_whose_scale_is_hardly_a_number_keep_to_their_bound(bits):
    largest = 2 ** (bits - 1) - 1
    table = random(40, 6) * np.geomspace(1, 1e-9, 40)[:, None]
    rounded = round_rows(table, bits)
    step = np.max(abs(table), axis=1, keepdims=True) / largest
    bound = step / 2 * (1 + 2.0**-9 * largest) + 2.0**-24 * largest * np.max(step)
    assert np.all(abs(rounded.to_dense() - table) <= bound)
    assert np.any((rounded.scales > 0) & (rounded.scales < 2.0**-14))
    assert abs(_unpacked(rounded.codes, bits, 6)).max() == largest
