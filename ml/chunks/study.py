"""The study ``rbm study chunks``: chunks of actions as tokens, beside other codes of as many bits, and on a robot."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lowrank.optional import require
from ml.chunks import cases
from ml.chunks.kept_cases import KeptCases, chosen_sizes
from ml.chunks.quadruped import INSTALL

__all__ = ["SMALL", "WHOLE", "Sizes", "measure", "report", "run"]


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    spreads: tuple[float, ...] = (0.05, 0.1, 0.25)  #: how different the gaits are
    resamples: int = 6  #: draws of gaits, for the fit and for the errors
    gaits: int = 120  #: of the fit, 30 chunks each
    held_out: int = 40
    families: tuple[str, ...] = ("trot", "walk", "pace", "bound")  #: that are tuned and walk
    rounds: int = 14  #: of tuning
    population: int = 24
    seeds: int = 200  #: walks with every gait and method
    demonstrations: int = 240
    trainings: int = 3  #: of convolutional codes, at the second spread; 0 without PyTorch
    epochs: int = 30


WHOLE = Sizes()
#: How families are tuned whose gaits are irregular otherwise: longer, and for a small deviation between starts.
LONGER = {"bound": {"rounds": 30, "population": 24, "starts": 4, "penalty": 1.0}}
#: What ``rbm study chunks`` takes, in some minutes.
SMALL = Sizes(spreads=(0.05, 0.25), resamples=3, families=("trot",), seeds=20, demonstrations=120, trainings=0)
#: What `size` names.
SIZES = {"small": SMALL, "whole": WHOLE}


def run(
    name: str,
    out: Path,
    tol: float | None = None,
    *,
    sizes: Sizes | None = None,
    size: str | None = None,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Run the study, and write cases.json, summary.json and the figure errors (png and pdf) to the folder `out`.

    Each case is kept when it is done: a run that was stopped goes on from there. Without dm_control the walks are left
    out, and the line that installs it is said. Takes 5 to 10 minutes on one core, 3 without walks.

    size : "small", as by default, or "whole", the sizes SMALL and WHOLE, where none are given.

    Raises ValueError where `tol` is given: there is no tolerance here.
    """
    if tol is not None:
        raise ValueError(f"the study {name!r} has no tolerance, got tol={tol}: leave it out")
    sizes = chosen_sizes(size, SIZES) if sizes is None else sizes
    out.mkdir(parents=True, exist_ok=True)
    say("Chunks of 10 actions of a robot with 12 joints, as tokens")
    kept = KeptCases(out / "cases.json")
    summary = measure(kept, sizes, say)
    say(report(summary))
    with kept.phases("figures"):
        _figure(summary, out / "errors")
    kept.write_summary(summary, out, say)
    say(f"cases.json, summary.json and errors.png are in {out}")
    return summary


def measure(kept: KeptCases, sizes: Sizes, say: Callable[[str], None]) -> dict[str, Any]:
    """Return the results of all cases: those that are kept, and the others, which are measured now."""
    summary: dict[str, Any] = {"errors": {}}
    for spread in sizes.spreads:
        draws = []
        for seed in range(sizes.resamples):
            settings: dict[str, Any] = {
                "spread": spread,
                "seed": seed,
                "gaits": sizes.gaits,
                "held_out": sizes.held_out,
            }
            draws.append(kept.case(f"errors {spread} {seed}", settings, lambda s=settings: cases.errors(**s)))  # type: ignore[misc]
            say(f"  errors of codes: spread {spread}, draw {seed + 1} of {sizes.resamples}")
        summary["errors"][str(spread)] = {
            method: {bits: cases.interval([d[method][bits] for d in draws]) for bits in draws[0][method]}
            for method in draws[0]
        }
    if sizes.trainings and importlib.util.find_spec("torch") is not None:
        summary["convolutional"] = _convolutional(kept, sizes, say)
    summary["encoder"] = kept.case("encoder", {"clock": "CPU", "runs": 20}, cases.encoder_times)
    summary["clock"] = kept.case("clock", {}, cases.clock)
    if importlib.util.find_spec("dm_control") is None:
        summary["walks"] = {"missing": f"pip install {INSTALL}"}
        return summary
    tuning = {"rounds": sizes.rounds, "population": sizes.population}
    found = {}
    for name in sizes.families:
        how = LONGER.get(name, tuning)
        found[name] = kept.case(f"tuned {name}", how, lambda n=name, h=how: cases.tuned(n, h, say))  # type: ignore[misc]
    summary["tuned"] = found
    gaits = {name: cases.gait_from(result, name) for name, result in found.items()}
    settings = {"gaits": {n: r["vector"] for n, r in found.items()}}
    settings |= {"seeds": sizes.seeds, "demonstrations": sizes.demonstrations}
    summary["walks"] = {"gaits": {}}
    for name in sizes.families:
        say(f"  {name}: {sizes.seeds} starts")
        summary["walks"]["gaits"][name] = kept.case(
            f"walks {name}",
            settings,
            lambda n=name: cases.walks(gaits, n, sizes.seeds, demonstrations=sizes.demonstrations),  # type: ignore[misc]
        )["methods"]
    return summary


