"""Modules that train with few bytes of activations: answers, gradients, bytes, counts, and the way back."""

from __future__ import annotations

import copy
import itertools
import math
import pickle

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from ml.tuning.activation_bytes import activation_bytes  # noqa: E402
from ml.tuning.derivative_code import derivative_code  # noqa: E402
from ml.tuning.lean import lean  # noqa: E402
from ml.tuning.lean_tuning import LeanTuning  # noqa: E402


def mlp(*widths, f=nn.GELU, seed=0):
    torch.manual_seed(seed)
    layers = [part for a, b in itertools.pairwise(widths) for part in (nn.Linear(a, b), f())]
    return nn.Sequential(*layers[:-1])


def encoder(layers=2, dropout=0.0, seed=0, **options):
    torch.manual_seed(seed)
    options = {"dim_feedforward": 48, "activation": "gelu", "batch_first": True} | options
    layer = nn.TransformerEncoderLayer(16, 2, dropout=dropout, **options)
    return nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)


def bert(seed=0, dropout=0.0, attention="sdpa"):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(seed)
    config = transformers.BertConfig(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=2, intermediate_size=64, vocab_size=50,
        max_position_embeddings=24, hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout,
    )  # fmt: skip
    config._attn_implementation = attention
    return transformers.BertModel(config, add_pooling_layer=False)


def whisper(seed=0):
    transformers = pytest.importorskip("transformers")
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    torch.manual_seed(seed)
    config = transformers.WhisperConfig(
        d_model=32, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=64, num_mel_bins=8,
        max_source_positions=20, vocab_size=60, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        decoder_start_token_id=1, suppress_tokens=None, begin_suppress_tokens=None,
    )  # fmt: skip
    return WhisperEncoder(config)


def numbers(*shape, seed=7):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def first(result):
    return result if isinstance(result, torch.Tensor) else result.last_hidden_state


def gradients(module, batch, seed=0):
    """Answer of a module, and the gradients of a scalar of it, by the names of the parameters."""
    torch.manual_seed(seed)
    y = first(module(**batch) if isinstance(batch, dict) else module(batch))
    for p in module.parameters():
        p.grad = None
    (y.double() * numbers(*y.shape, seed=3)).sum().backward()
    return y.detach(), {n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None}


def biases_only(module):
    for name, p in module.named_parameters():
        p.requires_grad_("bias" in name)
    return module


def off(found, exact):
    a = torch.cat([found[n].flatten() for n in exact])
    b = torch.cat([exact[n].flatten() for n in exact])
    return float((a - b).norm() / b.norm())


NETWORKS = {
    "MLP": (lambda: mlp(5, 40, 40, 3), numbers(30, 5)),
    "encoder": (encoder, numbers(3, 9, 16)),
    "encoder, norm first": (lambda: encoder(norm_first=True, batch_first=False), numbers(9, 3, 16)),
    "BERT": (bert, {
        "input_ids": torch.arange(40).reshape(2, 20), "attention_mask": (torch.arange(40) < 33).long().reshape(2, 20)
    }),
    "Whisper": (whisper, numbers(2, 8, 40)),
}  # fmt: skip


@pytest.mark.parametrize("name", list(NETWORKS))
def test_answers_stay_and_gradients_come_near(name):
    make, batch = NETWORKS[name]
    plain, module = biases_only(make()), make()
    tuning = lean(module, 4, 8)
    exact_y, exact = gradients(plain, batch)
    y, found = gradients(module, batch)
    torch.testing.assert_close(y, exact_y, rtol=0, atol=3e-6 * float(exact_y.abs().max()))
    assert found.keys() == exact.keys()
    assert 1e-5 < off(found, exact) < 0.1
    assert tuning.trained.keys() == exact.keys()
    assert tuning.n_trained == sum(g.numel() for g in exact.values())
    fine = make()
    lean(fine, 8, 32)
    assert off(gradients(fine, batch)[1], exact) < 0.012 < off(found, exact) * 4
    less, more = (sum(activation_bytes(m, batch).values()) for m in (module, plain))
    assert less < 0.45 * more
    with torch.no_grad():
        again = module(**batch) if isinstance(batch, dict) else module(batch)
        torch.testing.assert_close(first(again), exact_y, rtol=0, atol=3e-6 * float(exact_y.abs().max()))
    assert not tuning.operations.looking
    for text in (f"{tuning.n_trained:,} of", "linear, frozen"):
        assert text in tuning.table()


