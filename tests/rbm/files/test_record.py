"""How a model was made is in its file, goes with it, changes no answer, and is not asked of older files."""

from __future__ import annotations

import datetime
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import make_case
from helpers.parabolic import heat

import rbm
from rbm.command_line import main
from rbm.reduced.record import COLUMNS
from rbm.stability.evidence import EVIDENCE, evidence
from rbm.storage.archive import header_digest, read_archive, write_archive
from rbm.storage.versions import VERSION, date_of_making, versions


@pytest.fixture(scope="module")
def result() -> rbm.GreedyResult:
    model = make_case("real").model
    return rbm.greedy(model, model.parameters.sample(50), tol=1e-6)


def rewritten(path: Path, change: Any) -> None:
    """Write the file again with another header or other arrays, and right checksums."""
    header, arrays = read_archive(path, "reduced model")
    made = {k: v for k, v in header.items() if k not in ("sha256", "header_sha256", "format", "version")}
    change(made, arrays)
    write_archive(path, made, arrays)


def test_the_record_of_a_run_says_what_the_run_says(result: rbm.GreedyResult, tmp_path: Path) -> None:
    result.reduced_model.save(tmp_path / "m")
    loaded = rbm.load(tmp_path / "m").record
    assert loaded is not None
    for record in (result.reduced_model.record, loaded):
        assert record.versions == versions()
        assert record.versions["rbm-toolkit"] == rbm.__version__ == VERSION
        assert record.fingerprint == result.fingerprint == make_case("real").model.fingerprint()
        assert (record.training, record.relative) == (50, False)
        assert record.stopped == f"{result.stopped}: {result.reason}"
        assert record.history.shape == (len(result.history), len(COLUMNS) + 1)
        for row, step in zip(record.history, result.history, strict=True):
            wanted = [step.size, step.bound, step.floor, step.resolved, step.effectivity, *step.parameter]
            np.testing.assert_array_equal(row, wanted)
    made = datetime.datetime.fromisoformat(loaded.date)
    assert abs((datetime.datetime.now(datetime.UTC) - made).total_seconds()) < 3600


def test_it_stays_with_the_model(result: rbm.GreedyResult, tmp_path: Path) -> None:
    model = result.reduced_model
    for other in (model.sketch(), model.to("numpy"), model.astype("float64"), model.truncate(model.size)):
        assert other.record is model.record
    shorter = model.truncate(2).record
    assert shorter.history[:, 0].tolist() == [0, 1, 2]
    assert shorter.date == model.record.date
    mus = model.parameters.sample(7)
    without = replace(model, record=None)
    np.testing.assert_array_equal(without.solve(mus).bound, model.solve(mus).bound)
    without.save(tmp_path / "m")
    assert rbm.load(tmp_path / "m").record is None


def test_it_says_what_was_done_to_the_model_since(result: rbm.GreedyResult, tmp_path: Path) -> None:
    model = result.reduced_model
    single, rounded = model.astype("float32"), ("rounded to float32",)
    few = {"basis": 7.5, "matrices": 12}
    changed = {
        (): model,
        ("shortened to N = 2",): model.truncate(2),
        rounded: single,
        (*rounded, "shortened to N = 3", "shortened to N = 2"): single.truncate(3).truncate(2),
        ("quantised (basis in 8 bits)",): model.quantize(8),
        ("quantised (basis in 7.5 bits, matrices in 12 bits)",): model.quantize(few),
        ("compressed",): model.compress(rtol=1.0),
    }
    for k, (words, other) in enumerate(changed.items()):
        other.save(tmp_path / str(k))
        for one in (other, rbm.load(tmp_path / str(k))):
            assert one.record.changed == words
            assert one.record.stopped == model.record.stopped
    assert single.astype("float64").record.changed == rounded
    assert single.record.history is model.record.history
    assert model.compress(tol=0.0).record is model.record
    assert replace(model, record=None).truncate(2).record is None
    assert "changed" not in read_archive(tmp_path / "0", "reduced model")[0]["record"]
    assert read_archive(tmp_path / "1", "reduced model")[0]["record"]["changed"] == ["shortened to N = 2"]


def test_models_in_time_say_what_was_done_to_them_since() -> None:
    model = heat(12, steps=3, dt=0.1)
    made = rbm.pod_greedy(model, model.parameters.sample(4), max_basis=3).reduced_model
    assert made.truncate(2).astype("float32").terms.record.changed == ("shortened to N = 2", "rounded to float32")


def test_partitioned_models_have_the_record_of_the_whole(tmp_path: Path) -> None:
    full = make_case("two parameters").model
    cut = rbm.greedy(full, full.parameters.sample(60), tol=1e-3, max_basis=4, split=True, relative=True)
    model = cut.reduced_model
    assert len(model.leaves) > 1
    model.save(tmp_path / "p")
    for record in (model.record, rbm.load(tmp_path / "p").record):
        assert record.stopped == f"{cut.stopped}: {cut.reason}"
        assert (record.training, record.relative, record.fingerprint, record.changed) == (60, True, cut.fingerprint, ())
        assert record.history[:, :2].tolist() == [[step.size, step.bound] for step in cut.history]
        assert record.evidence == model.leaves[0].record.evidence
    assert model.truncate(model.size).record is model.record
    shorter = model.truncate(2).astype("float32")
    shorter.save(tmp_path / "s")
    for record in (shorter.record, rbm.load(tmp_path / "s").record):
        assert record.changed == ("shortened to N = 2", "rounded to float32")
        assert record.history[:, 0].max() == 2
    header, arrays = read_archive(tmp_path / "p", "partitioned model")
    made = {k: v for k, v in header.items() if k not in ("sha256", "header_sha256", "format", "version", "record")}
    del arrays["record/history"]
    write_archive(tmp_path / "p", made, arrays)
    older = rbm.load(tmp_path / "p")
    assert older.record is None
    assert older.leaves[0].record is not None
    assert older.truncate(2).record is None


