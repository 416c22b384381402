"""Training by differences of a loss along random directions, in place, and the same training again from its log."""

from __future__ import annotations

import contextlib
import math
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lowrank.optional import require
from lowrank.progress import progress_bar
from ml.tuning.zeroth_order_arrays import Half, in_training_mode, trained_arrays
from ml.tuning.zeroth_order_files import GrowingLog, read_log
from ml.tuning.zeroth_order_log import (
    MezoLog,
    MezoSettings,
    Schedule,
    checked_settings,
    digest_of,
    directions_of,
    factors_of,
    fits_of,
)
from ml.tuning.zeroth_order_weights import Direction, Projection, Weights

__all__ = ["MezoResult", "MezoWarning", "mezo", "replay"]

#: Share of differences that are exactly zero above which a run warns, and how many of them it sees before.
MANY_ZEROS, SEEN = 0.5, 100


class MezoWarning(UserWarning):
    """A zeroth-order run that does not do what was meant."""


@dataclass(frozen=True, eq=False)
class MezoResult:
    """What a run has done; the weights are in the parameters it was given."""

    log: MezoLog  #: of all steps, with those that were replayed
    losses: np.ndarray  #: (steps - first_step,) mean loss of the evaluations of a step
    first_step: int  #: the first that was not replayed from the log of an interrupted run
    zeros: float  #: share of the differences that are exactly zero
    evaluations: int  #: of the loss
    stopped: str  #: why it ended


def mezo(
    loss: Callable[[Any, int], Any],
    parameters: Any,
    *,
    steps: int,
    rate: float,
    eps: float,
    directions: int = 1,
    rng: int | np.random.Generator = 0,
    schedule: Schedule = "constant",
    weight_decay: float = 0.0,
    projection: Projection = "full",
    keep: int = 50,
    half: Half = "refuse",
    log: str | os.PathLike[str] | None = None,
    stop: Callable[[int, float], bool] | None = None,
    progress: bool = False,
) -> MezoResult:
    """Train parameters in place by differences of a loss along random directions.

    Step s with the weights t, n directions z_k of standard normal numbers and rate_s = rate schedule(s):

        g_k = (loss(t + eps z_k) - loss(t - eps z_k)) / (2 eps)
        t <- t - rate_s (sum_k g_k z_k / n + weight_decay t)

    E g z is the gradient, up to O(eps^2); the relative error of the mean of n is ((d + 1) / n)^{1/2} for d numbers. The
    loss needs no gradient and nothing is kept for one; z is drawn anew from its seed, 65 536 numbers at a time. The
    moves undo themselves to the last bit and updates are rounded at random, on a grid of 24 bits (docs/mezo.md).

    Parameters
    ----------
    loss : (parameters, step) -> one number. It gets `parameters` as given, moved; let it take the same batch for the
        same step. PyTorch records no gradients in it. Noise that differs between the two evaluations is divided by 2
        eps
    parameters : torch.nn.Module, whose parameters with requires_grad are trained, or a list of float32 or float64
        arrays or tensors, such as a soft prompt
    rate, eps : try eps = 1e-3 and rates 1e-7 .. 1e-5 for large networks; a loss that counts answers needs an eps
        that makes some of them flip
    directions : n; more make steps of less noise, at 2 evaluations each
    rng : the seeds of all directions are drawn from it at the start
    schedule : "constant", "linear", "cosine", factors (steps,), or a function of the step
    projection : "full", or the rank r of z = U V^T / sqrt(r) for arrays with two or more axes, the first one rows
    keep : steps that V is kept
    half : of float16 and bfloat16: "refuse", or "copy": keep a single-precision copy of them
    log : file to which every step is written, 16 bytes a direction; a run that was interrupted goes on from it, given
        the weights of its start
    stop : (step, mean loss) -> whether to end after this step; not asked for steps that are replayed
    progress : show a bar

    Returns
    -------
    MezoResult

    Raises
    ------
    ValueError, TypeError
        wrong arguments; parameters that cannot be trained in place; a loss that is not finite or no number: the weights
        are then those before the step; a file that is the log of another run.
    ImportError
        tensors without PyTorch.

    Source: Malladi, Gao, Nichani, Damian, Lee, Chen, Arora, arXiv 2305.17333.

    Notes
    -----
    Cost of a step: 2 n evaluations, and 4 n - 1 times d random numbers. Warns (MezoWarning) where most differences are
    exactly zero, and where dropout or batch normalisation is in training mode. Malladi et al., Fine-tuning language
    models with just forward passes, 2023; of low rank: Chen et al., Enhancing zeroth-order fine-tuning with low-rank
    structures, 2024.

    Examples
    --------
    >>> import numpy as np
    >>> t = np.zeros(3)
    >>> run = mezo(lambda p, step: np.sum((p[0] - 1) ** 2), [t], steps=300, rate=0.1, eps=1e-3)
    >>> bool(np.all(abs(t - 1) < 1e-6)), run.log.nbytes
    (True, 4800)
    """
    settings = checked_settings(
        {"steps": steps, "rate": rate, "eps": eps, "directions": directions, "weight_decay": weight_decay,
         "schedule": schedule, "projection": projection, "keep": keep, "half": half}
    )  # fmt: skip
    arrays, source = trained_arrays(parameters, half)
    if part := in_training_mode(parameters):
        warnings.warn(
            f"{part} is in training mode: the two losses of a step then differ by more than the move; module.eval()",
            MezoWarning, stacklevel=2,
        )  # fmt: skip
    fits = fits_of(arrays, source)
    draw = np.random.default_rng(rng)
    seeds = draw.integers(0, np.iinfo(np.uint64).max, (settings.steps, settings.directions), np.uint64, endpoint=True)
    weights = Weights(arrays, source, settings.eps, settings.projection)  # refuses, before a file is written
    file = None if log is None else GrowingLog(log, settings, fits, seeds)
    known = np.empty((0, settings.directions)) if file is None else file.gradients
    run = _Run(loss, parameters, settings, seeds, weights, file, stop)
    with weights.interrupts:
        weights.to_grid()
        run.replayed(known)
        stopped = run.rest(progress)
    fits = replace(fits, end=digest_of(arrays), end_steps=len(run.gradients))
    if file is not None:
        file.finish(fits)
    done = MezoLog(settings, fits, seeds[: len(run.gradients)], np.array(run.gradients))
    run.warn_of_zeros(at_the_end=True)
    evaluations = 2 * settings.directions * (done.steps - len(known))
    return MezoResult(done, np.array(run.losses), len(known), done.zeros, evaluations, stopped)


