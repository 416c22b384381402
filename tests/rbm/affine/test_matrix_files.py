"""Files of matrices: written by the packages that own the format, or byte by byte, and read back bit for bit."""

from __future__ import annotations

import contextlib
import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import scipy.sparse as sp

import rbm

REAL = sp.csr_array(np.array([[4.0, 0.0, -1 / 3], [0.0, 0.0, 0.0], [1e-300, 2.5, 9.0], [0.0, np.pi, 0.0]]))
COMPLEX = sp.csr_array(REAL * (1 + 2j))
VECTOR = np.array([1.0, -2.0, 1 / 7])


def petsc(*objects: Any, complex_scalars: bool = False, wide: bool = False) -> bytes:
    """What PETSc's viewers write: big-endian, class, sizes, row lengths, columns, entries."""
    index, scalar = (">i8" if wide else ">i4"), (">c16" if complex_scalars else ">f8")
    out = b""
    for given in objects:
        if sp.issparse(given):
            a = sp.csr_array(given)
            sizes = [1211216, *a.shape, a.nnz]
            parts = [(sizes, index), (np.diff(a.indptr), index), (a.indices, index), (a.data, scalar)]
        elif given.ndim == 2:
            parts = [([1211216, *given.shape, -1], index), (given.ravel(), scalar)]
        elif given.dtype.kind == "i":
            parts = [([1211218, len(given)], index), (given, index)]
        else:
            parts = [([1211214, len(given)], index), (given, scalar)]
        out += b"".join(np.asarray(values).astype(dtype).tobytes() for values, dtype in parts)
    return out


def check(found: Any, wanted: Any) -> None:
    assert sp.issparse(found) == sp.issparse(wanted)
    if sp.issparse(found):
        assert type(found) is sp.csr_array
        found, wanted = found.toarray(), wanted.toarray()
    assert found.dtype == (complex if np.iscomplexobj(wanted) else float)
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("complex_scalars", [False, True])
def test_petsc(tmp_path: Path, complex_scalars: bool, wide: bool) -> None:
    matrix = COMPLEX if complex_scalars else REAL
    dofs, dense = np.array([0, 3, 2]), matrix.toarray()
    path = tmp_path / "system.petsc"
    objects = [matrix, VECTOR, matrix.T, dofs, 2 * VECTOR, dense]
    path.write_bytes(petsc(*objects, complex_scalars=complex_scalars, wide=wide))
    found = rbm.read_matrices(path)
    assert list(found) == ["matrix0", "vector0", "matrix1", "indices0", "vector1", "matrix2"]
    factor = 1 + 0j if complex_scalars else 1.0
    for value, wanted in zip(found.values(), objects, strict=True):
        check(value, wanted if wanted is dofs else wanted * factor)


@pytest.mark.parametrize("size", [4, 7])
def test_petsc_damaged_anywhere(tmp_path: Path, size: int) -> None:
    whole = petsc(REAL, VECTOR[:2])
    path = tmp_path / "k.petsc"
    for end in set(range(size, len(whole), size)) - {len(petsc(REAL))}:
        path.write_bytes(whole[:end])
        with pytest.raises(rbm.FileFormatError, match=r"k\.petsc is (no whole PETSc file|no file of matrices)"):
            rbm.read_matrices(path)


def test_petsc_of_the_wrong_kind(tmp_path: Path) -> None:
    """Scalars of four bytes, rows that do not add up, columns outside, and sizes that would fill the memory."""
    path = tmp_path / "k.petsc"
    single = petsc(REAL)[: -8 * REAL.nnz] + REAL.data.astype(">f4").tobytes()
    too_long = petsc(REAL).replace(struct.pack(">4i", 2, 0, 3, 1), struct.pack(">4i", 2, 0, 3, 2))
    outside = petsc(REAL).replace(struct.pack(">2i", 0, 2), struct.pack(">2i", 0, 5))
    huge = struct.pack(">4i", 1211216, 2**31 - 1, 2**31 - 1, 3)
    vast = struct.pack(">4q", 1211216, 2**60, 2**60, 2**60)
    negative = struct.pack(">2i", 1211214, -3)
    for content in (single, too_long, outside, huge, vast, negative, petsc(REAL) + b"\0"):
        path.write_bytes(content)
        with pytest.raises(
            rbm.FileFormatError, match=r"k\.petsc is no whole PETSc file .* with real scalars .*complex"
        ):
            rbm.read_matrices(path)
    path.write_bytes(petsc(sp.csr_array((3, 3)), np.zeros(0)))  # nothing in it: real or complex is the same
    check(rbm.read_matrices(path)["matrix0"], sp.csr_array((3, 3)))