def test_models_in_time_and_partitioned_ones_have_it(tmp_path: Path) -> None:
    run = rbm.pod_greedy(model := heat(12, steps=3, dt=0.1), model.parameters.sample(4), max_basis=3)
    run.reduced_model.save(tmp_path / "t")
    record = rbm.load(tmp_path / "t").terms.record
    assert record.fingerprint == run.fingerprint
    assert record.history[:, 1].tolist() == [step.bound for step in run.history]
    full = make_case("two parameters").model
    cut = rbm.greedy(full, full.parameters.sample(60), tol=1e-1, max_basis=3, split=True, relative=True)
    cut.reduced_model.save(tmp_path / "p")
    leaves = rbm.load(tmp_path / "p").leaves
    assert len(leaves) > 1
    for leaf, part in zip(leaves, cut.runs, strict=True):
        assert leaf.record.history[:, 1].tolist() == [step.bound for step in part.history]
        assert (leaf.record.relative, leaf.record.fingerprint) == (True, cut.fingerprint)


def test_older_files_have_none_and_newer_ones_are_read_without_it(result: rbm.GreedyResult, tmp_path: Path) -> None:
    def older(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        del header["record"], arrays["record/history"]

    result.reduced_model.save(tmp_path / "m")
    rewritten(tmp_path / "m", older)
    loaded = rbm.load(tmp_path / "m")
    assert loaded.record is None
    mus = loaded.parameters.sample(5)
    np.testing.assert_array_equal(loaded.solve(mus).bound, result.reduced_model.solve(mus).bound)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda header, arrays: header["record"].pop("versions"), "versions"),
        (lambda header, arrays: header["record"].update(training="many"), "invalid literal"),
        (lambda header, arrays: header.update(record=[1]), "list"),
        (lambda header, arrays: header["record"].update(changed="much"), "not texts"),
        (lambda header, arrays: header["record"].update(changed=[2]), "not texts"),
        (lambda header, arrays: arrays.update({"record/history": np.ones((2, 4))}), "not of 6 columns"),
        (lambda header, arrays: arrays.update({"record/history": np.ones((2, 6), int)}), "not of 6 columns"),
        (lambda header, arrays: arrays["record/history"].__setitem__((0, 0), np.nan), "not finite"),
    ],
)
def test_damaged_records_are_refused(result: rbm.GreedyResult, tmp_path: Path, change: Any, said: str) -> None:
    result.reduced_model.save(tmp_path / "m")
    rewritten(tmp_path / "m", change)
    with pytest.raises(rbm.FileFormatError, match=f"m is not a complete reduced model.*{said}"):
        rbm.load(tmp_path / "m")


def test_the_date_can_be_fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert date_of_making() == "2023-11-14T22:13:20Z"
    for nonsense in ("", "now", "-5", "9" * 40):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", nonsense)
        assert date_of_making() > "2024"


class Own:
    """A bound of a user."""

    kind = "own, of this test"

    def __call__(self, mus: Any, theta: Any) -> Any:
        return np.ones(len(mus))


class Sampled(Own):
    """One that says how it was found."""

    evidence = "sampled"


@pytest.mark.parametrize(
    ("stability", "wanted"),
    [
        (0.5, "given"),
        ("1 / (1 + mu)", "given"),
        (rbm.stability.MinTheta(reference=[2.0]), "proved"),
        (rbm.stability.MinTheta(reference=[2.0], constant=1e-3), "given"),
        (rbm.stability.Pencil(0, 1), "proved"),
        (rbm.stability.Anchored(), "measured"),
        (Own(), "given"),
        (Sampled(), "sampled"),
    ],
)
def test_how_far_a_bound_can_be_trusted(stability: Any, wanted: str) -> None:
    k, m = np.diag([2.0, 3.0, 4.0]), np.eye(3)
    space = rbm.ParameterSpace({"mu": (1.0, 10.0)})
    model = rbm.FullOrderModel([(1.0, k), ("mu", m)], [(1.0, np.ones(3))], k + m, space, stability)
    assert evidence(model) == wanted
    assert wanted in EVIDENCE
    assert rbm.project(model, np.eye(3)[:, :1]).record.evidence == wanted


def test_files_of_runs_say_when_and_with_what(result: rbm.GreedyResult, tmp_path: Path) -> None:
    time_run = rbm.pod_greedy(model := heat(12, steps=3, dt=0.1), model.parameters.sample(4), max_basis=3)
    full = make_case("two parameters").model
    cut = rbm.greedy(full, full.parameters.sample(60), tol=0.3, max_basis=4, split=True, relative=True)
    for run in (result, time_run, cut):
        run.save(tmp_path / "run")
        with zipfile.ZipFile(tmp_path / "run") as archive:
            header = json.loads(archive.read("header.json"))
        assert header["record"]["versions"] == versions()
        assert header["record"]["date"] <= date_of_making()
        assert header["header_sha256"] == header_digest(header)
        assert main(["info", str(tmp_path / "run")]) == 0
    again = rbm.greedy(full, full.parameters.sample(60), tol=0.3, max_basis=4, split=True, relative=True, resume=cut)
    assert again.solved == 0
