"""Adapters in networks that share weights or are adapted in parts; training that goes on with another optimiser."""

from __future__ import annotations

import pickle
import warnings

import pytest

torch = pytest.importorskip("torch")

from helpers.small_networks import answer, network  # noqa: E402

from ml.tuning.adapt import adapt  # noqa: E402
from ml.tuning.adapter_files import load_adapter, save_adapter  # noqa: E402
from ml.tuning.lean import lean  # noqa: E402
from ml.tuning.training_state import load_training, save_training  # noqa: E402


def square():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.GELU(), torch.nn.Linear(8, 8))


def test_a_shared_weight_is_trained_by_any_of_its_names():
    network = torch.nn.Sequential(torch.nn.Embedding(10, 8), torch.nn.Linear(8, 10))
    network[1].weight = network[0].weight
    assert adapt(network, "head", train=["1"]).names == ("0.weight", "1.bias")


def test_a_part_that_was_adapted_later_goes_first():
    network = square()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    outer, inner = adapt(network, "bitfit"), adapt(network[0], "lora", rank=2)
    with pytest.raises(ValueError, match="'0', a part of the module, was adapted after it"):
        outer.remove()
    inner.remove()
    outer.remove()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(p.requires_grad for p in network.parameters())


def test_an_optimiser_with_parameters_in_another_order_is_refused(tmp_path):
    """All parameters have one shape here, so that its state would be loaded for the wrong ones."""
    network = square()
    adapted = adapt(network, "lora", rank=8)
    optimizer = torch.optim.Adam(adapted.parameters())
    network(torch.ones(2, 8)).sum().backward()
    optimizer.step()
    save_training(tmp_path / "t.npz", adapted, optimizer, step=4)
    before = adapted.state()
    with pytest.raises(ValueError, match="another order"):
        load_training(tmp_path / "t.npz", adapted, torch.optim.Adam(adapted.parameters()[::-1]))
    assert all(torch.equal(value, before[name]) for name, value in adapted.state().items())
    assert load_training(tmp_path / "t.npz", adapted, torch.optim.Adam(adapted.parameters())) == 4


def test_an_adapter_is_for_one_precision(tmp_path):
    save_adapter(adapt(square(), "lora", rank=2), tmp_path / "a.npz")
    for check in (True, False):
        with pytest.raises(ValueError, match="types"):
            load_adapter(tmp_path / "a.npz", square().bfloat16(), check_base=check)


@pytest.mark.parametrize("scale", [float("nan"), float("inf"), 0, "a"])
def test_a_bottleneck_with_a_scale_that_is_no_number_is_refused(scale):
    with pytest.raises(ValueError, match="scale must be a finite number other than 0"):
        adapt(square(), "bottleneck", targets=["0"], scale=scale)


def test_files_of_peft_with_the_scale_of_rank_stabilised_updates(tmp_path):
    """alpha / r^(1/2); a pattern is a regular expression of the end of a name."""
    pytest.importorskip("safetensors")
    import json

    from ml.tuning.peft_format import load_peft, save_peft

    save_peft(adapt(square(), "lora", rank=4, alpha=8), tmp_path)
    path = tmp_path / "adapter_config.json"
    config = json.loads(path.read_text()) | {"use_rslora": True, "alpha_pattern": {"[2]": 6}}
    path.write_text(json.dumps(config))
    parts = load_peft(tmp_path, square()).low_rank_parts()
    assert [parts[f"{k}.weight"].scale for k in (0, 2)] == [8 / 2, 6 / 2]


