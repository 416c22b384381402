"""The command ``rbm``: answers, and errors of one line without a traceback."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import make_case
from scattering_models import scattering

import rbm
from problems import studies
from problems.command_line import main


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
    assert float(shown["error_bound"]) == pytest.approx(solution.bound[0], rel=1e-8)
    assert float(shown["mean"]) == pytest.approx(solution.outputs["mean"][0], rel=1e-9)
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
    out = capsys.readouterr().out
    assert "ReducedModel(N = 6" in out
    assert "operator coefficients: 1.0, mu" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mu", "1000"], "mu = 1000 is outside [1, 100]; pass --extrapolate to allow it"),
        (["--mu", "nan"], "not a finite number"),
        (["--mu", "1", "2"], "--mu needs 1 values, mu, got 2"),
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


def test_an_unknown_study_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_status:
        main(["study", "navier-stokes"])
    assert exit_status.value.code == 2
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
    assert "times faster than a full-order solve" in capsys.readouterr().out


@pytest.mark.slow
def test_the_scattering_study_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the stored 66 unknowns in place of 1026."""
    small = replace(
        studies.STUDIES["scattering"],
        model=lambda progress: scattering(),
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
