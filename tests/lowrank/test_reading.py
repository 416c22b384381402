"""The one door for files.

Nothing is read that does not fit the bytes that are there, and every refusal names the file.
"""

from __future__ import annotations

import io
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

import rbm
from lowrank.reading import FileFormatError, array_from, digest, json_from, read_bytes, read_members


def npy(header: bytes | None, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    header = b"" if header is None else header
    return b"\x93NUMPY" + version + struct.pack("<H" if version[0] == 1 else "<I", len(header)) + header + data


def text(descr: object = "<f8", shape: object = (2,), order: object = False) -> bytes:
    return repr({"descr": descr, "fortran_order": order, "shape": shape}).encode() + b"\n"


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array(1 + 2j),
        np.zeros((0, 4), np.float32),
        np.arange(5, dtype=">i4"),
        np.array([True, False]),
        np.ones((2, 1, 2), ">c16"),
    ],
)
def test_arrays_come_back_in_this_machine_s_order_and_can_be_written_to(array: np.ndarray) -> None:
    buffer = io.BytesIO()
    np.save(buffer, array)
    got = array_from("f", "a", buffer.getvalue())
    assert got.dtype == array.dtype.newbyteorder("=")
    assert got.dtype.isnative
    assert got.flags.writeable
    assert got.flags.f_contiguous == array.flags.f_contiguous
    np.testing.assert_array_equal(got, array)


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"\x93NUMPY",
        npy(None),
        npy(text(), bytes(16), b"\x03\x00"),
        npy(text(), bytes(15)),
        npy(text(), bytes(17)),
        npy(text(shape=(1 << 40, 1 << 40)), bytes(16)),
        npy(text(shape=(-2, -1)), bytes(16)),
        npy(text(shape=(-2,)), bytes(16)),
        npy(text(shape=(True, 2)), bytes(16)),
        npy(text(shape=(2.0,)), bytes(16)),
        npy(text(shape=(1,) * 40 + (2,)), bytes(16)),
        npy(text("|O"), bytes(16)),
        npy(text("<M8[s]"), bytes(16)),
        npy(text("|S8"), bytes(16)),
        npy(text([("a", "<f8")]), bytes(16)),
        npy(text("<q9"), bytes(16)),
        npy(text(order="no"), bytes(16)),
        npy(b"{" * 300, bytes(16)),
        npy(b"(" * 9000, bytes(16)),
        npy(b"__import__('os').getcwd()\n", bytes(16)),
        npy(b" " * 20000 + text(), bytes(16)),
    ],
)
def test_arrays_that_do_not_fit_their_bytes_are_not_made(blob: bytes) -> None:
    with pytest.raises(FileFormatError, match=r"^some file holds an array 'a' that is not plain numbers"):
        array_from("some file", "a", blob)


def archive(members: list[tuple[str, bytes]], how: int = zipfile.ZIP_STORED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", how) as file:
        for name, blob in members:
            file.writestr(name, blob)
    return content.getvalue()


def anything(names: list[str]) -> None:
    pass


def test_members_are_read_as_they_are() -> None:
    assert read_members("f", archive([("a", b"1"), ("b/c", b"")]), anything) == {"a": b"1", "b/c": b""}


@pytest.mark.parametrize("how", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressed_members_are_not_unpacked(how: int, monkeypatch: pytest.MonkeyPatch) -> None:
    content = archive([("a", bytes(1 << 20))], how)
    monkeypatch.setattr(zipfile.ZipFile, "open", None)
    with pytest.raises(
        FileFormatError, match=r"^f is not a file of arrays of this package: its members are compressed"
    ):
        read_members("f", content, anything)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_that_stand_twice_or_claim_too_much_are_refused() -> None:
    with pytest.raises(FileFormatError, match="twice"):
        read_members("f", archive([("a", b"1"), ("a", b"2")]), anything)
    content = archive([("a", b"12345678"), ("b", b"12345678")])
    start = content.index(b"PK\x01\x02")
    larger = content[: start + 20] + struct.pack("<II", 1 << 20, 1 << 20) + content[start + 28 :]
    with pytest.raises(FileFormatError, match=rf"claim more bytes than the {len(content)} it has"):
        read_members("f", larger, anything)
    stated = content[: start + 24] + struct.pack("<I", 1 << 20) + content[start + 28 :]  # one of the two sizes
    with pytest.raises(FileFormatError, match="compressed"):
        read_members("f", stated, anything)


def test_names_are_looked_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(names: list[str]) -> None:
        raise FileFormatError(f"unknown {names}")

    content = archive([("a", bytes(100))], zipfile.ZIP_DEFLATED)
    monkeypatch.setattr(zipfile.ZipFile, "open", None)
    with pytest.raises(FileFormatError, match=r"unknown \['a'\]"):
        read_members("f", content, refuse)


def test_whatever_is_cut_out_or_put_in_the_answer_is_right_or_names_the_file() -> None:
    """zipfile raises ten kinds of errors.

    One of them is the ValueError for a central directory before the start of the file.
    """
    members = [("header.json", b"{}"), ("array.npy", bytes(range(256)) * 2)]
    content = archive(members)
    kinds, messages = set(), set()
    for size in (1, 2, 17, 129):
        for start in range(0, len(content), 3):
            for changed in (
                content[:start] + content[start + size :],
                content[:start] + b"\xff" * size + content[start + size :],
                content[:start] + content[start : start + size] * 2 + content[start + size :],
            ):
                try:
                    got = read_members("some file", changed, anything)
                except FileFormatError as error:
                    kinds.add(type(error.__cause__).__name__)
                    messages.add(str(error))
                else:
                    assert set(got.values()) <= {blob for _, blob in members}
    assert {"BadZipFile", "ValueError"} <= kinds
    assert all(m.startswith("some file ") and "\n" not in m for m in messages)


@pytest.mark.parametrize("content", [b"", b"[]", b"1", b'{"a": ', b"\xff", b"[" * 100_000, b'{"a":' * 100_000])
def test_headers_that_are_none(content: bytes) -> None:
    with pytest.raises(FileFormatError, match=r"^some file is not a file of arrays"):
        json_from("some file", content)


def test_the_digest_knows_names_types_shapes_and_entries_and_nothing_else() -> None:
    a = np.arange(6.0).reshape(2, 3)
    same = [{"a": a, "b": a[0]}, {"b": a[0], "a": a}, {"a": np.asfortranarray(a), "b": a[0].astype(">f8")}]
    assert len({digest(arrays) for arrays in same}) == 1
    others = [
        {"a": a[0], "b": a},
        {"a": a, "c": a[0]},
        {"a": a.reshape(3, 2), "b": a[0]},
        {"a": a.astype("f4"), "b": a[0]},
        {"a": a.view("i8"), "b": a[0]},
        {"a": -a, "b": a[0]},
        {"a": a},
    ]
    assert len({digest(arrays) for arrays in [*same, *others]}) == 1 + len(others)


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="no devices")
def test_devices_are_no_files_and_pipes_are(tmp_path: Path) -> None:
    for name in ("/dev/zero", "/dev/null"):
        with pytest.raises(rbm.FileFormatError, match=f"{name} is a device"):
            rbm.load(name)
    reader, writer = os.pipe()
    os.write(writer, b"abc")
    os.close(writer)
    assert read_bytes(f"/dev/fd/{reader}") == b"abc"
    os.close(reader)
    with pytest.raises(IsADirectoryError):
        read_bytes(tmp_path)


def test_it_is_the_error_of_rbm() -> None:
    assert rbm.FileFormatError is FileFormatError
    assert issubclass(FileFormatError, ValueError)
