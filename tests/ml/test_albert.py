"""The ALBERT encoder.

Its counts by closed formula and by transformers, and the same hidden states with the same weights.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ml import ALBERT_SIZES, AlbertConfig, FactorizedEmbedding, albert_parameter_count, albert_state_dict, to_torch
from ml.albert import embed, hidden_states, initial_weights, order_logits, token_logits

SMALL = AlbertConfig(vocabulary=50, embedding=8, hidden=24, layers=3, heads=4, positions=16)


def closed_formula(v: int, e: int | None, h: int, layers: int, sharing: str) -> int:
    """Positions 512, segments 2, feed-forward 4 H, with pooler."""
    width = h if e is None else e
    attention, ffn = 4 * (h * h + h) + 2 * h, 8 * h * h + 5 * h + 2 * h
    n_attention = 1 if sharing in ("all", "attention") else layers
    n_ffn = 1 if sharing in ("all", "ffn") else layers
    projection = 0 if e is None else e * h + h
    return (v + 514) * width + 2 * width + projection + n_attention * attention + n_ffn * ffn + h * h + h


@pytest.mark.parametrize("size", list(ALBERT_SIZES))
@pytest.mark.parametrize("embedding", [64, 128, None])
@pytest.mark.parametrize("sharing", ["all", "attention", "ffn", "none"])
def test_counts_are_those_of_the_closed_formula(size, embedding, sharing):
    of_size = ALBERT_SIZES[size]
    config = AlbertConfig(
        embedding=embedding, hidden=of_size.hidden, layers=of_size.layers, heads=of_size.heads, sharing=sharing
    )
    assert albert_parameter_count(config).total == closed_formula(
        30000, embedding, config.hidden, config.layers, sharing
    )


@pytest.mark.parametrize(
    ("size", "factorised", "dense", "not_shared", "bert"),
    [
        ("base", 11_683_584, 31.1, 89.7, 109.1),
        ("large", 17_683_968, 44.9, 307.4, 334.6),
        ("xlarge", 58_724_864, 117.1, 1217.0, 1275.3),
        ("xxlarge", 222_595_584, 343.2, 2437.8, 2558.3),
    ],
)
def test_what_factorising_and_sharing_save(size, factorised, dense, not_shared, bert):
    config = ALBERT_SIZES[size]
    sizes = {"hidden": config.hidden, "layers": config.layers, "heads": config.heads}
    assert albert_parameter_count(config).total == factorised
    for other, millions in (
        (AlbertConfig(embedding=None, **sizes), dense),
        (AlbertConfig(sharing="none", **sizes), not_shared),
        (AlbertConfig(embedding=None, sharing="none", **sizes), bert),
    ):
        assert round(albert_parameter_count(other).total / 1e6, 1) == millions


@pytest.mark.parametrize(
    ("embedding", "sharing", "millions"),
    [
        (64, "none", 87.6),
        (128, "none", 89.7),
        (256, "none", 93.7),
        (None, "none", 109.1),
        (64, "all", 9.7),
        (128, "all", 11.7),
        (256, "all", 15.7),
        (None, "all", 31.1),
        (128, "attention", 63.6),
        (128, "ffn", 37.7),
    ],
)
def test_the_sizes_of_the_ablations(embedding, sharing, millions):
    assert round(albert_parameter_count(AlbertConfig(embedding=embedding, sharing=sharing)).total / 1e6, 1) == millions


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layers": 0}, "layers must be a positive integer, got 0"),
        ({"embedding": 1.5}, "embedding must be a positive integer, got 1.5"),
        ({"hidden": None}, "hidden must be a positive integer, got None"),
        ({"heads": 5}, "heads must divide the width 768, got 5"),
        ({"sharing": "some"}, "sharing must be .* got 'some'"),
    ],
)
def test_wrong_sizes_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        AlbertConfig(**arguments)


# against transformers


def reference_config(config: AlbertConfig) -> Any:
    transformers = pytest.importorskip("transformers")
    return transformers.AlbertConfig(
        vocab_size=config.vocabulary,
        embedding_size=config.embedding_width,
        hidden_size=config.hidden,
        num_hidden_layers=config.layers,
        num_hidden_groups=config.copies("ffn"),
        num_attention_heads=config.heads,
        intermediate_size=config.feed_forward_width,
        max_position_embeddings=config.positions,
        type_vocab_size=config.segments,
        pad_token_id=0,
    )


@pytest.mark.parametrize("size", list(ALBERT_SIZES))
@pytest.mark.parametrize("sharing", ["all", "none"])
def test_counts_are_those_of_transformers(size, sharing):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    of_size = ALBERT_SIZES[size]
    config = AlbertConfig(hidden=of_size.hidden, layers=of_size.layers, heads=of_size.heads, sharing=sharing)
    with torch.device("meta"):
        model = transformers.AlbertModel(reference_config(config))
        whole = transformers.AlbertForPreTraining(reference_config(config)) if sharing == "all" else None
        bert = (
            transformers.BertModel(
                transformers.BertConfig(
                    vocab_size=30000,
                    hidden_size=of_size.hidden,
                    num_hidden_layers=of_size.layers,
                    num_attention_heads=of_size.heads,
                    intermediate_size=4 * of_size.hidden,
                )
            )
            if sharing == "none"
            else None
        )
    assert sum(p.numel() for p in model.parameters()) == albert_parameter_count(config).total
    if whole is not None:
        whole.tie_weights()
        assert sum(p.numel() for p in whole.parameters()) == albert_parameter_count(config, heads=True).total
    if bert is not None:
        dense = AlbertConfig(
            embedding=None, hidden=of_size.hidden, layers=of_size.layers, heads=of_size.heads, sharing="none"
        )
        assert sum(p.numel() for p in bert.parameters()) == albert_parameter_count(dense).total


def batch(config: AlbertConfig) -> tuple[Any, Any, Any]:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    ids = torch.from_numpy(rng.integers(1, config.vocabulary, (4, 11)))
    segments = torch.from_numpy((np.arange(11) > rng.integers(2, 9, (4, 1))).astype(np.int64))
    mask = torch.from_numpy((np.arange(11) < np.array([[11], [7], [3], [11]])).astype(np.int64))
    return ids, segments, mask


def perturbed(config: AlbertConfig) -> dict[str, Any]:
    """Weights without zeros and ones, in double precision."""
    torch = pytest.importorskip("torch")
    weights = initial_weights(config, rng=1, dtype=np.float64)
    rng = np.random.default_rng(2)
    for w in weights.values():
        w.data += 0.1 * torch.from_numpy(rng.standard_normal(tuple(w.shape)))
    return weights


@pytest.mark.parametrize("sharing", ["all", "none"])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("embedding", [8, 128])
def test_hidden_states_and_logits_are_those_of_transformers(sharing, padded, embedding):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    config = AlbertConfig(
        vocabulary=50, embedding=embedding, hidden=24, layers=3, heads=4, positions=16, sharing=sharing
    )
    weights = perturbed(config)
    model = transformers.AlbertForPreTraining(reference_config(config)).double().eval()
    names = {n if n.startswith(("predictions", "sop")) else f"albert.{n}": w.data for n, w in weights.items()}
    names["predictions.decoder.weight"] = names["albert.embeddings.word_embeddings.weight"]
    names["predictions.decoder.bias"] = names["predictions.bias"]
    model.load_state_dict(names)
    ids, segments, mask = batch(config)
    asked = mask if padded else torch.ones_like(mask)
    with torch.no_grad():
        expected = model(ids, token_type_ids=segments, attention_mask=asked, output_hidden_states=True)
        h = hidden_states(weights, config, ids, segments, asked if padded else None)
        first = embed(weights, config, ids, segments)
    tolerance = 1e4 * np.finfo(float).eps
    kept = asked.bool()
    for found, known in ((first, expected.hidden_states[0]), (h[kept], expected.hidden_states[-1][kept])):
        assert float((found - known).abs().max()) <= tolerance * float(known.abs().max())
    logits = token_logits(weights, h)[kept].detach() - expected.prediction_logits[kept]
    assert float(logits.abs().max()) <= tolerance * float(expected.prediction_logits.abs().max())
    order = order_logits(weights, h).detach() - expected.sop_logits
    assert float(order.abs().max()) <= tolerance * float(expected.sop_logits.abs().max())


@pytest.mark.parametrize("size", [(40, 6, 24), (60, 128, 48)])
def test_an_embedding_goes_into_transformers_and_gives_the_same_path(size):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    v, e, h = size
    config = AlbertConfig(vocabulary=v, embedding=e, hidden=h, layers=1, heads=4, positions=16)
    embedding = FactorizedEmbedding.random(v, e, h, rng=3)
    model = transformers.AlbertModel(reference_config(config)).eval()
    state = albert_state_dict(embedding)
    result = model.load_state_dict(state, strict=False)
    assert not result.unexpected_keys
    ids, segments, _ = batch(config)
    with torch.no_grad():
        mapped = model.encoder.embedding_hidden_mapping_in(model.embeddings.word_embeddings(ids)).numpy()
        expected = model.encoder.embedding_hidden_mapping_in(model.embeddings(ids, token_type_ids=segments))
    looked_up = embedding.lookup(ids.numpy())
    scale = np.abs(embedding.tokens) @ np.abs(embedding.projection)
    assert np.all(abs(looked_up - mapped) <= 4 * e * np.finfo(np.float32).eps * scale[ids.numpy()])
    weights = initial_weights(config, heads=False, rng=0) | dict(model.state_dict()) | state
    difference = embed(weights, config, ids, segments) - expected
    assert float(difference.detach().abs().max()) <= 1e-6 * float(expected.abs().max())


def test_to_torch_gives_the_lookup():
    torch = pytest.importorskip("torch")
    embedding = FactorizedEmbedding.random(30, 5, 12, rng=1, dtype=np.float64)
    ids = np.array([[1, 29], [0, 1]])
    module = to_torch(embedding)
    assert sum(p.numel() for p in module.parameters() if p.requires_grad) == embedding.n_parameters
    found = module(torch.from_numpy(ids)).detach().numpy()
    assert abs(found - embedding.lookup(ids)).max() <= 100 * np.finfo(float).eps * abs(found).max()
    dense = FactorizedEmbedding(embedding.to_dense())
    assert to_torch(dense)(torch.from_numpy(ids)).detach().numpy().tobytes() == dense.lookup(ids).tobytes()
    with pytest.raises(ValueError, match="this table is dense"):
        albert_state_dict(dense)
    pair = FactorizedEmbedding((embedding.tokens, embedding.tokens), (embedding.projection,) * 2)
    with pytest.raises(ValueError, match="2 blocks"):
        to_torch(pair)
    with pytest.raises(ValueError, match="real weights, got complex128"):
        to_torch(FactorizedEmbedding(embedding.tokens * 1j, embedding.projection))


# without a peer


def gradients(weights: dict[str, Any], config: AlbertConfig) -> dict[str, Any]:
    torch = pytest.importorskip("torch")
    ids, segments, _ = batch(config)
    logits = token_logits(weights, hidden_states(weights, config, ids, segments))
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids.flatten())
    return dict(zip(weights, torch.autograd.grad(loss, list(weights.values()), allow_unused=True), strict=True))


@pytest.mark.parametrize("sharing", ["all", "attention", "ffn"])
def test_the_gradient_of_a_shared_block_is_the_sum_over_its_uses(sharing):
    shared = AlbertConfig(vocabulary=50, embedding=8, hidden=24, layers=3, heads=4, positions=16, sharing=sharing)
    separate = AlbertConfig(vocabulary=50, embedding=8, hidden=24, layers=3, heads=4, positions=16, sharing="none")
    weights = perturbed(shared)
    copies = {}
    for name in initial_weights(separate, dtype=np.float64):
        source = name if name in weights else name.replace(".1.albert", ".0.albert").replace(".2.albert", ".0.albert")
        copies[name] = weights[source].detach().clone().requires_grad_(True)
    together, apart = gradients(weights, shared), gradients(copies, separate)
    for name, gradient in together.items():
        if gradient is None:  # what the loss does not see: the pooler and the other head
            assert name.startswith(("pooler", "sop"))
            continue
        uses = [name]
        if ".0.albert_layers" in name and name.replace("groups.0", "groups.1") not in weights:
            uses = [name.replace("groups.0", f"groups.{layer}") for layer in range(3)]
        total = sum(apart[use] for use in uses)
        assert float((gradient - total).abs().max()) <= 1e4 * np.finfo(float).eps * float(total.abs().max()) + 1e-17
        if len(uses) > 1:
            assert float((gradient - apart[uses[0]]).abs().max()) > 1e-3 * float(gradient.abs().max())


def test_the_token_table_is_used_on_both_ways():
    """With the table's gradient on the way in cut off, what is left is that of the head, and it is not all."""
    weights = perturbed(SMALL)
    torch = pytest.importorskip("torch")
    ids, segments, _ = batch(SMALL)
    table = weights["embeddings.word_embeddings.weight"]
    cut = weights | {"embeddings.word_embeddings.weight": table.detach()}
    parts = []
    for inside, outside in ((weights, cut), (cut, weights), (weights, weights)):
        logits = token_logits(outside, hidden_states(inside, SMALL, ids, segments))
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids.flatten())
        parts.append(torch.autograd.grad(loss, table)[0])
    assert float((parts[0] + parts[1] - parts[2]).abs().max()) <= 1e3 * np.finfo(float).eps * float(
        parts[2].abs().max()
    )
    assert min(float(p.abs().max()) for p in parts) > 0


