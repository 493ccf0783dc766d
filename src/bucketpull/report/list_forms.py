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
import re
from binascii import b2a_base64
from collections.abc import Callable, Iterable
from typing import Final, Generic, NamedTuple, TypeVar

import msgspec

from bucketpull.domain.keys import percent_encoded
from bucketpull.domain.model import bytes_of, show, text_of

T = TypeVar("T")
_MEGABYTE: Final = 1_000_000
_LONGEST_OMS_LINE: Final = 65_535
_VOLCENGINE_KEY: Final = re.compile(r"[^\\\x00-\x1f;][^\x00-\x1f;]{0,1023}")
_LONGEST_NGINX: Final = 4_000  # NGX_CONF_BUFFER is 4,096 bytes, with quotes and what stands before
_UNFIT: Final = re.compile(rb"[$\x00-\x1f]")
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


class Form(NamedTuple, Generic[T]):
    """One form of objects that are given as T. `head` begins each file; `most_bytes` bounds one (None: there is one file); with `needs_urls` each object needs a URL.

    `is_sorted`: lines must be in the order of their bytes. `is_gzipped`: files are compressed; the bound is before that. `has_manifest`:
    they are named in a file of their own. `has_md5s` and `has_urls`: they are written where they are known.
    """

    encode: Callable[[T], Encoded]
    suffix: str
    head: bytes = b""
    most_bytes: int | None = None
    needs_urls: bool = False
    is_sorted: bool = False
    is_gzipped: bool = False
    has_manifest: bool = False
    has_md5s: bool = False
    has_urls: bool = True


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
    texts = _texts(columns.keys)
    rows = list(map(_Entry, texts, *columns[1:]))
    if "" in texts:
        for row, key in zip(rows, columns.keys, strict=True):
            if not row.key:
                row.key, row.key_hex = show(key), key.hex()
    return Encoded(_json.encode_lines(rows), [])


def _texts(keys: list[bytes]) -> list[str]:
    """Return keys as text, decoded together; "" for those that are none."""
    try:
        texts = b"\0".join(keys).decode().split("\0")
    except UnicodeDecodeError:
        return list(map(_text, keys))
    return texts if len(texts) == len(keys) else list(map(_text, keys))


def _text(key: bytes) -> str:
    try:
        return key.decode()
    except UnicodeDecodeError:
        return ""


def spreadsheet_safe(text: str) -> str:
    """Return a field that no spreadsheet takes for a formula: behind an apostrophe, where it could (OWASP, "CSV injection")."""
    return "'" + text if text.startswith(_FORMULA) else text


def _csv_safe(columns: Columns) -> Encoded:
    keys = [bytes_of(spreadsheet_safe(text_of(key))) for key in columns.keys]
    return _csv(columns._replace(keys=keys))


def _csv(columns: Columns) -> Encoded:
    """Write keys byte by byte as they are."""
    keys, urls = columns.keys, columns.urls
    texts = _texts(keys)
    together = "\0".join(texts) + "\0".join(urls)
    if "" in texts or any(mark in together for mark in ',"[]'):
        return _quoted_csv(columns)
    # Most pages have nothing to quote: their rows as JSON, less what JSON has around them. Half of what a line at a time takes.
    rows = zip(texts, _known(columns.sizes), _known(columns.mtimes), columns.md5s, urls, strict=True)
    data = _json.encode_lines(list(rows))
    if b"\\" in data:
        return _quoted_csv(columns)
    return Encoded(data.translate(None, b'"[]'), [])


def _quoted_csv(columns: Columns) -> Encoded:
    keys = map(text_of, columns.keys)
    sizes, mtimes = _known(columns.sizes), _known(columns.mtimes)
    return Encoded(csv_rows(zip(keys, sizes, mtimes, columns.md5s, columns.urls, strict=True)), [])


class _Written(list[str]):
    """What a writer of `csv` writes, a row each."""

    write = list[str].append


def csv_rows(rows: Iterable[tuple[int | str, ...]]) -> bytes:
    """Write rows that end with LF. Python before 3.13 quotes a carriage return only if rows end with one; else no reader takes the row."""
    written = _Written()
    csv.writer(written, lineterminator="\r\n").writerows(rows)
    return bytes_of("".join([row[:-2] + "\n" for row in written]))


