"""Operations that keep codes: their answers, the errors of their gradients, and their bytes."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lowrank.packing import pack  # noqa: E402
from ml.tuning.derivative_code import NAMED, derivative_code  # noqa: E402
from ml.tuning.lean_attention import coded_attention, coded_softmax, square_table  # noqa: E402
from ml.tuning.lean_elementwise import coded_dropout, coded_function  # noqa: E402
from ml.tuning.lean_linear import coded_linear, frozen_linear  # noqa: E402
from ml.tuning.lean_norms import coded_norm  # noqa: E402
from ml.tuning.lean_packing import CHUNK, CodeTable, pack_bits, row_codes, row_values, unpack_bits  # noqa: E402

functional = torch.nn.functional
FUNCTIONS = {
    "gelu": functional.gelu,
    "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "silu": functional.silu,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "softplus": functional.softplus,
}


@functools.cache
def table(name, bits):
    return CodeTable(derivative_code(name, bits))


def numbers(*shape, seed=0, grad=True, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=dtype).requires_grad_(grad)


def saved(call):
    """Result of a call, and the tensors it keeps for backward."""
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        result = call()
    return result, kept


def off(first, second):
    return float((first - second).detach().norm() / second.detach().norm())


@pytest.mark.parametrize("bits", range(1, 9))
def test_packing_is_that_of_lowrank(bits):
    for count in (1, 7, 8, 13, 64, 1001):
        codes = torch.randint(0, 2**bits, (count,), dtype=torch.uint8)
        packed = pack_bits(codes, bits)
        assert packed.untyped_storage().nbytes() - 8 < packed.numel() == math.ceil(count * bits / 8)
        np.testing.assert_array_equal(packed.numpy(), pack(codes.numpy().astype(np.int32)[None], bits)[0])
        assert torch.equal(unpack_bits(packed, bits, count), codes)


@pytest.mark.parametrize("name", list(FUNCTIONS))
def test_a_coded_function_answers_as_it_did_and_its_gradient_is_the_level(name):
    """Beyond a chunk, and in a shape; against the code of NumPy, but where a threshold was rounded."""
    x = numbers(3, CHUNK // 2 + 5)
    g = numbers(*x.shape, seed=1, grad=False)
    for bits in (2, 3, 4, 8):
        t = table(name, bits)
        y, kept = saved(lambda t=t: coded_function(x, FUNCTIONS[name], t))
        assert torch.equal(y, FUNCTIONS[name](x))
        assert [k.untyped_storage().nbytes() for k in kept] == [math.ceil(x.numel() * t.bits / 8)]
        (found,) = torch.autograd.grad(y, x, g)
        expected = g.double().numpy() * t.code.derivative(x.detach().double().numpy())
        wrong = np.abs(found.numpy() - expected) > 1e-6 * np.abs(expected)
        assert np.mean(wrong) < (0.1 if bits == 8 else 0.01)
        (exact,) = torch.autograd.grad(FUNCTIONS[name](x), x, g)
        assert off(found, exact) == pytest.approx(t.code.relative_error, rel=0.02, abs=1e-7)


def test_relu_is_exact_at_zero_too():
    x = torch.tensor([-1.0, -0.0, 0.0, 1e-45, 3e-39, 2.0, math.inf, -math.inf], requires_grad=True)
    (found,) = torch.autograd.grad(coded_function(x, torch.relu, table("relu", 4)).sum(), x)
    (exact,) = torch.autograd.grad(torch.relu(x).sum(), x)
    assert torch.equal(found, exact)
    assert table("relu", 4).pack(x).numel() == 1


@pytest.mark.parametrize("name", [name for name in NAMED if name != "relu"])
def test_gradient_error_halves_with_each_bit(name):
    x, g, bits = numbers(20_000), numbers(20_000, seed=1, grad=False), (2, 3, 4, 6, 8)
    (exact,) = torch.autograd.grad(FUNCTIONS[name](x), x, g)
    errors = [
        off(torch.autograd.grad(coded_function(x, FUNCTIONS[name], table(name, b)), x, g)[0], exact) for b in bits
    ]
    assert -1.04 < np.polyfit(bits, np.log2(errors), 1)[0] < -0.95


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_types_stay(dtype):
    x = numbers(300, dtype=torch.float64, grad=False).to(dtype).requires_grad_()
    y = coded_function(x, torch.tanh, table("tanh", 4))
    (found,) = torch.autograd.grad(y.sum(), x)
    assert y.dtype == found.dtype == dtype
    assert off(found.double(), 1 - torch.tanh(x.double()) ** 2) < 0.03


def test_infinite_and_nan_inputs_do_no_harm():
    x = torch.tensor([math.nan, math.inf, -math.inf, 1e30, 0.0], requires_grad=True)
    y = coded_function(x, functional.gelu, table("gelu", 4))
    (found,) = torch.autograd.grad(y.sum(), x)
    assert torch.isnan(y[0])
    levels = table("gelu", 4).code
    np.testing.assert_allclose(found[1:].numpy(), levels.derivative([math.inf, -math.inf, 1e30, 0.0]), rtol=1e-6)


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_dropout_draws_the_same_and_keeps_one_bit(p):
    x, g = numbers(5, CHUNK // 4 + 3), numbers(5, CHUNK // 4 + 3, seed=1, grad=False)
    torch.manual_seed(3)
    exact = functional.dropout(x, p)
    torch.manual_seed(3)
    y, kept = saved(lambda: coded_dropout(x, p))
    assert torch.equal(y, exact)
    assert torch.equal(torch.autograd.grad(y, x, g)[0], torch.autograd.grad(exact, x, g)[0])
    assert [k.untyped_storage().nbytes() for k in kept] == [math.ceil(x.numel() / 8)]


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("shape", [(4, 9, 24), (7, 24), (24,)])
def test_gradients_of_frozen_layers_are_those_of_autograd_to_the_bit(shape, autocast):
    layer = torch.nn.Linear(24, 40)
    layer.weight.requires_grad_(False)
    x = numbers(*shape)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        plain = functional.linear(x, layer.weight, layer.bias)
        lean, kept = saved(lambda: frozen_linear(x, layer.weight, layer.bias))
    assert torch.equal(plain, lean)
    g = numbers(*plain.shape, seed=2, grad=False).to(plain.dtype)
    for first, second in zip(*(torch.autograd.grad(y, (x, layer.bias), g) for y in (plain, lean)), strict=True):
        assert first.dtype == second.dtype
        assert torch.equal(first, second)
    assert [k.data_ptr() for k in kept] == [layer.weight.data_ptr()]


@pytest.mark.parametrize(("bits", "most"), [(8, 0.01), (16, 4e-5)])
def test_trained_layers_keep_rounded_inputs(bits, most):
    layer, x = torch.nn.Linear(64, 40), numbers(50, 64)
    codes, scale = row_codes(x.detach(), bits)
    assert float(((row_values(codes, scale, torch.float32) - x.detach()).abs() / scale.float()).max()) <= 0.5 + 1e-3
    plain = layer(x)
    lean, kept = saved(lambda: coded_linear(x, layer.weight, layer.bias, codes, scale))
    assert torch.equal(plain, lean)
    g = numbers(50, 40, seed=1, grad=False)
    exact = torch.autograd.grad(plain, (x, layer.weight, layer.bias), g)
    found = torch.autograd.grad(lean, (x, layer.weight, layer.bias), g)
    assert torch.equal(found[0], exact[0])
    assert torch.equal(found[2], exact[2])
    assert 0 < off(found[1], exact[1]) < most
    assert sum(k.untyped_storage().nbytes() for k in kept[1:]) == 50 * 64 * bits // 8 + 50 * 2


@pytest.mark.parametrize("centred", [True, False])
def test_norms(centred):
    x, w, b = numbers(3, 700, 48), numbers(48, seed=1), numbers(48, seed=2)

    def forward(x, w, b):
        return functional.layer_norm(x, (48,), w, b, 1e-5) if centred else functional.rms_norm(x, (48,), w, 1e-5)

    b = b if centred else None
    inputs = (x, w, b) if centred else (x, w)
    g = numbers(3, 700, 48, seed=3, grad=False)
    exact = torch.autograd.grad(forward(x, w, b), inputs, g)
    errors = []
    for bits in (2, 3, 4, 6, 8):
        y, kept = saved(lambda bits=bits: coded_norm(x, (48,), w, b, 1e-5, bits, forward, centred))
        assert torch.equal(y, forward(x, w, b))
        bytes_kept = sum(k.untyped_storage().nbytes() for k in kept if k.data_ptr() != w.data_ptr())
        assert bytes_kept == 2100 * 48 * bits // 8 + 4 * 2100
        found = torch.autograd.grad(y, inputs, g)
        errors.append([off(f, e) for f, e in zip(found, exact, strict=True)])
        if centred:
            assert off(found[2], exact[2]) < 1e-6
            assert float(found[0].detach().sum(-1).abs().max()) < 1e-4
    for column in (0, 1):
        assert -1.5 < np.polyfit((3, 4, 6, 8), np.log2([row[column] for row in errors[1:]]), 1)[0] < -0.95
    assert errors[2][0] < 0.035
    assert errors[2][1] < 0.15


def test_norms_of_rows_that_are_nearly_constant():
    """Their variance is of the size of eps, or zero: the normalised row is not of unit size, and the code knows it."""
    x = (numbers(6, 64, grad=False) * torch.tensor([0.0, 1e-4, 1e-3, 3e-3, 1e-2, 1.0])[:, None] + 2).requires_grad_()
    g = numbers(6, 64, seed=1, grad=False)

    def forward(x, w, b):
        return functional.layer_norm(x, (64,), w, b, 1e-5)

    lean = coded_norm(x, (64,), None, None, 1e-5, 8, forward, True)
    exact, found = (torch.autograd.grad(y, x, g)[0] for y in (forward(x, None, None), lean))
    for e, f in zip(exact, found, strict=True):
        assert off(f, e) < 3e-3


def attention(bits, code_bits, mask=None, causal=False, scale=None, p=0.0, **kinds):
    q, k, v = (numbers(2, 3, t, 16, seed=s, **kinds) for s, t in enumerate((20, 28, 28)))
    plain = functional.scaled_dot_product_attention(q, k, v, mask, p, causal, scale=scale)
    lean, kept = saved(lambda: coded_attention(q, k, v, mask, p, causal, scale, bits, code_bits))
    g = numbers(*plain.shape, seed=5, grad=False, **kinds)
    return plain, lean, kept, torch.autograd.grad(plain, (q, k, v), g), torch.autograd.grad(lean, (q, k, v), g)


MASKS = {
    "none": {},
    "causal": {"causal": True},
    "scale": {"scale": 0.7},
    "boolean": {"mask": torch.arange(28) < torch.tensor([20, 28])[:, None, None, None]},
    "added": {"mask": torch.linspace(-3, 3, 28).expand(20, 28)},
}


@pytest.mark.parametrize("name", list(MASKS))
def test_attention(name):
    errors = []
    for code_bits in (2, 3, 4, 6, 8):
        plain, lean, _, exact, found = attention(32, code_bits, **MASKS[name])
        assert float((plain - lean).detach().abs().max()) < 3e-6
        errors.append([off(f, e) for f, e in zip(found, exact, strict=True)])
    slopes = [np.polyfit((2, 3, 4, 6, 8), np.log2(column), 1)[0] for column in zip(*errors, strict=True)]
    assert all(-1.3 < slope < -0.95 for slope in slopes)
    assert max(errors[2]) < 0.1
    for bits, most in ((16, 2e-4), (8, 0.02)):
        *_, rough = attention(bits, 8, **MASKS[name])
        assert max(off(r, f) for r, f in zip(rough, found, strict=True)) < most


def test_attention_with_codes_of_all_p_is_that_of_autograd():
    """In double precision, with the code taken away: the formulas of the backward pass are exact."""
    from ml.tuning import lean_attention

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lean_attention, "_encode", lambda p, m: torch.zeros_like(p, dtype=torch.uint8))
        patch.setattr(lean_attention, "_decode", lambda packed, table, shape, kind: next(rows))
        q, k = numbers(2, 3, 20, 16, dtype=torch.float64), numbers(2, 3, 28, 16, seed=1, dtype=torch.float64)
        rows = iter((q @ k.transpose(-1, -2) / 4).softmax(-1).detach())
        patch.setattr(lean_attention, "HELD", 3 * 20 * 28)
        _, _, _, exact, found = attention(32, 8, dtype=torch.float64)
    for f, e in zip(found, exact, strict=True):
        torch.testing.assert_close(f, e, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("bits", "each"), [(32, 4), (16, 2), (8, 1)])
def test_bytes_of_attention(bits, each):
    plain, _, kept, *_ = attention(bits, 4)
    rows = 2 * 3 * (20 + 28 + 28)
    expected = math.ceil(2 * 3 * 20 * 28 * 4 / 8) + rows * (16 * each + (0 if bits == 32 else 2))
    assert sum(k.untyped_storage().nbytes() for k in kept) == expected
    torch.manual_seed(0)
    _, _, kept, *_ = attention(bits, 3, p=0.2)
    dropped = 2 * math.ceil(3 * 20 * 28 / 8)
    assert sum(k.untyped_storage().nbytes() for k in kept) == expected + dropped - 2 * 3 * 20 * 28 // 8
    assert plain.shape == (2, 3, 20, 16)


def test_dropout_of_attention_draws_the_same():
    q, k, v = (numbers(2, 3, 24, 16, seed=s) for s in range(3))
    torch.manual_seed(4)
    plain = functional.scaled_dot_product_attention(q, k, v, dropout_p=0.3)
    torch.manual_seed(4)
    lean = coded_attention(q, k, v, None, 0.3, False, None, 32, 8)
    assert float((plain - lean).detach().abs().max()) < 2e-6
    for f, e in zip(*(torch.autograd.grad(y.square().sum(), (q, k, v)) for y in (lean, plain)), strict=True):
        assert off(f, e) < 0.01


def test_a_row_that_sees_nothing_is_zero():
    q, k, v = (numbers(1, 1, 4, 8, seed=s) for s in range(3))
    mask = torch.ones(4, 4, dtype=torch.bool)
    mask[2] = False
    y = coded_attention(q, k, v, mask, 0.0, False, None, 8, 4)
    assert torch.equal(y[0, 0, 2], torch.zeros(8))
    grads = torch.autograd.grad(y.sum(), (q, k, v))
    assert all(torch.isfinite(g).all() for g in grads)
    assert torch.equal(grads[0][0, 0, 2], torch.zeros(8))


def test_softmax_by_itself():
    x, g = numbers(40, 7, 90), numbers(40, 7, 90, seed=1, grad=False)
    (exact,) = torch.autograd.grad(x.softmax(-1), x, g)
    errors = []
    for bits in (2, 4, 6, 8):
        y, kept = saved(lambda bits=bits: coded_softmax(x, bits, lambda t: t.softmax(-1)))
        assert torch.equal(y, x.softmax(-1))
        assert sum(k.untyped_storage().nbytes() for k in kept) == 40 * 7 * 90 * bits // 8
        (found,) = torch.autograd.grad(y, x, g)
        assert float(found.sum(-1).abs().max()) < 1e-6  # rows of the code sum to one
        errors.append(off(found, exact))
    assert -1.3 < np.polyfit((2, 4, 6, 8), np.log2(errors), 1)[0] < -0.95
    assert square_table(4).levels[-1] == 1
