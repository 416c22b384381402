"""Modules that are not plain: memory shared in odd ways, computed weights, tables that rewrite themselves, hooks."""

from __future__ import annotations

import copy
import io

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.nn.utils import prune  # noqa: E402

import lowrank  # noqa: E402
import ml  # noqa: E402
from ml.quantization.integer_layers import _linear_class  # noqa: E402
from ml.quantization.memory import first_overlap, overlaps_itself, place_of  # noqa: E402
from ml.quantization.sites import sites_of  # noqa: E402

nn = torch.nn


def two(first=(6, 8), second=(6, 8)):
    torch.manual_seed(0)
    return nn.ModuleList([nn.Linear(n, m, bias=False) for m, n in (first, second)])


def state(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def pruned():
    layer = nn.Linear(8, 6)
    prune.l1_unstructured(layer, "weight", amount=0.5)
    return layer


def old_weight_norm():
    with pytest.warns(FutureWarning):
        return nn.utils.weight_norm(nn.Linear(8, 6))


def made_in_inference_mode():
    with torch.inference_mode():
        return nn.Linear(8, 6)


def expanded():
    layer = nn.Linear(8, 6)
    layer.weight = nn.Parameter(torch.randn(1, 8).expand(6, 8))
    return layer


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (pruned, "odd.weight is computed from others at every call"),
        (old_weight_norm, "odd.weight is computed from others at every call"),
        (lambda: nn.utils.parametrizations.weight_norm(nn.Linear(8, 6)), "odd.weight is parametrised"),
        (made_in_inference_mode, "odd.weight was made in inference mode"),
        (expanded, r"odd.weight has entries that are one number in memory \(expand\)"),
        (lambda: nn.LazyLinear(6), "odd.weight has no numbers yet"),
        (lambda: nn.Linear(8, 6, device="meta"), "odd.weight is on the meta device"),
        (lambda: nn.Embedding(6, 8, max_norm=0.5), "odd.weight is of a table with max_norm"),
    ],
)
def test_weights_that_cannot_be_rounded_in_place_are_named_and_may_be_skipped(make, message):
    module = nn.ModuleDict({"plain": nn.Linear(8, 6), "odd": make()})
    before = module["plain"].weight.detach().clone()
    for call in (
        lambda: ml.quantize_module(module, 3),
        lambda: ml.fake_quantize(module, 3),
        lambda: ml.allocate_weight_bits(module, 3, method="variance"),
    ):
        with pytest.raises(ValueError, match=f"the weight {message}.*; or put it into skip"):
            call()
        assert torch.equal(module["plain"].weight, before)
    assert [s.name for s in sites_of(module, ["odd"])] == ["plain.weight"]


def test_a_slice_or_a_transposed_view_of_another_weight_is_refused():
    """Rounding one would change the other: the codes of the first would not be what the module computes with."""
    module = two((6, 8), (8, 6))
    module[1].weight = nn.Parameter(module[0].weight.data.T)
    sliced = two((6, 8), (3, 8))
    sliced[1].weight = nn.Parameter(sliced[0].weight.data[2:5])
    kept = nn.Module()
    kept.whole, kept.part = nn.Parameter(torch.randn(9, 8)), nn.Linear(8, 3, bias=False)
    kept.part.weight = nn.Parameter(kept.whole.data[3:6])
    for given in (module, sliced, kept):
        before = state(given)
        with pytest.raises(ValueError, match=r"share memory, but not as one weight .* make a copy"):
            ml.quantize_module(given, 3)
        assert same(before, state(given))
    with pytest.raises(ValueError, match="share memory"):
        ml.quantize_module(module, 3, skip=["1"])


def test_views_of_disjoint_parts_of_one_memory_are_ordinary_weights():
    whole = torch.randn(12, 8)
    module = two((6, 4), (6, 4))
    module[0].weight, module[1].weight = nn.Parameter(whole[::2, :4]), nn.Parameter(whole[1::2, :4])
    report = ml.quantize_module(module, 3)
    for k in range(2):
        np.testing.assert_array_equal(module[k].weight.detach().numpy(), report.weights[f"{k}.weight"].to_dense())


