"""Training with few numbers, few bytes or no gradients, and weights in few bits, on an NVIDIA GPU."""

from __future__ import annotations

import copy

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
if not torch.cuda.is_available():
    pytest.skip("PyTorch finds no GPU", allow_module_level=True)

from helpers.small_networks import answer, network  # noqa: E402
from test_adapters import CASES, options_of  # noqa: E402

import ml  # noqa: E402
from ml.tasks.classification import answers, train  # noqa: E402
from ml.tuning.adapt import adapt  # noqa: E402
from ml.tuning.training_state import load_training, save_training  # noqa: E402


def on_gpu(name: str):
    """A network with frozen weights on the GPU, and its arguments."""
    module, arguments = network(name)
    return module.requires_grad_(False).cuda(), {k: v.cuda() for k, v in arguments.items()}


def close(a, b, tol=1e-4) -> bool:
    return float((a - b).norm()) <= tol * float(b.norm())


@pytest.fixture(autouse=True)
def _plain():
    torch.backends.mha.set_fastpath_enabled(False)
    yield
    torch.backends.mha.set_fastpath_enabled(True)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_an_adapter_begins_at_the_network_trains_and_comes_out_again(name, kind, tmp_path):
    module, arguments = on_gpu(name)
    before, weights = answer(module, arguments), {k: v.clone() for k, v in module.state_dict().items()}
    adapted = adapt(module, kind, **options_of(name, kind))
    assert all(p.is_cuda for p in adapted.parameters())
    if kind != "prefix":
        assert torch.equal(answer(module, arguments), before)
    optimizer = torch.optim.AdamW(adapted.parameters(), lr=0.05)
    for _ in range(2):
        found = module(**arguments)
        found = found if isinstance(found, torch.Tensor) else found[0]
        optimizer.zero_grad()
        (found - 1).square().mean().backward()
        optimizer.step()
    assert not torch.equal(answer(module, arguments), before)
    save_training(tmp_path / "state.safetensors", adapted, optimizer, step=2)
    assert load_training(tmp_path / "state.safetensors", adapted, optimizer) == 2
    ml.save_adapter(adapted, tmp_path / "one.safetensors")
    trained = answer(module, arguments)
    adapted.remove()
    assert all(torch.equal(v, weights[k]) for k, v in module.state_dict().items())
    assert torch.equal(answer(module, arguments), before)
    loaded = ml.load_adapter(tmp_path / "one.safetensors", module)
    assert torch.equal(answer(module, arguments), trained)
    if kind in ("lora", "ia3"):
        loaded.merge()
        assert close(answer(module, arguments), trained)


def test_an_adapter_of_the_cpu_is_that_of_the_gpu(tmp_path):
    first, arguments = network("bert")
    ml.save_adapter(adapt(first, "lora", rng=3), tmp_path / "cpu.safetensors")
    second, _ = on_gpu("bert")
    on_second = adapt(second, "lora", rng=3).state()
    assert all(torch.equal(v, on_second[k].cpu()) for k, v in adapt(network("bert")[0], "lora", rng=3).state().items())
    third, _ = on_gpu("bert")
    ml.load_adapter(tmp_path / "cpu.safetensors", third)
    assert close(answer(third, {k: v.cuda() for k, v in arguments.items()}).cpu(), answer(first, arguments))


@pytest.mark.parametrize("options", [{}, {"directions": 2, "weight_decay": 0.1}, {"projection": 2, "keep": 5}])
def test_replay_is_the_run_to_the_last_bit(options, tmp_path):
    def made():
        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.Linear(30, 40), torch.nn.Tanh(), torch.nn.Linear(40, 3)).cuda().eval()

    x = torch.randn(64, 30, generator=torch.Generator().manual_seed(1)).cuda()
    labels = x[:, :3].argmax(1)

    def loss(module, step):
        return torch.nn.functional.cross_entropy(module(x), labels)

    module = made()
    run = ml.mezo(loss, module, steps=40, rate=3e-3, eps=1e-2, log=tmp_path / "run.mezo", **options)
    assert run.losses[-5:].mean() < run.losses[:5].mean()
    replayed = ml.replay(made(), tmp_path / "run.mezo")
    assert all(torch.equal(p, q) for p, q in zip(replayed.parameters(), module.parameters(), strict=True))
    with pytest.raises(ValueError, match="bring the parameters to the kind of device of the run"):
        ml.replay(made().cpu(), tmp_path / "run.mezo")


@pytest.mark.parametrize("attention_bits", [32, 16, 8])
def test_lean_training_answers_as_the_plain_module_with_fewer_bytes(attention_bits):
    module, _ = on_gpu("bert")
    ids = torch.randint(1, 50, (16, 60), generator=torch.Generator().manual_seed(0)).cuda()
    for name, p in module.named_parameters():
        p.requires_grad_("bias" in name)
    module.train()
    for part in module.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    leaned = copy.deepcopy(module)
    ml.lean(leaned, attention_bits=attention_bits)

    def measured(network):
        network.zero_grad(set_to_none=True)
        y = network(input_ids=ids).last_hidden_state
        (y.square().sum() / 2).backward()
        return y.detach(), torch.cat([p.grad.flatten() for n, p in network.named_parameters() if p.grad is not None])

    exact, gradient = measured(module)
    found, lean_gradient = measured(leaned)
    assert close(found, exact, 1e-4)
    assert close(lean_gradient[: len(gradient)], gradient, 0.3)
    kept = [sum(ml.activation_bytes(m, {"input_ids": ids}).values()) for m in (module, leaned)]
    assert kept[1] < 0.6 * kept[0]


def test_weights_in_few_bits_are_those_of_the_cpu():
    first, arguments = network("bert")
    second = copy.deepcopy(first).cuda()
    for module in (first, second):
        ml.quantize_module(module, 4, gamma="search")
    assert all(torch.equal(p, q.cpu()) for p, q in zip(first.parameters(), second.parameters(), strict=True))
    assert close(answer(second, {k: v.cuda() for k, v in arguments.items()}).cpu(), answer(first, arguments), 1e-3)


def test_a_network_is_trained_and_asked_where_it_is():
    from test_adapter_study import make, task

    module = make(0).cuda()
    losses = train(module, task(), steps=60, batch_size=8, learning_rate=3e-3)
    assert losses[-1] < losses[0]
    found = answers(module, task(), task().held_out)
    assert found.logits.shape == (20, 2)
    assert close(
        torch.from_numpy(answers(module.cpu(), task(), task().held_out).logits), torch.from_numpy(found.logits)
    )
