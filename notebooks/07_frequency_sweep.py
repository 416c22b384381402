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
# # A frequency sweep over all resonances
#
# **Question.** Near a resonance the solution of a wave problem is large and changes fast, and a small residual says
# little about the error. Can a sweep over 31 resonances be certified all the same, at every frequency?
#
# Sound in a rectangular cavity with 1 % damping, 15 000 unknowns. Runtime: about half a minute.

# %%
# %matplotlib inline
import time

import numpy as np
from matplotlib.figure import Figure

import rbm
from problems import duct_pressure, frequency_sweep, frequency_sweep_grid, resonant_wavenumbers

BLUE, RED, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "0.6"

# %% [markdown]
# ## The model
#
# $$ \Delta p + k^2 (1 + i\eta)\, p = 0, \qquad A(k) = K - k^2 (1 + i\eta) M, \qquad P = K + M, $$
#
# driven in the lower left corner, with hard walls. The pressure near the top of the right wall is the output
# "receiver". Without damping the rectangle resonates at $k_{ij} = \pi \sqrt{i^2/a^2 + j^2/b^2}$:

# %%
low, high, damping = 2.0, 20.0, 0.01
start = time.perf_counter()
model = frequency_sweep("cavity", n=15_000, damping=damping, wavenumbers=(low, high))
print(f"{time.perf_counter() - start:.1f} s, eigenvalues included: {model.stability}")
resonances = resonant_wavenumbers((1.0, 0.8), high)
resonances = resonances[resonances > low]
print(f"{len(resonances)} resonances between k = {low:g} and {high:g}")
model

# %%
x, y = frequency_sweep_grid("cavity", n=15_000)
figure = Figure(figsize=(9.2, 2.9), layout="constrained")
for panel, k in enumerate((3.0, resonances[7], 19.5), start=1):
    ax = figure.add_subplot(1, 3, panel)
    pressure = model.solve([k])[0].real.reshape(len(y), len(x))
    largest = np.abs(pressure).max()
    image = ax.pcolormesh(
        x, y, pressure, cmap="RdBu_r", vmin=-largest, vmax=largest, shading="gouraud", rasterized=True
    )
    ax.set(aspect="equal", title=f"$k = {k:.2f}$, Re $p$", xlabel="$x$", ylabel="$y$" if panel == 1 else "")
    figure.colorbar(image, ax=ax, shrink=0.8)
figure

# %% [markdown]
# ## The stability constant over frequency
#
# $\beta(k)$, the smallest value of $\| A(k) v \|_{P^{-1}}$ with $\| v \|_P = 1$, divides the residual in every bound.
# Eigenvectors of $K v = \lambda M v$ diagonalise $A(k)$ and $P$ at once, so that
#
# $$ \beta(k) = \min_j \frac{|\lambda_j - k^2 (1 + i\eta)|}{\lambda_j + 1}. $$
#
# `rbm.stability.Pencil` computes the eigenvalues that matter, shows by a count of negative pivots that none of them is
# missing, and returns a lower bound that differs from the constant by rounding only. On this grid the eigenvalues are
# known in closed form: the bound can be held against the truth at 10 000 frequencies.

# %%
sweep = np.linspace(low, high, 10_000)[:, None]
model.stability(sweep[:64], model.operator_coefficients(sweep[:64]))  # compiles
start = time.perf_counter()
beta = model.stability(sweep, model.operator_coefficients(sweep))
print(f"{1e6 * (time.perf_counter() - start) / len(sweep):.2f} us per frequency")


def eigenvalues(nodes):
    c = np.cos(np.pi * np.arange(len(nodes)) / (len(nodes) - 1))
    return 6 / nodes[1] ** 2 * (1 - c) / (2 + c)


values = np.add.outer(eigenvalues(x), eigenvalues(y)).ravel()
values = values[values < 4 * high**2]  # the others are far from all k^2
exact = (np.abs(values - sweep**2 * (1 + 1j * damping)) / (values + 1)).min(axis=1)
assert np.all(beta <= exact * (1 + 1e-9))
assert np.all(beta >= exact * (1 - 1e-6))

flat = damping * sweep**2 / np.hypot(1 + sweep**2, damping * sweep**2)
figure = Figure(figsize=(9.2, 3.8), layout="constrained")
ax = figure.add_subplot()
for i, k in enumerate(resonances):
    ax.axvline(k, color=GREY, ls=":", lw=0.8, label="resonances, hard walls" if i == 0 else None)
ax.semilogy(sweep, beta, color=BLUE, lw=1.2, label=r"lower bound of $\beta(k)$")
ax.semilogy(
    sweep, flat, color=RED, lw=1.2, ls="--", label=r"what holds for every domain, $\eta k^2/|1 + k^2 + i\eta k^2|$"
)
ax.set(xlabel="$k$", ylabel="stability constant", xlim=(low, high))
ax.legend(fontsize=8, loc="upper right")
figure

# %% [markdown]
# At the resonances the constant falls to the share that damping leaves; the closer they are, the less it recovers
# between them.
#
# ## Offline
#
# The greedy run takes a full-order solution where the bound, relative to the solution, is largest among 600
# frequencies, until it is below $10^{-6}$ at all of them:

# %%
start = time.perf_counter()
training = model.parameters.sample(600, "grid")
result = rbm.greedy(model, training, tol=1e-6, relative=True, progress=False)
print(f"{time.perf_counter() - start:.1f} s")
assert result.stopped == "tolerance"
reduced = result.reduced_model
result