def test_without_a_projection_the_normalised_sum_is_the_first_hidden_state():
    torch = pytest.importorskip("torch")
    config = AlbertConfig(vocabulary=50, embedding=None, hidden=24, layers=1, heads=4, positions=16)
    weights = initial_weights(config, rng=0, dtype=np.float64)
    ids, segments, _ = batch(config)
    h = embed(weights, config, ids, segments).detach()
    known = torch.full(h.shape[:2], 0.0, dtype=torch.float64)
    assert torch.allclose(h.mean(-1), known, atol=100 * np.finfo(float).eps)
    assert "encoder.embedding_hidden_mapping_in.weight" not in weights


def test_padding_does_not_change_what_the_tokens_see():
    weights = perturbed(SMALL)
    ids, segments, mask = batch(SMALL)
    changed = ids.clone()
    changed[mask == 0] = 1
    first, second = (hidden_states(weights, SMALL, i, segments, mask).detach() for i in (ids, changed))
    assert float((first - second)[mask.bool()].abs().max()) <= 100 * np.finfo(float).eps * float(first.abs().max())


def test_too_long_rows_are_named():
    torch = pytest.importorskip("torch")
    with pytest.raises(ValueError, match=r"n <= 16 positions, got shape \(2, 17\)"):
        embed(initial_weights(SMALL), SMALL, torch.zeros((2, 17), dtype=torch.int64))


