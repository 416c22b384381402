"""Rigorous lower bounds of inf-sup constants, online, from a few anchors."""

from __future__ import annotations

import os
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lowrank.renamed import renamed
from rbm.affine.fingerprints import digest
from rbm.affine.system import AffineSystem
from rbm.errors import StabilityError, WorkersLost
from rbm.stability.anchored_bound import BoundAnchored
from rbm.stability.anchored_choice import AnchoredChoice, KeptAnchors
from rbm.stability.cost import announce, interrupted, proving_sources, read_kept, write_kept
from rbm.stability.executors import Employer, Step, lost
from rbm.stability.options import check_options
from rbm.weak_greedy import StoppingRule, weak_greedy
from rbm.workers.crew import Crew

__all__ = ["Anchored", "BoundAnchored"]

KIND = "stability anchors"


@renamed(seed="rng")
@dataclass(frozen=True, eq=False)
class Anchored(Employer):
    """A rigorous lower bound of the inf-sup constant by perturbation from anchors mu_k.

    Its cost online is independent of n.

    With A(mu) - A(mu_k) = sum_q Delta_q A_q, Delta = theta(mu) - theta(mu_k), and norms from P to P',

        beta(mu) >= beta(mu_k) - sum_q |Delta_q| ||A_q||,
        beta(mu) >= beta(mu_k) (1 - ||A(mu_k)^{-1} sum_q Delta_q A_q||_P) >= beta(mu_k) (1 - J_k ||C Delta||_2 - ...),

    and beta(mu) is at least the best of both over all anchors. The second, the natural norm, is the sharper one:
    A_k^{-1} A_q is small where A_k is not, and the Euclidean norm of C Delta knows that the terms do not all pull the
    same way. C (unitary rotation of the terms, then scaling) is common to all anchors, J_k is the joint norm
    ||[T_1 .. T_L]||, or that of the column of them, T_l = A_k^{-1} B_l with the rotated terms B_l; those that hardly
    vary enter by their norms (the dots).

    Parameters
    ----------
    training : (M, p) parameter points on which the bound is made at least `ratio` times the true constant; 500 points
        by default
    ratio : in (0, 1)
    max_anchors : give up, with an error, beyond these
    rng, progress : of the default training set; whether to show a bar
    cache : a folder where anchors are kept while they are computed, by the SHA-256 of the model, the training points
        and the sources that prove; an interrupted run, or one with another ratio or limit, goes on with them; none by
        default
    batch : the most anchors a step: at the worst point, and where the bound would be worst if those before were as good
        as they may be. The anchors depend on it; any make a true bound
    executor : the anchors of a step, and norms of sparse terms, are computed by its workers (docs/scale.md) while the
        model is made; the bound depends neither on it nor on the number of workers

    Anchors are chosen greedily, where the bound is worst relative to an upper bound of beta(mu):
    min_k ||A(mu) v_k||_{P'} / ||v_k||_P with the minimisers v_k at the anchors. So no constant is computed but at the
    anchors, and the bound is at least `ratio` times the true one on the training set.

    One rule: a model whose product and operator terms are all sparse goes the sparse way, of any size, all others the
    dense way. Sparse: beta(mu_k), norms and J_k are *proved* by the signs of pivots (:mod:`rbm.stability.certificates`)
    and rounding is charged; C comes from the first anchor. Also for small n: there an anchor costs about as much as the
    dense way's, and about half as many are needed. Dense: constants are lowered, norms raised, by 1e-8 and by rounding
    errors of the size that the conditions of P and A(mu_k) give them, 10 sqrt(n) u cond: *measured* and generous, an
    allowance and not an enclosure.

    Cost offline, said before it begins: sparse, per anchor two eigenvalues by Lanczos iterations, and factorisations
    of order n, 2 n and (L + 2) n for L <= Qa rotated terms; dense, (Qa + 3) factorisations per anchor, n <= 6000;
    online O(K Qa + Qa^2) per point, K anchors.
    Raises StabilityError, which names the parameter, where A(mu) is singular or `max_anchors` do not suffice;
    Interrupted on Ctrl-C, with the bound from the anchors so far as its result (None before the first), and WorkersLost
    where workers die more than once, with the same as its solution.
    Sources: perturbation of singular values (Weyl); natural norms: Sen, Veroy, Huynh, Deparis, Nguyen, Patera, J.
    Comput. Phys. 217 (2006); greedy anchors as in the successive constraint method (Huynh, Rozza, Sen, Patera, C. R.
    Math. 345 (2007)).
    """

    training: Any = None
    ratio: float = 0.5
    max_anchors: int = 400
    rng: int = 0
    progress: bool = False
    cache: str | os.PathLike[str] | None = None
    batch: int = 1
    executor: Executor | None = None

    def bind(self, system: AffineSystem) -> BoundAnchored:
        """Choose the anchors for a system, going on with those in the cache.

        Raises StabilityError for a term without entries, and as the class says; Interrupted and WorkersLost with what
        is done.
        """
        check_options(self)
        if system.black_box:
            raise StabilityError("inf-sup constants need the entries of all operator terms; one is a LinearOperator")
        space = system.parameters
        mus = space.sample(500, rng=self.rng) if self.training is None else space.validate(self.training)
        path = None if self.cache is None else self._file(Path(self.cache), system, mus)
        known = read_kept(path, KIND, "anchors", lambda arrays: KeptAnchors.from_arrays(arrays, system))

        def keep() -> None:
            if choice.known is not None and choice.known is not known:
                write_kept(path, KIND, "anchors", choice.known.arrays())

        with Crew(self.executor, None) as crew:
            step = Step(self.batch, max(self.max_anchors, 1), -self.ratio)
            choice = AnchoredChoice(system, mus, self.ratio, known, self._announce, crew, step)
            try:
                stop, worst = weak_greedy(
                    choice,
                    StoppingRule(tol=step.tol, limit=step.limit),
                    "stability anchors",
                    shown=lambda value: f"bound / truth {0 - value:.2f}",
                    total=self.max_anchors,
                    progress=self.progress,
                    after=keep,
                )
            except (KeyboardInterrupt, WorkersLost) as error:
                done, bound = f"{choice.size} stability anchors", choice.bound if choice.size else None
                if isinstance(error, WorkersLost):
                    raise lost(error, done, path, bound) from error
                raise interrupted(done, path, bound) from error
        if stop == "limit":
            at = slice(worst.point, worst.point + 1)
            raise StabilityError(
                f"{self.max_anchors} anchors are not enough: at {space.describe(mus[worst.point])} "
                f"the stability bound is {choice.bound.best(choice.theta[at])[0]:.3g}, less than {self.ratio:g} of "
                f"{choice.upper[worst.point]:.3g}; allow more (max_anchors=), ask for less (ratio=), or narrow the "
                "parameter ranges"
            )
        return choice.bound

    def _announce(self, what: str, seconds: float) -> None:
        announce(
            f"the stability bound of Anchored: {what}",
            seconds,
            "a smaller ratio=, fewer training points or narrower ranges make it shorter, and cache= keeps what is "
            "done; NaturalNorm() needs fewer anchors for sparse models",
            progress=self.progress,
        )

    def _file(self, folder: Path, system: AffineSystem, mus: np.ndarray) -> Path:
        # with the sources: what another version of them certified is not for this one; ratio and max_anchors decide
        # only how many of the anchors are taken
        return folder / f"anchors-{digest((proving_sources(), system.operators_fingerprint(), mus))[:40]}.npz"

    def __repr__(self) -> str:
        return f"Anchored(ratio={self.ratio:g}, max_anchors={self.max_anchors})"
