"""JSON that survives any encoding: ASCII without DEL only, so that a terminal or a log in GBK gets what a program can read."""

import json
import re
from typing import Final

import msgspec

_OTHER: Final = re.compile(r"[^\x00-\x7e]+")


def json_line(value: object) -> str:
    """Return a value as one line of JSON without its end."""
    text = msgspec.json.encode(value).decode()
    return _OTHER.sub(lambda found: json.dumps(found[0])[1:-1], text)
