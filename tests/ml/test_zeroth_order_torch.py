"""Training of PyTorch modules without gradients, and the loss of a language model in slices."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from ml.tuning import zeroth_order_arrays  # noqa: E402
from ml.tuning.sliced_loss import language_model_loss, sliced_cross_entropy  # noqa: E402
from ml.tuning.zeroth_order import MezoWarning, mezo, replay  # noqa: E402
from ml.tuning.zeroth_order_numbers import TorchSource  # noqa: E402


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def network(dtype=torch.float32):
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(30, 40), torch.nn.Tanh(), torch.nn.Linear(40, 3)).to(dtype).eval()


def batch(step: int):
    generator = torch.Generator().manual_seed(step % 4)
    x = torch.randn(32, 30, generator=generator)
    return x, (x[:, :3].argmax(1))


def loss(module, step: int):
    x, y = batch(step)
    return torch.nn.functional.cross_entropy(module(x.to(module[0].weight.dtype)).float(), y)


def state(module):
    return [p.detach().clone() for p in module.parameters()]


def same(a, b) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize(
    "options",
    [{}, {"directions": 3, "weight_decay": 0.1, "schedule": "cosine"}, {"projection": 2, "keep": 5}],
    ids=["plain", "directions", "low rank"],
)
@pytest.mark.parametrize("kind", ["float32", "float64", "float16", "bfloat16"])
def test_replay_is_the_run_to_the_last_bit(tmp_path, options, kind) -> None:
    dtype = getattr(torch, kind)
    half = "copy" if kind.endswith("16") else "refuse"
    module = network(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MezoWarning)
        run = mezo(loss, module, steps=25, rate=3e-3, eps=1e-2, half=half, log=tmp_path / "run.mezo", **options)
    assert not same(state(module), state(network(dtype)))
    assert all(p.dtype == dtype for p in module.parameters())
    assert same(state(replay(network(dtype), run.log)), state(module))
    assert same(state(replay(network(dtype), tmp_path / "run.mezo")), state(module))
    if kind == "float32":
        # the log of a module fits its weights as plain arrays: the numbers of a CPU are NumPy's
        arrays = [p.numpy() for p in state(network(dtype))]
        replay(arrays, run.log)
        assert all(np.array_equal(a, p.numpy()) for a, p in zip(arrays, state(module), strict=True))


def test_training_lowers_the_loss_and_only_trains_what_requires_a_gradient() -> None:
    module = network()
    module[0].weight.requires_grad_(False)
    frozen = module[0].weight.clone()
    seen = []
    run = mezo(
        lambda m, s: (seen.append(torch.is_grad_enabled()), loss(m, s))[1], module, steps=400, rate=1e-2, eps=1e-3
    )
    assert run.log.fits.names == ("0.bias", "2.weight", "2.bias")
    assert torch.equal(module[0].weight, frozen)
    assert np.mean(run.losses[-40:]) < 0.9 * np.mean(run.losses[:40])
    assert not any(seen)
    assert torch.is_grad_enabled()


def test_a_soft_prompt_can_be_what_is_trained() -> None:
    module = network()
    before = state(module)
    prompt = torch.zeros(30)
    x, y = batch(0)

    def prompted(given, step):
        return torch.nn.functional.cross_entropy(module(x + given[0]), y)

    run = mezo(prompted, [prompt], steps=200, rate=0.05, eps=1e-2, directions=2)
    assert same(state(module), before)
    assert run.losses[-1] < run.losses[0]
    assert torch.equal(replay([torch.zeros(30)], run.log)[0], prompt)


def test_tied_weights_are_moved_once() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(6, 6), torch.nn.Linear(6, 6)).eval()
    module[1].weight = module[0].weight
    run = mezo(lambda m, s: m(torch.ones(6)).square().sum(), module, steps=3, rate=1e-3, eps=1e-2)
    assert run.log.fits.names == ("0.weight", "0.bias", "1.bias")
    with pytest.raises(ValueError, match="share memory"):
        mezo(lambda m, s: 0.0, [module[0].weight, module[1].weight], steps=1, rate=1e-3, eps=1e-2)


def test_pytorchs_own_numbers_do_the_same(monkeypatch) -> None:
    """The path of a GPU, on the CPU: other numbers, the same exactness; a log of other numbers is refused."""
    run = mezo(loss, network(), steps=2, rate=1e-3, eps=1e-2)
    monkeypatch.setattr(zeroth_order_arrays, "_kind", lambda name, x: "device")
    for options in ({"directions": 2, "weight_decay": 0.1}, {"projection": 2}):
        module, mine = network(), network()
        mine_run = mezo(loss, mine, steps=15, rate=1e-3, eps=1e-2, **options)
        assert mine_run.log.fits.numbers == "torch cpu"
        mezo(loss, module, steps=15, rate=1e-3, eps=1e-2, **options)
        assert same(state(mine), state(module))
        assert same(state(replay(network(), mine_run.log)), state(module))
    with pytest.warns(MezoWarning, match="exactly zero"):
        mezo(lambda m, s: 1.0, module, steps=50, rate=1e-3, eps=1e-2)
    rounded = state(module)
    with pytest.warns(MezoWarning, match="exactly zero"):
        mezo(lambda m, s: 1.0, module, steps=50, rate=1e-3, eps=1e-2, rng=1)
    assert same(state(module), rounded)
    module = network(torch.bfloat16)
    copied = mezo(loss, module, steps=5, rate=1e-2, eps=1e-2, half="copy")
    assert same(state(replay(network(torch.bfloat16), copied.log)), state(module))
    with pytest.raises(ValueError, match="those of numpy, here they would be those of torch cpu"):
        replay(network(), run.log)


def test_uses_of_a_seed_are_independent() -> None:
    source = TorchSource(torch, torch.device("cpu"))
    a, b, c = (source.numbers(seed, use).normal(20000, torch.float32) for seed, use in ((1, 0), (1, 1), (1 + 2**40, 0)))
    for x, y in ((a, b), (a, c), (b, c)):
        assert abs(float((x * y).mean())) < 0.04
    assert torch.equal(a, source.numbers(1, 0).normal(20000, torch.float32))


def test_dropout_in_training_mode_is_warned_of() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(30, 8), torch.nn.Dropout(0.1), torch.nn.Linear(8, 3))
    with pytest.warns(MezoWarning, match=r"1 \(Dropout\) is in training mode.*module.eval"):
        mezo(loss, module, steps=1, rate=1e-3, eps=1e-2)
    with pytest.warns(MezoWarning, match="BatchNorm1d"):
        mezo(lambda m, s: m(torch.randn(4, 3)).sum(), torch.nn.BatchNorm1d(3), steps=1, rate=1e-3, eps=1e-2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mezo(loss, module.eval(), steps=1, rate=1e-3, eps=1e-2)


def test_what_cannot_be_trained_is_refused() -> None:
    frozen = network().requires_grad_(False)
    for given, error, message in (
        (frozen, ValueError, "no parameter of the module requires_grad"),
        (torch.zeros(3), TypeError, "got one array"),
        ([torch.zeros(3), np.zeros(3)], TypeError, "mixes"),
        ([torch.zeros(3, dtype=torch.int32)], TypeError, "is int32"),
        ([torch.zeros(3, 4).T], ValueError, "not contiguous"),
        (network(torch.bfloat16), ValueError, r"parameter 0\.weight is bfloat16.*half='copy'"),
    ):
        with pytest.raises(error, match=message):
            mezo(loss, given, steps=1, rate=1e-3, eps=1e-2)
    with pytest.raises(TypeError, match="the loss must be one number, got Tensor at step 0"):
        mezo(lambda m, s: torch.zeros(2), network(), steps=1, rate=1e-3, eps=1e-2)


def test_sliced_cross_entropy_is_the_whole_one() -> None:
    torch.manual_seed(0)
    hidden, head = torch.randn(3, 20, 8), torch.nn.Linear(8, 50)
    targets = torch.randint(0, 50, (3, 20))
    targets[0, :7] = -100
    expected = torch.nn.functional.cross_entropy(head(hidden).reshape(-1, 50), targets.reshape(-1)).item()
    sizes = []
    head.register_forward_hook(lambda m, given, out: sizes.append(out.shape[0]))
    for rows in (1, 7, 53, 1000):
        sizes.clear()
        assert sliced_cross_entropy(hidden, head, targets, rows=rows) == pytest.approx(expected, rel=1e-6)
        assert max(sizes) <= rows
        assert sum(sizes) == 53
    for change, message in (
        ({"targets": targets[:, :-1]}, r"targets must have the shape \(3, 20\)"), ({"rows": 0}, "rows must be"),
        ({"targets": torch.full((3, 20), -100)}, "no target counts"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            sliced_cross_entropy(**{"hidden": hidden, "head": head, "targets": targets, **change})


def test_language_model_loss_is_that_of_the_model() -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    sizes = {"vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    llama = transformers.LlamaConfig(**sizes, num_key_value_heads=1, intermediate_size=24, max_position_embeddings=64)
    gpt2 = transformers.GPT2Config(vocab_size=60, n_embd=16, n_layer=2, n_head=2, n_positions=64)
    ids = torch.randint(0, 60, (3, 12))
    for model in (transformers.LlamaForCausalLM(llama), transformers.GPT2LMHeadModel(gpt2)):
        model.eval()
        targets = ids.clone()
        targets[1, 5:] = -100
        expected = model(input_ids=ids, labels=targets).loss.item()
        assert language_model_loss(model, {"input_ids": ids}, targets, rows=5) == pytest.approx(expected, rel=1e-5)
    # a soft prompt before the text, tuned alone
    table = model.get_input_embeddings()
    prompt = torch.zeros(4, 16)
    labels = torch.cat([torch.full((3, 4), -100), ids], 1)

    def prompted(given, step):
        embedded = torch.cat([given[0].expand(3, -1, -1), table(ids)], 1)
        return language_model_loss(model, {"inputs_embeds": embedded}, labels, rows=8)

    before = copy.deepcopy(model.state_dict())
    run = mezo(prompted, [prompt], steps=60, rate=0.3, eps=1e-2, directions=4)
    assert prompted([prompt], 0) < prompted([torch.zeros(4, 16)], 0)
    assert all(torch.equal(a, before[k]) for k, a in model.state_dict().items())
    assert run.zeros < 0.1
    with pytest.raises(TypeError, match="is no causal language model"):
        language_model_loss(network(), {}, ids)
    model.config.final_logit_softcapping = 30.0
    with pytest.raises(ValueError, match="changes its logits by final_logit_softcapping"):
        language_model_loss(model, {"input_ids": ids}, ids)
