"""``rbm reduce``: the example of --template, models of all kinds, and one line for everything that is wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import scipy.sparse as sp

import rbm
import rbm.command_line.reduce
from rbm.command_line import main
from rbm.command_line.described_model import full_model, training_points
from rbm.command_line.model_description import BOUNDS, read_description
from rbm.command_line.template import TEMPLATE, write_template
from rbm.command_line.toml_lines import read_toml

N = 20


@pytest.fixture(scope="module")
def rod(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_template(tmp_path_factory.mktemp("rod"))


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    status = main(list(map(str, arguments)))
    shown = capsys.readouterr()
    return status, shown.out, shown.err


def test_the_template_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "reduce", "--template")[:2] == (0, TEMPLATE)
    status, out, _ = run(capsys, "reduce", "--template", "--out", tmp_path / "rod")
    assert (status, (tmp_path / "rod" / "model.toml").read_text()) == (0, TEMPLATE)
    assert "rbm reduce" in out
    status, out, err = run(capsys, "reduce", tmp_path / "rod" / "model.toml", "--out", tmp_path / "out")
    assert status == 0, err
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["stopped"] == "tolerance"
    assert (summary["unknowns"], summary["fixed_unknowns"], summary["outputs"]) == (60, 1, ["tip"])
    assert summary["history"][-1]["bound"] <= 1e-6
    assert 0.09 < summary["stability_on_training"][0] < summary["stability_on_training"][1] <= 1
    for name in ("history.png", "history.pdf", "selected_parameters.png"):
        assert (tmp_path / "out" / name).stat().st_size > 1000
    assert "unknowns: 60 free, 1 fixed" in " ".join(run(capsys, "info", tmp_path / "out" / "model.rbm")[1].split())
    reduced = rbm.load(tmp_path / "out" / "model.rbm")
    assert reduced.parameters.names == ("k", "h")
    for mu in ([2.0, 3.0], [0.1, 0.5], [10.0, 5.0]):
        solution = reduced.solve(mu)
        whole = reduced.constraints.expand(reduced.reconstruct(solution), [mu])[0]
        error = whole - rod_solution(tmp_path / "rod", *mu)
        product = rbm.read_matrices(tmp_path / "rod" / "P.mtx")["P"]
        assert np.sqrt(error @ (product @ error)) <= solution.bound[0] + 1e-12
        assert abs(solution.outputs["tip"][0] - (whole - error)[-1]) <= solution.output_bounds["tip"][0] + 1e-12
        assert solution.output_bounds["tip"][0] < 1e-3 * solution.bound[0]  # of the dual problem
    assert summary["output_kinds"] == {"tip": "primal-dual"}
    dual = summary["dual"]["tip"]
    assert (dual["stopped"], dual["basis_size"]) == ("tolerance", reduced.outputs["tip"].dual_operators.shape[2])


def test_outputs_with_dual_problems(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Named and "all": info says which they are, a query shows corrected values and their bounds."""
    monkeypatch.setattr(rbm.plots, "save", lambda axes, stem: [])
    text = BASIC + '[outputs]\nat = "rest.npz:l"\nload = "rest.npz:column"\nother = "rest.npz:l2"\nenergy = "K.npz"\n'
    kinds = {"at": "primal-dual", "load": "linear", "other": "linear", "energy": "quadratic"}
    for dual, wanted in (
        ('["at"]', kinds),
        ('"all"', kinds | {"load": "primal-dual", "other": "primal-dual"}),
        ("[]", kinds | {"at": "linear"}),
    ):
        path = written(tmp_path, text.replace("tol = 1e-6", f"tol = 1e-3\ndual = {dual}"))
        status, out, err = run(capsys, "reduce", path, "--out", tmp_path / "out")
        assert status == 0, err
        duals = [name for name, kind in wanted.items() if kind == "primal-dual"]
        assert [line.split()[5][:-1] for line in out.splitlines() if "dual problem of" in line] == duals
        summary = json.loads((tmp_path / "out" / "summary.json").read_text())
        assert (summary["output_kinds"], list(summary["dual"])) == (wanted, duals)
        shown = " ".join(run(capsys, "info", tmp_path / "out" / "model.rbm")[1].split())
        for name, kind in wanted.items():
            assert f" {name}: {kind}" in shown
    plain, _ = queried(capsys, tmp_path, "at")
    written(tmp_path, text.replace("tol = 1e-6", 'tol = 1e-3\ndual = ["at"]'))
    assert run(capsys, "reduce", tmp_path / "m.toml", "--out", tmp_path / "out")[0] == 0
    corrected, exact = queried(capsys, tmp_path, "at")
    assert corrected[1] < 1e-2 * plain[1]
    assert abs(plain[0] - exact) <= plain[1]
    assert abs(corrected[0] - exact) <= corrected[1] + 1e-10 * abs(exact)


