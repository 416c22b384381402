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
# # A million queries
#
# **Question.** A reduced model answers in microseconds. What does one do with a million certified answers, and which
# error is left in the end: that of the reduced model or that of the sampling?
#
# A response surface with its bound, a Monte Carlo study with both errors, points that fail, and three ways to make the
# model smaller. Runtime: ten to thirty seconds, and half a minute more the first time (the kernels are compiled, then
# cached).

# %%
# %matplotlib inline
import time

import numpy as np
from matplotlib.figure import Figure

import rbm
from problems import thermal_block

# %% [markdown]
# ## The model
#
# Heat conduction in a square of 3 x 2 blocks, $k_1, k_2, k_3$ in the lower row and $k_4, k_5, k_6$ in the upper one,
# each between 0.1 and 1; the output $s$ is the mean temperature. (Notebook 02 has the 3 x 3 block and looks at the
# estimator; here we only use it.) The basis gets 30 vectors.

# %%
model = thermal_block(blocks=(3, 2), n_elements=60)
start = time.perf_counter()
result = rbm.greedy(model, model.parameters.sample(500), max_basis=30, progress=False)
print(f"{time.perf_counter() - start:.1f} s offline")
rom = result.reduced_model
rom

# %% [markdown]
# ## One million points in one call
#
# `coefficients=False`: only outputs and bounds are kept. The first call of a model sets things up, so a small one goes
# ahead.

# %%
mus = model.parameters.sample(1_000_000, "random", rng=2)
rom.solve(mus[:1000], coefficients=False)


def seconds(work, count):
    start = time.perf_counter()
    answer = work()
    return (time.perf_counter() - start) / count, answer


batch, answer = seconds(lambda: rom.solve(mus, coefficients=False, progress=False), len(mus))
single, _ = seconds(lambda: [rom.solve(mu, coefficients=False) for mu in mus[:2000]], 2000)
full, _ = seconds(lambda: model.solve(mus[:20]), 20)
print(f"one call for all points   {1e6 * batch:8.2f} us a query")
print(f"one call for each point   {1e6 * single:8.2f} us a query, {single / batch:.0f} times as long")
print(f"full model                {1e6 * full:8.0f} us a query, {full / batch:.0f} times as long")
answer

# %% [markdown]
# A single call costs mostly the call, not the arithmetic. Who has a loop over points should hand over the whole array.
#
# Every answer has a bound. We check those of 40 points, the one with the largest bound among them, against the full
# model:

# %%
rows = np.append(np.arange(39) * 25_000, np.argmax(answer.bound))
truth = model.solve_extended(mus[rows])
again = rom.solve(mus[rows])
errors = model.error_norm(mus[rows], again.coefficients, rom.basis, truth)
exact = (truth[0] + truth[1]).T @ model.outputs["mean"].terms[0]
gap = exact - answer.outputs["mean"][rows]
np.testing.assert_allclose(again.bound, answer.bound[rows], rtol=1e-9)
assert np.all(errors <= answer.bound[rows])
assert np.all(np.abs(gap) <= answer.output_bounds["mean"][rows])
print(f"{len(rows)} points: largest error {errors.max():.1e}, largest bound {answer.bound[rows].max():.1e}")
print(f"output:    largest error {np.abs(gap).max():.1e}, largest bound {answer.output_bounds['mean'][rows].max():.1e}")

# %% [markdown]
# The output's error is far below its bound, and there is a reason: this output is *compliant*, its functional is the
# right-hand side. For a symmetric model with a Galerkin projection then $s - s_N = (u - u_N)^T A (u - u_N)$, so that
# with the stability bound $\beta = \min_i k_i \le 1$
#
# $$ 0 \le s - s_N \le \|r\|^2_{P^{-1}} / \beta = \beta \, \mathrm{bound}^2 \le \mathrm{bound}^2. $$
#
# `output_bounds` finds this by itself and is the square. We carry two bounds along: the *general* one, $\|l\|_{P^{-1}}$
# times the bound of the solution, which is all there is for other linear outputs, and the *square* (certain up to the
# round-off of the reduced solve, $10^{-12}$ here and far below everything that follows).

