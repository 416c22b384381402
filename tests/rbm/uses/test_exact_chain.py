"""The chain is the full model's, bit for bit, goes on from its file, and finds out a wrong full model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from helpers.exact_likelihood import beam

import rbm
import rbm.uses.exact_chain as module
from rbm.uses import chain_numbers

STEPS, CHAINS, STEP = 150, 2, 0.12


def question(size: int, complex_valued: bool = False) -> tuple[rbm.FullOrderModel, Any]:
    space = rbm.ParameterSpace({"k": scipy.stats.beta(2, 5, 1, 59), "v": (0.0, 2.0)})
    model = beam(complex_valued=complex_valued, parameters=space)
    reduced = rbm.greedy(model, model.parameters.sample(60), max_basis=size).reduced_model
    turn = (1 - 0.03j) if complex_valued else 1.0
    data = {"mean": (0.083 * turn, 0.01), "at": (np.array([0.36, 0.33]) * turn, 0.04)}
    return model, rbm.posterior(reduced, data)


def full_log_likelihood(model: rbm.FullOrderModel, complex_valued: bool, mus: np.ndarray) -> np.ndarray:
    """Written out, but for constants."""
    u, turn = model.solve(mus), (1 - 0.03j) if complex_valued else 1.0
    mean, at = (model.outputs[name](mus, u) for name in ("mean", "at"))
    made = -(np.abs(0.083 * turn - mean) ** 2) / (2 * 0.01**2)
    for y in (0.36 * turn, 0.33 * turn):
        made = made - np.abs(y - at) ** 2 / (2 * 0.04**2)
    return made


def full_chain(
    model: rbm.FullOrderModel, complex_valued: bool, start: np.ndarray, rng: int, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Metropolis with the full model alone."""
    z, log_u = chain_numbers(rng, steps, len(start), 2)
    prior = model.parameters.prior
    x = prior.unit(start)
    value, path, taken = full_log_likelihood(model, complex_valued, prior.points(x)), [prior.points(x)], []
    for move, u in zip(z, log_u, strict=True):
        y = x + STEP * move
        y = np.where(y < 0, -y, y)
        y = np.where(y > 1, 2 - y, y)  # steps are short of one
        proposed = full_log_likelihood(model, complex_valued, prior.points(y))
        take = u < proposed - value
        x, value = np.where(take[:, None], y, x), np.where(take, proposed, value)
        path.append(prior.points(x))
        taken.append(take)
    return np.array(path), np.array(taken)


@pytest.mark.parametrize(("size", "complex_valued"), [(1, False), (2, False), (4, False), (2, True)])
def test_the_chain_is_that_of_the_full_model(size: int, complex_valued: bool) -> None:
    model, found = question(size, complex_valued)
    start = model.parameters.sample(CHAINS, rng=9)
    chain = found.chain(model, STEPS, start=start, step=STEP, rng=11)
    path, taken = full_chain(model, complex_valued, start, 11, STEPS)
    assert np.array_equal(chain.accepted, taken)
    assert chain.mus == pytest.approx(path, rel=1e-12, abs=1e-12)
    assert chain.tied == 0
    assert 0 < chain.acceptance < 1
    assert (size > 3) <= (chain.truth_solves < 0.02 * STEPS * CHAINS)
    assert chain.truth_solves < 1.5 * STEPS * CHAINS
    assert (chain.truth_solves > 0) == (size < 4)


def test_the_reduced_model_alone_would_make_another_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    model, found = question(1)
    start = model.parameters.sample(CHAINS, rng=9)
    exact = found.chain(model, STEPS, start=start, step=STEP, rng=11)
    plain = type(found)._likelihood

    def sure(self: Any, mus: Any) -> Any:
        made = plain(self, mus)
        return made._replace(low=made.value, high=made.value)

    monkeypatch.setattr(type(found), "_likelihood", sure)
    monkeypatch.setattr(module, "_compare", lambda *_: None)
    other = found.chain(model, STEPS, start=start, step=STEP, rng=11)
    assert other.truth_solves == 0
    assert not np.array_equal(other.accepted, exact.accepted)


def test_solves_fall_as_the_basis_grows() -> None:
    counts = []
    for size in (1, 2, 3, 5):
        model, found = question(size)
        counts.append(found.chain(model, 150, start=[20.0, 1.0], step=STEP).truth_solves)
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > 5 * counts[-1]


def test_the_chain_samples_the_posterior() -> None:
    """Its mean against a fine grid of full solves."""
    model, found = question(5)
    chain = found.chain(model, 1000, chains=8, step=0.2, rng=2)
    axis = (np.arange(24) + 0.5) / 24
    grid = model.parameters.prior.points(np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2))
    weight = np.exp(full_log_likelihood(model, False, grid))
    exact = (weight[:, None] * grid).sum(axis=0) / weight.sum()
    means = chain.mus[200:].mean(axis=0)
    error = means.std(axis=0, ddof=1) / np.sqrt(8)
    assert np.all(np.abs(means.mean(axis=0) - exact) < 4.5 * error)
    assert np.all(error < 0.05 * np.ptp(model.parameters.bounds, axis=1))
    assert chain.samples(200).shape == (801 * 8, 2)