def test_overlaps_are_told_entry_by_entry():
    a = torch.zeros(40)
    views = {"even": a[::2], "odd": a[1::2], "tail": a[30:].reshape(2, 5), "matrix": a[:4].reshape(2, 2)}
    assert first_overlap([("even", views["even"]), ("odd", views["odd"])]) is None
    assert set(first_overlap([("odd", views["odd"]), ("tail", views["tail"])])) == {"odd", "tail"}
    assert set(first_overlap([("m", views["matrix"]), ("t", views["matrix"].T)])) == {"m", "t"}
    assert first_overlap([("m", views["matrix"]), ("tail", views["tail"]), ("e", torch.zeros(0))]) is None
    assert set(first_overlap([("a", a), ("bytes", a.view(torch.float64))])) == {"a", "bytes"}
    assert overlaps_itself(a.as_strided((3, 3), (1, 1)))
    assert not any(overlaps_itself(t) for t in (*views.values(), torch.zeros(0, 3), torch.zeros(())))
    assert place_of(a[:4]) == place_of(a[:4]) != place_of(a[:5])


def test_a_buffer_that_is_the_weight_is_counted_once():
    module = nn.Module()
    module.register_buffer("alias", torch.zeros(1))
    module.layer = nn.Linear(8, 6, bias=False)
    module.alias = module.layer.weight.data
    report = ml.quantize_module(module, 4)
    assert (report.bytes_before, report.nbytes, report.kept) == (192, 6 * (4 + 2), {})


def test_a_layer_under_two_names_is_rounded_once():
    torch.manual_seed(0)
    layer = nn.Linear(8, 8)
    module, x = nn.Sequential(layer, nn.Tanh(), layer), torch.randn(5, 8)
    assert [len(s.owners) for s in sites_of(module)] == [1]
    ml.fake_quantize(module, 3)
    assert len(layer.parametrizations.weight) == 1
    answer = module(x)
    report = ml.freeze_quantized(module)
    assert report.names == {"0.weight": ("0.weight", "2.weight")}
    assert torch.equal(module(x), answer)
    assert ml.run_int8(module, report, [x], memory=True).layers == ()


def test_recurrent_cells_are_found_and_trained():
    cell, x = nn.LSTMCell(4, 6), torch.randn(3, 4)
    assert [s.name for s in sites_of(cell)] == ["weight_ih", "weight_hh"]
    ml.fake_quantize(cell, 4)
    answer = cell(x)[0]
    answer.sum().backward()
    ml.freeze_quantized(cell)
    assert torch.equal(cell(x)[0], answer)


def test_rounded_numbers_beyond_half_precision_are_refused():
    module = nn.Linear(8, 4).half()
    with torch.no_grad():
        module.weight[0, 0], module.weight[1, 0], module.weight[2, 2], module.weight[3, 2] = 65504, 65000, 64000, 60123
    before = state(module)
    with pytest.raises(ValueError, match=r"weight: rounded numbers up to 6\d* are beyond torch.float16: take scales"):
        ml.quantize_module(module, 4)
    assert same(before, state(module))
    ml.quantize_module(module, 4, scales="float32")
    assert torch.isfinite(module.weight).all()


def test_a_table_with_max_norm_is_as_it_was_after_batches():
    module = nn.Sequential(nn.Embedding(5, 4, max_norm=0.5), nn.Linear(4, 2))
    before, ids = state(module), [torch.tensor([0, 1, 2])]
    ml.sensitivity(module, ids, bits=(3,), skip=["0"], calibrate=True)
    assert same(before, state(module))


# sensitivities


