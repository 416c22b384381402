"""Residual codes behind convolutions over time, learnt together: an encoder and a decoder of PyTorch around the codes.

A chunk (H, D) becomes a vector of r numbers by two convolutions and a linear map, the vector becomes tokens by the same
residual codes as elsewhere, and their sum becomes a chunk again. The gradient goes past the rounding to codes as if it
were not there (straight-through: van den Oord et al., 2017), and a second term keeps the vectors near their codes
(commitment). Codes follow the vectors by moving averages, those that no vector uses are put on vectors of the batch.

Needs PyTorch, which is imported where it is used.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lowrank import ResidualQuantizer
from lowrank.limits import at_least
from lowrank.optional import require
from lowrank.reading import FileFormatError
from lowrank.residual_codes import ResidualCodes
from ml.chunks.files import read_arrays, write_arrays
from ml.chunks.splitting import checked_actions, split

__all__ = ["ConvolutionalCodes", "ConvolutionalTokenizer", "load_convolutional_codes", "save_convolutional_codes"]

MARK = "convolutional_codes"
VERSION = 1
WEIGHT = "weight."
KERNEL = 3
#: A code whose moving count is below this is dead.
DEAD = 0.05


@dataclass(frozen=True)
class ConvolutionalTokenizer:
    """How encoder, codes and decoder are to be found: `ConvolutionalTokenizer(...).fit(trajectories)` trains them.

    The loss of a batch is mean |x - y|^2 + beta mean |z - stop(q)|^2, where z is the vector of a chunk x, q the sum of
    its codes, y what the decoder makes of it. First the network learns without codes for a third of the epochs, then
    codes are found by k-means, then all goes on together.

    Parameters
    ----------
    chunk, dims, levels, codes, stride : as of :class:`ml.chunks.ActionTokenizer`
    width : channels of the convolutions
    latent : numbers of the vector, r
    commitment : beta
    decay : of the moving averages of codes
    epochs, batch, rate : of training, by Adam
    rng : an integer seed
    """

    chunk: int = 10
    dims: int = 12
    levels: int = 4
    codes: int = 256
    stride: int | None = None
    width: int = 64
    latent: int = 32
    commitment: float = 0.25
    decay: float = 0.95
    epochs: int = 30
    batch: int = 128
    rate: float = 1e-3
    rng: int = 0

    def __post_init__(self) -> None:
        for name in ("chunk", "dims", "levels", "codes", "width", "latent", "epochs", "batch"):
            at_least(name, getattr(self, name), 1)
        if not (self.commitment >= 0 and 0 < self.decay < 1 and self.rate > 0):
            raise ValueError(
                "commitment must be >= 0, decay between 0 and 1, rate > 0, got "
                f"{self.commitment}, {self.decay} and {self.rate}"
            )

    def fit(self, trajectories: Any, say: Callable[[str], None] | None = None) -> ConvolutionalCodes:
        """Return encoder, codes and decoder, trained on the chunks of trajectories.

        trajectories : as of :meth:`ml.chunks.ActionTokenizer.fit`; say : is told the error after every fifth epoch

        Raises
        ------
        ValueError
            as :meth:`ml.chunks.ActionTokenizer.fit`; a training that ends in NaN.
        ImportError
            PyTorch is not installed, with the line that installs it.
        """
        torch = _torch()
        chunks = split(trajectories, self.chunk, self.stride)
        if chunks.shape[2] != self.dims or len(chunks) < self.codes:
            raise ValueError(
                f"there are {len(chunks)} chunks of actions of {chunks.shape[2]} numbers; wanted are at least "
                f"{self.codes}, one per code, of dims={self.dims}"
            )
        scale = float(np.sqrt(np.mean(chunks**2))) or 1.0
        generator = torch.Generator().manual_seed(int(self.rng))
        weights = _initial_weights(self, generator)
        x = torch.tensor(chunks / scale, dtype=torch.float32)
        adam = torch.optim.Adam(list(weights.values()), lr=self.rate)
        books: Any = None
        alone = self.epochs // 3
        for epoch in range(self.epochs):
            if epoch == alone:
                self._refuse_nan(weights)
                books = self._begin(_latents(weights, x))
            order = torch.randperm(len(x), generator=generator)
            for first in range(0, len(x), self.batch):
                part = x[order[first : first + self.batch]]
                loss = self._loss(weights, books, part, generator)
                adam.zero_grad()
                loss.backward()
                adam.step()
            if say is not None and (epoch + 1) % 5 == 0:
                say(f"epoch {epoch + 1} of {self.epochs}: loss {float(loss.detach()):.4g}")
        return self._result(weights, x, scale)

    def _begin(self, latents: np.ndarray) -> dict[str, Any]:
        torch = _torch()
        centres = ResidualQuantizer(self.levels, self.codes, rng=self.rng, max_iter=10).fit(latents).centres
        books = torch.tensor(centres, dtype=torch.float32)
        return {"centres": books, "counts": torch.ones(books.shape[:2]), "sums": books.clone()}

    def _loss(self, weights: dict[str, Any], books: Any, part: Any, generator: Any) -> Any:
        torch = _torch()
        z = _encoded(weights, part)
        if books is None:
            return torch.mean((_decoded(weights, z, self.chunk) - part) ** 2)
        q = self._rounded(books, z.detach(), generator)
        through = z + (q - z).detach()
        lost = torch.mean((_decoded(weights, through, self.chunk) - part) ** 2)
        return lost + self.commitment * torch.mean((z - q) ** 2)

    def _rounded(self, books: dict[str, Any], z: Any, generator: Any) -> Any:
        """Return the sums of codes of vectors (n, r), and move the codes towards the vectors."""
        torch = _torch()
        total = torch.zeros_like(z)
        for centres, counts, sums in zip(books["centres"], books["counts"], books["sums"], strict=True):
            rest = z - total
            nearest = torch.argmin((centres**2).sum(1) / 2 - rest @ centres.T, dim=1)
            total = total + centres[nearest]
            used = torch.zeros_like(counts).index_add_(0, nearest, torch.ones(len(z)))
            counts.mul_(self.decay).add_(used, alpha=1 - self.decay)
            sums.mul_(self.decay).index_add_(0, nearest, rest, alpha=1 - self.decay)
            dead = torch.nonzero(counts < DEAD / len(counts))[:, 0]
            drawn = rest[torch.randint(len(rest), (len(dead),), generator=generator)]
            counts[dead], sums[dead] = 1.0, drawn
            centres.copy_(sums / counts[:, None])
        return total

    def _refuse_nan(self, weights: dict[str, Any]) -> dict[str, np.ndarray]:
        """Return the weights as arrays. Raises ValueError where a training has gone astray."""
        arrays = {name: w.detach().numpy().astype(np.float32) for name, w in weights.items()}
        if not all(np.all(np.isfinite(a)) for a in arrays.values()):
            raise ValueError(f"the training ended in NaN or infinite weights; take a smaller rate than {self.rate}")
        return arrays

    def _result(self, weights: dict[str, Any], x: Any, scale: float) -> ConvolutionalCodes:
        """Freeze the encoder: codes by k-means of what it gives, the error with 1 .. L of them."""
        arrays = self._refuse_nan(weights)
        found = ResidualQuantizer(self.levels, self.codes, rng=self.rng).fit(_latents(weights, x))
        whole = ConvolutionalCodes(self.chunk, self.dims, found, arrays, scale)
        chunks = x.numpy().astype(np.float64) * scale
        errors = np.array([whole.error(chunks, level) for level in range(1, self.levels + 1)])
        return ConvolutionalCodes(
            self.chunk, self.dims, ResidualCodes(found.coordinates, found.centres, errors), arrays, scale
        )


@dataclass(frozen=True, eq=False)
class ConvolutionalCodes:
    """Result of :meth:`ConvolutionalTokenizer.fit`: encoder, codes and decoder."""

    chunk: int  #: H
    dims: int  #: D
    codes: ResidualCodes  #: of vectors (r,); its `error_per_level` is that of chunks
    weights: dict[str, np.ndarray]  #: of the network, by name
    scale: float  #: what actions are divided by

    @property
    def bits(self) -> int:
        """Bits of a chunk: L ceil(log2 K)."""
        return self.codes.bits

    def encode(self, chunks: Any) -> np.ndarray:
        """Return the tokens (n, L) of chunks (n, H, D), or (L,) of one chunk (H, D)."""
        given = checked_actions("chunks", chunks)
        if given.ndim not in (2, 3) or given.shape[-2:] != (self.chunk, self.dims):
            raise ValueError(
                f"chunks must have the shape (n, {self.chunk}, {self.dims}) or that of one, got {given.shape}"
            )
        x = _torch().tensor(given.reshape(-1, self.chunk, self.dims) / self.scale, dtype=_torch().float32)
        found = self.codes.encode(_latents(self._tensors(), x))
        return found[0] if given.ndim == 2 else found

    def decode(self, tokens: Any) -> np.ndarray:
        """Return the chunks (n, H, D) of tokens (n, l), or (H, D) of one chunk's (l,), l <= L."""
        torch = _torch()
        z = self.codes.decode(tokens)
        with torch.no_grad():
            y = _decoded(self._tensors(), torch.tensor(np.atleast_2d(z), dtype=torch.float32), self.chunk)
        found = y.numpy().astype(np.float64) * self.scale
        return found[0] if z.ndim == 1 else found

    def error(self, chunks: Any, levels: int | None = None) -> float:
        """Return the relative error of chunks (n, H, D) in the Frobenius norm, with so many tokens or all."""
        given = checked_actions("chunks", chunks)
        return float(np.linalg.norm(given - self.decode(self.encode(given)[..., :levels])) / np.linalg.norm(given))

    def __repr__(self) -> str:
        per = (
            f"{self.chunk} x {self.dims} numbers to {self.codes.levels} tokens of {self.codes.codes}, {self.bits} bits"
        )
        return f"ConvolutionalCodes({per}, relative error {self.codes.error_per_level[-1]:.3g})"

    def _tensors(self) -> dict[str, Any]:
        return {name: _torch().from_numpy(a) for name, a in self.weights.items()}