def replay(parameters: Any, log: MezoLog | str | os.PathLike[str], *, steps: int | None = None) -> Any:
    """Bring parameters from the start of a run to its end, in place, from its log alone; return them.

    The weights are those of the run to the last bit. No loss is evaluated: a step costs 2 n d random numbers.

    parameters : as in :func:`mezo`, with the weights that the run started from
    log : a MezoLog, a file of :func:`ml.save_mezo_log`, or the file that a run writes, also of one that goes on
    steps : only so many of the log

    Raises ValueError, which says what differs, where the log does not fit the parameters, and for more steps than it
    has; FileFormatError for a file that is damaged. Warns (MezoWarning) where the weights at the end are not those of
    the run: random numbers of another version of NumPy or PyTorch, or another kind of device.
    """
    found = log if isinstance(log, MezoLog) else read_log(log)
    count = found.steps if steps is None else steps
    if not 0 <= count <= found.steps:
        raise ValueError(f"the log has {found.steps} steps, {steps} are asked for")
    settings = found.settings
    arrays, source = trained_arrays(parameters, settings.half)
    found.fits.refuse_others(arrays, source)
    weights = Weights(arrays, source, settings.eps, settings.projection)
    run = _Run(_no_loss, parameters, settings, found.seeds, weights, None, None)
    with weights.interrupts:
        weights.to_grid()
        run.replayed(found.gradients[:count])
    if found.fits.end and found.fits.end_steps == count and digest_of(arrays) != found.fits.end:
        warnings.warn(
            "the replayed weights are not those of the run (their SHA-256 differs): its random numbers were "
            "those of another "
            "version or device",
            MezoWarning, stacklevel=2,
        )  # fmt: skip
    return parameters


