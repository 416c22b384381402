"""Adapters of PyTorch modules: unchanged at the start, frozen while trained, found, merged and taken out again."""

from __future__ import annotations

import copy
import inspect
import itertools

import pytest

torch = pytest.importorskip("torch")

from helpers.small_networks import SIZES, answer, network, torch_encoder, transformer_of  # noqa: E402

from ml.tuning.adapt import KINDS, adapt  # noqa: E402
from ml.tuning.network_parts import blocks_of  # noqa: E402

NETWORKS = ("bert", "hubert", "whisper", "llama", "torch", "mlp")
OPTIONS = {
    "lora": {"rank": 3, "alpha": 5},
    "bottleneck": {"rank": 4},
    "convolution": {"rank": 2},
    "prefix": {"length": 3},
}
#: What cannot be: no convolutions, no biases, no attention.
IMPOSSIBLE = {("bert", "convolution"), ("llama", "convolution"), ("torch", "convolution"), ("llama", "bitfit")} | {
    ("mlp", kind) for kind in KINDS if kind not in ("lora", "bitfit", "head")
}
CASES = [pair for pair in itertools.product(NETWORKS, KINDS) if pair not in IMPOSSIBLE]


@pytest.fixture(autouse=True)
def _plain_kernels():
    """The fused path of PyTorch's encoder, which an adapted one does not take, rounds otherwise."""
    torch.set_num_threads(1)
    torch.backends.mha.set_fastpath_enabled(False)
    yield
    torch.backends.mha.set_fastpath_enabled(True)


def options_of(name: str, kind: str) -> dict:
    head = {"train": {"mlp": ["2"], "torch": ["1.linear1"]}.get(name, ["*.1.*"])} if kind == "head" else {}
    return {**OPTIONS.get(kind, {}), **head}


def frozen(name: str, **options):
    """A network whose weights need no gradients: PyTorch chooses other kernels where they do."""
    module, arguments = network(name, **options)
    return module.requires_grad_(False), arguments


