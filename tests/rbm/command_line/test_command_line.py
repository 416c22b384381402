"""The command ``rbm``: answers, and errors of one line without a traceback."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import make_case
from helpers.scattering_models import scattering

import rbm
from problems import studies
from rbm.command_line import main
from rbm.command_line.entry import OWN
from rbm.reduced.online_query import Query


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "model.rbm"
    make_case("real").projected(6).save(path)
    return path


def test_query_one_point(model_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["query", str(model_file), "--mu", "3.5"]) == 0
    shown = dict(line.split(" = ") for line in capsys.readouterr().out.strip().splitlines())
    shown = {k.strip(): v for k, v in shown.items()}
    solution = rbm.load(model_file).solve([3.5])
    # all digits: ten of the value are off by more than the bound beside it says
    assert float(shown["error_bound"]) == solution.bound[0]
    assert float(shown["mean"]) == solution.outputs["mean"][0]
    assert float(shown["mean_bound"]) == solution.output_bounds["mean"][0]
    assert shown["resolved"] == "yes"


def test_query_a_table(model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mus = np.linspace(1, 100, 25)
    (tmp_path / "in.csv").write_text("name,mu\n" + "".join(f"p{i},{m!r}\n" for i, m in enumerate(mus.tolist())))
    assert main(["query", str(model_file), "--csv", str(tmp_path / "in.csv"), "-o", str(tmp_path / "out.csv")]) == 0
    rows = list(csv.DictReader((tmp_path / "out.csv").open()))
    solution = rbm.load(model_file).solve(mus[:, None])
    assert [float(r["mean"]) for r in rows] == solution.outputs["mean"].tolist()  # all digits
    assert [float(r["error_bound"]) for r in rows] == solution.bound.tolist()
    assert [float(r["mean_bound"]) for r in rows] == solution.output_bounds["mean"].tolist()
    assert "25 points" in capsys.readouterr().out
    assert main(["query", str(model_file), "--csv", str(tmp_path / "in.csv")]) == 0
    assert capsys.readouterr().out == (tmp_path / "out.csv").read_text()


def test_complex_outputs_have_two_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_case("complex").projected(3).save(tmp_path / "c.rbm")
    assert main(["query", str(tmp_path / "c.rbm"), "--mu", "2", "-3"]) == 0
    out = capsys.readouterr().out
    assert "mean_re" in out
    assert "mean_im" in out


def test_info(model_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(model_file)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "model.rbm: a reduced model" in out
    assert "operator coefficients: 1.0, mu" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mu", "1000"], "mu = 1000 is outside [1, 100]; pass --extrapolate to allow it"),
        (["--mu", "nan"], "not a finite number"),
        (["--mu", "1", "2"], "--mu needs 1 value, mu, got 2"),
        (["--mu", "2", "--method", "E7"], "unknown estimator 'E7'"),
        (["--mu", "2", "--method", "direct"], "needs the full-order model"),
        (["--csv", "missing.csv"], "missing.csv: No such file"),
    ],
)
def test_errors_are_one_line_and_status_2(
    model_file: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["query", str(model_file), *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("rbm: ")
    assert message in captured.err
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("nu\n1\n", "must have one column mu: its first line must hold the names mu, separated by commas; it holds nu"),
        ("mu;x\n1;2\n", "it holds mu;x"),
        ("mu,mu\n1,2\n", "must have one column mu"),
        ("mu\n", "holds no parameter points"),
        ("", "it holds nothing"),
        ("mu\n3,5\n", "in.csv has 2 fields, the header 1; write decimal points, not commas"),
        ("mu,x\n3\n", "in.csv has 1 fields, the header 2"),
        ("mu\n1\nx\n", 'in.csv: mu is "x", which is not a number'),
    ],
)
def test_bad_tables(
    model_file: Path, content: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.csv").write_text(content)
    assert main(["query", str(model_file), "--csv", str(tmp_path / "in.csv")]) == 2
    assert message in capsys.readouterr().err


def test_tables_from_other_programs_are_read(
    model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.csv").write_bytes(b"\xef\xbb\xbfname , mu\r\nfirst, 3.5\r\n\r\nsecond,4\r\n")
    assert main(["query", str(model_file), "--csv", str(tmp_path / "in.csv")]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [float(r["mu"]) for r in rows] == [3.5, 4.0]
    (tmp_path / "latin.csv").write_bytes("mu,größe\n3.5,1\n".encode("latin-1"))
    assert main(["query", str(model_file), "--csv", str(tmp_path / "latin.csv")]) == 2
    assert "latin.csv is not a UTF-8 text file" in capsys.readouterr().err


def test_output_files_are_regular_files_in_folders_that_exist(
    model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    query = ["query", str(model_file), "--mu", "2", "-o"]
    assert main([*query, str(tmp_path / "none" / "out.csv")]) == 2
    assert "none/out.csv: cannot write to folder" in capsys.readouterr().err
    assert main([*query, str(tmp_path)]) == 2
    assert "is a folder" in capsys.readouterr().err
    (tmp_path / "target.csv").write_text("old")
    (tmp_path / "link.csv").symlink_to(tmp_path / "target.csv")
    assert main([*query, str(tmp_path / "link.csv")]) == 0
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "target.csv").read_text().startswith("mu,mean")
    assert main([*query, "/dev/null"]) == 0
    assert not Path("/dev/null").is_file()


def test_a_study_checks_its_options_before_the_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["study", "diffusion", "--out", str(tmp_path / "file")]) == 2
    assert main(["study", "diffusion", "--out", str(tmp_path / "x"), "--tol", "-1"]) == 2
    assert "tol must be a number >= 0, got -1.0" in capsys.readouterr().err


def test_a_file_that_is_no_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x").write_text("hello")
    assert main(["info", str(tmp_path / "x")]) == 2
    assert "is not a model file" in capsys.readouterr().err
    assert main(["info", str(tmp_path / "none")]) == 2
    assert "No such file" in capsys.readouterr().err


def test_extrapolation_is_a_flag(model_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["query", str(model_file), "--mu", "120"]) == 2
    assert "pass --extrapolate to allow it" in capsys.readouterr().err
    assert main(["query", str(model_file), "--mu", "120", "--extrapolate"]) == 0
    assert "1 of 1 points are outside the parameter space" in capsys.readouterr().err


def test_points_that_fail_are_named_and_may_be_marked(
    model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    points, answers = tmp_path / "points.csv", tmp_path / "answers.csv"
    points.write_text("mu\n3.5\n120\n20\nnan\n")
    assert main(["query", str(model_file), "--csv", str(points), "-o", str(answers)]) == 2
    error = capsys.readouterr().err
    assert "2 of 4 points fail, pass --mark to answer the others: mu = 120 (line 3 of " in error
    assert "points.csv) is outside [1, 100]; pass --extrapolate to allow it; mu = nan (line 5 of " in error
    assert not answers.exists()
    assert main(["query", str(model_file), "--csv", str(points), "-o", str(answers), "--mark"]) == 0
    error = capsys.readouterr().err
    assert error.count("rbm: marked:") == 2
    assert "points.csv) is outside [1, 100]; pass --extrapolate to allow it" in error
    rows = [line.split(",") for line in answers.read_text().splitlines()]
    bound = rows[0].index("error_bound")
    assert [float(r[bound]) < np.inf for r in rows[1:]] == [True, False, True, False]
    assert rows[2][rows[0].index("mean")] == "nan"


@pytest.mark.parametrize("mark", [True, False])
def test_answers_that_are_done_outlive_ctrl_c_where_marks_are_asked_for(
    mark: bool, model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    points, answers, calls = tmp_path / "points.csv", tmp_path / "answers.csv", [0]
    points.write_text("mu\n" + "".join(f"{1 + i / 10}\n" for i in range(900)))
    plain = Query.answer

    def interrupted(*arguments: Any) -> rbm.Solution:
        calls[0] += 1
        if calls[0] == 3:
            raise KeyboardInterrupt
        return plain(*arguments)

    monkeypatch.setenv("RBM_NUM_THREADS", "1")
    monkeypatch.setattr(Query, "answer", interrupted)
    options = ["--mark"] if mark else []
    assert main(["query", str(model_file), "--csv", str(points), "-o", str(answers), *options]) == 130
    shown = capsys.readouterr()
    assert "rbm: interrupted" in shown.err
    assert answers.exists() == mark
    if mark:
        rows = list(csv.DictReader(answers.open()))
        done = [float(row["error_bound"]) < np.inf for row in rows]
        assert f"{sum(done)} of 900 points written" in shown.out
        assert len(done) == 900
        assert 32 < sum(done) < 900
        assert all((row["mean"] == "nan") != ok for row, ok in zip(rows, done, strict=True))


def test_an_unknown_study_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "navier-stokes"]) == 2
    assert "diffusion" in capsys.readouterr().err


def test_ctrl_c_ends_a_study_quietly(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(studies, "run", interrupted)
    assert main(["study", "diffusion"]) == 130
    assert "interrupted" in capsys.readouterr().err


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("study")
    assert main(["study", "diffusion", "--out", str(out)]) == 0
    return out


def test_the_diffusion_study_shows_what_the_project_is_for(study: Path) -> None:
    summary = json.loads((study / "summary.json").read_text())
    assert summary["basis_size"] == 8
    assert summary["stopped"] == "round-off"
    assert [row["N"] for row in summary["sizes"]] == list(range(1, 9))
    last = summary["sizes"][-1]
    assert last["largest_true_error"] < 2e-14
    assert last["expanded"]["unresolved"] == summary["test_parameters"]
    assert last["expanded"]["largest_value"] > 1e-9
    for row in summary["sizes"]:
        for method in ("direct", "expanded", "orthonormal", "sampled", "interpolated"):
            assert row[method]["bounds_below_true_error"] == 0, (row["N"], method)
            assert {"largest_ratio", "median_ratio", "smallest_ratio", "unresolved"} <= set(row[method])
        for method in ("direct", "orthonormal"):
            assert row[method]["bounds_below_oracle"] == 0
    assert 0 < summary["online"]["microseconds_per_query"] < summary["online"]["microseconds_per_full_solve"]


def test_the_diffusion_study_leaves_figures_and_a_model(study: Path) -> None:
    for name in ("estimators", "effectivity", "eim_decay", "selected_parameters", "solutions", "estimators_over_mu_N5"):
        assert (study / f"{name}.png").read_bytes()[:4] == b"\x89PNG", name
        assert (study / f"{name}.pdf").read_bytes()[:4] == b"%PDF", name
    model = rbm.load(study / "model.rbm")
    assert list(model.estimators) == ["orthonormal", "expanded", "sampled", "interpolated"]
    assert model.solve([3.5]).bound[0] < 1e-13


@pytest.mark.slow
def test_the_thermal_block_study_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "thermal-block", "--out", str(tmp_path), "--tol", "0.3"]) == 0
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["stopped"] == "tolerance"
    assert summary["history"][-1]["bound"] <= 0.3
    assert (tmp_path / "solutions.png").exists()
    words = " ".join(capsys.readouterr().out.split())  # lines break where the measured numbers let them
    assert "times faster than a full-order solve" in words


@pytest.mark.slow
def test_the_scattering_study_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the stored 66 unknowns in place of 1026."""
    small = replace(
        studies.STUDIES["scattering"],
        model=lambda size, progress: scattering(),
        training=120,
        tests=10,
        sizes=lambda n: [2, 6, n],
        sampled_up_to=2,
    )
    monkeypatch.setitem(studies.STUDIES, "scattering", small)
    assert main(["study", "scattering", "--out", str(tmp_path), "--tol", "1e-6"]) == 0
    for name in ("estimators", "effectivity", "surface_pressure", "near_field", "far_field", "inf_sup"):
        assert (tmp_path / f"{name}.png").read_bytes()[:4] == b"\x89PNG", name
        assert (tmp_path / f"{name}.pdf").read_bytes()[:4] == b"%PDF", name
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["history"][-1]["bound"] <= 1e-6
    assert summary["stopped"] == "tolerance"
    for row in summary["sizes"]:
        for method in ("orthonormal", "direct", "expanded"):
            assert row[method]["bounds_below_true_error"] == 0
            assert 1 <= row[method]["smallest_effectivity"] <= row[method]["largest_effectivity"]
    assert summary["sizes"][0]["interpolated"]["products"] == 49
    assert "interpolated" not in summary["sizes"][2]
    said = capsys.readouterr().out
    assert "terms of products: N=2: " in said
    assert main(["query", str(tmp_path / "model.rbm"), "--mu", "0.5", "1.2"]) == 0
    shown = capsys.readouterr().out
    for name in ("absorption =", "forward_re =", "forward_im =", "forward_bound ="):
        assert name in shown
    assert main(["query", str(tmp_path / "model.rbm"), "--mu", "-0.5", "1.2"]) == 2
    assert "beta_1 = -0.5 is outside [0, 2]" in capsys.readouterr().err


