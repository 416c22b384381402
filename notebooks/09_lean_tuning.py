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
# # Lean tuning: few numbers, few bytes, no gradient
#
# **Question.** What does it take to change a large model a little: to fit its parameters to measurements, to teach a
# network a task? Training in full keeps a gradient and two moments for every number, and every activation of the
# forward pass. Each of the three can be had smaller: train a low-rank update, keep four bits of each derivative, or ask
# for the loss at two points and nothing else.
#
# NumPy and a reduced model; the last two sections read measured figures of real networks. Runtime: about a minute.

# %%
# %matplotlib inline
import importlib.util
import json
import time
import warnings
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import norm

import lowrank
import ml
import rbm
from ml.studies.mezo_cases import steps_to
from problems import thermal_block, thermal_block_mesh

BLUE, RED, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "0.6"
RESULTS = Path("../benchmarks")


def cases(name):
    """Return the results of a benchmark, case by case; none where it has not been run."""
    path = RESULTS / f"{name}.json"
    return {case: kept["result"] for case, kept in json.loads(path.read_text()).items()} if path.exists() else {}


# %% [markdown]
# ## A low-rank update, of a weight or of an operator
#
# A weight $W$ becomes $W + s\, B A$ with $r$ rows in $A$ and $r$ columns in $B$: `ml.LowRankUpdate`. It is applied
# without being formed, merged, taken out again, and found in the difference of two weights.

# %%
rng = np.random.default_rng(0)
w, rank = rng.standard_normal((300, 200)), 8
tuned = w + 0.1 * rng.standard_normal((300, rank)) @ rng.standard_normal((rank, 200))
update = ml.LowRankUpdate.extract(tuned - w, rank=rank)
error = np.linalg.norm(update.merge(w) - tuned) / np.linalg.norm(tuned)
print(f"{update.A.size + update.B.size} numbers for {w.size}; a planted update of rank {rank} is found to {error:.0e}")
assert error < 1e-13

# %% [markdown]
# The same on an operator: three pins carry heat away, each in proportion to the mean temperature around it. That is
# $g\, U U^H$ with three columns. `rbm.FullOrderModel` takes it as a term, never forms it, and certifies the reduced
# model as ever.

# %%
n_elements = 24
block = thermal_block((2, 2), n_elements)
x, y = thermal_block_mesh(n_elements).p
inner = (x > 0) & (x < 1) & (y > 0) & (y < 1)
load = np.asarray(block.rhs_terms)[:, 0]
pins = [(0.3, 0.3), (0.7, 0.45), (0.45, 0.75)]
around = np.stack([load * (np.hypot(x[inner] - a, y[inner] - b) < 0.1) for a, b in pins], axis=1)
around /= around.sum(axis=0)  # means
pinned = rbm.FullOrderModel(
    [*zip(block.parameters.names, block.operator_terms, strict=True),
     ("g", lowrank.LowRankMatrix(around, np.ones(len(pins)), around))],
    [(1.0, load)], block.product, {**dict.fromkeys(block.parameters.names, (0.1, 1.0)), "g": (0.1, 100.0)},
    rbm.stability.MinTheta([1.0] * 5),
)  # fmt: skip
low = rbm.greedy(pinned, pinned.parameters.sample(200), tol=1e-6).reduced_model
unseen = pinned.parameters.sample(20, "random", rng=7)
answer, truth = low.solve(unseen), pinned.solve(unseen)
off = pinned.inner_product.norm((truth - answer.coefficients @ low.basis.T).T)
print(low)
print(f"bound / true error: {(answer.bound / off).min():.2f} to {(answer.bound / off).max():.2f}")
assert np.all(answer.bound >= off)

# %% [markdown]
# ## Parameters fitted to measurements, by any method
#
# The nine conductivities of the thermal block from 40 noisy points. `rbm.calibrate` asks the reduced model, hundreds of
# candidates in one call where the method wants many at once: `ml.spsa` follows differences along 16 random directions a
# step. The certified misfit says when to stop, the sensitivity says what the data leave open.