def test_outputs_read_fixed_unknowns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rbm.plots, "save", lambda axes, stem: [])
    text = BASIC + '[outputs]\nsum = "rest.npz:column"\n[fixed]\ndofs = "dofs.npy"\nvalues = "values.npy"\n'
    path = written(tmp_path, text)
    np.save(tmp_path / "dofs.npy", [0, N - 1])
    np.save(tmp_path / "values.npy", [2.0, -5.0])
    assert run(capsys, "reduce", path, "--out", tmp_path / "out")[0] == 0
    matrix = sp.load_npz(tmp_path / "K.npz").toarray() + 1.3 * np.eye(N)
    matrix[[0, N - 1]] = np.eye(N)[[0, N - 1]]
    exact = np.linalg.solve(matrix, np.concatenate([[2.0], np.ones(N - 2) / 1.3, [-5.0]])).sum()
    out = run(capsys, "query", tmp_path / "out" / "model.rbm", "--mu", "1.3")[1]
    printed = dict(line.replace(" ", "").split("=") for line in out.splitlines())
    assert abs(float(printed["sum"]) - exact) <= float(printed["sum_bound"]) + 1e-9


def queried(capsys: pytest.CaptureFixture[str], folder: Path, name: str) -> tuple[tuple[float, float], float]:
    """Value and bound of an output at k = 1.3, as ``rbm query`` prints them, and the exact value."""
    status, out, err = run(capsys, "query", folder / "out" / "model.rbm", "--mu", "1.3")
    assert status == 0, err
    printed = dict(line.replace(" ", "").split("=") for line in out.splitlines())
    exact = np.linalg.solve(sp.load_npz(folder / "K.npz").toarray() + 1.3 * np.eye(N), np.ones(N) / 1.3)
    return (float(printed[name]), float(printed[f"{name}_bound"])), float(np.load(folder / "rest.npz")["l"] @ exact)


