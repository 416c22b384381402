"""Files of quantised modules, and layers that run from their integers."""

from __future__ import annotations

import io
import os
import zipfile

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import ml  # noqa: E402
from lowrank.reading import FileFormatError  # noqa: E402
from ml.quantization.integer_layers import _linear_class, _vnni  # noqa: E402

IDS = torch.tensor([[1, 2, 3], [4, 5, 19]])


def network(seed: int = 0, **sizes):
    torch.manual_seed(seed)
    layers = torch.nn.Sequential(
        torch.nn.Embedding(20, sizes.get("width", 8)),
        torch.nn.Linear(sizes.get("width", 8), 12),
        torch.nn.BatchNorm1d(3),
        torch.nn.Linear(12, 8),
    )
    return layers.eval()


def saved(folder, suffix=".npz", module=None, bits=3):
    module = network() if module is None else module
    report = ml.quantize_module(module, bits)
    path = folder / f"small{suffix}"
    ml.save_quantized(module, report, path)
    return module, report, path


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_a_file_holds_all_of_the_module(tmp_path, suffix):
    if suffix == ".safetensors":
        pytest.importorskip("safetensors")
    first = network()
    first[2].running_mean += 1
    module, report, path = saved(tmp_path, suffix, first)
    other = network(1)
    found = ml.load_quantized(path, other)
    assert torch.equal(module(IDS), other(IDS))
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name
    assert (found.nbytes, found.bytes_before, found.names) == (report.nbytes, report.bytes_before, report.names)
    assert all(np.isnan(e) for e in found.errors.values())
    again = tmp_path / f"again{suffix}"
    ml.save_quantized(other, found, again)
    assert again.read_bytes() == path.read_bytes()


def test_ties_and_types_that_numpy_lacks_are_kept(tmp_path):
    module = network().to(torch.bfloat16)
    module[3].weight = torch.nn.Parameter(module[1].weight.detach().T.contiguous())
    tied = torch.nn.ModuleList([module[1], torch.nn.Linear(8, 12, bias=False)])
    tied[1].weight = tied[0].weight
    tied.to(torch.bfloat16)
    report = ml.quantize_module(tied, 4)
    path = tmp_path / "tied.npz"
    ml.save_quantized(tied, report, path)
    other = torch.nn.ModuleList([torch.nn.Linear(8, 12), torch.nn.Linear(8, 12, bias=False)]).to(torch.bfloat16)
    with pytest.raises(ValueError, match=r"has the weight 0.weight, 1.weight \(12, 8\), the module 0.weight \(12, 8\)"):
        ml.load_quantized(path, other)
    other[1].weight = other[0].weight
    ml.load_quantized(path, other)
    assert torch.equal(other[0].bias, tied[0].bias)
    assert torch.equal(other[1].weight, tied[0].weight)