class _Run:
    """The loop over the steps."""

    def __init__(
        self, loss: Callable[[Any, int], Any], parameters: Any, settings: MezoSettings, seeds: np.ndarray,
        weights: Weights, file: GrowingLog | None, stop: Callable[[int, float], bool] | None,
    ) -> None:  # fmt: skip
        self.loss, self.parameters, self.settings, self.seeds = loss, parameters, settings, seeds
        self.weights, self.file, self.stop = weights, file, stop
        self.rates = settings.rates()
        self.gradients: list[np.ndarray] = []
        self.losses: list[float] = []
        self.warned = False

    def replayed(self, gradients: np.ndarray) -> None:
        """Do steps whose differences are known."""
        for g in gradients:
            self._update(len(self.gradients), g)
            self.gradients.append(g)

    def rest(self, progress: bool) -> str:
        """Do the other steps; return why they ended."""
        with (
            _without_gradients(self.parameters),
            progress_bar(range(len(self.gradients), self.settings.steps), "training", enabled=progress) as bar,
        ):
            for step in bar:
                try:
                    g, mean = self._differences(step)
                    if self.file is not None:
                        self.file.append(self.seeds[step], g)
                    self._update(step, g)
                except BaseException:  # of the loss, of the file, Ctrl-C: between any two lines
                    self.weights.back()
                    raise
                self.gradients.append(g)
                self.losses.append(mean)
                self.warn_of_zeros()
                bar.set_postfix_str(f"loss {mean:.4g}")
                if self.stop is not None and self.stop(step, mean):
                    return f"stop() was true after step {step}"
        return "all steps are done"

    def warn_of_zeros(self, at_the_end: bool = False) -> None:
        """Warn once where most differences are zero."""
        count = len(self.gradients) * self.settings.directions
        if self.warned or not (count == SEEN or (count > SEEN and not len(self.gradients) % 100) or at_the_end):
            return
        zeros = float(np.mean(np.array(self.gradients) == 0)) if count else 0.0
        if zeros > MANY_ZEROS:
            self.warned = True
            warnings.warn(
                f"{zeros:.0%} of {count} differences of the loss are exactly zero, and nothing is learned from these: "
                f"eps={self.settings.eps:g} must be so large that answers flip (or numbers of the loss change)",
                MezoWarning, stacklevel=3 if at_the_end else 4,
            )  # fmt: skip

    def _differences(self, step: int) -> tuple[np.ndarray, float]:
        """Return g (directions,) and the mean loss; the weights stand at t - eps z of the last direction then."""
        directions = directions_of(self.seeds, step, self.settings.keep)
        values = np.empty((len(directions), 2))
        for k, direction in enumerate(directions):
            for j, sign in enumerate((1, -1)):
                self.weights.move(direction, sign)
                values[k, j] = self._value(step, k, sign)
            if k < len(directions) - 1:
                self.weights.move(direction, 0)
        with np.errstate(over="ignore"):
            g, mean = (values[:, 0] - values[:, 1]) / (2 * self.settings.eps), float(values.mean())
        if not (np.all(np.isfinite(g)) and math.isfinite(mean)):
            raise ValueError(f"the losses {values.tolist()} at step {step} are too large for a difference over 2 eps")
        return g, mean

    def _value(self, step: int, k: int, sign: int) -> float:
        found = self.loss(self.parameters, step)
        where = f"at step {step}, direction {k}, {'+' if sign > 0 else '-'} eps"
        try:
            value = float(found)
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(f"the loss must be one number, got {type(found).__name__} {where} ({error})") from error
        if not math.isfinite(value):
            raise ValueError(
                f"the loss is {value} {where}; the weights are those before the step. Take a smaller rate or eps, "
                "or mend the loss"
            )
        return value

    def _update(self, step: int, g: np.ndarray) -> None:
        directions: list[Direction] = directions_of(self.seeds, step, self.settings.keep)
        rate = float(self.rates[step])
        factors = factors_of(self.settings, rate, g)
        self.weights.update(directions, factors, rate * self.settings.weight_decay, int(self.seeds[step, 0]))


def _no_loss(parameters: Any, step: int) -> float:
    raise AssertionError("a replay evaluates no loss")


def _without_gradients(parameters: Any) -> Any:
    """Return torch.no_grad() for tensors and modules: PyTorch would keep activations."""
    if hasattr(parameters, "named_parameters") or hasattr(parameters[0], "detach"):
        return require("torch", "torch", "ml.mezo", "ml").no_grad()
    return contextlib.nullcontext()
