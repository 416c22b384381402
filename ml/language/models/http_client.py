"""A language model behind a server with the interface of OpenAI: POST /v1/chat/completions, by httpx."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from lowrank.optional import require
from ml.language.models.http_replies import choice_log_probs_of, error_text, json_of, retry_after, texts_of
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
    _key: Callable[[], str | None] = field(repr=False)  #: a function, so that no repr shows it
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
            texts += texts_of(self.url, self._post({**asked, **more}))
        return texts[:n]

    def choice_log_probs(self, messages: Sequence[Message], choices: Sequence[str]) -> np.ndarray:
        """Return log p(choice) (k,) by the 20 most probable first tokens: choices should be one token each, as letters.

        A choice that is not among them gets the smallest one listed, which its own is not above. Raises
        NoLogProbabilitiesError for a server without log probabilities, otherwise as `generate`.
        """
        turns, texts = checked_messages(messages), checked_choices(choices)
        asked = {"messages": turns, "temperature": 0.0, "max_tokens": 1, "n": 1, "seed": 0}
        reply = self._post({**asked, "logprobs": True, "top_logprobs": LISTED})
        return checked_log_probs(choice_log_probs_of(self.url, reply, texts), len(texts), self.name)

    def close(self) -> None:
        """Close the connections; the model cannot be asked any more."""
        self._client.close()

    def __enter__(self) -> HttpModel:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _post(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the reply to one request, after as many attempts as are allowed."""
        sent = {key: value for key, value in {"model": self.model, **body, **self.options}.items() if value is not None}
        for attempt in range(self.retries + 1):
            status, wait, content = self._attempt(sent)
            if status == 200:
                return json_of(self.url, content)
            if status is not None and status not in PASSING:
                self._refuse(status, content, "logprobs" in sent)
            if attempt < self.retries:
                pause = min(0.5 * 2.0**attempt, self.longest_wait) if wait is None else wait
                if pause > self.longest_wait:
                    raise LanguageModelError(
                        f"{self.url} asks to wait {pause:.0f} s, longer than longest_wait={self.longest_wait:g}: "
                        f"{error_text(content)}"
                    )
                self._sleep(pause)
        what = error_text(content) if status is None else f"status {status}, {error_text(content)}"
        raise LanguageModelError(f"{self.url} gave no answer in {self.retries + 1} attempts; the last one: {what}")

    def _attempt(self, sent: Mapping[str, Any]) -> tuple[int | None, float | None, bytes]:
        """Ask once: status, or None where no whole reply came; seconds that are asked for; body, or what went wrong."""
        httpx = require("httpx", "httpx", "a language model behind a server", "language")
        end = time.monotonic() + self.timeout
        try:
            with self._client.stream("POST", self.url, json=sent, auth=_Bearer(self._key)) as reply:
                content = bytearray()
                for piece in reply.iter_bytes():
                    content += piece
                    if len(content) > MAX_REPLY:
                        raise LanguageModelError(f"{self.url} answered more than {MAX_REPLY} bytes")
                    if time.monotonic() > end:  # a server that drips never lets one read time out
                        return None, None, f"no whole reply within timeout={self.timeout:g} s".encode()
                return reply.status_code, retry_after(reply.headers.get("retry-after")), self._masked(bytes(content))
        except httpx.TimeoutException:
            return None, None, f"no reply within timeout={self.timeout:g} s".encode()
        except httpx.TransportError as error:  # no connection, or one that ended before the reply did
            return None, None, self._masked(f"{type(error).__name__}: {error}".encode())
        except httpx.HTTPError as error:  # a reply that cannot be unpacked
            raise LanguageModelError(f"{self.url} answered something that cannot be unpacked: {error}") from None

    def _masked(self, content: bytes) -> bytes:
        """Return what a server said without the key, which some servers quote."""
        key = self._key()
        return content.replace(key.encode(), b"***") if key else content

    def _refuse(self, status: int, content: bytes, log_probs: bool) -> None:
        said = error_text(content)
        if status in (401, 403):
            raise LanguageModelError(f"{self.url} refused the key (status {status}): {said}; check key= and its rights")
        if log_probs and status in (400, 404, 422, 501) and "logprob" in said:
            raise NoLogProbabilitiesError(f"{self.url} gives no log probabilities (status {status}): {said}")
        if 300 <= status < 400:
            said = f"it leads elsewhere, which is not followed: give that address as base_url; {said}"
        raise LanguageModelError(f"{self.url} refused the request (status {status}): {said}")


class _Bearer:
    """Adds the key to a request when it is sent, so that it stands in no variable that a traceback shows."""

    def __init__(self, key: Callable[[], str | None]) -> None:
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
    timeout : seconds for one attempt, the whole reply included
    retries : further attempts after status 429 or 5xx, no connection, no reply in time, or one that was cut off; waits
        0.5, 1, 2, ... seconds before them, or what Retry-After says
    longest_wait : seconds; where Retry-After asks for more, that is an error
    options : further fields of every request, or others in place of ours: {"top_p": 0.9}; None leaves one out, as in
        {"seed": None, "max_tokens": None, "max_completion_tokens": 500}
    name : what the model is, for files that hold its answers; by default model and address

    Redirections are not followed. Raises ValueError for addresses, keys and numbers that will not do, and ImportError
    without httpx.
    """
    httpx = require("httpx", "httpx", "a language model behind a server", "language")
    parts = urlsplit(base_url) if isinstance(base_url, str) else None
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("base_url must begin with http:// or https:// and a host")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("base_url must be a plain address; a key in it would be logged: give it as key=")
    if not isinstance(model, str) or not model:
        raise ValueError(f"model must be the name of a model on the server, got {model!r}")
    if key is not None and not (isinstance(key, str) and key.isascii() and key.isprintable() and key.strip() == key):
        raise ValueError("key must be a text of printable ASCII characters without spaces around it (it is not shown)")
    if not timeout > 0 or not longest_wait >= 0:
        raise ValueError(f"timeout must be positive, longest_wait not negative, got {timeout!r}, {longest_wait!r}")
    if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
        raise ValueError(f"retries must be a whole number of at least 0, got {retries!r}")
    base = base_url.rstrip("/").removesuffix("/v1")
    # a proxy of the environment does not reach this machine's own servers
    client = httpx.Client(timeout=timeout, trust_env=not _is_local(parts.hostname), follow_redirects=False)
    said = name or f"{model} at {base}"
    return HttpModel(
        said, f"{base}/v1/chat/completions", model, timeout, retries, longest_wait, dict(options or {}), client,
        lambda: key or None,
    )  # fmt: skip


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
