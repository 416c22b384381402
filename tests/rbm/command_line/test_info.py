"""What ``rbm info`` says: right numbers, in lines that fit the terminal, of every kind of file."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import make_case
from helpers.parabolic import heat

import rbm
from rbm.command_line import main
from rbm.command_line.info import KEYS

Info = Callable[..., Any]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A file of each kind, and what it was made of."""
    folder = tmp_path_factory.mktemp("info")
    model = make_case("real").model
    run = rbm.greedy(model, model.parameters.sample(50), tol=1e-6)
    small = rbm.greedy(make_case("complex").model, make_case("complex").model.parameters.sample(40), max_basis=3)
    wide = make_case("two parameters").model
    cut = rbm.greedy(wide, wide.parameters.sample(60), tol=1e-1, max_basis=3, split=True, relative=True)
    times = rbm.pod_greedy(cool := heat(12, steps=3, dt=0.1), cool.parameters.sample(4), max_basis=3)
    saved = {
        "model": run.reduced_model,
        "complex": small.reduced_model,
        "quantised": run.reduced_model.quantize(8),
        "single": run.reduced_model.astype("float32"),
        "shortened": run.reduced_model.truncate(2),
        "old": replace(run.reduced_model, record=None),
        "given": rbm.project(model, run.basis[:, :2]),
        "partitioned": cut.reduced_model,
        "cut, older": replace(cut.reduced_model, record=None),
        "cut, rounded": cut.reduced_model.astype("float32"),
        "time": times.reduced_model,
        "run": run,
        "cut run": cut,
        "time run": times,
    }
    for name, what in saved.items():
        what.save(folder / name)
    return folder, saved | {"result": run}


