"""A language model behind a server with the interface of OpenAI: POST /v1/chat/completions, by httpx."""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import json
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from lowrank.optional import require
from ml.language.models.http_replies import Hide, choice_log_probs_of, error_text, json_of, retry_after, texts_of
from ml.language.models.key_masking import KeyOf, mask_in_logs, masked
from ml.language.models.protocol import (
    LanguageModelError,
    Message,
    NoLogProbabilitiesError,
    checked_choices,
    checked_log_probs,
    checked_messages,
    checked_request,
)

__all__ = ["HttpModel", "http_model"]

#: Bytes of a reply; a long answer has some thousand.
MAX_REPLY = 1 << 24
#: Most probable first tokens that are asked for; servers refuse more.
LISTED = 20
#: Answers of a server that may be others when it is asked again.
PASSING = {408, 409, 425, 429, *range(500, 600)}


@dataclass(frozen=True)
class HttpModel:
    """A language model behind a server; made by `http_model`. Several threads may use it at the same time."""

    name: str
    url: str
    model: str
    timeout: float
    retries: int
    longest_wait: float
    options: Mapping[str, Any]
    _client: Any = field(repr=False)
    _key: KeyOf = field(repr=False)  #: a function, so that no repr shows it
    _sleep: Callable[[float], None] = field(repr=False, default=time.sleep)

    def generate(
        self,
        messages: Sequence[Message],
        n: int = 1,
        temperature: float = 0.0,
        max_tokens: int = 256,
        seed: int | None = 0,
    ) -> list[str]:
        """Return `n` answers; a server that gives fewer at once is asked again, with the next seed.

        Raises LanguageModelError where the server refuses, is not reached after all retries, or answers nonsense.
        """
        turns = checked_messages(messages)
        checked_request(n, temperature, max_tokens, seed)
        asked = {"messages": turns, "temperature": float(temperature), "max_tokens": int(max_tokens)}
        texts: list[str] = []
        while len(texts) < n:
            more = {"n": int(n - len(texts)), "seed": None if seed is None else int(seed + len(texts))}
            texts += self._post({**asked, **more}, texts_of)
        return texts[:n]

    def choice_log_probs(self, messages: Sequence[Message], choices: Sequence[str]) -> np.ndarray:
        """Return log p(choice) (k,) by the 20 most probable first tokens: choices should be one token each, as letters.

        A choice that is not among them gets the smallest one listed, which its own is not above. Raises
        NoLogProbabilitiesError for a server without log probabilities, otherwise as `generate`.
        """
        turns, texts = checked_messages(messages), checked_choices(choices)
        asked = {"messages": turns, "temperature": 0.0, "max_tokens": 1, "n": 1, "seed": 0}
        more = {"logprobs": True, "top_logprobs": LISTED}
        found = self._post({**asked, **more}, lambda where, reply, hide: choice_log_probs_of(where, reply, texts, hide))
        return checked_log_probs(found, len(texts), self.name)

    def close(self) -> None:
        """Close the connections; the model cannot be asked any more."""
        self._client.close()

    def __enter__(self) -> HttpModel:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _post(self, body: Mapping[str, Any], read: Callable[[str, dict[str, Any], Hide], Any]) -> Any:
        """Return what `read` finds in the reply to one request, after as many attempts as are allowed."""
        sent = {key: value for key, value in {"model": self.model, **body, **self.options}.items() if value is not None}
        for attempt in range(self.retries + 1):
            outcome = self._attempt(sent, read)
            if outcome.error is not None:
                raise outcome.error
            status, said = outcome.status, outcome.said
            if status is not None and 200 <= status < 300:
                return outcome.found
            if status is not None and status not in PASSING:
                self._refuse(outcome, "logprobs" in sent)
            if attempt < self.retries:
                pause = min(0.5 * 2.0**attempt, self.longest_wait) if outcome.wait is None else outcome.wait
                if pause > self.longest_wait:
                    raise LanguageModelError(
                        f"{self.url} asks to wait {pause:.0f} s, longer than longest_wait={self.longest_wait:g}: {said}"
                    )
                self._sleep(pause)
        what = said if status is None else f"status {status}, {said}"
        raise LanguageModelError(f"{self.url} gave no answer in {self.retries + 1} attempts; the last one: {what}")

    def _attempt(self, sent: Mapping[str, Any], read: Callable[[str, dict[str, Any], Hide], Any]) -> _Outcome:
        """Ask once. Nothing is raised in here, where the unmasked reply is, so that no traceback holds it."""
        httpx = require("httpx", "httpx", "a language model behind a server", "language")
        late = f"no whole reply within timeout={self.timeout:g} s"
        limit = _Limit(self.timeout)
        try:
            with limit, self._client.stream(
                "POST", self.url, json=sent, auth=_Bearer(self._key), extensions={"trace": limit.saw}
            ) as reply:  # fmt: skip
                content = bytearray()
                for piece in reply.iter_bytes():
                    content += piece
                    if len(content) > MAX_REPLY:
                        return _failed(f"{self.url} answered more than {MAX_REPLY} bytes")
                    if limit.over:
                        return _Outcome(said=late)
            if limit.over:  # a reply without a length just ends when its connection is closed
                return _Outcome(said=late)
            wait = retry_after(reply.headers.get("retry-after"))
            return self._outcome(reply.status_code, wait, bytes(content), read)
        except httpx.TimeoutException:
            return _Outcome(said=f"no reply within timeout={self.timeout:g} s")
        except httpx.TransportError as error:  # no connection, or one that ended before the reply did
            return _Outcome(said=late if limit.over else f"{type(error).__name__}: {self._hide(str(error))}")
        except httpx.HTTPError as error:  # a reply that cannot be unpacked
            return _failed(f"{self.url} answered something that cannot be unpacked: {self._hide(str(error))}")

    def _outcome(
        self, status: int, wait: float | None, content: bytes, read: Callable[[str, dict[str, Any], Hide], Any]
    ) -> _Outcome:
        """Return what a whole reply comes to."""
        if not 200 <= status < 300:
            # masked text may have lost the word, or got it
            return _Outcome(status, wait, error_text(content, self._hide), "logprob" in error_text(content))
        try:
            return _Outcome(status, found=read(self.url, json_of(self.url, content, self._hide), self._hide))
        except LanguageModelError as error:
            error.__context__ = error.__cause__ = None  # they hold the reply, as the frames do
            return _Outcome(error=error.with_traceback(None))

    def _hide(self, text: str) -> str:
        """Return a text without the key, which some servers quote."""
        return masked(text, self._key())

    def _refuse(self, outcome: _Outcome, log_probs: bool) -> None:
        status, said = outcome.status, outcome.said
        if status in (401, 403):
            raise LanguageModelError(f"{self.url} refused the key (status {status}): {said}; check key= and its rights")
        if log_probs and status in (400, 404, 422, 501) and outcome.of_log_probs:
            raise NoLogProbabilitiesError(f"{self.url} gives no log probabilities (status {status}): {said}")
        if status is not None and 300 <= status < 400:
            said = f"it leads elsewhere, which is not followed: give that address as base_url; {said}"
        raise LanguageModelError(f"{self.url} refused the request (status {status}): {said}")