def save_convolutional_codes(codes: ConvolutionalCodes, path: str | os.PathLike[str]) -> None:
    """Write encoder, codes and decoder to a file .npz, whole or not at all.

    Keys: `convolutional_codes` (int64: layout version, H, D), `scale`, the weights, `weight.` before their names, those
    of :meth:`lowrank.residual_codes.ResidualCodes.arrays`, and a checksum.
    """
    mark = np.array([VERSION, codes.chunk, codes.dims], dtype=np.int64)
    weights = {WEIGHT + name: a for name, a in codes.weights.items()}
    write_arrays(path, {MARK: mark, "scale": np.array([codes.scale]), **codes.codes.arrays(), **weights})


def load_convolutional_codes(path: str | os.PathLike[str]) -> ConvolutionalCodes:
    """Read what :func:`save_convolutional_codes` wrote, bit for bit; nothing in the file is run.

    Raises FileNotFoundError, and FileFormatError, a ValueError that names the file, for anything that is not whole.
    """
    name = os.fspath(path)
    arrays = read_arrays(path, MARK, {"centres", "error_per_level", "header", "scale"}, WEIGHT)
    mark, scale = arrays.pop(MARK), arrays.pop("scale", np.zeros(0))
    weights = {key.removeprefix(WEIGHT): arrays.pop(key) for key in list(arrays) if key.startswith(WEIGHT)}
    try:
        codes = ResidualCodes.from_arrays(arrays)
        version, chunk, dims = (int(v) for v in mark)
        if version != VERSION:
            raise ValueError(f"file version {version}, this package reads {VERSION}")
        width = len(weights["in.bias"])
        shapes = _shapes(chunk, dims, width, codes.coordinates.width)
        given = {key: a.shape for key, a in weights.items()}
        if given != shapes or not all(a.dtype == np.float32 and np.all(np.isfinite(a)) for a in weights.values()):
            raise ValueError(f"weights must be finite, float32, of the shapes {shapes}, got {given}")
        if scale.shape != (1,) or not 0 < scale[0] < np.inf:
            raise ValueError(f"scale must be one number > 0, got {scale}")
    except (KeyError, TypeError, ValueError) as error:
        raise FileFormatError(f"{name} holds no valid convolutional codes: {error}") from error
    return ConvolutionalCodes(chunk, dims, codes, weights, float(scale[0]))


