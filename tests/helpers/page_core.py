"""The scripts of a page in Node.js, which is JavaScript without a browser."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from rbm.show.page.document import core_script
from rbm.show.page.model_data import page_data

NODE = shutil.which("node")
DRIVER = """
const { readFileSync, writeFileSync } = require("node:fs");
const [, , from, to] = process.argv;
const { data, mus, curve } = JSON.parse(readFileSync(from));
const model = rbm.readModel(data);
const answers = mus.map((mu) => {
  try {
    const { gamma, ...found } = rbm.answer(model, mu);
    return { re: [...gamma.re], im: gamma.im ? [...gamma.im] : null, ...found };
  } catch (error) {
    return { error: error.message };
  }
});
const numbers = (made) => ({ x: [...made.x], bound: [...made.bound] });
writeFileSync(to, JSON.stringify({ answers, curve: curve ? numbers(rbm.curve(model, ...curve)) : null }));
"""


def run(folder: Path, data: Any, mus: Any, curve: Any = None, script: str | None = None) -> dict[str, Any]:
    """What the scripts answer for the data of a page at points (M, p).

    script : in place of the page's own, to break it
    """
    source, sent, received = folder / "core.js", folder / "sent.json", folder / "received.json"
    source.write_text((core_script() if script is None else script) + DRIVER)
    sent.write_text(json.dumps({"data": data, "mus": np.asarray(mus).tolist(), "curve": curve}))
    done = subprocess.run([str(NODE), source, sent, received], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(received.read_text())


def answers(folder: Path, reduced: Any, mus: Any, script: str | None = None) -> dict[str, Any]:
    """The same as arrays: gamma (M, N), value, floor, bound, beta, resolved (M,), outputs {name: (values, bounds)}."""
    data = page_data(reduced, "test")
    return as_arrays(run(folder, data, mus, script=script)["answers"], data)


def as_arrays(found: list[dict[str, Any]], data: Any) -> dict[str, Any]:
    assert not [a["error"] for a in found if "error" in a]
    gamma = np.array([a["re"] for a in found])
    if found[0]["im"] is not None:
        gamma = gamma + 1j * np.array([a["im"] for a in found])
    made: dict[str, Any] = {k: np.array([a[k] for a in found]) for k in ("value", "floor", "bound", "beta", "resolved")}
    made["outputs"] = {}
    for k, output in enumerate(data["outputs"]):
        pairs = np.array([a["outputs"][k]["value"] for a in found])
        bounds = np.array([a["outputs"][k]["bound"] for a in found])
        made["outputs"][output["name"]] = (pairs[:, 0] + 1j * pairs[:, 1], bounds)
    return {"gamma": gamma, **made}
