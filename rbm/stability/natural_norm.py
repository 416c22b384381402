"""Lower bounds of inf-sup constants in the natural norms of a few anchors, sparse, for models of any size."""

from __future__ import annotations

import os
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rbm.affine.fingerprints import digest
from rbm.affine.system import AffineSystem
from rbm.errors import StabilityError, WorkersLost
from rbm.stability.cost import announce, interrupted, proving_sources, read_kept, write_kept
from rbm.stability.executors import Employer, lost
from rbm.stability.natural_bound import BoundNaturalNorm
from rbm.stability.natural_choice import AnchorChoice, done
from rbm.stability.options import check_options
from rbm.weak_greedy import StoppingRule, weak_greedy
from rbm.workers.crew import Crew

__all__ = ["BoundNaturalNorm", "NaturalNorm"]

KIND = "natural-norm anchors"
TRAINING = 500


@dataclass(frozen=True, eq=False)
class NaturalNorm(Employer):
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
    executor : norms of the terms and the ranges of an anchor, two eigenvalues and their proofs each, are computed by
        its workers (docs/scale.md), while the model is made; the bound is the same, to the last bit

    Points are chosen greedily, where the bound is smallest relative to an upper bound of beta(mu) from the minimisers
    so far: there a constraint is added to the anchor that promises enough, or else an anchor.

    Proved: beta(mu_k), the box and the constants b_k(mu_j), by the signs of pivots of sparse block matrices
    (:mod:`rbm.stability.certificates`), and the bound itself, rounding included. Measured: that it is sharp.
    Raises StabilityError, which names the parameter, where A(mu) is singular or the limits do not suffice; Interrupted
    on Ctrl-C, and WorkersLost where workers die more than once, with the bound so far. Cost offline: per anchor about 4
    Qa (real: 2 Qa) eigenvalues and factorisations of order 3 n, one of order 2 n; per constraint one of each. Online:
    one linear program of Qa or 2 Qa unknowns per point, by walks between vertices (:mod:`rbm.stability.vertex_walk`).
    Source: Huynh, Knezevic, Chen, Hesthaven and Patera, Comput. Methods Appl. Mech. Eng. 199 (2010) 1963-1975.
    """

    training: Any = None
    ratio: float = 0.3
    max_anchors: int = 100
    max_constraints: int = 400
    rng: int = 0
    progress: bool = False
    cache: str | os.PathLike[str] | None = None
    executor: Executor | None = None

    def bind(self, system: AffineSystem) -> BoundNaturalNorm:
        """Choose the anchors for a system, going on with those in the cache.

        Raises StabilityError for a term without entries, and as the class says; Interrupted and WorkersLost with what
        is done.
        """
        check_options(self, least={"max_constraints": 0})
        if system.black_box:
            raise StabilityError("natural norms need the entries of all operator terms; one is a LinearOperator")
        space = system.parameters
        mus = space.sample(TRAINING, rng=self.rng) if self.training is None else space.validate(self.training)
        path = None if self.cache is None else self._file(Path(self.cache), system, mus)
        known = read_kept(
            path, KIND, "anchors", lambda arrays: BoundNaturalNorm.from_arrays({**arrays, "parameters": space})
        )
        limits, choice = (self.max_anchors, self.max_constraints), None
        try:
            with Crew(self.executor, None) as crew:
                choice = AnchorChoice(system, mus, self.ratio, limits, known, self._announce, crew)
                stop, worst = weak_greedy(
                    choice,
                    StoppingRule(tol=-self.ratio, limit=self.max_constraints + self.max_anchors, least=1),
                    "natural norms",
                    shown=lambda value: f"bound / truth {0 - value:.2f}",
                    progress=self.progress,
                    after=lambda: write_kept(path, KIND, "anchors", _arrays(choice.bound)),
                )
        except (KeyboardInterrupt, WorkersLost) as error:
            bound = known if choice is None else choice.bound
            made = f"{done(bound)} anchors and constraints"
            if isinstance(error, WorkersLost):
                raise lost(error, made, path, bound) from error
            raise interrupted(made, path, bound) from error
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


def _arrays(bound: BoundNaturalNorm) -> dict[str, np.ndarray]:
    return {name: a for name, a in bound.arrays().items() if name != "parameters"}
