"""Reading back by key what lies on volumes, in files and packs alike: from Python, over HTTP, and as a file system of fsspec.

`bucket` is what `bucketpull.open` returns, `object_server` what `bucketpull serve` runs; both read through `readable_volumes`. Nothing here writes,
and no source is asked.
"""
