"""Pages of reduced models in a real browser, against Python: ``python -m benchmarks.page``.

For the fin and for scattering by a sphere: the size of the page, 1000 points in the browser against Python, the time
from opening to the first answer, frames per second while a slider moves, and the milliseconds of one answer. Needs
Debian's chromium (apt-get install -y chromium). Results are kept in page.json, case by case; a run goes on where the
last one stopped. --again CASE measures one once more; --pictures FOLDER keeps screenshots: wide and narrow, light and
dark.

Frames are drawn by software here, with no screen, and share the processor with all else that runs: the best of several
seconds is reported. Deviations do not depend on that.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import rbm
from benchmarks.harness import text_table
from rbm.errors import ModelError
from rbm.show.page import write_page
from rbm.show.page.model_data import page_data

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from helpers.chromium import PROGRAM, Browser, started
from helpers.page_core import as_arrays

RESULTS = Path(__file__).with_name("page.json")
POINTS = 1000
ANSWERS = """(() => {
  const model = rbm.readModel(JSON.parse(document.getElementById("model").textContent));
  return MUS.map((mu) => {
    const { gamma, ...found } = rbm.answer(model, mu);
    return { re: [...gamma.re], im: gamma.im ? [...gamma.im] : null, ...found };
  });
})()"""
#: Milliseconds of an answer: the fastest of blocks of 20, after a warm-up.
COST = """(() => {
  const model = rbm.readModel(JSON.parse(document.getElementById("model").textContent));
  const times = [];
  for (let block = 0; block < 60; block++) {
    const started = performance.now();
    for (let i = 0; i < 20; i++) rbm.answer(model, MUS[(20 * block + i) % MUS.length]);
    times.push((performance.now() - started) / 20);
  }
  return Math.min(...times);
})()"""
#: Frames in each of eight seconds while the first slider goes back and forth by one step a frame.
FRAMES = """new Promise((resolve) => {
  const slider = document.getElementById("slider-0");
  const counts = new Array(8).fill(0);
  let [started, last, shown, step] = [null, 0, 0, 0];
  const cell = () => document.getElementById("solution").textContent;
  let before = cell();
  const frame = (now) => {
    started ??= now;
    if (now - started >= 8000) {
      resolve({ counts, shown });
      return;
    }
    counts[Math.floor((now - started) / 1000)]++;
    if (cell() !== before) [before, shown] = [cell(), shown + 1];
    step++;
    slider.value = Math.abs((step % 900) - 450);
    slider.dispatchEvent(new Event("input", { bubbles: true }));
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
})"""


def fin() -> rbm.ReducedModel:
    from problems import thermal_fin

    model = thermal_fin()
    return rbm.greedy(model, model.parameters.sample(500), max_basis=30, progress=False).reduced_model


def sphere() -> rbm.ReducedModel:
    """1026 unknowns where their matrices are kept or can be assembled; else the 66 that are stored with the tests."""
    from helpers import DATA

    from problems import acoustic_scattering

    try:
        model = acoustic_scattering("sphere", parts=2, wavenumber=2.0, level=4, progress=False)
    except (ImportError, ModelError, OSError):
        stability = rbm.stability.Anchored(progress=False)
        model = acoustic_scattering("sphere", 2, 2.0, 2, stability=stability, cache=DATA, progress=False)
    made = rbm.greedy(model, model.parameters.sample(500), max_basis=30, tol=1e-8, relative=True, progress=False)
    return made.reduced_model


CASES: dict[str, Callable[[], rbm.ReducedModel]] = {"fin": fin, "scattering": sphere}


def measured(reduced: rbm.ReducedModel, path: Path, browser: Browser) -> dict[str, Any]:
    """All figures of one page."""
    firsts = []
    for _ in range(5):
        browser.open(path.as_uri())
        browser.wait("performance.getEntriesByName('first answer').length")
        firsts.append(browser.evaluate("performance.getEntriesByName('first answer')[0].startTime"))
    browser.wait("document.getElementById('cost').textContent.includes('481')")
    mus = reduced.parameters.sample(POINTS, "random", rng=11)
    given = json.dumps(mus.tolist())
    found = as_arrays(browser.evaluate(ANSWERS.replace("MUS", given)), page_data(reduced, path.stem))
    cost = browser.evaluate(COST.replace("MUS", given))
    frames = browser.call("Runtime.evaluate", expression=FRAMES, awaitPromise=True, returnByValue=True)["result"][
        "value"
    ]
    return {
        "unknowns": reduced.unknowns, "N": reduced.size, "complex": reduced.dtype.kind == "c",
        "projection": reduced.projection, "bytes": path.stat().st_size, **_deviations(reduced, mus, found),
        "first_answer_seconds": min(firsts) / 1000, "first_answer_seconds_worst": max(firsts) / 1000,
        "milliseconds_per_answer": cost, "frames_in_each_second": frames["counts"],
        "frames_with_a_new_answer": frames["shown"],
        "requests": sorted({r.partition(":")[0] for r in browser.requests}), "errors": browser.errors,
    }  # fmt: skip


def _deviations(reduced: rbm.ReducedModel, mus: np.ndarray, found: dict[str, Any]) -> dict[str, Any]:
    """Compare the browser's answers with Python's; deficits are how far bounds are below Python's, in floors."""
    solution = reduced.solve(mus)
    estimate = solution.estimate
    assert estimate is not None
    size = np.linalg.norm(solution.coefficients, axis=1)
    off = np.linalg.norm(found["gamma"] - solution.coefficients, axis=1) / size
    outputs = {
        name: float(np.max(np.abs(values - solution.outputs[name])) / np.max(np.abs(solution.outputs[name])))
        for name, (values, _) in found["outputs"].items()
    }
    return {
        "points": len(mus), "largest_deviation_of_solutions": float(off.max()), "largest_deviation_of_outputs": outputs,
        "largest_deficit_of_bounds_in_floors": float(np.max((solution.bound - found["bound"]) / found["floor"])),
        "largest_relative_deficit_of_bounds": float(np.max(1 - found["bound"] / solution.bound)),
        "largest_bound_over_pythons": float(np.max(found["bound"] / solution.bound)),
        "resolved": float(found["resolved"].mean()), "resolved_in_python": float(estimate.resolved.mean()),
    }  # fmt: skip


def kept(name: str, make: Callable[[], rbm.ReducedModel], folder: Path | None) -> rbm.ReducedModel:
    """Return the model of a case, from the folder if it is there."""
    if folder is None:
        return make()
    file = folder / f"{name}.rbm"
    if not file.exists():
        make().save(file)
    return rbm.load(file)


def pictures(path: Path, browser: Browser, folder: Path, name: str) -> None:
    """Keep screenshots of a page; the folder is made."""
    folder.mkdir(parents=True, exist_ok=True)
    for width, shape in ((1280, "wide"), (390, "narrow")):
        for dark in (False, True):
            browser.open(path.as_uri(), width=width, dark=dark)
            browser.wait("document.getElementById('cost').textContent.includes('481')")
            browser.screenshot(folder / f"{name}_{shape}_{'dark' if dark else 'light'}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description="pages of reduced models in a real browser")
    parser.add_argument("--again", choices=list(CASES), help="measure this case once more")
    parser.add_argument(
        "--models", type=Path, metavar="FOLDER", help="keep models there, and take those that are there"
    )
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="keep screenshots")
    options = parser.parse_args()
    if PROGRAM is None:
        sys.exit("no browser: apt-get install -y chromium")
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results.pop(options.again, None)
    for name, make in CASES.items():
        if name in results and options.pictures is None:
            continue
        with tempfile.TemporaryDirectory() as folder, started(Path(folder)) as browser:
            reduced = kept(name, make, options.models)
            path = write_page(reduced, Path(folder) / f"{name}.html")
            if options.pictures is not None:
                pictures(path, browser, options.pictures, name)
            if name not in results:
                version = browser.call("Browser.getVersion")["product"]
                results[name] = {"browser": version, **measured(reduced, path, browser)}
                RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    rows = [[key, *(str(results[name].get(key)) for name in CASES)] for key in results["fin"]]
    print(text_table("Pages in a browser", ["", *CASES], rows))


if __name__ == "__main__":
    main()
