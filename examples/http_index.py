#!/usr/bin/env python3
"""A source of one's own: a directory index, as web servers make it of a folder (Apache, nginx, `python -m http.server`).

    python examples/http_index.py sync index:https://files.example.com/photos/ /mnt/disk1

Such a page tells names alone, so sizes (-1) and dates (-1) are unknown until an object is fetched. To have a source in bucketpull
itself, make it a folder of `bucketpull/sources` and add its line to the registry.
"""

from html.parser import HTMLParser
from typing import ClassVar
from urllib.parse import unquote_to_bytes, urlsplit

from bucketpull.domain.errors import AnswerError, ConfigError, Reason
from bucketpull.domain.http_exchange import Request, Response
from bucketpull.domain.keys import quoted
from bucketpull.domain.model import Page, Part, Position
from bucketpull.sources.plain import PlainSource, check_page
from bucketpull.sources.source_settings import SourceSettings


class IndexSettings(SourceSettings, frozen=True, kw_only=True):
    """The address of the folder; there is nothing else to set."""

    USAGE: ClassVar = "index:http://HOST/FOLDER/"
    url: str

    @classmethod
    def located(cls, place: str) -> dict[str, str]:
        """Take the address."""
        if urlsplit(place).scheme not in {"http", "https"}:
            raise ConfigError(f"source 'index:{place}': write {cls.USAGE}")
        return {"url": place.rstrip("/")}

    def place(self) -> str:
        """Return the address."""
        return self.url

    def open(self) -> "IndexSource":
        """Make the source."""
        return IndexSource((self.url,), f"the server {urlsplit(self.url).netloc}")


class IndexSource(PlainSource):
    """A folder and what is below it; a key is the path below the folder."""

    def list_request(self, position: Position, site: str, now: float) -> Request:  # noqa: ARG002
        """Ask for the index of a folder."""
        return Request(f"{site}/{quoted(position.directory + b'/').lstrip('/')}", self.headers, 64 << 20)

    def read_page(self, position: Position, response: Response, now: float) -> Page:
        """Take the links that lead one step down."""
        check_page(response, now)
        if "html" not in response.headers().get("content-type", ""):
            raise AnswerError(Reason.GARBAGE, "no index of a folder: it is not HTML")
        links = _Links()
        links.feed(response.body.decode("utf-8", "surrogateescape"))
        names = [name for name in dict.fromkeys(links.names) if name not in {b"", b"./", b"../"}]
        files = [name for name in names if b"/" not in name]
        folders = [name[:-1] for name in names if name.find(b"/") == len(name) - 1]
        return Page(Part(position.directory, "", files, [-1] * len(files), [-1] * len(files)), folders, [])


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[bytes] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        link = dict(attrs).get("href") or ""
        if tag == "a" and not link.startswith(("?", "/", "#")) and "://" not in link:
            self.names.append(unquote_to_bytes(link.encode("utf-8", "surrogateescape")))


if __name__ == "__main__":
    from bucketpull.cli.main import main
    from bucketpull.sources.registry import SOURCES

    SOURCES["index"] = "__main__:IndexSettings"
    main()
