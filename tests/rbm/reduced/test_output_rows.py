"""Array-valued outputs: k functionals under one name, bit for bit k outputs; tables, files, what refuses them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from helpers.other_arrays import xp

import rbm
from problems import convection_diffusion, reaction_diffusion_1d
from rbm.command_line import main
from rbm.reduced.output_rows import ReducedRows
from rbm.storage.archive import read_archive, write_archive

BASE = convection_diffusion(10)
N = BASE.dimension
C = np.random.default_rng(0).standard_normal((4, N))
C[2] = 0  # a functional that is nothing


def with_outputs(outputs: dict[str, Any], factor: complex = 1.0, **others: Any) -> rbm.FullOrderModel:
    return rbm.FullOrderModel(
        operators=list(zip(BASE.operator_coefficients.sources, BASE.operator_terms, strict=True)),
        rhs=[(factor, BASE.rhs_terms[:, 0])],
        product=BASE.product,
        parameters=BASE.parameters,
        stability=0.05,
        outputs=outputs,
        **others,
    )


CASES: dict[str, tuple[Any, list[tuple[Any, np.ndarray]], complex]] = {
    "one term": (C, [(1.0, C)], 1.0),
    "sparse": (sp.csr_array(C), [(1.0, C)], 1.0),
    "two terms": ([("vx", C), (0.5, sp.coo_array(C[::-1]))], [("vx", C), (0.5, C[::-1])], 1.0),
    "complex": ((1 + 2j) * C, [(1.0, (1 + 2j) * C)], 1.0 - 1j),
}


@pytest.fixture(scope="module", params=CASES)
def both(request: pytest.FixtureRequest) -> tuple[rbm.FullOrderModel, rbm.ReducedModel, rbm.ReducedModel]:
    """A full model with four values under one name, its reduced model, and that of four outputs on the same basis."""
    rows, terms, factor = CASES[request.param]
    several = with_outputs({"mean": np.ones(N), "s": rbm.Linear(rows), "energy": np.eye(N)}, factor)
    named = {f"s{i}": [(c, m[i]) for c, m in terms] for i in range(4)}
    single = with_outputs({"mean": np.ones(N), **named, "energy": np.eye(N)}, factor)
    made = rbm.greedy(several, BASE.parameters.sample(60), max_basis=8).reduced_model
    return several, made, rbm.project(single, made.basis)


MUS = BASE.parameters.sample(300, "random", rng=2)


@pytest.mark.parametrize("count", [1, 300])
def test_values_and_bounds_are_those_of_single_outputs_bit_for_bit(both: Any, count: int) -> None:
    _, several, single = both
    a, b = several.solve(MUS[:count]), single.solve(MUS[:count])
    assert a.outputs["s"].shape == a.output_bounds["s"].shape == (count, 4)
    for i in range(4):
        np.testing.assert_array_equal(a.outputs["s"][:, i], b.outputs[f"s{i}"])
        np.testing.assert_array_equal(a.output_bounds["s"][:, i], b.output_bounds[f"s{i}"])
    for name in ("mean", "energy"):
        np.testing.assert_array_equal(a.outputs[name], b.outputs[name])
    assert not a.outputs["s"][:, 2].any() or "vx" in several.outputs["s"].coefficients.sources


def test_bounds_hold_against_the_full_model(both: Any) -> None:
    full, several, _ = both
    hi, lo = full.solve_extended(MUS[:80])
    u, solution = (hi + lo).T, several.solve(MUS[:80])
    off = np.abs(full.outputs["s"](MUS[:80], u) - solution.outputs["s"])
    assert off.shape == (80, 4)
    assert np.all(off <= solution.output_bounds["s"])
    some = solution.output_bounds["s"] > 0
    assert np.median(solution.output_bounds["s"][some] / np.maximum(off[some], 1e-300)) < 1e3


def test_derivatives_have_a_row_for_each_value(both: Any) -> None:
    _, several, single = both
    values, bounds = several.gradient(MUS[:40], ["s"])
    one, limits = single.gradient(MUS[:40])
    assert values["s"].shape == bounds["s"].shape == (40, 4, 2)
    for i in range(4):
        np.testing.assert_array_equal(values["s"][:, i], one[f"s{i}"])
        np.testing.assert_array_equal(bounds["s"][:, i], limits[f"s{i}"])
    assert several.gradient(MUS[:3], "s", estimate=False).bounds is None


def test_an_evaluator_gives_lists(both: Any) -> None:
    _, several, _ = both
    answer, alone = several.evaluator()(MUS[0]), several.solve(MUS[0])
    assert answer.outputs["s"] == alone.outputs["s"][0].tolist()
    assert answer.output_bounds["s"] == alone.output_bounds["s"][0].tolist()
    assert answer.outputs["mean"] == alone.outputs["mean"][0]


def test_a_file_keeps_the_bits(both: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, several, _ = both
    several.save(tmp_path / "m.rbm")
    loaded = rbm.load(tmp_path / "m.rbm")
    a, b = several.solve(MUS), loaded.solve(MUS)
    np.testing.assert_array_equal(a.outputs["s"], b.outputs["s"])
    np.testing.assert_array_equal(a.output_bounds["s"], b.output_bounds["s"])
    assert main(["query", str(tmp_path / "m.rbm"), "--mu", "0.5", "-1"]) == 0
    shown = capsys.readouterr().out
    complex_valued = np.iscomplexobj(a.outputs["s"])
    assert f"s[3]{'_re' if complex_valued else ''} = " in shown
    assert "s[3]_bound = " in shown
    assert main(["info", str(tmp_path / "m.rbm")]) == 0
    assert "s: linear rows; bound: the norm of each functional" in " ".join(capsys.readouterr().out.split())
    header, arrays = read_archive(tmp_path / "m.rbm", "reduced model")
    for key, wrong in (("ranks", np.array([9, 1, 1, 1])), ("vectors", arrays["outputs/1/vectors"][:, :, :-1])):
        write_archive(tmp_path / "w.rbm", header, {**arrays, f"outputs/1/{key}": wrong})
        with pytest.raises(rbm.FileFormatError, match="not a complete reduced model"):
            rbm.load(tmp_path / "w.rbm")


def test_tables_have_a_column_for_each_value(both: Any) -> None:
    _, several, _ = both
    solution = several.solve(MUS[:5])
    columns = solution.to_dict()
    name = "s[1]_re" if np.iscomplexobj(solution.outputs["s"]) else "s[1]"
    np.testing.assert_array_equal(columns[name], solution.outputs["s"][:, 1].real)
    np.testing.assert_array_equal(columns["s[1]_bound"], solution.output_bounds["s"][:, 1])
    assert "s" not in columns
    pytest.importorskip("xarray")
    data = solution.to_xarray()
    assert data["s"].dims == ("point", "s_row")
    assert data["s_bound"].shape == (5, 4)


def test_other_forms_of_the_model(both: Any) -> None:
    _, several, _ = both
    whole = several.solve(MUS)
    assert several.truncate(3).solve(MUS).outputs["s"].shape == (300, 4)
    single = several.astype("float32").solve(MUS)
    assert np.all(
        np.abs(single.outputs["s"] - whole.outputs["s"]) <= single.output_bounds["s"] + whole.output_bounds["s"]
    )
    elsewhere = several.to(xp).solve(MUS[:20]).to("numpy")
    np.testing.assert_allclose(elsewhere.outputs["s"], whole.outputs["s"][:20], rtol=1e-9, atol=1e-11)
    blocks = list(several.stream(MUS, size=70))
    np.testing.assert_allclose(np.concatenate([b.outputs["s"] for b in blocks]), whole.outputs["s"], rtol=1e-12)
    marked = several.solve(np.concatenate([MUS[:3], [[9.0, 0.0]]]), on_error="mark")
    assert np.isnan(marked.outputs["s"][3]).all()
    assert np.isinf(marked.output_bounds["s"][3]).all()
    assert whole[2:4].outputs["s"].shape == (2, 4)


def test_values_beyond_the_range_of_numbers_are_refused() -> None:
    model = with_outputs({"s": rbm.Linear([("exp(354 * vx)", 1e3 * C), (1.0, C)])})
    reduced = rbm.project(model, np.ones((N, 1)))
    with pytest.raises(rbm.ModelError, match=r"output 's' .* at vx = 2, vy = 0 \(row 1\).*beyond the range"):
        reduced.solve([[0.0, 0.0], [2.0, 0.0]])


def test_leaves_have_array_valued_outputs_too(tmp_path: Path) -> None:
    model = with_outputs({"s": rbm.Linear(C)})
    made: Any = rbm.greedy(model, BASE.parameters.sample(200), tol=0.2, max_basis=8, split=True).reduced_model
    assert len(made.leaves) > 1
    made.save(tmp_path / "m.rbm")
    a, b = made.solve(MUS), rbm.load(tmp_path / "m.rbm").solve(MUS)
    assert a.outputs["s"].shape == (300, 4)
    np.testing.assert_array_equal(a.output_bounds["s"], b.output_bounds["s"])
    assert made.gradient(MUS[:3]).values["s"].shape == (3, 4, 2)
    assert len(made.evaluator()(MUS[0]).outputs["s"]) == 4


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (C.T, r"has rows of shape \(81, 4\), expected \(k, 81\), one functional a row; transpose it"),
        (C[0], "for one functional give the vector itself"),
        (np.full((2, N), np.nan), "NaN"),
        ([(1.0, C), (2.0, C[:2])], "different shapes"),
        (np.zeros((0, N)), "expected"),
    ],
)
def test_rows_that_do_not_fit(rows: Any, message: str) -> None:
    with pytest.raises(rbm.ModelError, match=message):
        with_outputs({"s": rbm.Linear(rows)})


def test_a_matrix_alone_is_told_about_rows() -> None:
    with pytest.raises(rbm.ModelError, match=r"rbm\.Linear\(array\) for an output of so many values"):
        with_outputs({"s": C})
    with pytest.raises(rbm.ModelError, match=r"'s\[1\]' may need the column"):
        with_outputs({"s[1]": C[0], "s": rbm.Linear(C)})
    assert repr(rbm.Linear(C)) == f"Linear(4 functionals of {N} unknowns)"


def test_what_needs_one_value_says_so() -> None:
    model = with_outputs({"s": rbm.Linear(C), "mean": np.ones(N)})
    training = BASE.parameters.sample(30)
    reduced = rbm.greedy(model, training, max_basis=4, dual="all").reduced_model
    assert isinstance(reduced.outputs["s"], ReducedRows)
    assert reduced.outputs["mean"].kind == "primal-dual"
    with pytest.raises(rbm.ModelError, match="has 4 values, each with a dual problem of its own"):
        rbm.greedy(model, training, max_basis=4, dual="s")
    with pytest.raises(rbm.ModelError, match="minimize needs an output of one value, and 's' has 4"):
        rbm.minimize(reduced, "s")
    with pytest.raises(rbm.ModelError, match="a measurement needs an output of one value"):
        rbm.calibrate(reduced, {"s": 1.0}, noise=0.1)
    with pytest.raises(rbm.ModelError, match="has several values; a TimeModel has outputs of one"):
        rbm.TimeModel(
            mass=[(1.0, np.eye(N))],
            operators=[(1.0, np.eye(N))],
            rhs=[(1.0, np.ones(N))],
            product=np.eye(N),
            parameters=BASE.parameters,
            stability=1.0,
            dt=0.1,
            steps=2,
            outputs={"s": rbm.Linear(C)},
        )


def test_constraints_take_the_free_columns() -> None:
    model = reaction_diffusion_1d(20)
    a, n = model.operator_terms[0], model.dimension
    rows = np.random.default_rng(1).standard_normal((3, n))
    made = rbm.constrain([(1.0, a)], [(1.0, np.ones(n))], a, fixed=[0, 4], outputs={"s": rbm.Linear(rows)})
    ((_, inner),) = made.outputs["s"].rows
    np.testing.assert_array_equal(inner, np.delete(rows, [0, 4], axis=1))
    with pytest.raises(rbm.ModelError, match="has no offset"):
        rbm.constrain([(1.0, a)], [(1.0, np.ones(n))], a, fixed=[0], values=2.0, outputs={"s": rbm.Linear(rows)})