def test_gradient_error_of_a_network_halves_with_each_bit():
    make, batch = NETWORKS["encoder"]
    exact = gradients(biases_only(make()), batch)[1]
    bits, errors = (2, 3, 4, 6, 8), []
    for b in bits:
        module = make()
        lean(module, b, 32)
        errors.append(off(gradients(module, batch)[1], exact))
    assert -1.3 < np.polyfit(bits, np.log2(errors), 1)[0] < -0.9


def test_relu_network_has_the_gradient_of_autograd_to_the_bit():
    batch = numbers(30, 5)
    plain, module = biases_only(mlp(5, 40, 40, 3, f=nn.ReLU)), mlp(5, 40, 40, 3, f=nn.ReLU)
    lean(module, 2)
    (y, exact), (z, found) = gradients(plain, batch), gradients(module, batch)
    assert torch.equal(y, z)
    assert all(torch.equal(found[n], exact[n]) for n in exact)
    # the functional and the method are the same function
    for call in (torch.relu, functional.relu, torch.Tensor.relu):

        class Called(nn.Module):
            def __init__(self, f=call):
                super().__init__()
                self.first, self.f = nn.Linear(5, 7), f

            def forward(self, x):
                return self.f(self.first(x))

        other = Called()
        tuning = lean(other)
        assert activation_bytes(other, batch) == {"CodedElementwise": math.ceil(30 * 7 / 8)}
        assert tuning.done == {"linear, frozen": 1, "relu": 1}


