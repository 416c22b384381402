"""Chunks of actions as a few tokens: a residual code of H consecutive actions at once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from lowrank import ResidualQuantizer
from lowrank.limits import at_least
from lowrank.residual_codes import ResidualCodes
from ml.chunks.latency import LatencyReport, latency_report
from ml.chunks.splitting import checked_actions, real_numbers, split
from ml.chunks.stream import ActionStream
from ml.chunks.vocabulary import ActionVocabulary

__all__ = ["ActionCodes", "ActionTokenizer"]

DOUBLE = np.dtype(np.float64)


@dataclass(frozen=True)
class ActionTokenizer:
    """How chunks of actions are to become tokens: `ActionTokenizer(...).fit(trajectories)` finds the codes.

    A chunk, H consecutive actions of D numbers, is coded as one vector of H D numbers by residual vector quantisation:
    L tokens of 0 .. K - 1, see :class:`lowrank.ResidualQuantizer`. 10 x 12 numbers become 4 tokens of 256, 32 bits.

    Parameters
    ----------
    chunk, dims : H and D
    levels, codes : L and K
    stride : actions between the beginnings of two chunks of the fit; by default H. With fewer, chunks overlap: more
        samples of more phases of the same movements, 2 to 4 % less error on other gaits for three times as many
    method, rng, max_iter, rtol : of :class:`lowrank.ResidualQuantizer`

    Examples
    --------
    >>> t = np.arange(2000)[:, None] * [0.1, 0.13]
    >>> found = ActionTokenizer(chunk=5, dims=2, levels=2, codes=16).fit(np.sin(t))
    >>> found.encode(np.sin(t[:5])).shape, found.bits
    ((2,), 8)
    """

    chunk: int = 10
    dims: int = 12
    levels: int = 4
    codes: int = 256
    stride: int | None = None
    method: Literal["kmeans", "ema"] = "kmeans"
    rng: Any = 0
    max_iter: int = 100
    rtol: float = 1e-5

    def __post_init__(self) -> None:
        for name in ("chunk", "dims", "stride"):
            value = getattr(self, name)
            if name != "stride" or value is not None:
                at_least(name, value, 1)
        self._quantizer()  # checks the others

    def _quantizer(self) -> ResidualQuantizer:
        return ResidualQuantizer(self.levels, self.codes, self.method, self.rng, self.max_iter, self.rtol)

    def fit(self, trajectories: Any, product: Any = None) -> ActionCodes:
        """Return the codes of the chunks of trajectories.

        Parameters
        ----------
        trajectories : one (T, D), several of one length (k, T, D), or a list of (T_i, D)
        product : Hermitian positive definite (D, D), the same for every action, or (H D, H D): what an error is
            measured in, for instance diag(1 / variances) where the numbers of an action have different units

        Raises
        ------
        ValueError
            actions of another width than D, NaN, fewer chunks than codes, no whole chunk.

        Notes
        -----
        Cost: 2 n L K H D flops per iteration of k-means for n chunks: 5 to 10 s for 3600 of 10 x 12, 4 levels of 256.
        """
        chunks = split(trajectories, self.chunk, self.stride)
        if chunks.shape[2] != self.dims:
            raise ValueError(
                f"trajectories must have actions of dims={self.dims} numbers, got {chunks.shape[2]}: pass "
                f"dims={chunks.shape[2]} or other trajectories"
            )
        if len(chunks) < self.codes:
            raise ValueError(
                f"there are {len(chunks)} chunks for {self.codes} codes: take fewer codes, a smaller stride (now "
                f"{self.stride or self.chunk}), or more trajectories"
            )
        flat = chunks.reshape(len(chunks), -1)
        return ActionCodes(self.chunk, self.dims, self._quantizer().fit(flat, product=self._of_chunks(product)))

    def _of_chunks(self, product: Any) -> Any:
        """Return the product of whole chunks (H D, H D), from that of an action where it is one."""
        if product is None or np.shape(product) != (self.dims, self.dims):
            return product
        dense = product.toarray() if hasattr(product, "toarray") else np.asarray(product)
        return np.kron(np.eye(self.chunk), dense)


@dataclass(frozen=True, eq=False)
class ActionCodes:
    """Result of :meth:`ActionTokenizer.fit`: codes of chunks of actions.

    Raises ValueError for codes of another width than that of a chunk.
    """

    chunk: int  #: H
    dims: int  #: D
    codes: ResidualCodes  #: of the chunks as vectors (H D,)

    def __post_init__(self) -> None:
        if self.chunk < 1 or self.dims < 1 or self.chunk * self.dims != self.codes.coordinates.width:
            width = self.codes.coordinates.width
            raise ValueError(f"{self.chunk} actions of {self.dims} numbers are not the {width} numbers of the codes")

    @functools.cached_property
    def _shape(self) -> tuple[int, int]:
        return self.chunk, self.dims

    @property
    def levels(self) -> int:
        """Tokens of a chunk, L."""
        return self.codes.levels

    @property
    def bits(self) -> int:
        """Bits of a chunk: L ceil(log2 K)."""
        return self.codes.bits

    @property
    def error_per_level(self) -> np.ndarray:
        """Relative error of the chunks of the fit, with 1 .. L tokens (L,)."""
        return self.codes.error_per_level

    def encode(self, chunks: Any) -> np.ndarray:
        """Return the tokens (n, L) of chunks (n, H, D), or (L,) of one chunk (H, D): int32.

        Chunks may be flat, (n, H D), too; with H = 1 the shape (1, D) is that of one chunk. Raises ValueError for NaN
        and any other shape.
        """
        if type(chunks) is np.ndarray and chunks.dtype is DOUBLE and chunks.shape == self._shape:
            return self.codes.encode_one(chunks)  # the same, without the conversions: two microseconds less
        return self.codes.encode(self._flat(real_numbers("chunks", chunks)))  # which looks for NaN

    def decode(self, tokens: Any) -> np.ndarray:
        """Return the chunks (n, H, D) of tokens (n, l), or (H, D) of one chunk's (l,), l <= L: of the first l levels.

        Raises ValueError for tokens outside 0 .. K - 1 and more than L of them, TypeError for other than integers.
        """
        found = self.codes.decode(tokens)
        return found.reshape(*found.shape[:-1], self.chunk, self.dims)

    def error(self, chunks: Any, levels: int | None = None) -> float:
        """Return the relative error ||X - decode(encode(X))|| / ||X|| of chunks, in the Frobenius norm.

        levels : how many tokens are used, 1 .. L, by default all

        Raises ValueError where all chunks are zero, and for other numbers of levels.
        """
        levels = self.levels if levels is None else at_least("levels", levels, 1)
        if levels > self.levels:
            raise ValueError(f"levels must be at most {self.levels}, the tokens of a chunk, got {levels}")
        given = self._flat(checked_actions("chunks", chunks)).reshape(-1, self.chunk * self.dims)
        off = given - self.codes.decode(self.codes.encode(given)[:, :levels])
        size, largest = (float(np.max(np.abs(a), initial=0.0)) for a in (given, off))
        if not size:
            raise ValueError("all chunks are zero: there is no relative error")
        if not largest:
            return 0.0
        # so scaled, no square overflows or vanishes
        return float(np.linalg.norm(off / largest) / np.linalg.norm(given / size)) * (largest / size)

    def add_to_vocabulary(self, size: int) -> ActionVocabulary:
        """Return the map between tokens and entries of a vocabulary that has `size` entries so far."""
        return ActionVocabulary(at_least("size", size, 0), self.levels, self.codes.codes)

    def stream(
        self, ask: Callable[[Any, int], Any], ahead: int | None = None, late: Literal["wait", "hold"] = "wait"
    ) -> ActionStream:
        """Return a stream of actions: `.step(observation)` gives that of each tick, and asks the model ahead of time.

        Parameters
        ----------
        ask : function (observation, tick) -> tokens (L,) of the actions from `tick` on, or something with `.done()` and
            `.result()` that will have them, as of :class:`concurrent.futures.Executor`
        ahead : ticks between the question and the first action of its answer; by default H: the next chunk is asked for
            when one begins. 0: the actions answer what is seen now, and the model must be as fast as a tick
        late : "wait" for an answer that is not there, or "hold" the action before

        Examples
        --------
        >>> t = np.arange(200)[:, None] * [0.1, 0.13]
        >>> codes = ActionTokenizer(chunk=5, dims=2, levels=1, codes=8).fit(np.sin(t))
        >>> stream = codes.stream(lambda observation, tick: codes.encode(np.sin(t[tick : tick + 5])))
        >>> np.stack([stream.step() for _ in range(50)]).shape, stream.missed
        ((50, 2), 0)
        """
        ahead = self.chunk if ahead is None else ahead
        return ActionStream(self._whole, ask, chunk=self.chunk, ahead=ahead, late=late)

    def latency_report(
        self, model_seconds: Any, *, control_seconds: float = 0.02, ahead: int | None = None, chunks: int = 100
    ) -> LatencyReport:
        """Return whether a tick is ever missed with a model that takes so long; see :func:`latency_report`."""
        return latency_report(
            model_seconds, chunk=self.chunk, control_seconds=control_seconds, ahead=ahead, chunks=chunks
        )

    def _whole(self, tokens: Any) -> np.ndarray:
        if np.shape(tokens) != (self.levels,):
            raise ValueError(f"the model must answer with {self.levels} tokens, got shape {np.shape(tokens)}")
        return self.decode(tokens)

    def _flat(self, given: np.ndarray) -> np.ndarray:
        h, d, shape = self.chunk, self.dims, given.shape
        if shape == (h, d):
            return given.reshape(h * d)
        if len(shape) == 3 and shape[1:] == (h, d):
            return given.reshape(-1, h * d)
        if len(shape) == 2 and shape[1] == h * d:
            return given
        raise ValueError(
            f"chunks must have the shape (n, {h}, {d}), or ({h}, {d}) of one, got {given.shape}; ml.chunks.split cuts "
            "trajectories"
        )

    def __repr__(self) -> str:
        per = f"{self.chunk} x {self.dims} numbers to {self.levels} tokens of {self.codes.codes}, {self.bits} bits"
        return f"ActionCodes({per}, relative error {self.error_per_level[-1]:.3g})"
