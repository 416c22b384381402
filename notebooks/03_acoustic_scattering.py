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
# # Acoustic scattering: which lining absorbs most?
#
# **Question.** A sphere is hit by a sound wave; its front and its back may be lined. How much does it absorb and
# scatter for *every* pair of linings, and how sure is that?
#
# Boundary elements give dense, complex, non-coercive matrices: none of the tools for coercive problems applies.
# Runtime: half a minute, and a minute more the first time (the matrices are assembled, then cached). Needs
# `pip install bempp-cl`.

# %%
# %matplotlib inline
import numpy as np
from matplotlib.figure import Figure

import rbm
from problems import acoustic_scattering
from problems.acoustics import scattering_figures
from problems.acoustics.boundary_elements import mass
from problems.acoustics.scattering_series import two_part_sphere_pressure
from problems.acoustics.surface_fields import sphere_rule
from rbm import plots

# %% [markdown]
# ## The model
#
# $$ \Delta u + k^2 u = 0 \text{ outside}, \qquad \partial_n u + i k \beta u = 0 \text{ on the surface}, \qquad
# u - e^{i k d \cdot x} \text{ radiating}, $$
#
# time factor $e^{-i\omega t}$, $n$ out of the obstacle. The admittance $\beta = \rho c / Z$ is 0 for a rigid wall, 1
# for a matched one; it is $\beta_1$ on the half $z > 0$, in the shadow, and $\beta_2$ on the half $z < 0$, which faces
# the wave. The Burton-Miller equation is affine in both:
#
# $$ A(\beta) = A_0 + \beta_1 A_1 + \beta_2 A_2, \qquad A_0 = \tfrac12 M - K + \tfrac{i}{k} W, \quad
# A_j = (-ikV + \tfrac12 M + K') R_j. $$

# %%
model = acoustic_scattering("sphere", parts=2, wavenumber=2.0, level=3, progress=False)
print(model)
print(model.mesh)
print(model.stability)

# %% [markdown]
# Is the discretisation right? Against the series solution, with 258 unknowns:

# %%
mus = np.array([[0.0, 0.0], [1.0, 1.0], [1.0, 0.0]])
z, m = model.mesh.vertices[2], mass(model.mesh)
for mu, u in zip(mus, model.solve(mus), strict=True):
    exact = two_part_sphere_pressure(z, 2.0, *mu)
    error = np.sqrt(((u - exact).conj() @ m @ (u - exact)).real / (exact.conj() @ m @ exact).real)
    print(f"beta = {mu}: relative L2 error {error:.1e}")
    assert error < 0.025

# %% [markdown]
# ## Offline
#
# The projection is **least squares**, $\min_\gamma \| f(\mu) - A(\mu) Z \gamma \|_{P^{-1}}$: Galerkin's reduced matrix
# may be singular where the full one is not, this cannot. $P$ is the inner product of $H^{1/2}$. The inf-sup constant is
# bounded from below, rigorously, by perturbation from a few *anchors* at which it is computed:

# %%
training = model.parameters.sample(500)
result = rbm.greedy(model, training, tol=1e-10, relative=True, estimators=("E_onb", "E1", "E2"), progress=False)
assert result.stopped == "tolerance"
print(result)
reduced = result.reduced_model
figure = scattering_figures.inf_sup_constant(model)
beta = model.stability(training, model.operator_coefficients(training))
assert beta.min() > 0.2
figure

# %% [markdown]
# ## Estimators against the true error
#
# $E_2$, the usual formula, ends at $\sqrt{u}$ and is marked as unresolved there; the others follow to the end. $E_4$
# interpolates squares: $(1 + 3N)^2$ products, of which it needs far fewer. It is prepared here up to $N = 12$.

# %%
tests = model.parameters.sample(60, "random", rng=1)
truth = model.solve_extended(tests)
sizes = [2, 4, 8, 12, 18, 24, 30, len(result.parameters)]
errors, estimates = [], {name: {} for name in ("orthonormal", "direct", "expanded", "interpolated")}
for n in sizes:
    part = reduced.truncate(n)
    gamma = part.solve(tests, estimate=False).coefficients
    errors.append(model.error_norm(tests, gamma, result.basis[:, :n], truth).max())
    if n <= 12:
        part = rbm.project(model, result.basis[:, :n], ("E_onb", "E1", "E2", "E4"), training)
        e4 = part.estimators["interpolated"]
        print(f"N = {n}: E4 needs {len(e4.squares)} of {e4.products_total} products")
    for name in part.estimators:
        estimates[name][n] = part.estimate(tests, gamma, name)
    assert np.all(estimates["orthonormal"][n].bound >= model.error_norm(tests, gamma, result.basis[:, :n], truth))
assert not estimates["expanded"][sizes[-1]].resolved.any()
plots.estimators_over_size(sizes, errors, estimates).figure

# %% [markdown]
# ## Online: a certified map of absorption
#
# 6400 pairs of linings in one call. Extinction comes from the far field in forward direction (the optical theorem),
# absorption from $\int \mathrm{Re}(\beta) |u|^2$; both with error bounds.

# %%
side = np.linspace(0, 2, 80)
grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
solution = reduced.solve(grid)
sections = model.cross_sections(solution)
absorbed, bound = sections["absorption"]
best = grid[np.argmax(absorbed)]
print(f"most absorption {absorbed.max():.6f} +- {bound.max():.1e} at beta_1 = {best[0]:.2f}, beta_2 = {best[1]:.2f}")
assert bound.max() < 1e-7

figure = Figure(figsize=(9.4, 3.6), layout="constrained")
for k, name in enumerate(("absorption", "scattering")):
    ax = figure.add_subplot(1, 2, k + 1)
    image = ax.contourf(side, side, sections[name][0].reshape(80, 80), 24, cmap="cividis")
    ax.set(xlabel=r"$\beta_1$, in the shadow", ylabel=r"$\beta_2$, facing the wave", title=name + " cross-section")
    figure.colorbar(image, ax=ax)
    if name == "absorption":
        ax.plot(*best, "x", color="#D55E00", ms=9)
figure

# %% [markdown]
# The optical theorem is a check of signs and conventions: extinction is what is absorbed and what is scattered,
# $\int |f|^2$ over all directions.

# %%
few = tests[:4]
u = model.solve(few)
directions, weights = sphere_rule(12)
scattered = np.abs(model.far_field(few, u, directions)) ** 2 @ weights
sections = model.cross_sections(reduced.solve(few))
print(scattered, sections["scattering"][0])
np.testing.assert_allclose(scattered, sections["scattering"][0], rtol=2e-3)

# %% [markdown]
# ## Pictures of the solution
#
# On the surface, in a plane, and far away:

# %%
corners = np.array([[0.0, 0.0], [2.0, 2.0], [2.0, 0.0]])
scattering_figures.surface_pressure(model, reduced, corners)

# %%
scattering_figures.near_field(model, reduced, corners[[0, 2]])

# %%
scattering_figures.far_field_pattern(model, reduced, np.column_stack([np.linspace(0, 2, 7), np.zeros(7)]))

# %% [markdown]
# **What to change next.** `susceptance=(-1, 1)` makes the admittances complex (four parameters); `shape="ellipsoid"` or
# a mesh file of your own as first argument; `direction=(1, 0, 0)`; `parts=4`; `level=4` for 1026 unknowns, as in
# `rbm study scattering`.
