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
# # Few bits per number
#
# **Question.** A reduced model is small but for its basis: $n$ times $N$ numbers of 64 bits. How many of these bits are
# needed, and is the error bound still true with fewer?
#
# The 3 x 3 thermal block, 1741 unknowns. Runtime: about a minute.

# %%
# %matplotlib inline
import json
import tempfile
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import lowrank
import ml
import rbm
from ml.chunks import split
from ml.chunks.gaits import varied_gaits
from ml.chunks.scalar_codes import pod_tables, relative_error
from problems import thermal_block
from rbm.reduced.coded_basis import CodedBasis

BLUE, RED, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "0.6"

model = thermal_block((3, 3), 30)
training = model.parameters.sample(300)
reduced = rbm.greedy(model, training, tol=1e-9, max_basis=40).reduced_model
mus = model.parameters.sample(200, "random", rng=5)
gamma = reduced.solve(mus).coefficients
product = model.inner_product
exact = gamma @ reduced.basis.T
size = product.norm(exact.T)
reduced

# %% [markdown]
# ## The same bits everywhere, or where they matter
#
# A number $w$ in $b$ bits becomes $s \cdot q$ with an integer $|q| < 2^{b-1}$ and one scale $s$ for each vector. Each
# bit halves the error. But the vectors of a greedy basis do not matter alike: an error of vector $i$ counts
# $\gamma_i^2$, and in the principal axes of the coefficients, $E\, \gamma \gamma^H = W\, \mathrm{diag}(v)\, W^H$, the
# $v_i$ fall by many orders of magnitude. Bits go where a bit gains most; a vector that hardly matters gets none, which
# is how a choice of bits becomes a choice of rank.

# %%
means = (2, 4, 6, 8, 10, 12)
errors = {"even": [], "allocated": [], "rotated and allocated": []}
for bits in means:
    even = CodedBasis.of(reduced.basis, product, np.full(reduced.size, bits), np.eye(reduced.size), "")
    errors["even"].append(even.error(gamma))
    errors["allocated"].append(reduced.quantize(bits, rotate=False).solve(mus).quantization_error)
    errors["rotated and allocated"].append(reduced.quantize(bits).solve(mus).quantization_error)
table = {name: np.sqrt(np.mean((np.array(rows) / size) ** 2, axis=1)) for name, rows in errors.items()}
for name, row in table.items():
    print(f"{name:>22}", " ".join(f"{e:9.2e}" for e in row))
gain = table["even"] / table["rotated and allocated"]
print(f"{'times less than even':>22}", " ".join(f"{g:9.1f}" for g in gain))
assert np.all(gain > 10)

# %%
small = reduced.quantize(8)
figure = Figure(figsize=(9.2, 3.2), layout="constrained")
left, right = figure.subplots(1, 2)
for (name, row), color in zip(table.items(), (GREY, GREEN, BLUE), strict=True):
    left.semilogy(means, row, "o-", color=color, label=name)
left.set(xlabel="mean bits per number", ylabel="relative error of reconstruction")
left.legend(frameon=False)
right.bar(np.arange(1, reduced.size + 1), small.coded.bits, color=BLUE)
right.axhline(8, color=GREY, lw=1)
right.set(xlabel="principal axis", ylabel="bits", title="8 bits on average")
figure

# %% [markdown]
# ## The bound knows what was rounded
#
# The coefficients come from small matrices that keep all their digits. So what is reconstructed is off by
# $\| Z\gamma - S Q W^H \gamma \|_P = \| R\, W^H \gamma \|_2$ with a matrix $R$ of size $N$ that is made offline: not an
# estimate of the rounding, but its value, for every single $\gamma$. It is added to the floor of the error bound.

# %%
solution = small.solve(mus)
rebuilt = small.reconstruct(solution)
measured = product.norm((exact - rebuilt).T)
truth = product.norm((model.solve(mus) - rebuilt).T)
print(small)
print(f"added to the bound against measured: {np.abs(solution.quantization_error / measured - 1).max():.0e}")
print(f"bound / true error: {(solution.bound / truth).min():.3f} to {(solution.bound / truth).max():.3f}")
assert np.all(solution.bound >= truth)
with tempfile.TemporaryDirectory() as folder:
    whole, packed = Path(folder) / "model.rbm", Path(folder) / "small.rbm"
    reduced.save(whole)
    small.save(packed)
    print(f"basis: {reduced.basis.nbytes} bytes, in few bits {small.coded.nbytes}")
    print(f"file: {whole.stat().st_size} bytes, in few bits {packed.stat().st_size}")

