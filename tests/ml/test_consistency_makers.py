"""HaloCheck of models whose answers are known, through all three makers: a function, a server, a network."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from helpers.scripted_models import Characters
from helpers.scripted_server import Asked, Reply, choices, scripted_server

from ml.language.consistency import Sampling, halo_check, severity
from ml.language.models import NetworkModel, callable_model, http_model

TOWNS = "ABC"


def same(premise: str, hypothesis: str) -> tuple[float, float, float]:
    """Entailed where the sentences are one, else contradicted."""
    return (1.0, 0.0, 0.0) if premise == hypothesis else (0.0, 0.0, 1.0)


@contextmanager
def by_function() -> Iterator[Any]:
    yield callable_model(lambda messages, seed: f"{TOWNS[seed % 3]}.", name="scripted")


@contextmanager
def by_server() -> Iterator[Any]:
    pytest.importorskip("httpx", reason="a language model behind a server needs httpx: pip install httpx")

    def script(asked: Asked, k: int) -> Reply:
        assert asked.body["temperature"] == 0.7
        return choices(f"{TOWNS[asked.body['seed'] % 3]}.")  # one at a time, whatever n is

    with scripted_server(script) as server, http_model(server.url, "scripted", timeout=10) as model:
        yield model


@contextmanager
def by_network() -> Iterator[Any]:
    """Three towns are as likely, then a dot, then the end."""
    torch = pytest.importorskip("torch")

    class Network:
        device, config = "cpu", SimpleNamespace()

        def forward(self, input_ids: Any, cache: Any, use_cache: bool, logits_to_keep: int) -> Any:
            raise NotImplementedError

        def __call__(self, input_ids: Any, cache: str | None, use_cache: bool, logits_to_keep: int) -> Any:
            text = (cache or "") + "".join(map(chr, input_ids[0].tolist()))
            said = text.rpartition("assistant: ")[2]
            logits = torch.full((1, 1, 128), -1e4)
            for token in TOWNS if not said else "." if len(said) == 1 else "\0":
                logits[0, 0, ord(token)] = 0.0
            return type("Found", (dict,), {"logits": logits})({"cache": text})

    yield NetworkModel("scripted", Network(), Characters())


@pytest.mark.parametrize("maker", [by_function, by_server])
@pytest.mark.parametrize("rng", range(3))
def test_four_answers_in_turn_by_hand(maker: Any, rng: int) -> None:
    """Of three towns in turn the first and the fourth agree: one pair of six, (1 - 5) / 6."""
    with maker() as model:
        found = halo_check((model, "Where?", 4, 0.7), same, rng=rng)
        table = severity(model, ["Where?", "Where was it?"], same, sampling=Sampling(4, 0.7, 10, rng))
    assert found.score == pytest.approx(-2 / 3, abs=1e-15)
    assert found.answers[0] == found.answers[3]
    assert table.scores == pytest.approx([-2 / 3, -2 / 3], abs=1e-15)


@pytest.mark.parametrize("rng", range(3))
def test_answers_of_a_network_by_its_draws(rng: int) -> None:
    """The town of answer i is the first number of the generator of (seed, i), in thirds."""
    with by_network() as model:
        found = halo_check((model, "Where?", 6, 0.7), same, rng=rng)
    seed = int(np.random.default_rng(rng).integers(1 << 31))
    towns = [TOWNS[int(3 * np.random.default_rng((seed, i)).random())] for i in range(6)]
    assert found.answers == tuple(f"{town}." for town in towns)
    pairs = list(itertools.combinations(towns, 2))
    assert found.score == pytest.approx(np.mean([1 if a == b else -1 for a, b in pairs]), abs=1e-15)
    assert -1 < found.score < 1
