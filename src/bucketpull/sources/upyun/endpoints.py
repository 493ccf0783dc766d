"""The names of the service's endpoints: listing and objects by REST, objects by the CDN."""

from typing import Final

LIST: Final = "list"
REST: Final = "rest"
CDN: Final = "cdn"
