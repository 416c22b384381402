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
# # The wavenumber as a parameter
#
# **Question.** A boundary element matrix depends on the wavenumber $k$ through $e^{ik|x-y|}$: no finite sum of matrices
# times functions of $k$. Can a reduced model be certified for all $k$ in a range all the same? And what happens at an
# interior resonance?
#
# Runtime: a minute, and three minutes more the first time (matrices at 30 wavenumbers are assembled and stability
# anchors chosen, then cached). Needs `pip install bempp-cl`.

# %%
# %matplotlib inline
import numpy as np
from matplotlib.figure import Figure

import eim
import rbm
from problems import acoustic_scattering, surface
from problems.acoustics import boundary_elements as bem
from problems.acoustics.scattering import affine_terms
from problems.acoustics.scattering_series import sphere_pressure
from problems.acoustics.surface_fields import plane_wave_load
from rbm import plots
from rbm.stability.bound import inf_sup

# %% [markdown]
# ## Empirical interpolation of matrices, without looking into them
#
# All entries of $A(k)$ are integrals of $e^{ikr}$, $r = |x - y|$, and of its products with 1, $k$, $kr$ and $k^2$.
# Weights $\lambda_m(k)$ that reproduce these scalar functions of $(r, k)$ reproduce the matrices:
#
# $$ A(k) \approx \sum_m \lambda_m(k) A(k_m), \qquad \sum_m g_{r_p}(k_m) \lambda_m(k) = g_{r_p}(k). $$
#
# So the matrices are assembled at the nodes $k_m$ only. Beside it, polynomials at Chebyshev nodes, which know nothing
# of the kernel:

# %%
mesh = surface("sphere", level=3, parts=2)
low, high = 1.0, 4.0
r = np.linspace(0, 2, 121)


def family(k):
    wave = np.exp(1j * np.outer(r, k))
    slope = (1 - 1j * np.outer(r, k)) * wave
    return np.concatenate([k * slope, wave, k**2 * wave, k * wave, slope])


candidates = np.linspace(low, high, 121)
history = eim.separate(family, candidates, rtol=1e-15).interpolation.residual_history
k = np.linspace(low, high, 400)
exact = family(k)
ranks = range(2, len(history))
polynomial = []
for m in ranks:
    s = eim.lagrange(low, high, m)
    polynomial.append(np.abs(exact - family(s.nodes) @ s.coefficients(k).T).max())
assert polynomial[10] > 10 * history[12]
ax = plots.eim_decay(
    {"empirical interpolation": history, "Chebyshev polynomials": np.concatenate([history[:2], polynomial])}
)
ax.set_ylabel("largest error of the scalar family")
ax.figure

# %% [markdown]
# ## The model with parameters $(k, \beta_1, \beta_2)$
#
# `acoustic_scattering` does all that when it is given a range of wavenumbers. The interpolation errors $\epsilon_A$ and
# $\epsilon_f$, measured at wavenumbers between the nodes and doubled, enter every bound:
#
# $$ \| u - u_N \|_P \le \frac{\| r \|_{P^{-1}} + \epsilon_f + \epsilon_A \| u_N \|_P}{\beta - \epsilon_A}. $$

# %%
model = acoustic_scattering("sphere", parts=2, wavenumber=(low, high), level=3, progress=False)
print(model)
print("eps_A =", model.interpolation_error.sources[0], "  eps_f =", model.interpolation_error.sources[1])
print(model.stability)

# %%
result = rbm.greedy(model, model.parameters.sample(500), tol=1e-5, relative=True, progress=False)
assert result.stopped == "tolerance"
print(result)
plots.selected_parameters(result.parameters, model.parameters).figure

# %% [markdown]
# **Is the total bound a bound?** Against matrices assembled at wavenumbers that the model has never seen:

# %%
rng = np.random.default_rng(7)
mus = np.column_stack([np.linspace(1.03, 3.97, 8), rng.uniform(0, 2, (8, 2))])
solution = result.reduced_model.solve(mus)
u = result.reduced_model.reconstruct(solution.coefficients)
errors = []
for mu, operators, approximation in zip(mus, bem.assemble(mesh, mus[:, 0], progress=False), u, strict=True):
    a = affine_terms(mesh, operators)
    truth = np.linalg.solve(a[0] + mu[1] * a[1] + mu[2] * a[2], plane_wave_load(mesh, mu[0], model.direction, 1.0))
    errors.append(model.inner_product.norm((truth - approximation)[:, None])[0])
