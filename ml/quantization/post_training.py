"""Quantisation after training: weights of a module rounded to a few bits, scales searched on what they multiply."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal

import numpy as np

from lowrank.quantized import Quantized
from lowrank.quantizer import quantize
from ml.quantization.report import QuantizationReport, decoded, stored_tensors, without
from ml.quantization.running import checked_batches, input_squares
from ml.quantization.scheme import Levels, Scales, Scheme
from ml.quantization.sites import Site, bits_by_name, checked_module, sites_of

__all__ = ["install", "quantize_module", "quantized_weight"]


def quantize_module(
    module: Any,
    bits: int | Mapping[str, int],
    calibration: Iterable[Any] | None = None,
    gamma: float | Literal["search"] = "search",
    group: int | None = None,
    skip: Sequence[str] = (),
    *,
    levels: Levels = "uniform",
    scales: Scales = "float16",
) -> QuantizationReport:
    """Round the weights of a PyTorch module to a few bits, in place, and return their codes.

    Every weight w of a linear, convolution, embedding, attention or recurrent layer becomes q(w) = s clip(round(w / s),
    -m, m), m = 2^{bits - 1} - 1, one scale s per row or per group of neighbours in a row. A row is what the first index
    of the weight names: an output, but an input of transposed convolutions and of the Conv1D of transformers.

    The module then computes with q(w) in its own type: its speed and its memory are as before, and what is small is the
    report and the file that :func:`ml.save_quantized` writes. :func:`ml.run_int8` makes layers fast where this machine
    can.

    Parameters
    ----------
    module : torch.nn.Module; weights that are tied stay tied, biases, normalisations and buffers stay as they are
    bits : 0, or 2 to 24; one integer, or {name: integer} for some weights, the others stay. See
        :func:`ml.allocate_weight_bits`
    calibration : batches (tensor, tuple of arguments or dictionary of named ones each) that are typical inputs. With
        them gamma is searched so that the *output* of a linear layer or convolution changes least, sum_j h_j (w_j -
        q_j)^2 with h_j = E x_j^2; without, sum_j (w_j - q_j)^2
    gamma : "search", or a number for all: s = gamma max |w| / m
    group : numbers of one scale, a divisor of the rows' lengths; None for whole rows
    skip : names of weights or layers that stay, or patterns ("*embeddings*")
    levels, scales : as of :func:`lowrank.quantize`; scales in half precision, of the rows' common unit

    Returns
    -------
    QuantizationReport, with `nbytes`, `saved`, `table()`

    Raises
    ------
    TypeError
        no torch.nn.Module, a string for `skip`.
    ValueError
        bits of 1 or beyond 24, names that are no weights, tied weights with different bits, groups that do not divide,
        NaN in weights or activations, no weights, no batches; weights that cannot be rounded in place (parametrised,
        pruned, of tables with max_norm, sharing part of their memory), and numbers that rounding would put beyond half
        precision. The module is then as it was.
    ImportError
        PyTorch is missing, with the line that installs it.

    Notes
    -----
    |w - q(w)| <= s / 2 and rounding where nothing is cut off: see :func:`lowrank.quantize`. What that does to the
    module's answers is not bounded: measure it.

    Cost: 0.1 to 0.2 us a number with a search, a few seconds more for compiling, a tenth of that without a search; and
    one forward pass for each batch.

    Examples
    --------
    >>> import torch  # doctest: +SKIP
    >>> network = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.Linear(64, 8))  # doctest: +SKIP
    >>> quantize_module(network, 4)  # doctest: +SKIP
    QuantizationReport(2 weights of 4 bits in the mean, 2,736 bytes of 18,720, 85.4% smaller)
    """
    checked_module(module)
    sites = sites_of(module, skip)
    wanted = bits_by_name(bits, sites)
    sites = [site for site in sites if site.name in wanted]
    squares: dict[str, np.ndarray] = {}
    if calibration is not None:
        squares = input_squares(module, checked_batches(calibration, "calibration"), sites)
    scheme = Scheme(gamma, group, levels, scales)
    found = {s.name: quantized_weight(s, wanted[s.name], scheme, squares.get(s.name)) for s in sites}
    unseen = tuple(s.name for s in sites if s.name not in squares) if calibration is not None else ()
    return install(module, sites, found, unseen)


def quantized_weight(
    site: Site, bits: int, scheme: Scheme | None = None, squares: np.ndarray | None = None
) -> Quantized:
    """Return the codes of one weight.

    squares : weights of the search, in the shape of a row, or None. Raises ValueError with the weight's name.
    """
    options = asdict(Scheme() if scheme is None else scheme)
    try:
        return quantize(site.array(), bits, weights=squares, **options)
    except ValueError as error:
        raise ValueError(f"{site.name}: {error}") from None


def install(
    module: Any, sites: Sequence[Site], weights: Mapping[str, Quantized], uncalibrated: Sequence[str] = ()
) -> QuantizationReport:
    """Write decoded weights into a module and return the report; nothing fails once the first one is written.

    sites : the weights, :func:`ml.quantization.sites.sites_of`
    weights : their codes by name

    >>> import torch  # doctest: +SKIP
    >>> layer = torch.nn.Linear(4, 2)  # doctest: +SKIP
    >>> found = sites_of(layer)  # doctest: +SKIP
    >>> install(layer, found, {"weight": quantized_weight(found[0], 8)}).nbytes  # doctest: +SKIP
    20

    Raises ValueError where a rounded number is beyond the module's type: half precision ends at 65504.
    """
    dense = {site.name: decoded(weights[site.name]) for site in sites}
    for site in sites:
        site.check(dense[site.name])
    errors = {site.name: weights[site.name].error(site.array()) for site in sites}
    tensors = stored_tensors(module)
    sizes = {name: tensor.numel() * tensor.element_size() for name, tensor in tensors.items()}
    kept = {name: sizes[name] for name in without(tensors, [site.parameter for site in sites])}
    for site in sites:
        site.write(dense[site.name])
    names = {site.name: site.names for site in sites}
    return QuantizationReport(
        {site.name: weights[site.name] for site in sites}, names, errors, kept, sum(sizes.values()), tuple(uncalibrated)
    )