def _convolutional(kept: KeptCases, sizes: Sizes, say: Callable[[str], None]) -> dict[str, Any]:
    draws = []
    for seed in range(sizes.trainings):
        settings: dict[str, Any] = {"spread": sizes.spreads[1], "seed": seed, "gaits": sizes.gaits}
        settings |= {"held_out": sizes.held_out, "epochs": sizes.epochs}
        name = f"convolutional {sizes.spreads[1]} {seed}"
        draws.append(kept.case(name, settings, lambda s=settings: cases.convolutional_errors(**s)))  # type: ignore[misc]
        say(f"  convolutional codes: draw {seed + 1} of {sizes.trainings}")
    return {m: {b: cases.interval([d[m][b] for d in draws]) for b in draws[0][m]} for m in draws[0]}


def report(summary: Mapping[str, Any]) -> str:
    """Return the tables of a summary as text."""
    return "\n\n".join(
        part
        for part in (
            _errors(summary),
            _learnt(summary),
            _encoder(summary["encoder"]),
            _clock(summary["clock"]),
            _walks(summary),
        )
        if part
    )


def _errors(summary: Mapping[str, Any]) -> str:
    lines = ["Relative error of chunks of other gaits, mean +- half a 95 % interval over draws of gaits"]
    lines.append(f"{'spread':<8}{'bits':>5}{'tokens':>18}{'POD, bits allocated':>22}{'POD, Lloyd levels':>20}")

    def shown(pair: Any) -> str:
        return f"{pair[0]:.4f}" + ("" if pair[1] is None or math.isnan(pair[1]) else f" +- {pair[1]:.4f}")

    for spread, methods in summary["errors"].items():
        for bits in cases.BITS:
            cells = [shown(methods[m][str(bits)]) for m in ("residual", "pod", "pod_lloyd")]
            lines.append(f"{spread:<8}{bits:>5}{cells[0]:>18}{cells[1]:>22}{cells[2]:>20}")
        bins = ", ".join(f"{b} bits each ({120 * int(b)}): {pair[0]:.4f}" for b, pair in methods["bins"].items())
        lines.append(f"{'':<8}bins of single numbers, 120 tokens: {bins}")
    lines.append("tokens: 1 to 4 of 256 codes, and 4 of 512.  POD: see ml/chunks/scalar_codes.py")
    return "\n".join(lines)


def _learnt(summary: Mapping[str, Any]) -> str:
    if "convolutional" not in summary:
        return ""
    lines = ["Convolutional encoder and decoder around the codes: relative error of chunks of other gaits"]
    for method, per in summary["convolutional"].items():
        cells = ", ".join(f"{b} bits {p[0]:.4f} +- {p[1]:.4f}" for b, p in per.items())
        lines.append(f"  {'without' if method == 'residual' else 'with':<8}{cells}")
    return "\n".join(lines)


def _encoder(result: Mapping[str, Any]) -> str:
    lines = ["CPU microseconds a chunk, 4 tokens of 256 codes, the best of 20 runs in turns"]
    lines += [f"  {name:<32}{us:>10.1f}" for name, us in result["microseconds"].items()]
    if "equal tokens" in result:
        lines.append(f"  {100 * result['equal tokens']:.4g} % of scikit-learn's tokens equal ours")
    return "\n".join(lines)


def _clock(result: Mapping[str, Any]) -> str:
    m = result["measured"]
    return (
        f"The clock, by calculation:\n{result['report']['text']}\nMeasured, with a model that sleeps "
        f"{1e3 * m['model_seconds']:.4g} ms: {m['missed']} of {m['ticks']} ticks missed; an action came "
        f"{m['median_action_ms']:.2g} ms after its time, the latest {m['latest_action_ms']:.2g} ms."
    )


def _walks(summary: Mapping[str, Any]) -> str:
    walks = summary["walks"]
    if "missing" in walks:
        return f"The robot does not walk: dm_control is not installed; {walks['missing']}"
    lines = ["Metres in 5 s, steered, mean +- half a 95 % interval over starts; ratio to the commands, with interval"]
    for name, methods in walks["gaits"].items():
        for method, row in methods.items():
            ratio = "" if row["ratio"] is None else "{:.3f} ({:.3f} to {:.3f})".format(*row["ratio"])
            lines.append(
                f"  {name:<7}{method:<10}{row['mean']:>7.3f} +- {row['half_width']:.3f}  {ratio:<24} error of commands "
                f"{row['command_error']:.3f}"
            )
    return "\n".join(lines)


def _figure(summary: Mapping[str, Any], path: Path) -> None:
    """Draw errors over bits, a panel for each spread, to png and pdf."""
    figure_class = require("matplotlib.figure", "matplotlib", "the figure of a study").Figure
    spreads = list(summary["errors"])
    figure = figure_class(figsize=(3.4 * len(spreads), 3.2), layout="constrained")
    for k, spread in enumerate(spreads):
        ax = figure.add_subplot(1, len(spreads), k + 1)
        for method, label in (
            ("residual", "tokens"),
            ("pod", "POD, bits allocated"),
            ("pod_lloyd", "POD, Lloyd levels"),
        ):
            pairs = [summary["errors"][spread][method][str(b)] for b in cases.BITS]
            widths = [0.0 if p[1] is None or math.isnan(p[1]) else p[1] for p in pairs]
            ax.errorbar(cases.BITS, [p[0] for p in pairs], widths, marker="o", ms=3, capsize=2, label=label)
        ax.set_yscale("log")
        ax.set_xlabel("bits of a chunk")
        ax.set_title(f"spread {spread}", fontsize=9)
        if not k:
            ax.set_ylabel("relative error")
            ax.legend(fontsize=7)
    for suffix in (".png", ".pdf"):
        figure.savefig(path.with_suffix(suffix), dpi=150)