def test_sizes_may_be_numpy_integers_or_a_name_and_are_no_truth_values():
    assert AlbertConfig(layers=np.int64(12)) == AlbertConfig()
    with pytest.raises(ValueError, match="layers must be a positive integer, got True"):
        AlbertConfig(layers=True)
    assert albert_parameter_count("base").total == albert_parameter_count(AlbertConfig()).total
    with pytest.raises(ValueError, match=r"the sizes are base, .* got 'tiny'"):
        albert_parameter_count("tiny")


def test_states_are_in_the_order_of_the_tokens_and_under_the_prefix():
    pytest.importorskip("torch")
    tokens, projection = np.arange(8.0).reshape(4, 2), np.ones((2, 3))
    place = np.array([2, 0, 3, 1])
    embedding = FactorizedEmbedding(tokens, projection, place)
    state = albert_state_dict(embedding, prefix="albert.")
    assert np.array_equal(state["albert.embeddings.word_embeddings.weight"].numpy(), tokens[place])
    assert all(name.startswith("albert.e") for name in state)
    assert np.array_equal(to_torch(embedding)[0].weight.detach().numpy(), tokens[place])


def test_every_component_is_that_of_transformers():
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    with torch.device("meta"):
        model = transformers.AlbertForPreTraining(reference_config(SMALL))
    model.tie_weights()
    inner = model.albert
    layer = inner.encoder.albert_layer_groups[0].albert_layers[0]
    count = lambda *modules: sum(p.numel() for module in modules for p in module.parameters())  # noqa: E731
    table = inner.embeddings.word_embeddings
    assert albert_parameter_count(SMALL, heads=True).components == {
        "token table": count(table),
        "positions, segments": count(inner.embeddings) - count(table),
        "projection": count(inner.encoder.embedding_hidden_mapping_in),
        "attention": count(layer.attention),
        "feed-forward": count(layer) - count(layer.attention),
        "pooler": count(inner.pooler),
        "heads": count(model.predictions, model.sop_classifier) - count(table),
    }
