"""The language model behind a server, against one on the loopback address that answers by a script."""

from __future__ import annotations

import email.utils
import logging
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from helpers.scripted_server import Asked, Reply, choices, scripted_server

from ml.language.models import HttpModel, LanguageModel, LanguageModelError, NoLogProbabilitiesError, http_model
from ml.language.models.http_replies import error_text, retry_after

pytest.importorskip("httpx", reason="a language model behind a server needs httpx: pip install httpx")

ASKED = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "One?"},
    {"role": "assistant", "content": "Two."},
    {"role": "user", "content": "Three?"},
]
KEY = "sk-not-to-be-seen-4711"


def quick(url: str, waits: list[float] | None = None, **given: Any) -> HttpModel:
    """A model that notes how long it would wait, and does not."""
    model = http_model(url, "small", **{"timeout": 5.0, **given})
    object.__setattr__(model, "_sleep", (waits if waits is not None else []).append)
    return model


def test_the_dialogue_arrives_as_it_is_in_its_order() -> None:
    with scripted_server(lambda asked, k: choices("yes", "no")) as server:
        model = quick(server.url, key=KEY)
        assert isinstance(model, LanguageModel)
        assert model.generate(ASKED, n=2, temperature=0.7, max_tokens=9, seed=3) == ["yes", "no"]
    (asked,) = server.asked
    assert asked.path == "/v1/chat/completions"
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert asked.body == {
        "model": "small", "messages": ASKED, "n": 2, "temperature": 0.7, "max_tokens": 9, "seed": 3,
    }  # fmt: skip


def test_without_a_key_none_is_sent_and_fields_can_be_replaced() -> None:
    options = {"seed": None, "max_tokens": None, "max_completion_tokens": 500}
    with scripted_server(lambda asked, k: choices("yes")) as server:
        quick(server.url + "/v1/", options=options).generate(ASKED)
    assert "authorization" not in server.asked[0].headers
    assert server.asked[0].path == "/v1/chat/completions"
    assert set(server.asked[0].body) == {"model", "messages", "n", "temperature", "max_completion_tokens"}


def test_a_server_that_gives_fewer_answers_is_asked_again_with_the_next_seed() -> None:
    with scripted_server(lambda asked, k: choices(f"answer {asked.body['seed']}")) as server:
        found = quick(server.url).generate(ASKED, n=3, temperature=1, seed=10)
    assert found == ["answer 10", "answer 11", "answer 12"]
    assert [asked.body["n"] for asked in server.asked] == [3, 2, 1]


def test_answers_come_in_the_order_of_their_numbers_and_no_more_than_asked_for() -> None:
    def script(asked: Asked, k: int) -> Reply:
        made = [{"index": i, "message": {"content": str(i)}, "finish_reason": "length"} for i in (2, 0, 1)]
        return Reply(body={"choices": made})

    with scripted_server(script) as server:
        assert quick(server.url).generate(ASKED, n=2) == ["0", "1"]


def test_answers_without_a_text() -> None:
    made = [
        {"message": {"content": None}, "finish_reason": "length"},
        {"message": {"content": None, "refusal": "I will not."}, "finish_reason": "stop"},
    ]
    with scripted_server(lambda asked, k: Reply(body={"choices": made})) as server:
        assert quick(server.url).generate(ASKED, n=2) == ["", "I will not."]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<html>Welcome</html>", "answered something that is no JSON: <html>Welcome</html>"),
        (b"", "answered something that is no JSON: nothing"),
        (b"\xff\xfe\x00", "answered something that is no JSON"),
        (b"[" * 100_000, "answered something that is no JSON"),
        ([1], "answered JSON that is no object"),
        ({}, "without a list of choices"),
        ({"choices": []}, "without a list of choices"),
        ({"choices": ["a"]}, "without a list of choices"),
        ({"choices": [{"text": "a"}]}, "a choice without message.content"),
        ({"choices": [{"message": {"content": 3}}]}, "a choice whose content is no text"),
        ({"choices": [{"message": {"content": None}, "finish_reason": "stop"}]}, "a choice whose content is no text"),
        ({"error": {"message": "out of memory"}}, "answered with an error: out of memory"),
    ],
)
def test_nonsense_is_said_and_not_asked_for_again(body: Any, said: str) -> None:
    with (
        scripted_server(lambda asked, k: Reply(body=body)) as server,
        pytest.raises(LanguageModelError, match=rf"{server.url}/v1/chat/completions answered.*") as caught,
    ):
        quick(server.url).generate(ASKED)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 400
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_said_once_and_not_shown(status: int) -> None:
    body = {"error": {"message": f"Incorrect API key provided: {KEY}."}}
    with scripted_server(lambda asked, k: Reply(status, body)) as server:
        model = quick(server.url, key=KEY)
        with pytest.raises(LanguageModelError, match=rf"refused the key \(status {status}\): Incorrect .* \*\*\*"):
            model.generate(ASKED)
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [400, 404, 422, 302])
def test_a_refused_request_is_not_tried_again(status: int) -> None:
    reply = Reply(status, {"detail": "no such model"}, {"Location": "http://127.0.0.1:9/"})
    with (
        scripted_server(lambda asked, k: reply) as server,
        pytest.raises(LanguageModelError, match=rf"refused the request \(status {status}\): .*no such model"),
    ):
        quick(server.url).generate(ASKED)
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again_after_longer_and_longer_waits(status: int) -> None:
    waits: list[float] = []
    script = [Reply(status, {"error": "busy"}), Reply(status, {"error": "busy"}), choices("yes")]
    with scripted_server(lambda asked, k: script[k]) as server:
        assert quick(server.url, waits).generate(ASKED) == ["yes"]
    assert waits == [0.5, 1.0]
    assert server.asked[0].body == server.asked[2].body