# %%
size = model.inner_product.dual_norm(model.rhs_terms)[0]  # of the functional, which is the right-hand side
assert np.all(gap >= -1e-12)
assert np.all(answer.output_bounds["mean"][rows] <= 1.01 * answer.bound[rows] ** 2 + 1e-12)
assert np.all(gap <= answer.bound[rows] ** 2 + 1e-12)
print(f"mean of the error {gap.mean():.1e}, of the square {np.mean(answer.bound[rows] ** 2):.1e}, ", end="")
print(f"of the general bound {size * answer.bound[rows].mean():.1e}")

# %% [markdown]
# ## A response surface with its bound
#
# The mean temperature over $k_1$ (a corner) and $k_2$ (the middle of the lower row), all others 0.3; 40 000 points. On
# the right a slice at $k_1 = 0.3$ for smaller bases: the interval $s_N \pm$ bound, and the full model as crosses.

# %%
side = np.linspace(0.1, 1, 200)
grid = np.full((40_000, 6), 0.3)
grid[:, 0], grid[:, 1] = (a.ravel() for a in np.meshgrid(side, side))
surface = rom.solve(grid, coefficients=False)
value, bound = (a.reshape(200, 200) for a in (surface.outputs["mean"], surface.output_bounds["mean"]))
print(
    f"mean temperature from {value.min():.4f} to {value.max():.4f}, bound from {bound.min():.1e} to {bound.max():.1e}"
)

line = np.full((200, 6), 0.3)
line[:, 1] = side
few = line[::33]
crosses = model.outputs["mean"](few, model.solve(few))

figure = Figure(figsize=(12.4, 3.7), layout="constrained")
for k, (title, values, levels) in enumerate((("$s_N$", value, 20), (r"$\log_{10}$ of its bound", np.log10(bound), 20))):
    ax = figure.add_subplot(1, 3, k + 1)
    image = ax.contourf(side, side, values, levels, cmap="cividis")
    ax.set(xlabel="$k_1$", ylabel="$k_2$", title=title)
    figure.colorbar(image, ax=ax)
ax = figure.add_subplot(1, 3, 3)
for size, color in ((10, "#D55E00"), (15, "#009E73"), (30, "#0072B2")):
    slice_ = rom.truncate(size).solve(line)
    s, b = slice_.outputs["mean"], slice_.output_bounds["mean"]
    assert np.all(np.abs(crosses - s[::33]) <= b[::33])
    ax.fill_between(side, s - b, s + b, color=color, alpha=0.35, lw=0, label=f"$N = {size}$")
    ax.plot(side, s, color=color, lw=1)
ax.plot(few[:, 1], crosses, "x", color="black", label="full model")
ax.set(xlabel="$k_2$", ylabel="mean temperature", title="$k_1 = 0.3$")
ax.grid(True, color="0.9")
ax.legend(fontsize=8)
assert bound.max() < 0.01 * value.min()
figure

# %% [markdown]
# ## Monte Carlo with both errors
#
# Now the conductivities are random: independent, log-uniform between 0.1 and 1. `stream` takes blocks from a generator
# and gives back answers block by block, so that only one block is held at a time. Sums are all that we keep, among them
# how often $s$ is above a threshold: for certain where $s_N - \mathrm{bound}$ is, possibly where $s_N + \mathrm{bound}$
# is.

# %%
law = rbm.ParameterSpace(dict.fromkeys(model.parameters.names, (0.1, 1.0)), scale="log")
threshold = 0.22
corners = rom.solve([[1.0] * 6, [0.1] * 6]).outputs["mean"]  # more conductivity, less heat: all others lie between
edges = np.linspace(corners[0] * (1 - 1e-9), corners[1] * (1 + 1e-9), 121)