def test_an_interrupted_run_goes_on(
    rod: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")  # files are the same but for the date
    # in the folder of the matrices: a smaller run, without figures
    small = rod.with_name("small.toml")
    small.write_text(TEMPLATE.replace("points = 400", "points = 40").replace("tol = 1e-6", "tol = 1e-4"))
    monkeypatch.setattr(rbm.plots, "save", lambda axes, stem: [])
    assert run(capsys, "reduce", small, "--out", tmp_path / "whole")[0] == 0
    assert not (tmp_path / "whole" / "greedy.run").exists()

    def interrupted(*given: Any, **options: Any) -> Any:
        rbm.greedy(*given, **{**options, "max_basis": 4})
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(rbm.command_line.reduce, "greedy", interrupted)
        assert run(capsys, "reduce", small, "--out", tmp_path / "parts")[0] == 130
    assert not (tmp_path / "parts" / "model.rbm").exists()
    status, out, _ = run(capsys, "reduce", small, "--out", tmp_path / "parts")
    assert status == 0
    assert "which an interrupted run has left" in out
    whole, parts = ((tmp_path / name / "model.rbm").read_bytes() for name in ("whole", "parts"))
    assert whole == parts
    (tmp_path / "parts" / "greedy.run").write_bytes(b"damaged")
    status, out, _ = run(capsys, "reduce", small, "--out", tmp_path / "parts")
    assert status == 0
    assert "is not taken up" in out


def rod_solution(folder: Path, k: float, h: float) -> np.ndarray:
    """The temperatures, from the files themselves and with nothing of this package but its reader."""
    k1, k2, m = (scipy.io.mmread(folder / f"{name}.mtx").toarray() for name in ("K1", "K2", "M"))
    a, f = k1 + k * k2 + h * m, np.load(folder / "f.npy")
    a[0], f[0] = np.eye(len(a))[0], 1.0
    return np.linalg.solve(a, f)


def matrices(folder: Path) -> None:
    stiffness = sp.diags_array([-np.ones(N - 1), 2 * np.ones(N), -np.ones(N - 1)], offsets=[-1, 0, 1], format="csr")
    sp.save_npz(folder / "K.npz", stiffness)
    np.savez(
        folder / "rest.npz",
        M=np.eye(N),
        f=np.ones(N),
        column=np.ones((N, 1)),
        wrong=np.ones(N + 1),
        l=np.linspace(0, 1, N),
        l2=np.arange(N) % 2.0,
    )


BASIC = """version = 1
product = "K.npz"
[parameters]
k = [1.0, 2.0]
[[operators]]
file = "K.npz"
coefficient = 1
[[operators]]
file = "rest.npz:M"
coefficient = "k"
[[rhs]]
file = "rest.npz:f"
coefficient = "1 / k"
[stability]
kind = "number"
value = 1.0
[greedy]
tol = 1e-6
"""


def written(folder: Path, text: str) -> Path:
    matrices(folder)
    (folder / "m.toml").write_text(text)
    return folder / "m.toml"


@pytest.mark.parametrize(
    "stability",
    [
        'kind = "number"\nvalue = 1',
        'kind = "expression"\nvalue = "1 + 0 * k"',
        'kind = "min-theta"\nreference = [1.5]\nconstant = 1.0',
        'kind = "min-theta"\nreference = {k = 1.5}',
        'kind = "pencil"\nstiffness = 0\nmass = 1',
        'kind = "scm"\ntraining = 20\ntol = 0.2',
        'kind = "natural-norm"\ntraining = 20',
        'kind = "anchored"\ntraining = 20\nratio = 0.4',
        'kind = "anchored"\ntraining = [[1.0], [1.5], [2.0]]\ncache = "anchors"',
    ],
)
def test_kinds_of_stability_bounds(tmp_path: Path, stability: str) -> None:
    name = BOUNDS.get(stability.split('"')[1])
    if name is not None and not hasattr(rbm.stability, name):
        pytest.skip(f"rbm.stability has no {name}")
    text = BASIC.replace('kind = "number"\nvalue = 1.0', stability)
    model = full_model(read_description(written(tmp_path, text)))
    mus = model.parameters.sample(5)
    beta = model.stability(mus, model.operator_coefficients(mus))
    assert np.all((beta > 0.3) & (beta < 2))
    assert ("cache" in stability) == (tmp_path / "anchors").exists()


def test_all_keys_reach_the_model(tmp_path: Path) -> None:
    text = BASIC.replace("tol = 1e-6", 'tol = 1e-3\nmax_basis = 7\nrelative = true\nprojection = "least-squares"')
    text = text.replace("k = [1.0, 2.0]", 'k = {range = [1, 100], scale = "log"}\nT = [-1.0, 1.0]')
    text += (
        '[training]\npoints = 64\nmethod = "random"\nrng = 3\n[outputs]\nmean = "rest.npz:column"\nenergy = "K.npz"\n'
    )
    description = read_description(written(tmp_path, text))
    assert (description.tol, description.max_basis, description.relative) == (1e-3, 7, True)
    points = training_points(description)
    unit = rbm.ParameterSpace({"a": (0.0, 1.0), "b": (0.0, 1.0)}).sample(64, "random", rng=3)
    np.testing.assert_allclose(points, np.stack([100 ** unit[:, 0], 2 * unit[:, 1] - 1], axis=1), rtol=1e-12)
    model = full_model(description)
    assert (model.projection, list(model.outputs)) == ("least-squares", ["mean", "energy"])
    assert [o.quadratic for o in model.outputs.values()] == [False, True]
    assert model.operator_coefficients.sources == (1.0, "k")
    wide = read_description(written(tmp_path, BASIC.replace("k = [1.0, 2.0]", 'k = {range = [1, 9], scale = "log"}')))
    assert wide.parameters.scale == "log"
    np.testing.assert_allclose(training_points(wide)[:, 0], np.geomspace(1, 9, 500), rtol=1e-12)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("version = 1", "", r"m\.toml: version is missing"),
        ("version = 1", "version = 2", r"m\.toml, line 1: version = 2, this package reads version 1"),
        ("version = 1", "version = true", r"line 1: version = True"),
        ("version = 1", "version = 1\ncolour = 3", r"line 2: unknown key 'colour'; known here are version, parameters"),
        ("k = [1.0, 2.0]", "k = [1.0, 2.0", r"line \d+: this is not TOML: Unclosed array"),
        ("[stability]", "[stability", r"line 14: this is not TOML"),
        ("value = 1.0", "value = 1.0\nratio = 2", r"line 17: unknown key 'ratio'; known here are value"),
        ("value = 1.0", 'value = "k"', r"line 16: the value of the bound \"number\" is 'k'"),
        ("value = 1.0", "", r"line 14: the bound \"number\" needs a value"),
        ('kind = "number"', 'kind = "coercive"', r"line 15: kind must be .* got 'coercive': number, expression"),
        ('kind = "number"', "", r"line 14: kind is missing: number, expression"),
        ("value = 1.0\n", "value = -2.0\n", r"stability bound"),
        ('coefficient = "k"', 'coefficient = "k + q"', r"line 10: unknown name 'q' in coefficient expression 'k \+ q'"),
        ('coefficient = "k"', 'coefficient = "k +"', r"line 10: coefficient expression 'k \+' is not a formula"),
        ('coefficient = "k"', "coefficient = true", r"line 10: coefficient must be a number or a formula"),
        ('coefficient = "k"', "coefficient = nan", r"line 10: coefficient must be a number or a formula"),
        ('coefficient = "k"', "", r"line 8: this term has no coefficient"),
        ('coefficient = "k"', 'coefficient = "k"\nname = "M"', r"line 11: unknown key 'name'; known here are file"),
        ('file = "rest.npz:M"', 'file = "rest.npz"', r'line 9: .*rest\.npz holds M, f, .*; write "rest\.npz:M"'),
        ('file = "rest.npz:M"', 'file = "rest.npz:A"', r"line 9: .*rest\.npz holds M, f, column, .*; write"),
        ('file = "rest.npz:M"', 'file = "A.npz"', r"line 9: there is no file .*A\.npz"),
        ('file = "rest.npz:M"', 'file = "m.toml"', r"line 9: .*m\.toml is no file of matrices"),
        ('file = "rest.npz:M"', 'file = "rest.npz:f"', r"line 9: rest\.npz:f has shape \(20,\), expected \(20, 20\)"),
        ('file = "rest.npz:M"', "file = 3", r"line 9: file must be the name of a file in quotation marks, got 3"),
        ('file = "rest.npz:f"', 'file = "rest.npz:wrong"', r"line 12: rest\.npz:wrong has shape \(21,\), exp"),
        ('product = "K.npz"', 'product = "rest.npz:f"', r"line 2: rest\.npz:f has shape \(20,\), expected a square"),
        ("k = [1.0, 2.0]", "k = [2.0, 1.0]", r"line 4: range of k must be finite with low <= high"),
        ("k = [1.0, 2.0]", 'k = {range = [0.0, 1.0], scale = "log"}', r"line 4: range of k starts at 0\.0"),
        ("k = [1.0, 2.0]", 'k = {range = [1.0, 2.0], scale = "sqrt"}', r"line 4: scale must be"),
        ("k = [1.0, 2.0]", "k = {low = 1.0}", r"line 4: unknown key 'low'; known here are range, scale"),
        ("k = [1.0, 2.0]", 'k = {scale = "log"}', r"line 4: k needs a range"),
        ("k = [1.0, 2.0]", "k = 3.0", r"line 4: the range of k must be \[low, high\], got 3\.0"),
        ("k = [1.0, 2.0]", "lambda = [1.0, 2.0]", r"line 4: parameter name 'lambda' has a meaning"),
        ("k = [1.0, 2.0]\n", "", r"line 3: the table \[parameters\] is empty"),
        ("tol = 1e-6", "tol = -1.0", r"line 18: tol must be a number >= 0, got -1\.0"),
        ("tol = 1e-6", "max_basis = 0", r"line 18: max_basis must be a whole number of at least 1, got 0"),
        ("tol = 1e-6", "relative = 1", r"line 18: relative must be true or false, got 1"),
        ("tol = 1e-6", "dual = true", r'line 18: dual must be "all", or a list of names of outputs, got True'),
        ("tol = 1e-6", 'dual = "s"', r"line 18: dual must be \"all\", or a list of names of outputs, got 's'"),
        ("tol = 1e-6", "dual = [3]", r"line 18: dual must be .*, got \[3\]"),
        ("tol = 1e-6", 'dual = ["s"]', r"line 18: dual names the output 's', which \[outputs\] does not have: none"),
        ("[greedy]", '[outputs]\ns = "rest.npz:f"\n[greedy]\ndual = ["s", "t"]',
         r"line 20: dual names the output 't', which \[outputs\] does not have: s"),
        ("[greedy]", '[outputs]\ns = "K.npz"\n[greedy]\ndual = ["s"]', r"line 20: .* 's', which is quadratic"),
        ("tol = 1e-6", 'projection = "petrov"', r"line 18: projection must be .* got 'petrov': galerkin"),
        ("[greedy]", "[training]\nmethod = \"halton\"\n[greedy]", r"line 18: method must be .* got 'halton'"),
        ("[greedy]", "[training]\npoints = 10.5\n[greedy]", r"line 18: points must be a whole number of at least 1"),
        ("[greedy]", "[fixed]\nvalues = \"f\"\n[greedy]", r"line 17: \[fixed\] needs dofs"),
        ("[greedy]", "[fixed]\ndofs = \"rest.npz:f\"\n[greedy]", r"line 17: fixed has the unknown 1 more than once"),
        ("[greedy]", "[fixed]\ndofs = \"none.npy\"\n[greedy]", r"line 18: there is no file .*none\.npy"),
        ("[greedy]", "[outputs]\nk = \"rest.npz:f\"\n[greedy]", r"line 18: output 'k' has the name of a parameter"),
        ("[greedy]", "[outputs]\ns = \"rest.npz:wrong\"\n[greedy]", r"line 18: rest\.npz:wrong has shape \(21,\)"),
    ],
)  # fmt: skip
def test_bad_files(tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, message: str) -> None:
    assert old in BASIC
    path = written(tmp_path, BASIC.replace(old, new, 1))
    status, _, err = run(capsys, "reduce", path, "--out", tmp_path / "out")
    assert status == 2
    assert err.count("\n") == 1
    assert re.search(message, err), err
    assert not (tmp_path / "out" / "model.rbm").exists()