def _shapes(chunk: int, dims: int, width: int, latent: int) -> dict[str, tuple[int, ...]]:
    flat = width * chunk
    return {
        "in.weight": (width, dims, KERNEL), "in.bias": (width,),
        "mid.weight": (width, width, KERNEL), "mid.bias": (width,),
        "down.weight": (latent, flat), "down.bias": (latent,),
        "up.weight": (flat, latent), "up.bias": (flat,),
        "back.weight": (width, width, KERNEL), "back.bias": (width,),
        "out.weight": (dims, width, KERNEL), "out.bias": (dims,),
    }  # fmt: skip


def _initial_weights(settings: ConvolutionalTokenizer, generator: Any) -> dict[str, Any]:
    torch = _torch()
    weights = {}
    for name, shape in _shapes(settings.chunk, settings.dims, settings.width, settings.latent).items():
        inputs = int(np.prod(shape[1:]))
        value = torch.randn(shape, generator=generator) * inputs**-0.5 if len(shape) > 1 else torch.zeros(shape)
        weights[name] = value.requires_grad_(True)
    return weights


def _encoded(w: dict[str, Any], x: Any) -> Any:
    """Return the vectors (n, r) of chunks (n, H, D), in single precision."""
    f = _torch().nn.functional
    h = f.gelu(f.conv1d(x.transpose(1, 2), w["in.weight"], w["in.bias"], padding=KERNEL // 2))
    h = h + f.gelu(f.conv1d(h, w["mid.weight"], w["mid.bias"], padding=KERNEL // 2))
    return f.linear(h.flatten(1), w["down.weight"], w["down.bias"])


def _decoded(w: dict[str, Any], z: Any, chunk: int) -> Any:
    """Return the chunks (n, H, D) of vectors (n, r)."""
    f = _torch().nn.functional
    h = f.linear(z, w["up.weight"], w["up.bias"]).reshape(len(z), -1, chunk)
    h = h + f.gelu(f.conv1d(h, w["back.weight"], w["back.bias"], padding=KERNEL // 2))
    return f.conv1d(h, w["out.weight"], w["out.bias"], padding=KERNEL // 2).transpose(1, 2)


def _latents(weights: dict[str, Any], x: Any) -> np.ndarray:
    with _torch().no_grad():
        found: np.ndarray = _encoded(weights, x).numpy().astype(np.float64)
    return found


def _torch() -> Any:
    return require("torch", "torch", "the convolutional encoder of chunks", extra="ml")
