"""Lists of objects in the forms that people and migration services read; each form as its reader's document has it.

* `oss`: Alibaba Cloud Data Online Migration: CSV of Url and Key, both URL-encoded once more than they are used, each row ended by
  LF, gzipped into files of at most 100 MB (25 and 50 in older editions), and a `manifest.json` that names them. "Preparations",
  www.alibabacloud.com/help/en/data-online-migration/user-guide/preparations-for-migration-from-an-http-or-https-server-to-oss
* `gcs`: Google Storage Transfer Service: `TsvHttpData-1.0`, then URL, size and base64 MD5 by tabs, sorted by the bytes of UTF-8.
  "Create a URL list", cloud.google.com/storage-transfer/docs/create-url-list
* `oms`: Huawei Cloud OMS, URL lists for HTTP/HTTPS sources: URL, one tab, name at the destination, both percent-encoded (the URL
  only behind its host's slash), UTF-8 without a mark, no blanks, lines of at most 65,535 bytes, `.txt` files of at most
  1,024 MB. "Creating a migration task for a URL list", support.huaweicloud.com/usermanual-oms
* `volcengine`: Volcengine, "URL list migration": a line `url;dstKey;size;etag` an object (two more fields, for transcoding and
  callbacks, may be left away) in `.txt` files of at most 500 MB; a key is UTF-8 of 1 to 1,024 characters, does not begin with a
  backslash and has no control characters. volcengine.com/docs/508/1263268, edition of 2024-06-13
* `csv-safe`: CSV whose keys no spreadsheet takes for formulas.
"""

import csv
import io
import re
from base64 import b64encode
from collections.abc import Callable
from typing import Final, NamedTuple
from urllib.parse import quote_from_bytes

import msgspec

from bucketpull.domain.model import show

_MEGABYTE: Final = 1_000_000
_LONGEST_OMS_LINE: Final = 65_535
_LONGEST_KEY: Final = 1024
_UNRESERVED: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-~"
_NO_VOLCENGINE_KEY: Final = re.compile(r"\\|.*[\x00-\x1f;]", re.DOTALL)
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20", "'")


class Columns(NamedTuple):
    """Objects by column: `sizes` in bytes and `mtimes` in Unix seconds are -1, `md5s` in hex and `urls` "", where not known."""

    keys: list[bytes]
    sizes: list[int]
    mtimes: list[int]
    md5s: list[str]
    urls: list[str]


class Encoded(NamedTuple):
    """Objects as bytes, and the keys that have no place in the form."""

    data: bytes
    left_out: list[bytes]


class Form(NamedTuple):
    """One form. `head` begins each file; `most_bytes` bounds one (None: there is one file); with `needs_urls` each object needs a URL.

    `is_sorted`: lines must be in the order of their bytes. `is_gzipped`: files are compressed; the bound is before that. `has_md5s`: they are
    written where they are known.
    """

    encode: Callable[[Columns], Encoded]
    suffix: str
    head: bytes = b""
    most_bytes: int | None = None
    needs_urls: bool = False
    is_sorted: bool = False
    is_gzipped: bool = False
    has_md5s: bool = False


class _Entry(msgspec.Struct, omit_defaults=True):
    key: str
    size: int = -1
    mtime: int = -1
    md5: str = ""
    url: str = ""
    key_hex: str = ""


_json = msgspec.json.Encoder()


def _keys(columns: Columns) -> Encoded:
    return _joined(columns.keys, columns.keys, b"\n")


def _keys0(columns: Columns) -> Encoded:
    return _joined(columns.keys, columns.keys, b"\0")


def _urls(columns: Columns) -> Encoded:
    return _joined([url.encode() for url in columns.urls], columns.keys, b"\n")


def _joined(lines: list[bytes], keys: list[bytes], end: bytes) -> Encoded:
    """End each line; those that hold the end are left out."""
    if not lines:
        return Encoded(b"", [])
    data = end.join(lines) + end
    if data.count(end) == len(lines):
        return Encoded(data, [])
    odd = [key for line, key in zip(lines, keys, strict=True) if end in line]
    good = [line for line in lines if end not in line]
    return Encoded(b"".join(line + end for line in good), odd)


def _jsonl(columns: Columns) -> Encoded:
    sizes, mtimes, md5s, urls = columns[1:]
    rows = list(map(_Entry, map(_text, columns.keys), sizes, mtimes, md5s, urls))
    for row, key in zip(rows, columns.keys, strict=True):
        if not row.key:
            row.key, row.key_hex = show(key), key.hex()
    return Encoded(_json.encode_lines(rows), [])


def _text(key: bytes) -> str:
    try:
        return key.decode()
    except UnicodeDecodeError:
        return ""


def spreadsheet_safe(text: str) -> str:
    """Return a field that no spreadsheet takes for a formula: behind an apostrophe, where it could (OWASP, "CSV injection")."""
    return "'" + text if text.startswith(_FORMULA) else text


def _csv_safe(columns: Columns) -> Encoded:
    keys = [spreadsheet_safe(key.decode("utf-8", "surrogateescape")) for key in columns.keys]
    return _csv(columns._replace(keys=[key.encode("utf-8", "surrogateescape") for key in keys]))