@pytest.mark.parametrize("matrix", [REAL, COMPLEX], ids=["real", "complex"])
def test_matrix_market(tmp_path: Path, matrix: Any) -> None:
    for name, value in (("K", matrix), ("dense", matrix.toarray()), ("f", VECTOR[:, None])):
        scipy.io.mmwrite(tmp_path / f"{name}.mtx", value, precision=17)
        check(rbm.read_matrices(tmp_path / f"{name}.mtx")[name], value)
    square = sp.coo_array(matrix.conj().T @ matrix)
    for symmetry in ("symmetric", "hermitian") if matrix is COMPLEX else ("symmetric",):
        given = square if symmetry == "hermitian" or matrix is REAL else square + square.T
        scipy.io.mmwrite(tmp_path / "s.mtx", given, precision=17, symmetry=symmetry)
        found = rbm.read_matrices(tmp_path / "s.mtx")["s"].toarray()
        np.testing.assert_allclose(found, given.toarray(), rtol=1e-15)
        scipy.io.mmwrite(tmp_path / "a.mtx", given.toarray(), precision=17, symmetry=symmetry)
        np.testing.assert_allclose(rbm.read_matrices(tmp_path / "a.mtx")["a"], given.toarray(), rtol=1e-15)


def test_matrix_market_by_hand(tmp_path: Path) -> None:
    """Comments, blank lines, patterns and skew-symmetry; numbers in every way that is written."""
    path = tmp_path / "K.mtx"
    path.write_bytes(
        b"%%MatrixMarket Matrix Coordinate Pattern Symmetric\r\n%\r\n% a comment\r\n\r\n3 3 2\r\n2 1\r\n3 3\r\n"
    )
    check(rbm.read_matrices(path)["K"], sp.csr_array(np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, 1]])))
    path.write_bytes(mtx("coordinate integer skew-symmetric", "2 2 1\n 2 1  -7 \n"))
    check(rbm.read_matrices(path)["K"], sp.csr_array(np.array([[0.0, 7], [-7, 0]])))
    path.write_bytes(mtx("array real skew-symmetric", "3 3\n1\n2e0\n.3E+1"))
    check(rbm.read_matrices(path)["K"], np.array([[0.0, -1, -2], [1, 0, -3], [2, 3, 0]]))
    path.write_bytes(mtx("array complex hermitian", "2 2\n1 0\n2 3\n4 0\n"))
    check(rbm.read_matrices(path)["K"], np.array([[1, 2 - 3j], [2 + 3j, 4]]))
    path.write_bytes(mtx("coordinate real general", "2 2 0\n"))
    check(rbm.read_matrices(path)["K"], sp.csr_array((2, 2)))


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("layout", ["csr", "csc", "coo", "bsr", "dia"])
def test_sparse_npz(tmp_path: Path, layout: str, compressed: bool) -> None:
    for matrix in (REAL, COMPLEX.asformat(layout), sp.csr_matrix(REAL).asformat(layout)):
        sp.save_npz(tmp_path / "K.npz", matrix, compressed=compressed)
        check(rbm.read_matrices(tmp_path / "K.npz")["K"], matrix)


