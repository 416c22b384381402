"""Distributions of parameters: samples follow them, files keep them, and what no box can hold is refused."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from helpers.exact_likelihood import beam

import rbm
import rbm.parameters.distributions as module
from rbm import ParameterError, ParameterSpace
from rbm.affine.fingerprints import digest
from rbm.command_line import main
from rbm.command_line.described_model import training_points
from rbm.command_line.model_description import read_description
from rbm.command_line.template import write_template

BETA = scipy.stats.beta(2, 5, loc=1.0, scale=59.0)
SPACE = ParameterSpace({"k": BETA, "v": (0.0, 2.0)})


@pytest.mark.parametrize("method", ["random", "sobol"])
def test_samples_follow_the_distribution(method: Any) -> None:
    points = SPACE.sample(4096, method, rng=3)
    assert scipy.stats.kstest(points[:, 0], BETA.cdf).pvalue > 1e-3
    assert scipy.stats.kstest(points[:, 1], scipy.stats.uniform(0, 2).cdf).pvalue > 1e-3
    plain = ParameterSpace({"k": (1.0, 60.0), "v": (0.0, 2.0)}).sample(4096, method, rng=3)
    assert scipy.stats.kstest(plain[:, 0], BETA.cdf).pvalue < 1e-9  # the test can fail
    assert np.array_equal(points[:, 1], plain[:, 1])  # parameters without a distribution stay where they were
    assert np.array_equal(SPACE.validate(points), points)
    assert np.array_equal(points, SPACE.sample(4096, method, rng=3))


def test_the_support_is_the_range_and_a_grid_has_quantiles() -> None:
    assert SPACE.bounds.tolist() == [[1.0, 60.0], [0.0, 2.0]]
    grid = SPACE.sample(25, "grid")
    assert np.unique(grid[:, 0]) == pytest.approx(BETA.ppf(np.linspace(0, 1, 5)), rel=1e-14, abs=0)


def test_a_distribution_may_live_on_a_part_of_the_range() -> None:
    space = ParameterSpace({"k": (1.0, 100.0), "v": (0.5, 2.0)}, "log", distributions={"k": scipy.stats.uniform(5, 10)})
    points = space.sample(512)
    assert points[:, 0].min() >= 5
    assert points[:, 0].max() <= 15
    assert np.log2(points[:, 1]).mean() == pytest.approx(0.0, abs=0.01)
    density = np.exp(space.prior.log_density(np.array([[7.0, 1.0], [7.0, 2.0], [4.0, 1.0], [7.0, 3.0]])))
    assert density == pytest.approx([0.1 / np.log(4), 0.05 / np.log(4), 0, 0], rel=1e-14, abs=0)


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_probabilities_and_points_are_each_others_inverse(scale: Any) -> None:
    space = ParameterSpace({"k": BETA, "v": (0.5, 2.0), "one": (3.0, 3.0)}, scale)
    points = space.sample(200, "random")
    assert space.prior.points(space.prior.unit(points)) == pytest.approx(points, rel=1e-12, abs=0)
    x = np.linspace(0.5, 2.0, 20001)
    density = np.exp(space.prior.log_density(np.column_stack([np.full_like(x, 12.0), x, np.full_like(x, 3.0)])))
    assert np.trapezoid(density, x) == pytest.approx(BETA.pdf(12.0), rel=1e-6, abs=0)


def test_repr_equality_pickle_and_digest_tell_distributions_apart() -> None:
    other = ParameterSpace({"k": scipy.stats.beta(2, 6, loc=1.0, scale=59.0), "v": (0.0, 2.0)})
    plain = ParameterSpace({"k": (1.0, 60.0), "v": (0.0, 2.0)})
    assert "k in [1, 60] ~ beta(a=2, b=5, loc=1, scale=59)" in repr(SPACE)
    assert pickle.loads(pickle.dumps(SPACE)) == SPACE
    SPACE.sample(3)
    assert pickle.loads(pickle.dumps(SPACE)) == SPACE
    assert len({digest(s) for s in (SPACE, other, plain)}) == 3
    assert other != SPACE
    assert plain != SPACE
    assert plain.distributions == {}


def test_one_distribution_is_equal_to_itself_however_it_is_written() -> None:
    beta = scipy.stats.beta
    for same in (
        [beta(2, 5, loc=1, scale=9), beta(2, 5, 1, 9), beta(b=5, a=2, scale=9, loc=1), beta(2, scale=9, b=5, loc=1)],
        [beta(2, 5), beta(2, 5, loc=0), beta(2, 5, 0, 1), beta(2, 5, scale=1.0), beta(2, 5, loc=-0.0)],
        [scipy.stats.uniform, scipy.stats.uniform(), scipy.stats.uniform(0, 1)],
    ):
        spaces = [ParameterSpace({"k": one}) for one in same]
        assert all(space == spaces[0] and digest(space) == digest(spaces[0]) for space in spaces)
        assert len({(repr(space), hash(space)) for space in spaces}) == 1
    said = [{"name": "beta", "b": 5, "a": 2, "scale": 1}, {"scale": 1.0, "a": 2.0, "name": "beta", "b": 5.0}]
    first, second = (ParameterSpace({"k": (0, 1)}, distributions={"k": one}) for one in said)
    assert first == second == ParameterSpace({"k": beta(2, 5)})
    assert first != ParameterSpace({"k": beta(5, 2)})
    by_hand = module.Distribution("beta", (("b", 5.0), ("a", 2.0), ("loc", 0.0)))
    assert ParameterSpace({"k": (0, 1)}, distributions={"k": by_hand}) == first


def test_files_of_models_keep_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = beam(parameters=SPACE)
    reduced = rbm.greedy(model, SPACE.sample(30), max_basis=3).reduced_model
    reduced.save(tmp_path / "m.rbm")
    loaded = rbm.load(tmp_path / "m.rbm")
    assert loaded.parameters == SPACE
    assert np.array_equal(loaded.parameters.sample(50), SPACE.sample(50))
    assert main(["info", str(tmp_path / "m.rbm")]) == 0
    assert "beta(a=2, b=5, loc=1, scale=59)" in capsys.readouterr().out


def test_model_files_in_toml_have_them(tmp_path: Path) -> None:
    file = write_template(tmp_path / "rod")
    text = file.read_text()
    line = 'h = {distribution = {name = "beta", a = 2.0, b = 5, loc = 0.5, scale = 4.5}}'
    file.write_text(text.replace("h = [0.5, 5.0]", line))
    made = read_description(file)
    h = scipy.stats.beta(2, 5, 0.5, 4.5)
    assert made.parameters.bounds[1].tolist() == [0.5, 5.0]
    points = training_points(made)
    assert scipy.stats.kstest(points[:, 1], h.cdf).pvalue > 1e-3
    assert scipy.stats.kstest(np.log(points[:, 0]), scipy.stats.uniform(np.log(0.1), np.log(100)).cdf).pvalue > 1e-3
    for wrong, said in (
        ('{range = [1, 2], distribution = {name = "beta", a = 2, b = 5}}', "not inside the range"),
        ('{distribution = {name = "norm"}}', "unbounded"),
        ('{distribution = {name = "nothing"}}', "no continuous distribution"),
        ('{distribution = "beta"}', "as in scipy.stats"),
        ('{distribution = {name = "beta", a = 2, b = 5, c = 1}}', "has no 'c'"),
        ('{scale = "log"}', "or a distribution"),
    ):
        file.write_text(text.replace("h = [0.5, 5.0]", f"h = {wrong}"))
        with pytest.raises(rbm.ModelError, match=rf"line \d+: .*{said}"):
            read_description(file)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (scipy.stats.norm(1, 2), r"unbounded, its support is \[-inf, inf\].*truncnorm"),
        (scipy.stats.gamma(2), "unbounded"),
        (scipy.stats.poisson(3), "discrete"),
        (scipy.stats.multivariate_normal([0, 0]), "several variables: give one distribution for each"),
        (scipy.stats.beta([1, 2], 3), r"shape \(2,\); a parameter is one number"),
        (scipy.stats.beta, "needs a, b"),
        (scipy.stats.beta(-1, 2), "no such shapes"),
        (scipy.stats.uniform(0, -1), "no such scale"),
        (scipy.stats.uniform(0, np.nan), "finite number"),
        (scipy.stats.rv_histogram((np.ones(3), np.arange(4.0))), "no continuous distribution"),
        (scipy.stats.Uniform(a=0, b=1), "no frozen distribution"),
    ],
)
def test_what_no_box_or_file_can_hold_is_refused(wrong: Any, said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        ParameterSpace({"k": wrong})
    with pytest.raises(ParameterError, match=said):
        ParameterSpace({"k": (-9.0, 9.0)}, distributions={"k": wrong})


@pytest.mark.parametrize(
    ("ranges", "given", "said"),
    [
        ({"k": (0, 1)}, {"q": BETA}, "no parameter; they are k"),
        ({"k": (0, 1)}, {"k": scipy.stats.uniform(0, 2)}, "not inside the range"),
        ({"k": BETA}, {"k": BETA}, "another in `distributions`"),
        ({"k": (0, 1)}, scipy.stats.uniform(0, 1), "one for each parameter"),
    ],
)
def test_distributions_must_fit_the_ranges(ranges: Any, given: Any, said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        ParameterSpace(ranges, distributions=given)


def test_one_of_your_own_has_no_name_in_files() -> None:
    class Mine(scipy.stats.rv_continuous):
        def _cdf(self, x: Any) -> Any:
            return x

    with pytest.raises(ParameterError, match="your own called 'beta'"):
        ParameterSpace({"k": Mine(a=0.0, b=1.0, name="beta")()})
