"""Checks the built site: links inside lead to a file and an anchor, and nothing is fetched from a network.

python docs/site/links.py out/site
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

__all__ = ["faults", "main"]

#: What a browser fetches by itself, and the attribute that says from where.
FETCHED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "video": "src"}
#: Relations of a <link> that are not fetched.
NAMED_ONLY = {"next", "prev", "canonical", "search", "index", "author", "copyright", "top", "up"}


class _Page(HTMLParser):
    """The anchors, links and fetched addresses of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take in one element."""
        given = {name: value for name, value in attrs if value is not None}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        address = given.get(FETCHED.get(tag, ""))
        if address and not (tag == "link" and set(given.get("rel", "").split()) & NAMED_ONLY):
            self.fetched.append(address)


def faults(folder: Path) -> list[str]:
    """Return what is wrong with the pages under a folder, one sentence each: broken links, requests to a network."""
    pages = {path.resolve(): _Page(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        where = path.relative_to(folder.resolve())
        for address in page.fetched:
            parts = urlsplit(address)
            if parts.netloc or parts.scheme in ("http", "https"):
                found.append(f"{where} fetches {address} from a network")
            elif parts.scheme != "data" and not (path.parent / unquote(parts.path)).exists():
                found.append(f"{where} fetches {address}, which is not there")
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists():
                found.append(f"{where} links to {link}, which is not there")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                found.append(f"{where} links to {link}, which has no such anchor")
    return found


def main() -> int:
    """Print the faults of a site; the status is 1 if there are any, or no pages."""
    folder = Path(sys.argv[1])
    found = faults(folder)
    print(*found, sep="\n")
    count = len(list(folder.rglob("*.html")))
    print(f"{count} pages, {len(found)} faults")
    return int(bool(found) or not count)


if __name__ == "__main__":
    sys.exit(main())
