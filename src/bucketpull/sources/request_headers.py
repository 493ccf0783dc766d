"""The headers that requests of all sources have; a source adds its own where it makes a request."""

from typing import Final

from bucketpull.domain.exchange import DATED

USER_AGENT: Final = "bucketpull"


def request_headers(user_agent: str = USER_AGENT, accept: str = "*/*") -> tuple[str, ...]:
    """Return the headers of every request, for an object or a page: its bytes are to come as they are."""
    return f"Accept: {accept}", "Accept-Encoding: identity", f"User-Agent: {user_agent}"


def range_headers(start: int, version: str) -> tuple[str, ...]:
    """Return the further headers that ask for what is behind byte `start`, of one version only; of any where that is not known ("")."""
    asked = f"Range: bytes={start}-"
    if version.startswith(DATED):
        return asked, f"If-Unmodified-Since: {version.removeprefix(DATED)}"
    return (asked, f"If-Match: {version}") if version else (asked,)
