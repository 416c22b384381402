"""How many parameters an ALBERT model has, and where."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import Literal

__all__ = ["ALBERT_SIZES", "AlbertConfig", "ParameterCount", "albert_parameter_count", "parameter_shapes"]

#: Weights of a block that sharing "attention" shares; sharing "ffn" shares the others.
ATTENTION = ("query", "key", "value", "dense")


@dataclass(frozen=True)
class AlbertConfig:
    """The sizes of an ALBERT or BERT encoder; ALBERT-base by default.

    Raises
    ------
    ValueError
        sizes that are not positive integers, heads that do not divide the width, an unknown kind of sharing.

    Source: Lan and others, arXiv 1909.11942.

    Examples
    --------
    >>> AlbertConfig(embedding=None, sharing="none") == AlbertConfig(embedding=None, sharing="none", hidden=768)
    True
    """

    vocabulary: int = 30000  #: V
    #: E, the rank of the token table; None: a dense table (V, H) without projection, as in BERT
    embedding: int | None = 128
    hidden: int = 768  #: H
    layers: int = 12  #: L
    heads: int = 12
    positions: int = 512
    segments: int = 2
    feed_forward: int | None = None  #: F; None for 4 H
    sharing: Literal["all", "attention", "ffn", "none"] = "all"  #: which part of the block all layers have in common

    def __post_init__(self) -> None:
        for name in ("vocabulary", "embedding", "hidden", "layers", "heads", "positions", "segments", "feed_forward"):
            value = getattr(self, name)
            if value is None and name in ("embedding", "feed_forward"):
                continue
            try:
                number = 0 if isinstance(value, bool) else operator.index(value)
            except TypeError:
                number = 0
            if number < 1:
                raise ValueError(f"{name} must be a positive integer, got {value!r}")
            object.__setattr__(self, name, number)
        if self.hidden % self.heads:
            raise ValueError(f"heads must divide the width {self.hidden}, got {self.heads}")
        if self.sharing not in ("all", "attention", "ffn", "none"):
            raise ValueError(f"sharing must be 'all', 'attention', 'ffn' or 'none', got {self.sharing!r}")

    @property
    def embedding_width(self) -> int:
        """Width of the tables of tokens, positions and segments: E, or H if they are dense."""
        return self.hidden if self.embedding is None else self.embedding

    @property
    def feed_forward_width(self) -> int:
        """Width F of the feed-forward layer."""
        return 4 * self.hidden if self.feed_forward is None else self.feed_forward

    def copies(self, part: Literal["attention", "ffn"]) -> int:
        """Return how many sets of weights of that part of the block there are: 1 or L."""
        return 1 if self.sharing in ("all", part) else self.layers


#: The four models of Lan et al., ICLR 2020.
ALBERT_SIZES = {
    "base": AlbertConfig(),
    "large": AlbertConfig(hidden=1024, layers=24, heads=16),
    "xlarge": AlbertConfig(hidden=2048, layers=24, heads=16),
    "xxlarge": AlbertConfig(hidden=4096, layers=12, heads=64),
}


def parameter_shapes(config: AlbertConfig, *, heads: bool = False) -> dict[str, tuple[int, ...]]:
    """Return the shape of every weight, under the names of transformers' AlbertModel.

    There, several groups of layers are several copies of the whole block; where only one part of it is shared, the
    other part's copies stand under groups 0 .. L-1 and the shared one under group 0.

    Parameters
    ----------
    heads : the masked-LM and sentence-order heads, too; the former's output matrix is the token table

    Examples
    --------
    >>> parameter_shapes(AlbertConfig())["encoder.embedding_hidden_mapping_in.weight"]
    (768, 128)
    """
    e, h, f = config.embedding_width, config.hidden, config.feed_forward_width
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (config.vocabulary, e),
        "embeddings.position_embeddings.weight": (config.positions, e),
        "embeddings.token_type_embeddings.weight": (config.segments, e),
        **_normalisation("embeddings.LayerNorm", e),
    }
    if config.embedding is not None:
        shapes |= _linear("encoder.embedding_hidden_mapping_in", e, h)
    for group in range(config.copies("attention")):
        block = f"encoder.albert_layer_groups.{group}.albert_layers.0."
        for name in ATTENTION:
            shapes |= _linear(f"{block}attention.{name}", h, h)
        shapes |= _normalisation(f"{block}attention.LayerNorm", h)
    for group in range(config.copies("ffn")):
        block = f"encoder.albert_layer_groups.{group}.albert_layers.0."
        shapes |= _linear(f"{block}ffn", h, f) | _linear(f"{block}ffn_output", f, h)
        shapes |= _normalisation(f"{block}full_layer_layer_norm", h)
    shapes |= _linear("pooler", h, h)
    if heads:
        shapes |= _linear("predictions.dense", h, e) | _normalisation("predictions.LayerNorm", e)
        shapes |= {"predictions.bias": (config.vocabulary,)} | _linear("sop_classifier.classifier", h, 2)
    return shapes


def _linear(name: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _normalisation(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


@dataclass(frozen=True)
class ParameterCount:
    """Result of :func:`albert_parameter_count`: numbers by component, in the order of the computation."""

    components: dict[str, int]

    @property
    def total(self) -> int:
        """The sum of all components."""
        return sum(self.components.values())

    def __repr__(self) -> str:
        lines = [*self.components.items(), ("total", self.total)]
        return "\n".join(f"{name:<24}{count:>15,}{count / self.total:>8.1%}" for name, count in lines)


def albert_parameter_count(config: AlbertConfig | str, *, heads: bool = False) -> ParameterCount:
    """Count the parameters by component; what several layers share is counted once.

    With E = embedding, H = hidden, F = feed_forward and copies n_a, n_f in {1, L}:
    token table V E, positions and segments (positions + segments) E + 2 E with the normalisation, projection E H + H,
    attention n_a (4 (H^2 + H) + 2 H), feed-forward n_f (2 H F + F + H + 2 H), pooler H^2 + H,
    heads (H E + E + 2 E + V) + (2 H + 2).

    Parameters
    ----------
    config : the sizes, or a name of ALBERT_SIZES ("base", ...)
    heads : count the masked-LM and sentence-order heads, too

    Raises
    ------
    ValueError
        a name that is not in ALBERT_SIZES.

    Source: Lan and others, arXiv 1909.11942.

    Notes
    -----
    Equal to transformers' models to the last parameter. The ALBERT paper has 235M for xxlarge, which neither gives
    (222.6M), and its counts for E = 768 leave out the projection, which `embedding=None` does.

    Examples
    --------
    >>> albert_parameter_count(AlbertConfig())
    token table                   3,840,000   32.9%
    positions, segments              66,048    0.6%
    projection                       99,072    0.8%
    attention                     2,363,904   20.2%
    feed-forward                  4,723,968   40.4%
    pooler                          590,592    5.1%
    total                        11,683,584  100.0%
    """
    if isinstance(config, str):
        if config not in ALBERT_SIZES:
            raise ValueError(f"the sizes are {', '.join(ALBERT_SIZES)}, got {config!r}")
        config = ALBERT_SIZES[config]
    components: dict[str, int] = {}
    for name, shape in parameter_shapes(config, heads=heads).items():
        component = _component(name)
        components[component] = components.get(component, 0) + math.prod(shape)
    return ParameterCount(components)


def _component(name: str) -> str:
    if name.startswith("embeddings."):
        return "token table" if "word" in name else "positions, segments"
    if name.startswith("encoder."):
        if "mapping_in" in name:
            return "projection"
        return "attention" if ".attention." in name else "feed-forward"
    return "pooler" if name.startswith("pooler") else "heads"