def study(blocks):
    """Gives what is kept of each block.

    Means of s, s^2, bound, bound^2, and the shares of s - bound, s, s + bound^2, s + bound above the threshold.
    """
    sums, histogram = [], np.zeros(len(edges) - 1, dtype=int)
    for part in rom.stream(blocks, coefficients=False):
        s, b, square = part.outputs["mean"], size * part.bound, part.bound**2
        above = [(s + shift > threshold).mean() for shift in (-b, 0, square, b)]
        sums.append([s.mean(), (s**2).mean(), b.mean(), square.mean(), *above])
        histogram += np.histogram(s, edges)[0]
    return np.array(sums), histogram


size, count = 1 << 18, 16
rng = np.random.default_rng(5)
start = time.perf_counter()
sums, histogram = study(law.sample(size, "random", rng=rng) for _ in range(count))
elapsed = time.perf_counter() - start
total = size * count
assert histogram.sum() == total
print(f"{total} points in {elapsed:.1f} s, {1e6 * elapsed / total:.2f} us a point, drawing them included")
print(f"parameters held at a time: {size * 48 / 2**20:.0f} MiB of {total * 48 / 2**20:.0f} MiB")

# %% [markdown]
# The mean over the sample is wrong, by the reduced model, by at most the mean of the bounds:
# $|\mathrm{mean}\, s - \mathrm{mean}\, s_N| \le \mathrm{mean\,bound}$. This is certain. That the sample mean is not the
# expectation is the sampling error, of which we have an estimate only, the standard error:

# %%
mean, second, general, squared, sure, plain, square_above, possible = sums.mean(axis=0)
deviation = np.sqrt(second - mean**2)
mc = deviation / np.sqrt(total)
print(f"mean of s_N {mean:.6f}, standard deviation {deviation:.4f}")
print(f"reduced basis error, certified   at most {general:.1e} (general bound), {squared:.1e} (square)")
print(f"sampling, standard error                 {mc:.1e}")
assert general > 5 * mc
assert squared < 0.1 * mc
print(f"samples at which the standard error equals the general bound: {(deviation / general) ** 2:.0f}")

# %% [markdown]
# **Which error dominates?** With the general bound the reduced model does, by about a factor of ten; more samples would
# be of no use, a larger $N$ would. With the square it is the sampling, by far, and $N$ could be smaller. Truncated
# models tell where the balance is:

# %%
sizes = [5, 10, 15, 20, 25, 30]
check = law.sample(1 << 16)
parts = [rom.truncate(n).solve(check, coefficients=False) for n in sizes]
means = {
    "general bound": [size * p.bound.mean() for p in parts],
    "square": [np.mean(p.bound**2) for p in parts],
}

# %% [markdown]
# Sampling can be better, too. Sobol points in place of random ones, 16 scramblings of $2^{16}$ points each, a quarter
# as many in all; the standard error is that of the 16 means:

# %%
start = time.perf_counter()
sobol, _ = study(law.sample(1 << 16, "sobol", rng=k) for k in range(16))
elapsed = time.perf_counter() - start
qmc = sobol[:, 0].std(ddof=1) / 4
print(f"mean of s_N {sobol[:, 0].mean():.8f}, standard error {qmc:.1e}, {elapsed:.1f} s")
print(f"Monte Carlo {mean:.8f}, standard error {mc:.1e}")
assert abs(sobol[:, 0].mean() - mean) < 4 * mc
assert qmc < 0.1 * mc
assert squared > 5 * qmc
for name, values in means.items():
    for label, error in (("Monte Carlo", mc), ("Sobol", qmc)):
        enough = [n for n, v in zip(sizes, values, strict=True) if v <= error]
        print(f"{name} below the sampling error of {label}: {f'N = {enough[0]}' if enough else 'for no N up to 30'}")

