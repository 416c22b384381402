"""Memory and time of training steps on an NVIDIA GPU: ``python -m benchmarks.gpu_training``.

A transformer with random weights, each way to keep activations of `ml.studies.lean_memory`; a language model of
SmolLM2's sizes by differences and by AdamW. Bytes are those of PyTorch's allocator over the loaded network: kept after
the forward pass, and the largest of a step (which has the gradients of what is trained, not the optimiser's moments;
AdamW's step of the language model has both). Results are kept case by case in gpu_training.json. Without a GPU it says
so in one line.
"""

from __future__ import annotations

import gc
import itertools
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.mezo_memory import SMOLLM2
from ml.chunks.kept_cases import KeptCases
from ml.studies.lean_memory import VARIANTS, Size, network, token_ids
from ml.tuning.sliced_loss import language_model_loss
from ml.tuning.zeroth_order import mezo

RESULTS = Path(__file__).with_name("gpu_training.json")
SIZES = {
    Size(): tuple(VARIANTS),
    Size(layers=12, width=768, batch=32, length=512): (
        *("full", "bias", "lean32", "lean8", "full_checkpointing", "bias_checkpointing"),
    ),
}
#: Rows and tokens of the language model.
ROWS = ((16, 128), (16, 512))
REPEATS = 5


def measure(kept: KeptCases) -> dict[str, Any]:
    """Return the results of all cases."""
    import torch

    device = torch.cuda.get_device_name()
    found = {}
    for rows, length in ROWS:
        for method in ("mezo", "adamw"):
            case = f"SmolLM2 by {method}, {rows} x {length}"
            settings = {"device": device, "rows": rows, "length": length}
            found[case] = kept.case(case, settings, lambda m=method, r=rows, n=length: language_model(m, r, n))  # type: ignore[misc]
            print(case, _said(found[case]), flush=True)
    for size, names in SIZES.items():
        for name in names:
            case = f"{name}, {size.layers} x {size.width}, {size.batch} x {size.length}"
            settings = {"device": device, "variant": name, **asdict(size)}
            found[case] = kept.case(case, settings, lambda name=name, size=size: variant(name, size))  # type: ignore[misc]
            print(case, _said(found[case]), flush=True)
    return found


def _said(row: dict[str, float]) -> str:
    return ", ".join(
        f"{k} {v / 1e6:.1f} MB" if k.startswith("bytes") else f"{k} {1e3 * v:.1f} ms" for k, v in row.items()
    )


def variant(name: str, size: Size) -> dict[str, float]:
    """Return bytes and seconds of a step of a transformer."""
    import torch

    module, ids = network(VARIANTS[name], size).cuda(), token_ids(size).cuda()
    upstream = torch.randn(size.batch, size.length, size.width, device="cuda")

    def forward() -> Any:
        return module(input_ids=ids).last_hidden_state

    def step() -> None:
        (forward() * upstream).sum().backward()
        module.zero_grad(set_to_none=True)

    step()
    before = _allocated()
    y = forward()
    kept = torch.cuda.memory_allocated() - before
    del y
    return {"bytes_kept": kept, **_step(step)}


def language_model(method: str, rows: int, length: int) -> dict[str, float]:
    """Return bytes and seconds of a step of a language model."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    made = LlamaForCausalLM(LlamaConfig(**SMOLLM2)).cuda().eval()
    ids = torch.randint(0, SMOLLM2["vocab_size"], (rows, length)).cuda()
    optimizer = torch.optim.AdamW(made.parameters(), lr=1e-6)

    def by_gradients() -> None:
        made(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    if method == "adamw":
        return _step(by_gradients)
    before, marks = _allocated(), []

    def mark(step: int, value: float) -> bool:
        torch.cuda.synchronize()
        marks.append(time.perf_counter())
        return False

    torch.cuda.reset_peak_memory_stats()
    mezo(
        lambda m, _: language_model_loss(m, {"input_ids": ids}, ids), made, steps=REPEATS + 1, rate=1e-7, eps=1e-3,
        stop=mark,
    )  # fmt: skip
    seconds = min(b - a for a, b in itertools.pairwise(marks))  # the run begins by hashing what it trains
    return {"bytes_largest": torch.cuda.max_memory_allocated() - before, "seconds": seconds}


def _allocated() -> int:
    import torch

    gc.collect()
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    return int(torch.cuda.memory_allocated())


def _step(step: Callable[[], None]) -> dict[str, float]:
    """Return the largest bytes of a step over those before the first, and the seconds of the fastest of some."""
    import torch

    before = _allocated()
    torch.cuda.reset_peak_memory_stats()
    seconds = []
    for _ in range(REPEATS):
        torch.cuda.synchronize()
        start = time.perf_counter()
        step()
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return {"bytes_largest": torch.cuda.max_memory_allocated() - before, "seconds": min(seconds)}


if __name__ == "__main__":
    import torch

    if torch.cuda.is_available():
        measure(KeptCases(RESULTS))
    else:
        print("PyTorch finds no GPU: nothing was measured")
