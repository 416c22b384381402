"""The language model behind a server: its key and whole replies, names, and a limit of time that holds."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import threading
import time
from typing import Any

import pytest
from helpers.scripted_server import Reply, choices, scripted_server

from ml.language.models import HttpModel, LanguageModelError, NoLogProbabilitiesError, http_model

pytest.importorskip("httpx", reason="a language model behind a server needs httpx: pip install httpx")

ASKED = [{"role": "user", "content": "Three?"}]
KEY = "sk-not-to-be-seen-4711"


def quick(url: str, **given: Any) -> HttpModel:
    return http_model(url, "small", **{"timeout": 5.0, **given})


def listed(*tokens: tuple[str, float]) -> Reply:
    first = {"top_logprobs": [{"token": token, "logprob": value} for token, value in tokens]}
    return Reply(body={"choices": [{"message": {"content": "a"}, "logprobs": {"content": [first]}}]})


def test_refused_arguments_leave_no_key_in_a_traceback() -> None:
    for given in (
        {"key": f"{KEY}\n"},
        {"base_url": f"http://me:{KEY}@a"},
        {"base_url": f"http://[{KEY}"},
        {"model": ""},
    ):
        with pytest.raises(ValueError, match="must") as caught:
            http_model(**{"base_url": "http://127.0.0.1", "model": "small", "key": KEY, **given})
        assert caught.value.__cause__ is None
        shown = [str(frame.locals) for frame in caught.traceback if "ml/language/" in str(frame.path)]
        assert shown
        assert KEY not in "".join(shown)


@pytest.mark.parametrize("key", ["a", "none", "token", "top_logprobs", "content"])
def test_replies_are_never_rewritten(key: str) -> None:
    text = "a token of none, content"
    with scripted_server(lambda asked, k: choices(text)) as server:
        assert quick(server.url, key=key).generate(ASKED) == [text]
    with scripted_server(lambda asked, k: listed(("a", -1.0), ("token", -2.0))) as server:
        assert list(quick(server.url, key=key).choice_log_probs(ASKED, ["a", "token"])) == [-1, -2]


def test_whether_there_are_log_probabilities_is_not_read_from_masked_text() -> None:
    reply = Reply(400, {"error": "logprobs is not supported"})
    with scripted_server(lambda asked, k: reply) as server, pytest.raises(NoLogProbabilitiesError):
        quick(server.url, key="logprobs").choice_log_probs(ASKED, ["a", "b"])


@pytest.mark.parametrize("status", [200, 401, 500])
def test_an_escaped_key_is_masked_before_the_text_is_cut(status: int) -> None:
    key = 'sk/<x>&"\\1'
    plain = json.dumps({"error": {"message": "y" * 195 + key}})
    shapes = ["\\/".join(plain.split("/")), plain.replace("<", "\\u003c").replace(">", "\\u003E"), plain, plain[:-3]]
    shapes += ["<p>sk/&lt;x&gt;&amp;&quot;\\1", "?sk%2F%3Cx%3e%26%22%5C1", json.dumps({"choices": 1, key: [key]})]
    for shape in shapes:
        with scripted_server(lambda asked, k, shape=shape: Reply(status, shape.encode())) as server:
            with pytest.raises(LanguageModelError) as caught:
                quick(server.url, key=key, retries=0).generate(ASKED)
            said = str(caught.value)
            assert "sk" not in said.replace("127.0.0.1", "")
            shown = [str(frame.locals) for frame in caught.traceback if "ml/language/" in str(frame.path)]
            assert "sk/" not in "".join(shown)


def test_a_header_that_drips_ends_with_the_timeout() -> None:
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\n")
                while not ended.wait(0.05):
                    connection.sendall(b"X-A: b\r\n")

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        start = time.monotonic()
        timer = threading.Timer(5, ended.set)
        timer.start()
        try:
            with pytest.raises(LanguageModelError, match=r"no whole reply within timeout=0.3 s"):
                quick(f"http://127.0.0.1:{server.getsockname()[1]}", timeout=0.3, retries=0).generate(ASKED)
            assert time.monotonic() - start < 3
        finally:
            timer.cancel()
            ended.set()
            thread.join()


def test_other_options_have_another_name() -> None:
    names = [quick("http://a", options=o).name for o in (None, {}, {"top_p": 0.9}, {"top_p": 0.8}, {"top_p": 0.9})]
    assert names[0] == names[1] == "small at http://a"
    assert len(set(names)) == 3
    assert names[2] == names[4]
    assert quick("http://a", options={"top_p": 1}, name="mine").name == "mine"


def test_an_answer_cut_in_a_character_is_a_whole_text() -> None:
    with scripted_server(lambda asked, k: choices("yes \ud83d")) as server:
        assert quick(server.url).generate(ASKED) == ["yes \ufffd"]


def test_a_key_in_a_header_or_status_line_of_a_reply_is_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    """httpcore logs the headers of replies, httpx their status lines; quotes are escaped there as Python does."""
    key = "sk-\"quoted\\'4711"
    caplog.set_level(logging.DEBUG)
    with scripted_server(lambda asked, k: Reply(status=401, body={}, headers={"X-Key": key})) as server:
        model = quick(server.url, key=key)
        with pytest.raises(LanguageModelError, match="refused the key"):
            model.generate(ASKED)
    assert "X-Key" in caplog.text
    assert "***" in caplog.text
    assert "4711" not in caplog.text