def test_bytes_are_the_formula():
    """Two blocks of width 16 with 2 heads, 3 x 9 positions: every code to the byte."""
    module, batch = encoder(), numbers(3, 9, 16)
    for code_bits, attention_bits in ((4, 8), (3, 16), (8, 32)):
        tuning = lean(module, code_bits, attention_bits)
        rows = 3 * 2 * 9
        found = activation_bytes(module, batch)
        qkv = 3 * rows * (8 * attention_bits // 8 + (2 if attention_bits < 32 else 0))
        assert found == {
            "CodedAttention": 2 * (qkv + 3 * math.ceil(2 * 81 * code_bits / 8))
            if 2 * 81 * code_bits % 8 else 2 * (qkv + rows * 9 * code_bits // 8),
            "CodedElementwise": 2 * 27 * 48 * code_bits // 8,
            "CodedNorm": 4 * (27 * 16 * code_bits // 8 + 27 * 4),
        }  # fmt: skip
        assert tuning.left == {}
        tuning.restore()
    plain = activation_bytes(biases_only(encoder()), batch)
    assert sum(plain.values()) > 4 * sum(found.values()) / 2


def test_activation_bytes_counts_each_piece_of_memory_once():
    x = numbers(10, 4)

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(numbers(4, 4))

        def forward(self, x):
            y = torch.exp(x @ self.w)  # keeps its result, 160 bytes
            return {"a": (y[:5] * y[5:], y.view(20, 2)[:3].sin())}  # views of the same

    found = activation_bytes(Twice(), x)
    assert sum(found.values()) == 160 + 160
    assert set(found) <= {"Mm", "Exp", "Mul", "Sin"}
    module = mlp(4, 8, 2)
    assert activation_bytes(module, x) == {"Addmm": 160 + 320, "Gelu": 320}
    assert activation_bytes(module, (x,)) == activation_bytes(module, {"input": x})
    with pytest.raises(TypeError, match=r"torch.nn.Module, got function"):
        activation_bytes(first, x)
    with pytest.raises(ValueError, match="has no gradient: nothing is kept"):
        activation_bytes(mlp(4, 2).requires_grad_(False), x)


def test_counts_of_trained_numbers():
    d, inner, layers, length, rank, pool = 32, 64, 3, 24, 5, 4
    linear_biases = layers * (4 * d + inner + d)
    norms = (2 * layers + 1) * d
    prompts, sides = layers * (length + d) * rank, layers * (d // pool + d) * rank
    wanted = {"bias": linear_biases + norms, "prompt": prompts, "side": sides}
    wanted["all"] = sum(wanted.values())
    for train, count in wanted.items():
        assert lean(bert(), train=train, rank=rank, pool=pool).n_trained == count
    both = lean(bert(), train=["bias", "side"], rank=rank, pool=pool)
    assert both.n_trained == wanted["bias"] + sides
    module = nn.ModuleDict({"encoder": bert(), "classifier": nn.Linear(32, 2)})
    assert lean(module, also=["classifier"]).n_trained == wanted["bias"] + 2 * 32 + 2
    assert lean(bert(), also=["*.LayerNorm.weight"]).n_trained == wanted["bias"] + norms
    shared = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
    shared[2].bias = shared[0].bias
    assert lean(shared).n_trained == 4


@pytest.mark.parametrize("name", ["encoder", "encoder, norm first", "BERT", "Whisper"])
@pytest.mark.parametrize("train", ["prompt", "side", "all"])
def test_prompts_and_branches_begin_as_nothing_and_learn(name, train):
    make, batch = NETWORKS[name]
    plain, module = make(), make()
    options = {"length": 9} if name.startswith("encoder") else {}
    tuning = lean(module, train=train, rank=3, pool=4, **options)
    y, found = gradients(module, batch)
    exact_y, _ = gradients(plain, batch)
    torch.testing.assert_close(y, exact_y, rtol=0, atol=3e-6 * float(exact_y.abs().max()))
    assert found.keys() == tuning.trained.keys()
    new = [n for n in found if "lean_" in n]
    assert len(new) == 2 * len(tuning._blocks) * (2 if train == "all" else 1)
    for n in new:  # a product with zero: only the zero factor learns at first
        assert bool(found[n].any()) == n.endswith(("right", "up"))
    optimizer = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=1e-3)
    optimizer.step()
    state, moved = tuning.state(), gradients(module, batch)[0]
    assert not torch.equal(moved, y)
    other = make()
    more = lean(other, train=train, rank=3, pool=4, rng=5, **options)
    more.load(state)
    torch.testing.assert_close(gradients(other, batch)[0], moved, rtol=1e-6, atol=1e-6)
    tuning.restore()
    assert module.state_dict().keys() == plain.state_dict().keys()
    if train != "all":
        assert torch.equal(gradients(module, batch)[0], exact_y)


def test_gradient_of_the_prompt_is_that_of_the_formula():
    block = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
    plain = copy.deepcopy(block)
    lean(block, 8, 32, train="prompt", rank=2, length=12)
    x = numbers(3, 9, 16)
    with torch.no_grad():
        block.lean_prompt_right.copy_(numbers(2, 16))
    left, right = (p.detach().clone().requires_grad_() for p in (block.lean_prompt_left, block.lean_prompt_right))
    y, z = block(x), plain(x + left[:9] @ right)
    torch.testing.assert_close(y, z, rtol=1e-5, atol=1e-5)
    g = numbers(3, 9, 16, seed=1)
    exact = torch.autograd.grad(z, (left, right), g)
    found = torch.autograd.grad(y, (block.lean_prompt_left, block.lean_prompt_right), g)
    assert float((found[0] - exact[0]).norm() / exact[0].norm()) < 0.02
    assert float((found[1] - exact[1]).norm() / exact[1].norm()) < 0.02
    assert not found[0][9:].any()


@pytest.mark.parametrize("name", list(NETWORKS))
def test_restore_gives_the_module_back_bit_for_bit(name):
    make, batch = NETWORKS[name]
    plain, module = make(), make()
    options = {"train": "all", "pool": 4, "length": 20} if name != "MLP" else {}
    tuning = lean(module, **options)
    gradients(module, batch)
    assert tuning.restore() is module
    assert module.state_dict().keys() == plain.state_dict().keys()
    (y, exact), (z, found) = gradients(plain, batch), gradients(module, batch)
    assert torch.equal(y, z)
    assert found.keys() == exact.keys()
    assert all(torch.equal(found[n], exact[n]) for n in exact)
    for a, b in zip(plain.modules(), module.modules(), strict=True):
        assert a.__dict__.keys() == b.__dict__.keys()
        assert not b._forward_hooks
        assert not b._forward_pre_hooks
        assert not b._forward_hooks_with_kwargs
        assert not b._forward_pre_hooks_with_kwargs
    assert isinstance(lean(module).restore(), nn.Module)


def test_gradients_that_were_off_are_off_again():
    module = mlp(3, 4, 2)
    module[0].weight.requires_grad_(False)
    module[2].bias.requires_grad_(False)
    lean(module).restore()
    assert [p.requires_grad for p in module.parameters()] == [False, True, True, False]
    tuning = lean(module, train="given")
    assert [p.requires_grad for p in module.parameters()] == [False, True, True, False]
    assert tuning.trained == {"0.bias": 4, "2.weight": 8}


def test_copies_have_their_own_patch():
    module = mlp(5, 8, 2)
    tuning = lean(module)
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert isinstance(other.forward, LeanTuning)
        assert other.forward.module is other
        with torch.no_grad():
            other[0].bias += 1
        assert not torch.equal(other(numbers(3, 5)), module(numbers(3, 5)))
        other.forward.restore()
        assert "forward" not in other.__dict__
    assert module.forward is tuning


def test_dropout_draws_the_same_numbers_and_its_mask_is_a_bit():
    for name, batch in (("encoder", numbers(3, 9, 16)), ("BERT", NETWORKS["BERT"][1])):
        make = (lambda: encoder(dropout=0.2)) if name == "encoder" else (lambda: bert(dropout=0.2))
        plain, module = biases_only(make()), make()
        plain.train(), module.train()
        tuning = lean(module, 6, 32)
        (y, exact), (z, found) = gradients(plain, batch, seed=5), gradients(module, batch, seed=5)
        torch.testing.assert_close(y, z, rtol=0, atol=2e-5)
        assert off(found, exact) < 0.06
        assert tuning.done["dropout"] >= 6
        kept = activation_bytes(module, batch)
        numel = sum(t for t in ([3 * 9 * 64 + 3 * 9 * 16] if name == "encoder" else [2 * 20 * 32 * 2])) * 2 // 8
        assert kept["CodedDropout"] >= numel
        assert kept["CodedDropout"] < 2 * numel + 400
        module.eval()
        torch.testing.assert_close(gradients(module, batch)[0], gradients(plain.eval(), batch)[0], rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", list(NETWORKS))
def test_autocast(name):
    make, batch = NETWORKS[name]
    plain, module, single = biases_only(make()), make(), biases_only(make())
    lean(module, 4, 8)
    with torch.autocast("cpu", torch.bfloat16):
        (y, exact), (z, found) = gradients(plain, batch), gradients(module, batch)
        kept, before = activation_bytes(module, batch), activation_bytes(plain, batch)
    reference, true = gradients(single, batch)
    assert y.dtype == z.dtype
    near = float((y.float() - reference).norm())
    assert float((z.float() - reference).norm()) < 1.5 * near
    assert all(found[n].dtype == exact[n].dtype for n in exact)
    assert off(found, true) < 0.1 + 1.5 * off(exact, true)
    assert sum(kept.values()) < 0.6 * sum(before.values())


def test_half_precision_and_double():
    for dtype in (torch.bfloat16, torch.float64):
        plain, module = biases_only(encoder().to(dtype)), encoder().to(dtype)
        lean(module, 8, 32)
        batch = numbers(3, 9, 16).to(dtype)
        (y, exact), (z, found) = gradients(plain, batch), gradients(module, batch)
        tolerance = 0.05 if dtype == torch.bfloat16 else 0.012
        assert float((y - z).double().norm() / y.double().norm()) < (0.02 if dtype == torch.bfloat16 else 1e-14)
        assert off(found, exact) < tolerance


def test_a_network_is_trained_whole_at_a_quarter_of_the_bytes():
    """From parameters to a curve, all weights trained, inputs of layers in 8 bits: the same curve of losses."""
    x = numbers(256, 3).clamp(-2, 2)
    target = torch.stack([torch.sin(k * x[:, 0]) + x[:, 1] * x[:, 2] / k for k in range(1, 7)], 1)
    curves, sizes = [], []
    for given in (None, {"code_bits": 4, "input_bits": 8}):
        module = mlp(3, 64, 64, 6)
        if given:
            tuning = lean(module, train="given", **given)
            assert tuning.n_trained == sum(p.numel() for p in module.parameters())
        optimizer = torch.optim.Adam(module.parameters(), lr=3e-3)
        losses = []
        for _ in range(100):
            loss = functional.mse_loss(module(x), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        curves.append(losses)
        sizes.append(sum(activation_bytes(module, x).values()))
    assert sizes[1] < sizes[0] / 4
    assert curves[1][-1] < 0.4 * curves[1][0]
    np.testing.assert_allclose(curves[1][::10], curves[0][::10], rtol=0.1)


def test_what_is_not_known_is_left_and_reported():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.line, self.act = nn.Conv1d(4, 4, 3), nn.Linear(6, 6), nn.ReLU(inplace=True)
            self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
            self.soft = nn.Softplus(beta=2)

        def forward(self, x):
            y = self.line(self.conv(x))
            y = y + self.attention(y, y, y)[0]
            y = self.soft(y * torch.exp(y)).softmax(1)
            return self.act(nn.functional.dropout(y.cos(), 0.1, True, inplace=True))

    plain, module = biases_only(Mixed()), Mixed()
    plain.load_state_dict(module.state_dict())
    tuning = lean(module)
    assert "known after the first pass" in tuning.table()
    (y, exact), (z, found) = gradients(plain, numbers(2, 4, 8)), gradients(module, numbers(2, 4, 8))
    assert torch.equal(y, z)
    assert off(found, exact) < 1e-6
    reasons = {
        "multi-head attention": "weights are asked for", "relu, in place": "overwrites its input", "softplus": "beta",
        "softmax": "last axis", "dropout, in place": "overwrites", "conv1d": "no code",
        "exp": "no code", "cos": "no code",
    }  # fmt: skip
    for name, why in reasons.items():
        assert why in tuning.left[name]
        assert f"{name:<24} left as it is" in tuning.table()
    assert "linear, frozen" not in tuning.left


def test_attention_that_is_not_one_unit():
    whole = bert(attention="eager")
    tuning = lean(whole, 4)
    found = activation_bytes(whole, {"input_ids": torch.arange(40).reshape(2, 20)})
    assert {"CodedSoftmax", "Bmm"} <= found.keys()
    assert "matmul" in tuning.left
    tuning.restore()
    fused = bert()
    tuning = lean(fused, 4, None)
    assert "CodedAttention" not in activation_bytes(fused, {"input_ids": torch.arange(40).reshape(2, 20)})
    assert tuning.left["attention"] == "attention_bits is None"


def test_multihead_attention_with_masks():
    """Separate widths, masks of each kind, positions first or second, one sequence alone."""
    x, y = numbers(3, 9, 16), numbers(3, 5, 12)
    padding = torch.arange(9) >= torch.tensor([9, 7, 8])[:, None]
    later = torch.ones(9, 9, dtype=torch.bool).triu(1)
    cases = [
        (nn.MultiheadAttention(16, 4, batch_first=True), (x, x, x), {"key_padding_mask": padding}),
        (nn.MultiheadAttention(16, 4, batch_first=True), (x, x, x), {"attn_mask": later, "is_causal": True}),
        (nn.MultiheadAttention(16, 4, batch_first=True), (x, x, x), {"attn_mask": later, "key_padding_mask": padding}),
        (nn.MultiheadAttention(16, 4), (x, x, x), {"attn_mask": numbers(3, 3)}),
        (nn.MultiheadAttention(16, 4), (x, x, x), {"attn_mask": numbers(36, 3, 3)}),
        (nn.MultiheadAttention(16, 4, kdim=12, vdim=12, batch_first=True), (x, y, y), {}),
        (nn.MultiheadAttention(16, 4, bias=False), (x[0], x[1], x[2]), {}),
    ]
    for attention, given, masks in cases:
        given = (
            tuple(t.clone().requires_grad_() for t in given)
            if given[0] is not given[1]
            else (x.clone().requires_grad_(),) * 3
        )
        exact = attention(*given, need_weights=False, **masks)[0]
        for p in attention.parameters():
            p.requires_grad_(False)
        (want,) = torch.autograd.grad(exact.square().sum(), given[0])
        for p in attention.parameters():
            p.requires_grad_(True)
        tuning = lean(attention, 8, 32, train="given")
        found = attention(*given, need_weights=False, **masks)[0]
        torch.testing.assert_close(found, exact, rtol=1e-5, atol=1e-5)
        (got,) = torch.autograd.grad(found.square().sum(), given[0])
        assert float((got - want).norm() / want.norm()) < 0.02
        assert tuning.done["attention"] == 1


def test_codes_of_your_own():
    class Squared(nn.Module):
        def forward(self, x):
            return torch.relu(x) ** 2

    module = nn.Sequential(nn.Linear(5, 40), Squared(), nn.Linear(40, 40), nn.GELU(), nn.Linear(40, 2))
    code = derivative_code(lambda x: np.maximum(x, 0) ** 2, 4, derivative=lambda x: 2 * np.maximum(x, 0))
    small = derivative_code("gelu", 2)
    x = numbers(30, 5)
    y = module(x)
    tuning = lean(module, codes={"Squared": code, "gelu": small})
    assert torch.equal(module(x), y)
    assert tuning.done["Squared"] == tuning.done["gelu"] == 1
    assert activation_bytes(module, x)["CodedElementwise"] == 30 * 40 * (4 + 2) // 8
    tuning.restore()
    assert all("forward" not in part.__dict__ for part in module.modules())
    with pytest.raises(ValueError, match="codes names 'Cubed', which is no class"):
        lean(module, codes={"Cubed": code})
    with pytest.raises(ValueError, match=r"codes\['gelu'\] must come from ml.derivative_code, got int"):
        lean(module, codes={"gelu": 4})


def test_what_is_refused_leaves_the_module_as_it_was():
    module = mlp(4, 8, 2)
    cases = [
        (ValueError, r"code_bits must be 2 .. 8, got 1$", {"code_bits": 1}),
        (ValueError, r"code_bits must be 2 .. 8, got 9$", {"code_bits": 9}),
        (ValueError, r"attention_bits must be 8, 16, 32 or None, got 4", {"attention_bits": 4}),
        (ValueError, r"input_bits must be 8, 16 or 32, got 5", {"input_bits": 5}),
        (
            ValueError,
            r'train must be "all", "given", or some of bias, prompt, side, got \'weights\'',
            {"train": "weights"},
        ),
        (ValueError, r"train must be .* got \[\]", {"train": []}),
        (ValueError, r"also names 'head', which is no parameter and no layer", {"also": ["head"]}),
        (TypeError, r"also must be a list of names, got one string; pass \['head'\]", {"also": "head"}),
        (ValueError, r'also is for train other than "given"', {"train": "given", "also": ["0"]}),
        (ValueError, r"rank must be a positive integer, got 0", {"train": "side", "rank": 0}),
        (ValueError, r"pool must divide the width 4 of the block '', got 3", {"train": "side", "pool": 3}),
        (ValueError, r"does not say how many positions there are: give length", {"train": "prompt"}),
        (ValueError, r"blocks names '7', which is no part of Sequential", {"train": "side", "blocks": ["7"]}),
        (ValueError, r"blocks is empty", {"train": "side", "blocks": []}),
        (ValueError, r"the block '1' has no linear layer", {"train": "side", "blocks": ["1"]}),
    ]
    keys = {n: p.requires_grad for n, p in module.named_parameters()}
    for error, message, options in cases:
        with pytest.raises(error, match=message):
            lean(module, **options)
        assert "forward" not in module.__dict__
        assert {n: p.requires_grad for n, p in module.named_parameters()} == keys
        assert not module._forward_hooks
    with pytest.raises(TypeError, match=r"must be a torch.nn.Module, got int"):
        lean(3)
    with pytest.raises(ValueError, match=r"Linear has no bias to train: choose prompt or side"):
        lean(nn.Linear(3, 3, bias=False))
    with pytest.raises(ValueError, match="Flatten has no parameter with a gradient"):
        lean(nn.Flatten(), train="given")
    with pytest.raises(ValueError, match="Flatten has no bias to train"):
        lean(nn.Flatten())
    lean(module)
    with pytest.raises(ValueError, match="Sequential is lean already"):
        lean(module)
    with pytest.raises(ValueError, match="Sequential is lean already"):
        lean(nn.ModuleList([module]))


def test_inputs_and_states_that_do_not_fit():
    module = encoder()
    tuning = lean(module, train="prompt", length=5)
    with pytest.raises(
        ValueError, match=r"prompt of the block 'layers.0' has 5 positions of width 16, the input 9 of 16"
    ):
        module(numbers(3, 9, 16))
    state = tuning.state()
    with pytest.raises(ValueError, match=r"'layers.1.lean_prompt_right' is in one of them only"):
        tuning.load({n: t for n, t in state.items() if n != "layers.1.lean_prompt_right"})
    with pytest.raises(ValueError, match=r"lean_prompt_left has shape \(5, 8\), the state has \(4, 8\)"):
        tuning.load(state | {"layers.0.lean_prompt_left": numbers(4, 8)})
    odd = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 4))
    lean(odd, train="side")
    with pytest.raises(ValueError, match=r"blocks that keep the shape: '' made \(3, 4\) of \(3, 8\)"):
        odd(numbers(3, 8))
    lean(words := bert(), train="prompt", blocks=[""])
    with pytest.raises(ValueError, match="first argument of the block '' is no tensor of numbers"):
        words(torch.arange(4)[None])


def test_layers_with_the_same_input_share_its_codes_until_it_changes():
    class Three(nn.Module):
        def __init__(self, f):
            super().__init__()
            self.a, self.b, self.c = (nn.Linear(16, 16) for _ in range(3))
            self.f = f

        def forward(self, x):
            y = self.a(x) + self.b(x)
            return y + self.c(self.f(x, 3))

    module, plain = Three(torch.Tensor.mul_), Three(torch.Tensor.mul)
    plain.load_state_dict(module.state_dict())
    tuning = lean(module, train="given", input_bits=16)
    batch = numbers(40, 16)
    exact, found = gradients(plain, batch.clone())[1], gradients(module, batch.clone())[1]
    assert {n: off({n: found[n]}, {n: exact[n]}) < 1e-4 for n in exact} == dict.fromkeys(exact, True)
    kept = activation_bytes(module, batch.clone())
    assert kept == {"LeanLinear": 2 * (40 * 16 * 2 + 40 * 2)}
    assert tuning.operations._given is None


@pytest.mark.parametrize("name", ["MLP", "encoder"])
def test_second_derivatives_are_refused(name):
    make, batch = NETWORKS[name]
    module = make()
    lean(module)
    (g,) = torch.autograd.grad(module(x := batch.clone().requires_grad_()).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        g.square().sum().backward()
