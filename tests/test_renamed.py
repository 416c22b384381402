"""Arguments that had another name: the old one is refused with the new one, and no signature is lost."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers import ROOT

import eim
import lowrank
import ml
import rbm
from problems import reaction_diffusion_1d

A = np.eye(4)
SPACE = rbm.ParameterSpace({"mu": (1.0, 2.0)})
DIFFUSION = reaction_diffusion_1d(10)
OLD: list[tuple[Callable[..., Any], tuple[Any, ...], str, str]] = [
    (lowrank.cross_approximation, (A,), "max_rank", "rank"),
    (lowrank.pod, (A,), "l2_error", "atol"),
    (eim.empirical_interpolation, (A,), "max_rank", "rank"),
    (eim.separate, (np.cos, np.ones(3)), "max_rank", "rank"),
    (ml.factorize_embedding, (A, 2), "metric", "product"),
    (SPACE.sample, (3,), "seed", "rng"),
    (DIFFUSION.verify, (3,), "seed", "rng"),
    (rbm.ReducedModel.sketch, (None,), "seed", "rng"),
    (rbm.stability.Anchored, (), "seed", "rng"),
]


@pytest.mark.parametrize(("function", "given", "old", "new"), OLD, ids=lambda x: getattr(x, "__qualname__", None))
def test_an_old_name_is_refused_with_the_new_one(
    function: Callable[..., Any], given: tuple[Any, ...], old: str, new: str
) -> None:
    with pytest.raises(TypeError, match=rf"\(\) has no argument {old}: its name is now {new}, with the same meaning"):
        function(*given, **{old: 1})
    names = set(inspect.signature(function).parameters)
    assert new in names
    assert old not in names


def test_the_message_names_what_was_called() -> None:
    with pytest.raises(TypeError, match=r"^ParameterSpace\.sample\(\) has"):
        SPACE.sample(3, seed=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"^Anchored\(\) has"):
        rbm.stability.Anchored(seed=1)  # type: ignore[call-arg]


def test_results_unpack_in_the_order_of_their_fields() -> None:
    modes, values, coefficients = lowrank.pod(A)
    np.testing.assert_allclose(modes @ np.diag(values) @ coefficients, A, atol=1e-15)
    basis, triangle, kept, images = lowrank.gram_schmidt(A)
    assert np.array_equal(basis @ triangle, A)
    assert np.array_equal(basis, images)
    assert kept.tolist() == [0, 1, 2, 3]
    ranks, dense, cost, error = ml.allocate_rank([np.array([3.0, 2.0])], [10], 15)
    assert (ranks, dense, cost, error) == ((1,), (False,), 10, 2.0)


def test_bars_are_asked_for_everywhere_but_in_studies_which_are_commands() -> None:
    root = ROOT
    for package in ("lowrank", "eim", "rbm", "problems", "ml"):
        for path in (root / package).rglob("*.py"):
            if "problems/studies" not in path.as_posix():
                assert "progress: bool = True" not in path.read_text(), path.relative_to(root)