@dataclass(frozen=True)
class _Outcome:
    """What one attempt came to: status None where no whole reply came, `said` without the key, `error` for good."""

    status: int | None = None
    wait: float | None = None
    said: str = ""
    of_log_probs: bool = False  #: whether the server spoke of log probabilities
    found: Any = None
    error: LanguageModelError | None = None


def _failed(said: str) -> _Outcome:
    return _Outcome(error=LanguageModelError(said))


class _Limit:
    """Ends the connection of one attempt when its time is over, however slowly header or body drip in."""

    def __init__(self, seconds: float) -> None:
        self.over = False
        self._socket: Any = None
        self._timer = threading.Timer(min(seconds, threading.TIMEOUT_MAX), self._end)
        self._timer.daemon = True

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *error: object) -> None:
        self._timer.cancel()

    def saw(self, event: str, info: Mapping[str, Any]) -> None:
        """Keep the socket of a connection that was opened; httpx calls this."""
        if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            self._socket = info["return_value"].get_extra_info("socket")
            if self.over:
                self._end()

    def _end(self) -> None:
        self.over = True
        if self._socket is not None:
            with contextlib.suppress(OSError):  # it is closed
                self._socket.shutdown(socket.SHUT_RDWR)


class _Bearer:
    """Adds the key to a request when it is sent, so that it stands in no variable that a traceback shows."""

    def __init__(self, key: KeyOf) -> None:
        self._key = key

    def __call__(self, request: Any) -> Any:
        if self._key() is not None:
            request.headers["Authorization"] = f"Bearer {self._key()}"
        return request


