"""Numbers that adapters train, on real sizes without memory (meta device): formulas, and the counts of peft."""

from __future__ import annotations

import warnings

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from ml.tuning.adapt import adapt  # noqa: E402


def hubert_base():
    with torch.device("meta"):
        return transformers.HubertModel(transformers.HubertConfig())


def whisper_tiny():
    """The encoder of Whisper tiny: 4 layers of width 384."""
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    with torch.device("meta"):
        return WhisperEncoder(
            transformers.WhisperConfig(d_model=384, encoder_layers=4, encoder_attention_heads=6, encoder_ffn_dim=1536)
        )


def minilm():
    """BertModel of six layers of width 384, with a pooler."""
    with torch.device("meta"):
        return transformers.BertModel(
            transformers.BertConfig(
                hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536
            )
        )


def count(module, kind, **options):
    total = sum(p.numel() for p in module.parameters())
    adapted = adapt(module, kind, **options)
    own = sum(module.get_parameter(name).numel() for name in adapted.originals)
    found = adapted.n_trained
    assert adapted.n_total == total + found - own
    adapted.remove()
    assert sum(p.numel() for p in module.parameters()) == total
    return found


#: Network, layers, d, F.
SIZES = ((hubert_base, 12, 768, 3072), (whisper_tiny, 4, 384, 1536), (minilm, 6, 384, 1536))


@pytest.mark.parametrize(("make", "layers", "d", "f"), SIZES)
def test_counts_are_those_of_the_formulas(make, layers, d, f):
    r, p = 8, 16
    module = make()
    key_bias = 0 if make is whisper_tiny else d  # Whisper's keys have no bias
    for kind, options, expected in (
        ("lora", {"rank": r}, layers * 2 * 2 * r * d),
        ("lora", {"rank": r, "targets": ["up", "down"]}, layers * 2 * r * (d + f)),
        ("bottleneck", {"rank": 32}, layers * 2 * (2 * d * 32 + 32 + d)),
        ("bottleneck", {"rank": 32, "after": "feed_forward"}, layers * (2 * d * 32 + 32 + d)),
        ("bottleneck", {"rank": 32, "after": "attention", "parallel": True}, layers * (2 * d * 32 + 32 + d)),
        ("adapter_bias", {}, layers * (2 * d + 1)),
        ("ia3", {}, layers * (2 * d + f)),
        ("prefix", {"length": p}, 2 * layers * p * d),
        ("bitfit", {"where": "layers"}, layers * (6 * d + key_bias + f)),
        ("weighted_sum", {}, layers + 1),
        ("norms", {}, layers * 4 * d + 2 * d + (2 * 512 + 2 * 512 if make is hubert_base else 0)),
    ):
        assert count(module, kind, **options) == expected, (kind, options)


def test_counts_on_hubert_base_are_the_known_ones():
    module = hubert_base()
    assert sum(p.numel() for p in module.parameters()) == 94_371_712
    for kind, options, expected in (
        ("lora", {"rank": 8}, 294_912),
        ("bottleneck", {"rank": 32, "after": "feed_forward"}, 599_424),
        ("bottleneck", {"rank": 32}, 1_198_848),
        ("adapter_bias", {}, 18_444),
        ("ia3", {}, 55_296),
        ("norms", {}, 40_448),
        ("bitfit", {"where": "layers"}, 101_376),
        ("bitfit", {}, 104_704),
        ("convolution", {"rank": 32}, 7 * (512 * 32 * 3 + 32 + 32 * 512 + 512)),
    ):
        assert count(module, kind, **options) == expected, (kind, options)
    assert count(whisper_tiny(), "lora", rank=8) == 49_152
    assert count(whisper_tiny(), "convolution", rank=4) == 2 * (384 * 4 * 3 + 4 + 4 * 384 + 384)


@pytest.mark.parametrize(("make", "layers", "d", "f"), SIZES)
def test_counts_are_those_of_peft(make, layers, d, f):
    peft = pytest.importorskip("peft")
    names = {
        "hubert_base": (["q_proj", "v_proj"], ["k_proj", "v_proj"], ["output_dense"]),
        "whisper_tiny": (["q_proj", "v_proj"], ["k_proj", "v_proj"], ["fc2"]),
        "minilm": (["query", "value"], ["key", "value"], [f"encoder.layer.{k}.output.dense" for k in range(6)]),
    }[make.__name__]
    cases = [
        ("lora", {"rank": 8}, peft.LoraConfig(r=8, target_modules=names[0])),
        ("ia3", {}, peft.IA3Config(target_modules=names[1] + names[2], feedforward_modules=names[2])),
        ("lora", {"rank": 4, "targets": names[2]}, peft.LoraConfig(r=4, target_modules=names[2])),
    ]
    norms = [n for n, m in make().named_modules() if type(m).__name__ in ("LayerNorm", "GroupNorm")]
    cases.append(("norms", {}, peft.LNTuningConfig(target_modules=norms)))
    if make is minilm:
        task = peft.TaskType.FEATURE_EXTRACTION
        cases.append(("prefix", {"length": 16}, peft.PrefixTuningConfig(task_type=task, num_virtual_tokens=16)))
    for kind, options, config in cases:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = peft.get_peft_model(make(), config).get_nb_trainable_parameters()[0]
        assert count(make(), kind, **options) == theirs, kind