def _known(numbers: list[int]) -> list[int] | list[int | str]:
    return numbers if -1 not in numbers else ["" if number < 0 else number for number in numbers]


def _taken(lines: list[str], keys: list[bytes]) -> Encoded:
    """Put lines together; "" leaves its key out."""
    left_out = [key for key, line in zip(keys, lines, strict=True) if not line] if "" in lines else []
    return Encoded("".join(lines).encode(), left_out)


def _oss(columns: Columns) -> Encoded:
    urls = percent_encoded([url.encode() for url in columns.urls])
    keys = percent_encoded(columns.keys)
    rows = [b"%s,%s\n" % row for row in zip(urls, keys, strict=True) if row[1]]
    return Encoded(b"".join(rows), [key for key in columns.keys if not key])


def _gcs(columns: Columns) -> Encoded:
    lines = []
    for url, size, md5 in zip(columns.urls, columns.sizes, columns.md5s, strict=True):
        end = "\t" + b2a_base64(bytes.fromhex(md5)).decode("ascii") if md5 else "\n"
        lines.append(f"{url}\n" if size < 0 else f"{url}\t{size}{end}")
    return Encoded("".join(lines).encode(), [])


def _oms(columns: Columns) -> Encoded:
    names = [name.decode("ascii") for name in percent_encoded(columns.keys, b"/")]
    lines = [
        f"{url}\t{name}\n" if name and len(url) + len(name) < _LONGEST_OMS_LINE else ""
        for url, name in zip(columns.urls, names, strict=True)
    ]
    return _taken(lines, columns.keys)


def _volcengine(columns: Columns) -> Encoded:
    names, urls = _texts(columns.keys), [url.replace(";", "%3B") for url in columns.urls]
    rows = zip(names, urls, _known(columns.sizes), columns.md5s, strict=True)
    fits = _VOLCENGINE_KEY.fullmatch
    lines = [f"{url};{name};{size};{md5}\n" if fits(name) else "" for name, url, size, md5 in rows]
    return _taken(lines, columns.keys)


_CSV_HEAD: Final = b"key,size,mtime,md5,url\n"
FORMS: Final[dict[str, Form[Columns]]] = {
    "keys": Form(_keys, ".txt", has_urls=False),
    "keys0": Form(_keys0, ".txt", has_urls=False),
    "jsonl": Form(_jsonl, ".jsonl", has_md5s=True),
    "csv": Form(_csv, ".csv", _CSV_HEAD, has_md5s=True),
    "csv-safe": Form(_csv_safe, ".csv", _CSV_HEAD, has_md5s=True),
    "urls": Form(_urls, ".txt", needs_urls=True),
    "oss": Form(
        _oss, ".csv.gz", most_bytes=100 * _MEGABYTE, needs_urls=True, is_gzipped=True, has_manifest=True
    ),
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


class NginxMap:
    """Writes lines for nginx's `map`: the URI of a key, and the file's path.

    What nginx could not read is left out, for one such line has it refuse the whole map: `$` and line ends, which its strings cannot
    hold; what is longer than it reads; and a key that differs from an earlier one in upper and lower case alone, which a map does not
    tell apart (ngx_http_map_module). It remembers 70 bytes a key for that.
    """

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def encode(self, columns: Columns) -> Encoded:
        """Return the lines, and the keys that are left out; `urls` are the files' paths, "" where an object is none."""
        written: list[bytes] = []
        left_out: list[bytes] = []
        for key, place in zip(columns.keys, columns.urls, strict=True):
            path = bytes_of(place)
            uri, file = _escaped(key), _escaped(path)
            if (
                not path
                or len(uri) > _LONGEST_NGINX
                or len(file) > _LONGEST_NGINX
                or _UNFIT.search(key + path)
                or self._is_seen(key)
            ):
                left_out.append(key)
            else:
                written.append(b'"/%s" "%s";\n' % (uri, file))
        return Encoded(b"".join(written), left_out)

    def _is_seen(self, key: bytes) -> bool:
        """Remember a key; return whether nginx takes it for an earlier one. It knows the letters of ASCII only."""
        count = len(self._seen)
        self._seen.add(hash(key.lower()))
        return len(self._seen) == count


def _escaped(text: bytes) -> bytes:
    return text.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
