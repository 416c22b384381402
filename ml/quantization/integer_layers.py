"""Quantised modules in memory: linear layers through PyTorch's 8-bit kernels where they are faster, tables as codes."""

from __future__ import annotations

import functools
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lowrank.arrays import to_numpy
from lowrank.optional import require
from lowrank.quantized import Quantized
from ml.quantization.report import QuantizationReport, check_report
from ml.quantization.running import checked_batches, run_with
from ml.quantization.sites import checked_module, sites_of

__all__ = ["Int8Layer", "Int8Report", "run_int8"]

#: Repetitions of which the fastest counts; both sides in turns.
REPEATS = 7
#: Most bits of the kernels' weights.
KERNEL_BITS = 8
#: Bytes that the kernels keep of a row besides its integers: scale, offset and sum.
ROW_BYTES = 12


@dataclass(frozen=True)
class Int8Layer:
    """One layer in the table of :func:`run_int8`."""

    name: str
    shape: tuple[int, ...]
    rows: int  #: inputs a call, the median over the batches
    single: float  #: seconds of a call in single precision; NaN for tables of vectors
    int8: float  #: seconds with the 8-bit kernel
    chosen: bool  #: whether the layer runs from its codes now
    bytes_before: int
    bytes_after: int

    @property
    def what(self) -> str:
        """What fell: "faster", "memory only" or "nothing"."""
        return "nothing" if not self.chosen else "faster" if self.int8 < self.single else "memory only"


@dataclass(frozen=True)
class Int8Report:
    """Result of :func:`run_int8`."""

    layers: tuple[Int8Layer, ...]

    @property
    def saved_bytes(self) -> int:
        """Bytes of memory by which the weights are smaller now."""
        return sum(layer.bytes_before - layer.bytes_after for layer in self.layers)

    def table(self) -> str:
        """Return a plain-text table, one line a layer: times, bytes, and what fell."""
        width = max([5, *(len(layer.name) for layer in self.layers)])
        lines = [f"{'layer':{width}} {'shape':>14} {'rows':>6} {'single us':>10} {'int8 us':>9} {'bytes':>11}  falls"]
        for layer in self.layers:
            shape = " x ".join(map(str, layer.shape))
            lines.append(
                f"{layer.name:{width}} {shape:>14} {layer.rows:6} {1e6 * layer.single:10.0f} {1e6 * layer.int8:9.0f} "
                f"{layer.bytes_after:11,}  {layer.what}"
            )
        return "\n".join(lines)


