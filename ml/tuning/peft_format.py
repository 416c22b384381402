"""Low-rank updates in the files of the package peft: adapter_model.safetensors and adapter_config.json.

Tensors are called base_model.model.NAME.lora_A.weight (r, k) and .lora_B.weight (d, r) for the linear layer NAME, and
base_model.model.NAME for a parameter that is trained whole; the update is s B A with s = alpha / r, or alpha / r^(1/2)
where the configuration says use_rslora.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

from lowrank.optional import require
from lowrank.reading import FileFormatError, json_from, read_bytes
from lowrank.writing import write_atomically
from ml.tuning.adapt import adapt
from ml.tuning.adapted import Adapted
from ml.tuning.network_parts import transposed

__all__ = ["load_peft", "save_peft"]

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
ROOT = "base_model.model."
#: What a configuration may ask for that is no plain low-rank update.
FOREIGN = ("use_dora", "use_qalora", "lora_bias", "layer_replication", "trainable_token_indices", "target_parameters",
           "alora_invocation_tokens", "use_bdlora", "kasa_config")  # fmt: skip


def save_peft(adapted: Adapted, folder: str | os.PathLike[str], *, base: str | None = None) -> None:
    """Write a lora adapter as peft does, to two files of a folder, which is made where it is missing.

    base : what the file says of the network it belongs to (base_model_name_or_path)

    Raises ValueError for other kinds, and for torch.nn.MultiheadAttention, whose weights have other names there.
    """
    if adapted.kind != "lora":
        raise ValueError(f"the files of peft are written for lora adapters, this one is {adapted.kind}")
    numpy_files = require("safetensors.torch", "safetensors", "a .safetensors file", "ml")
    parts = adapted.low_rank_parts()
    native = [name for name in parts if not name.endswith("weight")]
    if native:
        raise ValueError(
            f"{native[0]!r} is in torch.nn.MultiheadAttention, for which peft has other files; name linear layers"
        )
    layers = {name.removesuffix(".weight"): part for name, part in parts.items() if name != "weight"}
    if len(layers) < len(parts):
        raise ValueError("the module is a linear layer itself and has no name; put it into a torch.nn.Sequential")
    tensors = {}
    for name, part in layers.items():
        tensors[f"{ROOT}{name}.lora_A.weight"] = part.A.detach().cpu().clone()
        tensors[f"{ROOT}{name}.lora_B.weight"] = part.B.detach().cpu().clone()
    own = [name for name in adapted.names if name in adapted.originals]
    state = adapted.state()
    tensors |= {ROOT + name: state[name].cpu().contiguous() for name in own}
    ranks = {name: int(part.A.shape[0]) for name, part in layers.items()}
    alphas = {name: _whole(part.scale * ranks[name]) for name, part in layers.items()}
    r, alpha = (Counter(given.values()).most_common(1)[0][0] for given in (ranks, alphas))
    config = {
        "peft_type": "LORA", "task_type": None, "base_model_name_or_path": base, "inference_mode": True, "r": r,
        "lora_alpha": alpha, "lora_dropout": next(iter(layers.values())).rate, "target_modules": list(layers),
        "rank_pattern": {f"^{re.escape(n)}": x for n, x in ranks.items() if x != r},
        "alpha_pattern": {f"^{re.escape(n)}": x for n, x in alphas.items() if x != alpha},
        "modules_to_save": sorted({name.rpartition(".")[0] for name in own}) or None, "bias": "none",
        "fan_in_fan_out": any(transposed(place.host) for place in adapted.placements), "use_rslora": False,
        "use_dora": False, "init_lora_weights": True,
    }  # fmt: skip
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    write_atomically(path / WEIGHTS, numpy_files.save(tensors, metadata={"format": "pt"}))
    write_atomically(path / CONFIG, (json.dumps(config, indent=2) + "\n").encode())


def load_peft(folder: str | os.PathLike[str], module: Any) -> Adapted:
    """Adapt a module, in place, by the low-rank update in two files that peft wrote.

    The files do not say which network they belong to, but for names and shapes: give the one they were trained on.

    Raises
    ------
    FileNotFoundError
        a file is missing.
    FileFormatError
        one that is damaged, or holds something else.
    ValueError
        another method than LoRA, or one of its variants (DoRA, biases, embeddings), layers that the module has not,
        other shapes. The module is then as it was.
    """
    torch_files = require("safetensors.torch", "safetensors", "a .safetensors file", "ml")
    path = Path(folder)
    config = json_from(str(path / CONFIG), read_bytes(path / CONFIG), kind="configuration of an adapter")
    _check_config(path / CONFIG, config)
    try:
        tensors = torch_files.load(read_bytes(path / WEIGHTS))
    except FileNotFoundError:
        raise
    except Exception as error:  # its own errors, KeyError, TypeError, ValueError
        raise FileFormatError(f"{path / WEIGHTS} is damaged or no .safetensors file ({error}); copy it anew") from error
    pairs, own = _sorted_out(path / WEIGHTS, tensors)
    ranks = {name: int(pair["A"].shape[0]) for name, pair in pairs.items()}
    alphas = {name: _alpha(config, name, rank) for name, rank in ranks.items()}
    there = dict(module.named_modules())
    missing = sorted(name for name in pairs if name not in there)
    if missing:
        raise ValueError(
            f"{path} has an update of {missing[0]!r}, which {type(module).__name__} has not: another network"
        )
    adapted = adapt(
        module,
        "lora",
        rank=ranks,
        alpha=alphas,
        targets=list(pairs),
        train=list(own),
        dropout=config.get("lora_dropout", 0.0),
    )
    prefix = {place.name: f"{place.name}.ml_adapter." for place in adapted.placements}
    state = {prefix[name] + key: pair[key] for name, pair in pairs.items() for key in "AB"} | own
    running = {name: value for name, value in adapted.state().items() if name in adapted.running}
    try:
        adapted.load(state | running)
    except BaseException:
        adapted.remove()
        raise
    return adapted


def _check_config(path: Path, config: dict[str, Any]) -> None:
    if config.get("peft_type") != "LORA":
        raise ValueError(f"{path} is of the type {config.get('peft_type')!r}; LORA can be read")
    asked = [key for key in FOREIGN if config.get(key)]
    if config.get("bias", "none") != "none":
        asked.append("bias")
    if asked:
        raise ValueError(f"{path} asks for {asked[0]} = {config[asked[0]]!r}, which is no plain low-rank update")
    for key in ("r", "lora_alpha"):
        if isinstance(config.get(key), bool) or not isinstance(config.get(key), int | float):
            raise FileFormatError(f"{path} is damaged: {key} is {config.get(key)!r}")


def _sorted_out(path: Path, tensors: dict[str, Any]) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Return pairs A, B by the name of the layer, and parameters that are trained whole."""
    pairs: dict[str, dict[str, Any]] = {}
    own: dict[str, Any] = {}
    for key, tensor in tensors.items():
        if not key.startswith(ROOT):
            raise FileFormatError(f"{path} holds {key!r}: tensors of an adapter of peft begin with {ROOT!r}")
        name = key.removeprefix(ROOT)
        found = re.fullmatch(r"(.+)\.lora_([AB])\.weight", name)
        if found:
            pairs.setdefault(found[1], {})[found[2]] = tensor
        elif "lora_" in name:
            raise ValueError(f"{path} holds {name!r}: an update of an embedding or a variant, which is not read")
        else:
            own[name] = tensor
    for name, pair in pairs.items():
        if (
            set(pair) != {"A", "B"}
            or any(t.ndim != 2 for t in pair.values())
            or pair["A"].shape[0] != pair["B"].shape[1]
        ):
            raise FileFormatError(f"{path} is damaged: the two factors of {name!r} do not fit, or one is missing")
    if not pairs:
        raise FileFormatError(f"{path} holds no low-rank updates")
    return pairs, own


def _alpha(config: dict[str, Any], name: str, rank: int) -> float:
    """Return our alpha, r times the scale, for a layer: patterns of peft are regular expressions of the name's end."""
    alpha = config["lora_alpha"]
    for pattern, value in (config.get("alpha_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", name):
            alpha = value
            break
    return float(alpha) * (math.sqrt(rank) if config.get("use_rslora") else 1.0)


def _whole(value: float) -> float:
    return round(value) if math.isclose(value, round(value), rel_tol=1e-12) else value
