"""Who may do what on the REST listener: the three `Authorization` forms and their errors."""

import base64
import binascii
import hashlib
import hmac
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Final
from urllib.parse import unquote_to_bytes

from upyun_simulator.errors import Refusal
from upyun_simulator.message import Request

WINDOW: Final = 30 * 60  # seconds that a signature's Date may be off


@dataclass(frozen=True)
class Operator:
    """An account of the bucket. `permissions` of read, write, delete; `refused` is an error code given to every request."""

    name: str
    password: str
    permissions: frozenset[str] = frozenset({"read", "write", "delete"})
    refused: int = 0

    @property
    def key(self) -> bytes:
        """The signing key: the password's MD5 in hexadecimal."""
        return hashlib.md5(self.password.encode()).hexdigest().encode()


class Gatekeeper:
    """Verifies requests for one bucket; `clock_offset` is how many seconds the server's clock is ahead of ours."""

    def __init__(self, bucket: str, operators: list[Operator], clock_offset: float = 0) -> None:
        self._bucket = bucket
        self._operators = {operator.name: (operator, operator.key) for operator in operators}
        self.clock_offset = clock_offset

    def now(self) -> float:
        """Return the server's idea of unix time."""
        return time.time() + self.clock_offset

    def check(self, request: Request, bucket: str) -> None:
        """Let a request read, or raise `Refusal` with the service's code."""
        scheme, _, credentials = (request.header(b"authorization") or "").partition(" ")
        if not scheme:
            raise Refusal(40100004)
        if bucket != self._bucket:
            raise Refusal(40100012)
        if scheme.lower() == "basic":
            operator = self._basic(credentials)
        elif scheme.lower() == "upyun":
            operator = self._signed(request, credentials)
        else:
            raise Refusal(40100003)
        if operator.refused:
            raise Refusal(operator.refused)
        if "read" not in operator.permissions:
            raise Refusal(40100017)

    def _find(self, name: str) -> tuple[Operator, bytes]:
        found = self._operators.get(name)
        if found is None:
            raise Refusal(40100006)
        return found

    def _basic(self, credentials: str) -> Operator:
        try:
            name, _, password = base64.b64decode(credentials, validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            raise Refusal(40100009) from None
        operator, _ = self._find(name)
        if not _same(password, operator.password):
            raise Refusal(40100009)
        return operator

    def _signed(self, request: Request, credentials: str) -> Operator:
        name, _, signature = credentials.partition(":")
        operator, key = self._find(name)
        if b"x-upyun-expire" in request.headers:
            self._token(request, key, signature)
        else:
            self._signature(request, key, signature)
        return operator

    def _signature(self, request: Request, key: bytes, signature: str) -> None:
        date = request.headers.get(b"x-date") or request.headers.get(b"date")
        if not date:
            raise Refusal(40100001)
        moment = _moment(date)
        if moment is None:
            raise Refusal(40100016)
        if abs(moment - self.now()) > WINDOW:
            raise Refusal(40100002)
        sign = _old_signature if len(signature) == 32 else _new_signature
        targets = {request.target, request.raw_path}  # the query may be signed or not
        if not any(_same(signature, sign(request, target, date, key)) for target in targets):
            raise Refusal(40100005)

    def _token(self, request: Request, key: bytes, signature: str) -> None:
        prefix, postfix = (
            request.headers.get(b"x-upyun-uri-" + part, b"") for part in (b"prefix", b"postfix")
        )
        expire = request.headers[b"x-upyun-expire"]
        paths = {request.raw_path, unquote_to_bytes(request.raw_path)}
        if prefix and not any(path.startswith(prefix) for path in paths):
            raise Refusal(40100022)
        if postfix and not any(path.endswith(postfix) for path in paths):
            raise Refusal(40100023)
        if not expire.isdigit() or len(expire) > 18 or int(expire) < self.now():
            raise Refusal(40100024)
        parts = [request.method.encode(), *filter(None, (prefix, postfix)), expire]
        if not _same(signature, _hmac(key, b"&".join(parts))):
            raise Refusal(40100025)


def _new_signature(request: Request, target: bytes, date: bytes, key: bytes) -> str:
    parts = [request.method.encode(), target, date]
    if md5 := request.headers.get(b"content-md5"):
        parts.append(md5)
    return _hmac(key, b"&".join(parts))


def _same(sent: str, right: str) -> bool:
    return hmac.compare_digest(sent.encode(), right.encode())


def _hmac(key: bytes, message: bytes) -> str:
    return base64.b64encode(hmac.digest(key, message, "sha1")).decode()


def _old_signature(request: Request, target: bytes, date: bytes, key: bytes) -> str:
    length = request.headers.get(b"content-length", b"0")
    return hashlib.md5(b"&".join([request.method.encode(), target, date, length, key])).hexdigest()


@lru_cache(maxsize=1024)
def _moment(date: bytes) -> float | None:
    try:
        return parsedate_to_datetime(date.decode("latin-1")).timestamp()
    except ValueError:
        return None
