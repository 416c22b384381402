"""The command ``rbm info``: what a model file, or the file of a greedy run, holds, as a page or as JSON.

facts.py says what is known of models, time_info.py of models in time, run_facts.py of runs.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from lowrank.terminal import columns, labelled, thinned, wrapped
from rbm.command_line.facts import Facts, of_model, of_partition
from rbm.command_line.run_facts import RUNS, of_run
from rbm.command_line.time_info import of_time_model
from rbm.reduced.partitioned import PartitionedModel
from rbm.storage.archive import read_archive
from rbm.time.files import MODELS, model_of
from rbm.time.reduced import ReducedTimeModel

__all__ = ["KEYS", "add_info", "page"]

#: What --json prints of files of every kind, null where there is nothing.
KEYS = (
    *("file", "kind", "bytes", "made", "versions", "fingerprint"),
    *("basis_size", "basis_sizes", "unknowns", "projection", "dtype", "operator_terms", "rhs_terms"),
    *("operator_coefficients", "rhs_coefficients", "mass_coefficients", "quantized", "steps", "dt", "theta"),
    *("parameters", "scale", "parameter_units", "stability", "estimators", "default_estimator", "refused"),
    *("covers", "does_not_cover", "not_proved", "outputs", "output_units", "stopped", "changed"),
    *("training_parameters", "history", "leaves", "selected_parameters"),
)


def add_info(commands: Any) -> None:
    """Register the command with the subparsers of argparse."""
    about = (
        "Shows when and with what a file was made, its size, ranges, stability bound and outputs, what its error "
        "bounds cover, and the number of basis vectors against the largest bound of the greedy."
    )
    info = commands.add_parser("info", description=about)
    info.add_argument("model", type=Path, metavar="MODEL")
    info.add_argument("--json", action="store_true", help="print it as JSON, numbers and tables whole")
    info.set_defaults(run=_info)


def _info(options: argparse.Namespace) -> None:
    header, arrays = read_archive(options.model, (*MODELS, *RUNS))
    kind, size = str(header["kind"]), options.model.stat().st_size
    if kind in RUNS:
        facts = of_run(header, options.model)
    else:
        model = model_of(header, arrays, os.fspath(options.model))
        about: Any = of_model
        if isinstance(model, ReducedTimeModel | PartitionedModel):
            about = of_time_model if isinstance(model, ReducedTimeModel) else of_partition
        facts = about(model)
    if options.json:
        known = {"file": str(options.model), "kind": kind, "bytes": size, **facts.values}
        print(json.dumps(dict.fromkeys(KEYS) | known, indent=1))
        return
    print(wrapped(f"{options.model.name}: a {kind}"))
    print(page(facts, [("file", f"{size} bytes")]))


def page(facts: Facts, first: list[tuple[str, str]], width: int | None = None) -> str:
    """Return the sections one below the other, at most `width` columns wide, by default the terminal's."""
    made = []
    for heading, content in facts.sections.items():
        if heading:
            made += ["", wrapped(heading, width)]
        if isinstance(content, tuple):
            headings, rows, most = content
            shown = thinned(len(rows), most)
            made.append(columns(headings, [rows[k] for k in shown], width))
            if len(shown) < len(rows):
                made.append(wrapped(f"  {len(shown)} of {len(rows)} rows; --json has all", width))
        else:
            made.append(labelled([*([] if heading else first), *content], width))
    return "\n".join(made)