@pytest.mark.parametrize(
    ("stability", "message"),
    [
        ('kind = "min-theta"', r"line 14: the bound \"min-theta\" needs reference"),
        (
            'kind = "min-theta"\nreference = [1.5]\nratio = 2',
            r"line 17: unknown key 'ratio'; known here are reference",
        ),
        ('kind = "min-theta"\nreference = ["a"]', r"line 14: the reference of min-theta must be numbers"),
        ('kind = "anchored"\nratio = "half"', r"line 16: ratio must be a number, got 'half'"),
        ('kind = "anchored"\nmax_anchors = true', r"line 16: max_anchors must be a whole number, got True"),
        ('kind = "anchored"\nratio = 2.0', r"line 14: ratio must lie between 0 and 1"),
        ('kind = "pencil"\nmass = 7', r"line 14: "),
    ],
)
def test_bad_options_of_bounds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], stability: str, message: str
) -> None:
    path = written(tmp_path, BASIC.replace('kind = "number"\nvalue = 1.0', stability))
    status, _, err = run(capsys, "reduce", path, "--out", tmp_path / "out")
    assert status == 2
    assert re.search(message, err), err


def test_bounds_that_a_version_does_not_have(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BOUNDS, "scm", "NoSuchBound")
    path = written(tmp_path, BASIC.replace('kind = "number"\nvalue = 1.0', 'kind = "scm"'))
    status, _, err = run(capsys, "reduce", path)
    assert status == 2
    assert 'line 15: this version of rbm-toolkit has no bound "scm"' in err