def test_plain_npz_and_npy(tmp_path: Path) -> None:
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "all.npz", f=VECTOR, K=REAL.toarray(), dofs=np.array([2, 0]), format=VECTOR)
        found = rbm.read_matrices(tmp_path / "all.npz")
        assert list(found) == ["f", "K", "dofs", "format"]
        check(found["K"], REAL.toarray())
        check(found["dofs"], np.array([2.0, 0.0]))
    np.save(tmp_path / "f.npy", VECTOR.astype(">f8"))
    check(rbm.read_matrices(tmp_path / "f.npy")["f"], VECTOR)


@pytest.mark.parametrize("compressed", [False, True])
def test_matlab(tmp_path: Path, compressed: bool) -> None:
    content = {"K": sp.csc_array(REAL), "C": sp.csc_array(COMPLEX), "f": VECTOR[:, None], "dofs": np.array([[1, 4]])}
    extra = {"title": "a text", "mesh": {"points": VECTOR}, "cell": np.array([1, "a"], dtype=object)}
    scipy.io.savemat(tmp_path / "system.mat", content | extra, do_compression=compressed)
    found = rbm.read_matrices(tmp_path / "system.mat")
    assert list(found) == list(content)
    for key, value in content.items():
        check(found[key], value.astype(float) if key == "dofs" else value)
    whole = (tmp_path / "system.mat").read_bytes()
    path = tmp_path / "cut.mat"
    for end in [*range(130, 400, 9), *range(400, len(whole), 101)]:
        path.write_bytes(whole[:end])
        with contextlib.suppress(rbm.FileFormatError):  # a file may end after any variable
            assert rbm.read_matrices(path).keys() < found.keys()


def test_hdf5(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "system.h5", "w") as file:
        for key, matrix, attributes in (
            ("scipy", REAL, {"shape": REAL.shape}),
            ("nested/h5sparse", sp.csc_array(COMPLEX), {"h5sparse_shape": REAL.shape, "h5sparse_format": b"csc"}),
            ("encoded", sp.csc_array(REAL), {"shape": REAL.shape, "encoding-type": "csc_matrix"}),
        ):
            group = file.create_group(key)
            for part in ("data", "indices", "indptr"):
                group[part] = getattr(matrix, part)
            group.attrs.update(attributes)
        group = file.create_group("own shape")
        for part in ("data", "indices", "indptr"):
            group[part] = getattr(REAL, part)
        group["shape"] = REAL.shape
        file["nested/f"] = VECTOR
        file["text"] = "a text"
        file.create_dataset("packed", data=np.zeros((300, 300)), compression="gzip")
        file["elsewhere"] = h5py.ExternalLink("other.h5", "/f")
    found = rbm.read_matrices(tmp_path / "system.h5")
    assert set(found) == {"scipy", "nested/h5sparse", "encoded", "own shape", "nested/f", "packed"}
    for key in ("scipy", "encoded", "own shape"):
        check(found[key], REAL)
    check(found["nested/h5sparse"], COMPLEX)
    check(found["nested/f"], VECTOR)


