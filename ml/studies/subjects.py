"""The networks of the study of bits: a classifier of film reviews, a speech encoder, a language model."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lowrank.optional import require
from lowrank.writing import write_atomically
from ml.tasks.classification import Accuracy, answers
from ml.tasks.language_model import perplexity, small_language_model, token_losses, token_rows
from ml.tasks.reviews import ReviewTask, review_task, trained_classifier
from ml.tasks.speech import speech_encoder, spoken_words

__all__ = ["SUBJECTS", "Subject", "content_key", "reference"]

#: Sentences that are not trained on, and those of them that are asked.
HELD_OUT, SENTENCES = 2600, 2000
#: Tokens a row and rows of text; spoken words.
TOKENS, ROWS, WORDS = 256, 32, 200
#: The text that sensitivities are measured on begins so many rows later than that of the perplexity.
APART = 200

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Subject:
    """A network and what is measured of it."""

    name: str
    title: str
    module: Any
    skip: tuple[str, ...]
    batches: tuple[Any, ...]  #: what sensitivities are measured on; none of it is measured below
    answer: Callable[[], Arrays]  #: answers of the network as it is at the time
    compare: Callable[[Arrays, Arrays], dict[str, float]]  #: figures from answers and those of the network at first
    error: str  #: the figure by which quantised networks are ranked, smaller is better
    task: ReviewTask | None = None
    loss: Literal["output", "kl"] = "output"  #: of the sensitivities
    measured: tuple[int, ...] = (0, 2, 3, 4, 6, 8)  #: bits that sensitivities are measured at; 0 drops a weight


def reference(subject: Subject, folder: Path) -> Arrays:
    """Return the answers of the network as it is, read from a file of the folder where they have been computed."""
    path = folder / f"{subject.name}-{content_key(subject)[:16]}.npz"
    if not path.is_file():
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **subject.answer())
        write_atomically(path, buffer.getvalue())
    with np.load(path) as file:
        return dict(file)


def content_key(subject: Subject) -> str:
    """Return what answers and cases depend on as a SHA-256: the network's numbers, its batches, and the title."""
    found = hashlib.sha256(f"{subject.title} {subject.skip} {subject.measured}".encode())
    for name, tensor in subject.module.state_dict().items():
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.detach().cpu().contiguous().double().numpy().tobytes())
    for batch in subject.batches:
        for part in batch.values() if isinstance(batch, dict) else (batch,):
            found.update(np.ascontiguousarray(part).tobytes())
    return found.hexdigest()


def film_review_subject(folder: Path) -> Subject:
    """Return the fine-tuned sentence encoder; its weights are kept in the folder."""
    task = review_task(held_out=HELD_OUT)
    network = trained_classifier(task, folder / "reviews.safetensors")

    def answer() -> Arrays:
        found = answers(network, task, task.held_out[:SENTENCES])
        return {"logits": found.logits, "right": found.right}

    def compare(now: Arrays, first: Arrays) -> dict[str, float]:
        a, b = (Accuracy(x["logits"], x["right"]) for x in (now, first))
        change, error = a.change(b)
        return {
            "accuracy": a.value, "accuracy_se": a.standard_error, "change": change, "change_se": error,
            "logit_error": a.logit_error(b), "logit_error_se": _rms_error(a.logits - b.logits),
        }  # fmt: skip

    batches = [task.batch(task.training[:32])]
    title = f"MiniLM, 22.6M parameters, film reviews, {SENTENCES} held-out sentences"
    skip = ("classifier", "*token_type_embeddings*")
    return Subject("reviews", title, network, skip, tuple(batches), answer, compare, "logit_error", task)


def speech_subject(folder: Path) -> Subject:
    """Return the speech encoder, and 200 spoken words."""
    torch = require("torch", "torch", "the study of bits", "ml")
    encoder, words = speech_encoder(), spoken_words(count=WORDS)

    def answer() -> Arrays:
        with torch.no_grad():
            parts = [encoder(part).last_hidden_state.numpy() for part in words.split(20)]
        return {"output": np.concatenate(parts)}

    def compare(now: Arrays, first: Arrays) -> dict[str, float]:
        off, whole = now["output"].astype(float) - first["output"], first["output"].astype(float)
        each = np.sqrt(np.sum(off**2, (1, 2)) / np.sum(whole**2, (1, 2)))
        return {"output_error": float(np.mean(each)), "output_error_se": float(np.std(each) / np.sqrt(len(each)))}

    batches = tuple(spoken_words(count=24, first=1000).split(12))
    title = f"Whisper tiny.en encoder, 7.7M parameters, {WORDS} spoken words"
    return Subject("speech", title, encoder, (), batches, answer, compare, "output_error")


def language_subject(folder: Path) -> Subject:
    """Return the language model, and 8160 tokens of newspapers to predict."""
    network, tokenizer = small_language_model()
    ids = token_rows(tokenizer, rows=ROWS, length=TOKENS)

    def answer() -> Arrays:
        return {"losses": token_losses(network, ids)}

    def compare(now: Arrays, first: Arrays) -> dict[str, float]:
        off = np.mean(now["losses"] - first["losses"], axis=1)  # a row is one sample: its tokens are not independent
        rows = np.mean(now["losses"], axis=1)
        return {
            "perplexity": perplexity(now["losses"]),
            "perplexity_se": perplexity(now["losses"]) * float(np.std(rows) / np.sqrt(len(rows))),
            "loss_rise": float(np.mean(off)), "loss_rise_se": float(np.std(off) / np.sqrt(len(off))),
        }  # fmt: skip

    batches = ({"input_ids": token_rows(tokenizer, rows=1, length=TOKENS, first=APART)},)
    title = f"SmolLM2-135M-Instruct, {ids.numel()} tokens of newspapers"
    measured = (3, 4, 6)  # 630 passes; with 3 bits nothing is left of it, with 2 even less
    return Subject("language", title, network, (), batches, answer, compare, "loss_rise", None, "kl", measured)


def _rms_error(off: np.ndarray) -> float:
    """Return the standard error of the root of the mean square of rows."""
    squares = np.mean(off**2, axis=1)
    mean = float(np.mean(squares))
    return float(np.std(squares) / np.sqrt(len(squares)) / (2 * np.sqrt(mean))) if mean else 0.0


#: Maker of each subject, the cheapest first.
SUBJECTS: dict[str, Callable[[Path], Subject]] = {
    "speech": speech_subject,
    "reviews": film_review_subject,
    "language": language_subject,
}