def test_retries_are_bounded() -> None:
    waits: list[float] = []
    with (
        scripted_server(lambda asked, k: Reply(500, {"error": {"message": "boom"}})) as server,
        pytest.raises(LanguageModelError, match=r"no answer in 3 attempts; the last one: status 500, boom"),
    ):
        quick(server.url, waits, retries=2).generate(ASKED)
    assert len(server.asked) == 3
    assert waits == [0.5, 1.0]


def test_the_wait_that_a_server_asks_for_is_kept_within_a_limit() -> None:
    waits: list[float] = []
    script = [Reply(429, {}, {"Retry-After": "7"}), Reply(429, {"error": "tomorrow"}, {"Retry-After": "86400"})]
    with (
        scripted_server(lambda asked, k: script[k]) as server,
        pytest.raises(LanguageModelError, match=r"asks to wait 86400 s, longer than longest_wait=60: tomorrow"),
    ):
        quick(server.url, waits).generate(ASKED)
    assert waits == [7.0]


def test_a_wait_is_a_number_or_a_date() -> None:
    assert retry_after("2.5") == 2.5
    assert retry_after("-3") == 0
    assert retry_after(email.utils.formatdate(time.time() + 100)) == pytest.approx(100, abs=3)
    assert retry_after(email.utils.formatdate(0)) == 0
    assert [retry_after(text) for text in (None, "soon", "nan", "")] == [None] * 4


def test_a_reply_that_is_cut_off_is_asked_for_again() -> None:
    script = [Reply(body={"choices": [1] * 100}, vice="cut"), choices("whole")]
    with scripted_server(lambda asked, k: script[k]) as server:
        assert quick(server.url).generate(ASKED) == ["whole"]
    with (
        scripted_server(lambda asked, k: script[0]) as server,
        pytest.raises(LanguageModelError, match=r"no answer in 2 attempts; the last one: RemoteProtocolError"),
    ):
        quick(server.url, retries=1).generate(ASKED)


@pytest.mark.parametrize("vice", ["stall", "drip"])
def test_a_server_that_stalls_does_not_hold_us_up(vice: str) -> None:
    script = [Reply(body={"choices": [1] * 100}, vice=vice), choices("at last")]
    with scripted_server(lambda asked, k: script[min(k, 1)]) as server:
        start = time.monotonic()
        assert quick(server.url, timeout=0.4).generate(ASKED) == ["at last"]
        assert time.monotonic() - start < 5
    with (
        scripted_server(lambda asked, k: script[0]) as server,
        pytest.raises(LanguageModelError, match=r"in 2 attempts; the last one: no .*reply within timeout=0.3 s"),
    ):
        quick(server.url, timeout=0.3, retries=1).generate(ASKED)


def test_nobody_at_the_address() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    waits: list[float] = []
    with pytest.raises(LanguageModelError, match=r"no answer in 3 attempts; the last one: ConnectError"):
        quick(f"http://127.0.0.1:{port}", waits, retries=2).generate(ASKED)
    assert len(waits) == 2