def test_arguments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        ([], "rbm reduce needs a model file"),
        (["--template", "m.toml"], "give either a model file or --template"),
        ([tmp_path / "none.toml"], "none.toml: No such file"),
    ):
        status, _, err = run(capsys, "reduce", *arguments)
        assert status == 2
        assert message in err
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    assert "is not a UTF-8 text file" in run(capsys, "reduce", tmp_path / "binary.toml")[2]


def test_lines_are_those_of_the_keys(tmp_path: Path) -> None:
    """Comments, dotted keys, quoted keys and arrays over several lines."""
    text = '# a comment\nversion = 1  # [parameters]\nproduct = "K"\ngreedy.tol = 1\n"rhs" = [\n  [1.0],\n]\n'
    text += '[ stability ]  # a\n"kind" = "number"\n[[operators]]\na = 1\n[[operators]]\nb = 1'
    (tmp_path / "m.toml").write_text(text)
    document = read_toml(tmp_path / "m.toml")
    wanted = {("version",): 2, ("greedy", "tol"): 4, ("greedy", "other"): 4, ("rhs", 0): 5, ("stability",): 8}
    wanted |= {("stability", "kind"): 9, ("operators", 0, "a"): 11, ("operators", 1): 12, ("operators", 1, "b"): 13}
    for path, line in wanted.items():
        assert document.line(*path) == line, path
    assert document.line("none") is None
