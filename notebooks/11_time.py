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
# # Heat that comes and goes
#
# **Question.** A cooling fin is heated at its root, now more and now less, and nobody knows beforehand how. Can one
# reduced model follow every fin of a family, at all times and for any heating, and say how wrong it is?
#
# A parabolic problem with five parameters and a control: POD-greedy, bounds at every step, a film. Runtime: less than a
# minute.

# %%
# %matplotlib inline
import tempfile
import time
from pathlib import Path

import numpy as np
from IPython.display import Image
from matplotlib.figure import Figure

import rbm
from problems import cooling_fin, thermal_fin_mesh
from rbm import plots

BLUE, RED = "#0072B2", "#D55E00"

# %% [markdown]
# ## The model
#
# A post with four pairs of plates, at zero temperature at first. In time,
#
# $$ M\,(u^k - u^{k-1}) + \Delta t\, A(\mu)\, u^k = \Delta t\, g_k\, f, \qquad k = 1 .. 100, $$
#
# with the conductivities $k_1 .. k_4$ of the pairs and the exchange of heat with the air, $\mathrm{Bi}$, in $\mu$. The
# control $g_k$ is the flux of heat into the root. This recursion is the truth: it is what bounds are about.

# %%
model = cooling_fin(2)
model

# %% [markdown]
# ## Offline, trained on the impulse
#
# POD-greedy marches the fin whose bound is the largest and takes the first modes of what the basis lacks. It is trained
# on the impulse, $g = (1, 0, 0, ...)$: the answer to any other control is a sum of delayed answers to it, so that a
# basis made for the impulse serves them all.

# %%
start = time.perf_counter()
training = model.parameters.sample(50)
result = rbm.pod_greedy(model, training, tol=2e-3, modes=4, control="impulse")
print(f"{time.perf_counter() - start:.1f} s")
reduced = result.reduced_model
assert result.stopped == "tolerance"
result

# %%
figure = Figure(figsize=(9.2, 3.4), layout="constrained")
ax = figure.add_subplot(1, 2, 1)
ax.semilogy([s.size for s in result.history], [s.bound for s in result.history], color=BLUE, marker="^")
ax.set(xlabel="$N$", ylabel="largest bound over training")
ax.grid(True, color="0.9")
ax = figure.add_subplot(1, 2, 2)
for step in result.history[:-1:3]:
    ax.semilogy(range(1, len(step.eigenvalues) + 1), step.eigenvalues, marker="o", ms=4, label=f"$N = {step.size}$")
ax.set(xlabel="mode of what the basis lacks", ylabel="eigenvalue")
ax.xaxis.get_major_locator().set_params(integer=True)
ax.grid(True, color="0.9")
ax.legend(fontsize=8)
figure

# %% [markdown]
# ## Online, with heating that was not trained
#
# Two pulses, and three fins that the training set does not hold. Each line comes with a band in which the output of the
# full model lies, at every time; here it is computed too, to see that.

# %%
t = model.times[1:]
pulses = np.where(t < 3.35, 1.0, 0.0) + np.where((t > 5.45) & (t < 7.45), 0.6, 0.0)
mus = np.array([[0.5, 0.5, 0.5, 0.5, 0.03], [2.0, 2.0, 2.0, 2.0, 0.1], [8.0, 0.3, 8.0, 0.3, 0.4]])
answer = reduced.solve(mus, pulses)
truth = model.solve(mus, pulses)
labels = ["poor plates, Bi = 0.03", "good plates, Bi = 0.1", "two of each, Bi = 0.4"]
figure = Figure(figsize=(9.2, 7.0), layout="constrained")
above, *panels = figure.subplots(3, 1, sharex=True, height_ratios=(1, 3, 3))
above.stairs(pulses, model.times, color="black")
above.set(ylabel="flux $g$", ylim=(-0.1, 1.2))
for ax, name in zip(panels, ("T_root", "T_mean"), strict=True):
    true = truth @ model.outputs[name].terms[0]
    plots.outputs_over_time(answer, name, labels=labels, truth=true, ax=ax)
    assert np.all(np.abs(true - answer.outputs[name]) <= answer.output_bounds[name])
    ax.label_outer()
panels[1].get_legend().remove()
figure

# %% [markdown]
# Nothing is known of the error at the root but its size in the whole fin, and an edge is a small part of that: the band
# of `T_root` is wide. The mean temperature is known much better.
#
# ## A dual problem for the output that matters
#
# The answer of the adjoint problem to an impulse says how much each residual, in each earlier step, moves the output.
# With a basis of its own for that answer, the output is corrected, and its bound is a product of two residuals.

