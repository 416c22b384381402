"""The GPU benchmark: one honest line without a GPU, and the arithmetic of its lines on the stand-in for one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import array_api_strict
import numpy as np
import pytest
from helpers import ROOT
from helpers.emulated_gpu import EmulatedCupy, emulated

import rbm
from problems import reaction_diffusion_1d

__all__ = ["emulated"]  # a fixture


def test_without_a_gpu_it_says_so(tmp_path: Path) -> None:
    hidden = (
        "import sys; sys.modules['cupy'] = None; sys.argv = ['gpu', *sys.argv[1:]]; "
        "from benchmarks.gpu import main; sys.exit(main())"
    )
    out = tmp_path / "lines.jsonl"
    command = [sys.executable, "-c", hidden, "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == out.read_text()
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["benchmark"] == "gpu"
    assert "pip install" in json.loads(line)["skipped"]


def test_its_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks import gpu

    waits = []
    device = gpu.Device(array_api_strict, array_api_strict, lambda: waits.append(1), {})
    model = reaction_diffusion_1d(50)
    reduced = rbm.greedy(model, model.parameters.sample(20), max_basis=3, progress=False).reduced_model
    m = reduced.estimators["orthonormal"].factor.shape  # type: ignore[attr-defined]
    assert gpu.flops(reduced) == (2 * 3 * 4 + 27 / 3 + 18, 2 * m[0] * m[1] - m[0] ** 2)
    for dtype in ("float64", "float32"):
        lines = list(gpu.measured(reduced.astype(dtype), device, {"float64": 1e9, "float32": 2e9}, 600, 1))
        assert len({line["way"] for line in lines}) == len(lines) >= 4
        for line in lines[:3]:
            assert line["way"].startswith("batched, ")  # the fused kernel is CuPy's
            assert line["dtype"] == dtype
            assert line["queries"] == 600
            ideal = gpu.flops(reduced)[0] / (1e9 if dtype == "float64" else 2e9) + gpu.flops(reduced)[1] / 1e9
            np.testing.assert_allclose(line["share_of_product_rate"], ideal / line["ns_a_query"] * 1e9)
            assert line["deviation_of_coefficients"] < (1e-12 if dtype == "float64" else 1e-4)
            assert line["deviation_of_bounds"] < 0.01
        assert "deviation_of_bounds" not in lines[3]
    assert waits
    assert gpu.product_rate(device, "float32", 32) > 0


def test_the_fused_kernel_and_batched_calls_take_turns(
    emulated: EmulatedCupy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On the stand-in for CuPy: both ways are measured, and a case that a file holds is not measured again."""
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks import gpu

    place = array_api_strict, array_api_strict
    monkeypatch.setattr(gpu, "gpu", lambda: gpu.Device(*place, lambda: None, {"gpu": "emulated"}))
    monkeypatch.setattr(gpu, "product_rate", lambda device, dtype: 1e9)
    monkeypatch.setattr(gpu, "REPEATS", 1)
    model = reaction_diffusion_1d(50)
    reduced = rbm.greedy(model, model.parameters.sample(20), max_basis=3, progress=False).reduced_model
    monkeypatch.setattr(gpu, "cases", lambda: iter([("diffusion", reduced), ("nothing", "no matrices")]))
    out = tmp_path / "lines.jsonl"
    monkeypatch.setattr(sys, "argv", ["gpu", "--out", str(out), "--queries", "40"])
    assert gpu.main() == 0
    lines = [json.loads(text) for text in out.read_text().splitlines()]
    for dtype in ("float64", "float32"):
        ways = [line["way"] for line in lines if line.get("dtype") == dtype]
        assert [w.partition(",")[0] for w in ways[:6]] == ["fused"] * 3 + ["batched"] * 3
    assert lines[-1]["skipped"] == "no matrices"
    launches = len(emulated.launches)
    assert launches > 10
    assert gpu.main() == 0
    assert len(emulated.launches) == launches
    assert len(out.read_text().splitlines()) == len(lines) + 1  # the case that has none
    monkeypatch.setattr(gpu, "kernel_text", lambda: "another")
    assert gpu.main() == 0
    assert len(emulated.launches) == 2 * launches