# %%
model = thermal_block((3, 3), 30)
reduced = rbm.greedy(model, model.parameters.sample(300), tol=1e-8, max_basis=60).reduced_model
hidden = np.array([0.3, 0.9, 0.15, 0.5, 0.25, 0.7, 0.8, 0.4, 0.2])
sensors = rng.choice(model.dimension, 40, replace=False)
noise = 1e-3
values = model.solve(hidden)[0, sensors] + noise * rng.standard_normal(40)
fits = {}
for name, optimizer in {"Nelder-Mead": "Nelder-Mead", "L-BFGS-B": "L-BFGS-B", "SPSA": ml.spsa}.items():
    start = time.process_time()
    fits[name] = rbm.calibrate(reduced, values, sensors=sensors, noise=noise, optimizer=optimizer, starts=1)
    fit, seconds = fits[name], time.process_time() - start
    print(
        f"{name:>12}: misfit {fit.misfit:.4f}, {fit.evaluations} candidates in {fit.calls} calls, {seconds:.2f} CPU s"
    )
misfits = [fit.misfit for fit in fits.values()]
assert max(misfits) < 1.01 * min(misfits)

# %%
figure = Figure(figsize=(9.2, 3.2), layout="constrained")
left, right = figure.subplots(1, 2)
best = fits["SPSA"]
left.errorbar(range(1, 10), best.mu, 2 * best.spread, fmt="o", color=BLUE, capsize=3, label="fitted, 2 deviations")
left.plot(range(1, 10), hidden, "_", color=RED, ms=14, label="true")
left.set(xlabel="block", ylabel="conductivity", ylim=(0, 1.1))
left.legend(frameon=False)
right.semilogy(range(1, 10), best.singular_values, "o-", color=BLUE)
right.axhline(12**0.5, color=GREY, lw=1, label="not determined below")
right.set(xlabel="direction", ylabel="1 / standard deviation")
right.legend(frameon=False)
print(best)
figure

# %% [markdown]
# ## Training without a gradient
#
# `ml.mezo` does the same to any number of weights in place: $+\varepsilon z$, $-2 \varepsilon z$, $+\varepsilon z$,
# and a step along $z$, which is drawn anew from its seed each time. The number of steps grows with the effective rank
# $\mathrm{tr}(H) / \|H\|$ of the Hessian and not with the number of weights: the mean falls by $1 - 1/(r + 2)$ a step.

# %%
ranks, sizes = (4, 8, 16, 32), (100, 1000, 10_000)
figure = Figure(figsize=(5.6, 3.2), layout="constrained")
ax = figure.subplots()
for d, color in zip(sizes, (BLUE, GREEN, RED), strict=False):
    counts = np.array([[steps_to(1e-3, r, d, seed) for seed in range(6)] for r in ranks])
    ax.loglog(ranks, counts.mean(axis=1), "o-", color=color, label=f"{d} weights")
    print(f"{d:>6} weights:", " ".join(f"{c:6.0f}" for c in counts.mean(axis=1)))
ax.plot(ranks, [np.log(1e3) * (r + 2) for r in ranks], "k:", label="log(1000) (r + 2)")
ax.set(xlabel="effective rank r", ylabel="steps until the loss is a thousandth")
ax.legend(frameon=False)
figure

# %% [markdown]
# What a step has changed is a seed and a number: a tuned model is its base and 16 bytes a step. The moves undo
# themselves to the last bit, and so does the replay. The loss need not be smooth. Here it counts wrong answers of 101
# weights, which an $\varepsilon$ that flips no answer cannot see.

# %%
samples, weights = rng.standard_normal((3000, 101)).astype(np.float32), rng.standard_normal(101)
right_answer = samples @ weights + 2 * rng.standard_normal(3000) > 0


def wrong(parameters, step):
    """Share of wrong answers on a third of the samples, another one at each step."""
    which = slice(step % 2, 2000, 2)
    return float(np.mean((samples[which] @ parameters[0] > 0) != right_answer[which]))