def state(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def same(first, second):
    return list(first) == list(second) and all(torch.equal(first[k], second[k]) for k in first)


def trained(module, arguments, adapted, steps=3):
    """Some steps of AdamW with weight decay, in training, towards random numbers."""
    module.train()
    optimizer = torch.optim.AdamW(adapted.parameters(), lr=0.05, weight_decay=0.1)
    target = None
    for _ in range(steps):
        found = module(**arguments)
        found = found if isinstance(found, torch.Tensor) else found[0]
        if target is None:
            target = torch.randn(found.shape, generator=torch.Generator().manual_seed(1))
        optimizer.zero_grad()
        (found - target).square().mean().backward()
        optimizer.step()
    module.eval()
    return adapted


def disturbed(adapted, size=0.3):
    """Random numbers added to all that is trained; constants would be lost in a normalisation."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for p in adapted.parameters():
            p.add_(size * torch.randn(p.shape, generator=generator))
    return adapted


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_kind_changes_nothing_at_the_start_trains_only_its_own_and_is_taken_out(name, kind):
    module, arguments = frozen(name)
    before, first, inside = (
        state(module),
        answer(module, arguments),
        {n: set(m.__dict__) for n, m in module.named_modules()},
    )
    adapted = adapt(module, kind, **options_of(name, kind))
    assert torch.equal(answer(module, arguments), first) == (kind != "prefix")
    start = adapted.state()
    trained(module, arguments, adapted)
    after, numbers = state(module), adapted.state()
    own = set(numbers)
    assert all(torch.equal(after[key], before[key]) for key in before if key not in own)
    unused = {"pooler.dense.bias", "masked_spec_embed"}
    assert all(not torch.equal(numbers[key], start[key]) for key in own - unused if numbers[key].is_floating_point())
    assert not torch.equal(answer(module, arguments), first)
    assert adapted.n_trained == sum(p.numel() for p in module.parameters() if p.requires_grad)
    adapted.remove()
    assert same(state(module), before)
    assert torch.equal(answer(module, arguments), first)
    assert {n: set(m.__dict__) for n, m in module.named_modules()} == inside
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in module.modules())
    assert not any(p.requires_grad for p in module.parameters())


@pytest.mark.parametrize(("name", "kind"), sorted(IMPOSSIBLE))
def test_a_network_without_a_place_says_so_and_stays_as_it_was(name, kind):
    module, _ = network(name)
    before = state(module)
    with pytest.raises(ValueError, match=r"has no|needs two layers or more"):
        adapt(module, kind)
    assert same(state(module), before)
    assert all(p.requires_grad for p in module.parameters())


@pytest.mark.parametrize("name", [*NETWORKS, "gpt2"])
@pytest.mark.parametrize("kind", ["lora", "ia3"])
def test_merged_weights_give_the_same_answers_and_come_out_bit_for_bit(name, kind):
    module, arguments = frozen(name)
    options = {"lora": {"rank": 3, "alpha": 5, "targets": ["query", "key", "value", "out", "up", "down"]}, "ia3": {}}[
        kind
    ]
    if name == "mlp":
        options = {"lora": {}, "ia3": {"targets": ["0"], "feed_forward": ["2"]}}[kind]
    elif (name, kind) == ("gpt2", "ia3"):
        options = {"targets": ["c_attn"], "feed_forward": ["mlp.c_proj"]}
    elif name == "gpt2":
        options["targets"] = ["query", "out", "up", "down"]
    first, before = answer(module, arguments), state(module)
    adapted = disturbed(adapt(module, kind, **options))
    changed, unmerged = answer(module, arguments), state(module)
    scale = float(changed.abs().max())
    assert float((changed - first).abs().max()) > 1e-2 * scale
    adapted.merge()
    assert float((answer(module, arguments) - changed).abs().max()) <= 2e-5 * scale
    assert not same(state(module), unmerged)
    adapted.unmerge()
    assert same(state(module), unmerged)
    adapted.merge()
    adapted.remove(keep_merged=True)
    assert list(state(module)) == list(before)
    assert float((answer(module, arguments) - changed).abs().max()) <= 2e-5 * scale
    other, _ = frozen(name)
    disturbed(adapt(other, kind, **options)).merge()
    assert same({k: v for k, v in state(other).items() if k in before}, state(module))


def test_merged_and_removed_is_the_module_as_it_was():
    module, arguments = frozen("bert")
    before = state(module)
    adapted = trained(module, arguments, adapt(module, "lora", train=["pooler"]))
    adapted.merge()
    adapted.merge()
    adapted.remove()
    assert same(state(module), before)
    with pytest.raises(ValueError, match="was removed from its module"):
        adapted.merge()


def test_a_planted_update_is_found():
    """Rows x of random numbers, y = (W + U V^T) x: the loss falls to rounding, and B A = U V^T."""
    torch.manual_seed(3)
    layer = torch.nn.Sequential(torch.nn.Linear(12, 9).double())
    planted = torch.randn(9, 2).double() @ torch.randn(2, 12).double()
    x = torch.linalg.qr(torch.randn(40, 12).double())[0]
    with torch.no_grad():
        y = layer(x) + x @ planted.T
    adapted = adapt(layer, "lora", rank=2, alpha=6)
    optimizer = torch.optim.LBFGS(adapted.parameters(), max_iter=150, tolerance_change=0, line_search_fn="strong_wolfe")

    def loss():
        optimizer.zero_grad()
        found = (layer(x) - y).square().sum()
        found.backward()
        return found

    optimizer.step(loss)
    part = adapted.low_rank_parts()["0.weight"]
    assert part.A.shape == (2, 12)
    assert part.scale == 3
    assert float((part.delta().detach() - planted).norm() / planted.norm()) < 1e-8
    lowrank_update = pytest.importorskip("ml.tuning.low_rank_update")
    update = adapted.updates()["0.weight"]
    assert isinstance(update, lowrank_update.LowRankUpdate)
    assert abs(update.delta().to_dense() - planted.numpy()).max() < 1e-6
    half = disturbed(adapt(torch.nn.Sequential(torch.nn.Linear(6, 5)).bfloat16(), "lora", rank=2, alpha=3))
    part, update = half.low_rank_parts()["0.weight"], half.updates()["0.weight"]
    expected = 1.5 * part.B.detach().float() @ part.A.detach().float()
    assert abs(update.delta().to_dense() - expected.numpy()).max() < 1e-6


def test_bottlenecks_are_what_their_formula_says():
    for parallel in (False, True):
        module, arguments = frozen("mlp")
        x = arguments["input"]
        first, second = module(x), module[0](x)
        adapted = adapt(
            module, "bottleneck", rank=3, targets=["0", "2"], parallel=parallel, activation="tanh", scale=0.5
        )
        assert (
            adapted.n_trained
            == (3 * (8 + 16) if parallel else 6 * 16) + 3 + 16 + (3 * 20 if parallel else 6 * 4) + 3 + 4
        )
        for p in adapted.parameters():
            torch.nn.init.normal_(p)
        parts = [module[0].ml_adapter, module[2].ml_adapter]

        def f(part, h):
            return 0.5 * (torch.tanh(h @ part.D.T + part.b) @ part.U.T + part.c)

        h = second + f(parts[0], x if parallel else second)
        inner = torch.relu(h)
        plain = inner @ module[2].weight.T + module[2].bias
        expected = plain + f(parts[1], inner if parallel else plain)
        torch.testing.assert_close(module(x), expected, rtol=1e-5, atol=1e-5)
        assert not torch.allclose(expected, first)


def test_a_part_of_a_sequence_is_not_called_as_one_of_it():
    torch.manual_seed(0)
    inner = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Linear(6, 4)))
    module = torch.nn.ModuleDict({"feed": inner, "last": torch.nn.Linear(4, 2)}).requires_grad_(False)
    x = torch.randn(3, 4)
    first = inner(x)
    for parallel in (False, True):
        adapted = adapt(module, "bottleneck", targets=["feed"], rank=2, parallel=parallel)
        assert torch.equal(inner(x), first)
        disturbed(adapted)
        part = inner[1][1].ml_adapter
        torch.testing.assert_close(inner(x), first + part(x if parallel else first))
        adapted.remove()
        assert torch.equal(inner(x), first)
    with pytest.raises(ValueError, match=r"is a sequence that ends in a layer which is named too"):
        adapt(module, "bottleneck", targets=["feed", "feed.1.1"], rank=2)
    blocks = torch.nn.Sequential(*(torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Tanh()) for _ in range(3)))
    blocks.requires_grad_(False)
    first = blocks(x)
    adapted = adapt(blocks, "weighted_sum", targets=["0", "1", "2"])
    assert torch.equal(blocks(x), first)
    adapted.load({adapted.names[0]: torch.tensor([2.0, 0, 0, 1])})
    torch.testing.assert_close(blocks(x), 2 * x + first)


def test_weights_of_integers_get_an_update_beside_them_and_no_merge():
    class Stored(torch.nn.Linear):
        def forward(self, x):
            return torch.nn.functional.linear(x, self.weight.float() / 16, self.bias)

    layer = Stored(6, 5)
    layer.weight = torch.nn.Parameter(torch.randint(-100, 100, (5, 6), dtype=torch.int8), requires_grad=False)
    module, x = torch.nn.Sequential(layer), torch.randn(2, 6)
    first = module(x)
    adapted = disturbed(adapt(module, "lora", rank=2))
    assert {p.dtype for p in adapted.parameters()} == {torch.float32}
    torch.testing.assert_close(module(x), first + x @ layer.ml_adapter.delta().T)
    with pytest.raises(ValueError, match=r"0.weight is parametrised or stored in few bits"):
        adapted.merge()


@pytest.mark.parametrize("name", ["bert", "hubert", "whisper", "llama", "torch"])
def test_parallel_bottlenecks_see_the_input_of_the_part(name):
    """With f of the input, and everything in the part set to zero, the part gives U f(D x): checked at its end."""
    module, arguments = frozen(name)
    first = answer(module, arguments)
    adapted = adapt(module, "bottleneck", rank=4, parallel=True)
    assert torch.equal(answer(module, arguments), first)
    block = blocks_of(module)[0]
    modules = dict(module.named_modules())
    seen: dict[str, torch.Tensor] = {}
    modules[block.ups[0]].register_forward_pre_hook(lambda m, a: seen.update(x=a[0]))
    modules[block.down].register_forward_hook(lambda m, a, y: seen.update(y=y))
    torch.nn.init.normal_(modules[block.down].ml_adapter.c)
    torch.nn.init.normal_(modules[block.down].ml_adapter.U)
    answer(module, arguments)
    part, down = modules[block.down].ml_adapter, seen["y"]
    with torch.no_grad():
        added = part(seen["x"])
    answer(module.requires_grad_(False), arguments)
    torch.nn.init.zeros_(part.c)
    torch.nn.init.zeros_(part.U)
    answer(module, arguments)
    torch.testing.assert_close(down - seen["y"], added, rtol=1e-4, atol=1e-5)
    assert part.kept is None
    trained(module.requires_grad_(True), arguments, adapted)


def test_the_bias_is_as_large_as_the_token_asks_for():
    module, arguments = frozen("mlp")
    plain = module(arguments["input"])
    adapted = adapt(module, "adapter_bias", targets=["2"])
    assert adapted.n_trained == 9
    part = module[2].ml_adapter
    for p in adapted.parameters():
        torch.nn.init.normal_(p)
    expected = plain + (plain @ part.a[0] + part.a_0)[:, None] * part.v
    torch.testing.assert_close(module(arguments["input"]), expected)


@pytest.mark.parametrize("dimensions", [1, 2])
def test_convolutional_adapters_are_what_their_formula_says(dimensions):
    kinds, functions = (torch.nn.Conv1d, torch.nn.Conv2d), (torch.nn.functional.conv1d, torch.nn.functional.conv2d)
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        kinds[dimensions - 1](3, 6, 4, stride=2), kinds[dimensions - 1](6, 6, 1, groups=2)
    ).requires_grad_(False)
    x = torch.randn(2, 3, *(13,) * dimensions)
    adapted = adapt(module, "convolution", rank=2, kernel=3, activation="relu")
    assert adapted.n_trained == 6 * 2 * 3**dimensions + 2 + 2 * 6 + 6
    for p in adapted.parameters():
        torch.nn.init.normal_(p)
    part, convolve = module[0].ml_adapter, functions[dimensions - 1]
    h = convolve(x, module[0].weight, module[0].bias, stride=2)
    inner = torch.relu(convolve(h, part.D, part.b, padding=1))
    shape = (1, 6, *(1,) * dimensions)
    expected = module[1](h + torch.einsum("cr,br...->bc...", part.U, inner) + part.c.view(shape))
    torch.testing.assert_close(module(x), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["bert", "torch"])
def test_the_weighted_sum_is_of_all_layers(name):
    module, arguments = frozen(name)
    states = []
    layers = [block.module for block in blocks_of(module)]
    handles = [layers[0].register_forward_pre_hook(lambda m, a: states.append(a[0]))]
    handles += [m.register_forward_hook(lambda m, a, y: states.append(y)) for m in layers]
    answer(module, arguments)
    for handle in handles:
        handle.remove()
    adapted = adapt(module, "weighted_sum")
    assert adapted.n_trained == 3
    w = torch.tensor([0.5, -2.0, 3.0])
    adapted.load({adapted.names[0]: w})
    expected = w[0] * states[0] + w[1] * states[1] + w[2] * states[2]
    torch.testing.assert_close(answer(module, arguments), expected)


def test_a_weighted_sum_says_when_a_layer_was_left_out():
    module, arguments = frozen("hubert", layerdrop=0.999999)
    adapt(module, "weighted_sum")
    answer(module, arguments)
    module.encoder.layers[1].forward = lambda h, **_: h
    torch.manual_seed(0)
    module.train()
    real, module.encoder.layers[0].ml_left_out = torch.rand, True
    draws = iter([torch.tensor(0.0), torch.tensor(1.0)])
    torch.rand = lambda *a, **k: next(draws) if a == ([],) else real(*a, **k)
    try:
        with pytest.raises(RuntimeError, match=r"layers before the last one were called.*layerdrop = 0"):
            answer(module, arguments)
    finally:
        torch.rand = real


@pytest.mark.parametrize("name", ["bert", "llama", "whisper", "hubert"])
def test_a_prefix_is_the_same_by_two_attention_functions(name):
    """The one without a mask for causal attention, the other with one that is written out; the oracle of both below."""
    answers = []
    for function in ("sdpa", "eager"):
        module, arguments = frozen(name, attn_implementation=function)
        adapted = adapt(module, "prefix", length=3)
        for p in adapted.parameters():
            p.data.copy_(torch.randn(p.shape, generator=torch.Generator().manual_seed(4)))
        if name in ("bert", "llama"):
            mask = torch.ones_like(arguments["input_ids"])
            mask[1, 5:] = 0
            padded = answer(module, {**arguments, "attention_mask": mask})
            alone = answer(module, {"input_ids": arguments["input_ids"][1:, :5]})
            torch.testing.assert_close(padded[1:, :5], alone, rtol=1e-4, atol=1e-5)
        answers.append(answer(module, arguments))
    torch.testing.assert_close(*answers, rtol=1e-4, atol=1e-5)


def test_a_causal_network_with_a_prefix_sees_no_later_token_and_can_write():
    module, arguments = frozen("llama")
    adapted = adapt(module, "prefix", length=2)
    ids = arguments["input_ids"]
    whole, part = answer(module, {"input_ids": ids}), answer(module, {"input_ids": ids[:, :4]})
    torch.testing.assert_close(whole[:, :4], part, rtol=1e-4, atol=1e-5)
    kept = module(ids[:, :6], use_cache=True)
    cache = kept.cache if hasattr(kept, "cache") else kept.past_key_values
    name = "cache" if hasattr(kept, "cache") else "past_key_values"
    with torch.no_grad():
        last = module(ids[:, 6:], **{name: cache})[0]
    torch.testing.assert_close(whole[:, 6:], last, rtol=1e-4, atol=1e-5)
    adapted.remove()
    assert not torch.allclose(answer(module, {"input_ids": ids}), whole)


def test_a_prefix_of_torch_is_what_its_definition_says():
    """One head, one query: softmax over prefix and tokens; and without a prefix the attention of PyTorch."""
    torch.manual_seed(0)
    for heads, batch_first in ((1, True), (2, False)):
        attention = torch.nn.MultiheadAttention(6, heads, batch_first=batch_first).requires_grad_(False)
        x = torch.randn(3, 5, 6)
        given = x if batch_first else x.transpose(0, 1)
        mask = torch.ones(5, 5, dtype=torch.bool).triu(1)
        padding = torch.zeros(3, 5, dtype=torch.bool)
        padding[0, 3:] = True
        plain = attention(given, given, given, attn_mask=mask, key_padding_mask=padding)
        adapted = adapt(attention, "prefix", length=2)
        part = attention.ml_adapter
        with torch.no_grad():
            part.K.copy_(torch.randn(2, 6))
        found = attention(given, given, given, attn_mask=mask, key_padding_mask=padding)
        q, k, v = (x @ attention.in_proj_weight.T + attention.in_proj_bias).chunk(3, -1)
        k, v = (torch.cat([rows.expand(3, -1, -1), y], 1) for rows, y in ((part.K, k), (part.V, v)))
        hidden = torch.cat([torch.zeros(3, 5, 2, dtype=torch.bool), mask | padding[:, None]], 2)
        pieces, d = [], 6 // heads
        for h in range(heads):
            at = slice(h * d, (h + 1) * d)
            scores = (q[..., at] @ k[..., at].transpose(1, 2) / d**0.5).masked_fill(hidden, float("-inf"))
            pieces.append(scores.softmax(-1) @ v[..., at])
        expected = attention.out_proj(torch.cat(pieces, -1))
        torch.testing.assert_close(found[0] if batch_first else found[0].transpose(0, 1), expected)
        with torch.no_grad():
            part.K.fill_(0)
            part.V.fill_(0)
        adapted.remove()
        assert torch.equal(attention(given, given, given, attn_mask=mask, key_padding_mask=padding)[0], plain[0])


def test_pytorchs_encoder_with_padding_runs_with_its_fused_path_on():
    torch.backends.mha.set_fastpath_enabled(True)
    for kind in ("lora", "bottleneck", "ia3", "prefix", "bitfit", "weighted_sum"):
        module, arguments = torch_encoder()
        padding = torch.zeros(2, 7, dtype=torch.bool)
        padding[1, 4:] = True
        arguments["src_key_padding_mask"] = padding
        fused = answer(module, arguments)
        adapted = adapt(module, kind)
        found = answer(module, arguments)
        if kind != "prefix":
            torch.testing.assert_close(found[~padding], fused[~padding], rtol=1e-4, atol=1e-5)
        disturbed(adapted)
        assert not torch.allclose(answer(module, arguments)[~padding], fused[~padding], atol=1e-3)
        adapted.remove()
        assert torch.equal(answer(module, arguments), fused)


def test_a_copy_of_an_adapted_network_has_its_own_adapter():
    for name, kind in (
        ("bert", "lora"),
        ("torch", "lora"),
        ("torch", "prefix"),
        ("llama", "prefix"),
        ("bert", "bottleneck"),
    ):
        module, arguments = frozen(name)
        adapted = adapt(module, kind)
        before = answer(module, arguments)
        other = copy.deepcopy(adapted)
        disturbed(other)
        assert torch.equal(answer(module, arguments), before)
        assert not torch.equal(answer(other.module, arguments), before)
        other.remove()
        adapted.remove()
        assert torch.equal(answer(other.module, arguments), answer(module, arguments))


def test_running_means_belong_to_the_adapter():
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(5, 5), torch.nn.BatchNorm1d(5), torch.nn.Linear(5, 2))
    before, x = state(module), {"input": torch.randn(8, 5) + 3}
    adapted = trained(module, x, adapt(module, "lora", rank=1))
    assert {"1.running_mean", "1.running_var", "1.num_batches_tracked"} == set(adapted.running)
    found = adapted.state()
    assert int(found["1.num_batches_tracked"]) == 3
    after = answer(module, x)
    adapted.remove()
    assert same(state(module), before)
    other = adapt(module, "lora", rank=1)
    other.load(found)
    assert torch.equal(answer(module, x), after)


def test_first_numbers_follow_the_seed_and_leave_the_global_one_alone():
    networks = [network("mlp")[0] for _ in range(3)]
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    states = [adapt(module, "lora", rng=rng).state() for module, rng in zip(networks, (0, 0, 1), strict=True)]
    assert torch.equal(torch.rand(1), expected)
    assert same(states[0], states[1])
    assert not same(states[0], states[2])
    assert 0.3 < float(networks[0][0].ml_adapter.A.detach().abs().max()) <= 8**-0.5


def test_half_precision_and_autocast():
    module, arguments = frozen("bert")
    module.bfloat16()
    first = answer(module, arguments)
    for kind in ("lora", "bottleneck", "adapter_bias", "ia3", "weighted_sum"):
        adapted = adapt(module, kind)
        assert {p.dtype for p in adapted.parameters()} == {torch.bfloat16}
        assert torch.equal(answer(module, arguments), first)
        adapted.remove()
    module.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        first = answer(module, arguments)
        for kind in ("lora", "bottleneck", "adapter_bias", "ia3"):
            adapted = adapt(module, kind)
            assert torch.equal(answer(module, arguments), first)
            adapted.remove()


def test_tied_weights_are_not_merged_unseen():
    module, _ = transformer_of("llama", tie_word_embeddings=True)
    adapted = adapt(module, "lora", targets=["lm_head"], rank=2)
    with pytest.raises(ValueError, match=r"lm_head.weight is shared with model.embed_tokens.weight"):
        adapted.merge()
    assert not adapted.merged
    pair = torch.nn.ModuleList([torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)])
    pair[1].weight = torch.nn.Parameter(pair[0].weight.data)
    with pytest.raises(ValueError, match=r"0.weight is shared with 1.weight"):
        adapt(pair, "lora", rank=1, targets=["0"]).merge()


def test_layers_that_stand_under_two_names_are_one():
    layer = torch.nn.Linear(4, 4)
    module = torch.nn.Sequential(layer, torch.nn.ReLU(), layer)
    adapted = adapt(module, "lora", rank=1)
    assert adapted.n_trained == 8
    x = {"input": torch.randn(2, 4)}
    trained(module, x, adapted)
    plain = answer(module, x)
    adapted.merge()
    torch.testing.assert_close(answer(module, x), plain)


def test_ranks_and_alphas_by_name():
    module, _ = network("mlp")
    adapted = adapt(module, "lora", rank={"0": 2, "*": 1}, alpha={"2": 3.0, "0": 2})
    parts = adapted.low_rank_parts()
    assert {n: (len(p.A), p.scale) for n, p in parts.items()} == {"0.weight": (2, 1.0), "2.weight": (1, 3.0)}
    assert "0.A" in adapted.report()
    assert repr(adapted) == f"Adapted(lora, {2 * 24 + 20} of {212 + 68} numbers trained, {68 / 280:.2%})"


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda m: adapt(m, "lorra"), ValueError, "kind must be one of .*, got 'lorra'; did you mean 'lora'"),
        (lambda m: adapt(m, "Houlsby"), ValueError, "did you mean 'bottleneck'"),
        (lambda m: adapt("bert", "lora"), TypeError, "must be a torch.nn.Module, got str"),
        (lambda m: adapt(m, "lora", ranks=2), ValueError, "no option 'ranks'; it has rank, .*; did you mean 'rank'"),
        (lambda m: adapt(m, "head", rank=2), ValueError, "head has no option 'rank'; it has none"),
        (lambda m: adapt(m, "head"), ValueError, "trains nothing by itself: name what is trained"),
        (lambda m: adapt(m, "lora", rank=0), ValueError, "rank of .* must be an integer of at least 1, got 0"),
        (lambda m: adapt(m, "lora", rank=17), ValueError, "rank of .* is 17, but its weight has 16 rows and 16 c"),
        (lambda m: adapt(m, "lora", rank={"key": 2}), ValueError, "rank names no value for .*query"),
        (lambda m: adapt(m, "lora", alpha=float("nan")), ValueError, "alpha of .* finite number other than 0, got nan"),
        (lambda m: adapt(m, "lora", dropout=1.0), ValueError, r"dropout must be in \[0, 1\), got 1.0"),
        (lambda m: adapt(m, "lora", targets=["querry"]), ValueError, "'querry' names no linear layer .*mean 'query'"),
        (lambda m: adapt(m, "lora", train="pooler"), TypeError, r"list of names, got one string; pass \['pooler'\]"),
        (lambda m: adapt(m, "lora", train=["poler"]), ValueError, "'poler' names no module .*did you mean 'pooler'"),
        (lambda m: adapt(m, "bottleneck", after="ffn"), ValueError, "after must name attention, feed_forward or both"),
        (
            lambda m: adapt(m, "bottleneck", activation="sin"),
            ValueError,
            "activation must be one of gelu, .* got 'sin'",
        ),
        (lambda m: adapt(m, "bottleneck", rank=1.5), ValueError, "rank must be an integer of at least 1, got 1.5"),
        (lambda m: adapt(m, "bitfit", where="some"), ValueError, "where must be 'all' or 'layers', got 'some'"),
        (lambda m: adapt(m, "norms", targets=["query"]), ValueError, "'query' names no normalisation"),
        (lambda m: adapt(m, "ia3", targets=["key"], feed_forward=["key"]), ValueError, "is in targets and in feed_f"),
        (lambda m: adapt(m, "weighted_sum", targets=["layer.0"]), ValueError, "needs two layers or more, found 1"),
        (lambda m: adapt(m, "lora").merge() or adapt(m, "ia3"), ValueError, r"adapted already: call .remove\(\)"),
        (lambda m: adapt(m, "bitfit").merge(), ValueError, "bitfit cannot be merged into weights: lora and ia3 can"),
        (lambda m: adapt(m, "lora").remove(keep_merged=True), ValueError, "nothing is merged"),
        (lambda m: adapt(m, "ia3").updates(), ValueError, "ia3 is no low-rank update"),
    ],
)
def test_bad_input_gets_one_clear_error(call, kind, message):
    with pytest.raises(kind, match=message):
        call(network("bert")[0])


def test_a_state_of_another_rank_or_with_nan_is_refused_whole():
    module, _ = network("bert")
    adapted = adapt(module, "lora", rank=4)
    before = adapted.state()
    other = adapt(network("bert")[0], "lora", rank=2, rng=1).state()
    with pytest.raises(ValueError, match=r"has the shape \(2, 16\) in the state and \(4, 16\) here"):
        adapted.load(other)
    broken = {k: torch.full_like(v, float("nan")) if k.endswith("1.attention.self.value.ml_adapter.B") else v + 1
              for k, v in before.items()}  # fmt: skip
    with pytest.raises(ValueError, match=r"value.ml_adapter.B holds NaN or infinity"):
        adapted.load(broken)
    with pytest.raises(ValueError, match="belongs to another kind, other targets or another network"):
        adapted.load(dict(list(before.items())[1:]))
    assert same(adapted.state(), before)
    adapted.merge()
    with pytest.raises(ValueError, match=r"call .unmerge\(\) before"):
        adapted.load(before)


@pytest.mark.parametrize("name", ["T5", "DistilBert", "ViT", "Bart", "Wav2Vec2", "GPTNeoX", "Albert"])
def test_parts_of_further_networks_are_found(name):
    """Names of one layer: where attentions end, and where feed-forward parts begin and end."""
    transformers = pytest.importorskip("transformers")
    sizes = {
        "T5": {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2},
        "DistilBert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32},
        "Bart": {"d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32,
                 "encoder_attention_heads": 2, "decoder_attention_heads": 2},
    }.get(name, dict(SIZES))  # fmt: skip
    if name == "Wav2Vec2":
        sizes |= {"num_conv_pos_embedding_groups": 2, "conv_dim": (8,), "conv_stride": (5,), "conv_kernel": (10,),
                  "num_feat_extract_layers": 1}  # fmt: skip
    with torch.device("meta"):
        module = getattr(transformers, f"{name}Model")(getattr(transformers, f"{name}Config")(**sizes))
    blocks = blocks_of(module)
    attentions = {"T5": 6, "Bart": 6, "Albert": 1}.get(name, 2)
    assert sum(len(block.attentions) for block in blocks) == attentions
    assert len(blocks) == {"T5": 4, "Bart": 4, "Albert": 1}.get(name, 2)
    assert all(block.down and len(block.ups) == 1 for block in blocks)
    assert all(a.linears["out"] for block in blocks for a in block.attentions)
    assert adapt(module, "bottleneck", rank=2).n_trained == (attentions + len(blocks)) * (4 * 16 + 2 + 16)


def test_experts_and_fused_attentions_ask_for_names():
    module, _ = frozen("bert")
    module.encoder.layer[1].more = torch.nn.Linear(16, 32)
    with pytest.raises(ValueError, match=r"feed-forward part of 'encoder.layer.1' is not recognised.*targets="):
        adapt(module, "bottleneck")
    adapt(module, "bottleneck", targets=["output.dense"]).remove()
    adapt(module, "lora").remove()
    gpt2, _ = frozen("gpt2")
    with pytest.raises(ValueError, match=r"keys and values of 'h.0.attn' come from one layer"):
        adapt(gpt2, "ia3")
    with pytest.raises(ValueError, match="takes no further keys"):
        adapt(gpt2, "prefix")
    assert adapt(gpt2, "lora", rank=2).n_trained == 2 * 2 * (16 + 48)


def test_options_of_the_page_are_those_of_the_code():
    """The table in docs/adapters.md names every kind and every option."""
    from helpers import ROOT

    from ml.tuning.adapt import OWN, PLACED

    page = (ROOT / "docs" / "adapters.md").read_text()
    for kind, function in {**PLACED, **OWN}.items():
        row = next(line for line in page.splitlines() if line.startswith(f"| `{kind}` |"))
        for name, parameter in inspect.signature(function).parameters.items():
            assert parameter.kind is not parameter.KEYWORD_ONLY or f"`{name}" in row, (kind, name)