def asked(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit status, standard output, standard error; all errors are one line."""
    status = main(["query", *arguments])
    captured = capsys.readouterr()
    assert status == 0 or (captured.out == "" and captured.err.startswith("rbm: ") and captured.err.count("\n") == 1)
    return status, captured.out, captured.err


@pytest.fixture(scope="module")
def signed_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two parameters that must not be mixed up, both of which may be negative; letters that not every terminal has."""
    model = rbm.FullOrderModel(
        [(1.0, np.diag([2.0, 3.0, 5.0])), ("k", np.diag([0.1, 0.2, 0.0])), ("β", np.diag([0.0, 0.5, 0.7]))],
        [(1.0, np.ones(3))],
        np.diag([2.0, 3.0, 5.0]),
        rbm.ParameterSpace({"k": (-1.0, 50.0), "β": (-2.0, 2.0)}),
        0.5,
        outputs={"größe": np.ones(3)},
        output_units={"größe": "m"},
    )
    path = tmp_path_factory.mktemp("models") / "signed.rbm"
    rbm.greedy(model, model.parameters.sample(16), max_basis=2, progress=False).reduced_model.save(path)
    return path


@pytest.mark.parametrize(
    "values",
    [
        ["-1e-3", "0.5"],
        ["-1E-3", "+.5"],
        ["-.001", "5e-1"],
        ["k=-1e-3", "β=0.5"],
        ["β=0.5", "k=-1e-3"],
        ["β = 0.5", "k= -0.001"],
        ["k=-1e-3", "--mu", "ϐ=0.5"],
    ],
)
def test_a_point_by_place_or_by_name_with_signs_and_exponents(
    signed_file: Path, values: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = asked(capsys, str(signed_file), "--mu", *values)
    shown = {k.strip(): v for k, v in (line.split(" = ") for line in out.strip().splitlines())}
    right = rbm.load(signed_file).solve([-1e-3, 0.5])
    assert (shown["k"], shown["β"]) == ("-0.001", "0.5")
    assert float(shown["größe"]) == pytest.approx(right.outputs["größe"][0], rel=1e-9)


def test_options_after_negative_numbers_are_still_options(
    signed_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "o.csv"
    assert main(["query", str(signed_file), "--mu", "-7e1", "-1e-1", "--extrapolate", "-o", str(out)]) == 0
    assert "1 of 1 points are outside" in capsys.readouterr().err
    assert out.read_text().startswith("k,β,größe,größe_bound,error_bound,floor,resolved\n-70.0,-0.1,")
    assert main(["study", "diffusion", "--out", str(tmp_path / "x"), "--tol", "-1e-3"]) == 2
    assert "tol must be a number >= 0, got -0.001" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["1"], "--mu needs 2 values, k β, got 1; or give them by name: k=VALUE β=VALUE"),
        (["k=1", "2"], "--mu has values with and without a name; give all by name: k=VALUE β=VALUE"),
        (["k=1"], "--mu needs k=VALUE β=VALUE; missing: β"),
        (["k=1", "b=2"], "missing: β; no parameters: b"),
        (["k=1", "β=2", "k=3"], "twice: k"),
        (["1", "2", "--mu", "2", "1"], "--mu needs 2 values, k β, got 4; or give them by name"),
        (["k=1", "β=2", "--mu", "k=3", "β=1"], "twice: k, β; for more than one point write a table and pass --csv"),
        (["1e400", "1"], '--mu is "1e400", which is beyond the range of double precision'),
        (["500", "1", "--mark"], "k = 500 is outside [-1, 50]"),
        (["3_5", "1"], '--mu is "3_5", which is not a number such as -2.5e-3'),
        (["k=3_5", "β=1"], '--mu k is "3_5", which is not a number'),
        (["k=", "β=1"], "--mu k is empty; give a number"),
        (["1,5", "1"], '--mu is "1,5", which is not a number'),
        (["0x10", "1"], "which is not a number"),
        (["k=-inf", "β=1"], "k = -inf is not a finite number"),
        (["-inf", "1"], "k = -inf is not a finite number"),
        (["-7e1", "-1e-1"], "k = -70 is outside [-1, 50]; pass --extrapolate to allow it"),
        (["-1.0000000001", "0"], "k = -1.0000000001 is outside [-1, 50]"),
    ],
)
def test_points_that_are_none_are_one_line(
    signed_file: Path, values: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, error = asked(capsys, str(signed_file), "--mu", *values)
    assert status == 2
    assert message in error
    assert "row" not in error


def test_a_value_that_rounding_moved_out_is_the_end(signed_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for extra in ([], ["--extrapolate"]):
        status, _, error = asked(capsys, str(signed_file), "--mu", "50.000000000000007", "-2.0000000000000004", *extra)
        assert (status, error) == (0, "")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('mu,note\n1.5,"fine\n' + "1.25,x\n" * 3, "line 2 of FILE: a quotation mark is not closed on its line"),
        ('mu,note\n1.5,"fine\n' + "1.25,x\n" * 60000, "line 2 of FILE: a quotation mark is not closed on its line"),
        ('mu,note\n1,a\n\n1.5,"two\nlines"\n', "line 4 of FILE: a quotation mark is not closed on its line"),
        ('mu,note\n1,a\n1.5,"fine\n1.25,x"y\n', "line 3 of FILE: a quotation mark is not closed on its line"),
        ('mu,"note\n1,a\n', "line 1 of FILE: a quotation mark is not closed on its line"),
        ("mu,note\n1," + 200_000 * "a" + "\n", "line 2 of FILE: field larger than field limit (131072)"),
        ('mu,note\n1,"a"b\n', "line 2 of FILE: ',' expected after '\"'"),
        ("mu\n1\n3_5\n", 'line 3 of FILE: mu is "3_5", which is not a number'),
        ("x,mu\n1,\n", "line 2 of FILE: mu is empty; give a number"),
        ("x,mu\n1,2\n\n1, \n", "line 4 of FILE: mu is empty"),
        ("mu,x\n,,\n", "line 2 of FILE has 3 fields, the header 2"),
        ("mu\n1\nnan\n", "mu = nan (line 3 of FILE) is not a finite number"),
        ("# a title\nmu\n1\n", "must have one column mu: its first line must hold the names mu"),
        (
            "x,mu\na,1\n\nb,500\nc,600\n",
            "mu = 500 (line 4 of FILE, 2 such points) is outside [1, 100]; pass --extrapolate",
        ),
        ("x,mu\n1,2,\n", "line 2 of FILE has 3 fields, the header 2; leave out the comma at the end of the line"),
        ("mu\n1\x00\n", "which is not a number"),
    ],
)
def test_messages_about_tables_name_the_line(
    model_file: Path, content: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bad.csv"
    file.write_bytes(content.encode())
    for line_end in ("\n", "\r\n", "\r"):
        file.write_bytes(b"\xef\xbb\xbf" + content.replace("\n", line_end).encode())
        status, _, error = asked(capsys, str(model_file), "--csv", str(file))
        assert status == 2
        assert message.replace("FILE", str(file)) in error


def test_a_table_from_standard_input(
    model_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def give(content: bytes) -> None:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content), encoding="ascii"))

    give(b'\xef\xbb\xbfname,mu\r\n"a, ""b""",3.5\r\n\r\nc,4\r\n')
    _, out, _ = asked(capsys, str(model_file), "--csv", "-")
    assert [row["mu"] for row in csv.DictReader(out.splitlines())] == ["3.5", "4.0"]
    give(b"mu\n2\n500\n")
    assert "mu = 500 (line 3 of standard input) is outside" in asked(capsys, str(model_file), "--csv", "-")[2]
    give(b"mu\n2\n500\n3\n")
    _, out, error = asked(capsys, str(model_file), "--csv", "-", "--mark")
    assert error.startswith("rbm: marked: mu = 500 (line 3 of standard input) is outside [1, 100]; pass --extrapolate")
    assert len(out.splitlines()) == 4
    give("mu,größe\n3.5,1\n".encode("latin-1"))
    assert "standard input is not a UTF-8 text file" in asked(capsys, str(model_file), "--csv", "-")[2]
    monkeypatch.setattr("sys.stdin", io.StringIO("mu\n2\n"))  # without bytes below
    assert asked(capsys, str(model_file), "--csv", "-")[0] == 0


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_terminals_without_our_letters(signed_file: Path, encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments in (["query", str(signed_file), "--mu", "β=1", "k=2"], ["info", str(signed_file)]):
        raw = io.BytesIO()
        monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding=encoding))
        assert main(arguments) == 0
        shown = raw.getvalue().decode(encoding)
        assert ("β" if encoding == "utf-8" else r"\u03b2") in shown
        assert ("größe" if encoding != "ascii" else r"gr\xf6\xdfe") in shown
    assert "units of outputs: gr" in " ".join(shown.split())


