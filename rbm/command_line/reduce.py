"""The command ``rbm reduce``: a certified reduced model from files alone."""

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lowrank.writing import write_atomically
from rbm.command_line.described_model import full_model, training_points
from rbm.command_line.model_description import Description, read_description
from rbm.command_line.summary import greedy_summary
from rbm.command_line.template import TEMPLATE, write_template
from rbm.errors import ParameterError
from rbm.files.greedy_result import GreedyResult, stored
from rbm.files.partition_result import PartitionedResult, stored_snapshots
from rbm.full_order import FullOrderModel
from rbm.greedy import greedy
from rbm.show import plots
from rbm.show.history import greedy_history
from rbm.stability.bound import evaluated

__all__ = ["add_reduce"]


def add_reduce(commands: Any) -> None:
    """Register the command with the subparsers of argparse."""
    command = commands.add_parser(
        "reduce",
        description="Make a certified reduced model from a model file, which names the files of its matrices, their "
        "coefficients, the parameters and the stability bound. Written are model.rbm, summary.json and figures.",
    )
    command.add_argument("model", type=Path, nargs="?", metavar="MODEL.toml", help="the model file")
    command.add_argument("--out", type=Path, help="folder for the results (default: out/NAME of MODEL.toml)")
    command.add_argument(
        "--workspace",
        type=Path,
        metavar="FOLDER",
        help="keep tall matrices in files there, for what memory cannot hold",
    )
    command.add_argument("--batch", type=int, metavar="K", help="the most snapshots a step (default: as the file says)")
    command.add_argument("--workers", type=int, default=1, metavar="K", help="processes that solve (default: this one)")
    command.add_argument(
        "--template",
        action="store_true",
        help="print a commented example; with --out, write it and its matrices to that folder",
    )
    command.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    if options.template:
        if options.model is not None:
            raise ParameterError("give either a model file or --template")
        if options.out is None:
            print(TEMPLATE, end="")
        else:
            written = write_template(options.out)
            print(f"{written} and its matrices are written; rbm reduce {written} makes the reduced model")
        return
    if options.model is None:
        raise ParameterError("rbm reduce needs a model file; rbm reduce --template prints an example")
    for name, given in (("--batch", options.batch), ("--workers", options.workers)):
        if given is not None and given < 1:
            raise ParameterError(f"{name} must be a whole number of at least 1, got {given}")
    out = options.out or Path("out") / options.model.stem
    how = {"workspace": options.workspace, "batch": options.batch, "workers": options.workers}
    reduce(options.model, out, progress=True, **how)


def reduce(
    path: Path,
    out: Path,
    *,
    progress: bool = False,
    workspace: Path | None = None,
    batch: int | None = None,
    workers: int = 1,
) -> dict[str, Any]:
    """Make the reduced model that a file describes, and write model.rbm, summary.json and figures to the folder `out`.

    Until it is done, the folder also holds what an interrupted run goes on from: greedy.run, and the anchors of those
    stability bounds that keep them.

    workspace : a folder for tall matrices; batch : the most snapshots a step, by default as the file says; workers :
    processes that solve, this one alone for 1 (:func:`rbm.greedy`)

    Returns the summary, the content of summary.json.
    """
    description = read_description(path)
    out.mkdir(parents=True, exist_ok=True)  # now, not after the offline stage
    start = time.perf_counter()
    model = full_model(description, progress=progress, cache=out / "stability")
    prepared = time.perf_counter() - start
    print(f"{model}\n  stability bound {description.bound!r}, {prepared:.1f} s with the matrices")
    training = training_points(description)
    begin = time.perf_counter()
    most = description.batch if batch is None else batch
    with ProcessPoolExecutor(workers) if workers > 1 else nullcontext() as executor:
        how = {"executor": executor, "batch": most, "workspace": workspace, "progress": progress}
        result = _greedy(description, model, training, out / "greedy.run", how)
    print(f"offline, {time.perf_counter() - begin:.1f} s\n  {result}")
    for name, dual in result.dual.items():
        print(f"  dual problem of the output {name}: {dual}")
    result.reduced_model.save(out / "model.rbm")
    summary = _summary(description, model, result, training, (prepared, time.perf_counter() - begin))
    write_atomically(out / "summary.json", (json.dumps(summary, indent=1) + "\n").encode())
    drawn = greedy_history(result.history, tol=description.tol, relative=description.relative)
    plots.save(drawn, out / "history")
    plots.save(plots.selected_parameters(result.parameters, model.parameters), out / "selected_parameters")
    (out / "greedy.run").unlink(missing_ok=True)
    print(f"model.rbm, summary.json and figures are in {out}")
    return summary


def _greedy(
    description: Description, model: FullOrderModel, training: np.ndarray, run: Path, how: dict[str, Any]
) -> GreedyResult | PartitionedResult:
    """Run the greedy, from the file `run` if an interrupted one of the same model has left it.

    how : with what workers, in what batches, where
    """
    go = partial(
        greedy,
        model,
        training,
        tol=description.tol,
        max_basis=description.max_basis,
        relative=description.relative,
        dual=description.dual,
        split=description.split,
        checkpoint=run,
        **how,
    )
    if run.exists():
        try:
            (stored_snapshots if description.split else stored)(run, model)
        except ValueError as error:
            print(f"{run} is not taken up: {error}")
        else:
            print(f"going on from {run}, which an interrupted run has left")
            return go(resume=run)
    return go()


def _summary(
    description: Description,
    model: FullOrderModel,
    result: GreedyResult | PartitionedResult,
    training: np.ndarray,
    seconds: tuple[float, float],
) -> dict[str, Any]:
    """Return the content of summary.json; seconds : for the model with its bound, and for the greedy."""
    beta = evaluated(model.stability, training, model.operator_coefficients(training), model.parameters)
    constraints = model.constraints
    return {
        "model": Path(description.document.file).name,
        "unknowns": model.dimension,
        "fixed_unknowns": 0 if constraints is None else len(constraints.fixed),
        "parameters": dict(zip(model.parameters.names, model.parameters.bounds.tolist(), strict=True)),
        "stability": description.bound,
        "stability_on_training": [float(beta.min()), float(beta.max())],
        "outputs": list(model.outputs),
        "output_kinds": {name: output.kind for name, output in result.reduced_model.outputs.items()},
        "dual": {name: _dual_summary(dual) for name, dual in result.dual.items()},
        "training_parameters": len(training),
        "tolerance": description.tol,
        "relative": description.relative,
        "projection": result.projection,
        "solver": None if model.solver is None else repr(model.solver),
        "not_proved": model.inner_product.measured,
        "seconds": {"model": seconds[0], "greedy": seconds[1]},
        **greedy_summary(result),
    }


def _dual_summary(result: GreedyResult) -> dict[str, Any]:
    """Return what summary.json says of the greedy run of a dual problem."""
    made = greedy_summary(result)
    return {key: made[key] for key in ("basis_size", "stopped", "reason", "history")}
