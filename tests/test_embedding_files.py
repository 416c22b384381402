"""Files of embeddings that are not what they seem: one clear error that names the file."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ml import FactorizedEmbedding, load_embedding, save_embedding
from ml.corpus import make_corpus
from ml.pretrained import token_frequencies
from ml.text import docstrings

MARK = np.array([1, 0])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": np.ones(3)}, "does not hold a factorised embedding"),
        ({"factorized_embedding": MARK, "tokens_0": np.ones((2, 2)), "more": np.ones(1)}, "not a whole file"),
        (
            {"factorized_embedding": MARK, "tokens_0": np.ones((2, 2)), "projection_1": np.ones((2, 2))},
            "not a whole file",
        ),
        ({"factorized_embedding": MARK, "tokens_0": np.array([["a"]])}, "no valid embedding"),
        ({"factorized_embedding": np.array(["1", "0"])}, "does not hold"),
    ],
)
def test_foreign_arrays_are_named(tmp_path, arrays, message):
    path = tmp_path / "e.npz"
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=rf"e.npz .*{message}"):
        load_embedding(path)


@pytest.mark.parametrize("content", [b"no array", b"\x93NUMPY\x01\x00\x04\x00{((\n", b"\x93NUMPY\x01\x00\x03\x00{1\n"])
def test_crafted_members_are_named(tmp_path, content):
    path = tmp_path / "e.npz"
    for member in ("tokens_0.npy", "factorized_embedding.npy"):
        np.savez(path, factorized_embedding=MARK) if member.startswith("t") else path.unlink()
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(member, content)
        with pytest.raises(ValueError, match=r"e.npz "):
            load_embedding(path)


def test_nothing_of_a_foreign_or_compressed_archive_is_unpacked(tmp_path, monkeypatch):
    path = tmp_path / "e.npz"
    read = []
    original = zipfile.ZipFile.open
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *a, **k: read.append(a[1]) or original(*a, **k))
    np.savez_compressed(path, a=np.zeros(10**6))
    read.clear()
    with pytest.raises(ValueError, match="does not hold"):
        load_embedding(path)
    assert not read
    np.savez_compressed(path, factorized_embedding=MARK, tokens_0=np.zeros((10**3, 10**3)))
    read.clear()
    with pytest.raises(ValueError, match="not a whole file"):
        load_embedding(path)
    assert len(read) == 1


def test_folders_and_models_are_named(tmp_path):
    (tmp_path / "e.npz").mkdir()
    with pytest.raises(ValueError, match=r"e.npz is a folder"):
        load_embedding(tmp_path / "e.npz")
    pytest.importorskip("safetensors")
    header = json.dumps({"w": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}).encode()
    path = tmp_path / "m.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(2))
    with pytest.raises(ValueError, match=r"m.safetensors does not hold a factorised embedding"):
        load_embedding(path)


def test_a_tuple_of_one_block_comes_back_as_such(tmp_path):
    save_embedding(FactorizedEmbedding((np.ones((3, 1)),), (np.ones((1, 2)),)), tmp_path / "e.npz")
    assert isinstance(load_embedding(tmp_path / "e.npz").tokens, tuple)


def test_the_old_file_stays_if_the_new_one_fails(tmp_path, monkeypatch):
    path = tmp_path / "e.npz"
    save_embedding(FactorizedEmbedding(np.ones((2, 2))), path)
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no space"):
        save_embedding(FactorizedEmbedding(np.zeros((2, 2))), path)
    assert path.read_bytes() == before
    assert [p.name for p in Path(tmp_path).iterdir()] == ["e.npz"]


def test_one_string_is_no_list_of_strings():
    for call in (docstrings, make_corpus, token_frequencies):
        with pytest.raises(TypeError, match=r"list of strings, got one string; pass \['numpy'\]"):
            call("numpy")
    assert docstrings(["sys"]) == []