def test_two_callers_at_the_same_time_get_their_own_answers() -> None:
    def script(asked: Asked, k: int) -> Reply:
        time.sleep(0.02 * (k % 3))
        return choices(f"to {asked.body['messages'][0]['content']}")

    with scripted_server(script) as server, quick(server.url) as model, ThreadPoolExecutor(2) as pool:
        asked = [[{"role": "user", "content": str(k)}] for k in range(40)]
        found = list(pool.map(lambda messages: model.generate(messages)[0], asked))
    assert found == [f"to {k}" for k in range(40)]


def listed(*tokens: tuple[str, float]) -> Reply:
    first = {"top_logprobs": [{"token": token, "logprob": value} for token, value in tokens]}
    return Reply(body={"choices": [{"message": {"content": "a"}, "logprobs": {"content": [first]}}]})


def test_log_probabilities_of_first_tokens() -> None:
    """Tokens that differ by spaces are added; what is not listed gets the smallest that is."""
    reply = listed(("a", np.log(0.5)), (" a", np.log(0.125)), ("b", np.log(0.25)), ("x", np.log(0.01)))
    with scripted_server(lambda asked, k: reply) as server:
        found = quick(server.url).choice_log_probs(ASKED, ["a", "b", "c"])
    np.testing.assert_allclose(np.exp(found), [0.625, 0.25, 0.01])
    assert {"logprobs": True, "top_logprobs": 20, "max_tokens": 1}.items() <= server.asked[0].body.items()


@pytest.mark.parametrize(
    "reply",
    [
        choices("a"),
        choices("a", logprobs=None),
        choices("a", logprobs={"content": []}),
        listed(),
        listed(("a", float("nan"))),
        Reply(400, {"error": {"message": "logprobs is not supported"}}),
    ],
)
def test_a_server_without_log_probabilities_is_named(reply: Reply) -> None:
    with (
        scripted_server(lambda asked, k: reply) as server,
        pytest.raises(NoLogProbabilitiesError, match="gives no log probabilities"),
    ):
        quick(server.url).choice_log_probs(ASKED, ["a", "b"])


def test_the_key_is_in_no_log_no_repr_and_no_error(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever goes wrong, and however much is logged."""
    caplog.set_level(logging.DEBUG)
    padded = b"x" * 190 + KEY.encode() * 2  # where the text is shortened, too
    script = [Reply(500, {"error": f"key {KEY}"}), Reply(429, padded), Reply(body=padded), Reply(401, padded)]
    said = []
    for replies in (script[:1], script[1:2], script[2:3], script[3:], [Reply(body=KEY.encode(), vice="cut")]):
        with scripted_server(lambda asked, k, replies=replies: replies[0]) as server:
            model = quick(server.url, key=KEY, retries=1)
            with pytest.raises(LanguageModelError) as caught:
                model.generate(ASKED)
            said += [str(caught.value), repr(caught.value), repr(model), str(vars(model)), str(model._client.headers)]
            said += [str(frame.locals) for frame in caught.traceback if "ml/language" in str(frame.path)]
            assert server.asked[0].headers["authorization"].endswith(KEY)
    assert len(said) > 25
    for text in [*said, caplog.text]:
        assert "sk-not" not in text


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"base_url": "ftp://a"}, "must begin with http"),
        ({"base_url": "127.0.0.1:80"}, "must begin with http"),
        ({"base_url": None}, "must begin with http"),
        ({"base_url": f"http://me:{KEY}@a"}, "a key in it would be logged"),
        ({"base_url": f"http://a/?key={KEY}"}, "a key in it would be logged"),
        ({"model": ""}, "model must be the name"),
        ({"key": f"{KEY}\n"}, r"key must be a text of printable .* \(it is not shown\)"),
        ({"key": f"{KEY}\N{GREEK SMALL LETTER ALPHA}"}, "key must be a text"),
        ({"timeout": 0}, "timeout must be positive"),
        ({"retries": -1}, "retries must be a whole number"),
        ({"retries": 1.5}, "retries must be a whole number"),
    ],
)
def test_arguments_that_will_not_do_are_refused(given: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        http_model(**{"base_url": "http://127.0.0.1", "model": "small", **given})
    assert KEY not in str(caught.value)


def test_what_an_error_body_says() -> None:
    assert error_text(b'{"error": {"message": "a\\n b", "code": 3}}') == "a b"
    assert error_text(b'{"error": {"code": 3}}') == '{"code": 3}'
    assert error_text(b'{"detail": [{"loc": "n"}]}') == '[{"loc": "n"}]'
    assert error_text(b'{"message": "c"}') == "c"
    assert error_text(b"\x1b[31mred\x00") == "[31mred"
    assert error_text(b"") == "nothing"
