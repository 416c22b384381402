"""The functions of PyTorch that a lean module replaces while it runs, whoever calls them, and what it leaves alone."""

from __future__ import annotations

import functools
import weakref
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ml.tuning.derivative_code import NAMED, DerivativeCode, derivative_code
from ml.tuning.lean_attention import coded_attention, coded_softmax
from ml.tuning.lean_elementwise import coded_dropout, coded_function
from ml.tuning.lean_linear import coded_linear, frozen_linear
from ml.tuning.lean_multihead import multihead
from ml.tuning.lean_norms import coded_norm
from ml.tuning.lean_packing import CodeTable, row_codes

__all__ = ["Operations", "running"]

#: Nodes that are looked at behind the result of a function that is not known; most have one to four.
MOST_NODES = 16


@functools.cache
def _table(name: str, bits: int) -> CodeTable:
    return CodeTable(derivative_code(name, bits))


@dataclass
class Operations:
    """How each operation is done. Every method has the arguments of the function of PyTorch that it stands for.

    An operation that cannot be done here is done by PyTorch, and `left` says why.
    """

    code_bits: int
    attention_bits: int | None  #: None: attention stays as it is
    input_bits: int  #: of the inputs of trained linear layers; 32: as they are
    codes: Mapping[str, DerivativeCode] = field(default_factory=dict)
    done: Counter[str] = field(default_factory=Counter)  #: calls of the last pass, by operation
    left: dict[str, str] = field(default_factory=dict)  #: what keeps tensors as PyTorch does, and why
    looking: bool = True  #: in the first pass, what is not known is looked at
    _given: Any = None  #: the input that was rounded last: q, k and v have the same one

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_given": None}

    def forget(self) -> None:
        """Let go of the input that was rounded last."""
        self._given = None

    def table(self, name: str) -> CodeTable:
        """Return the code of an elementwise function: a given one, or that for a unit normal."""
        if name not in self.codes:
            return _table(name, self.code_bits)
        tables = self.__dict__.setdefault("_tables", {})
        if name not in tables:
            tables[name] = CodeTable(self.codes[name])
        return tables[name]

    def elementwise(self, name: str, function: Callable[[Any], Any], x: Any) -> Any:
        """Do an elementwise function that has a code."""
        if not x.requires_grad or not x.is_floating_point():
            return function(x)
        self.done[name] += 1
        return coded_function(x, function, self.table(name))

    def linear(self, input: Any, weight: Any, bias: Any = None) -> Any:
        """Stand for torch.nn.functional.linear."""
        from torch.nn import functional

        if weight.dim() != 2:
            self.left["linear"] = "its weight is no matrix"
            return functional.linear(input, weight, bias)
        if not weight.requires_grad:
            if not input.requires_grad and (bias is None or not bias.requires_grad):
                return functional.linear(input, weight, bias)
            self.done["linear, frozen"] += 1
            return frozen_linear(input, weight, bias)
        if self.input_bits == 32:
            self.left["linear, trained"] = "its gradient takes the input; input_bits rounds it"
            return functional.linear(input, weight, bias)
        self.done["linear, trained"] += 1
        known = self._given
        if known is None or known[0]() is not input or known[1] != input._version:
            known = (weakref.ref(input), input._version, row_codes(input.detach(), self.input_bits))
            self._given = known
        return coded_linear(input, weight, bias, *known[2])

    def layer_norm(
        self, input: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5
    ) -> Any:
        """Stand for torch.nn.functional.layer_norm."""
        from torch.nn import functional

        if not any(t is not None and t.requires_grad for t in (input, weight, bias)):
            return functional.layer_norm(input, normalized_shape, weight, bias, eps)
        self.done["layer norm"] += 1
        shape = tuple(normalized_shape)
        return coded_norm(
            input, shape, weight, bias, eps, self.code_bits,
            lambda x, w, b: functional.layer_norm(x, shape, w, b, eps), centred=True,
        )  # fmt: skip

    def rms_norm(self, input: Any, normalized_shape: Any, weight: Any = None, eps: float | None = None) -> Any:
        """Stand for torch.nn.functional.rms_norm."""
        import torch
        from torch.nn import functional

        if not any(t is not None and t.requires_grad for t in (input, weight)):
            return functional.rms_norm(input, normalized_shape, weight, eps)
        self.done["RMS norm"] += 1
        shape, small = tuple(normalized_shape), torch.finfo(input.dtype).eps if eps is None else eps
        return coded_norm(
            input, shape, weight, None, small, self.code_bits,
            lambda x, w, b: functional.rms_norm(x, shape, w, eps), centred=False,
        )  # fmt: skip

    def dropout(self, input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
        """Stand for torch.nn.functional.dropout."""
        from torch.nn import functional

        if not training or not 0 < p < 1 or not input.requires_grad:
            return functional.dropout(input, p, training, inplace)
        if inplace:
            self.left["dropout, in place"] = "it overwrites its input: make the module with inplace=False"
            return functional.dropout(input, p, training, inplace)
        self.done["dropout"] += 1
        return coded_dropout(input, p)

    def softmax(self, input: Any, dim: int | None = None, *rest: Any, dtype: Any = None, **more: Any) -> Any:
        """Stand for torch.softmax and torch.nn.functional.softmax."""
        import torch

        more.pop("_stacklevel", None)

        last = dim is not None and dim % max(input.dim(), 1) == input.dim() - 1
        if not input.requires_grad or not last or rest or more or dtype is not None or input.dim() < 1:
            kind = dtype if dtype is not None else next((r for r in rest if isinstance(r, torch.dtype)), None)
            if input.requires_grad:
                self.left["softmax"] = "not over the last axis, or to another type"
            if dim is None:  # PyTorch chooses the axis by the number of axes, and warns
                return torch.nn.functional.softmax(input, dtype=kind)
            return torch.softmax(input, dim, dtype=kind, **more)
        self.done["softmax"] += 1
        return coded_softmax(input, self.code_bits, lambda x: torch.softmax(x, -1))

    def attention(
        self, query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0, is_causal: bool = False,
        scale: float | None = None, enable_gqa: bool = False,
    ) -> Any:  # fmt: skip
        """Stand for torch.nn.functional.scaled_dot_product_attention."""
        from torch.nn import functional

        given = (query, key, value, attn_mask, dropout_p, is_causal)
        if not any(t.requires_grad for t in (query, key, value)):
            return functional.scaled_dot_product_attention(*given, scale=scale, enable_gqa=enable_gqa)
        why = ""
        if self.attention_bits is None:
            why = "attention_bits is None"
        elif attn_mask is not None and attn_mask.requires_grad:
            why = "its mask has a gradient"
        elif query.dim() not in (3, 4) or not 0 <= dropout_p < 1 or (is_causal and attn_mask is not None):
            why = "of this shape, dropout or mask it is not known"
        elif any(t.shape[: -2 - enable_gqa] != query.shape[: -2 - enable_gqa] for t in (key, value)):
            why = "queries, keys and values are not of one batch and as many heads"
        if why:
            self.left["attention"] = why
            return functional.scaled_dot_product_attention(*given, scale=scale, enable_gqa=enable_gqa)
        self.done["attention"] += 1
        if enable_gqa and key.shape[-3] != query.shape[-3]:
            key, value = (t.repeat_interleave(query.shape[-3] // t.shape[-3], -3) for t in (key, value))
        lead = query.dim() == 3
        if lead:
            query, key, value = (t[None] for t in (query, key, value))
        bits = 32 if self.attention_bits is None else self.attention_bits
        out = coded_attention(query, key, value, attn_mask, dropout_p, is_causal, scale, bits, self.code_bits)
        return out[0] if lead else out

    def multi_head_attention(self, *args: Any, **kwargs: Any) -> Any:
        """Stand for torch.nn.functional.multi_head_attention_forward."""
        from torch.nn import functional

        if self.attention_bits is not None:
            result, why = multihead(self, *args, **kwargs)
            if not why:
                return result
            self.left["multi-head attention"] = why
        else:
            self.left["multi-head attention"] = "attention_bits is None"
        return functional.multi_head_attention_forward(*args, **kwargs)


def _simple(operations: Operations, name: str, function: Any) -> Any:
    """Return the stand-in for an elementwise function, which may be asked to overwrite its input."""
    import torch

    def called(input: Any, inplace: bool = False, **more: Any) -> Any:
        if more:  # out=, for tensors without gradients
            return getattr(torch, name)(input, **more)
        if inplace:
            operations.left[f"{name}, in place"] = "it overwrites its input: make the module with inplace=False"
            return function(input, inplace=True)
        return operations.elementwise(name, function, input)

    return called


def _stand_ins(operations: Operations) -> dict[Any, Callable[..., Any]]:
    """Return what is called in place of each function of PyTorch."""
    import torch
    from torch.nn import functional

    def gelu(input: Any, approximate: str = "none") -> Any:
        name = "gelu" if approximate == "none" else "gelu_tanh"
        return operations.elementwise(name, lambda x: functional.gelu(x, approximate=approximate), input)

    def softplus(input: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
        if beta != 1 or threshold < 20:  # above the threshold its derivative is 1, which the code is not before 20
            operations.left["softplus"] = "beta is not 1, or the threshold is below 20"
            return functional.softplus(input, beta, threshold)
        return operations.elementwise("softplus", lambda x: functional.softplus(x, beta, threshold), input)

    found: dict[Any, Callable[..., Any]] = {
        functional.linear: operations.linear,
        functional.layer_norm: operations.layer_norm,
        functional.rms_norm: operations.rms_norm,
        functional.dropout: operations.dropout,
        functional.scaled_dot_product_attention: operations.attention,
        functional.multi_head_attention_forward: operations.multi_head_attention,
        functional.gelu: gelu,
        functional.softplus: softplus,
    }
    for place in (functional, torch, torch.Tensor):
        found[place.softmax] = operations.softmax
        for name in NAMED:
            if hasattr(place, name) and getattr(place, name) not in found:
                found[getattr(place, name)] = _simple(operations, name, getattr(functional, name))
    return found


def running(operations: Operations, kept: frozenset[int]) -> Any:
    """Return a context in which the functions are replaced.

    kept : addresses of the parameters' memory, which is there anyway
    """
    return _mode_class()(_stand_ins(operations), operations, kept)


@functools.cache
def _mode_class() -> Any:
    import torch
    from torch.overrides import TorchFunctionMode

    class Lean(TorchFunctionMode):
        def __init__(self, stand_ins: Any, operations: Operations, kept: frozenset[int]) -> None:
            super().__init__()
            self.stand_ins, self.operations, self.kept = stand_ins, operations, kept

        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            stand_in = self.stand_ins.get(func)
            if stand_in is not None and torch.is_grad_enabled():
                return stand_in(*args, **(kwargs or {}))
            result = func(*args, **(kwargs or {}))
            if self.operations.looking and isinstance(result, torch.Tensor) and result.grad_fn is not None:
                name = getattr(func, "__name__", str(func))
                if name not in self.operations.left and _keeps(result.grad_fn, args, self.kept):
                    self.operations.left[name] = "it has no code here"
            return result

    return Lean


def _keeps(node: Any, args: Any, kept: frozenset[int]) -> bool:
    """Return whether a function keeps a tensor that is no parameter; its nodes are those before its arguments'."""
    import torch

    inputs = {getattr(a, "grad_fn", None) for a in args}
    waiting, seen = [node], {node}
    while waiting and len(seen) < MOST_NODES:
        node = waiting.pop()
        if node in inputs:
            continue
        for attribute in dir(node):
            if attribute.startswith("_saved_"):
                tensor = getattr(node, attribute, None)
                if not isinstance(tensor, torch.Tensor) or tensor.numel() <= 1:
                    continue
                if tensor.untyped_storage().data_ptr() not in kept:
                    return True
        more = [n for n, _ in node.next_functions if n is not None and n not in seen]
        seen.update(more)
        waiting += more
    return False
