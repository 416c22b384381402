"""The study of lean training: every case on a tiny network, resumed, and what it refuses."""

from __future__ import annotations

import dataclasses
import json

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from ml.studies import lean as study  # noqa: E402
from ml.studies import lean_memory  # noqa: E402
from ml.studies.lean_memory import VARIANTS, Size, gradient_errors, measure_memory, measure_time  # noqa: E402

TINY = Size(layers=1, width=64, batch=2, length=12)


def test_bytes_of_all_variants_are_in_order():
    kept = {name: measure_memory(name, TINY)["kept"] for name in VARIANTS}
    assert kept["full_plain"] > kept["full"] > kept["bias"] > kept["lean32"] > kept["lean16"] > kept["lean8"]
    assert kept["full_plain"] > kept["bias_plain"] > kept["codes"]
    assert kept["full"] > 3 * kept["given8"]
    assert kept["full"] > 4 * kept["lean8"]
    assert kept["bias"] > 2 * kept["lean8"]
    assert kept["bias_checkpointing"] < kept["bias"]


def test_a_measurement_in_a_fresh_process_is_that_of_this_one():
    apart = lean_memory.in_a_fresh_process("lean8", TINY)
    here = measure_memory("lean8", TINY)
    assert {k: apart[k] for k in ("kept", "by_operation", "trained")} == {
        k: here[k] for k in ("kept", "by_operation", "trained")
    }
    with pytest.raises(RuntimeError, match="the variant 'lean9' was not measured: KeyError: 'lean9'"):
        lean_memory.in_a_fresh_process("lean9", TINY)


def test_errors_of_gradients():
    found = gradient_errors(TINY)
    for row in found.values():
        assert row["answer"] < 2e-6
        assert 0 < row["input"] < 0.1
        assert row["trained_cosine"] > 0.99


def test_the_study_goes_on_where_it_stopped(tmp_path, monkeypatch):
    calls = []

    def measured(name, size):
        calls.append(name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return measure_memory(name, size) | measure_time(name, size)

    monkeypatch.setattr(study, "in_a_fresh_process", measured)
    sizes = dataclasses.replace(study.SMALL, size=TINY, variants=("full", "lean8"))
    with pytest.raises(KeyboardInterrupt):
        study.run("lean", tmp_path, sizes=sizes, say=lambda text: None)
    said = []
    summary = study.run("lean", tmp_path, sizes=sizes, say=said.append)
    assert calls == ["full", "lean8", "lean8"]
    assert json.loads((tmp_path / "summary.json").read_text())["variants"].keys() == {"full", "lean8"}
    for text in (VARIANTS["lean8"].title, f"{summary['variants']['lean8']['trained']:,}", "Relative errors"):
        assert text in said[-2]
    with pytest.raises(ValueError, match=r"the study 'lean' has no tolerance, got tol=0.1"):
        study.run("lean", tmp_path, 0.1)


def test_reviews_compare_the_same_sentences(tmp_path, monkeypatch):
    def trained(way, seed, sizes):
        right = "1101" if way == "bias" else "1001"
        return {"accuracy": right.count("1") / 4, "cpu_seconds": 1.0, "loss_last": 0.5, "trained": 3, "right": right}

    monkeypatch.setattr(study, "trained_accuracy", trained)
    monkeypatch.setattr(
        study, "in_a_fresh_process", lambda name, size: measure_memory(name, size) | measure_time(name, size)
    )
    sizes = dataclasses.replace(study.SMALL, size=TINY, variants=("full",), seeds=3)
    said = []
    found = study.run("lean", tmp_path, sizes=sizes, say=said.append)["reviews"]
    assert found["difference"] == -0.25
    assert found["difference_se"] == pytest.approx(0.25)  # four sentences, one of which changes
    assert "lean - plain: -25.00 +- 49.00 points" in said[-2]
