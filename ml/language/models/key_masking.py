"""The key of a server taken out of what is shown: of texts, and of what the client's own packages log."""

from __future__ import annotations

import html
import logging
import re
import weakref
from collections.abc import Callable

__all__ = ["KeyOf", "mask_in_logs", "masked"]

#: A key behind a function, so that no repr and no traceback shows it; None where there is none.
KeyOf = Callable[[], str | None]
#: What httpx and httpcore log to: status lines, and headers of replies, in which a server may quote the key.
LOGGERS = ("httpx", *(f"httpcore.{part}" for part in ("connection", "http11", "http2", "proxy", "socks")))


def masked(text: str, key: str | None) -> str:
    """Return a text without the key, as it is or with escapes of JSON, HTML, URLs or Python.

    Letters are compared without case.
    """
    if not key:
        return text
    forms = (
        rf"(?:\\{{0,4}}{re.escape(c)}|\\{{1,4}}u00{ord(c):02x}|%{ord(c):02x}|&\#(?:0*{ord(c)}|x0*{ord(c):x});"
        rf"|{re.escape(html.escape(c))})"
        for c in key
    )
    # letters in both cases: of the key, too, which does no harm
    return re.sub("".join(forms), "***", text, flags=re.IGNORECASE)


class _Mask(logging.Filter):
    """Takes the keys of all models that are there out of every record; lets all records pass."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: weakref.WeakSet[KeyOf] = weakref.WeakSet()

    def filter(self, record: logging.LogRecord) -> bool:
        text = said = record.getMessage()
        for key in list(self.keys):
            text = masked(text, key())
        if text != said:
            record.msg, record.args = text, ()
        return True


_MASK = _Mask()


def mask_in_logs(key: KeyOf) -> None:
    """Keep a key out of the logs of httpx and httpcore as long as its function is there."""
    _MASK.keys.add(key)
    for name in LOGGERS:
        logging.getLogger(name).addFilter(_MASK)  # the same one is added once
