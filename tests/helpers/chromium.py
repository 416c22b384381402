"""A real browser without a window, driven over two pipes by the devtools protocol: JSON that ends in NUL."""

from __future__ import annotations

import base64
import fcntl
import itertools
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

#: Debian's name first.
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
INSTALL = "no browser: apt-get install -y chromium"
PROGRAM = next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One page of a headless browser; `errors` and `requests` are what it said and asked for."""

    def __init__(self, send: int, receive: int) -> None:
        self._send, self._receive, self._kept = send, receive, b""
        self._numbers = itertools.count(1)
        self._session: str | None = None
        self.errors: list[str] = []
        self.requests: list[str] = []

    def call(self, method: str, timeout: float = 60.0, **parameters: Any) -> Any:
        """Send a command, and return its result."""
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session and not method.startswith("Target."):
            message["sessionId"] = self._session
        os.write(self._send, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + timeout
        while True:
            got = self._read(end)
            if got.get("id") == number:
                assert "error" not in got, got
                return got["result"]

    def open(self, url: str, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Open a page in a tab of its own."""
        if self._session is None:
            target = self.call("Target.createTarget", url="about:blank")["targetId"]
            self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Network", "Log"):
                self.call(f"{domain}.enable")
        self.call("Emulation.setEmulatedMedia", features=[_feature(dark)])
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self.errors.clear()
        self.requests.clear()
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")

    def evaluate(self, code: str) -> Any:
        """Return the value of an expression in the page; promises are waited for."""
        made = self.call("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in made, made["exceptionDetails"]
        return made["result"].get("value")

    def wait(self, condition: str, seconds: float = 30.0) -> None:
        """Wait until an expression is true in the page."""
        end = time.monotonic() + seconds
        while not self.evaluate(f"Boolean({condition})"):
            assert time.monotonic() < end, f"never true: {condition}; the page said {self.errors}"
            time.sleep(0.02)

    def key(self, name: str, code: int, modifiers: int = 0) -> None:
        """Press and release a key."""
        for kind in ("rawKeyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=name,
                code=name,
                windowsVirtualKeyCode=code,
                modifiers=modifiers,
            )

    def screenshot(self, path: Path) -> None:
        """Write the whole page, as long as it is."""
        made = self.call("Page.captureScreenshot", captureBeyondViewport=True, format="png")
        path.write_bytes(base64.b64decode(made["data"]))

    def _read(self, end: float) -> dict[str, Any]:
        while b"\0" not in self._kept:
            ready, _, _ = select.select([self._receive], [], [], max(end - time.monotonic(), 0.0))
            assert ready, "the browser does not answer"
            part = os.read(self._receive, 1 << 20)
            assert part, "the browser has ended"
            self._kept += part
        whole, _, self._kept = self._kept.partition(b"\0")
        got = json.loads(whole)
        self._heard(got.get("method", ""), got.get("params", {}))
        return got

    def _heard(self, method: str, parameters: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(parameters["exceptionDetails"])[:500])
        elif method == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.errors.append(parameters["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])


def _feature(dark: bool) -> dict[str, str]:
    return {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A browser with a profile in `folder`. Skips where none is installed, and says how to install it."""
    if PROGRAM is None:
        pytest.skip(INSTALL)
    with started(folder) as made:
        yield made


@contextmanager
def started(folder: Path) -> Iterator[Browser]:
    to_browser, from_browser = os.pipe(), os.pipe()
    options = (
        "--headless=new --remote-debugging-pipe --no-sandbox --disable-gpu --no-first-run --disable-dev-shm-usage "
        "--disable-background-networking --disable-component-update --disable-sync --hide-scrollbars"
    )

    def ends() -> None:
        """The browser reads from descriptor 3 and writes to 4; both may be taken by other ends of the pipes."""
        read, write = (fcntl.fcntl(end, fcntl.F_DUPFD, 64) for end in (to_browser[0], from_browser[1]))
        os.dup2(read, 3)
        os.dup2(write, 4)

    with (folder / "browser.log").open("wb") as log:
        command = [str(PROGRAM), *options.split(), f"--user-data-dir={folder / 'profile'}"]
        process = subprocess.Popen(
            command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, close_fds=False, preexec_fn=ends
        )
        os.close(to_browser[0])
        os.close(from_browser[1])
        made = Browser(to_browser[1], from_browser[0])
        try:
            yield made
        finally:
            try:
                made.call("Browser.close", timeout=5.0)
                process.wait(10)
            except (AssertionError, OSError, subprocess.TimeoutExpired):
                process.kill()
                process.wait()
            os.close(to_browser[1])
            os.close(from_browser[0])
