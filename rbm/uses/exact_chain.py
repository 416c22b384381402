"""A Metropolis chain that is the full model's, from certified likelihoods and full solves where these leave doubt.

The state is x in [0, 1]^p, the probabilities of the prior (:class:`rbm.parameters.prior.Prior`), in which the prior is
uniform. A proposal is x + step z, reflected at 0 and 1, which is symmetric; so it is accepted if

    log U < log L(x') - log L(x).

Of the reduced model's log L both ends are known, and so are those of the right side. If they agree the step is settled,
as the full model would settle it; else the point with the wider interval is solved, and then the other one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lowrank.progress import progress_bar
from rbm.affine.fingerprints import digest
from rbm.arithmetic.precision import ROUND_OFF
from rbm.errors import FileFormatError, Interrupted, ModelError
from rbm.parameters.space import ParameterSpace
from rbm.storage.archive import read_archive, write_archive
from rbm.uses.chain_arguments import check_whole, checkpoint_file, widths
from rbm.uses.observations import LogLikelihood

__all__ = ["Chain", "chain_numbers", "run_chain"]

Likelihood = Callable[[np.ndarray], LogLikelihood]

KIND = "chain of a posterior"
#: Steps whose random numbers are drawn together.
BLOCK = 256
#: Points for each parameter among which a start is looked for.
TRIED = 64
#: A start may come back from its probabilities moved by this share of the ranges.
MOVED = 1e-6
#: Seconds between two writings of a checkpoint.
EVERY = 5.0


@dataclass(frozen=True)
class Chain:
    """K chains of S steps each, and what they cost."""

    names: tuple[str, ...]  #: of the parameters
    mus: np.ndarray  #: (S + 1, K, p), the starts first
    accepted: np.ndarray  #: (S, K)
    solves: np.ndarray  #: (S, K) full solves that a step needed, 0, 1 or 2
    tied: int  #: steps at which the full model could not tell either, and its rounded numbers decided

    @property
    def steps(self) -> int:
        """The number of steps S."""
        return len(self.accepted)

    @property
    def truth_solves(self) -> int:
        """All full solves; the full model's own chain needs (S + 1) K."""
        return int(self.solves.sum())

    @property
    def acceptance(self) -> float:
        """The share of proposals that were accepted."""
        return float(self.accepted.mean()) if self.accepted.size else float("nan")

    def samples(self, discard: int = 0) -> np.ndarray:
        """Return the points (M, p) of all chains, without the first `discard` steps of each.

        Raises ModelError for more steps than there are.
        """
        if isinstance(discard, bool) or not isinstance(discard, int | np.integer) or not 0 <= discard <= self.steps:
            raise ModelError(f"discard must be a number of steps from 0 to {self.steps}, got {discard!r}")
        return self.mus[discard:].reshape(-1, self.mus.shape[2])

    def __repr__(self) -> str:
        return (
            f"Chain({self.mus.shape[1]} of {self.steps} steps in {', '.join(self.names)}; {self.acceptance:.0%} "
            f"accepted, {self.truth_solves} full solves instead of {self.mus[:, :, 0].size})"
        )