# %%
figure = Figure(figsize=(9.2, 3.4), layout="constrained")
ax = figure.add_subplot(1, 2, 1)
ax.semilogy([step.bound for step in result.history], color=BLUE, marker="^", ms=4)
ax.set(xlabel="$N$", ylabel="largest bound over training, relative")
ax.grid(True, color="0.9")
ax = figure.add_subplot(1, 2, 2)
for k in resonances:
    ax.axvline(k, color=GREY, ls=":", lw=0.8)
ax.plot(result.parameters[:, 0], range(1, len(result.parameters) + 1), "o", color=BLUE, ms=4)
ax.set(xlabel="$k$ (dotted: resonances)", ylabel="order in which they were taken")
figure

# %% [markdown]
# The error is not controlled until the basis has about as many vectors as there are resonances; then the bound falls by
# an order of magnitude every other step.
#
# ## Online: 10 000 frequencies, each with its bound

# %%
reduced.solve(sweep[:64])  # compiles
start = time.perf_counter()
answer = reduced.solve(sweep)
online = (time.perf_counter() - start) / len(sweep)
start = time.perf_counter()
model.solve(sweep[:2])
full = (time.perf_counter() - start) / 2
print(f"{1e6 * online:.0f} us per certified frequency, {full / online:.0f} times faster than a full-order solve")
response, radius = np.abs(answer.outputs["receiver"]), answer.output_bounds["receiver"]
assert np.all(radius < 1e-2 * response)
print(f"the response is known to {(radius / response).max():.1e} of itself, at the worst of all frequencies")

# %%
figure = Figure(figsize=(9.2, 5.2), layout="constrained")
upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
for ax in (upper, lower):
    for k in resonances:
        ax.axvline(k, color=GREY, ls=":", lw=0.8)
upper.semilogy(sweep, response, color=BLUE, lw=1.2, label="reduced model, 10 000 frequencies")
some = sweep[137::700]
truth = np.abs(model.solve(some) @ model.outputs["receiver"].terms[0])
upper.semilogy(some, truth, "x", color="black", label="full order")
upper.set(ylabel="$|p|$ at the receiver", xlim=(low, high))
upper.legend(fontsize=8, loc="upper right")
lower.semilogy(sweep, radius, color=RED, lw=1.0)
lower.set(xlabel="$k$ (dotted: resonances)", ylabel="bound of its error", ylim=(1e-11, None))
assert np.all(np.abs(truth - response[137::700]) <= radius[137::700])
figure

# %% [markdown]
# ## Is the bound a bound?
#
# At frequencies that the training set does not hold, a resonance's immediate neighbourhood among them:

# %%
unseen = np.sort(np.concatenate([model.parameters.sample(40, "random", rng=1)[:, 0], resonances[::4] * 1.0005]))[
    :, None
]
solution = reduced.solve(unseen)
error = model.error_norm(unseen, solution.coefficients, result.basis)
ratio = solution.bound / error
assert ratio.min() >= 1
print(f"bound over error: {ratio.min():.1f} to {ratio.max():.0f}, median {np.median(ratio):.0f}")

figure = Figure(figsize=(9.2, 3.8), layout="constrained")
ax = figure.add_subplot()
for k in resonances:
    ax.axvline(k, color=GREY, ls=":", lw=0.8)
ax.semilogy(sweep, answer.bound, color=BLUE, lw=1.0, label="bound, all frequencies")
ax.semilogy(unseen, error, "x", color="black", label="true error, unseen frequencies")
ax.set(xlabel="$k$ (dotted: resonances)", ylabel="error in the $P$-norm", xlim=(low, high), ylim=(1e-12, None))
ax.legend(fontsize=8, loc="lower right")
figure

# %% [markdown]
# ## A wall that absorbs
#
# An admittance on the right wall adds the term $-i k\, \alpha B$, and $A$ is no combination of $K$ and $M$ any more.
# As it can only absorb, the dashed curve above remains a lower bound of the constant: it is closed form, and flat over
# resonances. In a duct that is driven over its whole end, the pressure is known in closed form as well.

# %%
duct = frequency_sweep("duct", n=15_000, damping=0.05, admittance=(0.0, 1.0), wavenumbers=(1.0, 5.0))
absorbing = rbm.greedy(duct, duct.parameters.sample(400), tol=1e-4, relative=True, progress=False)
assert absorbing.stopped == "tolerance"
absorbing

# %%
ks = np.linspace(1.0, 5.0, 1000)
coarse = ks[::40]
figure = Figure(figsize=(9.2, 3.6), layout="constrained")
ax = figure.add_subplot()
spacing = frequency_sweep_grid("duct", n=15_000)[0][1]
for color, admittance in ((BLUE, 0.0), (GREEN, 0.3), (RED, 1.0)):
    found = absorbing.reduced_model.solve(np.column_stack([ks, np.full(len(ks), admittance)]))
    pressure, radius = found.outputs["receiver"], found.output_bounds["receiver"]
    closed = duct_pressure(4.0, ks, 0.05, admittance)
    # the bound is for the solution on the grid, whose waves are off in phase by about 4 k (k h)^2 / 24 at the far end
    grid = 2 * 4 * ks * (ks * spacing) ** 2 / 24 * ks * np.abs(closed).max() ** 2
    assert np.all(np.abs(pressure - closed) <= radius + grid)
    ax.plot(ks, np.abs(pressure), color=color, label=rf"$\alpha = {admittance:g}$")
    ax.plot(coarse, np.abs(closed[::40]), "x", color=color)
ax.set(xlabel="$k$ (crosses: closed form)", ylabel="$|p|$ at the far end of the duct")
ax.grid(True, color="0.9")
ax.legend(fontsize=8)
figure

# %% [markdown]
# **Try next.**
#
# - `damping=0.001`: where does the bound lose, and how many basis vectors more does it take?
# - `damping=0.0`: at a resonance there is no bound, and the error names it.
# - `n=100_000`: only the offline stage changes.
