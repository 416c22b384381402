"""Training an ALBERT model on a small text, to compare factorised and dense token tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from lowrank.optional import require
from lowrank.progress import progress_bar
from ml.albert.corpus import IGNORED, UNKNOWN, Batch, Corpus, make_batch
from ml.albert.encoder import Weights, hidden_states, initial_weights, order_logits, token_logits
from ml.albert.parameters import AlbertConfig, albert_parameter_count

__all__ = ["HeldOut", "TrainingResult", "evaluate", "train"]

#: Seed of the held-out batches: the same for all models.
HELD_OUT = 2024
#: Of the steps so many go by until the learning rate is reached; it then falls linearly to zero.
WARM_UP = 0.1
WEIGHT_DECAY = 0.01
#: A dense token table moves so much faster than the other weights: most of its rows are rarely asked for.
TABLE_RATE = 4.0
TABLE = "embeddings.word_embeddings.weight"
BIAS = "predictions.bias"
LONGEST_GRADIENT = 1.0


@dataclass(frozen=True)
class HeldOut:
    """Result of :func:`evaluate`."""

    token_loss: float  #: mean cross-entropy of the words to be predicted
    token_accuracy: float
    order_loss: float  #: the same of the order of two segments, log 2 for guessing
    order_accuracy: float


@dataclass(frozen=True, eq=False)
class TrainingResult:
    """Result of :func:`train`."""

    weights: Weights
    n_parameters: int
    losses: np.ndarray  #: (steps, 2) cross-entropy of words and of the order of segments, of every batch
    held_out: HeldOut  #: after training, on texts that it did not see
    stopped: Literal["steps", "interrupted"]

    def __repr__(self) -> str:
        h = self.held_out
        return (
            f"TrainingResult({self.n_parameters:,} parameters, {len(self.losses)} steps, held out: words "
            f"{h.token_loss:.3f} ({h.token_accuracy:.1%} right), order {h.order_loss:.3f} ({h.order_accuracy:.1%}))"
        )


def train(
    config: AlbertConfig,
    corpus: Corpus,
    *,
    steps: int = 400,
    batch_size: int = 16,
    segment: int = 16,
    learning_rate: float = 1e-3,
    rng: int | np.random.Generator = 0,
    progress: bool = False,
) -> TrainingResult:
    """Train an ALBERT model on nine tenths of the texts, to predict masked words and the order of segments.

    The loss is the sum of both cross-entropies.

    AdamW with warm-up and linear decay; gradients longer than 1 are shortened. A step of AdamW moves every number by
    about the learning rate, and so a logit of the masked-LM head by about E of them: the rate of the token table is 4 H
    / E times that of the rest, for logits to move as fast with a factorised table as with a dense one. The bias of the
    masked-LM head starts at the logarithms of the words' frequencies, so that no table has to learn these. Nothing is
    random but the first weights and the batches, both by `rng`: one result for one thread count. Ctrl-C ends the
    training early and returns the result so far.

    Parameters
    ----------
    config : its vocabulary is that of the corpus; at least 2 segment + 3 positions, two segments
    steps, batch_size, segment : batches of `batch_size` rows of two segments of `segment` words
    progress : show a bar where somebody watches

    Raises
    ------
    ValueError
        a config that does not fit the corpus or the batches.
    ImportError
        PyTorch is not installed, with the line that installs it.

    Notes
    -----
    What it shows, and what it does not: with the defaults, on the docstrings of Python's standard library (V = 8000,
    H = 128, two layers that share their weights, four heads, seeds 0, 1, 2), the held-out cross-entropy of words is

    =========  ==============  ===================  =====
    table      numbers in it   three seeds          mean
    =========  ==============  ===================  =====
    dense      1.02M           5.376, 5.431, 5.356  5.388
    E = 64     0.51M           5.558, 5.383, 5.370  5.437
    E = 32     0.26M           5.413, 5.465, 5.469  5.449
    =========  ==============  ===================  =====

    in 14 to 19 CPU seconds per run; the words' frequencies alone give about 6. Half the table trains as well as all of
    it within the noise of the seeds, which is large; a quarter is behind with every seed, by 0.04 to 0.11. On more text
    (NumPy's docstrings, too) or with H = 256 both are behind by 0.05 to 0.1 with one seed, and by 0.2 to 0.35 with H =
    256, more text and another recipe (bias zero, the rate of the table H / E times the others): the dense table is then
    plainly better. The order of segments is not learned in so few steps (log 2).
    """
    length = 2 * segment + 3
    if config.vocabulary != len(corpus.words) or config.positions < length or config.segments < 2:
        raise ValueError(
            f"the corpus has {len(corpus.words)} words and rows of {length} tokens in 2 segments, the config "
            f"{config.vocabulary}, {config.positions} and {config.segments}; make them fit"
        )
    torch = require("torch", "torch", "ml.train", "ml")
    generator = np.random.default_rng(rng)
    training, held_out = corpus.split()
    weights = initial_weights(config, rng=generator)
    with torch.no_grad():
        weights[BIAS].copy_(torch.from_numpy(_log_frequencies(training)))
    optimizer = torch.optim.AdamW(_groups(weights, config, learning_rate))
    warm = max(1, round(WARM_UP * steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm, (steps - step) / max(steps - warm, 1))
    )
    losses: list[tuple[float, float]] = []
    stopped: Literal["steps", "interrupted"] = "steps"
    try:
        bar = progress_bar(range(steps), "training", enabled=progress)
        for _ in bar:
            words, order, _, _ = _losses(weights, config, make_batch(training, batch_size, segment, generator))
            optimizer.zero_grad(set_to_none=True)
            (words + order).backward()
            torch.nn.utils.clip_grad_norm_(list(weights.values()), LONGEST_GRADIENT)
            optimizer.step()
            schedule.step()
            losses.append((float(words.detach()), float(order.detach())))
            bar.set_postfix_str(f"words {losses[-1][0]:.2f}, order {losses[-1][1]:.2f}")
    except KeyboardInterrupt:
        stopped = "interrupted"
    n_parameters = albert_parameter_count(config, heads=True).total
    result = evaluate(weights, config, held_out, segment=segment)
    return TrainingResult(weights, n_parameters, np.array(losses).reshape(-1, 2), result, stopped)


def _log_frequencies(corpus: Corpus) -> np.ndarray:
    """Return logits (V,) of the words' frequencies, one added to each, of mean zero.

    The unknown word, which is never asked for, counts as not seen.
    """
    counts = corpus.frequencies()
    counts[UNKNOWN] = 0
    logits = np.log(counts + 1.0)
    return logits - logits.mean()


def _groups(weights: Weights, config: AlbertConfig, learning_rate: float) -> list[dict[str, Any]]:
    """Return AdamW's options for every weight.

    Matrices decay, biases and scales do not, and the token table has a learning rate of its own.
    """
    table_rate = TABLE_RATE * config.hidden / config.embedding_width
    return [
        {
            "params": [weight],
            "weight_decay": WEIGHT_DECAY if weight.ndim == 2 else 0.0,
            "lr": learning_rate * (table_rate if name == TABLE else 1.0),
        }
        for name, weight in weights.items()
    ]


def evaluate(
    weights: Weights, config: AlbertConfig, corpus: Corpus, *, batches: int = 8, batch_size: int = 64, segment: int = 16
) -> HeldOut:
    """Return losses and accuracies on batches of a corpus, the same batches for every model."""
    torch = require("torch", "torch", "ml.evaluate", "ml")
    generator = np.random.default_rng(HELD_OUT)
    sums, counts = np.zeros(4), np.zeros(4)
    with torch.no_grad():
        for _ in range(batches):
            batch = make_batch(corpus, batch_size, segment, generator)
            number = int(np.count_nonzero(batch.targets != IGNORED))
            shares = np.array([number, batch_size, number, batch_size])
            sums += shares * [float(x) for x in _losses(weights, config, batch)]
            counts += shares
    token_loss, order_loss, token_accuracy, order_accuracy = (sums / counts).tolist()
    return HeldOut(token_loss, token_accuracy, order_loss, order_accuracy)


def _losses(weights: Weights, config: AlbertConfig, batch: Batch) -> tuple[Any, Any, Any, Any]:
    """Return the cross-entropies of words and of order, and the shares of right answers."""
    torch = require("torch", "torch", "ml.train", "ml")
    arrays = batch.ids, batch.segments, batch.targets, batch.swapped
    ids, segments, targets, swapped = (torch.from_numpy(a) for a in arrays)
    h = hidden_states(weights, config, ids, segments)
    asked = targets != IGNORED  # logits of all V words for these only
    answers, truth = token_logits(weights, h[asked]), targets[asked]
    order = order_logits(weights, h)
    entropy = torch.nn.functional.cross_entropy
    right = [(a.argmax(-1) == b).to(torch.float64).mean() for a, b in ((answers, truth), (order, swapped))]
    return entropy(answers, truth), entropy(order, swapped), *right
