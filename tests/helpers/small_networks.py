"""Small random networks of PyTorch and transformers, each with an input: what is adapted in tests."""

from __future__ import annotations

from typing import Any

import pytest

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def transformer_of(name: str, **options: Any) -> tuple[Any, dict[str, Any]]:
    """Return a network of transformers and the arguments of a call: bert, hubert, whisper, llama, gpt2."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    torch.manual_seed(0)
    ids = {"input_ids": torch.randint(1, 50, (2, 7))}
    if name == "bert":
        return transformers.BertModel(transformers.BertConfig(vocab_size=50, **SIZES, **options)).eval(), ids
    if name == "llama":
        config = transformers.LlamaConfig(
            vocab_size=50, **{**SIZES, "num_attention_heads": 4}, num_key_value_heads=2, **options
        )
        return transformers.LlamaForCausalLM(config).eval(), ids
    if name == "gpt2":
        config = transformers.GPT2Config(vocab_size=50, n_embd=16, n_layer=2, n_head=2, n_positions=16, **options)
        return transformers.GPT2Model(config).eval(), ids
    if name == "hubert":
        config = transformers.HubertConfig(
            **SIZES, conv_dim=(8, 8), conv_stride=(5, 2), conv_kernel=(10, 3), num_feat_extract_layers=2,
            num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2, **{"layerdrop": 0.0, **options},
        )  # fmt: skip
        return transformers.HubertModel(config).eval(), {"input_values": torch.randn(2, 200)}
    whisper = pytest.importorskip("transformers.models.whisper.modeling_whisper")
    config = transformers.WhisperConfig(
        d_model=16, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=32, num_mel_bins=8,
        max_source_positions=10, **options,
    )  # fmt: skip
    return whisper.WhisperEncoder(config).eval(), {"input_features": torch.randn(2, 8, 20)}


def torch_encoder(**options: Any) -> tuple[Any, dict[str, Any]]:
    """Return torch.nn.TransformerEncoder of two layers of width 16, and the arguments of a call."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, **options)
    return torch.nn.TransformerEncoder(layer, 2).eval(), {"src": torch.randn(2, 7, 16)}


def perceptron() -> tuple[Any, dict[str, Any]]:
    """Return two linear layers with a ReLU between them, and the arguments of a call."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4))
    return network, {"input": torch.randn(3, 8)}


def network(name: str, **options: Any) -> tuple[Any, dict[str, Any]]:
    """Return a network and the arguments of a call."""
    makers = {"torch": torch_encoder, "mlp": perceptron}
    if name in makers:
        return makers[name](**options)
    module, arguments = transformer_of(name, **options)
    for parameter in module.parameters():
        if parameter.ndim == 2:
            parameter.data.mul_(8)  # first weights of transformers are so small that no part matters
    return module, arguments


def answer(module: Any, arguments: dict[str, Any]) -> Any:
    """Return the tensor that a network answers with, without gradients."""
    torch = pytest.importorskip("torch")
    with torch.no_grad():
        found = module(**arguments)
    return found if isinstance(found, torch.Tensor) else found[0]
