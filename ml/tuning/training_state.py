"""Training that can be interrupted: adapter, optimiser and random state in one file, without pickles."""

from __future__ import annotations

import json
import os
from typing import Any

from lowrank.optional import require
from lowrank.reading import FileFormatError
from ml.tuning.adapted import Adapted
from ml.tuning.adapter_files import check_adapted, read_tensors, write_tensors

__all__ = ["load_training", "save_training"]

MARK = "adapter_training"


def save_training(path: str | os.PathLike[str], adapted: Adapted, optimizer: Any, step: int = 0) -> None:
    """Write all that further steps depend on: what is trained, the optimiser's state, PyTorch's random state.

    Training that is loaded with :func:`load_training` goes on as if it had not been interrupted, bit for bit, on the
    same machine and with the same batches. What else a loop has (a schedule, its place in the data) follows from
    `step`, or is the loop's to keep.

    optimizer : a torch.optim.Optimizer of `adapted.parameters()`, in any number of groups
    step : how many steps were made

    Raises ValueError for an optimiser with state that is neither tensors nor plain values; others as
    :func:`ml.save_adapter`.
    """
    torch = require("torch", "torch", "ml.save_training", "ml")
    check_adapted("save_training", adapted)
    tensors = {f"adapter/{name}": tensor for name, tensor in adapted.state().items()}
    plain: dict[str, Any] = {}
    state = optimizer.state_dict()
    for index, entries in state["state"].items():
        for key, value in entries.items():
            if isinstance(value, torch.Tensor):
                tensors[f"optimizer/{index}/{key}"] = value
            else:
                plain[f"{index}/{key}"] = value
    tensors["random"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random_cuda"] = torch.cuda.get_rng_state()
    header = {
        "kind": adapted.kind, "numbers": adapted.fingerprints()[1], "step": step, "plain": plain,
        "groups": state["param_groups"], "optimizer": type(optimizer).__name__, "order": _order(adapted, optimizer),
    }  # fmt: skip
    try:
        json.dumps(header)
    except TypeError as error:
        raise ValueError(
            f"the state of {type(optimizer).__name__} holds more than tensors and plain values: {error}"
        ) from None
    write_tensors(path, MARK, header, tensors)


def load_training(path: str | os.PathLike[str], adapted: Adapted, optimizer: Any) -> int:
    """Put what :func:`save_training` wrote into adapter and optimiser, and return the step.

    adapted, optimizer : made as they were then

    Raises
    ------
    FileFormatError
        a file that is damaged or holds something else.
    ValueError
        another adapter, optimiser or network. Nothing is then changed.
    """
    torch = require("torch", "torch", "ml.load_training", "ml")
    name = os.fspath(path)
    header, tensors = read_tensors(path, MARK, "a training of an adapter", "ml.save_training")
    if (
        not {"kind", "numbers", "step", "plain", "groups", "optimizer", "order"} <= set(header)
        or "random" not in tensors
    ):
        raise FileFormatError(f"{name} is not a whole file of a training; write it again with ml.save_training")
    if header["optimizer"] != type(optimizer).__name__:
        raise ValueError(
            f"{name} was trained by {header['optimizer']}, the optimiser here is {type(optimizer).__name__}"
        )
    if header["kind"] != adapted.kind or header["numbers"] != adapted.fingerprints()[1]:
        raise ValueError(
            f"{name} holds the training of a {header['kind']} adapter of another network, or of another kind"
        )
    groups = [{**group, "betas": tuple(group["betas"])} if "betas" in group else group for group in header["groups"]]
    sizes = [len(group["params"]) for group in groups]
    if sizes != [len(group["params"]) for group in optimizer.param_groups]:
        raise ValueError(
            f"{name} has {sizes} parameters in the groups of its optimiser, the one here others: make it anew"
        )
    if header["order"] != _order(adapted, optimizer):
        raise ValueError(f"{name} has the parameters of its optimiser in another order than the one here: make it anew")
    state: dict[int, dict[str, Any]] = {}
    for key, tensor in tensors.items():
        if key.startswith("optimizer/"):
            index, _, entry = key.removeprefix("optimizer/").partition("/")
            state.setdefault(int(index), {})[entry] = tensor
    for key, value in header["plain"].items():
        index, _, entry = key.partition("/")
        state.setdefault(int(index), {})[entry] = value
    adapted.load({k.removeprefix("adapter/"): t for k, t in tensors.items() if k.startswith("adapter/")})
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    torch.set_rng_state(tensors["random"])
    if "random_cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random_cuda"])
    return int(header["step"])


def _order(adapted: Adapted, optimizer: Any) -> list[list[str]]:
    """Return the names of the parameters in the groups of an optimiser; "" for one of something else."""
    names = {id(parameter): name for name, parameter in adapted.module.named_parameters()}
    return [[names.get(id(parameter), "") for parameter in group["params"]] for group in optimizer.param_groups]
