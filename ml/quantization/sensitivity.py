"""How much the output of a module changes when one weight is rounded: measured, or estimated from gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from lowrank.optional import require
from lowrank.progress import progress_bar
from ml.quantization.post_training import quantized_weight
from ml.quantization.report import decoded
from ml.quantization.running import checked_batches, evaluating, input_squares, output
from ml.quantization.scheme import Scheme
from ml.quantization.sites import Site, checked_module, sites_of

__all__ = ["Gradients", "sensitivity"]

Loss = Literal["output", "kl"] | Callable[[Any, Any], Any]


@dataclass(frozen=True)
class Gradients:
    """Estimate sensitivities from gradients: all weights and bits at once, from `probes` backward passes a batch.

    With random v, E (<v, J delta>)^2 = ||J delta||^2, delta the rounding of the weight and J the derivative of the
    output: unbiased for small delta, with a relative standard deviation of (2 / probes)^{1/2} or less, and too large at
    2 bits where the output saturates. 0 bits are refused: a weight that is dropped is no small change. So are weights
    that no gradient reaches: of them nothing is known.

    Memory: the rounding errors in single precision, as many as weights times numbers of bits.

    Raises ValueError for a number of probes below 1.

    >>> Gradients(probes=16)
    Gradients(probes=16, rng=0)
    """

    probes: int = 8  #: backward passes a batch
    rng: int = 0  #: seed of the random v

    def __post_init__(self) -> None:
        """Check the number of probes."""
        if isinstance(self.probes, bool) or not isinstance(self.probes, int) or self.probes < 1:
            raise ValueError(f"probes must be an integer >= 1, got {self.probes!r}")


def sensitivity(
    module: Any,
    batches: Iterable[Any],
    bits: Sequence[int] = (2, 3, 4, 6, 8),
    loss: Loss = "output",
    method: Literal["forward"] | Gradients = "forward",
    *,
    scheme: Scheme | None = None,
    skip: Sequence[str] = (),
    calibrate: bool = False,
    progress: bool = False,
) -> dict[str, np.ndarray]:
    """Return for every weight the loss when it alone is rounded to a few bits, {name: (len(bits),)}.

    The module comes back bit for bit as it was. Measure with the scheme and calibration that you quantise with.

    Parameters
    ----------
    module : torch.nn.Module
    batches : a few typical inputs, as for :func:`ml.quantize_module`
    bits : the numbers of bits to try
    loss : "output": ||y - y_0||^2 / ||y_0||^2, y_0 the outputs of the module as it is, over all batches (where all of
        them are zero, ||y||^2); "kl": the output is logits, and the loss the mean Kullback-Leibler divergence of their
        distributions; or a function (module, batch) -> number, whose mean over the batches is compared with that of the
        module as it is: this one may be negative
    method : "forward": one forward pass for each weight, number of bits and batch; or :class:`ml.Gradients`
    scheme : how weights are rounded, :class:`ml.Scheme`; by default as :func:`ml.quantize_module` rounds them
    calibrate : search gamma on the layers' outputs over the batches, as `calibration` of :func:`ml.quantize_module`

    Raises
    ------
    TypeError, ValueError, ImportError
        as :func:`ml.quantize_module`, an unknown loss or method, a loss of your own that is not finite or goes with
        gradients, weights that no gradient reaches.

    Notes
    -----
    *Measured*, not bounded, and on these batches only. Losses of several weights add up to that of all only as far as
    they are small and their errors independent.
    """
    checked_module(module)
    given = checked_batches(batches, "batches")
    _check(loss, method, bits)
    sites = sites_of(module, skip)
    squares = input_squares(module, given, sites) if calibrate else {}

    def rounded(site: Site) -> list[np.ndarray]:
        return [decoded(quantized_weight(site, int(b), scheme, squares.get(site.name))) for b in bits]

    if isinstance(method, Gradients):
        return from_gradients(module, given, sites, rounded, loss == "kl", method)
    return from_changes(module, given, sites, rounded, loss, progress)


def from_changes(
    module: Any,
    batches: Sequence[Any],
    sites: Sequence[Site],
    rounded: Callable[[Site], list[np.ndarray]],
    loss: Loss,
    progress: bool = False,
) -> dict[str, np.ndarray]:
    """Return the losses {name: (k,)}, measured by replacing each weight by its k rounded ones in turn.

    rounded : site -> k arrays; the other arguments are those of :func:`sensitivity`
    """
    measure = _measure(module, batches, loss)
    found = {}
    for site in progress_bar(sites, "weights", enabled=progress):
        values, original = rounded(site), site.parameter.detach().clone()
        try:
            losses = []
            for value in values:
                site.write(value)
                losses.append(measure())
        finally:
            _restore(site, original)
        found[site.name] = np.array(losses)
    return found


def _check(loss: Any, method: Any, bits: Any) -> None:
    if not callable(loss) and loss not in ("output", "kl"):
        raise ValueError(f'loss must be "output", "kl" or a function (module, batch) -> number, got {loss!r}')
    if not isinstance(method, Gradients) and method != "forward":
        raise ValueError(f'method must be "forward" or ml.Gradients(probes), got {method!r}')
    whole = isinstance(bits, Sequence | np.ndarray) and not isinstance(bits, str) and len(bits) > 0
    if not whole or not all(isinstance(b, int | np.integer) and not isinstance(b, bool) for b in bits):
        raise ValueError(f"bits must be a list of the numbers of bits to try, integers, got {bits!r}")
    if isinstance(method, Gradients) and callable(loss):
        raise ValueError('ml.Gradients needs loss="output" or "kl"; measure a loss of your own with method="forward"')
    if isinstance(method, Gradients) and 0 in bits:
        raise ValueError('bits of 0 drop a weight, which gradients say nothing about: measure with method="forward"')


def _restore(site: Site, original: Any) -> None:
    torch = require("torch", "torch", "ml.sensitivity", "ml")
    with torch.no_grad():
        site.parameter.copy_(original)


def _measure(module: Any, batches: Sequence[Any], loss: Loss) -> Callable[[], float]:
    """Return a function that measures the loss of the module as it is by then against the module as it is now."""
    torch = require("torch", "torch", "ml.sensitivity", "ml")

    def mean(function: Callable[[Any, Any], Any]) -> float:
        with evaluating(module), torch.no_grad():
            found = [float(function(module, batch)) for batch in batches]
        if not np.all(np.isfinite(found)):
            raise ValueError(f"the loss of your own is not finite: {found}; check it on the module as it is")
        return float(np.mean(found))

    if callable(loss):
        before = mean(loss)
        return lambda: mean(loss) - before
    with evaluating(module), torch.no_grad():
        references = [output(module, batch).detach().clone() for batch in batches]
    whole = sum(float(y.double().square().sum()) for y in references)
    rows = sum(_rows(y) for y in references) if loss == "kl" else 0

    def change() -> float:
        total = 0.0
        with evaluating(module), torch.no_grad():
            for batch, before in zip(batches, references, strict=True):
                y = output(module, batch)
                off = y.double() - before.double()
                total += _divergence(before, y) if loss == "kl" else float(off.square().sum())
        return total / rows if loss == "kl" else total / whole if whole else total

    return change


def _rows(logits: Any) -> int:
    """Return how many distributions logits (..., k) stand for."""
    if not logits.ndim or not logits.numel():
        raise ValueError(f'loss="kl" needs logits (..., k), the output has shape {tuple(logits.shape)}')
    return int(logits.numel() // logits.shape[-1])


def _divergence(before: Any, after: Any) -> float:
    """Return the sum of the divergences of rows of logits; each term p log(p / q) - p + q is >= 0."""
    p, q = (y.double().log_softmax(-1) for y in (before, after))
    off = q - p
    return float((p.exp() * (off.expm1() - off)).sum())


def from_gradients(
    module: Any,
    batches: Sequence[Any],
    sites: Sequence[Site],
    rounded: Callable[[Site], list[np.ndarray]],
    divergence: bool,
    method: Gradients,
) -> dict[str, np.ndarray]:
    """Return the losses {name: (k,)}, estimated from backward passes; see :class:`Gradients`."""
    torch = require("torch", "torch", "ml.sensitivity", "ml")
    generator = torch.Generator(sites[0].parameter.device).manual_seed(method.rng)
    parameters = [p for site in sites for p in site.parameters]
    owner = [k for k, site in enumerate(sites) for _ in site.parameters]
    offs = []
    for site in sites:
        w = site.array()  # what is written is rounded once more, to the type of the weight
        values = torch.from_numpy(np.stack(rounded(site))).to(site.parameter.dtype)
        off = values.to(torch.from_numpy(w).dtype) - torch.from_numpy(w)
        offs.append(off.flatten(1).to(site.parameter.device))
    sums, whole, rows = np.zeros((len(sites), len(offs[0]))), 0.0, 0
    reached: set[int] = set()
    wanted = [p.requires_grad for p in parameters]
    try:
        for p in parameters:
            p.requires_grad_(True)
        with evaluating(module), torch.enable_grad():
            for batch in batches:
                y = output(module, batch)
                if not y.requires_grad:
                    raise ValueError(f'{type(module).__name__} computes without gradients: take method="forward"')
                whole += float(y.detach().double().square().sum())
                rows += _rows(y) if divergence else 0
                for probe in range(method.probes):
                    v = _probe(y.detach(), divergence, generator, torch)
                    keep = probe + 1 < method.probes
                    gradients = torch.autograd.grad(y, parameters, v, retain_graph=keep, allow_unused=True)
                    slopes = np.zeros_like(sums)  # of a weight the sum over the parameters that are tied in memory
                    for k, g in zip(owner, gradients, strict=True):
                        if g is not None:
                            reached.add(k)
                            flat = (g.to_dense() if g.is_sparse else g).reshape(-1).to(offs[k].dtype)
                            slopes[k] += (offs[k] @ flat).double().cpu().numpy()
                    sums += slopes**2 / method.probes
    finally:
        for p, before in zip(parameters, wanted, strict=True):
            p.requires_grad_(before)
    missed = [site.name for k, site in enumerate(sites) if k not in reached]
    if missed:
        raise ValueError(f'no gradient reaches {", ".join(missed)}: put them into skip, or take method="forward"')
    scale = 1 / (2 * rows) if divergence else 1 / whole if whole else 1.0
    return {site.name: row * scale for site, row in zip(sites, sums, strict=True)}


def _probe(y: Any, divergence: bool, generator: Any, torch: Any) -> Any:
    """Return random v of covariance 1, or, for the divergence, that of a label drawn from the logits' distribution.

    For a label drawn from p the derivative of log p with respect to the logits is e_label - p, of covariance diag(p) -
    p p^T: the second derivative of the divergence.
    """
    if not divergence:
        return torch.randn(y.shape, generator=generator, device=y.device, dtype=y.dtype)
    p = y.float().softmax(-1).reshape(-1, y.shape[-1])
    labels = torch.multinomial(p, 1, generator=generator)
    v = -p
    v.scatter_add_(1, labels, torch.ones_like(labels, dtype=p.dtype))
    return v.reshape(y.shape).to(y.dtype)