class Cut(nn.Module):
    """No gradient reaches the first layer."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        return self.b(self.a(x).detach())


class Blind(Cut):
    @torch.no_grad()
    def forward(self, x):
        return self.b(self.a(x))


class Single(Cut):
    def forward(self, x):
        return self.b(self.a(x)).mean()


def test_what_gradients_do_not_reach_is_no_zero():
    given = [torch.randn(9, 4)]
    with pytest.raises(ValueError, match=r"no gradient reaches a.weight: put them into skip, or"):
        ml.sensitivity(Cut(), given, bits=(3,), method=ml.Gradients())
    assert ml.sensitivity(Cut(), given, bits=(3,), method=ml.Gradients(), skip=["a"])["b.weight"] > 0
    with pytest.raises(ValueError, match="Blind computes without gradients"):
        ml.sensitivity(Blind(), given, bits=(3,), method=ml.Gradients())
    assert all(p.requires_grad and p.grad is None for p in Blind().parameters())
    assert ml.sensitivity(Single(), given, bits=(3,), method=ml.Gradients())["b.weight"] >= 0
    with pytest.raises(ValueError, match=r'loss="kl" needs logits \(..., k\), the output has shape \(\)'):
        ml.sensitivity(Single(), given, bits=(3,), loss="kl")


def test_gradients_of_weights_tied_in_memory_add_up():
    one, x = nn.Sequential(nn.Linear(8, 8, bias=False), nn.Tanh(), nn.Linear(8, 8, bias=False)), [torch.randn(40, 8)]
    other = copy.deepcopy(one)
    one[2].weight = one[0].weight
    other[0].weight, other[2].weight = nn.Parameter(one[0].weight.data), nn.Parameter(one[0].weight.data)
    found = [ml.sensitivity(m, x, bits=(8,), method=ml.Gradients(4))["0.weight"] for m in (one, other)]
    assert found[0] == pytest.approx(found[1], rel=1e-5)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_gradients_of_short_types_are_summed_in_single_precision(kind):
    torch.manual_seed(0)
    module, x = nn.Linear(64, 64).to(kind), [torch.randn(30, 64).to(kind)]
    measured = ml.sensitivity(module, x, bits=(4, 6))["weight"]
    estimated = ml.sensitivity(module, x, bits=(4, 6), method=ml.Gradients(100))["weight"]
    np.testing.assert_allclose(estimated, measured, rtol=0.3)


def test_one_probe_is_the_square_of_the_change_along_it_and_fixed_weights_stay_fixed():
    torch.manual_seed(0)
    module, x = nn.Linear(16, 8), torch.randn(20, 16)
    module.weight.requires_grad_(False)
    other = copy.deepcopy(module)
    ml.quantize_module(other, 4)
    v = torch.randn(20, 8, generator=torch.Generator().manual_seed(5))
    y, change = module(x).double().detach(), (other(x) - module(x)).double().detach()
    found = ml.sensitivity(module, [x], bits=(4,), method=ml.Gradients(1, rng=5))["weight"]
    assert found[0] == pytest.approx(float((v * change).sum() ** 2 / y.square().sum()), rel=1e-3)
    assert not module.weight.requires_grad


def test_sparse_gradients_are_measured_and_not_trained():
    module = nn.Sequential(nn.Embedding(5, 4, sparse=True), nn.Linear(4, 2))
    assert ml.sensitivity(module, [torch.tensor([0, 1])], bits=(3,), method=ml.Gradients())["0.weight"] > 0
    with pytest.raises(ValueError, match=r"0.weight has sparse gradients, .* set sparse=False"):
        ml.fake_quantize(module, 3)


@pytest.mark.parametrize("bits", [(2.7, 4), (True, 4), "34", 4, (), None])
def test_bits_to_try_are_integers(bits):
    with pytest.raises(ValueError, match="bits must be a list of the numbers of bits to try, integers"):
        ml.sensitivity(nn.Linear(4, 4), [torch.randn(2, 4)], bits=bits)


def test_a_loss_that_is_no_number_is_refused():
    module = nn.Linear(4, 4)
    with pytest.raises(ValueError, match="the loss of your own is not finite"):
        ml.sensitivity(module, [torch.randn(2, 4)], bits=(3,), loss=lambda m, b: float("nan"))
    with pytest.raises(TypeError, match="got one ndarray"):
        ml.sensitivity(module, np.zeros((2, 4), np.float32))


def test_the_scheme_is_the_one_that_is_measured():
    torch.manual_seed(0)
    module, x = nn.Linear(16, 8), [torch.randn(20, 16)]
    for scheme in (ml.Scheme(), ml.Scheme(gamma=1.0), ml.Scheme(group=4), ml.Scheme(levels="gaussian")):
        other = copy.deepcopy(module)
        options = {"gamma": scheme.gamma, "group": scheme.group, "levels": scheme.levels}
        ml.quantize_module(other, 3, **options)
        off = (other(x[0]) - module(x[0])).double().square().sum() / module(x[0]).double().square().sum()
        found = ml.sensitivity(module, x, bits=(3,), scheme=scheme)["weight"]
        assert found[0] == pytest.approx(float(off.detach()), rel=1e-5)


def test_a_loss_of_zero_at_many_bits_says_nothing_about_few():
    """At 8 bits the change was below the rounding of the output: the weight is the one that counts all the same."""
    module = nn.Sequential(nn.Linear(10, 10, bias=False), nn.Linear(10, 10, bias=False))
    losses = {"0.weight": [100.0, 10.0, 0.0], "1.weight": [1e-3, 1e-4, 1e-6]}
    found = ml.allocate_weight_bits(module, 4, losses, (2, 4, 8), method="closed")
    assert found == {"0.weight": 6, "1.weight": 2}


def test_the_closed_form_counts_the_numbers_of_a_weight():
    """Losses of the Gaussian model, of 30 weights of 64 numbers and 10 of 1024: as good as the exact choice."""
    module = nn.ModuleList([nn.Linear(8, 8) for _ in range(30)] + [nn.Linear(8, 128) for _ in range(10)])
    widths, curve = tuple(range(2, 9)), lowrank.gaussian_losses(8)[2:]
    factors = 10 ** np.random.default_rng(0).uniform(-1, 1, 40)
    losses = {f"{k}.weight": f * curve for k, f in enumerate(factors)}
    total = {}
    for method in ("closed", "exact"):
        bits = ml.allocate_weight_bits(module, 4, losses, widths, method=method)
        total[method] = sum(losses[name][b - 2] for name, b in bits.items())
    assert total["exact"] <= total["closed"] <= 1.05 * total["exact"]


def test_gamma_of_grouped_convolutions_looks_at_the_inputs_of_each_group():
    """Two groups whose inputs weigh different numbers: rows are rounded as those of two layers of their own."""
    torch.manual_seed(0)
    both, size = nn.Conv1d(16, 8, 1, groups=2, bias=False), torch.logspace(0, -2, 8)
    x = torch.randn(50, 16, 7) * torch.cat([size, size.flip(0)])[:, None]
    apart = nn.ModuleList([nn.Conv1d(8, 4, 1, bias=False) for _ in range(2)])
    with torch.no_grad():
        for k in range(2):
            apart[k].weight.copy_(both.weight[4 * k : 4 * k + 4])
    ml.quantize_module(both, 3, [x], scales="float32")
    for k in range(2):
        ml.quantize_module(apart[k], 3, [x[:, 8 * k : 8 * k + 8]], scales="float32")
        assert torch.equal(both.weight[4 * k : 4 * k + 4], apart[k].weight)


# training


def test_a_copy_is_frozen_by_itself():
    torch.manual_seed(0)
    module, x = two(), torch.randn(3, 8)
    module[1].weight = module[0].weight
    ml.fake_quantize(module, 3)
    best = copy.deepcopy(module)
    answer = module[0](x)
    report = ml.freeze_quantized(best)
    assert torch.equal(best[0](x), answer)
    assert torch.equal(module[1](x), answer)
    assert nn.utils.parametrize.is_parametrized(module[0])
    assert best[0].weight is best[1].weight
    assert ml.freeze_quantized(module).nbytes == report.nbytes
    assert type(module[0]) is type(best[0]) is nn.Linear


def test_a_state_says_the_unit_of_its_scales():
    """Scales are rounded in a unit that the weights at the start give: another start has another one."""
    torch.manual_seed(0)
    module, other, x = nn.Linear(8, 8), nn.Linear(8, 8), torch.randn(3, 8)
    with torch.no_grad():
        other.weight *= 2.0**30  # in its unit the scales of the first are zero
    ml.fake_quantize(module, 3)
    ml.fake_quantize(other, 3)
    file = io.BytesIO()
    module_state = copy.deepcopy(module.state_dict())
    torch.save(module_state, file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(module(x), other(x))
    assert torch.isfinite(module(x)).all()
    np.testing.assert_array_equal(*(ml.freeze_quantized(m).weights["weight"].to_dense() for m in (module, other)))
    wide = nn.Linear(8, 8)
    ml.fake_quantize(wide, 5)
    with pytest.raises(ValueError, match="weights with 3 bits and scales of 2 bytes, the module has 5 and 2"):
        wide.load_state_dict(module_state)


@pytest.mark.parametrize("kind", [torch.float64, torch.float16, torch.bfloat16])
def test_a_module_whose_type_changes_in_training_freezes_to_its_answers(kind):
    torch.manual_seed(0)
    module = nn.Linear(64, 64)
    with torch.no_grad():
        module.weight *= 1e-2  # scales below the normal numbers of half precision
    ml.fake_quantize(module, 8, scales="float32")
    module.to(kind)
    x = torch.randn(3, 64).to(kind)
    answer = module(x)
    ml.freeze_quantized(module)
    assert torch.equal(module(x), answer)


def test_a_scale_that_training_made_vanish_gives_zeros_and_no_nan():
    module = nn.Linear(8, 2)
    ml.fake_quantize(module, 3)
    with torch.no_grad():
        module.parametrizations.weight[0].log_scale[0] = -60.0
        module.parametrizations.weight.original[0, 0] = 0
    assert torch.equal(module.weight[0], torch.zeros(8))
    module(torch.randn(4, 8)).square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in module.parameters())
    with pytest.raises(ValueError, match="NaN, infinite or zero"):
        ml.freeze_quantized(module)


def test_what_is_parametrised_besides_stays_and_what_is_on_top_is_refused():
    module = nn.ModuleList([nn.Linear(4, 4), nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))])
    ml.fake_quantize(module, 3, skip=["1"])
    assert list(ml.freeze_quantized(module).weights) == ["0.weight"]
    assert nn.utils.parametrize.is_parametrized(module[1])
    ml.fake_quantize(module, 3, skip=["1"])
    nn.utils.parametrize.register_parametrization(module[0], "weight", nn.Identity())
    with pytest.raises(ValueError, match=r"0.weight was parametrised once more"):
        ml.freeze_quantized(module)
    assert nn.utils.parametrize.is_parametrized(module[0])


# layers from integers


class Scaled(nn.Embedding):
    def forward(self, ids):
        return super().forward(ids) * 100


def test_layers_that_compute_something_else_stay():
    ids = torch.tensor([1, 2])
    hooked, own = nn.Embedding(6, 4), nn.Linear(4, 4)
    hooked.register_forward_hook(lambda layer, args, found: found * 3)
    own.forward = lambda x: nn.functional.linear(x, own.weight) * 7
    for module in (nn.Sequential(Scaled(6, 4)), nn.Sequential(hooked), nn.Sequential(nn.Embedding(6, 4), own)):
        report = ml.quantize_module(module, 8)
        answer = module(ids)
        ml.run_int8(module, report, [ids], memory=True)
        assert torch.equal(module(ids), answer)
    with pytest.raises(IndexError, match="out of range"):
        module(torch.tensor([-1]))


def test_a_report_of_other_weights_is_refused_and_a_layer_by_itself_too():
    module, x = nn.Sequential(nn.Linear(4, 4)), torch.randn(2, 4)
    other = ml.quantize_module(nn.Sequential(nn.Linear(4, 4)), 8)
    report = ml.quantize_module(module, 8)
    with pytest.raises(ValueError, match=r"weight 0.weight has changed .*, or the report is of another module"):
        ml.run_int8(module, other, [x], memory=True)
    layer = copy.deepcopy(module[0])  # rounding a second time may move a weight by its last bit
    with pytest.raises(ValueError, match=r"itself a Linear, .* put it into a torch.nn.Sequential"):
        ml.run_int8(layer, ml.quantize_module(layer, 8), [x], memory=True)
    assert ml.run_int8(module, report, [x], memory=True).layers
    assert ml.Int8Report(()).table().startswith("layer")


def test_a_module_that_reads_weights_by_itself_gets_its_layers_back():
    """Transformer layers of PyTorch do so on their fast path."""
    torch.manual_seed(0)
    layer, x = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval(), torch.randn(2, 3, 8)
    report = ml.quantize_module(layer, 8)
    with torch.no_grad():
        answer = layer(x)
        with pytest.raises(ValueError, match=r"may read the weights of its layers by itself .* put these layers"):
            ml.run_int8(layer, report, [x], memory=True)
        assert torch.equal(layer(x), answer)
    assert type(layer.linear1) is nn.Linear


def test_integer_layers_take_inputs_of_every_shape():
    torch.manual_seed(0)
    layer = nn.Linear(16, 5)
    fast = _linear_class()(layer, ml.quantize_module(layer, 8).weights["weight"])
    for x in (torch.randn(16), torch.randn(2, 3, 16), torch.randn(16, 4).T, torch.zeros(2, 0, 16), torch.zeros(3, 16)):
        assert fast(x).shape == layer(x).shape
        assert float((fast(x) - layer(x)).detach().abs().sum()) <= 0.05 * float(layer(x).detach().abs().sum())
    assert torch.equal(copy.deepcopy(fast)(x), fast(x))


@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16])
def test_other_types_are_timed_in_their_type_and_random_numbers_stay(kind):
    module, x = nn.Sequential(nn.Linear(16, 8)).to(kind), torch.randn(3, 16).to(kind)
    report = ml.quantize_module(module, 8)
    answer, before = module(x), torch.get_rng_state()
    ml.run_int8(module, report, [x], memory=True)
    assert torch.equal(torch.get_rng_state(), before)
    assert module(x).dtype == kind
    assert float((module(x) - answer).detach().norm()) < 0.05 * float(answer.detach().norm())


# files


class Stateful(nn.Linear):
    def get_extra_state(self):
        return {"count": 1}


def test_state_that_no_file_holds_is_named(tmp_path):
    module = Stateful(4, 4)
    with pytest.raises(ValueError, match="_extra_state of the module is a dict and no tensor"):
        ml.save_quantized(module, ml.quantize_module(module, 4), tmp_path / "x.npz")
    assert not list(tmp_path.iterdir())


def with_buffer(values, kind=None):
    module = nn.Sequential(nn.Linear(4, 4))
    module.register_buffer("more", torch.tensor(values, dtype=kind))
    return module


def test_what_was_kept_must_fit_the_module_and_nothing_is_half_loaded(tmp_path):
    path, first = tmp_path / "small.npz", with_buffer([1.5, 1e30])
    ml.save_quantized(first, ml.quantize_module(first, 4), path)
    stuck = with_buffer([0.0])
    stuck.more = torch.ones(1).expand(2)
    for module, message in (
        (with_buffer([1, 2]), r"differ in 'more': \(2,\) real in the file, \(2,\) int64 in the module"),
        (with_buffer([1.0, 2.0], torch.float16), "more of .* has numbers beyond torch.float16"),
        (stuck, "more of the module cannot be written to"),
    ):
        before = state(module)
        with pytest.raises(ValueError, match=message):
            ml.load_quantized(path, module)
        assert same(before, state(module))
    double = with_buffer([0.0, 0.0], torch.float64)
    ml.load_quantized(path, double)
    assert torch.equal(double.more, first.more.double())


def test_ties_that_were_cut_are_named(tmp_path):
    module = two()
    module[1].weight = module[0].weight
    report = ml.quantize_module(module, 4)
    module[1].weight = nn.Parameter(module[0].weight.detach().clone())
    with pytest.raises(ValueError, match=r"1.weight was tied to 0.weight when it was quantised"):
        ml.save_quantized(module, report, tmp_path / "x.npz")


@pytest.mark.parametrize(("suffix", "each"), [(".npz", 300), (".safetensors", 100)])
def test_a_file_has_the_bytes_of_the_report_and_what_is_stated_for_each_array(tmp_path, suffix, each):
    if suffix == ".safetensors":
        pytest.importorskip("safetensors")
    module = nn.Sequential(*[nn.Linear(8, 8) for _ in range(20)], nn.Embedding(1000, 64))
    report = ml.quantize_module(module, 4)
    ml.save_quantized(module, report, tmp_path / f"x{suffix}")
    more = (tmp_path / f"x{suffix}").stat().st_size - report.nbytes
    assert 0 < more < each * (4 * len(report.weights) + len(report.kept) + 3)
