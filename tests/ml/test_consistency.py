"""HaloCheck: identities, scores computed by hand, counts of calls, bad input."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from ml.language.consistency import PairCache, ScorerError, ScorerWarning, halo_check
from ml.language.consistency.halo_check import jackknife_error, pair_mean

#: Each word is a sentence (A. would be an initial); entailment - contradiction of some pairs (premise, hypothesis).
TABLE = {
    ("AA.", "BB."): (0.9, 0.1, 0.0),
    ("AA.", "CC."): (0.0, 0.25, 0.75),
    ("AA.", "DD."): (0.1, 0.4, 0.5),
    ("BB.", "CC."): (0.25, 0.5, 0.25),
    ("BB.", "DD."): (0.0, 0.0, 1.0),
    ("EE.", "CC."): (0.5, 0.5, 0.0),
    ("EE.", "DD."): (0.0, 0.75, 0.25),
    ("BB.", "AA."): (0.5, 0.25, 0.25),
    ("CC.", "AA."): (0.0, 0.0, 1.0),
    ("DD.", "AA."): (0.25, 0.75, 0.0),
    ("CC.", "BB."): (0.0, 1.0, 0.0),
    ("DD.", "BB."): (0.75, 0.25, 0.0),
    ("CC.", "EE."): (1.0, 0.0, 0.0),
    ("DD.", "EE."): (0.0, 0.5, 0.5),
}


def scripted(premise: str, hypothesis: str) -> tuple[float, float, float]:
    return TABLE[premise, hypothesis]


def drawn_scorer(seed: int = 0):
    """Any pair has its own probabilities, drawn when it is first asked for; `scorer.asked` has the pairs."""
    rng, known = np.random.default_rng(seed), {}

    def scorer(premise: str, hypothesis: str) -> np.ndarray:
        scorer.asked.append((premise, hypothesis))
        if (premise, hypothesis) not in known:
            known[premise, hypothesis] = rng.dirichlet([1, 1, 1])
        return known[premise, hypothesis]

    scorer.asked = []
    return scorer


def drawn_answers(rng: np.random.Generator, n: int, words: str = "ABCDEFGH") -> list[str]:
    return [" ".join(f"{w}x." for w in rng.choice(list(words), rng.integers(1, 5))) for _ in range(n)]


def test_two_answers_by_hand() -> None:
    """M = [[0.9, -0.75, -0.4], [1, 0, -1]]: maxima 1, 0, -0.4, mean 0.2; B is in both, and needs no call."""
    found = halo_check(["AA. BB.", "BB. CC. DD."], scripted)
    assert found.matrices[0, 1] == pytest.approx(np.array([[0.9, -0.75, -0.4], [1.0, 0.0, -1.0]]))
    assert found.score == pytest.approx((1 + 0 - 0.4) / 3, abs=1e-15)
    assert (found.n_calls, found.n_identical, found.n_cached) == (5, 1, 0)
    assert found.sentences == (("AA.", "BB."), ("BB.", "CC.", "DD."))
    assert math.isnan(found.standard_error)
    assert np.isnan(found.pairs[1, 0])


def test_three_answers_by_hand() -> None:
    """Pairs: (AA, BB) 0.9; (AA, CC DD) (-0.75 - 0.4) / 2 = -0.575; (B, C D) (0 - 1) / 2 = -0.5."""
    found = halo_check(["AA.", "BB.", "CC. DD."], scripted)
    assert found.pairs[0, 1] == pytest.approx(0.9)
    assert found.pairs[0, 2] == pytest.approx(-0.575)
    assert found.pairs[1, 2] == pytest.approx(-0.5)
    assert found.score == pytest.approx(-0.175 / 3)
    # without 0: -0.5, without 1: -0.575, without 2: 0.9; mean -7/120
    spread = np.array([-0.5, -0.575, 0.9]) - (-0.175 / 3)
    assert found.standard_error == pytest.approx(np.sqrt(2 / 3 * np.sum(spread**2)))


def test_both_directions_by_hand() -> None:
    """Back: (B, A) 0.25; (C D, A) max(-1, 0.25) = 0.25; (C D, B) max(0, 0.75) = 0.75."""
    found = halo_check(["AA.", "BB.", "CC. DD."], scripted, symmetric=True)
    assert found.pairs[1, 0] == pytest.approx(0.25)
    assert found.pairs[2, 0] == pytest.approx(0.25)
    assert found.pairs[2, 1] == pytest.approx(0.75)
    assert found.score == pytest.approx((-0.175 + 1.25) / 6)
    assert found.n_calls == found.n_products == 10


def test_the_maximum_is_over_premises_and_the_mean_over_hypotheses() -> None:
    """The transposed rule would give mean(max(-0.75, -0.4), max(0.5, -0.25)) = 0.05, not (0.5 - 0.25) / 2."""
    found = halo_check(["AA. EE.", "CC. DD."], scripted)
    assert found.score == pytest.approx((0.5 - 0.25) / 2)


@pytest.mark.parametrize("n", [2, 3, 7])
@pytest.mark.parametrize("symmetric", [False, True])
def test_identical_answers_score_exactly_one_without_a_call(n: int, symmetric: bool) -> None:
    """Also where the scorer thinks little of them: it is asked for pairs of different sentences only."""
    exact = halo_check(["It is red."] * n, lambda p, h: pytest.fail("asked"), symmetric=symmetric)
    assert exact.score == 1
    assert (exact.n_calls, exact.n_identical) == (0, n * (n - 1) // 2 * (1 + symmetric))
    assert exact.standard_error == 0 or n == 2
    several = halo_check(["It is red. It is big. It runs."] * n, lambda p, h: (0, 0, 1), symmetric=symmetric)
    assert several.score == 1
    assert several.n_calls == 6
    assert several.n_identical == 3 * n * (n - 1) // 2 * (1 + symmetric)


def test_extremes() -> None:
    texts = ["It is 1.", "It is 2.", "It is 3."]
    assert halo_check(texts, lambda p, h: (0, 0, 1)).score == -1
    assert halo_check(texts, lambda p, h: (0, 1, 0)).score == 0
    assert halo_check(texts, lambda p, h: (1, 0, 0)).score == 1


@pytest.mark.parametrize("seed", range(5))
def test_symmetric_scores_do_not_depend_on_the_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    texts, scorer = drawn_answers(rng, 4), drawn_scorer(seed)
    first = halo_check(texts, scorer, symmetric=True)
    plain = halo_check(texts, scorer)
    moved = []
    for order in itertools.permutations(range(4)):
        other = halo_check([texts[k] for k in order], scorer, symmetric=True)
        assert other.score == pytest.approx(first.score, abs=1e-14)
        assert other.standard_error == pytest.approx(first.standard_error, abs=1e-14)
        assert other.pairs == pytest.approx(first.pairs[np.ix_(order, order)], nan_ok=True)
        moved.append(halo_check([texts[k] for k in order], scorer).score)
    assert np.ptp(moved) > 1e-3  # one direction alone does depend on it
    assert np.mean(moved) == pytest.approx(first.score)
    assert plain.score == pytest.approx(moved[0])


@pytest.mark.parametrize("symmetric", [False, True])
def test_the_score_is_the_mean_over_pairs_of_answers(symmetric: bool) -> None:
    rng = np.random.default_rng(3)
    texts, scorer = drawn_answers(rng, 6), drawn_scorer(3)
    whole = halo_check(texts, scorer, symmetric=symmetric)
    parts = [halo_check([a, b], scorer, symmetric=symmetric).score for a, b in itertools.combinations(texts, 2)]
    assert whole.score == pytest.approx(np.mean(parts), abs=1e-14)
    assert -1 <= whole.score <= 1


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_calls_are_the_products_of_numbers_of_sentences(seed: int, symmetric: bool) -> None:
    rng = np.random.default_rng(seed)
    texts, scorer = drawn_answers(rng, 5), drawn_scorer(seed)
    found = halo_check(texts, scorer, symmetric=symmetric)
    sizes = [len(parts) for parts in found.sentences]
    products = sum(a * b for a, b in itertools.combinations(sizes, 2)) * (1 + symmetric)
    assert found.n_calls + found.n_cached + found.n_identical == found.n_products == products
    assert found.n_calls == len(scorer.asked) == len(set(scorer.asked))
    assert found.n_identical > 0
    assert found.n_cached > 0


def test_without_repetitions_every_product_is_a_call() -> None:
    scorer = drawn_scorer()
    found = halo_check(["A1. A2.", "B1. B2. B3.", "C1."], scorer)
    assert found.n_calls == len(scorer.asked) == 2 * 3 + 2 * 1 + 3 * 1
    assert found.n_cached == found.n_identical == 0


def test_a_cache_saves_calls_and_changes_nothing() -> None:
    texts, scorer, cache = drawn_answers(np.random.default_rng(1), 5), drawn_scorer(1), PairCache()
    first = halo_check(texts, scorer, cache=cache)
    again = halo_check(texts, scorer, cache=cache)
    assert again.n_calls == 0
    assert again.n_cached == first.n_calls + first.n_cached
    assert again.score == first.score == halo_check(texts, scorer).score
    assert len(cache) == first.n_calls


def test_batches_give_what_single_calls_give() -> None:
    single = drawn_scorer(2)

    class Many:
        key = "drawn"
        sizes: list[int] = []  # noqa: RUF012

        def score_pairs(self, pairs):
            self.sizes.append(len(pairs))
            return np.array([single(*pair) for pair in pairs])

    rng = np.random.default_rng(2)
    texts = drawn_answers(rng, 8)
    assert halo_check(texts, Many()).score == halo_check(texts, single).score
    assert max(Many.sizes) == 32


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((0.5, 0.6, -0.1), "contradiction is -0.1"),
        ((1.2, 0.0, -0.2), "entailment is 1.2"),
        ((float("nan"), 0.5, 0.5), "entailment is nan"),
        ((0.5, float("inf"), 0.5), "neutral is inf"),
        ((0.5, 0.1, 0.1), "sum 0.7"),
        ((0.5, 0.5), r"shape \(2,\)"),
        (0.7, r"shape \(\)"),
        ("no", "no numbers"),
        (None, "shape|nan"),
        ([[0.5, 0.5, 0.0]], r"shape \(1, 3\)"),
    ],
)
def test_a_scorer_out_of_range_is_one_error_with_the_pair(answer, said: str) -> None:
    def scorer(premise, hypothesis):
        return answer if hypothesis == "It is blue." else (0, 1, 0)

    with pytest.raises(ScorerError, match=said) as error:
        halo_check(["It is red.", "It is green.", "It is blue."], scorer)
    assert "'It is red.'" in str(error.value)
    assert "'It is blue.'" in str(error.value)
    assert "\n" not in str(error.value)


def test_rounding_beside_the_range_is_let_pass() -> None:
    found = halo_check(["It is red.", "It is green."], lambda p, h: (1 + 1e-8, -1e-8, 0))
    assert found.score == 1


def test_a_batch_of_another_length_is_refused() -> None:
    class Short:
        key = "short"

        def score_pairs(self, pairs):
            return [(0, 1, 0)]

    with pytest.raises(ScorerError, match="1 answers to 3 pairs"):
        halo_check(["AA.", "BB.", "CC."], Short())


@pytest.mark.parametrize(
    ("answers", "kind", "said"),
    [
        ([], ValueError, "two answers at least, got 0"),
        (["It is."], ValueError, "two answers at least, got 1"),
        (["It is.", ""], ValueError, "answer 1 has no text"),
        (["It is.", "So.", " \n... "], ValueError, "answer 2 has no text"),
        ("It is. It was.", TypeError, "list of texts"),
        (["It is.", None], TypeError, "answer 1 is no text but NoneType"),
        (["It is.", b"It was."], TypeError, "bytes"),
        (7, TypeError, "list of texts"),
    ],
)
def test_bad_answers_are_one_error(answers, kind, said: str) -> None:
    with pytest.raises(kind, match=said):
        halo_check(answers, scripted)


def test_something_that_is_no_scorer() -> None:
    with pytest.raises(TypeError, match="a scorer is a function"):
        halo_check(["AA.", "BB."], 3)


def test_what_the_scorer_raises_is_passed_on() -> None:
    def broken(premise, hypothesis):
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError, match="gone"):
        halo_check(["AA.", "BB."], broken)


def test_pairs_that_are_cut_are_said() -> None:
    class Short:
        key = "short"

        def fits(self, premise, hypothesis):
            return len(premise) + len(hypothesis) < 40

        def score_pairs(self, pairs):
            return [(0, 1, 0)] * len(pairs)

    with pytest.warns(ScorerWarning, match="2 of 3 pairs of sentences are longer"):
        found = halo_check(["It is red.", "It is green.", "It is neither red nor green but blue."], Short())
    assert found.n_cut == 2
    halved = halo_check(["It is red.", "It is green.", "It is neither red nor green but blue."], Short(), longest=4)
    assert halved.n_cut == 0
    assert halved.sentences[2] == ("It is neither red", "nor green but blue.")


class Model:
    """A scripted model that keeps what it was asked."""

    def __init__(self, texts: list[str]) -> None:
        self.texts, self.asked = texts, []

    def generate(self, messages, n=1, temperature=0, max_tokens=100, seed=None):
        self.asked.append((messages, n, temperature, max_tokens, seed))
        return self.texts


def test_answers_of_a_model() -> None:
    model = Model(["AA.", "BB.", "CC. DD."])
    found = halo_check((model, "What is it?", 3, 0.7), scripted, max_tokens=20, rng=4)
    assert found.score == halo_check(model.texts, scripted).score
    ((messages, n, temperature, max_tokens, seed),) = model.asked
    assert messages == [{"role": "user", "content": "What is it?"}]
    assert (n, temperature, max_tokens) == (3, 0.7, 20)
    halo_check((model, messages, 3, 0.7), scripted, max_tokens=20, rng=4)
    halo_check((model, messages, 3), scripted, rng=5)
    assert model.asked[1] == model.asked[0]
    assert model.asked[2][2] == 1.0
    assert model.asked[2][4] != seed


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("What?", 1), "n=1"),
        (("What?", 3, 0.0), "temperature above 0"),
        (("What?", 3, float("nan")), "temperature above 0"),
        ((" ", 3), "prompt has no text"),
        (([], 3), "prompt has no text"),
        (("What?", 4), "asked for 4 texts"),
    ],
)
def test_bad_questions_to_a_model(asked, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        halo_check((Model(["AA.", "BB.", "CC."]), *asked), scripted)


def test_the_jackknife_is_that_of_leaving_out_one_by_one() -> None:
    rng = np.random.default_rng(0)
    pairs = rng.uniform(-1, 1, (6, 6))
    pairs[np.tril_indices(6)] = np.nan
    without = []
    for k in range(6):
        rest = np.delete(np.delete(pairs, k, 0), k, 1)
        without.append(np.nanmean(rest))
    spread = np.array(without) - np.mean(without)
    assert jackknife_error(pairs) == pytest.approx(np.sqrt(5 / 6 * np.sum(spread**2)))
    assert pair_mean(pairs) == pytest.approx(np.nanmean(pairs))


@pytest.mark.parametrize(("n", "chance", "most"), [(5, 1 / 3, 3.0), (5, 0.6, 1.8), (40, 0.6, 1.1)])
def test_the_standard_error_is_that_of_other_answers(n: int, chance: float, most: float) -> None:
    """Answers fall into three classes; 0.9 where two are of one, -0.8 else. 4000 draws of n answers.

    The mean of squared jackknife errors is never below the variance of the score (Efron and Stein), and tends to it.
    """
    rng = np.random.default_rng(0)
    kinds = rng.choice(3, (4000, n), p=[chance, (1 - chance) / 2, (1 - chance) / 2])
    pairs = np.where(kinds[:, :, None] == kinds[:, None, :], 0.9, -0.8)
    ratio = np.mean(jackknife_error(pairs) ** 2) / np.var(pair_mean(pairs))
    assert 0.95 < ratio < most
