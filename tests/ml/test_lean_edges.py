"""Lean modules beside plain ones where shapes, options and types are unusual."""

from __future__ import annotations

import copy
import warnings

import pytest

torch = pytest.importorskip("torch")

from ml.tuning.derivative_code import derivative_code  # noqa: E402
from ml.tuning.lean import lean  # noqa: E402

functional = torch.nn.functional


class Network(torch.nn.Module):
    """A function of the input and a few layers."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.factor = torch.nn.Parameter(torch.ones(8))
        self.linear, self.norm = torch.nn.Linear(8, 8), torch.nn.LayerNorm(8)

    def forward(self, x):
        return self.function(self, x * self.factor)


def both(function, x, train="given", **options):
    """Answers and gradients of the input, plain and lean, and what was left."""
    torch.manual_seed(0)
    plain = Network(function)
    other = copy.deepcopy(plain)
    tuning = lean(other, train=train, **{"code_bits": 8} | options)
    found = []
    for network in (plain, other):
        given = x.clone().requires_grad_()
        y = network(given)
        y.backward(torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y.dtype))
        found.append((y.detach(), given.grad))
    return *found, tuning.left


def off(first, second):
    return float((first - second).norm() / second.norm())


@pytest.mark.parametrize("shape", [(8,), (3, 8), (2, 3, 8), (2, 2, 3, 8)])
def test_a_softmax_without_an_axis_takes_that_of_pytorch(shape):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for function in (lambda m, x: functional.softmax(x), lambda m, x: torch.nn.Softmax()(x)):
            plain, other, left = both(function, torch.randn(shape))
            assert torch.equal(plain[0], other[0])
            assert torch.equal(plain[1], other[1])
            assert "softmax" in left


def test_softplus_is_linear_above_its_threshold():
    plain, other, left = both(lambda m, x: functional.softplus(3 * x, 1.0, 1.0), torch.randn(50, 8))
    assert torch.equal(plain[1], other[1])
    assert "threshold" in left["softplus"]
    plain, other, left = both(lambda m, x: functional.softplus(3 * x), torch.randn(50, 8))
    assert "softplus" not in left
    assert 0 < off(other[1], plain[1]) < 0.02


@pytest.mark.parametrize("train", ["given", "bias"])
@pytest.mark.parametrize("shape", [(0, 8), (0, 3, 8), (2, 0, 8)])
def test_batches_of_nothing(shape, train):
    def function(m, x):
        x = m.norm(m.linear(x))
        x = functional.scaled_dot_product_attention(x[None], x[None], x[None])[0] if x.dim() == 3 and len(x) == 0 else x
        return functional.gelu(functional.dropout(x, 0.3)).softmax(-1)

    plain, other, _ = both(function, torch.zeros(shape), train, input_bits=8)
    assert plain[0].shape == other[0].shape
    assert plain[1].shape == other[1].shape == shape


@pytest.mark.parametrize("keys", [lambda x: x[:, :1], lambda x: x[:1]])
def test_keys_that_are_broadcast_are_left_to_pytorch(keys):
    plain, other, left = both(
        lambda m, x: functional.scaled_dot_product_attention(x, keys(x), keys(x)), torch.randn(2, 3, 4, 8)
    )
    assert torch.equal(plain[1], other[1])
    assert "batch" in left["attention"]


def test_grouped_queries():
    plain, other, left = both(
        lambda m, x: functional.scaled_dot_product_attention(x, x[:, :2], x[:, :2], enable_gqa=True),
        torch.randn(2, 4, 5, 8),
    )
    assert off(other[0], plain[0]) < 1e-6
    assert off(other[1], plain[1]) < 0.02
    assert "attention" not in left


def test_a_weight_that_is_no_matrix_and_an_output_that_is_given():
    def function(m, x):
        torch.tanh(x.detach(), out=torch.empty_like(x))
        return functional.linear(x, m.linear.bias.detach())

    plain, other, left = both(function, torch.randn(4, 8))
    assert torch.equal(plain[1], other[1])
    assert "linear" in left


@pytest.mark.parametrize(("bits", "most"), [(8, 0.01), (16, 0.002)])
def test_small_inputs_in_float16_keep_their_digits(bits, most):
    torch.manual_seed(0)
    plain = torch.nn.Sequential(torch.nn.Linear(64, 32)).half()
    other = copy.deepcopy(plain)
    lean(other, train="given", input_bits=bits)
    x, g = (1e-3 * torch.randn(16, 64)).half(), torch.randn(16, 32).half()
    for network in (plain, other):
        network(x).backward(g)
    assert off(other[0].weight.grad.float(), plain[0].weight.grad.float()) < most


class Scaled(torch.nn.Module):
    """tanh with a trained factor."""

    def __init__(self):
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor(1.0))

    def forward(self, x):
        return torch.nn.functional.tanh(self.factor * x)


def test_a_function_with_trained_parameters_keeps_their_gradient():
    network = torch.nn.Sequential(torch.nn.Linear(4, 4), Scaled())
    tuning = lean(network, train="given", codes={"Scaled": derivative_code("tanh")})
    network(torch.ones(3, 4)).sum().backward()
    assert network[1].factor.grad is not None
    assert "trained parameters" in tuning.left["Scaled"]
    tuning.restore()
    tuning = lean(network, train="bias", codes={"Scaled": derivative_code("tanh")})
    network(torch.ones(3, 4)).sum().backward()
    assert tuning.done["Scaled"] == 1
    assert "Scaled" not in tuning.left


def test_a_shared_weight_is_trained_by_any_of_its_names():
    network = torch.nn.Sequential(torch.nn.Embedding(10, 8), torch.nn.Linear(8, 10))
    network[1].weight = network[0].weight
    assert set(lean(network, also=["1"]).trained) == {"0.weight", "1.bias"}


def test_gradients_of_earlier_training_do_not_move_what_is_frozen():
    network = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.GELU())
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    network(torch.ones(3, 4)).sum().backward()
    before = network[0].weight.detach().clone()
    lean(network, train="bias")
    optimizer.step()
    assert torch.equal(network[0].weight, before)


@pytest.mark.parametrize("train", ["bias", "prompt"])
def test_training_that_is_broken_off_goes_on_bit_for_bit(train):
    """Ctrl-C in the middle of a pass; the rest in a new module from state, optimiser and random numbers."""

    def made():
        torch.manual_seed(0)
        layer = torch.nn.TransformerEncoderLayer(16, 2, dim_feedforward=32, dropout=0.2, batch_first=True)
        module = torch.nn.Sequential(
            torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), torch.nn.Linear(16, 2)
        )
        tuning = lean(module, attention_bits=8, train=train, **({"length": 6} if train == "prompt" else {}))
        return module, tuning, torch.optim.Adam([p for p in module.parameters() if p.requires_grad], lr=1e-2)

    def steps(module, optimizer, first, last):
        for step in range(first, last):
            x = torch.randn(4, 6, 16, generator=torch.Generator().manual_seed(step))
            loss = module(x).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    module, tuning, optimizer = made()
    torch.manual_seed(1)
    steps(module, optimizer, 0, 8)
    whole = tuning.state()

    module, tuning, optimizer = made()
    torch.manual_seed(1)
    steps(module, optimizer, 0, 4)
    kept = tuning.state(), copy.deepcopy(optimizer.state_dict()), torch.get_rng_state()
    broken = module[1].register_forward_hook(lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        steps(module, optimizer, 4, 8)
    broken.remove()
    torch.set_rng_state(kept[2])
    steps(module, optimizer, 4, 8)  # the same module goes on
    for name, tensor in tuning.state().items():
        assert torch.equal(tensor, whole[name])

    module, tuning, optimizer = made()
    tuning.load(kept[0])
    optimizer.load_state_dict(kept[1])
    torch.set_rng_state(kept[2])
    steps(module, optimizer, 4, 8)
    for name, tensor in tuning.state().items():
        assert torch.equal(tensor, whole[name])
