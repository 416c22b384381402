"""The checks of arrays from files: every rule of an entry, and what a message says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rbm.storage.stored_arrays import Stored, checked_arrays

GOOD: dict[str, Any] = {"a": np.ones((2, 3)), "b": np.arange(3), "c": np.float64(2.0), "d": True, "e": np.ones(2) * 1j}
EXPECTED = {
    "a": Stored("jk", least=0, filled=True),
    "b": Stored("k", "i"),
    "c": Stored("", positive=True),
    "d": Stored("", "b", optional=True),
    "e": Stored("2", "c"),
}


def test_what_fits_comes_back() -> None:
    made = checked_arrays("test", {**GOOD, "other": "kept"}, EXPECTED)
    assert made["a"] is GOOD["a"]
    assert (made["c"], type(made["c"]), made["d"], made["other"]) == (2.0, float, True, "kept")
    assert checked_arrays("test", {**GOOD, "b": np.arange(3, dtype=np.int8)}, EXPECTED)["b"].dtype == np.int64
    assert checked_arrays("test", {**GOOD, "c": 2}, EXPECTED)["c"] == 2.0  # of a header
    assert "d" not in checked_arrays("test", {n: a for n, a in GOOD.items() if n != "d"}, EXPECTED)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("a", np.ones((2, 3), np.float32), "'a' holds float32, expected real numbers in double precision"),
        ("a", np.ones((2, 3)) * 1j, "'a' holds complex128"),
        ("a", np.ones((2, 3), object), "'a' holds object"),
        ("a", [[1.0] * 3] * 2, "'a' holds list"),
        ("a", np.ones((2, 4)), r"'b' has the shape \(3,\), expected \(4\)"),
        ("a", np.ones((2, 3, 1)), r"'a' has the shape \(2, 3, 1\), expected \(j, k\)"),
        ("a", np.float64(1), r"'a' has the shape \(\)"),
        ("a", np.ones((0, 3)), "'a' is empty"),
        ("a", -np.ones((2, 3)), r"'a' holds -1\.0, all of it must be at least 0"),
        ("a", np.full((2, 3), np.nan), "'a' holds NaN"),
        ("a", np.full((2, 3), np.inf), "'a' holds infinite numbers"),
        ("b", np.arange(3.0), "'b' holds float64, expected whole numbers"),
        ("b", np.arange(3, dtype=np.uint64), "'b' holds uint64"),
        ("c", 0.0, r"'c' holds 0\.0, all of it must be greater than 0"),
        ("c", "2", "'c' holds str"),
        ("c", True, "'c' holds bool"),
        ("c", None, "'c' holds NoneType"),
        ("d", 1, "'d' holds int64, expected true or false"),
        ("e", np.ones(3), r"'e' has the shape \(3,\), expected \(2\)"),
    ],
)
def test_what_does_not_fit_is_refused(name: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^the arrays of its test do not fit each other: {message}"):
        checked_arrays("test", {**GOOD, name: value}, EXPECTED)


def test_missing_arrays_and_known_lengths() -> None:
    with pytest.raises(ValueError, match="'a' is missing"):
        checked_arrays("test", {}, EXPECTED)
    with pytest.raises(ValueError, match=r"'a' has the shape \(2, 3\), expected \(j, 4\)"):
        checked_arrays("test", GOOD, EXPECTED, {"k": 4})
    with pytest.raises(ValueError, match="equal lengths"):
        checked_arrays("test", {"a": np.ones((2, 3))}, {"a": Stored("nn")})