def run_int8(
    module: Any, report: QuantizationReport, batches: Sequence[Any], *, memory: bool = False, skip: Sequence[str] = ()
) -> Int8Report:
    """Run the linear layers of a quantised module through PyTorch's 8-bit kernels where that is faster here, in place.

    Every linear layer of at most 8 bits with one scale a row is timed, on the numbers of inputs it gets from the
    batches: in single precision, and with the kernel that rounds each batch of inputs to 8 bits and multiplies
    integers. It is replaced where the kernel is faster. Embedding tables of at most 8 bits keep their integers and
    decode the rows that are asked for: their memory falls, and the time is a gather either way.

    Parameters
    ----------
    module : on the CPU, quantised; for inference only: what is replaced is no parameter any more
    report : of :func:`ml.quantize_module`, :func:`ml.freeze_quantized` or :func:`ml.load_quantized`
    batches : typical inputs
    memory : replace linear layers where the kernel is not faster, too
    skip : names of weights or layers that stay. Tied weights stay in any case, and so do layers with hooks and those
        of classes derived from torch.nn.Linear and torch.nn.Embedding, which may compute something else

    Returns
    -------
    Int8Report, whose `table()` says where time falls and where memory only

    Raises
    ------
    ValueError
        a module on another device, no batches, a report of another module or of other weights, a module that is itself
        a layer, and one that reads the weights of its layers by itself (transformer layers of PyTorch on their fast
        path): the module is then as it was.
    RuntimeError
        this build of PyTorch has no 8-bit kernels.

    Notes
    -----
    The weights are the integers of the report, exactly. Inputs are rounded once more, to 8 bits of the range of the
    batch (7 on processors without VNNI, where sums of products of 8 bits would be cut off): measured, 1 to 2 % of a
    layer's output, more where few inputs are large. Check the answers.

    Memory is one byte a number, whatever the bits: the kernels know no other width.
    """
    torch = checked_module(module)
    given = checked_batches(batches, "batches")
    if any(p.device.type != "cpu" for p in module.parameters()):
        raise ValueError("PyTorch's 8-bit kernels run on the CPU: move the module there, module.cpu()")
    check_report(module, report)
    by_name = {site.name: site for site in sites_of(module, skip)}
    places: dict[int, tuple[str, Quantized]] = {}
    for name, q in report.weights.items():
        site = by_name.get(name)
        if site is None:  # skipped
            continue
        plain = q.levels == "uniform" and q.blocks.group is None and len(q.units) == 1 and len(q.shape) == 2
        if plain and 0 < int(q.units[0]) <= KERNEL_BITS and len(site.names) == 1 and _replaceable(site.owners[0][0]):
            places[id(site.owners[0][0])] = (name, q)
    if id(module) in places:
        raise ValueError(f"the module is itself a {type(module).__name__}, which cannot replace itself: put it into a "
                         "torch.nn.Sequential")  # fmt: skip
    rows = _rows(module, given, places)
    layers, replaced = [], []
    for parent, attribute, layer in _children(module):
        if id(layer) not in places:
            continue
        name, q = places[id(layer)]
        if isinstance(layer, torch.nn.Embedding):
            new, single, int8, better = _table_class()(layer, q), float("nan"), float("nan"), True
        elif id(layer) in rows:
            new = _linear_class()(layer, q)
            single, int8 = _seconds(layer, new, rows[id(layer)])
            better = int8 < single or memory
        else:
            continue
        if better:
            new.train(layer.training)
            replaced.append((parent, attribute, layer, new))
        before = layer.weight.numel() * layer.weight.element_size()
        each = q.dtype.itemsize if isinstance(layer, torch.nn.Embedding) else ROW_BYTES
        after = layer.weight.numel() + each * len(q.scales) if better else before
        layers.append(Int8Layer(name, q.shape, rows.get(id(layer), 0), single, int8, better, before, after))
    _replace(module, replaced, given[:1])
    return Int8Report(tuple(layers))


def _replaceable(layer: Any) -> bool:
    """Return whether a layer does what its class in torch.nn does, and nothing else."""
    torch = require("torch", "torch", "ml.run_int8", "ml")
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    if "forward" in vars(layer) or any(getattr(layer, name) for name in hooks):
        return False
    return type(layer) in (torch.nn.Linear, torch.nn.Embedding)


def _replace(module: Any, replaced: Sequence[tuple[Any, str, Any, Any]], batches: Sequence[Any]) -> None:
    """Put the new layers into the module; where it does not run with them, put the old ones back and raise."""
    for parent, attribute, _, new in replaced:
        setattr(parent, attribute, new)
    try:
        run_with(module, batches, ())
    except Exception as error:
        for parent, attribute, old, _ in replaced:
            setattr(parent, attribute, old)
        raise ValueError(
            f"the module does not run with 8-bit layers, it may read the weights of its layers by itself ({error}): "
            "put these layers into skip"
        ) from error


def _children(module: Any) -> list[tuple[Any, str, Any]]:
    return [(parent, name, child) for parent in module.modules() for name, child in parent.named_children()]