@pytest.fixture
def info(files: tuple[Path, dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> Info:
    def shown(name: str, *options: str) -> Any:
        assert main(["info", str(files[0] / name), *options]) == 0
        out = capsys.readouterr().out
        return json.loads(out, parse_constant=pytest.fail) if options else out

    return shown


RUNS = ("run", "cut run", "time run")
PARTITIONED = ("partitioned", "cut, older", "cut, rounded")
NAMES = ("model", "complex", "quantised", "single", "shortened", "old", "given", *PARTITIONED, "time", *RUNS)


@pytest.mark.parametrize("name", NAMES)
def test_lines_fit_the_terminal_and_no_number_is_cut(info: Info, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "500")
    words = info(name).split()
    for width in (80, 60):
        monkeypatch.setenv("COLUMNS", str(width))
        text = info(name)
        assert max(map(len, text.splitlines())) <= width, text
        assert sorted(text.split()) == sorted(words)
        assert "nan" not in words


@pytest.mark.parametrize("name", NAMES)
def test_every_file_says_when_with_what_and_of_which_model(info: Info, files: Any, name: str) -> None:
    found, text = info(name, "--json"), " ".join(info(name).split())
    assert found["bytes"] == (files[0] / name).stat().st_size
    assert f"file: {found['bytes']} bytes" in text
    if name == "old":
        assert (found["made"], found["versions"], found["fingerprint"]) == (None, None, None)
        assert "made: not stored versions: not stored fingerprint: not stored" in text
        return
    assert found["made"].startswith("20")
    assert f"made: {found['made'][:10]} {found['made'][11:19]} UTC" in text
    assert found["versions"]["rbm-toolkit"] == rbm.__version__
    assert f"rbm-toolkit {rbm.__version__}, numpy {np.__version__}" in text
    assert (found["fingerprint"] is None) == (name == "given")
    if found["fingerprint"]:
        assert f"fingerprint: {found['fingerprint'][:16]} of the full model" in text


@pytest.mark.parametrize("name", ["model", "quantised", "run"])
def test_the_history_is_that_of_the_greedy(info: Info, files: Any, name: str) -> None:
    result, found = files[1]["result"], info(name, "--json")
    assert found["basis_size"] == len(result.parameters)
    key = "0" if name == "run" else "mu"  # files of runs have no names
    for step, shown in zip(result.history, found["history"], strict=True):
        wanted = {"size": step.size, "bound": step.bound, "floor": step.floor, "resolved": step.resolved}
        wanted["effectivity"] = None if np.isnan(step.effectivity) else step.effectivity
        assert shown == wanted | {"parameter": {key: step.parameter[0]}}
    lines = info(name).splitlines()
    start = next(k for k, line in enumerate(lines) if line.split()[:3] == ["N", "largest", "bound"])
    rows = [line.split() for line in lines[start + 1 :]]
    for step, row in zip(result.history, rows, strict=True):
        assert row[:2] == [str(step.size), f"{step.bound:.3e}"]


def test_long_histories_are_thinned_and_whole_in_json(
    tmp_path: Path, info: Info, capsys: pytest.CaptureFixture[str]
) -> None:
    rng, n = np.random.default_rng(0), 40
    terms = [(f"k{q}", np.diag(rng.uniform(0.1, 1, n))) for q in range(4)]
    space = rbm.ParameterSpace({f"k{q}": (0.1, 1.0) for q in range(4)})
    product = np.eye(n)
    stability = rbm.stability.MinTheta(reference=[0.5] * 4)
    model = rbm.FullOrderModel(terms, [(1.0, rng.standard_normal(n))], product, space, stability)
    run = rbm.greedy(model, space.sample(200), max_basis=25)
    run.reduced_model.save(tmp_path / "m")
    assert main(["info", str(tmp_path / "m"), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["history"]) == len(run.history) == 26
    assert main(["info", str(tmp_path / "m")]) == 0
    out = capsys.readouterr().out
    assert "16 of 26 rows; --json has all" in out
    assert f"\n   0      {run.history[0].bound:.3e}" in out
    assert f"\n  25      {run.history[-1].bound:.3e}" in out


def test_files_without_a_run_say_so(info: Info) -> None:
    for name in ("old", "given"):
        assert info(name, "--json")["history"] is None
        assert "N against bound: not stored" in " ".join(info(name).split())


def test_what_bounds_rest_on_and_cover(info: Info) -> None:
    found = {name: info(name, "--json") for name in ("model", "old", "complex", "quantised", "single", "time")}
    assert found["model"]["stability"] == {"kind": "coefficient", "evidence": "given"}
    assert found["old"]["stability"] == {"kind": "coefficient", "evidence": "given"}
    assert "a stability bound that is too large (it is given)" in found["model"]["does_not_cover"]
    assert "what few bits have changed" in found["quantised"]["covers"]
    assert "few bits" not in found["model"]["covers"]
    assert found["single"]["dtype"] == "float32"
    assert "in the energy norm up to it" in found["time"]["covers"]
    for each in found.values():
        assert "the discretisation" in each["does_not_cover"]
    text = " ".join(info("model").split())
    assert f"covers: {found['model']['covers']}" in text
    assert f"does not cover: {found['model']['does_not_cover']}" in text


def test_bounds_that_are_estimates_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = make_case("real")
    for estimator, said in (("E4", "the error of interpolated, which estimates"), ("E_onb", "")):
        rbm.project(case.model, case.result.basis[:, :3], (estimator,), case.training).save(tmp_path / "m")
        assert main(["info", str(tmp_path / "m"), "--json"]) == 0
        found = json.loads(capsys.readouterr().out)["does_not_cover"]
        assert said in found
        assert ("estimates" in found) is bool(said)
    sketched = rbm.project(case.model, case.result.basis[:, :3], ("sketched",), case.training)
    sketched.save(tmp_path / "m")
    assert main(["info", str(tmp_path / "m"), "--json"]) == 0
    assert (
        f"too small with probability {sketched.estimators['sketched'].failure:.1g}"
        in json.loads(capsys.readouterr().out)["does_not_cover"]
    )


def test_partitioned_models_have_a_table_of_leaves(info: Info, files: Any) -> None:
    model, found = files[1]["partitioned"], info("partitioned", "--json")
    assert [leaf["basis_size"] for leaf in found["leaves"]] == [leaf.size for leaf in model.leaves]
    for leaf, box, of in zip(found["leaves"], model.boxes, files[1]["cut run"].runs, strict=True):
        np.testing.assert_array_equal(list(leaf["box"].values()), box)
        assert leaf["history"][-1]["bound"] == of.history[-1].bound
        assert leaf["stopped"] == f"{of.stopped}: {of.reason}"
    assert f"{of.history[-1].bound:.2e}" in info("partitioned")


def test_the_greedy_of_a_partitioned_model_is_that_of_the_whole(info: Info, files: Any) -> None:
    run = files[1]["cut run"]
    found, text = info("partitioned", "--json"), " ".join(info("partitioned").split())
    said = f"{run.stopped}: {run.reason}"
    assert (found["stopped"], found["training_parameters"]) == (said, 60)
    assert f"stopped by: {said}, 60 training points" in text
    assert [(s["size"], s["bound"]) for s in found["history"]] == [(s.size, s.bound) for s in run.history]
    assert found["leaves"][0]["training_parameters"] < 60
    older = info("cut, older", "--json")
    assert (older["stopped"], older["training_parameters"], older["history"]) == (None, None, None)
    assert older["made"] is not None  # as its leaves were
    text = " ".join(info("cut, older").split())
    assert "greedy stopped by: not stored" in text
    assert "no greedy run" not in text
    assert "leaves, of the model before it was rounded to float32" in " ".join(info("cut, rounded").split())


def test_a_model_that_was_changed_since_does_not_claim_the_bounds_of_before(info: Info, files: Any) -> None:
    run = files[1]["result"]
    claimed = f"{run.stopped}: {run.reason}"
    for name, words in (
        ("single", "rounded to float32"),
        ("shortened", "shortened to N = 2"),
        ("quantised", "quantised (basis in 8 bits)"),
    ):
        found, text = info(name, "--json"), " ".join(info(name).split())
        before = f"of the model before it was {words}"
        assert found["changed"] == [words]
        assert found["stopped"] == f"{claimed}, {before}"
        assert f"stopped by: {claimed}, 50 training points, {before}" in text
        assert f"N against the largest bound on the training set, {before}" in text
    assert [step["size"] for step in info("shortened", "--json")["history"]] == [0, 1, 2]
    assert info("model", "--json")["changed"] == []
    assert "before it was" not in info("model")


@pytest.mark.parametrize("name", NAMES)
def test_json_has_the_same_keys_for_all_kinds(info: Info, files: Any, name: str) -> None:
    found = info(name, "--json")
    assert tuple(found) == KEYS
    page = (Path(__file__).parents[3] / "docs" / "command-line.md").read_text()
    rows = page[page.index("| keys | what |") :].split("\n\n")[0].splitlines()[2:]
    assert sorted(key for row in rows for key in row.split("|")[1].replace(" ", "").split(",")) == sorted(KEYS)
    there = {key for key, value in found.items() if value is not None}
    always = {"file", "kind", "bytes", "unknowns", "dtype"}
    of_models = always | {"basis_size", "projection", "operator_terms", "rhs_terms", "operator_coefficients"}
    of_models |= {"rhs_coefficients", "quantized", "parameters", "stability", "estimators", "default_estimator"}
    assert there >= (always if name in RUNS else of_models)
    assert (found["leaves"] is not None) == (name in PARTITIONED)
    assert (found["selected_parameters"] is not None) == (name in RUNS)
    if name == "time":
        model = files[1]["time"]
        spatial, masses = heat(12, steps=3, dt=0.1).spatial, len(model.mass_coefficients)
        assert found["operator_terms"] == len(found["operator_coefficients"]) == len(spatial.operator_terms)
        assert found["rhs_terms"] == len(found["rhs_coefficients"])
        assert found["operator_terms"] + masses == len(model.terms.operators)
        assert (found["estimators"], found["default_estimator"]) == (["orthonormal"], "orthonormal")


def test_runs_say_what_goes_on_with_them(info: Info) -> None:
    for name, how in (("run", "rbm.greedy("), ("time run", "rbm.pod_greedy("), ("cut run", "split=True, resume=file)")):
        assert how in info(name)
    assert info("cut run", "--json")["history"] is None
    assert "3 steps" not in info("run")
    assert "steps in time: 3" in " ".join(info("time run").split())


def test_what_is_no_model_is_one_line(tmp_path: Path, files: Any, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x").write_bytes((files[0] / "run").read_bytes()[:-200])
    for options in ((), ("--json",)):
        assert main(["info", str(tmp_path / "x"), *options]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("rbm: ")
        assert "truncated or damaged" in err
        assert err.count("\n") == 1


def test_a_file_without_estimators_claims_no_bounds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """E1 needs the full model, which no file holds. What was said of its bounds was of bounds that are not there."""
    model = make_case("real").model
    made = rbm.greedy(model, model.parameters.sample(20), max_basis=2, estimators=["direct"]).reduced_model
    with pytest.warns(UserWarning, match="not saved"):
        made.save(tmp_path / "direct.rbm")
    assert main(["info", str(tmp_path / "direct.rbm"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["estimators"] == []
    assert said["default_estimator"] is None
    assert said["covers"].startswith("nothing: ")
    assert "outputs" in said