figure = Figure(figsize=(6.8, 3.9), layout="constrained")
ax = figure.add_subplot()
ax.semilogy(sizes, means["general bound"], "^-", color="#0072B2", label="mean of the general bound")
ax.semilogy(sizes, means["square"], "o-", color="#56B4E9", label="mean of the square (compliant)")
ax.axhline(mc, color="#D55E00", ls="--", label=f"standard error, Monte Carlo, {total / 1e6:.1f} million points")
ax.axhline(qmc, color="black", ls=":", label=f"standard error, Sobol, {16 * (1 << 16) / 1e6:.1f} million points")
ax.set(xlabel="basis size $N$", ylabel="error of the mean")
ax.grid(True, color="0.9")
ax.legend(fontsize=8)
figure

# %% [markdown]
# With Sobol points the sampling error is below even the square: there a larger $N$ pays. So $N$ is no matter of taste:
# choose it such that the mean bound falls below the sampling error, and not much further. Both come with the same
# answers.
#
# **The probability that $s$ exceeds the threshold**, from below and from above. The interval is certain for the share
# *in this sample*; the standard error is what the sample adds. The figure has the histogram, and such intervals for all
# thresholds from $2^{16}$ Sobol points and two smaller bases.

# %%
spread = np.sqrt(plain * (1 - plain) / total)
print(f"P(s > {threshold}): general bound {sure:.6f} to {possible:.6f}, width {possible - sure:.1e}")
print(f"             square        {plain:.6f} to {square_above:.6f}, width {square_above - plain:.1e}")
print(f"             standard error {spread:.1e}")
assert sure <= plain <= square_above <= possible
assert square_above - plain < spread < possible - sure

figure = Figure(figsize=(11.6, 3.8), layout="constrained")
ax = figure.add_subplot(1, 2, 1)
ax.stairs(histogram / (total * np.diff(edges)), edges, fill=True, color="#0072B2", alpha=0.6)
ax.axvline(threshold, color="#D55E00", ls="--", label=f"threshold {threshold}")
ax.set(xlabel="mean temperature $s_N$", ylabel="density")
ax.set_axisbelow(True)
ax.grid(True, color="0.9")
ax.legend(fontsize=8)

levels = np.linspace(0.1, 0.25, 150)
ax = figure.add_subplot(1, 2, 2)
for n, color in ((15, "#009E73"), (20, "#0072B2")):
    part = parts[sizes.index(n)]
    s, b = part.outputs["mean"], part.output_bounds["mean"]
    low, high = (1 - np.searchsorted(np.sort(x), levels, side="right") / len(s) for x in (s - b, s + b))
    ax.fill_between(levels, np.maximum(low, 1e-9), high, color=color, alpha=0.6, lw=0, label=f"$N = {n}$")
ax.set(yscale="log", ylim=(5e-5, 1), xlabel="threshold", ylabel="share above it, from below and above")
ax.grid(True, color="0.9")
ax.legend(fontsize=8)
figure

# %% [markdown]
# ## What failures look like
#
# A batch with a NaN and a value outside the range. By default the call raises, since an answer must not be silently
# wrong; the error names the rows and carries all other answers:

# %%
batch_with_faults = mus[:1000].copy()
batch_with_faults[17, 2] = np.nan
batch_with_faults[400, 4] = 0.05
caught = None
try:
    rom.solve(batch_with_faults, coefficients=False)
except rbm.ParameterError as error:
    caught = error
    print(error)
assert caught is not None
print("rows:", caught.rows)
print(caught.solution)

# %% [markdown]
# With `on_error="mark"` the call returns; failed rows have NaN as output and infinity as bound, so that no sum over
# them passes unnoticed:

# %%
marked = rom.solve(batch_with_faults, coefficients=False, on_error="mark")
print(marked)
print("failed:", marked.failed, marked.reasons)
print("row 17:", marked.outputs["mean"][17], "+-", marked.output_bounds["mean"][17])
good = np.delete(np.arange(1000), marked.failed)
assert list(marked.failed) == list(caught.rows) == [17, 400]
assert np.isnan(marked.outputs["mean"][[17, 400]]).all()
assert np.isinf(marked.bound[[17, 400]]).all()
np.testing.assert_array_equal(caught.solution.outputs["mean"][good], marked.outputs["mean"][good])
np.testing.assert_allclose(marked.outputs["mean"][good], answer.outputs["mean"][good], rtol=1e-12)

