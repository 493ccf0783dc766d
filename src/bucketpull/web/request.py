"""One request of HTTP and its response, as values."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, unquote

PIECE_BYTES: Final = 16_384
"""Read and written at once."""


class Headers(dict[str, str]):
    """Headers by name, however it is written."""

    def get(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - as of any mapping
        """Return a header, or else the default."""
        return super().get(name.lower(), default)


class ApiRequest(NamedTuple):
    """One request. `path` is decoded; `client` names who asks, for people."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Headers
    body: bytes
    client: str


class ApiResponse(NamedTuple):
    """What is answered."""

    status: int
    body: bytes
    kind: str = "application/json; charset=utf-8"
    headers: Mapping[str, str] = {}


def request_of(
    method: str, target: str, body: bytes, client: str, headers: Headers | None = None
) -> ApiRequest:
    """Make a request of its target, which is a path and a query as sent."""
    path, _, query = target.partition("?")
    values = parse_qsl(query, keep_blank_values=True, errors="surrogateescape")
    return ApiRequest(method, unquote(path), dict(values), headers or Headers(), body, client)