# %%
named = rbm.pod_greedy(model, training, tol=2e-3, modes=4, control="impulse", dual=("T_root",), resume=result)
sharper = named.reduced_model.solve(mus, pulses)
true = truth @ model.outputs["T_root"].terms[0]
figure = Figure(figsize=(9.2, 4.0), layout="constrained")
ax = figure.add_subplot()
for point, color in enumerate((BLUE, RED, "#009E73")):
    ax.semilogy(model.times[1:], answer.output_bounds["T_root"][point, 1:], color=color, label=labels[point])
    ax.semilogy(model.times[1:], sharper.output_bounds["T_root"][point, 1:], color=color, ls="--")
    ax.semilogy(model.times[1:], np.abs(true - sharper.outputs["T_root"])[point, 1:], color=color, ls=":")
assert np.all(np.abs(true - sharper.outputs["T_root"]) <= sharper.output_bounds["T_root"])
assert sharper.output_bounds["T_root"][:, 1:].max() < 0.1 * answer.output_bounds["T_root"].max()
ax.set(xlabel="$t$", ylabel="error of T_root", title="bound, bound with the dual problem (dashed), error (dotted)")
ax.grid(True, color="0.9")
ax.legend(fontsize=8)
figure

# %% [markdown]
# ## Is the bound a bound?
#
# The error in the energy norm, $\|e^k\|_M^2 + \Delta t \sum_{j \le k} (A e^j, e^j)$ under the root, adds up from the
# first step on; $\|e^k\|_M$ is that of one time. The first bound only rises, as its norm does; the second one knows how
# fast heat is forgotten at least.

# %%
errors = model.error_norms(mus, answer.coefficients, result.basis, pulses)
assert np.all(errors.energy <= answer.bound)
assert np.all(errors.l2 <= answer.bound_l2)
ratio = answer.bound[:, 1:] / errors.energy[:, 1:]
print(f"bound over error in the energy norm: {ratio.min():.2f} to {ratio.max():.2f}, median {np.median(ratio):.2f}")
figure = Figure(figsize=(9.2, 3.8), layout="constrained")
plots.errors_over_time(answer, errors, point=1, ax=figure.add_subplot())
figure

# %% [markdown]
# ## A thousand fins, each with a heating of its own

# %%
rng = np.random.default_rng(1)
many = model.parameters.sample(1000, "random", rng=2)
heating = np.repeat(rng.uniform(0, 1, (1000, 20)), 5, axis=1)
reduced.solve(many[:64], heating[:64], coefficients=False)  # compiles
start = time.perf_counter()
answers = reduced.solve(many, heating, coefficients=False)
online = (time.perf_counter() - start) / len(many)
start = time.perf_counter()
model.solve(many[:2], heating[:2])
full = (time.perf_counter() - start) / 2
print(f"{1e3 * online:.2f} ms per certified trajectory, {full / online:.0f} times faster than a full-order march")
assert full > 20 * online

warmest, bound = answers.outputs["T_mean"].max(axis=1), answers.output_bounds["T_mean"].max(axis=1)
figure = Figure(figsize=(9.2, 3.8), layout="constrained")
ax = figure.add_subplot()
ax.errorbar(many[:, -1], warmest, bound, fmt="none", ecolor=RED, lw=0.8, zorder=1)
ax.scatter(many[:, -1], warmest, s=4, color=BLUE, zorder=2)
ax.set(xscale="log", xlabel="Bi", ylabel="largest mean temperature, with its bound")
ax.grid(True, color="0.9")
figure

# %% [markdown]
# ## A film
#
# The basis turns coefficients into fields. `plots.film` writes them as an animated GIF.

# %%
mesh = thermal_fin_mesh(2)
with tempfile.TemporaryDirectory() as folder:
    u = reduced.reconstruct(answer)[1]
    path = plots.film(Path(folder) / "fin.gif", mesh.p, mesh.t, u, answer.times, every=4, fps=8)
    film = Image(data=path.read_bytes(), format="gif")
film

# %% [markdown]
# ## One file
#
# A saved model answers with the same bits, control and times included.

# %%
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "fin.rbm"
    reduced.save(path, basis=False)
    print(f"{path.stat().st_size / 1024:.0f} KiB, for {model.dimension} unknowns and {model.steps} steps")
    again = rbm.load(path).solve(mus, pulses)
np.testing.assert_array_equal(again.coefficients, answer.coefficients)
np.testing.assert_array_equal(again.bound, answer.bound)
again

# %% [markdown]
# **Try next.**
#
# - Train on `control=pulses` in place of the impulse, and ask with other pulses: the bounds still hold, how large are
#   they?
# - `cooling_fin(2, theta=0.5)`: Crank and Nicolson's scheme, of second order in time.
# - `problems.moving_heat`: a source of heat that moves over a plate, with its speed as a parameter.
