"""Keyword clips: drawn with a seed, speakers apart, kept in a file."""

import dataclasses
import shutil

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from ml.tasks import keywords
from ml.tasks.classification import answers, batches, draws, train

needs_speech = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="apt-get install espeak-ng")


@needs_speech
def test_clips_follow_their_seed_and_speakers_are_held_out(tmp_path, monkeypatch):
    options = {"words": ("bat", "pat", "mat"), "training": 12, "held_out": 6}
    task = keywords.keyword_task(tmp_path, **options)
    assert task.features.shape == (18, 80, 60)
    assert np.all(np.isfinite(task.features))
    assert not set(task.voices[task.training]) & set(task.voices[task.held_out])
    np.testing.assert_array_equal(np.bincount(task.labels), [6, 6, 6])
    again = keywords.keyword_task(None, **options)
    other = keywords.keyword_task(None, **options, rng=1)
    np.testing.assert_array_equal(again.features, task.features)
    assert not np.array_equal(other.features, task.features)
    clean = keywords.keyword_task(None, **options, noise=False)
    assert np.mean(clean.features == clean.features.min((1, 2), keepdims=True)) > 2 * np.mean(
        task.features == task.features.min((1, 2), keepdims=True)
    )  # silence around the words
    monkeypatch.setattr(keywords, "spoken", None)  # nothing is spoken anew
    kept = keywords.keyword_task(tmp_path, **options)
    for field in dataclasses.fields(task):
        np.testing.assert_array_equal(getattr(kept, field.name), getattr(task, field.name))
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"truncated|damaged"):
        keywords.keyword_task(tmp_path, **options)


def test_too_few_clips_are_refused():
    with pytest.raises(
        ValueError, match="12 words: training and held_out must be at least as many clips, got 100 and 5"
    ):
        keywords.keyword_task(training=100, held_out=5)


def test_speakers_are_different_and_drawn():
    assert len(set(keywords.speakers())) == len(keywords.speakers()) > 400
    voices = [speaker.partition("+")[2] for speaker in keywords.speakers()]
    assert voices[:7] == [voices[0]] * 7  # with every accent
    assert sorted(keywords.speakers(1)) == sorted(keywords.speakers(0))
    assert keywords.speakers(1) != keywords.speakers(0)


def tiny_task() -> keywords.KeywordTask:
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 3
    features = rng.standard_normal((90, 80, 60)) + 2.0 * (np.arange(80)[:, None] % 3 == labels[:, None, None])
    return keywords.KeywordTask(
        ("a", "b", "c"), features.astype(np.float16), labels, labels, np.arange(60), np.arange(60, 90)
    )


def test_a_tiny_encoder_learns_what_can_be_heard():
    import torch
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = WhisperConfig(
        d_model=16, encoder_layers=1, encoder_attention_heads=2, encoder_ffn_dim=32, max_source_positions=30
    )
    task = tiny_task()
    network = keywords.keyword_classifier(3, encoder=WhisperEncoder(config))
    assert answers(network, task, task.held_out).logits.shape == (30, 3)
    losses = train(network, task, steps=40, batch_size=12, learning_rate=3e-3)
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])
    assert answers(network, task, task.held_out).value > 0.9
    parts = [part for part, _ in batches(task, task.held_out, 7)]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), task.held_out)


def test_a_human_speaker_says_ten_digits():
    if not keywords.HUMAN.is_dir():
        pytest.skip("apt-get install asterisk-core-sounds-en-wav")
    task = keywords.human_digits()
    assert task.features.shape == (10, 80, 60)
    assert len(task.training) == 0
    np.testing.assert_array_equal(task.held_out, np.arange(10))


def test_without_the_recordings_the_line_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(keywords, "HUMAN", tmp_path)
    with pytest.raises(ImportError, match="apt-get install asterisk-core-sounds-en-wav"):
        keywords.human_digits()


def test_a_task_without_training_samples_is_refused():
    task = dataclasses.replace(tiny_task(), training=np.arange(0))
    with pytest.raises(ValueError, match="no samples to be trained on: hold out fewer"):
        next(draws(task, 4, np.random.default_rng(0)))
