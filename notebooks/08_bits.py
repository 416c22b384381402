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
# The 3 x 3 thermal block, 1741 unknowns. Runtime: about half a minute.

# %%
# %matplotlib inline
import tempfile
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import rbm
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
#
# ## What is not shown here
#
# The same quantiser serves weights of neural networks and chunks of actions. What the papers behind them claim about
# power, throughput on small devices, models of a billion numbers and success rates of robots with a language model
# cannot be checked on this machine, and is not claimed.