def test_matlab_of_version_7_3(tmp_path: Path) -> None:
    """MATLAB writes HDF5 after 512 bytes of its own, arrays by columns."""
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "system.mat"
    columns = sp.csc_array(REAL)
    with h5py.File(path, "w", userblock_size=512) as file:
        file["A"] = REAL.toarray().T
        file["A"].attrs["MATLAB_class"] = np.bytes_("double")
        group = file.create_group("K")
        group["data"], group["ir"], group["jc"] = columns.data, columns.indices, columns.indptr
        group.attrs["MATLAB_sparse"] = 4
        z = np.zeros((3, 1), dtype=[("real", float), ("imag", float)])
        z["real"][:, 0], z["imag"][:, 0] = VECTOR, 1
        file["z"] = z.T
        file["z"].attrs["MATLAB_class"] = np.bytes_("double")
    with open(path, "r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    found = rbm.read_matrices(path)
    check(found["A"], REAL.toarray())
    check(found["K"], REAL)
    check(found["z"], (VECTOR + 1j)[:, None])


def test_hdf5_that_claims_what_it_does_not_have(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "k.h5"

    def write(make: Callable[[Any], None]) -> None:
        with h5py.File(path, "w") as file:
            make(file)

    def sparse(file: Any, **changes: Any) -> None:
        parts = {part: getattr(REAL, part) for part in ("data", "indices", "indptr")}
        for part, value in (parts | {k: v for k, v in changes.items() if k != "shape"}).items():
            file[part] = value
        if changes.get("shape", 1) is not None:
            file.attrs["shape"] = changes.get("shape", REAL.shape)

    cases: list[tuple[Callable[[Any], None], str]] = [
        (lambda f: f.create_dataset("A", (10**7, 10**7), "f8") and None, r"A claims \d+ bytes, 0 are stored"),
        (lambda f: f.create_dataset("A", (10**6, 10**6), "f8", chunks=(10, 10)) and None, r"A claims"),
        (
            lambda f: f.create_dataset("A", (4,), "f8", external=[("raw", 0, 32)]) and None,
            r"A has its data in other files",
        ),
        (lambda f: sparse(f, shape=None), r"matrix is a sparse matrix without a shape"),
        (lambda f: sparse(f, shape=(10**12, 3)), r"claims to be a sparse matrix of shape"),
        (lambda f: sparse(f, indices=REAL.indices + 5), r"arrays do not fit"),
        (lambda f: sparse(f, indptr=REAL.indptr[:-1]), r"arrays do not fit"),
        (lambda f: sparse(f, indices=REAL.indices + 0.5), r"arrays do not fit"),
        (lambda f: f.create_dataset("A", data=np.array([np.nan])) and None, r"A has 1 entries that are NaN"),
        (lambda f: f.create_dataset("t", data="text") and None, r"holds no matrix or vector"),
    ]
    for make, message in cases:
        write(make)
        with pytest.raises(rbm.FileFormatError, match=rf"k\.h5.*{message}"):
            rbm.read_matrices(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(rbm.FileFormatError, match=r"is not a whole HDF5 file"):
        rbm.read_matrices(path)


def archive(members: dict[str, np.ndarray | bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for key, value in members.items():
            stream = io.BytesIO()
            if isinstance(value, np.ndarray):
                np.lib.format.write_array(stream, value, allow_pickle=True)
            file.writestr(key, value if isinstance(value, bytes) else stream.getvalue())
    return buffer.getvalue()


def sparse_archive(layout: str = "csr", **changes: np.ndarray) -> bytes:
    parts = {part: getattr(REAL, part) for part in ("data", "indices", "indptr")}
    parts |= {"shape": np.array(REAL.shape), "format": np.array(layout.encode())} | changes
    return archive({f"{key}.npy": value for key, value in parts.items()})


def bomb() -> bytes:
    """An archive with a member that claims a terabyte."""
    content = bytearray(archive({"f.npy": np.zeros(1000)}))
    at = content.index(b"PK\x01\x02")
    content[at + 24 : at + 28] = struct.pack("<I", 2**32 - 2)
    return bytes(content)


def mtx(header: str, body: str = "") -> bytes:
    return f"%%MatrixMarket matrix {header}\n{body}".encode()


DAMAGED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", r"is empty"),
    "a text": (b"hello world", r"is no file of matrices that is known here, it starts with b'hello wo'"),
    "gzip": (b"\x1f\x8b\x08" + bytes(20), r"is packed by gzip; unpack it first"),
    "pickles": (archive({"K.npy": np.array([1, "a"], dtype=object)}), r"'K' that is not plain numbers"),
    "another archive": (archive({"a.txt": b"hello"}), r"is not a NumPy archive: it holds a\.txt"),
    "cut archive": (sparse_archive()[:-30], r"is not a whole NumPy archive"),
    "bomb": (bomb(), r"f\.npy claims 4294967294 bytes, packed in \d+"),
    "no such layout": (sparse_archive("lil"), r"format 'lil' without all its arrays"),
    "pickled layout": (sparse_archive(format=np.array([{}], dtype=object)), r"does not say how its matrix is stored"),
    "columns outside": (sparse_archive(indices=REAL.indices + 3), r"arrays do not fit each other"),
    "negative columns": (sparse_archive(indices=REAL.indices - 1), r"arrays do not fit each other"),
    "float columns": (sparse_archive(indices=REAL.indices + 0.0), r"its indices are no whole numbers"),
    "short pointers": (sparse_archive(indptr=REAL.indptr[:-1]), r"arrays do not fit each other"),
    "rows for memory": (sparse_archive(shape=np.array([2**40, 3])), r"claims to be a sparse matrix of shape"),
    "three axes": (sparse_archive(shape=np.array([4, 3, 2])), r"a matrix has two axes"),
    "NaN": (archive({"f.npy": np.array([1.0, np.nan])}), r": f has 1 entries that are NaN or infinite"),
    "list cut": (mtx("coordinate real general", "3 3 900\n1 1 1.0\n"), r"claims 900 entries, 8 bytes are left"),
    "list of few": (mtx("coordinate real general", "3 3 2\n1 1 1.0000000000000\n"), r"has 3 numbers in place of 6"),
    "list of many": (mtx("coordinate real general", "3 3 1\n1 1 1.0\n2 2 1.0\n"), r"has 6 numbers in place of 3"),
    "empty list": (mtx("coordinate real general", "3 3 0\n1 1 1.0\n"), r"more entries than it claims"),
    "list outside": (mtx("coordinate real general", "3 3 1\n4 1 1.0\n"), r"entry 1 has the place \(4\.0, 1\.0\)"),
    "list from 0": (mtx("coordinate real general", "3 3 1\n0 1 1.0\n"), r"entry 1 has the place \(0\.0, 1\.0\)"),
    "half a place": (mtx("coordinate real general", "3 3 1\n1.5 1 1.0\n"), r"entry 1 has the place \(1\.5, 1\.0\)"),
    "list of rows": (mtx("coordinate real general", f"{10**13} 3 1\n1 1 1.0\n"), r"claims to be a sparse matrix"),
    "no number": (mtx("coordinate real general", "3 3 1\n1 1 one\n"), r"its entries are not all numbers"),
    "array cut": (mtx("array real general", "100000 100000\n1.0\n"), r"claims 10000000000 entries"),
    "array, symmetric, cut": (mtx("array real symmetric", "100 100\n1.0\n"), r"claims 5050 entries"),
    "not square": (mtx("array real symmetric", "2 1\n1.0\n1.0\n"), r"it is symmetric of shape \(2, 1\)"),
    "negative sizes": (mtx("array real general", "-2 1\n1.0\n1.0\n"), r"its sizes are b'-2 1', expected 2 whole"),
    "no sizes": (mtx("array real general", "% no more\n"), r"its sizes are b'% no more', expected 2"),
    "header": (b"%%MatrixMarket nonsense\n1 2 3\n", r"its first line is b'%%MatrixMarket nonsense'"),
    "field": (mtx("array quaternion general", "1 1\n1.0\n"), r"it is array quaternion general, which is not known"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_files(tmp_path: Path, name: str) -> None:
    content, message = DAMAGED[name]
    path = tmp_path / "K.dat"
    path.write_bytes(content)
    with pytest.raises(rbm.FileFormatError, match=rf"K\.dat.*{message}"):
        rbm.read_matrices(path)


def test_a_matlab_variable_that_unpacks_to_more_than_it_claims(tmp_path: Path) -> None:
    import zlib

    path = tmp_path / "K.mat"
    header = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
    for claimed, real, message in (
        (64, 10**5, "claims 64 bytes, and has more"),
        (10**4, 10, "claims 10000 bytes, and has 10"),
        (10**9, 10, r"claims 1000000000 bytes, packed in \d+"),
    ):
        packed = zlib.compress(struct.pack("<2I", 14, claimed) + bytes(real))
        path.write_bytes(header + struct.pack("<2I", 15, len(packed)) + packed + bytes(1000))
        with pytest.raises(rbm.FileFormatError, match=rf"K\.mat is not a whole MATLAB file: a variable {message}"):
            rbm.read_matrices(path)


def test_matlab_variables_whose_parts_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "K.mat"
    header = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"

    def variable(shape: list[int], *parts: np.ndarray, kind: int = 6, name: bytes = b"K") -> bytes:
        codes = {"int32": 5, "uint32": 6, "float64": 9, "int8": 1}
        elements = [np.array([kind, 0], "u4"), np.array(shape, "i4"), np.frombuffer(name, "i1"), *parts]
        body = b""
        for array in elements:
            body += struct.pack("<2I", codes[array.dtype.name], array.nbytes) + array.tobytes()
            body += bytes(-len(body) % 8)
        return header + struct.pack("<2I", 14, len(body)) + body

    path.write_bytes(variable([3, 1], VECTOR))
    check(rbm.read_matrices(path)["K"], VECTOR[:, None])
    k = sp.csc_array(REAL)
    rows, pointers, room = k.indices.astype("i4"), k.indptr.astype("i4"), np.zeros(1, "i4")
    path.write_bytes(
        variable([4, 3], np.append(rows, room), pointers, np.append(k.data, 0), kind=5)
    )  # room for one more
    check(rbm.read_matrices(path)["K"], REAL)
    for content, message in (
        (variable([3, 2], VECTOR), r"'K' of shape \(3, 2\) has 3 entries"),
        (variable([2**31 - 1] * 40, VECTOR), r"has 3 entries"),
        (variable([3], VECTOR), r"'K' has the shape \[3\]"),
        (variable([-3, -1], VECTOR), r"has the shape \[-3, -1\]"),
        (variable([3, 1], VECTOR, kind=6 | 0x0800), r"ends in the middle of a tag"),
        (variable([3, 1], VECTOR, VECTOR[:2], kind=6 | 0x0800), r"3 real and 2 imaginary parts"),
        (variable([4, 3], rows + 3, pointers, k.data, kind=5), r"sparse matrix 'K' do not fit each other"),
        (variable([4, 3], rows, pointers * 2, k.data, kind=5), r"12 entries, of which 6 are there"),
        (variable([4, 9], rows, pointers, k.data, kind=5), r"sparse matrix 'K' do not fit each other"),
        (variable([2**31 - 1, 3], rows, pointers, k.data, kind=5), r"K claims to be a sparse matrix"),
        (variable([3, 1], VECTOR)[:-8], r"an element at byte 128 claims 80 bytes, 72 are left"),
    ):
        path.write_bytes(content)
        with pytest.raises(rbm.FileFormatError, match=rf"K\.mat.*{message}"):
            rbm.read_matrices(path)


def test_bytes_changed_anywhere(tmp_path: Path) -> None:
    """A file is refused, or still holds numbers; nothing else is raised, and no compiled reader falls over."""
    scipy.io.savemat(tmp_path / "K.mat", {"K": sp.csc_array(COMPLEX), "f": VECTOR})
    scipy.io.savemat(tmp_path / "packed.mat", {"K": sp.csc_array(REAL)}, do_compression=True)
    scipy.io.mmwrite(tmp_path / "K.mtx", REAL)
    sp.save_npz(tmp_path / "K.npz", REAL)
    sp.save_npz(tmp_path / "plain.npz", REAL, compressed=False)
    (tmp_path / "K.petsc").write_bytes(petsc(REAL, VECTOR, np.arange(3), wide=True))
    rng, refused = np.random.default_rng(4), 0
    for path in sorted(tmp_path.iterdir()):
        whole = path.read_bytes()
        for _ in range(60):
            changed = bytearray(whole)
            for at in rng.integers(len(whole), size=2):
                changed[at] = rng.choice([0, 127, 128, 255, changed[at] ^ 1])
            path.write_bytes(changed)
            try:
                rbm.read_matrices(path)
            except rbm.FileFormatError:
                refused += 1
    assert refused > 100


def test_missing_files_and_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError):
        rbm.read_matrices(tmp_path / "none.mtx")
    (tmp_path / "K.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(600))
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(ImportError, match=r"reading .*K\.h5, an HDF5 file, needs the package h5py.*pip install h5py"):
        rbm.read_matrices(tmp_path / "K.h5")
