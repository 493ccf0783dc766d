"""What a list of URLs must be told: the file."""

import os
from typing import ClassVar

import msgspec

from bucketpull.domain.errors import ConfigError
from bucketpull.sources.http import USER_AGENT
from bucketpull.sources.source_settings import Option, SourceSettings, check_headers


class UrlsConfig(SourceSettings, frozen=True, kw_only=True):
    """A list; `state` is its `fingerprint`. `headers` are complete lines added to every request."""

    USAGE: ClassVar = "urls:FILE"
    SOURCE: ClassVar = "bucketpull.sources.urls.source:UrlsSource"
    OPTIONS: ClassVar = (Option("referer"), Option("user_agent"), Option("headers", many="lines"))

    path: str
    state: str = ""
    referer: str = ""
    user_agent: str = USER_AGENT
    headers: tuple[str, ...] = ()

    @classmethod
    def located(cls, place: str) -> dict[str, str]:
        """Return the file's path, which does not depend on where the command was called."""
        if not place:
            raise ConfigError(f"source 'urls:': write {cls.USAGE}")
        from pathlib import Path  # a bucket needs none

        return {"path": str(Path(place).absolute())}

    def place(self) -> str:
        """Return the file's path."""
        return self.path

    def label(self) -> str:
        """Return the file's name."""
        return os.path.basename(self.path)

    def identity(self) -> dict[str, str]:
        """Return the file and its content: an offset means nothing in another list."""
        from bucketpull.sources.list_files import content_of, fingerprint

        return super().identity() | {"list": content_of(self.state or fingerprint(self.path))}

    def checked(self) -> "UrlsConfig":
        """Return the configuration itself. Raises ConfigError where its headers cannot be sent."""
        check_headers(self.headers, referer=self.referer, user_agent=self.user_agent)
        return self

    def prepared(self) -> "UrlsConfig":
        """Return the same with the list's state; its head and first rows must be understood."""
        from bucketpull.sources.list_files import fingerprint
        from bucketpull.sources.urls.tables import check_urls

        check_urls(self.path)
        return msgspec.structs.replace(self, state=fingerprint(self.path))

    @property
    def tells_all(self) -> bool:
        """A list of URLs says what is wanted, not what there is."""
        return False
