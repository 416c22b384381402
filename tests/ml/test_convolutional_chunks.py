"""Convolutions around residual codes: trained on a few gaits, tokens and files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lowrank.reading import FileFormatError
from ml.chunks import split, varied_gaits
from ml.chunks.convolutional import (
    ConvolutionalCodes,
    ConvolutionalTokenizer,
    load_convolutional_codes,
    save_convolutional_codes,
)

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install torch")


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def walks() -> np.ndarray:
    return varied_gaits(12, 0, spread=0.05)


@pytest.fixture(scope="module")
def codes(walks: np.ndarray) -> ConvolutionalCodes:
    return ConvolutionalTokenizer(levels=2, codes=32, width=16, latent=12, epochs=24, batch=32, rate=3e-3).fit(walks)


def test_a_chunk_becomes_tokens_and_a_chunk_again(walks: np.ndarray, codes: ConvolutionalCodes) -> None:
    chunks = split(walks, 10)
    tokens = codes.encode(chunks)
    assert tokens.shape == (len(chunks), 2)
    assert codes.bits == 10
    assert codes.decode(tokens).shape == chunks.shape
    np.testing.assert_array_equal(codes.encode(chunks[3]), tokens[3])
    np.testing.assert_allclose(codes.decode(tokens[3]), codes.decode(tokens)[3], atol=1e-5)
    errors = [codes.error(chunks, levels) for levels in (1, 2)]
    np.testing.assert_allclose(errors, codes.codes.error_per_level, rtol=1e-6)
    assert errors[1] < errors[0] < 0.7


def test_training_beats_the_network_it_began_with(walks: np.ndarray, codes: ConvolutionalCodes) -> None:
    short = ConvolutionalTokenizer(levels=2, codes=32, width=16, latent=12, epochs=1, batch=400, rate=1e-6).fit(walks)
    chunks = split(walks, 10)
    assert codes.error(chunks) < 0.5 * short.error(chunks)


def test_the_gradient_goes_past_the_codes(walks: np.ndarray) -> None:
    """Straight-through: the encoder's gradient of the first term is that of the decoder at the rounded vector."""
    from ml.chunks import convolutional as c

    settings = ConvolutionalTokenizer(levels=1, codes=4, width=4, latent=3, commitment=0.0)
    generator = torch.Generator().manual_seed(0)
    weights = c._initial_weights(settings, generator)
    x = torch.tensor(split(walks, 10)[:16], dtype=torch.float32)
    books = settings._begin(c._latents(weights, x))
    before = {key: value.clone() for key, value in books.items()}
    settings._loss(weights, books, x, generator).backward()
    assert float(weights["in.weight"].grad.abs().max()) > 0
    z = c._encoded(weights, x)
    q = settings._rounded(before, z.detach(), generator).requires_grad_(True)
    torch.mean((c._decoded(weights, q, 10) - x) ** 2).backward(inputs=[q])
    wanted = torch.autograd.grad(z, weights["in.weight"], q.grad)[0]
    torch.testing.assert_close(weights["in.weight"].grad, wanted, rtol=1e-4, atol=1e-8)


def test_commitment_pulls_vectors_to_their_codes(walks: np.ndarray) -> None:
    from ml.chunks import convolutional as c

    generator = torch.Generator().manual_seed(0)
    x = torch.tensor(split(walks, 10)[:16], dtype=torch.float32)
    losses = []
    for beta in (0.0, 1.0):
        settings = ConvolutionalTokenizer(levels=1, codes=4, width=4, latent=3, commitment=beta)
        weights = c._initial_weights(settings, torch.Generator().manual_seed(1))
        books = settings._begin(c._latents(weights, x))
        z = c._encoded(weights, x).detach()
        q = settings._rounded({k: v.clone() for k, v in books.items()}, z, generator)
        losses.append(float(settings._loss(weights, books, x, generator).detach()))
    assert losses[1] - losses[0] == pytest.approx(float(torch.mean((z - q) ** 2)), rel=1e-4)


def test_codes_that_no_vector_uses_are_put_on_vectors() -> None:
    settings = ConvolutionalTokenizer(levels=1, codes=2, latent=3, decay=0.5)
    books = {"centres": torch.tensor([[[0.0, 0, 0], [99.0, 99, 99]]]), "counts": torch.ones(1, 2)}
    books["sums"] = books["centres"].clone()
    z = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    for _ in range(8):
        settings._rounded(books, z, torch.Generator().manual_seed(1))
    assert float(books["centres"].abs().max()) < 10


def test_files_hold_the_network(tmp_path: Path, walks: np.ndarray, codes: ConvolutionalCodes) -> None:
    path = tmp_path / "a.npz"
    save_convolutional_codes(codes, path)
    back = load_convolutional_codes(path)
    chunks = split(walks, 10)
    np.testing.assert_array_equal(back.encode(chunks), codes.encode(chunks))
    np.testing.assert_array_equal(back.decode(back.encode(chunks)), codes.decode(codes.encode(chunks)))
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(FileFormatError, match="truncated or damaged"):
        load_convolutional_codes(path)
    from ml.chunks import load_action_codes

    path.write_bytes(whole)
    with pytest.raises(FileFormatError, match="not a whole file of action codes"):
        load_action_codes(path)


def test_what_cannot_be_is_refused(walks: np.ndarray, codes: ConvolutionalCodes) -> None:
    with pytest.raises(ValueError, match=r"there are 360 chunks .* at least 512, one per code"):
        ConvolutionalTokenizer(codes=512).fit(walks)
    with pytest.raises(ValueError, match=r"chunks must have the shape \(n, 10, 12\)"):
        codes.encode(np.zeros((4, 120)))
    with pytest.raises(ValueError, match="decay between 0 and 1"):
        ConvolutionalTokenizer(decay=1.0)
    with pytest.raises(ValueError, match="latent must be at least 1"):
        ConvolutionalTokenizer(latent=0)
    bad = walks.copy()
    bad[0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN or infinite"):
        ConvolutionalTokenizer(codes=8).fit(bad)
    diverged = ConvolutionalTokenizer(levels=1, codes=8, width=4, latent=3, epochs=3, rate=1e30)
    with pytest.raises(ValueError, match="the training ended in NaN or infinite weights; take a smaller rate"):
        diverged.fit(walks)
