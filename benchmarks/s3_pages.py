"""The same bucket as an S3 service serves it: static pages of ListObjectsV2, and objects whose ETag is their MD5."""

import hashlib
import os
from pathlib import Path

from benchmarks.bucket import BUCKET, Bucket
from bucketpull.domain.keys import quoted

_PAGE = 1_000


def write_s3(bucket: Bucket, folder: Path) -> None:
    """Write the pages into `folder`/s3 and the ETags as a map for nginx. A page has its number as token, or follows a key.

    A key that no page ends with gets the first page: as from a service that does not heed `start-after`, so all tools list
    page by page.
    """
    pages = folder / "s3"
    pages.mkdir()
    md5s = [hashlib.md5((folder / "objects" / key).read_bytes()).hexdigest() for key in bucket.keys]
    (folder / "etags.map").write_text(
        "".join(f"/{BUCKET}/{key} {md5};\n" for key, md5 in zip(bucket.keys, md5s, strict=True))
    )
    entries = [
        f"<Contents><Key>{key}</Key><LastModified>2020-09-13T12:26:40.000Z</LastModified><ETag>&quot;{md5}&quot;</ETag>"
        f"<Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
        for key, size, md5 in zip(bucket.keys, bucket.sizes, md5s, strict=True)
    ]
    for number, begin in enumerate(range(0, len(entries), _PAGE)):
        page = _page(entries[begin : begin + _PAGE], number + 1 if begin + _PAGE < len(entries) else None)
        (pages / f"token-{number}.xml").write_text(page)
        if number:
            after = quoted(bucket.keys[begin - 1].encode()).replace("/", "%2F")
            os.link(pages / f"token-{number}.xml", pages / f"after-{after}.xml")


def _page(entries: list[str], following: int | None) -> str:
    token = "" if following is None else f"<NextContinuationToken>{following}</NextContinuationToken>"
    return (
        '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>{BUCKET}</Name><Prefix></Prefix><KeyCount>{len(entries)}</KeyCount><MaxKeys>{_PAGE}</MaxKeys>"
        f"<EncodingType>url</EncodingType><IsTruncated>{'false' if following is None else 'true'}</IsTruncated>{token}"
        f"{''.join(entries)}</ListBucketResult>"
    )
