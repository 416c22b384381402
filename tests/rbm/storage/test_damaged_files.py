"""A few hundred damaged files of every kind: never other numbers, never an error but the one that names the file.

``python -m benchmarks.truth files`` does 10^4, and 300 compiled kernels.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers import ROOT

import rbm
from benchmarks import truth_files
from benchmarks.damage import DAMAGES
from benchmarks.truth_files import Kind, kinds, main, outcome, sweep
from lowrank import reading
from rbm.storage import archive
from rbm.storage.cache import cache_folder

#: Damaged files of a kind: each damage three times.
COUNT = 3 * len(DAMAGES)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Kind]:
    return kinds(tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize(
    "name", ["model", "checkpoint", "embedding .npz", "embedding .safetensors", "cached matrices", "cached anchors"]
)
def test_damage_is_found_or_harmless(name: str, made: dict[str, Kind]) -> None:
    if name == "embedding .safetensors":
        pytest.importorskip("safetensors")
    examples: list[str] = []
    counts = sweep(name, made, 0, COUNT, examples)
    assert not examples
    found = sum(count for key, count in counts.items() if key.endswith(("refused", "rebuilt")))
    assert found > 0.8 * COUNT, counts
    assert not {key for key in counts if key.endswith(("wrong", "error"))}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks")
def test_damaged_kernels_are_found(tmp_path: Path) -> None:
    """In processes of their own; that they are compiled anew is tested elsewhere."""
    code = (
        "import json, benchmarks.truth_kernels as t; t.COMPILED = 10**9; e = [];"
        f"print(json.dumps([t.sweep_kernels(1, {len(DAMAGES)}, e), e]))"
    )
    # the fixture's cache has a link to the kernels that this session has compiled
    environment = {**os.environ, "RBM_CACHE_DIR": str(cache_folder()), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    counts, examples = json.loads(done.stdout.splitlines()[-1])
    assert not examples
    assert sum(counts.values()) == len(DAMAGES) - 1
    assert all(key.endswith(": rebuilt") for key in counts), counts


@pytest.mark.parametrize("fault", ["sums", "names", "errors"])
def test_faults_of_the_reader_are_seen(fault: str, made: dict[str, Kind], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without checksums, without the name of what a cache holds, without one door for zipfile's errors."""
    name = "cached matrices" if fault == "names" else "model"
    if fault == "sums":
        original = archive.json_from

        def any_sum(name: str, text: bytes, *, kind: str) -> dict[str, object]:
            header = original(name, text, kind=kind)
            return header | {"sha256": dict.fromkeys(header.get("sha256", {}), "0")}

        monkeypatch.setattr(archive, "json_from", any_sum)
        monkeypatch.setattr(archive, "header_digest", lambda header: header.get("header_sha256"))
        no_sum = SimpleNamespace(hexdigest=lambda: "0", update=lambda part: None)
        monkeypatch.setattr(archive, "hashlib", SimpleNamespace(sha256=lambda blob=b"": no_sum))
    elif fault == "names":

        class Anything(str):
            __slots__ = ()
            __hash__ = str.__hash__

            def __eq__(self, other: object) -> bool:
                return True

            def __ne__(self, other: object) -> bool:
                return False

        def any_name(path: Path, kind: str) -> object:
            header, arrays = archive.read_archive(path, kind)
            return header | {"key": Anything()}, arrays

        monkeypatch.setattr(truth_files.matrix_cache, "read_archive", any_name)
    else:
        monkeypatch.setattr(reading, "_said", lambda error: (_ for _ in ()).throw(error))
    examples: list[str] = []
    counts = sweep(name, made, 0, 8 * len(DAMAGES), examples)
    assert any(key.endswith(": error" if fault == "errors" else ": wrong") for key in counts), counts
    assert examples


def test_an_error_that_does_not_name_the_file_is_one(tmp_path: Path) -> None:
    path = tmp_path / "a"

    def refuse(found: Path) -> str:
        raise rbm.FileFormatError("something is wrong")

    def other(found: Path) -> str:
        raise KeyError("header")

    assert outcome(Kind([path], refuse), path, b"", "", b"x")[0] == "error"
    assert outcome(Kind([path], other), path, b"", "", b"x") == ("error", "KeyError: 'header'")
    assert outcome(Kind([path], lambda p: None, cache=True), path, b"", "", b"x")[0] == "error"
    assert outcome(Kind([path], lambda p: "1"), path, b"", "2", b"x")[0] == "wrong"
    assert path.read_bytes() == b""


def test_the_command_goes_on_where_it_stopped(
    tmp_path: Path, made: dict[str, Kind], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(truth_files, "kinds", lambda folder: {"model": made["model"]})
    arguments = ["--kernels", "0", "--results", str(tmp_path / "r.json")]
    assert main(["--count", "5", *arguments]) == 0
    assert main(["--count", "9", *arguments]) == 0
    out, err = capsys.readouterr()
    assert "model" in out
    assert [line.split(",")[0] for line in err.splitlines()] == ["5 files", "9 files"]
    stored = json.loads((tmp_path / "r.json").read_text())
    stored["counts"]["model"]["one bit: wrong"] = 1
    (tmp_path / "r.json").write_text(json.dumps(stored))
    assert main(["--count", "1", *arguments]) == 1
    (tmp_path / "r.json").write_text(json.dumps(stored | {"sources": "older"}))
    assert main(["--count", "1", *arguments]) == 0
