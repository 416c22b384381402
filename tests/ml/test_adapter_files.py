"""Files of adapters: the trained network bit for bit, others refused; peft's files; interrupted training."""

from __future__ import annotations

import json
import re
import sys
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from helpers.small_networks import answer, network, perceptron  # noqa: E402

from lowrank.reading import FileFormatError  # noqa: E402
from ml.tuning.adapt import adapt  # noqa: E402
from ml.tuning.adapter_files import load_adapter, save_adapter  # noqa: E402
from ml.tuning.peft_format import load_peft, save_peft  # noqa: E402
from ml.tuning.tensors import to_array, to_tensor  # noqa: E402
from ml.tuning.training_state import load_training, save_training  # noqa: E402

CASES = [
    ("bert", "lora", {"rank": 3, "train": ["pooler"]}), ("bert", "bottleneck", {"rank": 2, "after": ("feed_forward",)}),
    ("hubert", "convolution", {"rank": 2}), ("llama", "ia3", {}), ("llama", "prefix", {"length": 2}),
    ("torch", "lora", {}), ("whisper", "adapter_bias", {}), ("whisper", "weighted_sum", {}), ("bert", "bitfit", {}),
    ("torch", "norms", {}), ("mlp", "head", {"train": ["2.*"]}),
    ("mlp", "lora", {"rank": {"0": 2, "2": 1}, "alpha": {"*": 3.0}}),
]  # fmt: skip


def disturbed(adapted, seed=2):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in adapted.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=generator))
    return adapted


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


@pytest.mark.parametrize(("name", "kind", "options"), CASES)
@pytest.mark.parametrize("suffix", [pytest.param(".npz", marks=pytest.mark.slow), ".safetensors"])
def test_file_and_base_are_the_trained_network(name, kind, options, suffix, tmp_path):
    module, arguments = network(name)
    adapted = disturbed(adapt(module, kind, **options))
    save_adapter(adapted, tmp_path / f"a{suffix}")
    fresh, _ = network(name)
    loaded = load_adapter(tmp_path / f"a{suffix}", fresh)
    assert torch.equal(answer(fresh, arguments), answer(module, arguments))
    assert same(loaded.state(), adapted.state())
    assert (loaded.kind, loaded.n_trained, loaded.names) == (adapted.kind, adapted.n_trained, adapted.names)
    loaded.remove()
    assert same(fresh.state_dict(), network(name)[0].state_dict())