def test_whatever_happens_is_one_line(
    model_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for error, message in (
        (ZeroDivisionError("a defect"), "rbm: ZeroDivisionError: a defect\n"),
        (MemoryError(), "rbm: MemoryError: no message\n"),
        (RuntimeError("two\nlines"), "rbm: RuntimeError: two lines\n"),
        (OSError(28, "No space left on device", "o.csv"), "rbm: o.csv: No space left on device\n"),
    ):

        def fail(*_: object, error: BaseException = error) -> None:
            raise error

        monkeypatch.setattr("rbm.command_line.query.load", fail)
        assert asked(capsys, str(model_file), "--mu", "2")[::2] == (2, message)


def test_a_reader_that_has_enough_ends_it_quietly(
    model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.csv").write_text("mu\n" + "2.5\n" * 300)
    read, write = os.pipe()
    os.close(read)
    with io.TextIOWrapper(os.fdopen(write, "wb")) as stream:  # whose end would fail, too
        monkeypatch.setattr("sys.stdout", stream)
        assert main(["query", str(model_file), "--csv", str(tmp_path / "in.csv")]) == 0
    assert capsys.readouterr().err == ""


def test_files_called_like_numbers_and_standard_output(
    signed_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["query", str(signed_file), "--mu", "-1e-3", "1", "-o", "-5.csv"]) == 0
    assert [file.name for file in tmp_path.iterdir()] == ["-5.csv"]
    capsys.readouterr()
    assert main(["query", str(signed_file), "--csv", "-5.csv", "-o", "-"]) == 0
    assert capsys.readouterr().out.startswith("k,β,größe")
    assert [file.name for file in tmp_path.iterdir()] == ["-5.csv"]


def test_tables_are_utf_8_whatever_the_terminal_can_show(
    signed_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in.csv").write_text("k,β\n1,0.5\n", encoding="utf-8")
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="ascii"))
    assert main(["query", str(signed_file), "--csv", str(tmp_path / "in.csv")]) == 0
    assert raw.getvalue().decode().startswith("k,β,größe,")


def test_streams_that_are_closed(
    signed_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", None)
    assert "standard input is closed; give a file" in asked(capsys, str(signed_file), "--csv", "-")[2]
    monkeypatch.setattr("sys.stdout", None)
    for arguments in (["info", str(signed_file)], ["query", str(signed_file), "--mu", "1", "1"]):
        assert main(arguments) == 2
    assert main(["query", str(signed_file), "--mu", "1", "1", "-o", str(tmp_path / "o.csv")]) == 0
    assert capsys.readouterr().err.count("standard output is closed") == 2


def test_an_estimator_that_no_file_has(signed_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, _, error = asked(capsys, str(signed_file), "--mu", "1", "1", "--method", "E1")
    assert "needs the full-order model and is in no file" in error


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "COMMAND"),
        (["frobnicate"], "frobnicate"),
        (["query", "model.rbm"], "--mu --csv"),
        (["study", "diffusion", "--training", "1.5"], "1.5"),
        (["info", "a.rbm", "b.rbm"], "b.rbm"),
    ],
)
def test_a_mistake_in_the_arguments_is_one_line_too(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    written = capsys.readouterr()
    assert stopped.value.code == 2
    assert written.out == ""
    assert re.fullmatch(r"rbm: .+ --help says what there is\n", written.err)
    assert said in written.err


@pytest.mark.parametrize("command", OWN)
def test_a_command_says_what_it_takes(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Also where the options of the others are not known: only the file of the one that is asked for is imported."""
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: rbm {command} [-h] ")


def test_only_the_command_that_is_asked_for_is_imported(model_file: Path) -> None:
    code = f"import sys; from rbm.command_line import main; main(['info', {str(model_file)!r}]); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert {f"rbm.command_line.{name}" for name in ("info", "reduce", "query", "export", "explore")} & loaded == {
        "rbm.command_line.info"
    }
    assert not {"rbm.show", "rbm.uses", "numba"} & loaded