def _csv(columns: Columns) -> Encoded:
    """Write keys byte by byte as they are."""
    text = io.StringIO()
    keys = [key.decode("utf-8", "surrogateescape") for key in columns.keys]
    sizes, mtimes = _known(columns.sizes), _known(columns.mtimes)
    rows = zip(keys, sizes, mtimes, columns.md5s, columns.urls, strict=True)
    csv.writer(text, lineterminator="\n").writerows(rows)
    return Encoded(text.getvalue().encode("utf-8", "surrogateescape"), [])


def _known(numbers: list[int]) -> list[int | str]:
    return [*numbers] if -1 not in numbers else ["" if number < 0 else number for number in numbers]


def _lines(columns: Columns, line: Callable[[str, str, int, str], str | None], names: list[str]) -> Encoded:
    """Make a line of each object by name, URL, size and MD5; None leaves it out."""
    made = list(map(line, names, columns.urls, columns.sizes, columns.md5s))
    written = [text for text in made if text is not None]
    left_out = [key for key, text in zip(columns.keys, made, strict=True) if text is None]
    return Encoded("".join(text + "\n" for text in written).encode(), left_out)


def _percent_encoded(texts: list[bytes], safe: bytes = b"") -> list[bytes]:
    """Write `%XX` for all bytes that are neither unreserved nor safe.

    All texts go together, once for each such byte: 0.3 µs a text in place of 4.
    """
    together, plain = b"\n".join(texts), _UNRESERVED + safe
    if together.count(b"\n") != len(texts) - 1:
        return [quote_from_bytes(text, safe=safe.decode() + "~").encode() for text in texts]
    together = together.replace(b"%", b"%25")
    for byte in set(together.translate(None, plain + b"%\n")):
        together = together.replace(bytes([byte]), b"%%%02X" % byte)
    return together.split(b"\n")


def _oss(columns: Columns) -> Encoded:
    urls = _percent_encoded([url.encode() for url in columns.urls])
    keys = _percent_encoded(columns.keys)
    rows = [b"%s,%s\n" % row for row in zip(urls, keys, strict=True) if row[1]]
    return Encoded(b"".join(rows), [key for key in columns.keys if not key])


def _gcs(columns: Columns) -> Encoded:
    def line(_name: str, url: str, size: int, md5: str) -> str:
        known = [str(size)] if size >= 0 else []
        if known and md5:
            known.append(b64encode(bytes.fromhex(md5)).decode())
        return "\t".join([url, *known])

    return _lines(columns, line, columns.urls)


def _oms(columns: Columns) -> Encoded:
    def line(name: str, url: str, _size: int, _md5: str) -> str | None:
        text = f"{url}\t{name}"
        return text if name and len(text) <= _LONGEST_OMS_LINE else None

    names = [name.decode("ascii") for name in _percent_encoded(columns.keys, b"/")]
    return _lines(columns, line, names)


def _volcengine(columns: Columns) -> Encoded:
    def line(name: str, url: str, size: int, md5: str) -> str | None:
        if not 0 < len(name) <= _LONGEST_KEY or _NO_VOLCENGINE_KEY.match(name):
            return None
        return f"{url.replace(';', '%3B')};{name};{size if size >= 0 else ''};{md5}"

    return _lines(columns, line, [_text(key) for key in columns.keys])


_CSV_HEAD: Final = b"key,size,mtime,md5,url\n"
FORMS: Final[dict[str, Form]] = {
    "keys": Form(_keys, ".txt"),
    "keys0": Form(_keys0, ".txt"),
    "jsonl": Form(_jsonl, ".jsonl", has_md5s=True),
    "csv": Form(_csv, ".csv", _CSV_HEAD, has_md5s=True),
    "csv-safe": Form(_csv_safe, ".csv", _CSV_HEAD, has_md5s=True),
    "urls": Form(_urls, ".txt", needs_urls=True),
    "oss": Form(_oss, ".csv.gz", most_bytes=100 * _MEGABYTE, needs_urls=True, is_gzipped=True),
    "gcs": Form(_gcs, ".tsv", b"TsvHttpData-1.0\n", needs_urls=True, is_sorted=True, has_md5s=True),
    "oms": Form(_oms, ".txt", most_bytes=1_000 * _MEGABYTE, needs_urls=True),
    "volcengine": Form(_volcengine, ".txt", most_bytes=500 * _MEGABYTE, needs_urls=True, has_md5s=True),
}


def oss_manifest(files: list[tuple[str, int]]) -> bytes:
    """Write the `manifest.json` of some files, each with its name and its size in bytes."""
    manifest = {
        "fileFormat": "CSV",
        "fileSchema": "Url, Key",
        "files": [{"key": name, "mD5Checksum": "", "size": size} for name, size in files],
    }
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def nginx_map(keys: list[bytes], paths: list[bytes]) -> Encoded:
    """Write lines for nginx's `map`: the URI of a key, and the file's path. nginx's strings cannot hold `$` and line ends."""
    written: list[bytes] = []
    left_out: list[bytes] = []
    for key, path in zip(keys, paths, strict=True):
        if b"$" in key + path or any(byte < 0x20 for byte in key + path):
            left_out.append(key)
        else:
            written.append(b'"/%s" "%s";\n' % (_escaped(key), _escaped(path)))
    return Encoded(b"".join(written), left_out)


def _escaped(text: bytes) -> bytes:
    return text.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
