"""Training with rounded weights: rounding forward, the identity backward, and scales that are trained too."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from lowrank.blocks import blocks_of
from lowrank.optional import require
from lowrank.packing import pack
from lowrank.quantized import Quantized
from ml.quantization.post_training import install, quantized_weight
from ml.quantization.report import QuantizationReport, decoded
from ml.quantization.scheme import Scales, Scheme
from ml.quantization.sites import Site, bits_by_name, checked_module, sites_of

__all__ = ["fake_quantize", "freeze_quantized"]

#: Bits that can be trained: with more, rounding is no obstacle, and integers times scales are no longer exact.
LEAST, MOST = 2, 16


def fake_quantize(
    module: Any,
    bits: int | Mapping[str, int],
    learn_scale: bool = True,
    *,
    gamma: float | Literal["search"] = "search",
    group: int | None = None,
    skip: Sequence[str] = (),
    scales: Scales = "float16",
) -> list[Any]:
    """Let a PyTorch module train with rounded weights, in place; return the new parameters, the logarithms of scales.

    Forward every weight w is q(w) = s clip(round(w / s), -m, m), m = 2^{bits - 1} - 1. Backward, with g the gradient
    with respect to q:

        dL/dw = g where |w / s| <= m, else 0                        (straight through)
        dL/ds = c sum_j g_j (round(t_j) - t_j inside, sign(t_j) m outside), t = w / s, c = (n m)^{-1/2}

    over the n numbers of a scale (Esser et al., Learned step size quantization, 2020). What is trained is log s, so
    that s stays positive and a step of the optimiser changes it by a share of itself: dL/d log s = s dL/ds.

    Train the module as before, with an optimiser made *after* this call, and end with :func:`freeze_quantized`.

    Parameters
    ----------
    module : torch.nn.Module; its weights are parametrised (torch.nn.utils.parametrize): `layer.weight` is q(w), and w
        is `layer.parametrizations.weight.original`. Tied weights stay tied
    bits : 2 to 16; one integer, or {name: integer}
    learn_scale : False: scales stay as they are at the start
    gamma : of the scales at the start; "search" starts from the module that :func:`ml.quantize_module` makes
    group, skip : as there
    scales : type that scales will be stored in; forward they are rounded to it

    Returns
    -------
    list of parameters log s (k,), one for each weight; they are parameters of the module, too

    Raises
    ------
    TypeError, ValueError, ImportError
        as :func:`ml.quantize_module`, and ValueError for bits outside 2 .. 16, for recurrent layers, whose kernels
        read weights by themselves, and for tables with sparse gradients: put them into `skip`. The module is then as
        it was.

    Notes
    -----
    `state_dict` holds all that q(w) depends on; it fits a module with the same bits, groups and type of scales. There
    is no second derivative.
    """
    torch = checked_module(module)
    sites = sites_of(module, skip)
    wanted = bits_by_name(bits, sites)
    sites = [site for site in sites if site.name in wanted]
    for site in sites:
        if not LEAST <= wanted[site.name] <= MOST:
            raise ValueError(f"{site.name}: bits that are trained must be {LEAST} .. {MOST}, got {wanted[site.name]}")
        if any(isinstance(layer, torch.nn.RNNBase) for layer, _ in site.owners):
            raise ValueError(f"{site.name} is of a recurrent layer, which reads weights by itself: put it into skip")
        if any(getattr(layer, "sparse", False) for layer, _ in site.owners):
            raise ValueError(
                f"{site.name} has sparse gradients, which q(w) has not: set sparse=False, or put it into skip"
            )
    made = []
    for site in sites:
        start = quantized_weight(site, wanted[site.name], Scheme(gamma, group, scales=scales))
        made.append(_quantizer_class()(start, site.parameter, learn_scale))
    for site, quantizer in zip(sites, made, strict=True):
        for layer, attribute in site.owners:
            torch.nn.utils.parametrize.register_parametrization(layer, attribute, quantizer, unsafe=True)
    return [quantizer.log_scale for quantizer in made]


def freeze_quantized(module: Any) -> QuantizationReport:
    """End training with rounded weights: the module keeps q(w) as plain weights, and the report has their codes.

    The module answers as it did with :func:`fake_quantize`, bit for bit, and is as :func:`ml.quantize_module` leaves
    it. Copies of it (copy.deepcopy) stay as they are and can be frozen by themselves.

    Raises ValueError for a module that has no such weights, and for weights or scales that training made NaN, infinite
    or zero: the module is then as it was.
    """
    torch = checked_module(module)
    found: dict[int, tuple[Any, dict[Any, tuple[Any, str]], list[str]]] = {}
    for prefix, layer in module.named_modules(remove_duplicate=False):
        for attribute, parametrization in getattr(layer, "parametrizations", {}).items():
            if isinstance(parametrization[0], _quantizer_class()):
                _, owners, names = found.setdefault(id(parametrization[0]), (parametrization, {}, []))
                owners[id(layer), attribute] = (layer, attribute)
                names.append(f"{prefix}.{attribute}".lstrip("."))
    if not found:
        raise ValueError(f"{type(module).__name__} has no weights that ml.fake_quantize has made: call it first")
    sites, codes = [], {}
    for parametrization, owners, names in found.values():
        if len(parametrization) > 1:
            raise ValueError(f"{names[0]} was parametrised once more after ml.fake_quantize: remove that first")
        sites.append(Site(tuple(names), tuple(owners.values()), parametrization.original))
        codes[names[0]] = parametrization[0].quantized(parametrization.original)
        sites[-1].check(decoded(codes[names[0]]))
    for site in sites:
        for layer, attribute in site.owners:
            # a deep copy shares its class with the original, and removing takes the property from the class
            layer.__class__ = type(type(layer).__name__, type(layer).__bases__, dict(vars(type(layer))))
            torch.nn.utils.parametrize.remove_parametrizations(layer, attribute, leave_parametrized=False)
    return install(module, sites, codes)


@functools.cache
def _rounding() -> Any:
    require("torch", "torch", "ml.fake_quantize", "ml")
    import torch

    class StraightThrough(torch.autograd.Function):
        """(w (k, n), s (k, 1), m) -> s clip(round(w / s), -m, m), with the gradients of :func:`fake_quantize`."""

        @staticmethod
        def forward(ctx: Any, w: Any, s: Any, m: int) -> Any:
            t = w / torch.where(s > 0, s, 1.0)  # a scale below its type is zero, and so is the row
            ctx.save_for_backward(t)
            ctx.m = m
            return torch.round(t).clamp(-m, m) * s

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx: Any, g: Any) -> tuple[Any, Any, None]:
            (t,), m = ctx.saved_tensors, ctx.m
            inside = t.abs() <= m
            slope = torch.where(inside, torch.round(t) - t, torch.sign(t) * m)
            return g * inside, (g * slope).sum(1, keepdim=True) / math.sqrt(t.shape[1] * m), None

    return StraightThrough


@functools.cache
def _quantizer_class() -> Any:
    require("torch", "torch", "ml.fake_quantize", "ml")
    import torch

    class FakeQuantizer(torch.nn.Module):
        """Parametrisation of a weight by its rounded values, with trained scales."""

        def __init__(self, start: Quantized, weight: Any, learn: bool) -> None:
            super().__init__()
            self.start, self.bits, self.exponent = start, int(start.units[0]), start.exponent
            self.m = 2 ** (self.bits - 1) - 1
            steps = np.ldexp(np.asarray(start.scales, dtype=np.float64), start.exponent)
            # a row of zeros has no scale: any will do, its codes are zero
            steps = np.where(steps > 0, steps, np.max(steps, initial=0.0) or 1.0)
            kind = torch.float64 if weight.dtype == torch.float64 else torch.float32
            logs = torch.from_numpy(np.log(steps)).to(device=weight.device, dtype=kind)
            self.log_scale = torch.nn.Parameter(logs, requires_grad=learn)

        def get_extra_state(self) -> Any:
            """Return what q(w) depends on besides parameters: bits, bytes of a stored scale, exponent of its unit."""
            return torch.tensor([self.bits, self.start.scales.dtype.itemsize, self.exponent])

        def set_extra_state(self, state: Any) -> None:
            """Take the unit of the scales; raise ValueError for another number of bits or type of the scales."""
            bits, size, exponent = (int(x) for x in state)
            if (bits, size) != (self.bits, self.start.scales.dtype.itemsize):
                raise ValueError(
                    f"the state is of weights with {bits} bits and scales of {size} bytes, the module has {self.bits} "
                    f"and {self.start.scales.dtype.itemsize}: call ml.fake_quantize as it was called then"
                )
            self.exponent = exponent

        def scales(self) -> tuple[Any, Any]:
            """Return the scales as they will be stored, in their unit, and as numbers that have a gradient."""
            log = self.log_scale if self.log_scale.dtype == torch.float64 else self.log_scale.float()
            s = log.exp()
            unit = 2.0**self.exponent
            stored = (s.detach().double() / unit).to(getattr(torch, self.start.scales.dtype.name))
            return stored, s + ((stored.double() * unit).to(s.dtype) - s).detach()

        def forward(self, w: Any) -> Any:
            """Return q(w) in the type of w."""
            _, s = self.scales()
            rows = w.reshape(len(s), -1).to(s.dtype)
            return _rounding().apply(rows, s[:, None], self.m).reshape(w.shape).to(w.dtype)

        def quantized(self, w: Any) -> Quantized:
            """Return the codes of w, whose decoded values are those of `forward`."""
            stored, s = self.scales()
            rows = w.detach().reshape(len(s), -1).to(s.dtype)
            if not bool(torch.isfinite(rows).all()) or not bool((torch.isfinite(stored) & (stored > 0)).all()):
                raise ValueError("training has made weights or scales NaN, infinite or zero: take a smaller step")
            q = torch.round(rows / s.detach()[:, None]).clamp(-self.m, self.m).cpu().numpy().astype(np.int64)
            kind = np.dtype(np.float64 if w.dtype == torch.float64 else np.float32)
            return _from_integers(q, tuple(w.shape), kind, self.start, stored.cpu().numpy(), self.exponent)

    return FakeQuantizer


def _from_integers(
    q: np.ndarray, shape: tuple[int, ...], kind: np.dtype, start: Quantized, scales: np.ndarray, exponent: int
) -> Quantized:
    """Return integers and scales in the layout of the quantised weight that training started from."""
    bits, blocks = int(start.units[0]), blocks_of(shape, 0, start.blocks.group, False)
    lines = (q + 2 ** (bits - 1)).astype(np.uint32).reshape(blocks.lines, -1)
    packed = pack(lines, bits).reshape(-1)
    return Quantized(blocks, kind, start.units, packed, scales, exponent, start.levels)
