"""Outputs with dual problems in time: corrected values, bounds that are products, against an extended truth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from helpers.parabolic import heat

import lowrank
import problems
import rbm
from rbm.errors import refused
from rbm.storage.archive import read_archive, write_archive
from rbm.time.adjoint import adjoint_in_time
from rbm.time.convolution import convolution, faded_products
from rbm.time.dual import ReducedDual


def pod_basis(model: rbm.TimeModel, size: int | None, count: int = 6, control: Any = None) -> np.ndarray:
    mus = model.parameters.sample(count, "sobol")
    snapshots = np.concatenate([path.T for path in model.solve(mus, control)], axis=1)
    return lowrank.pod(snapshots, product=model.inner_product.matrix).modes[:, :size]


def with_duals(model: rbm.TimeModel, size: int | None, dual_size: int | None) -> rbm.ReducedTimeModel:
    duals = {name: pod_basis(adjoint_in_time(model, name), dual_size) for name in model.outputs}
    return rbm.project_time(model, pod_basis(model, size, control="impulse"), dual=duals)


def true_output(model: rbm.TimeModel, mus: np.ndarray, control: Any, name: str) -> np.ndarray:
    """Return the output (M, K + 1) of the extended truth, summed in extended precision."""
    output, parts = model.outputs[name], model.solve_extended(mus, control)
    psi = output.coefficients(mus)
    total = np.zeros(parts[0].shape[:2], np.clongdouble)
    for q, term in enumerate(output.terms):
        value = sum(part.astype(np.clongdouble) @ term.astype(np.clongdouble) for part in parts)
        total = total + psi[:, q, None].astype(np.clongdouble) * value
    return total


def checked(
    model: rbm.TimeModel, reduced: Any, mus: np.ndarray, control: Any = None, known: Any = None
) -> dict[str, Any]:
    """Return {name: (errors, bounds)}; no error is above its bound."""
    answer, made = reduced.solve(mus, control), {}
    for name in model.outputs:
        truth = true_output(model, answer.mus, control, name) if known is None else known[name]
        error = np.abs(truth - answer.outputs[name].astype(np.clongdouble)).astype(float)
        assert np.all(answer.output_bounds[name] >= error), (name, np.max(error - answer.output_bounds[name]))
        made[name] = error, answer.output_bounds[name]
    return made


def several_masses(theta: float = 1.0, **options: Any) -> rbm.TimeModel:
    n = 19
    left = sp.diags_array(np.r_[np.ones(10), np.zeros(9)] / 20)
    right = sp.diags_array(np.r_[np.zeros(10), np.ones(9)] / 20)
    skew = sp.csr_array(0.3 * sp.diags_array([np.ones(n - 1), -np.ones(n - 1)], offsets=[1, -1]))
    stiffness = heat(20).inner_product.matrix
    mass, operators = [("k", left), ("1 + r", right)], [("k", stiffness), ("r", skew)]
    return heat(20, mass=mass, operators=operators, stability="k", theta=theta, **options)


def complex_model(theta: float = 1.0, **options: Any) -> rbm.TimeModel:
    n = 19
    turn = sp.csr_array(1j * sp.diags_array([np.ones(n - 1), np.ones(n - 1)], offsets=[-1, 1]))
    functional = np.exp(1j * np.arange(n)) / n
    outputs = {"wave": [("k", functional), ("1j * r", functional[::-1].real)], "mean": np.ones(n) / n}
    stiffness = heat(20).inner_product.matrix
    operators = [("k", stiffness), ("r", turn)]
    return heat(20, operators=operators, stability="k", theta=theta, outputs=outputs, **options)


START = np.sin(3 * np.linspace(0, 1, 21)[1:-1])
MODELS = {
    "heat": lambda theta: heat(20, theta=theta),
    "start": lambda theta: heat(20, theta=theta, initial=[(0.3, START), ("k", START[::-1] ** 3)]),
    "masses": several_masses,
    "masses with start": lambda theta: several_masses(theta, initial=[("r", START)]),
    "complex": complex_model,
    "complex with start": lambda theta: complex_model(theta, initial=[("1j", START)]),
}
"""Models by name, made for a theta."""


@pytest.mark.parametrize(
    ("name", "theta"), [*((name, 1.0) for name in MODELS), ("masses with start", 0.5), ("complex", 0.7)]
)
def test_no_bound_of_a_corrected_output_is_below_its_error(name: str, theta: float) -> None:
    model = MODELS[name](theta=theta)
    mus = model.parameters.sample(4, "random", rng=1)
    control = np.random.default_rng(0).standard_normal((4, model.steps))
    basis = pod_basis(model, None, control="impulse")
    duals = {output: pod_basis(adjoint_in_time(model, output), None) for output in model.outputs}
    truth = {output: true_output(model, mus, control, output) for output in model.outputs}
    for size, dual_size in ((2, 2), (9, 5), (3, None), (None, 3), (None, None)):
        some = {output: columns[:, :dual_size] for output, columns in duals.items()}
        reduced = rbm.project_time(model, basis[:, :size], dual=some)
        for made in (reduced, reduced.astype("float32")):
            checked(model, made, mus, control, truth)


@pytest.mark.parametrize("theta", [1.0, 0.7, 0.5])
def test_with_the_whole_space_for_the_dual_the_output_is_exact(theta: float) -> None:
    model = heat(20, theta=theta)
    duals = {name: np.eye(19) for name in model.outputs}
    reduced = rbm.project_time(model, pod_basis(model, 2), dual=duals)
    plain = rbm.project_time(model, reduced.basis)
    mus = model.parameters.sample(5, "random", rng=2)
    for name, (error, bound) in checked(model, reduced, mus).items():
        before = checked(model, plain, mus)[name][0]
        assert before.max() > 1e-4
        assert error.max() < 1e-14
        assert bound.max() < 1e-11


def test_the_bound_falls_like_the_square_of_the_plain_one() -> None:
    model = heat(40)
    mus = model.parameters.sample(10, "random", rng=3)
    plain, product = [], []
    for size in (2, 3, 4, 5, 6):
        reduced = with_duals(model, size, size)
        product.append(reduced.solve(mus).output_bounds["mean"][:, 1:].max())
        plain.append(rbm.project_time(model, reduced.basis).solve(mus).output_bounds["mean"][:, 1:].max())
    slope = np.polyfit(np.log(plain), np.log(product), 1)[0]
    assert 1.7 < slope < 2.3


def test_the_convolution_is_the_sum_over_pairs_of_times() -> None:
    rng = np.random.default_rng(4)
    a, b = (rng.standard_normal((3, 7, 2)) + 1j * rng.standard_normal((3, 7, 2)) for _ in range(2))
    made = convolution(a, b)
    for k in range(7):
        wanted = sum(np.sum(a[:, i] * b[:, k - i], axis=1) for i in range(k + 1))
        np.testing.assert_allclose(made[:, k], wanted, rtol=1e-13)


def test_weights_in_time_sharpen_what_cauchy_and_schwarz_give() -> None:
    k, decay = np.arange(40), 0.3
    first = np.exp(-decay * k)[None]
    scale, rate = np.ones(1), np.array([np.expm1(2 * decay)])
    made = faded_products(first, first, scale, rate)
    plain = np.cumsum(first**2, axis=1)
    assert np.all(made <= plain * (1 + 1e-14))
    assert made[0, -1] < 1e-3 * plain[0, -1]
    wanted = min(
        (1 + 2 * s * rate[0]) ** (39 / 2) / (1 - s) * np.sum((1 + 2 * s * rate[0]) ** -(39.0 - k) * first[0] ** 2)
        for s in (0, 0.25, 0.5, 0.75, 0.875)
    )
    assert made[0, -1] == pytest.approx(wanted, rel=1e-12)
    huge = faded_products(first, first, scale, np.array([1e200]))
    np.testing.assert_allclose(huge[0, 5:], plain[0, 5:], rtol=1e-12)  # no weight can grow so fast


def test_an_edge_has_a_useful_bound() -> None:
    model = problems.cooling_fin(refinement=1, steps=40)
    reduced = with_duals(model, 12, 12)
    plain = rbm.project_time(model, reduced.basis)
    mus = model.parameters.sample(6, "random", rng=5)
    made, before = checked(model, reduced, mus), checked(model, plain, mus)
    for name in ("T_root", "T_tip"):
        assert np.median(made[name][1][:, 1:]) < 0.2 * np.median(before[name][1][:, 1:])


def test_without_bounds_the_values_are_the_same() -> None:
    reduced = with_duals(heat(20), 3, 3)
    mus = reduced.parameters.sample(3, "random", rng=6)
    known, bare = reduced.solve(mus), reduced.solve(mus, estimate=False, coefficients=False)
    np.testing.assert_array_equal(known.outputs["mean"], bare.outputs["mean"])
    assert not bare.output_bounds


def test_pod_greedy_makes_the_bases_of_dual_problems() -> None:
    model = several_masses(initial=[("r", START)])
    result = rbm.pod_greedy(model, model.parameters.sample(20), tol=1e-3, dual="all", control="impulse")
    assert set(result.dual) == set(result.reduced_model.duals) == {"mean"}
    dual = result.dual["mean"]
    share = result.history[-1].bound / result.history[0].bound
    assert dual.history[-1].bound <= dual.history[0].bound * max(share, 1e-3 / result.history[0].bound)
    mus = model.parameters.sample(4, "random", rng=8)
    bound = checked(model, result.reduced_model, mus)["mean"][1]
    plain = checked(model, rbm.project_time(model, result.basis), mus)["mean"][1]
    assert bound[:, 1:].max() < 0.02 * plain[:, 1:].max()
    again = rbm.pod_greedy(
        model, model.parameters.sample(20), tol=1e-4, dual=("mean",), control="impulse", resume=result
    )
    assert again.basis.shape[1] > result.basis.shape[1]
    np.testing.assert_array_equal(again.dual["mean"].basis[:, : dual.basis.shape[1]], dual.basis)


@pytest.mark.parametrize("name", ["masses with start", "complex"])
def test_a_file_gives_the_same_bits(name: str, tmp_path: Path) -> None:
    model = MODELS[name](theta=1.0)
    reduced = with_duals(model, 5, 4)
    for made in (reduced, reduced.truncate(3), reduced.astype("float32")):
        made.save(tmp_path / "model.rbm")
        again = rbm.load(tmp_path / "model.rbm")
        mus = model.parameters.sample(5, "random", rng=9)
        first, second = made.solve(mus), again.solve(mus)
        for key in model.outputs:
            np.testing.assert_array_equal(first.outputs[key], second.outputs[key])
            np.testing.assert_array_equal(first.output_bounds[key], second.output_bounds[key])


def test_fewer_vectors_are_those_of_a_smaller_projection() -> None:
    model = several_masses(initial=[("r", START)])
    reduced = with_duals(model, 6, 4)
    fewer = reduced.truncate(3)
    mus = model.parameters.sample(4, "random", rng=10)
    checked(model, fewer, mus)
    duals = {"mean": pod_basis(adjoint_in_time(model, "mean"), 4)}
    other = rbm.project_time(model, reduced.basis[:, :3], dual=duals)
    first, second = fewer.solve(mus), other.solve(mus)
    np.testing.assert_allclose(first.outputs["mean"], second.outputs["mean"], rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(first.output_bounds["mean"], second.output_bounds["mean"], rtol=1e-6)


def test_bad_arguments_have_one_clear_error() -> None:
    model = heat(20)
    with pytest.raises(rbm.ModelError, match="'flux', which the model does not have; its outputs are 'mean'"):
        rbm.pod_greedy(model, model.parameters.sample(3), dual="flux")
    with pytest.raises(rbm.ModelError, match="must be a dictionary"):
        rbm.project_time(model, np.eye(19)[:, :2], dual="all")
    with pytest.raises(rbm.ModelError, match="'flux'"):
        rbm.project_time(model, np.eye(19)[:, :2], dual={"flux": np.eye(19)[:, :2]})
    with pytest.raises(rbm.ModelError, match="periodic"):
        adjoint_in_time(heat(20, periodic=True), "mean")


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("correction", lambda a: a[:, :-1]),
        ("rhs", lambda a: a * np.nan),
        ("norms", lambda a: -a),
        ("lost", lambda a: a[:, :-1]),
        ("start", lambda a: a[:, :, 1:]),
        ("mass", None),
        ("operators", lambda a: a.astype(int)),
        ("norms", lambda a: a + 0j),
        ("start_error", lambda a: a[:0]),
        ("factor", lambda a: a[:1]),
    ],
)
def test_a_file_whose_dual_problem_does_not_fit_is_refused(key: str, change: Any, tmp_path: Path) -> None:
    reduced = with_duals(several_masses(initial=[("r", START)]), 4, 4)
    path = tmp_path / "model.rbm"
    reduced.save(path)
    header, arrays = read_archive(path, ("reduced time model",))
    name = f"duals/0/{key}"
    if change is None:
        del arrays[name]
    else:
        arrays[name] = np.ascontiguousarray(change(arrays[name]))
    write_archive(path, header, arrays)
    with pytest.raises(rbm.FileFormatError, match="not a complete reduced time model"):
        rbm.load(path)


def random_model(rng: np.random.Generator) -> tuple[rbm.TimeModel, int]:
    """Return a small model in mixed units, real or complex, with one or two masses, and its number of unknowns."""
    n, is_complex = int(rng.integers(2, 8)), rng.random() < 0.3
    units = 10.0 ** rng.integers(-4, 5, n) if rng.random() < 0.5 else np.ones(n)

    def definite() -> np.ndarray:
        a = rng.standard_normal((n, n))
        return units[:, None] * (a @ a.T / n + 0.05 * np.eye(n)) * units

    def vector() -> np.ndarray:
        return units * rng.standard_normal(n) * 10.0 ** rng.integers(-6, 7)

    skew = rng.standard_normal((n, n))
    skew = units[:, None] * (skew - skew.T) * units
    product = definite()
    mass = [("k", definite()), ("1 + r", definite())] if rng.random() < 0.5 else definite()
    functional = vector()
    return rbm.TimeModel(
        mass,
        [("k", product), ("r", skew + 1j * definite() if is_complex else skew)],
        [(1.0, vector()), ("r", vector())],
        product,
        {"k": (0.5, 3.0), "r": (0.0, 2.0)},
        "k",
        dt=10.0 ** rng.uniform(-4, 3),
        steps=int(rng.integers(1, 20)),
        theta=float(rng.choice([1.0, 0.75, 0.5])),
        initial=[("r", vector() / units**2)] if rng.random() < 0.5 else None,
        outputs={"one": functional, "two": [("k", vector() + (1j * vector() if is_complex else 0)), ("r", functional)]},
    ), n


@pytest.mark.parametrize("seed", range(12))
def test_random_models_in_mixed_units(seed: int) -> None:
    rng = np.random.default_rng(seed)
    model, n = random_model(rng)
    duals = {name: pod_basis(adjoint_in_time(model, name), int(rng.integers(1, n + 1)), 3) for name in model.outputs}
    reduced = rbm.project_time(model, pod_basis(model, int(rng.integers(1, n + 1)), 3, "impulse"), dual=duals)
    control = rng.standard_normal(model.steps) * (rng.random(model.steps) < 0.6)
    for made in (reduced, reduced.astype("float32")):
        checked(model, made, model.parameters.sample(3, "random", rng=seed), control)


def test_the_bound_of_an_output_decays_as_its_error_does() -> None:
    control = np.r_[np.ones(10), np.zeros(190)]
    model = heat(20, steps=200, control=control)
    reduced = with_duals(model, 2, 2)
    still = replace(reduced, duals={name: replace(dual, decay=0.0) for name, dual in reduced.duals.items()})
    mus = model.parameters.sample(6, "random", rng=11)
    bound = checked(model, reduced, mus)["mean"][1]
    wide = still.solve(mus).output_bounds["mean"]
    assert np.all(bound <= wide * (1 + 1e-12))
    assert np.median(bound[:, -1] / wide[:, -1]) < 0.5


def test_weights_in_time_grow_no_faster_than_the_solution_decays() -> None:
    # u = (a, a): the basis has the first a only, and the second decays as slowly as the proof assumes, by 1 + dt k
    control = np.r_[1.0, np.zeros(199)]
    one = np.eye(2)
    model = rbm.TimeModel(
        one, [("k", one)], [(1.0, np.ones(2))], one, {"k": (1.0, 2.0)}, "k", dt=0.05, steps=200, control=control,
        outputs={"sum": np.ones(2)},
    )  # fmt: skip
    reduced = rbm.project_time(model, one[:, :1], dual={"sum": one[:, :1]})
    error, bound = checked(model, reduced, np.array([[1.0], [1.7]]))["sum"]
    k = np.arange(1, 201)
    np.testing.assert_allclose(error[0, 1:], 0.05 / 1.05**k, rtol=1e-12)
    assert bound[0, -1] < 1e-2 * bound[0, 1]


def test_a_bound_that_overflows_is_the_plain_one() -> None:
    outputs = {"mean": [("exp(300 * (r - 4)) * exp(300 * (r - 4))", np.ones(19) / 20)]}
    model = heat(20, outputs=outputs, initial=START)
    reduced = rbm.project_time(model, pod_basis(model, 3), dual={"mean": np.eye(19)[:, :3]})
    mus = np.tile([1.0, 1.0], (400, 1))
    mus[300, 1] = 4.7  # psi = 1e182, whose square overflows
    answer, plain = reduced.solve(mus), rbm.project_time(model, reduced.basis).solve(mus)
    assert np.all(np.isfinite(answer.output_bounds["mean"]))
    np.testing.assert_allclose(answer.output_bounds["mean"][300], plain.output_bounds["mean"][300], rtol=1e-9)


def test_an_error_in_a_part_of_a_batch_names_the_row_of_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    model = heat(20, outputs={"mean": [("r", np.ones(19) / 20)]})
    reduced = rbm.project_time(model, pod_basis(model, 3), dual={"mean": np.eye(19)[:, :3]})
    whole, parts = ReducedDual._of_tile, []

    def broken(self: ReducedDual, of: Any, psi: np.ndarray, *rest: Any) -> Any:
        parts.append(len(psi))
        if np.any(bad := psi[:, 0] == 4):
            raise refused(rbm.ModelError, bad, lambda i, where: f"{rest[-1](i)}, {where}")
        return whole(self, of, psi, *rest)

    monkeypatch.setattr(ReducedDual, "_of_tile", broken)
    mus = np.tile([1.0, 1.0], (2000, 1))
    mus[[1300, 1301], 1] = 4
    with pytest.raises(rbm.ModelError, match=r"r = 4 \(dual problem of 'mean'\), row 1300, 2 such points") as caught:
        reduced.solve(mus)
    np.testing.assert_array_equal(caught.value.rows, [1300, 1301])
    assert max(parts) < 1300


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        (None, "'mean' is refused"),
        (np.ones(19), "'mean' is refused"),
        (np.eye(19)[:, :0], "'mean' is refused: it has no"),
    ],
)
def test_a_bad_dual_basis_is_named(columns: Any, text: str) -> None:
    model = heat(20)
    with pytest.raises(rbm.ModelError, match=text):
        rbm.project_time(model, np.eye(19)[:, :2], dual={"mean": columns})


def test_squares_below_the_smallest_number_leave_no_bound_of_zero() -> None:
    one = np.eye(2)
    model = rbm.TimeModel(
        1e-3 * one, [("k", one)], [(1.0, np.ones(2))], one, {"k": (1.0, 3.0)}, "k", dt=1e9, steps=30,
        control=np.r_[1.0, np.zeros(29)], outputs={"sum": np.ones(2)},
    )  # fmt: skip
    reduced = rbm.project_time(model, one[:, :1], dual={"sum": one[:, :1]})
    checked(model, reduced, np.array([[2.0]]))
    answer = reduced.solve([[2.0]])
    assert np.all(answer.bound_l2[:, 1:] > 0)
    assert np.all(answer.output_bounds["sum"][:, 1:] > 0)
