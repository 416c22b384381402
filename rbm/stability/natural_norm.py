"""Lower bounds of inf-sup constants in the natural norms of a few anchors, sparse, for models of any size."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rbm.affine.fingerprints import digest
from rbm.affine.system import AffineSystem
from rbm.errors import Interrupted, StabilityError
from rbm.parameters.space import ParameterSpace
from rbm.stability.cost import announce, proving_sources
from rbm.stability.natural_bound import BoundNaturalNorm
from rbm.stability.natural_choice import AnchorChoice
from rbm.stability.options import check_options
from rbm.storage.archive import read_archive, write_archive
from rbm.weak_greedy import StoppingRule, weak_greedy

__all__ = ["BoundNaturalNorm", "NaturalNorm"]

KIND = "natural-norm anchors"
TRAINING = 500


@dataclass(frozen=True, eq=False)
class NaturalNorm:
    """A lower bound of the inf-sup constant in natural norms of anchors mu_k: any model with entries, of any size.

    beta(mu) >= beta(mu_k) b_k(mu), b_k(mu) = min_w Re (A(mu) w, A(mu_k) w)_{P'} / ||A(mu_k) w||_{P'}^2,

    P' the dual norm. b_k is one at mu_k and concave in the coefficients: with y_q(w) = (A_q w, A(mu_k) w)_{P'} /
    ||A(mu_k) w||_{P'}^2 it is the minimum of Re sum_q theta_q(mu) y_q over the attainable y, which lie in a box, with
    sum_q theta_q(mu_k) y_q = 1, and above b_k(mu_j) where that was computed: a linear program, bounded from below as in
    :class:`SCM`, where no solver has to be trusted.

    Parameters
    ----------
    training : (M, p) points on which the bound is made at least `ratio` times the true constant; by default 500
    ratio : in (0, 1). A larger one takes more anchors and constraints
    max_anchors, max_constraints : give up beyond so many anchors, and so many constants b_k(mu_j) in all
    rng, progress : of the default training set; whether to show a bar
    cache : a folder where anchors are kept while they are computed, by the SHA-256 of the model, the training
        points and the sources that prove;
        an interrupted run, or one for the same model, goes on from there

    Points are chosen greedily, where the bound is smallest relative to an upper bound of beta(mu) from the minimisers
    so far: there a constraint is added to the anchor that promises enough, or else an anchor.

    Proved: beta(mu_k), the box and the constants b_k(mu_j), by the signs of pivots of sparse block matrices
    (:mod:`rbm.stability.certificates`), and the bound itself, rounding included. Measured: that it is sharp.
    Raises StabilityError, which names the parameter, where A(mu) is singular or the limits do not suffice; Interrupted
    on Ctrl-C. Cost offline: per anchor about 4 Qa (real: 2 Qa) eigenvalues and factorisations of order 3 n, one of
    order 2 n; per constraint one of each. Online: one linear program of Qa or 2 Qa unknowns per point, by walks between
    vertices (:mod:`rbm.stability.vertex_walk`).
    Source: Huynh, Knezevic, Chen, Hesthaven and Patera, Comput. Methods Appl. Mech. Eng. 199 (2010) 1963-1975.
    """

    training: Any = None
    ratio: float = 0.3
    max_anchors: int = 100
    max_constraints: int = 400
    rng: int = 0
    progress: bool = False
    cache: str | os.PathLike[str] | None = None

    def bind(self, system: AffineSystem) -> BoundNaturalNorm:
        """Choose the anchors for a system, going on with those in the cache."""
        check_options(self, least={"max_constraints": 0})
        if system.black_box:
            raise StabilityError("natural norms need the entries of all operator terms; one is a LinearOperator")
        space = system.parameters
        mus = space.sample(TRAINING, rng=self.rng) if self.training is None else space.validate(self.training)
        path = None if self.cache is None else self._file(Path(self.cache), system, mus)
        choice = AnchorChoice(
            system, mus, self.ratio, (self.max_anchors, self.max_constraints), _read(path, space), self._announce
        )
        try:
            stop, worst = weak_greedy(
                choice,
                StoppingRule(tol=-self.ratio, limit=self.max_constraints + self.max_anchors, least=1),
                "natural norms",
                shown=lambda value: f"bound / truth {0 - value:.2f}",
                progress=self.progress,
                after=lambda: _write(path, choice.bound),
            )
        except KeyboardInterrupt as interrupt:
            kept = "they are in the cache" if path else "with a cache= folder they would be kept"
            raise Interrupted(
                f"interrupted with {choice.size} anchors and constraints done; {kept}", choice.bound
            ) from interrupt
        if stop != "tolerance":
            anchors = len(choice.bound.anchors)
            raise StabilityError(
                f"{anchors} anchors and {choice.size - anchors} constraints are not enough: the stability bound is "
                f"{-worst.value:.2g} of the constant at {space.describe(mus[worst.point])}; allow "
                "more (max_anchors=, max_constraints=), ask for less (ratio=), or narrow the parameter ranges"
            )
        return choice.finished()

    def _announce(self, seconds: float) -> None:
        announce(
            "natural norms: the first anchor",
            seconds,
            "there may be tens of anchors; a smaller ratio= or narrower ranges make it shorter, and cache= keeps what "
            "is done",
            progress=self.progress,
        )

    def _file(self, folder: Path, system: AffineSystem, mus: np.ndarray) -> Path:
        return folder / f"natural-{digest((proving_sources(), system.operators_fingerprint(), mus))[:40]}.npz"

    def __repr__(self) -> str:
        return f"NaturalNorm(ratio={self.ratio:g}, max_anchors={self.max_anchors})"


def _read(path: Path | None, space: ParameterSpace) -> BoundNaturalNorm | None:
    if path is None or not path.exists():
        return None
    try:
        return BoundNaturalNorm.from_arrays({**read_archive(path, KIND, key=path.stem)[1], "parameters": space})
    except (OSError, ValueError) as error:
        warnings.warn(f"cached anchors are not used and will be computed again: {error}", UserWarning, stacklevel=4)
        return None


def _write(path: Path | None, bound: BoundNaturalNorm) -> None:
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays = {n: a for n, a in bound.arrays().items() if n != "parameters"}
        write_archive(path, {"kind": KIND, "key": path.stem}, arrays)
    except OSError as error:
        warnings.warn(f"anchors could not be cached: {error}", UserWarning, stacklevel=4)
