"""The ways to train that the study of adapters compares, and how much of it is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["METHODS", "SMALL", "TASKS", "WHOLE", "Method", "Sizes"]

#: Tasks, and what the rates below are multiplied with: the speech encoder was never trained to tell words apart.
TASKS = {"speech": 2.0, "reviews": 1.0}

#: Roles of all linear layers.
EVERY = ["query", "key", "value", "out", "up", "down"]


@dataclass(frozen=True)
class Method:
    """A way to train the network, with the two learning rates that it may choose from."""

    name: str
    kind: str | None  #: of an adapter; None trains all
    options: Mapping[str, Any]
    rates: tuple[float, float]
    tasks: tuple[str, ...] = tuple(TASKS)
    train: tuple[str, ...] = ()  #: what is trained as well, beside the head

    def seeds(self, sizes: Sizes) -> int:
        """Return how many times it is run."""
        return sizes.most if self.name in MOST else sizes.seeds


#: Those that are run with the most seeds.
MOST = (
    *("all weights", "lora 24, all layers", "lora 21, all layers, and more", "bottleneck 80, parallel, and more"),
    *("biases, norms, convolutions", "lora, rank 8", "bottleneck 32, two", "bottleneck 32, one", "head alone"),
)
#: What of the speech encoder is trained as well, 1.8 %: biases, normalisations, the first convolution, positions.
MORE = ("*.bias", "*norm*", "encoder.conv1", "encoder.embed_positions")
#: Those that say most come first, with the most seeds. Ranks, scales and what is trained as well of the first four on
#: speech were chosen among eighteen, by voices of the training set; everything else was set before anything was run.
METHODS = (
    Method("all weights", None, {}, (5e-5, 1e-4), ("speech",)),
    Method("all weights", None, {}, (5e-5, 2e-4), ("reviews",)),
    Method("lora 24, all layers", "lora", {"rank": 24, "alpha": 48, "targets": EVERY}, (5e-4, 1e-3)),
    Method(
        "lora 21, all layers, and more",
        "lora",
        {"rank": 21, "alpha": 42, "targets": EVERY},
        (2.5e-4, 5e-4),
        ("speech",),
        MORE,
    ),
    Method(
        "bottleneck 80, parallel, and more",
        "bottleneck",
        {"rank": 80, "parallel": True, "scale": 4.0},
        (2.5e-4, 5e-4),
        ("speech",),
        MORE,
    ),
    Method("bottleneck 80, two, and more", "bottleneck", {"rank": 80}, (2.5e-4, 5e-4), ("speech",), MORE),
    Method("biases, norms, convolutions", "bitfit", {}, (5e-4, 1e-3), ("speech",), (*MORE[1:], "encoder.conv2")),
    Method(
        "bottleneck 96, parallel",
        "bottleneck",
        {"rank": 96, "parallel": True, "scale": 4.0},
        (5e-4, 1e-3),
        ("reviews",),
    ),
    Method("lora, rank 8", "lora", {"rank": 8, "alpha": 16}, (5e-4, 2e-3)),
    Method("bottleneck 32, two", "bottleneck", {"rank": 32}, (5e-4, 2e-3)),
    Method("head alone", "head", {}, (3e-3, 2e-2)),
    Method("bottleneck 32, one", "bottleneck", {"rank": 32, "after": ["feed_forward"]}, (5e-4, 2e-3)),
    Method("biases", "bitfit", {}, (1e-3, 5e-3)),
    Method("normalisations", "norms", {}, (1e-3, 5e-3)),
    Method("ia3", "ia3", {}, (3e-3, 1.5e-2)),
    Method("adapter bias", "adapter_bias", {}, (2e-3, 1e-2)),
    Method("prefix 16", "prefix", {"length": 16}, (2e-3, 1e-2)),
    Method("convolution", "convolution", {}, (5e-4, 2e-3), ("speech",)),
    Method("weighted sum", "weighted_sum", {}, (3e-3, 2e-2)),
)


@dataclass(frozen=True)
class Sizes:
    """How much is trained and asked."""

    steps: int  #: for every method
    trial: int  #: steps with each of the two rates
    seeds: int
    most: int  #: seeds of those in MOST
    validation: int  #: samples that the rate is chosen by, not trained on
    held_out: int  #: that the table is about
    batch_size: int
    training: int | None = None  #: clips of speech, those of the validation included; None: all sentences
    digits: int = 0  #: steps of the runs whose digits are those of a human speaker


WHOLE = {
    "speech": Sizes(2400, 600, 3, 5, 600, 4200, 16, 6000, digits=200),
    "reviews": Sizes(320, 80, 5, 5, 1000, 2600, 32),
}
#: What ``rbm study adapters`` takes: an hour and a half on one core.
SMALL = {
    "speech": Sizes(200, 25, 1, 1, 300, 1500, 16, 3000, digits=100),
    "reviews": Sizes(100, 25, 1, 1, 400, 1500, 32),
}
