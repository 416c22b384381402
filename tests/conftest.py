from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pytest
from models import MODELS
from oracle import Oracle

import rbm


@dataclass(frozen=True, eq=False)
class Case:
    """A greedy basis, 1000 test parameters, and exact residual norms for every basis size."""

    model: rbm.FullOrderModel
    training: np.ndarray
    tests: np.ndarray
    result: rbm.GreedyResult
    oracle: Oracle

    def query(self, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """theta, phi and gamma at the test parameters for the first `size` basis vectors."""
        gamma = self.result.reduced_model.truncate(size).solve(self.tests, estimate=False).coefficients
        return self.model.operator_coefficients(self.tests), self.model.rhs_coefficients(self.tests), gamma

    @lru_cache(maxsize=32)  # noqa: B019 (a handful of cases, for the length of the session)
    def exact(self, size: int) -> np.ndarray:
        """Exact residual norms at the test parameters."""
        return self.oracle.norm(*self.query(size))

    @lru_cache(maxsize=32)  # noqa: B019
    def projected(self, size: int) -> rbm.ReducedModel:
        """The reduced model of the first `size` basis vectors with all five estimators."""
        return rbm.project(self.model, self.result.basis[:, :size], ("E_onb", "E1", "E2", "E3", "E4"), self.training)


@lru_cache(maxsize=8)
def make_case(name: str) -> Case:
    model = MODELS[name]()
    training = model.parameters.sample(1000, "grid" if name == "real" else "sobol")
    tests = model.parameters.sample(1000, "random", seed=1)
    result = rbm.greedy(
        model, training, max_basis=8 if name != "real" else None, estimators=("E_onb", "E1", "E2"), progress=False
    )
    return Case(model, training, tests, result, Oracle(model, result.basis))


@pytest.fixture(scope="session", params=list(MODELS))
def case(request: pytest.FixtureRequest) -> Case:
    return make_case(request.param)


@pytest.fixture(scope="session")
def diffusion() -> Case:
    return make_case("real")