def chain_numbers(rng: int, steps: int, chains: int, p: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the random numbers of a chain: standard normal z (steps, chains, p), and log U (steps, chains).

    Those of the first steps do not depend on how many are asked for. Raises ModelError for numbers below 1, or a
    negative seed.
    """
    check_whole(rng=(rng, 0), steps=(steps, 1), chains=(chains, 1), p=(p, 1))
    blocks = [_block(rng, b, chains, p) for b in range(-(-steps // BLOCK))]
    return np.concatenate([z for z, _ in blocks])[:steps], np.concatenate([u for _, u in blocks])[:steps]


def _block(rng: int, number: int, chains: int, p: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng([rng, number])
    z = generator.standard_normal((BLOCK, chains, p))
    return z, np.log1p(-generator.random((BLOCK, chains)))


@dataclass(frozen=True)
class _Position:
    """Where the chains are, and what is known there."""

    x: np.ndarray  #: (K, p)
    likelihood: LogLikelihood  #: (K,)
    solved: np.ndarray  #: (K,) whether value and error are the full model's
    steps: int = 0
    tied: int = 0


@dataclass
class _Walk:
    """A position and the way there, which may be one step longer if the walk was interrupted."""

    at: _Position
    path: list[np.ndarray]  #: x (K, p), the start first
    accepted: list[np.ndarray] = field(default_factory=list)
    solves: list[np.ndarray] = field(default_factory=list)

    def arrays(self, steps: int) -> dict[str, np.ndarray]:
        """Return the first steps as arrays."""
        k = len(self.at.x)
        return {
            "path": np.array(self.path[: steps + 1]),
            "accepted": np.array(self.accepted[:steps], dtype=bool).reshape(-1, k),
            "solves": np.array(self.solves[:steps], dtype=int).reshape(-1, k),
        }

    def chain(self, space: ParameterSpace, steps: int) -> Chain:
        """Return the first steps as a chain."""
        made = self.arrays(steps)
        mus = space.prior.points(made["path"].reshape(-1, len(space))).reshape(made["path"].shape)
        return Chain(space.names, mus, made["accepted"], made["solves"], self.at.tied)


def run_chain(
    space: ParameterSpace,
    reduced: Likelihood,
    truth: Likelihood,
    about: Any,
    steps: int,
    *,
    start: Any,
    step: Any,
    chains: int,
    rng: int,
    checkpoint: str | os.PathLike[str] | None,
    progress: bool,
) -> Chain:
    """Return the chain; :meth:`rbm.uses.posterior.Posterior.chain` has the arguments.

    about : what the chain depends on beside them, for the checkpoint
    """
    width = widths(step, len(space))
    check_whole(steps=(steps, 1), chains=(chains, 1), rng=(rng, 0))
    file = checkpoint_file(checkpoint)
    x = _start(space, reduced, start, int(chains))
    key = digest((about, x, width, int(rng)))
    walk = _read(file, key, x) if file is not None and file.exists() else None
    if walk is None:
        walk = _Walk(_Position(x, reduced(space.prior.points(x)), np.zeros(len(x), dtype=bool)), [x])
    try:
        _walked(walk, space, reduced, truth, width, int(rng), steps, (file, key), progress)
    except BaseException as error:
        if file is not None:
            _write(file, key, walk)
        if not isinstance(error, KeyboardInterrupt):
            raise
        kept = "" if file is None else f"; {file} goes on from there"
        raise Interrupted(
            f"the chain was interrupted after {walk.at.steps} of {steps} steps; it is in `result` of this exception"
            f"{kept}",
            walk.chain(space, walk.at.steps),
        ) from error
    if file is not None:
        _write(file, key, walk)
    return walk.chain(space, steps)


def _walked(
    walk: _Walk,
    space: ParameterSpace,
    reduced: Likelihood,
    truth: Likelihood,
    width: np.ndarray,
    rng: int,
    steps: int,
    kept: tuple[Path | None, str],
    progress: bool,
) -> None:
    """Walk on until there are so many steps; write to the file now and then."""
    written, block = time.monotonic(), walk.at.steps // BLOCK
    z, log_u = _block(rng, block, *walk.at.x.shape)
    with progress_bar(None, "steps", enabled=progress, total=steps) as bar:
        bar.update(min(walk.at.steps, steps))
        while walk.at.steps < steps:
            done = walk.at.steps
            if done // BLOCK != block:
                block = done // BLOCK
                z, log_u = _block(rng, block, *walk.at.x.shape)
            at, take, counts = _stepped(walk.at, space, reduced, truth, width * z[done % BLOCK], log_u[done % BLOCK])
            walk.path.append(at.x)
            walk.accepted.append(take)
            walk.solves.append(counts)
            walk.at = at  # last: what is longer than this after an interruption does not count
            bar.update(1)
            if kept[0] is not None and time.monotonic() - written > EVERY:
                _write(kept[0], kept[1], walk)
                written = time.monotonic()


def _stepped(
    at: _Position, space: ParameterSpace, reduced: Likelihood, truth: Likelihood, move: np.ndarray, log_u: np.ndarray
) -> tuple[_Position, np.ndarray, np.ndarray]:
    """Return the next position, which proposals were accepted (K,), and the full solves that took (K,)."""
    k, x = len(at.x), reflected(at.x + move)
    mus = space.prior.points(np.concatenate([at.x, x]))
    known = np.stack([np.concatenate(pair) for pair in zip(at.likelihood, reduced(mus[k:]), strict=True)])
    solved = np.concatenate([at.solved, np.zeros(k, dtype=bool)])
    counts = np.zeros(k, dtype=int)
    while True:
        (old, old_low, old_high), (new, new_low, new_high) = known[:, :k], known[:, k:]
        with np.errstate(invalid="ignore"):  # a likelihood of zero at both points
            change, low, high = new - old, new_low - old_high, new_high - old_low
            off = 8 * ROUND_OFF * (np.abs(known).max(axis=0)[:k] + np.abs(known).max(axis=0)[k:] + np.abs(log_u))
            doubtful = ~((log_u < low - off) | (log_u > high + off))
        ask = np.flatnonzero(doubtful & ~(solved[:k] & solved[k:]))
        if not len(ask):
            break
        wider = ~((new_high - new_low)[ask] < (old_high - old_low)[ask])
        which = np.where(~solved[k + ask] & (solved[ask] | wider), k + ask, ask)
        made = truth(mus[which])
        _compare(known[:, which], made, mus[which], space)
        known[:, which] = made
        solved[which] = True
        counts[ask] += 1
    take = log_u < change
    chosen = np.where(take, np.arange(k, 2 * k), np.arange(k))
    tied = at.tied + int(np.sum(doubtful))
    here = LogLikelihood(*known[:, chosen])
    return _Position(np.where(take[:, None], x, at.x), here, solved[chosen], at.steps + 1, tied), take, counts


def _compare(known: np.ndarray, truth: LogLikelihood, mus: np.ndarray, space: ParameterSpace) -> None:
    """Raise ModelError if the full model is not within the interval (3, K) of the reduced one."""
    value, low, high = known
    wrong = (truth.high < low) | (truth.low > high)
    if np.any(wrong):
        i = int(np.argmax(wrong))
        raise ModelError(
            f"at {space.describe(mus[i])} the full model has the log-likelihood {truth.value[i]:.10g}, the reduced one "
            f"{value[i]:.10g}, between {low[i]:.10g} and {high[i]:.10g}: it was made from another full model, or its "
            "stability bound is wrong (model.verify() checks it)"
        )


def reflected(x: np.ndarray) -> np.ndarray:
    """Return points of the unit cube: x reflected at 0 and 1 as often as it takes."""
    return np.clip(1 - np.abs(x % 2 - 1), 0.0, 1.0)


def _start(space: ParameterSpace, reduced: Likelihood, given: Any, chains: int) -> np.ndarray:
    """Return x (K, p) where the chains begin."""
    if given is not None:
        points = space.validate(given)
        # the density may be infinite, as that of arcsine is at both ends
        if not np.all(inside := space.prior.log_density(points) > -np.inf):
            raise ModelError(
                f"start is at a point that the prior excludes: {space.describe(points[int(np.argmin(inside))])}"
            )
        x = space.prior.unit(points)
        away = np.abs(space.prior.points(x) - points) > MOVED * np.ptp(space.bounds, axis=1)
        if np.any(away):
            i = int(np.argmax(away.any(axis=1)))
            raise ModelError(
                f"start is at {space.describe(points[i])}, so far in a tail of the prior that its probability, "
                f"{', '.join(f'{p:.17g}' for p in x[i])}, is not told from another point's; start nearer to the middle"
            )
        return x
    p = len(space)
    tried = space.sample(max(TRIED * p, chains), rng=0)
    value = reduced(tried).value
    return space.prior.unit(tried[np.argsort(-value, kind="stable")[:chains]])


def _write(file: Path, key: str, walk: _Walk) -> None:
    at = walk.at
    arrays = walk.arrays(at.steps) | {"likelihood": np.stack(at.likelihood), "solved": at.solved}
    write_archive(file, {"kind": KIND, "key": key, "tied": at.tied}, arrays)


def _read(file: Path, key: str, start: np.ndarray) -> _Walk:
    """Return what a checkpoint holds.

    Raises ModelError for that of another chain, FileFormatError for a damaged one.
    """
    header, arrays = read_archive(file, KIND)
    if header.get("key") != key:
        raise ModelError(
            f"{file} is of another chain: the model, the data, the prior, step, start, chains or rng were others; give "
            "another name, or remove it"
        )
    try:
        path, accepted, solves = arrays["path"], arrays["accepted"], arrays["solves"]
        steps, shape = len(accepted), (len(start),)
        fits = path.shape == (steps + 1, *start.shape) and accepted.shape == solves.shape == (steps, *shape)
        if not (fits and arrays["likelihood"].shape == (3, *shape) and arrays["solved"].shape == shape):
            raise ValueError("its arrays do not fit each other")
        kinds = {"path": "f", "accepted": "b", "solves": "i", "likelihood": "f", "solved": "b"}
        if wrong := [name for name, kind in kinds.items() if arrays[name].dtype.kind != kind]:
            raise ValueError(f"its array {wrong[0]!r} holds numbers of another kind")
        if not (np.all((path >= 0) & (path <= 1)) and np.all((solves >= 0) & (solves <= 2))):
            raise ValueError("its path leaves [0, 1], or a step has other than 0, 1 or 2 full solves")
        if np.any(np.isnan(arrays["likelihood"])):
            raise ValueError("a likelihood is NaN")
        if type(header["tied"]) is not int or header["tied"] < 0:
            raise ValueError(f"the number of tied steps is {header['tied']!r:.60}")
        at = _Position(path[-1], LogLikelihood(*arrays["likelihood"]), arrays["solved"], steps, header["tied"])
    except (KeyError, TypeError, ValueError) as error:
        raise FileFormatError(f"{file} is not a complete chain: {error}") from error
    return _Walk(at, list(path), list(accepted), list(solves))