# %% [markdown]
# ## Smaller models: do they pay?
#
# The bound is the norm of a factor, with 181 rows here, times the coefficients of the residual. `compress` leaves out
# rows and keeps what is lost in the bound, rigorously; `astype("float32")` rounds everything and keeps that in the
# bound; `sketch` replaces the factor by random combinations of its rows: its bound holds *with probability*, here
# $1 - 10^{-9}$ for each point.
#
# The last column is the share of points whose bound is mostly floor, that is, what round-off, the rounding to float32,
# or what was left out may have done to it: there a smaller model costs sharpness.

# %%
some = mus[:100_000]
variants = {
    "as it is": (rom, "orthonormal"),
    "compress()": (rom.compress(), "orthonormal"),
    "compress(1e-4)": (rom.compress(1e-4), "orthonormal"),
    'astype("float32")': (rom.astype("float32"), "orthonormal"),
    "compress(1e-4), float32": (rom.compress(1e-4).astype("float32"), "orthonormal"),
    "sketch(40)": (rom.sketch(40), "sketched"),
}
rows_left, largest, below, times = {}, {}, {}, dict.fromkeys([*variants, "no bound"], np.inf)
for _ in range(4):  # the best of four rounds
    for name, (small, method) in variants.items():
        elapsed, part = seconds(lambda m=small, e=method: m.solve(some, method=e, coefficients=False), len(some))
        times[name] = min(times[name], elapsed)
        rows_left[name] = len(small.estimators[method].factor)
        largest[name] = part.bound.max()
        below[name] = np.mean(~part.estimate.resolved)
    elapsed, _ = seconds(lambda: rom.solve(some, estimate=False, coefficients=False), len(some))
    times["no bound"] = min(times["no bound"], elapsed)
print(f"{'':24} rows   us a query   largest bound, relative   not resolved")
for name in variants:
    relative = largest[name] / largest["as it is"]
    print(f"{name:24} {rows_left[name]:4d} {1e6 * times[name]:12.2f} {relative:25.5f} {below[name]:14.2%}")
print(f"{'no bound':24} {'':4} {1e6 * times['no bound']:12.2f}")
assert rows_left["compress()"] < rows_left["compress(1e-4)"] < 0.5 * rows_left["as it is"]
assert largest["compress()"] < 1.02 * largest["as it is"]
assert largest["compress(1e-4), float32"] < 1.02 * largest["as it is"]
assert 1.5 < largest["sketch(40)"] / largest["as it is"] < 4

# %% [markdown]
# In the run shown, on two cores:
#
# - `compress()` keeps a third of the rows, and the largest bound grows by a quarter of a percent. The factor is
#   triangular, half of it is zero already, so that a third of the rows are more than a third of the work.
#   `compress(1e-4)` keeps ten rows more and costs nearly nothing in the bound.
# - float32 pays here; with `compress(1e-4)` a query takes about a third less time, and the largest bound grows by a
#   ten-thousandth. That is so because these bounds are far above the round-off of float32. Much smaller ones would be
#   lost: see the first suggestion below.
# - The sketch does not pay here: it has the fewest rows, but is not the fastest, its largest bound is 2.7 times as
#   large, and nothing is certain. It is made for factors with many more rows than 181.
#
# All this is about a fraction of a microsecond per point, for a million points about a fraction of a second.
#
# ## Try next
#
# - `thermal_block((2, 2), 60)`: with four parameters, which $N$ is enough for the sampling errors above? What does
#   float32 do to the bounds of 30 vectors?
# - `rom.compress(0.1)`: fewer rows once more; how sharp is the bound, and what does a query cost?
# - a rarer event, `threshold = 0.28`: how wide is the certified interval, relative to the probability?
