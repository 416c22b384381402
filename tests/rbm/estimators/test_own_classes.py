"""The package is open by construction.

A user's own stability bound, estimator, output and family of coefficients, from greedy to file and plot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pytest
import scipy.sparse as sp

import rbm
from lowrank.arrays import namespace
from rbm import plots
from rbm.online.reference import residual_coefficients
from rbm.parameters.coefficients import Coefficients
from rbm.parameters.interpolated_family import InterpolatedCoefficient
from rbm.reduced.outputs import ReducedLinear
from rbm.storage import registry


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """What a test registers is forgotten afterwards."""
    before = {role: dict(classes) for role, classes in registry._CLASSES.items()}
    yield
    for role, classes in before.items():
        registry._CLASSES[role].clear()
        registry._CLASSES[role].update(classes)


@dataclass(frozen=True)
class SmallestWeight:
    """The toy bound: weights @ theta, for models whose terms have these coercivity constants."""

    kind: ClassVar[str] = "smallest weight"

    weights: np.ndarray

    def __call__(self, mus: Any, theta: Any) -> Any:
        return theta @ namespace(theta).asarray(self.weights)

    def arrays(self) -> dict[str, Any]:
        return {"weights": self.weights}

    @classmethod
    def from_arrays(cls, arrays: dict[str, Any]) -> Self:
        return cls(**arrays)


@dataclass(frozen=True)
class SumOfSizes(rbm.estimators.Estimator):
    """The toy estimator: sum_j ||W_j|| |c_j|, never too small and never sharp."""

    kind: ClassVar[str] = "sum of sizes"

    norms: np.ndarray

    @classmethod
    def prepare(cls, reduction: rbm.Reduction, training: np.ndarray) -> Self:
        return cls(reduction.residual_range.norms)

    def evaluate(self, theta: Any, phi: Any, gamma: Any) -> rbm.Estimate:
        value = np.abs(residual_coefficients(theta, phi, gamma)) @ self.norms
        return rbm.Estimate.from_norm(value, 1e-14 * value)

    def astype(self, dtype: Any) -> Self:
        return self

    def truncate(self, size: int, columns: int) -> Self:
        return replace(self, norms=self.norms[:columns])


def model(stability: Any = 1.0, **options: Any) -> rbm.FullOrderModel:
    n = 40
    one = np.ones(n)
    springs = sp.diags_array([-one[1:], 2 * one, -one[1:]], offsets=[-1, 0, 1]).tocsr()
    operators = [(1.0, springs), ("mu", sp.diags_array((np.arange(n) > 20) * 1.0).tocsr())]
    space = rbm.ParameterSpace({"mu": (0.1, 10.0)})
    options = {"operators": operators, "outputs": {"mean": one / n}, **options}
    return rbm.FullOrderModel(rhs=[(1.0, one)], product=springs, parameters=space, stability=stability, **options)


def test_a_bound_of_ones_own_goes_through_greedy_a_batch_a_file_and_single_precision(tmp_path: Path) -> None:
    bound = SmallestWeight(np.array([1.0, 0.0]))
    full = model(bound)
    assert full.stability is bound
    full.verify()
    reduced = rbm.greedy(full, full.parameters.sample(50), tol=1e-6, progress=False).reduced_model
    mus = full.parameters.sample(300, "random", rng=1)
    expected = rbm.greedy(model(1.0), full.parameters.sample(50), tol=1e-6, progress=False).reduced_model.solve(mus)
    np.testing.assert_allclose(reduced.solve(mus).bound, expected.bound, rtol=1e-12)
    with pytest.raises(rbm.ModelError, match=r"has the kind 'smallest weight'; register the class, @rbm.register"):
        reduced.save(tmp_path / "own.rbm")
    rbm.register("stability bound")(SmallestWeight)
    reduced.save(tmp_path / "own.rbm")
    del registry._CLASSES["stability bound"]["smallest weight"]
    with pytest.raises(
        rbm.FileFormatError,
        match=r"holds a stability bound of the kind 'smallest weight', which is not known here: import the package",
    ):
        rbm.load(tmp_path / "own.rbm")
    rbm.register("stability bound")(SmallestWeight)
    again = rbm.load(tmp_path / "own.rbm")
    assert isinstance(again.stability, SmallestWeight)
    np.testing.assert_array_equal(again.solve(mus).bound, reduced.solve(mus).bound)
    assert np.all(again.astype("float32").solve(mus).bound >= 0)


def test_a_bound_that_cannot_be_saved_says_what_it_lacks(tmp_path: Path) -> None:
    class Bare:
        kind = "bare"

        def __call__(self, mus: Any, theta: Any) -> Any:
            return np.ones(len(theta))

    reduced = rbm.project(model(Bare()), np.eye(40)[:, :2])
    assert np.all(np.isfinite(reduced.solve([1.0]).bound))
    with pytest.raises(
        rbm.ModelError, match=r"a Bare cannot be written to a file: it needs .* arrays\(\) and from_arrays\(\)"
    ):
        reduced.save(tmp_path / "bare.rbm")
    assert not (tmp_path / "bare.rbm").exists()


def test_an_estimator_of_ones_own_goes_through_greedy_a_batch_a_file_and_a_plot(tmp_path: Path) -> None:
    full = model()
    training, mus = full.parameters.sample(50), full.parameters.sample(200, "random", rng=1)
    result = rbm.greedy(full, training, max_basis=4, estimators=(SumOfSizes, "orthonormal"), progress=False)
    reduced = result.reduced_model
    assert reduced.method == "sum of sizes"
    own, sharp = reduced.solve(mus).estimate, reduced.solve(mus, method="E_onb").estimate
    assert own is not None
    assert sharp is not None
    assert np.all(own.value >= sharp.value)
    assert np.all(reduced.solve(mus, method=SumOfSizes).bound == own.bound)  # type: ignore[arg-type]
    assert "sum of sizes" in reduced.truncate(2).estimators
    with pytest.raises(rbm.ModelError, match=r"has the kind 'sum of sizes'; register the class"):
        reduced.save(tmp_path / "own.rbm")
    rbm.register("estimator")(SumOfSizes)
    reduced.save(tmp_path / "own.rbm")
    del registry._CLASSES["estimator"]["sum of sizes"]
    with pytest.raises(rbm.FileFormatError, match="an estimator of the kind 'sum of sizes'"):
        rbm.load(tmp_path / "own.rbm")
    rbm.register("estimator")(SumOfSizes)
    again = rbm.load(tmp_path / "own.rbm")
    np.testing.assert_array_equal(again.solve(mus, method="sum of sizes").bound, own.bound)
    estimates = {name: {4: reduced.estimate(mus, method=name)} for name in reduced.estimators}
    ax = plots.estimators_over_size([4], [1e-3], estimates)
    assert "sum of sizes" in [text.get_text() for text in ax.get_legend().get_texts()]
    plots.estimators_over_parameter(mus[:, 0], own.value, {name: each[4] for name, each in estimates.items()})
    plots.effectivity([4], {name: {4: np.ones(3)} for name in estimates})


def test_a_subclass_is_never_replaced_by_its_parent() -> None:
    class Doubled(rbm.estimators.Orthonormal):
        def evaluate(self, theta: Any, phi: Any, gamma: Any) -> rbm.Estimate:
            made = super().evaluate(theta, phi, gamma)
            return rbm.Estimate.from_norm(2 * made.value, 2 * made.floor)

    full = model()
    reduced = rbm.project(full, np.eye(40)[:, :3], (Doubled,))
    assert type(reduced.estimators["orthonormal"]) is Doubled
    plain = rbm.project(full, np.eye(40)[:, :3])
    mus = full.parameters.sample(20)
    np.testing.assert_allclose(reduced.solve(mus).bound, 2 * plain.solve(mus).bound, rtol=1e-6)
    with pytest.raises(
        rbm.ModelError, match="two estimators are of the kind 'orthonormal'; give Orthonormal another kind"
    ):
        rbm.project(full, np.eye(40)[:, :3], (Doubled, "orthonormal"))


def test_the_sixth_estimator_is_plotted_too() -> None:
    estimate = rbm.Estimate.from_norm(np.ones(3), np.full(3, 1e-10))
    plots.estimators_over_size([3], [0.5], {"sketched": {3: estimate}, "orthonormal": {3: estimate}})


def test_an_output_and_a_family_of_ones_own(tmp_path: Path) -> None:
    @rbm.register("output")
    class Absolute:
        """|s| of a linear output."""

        kind = "absolute"

        def __init__(self, inner: ReducedLinear) -> None:
            self.inner = inner
            self.coefficients = inner.coefficients

        def value(self, mus: Any, gamma: Any) -> Any:
            return np.abs(self.inner.value(mus, gamma))

        def bound(self, mus: Any, gamma: Any, error: Any) -> Any:
            return self.inner.bound(mus, gamma, error)

        def truncate(self, size: int) -> Any:
            return Absolute(self.inner.truncate(size))

        def arrays(self) -> dict[str, Any]:
            return self.inner.arrays()

        @classmethod
        def from_arrays(cls, arrays: dict[str, Any]) -> Any:
            return cls(ReducedLinear.from_arrays(arrays))

    @rbm.register("coefficient family")
    class Powers:
        """mu, mu^2, .. of the first parameter."""

        kind = "powers"

        def __init__(self, count: int) -> None:
            self.count = count

        def __len__(self) -> int:
            return self.count

        def compiled(self, names: tuple[str, ...]) -> Callable[[Any], Any]:
            return lambda mus: mus[:, :1] ** namespace(mus).arange(1, self.count + 1)

        def arrays(self) -> dict[str, Any]:
            return {"count": self.count}

        @classmethod
        def from_arrays(cls, arrays: dict[str, Any]) -> Any:
            return cls(int(arrays["count"]))

    family = Powers(2)
    plain = model()
    terms = [InterpolatedCoefficient(family, k) for k in range(2)]  # type: ignore[arg-type]
    full = model(
        operators=[
            (1.0, plain.operator_terms[0]),
            (terms[0], plain.operator_terms[1]),
            (terms[1], plain.operator_terms[1]),
        ]
    )
    reduced = rbm.project(full, full.solve([[1.0], [5.0]]).T)
    first = reduced.outputs["mean"]
    assert isinstance(first, ReducedLinear)
    reduced = replace(reduced, outputs={"mean": Absolute(first)})
    mus = full.parameters.sample(9)
    reduced.save(tmp_path / "own.rbm")
    again = rbm.load(tmp_path / "own.rbm")
    for name in ("outputs", "output_bounds"):
        np.testing.assert_array_equal(
            getattr(again.solve(mus), name)["mean"], getattr(reduced.solve(mus), name)["mean"]
        )
    assert np.all(
        np.abs(full.outputs["mean"](mus, full.solve(mus))) - again.solve(mus).outputs["mean"]
        <= again.solve(mus).output_bounds["mean"]
    )


def test_registration_refuses_what_files_could_not_tell_apart() -> None:
    class Nameless:
        pass

    class Same:
        kind = "orthonormal"

    with pytest.raises(rbm.ModelError, match="Nameless needs a class attribute `kind`"):
        rbm.register("estimator")(Nameless)
    with pytest.raises(rbm.ModelError, match=r"is that of rbm\..*Orthonormal; give .*Same another kind"):
        rbm.register("estimator")(Same)
    with pytest.raises(rbm.ModelError, match="the role of a class must be one of 'estimator', 'stability bound'"):
        rbm.register("estimators")
    with pytest.raises(rbm.ModelError, match="is now called kind: write kind = 'old'"):
        type("Old", (rbm.estimators.Estimator,), {"method": "old"})
    assert rbm.register("estimator")(rbm.estimators.Orthonormal) is rbm.estimators.Orthonormal


def test_coefficients_go_into_files_by_whatever_holds_them(tmp_path: Path) -> None:
    space = rbm.ParameterSpace({"mu": (0.1, 10.0)})
    bound = rbm.stability.CoefficientBound(Coefficients(["1 + 0*mu"], space))
    reduced = rbm.project(model(bound), np.eye(40)[:, :2])
    reduced.save(tmp_path / "m.rbm")
    assert rbm.load(tmp_path / "m.rbm").stability.arrays()["coefficient"].sources == ("1 + 0*mu",)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda mus: np.where(mus[:, 0] > 5, -1.0, 1.0), r"the stability bound Own is -1.0 at mu = 7 \(row 1\)"),
        (lambda mus: np.where(mus[:, 0] > 5, np.nan, 1.0), r"is nan at mu = 7 \(row 1\)"),
        (
            lambda mus: np.ones(1),
            r"real numbers of shape \(2,\), one per parameter point, got an array \(1,\)",
        ),
        (lambda mus: np.ones(0), r"got an array \(0,\)"),
        (lambda mus: np.ones((2, 1)), r"got an array \(2, 1\)"),
        (lambda mus: np.ones(2) + 1j, r"got an array \(2,\) of complex128"),
        (lambda mus: 1.0, "got float"),
    ],
)
def test_what_a_bound_of_ones_own_returns_is_checked(made: Callable[[Any], Any], message: str) -> None:
    class Own:
        kind = "own"

        def __call__(self, mus: Any, theta: Any) -> Any:
            return made(mus)

    reduced = rbm.project(model(Own()), np.eye(40)[:, :2])
    for call in (reduced.solve, reduced.estimate, lambda mus: reduced.estimate(mus, np.ones((2, 2)))):
        with pytest.raises(rbm.StabilityError, match=message):
            call([[3.0], [7.0]])


def test_a_coefficient_function_with_an_attribute_kind_is_a_coefficient() -> None:
    def beta(mus: np.ndarray) -> np.ndarray:
        return np.full(len(mus), 0.5)

    beta.kind = "lower"  # type: ignore[attr-defined]
    assert rbm.project(model(beta), np.eye(40)[:, :2]).solve([1.0]).bound[0] > 0


def test_subclasses_that_compute_something_else_are_not_compiled_as_their_parents() -> None:
    class Tenfold(ReducedLinear):
        kind = "tenfold"

        def bound(self, mus: Any, gamma: Any, error: Any) -> Any:
            return 10 * super().bound(mus, gamma, error)

    class Half(rbm.stability.BoundMinTheta):
        kind = "half"

        def __call__(self, mus: Any, theta: Any) -> Any:
            return super().__call__(mus, theta) / 2

    full = model(rbm.stability.MinTheta(reference=[1.0]))
    plain = rbm.project(full, np.eye(40)[:, :3])
    mus = full.parameters.sample(9)
    output, bound = plain.outputs["mean"], plain.stability
    assert isinstance(output, ReducedLinear)
    assert isinstance(bound, rbm.stability.BoundMinTheta)
    tenfold = Tenfold(output.coefficients, output.vectors, output.dual, output.defects, output.rounding)
    made = replace(plain, outputs={"mean": tenfold}).solve(mus)
    np.testing.assert_allclose(made.output_bounds["mean"], 10 * plain.solve(mus).output_bounds["mean"], rtol=1e-9)
    half = replace(plain, stability=Half(bound.reference, bound.constant, bound.parameters, bound.slack))
    np.testing.assert_allclose(half.solve(mus).bound, 2 * plain.solve(mus).bound, rtol=1e-9)


def test_an_alias_is_not_inherited_and_has_one_owner(tmp_path: Path) -> None:
    @rbm.register("estimator")
    @dataclass(frozen=True)
    class Safe(rbm.estimators.Orthonormal):
        kind: ClassVar[str] = "safe"

    full = model()
    assert rbm.project(full, np.eye(40)[:, :2], ("E_onb",)).method == "orthonormal"

    class Thief(rbm.estimators.Orthonormal):
        kind: ClassVar[str] = "thief"
        alias: ClassVar[str] = "E_onb"

    with pytest.raises(rbm.ModelError, match="the alias 'E_onb' of Thief is that of 'orthonormal'"):
        rbm.register("estimator")(Thief)

    class Unnamed(rbm.estimators.Orthonormal):
        pass

    with pytest.raises(rbm.ModelError, match="which is that of Orthonormal: give it a kind of its own"):
        rbm.project(full, np.eye(40)[:, :2], (Unnamed,)).save(tmp_path / "m.rbm")


def test_arrays_that_a_file_would_change_are_refused(tmp_path: Path) -> None:
    for value in (np.ma.masked_array([1.0, 2.0], [True, False]), "text", [object()], {"a": 1}, None):

        @rbm.register("stability bound")
        class Odd:
            kind = "odd"
            given = value

            def __call__(self, mus: Any, theta: Any) -> Any:
                return np.ones(len(theta))

            def arrays(self) -> dict[str, Any]:
                return {"given": self.given}

            @classmethod
            def from_arrays(cls, arrays: dict[str, Any]) -> Any:
                return cls()

        with pytest.raises(rbm.ModelError, match="'given' of Odd"):
            rbm.project(model(Odd()), np.eye(40)[:, :2]).save(tmp_path / "odd.rbm")
        assert not (tmp_path / "odd.rbm").exists()


def test_an_estimator_may_hold_texts_coefficients_and_the_parameter_space(tmp_path: Path) -> None:
    @rbm.register("estimator")
    @dataclass(frozen=True)
    class Weighted(SumOfSizes):
        kind: ClassVar[str] = "weighted"

        weight: Coefficients
        words: tuple[str, ...]
        space: rbm.ParameterSpace

        @classmethod
        def prepare(cls, reduction: rbm.Reduction, training: np.ndarray) -> Self:
            space = reduction.model.parameters
            return cls(reduction.residual_range.norms, Coefficients(["2 + mu"], space), ("one", "two"), space)

        def arrays(self) -> dict[str, Any]:
            return {"norms": self.norms, "weight": self.weight, "words": self.words, "space": self.space}

        @classmethod
        def from_arrays(cls, arrays: dict[str, Any]) -> Self:
            return cls(**arrays)

    reduced = rbm.project(model(), np.eye(40)[:, :2], (Weighted,))
    reduced.save(tmp_path / "m.rbm")
    again = rbm.load(tmp_path / "m.rbm").estimators["weighted"]
    assert isinstance(again, Weighted)
    assert again.words == ("one", "two")
    assert again.weight.sources == ("2 + mu",)
    assert again.space == reduced.parameters
