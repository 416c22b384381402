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
# # Why error estimators stagnate
#
# **Question.** Why does the usual a posteriori error estimator of the reduced basis method stop at 1e-8 when the error
# goes on to 1e-14, and what can be done about it?
#
# We bring our own matrices, build a reduced basis, and put five estimators beside the true error: the comparison of
# Casenave, Ern and Lelièvre (arXiv 1212.0970) with our parameters. Runtime: about ten seconds.

# %%
# %matplotlib inline
import numpy as np
import scipy.sparse as sp

import rbm
from problems import exact_solution
from rbm import plots

# %% [markdown]
# ## The model
#
# $-u'' + \mu u = 1$ on $(0, 1)$, $u(0) = u(1) = 0$, linear elements of width $h = 1/200$. The system is affine in
# $\mu$,
#
# $$ A(\mu) = K + \mu M, \qquad f = h\,(1, \dots, 1), $$
#
# and errors are measured in $\|v\|_K$, the $H^1_0$ seminorm, in which the problem is coercive with constant
# $\beta = 1$.

# %%
n, h = 199, 1 / 200
one = np.ones(n)
K = sp.diags_array([-one[1:], 2 * one, -one[1:]], offsets=[-1, 0, 1]) / h
M = sp.diags_array([one[1:], 4 * one, one[1:]], offsets=[-1, 0, 1]) * (h / 6)

model = rbm.FullOrderModel(
    operators=[(1.0, K), ("mu", M)],
    rhs=[(1.0, h * one)],
    product=K,
    parameters=rbm.ParameterSpace({"mu": (1.0, 100.0)}),
    stability=1.0,
)
model.verify(assembled=lambda mu: K + mu[0] * M)

# %% [markdown]
# The discrete solution is the right one: its nodal values agree with the closed form to second order in $h$.

# %%
x = np.linspace(0, 1, n + 2)[1:-1]
mus = np.array([[1.0], [10.0], [100.0]])
u = model.solve(mus)
deviation = np.abs(u - np.array([exact_solution(x, mu) for mu in mus[:, 0]])).max()
assert deviation < h**2 / 10, deviation

ax = plots.solutions(x, u, [rf"$\mu = {mu:g}$" for mu in mus[:, 0]])
ax.figure

# %% [markdown]
# ## Offline: the greedy algorithm
#
# The basis grows where the certified bound is largest. No tolerance is given: it goes on until round-off stops it.

# %%
training = model.parameters.sample(1000, "grid")
result = rbm.greedy(model, training, progress=False)
assert result.stopped == "round-off"
assert len(result.parameters) == 8
result

# %% [markdown]
# Eight vectors, and a ninth is refused: what the ninth solution adds to the basis is less than four bits above its own
# rounding error.
#
# ## Five ways to the same number
#
# The residual of the reduced solution is a known linear map of known coefficients, $r(\mu) = W c(\mu)$ with
# $W = [f, K z_1, M z_1, \dots]$, and the error is at most $\|r\|_{K^{-1}} / \beta$. In exact arithmetic these agree:
#
# | | $\|r\|$ is computed as | what rounding does |
# |---|---|---|
# | E1 | norm of the vector $r$ | needs the full model for every $\mu$ |
# | E2 | $(c^H G c)^{1/2}$, $G = W^H K^{-1} W$ | the square is off by $u\,s^2$, the norm by $\sqrt u\, s$ |
# | E3, E4 | $(\sum_r \lambda_r \|r(\mu_r)\|^2)^{1/2}$ | a small number made of small numbers |
# | E_onb | $\|R c\|_2$, $W = D R$, $D$ orthonormal | the norm is off by $u\,s$ |
#
# with $s(\mu) = \sum_j \|W_j\| |c_j|$, the size of what cancels, and $u = 1.1\cdot10^{-16}$.

# %%
methods = ("orthonormal", "direct", "expanded", "sampled", "interpolated")
tests = model.parameters.sample(1000, "random", rng=1)
truth = model.solve_extended(tests)