base = 0.1 * rng.standard_normal(101).astype(np.float32)
for eps in (0.05, 1e-6):
    own = [base.copy()]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        run = ml.mezo(wrong, own, steps=1500, rate=0.1, eps=eps, directions=4, schedule="linear")
    held = np.mean((samples[2000:] @ own[0] > 0) == right_answer[2000:])
    print(f"eps {eps:g}: {held:.3f} right, {run.zeros:.0%} of the differences are zero, log of {run.log.nbytes} bytes")
    for warning in said:
        print("  warned:", warning.message)
    assert np.array_equal(ml.replay([base.copy()], run.log)[0], own[0])
    assert held > 0.7 or eps < 0.01

# %% [markdown]
# ## Four bits of a derivative
#
# The backward pass of $f$ multiplies by $f'(x)$. `ml.derivative_code` keeps an index of $b$ bits instead of $x$: levels
# by Lloyd's iteration, thresholds in $x$. $f'$ of GELU is not monotone, so that 16 levels are 20 intervals. Each bit
# halves the error of the gradient.

# %%
code = ml.derivative_code("gelu", bits=4)
grid = np.linspace(-4, 4, 2001)
figure = Figure(figsize=(9.2, 3.2), layout="constrained")
left, right = figure.subplots(1, 2)
left.plot(grid, code.decode(code.encode(grid)), color=BLUE, lw=1.5, label="4 bits")
left.plot(grid, norm.cdf(grid) + grid * norm.pdf(grid), color=RED, lw=1, label="f'")
left.set(xlabel="x", title=f"GELU: {len(code.levels)} levels, {len(code.codes)} intervals")
left.legend(frameon=False)
code_bits = (2, 3, 4, 6, 8)
for name, color in (("gelu", BLUE), ("silu", GREEN), ("tanh", RED)):
    right.semilogy(
        code_bits, [ml.derivative_code(name, b).relative_error for b in code_bits], "o-", color=color, label=name
    )
right.semilogy(code_bits, [0.5 * 2.0**-b for b in code_bits], "k:", label="a half a bit")
right.set(xlabel="bits", ylabel="relative error of f'")
right.legend(frameon=False)
figure

# %% [markdown]
# `ml.lean` patches any PyTorch module so: frozen linear layers keep no input, attention keeps 8-bit $q, k, v$ and 4
# bits of its softmax, norms and dropout keep bits. For scientific users: a network from the nine conductivities to the
# coefficients in the reduced basis, trained on a reduced model's solutions. With PyTorch it is trained here, plain and
# lean, from the same start with the same batches; without it the figures of `python -m benchmarks.lean` are shown.

# %%
STEPS = 300
if importlib.util.find_spec("torch") is not None:
    import torch

    torch.set_num_threads(1)
    mus = model.parameters.sample(2048, "random", rng=1)
    gamma = reduced.solve(mus).coefficients[:, :20]
    inputs = torch.from_numpy((mus - 0.55) / 0.45).float()
    targets = torch.from_numpy(gamma / gamma.std(axis=0)).float()

    def trained(lean):
        """Return the loss of each step, and the bytes that one keeps for the backward pass."""
        torch.manual_seed(0)
        width, gelu = 128, torch.nn.GELU
        layers = [torch.nn.Linear(9, width), gelu(), torch.nn.Linear(width, width), gelu(), torch.nn.Linear(width, 20)]
        network = torch.nn.Sequential(*layers)
        if lean:
            ml.lean(network, train="given", input_bits=8)
        optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
        losses = []
        for step in range(STEPS):
            which = torch.arange(256 * step, 256 * (step + 1)) % len(inputs)
            loss = torch.nn.functional.mse_loss(network(inputs[which]), targets[which])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return np.array(losses), sum(ml.activation_bytes(network, inputs[:256]).values())

    curves = {"plain": trained(False), "lean": trained(True)}
    ends = {name: float(np.mean(losses[-50:])) for name, (losses, _) in curves.items()}
    kept = {name: nbytes for name, (_, nbytes) in curves.items()}
else:
    surrogate = cases("lean")["surrogate 0"]
    curves = {name: (np.array(part["curve"]), part["kept"]) for name, part in surrogate.items()}
    ends = {name: part["curve"][-1] for name, part in surrogate.items()}
    kept = {name: part["kept"] for name, part in surrogate.items()}
