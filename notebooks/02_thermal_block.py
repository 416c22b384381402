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
# # The thermal block
#
# **Question.** What does a certified reduced model buy for a problem with nine parameters, and how much may one trust
# its outputs?
#
# Heat conduction in a square of 3 x 3 blocks whose conductivities vary by a factor ten. Runtime: about half a minute.

# %%
# %matplotlib inline
import tempfile
import time
from pathlib import Path

import numpy as np

import rbm
from problems import thermal_block, thermal_block_mesh
from rbm import plots

# %% [markdown]
# ## The model
#
# $$ -\nabla \cdot (k(x; \mu) \nabla u) = 1, \quad u = 0 \text{ on the boundary}, \qquad
# k = k_i \in [0.1, 1] \text{ on block } i, $$
#
# so that $A(\mu) = \sum_i k_i A_i$. With the inner product $P = \sum_i A_i$ the min-theta bound
# $\beta(\mu) = \min_i k_i$ is rigorous; it is refused if a term is not semi-definite or a coefficient not positive.

# %%
model = thermal_block(blocks=(3, 3), n_elements=60)
model

# %%
mesh = thermal_block_mesh(60)
inner = np.setdiff1d(np.arange(mesh.p.shape[1]), mesh.boundary_nodes())
mus = model.parameters.sample(3, "random", rng=3)


def on_mesh(u):
    values = np.zeros((len(u), mesh.p.shape[1]))
    values[:, inner] = u
    return values


plots.solutions_on_mesh(mesh.p, mesh.t, on_mesh(model.solve(mus)), [f"$k_5 = {mu[4]:.2f}$" for mu in mus])

# %% [markdown]
# ## Offline
#
# 500 training parameters, until the bound on all of them is at most 0.01. The solutions themselves have norms of 0.2 to
# 0.6:

# %%
start = time.perf_counter()
training = model.parameters.sample(500)
result = rbm.greedy(model, training, tol=1e-2, progress=False, estimators=("E_onb", "E2"))
offline = time.perf_counter() - start
assert result.stopped == "tolerance"
norms = model.inner_product.norm(model.solve(training[:50]).T)
assert 0.1 < norms.min() <= norms.max() < 0.7
print(f"{offline:.1f} s")
result

# %%
ax = plots.selected_parameters(result.parameters, model.parameters)
ax.figure

# %% [markdown]
# ## Is the bound a bound, and is it sharp?
#
# Effectivity is bound over true error: at least 1, and at most $\max_i k_i / \min_i k_i \le 10$ for this inner product.

# %%
tests = model.parameters.sample(50, "random", rng=1)
truth = model.solve_extended(tests)
sizes = sorted({*range(4, len(result.parameters), 5), len(result.parameters)})
errors, estimates, ratios = {}, {}, {}
for size in sizes:
    reduced = result.reduced_model.truncate(size)
    solution = reduced.solve(tests)
    errors[size] = model.error_norm(tests, solution.coefficients, reduced.basis, truth)
    estimates[size] = solution.estimate
    ratios[size] = solution.bound / errors[size]
    assert ratios[size].min() >= 1
    assert np.all(ratios[size] <= tests.max(axis=1) / tests.min(axis=1) * (1 + 1e-6))

ax = plots.effectivity(sizes, {"orthonormal": ratios})
ax.figure

# %%
ax = plots.estimators_over_size(
    sizes, [errors[k].max() for k in sizes], {"orthonormal": estimates}, floors=("orthonormal",)
)
ax.figure

# %% [markdown]
# `truncate` gave all smaller models from one greedy run at no cost: the leading rows and columns are the smaller model.

# %%
small = rbm.project(model, result.basis[:, :9])
np.testing.assert_array_equal(result.reduced_model.truncate(9).operators, small.operators)
np.testing.assert_allclose(result.reduced_model.truncate(9).solve(tests).bound, small.solve(tests).bound, rtol=1e-8)

# %% [markdown]
#
# ## Outputs with bounds
#
# The mean temperature, with an interval that contains the full-order value for certain.

# %%
solution = result.reduced_model.solve(tests)
functional = model.outputs["mean"].terms[0]
exact = (truth[0] + truth[1]).T @ functional
deviation = np.abs(solution.outputs["mean"] - exact)
assert np.all(deviation <= solution.output_bounds["mean"])
for k in range(4):
    print(
        f"mean = {solution.outputs['mean'][k]:.5f} +- {solution.output_bounds['mean'][k]:.1e}   "
        f"(full order {exact[k]:.5f})"
    )

# %% [markdown]
# ## Online: a parameter study in one call

# %%
many = model.parameters.sample(20_000, "random", rng=2)
start = time.perf_counter()
answer = result.reduced_model.solve(many)
online = (time.perf_counter() - start) / len(many)
start = time.perf_counter()
model.solve(many[:3])
full = (time.perf_counter() - start) / 3
print(f"{1e6 * online:.0f} us a certified query, {full / online:.0f} times faster than a full-order solve")
assert full > 20 * online
answer

# %% [markdown]
# ## One file
#
# The model goes into one file without pickle, and comes back with the same bits; a process that loads it needs `rbm`
# and nothing of this problem.

# %%
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "thermal.rbm"
    result.reduced_model.save(path, basis=False)
    print(f"{path.stat().st_size / 1024:.0f} KiB")
    again = rbm.load(path).solve(tests)
np.testing.assert_array_equal(again.bound, solution.bound)

# %% [markdown]
# ## Try next
#
# - `thermal_block((2, 2), 60)`: how many basis vectors for the same bound?
# - `tol=1e-4`: the error falls slowly, as nine parameters want; where does the offline time go?
# - `result.reduced_model.solve([[0.05] * 9])`: what does the model say outside its range?
