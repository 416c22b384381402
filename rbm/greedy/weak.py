"""The weak greedy algorithm: the basis grows where the error bound is largest."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from typing import Any, cast

import numpy as np

from rbm.affine.missing import check_training
from rbm.affine.riesz_by_workers import riesz_by_workers
from rbm.errors import ModelError, ParameterError, WorkersLost, WorkspaceError
from rbm.estimators import Estimator
from rbm.files.greedy_result import GreedyResult
from rbm.files.partition_result import PartitionedResult
from rbm.full_order import FullOrderModel, Projection
from rbm.greedy.boxes import Search, Settings, check_split
from rbm.greedy.run import Run
from rbm.project import dual_names, estimator_classes
from rbm.reduction.memory import check_memory, memory_use, resident_memory
from rbm.storage.workspace import opened
from rbm.weak_greedy import StoppingRule, check_batch
from rbm.workers.crew import Crew

__all__ = ["greedy"]


def greedy(
    model: FullOrderModel,
    training: Any = None,
    *,
    tol: float = 0.0,
    max_basis: int | None = None,
    estimators: Sequence[str | type[Estimator]] = ("orthonormal",),
    batch: int = 1,
    executor: Executor | None = None,
    progress: bool = False,
    resume: GreedyResult | PartitionedResult | str | os.PathLike[str] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    projection: Projection | None = None,
    relative: bool = False,
    dual: Sequence[str] | str = (),
    workspace: str | os.PathLike[str] | None = None,
    split: bool = False,
) -> GreedyResult:
    """Build a basis greedily: add the solution at the training parameter with the largest error bound, again and again.

    Parameters
    ----------
    model : the full-order model
    training : (M, p) parameters, for example ``model.parameters.sample(1000)``
    tol : stop when the largest bound on the training set, in the P-norm, is at most this; 0 goes on to round-off
    max_basis : stop at this many basis vectors; n by default
    estimators : the first drives the greedy, all are prepared for the final model
    batch : the most snapshots a step: at the worst training point, and at others whose residuals point elsewhere
        (:func:`rbm.reduced.training_sweep.far_apart`), in the first step at points spread out in the parameters. They
        are solved at once, and there are fewer sweeps; the certificate is the same. Take a multiple of the number of
        workers; the basis depends on it
    executor : truth solves, sweeps of more than 131072 training points, and Riesz solves that threads of this process
        do not do, go to its workers: process and thread pools, Dask, MPI, loky, anything with the interface of
        concurrent.futures (docs/scale.md). The result depends neither on it nor on the number of workers
    progress : show a progress bar on a terminal or in a notebook; for runs that somebody watches
    resume : a GreedyResult, or the path of one that was saved: go on from its basis, with the same model (checked)
        and the same or another training set
    checkpoint : a path to which the basis is written after every step
    projection : "galerkin" or "least-squares" (:class:`rbm.Reduction`); by default that of the resumed run, or the
        model's own
    relative : `tol`, the selection and the history are about bound / ||u_N(mu)||_P instead of the bound itself
    dual : names of linear outputs, or "all" for those that gain by it: their dual problems A(mu)^H z = conj l(mu) get
        a basis each, by the same greedy, and the outputs are corrected, with the product of both residuals as bound
        (:class:`rbm.reduced.primal_dual.ReducedPrimalDual`). The tolerance is the same share of the largest bound with
        an empty basis as for u (with `relative`, `tol` itself), the limit `max_basis`; so both factors of the product
        have come down alike. The results are in `dual` of the result; a checkpoint holds the basis for u only
    workspace : a folder, empty or new: tall matrices are kept there, in files that are mapped into memory and removed
        at the end. For what does not fit otherwise (:func:`rbm.expected_memory`); the result is the same, bit for bit
    split : cut the box of parameters, at the median of the training points along its longest edge, until each part
        meets `tol` with at most `max_basis` vectors, both of which are needed. Snapshots are shared: no point is solved
        twice. For wide ranges: the cost of a query falls with the cube of N (docs/local-bases.md). A part with fewer
        than twice `max_basis` training points is not cut

    Returns
    -------
    GreedyResult, or with `split` a :class:`rbm.PartitionedResult`, whose reduced model is partitioned; `stopped` is

    - "tolerance": the largest bound is at most `tol`
    - "max_basis": the basis has `max_basis` vectors; with `split`, that of a part whose training points are too few
    - "round-off": no estimate on the training set is resolved any more, or the next solution adds nothing but round-off
      to the basis (its remainder is less than four bits above the rounding error of the vector), or the driving
      estimator has become unusable

    Raises
    ------
    Interrupted
        Ctrl-C; its `result` is the GreedyResult so far.
    WorkersLost
        workers that died more than once, an executor that was shut down; its `solution` is the GreedyResult so far.
    WorkspaceError
        a workspace that is full, read-only, in use or of another model; its `result` is the GreedyResult so far.
    ParameterError, ModelError, StabilityError
        bad training set, a basis that does not fit into memory, singular full-order system, stability bound that is not
        positive, or that is too large: where the bound is below the true error at a selected parameter, and the error
        vector itself shows that the stability bound is the cause.

    Notes
    -----
    The true error at each selected parameter is known at no cost, from the solution that is added: `effectivity` in the
    history. It says nothing of other parameters; :meth:`rbm.FullOrderModel.verify` checks the stability bound at random
    ones. E3 and E4 estimate: with them an effectivity below 1 may be their own, and is no error.

    Cost of a vector: one full-order solve, 4 Qa Riesz solves, 4 n m Qa flops (m = Qf + Qa N); one sweep a batch.
    The basis is orthonormalised by Gram-Schmidt twice; reduced quantities grow, they are never recomputed.
    Source: Veroy, Prud'homme, Rovas, Patera, AIAA 2003-3847.
    """
    classes = estimator_classes(estimators)
    if not isinstance(model, FullOrderModel):
        got = f"got {type(model).__name__}: greedy(model, training, ...)"
        raise TypeError(f"the first argument of greedy is the full-order model, {got}")
    check_training(training)
    check_batch(batch)
    _check_driver(classes[0], tol)
    names = dual_names(model, dual)
    limit = model.dimension if max_basis is None else min(max_basis, model.dimension)
    if limit < 1:
        raise ParameterError(f"max_basis must be at least 1, got {max_basis}")
    points = model.parameters.validate(training)
    check_split(split, tol, max_basis, resume, classes)
    with Crew(executor, model) as crew, opened(workspace, model, checkpoint) as store:
        before, said = resident_memory(), None if max_basis is None else check_memory(model, limit, batch, store)
        rule = StoppingRule(tol, limit, least=1 if split else int(relative))
        if split:
            settings = Settings(classes, rule, projection, relative, batch, names, greedy, progress, checkpoint)
            with riesz_by_workers(crew, model):
                # it has the names of the other; for type checkers the result is always that
                return cast(GreedyResult, Search(model, points, settings, crew, store, resume).result())
        run = Run(model, points, classes, resume, projection, relative, batch, crew, store)
        after = None if checkpoint is None else partial(run.save, checkpoint)
        try:
            with riesz_by_workers(crew, model):
                # a first basis vector is needed before errors are relative to u_N
                ended = run.extended(rule, after, progress, said)
                run.solve_duals(greedy, names, resume, tol, limit, progress)
                return replace(run.result(*ended), memory=memory_use(model, run.size, batch, store, before))
        except KeyboardInterrupt as interrupt:
            raise run.interrupted() from interrupt
        except WorkersLost as error:
            raise run.without_workers(error) from error
        except WorkspaceError as error:
            error.result = run.out_of_room()
            raise


def _check_driver(driver: type[Estimator], tol: Any) -> None:
    """Raise an error for a tolerance that is none, and for an estimator that cannot drive a greedy."""
    if not (isinstance(tol, int | float | np.number) and np.isfinite(tol) and tol >= 0):
        raise ParameterError(f"tol must be a number >= 0, got {tol!r}")
    if not driver.certain:
        raise ModelError(
            "the estimator 'sketched' cannot drive a greedy: its bounds fail with some probability for parameters "
            'chosen without it, nothing is known of others; write estimators=("orthonormal", "sketched")'
        )