# %% [markdown]
# The rest of the file is the error estimator, which stays exact: its size does not grow with $n$. The command line does
# the same with a file: `rbm quantize model.rbm --bits 8 -o small.rbm`.
#
# How many bits are worth their place? With fewer, the rounding dominates the bound; with more, the basis itself does.

# %%
figure = Figure(figsize=(5.6, 3.2), layout="constrained")
ax = figure.subplots()
floor = reduced.solve(mus).bound.max()
bounds = [reduced.quantize(b).solve(mus).bound.max() for b in (4, 8, 12, 16, 20, 24)]
ax.semilogy((4, 8, 12, 16, 20, 24), bounds, "o-", color=BLUE, label="bound with the quantised basis")
ax.axhline(floor, color=RED, lw=1, label="bound with 64 bits")
ax.set(xlabel="mean bits per number", ylabel="largest error bound")
ax.legend(frameon=False)
figure

# %% [markdown]
# ## Trajectories in few bytes
#
# Sweeps are stored the same way. `encode` makes two codes of the same number of bytes, allocated bits and residual
# codes (sums of vectors from a few codebooks), and keeps the better one; `decode` returns a solution whose bound covers
# what was lost.

# %%
path = np.stack([0.55 + 0.45 * np.sin(np.linspace(0, (k + 2) * np.pi, 4000)) for k in range(9)], axis=1)
path = np.clip(path, *model.parameters.bounds.T)
sweep = reduced.solve(path)
found = {"bits": [], "residual": []}
for bits in (0.5, 1, 2, 4, 6, 8, 12):
    for method, points in found.items():
        try:
            coded = reduced.encode(sweep, bits, method=method)
        except rbm.ModelError:
            print(f"{bits} bits, {method}: the codebooks alone are larger")
            continue
        points.append((coded.nbytes / len(coded), np.sqrt(np.mean(coded.error**2))))

figure = Figure(figsize=(5.6, 3.2), layout="constrained")
ax = figure.subplots()
for (method, points), color in zip(found.items(), (BLUE, RED), strict=True):
    ax.loglog(
        *np.array(points).T, "o-", color=color, label={"bits": "allocated bits", "residual": "residual codes"}[method]
    )
ax.set(xlabel=f"bytes per point (64 bits: {8 * reduced.size})", ylabel="error of the coefficients")
ax.legend(frameon=False)
figure

# %%
stored = reduced.encode(sweep, 4)
print(stored)
print(reduced.decode(stored))

# %% [markdown]
# Codebooks of 256 vectors with $N$ numbers each have to be stored, too: for coefficients, whose principal axes fall so
# fast, allocated bits win at every size here. Residual codes win where many samples share few patterns, as in chunks of
# motions.

# %% [markdown]
# ## The same quantiser on any array: the scaling factor
#
# With the scale $s = \gamma \max|w| / m$, $m = 2^{b-1} - 1$, a factor $\gamma < 1$ clips the few largest numbers so
# that all others get finer steps. For normal numbers the best clip can be found by integration. The search of
# `lowrank.quantize` finds it row by row; with 8 bits the rows are too short to have the tail that would be clipped.

# %%
numbers = np.random.default_rng(0).standard_normal((64, 4096))
bits_of = (2, 3, 4, 5, 6, 8)
losses = {
    "gamma = 1": [lowrank.quantize(numbers, b).error(numbers) ** 2 for b in bits_of],
    "gamma searched": [lowrank.quantize(numbers, b, gamma="search").error(numbers) ** 2 for b in bits_of],
    "the best of all, by integration": [float(lowrank.gaussian_losses()[b]) for b in bits_of],
}
for name, row in losses.items():
    print(f"{name:>32}", " ".join(f"{e:9.2e}" for e in row))
assert np.allclose(losses["gamma searched"][:4], losses["the best of all, by integration"][:4], rtol=0.02)

# %%
figure = Figure(figsize=(5.6, 3.2), layout="constrained")
ax = figure.subplots()
for (name, row), color, style in zip(losses.items(), (GREY, BLUE, RED), ("o-", "o-", "x--"), strict=True):
    ax.semilogy(bits_of, row, style, color=color, label=name)
ax.set(xlabel="bits per number", ylabel="mean square error", title="64 rows of 4096 normal numbers")
ax.legend(frameon=False)
figure

# %% [markdown]
# ## Networks
#
# The weights of a network are rounded by the same function, and bits are shared out by the same solver: what a weight
# costs when it alone is rounded takes the place of the variance of a mode. The figures below were measured by `rbm
# study quantize` on three real networks (two hours of one core, so they are read from the results here); lower is
# better. Sharing out helps where the losses of single weights add up: not for the language model in 4 bits, where 62
# weights in 3 bits do more harm together than one by one. docs/networks-in-few-bits.md has all figures.

