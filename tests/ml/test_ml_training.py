"""Small corpora, the batches of both tasks, and training: deterministic, interruptible, and it learns."""

from __future__ import annotations

import numpy as np
import pytest

from ml import AlbertConfig
from ml.albert.corpus import IGNORED, MASK, SEPARATOR, SPECIAL, START, UNKNOWN, Corpus, make_batch, make_corpus
from ml.material import docstrings


def counting_corpus(texts: int = 60, words: int = 40, vocabulary: int = 60) -> Corpus:
    """Texts that count: word k is followed by word k + 1, from anywhere."""
    rng = np.random.default_rng(0)
    numbers = (rng.integers(0, vocabulary, (texts, 1)) + np.arange(words)) % vocabulary
    names = tuple(f"w{k}" for k in range(vocabulary))
    return Corpus((*SPECIAL, *names), numbers.ravel() + len(SPECIAL), np.repeat(np.arange(texts), words))


def test_words_are_ordered_by_frequency_then_alphabet_and_rare_ones_are_unknown():
    corpus = make_corpus(["b a b, A2", "c. a"], vocabulary=8)
    assert corpus.words == (*SPECIAL, "a", "b", ",")
    assert corpus.ids.tolist() == [6, 5, 6, 7, 5, UNKNOWN, UNKNOWN, UNKNOWN, 5]
    assert corpus.text.tolist() == [0] * 6 + [1] * 3
    assert corpus.frequencies().tolist() == [0, 3, 0, 0, 0, 3, 2, 1]
    with pytest.raises(ValueError, match="more than the 5 special tokens, got 5"):
        make_corpus(["a"], vocabulary=5)


def test_docstrings_are_those_of_the_source_each_once():
    texts = docstrings(["ml"])
    assert docstrings.__doc__ is not None
    assert any(text.startswith("Return all docstrings of installed packages") for text in texts)
    assert len(set(texts)) == len(texts)
    assert docstrings(["ml"]) == texts
    with pytest.raises(
        ImportError, match="no_such_package are asked for, which is not installed: pip install no_such_package"
    ):
        docstrings(["no_such_package"])


def test_held_out_texts_are_never_trained_on():
    corpus = counting_corpus()
    training, held_out = corpus.split()
    assert set(training.text) | set(held_out.text) == set(range(60))
    assert not set(training.text) & set(held_out.text)
    assert len(set(held_out.text)) == 6


def test_a_batch_is_two_segments_of_one_text_in_either_order():
    """With every masked word put back, row words count up, but for one step back where the segments were swapped."""
    corpus, segment = counting_corpus(), 9
    batch = make_batch(corpus, 2000, segment, np.random.default_rng(1))
    length = 2 * segment + 3
    assert batch.ids.shape == batch.segments.shape == batch.targets.shape == (2000, length)
    assert np.all(batch.ids[:, 0] == START)
    assert np.all(batch.ids[:, [segment + 1, -1]] == SEPARATOR)
    assert np.all(batch.targets[:, [0, segment + 1, length - 1]] == IGNORED)
    assert np.all(batch.segments == (np.arange(length) > segment + 1))
    words = np.where(batch.targets == IGNORED, batch.ids, batch.targets)
    first, second = words[:, 1 : segment + 1], words[:, segment + 2 : -1]
    assert np.all((np.diff(first, axis=1) - 1) % 60 == 0)
    assert np.all((np.diff(second, axis=1) - 1) % 60 == 0)
    gap = (second[:, 0] - first[:, -1]) % 60
    assert np.all(gap == np.where(batch.swapped == 1, (1 - 2 * segment) % 60, 1))
    assert abs(np.mean(batch.swapped) - 0.5) <= 5 * 0.5 / 2000**0.5


def test_masking_covers_what_it_should_in_runs():
    corpus, segment, size = counting_corpus(), 20, 4000
    batch = make_batch(corpus, size, segment, np.random.default_rng(2))
    asked = batch.targets != IGNORED
    assert np.all(np.count_nonzero(asked, axis=1) == 6)  # 15 % of 40
    seen, truth = batch.ids[asked], batch.targets[asked]
    deviation = 5 / asked.sum() ** 0.5
    assert abs(np.mean(seen == MASK) - 0.8) <= deviation
    assert abs(np.mean(seen == truth) - (0.1 + 0.1 / 60)) <= deviation
    runs = np.diff(
        np.concatenate([np.zeros((size, 1), int), asked[:, 1 : segment + 1], np.zeros((size, 1), int)], axis=1).astype(
            int
        ),
        axis=1,
    )
    lengths = np.argwhere(runs == -1)[:, 1] - np.argwhere(runs == 1)[:, 1]
    # single words are commonest and runs of three rarest but for those that meet; none were drawn longer
    counts = np.bincount(lengths, minlength=7)
    assert counts[1] > counts[2] > counts[3] > counts[4:].sum()