def test_a_merged_adapter_writes_the_same_file(tmp_path):
    module, _ = network("bert")
    adapted = disturbed(adapt(module, "lora"))
    save_adapter(adapted, tmp_path / "a.npz")
    adapted.merge()
    save_adapter(adapted, tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_half_precision_comes_back_bit_for_bit(tmp_path):
    for kind in ("bfloat16", "float16", "float64", "int64", "bool"):
        tensor = torch.tensor([[1.25, -0.0, 3e4], [0.1, 7.0, 1.0]]).to(getattr(torch, kind))
        back = to_tensor(to_array(tensor), kind)
        assert back.dtype == tensor.dtype
        assert back.shape == tensor.shape
        assert (
            back.numpy(force=True).tobytes() == tensor.numpy(force=True).tobytes()
            if kind != "bfloat16"
            else torch.equal(back.view(torch.int16), tensor.view(torch.int16))
        )
    module = perceptron()[0].bfloat16()
    adapted = disturbed(adapt(module, "lora", rank=2))
    for suffix in (".npz", ".safetensors"):
        save_adapter(adapted, tmp_path / f"a{suffix}")
        assert same(load_adapter(tmp_path / f"a{suffix}", perceptron()[0].bfloat16()).state(), adapted.state())
    with pytest.raises(ValueError, match="is said to be float32"):
        to_tensor(np.zeros(2, np.float64), "float32")


def test_an_adapter_of_another_network_is_refused_and_the_module_stays(tmp_path):
    module, arguments = network("bert")
    save_adapter(disturbed(adapt(module, "lora", train=["pooler"])), tmp_path / "a.safetensors")
    other, _ = network("bert")
    with torch.no_grad():
        other.encoder.layer[0].output.dense.weight[0, 0] += 1e-3
    first, keys = answer(other, arguments), list(other.state_dict())
    with pytest.raises(ValueError, match="the same layers but other numbers: load the weights"):
        load_adapter(tmp_path / "a.safetensors", other)
    wider, _ = network("bert", max_position_embeddings=99)
    with pytest.raises(ValueError, match="a network with other layers, shapes or types"):
        load_adapter(tmp_path / "a.safetensors", wider)
    with pytest.raises(
        ValueError, match=r"holds a lora adapter that does not fit this module: 'pooler' names no module"
    ):
        load_adapter(tmp_path / "a.safetensors", network("llama")[0])
    assert torch.equal(answer(other, arguments), first)
    assert list(other.state_dict()) == keys
    assert all(p.requires_grad for p in other.parameters())
    head, _ = network("bert")  # a head that is stored may have been another one before
    torch.nn.init.normal_(head.pooler.dense.weight)
    load_adapter(tmp_path / "a.safetensors", head)
    assert torch.equal(answer(head, arguments), answer(module, arguments))
    load_adapter(tmp_path / "a.safetensors", other, check_base=False)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_damaged_files_are_refused(suffix, tmp_path):
    path = tmp_path / f"a{suffix}"
    adapted = disturbed(adapt(perceptron()[0], "lora", rank=2))
    expected = adapted.state()
    save_adapter(adapted, path)
    content = path.read_bytes()
    module = perceptron()[0]
    for position in range(0, len(content), max(1, len(content) // 60)):
        broken = bytearray(content)
        broken[position] ^= 0x41
        path.write_bytes(broken)
        try:
            loaded = load_adapter(path, module)
        except FileFormatError:
            continue
        assert suffix == ".npz"  # bytes of the archive that nothing depends on
        assert same(loaded.state(), expected)
        loaded.remove()
    for length in (0, 7, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(FileFormatError, match=re.escape(str(path))):
            load_adapter(path, module)
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(FileFormatError, match=r"does not hold an adapter; write it with ml.save_adapter"):
        load_adapter(tmp_path / "other.npz", module)
    with pytest.raises(ValueError, match=r"must end in .npz or .safetensors, got .*\.bin"):
        save_adapter(adapt(module, "lora"), tmp_path / "a.bin")
    with pytest.raises(FileNotFoundError):
        load_adapter(tmp_path / "none.npz", module)


def test_what_a_file_cannot_hold_is_said():
    module = perceptron()[0].to("meta")
    with pytest.raises(ValueError, match="meta device and has no numbers"):
        save_adapter(adapt(module, "lora"), "never.npz")
    with pytest.raises(ValueError, match="which a file cannot hold"):
        save_adapter(adapt(perceptron()[0], "lora", targets={"0"}), "never.npz")


def batches(seed, count):
    generator = torch.Generator().manual_seed(seed)
    return [(torch.randn(5, 8, generator=generator), torch.randn(5, 4, generator=generator)) for _ in range(count)]


def steps(module, optimizer, given):
    module.train()
    losses = []
    for x, y in given:
        optimizer.zero_grad()
        loss = (module(x) - y).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


@pytest.mark.parametrize("maker", ["AdamW", "SGD"])
def test_interrupted_training_goes_on_with_the_same_result(maker, tmp_path):
    """Dropout draws from the global random state, AdamW has moments, two groups have two rates."""

    def begin():
        module = torch.nn.Sequential(*perceptron()[0], torch.nn.BatchNorm1d(4))
        adapted = adapt(module, "lora", rank=2, dropout=0.3, train=["2.bias"])
        whole = adapted.parameters()
        extra = {"momentum": 0.9} if maker == "SGD" else {}
        groups = [{"params": whole[:2]}, {"params": whole[2:], "lr": 0.01}]
        return module, adapted, getattr(torch.optim, maker)(groups, lr=0.02, **extra)

    given = batches(0, 9)
    module, adapted, optimizer = begin()
    torch.manual_seed(8)
    losses = steps(module, optimizer, given)
    expected = adapted.state()
    module, adapted, optimizer = begin()
    torch.manual_seed(8)
    first = steps(module, optimizer, given[:4])
    save_training(tmp_path / "t.npz", adapted, optimizer, step=4)
    torch.manual_seed(99)
    module, adapted, optimizer = begin()
    at = load_training(tmp_path / "t.npz", adapted, optimizer)
    assert at == 4
    assert first + steps(module, optimizer, given[at:]) == losses
    assert same(adapted.state(), expected)


def test_a_training_of_something_else_is_refused(tmp_path):
    module, _ = perceptron()
    adapted = adapt(module, "lora", rank=2)
    optimizer = torch.optim.AdamW(adapted.parameters())
    steps(module, optimizer, batches(0, 1))
    save_training(tmp_path / "t.safetensors", adapted, optimizer)
    before = adapted.state()
    with pytest.raises(ValueError, match="trained by AdamW, the optimiser here is SGD"):
        load_training(tmp_path / "t.safetensors", adapted, torch.optim.SGD(adapted.parameters(), 0.1))
    with pytest.raises(ValueError, match="in the groups of its optimiser"):
        load_training(tmp_path / "t.safetensors", adapted, torch.optim.AdamW(adapted.parameters()[:1]))
    other = adapt(perceptron()[0], "bitfit")
    with pytest.raises(ValueError, match="training of a lora adapter of another network, or of another kind"):
        load_training(tmp_path / "t.safetensors", other, torch.optim.AdamW(other.parameters()))
    save_adapter(adapted, tmp_path / "a.npz")
    with pytest.raises(FileFormatError, match="does not hold a training of an adapter"):
        load_training(tmp_path / "a.npz", adapted, optimizer)
    assert same(adapted.state(), before)


def test_the_files_of_peft_come_back(tmp_path):
    for name, options in (
        ("bert", {"rank": 3, "alpha": 5, "train": ["pooler"]}),
        ("llama", {"rank": {"*q_proj": 2, "*": 4}}),
    ):
        module, arguments = network(name)
        adapted = disturbed(adapt(module, "lora", **options))
        save_peft(adapted, tmp_path / name, base="here")
        config = json.loads((tmp_path / name / "adapter_config.json").read_text())
        assert (config["peft_type"], config["base_model_name_or_path"]) == ("LORA", "here")
        fresh, _ = network(name)
        loaded = load_peft(tmp_path / name, fresh)
        assert torch.equal(answer(fresh, arguments), answer(module, arguments))
        assert loaded.n_trained == adapted.n_trained


@pytest.mark.parametrize("name", ["bert", "llama", "gpt2"])
def test_peft_reads_ours_and_we_read_theirs(name, tmp_path):
    peft = pytest.importorskip("peft")
    targets = {"bert": ["query", "value", "intermediate.dense"], "llama": ["q_proj", "down_proj"], "gpt2": ["c_attn"]}[
        name
    ]
    module, arguments = network(name)
    config = peft.LoraConfig(
        r=4, lora_alpha=6, target_modules=targets, rank_pattern={targets[0]: 2}, alpha_pattern={targets[-1]: 3},
        use_rslora=True, init_lora_weights=False, modules_to_save=["pooler"] if name == "bert" else None,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = peft.get_peft_model(module, config).eval()
        theirs.save_pretrained(tmp_path / "theirs")
        ours, _ = network(name)
        adapted = load_peft(tmp_path / "theirs", ours)
        expected = answer(theirs, arguments)
        torch.testing.assert_close(answer(ours, arguments), expected, rtol=1e-5, atol=1e-5)
        assert adapted.n_trained == theirs.get_nb_trainable_parameters()[0]
        save_peft(disturbed(adapted), tmp_path / "ours")
        back = peft.PeftModel.from_pretrained(network(name)[0], tmp_path / "ours").eval()
    torch.testing.assert_close(answer(back, arguments), answer(ours, arguments), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(answer(back, arguments), expected, rtol=1e-2)


def test_peft_files_that_are_something_else_are_refused(tmp_path):
    module, _ = network("bert")
    adapted = adapt(module, "lora", rank=2)
    save_peft(adapted, tmp_path)
    path, weights = tmp_path / "adapter_config.json", tmp_path / "adapter_model.safetensors"
    good, numbers = json.loads(path.read_text()), weights.read_bytes()
    fresh, _ = network("bert")
    for change, message in (
        ({"peft_type": "IA3"}, "type 'IA3'; LORA can be read"),
        ({"use_dora": True}, "asks for use_dora = True, which is no plain low-rank update"),
        ({"bias": "all"}, "asks for bias = 'all'"),
        ({"lora_alpha": None}, "damaged: lora_alpha is None"),
    ):
        path.write_text(json.dumps(good | change))
        with pytest.raises(ValueError, match=message):
            load_peft(tmp_path, fresh)
    path.write_text(json.dumps(good))
    with pytest.raises(
        ValueError, match=r"update of 'encoder.layer.0.attention.self.query', which LlamaForCausalLM has not"
    ):
        load_peft(tmp_path, network("llama")[0])
    narrow = network("bert")[0]
    narrow.encoder.layer[0].attention.self.query = torch.nn.Linear(12, 16)
    with pytest.raises(ValueError, match=r"query.ml_adapter.A has the shape \(2, 16\) in the state and \(2, 12\) here"):
        load_peft(tmp_path, narrow)
    weights.write_bytes(numbers[:-5])
    with pytest.raises(FileFormatError, match=r"damaged or no .safetensors file"):
        load_peft(tmp_path, fresh)
    path.write_text("{")
    with pytest.raises(FileFormatError):
        load_peft(tmp_path, fresh)
    assert all(p.requires_grad for p in fresh.parameters())
    for other, message in (
        (adapt(fresh, "ia3"), "this one is ia3"),
        (adapt(network("torch")[0], "lora"), "MultiheadAttention"),
    ):
        with pytest.raises(ValueError, match=message):
            save_peft(other, tmp_path)


def test_without_pytorch_the_line_that_installs_it_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(
        ImportError, match=r"ml.adapt needs the package torch, which is not installed: pip install torch"
    ):
        adapt(None, "lora")
