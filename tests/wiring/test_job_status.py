"""What is said of a volume while no worker has it."""

import os

from tests.volumes.filling import Filler

from bucketpull.domain.model import VolumeState
from bucketpull.journal.volume_numbers import KnownVolume
from bucketpull.wiring.job_status import Held, measure


def test_free_is_what_is_above_the_reserve_of_the_job_or_else_of_the_worker_that_had_the_volume(tmp_path):
    with Filler(tmp_path) as filler:
        filler.store({(b"", b"a.jpg"): b"12345"})
        volume = KnownVolume(filler.id, "elsewhere", str(tmp_path), VolumeState.OPEN)
    status = os.statvfs(tmp_path)
    all_of_it = {volume.id: Held(volume.id, kept_bytes=status.f_blocks * status.f_frsize)}

    assert measure(volume, all_of_it, "0").free_bytes > 0
    assert measure(volume, {volume.id: Held(volume.id)}, "").free_bytes > 0
    assert measure(volume, all_of_it, "").free_bytes == 0
    assert measure(volume, {}, "100%").free_bytes == 0
    assert measure(volume, {}, "").kept_bytes == 1 << 30, "the usual one"
