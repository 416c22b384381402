"""A server on the loopback address that answers by a script, with the interface of OpenAI and all its vices."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["Asked", "Reply", "ScriptedServer", "choices", "scripted_server"]


@dataclass(frozen=True)
class Asked:
    """One request as the server saw it."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass(frozen=True)
class Reply:
    """One answer; `vice` is "", "cut" (ends in the middle), "stall" (says nothing) or "drip" (a byte now and then)."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    vice: str = ""


def choices(*texts: Any, **more: Any) -> Reply:
    """A reply with these texts."""
    made = [{"index": k, "message": {"role": "assistant", "content": text}, **more} for k, text in enumerate(texts)]
    return Reply(body={"choices": made})


@dataclass
class ScriptedServer:
    """What was asked, and where."""

    url: str
    asked: list[Asked] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)


@contextmanager
def scripted_server(script: Callable[[Asked, int], Reply]) -> Iterator[ScriptedServer]:
    """Serve `script(request, its number)` until the block ends."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: Any) -> None:
            pass

        def do_POST(self) -> None:
            asked = Asked(
                self.path,
                {key.lower(): value for key, value in self.headers.items()},
                json.loads(self.rfile.read(int(self.headers["Content-Length"]))),
            )
            with lock:
                number = len(state.asked)
                state.asked.append(asked)
            reply = script(asked, number)
            if reply.vice == "stall":
                state.ended.wait(30)
                self.close_connection = True
                return
            body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            self.send_response(reply.status)
            for key, value in {"Content-Type": "application/json", **reply.headers}.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if reply.vice == "cut":
                self.wfile.write(body[: len(body) // 2])
                self.close_connection = True
            elif reply.vice == "drip":
                for byte in body:
                    self.wfile.write(bytes([byte]))
                    self.wfile.flush()
                    time.sleep(0.05)
            else:
                self.wfile.write(body)

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *args: Any) -> None:  # the client went away
            pass

    with Server(("127.0.0.1", 0), Handler) as server:
        state = ScriptedServer(f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield state
        finally:
            state.ended.set()
            server.shutdown()
            thread.join()
