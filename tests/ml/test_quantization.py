"""Weights of PyTorch modules in few bits: what is rounded, to what, how large it is, and what is refused."""

from __future__ import annotations

import copy
import doctest
import inspect
import sys
import types

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import lowrank  # noqa: E402
import ml  # noqa: E402
from ml.quantization import post_training  # noqa: E402
from ml.quantization.running import input_squares  # noqa: E402
from ml.quantization.sites import sites_of  # noqa: E402
from ml.quantization.training import _rounding  # noqa: E402


class Tied(torch.nn.Module):
    """An embedding whose table is the last layer's weight, a linear layer, a convolution, a normalisation."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.table = torch.nn.Embedding(40, 16)
        self.inner = torch.nn.Linear(16, 24)
        self.norm = torch.nn.LayerNorm(24)
        self.conv = torch.nn.Conv1d(24, 16, 3, padding=1, groups=2)
        self.head = torch.nn.Linear(16, 40, bias=False)
        self.head.weight = self.table.weight

    def forward(self, ids):
        x = self.norm(self.inner(self.table(ids)))
        return self.head(torch.relu(self.conv(x.transpose(1, 2)).transpose(1, 2)))


def batches(count: int = 3):
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(0, 40, (4, 9), generator=generator) for _ in range(count)]


def state(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def test_weights_are_those_that_lowrank_makes_row_by_row():
    module = Tied()
    before = state(module)
    report = ml.quantize_module(module, 4, gamma=1.0, scales="float32")
    assert list(report.weights) == ["table.weight", "inner.weight", "conv.weight"]
    for name in report.weights:
        expected = lowrank.quantize(before[name].numpy(), 4).to_dense()
        np.testing.assert_array_equal(state(module)[name].numpy(), expected)
        steps = np.abs(before[name].numpy()).reshape(len(expected), -1).max(1) / 7
        off = np.abs(before[name].numpy() - expected).reshape(len(expected), -1)
        assert np.all(off <= steps[:, None] * (0.5 + 1e-5))
    for name in ("inner.bias", "norm.weight", "norm.bias", "conv.bias"):
        assert torch.equal(state(module)[name], before[name])


def test_gamma_is_never_worse_than_one_and_much_better_at_few_bits():
    for bits, gain in ((2, 0.75), (3, 0.92), (4, 0.96), (8, 1.0)):
        fixed, searched = (ml.quantize_module(Tied(), bits, gamma=g, scales="float32") for g in (1.0, "search"))
        for name in fixed.errors:
            assert searched.errors[name] <= fixed.errors[name] * (1 + 1e-12)
        assert searched.errors["table.weight"] <= gain * fixed.errors["table.weight"] * (1 + 1e-12)


def test_tied_weights_stay_tied_and_count_once():
    module = Tied()
    report = ml.quantize_module(module, 3)
    assert module.head.weight is module.table.weight
    assert report.names["table.weight"] == ("table.weight", "head.weight")
    assert sum(map(len, report.names.values())) == 4
    with pytest.raises(ValueError, match="one weight, but have 3 and 4 bits"):
        ml.quantize_module(Tied(), {"table.weight": 4, "head.weight": 3})
    assert ml.quantize_module(Tied(), {"head.weight": 5}).bits == {"table.weight": 5}


def test_parameters_that_share_memory_are_one_weight():
    module = torch.nn.ModuleList([torch.nn.Linear(8, 8), torch.nn.Linear(8, 8)])
    module[1].weight = torch.nn.Parameter(module[0].weight.data)
    assert [s.names for s in sites_of(module)] == [("0.weight", "1.weight")]
    report = ml.quantize_module(module, 4)
    assert torch.equal(module[0].weight, module[1].weight)
    assert report.bytes_before == 4 * (64 + 8 + 8)


def test_size_is_the_formula_to_the_byte():
    """Codes ceil(n b / 8) a row, scales of two bytes a row, all else four bytes a number."""
    rows = {"table.weight": (40, 16), "inner.weight": (24, 16), "conv.weight": (16, 36)}
    left = 4 * (24 + 24 + 24 + 16)
    before = left + 4 * sum(r * n for r, n in rows.values())
    for bits in (2, 3, 5, 8):
        report = ml.quantize_module(Tied(), bits)
        assert report.nbytes == left + sum(r * (-(-n * bits // 8) + 2) for r, n in rows.values())
        assert report.bytes_before == before
        assert report.saved == 1 - report.nbytes / before
        assert report.mean_bits == bits
    grouped = ml.quantize_module(Tied(), 4, group=4)
    assert grouped.nbytes == left + sum(r * (n * 4 // 8 + 2 * n // 4) for r, n in rows.values())
    mixed = ml.quantize_module(Tied(), {"inner.weight": 2, "conv.weight": 8})
    assert mixed.nbytes == left + 4 * 640 + 24 * (4 + 2) + 16 * (36 + 2)
    assert mixed.mean_bits == pytest.approx((384 * 2 + 576 * 8) / 960)
    assert mixed.kept["table.weight"] == 2560
    assert "head.weight" not in mixed.kept
    for text in ("inner.weight", "24 x 16", "left as they are", f"{mixed.nbytes:,}"):
        assert text in mixed.table()
    assert repr(mixed).startswith("QuantizationReport(2 weights of 5.6 bits in the mean, ")


def test_buffers_count_when_they_are_stored():
    module = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.BatchNorm1d(8))
    module.register_buffer("scratch", torch.zeros(1000), persistent=False)
    report = ml.quantize_module(module, 8)
    assert report.bytes_before == 4 * (64 + 8 + 4 * 8) + 8
    assert report.nbytes == 8 * (8 + 2) + 4 * (8 + 4 * 8) + 8


def test_inputs_are_measured_for_linear_layers_and_convolutions():
    module = Tied().eval()
    given = batches()
    found = input_squares(module, given, sites_of(module))
    x = torch.cat([module.table(b) for b in given]).double()
    np.testing.assert_allclose(found["inner.weight"], x.square().mean((0, 1)).detach().numpy(), rtol=1e-6)
    y = torch.cat([module.norm(module.inner(module.table(b))) for b in given]).double()
    channels = y.square().mean((0, 1)).reshape(2, 1, 12, 1).expand(2, 8, 12, 3).reshape(16, 12, 3)
    np.testing.assert_allclose(found["conv.weight"], channels.detach().numpy(), rtol=1e-6)
    z = torch.cat([torch.relu(module.conv(module.norm(module.inner(module.table(b))).transpose(1, 2))) for b in given])
    np.testing.assert_allclose(found["table.weight"], z.double().square().mean((0, 2)).detach().numpy(), rtol=1e-5)


def test_gamma_searched_on_outputs_lowers_their_error():
    """Inputs of very different size: what the small ones are multiplied with hardly counts."""
    torch.manual_seed(0)
    size = torch.logspace(0, -2, 64)
    given = [torch.randn(200, 64) * size for _ in range(2)]
    module = torch.nn.Linear(64, 32, bias=False)
    exact = [module(x) for x in given]

    def error(calibration):
        other = copy.deepcopy(module)
        report = ml.quantize_module(other, 3, calibration)
        return sum(float((other(x) - y).detach().square().sum()) for x, y in zip(given, exact, strict=True)), report

    (plain, first), (aware, second) = error(None), error(given)
    assert aware < 0.95 * plain
    assert first.uncalibrated == second.uncalibrated == ()
    tables = torch.nn.Sequential(torch.nn.Embedding(5, 4), torch.nn.Linear(4, 4))
    assert ml.quantize_module(tables, 4, [torch.tensor([[0, 1, 4]])]).uncalibrated == ("0.weight",)


def test_skip_takes_names_layers_and_patterns():
    assert list(ml.quantize_module(Tied(), 4, skip=["inner.weight"]).weights) == ["table.weight", "conv.weight"]
    assert list(ml.quantize_module(Tied(), 4, skip=["conv", "in*"]).weights) == ["table.weight"]
    assert list(ml.quantize_module(Tied(), 4, skip=["head"]).weights) == ["inner.weight", "conv.weight"]
    with pytest.raises(ValueError, match=r"'iner', which is no weight and no layer; there is 'inner.weight'"):
        ml.quantize_module(Tied(), 4, skip=["iner"])
    with pytest.raises(TypeError, match=r"list of names, got one string; pass \['head'\]"):
        ml.quantize_module(Tied(), 4, skip="head")


def test_attention_recurrent_and_transposed_layers_are_found():
    attention = torch.nn.MultiheadAttention(8, 2)
    assert [s.name for s in sites_of(attention)] == ["in_proj_weight", "out_proj.weight"]
    recurrent = torch.nn.LSTM(4, 6, num_layers=2, bidirectional=True)
    assert len(sites_of(recurrent)) == 8
    x = torch.randn(3, 5, 4)
    ml.quantize_module(recurrent, 24, scales="float32")
    assert torch.isfinite(recurrent(x)[0]).all()
    conv = torch.nn.ConvTranspose2d(4, 6, 3)
    assert ml.quantize_module(conv, 8).weights["weight"].shape == (4, 6, 3, 3)


@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16, torch.float16])
def test_types_stay(kind):
    module = torch.nn.Linear(16, 16).to(kind)
    before = module.weight.detach().clone()
    report = ml.quantize_module(module, 8)
    assert module.weight.dtype == kind
    assert report.bytes_before == before.element_size() * 272
    assert 0 < float((module.weight.detach() - before).double().norm() / before.double().norm()) < 0.02


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda m: ml.quantize_module(m, 1), ValueError, "table.weight: bits must be 0 or 2 .. 24 .* got 1"),
        (lambda m: ml.quantize_module(m, 25), ValueError, "bits must be 0 or 2 .. 24 .* got 25"),
        (lambda m: ml.quantize_module(m, 4.0), ValueError, "bits must be an integer, got 4.0"),
        (lambda m: ml.quantize_module(m, True), ValueError, "bits must be an integer, got True"),
        (lambda m: ml.quantize_module(m, {}), ValueError, "bits names no weight"),
        (lambda m: ml.quantize_module(m, {"inner": 4}), ValueError, "none of the weights; there is 'inner.weight'"),
        (lambda m: ml.quantize_module(m, 4, group=5), ValueError, "group must divide the length 16 of a row, got 5"),
        (lambda m: ml.quantize_module(m, 4, gamma=-1.0), ValueError, 'gamma must be "search" or a number'),
        (lambda m: ml.quantize_module(m, 4, []), ValueError, "calibration is empty"),
        (lambda m: ml.quantize_module(m, 4, torch.zeros(3)), TypeError, "must be a list of batches, got one Tensor"),
        (lambda m: ml.quantize_module(m.state_dict(), 4), TypeError, "must be a torch.nn.Module, got OrderedDict"),
        (lambda m: ml.quantize_module(m.norm, 4), ValueError, "LayerNorm has no linear, convolution or embedding"),
        (lambda m: ml.sensitivity(m, []), ValueError, "batches is empty"),
        (lambda m: ml.sensitivity(m, batches(), loss="mse"), ValueError, "got 'mse'"),
        (lambda m: ml.sensitivity(m, batches(), method="fast"), ValueError, "got 'fast'"),
        (lambda m: ml.sensitivity(m, batches(), bits=4), ValueError, "list of the numbers of bits"),
        (lambda m: ml.sensitivity(m, batches(), bits=(1, 2)), ValueError, "got 1"),
        (lambda m: ml.sensitivity(m, batches(), method=ml.Gradients(0)), ValueError, "probes must be"),
        (lambda m: ml.sensitivity(m, batches(), method=ml.Gradients(), loss=lambda a, b: 0), ValueError, "of your own"),
        (
            lambda m: ml.sensitivity(m, batches(), bits=(0, 2), method=ml.Gradients()),
            ValueError,
            "bits of 0 drop a weight",
        ),
        (lambda m: ml.allocate_weight_bits(m, 3), ValueError, "no losses of 'table.weight'"),
        (lambda m: ml.allocate_weight_bits(m, 1, method="variance"), ValueError, "from lo=2 to hi=8, got 1"),
        (lambda m: ml.allocate_weight_bits(m, 3, method="best"), ValueError, "got 'best'"),
        (lambda m: ml.fake_quantize(m, 24), ValueError, "bits that are trained must be 2 .. 16, got 24"),
        (lambda m: ml.fake_quantize(torch.nn.GRU(3, 3), 4), ValueError, "recurrent layer, .* put it into skip"),
        (lambda m: ml.freeze_quantized(m), ValueError, "no weights that ml.fake_quantize has made"),
    ],
)
def test_bad_input_has_one_clear_error_and_changes_nothing(call, kind, message):
    module = Tied()
    before = state(module)
    with pytest.raises(kind, match=message):
        call(module)
    assert same(before, state(module))


def test_nan_is_named_and_nothing_is_changed():
    module = Tied()
    with torch.no_grad():
        module.conv.weight[1, 2, 0] = float("nan")
    before = state(module)["table.weight"]
    with pytest.raises(ValueError, match=r"conv.weight: a has 1 entries that are NaN or infinite"):
        ml.quantize_module(module, 4)
    assert torch.equal(state(module)["table.weight"], before)
    with pytest.raises(ValueError, match="output of Tied has NaN or infinite entries on a batch"):
        ml.quantize_module(module, 4, batches())
    with pytest.raises(ValueError, match="meta device"):
        ml.quantize_module(torch.nn.Linear(3, 3, device="meta"), 4)


def losses_by_hand(module, bits):
    """The default loss, written out: relative square of the change of all outputs."""
    given = batches()
    exact = torch.cat([module(b) for b in given]).double().detach()
    found = {}
    for name in ("table.weight", "inner.weight", "conv.weight"):
        other = copy.deepcopy(module)
        ml.quantize_module(other, {name: bits})
        off = torch.cat([other(b) for b in given]).detach() - exact
        found[name] = float(off.square().sum() / exact.square().sum())
    return found


def test_sensitivity_is_the_change_of_the_output_and_leaves_no_trace():
    module = Tied().train()
    before = state(module)
    found = ml.sensitivity(module, batches(), bits=(3, 8))
    assert same(before, state(module))
    assert module.training
    assert module.norm.training
    for column, bits in ((0, 3), (1, 8)):
        for name, loss in losses_by_hand(module, bits).items():
            assert found[name][column] == pytest.approx(loss, rel=1e-5)
    own = ml.sensitivity(module, batches(), bits=(3,), loss=lambda m, b: m(b).square().mean())
    assert own.keys() == found.keys()


def test_sensitivity_from_gradients_is_that_of_small_changes():
    module = Tied()
    for loss in ("output", "kl"):
        measured = ml.sensitivity(module, batches(), bits=(6, 8), loss=loss)
        estimated = ml.sensitivity(module, batches(), bits=(6, 8), loss=loss, method=ml.Gradients(300))
        for name, values in measured.items():
            np.testing.assert_allclose(estimated[name], values, rtol=0.3)
    assert all(p.grad is None and p.requires_grad for p in module.parameters())


def test_divergence_of_logits_is_not_negative_and_is_half_the_variance_for_small_changes():
    class Logits(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(6, 5, bias=False)

        def forward(self, x):
            return {"hidden": x.int(), "logits": self.layer(x)}

    module = Logits()
    x = torch.randn(50, 6)
    found = ml.sensitivity(module, [x], bits=(6, 24), loss="kl")["layer.weight"]
    p = module.layer(x).double().softmax(-1)
    off = copy.deepcopy(module)
    ml.quantize_module(off, 6)
    change = (off.layer(x) - module.layer(x)).double()
    half = 0.5 * ((p * change**2).sum(-1) - (p * change).sum(-1) ** 2).mean()
    assert found[0] == pytest.approx(float(half.detach()), rel=0.05)
    assert 0 <= found[1] < 1e-9


def test_allocation_keeps_the_budget_and_beats_even_bits_by_its_own_measure():
    module = Tied()
    bits = (2, 3, 4, 5, 6, 7, 8)
    losses = ml.sensitivity(module, batches(), bits=bits)
    sizes = {site.name: site.size for site in sites_of(module)}
    totals = {}
    for method in ("greedy", "exact", "closed", "variance"):
        found = ml.allocate_weight_bits(module, 4, losses, bits, method=method)
        assert sum(found[k] * n for k, n in sizes.items()) <= 4 * sum(sizes.values())
        totals[method] = sum(losses[k][bits.index(b)] for k, b in found.items())
    even = sum(row[bits.index(4)] for row in losses.values())
    assert totals["exact"] <= min(totals["greedy"], even) * (1 + 1e-12)
    every = np.array(np.meshgrid(*[bits] * 3, indexing="ij")).reshape(3, -1)
    counts = np.array(list(sizes.values()))
    fits = every[:, counts @ every <= 4 * counts.sum()]
    best = min(sum(losses[k][bits.index(b)] for k, b in zip(sizes, column, strict=True)) for column in fits.T)
    assert totals["exact"] == pytest.approx(best, rel=1e-9)


def test_bits_between_the_measured_ones_are_interpolated_and_weights_may_be_dropped():
    module = torch.nn.Sequential(torch.nn.Linear(10, 10, bias=False), torch.nn.Linear(10, 10, bias=False))
    losses = {"0.weight": [100.0, 4.0, 1.0, 1 / 16], "1.weight": [1e-9, 1e-9, 1e-9, 1e-9]}
    assert ml.allocate_weight_bits(module, 3, losses, (0, 2, 4, 8), lo=0) == {"0.weight": 6, "1.weight": 0}
    assert ml.allocate_weight_bits(module, 3, losses, (0, 2, 4, 8)) == {"0.weight": 4, "1.weight": 2}
    with pytest.raises(ValueError, match=r"losses of 1.weight must be finite and >= 0, got \[-1.0"):
        ml.allocate_weight_bits(module, 3, losses | {"1.weight": [-1.0, 0, 0, 0]}, (0, 2, 4, 8))
    with pytest.raises(ValueError, match="must be 4, one for each of"):
        ml.allocate_weight_bits(module, 3, losses | {"1.weight": [1.0]}, (0, 2, 4, 8))
    with pytest.raises(ValueError, match=r"lo=0 and hi=8 must be within the measured 2 to 8"):
        ml.allocate_weight_bits(module, 3, {k: v[1:] for k, v in losses.items()}, (2, 4, 8), lo=0)


def test_rounding_passes_gradients_inside_the_clip_and_none_outside():
    w = torch.tensor([[0.2, 1.6, -2.4, 3.6, -9.0]], dtype=torch.float64, requires_grad=True)
    s = torch.tensor([[0.5]], dtype=torch.float64, requires_grad=True)
    g = torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0]], dtype=torch.float64)
    q = _rounding().apply(w, s, 7)
    assert q.tolist() == [[0.0, 1.5, -2.5, 3.5, -3.5]]
    q.backward(g)
    assert w.grad.tolist() == [[1.0, 2.0, 3.0, 0.0, 0.0]]  # 7.2 and -18 are outside
    slope = 1 * (0 - 0.4) + 2 * (3 - 3.2) + 3 * (-5 + 4.8) + 4 * 7 - 5 * 7
    assert float(s.grad) == pytest.approx(slope / np.sqrt(5 * 7))


def test_training_starts_from_the_rounded_module_and_freezes_to_the_same_answers():
    module, rounded = Tied(), Tied()
    ml.quantize_module(rounded, 3)
    scales = ml.fake_quantize(module, 3)
    given = batches(1)[0]
    assert torch.equal(module(given), rounded(given))
    assert [len(s) for s in scales] == [40, 24, 16]
    optimizer = torch.optim.Adam(module.parameters(), lr=2e-3)
    losses = []
    for _ in range(30):
        loss = torch.nn.functional.cross_entropy(module(given).flatten(0, 1), given.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]
    start = ml.fake_quantize(Tied(), 3)
    assert not any(torch.equal(s, s0) for s, s0 in zip(scales, start, strict=True))
    answer = module(given)
    report = ml.freeze_quantized(module)
    assert torch.equal(answer, module(given))
    assert module.head.weight is module.table.weight
    assert set(module.state_dict()) == set(rounded.state_dict())
    assert report.names["table.weight"] == ("table.weight", "head.weight")
    for name, quantized in report.weights.items():
        np.testing.assert_array_equal(quantized.to_dense(), module.state_dict()[name].numpy())
        assert int(np.abs(quantized.integers()).max()) <= 3
    assert report.nbytes == ml.quantize_module(Tied(), 3).nbytes


def test_fixed_scales_stay_and_groups_train():
    module = torch.nn.Linear(16, 8)
    (log_scale,) = ml.fake_quantize(module, 4, learn_scale=False, group=4)
    assert len(log_scale) == 32
    assert not log_scale.requires_grad
    module(torch.randn(5, 16)).square().sum().backward()
    assert module.parametrizations.weight.original.grad.abs().sum() > 0
    with pytest.raises(ValueError, match=r"is parametrised: call ml.freeze_quantized"):
        ml.quantize_module(module, 4)
    report = ml.freeze_quantized(module)
    np.testing.assert_array_equal(report.weights["weight"].to_dense(), module.weight.detach().numpy())


def test_training_that_ends_in_nan_is_refused_and_a_row_of_zeros_is_none():
    module = torch.nn.Linear(4, 3)
    with torch.no_grad():
        module.weight[1] = 0
    ml.fake_quantize(module, 4)
    assert torch.equal(module.weight[1], torch.zeros(4))
    with torch.no_grad():
        module.parametrizations.weight.original[0, 0] = float("inf")
    with pytest.raises(ValueError, match="NaN, infinite or zero: take a smaller step"):
        ml.freeze_quantized(module)
    assert torch.nn.utils.parametrize.is_parametrized(module)


def test_the_examples_of_docstrings_run():
    """They are skipped where the docstrings of all modules are tested, which may be without PyTorch."""
    runner = doctest.DocTestRunner()
    for function in (ml.quantize_module, post_training.install):
        text = inspect.getdoc(function).replace("# doctest: +SKIP", "")
        names = vars(post_training) | vars(ml)
        runner.run(doctest.DocTestParser().get_doctest(text, dict(names), function.__name__, None, 0))
    assert runner.summarize(verbose=False) == (0, 7)


def test_without_pytorch_the_line_that_installs_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"ml.quantization needs the package torch, .* pip install torch"):
        ml.quantize_module(types.SimpleNamespace(), 4)