def http_model(
    base_url: str,
    model: str,
    key: str | None = None,
    *,
    timeout: float = 60.0,
    retries: int = 4,
    longest_wait: float = 60.0,
    options: Mapping[str, Any] | None = None,
    name: str | None = None,
) -> HttpModel:
    """Make a language model of a server with the interface of OpenAI (vLLM, llama.cpp, Ollama and others have it).

    base_url : address in front of /v1/chat/completions; "/v1" at its end may be there or not
    model : its name on the server
    key : sent as "Authorization: Bearer ..", and never shown: not in a repr, a log or an error
    timeout : seconds for one attempt, the whole reply included; looking up the host's name is not
    retries : further attempts after status 429 or 5xx, no connection, no reply in time, or one that was cut off; waits
        0.5, 1, 2, ... seconds before them, or what Retry-After says
    longest_wait : seconds; where Retry-After asks for more, that is an error
    options : further fields of every request, or others in place of ours: {"top_p": 0.9}; None leaves one out, as in
        {"seed": None, "max_tokens": None, "max_completion_tokens": 500}
    name : what the model is, for files that hold its answers; by default model, address, and a digest of the options

    Redirections are not followed. Raises ValueError for addresses, keys and numbers that will not do, and ImportError
    without httpx.
    """
    secret, key_wrong = _wrapped(key)
    address, wrong = _address(base_url)
    del key, base_url  # a traceback shows the arguments
    httpx = require("httpx", "httpx", "a language model behind a server", "language")
    if wrong:
        raise ValueError(wrong)
    if not isinstance(model, str) or not model:
        raise ValueError(f"model must be the name of a model on the server, got {model!r}")
    if key_wrong:
        raise ValueError(key_wrong)
    if not timeout > 0 or not longest_wait >= 0:
        raise ValueError(f"timeout must be positive, longest_wait not negative, got {timeout!r}, {longest_wait!r}")
    if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
        raise ValueError(f"retries must be a whole number of at least 0, got {retries!r}")
    mask_in_logs(secret)
    base = address.rstrip("/").removesuffix("/v1")
    client = httpx.Client(
        timeout=timeout,
        # a proxy of the environment does not reach this machine's own servers
        trust_env=not _is_local(urlsplit(address).hostname or ""),
        follow_redirects=False,
        limits=httpx.Limits(max_keepalive_connections=0),  # _Limit ends connections that it saw opened
    )
    said = name or f"{model} at {base}"
    if options and not name:
        given = json.dumps(dict(options), sort_keys=True, default=str)
        said += f", options {hashlib.sha256(given.encode()).hexdigest()[:8]}"
    return HttpModel(
        said, f"{base}/v1/chat/completions", model, timeout, retries, longest_wait, dict(options or {}), client, secret
    )


def _wrapped(key: Any) -> tuple[KeyOf, str]:
    """Return the key behind a function, and what is wrong with it; not raised here, where it would be shown."""
    good = key is None or (isinstance(key, str) and key.isascii() and key.isprintable() and key.strip() == key)
    wrong = "key must be a text of printable ASCII characters without spaces around it (it is not shown)"
    return lambda: key or None, "" if good else wrong


def _address(base_url: Any) -> tuple[str, str]:
    """Return an address, and what is wrong with it; a wrong one may hold a key, and is not returned."""
    parts = None
    try:
        parts = urlsplit(base_url) if isinstance(base_url, str) else None
        good = parts is not None and parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:  # as of http://[a
        good = False
    if parts is None or not good:
        return "", "base_url must begin with http:// or https:// and a host"
    if parts.username or parts.password or parts.query or parts.fragment:
        return "", "base_url must be a plain address; a key in it would be logged: give it as key="
    return base_url, ""


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
