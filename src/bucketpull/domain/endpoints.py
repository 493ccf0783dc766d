"""Endpoints: where a source is asked, for what, and how many requests at once; each source declares its own."""

from enum import StrEnum
from typing import NamedTuple

import msgspec


class Purpose(StrEnum):
    """What an endpoint is asked for."""

    LIST = "list"
    FETCH = "fetch"


class Advice(NamedTuple):
    """What a check of the source tells: what it is about, what was found, what to do."""

    about: str
    found: str
    remedy: str


class EndpointSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint of a source. It has a limiter of its own, and its state is shown under its name.

    `name` stands in metrics and JSON, and is "list" for the one that lists; `title` is what people are told ("the CDN img.example.com"). `sites` are its equivalent
    addresses ("https://host:port"), of which one is chosen for each request; empty where objects bring their own URLs.
    `is_origin` says that its answers are final: what it does not have is gone, what it has of another size has changed. An
    endpoint that is no origin keeps copies, and what it says is checked with the next one. `first` and `highest` bound the
    transfers in flight of one process, at the start and ever. `advice` is what those are told who have no other endpoint to fetch from.
    """

    name: str
    purpose: Purpose
    sites: tuple[str, ...] = ()
    title: str = ""
    is_origin: bool = True
    advice: Advice | None = None
    first: int = 16
    highest: int = 1024
