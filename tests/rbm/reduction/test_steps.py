"""Several vectors in one step: the same space, the same guarantees, and the same bits from a file."""

from __future__ import annotations

import numpy as np
import pytest

import rbm
from problems import reaction_diffusion_1d
from rbm.affine.functional_range import FunctionalRange
from rbm.affine.inner_product import InnerProduct
from rbm.reduction import Reduction


@pytest.fixture(scope="module")
def model() -> rbm.FullOrderModel:
    return reaction_diffusion_1d()


@pytest.fixture(scope="module")
def snapshots(model: rbm.FullOrderModel) -> np.ndarray:
    return model.solve(model.parameters.sample(7, rng=0)).T


def grown(model: rbm.FullOrderModel, snapshots: np.ndarray, ends: list[int]) -> Reduction:
    made = Reduction(model)
    made.residual_range.norms  # noqa: B018 - kept up to date from here on
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        assert len(made.extend_many(snapshots[:, start:end])) == end - start
    return made


def state(made: Reduction) -> list[np.ndarray]:
    known = made.residual_range
    return [made.basis, made.operators, made.rhs, known.factor, known.defects, known.gram, known.functionals]


def same(a: Reduction, b: Reduction) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(state(a), state(b), strict=True))


def test_steps_of_several_vectors_have_the_same_range_and_are_as_orthonormal(model, snapshots) -> None:
    one, several = grown(model, snapshots[:, :6], [1, 2, 3, 4, 5, 6]), grown(model, snapshots[:, :6], [3, 6])
    inner, made = model.inner_product, several.residual_range
    left = one.basis - several.basis @ (several.basis.T @ (model.product @ one.basis))
    assert np.all(inner.norm(left) < 1e-6)  # the last snapshots have few digits of their own
    assert inner.orthonormality(several.basis) < 1.1 * inner.orthonormality(one.basis)
    assert made.orthogonality < 1.1 * one.residual_range.orthogonality
    terms = several.residual_terms()
    off = inner.dual_norm(terms - made.functionals @ made.factor)
    assert np.all(off <= made.defects + 1e-13 * made.norms)
    norms = inner.dual_norm(terms)
    assert np.all(made.norms >= norms * (1 - 1e-12))
    np.testing.assert_allclose(made.norms, norms, rtol=1e-9)


@pytest.mark.parametrize("ends", [[1, 2, 3, 4, 5, 6], [4, 6], [1, 3, 6]])
def test_a_basis_that_comes_back_with_its_steps_makes_the_same_bits(model, snapshots, ends) -> None:
    made = grown(model, snapshots[:, :6], ends)
    assert same(made, Reduction(model, made.basis.copy(), sizes=[0, *ends]))
    assert same(made, Reduction(model, made.basis.copy(order="C"), sizes=ends))
    if len(ends) == 6:
        assert same(made, Reduction(model, made.basis))
    else:
        assert not same(made, Reduction(model, made.basis))


def test_vectors_that_depend_on_others_are_left_out(model, snapshots) -> None:
    made = Reduction(model)
    twice = np.concatenate([snapshots[:, :2], snapshots[:, :1] + snapshots[:, 1:2], snapshots[:, 2:3]], axis=1)
    assert sorted(made.extend_many(twice)) == [0, 1, 3]
    assert made.extend_many(snapshots[:, :3]) == []
    assert made.size == 3


@pytest.mark.parametrize("error", [rbm.ModelError, KeyboardInterrupt])
def test_a_step_that_fails_leaves_what_was_there(model, snapshots, error, monkeypatch) -> None:
    """In the last call of the range, when all else has grown already."""
    ends = [2, 4, 6]
    wanted = grown(model, snapshots[:, :6], ends)
    made = grown(model, snapshots[:, :4], ends[:2])
    whole = FunctionalRange._measure_orthogonality

    def fails(self, *arguments):
        whole(self, *arguments)
        raise error("stop")

    monkeypatch.setattr(FunctionalRange, "_measure_orthogonality", fails)
    with pytest.raises(error):
        made.extend_many(snapshots[:, 4:6])
    monkeypatch.undo()
    assert same(made, grown(model, snapshots[:, :4], ends[:2]))
    made.extend_many(snapshots[:, 4:6])
    assert same(made, wanted)


def test_riesz_solves_of_a_step_are_few_calls_with_many_columns(model, snapshots, monkeypatch) -> None:
    made, calls = Reduction(model), []
    _ = made.residual_range
    solve = model.inner_product.factorized()
    monkeypatch.setattr(
        InnerProduct, "factorized", lambda self: lambda rhs: (calls.append(rhs.shape[1]), solve(rhs))[1]
    )
    made.extend_many(snapshots[:, :6])
    terms = 6 * len(model.operator_terms)
    assert calls[0] == terms
    assert calls[-1] == len(made.residual_range.gram) - 1 + terms  # corrections and defects together
    assert len(calls) <= 5


def test_the_deviation_of_a_basis_is_measured_once_for_each_size(model, snapshots, monkeypatch) -> None:
    measured, whole = [], InnerProduct.orthonormality
    monkeypatch.setattr(InnerProduct, "orthonormality", lambda *a: measured.append(a[1].shape[1]) or whole(*a))
    made = Reduction(model)
    for count in (1, 2, 3):
        made.extend(snapshots[:, count - 1])
        assert made.deviation == made.deviation == whole(model.inner_product, made.basis)
    assert measured == [1, 2, 3]