assert np.all(solution.bound >= errors)

figure = Figure(figsize=(6.8, 3.8), layout="constrained")
ax = figure.add_subplot()
ax.semilogy(mus[:, 0], solution.bound, "^", color="#0072B2", label="total bound")
ax.semilogy(mus[:, 0], errors, "x", color="black", label="true error, $A(k)$ assembled")
ax.semilogy(
    mus[:, 0], solution.estimate.interpolation, "v", color="#D55E00", label="share for the interpolation in $k$"
)
ax.set(xlabel="$k$, unseen", ylabel=r"error in the $P$-norm")
ax.grid(True, color="0.9")
ax.legend(fontsize=8)
figure

# %% [markdown]
# ## A sweep over the wavenumber
#
# Pressure at the point that faces the wave, for 2000 wavenumbers and three linings:

# %%
k = np.linspace(low, high, 2000)
pole = int(np.argmin(mesh.vertices[2]))
figure = Figure(figsize=(6.8, 3.8), layout="constrained")
ax = figure.add_subplot()
for color, beta in zip(("#0072B2", "#009E73", "#D55E00"), (0.0, 0.5, 2.0), strict=True):
    solution = result.reduced_model.solve(np.column_stack([k, np.full((2000, 2), beta)]))
    pressure = np.abs(result.reduced_model.reconstruct(solution.coefficients)[:, pole])
    ax.plot(k, pressure, color=color, label=rf"$\beta_1 = \beta_2 = {beta:g}$")
    series = [abs(sphere_pressure(np.array([-1.0]), x, beta)[0]) for x in k[::200]]
    ax.plot(k[::200], series, "x", color=color)
ax.set(xlabel="$k$", ylabel="$|u|$ facing the wave (crosses: series)")
ax.grid(True, color="0.9")
ax.legend(fontsize=8)
figure

# %% [markdown]
# ## Near an interior resonance
#
# At $k = \pi$ the inside of the sphere has a resonance, of which the outside knows nothing. The plain boundary equation
# (`formulation="direct"`) does: its solution stays usable, because the right-hand side is consistent, but its inf-sup
# constant collapses, and with it every error bound. Burton-Miller keeps both.

# %%
ks = np.array([3.0, 3.08, 3.12, 3.14, 3.15, 3.16, 3.18, 3.22, 3.3])
constants = {"burton-miller": [], "direct": []}
accuracy = {"burton-miller": [], "direct": []}
z = mesh.vertices[2]
for name in constants:
    for x in ks:
        fixed = acoustic_scattering(mesh, wavenumber=float(x), formulation=name, stability=1e-6, progress=False)
        constants[name].append(inf_sup(fixed, [[0.0, 0.0]], progress=False)[0])
        off = fixed.solve([[0.0, 0.0]])[0] - sphere_pressure(z, x, 0.0)
        accuracy[name].append(np.linalg.norm(off) / np.linalg.norm(sphere_pressure(z, x, 0.0)))

figure = Figure(figsize=(9.2, 3.6), layout="constrained")
for panel, values, label in ((1, constants, "inf-sup constant"), (2, accuracy, "relative error against the series")):
    ax = figure.add_subplot(1, 2, panel)
    for name, color, marker in (("direct", "#D55E00", "v"), ("burton-miller", "#0072B2", "o")):
        ax.plot(ks, values[name], color=color, marker=marker, label=name)
    ax.axvline(np.pi, color="0.5", ls=":", lw=1)
    yscale = "log" if panel == 1 else "linear"
    ax.set(xlabel="$k$ (dotted: $\\pi$; the mesh shifts the resonance)", ylabel=label, yscale=yscale)
    ax.grid(True, color="0.9")
    ax.legend(fontsize=8)
assert min(constants["direct"]) < 0.05 * min(constants["burton-miller"])
assert max(accuracy["direct"]) < 1.5 * max(accuracy["burton-miller"])
figure

# %% [markdown]
# **What to change next.** `separation_tol=1e-6` gives a smaller model with a visible interpolation share;
# `susceptance=(-1, 1)` adds two parameters; a narrower range of wavenumbers needs fewer terms.