def test_a_damaged_file_is_refused_and_the_module_is_left_alone(tmp_path):
    _, _, path = saved(tmp_path)
    content = path.read_bytes()
    other = network(1)
    before = {k: v.clone() for k, v in other.state_dict().items()}
    damaged = tmp_path / "damaged.npz"
    rng = np.random.default_rng(0)
    pieces = [content[: len(content) * k // 8] for k in range(8)]
    for at in rng.integers(0, len(content), 60):
        changed = bytearray(content)
        changed[at] ^= 1 << int(rng.integers(8))
        pieces.append(bytes(changed))
    refused = 0
    for piece in pieces:
        damaged.write_bytes(piece)
        try:
            ml.load_quantized(damaged, other)
        except FileFormatError:
            refused += 1
        else:  # bytes of the archive that say nothing about its content
            ml.load_quantized(path, network(2))
            assert torch.equal(other(IDS), saved(tmp_path)[0](IDS))
            other = network(1)
        assert all(torch.equal(v, before[k]) for k, v in other.state_dict().items())
    assert refused > 40


def test_other_files_are_refused_before_anything_is_read(tmp_path):
    foreign = tmp_path / "foreign.npz"
    np.savez(foreign, a=np.arange(3))
    with pytest.raises(FileFormatError, match=r"foreign.npz does not hold a quantised module"):
        ml.load_quantized(foreign, network())
    _, _, path = saved(tmp_path)
    with np.load(path) as file:
        arrays = dict(file)
    pickled = tmp_path / "pickled.npz"
    np.savez(pickled, **(arrays | {"kept_0": np.array([print], dtype=object)}))
    with pytest.raises(FileFormatError, match="not plain numbers"):
        ml.load_quantized(pickled, network())
    missing = tmp_path / "missing.npz"
    np.savez(missing, **{k: a for k, a in arrays.items() if k != "weight_1_scales"})
    with pytest.raises(FileFormatError, match="do not match their checksum"):
        ml.load_quantized(missing, network())
    packed = tmp_path / "packed.npz"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.save(buffer, array)
            archive.writestr(f"{name}.npy", buffer.getvalue())
    with pytest.raises(FileFormatError, match="compressed"):
        ml.load_quantized(packed, network())
    with pytest.raises(FileNotFoundError):
        ml.load_quantized(tmp_path / "nowhere.npz", network())
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(ValueError, match="is a folder"):
        ml.load_quantized(tmp_path / "folder.npz", network())
    with pytest.raises(ValueError, match=r"must end in .npz or .safetensors, got 'small.pt'"):
        ml.load_quantized("small.pt", network())


def test_a_module_of_another_shape_is_refused_whole(tmp_path):
    _, _, path = saved(tmp_path)
    wide = network(1, width=10)
    before = {k: v.clone() for k, v in wide.state_dict().items()}
    with pytest.raises(
        ValueError, match=r"weight 0.weight \(20, 8\), the module 0.weight \(20, 10\): build the module"
    ):
        ml.load_quantized(path, wide)
    longer = network(1)
    longer.append(torch.nn.LayerNorm(8))
    with pytest.raises(ValueError, match=r"differ in '4.bias': none in the file, \(8,\) real in the module"):
        ml.load_quantized(path, longer)
    assert all(torch.equal(v, before[k]) for k, v in wide.state_dict().items())


def test_weights_that_changed_since_are_not_written(tmp_path):
    module = network()
    report = ml.quantize_module(module, 4)
    with torch.no_grad():
        module[1].weight[0, 0] += 1
    with pytest.raises(ValueError, match=r"weight 1.weight has changed since it was quantised"):
        ml.save_quantized(module, report, tmp_path / "late.npz")
    with pytest.raises(ValueError, match="the module has it not"):
        ml.save_quantized(network(width=10), report, tmp_path / "late.npz")
    assert not os.listdir(tmp_path)


def test_integer_layers_multiply_the_integers_of_the_report():
    """Inputs that the kernel's 7 or 8 bits hold exactly: the product is then exact, and equal to the float one."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(32, 16)
    report = ml.quantize_module(layer, 8)
    fast = _linear_class()(layer, report.weights["weight"])
    top = 255 if _vnni() else 127
    x = torch.randint(0, top + 1, (5, 32)).float()
    x[:, 0], x[:, 1] = 0, top  # the range of the batch
    expected = torch.nn.functional.linear(x.double(), layer.weight.double(), layer.bias.double())
    got = fast(x).double()
    assert float((got - expected).detach().abs().max()) <= 1e-6 * float(expected.detach().abs().max())
    integers = torch.from_numpy(np.asarray(report.weights["weight"].integers())).to(torch.int32)
    exact = x.to(torch.int32) @ integers.T
    assert torch.equal(exact.double(), x.double() @ integers.double().T)


def test_tables_decode_rows_to_the_bit_and_layers_say_what_falls():
    module = network()
    report = ml.quantize_module(module, 6)
    answer = module(IDS)
    found = ml.run_int8(module, report, [IDS], memory=True)
    assert [layer.name for layer in found.layers] == ["0.weight", "1.weight", "3.weight"]
    assert found.layers[0].what == "memory only"
    assert found.saved_bytes == 3 * (160 + 96 + 96) - 4 * 20 - 12 * (12 + 8)
    assert [layer.rows for layer in found.layers] == [6, 6, 6]
    rows = torch.from_numpy(report.weights["0.weight"].to_dense())
    assert torch.equal(module[0](IDS), rows[IDS])
    assert float((module(IDS) - answer).norm() / answer.norm()) < 0.1
    assert "memory only" in found.table()
    assert not [name for name, _ in module.named_parameters() if name in ("0.weight", "1.weight", "3.weight")]


def test_only_what_the_kernels_know_is_replaced():
    module = network()
    report = ml.quantize_module(module, {"0.weight": 12, "1.weight": 4, "3.weight": 8}, group=4)
    assert ml.run_int8(module, report, [IDS], memory=True).layers == ()
    with pytest.raises(
        ValueError, match=r"weight 0.weight of shape \(20, 8\), the module has it not: the report is of"
    ):
        ml.run_int8(torch.nn.Linear(8, 8), report, [IDS])
    with pytest.raises(ValueError, match="batches is empty"):
        ml.run_int8(module, report, [])