@pytest.mark.parametrize("name", ["bert", "torch", "mlp"])
@pytest.mark.parametrize("kind", ["lora", "bottleneck", "adapter_bias", "ia3", "prefix", "weighted_sum"])
def test_an_adapted_network_and_its_handle_can_be_pickled(name, kind):
    module, given = network(name)
    if name == "mlp" and kind != "lora":
        pytest.skip("it has no attention")
    adapted = adapt(module, kind)
    with torch.no_grad():
        for parameter in adapted.parameters():
            parameter += 0.1
    again = pickle.loads(pickle.dumps(adapted))
    assert torch.equal(answer(again.module, given), answer(module, given))
    with torch.no_grad():
        again.parameters()[0].add_(0.3)
    assert not torch.equal(answer(again.module, given), answer(module, given))
    again.remove()
    adapted.remove()
    assert torch.equal(answer(again.module, given), answer(module, given))


@pytest.mark.parametrize("kind", ["lora", "ia3"])
def test_weights_are_not_loaded_into_merged_ones(kind):
    """unmerge() would put the old ones back without a word."""
    module, _ = network("bert")
    adapted = adapt(module, kind)
    state = {name: t + 1 for name, t in module.state_dict().items()}
    adapted.merge()
    before = {name: t.clone() for name, t in module.state_dict().items()}
    with pytest.raises(ValueError, match=r"call \.unmerge\(\) before \.load_state_dict"):
        module.load_state_dict(state)
    with pytest.raises(ValueError, match=r"call \.unmerge\(\) before \.load_state_dict"):
        module.encoder.load_state_dict(module.encoder.state_dict())
    assert all(torch.equal(t, before[name]) for name, t in module.state_dict().items())
    adapted.unmerge()
    module.load_state_dict(state)
    adapted.merge()
    adapted.remove(keep_merged=True)
    module.load_state_dict(module.state_dict())


@pytest.mark.parametrize("name", ["bert", "torch"])
@pytest.mark.parametrize("kind", ["lora", "ia3"])
def test_training_a_merged_adapter_warns(name, kind):
    module, given = network(name)
    adapted = adapt(module, kind)
    adapted.merge()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        module.eval()(**given)
        with torch.no_grad():
            module.train()(**given)
    with pytest.warns(UserWarning, match=r"its numbers get no gradient; call \.unmerge\(\)"):
        module.train()(**given)


def test_lean_and_adapters_are_taken_out_in_any_order_that_gives_the_module_back():
    def flags(module):
        return [p.requires_grad for p in module.parameters()]

    for inner in (False, True):
        module, given = network("bert")
        before, expected = flags(module), answer(module, given)
        adapted = adapt(module.encoder if inner else module, "lora")
        tuning = lean(module, train="all")
        adapted.remove()  # lean is the later one, and stays
        tuning.restore()
        assert flags(module) == before
        assert torch.equal(answer(module, given), expected)
        adapted = adapt(module.encoder if inner else module, "lora")
        tuning = lean(module, train="all")
        tuning.restore()
        adapted.remove()
        assert flags(module) == before
        tuning = lean(module, train="bias")
        adapted = adapt(module.encoder if inner else module, "lora")
        with pytest.raises(ValueError, match=r"adapted after it was made lean: call \.remove\(\)"):
            tuning.restore()
        adapted.remove()
        tuning.restore()
        assert flags(module) == before
        assert torch.equal(answer(module, given), expected)


def test_only_adapters_with_finite_numbers_are_written(tmp_path):
    path = tmp_path / "a.npz"
    for call in (lambda m: save_adapter(m, path), lambda m: save_training(path, m, None)):
        with pytest.raises(TypeError, match=r"takes what ml.adapt\(module, kind\) returns, got Linear"):
            call(torch.nn.Linear(3, 3))
    adapted = adapt(torch.nn.Sequential(torch.nn.Linear(3, 3)), "bitfit")
    save_adapter(adapted, path)
    before = path.read_bytes()
    with torch.no_grad():
        next(iter(adapted.parameters())).fill_(float("nan"))
    with pytest.raises(ValueError, match="not finite"):
        save_adapter(adapted, path)
    assert path.read_bytes() == before
    with pytest.raises(ValueError, match="kind 'norms' finds nothing to train in this module"):
        adapt(torch.nn.Sequential(torch.nn.ReLU()), "norms")
