"""The columns of a manifest, as `export` writes them."""

import io
import json
from contextlib import closing

import pytest

from bucketpull.cli import export
from bucketpull.domain.status import VolumeState
from bucketpull.journal.volume_numbers import KnownVolume
from bucketpull.volumes.live_objects import Stored
from bucketpull.volumes.reader import Location


def test_parquet_has_few_row_groups_for_each_is_held_in_memory_to_the_end(monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(export, "_ROW_GROUP", 6)
    volume = KnownVolume("id", "machine", "/disk", VolumeState.OPEN)
    written = io.BytesIO()

    with closing(export.ParquetManifest(written)) as manifest:
        for number in range(5):
            name = b"%d" % number
            manifest.write(
                [(volume, Stored(b"a", name, "", 7, 9, b"", Location(b"a/" + name, 0, 7, "")))] * 3
            )

    found = parquet.ParquetFile(io.BytesIO(written.getvalue()))
    assert [found.metadata.row_group(number).num_rows for number in range(3)] == [6, 6, 3]
    assert found.read().column("key").to_pylist()[::3] == [f"a/{number}" for number in range(5)]


def test_a_key_and_a_path_that_are_no_text_have_their_bytes_in_hex():
    volume = KnownVolume("id", "machine", "/disk", VolumeState.OPEN)
    held = [
        (volume, Stored(b"", name, "", 7, 9, b"", Location(path, 0, 7, "")))
        for name, path in ((b"\xff", b"\xff"), (b"\xfe", b"packs/1.tar"), (b"a", b"a"))
    ]
    rows = [json.loads(line) for line in export.MANIFESTS["jsonl"].encode(held).data.splitlines()]
    assert [row["path"] for row in rows] == ["\\xff", "packs/1.tar", "a"]
    assert [(row.get("key_hex"), row.get("path_hex")) for row in rows] == [
        ("ff", "ff"),
        ("fe", None),
        (None, None),
    ]