ratio = kept["plain"] / kept["lean"]
print(f"kept for the backward pass: plain {kept['plain']} bytes, lean {kept['lean']}: {ratio:.1f} times fewer")
print(f"loss at the end: plain {ends['plain']:.4f}, lean {ends['lean']:.4f}")
assert ratio > 4
assert abs(ends["lean"] / ends["plain"] - 1) < 0.15

# %%
figure = Figure(figsize=(9.2, 3.4), layout="constrained")
left, right = figure.subplots(1, 2)
for (name, (losses, _)), color, style in zip(curves.items(), (GREY, BLUE), ("-", "--"), strict=True):
    left.semilogy(losses, style, color=color, lw=2, label=name)
left.set(xlabel="step" if len(losses) == STEPS else "forty steps", ylabel="loss", title="surrogate of a thermal block")
left.legend(frameon=False)
ways = {"full": "all weights", "bias": "biases", "codes": "biases, codes", "lean16": "lean, 16 bits",
        "lean8": "lean, 8 bits", "full_checkpointing": "checkpointing"}  # fmt: skip
step_bytes = {label: cases("lean")[f"step {way}"]["kept"] / 1e6 for way, label in ways.items()}
right.barh(list(step_bytes), list(step_bytes.values()), color=[GREY, GREY, GREEN, BLUE, BLUE, RED])
right.invert_yaxis()
right.set(xlabel="MB kept for the backward pass", title="BERT, 6 layers of 384, 8 x 128 tokens")
figure

# %% [markdown]
# Checkpointing keeps less, runs every layer twice and has the higher peak: docs/lean.md has all figures.
#
# ## Real networks
#
# Measured by `python -m benchmarks adapters` and `python -m benchmarks.mezo_memory` (hours, so that they are read from
# the results here). Left: keywords that differ in one sound, by voices that were not heard in training, told apart by a
# speech encoder; large marks are means, small ones are the seeds. Right: the memory that a training step adds to a
# language model of 134.5 million numbers.

# %%
figure = Figure(figsize=(9.6, 3.6), layout="constrained")
left, right = figure.subplots(1, 2)
runs = {}
for name, case in cases("adapters").items():
    if name.startswith("speech, run "):
        runs.setdefault(name.removeprefix("speech, run ").rpartition(" ")[0], []).append(case)
for (name, found), marker in zip(runs.items(), "osD^v<>PhXp*dH81234", strict=False):
    share, accuracy = found[0]["trained"] / found[0]["total"], [run["accuracy"] for run in found]
    print(f"{name:<26}{share:9.2%} trained, {np.mean(accuracy):.3f} right ({', '.join(f'{a:.3f}' for a in accuracy)})")
    (mean,) = left.plot(100 * share, np.mean(accuracy), marker, label=name)
    left.plot(np.full(len(accuracy), 100 * share), accuracy, marker, ms=3, alpha=0.5, color=mean.get_color())
left.set(xscale="log", xlabel="trained, % of all numbers", ylabel="accuracy, voices held out")
left.legend(fontsize=7)
memory = {}
for name, case in cases("mezo_memory").items():
    method, _, size = name.rpartition(", ")
    rows, length = map(int, size.split(" x "))
    memory.setdefault(method, []).append((rows * length, case["growth"] / 1e6))
for (method, points), color in zip(memory.items(), (GREEN, GREY, BLUE, RED), strict=False):
    tokens, megabytes = np.array(sorted(points)).T
    right.loglog(tokens, megabytes, "o-", color=color, label=method)
right.set(xlabel="tokens in a batch", ylabel="MB over the loaded model", title="SmolLM2, float32")
right.legend(frameon=False)
figure

# %% [markdown]
# What these methods reach on these tasks, with intervals, stands in docs/adapters.md, docs/mezo.md and docs/lean.md.
# That adapters equal full tuning in general, or that twelve times less memory is needed (arXiv 2210.06175, 2305.17333,
# 2503.08154), is claimed nowhere here: it depends on the task, the model and the length of a batch, as the figures
# show.
