"""LoRA of rank 8 in the keys of the last layers, by differences on one core: ``python -m benchmarks.mezo_layers``.

What goes into a layer below which nothing is trained is computed once and kept, so that a step costs the layers above
it alone. Keys get b_r a_r^T x, r = 1 .. 8: b_r, in B, comes from the mean query q of the layer, which is seen without
labels: its twelve heads times cos(pi r (h + 1/2) / 12), halved for r > 0. Every token then looks more at tokens x with
a large a_r^T x. A is trained from zero, as A = C diag(w) U^T with the principal axes U of the layer's inputs and
w_i = min(1, lambda_i / lambda_8)^{1/2}: a move of C goes mostly along the first axes, where the gradient stands out of
the noise of a batch. Layer by layer, the last one first, below the head of benchmarks/mezo_reviews.py. Runs write
their logs to out/mezo_reviews and go on from them; results are kept case by case in mezo_reviews.json.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import machine
from benchmarks.mezo_limits import SENTENCES, against, best_by_gradients, by_gradients, noise
from benchmarks.mezo_reviews import HEAD, LOGS, RESULTS, head_by_differences, shorter
from benchmarks.mezo_tail import RANK, Tail, asked, line, states
from ml.chunks.kept_cases import KeptCases
from ml.studies.mezo_cases import mcnemar
from ml.tasks.reviews import ReviewTask, review_task
from ml.tuning.zeroth_order import mezo, replay

#: The axis from which on moves are as large as those along it.
CUT, EPS = 8, 0.1
SEEDS = 3
#: AdamW on the same A, and the head with them: steps of 32 sentences, rates of which the validation chooses.
ADAMW: dict[str, Any] = {"steps": 320, "batch": 32, "rates": [5e-4, 2e-3]}
#: AdamW on A and B elsewhere: what LoRA of rank 8 there is able to do.
ELSEWHERE = (((5,), ("query", "key")), ((5,), ("value", "out")))
RATE = 4e-3


@dataclass(frozen=True)
class Stage:
    """A run of :func:`ml.mezo` on A of one layer, with a rate that falls linearly to zero."""

    layer: int
    steps: int
    batch: int
    rate: float


STAGES = (Stage(5, 150, 256, 3.0), Stage(4, 100, 256, 3.0))
LAYERS = (4, 5)


def axes(inputs: np.ndarray, query: float) -> np.ndarray:
    """Return diag(w) U^T (384, 384) of a layer's inputs, of which every seventh token is looked at.

    query : |q|; w is scaled so that a row of C of normal numbers changes scores by one in the root mean square, as
        their mean over heads is |q|^2 a^T x / (12 32^{1/2})
    """
    some = inputs[::7].astype(np.float64)
    values, vectors = np.linalg.eigh(some.T @ some / len(some))
    values, vectors = values[::-1], vectors[:, ::-1]
    w = np.minimum(1, values / values[CUT]) ** 0.5
    w *= 12 * 32**0.5 / (query**2 * np.sum(w**2 * values) ** 0.5)
    return np.asarray(w[:, None] * vectors.T, dtype=np.float32)


def by_differences(task: ReviewTask, seed: int) -> dict[str, Any]:
    """Train A layer by layer; return accuracies after every stage, on the validation and on what is held out."""
    import torch

    head, inputs, training = head_by_differences(task), states(task, LAYERS), shorter(task).training
    trained: dict[int, np.ndarray] = {}
    rows: list[dict[str, Any]] = []
    for number, stage in enumerate(STAGES):
        tail = Tail(task, min(s.layer for s in STAGES[: number + 1]), head, inputs)
        for layer, a in trained.items():
            tail.put(layer, a)
        if not rows:
            rows.append(asked(tail, task))
        scaled, moved = axes(inputs[stage.layer], tail.mean_queries[stage.layer]), np.zeros((RANK, 384), np.float32)

        def loss(
            c: list[np.ndarray], step: int, stage: Stage = stage, tail: Tail = tail, scaled: Any = scaled
        ) -> float:
            tail.put(stage.layer, c[0] @ scaled)
            which = np.random.default_rng([seed, stage.layer, step]).choice(training, stage.batch, replace=False)
            with torch.inference_mode():
                return float(tail.loss(which))

        mezo(loss, [moved], steps=stage.steps, rate=stage.rate, eps=EPS, schedule="linear",
             rng=10 * seed + stage.layer, log=_log(seed, number), stop=_tell)  # fmt: skip
        trained[stage.layer] = moved @ scaled
        tail.put(stage.layer, trained[stage.layer])
        rows.append({"layer": stage.layer, **asked(tail, task)})
        print(f"  seed {seed}, layer {stage.layer}: {line(rows[-1])}", file=sys.stderr, flush=True)
    return {"trained": 770 + len(trained) * RANK * 384, "nbytes": 16 * (HEAD.steps + sum(s.steps for s in STAGES)),
            "stages": rows, **{k: rows[-1][k] for k in ("held_out", "right")},
            "against_head": mcnemar(*(np.array(list(r["right"])) == "1" for r in (rows[0], rows[-1])))}  # fmt: skip


def _log(seed: int, number: int) -> Path:
    """Return the path of the log of a stage, which depends on those before."""
    values = [f"{value:g}" for stage in STAGES[: number + 1] for value in asdict(stage).values()]
    return LOGS / f"keys-{seed}-{'-'.join(values)}.mezo"


def _tell(step: int, value: float) -> bool:
    if step % 25 == 24:
        print(f"  step {step + 1}, loss {value:.3f}", file=sys.stderr, flush=True)
    return False


def measure(say: Callable[[str], None] = print) -> dict[str, Any]:
    """Do what is left to do, and return all results."""
    task, kept = review_task(), KeptCases(RESULTS)
    runs, found = _seeds(task, kept, say), {}
    name = "keys of the last layers, gradients"
    effort = (ADAMW["steps"], ADAMW["batch"])
    found[name] = kept.case(
        name, {**ADAMW, "rank": RANK, "layers": [stage.layer for stage in STAGES]},
        lambda: by_gradients(task, LAYERS, (), ADAMW["rates"], *effort),
    )  # fmt: skip
    for layers, roles in ELSEWHERE:
        name = f"lora in layers {', '.join(map(str, layers))}, {' and '.join(roles)}, gradients"
        found[name] = kept.case(
            name, {**ADAMW, "rank": RANK, "rates": [RATE]},
            lambda layers=layers, roles=roles: by_gradients(task, layers, roles, [RATE], *effort),  # type: ignore[misc]
        )  # fmt: skip
    for name, one in found.items():
        say(f"{name}: {one['trained']} numbers, rate {one['rate']:g}, {line(one)}, held out {one['held_out']:.4f}")
    right, start = _bits(runs), _bits([runs[0]["stages"][0]])
    same = _bits([found["keys of the last layers, gradients"]])
    others = {
        "the head alone": start,
        "AdamW on the same numbers": same,
        "AdamW, LoRA in all layers": best_by_gradients(),
    }
    for what, other in others.items():
        off, half = against(right, other)
        say(f"mean of {len(right)} seeds {right.mean():.4f}, against {what}: {off:+.2f} +- {half:.2f} points (95 %)")
    first = {"stage": asdict(STAGES[0]), "cut": CUT, "eps": EPS, "sentences": SENTENCES}
    for when in ("start", "end"):
        name = f"keys of layer {STAGES[0].layer}, noise at the {when}"
        noisy = kept.case(name, first, lambda when=when: _noise(task, when))  # type: ignore[misc]
        say(f"|g|^2 / E |g_1|^2 at the {when}: " + ", ".join(f"{k} {v:.1e}" for k, v in noisy.items()))
    return found


def _seeds(task: ReviewTask, kept: KeptCases, say: Callable[[str], None]) -> list[dict[str, Any]]:
    given = {"head": asdict(HEAD), "rank": RANK, "cut": CUT, "eps": EPS, "stages": [asdict(s) for s in STAGES]}
    runs = []
    for seed in range(SEEDS):
        name = f"keys of the last layers, differences {seed}"
        runs.append(kept.case(name, {**given, "seed": seed}, lambda seed=seed: by_differences(task, seed)))  # type: ignore[misc]
        one = runs[-1]["against_head"]
        say(f"{name}: {runs[-1]['held_out']:.4f}, gained {one['gained']}, lost {one['lost']}, p {one['p']:.1e}")
    return runs


def _bits(runs: list[dict[str, Any]]) -> np.ndarray:
    return np.array([[c == "1" for c in run["right"]] for run in runs], dtype=float)


def _noise(task: ReviewTask, when: str) -> dict[str, float]:
    """Return the shares of :func:`noise` before and after the first stage of seed 0."""
    stage, head, inputs = STAGES[0], head_by_differences(task), states(task, LAYERS)
    scaled = axes(inputs[stage.layer], Tail(task, stage.layer, head, inputs).mean_queries[stage.layer])
    c = np.zeros((RANK, 384), np.float32)
    if when == "end":
        replay([c], _log(0, 0))
    return noise(task, stage.layer, c @ scaled, scaled)


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    print(", ".join(f"{key} {value}" for key, value in machine().items()))
    measure()