# %%
networks = json.loads(Path("../benchmarks/quantize_networks.json").read_text())["networks"]
labels = {"1": "even, gamma = 1", "searched": "even, gamma searched", "greedy": "allocated"}
what = {
    "speech": "relative error of the output",
    "reviews": "rms change of the logits",
    "language": "rise of the loss per token, nats",
}
figure = Figure(figsize=(3.4 * len(networks), 3.4), layout="constrained")
for ax, (name, network) in zip(np.atleast_1d(figure.subplots(1, len(networks))), networks.items(), strict=True):
    print(network["title"])
    for kind, color in zip(labels, (GREY, GREEN, BLUE), strict=True):
        # clipping harms the language model, so that its allocated bits go with gamma = 1
        gamma = kind if kind != "greedy" else "1" if name == "language" else "searched"
        allocation = "greedy" if kind == "greedy" else "even"
        rows = []
        for b in (2, 3, 4, 5, 8):
            row = network["cases"].get(f"{b} bits, gamma {gamma}, {allocation}")
            if row is not None:
                value, error = row[network["error"]], row[network["error"] + "_se"]
                rows.append((b, value, error))
                print(f"  {b} bits, {labels[kind]:<22} {value:8.4f} +- {error:.4f}, {row['saved']:.1%} smaller")
        if rows:
            ax.errorbar(*np.array(rows).T, fmt="o-", ms=4, color=color, label=labels[kind])
    ax.set(yscale="log", xlabel="mean bits", ylabel=what[name], title=name)
    ax.legend(frameon=False, fontsize=8)
figure

# %% [markdown]
# ## Chunks of actions as a few tokens
#
# A robot with 12 joints takes a command every 0.02 s. Ten commands, 120 numbers, become 4 integers below 256: the
# nearest of 256 vectors, then the nearest of 256 others to what is left, and so on. Beside it components of a POD with
# the best shares of as many bits; gaits that were not in the fit.

# %%
seen, unseen = varied_gaits(120, 0, spread=0.1), split(varied_gaits(30, 1, spread=0.1), 10)
codes = ml.ActionTokenizer(chunk=10, dims=12, levels=4, codes=256, max_iter=30).fit(seen)
flat, other = split(seen, 10).reshape(-1, 120), unseen.reshape(-1, 120)
scalar = pod_tables(flat, 32, uniform=True)
budgets = (8, 16, 24, 32)
tokens = [codes.error(unseen, b // 8) for b in budgets]
pod = [relative_error(other, scalar.allocated(b).reconstruct(other)) for b in budgets]
print(codes)
for b, ours, theirs in zip(budgets, tokens, pod, strict=True):
    print(f"{b:>3} bits: tokens {ours:.3f}, POD {theirs:.3f}")
assert tokens[-1] < pod[-1]

# %%
figure = Figure(figsize=(9.2, 3.2), layout="constrained")
left, right = figure.subplots(1, 2)
left.semilogy(budgets, tokens, "o-", color=BLUE, label="tokens")
left.semilogy(budgets, pod, "o-", color=GREY, label="POD, bits allocated")
left.set(xlabel="bits of a chunk of 120 numbers", ylabel="relative error, unseen gaits")
left.legend(frameon=False)
seconds = 0.02 * np.arange(30)
right.plot(seconds, unseen[:3].reshape(30, 12)[:, 1], color=GREY, lw=3, label="command")
for levels, color in ((1, RED), (4, BLUE)):
    played = codes.decode(codes.encode(unseen[:3])[:, :levels]).reshape(30, 12)[:, 1]
    right.plot(seconds, played, color=color, lw=1, label=f"from {levels} token{'s' * (levels > 1)}")
right.set(xlabel="time, s", ylabel="lift of the first leg")
right.legend(frameon=False)
figure

# %% [markdown]
# How far a simulated robot walks on such tokens stands in docs/chunks.md.
#
# ## What is not shown here
#
# Measured is what stands above and in docs/bits.md, docs/networks-in-few-bits.md and docs/chunks.md, on these networks,
# texts and gaits. What the abstracts of the papers behind them claim, and what cannot be checked on this machine, is
# claimed nowhere here:
#
# - 40 % (8 bits) and 60 % (4 bits) less computation, power and throughput on small devices (arXiv 2411.06084): 8-bit
#   kernels are timed on this processor only, and for fewer bits memory falls and nothing else;
# - the same loss of accuracy for networks of up to a billion numbers (2411.06084): the largest here has 134.5 million;
# - success of a robot that is led by a language model, 65 % higher (2412.15576): neither model nor data are to be had.
#   What is checked is that codes cost no distance beyond the intervals given, and that no tick is missed.
