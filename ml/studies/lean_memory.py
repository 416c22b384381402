"""Memory and time of one training step of a transformer, for each way to keep activations; each in a fresh process."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lowrank.optional import require
from ml.tuning.activation_bytes import activation_bytes
from ml.tuning.lean import lean

__all__ = [
    "VARIANTS", "Size", "Variant", "gradient_errors", "in_a_fresh_process", "measure_memory", "measure_time", "network",
]  # fmt: skip

RUNS = 3


@dataclass(frozen=True)
class Size:
    """A network and a batch: 12 heads to 384 channels, feed-forward four times as wide."""

    layers: int = 6
    width: int = 384
    batch: int = 8
    length: int = 128


@dataclass(frozen=True)
class Variant:
    """One way to train: what is trained, and what is kept for it."""

    title: str
    attention: str = "sdpa"  #: "eager" writes the softmax out
    biases: bool = True  #: only these are trained
    lean: dict[str, Any] | None = None  #: options of :func:`ml.lean`
    checkpointing: bool = False


#: In the order of the tables.
VARIANTS = {
    "full_plain": Variant("full, attention written out", "eager", biases=False),
    "full": Variant("full, fused attention", biases=False),
    "bias_plain": Variant("biases, attention written out", "eager"),
    "bias": Variant("biases, fused attention"),
    "codes": Variant("biases, codes, attention written out", "eager", lean={"attention_bits": None}),
    "lean32": Variant("biases, lean, q k v as they are", lean={"attention_bits": 32}),
    "lean16": Variant("biases, lean, q k v in 16 bits", lean={"attention_bits": 16}),
    "lean8": Variant("biases, lean, q k v in 8 bits", lean={}),
    "all8": Variant("biases, prompts, branches, lean, 8 bits", lean={"train": "all"}),
    "given8": Variant("full, lean, all in 8 bits", biases=False, lean={"train": "given", "input_bits": 8}),
    "full_checkpointing": Variant("full, fused, checkpointing", biases=False, checkpointing=True),
    "bias_checkpointing": Variant("biases, fused, checkpointing", checkpointing=True),
}


def network(variant: Variant, size: Size, dropout: float = 0.0) -> Any:
    """Return a BERT with random weights, ready to train. Raises ImportError where transformers is missing."""
    torch = require("torch", "torch", "the study of memory", "ml")
    transformers = require("transformers", "transformers", "the study of memory", "peers")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        hidden_size=size.width, num_hidden_layers=size.layers, num_attention_heads=max(1, size.width // 32),
        intermediate_size=4 * size.width, vocab_size=1000, max_position_embeddings=max(size.length, 512),
        hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout, attn_implementation=variant.attention,
    )  # fmt: skip
    module = transformers.BertModel(config, add_pooling_layer=False).train()
    for name, parameter in module.named_parameters():
        parameter.requires_grad_("bias" in name or not variant.biases)
    if variant.lean is not None:
        lean(module, **variant.lean)
    if variant.checkpointing:
        module.config.use_cache = False
        newer = getattr(module, "activation_checkpointing_enable", None)  # of transformers 5
        (newer or module.gradient_checkpointing_enable)({"use_reentrant": False})
    return module


def token_ids(size: Size) -> Any:
    """Return a batch of random token ids (batch, length)."""
    torch = require("torch", "torch", "the study of memory", "ml")
    return torch.randint(0, 1000, (size.batch, size.length), generator=torch.Generator().manual_seed(1))


def _step(module: Any, size: Size) -> tuple[Callable[[Any], Any], Any]:
    """Return the forward pass, and what its answer is multiplied with to make a loss, after one step on a sentence."""
    torch = require("torch", "torch", "the study of memory", "ml")
    upstream = torch.randn(size.batch, size.length, size.width, generator=torch.Generator().manual_seed(2))

    def forward(ids: Any) -> Any:
        return module(input_ids=ids).last_hidden_state

    (forward(token_ids(size)[:1]) * upstream[:1]).sum().backward()
    module.zero_grad(set_to_none=True)
    gc.collect()
    return forward, upstream


def measure_memory(name: str, size: Size) -> dict[str, Any]:
    """Return bytes that are kept by autograd, resident bytes that forward adds, and the largest ones of a step.

    Resident bytes are those of Linux (None elsewhere), over what is there after a first step on one sentence. Those of
    a step have the gradients of what is trained in them.
    """
    torch = require("torch", "torch", "the study of memory", "ml")
    torch.set_num_threads(1)
    module, ids = network(VARIANTS[name], size), token_ids(size)
    forward, upstream = _step(module, size)
    before = _resident("VmRSS")
    _forget_peak()
    y = forward(ids)
    kept_resident = _difference(_resident("VmRSS"), before)
    loss = (y * upstream).sum()
    del y
    loss.backward()
    peak = _difference(_resident("VmHWM"), before)
    kept = activation_bytes(module, {"input_ids": ids})
    trained = sum(p.numel() for p in module.parameters() if p.requires_grad)
    return {
        "kept": sum(kept.values()), "by_operation": kept, "trained": trained,
        "resident_kept": kept_resident, "resident_peak": peak,
    }  # fmt: skip


def measure_time(name: str, size: Size) -> dict[str, Any]:
    """Return the CPU seconds of a forward and of a backward pass, the fastest of some."""
    torch = require("torch", "torch", "the study of memory", "ml")
    torch.set_num_threads(1)
    module, ids = network(VARIANTS[name], size), token_ids(size)
    forward, upstream = _step(module, size)
    times = []
    for _ in range(RUNS):
        start = time.process_time()
        loss = (forward(ids) * upstream).sum()
        middle = time.process_time()
        loss.backward()
        times.append((middle - start, time.process_time() - middle))
        module.zero_grad(set_to_none=True)
    return {"forward_seconds": min(t[0] for t in times), "backward_seconds": min(t[1] for t in times)}


def in_a_fresh_process(name: str, size: Size) -> dict[str, Any]:
    """Return :func:`measure_memory` and :func:`measure_time` by a new process, which has only imported before.

    While memory is measured, freed blocks of 64 kB go back to the system at once (Linux), which takes time.
    """
    context = multiprocessing.get_context(
        "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else None
    )
    if context.get_start_method() == "forkserver":
        context.set_forkserver_preload(["ml.studies.lean_memory", "transformers.models.bert.modeling_bert"])
    receiver, sender = context.Pipe(False)
    process = context.Process(target=_measure_all, args=(sender, name, size))
    process.start()
    sender.close()
    try:
        result = receiver.recv()
    except EOFError:
        result = f"the process ended with exit status {process.join() or process.exitcode}"
    finally:
        process.join()
    if isinstance(result, str):
        raise RuntimeError(f"the variant {name!r} was not measured: {result}")
    return dict(result)


def _measure_all(sender: Any, name: str, size: Size) -> None:
    """Send all that is measured of a variant, or what went wrong."""
    try:
        _give_back_blocks_of(1 << 16)
        found = measure_memory(name, size)
        _give_back_blocks_of(1 << 25)
        sender.send(found | measure_time(name, size))
    except Exception as error:
        sender.send(f"{type(error).__name__}: {error}")


def _give_back_blocks_of(size: int) -> None:
    """Let freed blocks of this size go back to the system at once; smaller ones are kept for the next to come."""
    try:
        ctypes.CDLL(None).mallopt(-3, size)  # M_MMAP_THRESHOLD
    except (OSError, AttributeError, TypeError):  # not the GNU library: resident bytes are less exact
        return


def gradient_errors(size: Size) -> dict[str, dict[str, float]]:
    """Return errors of lean variants against plain ones: answer, gradient of the input, gradient of what is trained."""
    torch = require("torch", "torch", "the study of memory", "ml")
    x = torch.randn(size.batch, size.length, size.width, generator=torch.Generator().manual_seed(3))
    upstream = torch.randn(x.shape, generator=torch.Generator().manual_seed(2))

    def gradients(variant: Variant) -> tuple[Any, Any, Any]:
        module, given = network(variant, size), x.clone().requires_grad_()
        y = module(inputs_embeds=given).last_hidden_state
        (y * upstream).sum().backward()
        parts = {n: p.grad.flatten() for n, p in module.named_parameters() if p.grad is not None and "lean_" not in n}
        return y.detach(), given.grad.flatten(), parts

    exact = {b: gradients(Variant("", biases=b)) for b in (True, False)}
    found = {}
    for name in ("codes", "lean32", "lean16", "lean8", "given8"):
        variant = VARIANTS[name]
        y, dx, parts = gradients(variant)
        y0, dx0, parts0 = exact[variant.biases]
        p, p0 = (torch.cat([part[n] for n in parts0]) for part in (parts, parts0))
        found[name] = {
            "answer": _off(y, y0), "input": _off(dx, dx0), "input_cosine": _cosine(dx, dx0),
            "trained": _off(p, p0), "trained_cosine": _cosine(p, p0),
        }  # fmt: skip
    return found


def _off(a: Any, b: Any) -> float:
    return float((a - b).norm() / b.norm())


def _cosine(a: Any, b: Any) -> float:
    return float(a.double() @ b.double() / (a.double().norm() * b.double().norm()))


def _resident(which: str) -> int | None:
    """Return VmRSS or VmHWM (the peak) in bytes."""
    try:
        text = Path("/proc/self/status").read_text()
        return 1024 * next(int(line.split()[1]) for line in text.splitlines() if line.startswith(which))
    except (OSError, StopIteration):
        return None


def _forget_peak() -> None:
    """Let the peak begin anew, where Linux allows it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _difference(after: int | None, before: int | None) -> int | None:
    return None if after is None or before is None else after - before