def test_batches_depend_on_the_generator_only():
    corpus = counting_corpus()
    first, second, other = (make_batch(corpus, 8, 9, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert all(np.array_equal(getattr(first, n), getattr(second, n)) for n in ("ids", "segments", "targets", "swapped"))
    assert not np.array_equal(first.ids, other.ids)


def test_segments_that_do_not_fit_are_named():
    corpus = counting_corpus()
    for segment, message in ((21, "no text has two segments of 21 words"), (0, "at least 1 word, got 0")):
        with pytest.raises(ValueError, match=message):
            make_batch(corpus, 8, segment, np.random.default_rng(0))


# training


CONFIG = AlbertConfig(vocabulary=65, embedding=12, hidden=32, layers=2, heads=4, positions=32)


@pytest.mark.slow
@pytest.mark.parametrize("embedding", [12, None])
def test_it_learns_to_count_and_the_order_of_numbers(embedding):
    pytest.importorskip("torch")
    from ml.albert.training import train

    config = AlbertConfig(vocabulary=25, embedding=embedding, hidden=32, layers=2, heads=4, positions=32)
    corpus = counting_corpus(texts=300, vocabulary=20)
    result = train(config, corpus, steps=300, batch_size=32, segment=6, learning_rate=3e-3, rng=0, progress=False)
    assert result.stopped == "steps"
    assert result.losses.shape == (300, 2)
    assert result.losses[0, 0] == pytest.approx(np.log(25), rel=0.1)  # guessing
    assert result.losses[0, 1] == pytest.approx(np.log(2), rel=0.5)
    assert result.held_out.token_accuracy > 0.5  # one in twenty by guessing
    assert result.held_out.order_accuracy > 0.9
    assert result.held_out.token_loss < 0.7 * np.log(20)


def test_training_starts_from_the_frequencies_of_the_words():
    """Before the first step the logits are those of the frequencies plus a deviation.

    The deviation is 0.02 E^{1/2}, for dense tables as well.
    """
    pytest.importorskip("torch")
    from ml.albert.training import train

    rng, vocabulary = np.random.default_rng(0), 60
    share = 1 / np.arange(1, vocabulary + 1) ** 1.5
    ids = rng.choice(vocabulary, 4000, p=share / share.sum()) + len(SPECIAL)
    corpus = Corpus((*SPECIAL, *(f"w{k}" for k in range(vocabulary))), ids, np.repeat(np.arange(100), 40))
    known, held_out = corpus.split()
    logarithm = np.log((known.frequencies() + 1) / (known.frequencies() + 1).sum())
    batches = np.random.default_rng(2024)  # those of the evaluation
    targets = np.concatenate([make_batch(held_out, 64, 6, batches).targets.ravel() for _ in range(8)])
    expected = -logarithm[targets[targets != IGNORED]].mean()
    assert expected < 0.8 * np.log(vocabulary)
    for embedding in (12, None):
        config = AlbertConfig(vocabulary=65, embedding=embedding, hidden=32, layers=2, heads=4, positions=32)
        result = train(config, corpus, steps=0, segment=6, progress=False)
        assert result.losses.shape == (0, 2)
        assert result.held_out.token_loss == pytest.approx(expected, abs=0.02 * config.embedding_width**0.5)


def test_the_same_seed_gives_the_same_training_and_another_does_not():
    pytest.importorskip("torch")
    from ml.albert.training import train

    corpus = counting_corpus()
    runs = [train(CONFIG, corpus, steps=5, segment=6, rng=seed, progress=False) for seed in (1, 1, 2)]
    assert np.array_equal(runs[0].losses, runs[1].losses)
    assert runs[0].held_out == runs[1].held_out
    assert not np.array_equal(runs[0].losses, runs[2].losses)
    assert "5 steps, held out" in repr(runs[0])


def test_an_interrupted_training_gives_what_there_is(monkeypatch):
    pytest.importorskip("torch")
    from ml.albert import training

    corpus, made = counting_corpus(), []

    def interrupting(*arguments):
        made.append(1)
        if len(made) == 4:
            raise KeyboardInterrupt
        return make_batch(*arguments)

    monkeypatch.setattr(training, "make_batch", interrupting)
    result = training.train(CONFIG, corpus, steps=50, segment=6, progress=False)
    assert result.stopped == "interrupted"
    assert len(result.losses) == 3
    assert np.isfinite(result.held_out.token_loss)


def test_configs_that_do_not_fit_are_named():
    pytest.importorskip("torch")
    from ml.albert.training import train

    for config in (
        AlbertConfig(vocabulary=66, hidden=32, heads=4),
        AlbertConfig(vocabulary=65, hidden=32, heads=4, positions=8),
    ):
        with pytest.raises(ValueError, match="the corpus has 65 words and rows of 15 tokens in 2 segments"):
            train(config, counting_corpus(), segment=6)