def test_a_chain_goes_on_from_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, found = question(2)
    file = tmp_path / "chain.rbm"
    whole = found.chain(model, 600, chains=2, rng=4)
    found.chain(model, 250, chains=2, rng=4, checkpoint=file)
    asked: list[int] = []
    plain = type(found)._likelihood
    monkeypatch.setattr(type(found), "_likelihood", lambda self, mus: asked.append(len(mus)) or plain(self, mus))
    longer = found.chain(model, 600, chains=2, rng=4, checkpoint=file)
    assert sum(n == 2 for n in asked) == 350  # the first 250 steps were not done again
    for name in ("mus", "accepted", "solves"):
        assert np.array_equal(getattr(longer, name), getattr(whole, name))
    shorter = found.chain(model, 100, chains=2, rng=4, checkpoint=file)
    assert np.array_equal(shorter.mus, whole.mus[:101])
    for options in ({"rng": 5, "chains": 2}, {"rng": 4, "chains": 2, "step": 0.2}, {"rng": 4, "chains": 1}):
        with pytest.raises(rbm.ModelError, match="of another chain"):
            found.chain(model, 600, checkpoint=file, **options)
    other = rbm.posterior(found.reduced, {"mean": (0.083, 0.005)})
    with pytest.raises(rbm.ModelError, match="of another chain"):
        other.chain(model, 600, chains=2, rng=4, checkpoint=file)
    found.reduced.save(file)
    with pytest.raises(rbm.FileFormatError, match="holds a reduced model"):
        found.chain(model, 600, chains=2, rng=4, checkpoint=file)


@pytest.mark.parametrize("after", [1, 3, 7])
def test_an_interrupted_chain_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    model, found = question(1)
    file = tmp_path / "chain.rbm"
    whole = found.chain(model, 120, chains=2, rng=4)
    count, plain = [0], type(model).solve

    def solve(self: Any, mus: Any, **options: Any) -> Any:
        count[0] += 1
        if count[0] == after:
            raise KeyboardInterrupt
        return plain(self, mus, **options)

    monkeypatch.setattr(type(model), "solve", solve)
    with pytest.raises(rbm.Interrupted, match=r"interrupted after \d+ of 120 steps.*goes on from there") as stopped:
        found.chain(model, 120, chains=2, rng=4, checkpoint=file)
    so_far = stopped.value.result
    assert np.array_equal(so_far.mus, whole.mus[: so_far.steps + 1])
    assert so_far.steps < 120
    monkeypatch.setattr(type(model), "solve", plain)
    assert np.array_equal(found.chain(model, 120, chains=2, rng=4, checkpoint=file).mus, whole.mus)


def test_a_wrong_full_model_is_found_out() -> None:
    model, found = question(1)
    other = beam(parameters=model.parameters)
    other.outputs["mean"].terms[0][:] *= 1.5
    with pytest.raises(rbm.ModelError, match="made from another full model"):
        found.chain(other, 400, start=[20.0, 1.0])
    with pytest.raises(rbm.ModelError, match="has the parameters q, the reduced one k, v"):
        found.chain(rbm.FullOrderModel([("q", np.eye(2))], [(1.0, np.ones(2))], np.eye(2), {"q": (1, 2)}, 1.0), 5)
    with pytest.raises(rbm.ModelError, match="13 unknowns, the reduced one was made from 12"):
        found.chain(beam(13, parameters=model.parameters), 5)
    with pytest.raises(rbm.ModelError, match="asks the full model"):
        found.chain(found.reduced, 5)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"steps": 0}, "steps must be a whole number"),
        ({"steps": 5, "chains": 0}, "chains must be a whole number"),
        ({"steps": 5, "rng": -1}, "rng must be a whole number"),
        ({"steps": 5, "step": 0.0}, "step must be positive"),
        ({"steps": 5, "step": [0.1, np.nan]}, "step must be positive"),
        ({"steps": 5, "step": [0.1, 0.1, 0.1]}, r"a number or \(2,\)"),
    ],
)
def test_bad_arguments_are_one_clear_error(options: Any, said: str) -> None:
    model, found = question(1)
    with pytest.raises(rbm.ModelError, match=said):
        found.chain(model, **options)
    with pytest.raises(rbm.ParameterError, match="outside"):
        found.chain(model, 5, start=[70.0, 1.0])


def test_random_numbers_do_not_depend_on_how_many_are_asked_for() -> None:
    z, u = chain_numbers(3, 600, 2, 4)
    first, second = chain_numbers(3, 257, 2, 4)
    assert np.array_equal(first, z[:257])
    assert np.array_equal(second, u[:257])
    assert not np.array_equal(z[0], z[256])
    assert np.all(u <= 0)
    assert u.mean() == pytest.approx(-1.0, abs=0.15)


def test_proposals_are_reflected() -> None:
    x = np.array([-0.25, 1.25, 2.25, -1.5, 0.5, 0.0, 1.0])
    assert module.reflected(x) == pytest.approx([0.25, 0.75, 0.25, 0.5, 0.5, 0.0, 1.0], abs=1e-15)
