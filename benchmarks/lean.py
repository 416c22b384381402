"""Training with few bytes of activations: memory, time, gradients, accuracy on film reviews, and a surrogate network.

``python -m benchmarks.lean [bytes] [surrogate] [reviews]``, all by default. Results are kept case by case in lean.json:
a run goes on where the last one stopped; remove the file, or a case in it, to measure anew. About half an hour of one
core; needs transformers, and, for film reviews, what `make material` brings.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import fresh
from ml.chunks.kept_cases import KeptCases
from ml.studies.lean import SMALL, WHOLE, measure, report

RESULTS = Path(__file__).with_name("lean.json")
SURROGATE = {"blocks": [3, 3], "elements": 30, "basis": 20, "samples": 4096, "width": 256, "batch": 512, "steps": 600}
SEEDS = 3


def run() -> dict[str, Any]:
    """All cases that are not kept, in a fresh process with one thread of every library."""
    return {"lean": fresh("benchmarks.lean:measure_all")}


def measure_all(parts: tuple[str, ...] = ("bytes", "surrogate", "reviews")) -> dict[str, Any]:
    """The summary of all cases; what is done is said on standard error."""

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    kept, summary = KeptCases(RESULTS), {}
    if "surrogate" in parts:
        summary["surrogate"] = [
            kept.case(f"surrogate {seed}", SURROGATE, lambda s=seed: surrogate(s)) for seed in range(SEEDS)
        ]
    if {"bytes", "reviews"} & set(parts):
        sizes = WHOLE if "reviews" in parts else SMALL
        summary |= measure(kept, sizes if "bytes" in parts else dataclasses.replace(sizes, variants=()), say)
    return summary


def surrogate(seed: int) -> dict[str, Any]:
    """Curves of losses of a network from conductivities to reduced coefficients, plain and lean, and its bytes.

    All weights are trained; lean keeps inputs of layers in 8 bits and four bits of GELU'. Both start from the same
    weights and see the same batches.
    """
    import torch

    from ml.tuning.activation_bytes import activation_bytes
    from ml.tuning.lean import lean

    torch.set_num_threads(1)
    inputs, targets, scale = (torch.from_numpy(a).float() for a in reduced_solutions())
    held = len(inputs) // 4
    found: dict[str, Any] = {}
    for name in ("plain", "lean"):
        torch.manual_seed(seed)
        width, layers = SURROGATE["width"], [torch.nn.Linear(inputs.shape[1], SURROGATE["width"]), torch.nn.GELU()]
        for _ in range(2):
            layers += [torch.nn.Linear(width, width), torch.nn.GELU()]
        network = torch.nn.Sequential(*layers, torch.nn.Linear(width, targets.shape[1]))
        if name == "lean":
            lean(network, train="given", input_bits=8)
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, SURROGATE["steps"])
        generator, losses = torch.Generator().manual_seed(seed), []
        for _ in range(SURROGATE["steps"]):
            which = held + torch.randint(len(inputs) - held, (SURROGATE["batch"],), generator=generator)
            loss = torch.nn.functional.mse_loss(network(inputs[which]), targets[which])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(float(loss.detach()))
        with torch.no_grad():
            off = (network(inputs[:held]) - targets[:held]) * scale
            error = off.norm(dim=1) / (targets[:held] * scale).norm(dim=1)
        curve = np.exp(np.mean(np.log(np.reshape(losses, (-1, SURROGATE["steps"] // 15))), axis=1))
        kept = activation_bytes(network, inputs[: SURROGATE["batch"]])
        found[name] = {
            "kept": sum(kept.values()), "by_operation": kept, "curve": curve.tolist(), "error": float(error.mean())
        }  # fmt: skip
    return found


def reduced_solutions() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Conductivities in -1 .. 1 (M, 9), coefficients in an orthonormal reduced basis over their deviations, these."""
    import problems
    import rbm

    model = problems.thermal_block(tuple(SURROGATE["blocks"]), SURROGATE["elements"])
    training = model.parameters.sample(300, rng=0)
    reduced = rbm.greedy(model, training, max_basis=SURROGATE["basis"], tol=1e-12).reduced_model
    points = model.parameters.sample(SURROGATE["samples"], rng=1)
    c = np.asarray(reduced.solve(points).coefficients)
    deviation = np.std(c, axis=0)
    x = np.asarray(points, dtype=float)
    return (x - x.mean(0)) / (np.ptp(x, axis=0) / 2), c / deviation, deviation


def table(result: dict[str, Any]) -> str:
    """Memory, time and gradients; film reviews; the surrogate."""
    found = result["lean"]
    lines = [report(found)] if "errors" in found else []
    if "surrogate" in found:
        lines.append(
            "Surrogate of the thermal block, 9 to 20 numbers, 3 layers of 256, batch 512: MB kept, loss, error"
        )
        for seed, row in enumerate(found["surrogate"]):
            for name, part in row.items():
                curve = "  ".join(f"{part['curve'][k]:.2e}" for k in (0, 4, 9, 14))
                lines.append(f"  seed {seed} {name:6}{part['kept'] / 1e6:>8.2f}   {curve}   {part['error']:.4f}")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table({"lean": measure_all(tuple(sys.argv[1:]) or ("bytes", "surrogate", "reviews"))}))
