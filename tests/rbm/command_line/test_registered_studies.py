"""Studies and commands of other packages: found by entry points, and said where another module is in the way."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from rbm.command_line import main
from rbm.command_line.registered import COMMANDS, STUDIES, load, registered

POINTS = """
[rbm.studies]
beam = beams.studies:run
lost = beams.studies:gone

[rbm.commands]
shout = beams.studies:shout
query = beams.studies:shout
"""
MODULE = """
def run(name, out, tol):
    out.mkdir(parents=True)
    (out / "done").write_text(f"{name} {tol}")

def shout(arguments):
    print(*(a.upper() for a in arguments))
    return 3 if "--fail" in arguments else None
"""


@pytest.fixture
def beams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A distribution of a user: a package `beams` with two studies and two commands."""
    site = tmp_path / "site"
    info, package = site / "beams_of_mine-1.0.dist-info", site / "beams"
    for folder in (info, package):
        folder.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: beams-of-mine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(POINTS)
    (package / "__init__.py").write_text("")
    (package / "studies.py").write_text(MODULE)
    monkeypatch.syspath_prepend(site)
    for name in ("beams", "beams.studies"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return site


def test_a_study_of_another_package_is_run(beams: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["study", "beam", "--out", str(out), "--tol", "0.5"]) == 0
    assert (out / "done").read_text() == "beam 0.5"
    with pytest.raises(SystemExit):
        main(["study", "--help"])
    assert "beam" in capsys.readouterr().out


def test_help_says_what_commands_of_other_packages_are_for(beams: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It reads the first line of the docstring, and runs nothing."""
    study, trap = beams / "beams" / "studies.py", "raise SystemExit('the module ran')\n"
    for body, wanted in (
        ('"""Say words 100 % louder.\n\nOften."""', "say words 100 % louder "),
        ("pass", "a command of beams-of-mine "),
        ("this is no Python", "a command of beams-of-mine "),
    ):
        study.write_text(f"{trap}def shout(arguments):\n    {body}\n")
        with pytest.raises(SystemExit) as ended:
            main(["--help"])
        assert ended.value.code == 0
        said = " ".join(capsys.readouterr().out.split())
        assert f"shout {wanted}" in said
        assert "detect-language print the language of every line" in said


def test_a_command_of_another_package_takes_its_own_options(beams: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["shout", "--loud", "-1", "x"]) == 0
    assert main(["shout", "--fail"]) == 3
    assert capsys.readouterr().out == "--LOUD -1 X\n--FAIL\n"
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "shout" in capsys.readouterr().out


def test_no_package_replaces_a_command_of_ours(beams: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert registered(COMMANDS)["query"].value == "beams.studies:shout"
    assert main(["query", "no-such-file", "--mu", "1"]) == 2
    assert "no-such-file" in capsys.readouterr().err


def test_another_module_in_the_way_is_named_and_not_run(
    beams: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign = tmp_path / "here" / "beams.py"
    foreign.parent.mkdir()
    foreign.write_text("raise SystemExit('ran')")
    monkeypatch.syspath_prepend(foreign.parent)
    assert main(["study", "beam", "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "'beam' of beams-of-mine is beams.studies:run, which is not found: the module 'beams'" in said
    assert f"finds first, {foreign}, is another one" in said


def test_an_entry_point_that_leads_nowhere_says_so(beams: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "lost"]) == 2
    assert "beams.studies:gone, which is not found" in capsys.readouterr().err
    with pytest.raises(ImportError, match="there is no package 'no_such_package'; install"):
        load(EntryPoint("x", "no_such_package.studies:run", STUDIES))


def test_without_any_study_the_remedy_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("rbm.command_line.registered.entry_points", lambda group: ())
    assert main(["study", "diffusion"]) == 2
    assert "no study is registered" in capsys.readouterr().err
    assert main(["info", "no-such-file"]) == 2
