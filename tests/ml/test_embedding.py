"""Factorised embeddings: lookups equal the rows of the product, gauges leave it as it is, files give it back."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.other_arrays import xp
from hypothesis import given, settings
from hypothesis import strategies as st

from lowrank.arrays import to_numpy
from ml import FactorizedEmbedding, load_embedding, save_embedding
from ml.embeddings.token_ids import distinct

DTYPES = [np.float32, np.float64, np.complex64, np.complex128]


def random(dtype: type, *shape: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    real = rng.standard_normal(shape)
    return (real + 1j * rng.standard_normal(shape) if np.dtype(dtype).kind == "c" else real).astype(dtype)


def several(dtype: type) -> tuple[FactorizedEmbedding, np.ndarray]:
    """Three blocks, one of them dense and one empty of rank, their tokens mixed; and the table."""
    t, p = (
        [random(dtype, n, r, seed=n) for n, r in ((7, 3), (5, 6), (4, 0))],
        [random(dtype, 3, 6), None, random(dtype, 0, 6)],
    )
    place = np.random.default_rng(3).permutation(16)
    whole = np.concatenate([t[0] @ p[0], t[1], np.zeros((4, 6), dtype)])
    return FactorizedEmbedding(tuple(t), tuple(p), place), whole[place]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (1,), (0,), (300,), (4, 0, 3), (2, 5, 7)])
@pytest.mark.parametrize("rank", [0, 1, 8, 40])
def test_a_lookup_gives_the_rows_of_the_product(dtype, shape, rank):
    tokens, projection = random(dtype, 50, rank), random(dtype, rank, 12, seed=1)
    embedding = FactorizedEmbedding(tokens, projection)
    ids = np.random.default_rng(2).zipf(1.5, shape) % 50
    found, table = embedding.lookup(ids), tokens @ projection
    assert found.shape == (*shape, 12)
    assert found.dtype == dtype
    scale = np.abs(tokens) @ np.abs(projection)
    assert np.all(abs(found - table[ids]) <= 4 * (rank + 1) * np.finfo(dtype).eps * scale[ids])
    assert abs(embedding.to_dense() - table).max() <= 4 * (rank + 1) * np.finfo(dtype).eps * scale.max(initial=0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_blocks_are_put_together_in_the_order_of_the_tokens(dtype):
    embedding, table = several(dtype)
    eps = np.finfo(dtype).eps
    assert embedding.shape == (16, 6)
    assert embedding.ranks == (3, 6, 0)
    assert abs(embedding.to_dense() - table).max() <= 20 * eps
    for ids in (np.arange(16), [3, 3, 3], [[15, 0], [0, 15]], np.zeros((0, 2), int), 7):
        assert abs(embedding.lookup(ids) - table[np.asarray(ids)]).max(initial=0) <= 20 * eps


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 30), max_size=60))
def test_distinct_ids_are_all_ids_once(ids):
    given_ids = np.array(ids, dtype=np.int64)
    kept, positions = distinct(given_ids, 31)
    assert sorted(kept) == sorted(set(ids))
    assert np.array_equal(kept[positions], given_ids)


def test_a_dense_table_and_the_identity_give_its_rows_bit_for_bit():
    table = random(np.float32, 40, 24)
    ids = np.random.default_rng(0).integers(0, 40, 500)
    dense = table[ids].tobytes()
    assert FactorizedEmbedding(table).lookup(ids).tobytes() == dense
    assert FactorizedEmbedding(table, np.eye(24, dtype=np.float32)).lookup(ids).tobytes() == dense
    table[3, 4] = -0.0  # which a product would lose
    assert FactorizedEmbedding(table).lookup(3).tobytes() == table[3].tobytes()
    assert FactorizedEmbedding(table).to_dense() is not table


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rank", [1, 5, 9])
def test_gauges_leave_the_table_as_it_is(dtype, rank):
    tokens, projection = random(dtype, 60, rank), random(dtype, rank, 9, seed=1)
    embedding, eps = FactorizedEmbedding(tokens, projection), np.finfo(dtype).eps
    table = tokens @ projection
    values = np.linalg.svd(table.astype(np.complex128), compute_uv=False)[:rank]
    mixing = random(dtype, rank, rank, seed=2) + 3 * np.eye(rank, dtype=dtype)
    other = FactorizedEmbedding(tokens @ mixing, np.linalg.solve(mixing, projection))  # T G, G^-1 P
    for start in (embedding, other):
        balanced, orthonormal = start.balanced(), start.orthonormal()
        for gauge in (balanced, orthonormal):
            assert gauge.dtype == dtype
            assert abs(gauge.to_dense() - table).max() <= 300 * eps * values[0]
        tolerance = 300 * eps * values[0]
        for gram in (balanced.tokens.conj().T @ balanced.tokens, balanced.projection @ balanced.projection.conj().T):
            assert abs(gram - np.diag(values)).max() <= tolerance
        assert abs(orthonormal.projection @ orthonormal.projection.conj().T - np.eye(rank)).max() <= 100 * eps
        norms = np.linalg.norm(orthonormal.tokens, axis=1) - np.linalg.norm(table, axis=1)
        assert abs(norms).max() <= tolerance


def test_gauges_drop_directions_that_are_round_off_and_leave_dense_blocks():
    tokens = random(np.float64, 30, 4)
    embedding = FactorizedEmbedding(np.concatenate([tokens, tokens], axis=1), random(np.float64, 8, 6))
    assert embedding.balanced().rank == 4
    blocks, table = several(np.float64)
    assert blocks.orthonormal().projection[1] is None
    assert abs(blocks.balanced().to_dense() - table).max() <= 100 * np.finfo(float).eps


def test_sizes_are_counted():
    embedding = FactorizedEmbedding(random(np.float32, 100, 4), random(np.float32, 4, 30))
    assert (embedding.n_parameters, embedding.nbytes, embedding.rank) == (520, 2080, 4)
    assert FactorizedEmbedding(random(np.float32, 100, 4)).n_parameters == 400
    blocks, _ = several(np.float64)
    assert blocks.n_parameters == 7 * 3 + 3 * 6 + 5 * 6
    assert blocks.nbytes == 8 * blocks.n_parameters + 4 * 16
    assert "3 blocks of ranks 3, 6 (dense), 0" in repr(blocks)


def test_random_factors_are_those_of_albert():
    embedding = FactorizedEmbedding.random(2000, 16, 64, rng=4)
    assert embedding.dtype == np.float32
    assert np.std(embedding.tokens) == pytest.approx(0.02, rel=5 / np.sqrt(2 * 32000))
    assert np.array_equal(embedding.tokens, FactorizedEmbedding.random(2000, 16, 64, rng=4).tokens)
    assert not np.array_equal(embedding.tokens, FactorizedEmbedding.random(2000, 16, 64, rng=5).tokens)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_report_is_right_where_errors_are_known(dtype):
    table = np.eye(3, dtype=dtype)[[0, 1, 2, 2]] * np.array([1, 2, 3, 0], dtype=dtype)[:, None]
    report = FactorizedEmbedding(table[:, :2], np.eye(3, dtype=dtype)[:2]).report(table, frequencies=[4, 1, 1, 2])
    assert report.relative_error == pytest.approx(np.sqrt(9 / 14), rel=1e-15)
    assert report.weighted_error == pytest.approx(np.sqrt(9 / (4 + 4 + 9)), rel=1e-15)
    assert report.cosine == 3 / 4  # the zero row is right
    assert report.weighted_cosine == 7 / 8
    assert report.size_ratio == 12 / (8 + 6)
    same = FactorizedEmbedding(-table).report(table)
    assert (same.relative_error, same.cosine, same.weighted_error) == (2, (-3 + 1) / 4, None)
    assert FactorizedEmbedding(table[:0]).report(table[:0]).cosine == 1


def test_arrays_of_another_module_stay_in_it():
    tokens, projection = random(np.float32, 20, 9), random(np.float32, 9, 6)
    embedding = FactorizedEmbedding(xp.asarray(tokens), xp.asarray(projection))
    ids = np.array([[1, 1, 1, 7], [1, 1, 19, 1]])
    expected = FactorizedEmbedding(tokens, projection).lookup(ids)
    for asked in (ids, xp.asarray(ids)):
        found = embedding.lookup(asked)
        assert type(found) is type(embedding.tokens)
        # sums of nine terms, in an order of the module's own
        assert np.all(
            abs(to_numpy(found) - expected) <= 9 * np.finfo(np.float32).eps * (abs(tokens) @ abs(projection))[ids]
        )
    for gauge in (embedding.balanced(), embedding.orthonormal()):
        assert abs(to_numpy(gauge.to_dense()) - tokens @ projection).max() <= 100 * np.finfo(np.float32).eps
    assert embedding.report(tokens @ projection).relative_error <= 4 * np.finfo(np.float32).eps
    pair = FactorizedEmbedding((embedding.tokens, embedding.tokens), (embedding.projection, embedding.projection))
    # a product of one row and one of two may be summed in another order
    scale = np.abs(tokens[3]) @ np.abs(projection)
    difference = to_numpy(pair.lookup([[3, 23]])) - to_numpy(embedding.lookup([[3, 3]]))
    assert np.all(abs(difference) <= 2 * 9 * np.finfo(np.float32).eps * scale)


@pytest.mark.parametrize(
    ("ids", "error", "message"),
    [
        ([[0, 1], [2, 10]], IndexError, r"id 10 at index \(1, 1\) is outside 0 .. 9"),
        ([0, -100], IndexError, r"id -100 at index \(1,\) is outside 0 .. 9"),
        (10, IndexError, r"id 10 at index \(\) is outside"),
        ([1.0], TypeError, "ids must be integers, got dtype float64"),
        ([True], TypeError, "ids must be integers, got dtype bool"),
    ],
)
def test_wrong_ids_are_named(ids, error, message):
    with pytest.raises(error, match=message):
        FactorizedEmbedding(np.ones((10, 2)), np.ones((2, 3))).lookup(ids)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.ones((4, 2)), np.ones((3, 5))), "tokens have rank 2, projection has 3 rows"),
        ((np.ones(4), np.ones((3, 5))), r"tokens must be a matrix of shape \(n, m\), got .* \(4,\)"),
        ((np.array([[np.inf]]), np.ones((1, 5))), r"tokens has 1 entries that are NaN .* \(0, 0\)"),
        (
            ((np.ones((4, 2)), np.ones((4, 3))), (np.ones((2, 5)), None)),
            r"all blocks must have one width H, got \[3, 5\]",
        ),
        (((np.ones((4, 2)),), np.ones((2, 5))), "two tuples of as many"),
        (((np.ones((4, 2)),), (np.ones((3, 5)),)), "tokens of block 0 have rank 2"),
        ((np.ones((2, 2)), None, np.array([0, 0])), r"place must be a permutation of 0 .. 1"),
        ((np.ones((2, 2)), None, np.array([0, 7])), r"place must be a permutation of 0 .. 1"),
    ],
)
def test_factors_that_do_not_fit_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        FactorizedEmbedding(*arguments)


@pytest.mark.parametrize(
    ("frequencies", "message"),
    [
        ([1, 2], r"must be 3 numbers, one per token, got shape \(2,\)"),
        ([1, -2, 0], "got -2 for token 1"),
        ([1, 2, np.nan], "got nan for token 2"),
        ([0, 0, 0], "all zero"),
    ],
)
def test_wrong_frequencies_are_named(frequencies, message):
    with pytest.raises(ValueError, match=message):
        FactorizedEmbedding(np.ones((3, 3))).report(np.ones((3, 3)), frequencies)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
def test_files_give_it_back_bit_for_bit(tmp_path, suffix, dtype):
    if suffix == ".safetensors":
        pytest.importorskip("safetensors")
        if np.dtype(dtype).kind == "c":
            with pytest.raises(ValueError, match=r"no type for complex128 .* save as .npz"):
                save_embedding(FactorizedEmbedding(random(dtype, 4, 2)), tmp_path / f"e{suffix}")
            assert not list(tmp_path.iterdir())
            return
    for embedding in (
        several(dtype)[0],
        FactorizedEmbedding(random(dtype, 4, 2)),
        FactorizedEmbedding(random(dtype, 4, 2), random(dtype, 2, 9)),
    ):
        path = tmp_path / f"e{suffix}"
        save_embedding(embedding, path)
        back = load_embedding(path)
        assert repr(back) == repr(embedding)
        assert back.to_dense().tobytes() == embedding.to_dense().tobytes()
        assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_damaged_and_foreign_files_give_one_clear_error(tmp_path, suffix):
    if suffix == ".safetensors":
        pytest.importorskip("safetensors")
    path = tmp_path / f"e{suffix}"
    save_embedding(several(np.float32)[0], path)
    whole = path.read_bytes()
    for content in (b"", b"no such format", whole[: len(whole) // 2], whole[:-10], whole[10:]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"e{suffix} "):
            load_embedding(path)
    if suffix == ".npz":
        np.savez(path, a=np.ones(3))
        with pytest.raises(ValueError, match="does not hold a factorised embedding"):
            load_embedding(path)
        np.savez(path, factorized_embedding=[1, 0], tokens_0=np.array([{}]))
        with pytest.raises(ValueError, match=r"holds an array 'tokens_0' that is not plain numbers"):
            load_embedding(path)
        np.savez(path, factorized_embedding=[9, 0], tokens_0=np.ones((3, 2)))
        with pytest.raises(ValueError, match="file version 9"):
            load_embedding(path)
        np.savez(path, factorized_embedding=[1, 1], tokens_1=np.ones((3, 2)))
        with pytest.raises(ValueError, match="not a whole file"):
            load_embedding(path)
        np.savez(path, factorized_embedding=[1, 0], tokens_0=np.full((3, 2), np.nan))
        with pytest.raises(ValueError, match="holds no valid embedding: tokens has 6 entries"):
            load_embedding(path)


def test_other_suffixes_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"must end in .npz or .safetensors, got .*e.pkl"):
        save_embedding(FactorizedEmbedding(np.ones((2, 2))), tmp_path / "e.pkl")
    with pytest.raises(FileNotFoundError):
        load_embedding(tmp_path / "none.npz")


@pytest.mark.parametrize(("dtype", "scale"), [(np.float32, 1e20), (np.complex64, 1e-20), (np.float64, 1e200)])
def test_gauges_hold_for_factors_of_any_scale(dtype, scale):
    tokens, projection = random(dtype, 30, 3), random(dtype, 3, 8, seed=1)
    embedding = FactorizedEmbedding(tokens / dtype(scale), projection * dtype(scale))
    table, eps = tokens @ projection, np.finfo(dtype).eps
    for gauge in (embedding.balanced(), embedding.orthonormal()):
        assert gauge.rank == 3
        assert abs(gauge.to_dense() - table).max() <= 100 * eps * abs(table).max()
    balanced = embedding.balanced()
    ratio = np.linalg.norm(balanced.tokens) / np.linalg.norm(balanced.projection)
    assert abs(ratio - 1) <= 100 * eps


@pytest.mark.parametrize("scale", [1e-300, 1e-80, 1.0, 1e160, 1e300])
def test_reports_do_not_depend_on_the_scale(scale):
    table = random(np.float64, 20, 5)
    half = FactorizedEmbedding(scale * np.where(np.arange(5) < 3, table, 0))
    expected = np.linalg.norm(table[:, 3:]) / np.linalg.norm(table)
    report = half.report(scale * table, np.full(20, 1e308))
    cosines = np.linalg.norm(table[:, :3], axis=1) / np.linalg.norm(table, axis=1)
    for error, cosine in (
        (report.relative_error, report.cosine),
        (report.weighted_error, report.weighted_cosine),
    ):
        assert error == pytest.approx(expected, rel=50 * np.finfo(float).eps)
        assert cosine == pytest.approx(cosines.mean(), rel=50 * np.finfo(float).eps)


def test_factors_are_brought_to_one_type_and_one_layout():
    embedding = FactorizedEmbedding(random(np.float32, 6, 2), np.asfortranarray(random(np.complex128, 2, 4)))
    assert embedding.tokens.dtype == embedding.projection.dtype == embedding.dtype == np.complex128
    assert embedding.projection.flags.c_contiguous
    with pytest.raises(TypeError, match="one array module"):
        FactorizedEmbedding(np.ones((3, 2)), xp.asarray(np.ones((2, 4))))
    with pytest.raises(ValueError, match="real floating-point type, got int64"):
        FactorizedEmbedding.random(3, 2, 4, dtype=np.int64)


def test_unsigned_ids_are_ids():
    mixed, table = several(np.float64)
    stacked = FactorizedEmbedding(mixed.tokens, mixed.projection)  # no place, whose integers would take their part
    for embedding, rows in ((mixed, table), (stacked, table[np.argsort(mixed.place)])):
        found = embedding.lookup(np.array([3, 15], dtype=np.uint64))
        assert abs(found - rows[[3, 15]]).max() <= 20 * np.finfo(float).eps


def test_rows_of_repeated_ids_reach_the_product_once(monkeypatch):
    import ml.embeddings.embedding as module

    counts, product = [], module._product
    monkeypatch.setattr(module, "_product", lambda t, p, rows: counts.append(len(rows)) or product(t, p, rows))
    FactorizedEmbedding(np.ones((9, 8)), np.ones((8, 4))).lookup([3] * 50 + [4] * 50)
    blocks, _ = several(np.float64)
    blocks.lookup([3] * 50)
    assert counts == [2, 1]