def _rows(module: Any, batches: Sequence[Any], places: dict[int, Any]) -> dict[int, int]:
    """Return how many inputs layers get in a call, the median over the calls."""
    seen: dict[int, list[int]] = {}

    def hook(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        x = args[0] if args else next(iter(kwargs.values()))
        seen.setdefault(id(layer), []).append(x.numel() // (x.shape[-1] if x.is_floating_point() else 1))

    handles = [m.register_forward_pre_hook(hook, with_kwargs=True) for m in module.modules() if id(m) in places]
    run_with(module, batches, handles)
    return {key: int(np.median(counts)) for key, counts in seen.items()}


def _seconds(layer: Any, new: Any, rows: int) -> tuple[float, float]:
    """Return the smallest seconds of both layers, in turns."""
    torch = require("torch", "torch", "ml.run_int8", "ml")
    generator = torch.Generator().manual_seed(0)  # random numbers of the user go on as they were
    x = torch.randn(rows, layer.in_features, generator=generator).to(layer.weight.dtype)
    best = [np.inf, np.inf]
    with torch.no_grad():
        for repeat in range(REPEATS + 1):
            for k, side in enumerate((layer, new)):
                start = time.perf_counter()
                side(x)
                if repeat:  # the first call is not counted
                    best[k] = min(best[k], time.perf_counter() - start)
    return float(best[0]), float(best[1])


def _vnni() -> bool:
    """Return whether the processor multiplies 8-bit integers into 32-bit sums, without cutting off at 16."""
    torch = require("torch", "torch", "ml.run_int8", "ml")
    check: Callable[[], bool] = getattr(torch.cpu, "_is_vnni_supported", lambda: False)
    return bool(check())


@functools.cache
def _linear_class() -> Any:
    require("torch", "torch", "ml.run_int8", "ml")
    import torch

    class Int8Linear(torch.nn.Module):
        """x W^T + b, W = diag(s) K with 8-bit integers K; x is rounded to 8 bits over the range of the batch."""

        def __init__(self, layer: Any, q: Quantized) -> None:
            super().__init__()
            self.in_features, self.out_features = layer.in_features, layer.out_features
            if torch.backends.quantized.engine in ("none", ""):
                raise RuntimeError("this build of PyTorch has no 8-bit kernels")
            integers = torch.from_numpy(np.asarray(q.integers()).astype(np.int8))
            scales = torch.from_numpy(_scales(q)).double()
            bias = None if layer.bias is None else layer.bias.detach().float().clone()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that these tensors will go away: the kernels stay, tests will tell
                zeros = torch.zeros(len(scales), dtype=torch.int64)
                weight = torch._make_per_channel_quantized_tensor(integers, scales, zeros, 0)
                self.packed = torch.ops.quantized.linear_prepack(weight, bias)
            self.reduce = not _vnni()

        def forward(self, x: Any) -> Any:
            rows = x.reshape(-1, x.shape[-1]).float()  # the kernel takes no vectors
            found = torch.ops.quantized.linear_dynamic(rows, self.packed, self.reduce)
            return found.reshape(*x.shape[:-1], self.out_features).to(x.dtype)

        def extra_repr(self) -> str:
            return f"in_features={self.in_features}, out_features={self.out_features}"

    return Int8Linear


@functools.cache
def _table_class() -> Any:
    require("torch", "torch", "ml.run_int8", "ml")
    import torch

    class Int8Embedding(torch.nn.Module):
        """Rows of an embedding table diag(s) K, decoded when they are asked for: the values of the table to the bit."""

        def __init__(self, layer: Any, q: Quantized) -> None:
            super().__init__()
            self.dtype = layer.weight.dtype
            self.register_buffer("integers", torch.from_numpy(np.asarray(q.integers()).astype(np.int8)))
            self.register_buffer("scales", torch.from_numpy(_scales(q)))

        def forward(self, ids: Any) -> Any:
            rows = torch.nn.functional.embedding(ids, self.integers)  # refuses what is outside the table
            return (rows.to(self.scales.dtype) * self.scales[ids][..., None]).to(self.dtype)

    return Int8Embedding


def _scales(q: Quantized) -> np.ndarray:
    """Return the scales (k,) as numbers of the type of the weight."""
    return np.ldexp(np.asarray(to_numpy(q.scales), dtype=np.float64), q.exponent).astype(q.dtype)
