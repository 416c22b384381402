"""Files of embeddings that are not what they seem: one clear error that names the file."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from lowrank.reading import FileFormatError
from ml import FactorizedEmbedding, load_embedding, material, save_embedding
from ml.albert.corpus import make_corpus
from ml.material import docstrings, token_frequencies

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
        ({"factorized_embedding": MARK, "tokens_0": np.array([["a"]])}, "holds an array 'tokens_0' that is not plain"),
        ({"factorized_embedding": np.array(["1", "0"])}, "holds an array 'factorized_embedding' that is not plain"),
        ({"factorized_embedding": np.array([1.0, 0.0])}, "does not hold"),
        ({"factorized_embedding": np.array([1, 2]), "tokens_0": np.ones((2, 2))}, "not a whole file"),
        ({"factorized_embedding": np.array([2, 0]), "tokens_0": np.ones((2, 2))}, "not a whole file"),
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
    with pytest.raises(FileFormatError, match=r"e.npz .* compressed, .* nothing of it was unpacked"):
        load_embedding(path)
    assert not read


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_what_no_format_notices_is_noticed(tmp_path, suffix):
    """Factors of one shape that have changed places, and an entry of .safetensors that is another.

    Both are right by every rule of the format.
    """
    numpy_format = pytest.importorskip("safetensors.numpy") if suffix == ".safetensors" else None
    path = tmp_path / f"e{suffix}"
    rng = np.random.default_rng(0)
    embedding = FactorizedEmbedding(rng.standard_normal((3, 3)), rng.standard_normal((3, 3)))
    save_embedding(embedding, path)
    arrays = numpy_format.load(path.read_bytes()) if numpy_format else dict(np.load(path))
    assert set(arrays) == {"factorized_embedding", "sha256", "tokens_0", "projection_0"}

    def write(**change):
        changed = {key: np.ascontiguousarray(value) for key, value in (arrays | change).items()}
        path.write_bytes(numpy_format.save(changed)) if numpy_format else np.savez(path, **changed)

    write()
    np.testing.assert_array_equal(load_embedding(path).tokens, embedding.tokens)
    other = arrays["tokens_0"].copy()
    other[1, 1] = -other[1, 1]
    for change in (
        {"tokens_0": arrays["projection_0"], "projection_0": arrays["tokens_0"]},
        {"tokens_0": other},
        {"tokens_0": arrays["tokens_0"].reshape(1, 9)},
        {"tokens_0": arrays["tokens_0"].view(np.int64)},
        {"place": np.array([2, 0, 1], np.int32)},
        {"factorized_embedding": np.array([2, 1])},
    ):
        write(**change)
        with pytest.raises(FileFormatError, match=rf"e{suffix} was altered or damaged: its arrays do not match"):
            load_embedding(path)


def test_files_of_the_first_version_are_read(tmp_path):
    path, tokens, projection = tmp_path / "e.npz", np.eye(3), np.arange(6.0).reshape(3, 2)
    np.savez(path, factorized_embedding=MARK, tokens_0=tokens, projection_0=projection)
    np.testing.assert_array_equal(load_embedding(path).to_dense(), projection)


def test_a_safetensors_header_is_not_larger_than_its_file(tmp_path):
    pytest.importorskip("safetensors")
    path = tmp_path / "m.safetensors"
    for content in (b"", b"\x02", (1 << 60).to_bytes(8, "little") + b"{}", (9).to_bytes(8, "little") + b'{"a":[[[['):
        path.write_bytes(content)
        with pytest.raises(FileFormatError, match=r"m.safetensors is "):
            load_embedding(path)


def test_damaged_data_of_other_packages_is_named(tmp_path, monkeypatch):
    """The pretrained table and its tokens, as far as that shows: the one has no checksum, the other is a text."""
    pytest.importorskip("safetensors"), pytest.importorskip("tokenizers")
    monkeypatch.setattr(material, "pretrained_folder", lambda: tmp_path)
    for content in (b"", b"\x10" + bytes(7) + b"{" * 16, b"\x02" + bytes(7) + b"{}"):
        (tmp_path / "model.safetensors").write_bytes(content)
        with pytest.raises(FileFormatError, match=r"model.safetensors is damaged .*--force-reinstall"):
            material.pretrained_table()
    name = material.TABLE
    from safetensors.numpy import save_file

    save_file({name: np.ones((3, 2), np.float32)}, str(tmp_path / "model.safetensors"))
    with pytest.raises(FileFormatError, match=r"its table is float32 \(3, 2\)"):
        material.pretrained_table()
    for content in (b"", b"{}", b"\xff\xfe"):
        (tmp_path / "tokenizer.json").write_bytes(content)
        with pytest.raises(FileFormatError, match=r"tokenizer.json is damaged .*--force-reinstall"):
            token_frequencies(["a"])
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"tokenizer.json"):
        token_frequencies(["a"])


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
