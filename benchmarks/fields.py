"""How long a slider of ``rbm explore`` takes to show a new answer, and figures: ``python -m benchmarks.fields``.

For the fin (5009 unknowns, N = 30), with and without its field, and for scattering by a sphere (complex, least
squares): each slider goes through its range in 60 steps, as a mouse does, and then jumps to 20 random places. A step is
all from the event to the finished picture: one answer, the response curve at 81 points where another parameter than its
own moved, its band, the words, the field, and the drawing by Agg. Results are kept in fields.json, case by case, and a
run goes on where the last one stopped; milliseconds are wall time on the machine that it names. --figures writes
figures/fields.png and figures/explore.png.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import problems
import rbm
from benchmarks.harness import machine, text_table
from benchmarks.page import fin, sphere
from rbm.show.explore import Explorer
from rbm.show.explore.picture import agg_figure
from rbm.show.explore.window import Window

RESULTS = Path(__file__).with_name("fields.json")
FIGURES = Path(__file__).parents[1] / "figures"
STEPS, JUMPS = 60, 20


def measured(window: Window) -> dict[str, Any]:
    """Milliseconds of all updates of all sliders, dragged and put to random places."""
    rng = np.random.default_rng(0)
    drags, jumps = [], []
    for slider in window.sliders:
        for times, positions in ((drags, np.linspace(0, 1, STEPS)), (jumps, rng.uniform(0, 1, JUMPS))):
            for position in positions:
                started = time.perf_counter()
                slider.set_val(position)
                times.append(1e3 * (time.perf_counter() - started))
        slider.set_val(0.5)
    return {
        "drag_fastest": min(drags), "drag_median": float(np.median(drags)), "drag_95": float(np.quantile(drags, 0.95)),
        "jump_median": float(np.median(jumps)), "jump_95": float(np.quantile(jumps, 0.95)),
    }  # fmt: skip


def figures() -> None:
    """Write the figures of docs/fields.md."""
    import matplotlib.image

    model, basis = problems.thermal_fin(4), problems.thermal_fin_basis(4)
    reduced = rbm.greedy(model, model.parameters.sample(200), max_basis=20).reduced_model
    mus = np.ones((3, 5))
    mus[:, 4] = (0.01, 0.1, 1.0)
    rbm.fields(reduced, mus, basis).plot().savefig(FIGURES / "fields.png", dpi=110, metadata={"Software": None})
    rough = reduced.truncate(8)
    window = Window(Explorer(rough, basis), agg_figure)
    window.sliders[4].set_val(0.25)
    picture = window.picture.image()
    last = np.flatnonzero(np.any(picture[:, :, :3] != 255, axis=(1, 2)))[-1]  # the room for more outputs is cut off
    matplotlib.image.imsave(FIGURES / "explore.png", picture[: last + 12], metadata={"Software": None})


def main() -> None:
    """Measure all cases, and print a table."""
    parser = argparse.ArgumentParser(description="Milliseconds of an update of rbm explore.")
    parser.add_argument("--figures", action="store_true", help="write the figures instead")
    if parser.parse_args().figures:
        figures()
        return
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"machine": machine(), "cases": {}}
    cases: dict[str, Callable[[], Explorer]] = {
        "fin": lambda: Explorer(fin()),
        "fin, with its field": lambda: Explorer(fin(), problems.thermal_fin_basis(4)),
        "scattering": lambda: Explorer(sphere()),
    }
    for name, make in cases.items():
        if name not in kept["cases"]:
            explorer = make()
            window = Window(explorer, agg_figure)
            for slider in window.sliders:  # compiled kernels and fonts are loaded
                slider.set_val(0.4)
            reduced = explorer.source.reduced
            kept["cases"][name] = {"unknowns": reduced.unknowns, "N": reduced.size, **measured(window)}
            RESULTS.write_text(json.dumps(kept, indent=1) + "\n")
    keys = ("drag_fastest", "drag_median", "drag_95", "jump_median", "jump_95")
    rows = [[name, *(f"{case[key]:.1f}" for key in keys)] for name, case in kept["cases"].items()]
    print(text_table("Milliseconds of an update", ["", *(k.replace("_", ", ") for k in keys)], rows))


if __name__ == "__main__":
    main()
