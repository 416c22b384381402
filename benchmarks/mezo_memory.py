"""Memory of training a language model, SmolLM2, by differences and by AdamW: ``python -m benchmarks.mezo_memory``.

Every case runs in a fresh process: it makes a network of SmolLM2's sizes (134 515 008 parameters, single precision,
random: memory does not depend on the numbers), then takes one step on so many rows of so many tokens. What is measured
is the largest resident memory from then on (VmHWM, reset), over that of the network. Linux only. Results are kept case
by case in mezo_memory.json; a case that would need more than half of the free memory is left out, and is tried again by
the next run.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.harness import ROOT, machine
from ml.chunks.kept_cases import KeptCases

RESULTS = Path(__file__).with_name("mezo_memory.json")
SMOLLM2: dict[str, Any] = {
    "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
    "num_attention_heads": 9, "num_key_value_heads": 3, "tie_word_embeddings": True, "max_position_embeddings": 8192,
}  # fmt: skip
METHODS = ("inference, all logits", "inference", "mezo", "adamw")
#: Rows and tokens.
SIZES = ((1, 128), (4, 128), (16, 128), (1, 512), (4, 512), (16, 512))
#: What AdamW takes, in bytes, at most: states and gradients, and per token activations.
STATES, TOKEN = 1.7e9, 2e6


def status(key: str) -> int:
    """Return an entry of this process's /proc status in bytes."""
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(f"{key}:"))
    return int(line.split()[1]) * 1024


def free() -> int:
    """Return the bytes that processes can still take."""
    line = next(x for x in Path("/proc/meminfo").read_text().splitlines() if x.startswith("MemAvailable:"))
    return int(line.split()[1]) * 1024


def one(method: str, rows: int, length: int) -> dict[str, float]:
    """Load the network, take one step and return what it took; in a process of its own."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from ml.tuning.sliced_loss import language_model_loss
    from ml.tuning.zeroth_order import mezo

    torch.set_num_threads(1)
    network = LlamaForCausalLM(LlamaConfig(**SMOLLM2)).eval()
    ids = torch.randint(0, SMOLLM2["vocab_size"], (rows, length))
    gc.collect()
    loaded = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    began = time.process_time()
    if method == "adamw":
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-6)
        network(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
    elif method == "mezo":
        mezo(lambda m, step: language_model_loss(m, {"input_ids": ids}, ids), network, steps=1, rate=1e-7, eps=1e-3)
    elif method == "inference":
        language_model_loss(network, {"input_ids": ids}, ids)
    else:
        with torch.no_grad():
            network(input_ids=ids, labels=ids)
    seconds = time.process_time() - began
    return {"loaded": loaded, "growth": status("VmHWM") - loaded, "cpu_seconds": seconds}


def measure(kept: KeptCases) -> dict[str, Any]:
    """Return the results of all cases."""
    found: dict[str, Any] = {}
    for rows, length in SIZES:
        for method in METHODS:
            name = f"{method}, {rows} x {length}"
            if name not in kept.cases and method == "adamw" and STATES + TOKEN * rows * length > free() / 2:
                print(f"{name} is left out: it may need more than half of the free memory", file=sys.stderr)
                continue
            code = "import json; from benchmarks.mezo_memory import one; "
            code += f"print(json.dumps(one({method!r}, {rows}, {length})))"

            def run(code: str = code) -> Any:
                done = subprocess.run(
                    [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
                )
                return json.loads(done.stdout.splitlines()[-1])

            found[name] = kept.case(name, {"method": method, "rows": rows, "length": length}, run)
            print(f"{name}: {found[name]['growth'] / 1e6:.0f} MB", file=sys.stderr, flush=True)
    return found


def table(found: Mapping[str, Any]) -> str:
    """Return growth of memory, in MB, and its ratio to that of ml.mezo."""
    lines = [f"{'rows x tokens':16}" + "".join(f"{m:>24}" for m in METHODS) + f"{'adamw / mezo':>14}"]
    for rows, length in SIZES:
        cells = [found.get(f"{m}, {rows} x {length}") for m in METHODS]
        text = "".join(f"{c['growth'] / 1e6:>24.0f}" if c else f"{'':>24}" for c in cells)
        ratio = f"{cells[3]['growth'] / cells[2]['growth']:14.1f}" if cells[2] and cells[3] else ""
        lines.append(f"{f'{rows} x {length}':16}{text}{ratio}")
    return "\n".join(lines)


if __name__ == "__main__":
    results = measure(KeptCases(RESULTS))
    print(", ".join(f"{key} {value}" for key, value in machine().items()))
    print("growth of resident memory over the loaded network, MB\n" + table(results))
