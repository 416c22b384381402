"""The parameter space: samples that fill the box, and a check that names what is wrong with a parameter value."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbm import ParameterError, ParameterSpace

EPS = np.finfo(float).eps
BOX = ParameterSpace({"a": (1.0, 2.0), "b": (-5.0, 5.0)})
LOG = ParameterSpace({"mu": (1e-3, 1e3), "k": (2.0, 32.0)}, scale="log")


@pytest.mark.parametrize("space", [BOX, LOG], ids=["linear", "log"])
@pytest.mark.parametrize("method", ["random", "sobol", "grid"])
@pytest.mark.parametrize("count", [1, 2, 9, 64, 100])
def test_samples_lie_in_the_box_and_repeat_bit_for_bit(space, method, count):
    points = space.sample(count, method, rng=3)
    expected = int(count**0.5 + EPS * count) ** 2 if method == "grid" else count
    assert points.shape == (expected, 2)
    assert np.all((points >= space.bounds[:, 0]) & (points <= space.bounds[:, 1]))
    assert np.array_equal(points, space.sample(count, method, rng=3))
    assert len(np.unique(points, axis=0)) == len(points)
    assert np.array_equal(space.validate(points), points)


@pytest.mark.parametrize("method", ["random", "sobol"])
def test_another_seed_gives_other_points_and_a_generator_goes_on(method):
    assert not np.array_equal(BOX.sample(8, method, rng=0), BOX.sample(8, method, rng=1))
    generator = np.random.default_rng(0)
    first, second = BOX.sample(8, method, rng=generator), BOX.sample(8, method, rng=generator)
    assert not np.array_equal(first, second)
    assert np.array_equal(first, BOX.sample(8, method, rng=0))


@pytest.mark.parametrize("space", [BOX, LOG], ids=["linear", "log"])
@pytest.mark.parametrize(("method", "per_cell"), [("sobol", (16, 16)), ("random", (2, 40))])
def test_samples_fill_the_box_evenly_on_the_scale_of_the_space(space, method, per_cell):
    points, bounds = space.sample(256, method), space.bounds.T
    if space.scale == "log":
        points, bounds = np.log(points), np.log(bounds)
    cells = np.clip(np.floor(4 * (points - bounds[0]) / (bounds[1] - bounds[0])), 0, 3) @ [1, 4]
    counts = np.bincount(cells.astype(int), minlength=16)
    assert per_cell[0] <= counts.min() <= counts.max() <= per_cell[1]


def test_a_grid_has_the_ends_and_equal_steps_on_the_scale_of_the_space():
    assert np.array_equal(BOX.sample(9, "grid"), [(a, b) for a in (1, 1.5, 2) for b in (-5, 0, 5)])
    assert np.array_equal(BOX.sample(15, "grid"), BOX.sample(9, "grid"))
    assert np.array_equal(BOX.sample(1, "grid"), [[1.5, 0]])
    grid = LOG.sample(25, "grid")
    assert np.log(np.unique(grid[:, 0])) == pytest.approx(np.log(1e-3) + np.arange(5) * np.log(1e6) / 4, abs=20 * EPS)
    assert np.unique(grid[:, 1])[[0, -1]].tolist() == [2, 32]
    cube = ParameterSpace(dict.fromkeys("abc", (0, 1))).sample(1000, "grid")
    assert cube.shape == (1000, 3)  # 1000 ** (1/3) is below 10 in floating point


def test_a_range_of_one_point_is_a_fixed_parameter():
    for scale in ("linear", "log"):
        points = ParameterSpace({"fixed": (7.0, 7.0)}, scale=scale).sample(5, "random")
        assert np.array_equal(points, np.full((5, 1), 7.0))


@given(st.lists(st.tuples(st.floats(1, 2), st.floats(-5, 5)), min_size=1, max_size=6))
def test_points_of_the_box_pass_unchanged(points):
    validated = BOX.validate(points)
    assert validated.dtype == np.float64
    assert np.array_equal(validated, np.array(points))
    assert np.array_equal(BOX.validate(points[0]), [points[0]])


@pytest.mark.parametrize("dtype", [int, np.int8, bool, np.float32, np.float16])
def test_real_numbers_of_any_kind_become_doubles(dtype):
    validated = ParameterSpace({"a": (0, 1)}).validate(np.array([[0], [1]], dtype=dtype))
    assert validated.dtype == np.float64
    assert np.array_equal(validated, [[0], [1]])


@pytest.mark.parametrize("extrapolate", [False, True])
@pytest.mark.parametrize(
    ("mus", "message"),
    [
        ([1.0, 0.0, 0.0], r"shape \(M, 2\) for \(a, b\), one row a point, or \(2,\) for one point; got shape \(3,\)"),
        (1.5, r"got shape \(\)"),
        ([], r"got shape \(0,\)"),
        (np.zeros((0, 2)), r"got shape \(0, 2\)"),
        (np.ones((2, 3)), r"got shape \(2, 3\)"),
        (np.ones((1, 1, 2)), r"got shape \(1, 1, 2\)"),
        ([[1.5, 0.0], [1.5, np.nan]], r"b = nan \(row 1\) is not a finite number"),
        ([[np.inf, np.nan]], r"a = inf \(row 0\) is not a finite number"),
        ([1.5 + 0j, 2.0], r"parameters are real numbers, got complex ones: .* 'mu_re \+ 1j\*mu_im'"),
        (["1.5", "2"], "parameters must be numbers, got .*1.5.* dtype <U3"),
        (None, "parameters must be numbers, got .*None.* dtype object"),
    ],
)
def test_values_that_are_no_parameter_points_are_named(mus, message, extrapolate):
    with pytest.raises(ParameterError, match=message):
        BOX.validate(mus, extrapolate)


def test_rows_of_different_length_are_refused():
    with pytest.raises(ParameterError, match="shape"):
        BOX.validate([[1.0, 2.0], [1.0]])


def test_a_flat_list_for_one_parameter_is_answered_with_the_right_call():
    with pytest.raises(ParameterError, match=r"got shape \(3,\); did you mean mus\[:, None\] or reshape\(-1, 1\)\?"):
        ParameterSpace({"mu": (0, 1)}).validate([0.1, 0.2, 0.3])


@pytest.mark.parametrize(
    ("extrapolate", "remedy"),
    [
        (False, "pass extrapolate=True to allow it"),
        (None, "leave such points out, or make the range of the parameter wider"),
    ],
)
def test_points_outside_are_counted_and_the_remedy_is_one_that_the_caller_has(extrapolate, remedy):
    mus = [[1.5, 0.0], [1.5, 6.25], [0.0, -7.0]]
    message = r"b = 6.25 \(row 1, 2 such points\) is outside \[-5, 5\]; " + remedy + "$"
    with pytest.raises(ParameterError, match=message):
        BOX.validate(mus, extrapolate)
    assert np.array_equal(BOX.validate(mus, extrapolate=True), mus)


def step(x: float, count: int) -> float:
    """The floating-point number that is `count` numbers above x (below, if negative)."""
    for _ in range(abs(count)):
        x = math.nextafter(x, math.copysign(math.inf, count))
    return x


@pytest.mark.parametrize("extrapolate", [None, False, True])
@pytest.mark.parametrize("ends", [(1.0, 2.0), (-5.0, 5.0), (0.0, 0.3), (-1e308, np.finfo(float).max), (3e-310, 1.0)])
def test_a_value_outside_by_rounding_is_the_end_of_the_range(ends, extrapolate):
    space = ParameterSpace({"a": ends})
    low, high = ends
    for count in range(5):
        below, above = step(low, -count), step(high, count)
        if np.isfinite(above):
            assert space.validate([[below], [above], [low]], extrapolate).tolist() == [[low], [high], [low]]
            assert space.validate([above], extrapolate).tolist() == [[high]]
    for value in (step(low, -5), step(high, 5), -np.inf, np.inf):
        if extrapolate and np.isfinite(value):
            assert space.validate([value], True).tolist() == [[value]]
        else:
            with pytest.raises(ParameterError, match=r"is outside|not a finite"):
                space.validate([value], extrapolate)


def test_sums_and_products_that_should_be_the_end_are():
    assert ParameterSpace({"a": (0, 0.3)}).validate([0.1 + 0.2]) == 0.3
    assert ParameterSpace({"a": (0, 0.3)}).validate([3 * 0.1]) == 0.3
    given = np.array([[0.1 + 0.2], [0.2]])
    given.setflags(write=False)
    assert ParameterSpace({"a": (0, 0.3)}).validate(given).tolist() == [[0.3], [0.2]]


@pytest.mark.parametrize(
    ("ends", "value", "shown"),
    [
        ((1.0, 100.0), 100.0000000001, r"a = 100.0000000001 \(row 0\) is outside \[1, 100\]"),
        ((1.0, 100.0), step(100.0, 5), r"a = 100.0000000000001 \(row 0\) is outside \[1, 100\]"),
        ((1 / 3, 1.0), 0.333333, r"a = 0.333333 \(row 0\) is outside \[0.3333333, 1\]"),
        ((0.0, 1.0), -1e-300, r"a = -1e-300 \(row 0\) is outside \[0, 1\]"),
        ((0.0, 1.0), 7.5, r"a = 7.5 \(row 0\) is outside \[0, 1\]"),
    ],
)
def test_as_many_digits_are_shown_as_tell_value_and_range_apart(ends, value, shown):
    with pytest.raises(ParameterError, match=shown):
        ParameterSpace({"a": ends}).validate([value])


@pytest.mark.parametrize("method", ["random", "sobol", "grid"])
@pytest.mark.parametrize(
    ("scale", "ends"),
    [
        ("log", (1e-200, 1e200)),
        ("log", (5e-324, 1.7e308)),
        ("linear", (-1e308, 1e308)),
        ("linear", (-1.7e308, 1.7e308)),
    ],
)
def test_ranges_wider_than_the_largest_number_are_filled(scale, ends, method):
    """Beside an ordinary parameter, whose values are those of a space of its own range."""
    space = ParameterSpace({"a": ends, "b": (2.0, 3.0)}, scale=scale)
    points = space.sample(256, method)
    position = points[:, 0] / ends[1] / 2 + 0.5  # [0, 1]
    if scale == "log":
        position = np.log(points[:, 0])
        position = (position - np.log(ends[0])) / (np.log(ends[1]) - np.log(ends[0]))
    quarters = np.bincount(np.clip(4 * position, 0, 3).astype(int), minlength=4)
    assert quarters.min() >= 45, quarters
    assert np.array_equal(
        points[:, 1], ParameterSpace({"a": (1.0, 2.0), "b": (2.0, 3.0)}, scale).sample(256, method)[:, 1]
    )


def test_units_are_kept_shown_and_part_of_the_space():
    space = ParameterSpace({"mu": (1, 2), "h": (0, 1)}, units={"mu": "W/m/K"})
    assert repr(space) == "ParameterSpace(mu in [1, 2] W/m/K, h in [0, 1], linear)"
    blocks = ParameterSpace(dict.fromkeys(("k1", "k2", "k3"), (0.1, 1)) | {"h": (0, 1)})
    assert repr(blocks) == "ParameterSpace(k1, k2, k3 in [0.1, 1], h in [0, 1], linear)"
    assert space.units == {"mu": "W/m/K"}
    assert space != ParameterSpace({"mu": (1, 2), "h": (0, 1)})
    assert pickle.loads(pickle.dumps(space)) == space
    for units, message in (
        ({"nu": "m"}, "units name 'nu', which is no parameter; the names are mu, h"),
        ({"mu": 3}, "the unit of mu must be a text such as 'W/m/K', got 3"),
        (["m"], "units must be a dictionary .* got list"),
    ):
        with pytest.raises(ParameterError, match=message):
            ParameterSpace({"mu": (1, 2), "h": (0, 1)}, units=units)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ranges": {}}, "a parameter space needs at least one parameter"),
        ({"ranges": {"a b": (0, 1)}}, "parameter name 'a b' is not an identifier"),
        ({"ranges": {"a": (2, 1)}}, r"range of a must be finite with low <= high, got \(2.0, 1.0\)"),
        ({"ranges": {"a": (0, np.inf)}}, r"range of a must be finite with low <= high, got \(0.0, inf\)"),
        ({"ranges": {"a": (np.nan, 1)}}, r"range of a must be finite with low <= high, got \(nan, 1.0\)"),
        ({"ranges": {"a": 1.0}}, r"range of a must be two numbers \(low, high\), got 1.0"),
        ({"ranges": {"a": (0, 1, 2)}}, r"range of a must be two numbers \(low, high\), got \(0, 1, 2\)"),
        ({"ranges": {"a": (0, 1j)}}, r"range of a must be two numbers \(low, high\), got \(0, 1j\)"),
        ({"ranges": {"a": "19"}}, r"range of a must be two numbers \(low, high\), got '19'"),
        ({"ranges": {"a": b"19"}}, r"range of a must be two numbers \(low, high\), got b'19'"),
        ({"ranges": {"a": ("1", 9)}}, r"range of a must be two numbers \(low, high\), got \('1', 9\)"),
        ({"ranges": {"a": {9, 1}}}, r"range of a must be two numbers \(low, high\), got \{"),
        ({"ranges": {"a": {1: 0, 9: 0}}}, r"range of a must be two numbers \(low, high\), got \{"),
        (
            {"ranges": {"a": np.ma.array([1, 9], mask=[False, True])}},
            r"range of a must be two numbers \(low, high\), got",
        ),
        ({"ranges": {"a": ("low", 1)}}, r"range of a must be two numbers \(low, high\), got \('low', 1\)"),
        ({"ranges": {"a": (0, 1)}, "scale": "log"}, "range of a starts at 0.0: a logarithmic scale needs low > 0"),
        ({"ranges": {"a": (0, 1)}, "scale": "dB"}, "scale must be 'linear' or 'log', got 'dB'"),
        ({"ranges": {1: (0, 1)}}, "parameter name 1 is not an identifier"),
        ({"ranges": {"lambda": (0, 1)}}, "parameter name 'lambda' has a meaning in formulas"),
        ({"ranges": {"pi": (0, 1)}}, "parameter name 'pi' has a meaning in formulas"),
        ({"ranges": {"exp": (0, 1)}}, "parameter name 'exp' has a meaning in formulas"),
        ({"ranges": [("a", (0, 1))]}, "ranges must be a dictionary .* got list"),
    ],
)
def test_bad_spaces_are_named(arguments, message):
    with pytest.raises(ParameterError, match=message):
        ParameterSpace(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 0}, "number of sample points must be .* at least 1, got 0"),
        ({"count": 2.5}, "number of sample points must be an integer .* got 2.5"),
        ({"count": 3, "method": "halton"}, "method must be 'random', 'grid' or 'sobol', got 'halton'"),
    ],
)
def test_bad_samples_are_named(arguments, message):
    with pytest.raises(ParameterError, match=message):
        BOX.sample(**arguments)


def test_spaces_are_values():
    same, other = ParameterSpace({"a": (1, 2), "b": (-5, 5)}), ParameterSpace({"b": (-5, 5), "a": (1, 2)})
    assert same == BOX
    assert hash(BOX) == hash(same)
    assert BOX not in (other, LOG, "BOX", ParameterSpace({"a": (1, 2), "b": (-5, 5.5)}))
    assert len(BOX) == 2
    assert BOX.names == ("a", "b")
    assert repr(BOX) == "ParameterSpace(a in [1, 2], b in [-5, 5], linear)"
    assert BOX.describe(np.array([1.25, 3.0])) == "a = 1.25, b = 3"
    with pytest.raises(ValueError, match="read-only"):
        BOX.bounds[0, 0] = 0


def test_names_that_are_one_in_formulas_are_refused_and_units_find_theirs() -> None:
    with pytest.raises(ParameterError, match=r"names '\\xb5' and '\\u03bc' are one name, '\\u03bc', in formulas"):
        ParameterSpace({"\xb5": (0.0, 1.0), "\u03bc": (0.0, 1.0)})
    assert ParameterSpace({"\xb5": (0.0, 1.0)}, units={"\u03bc": "m"}).units == {"\xb5": "m"}
    with pytest.raises(ParameterError, match=r"unit.* 'k', which is no parameter"):
        ParameterSpace({"\xb5": (0.0, 1.0)}, units={"k": "m"})