errors, estimates = {}, {m: {} for m in methods}
for size in range(1, 9):
    basis = result.basis[:, :size]
    reduced = rbm.project(model, basis, methods, training)
    gamma = reduced.solve(tests, estimate=False).coefficients
    errors[size] = model.error_norm(tests, gamma, basis, truth)
    for m in methods:
        estimates[m][size] = reduced.estimate(tests, gamma, m)

# %%
sizes = list(errors)
ax = plots.estimators_over_size(sizes, [errors[k].max() for k in sizes], estimates)
ax.figure

# %% [markdown]
# **E2 is noise from N = 5 on, and says so.** Its points are hollow: not resolved. Where its square comes out negative,
# the value is the floor; nothing is clipped to zero and called certified.

# %%
for size in (5, 6, 7, 8):
    assert not estimates["expanded"][size].resolved.any()
assert estimates["orthonormal"][8].resolved.mean() > 0.7
assert estimates["expanded"][8].value.max() > 1e6 * errors[8].max()

# %% [markdown]
# **The stable ones follow the error to 1e-14**, and no bound is below the true error, for any N and any of the 1000
# parameters. At N = 8 E_onb still resolves most of the points: where it comes near its floor, it evaluates once more in
# extended precision.

# %%
for size in sizes:
    for m in methods:
        assert np.all(estimates[m][size].bound >= errors[size]), (m, size)
for m in ("direct", "orthonormal", "interpolated", "sampled"):
    assert estimates[m][8].value.max() < 1.05 * errors[8].max()

# %% [markdown]
# ## Over the parameter
#
# At N = 7 the error dips at the seven parameters where snapshots were taken. E2 sees none of it.

# %%
sweep = np.sort(np.concatenate([tests[:, 0], result.parameters[:7, 0]]))[:, None]
reduced = result.reduced_model.truncate(7)
dips = model.error_norm(sweep, reduced.solve(sweep).coefficients, reduced.basis)
for mu in result.parameters[:7, 0]:
    assert dips[np.searchsorted(sweep[:, 0], mu)] < 0.01 * dips.max()

ax = plots.estimators_over_parameter(tests[:, 0], errors[7], {m: estimates[m][7] for m in methods})
ax.figure

# %% [markdown]
# ## Where the floors come from
#
# A floor is what round-off may have done to the value. For E2 it is $\sqrt{u}\,s$, for E_onb $u\,s$ times the number of
# operations (or less, in extended precision), plus an *offline* part that is measured, not guessed:
# $\delta_j = \|W_j - D R_j\|$, formed in extended precision. We orthonormalise functionals, not their Riesz
# representers, since $K^{-1}$ damps rounding errors where $K$ amplifies them.

# %%
state = result.reduced_model.estimators["orthonormal"]
print("largest offline defect:", state.defects.max())
print("largest floor of E_onb:", estimates["orthonormal"][8].floor.max())
print("largest floor of E2:   ", estimates["expanded"][8].floor.max())
assert state.defects.max() < 1e-15
assert estimates["orthonormal"][8].floor.max() < 1e-14
assert 1e-9 < estimates["expanded"][8].floor.max() < 1e-6

# %% [markdown]
# ## E4: a few products instead of all
#
# The squared norm is linear in the products of the entries of $c$: 91 of them for N = 6. Empirical interpolation finds
# that 2 N + 1 = 13 determine the rest, and stops by itself. The curves end in a cliff: the family has exactly that
# rank.

# %%
decay = {}
for size in (2, 4, 6, 8):
    e4 = rbm.project(model, result.basis[:, :size], ("interpolated",), training).estimators["interpolated"]
    assert len(e4.squares) == 2 * size + 1
    decay[f"$N = {size}$: {len(e4.squares)} of {e4.products_total}"] = e4.history / e4.history[0]
ax = plots.eim_decay(decay)
ax.figure

# %% [markdown]
# ## Try next
#
# - `n = 1999`: which floors move with the mesh width, which do not?
# - `result = rbm.greedy(model, training, estimators=("expanded",))`: what does a greedy run driven by E2 do, and why
#   does it stop?
# - two parameters: `operators=[(1.0, K), ("a", M_left), ("b", M_right)]`; from which N on is E3 refused?
