"""Whatever a disk makes of a journal, every command that opens it gives a line and an exit code: no traceback, no false "complete"."""

import random
import shutil

import msgspec
import pytest
from tests.cli.forking import Forking
from tests.journal.conftest import Play

from bucketpull.domain.errors import Reason
from bucketpull.journal.database import MARKER
from bucketpull.journal.journal_connection import FILE

COMMANDS = [
    "status --json",
    "failures",
    "export --format csv",
    "where d1/img-001.jpg",
    "volumes",
    "retry",
    "limit --rate 5",
    "sync upyun://bucket volume --processes 1",
    "sync upyun://bucket volume --dry-run",
]
LOG = FILE + "-wal"
PAGE = 4096


@pytest.fixture(scope="module")
def forking():
    made = Forking({"LC_ALL": "C.UTF-8"})
    yield made
    made.close()


@pytest.fixture(scope="module")
def journal(tmp_path_factory):
    """The files of a job that was killed: objects, failures and outstanding work, most of it in the log only."""
    folder = tmp_path_factory.mktemp("killed") / "state"
    play = Play(folder)
    for number in range(40):
        play.put(b"d%d" % (number % 5), b"img-%03d.jpg" % number)
    play.outcomes[b"img-007.jpg"] = Reason.FORBIDDEN
    play.run()
    play.put(b"d9", b"new.jpg")
    play.begin()
    files = {name: (folder / name).read_bytes() for name in (FILE, LOG, MARKER)}
    play.journal.close()
    return files


def damaged(chance: random.Random, data: bytes) -> bytes:
    """Flip bits, cut off an end, or blank, fill or swap pages."""
    if not data:
        return b"\xff"
    found = bytearray(data)
    page, other = (chance.randrange(max(1, len(data) // PAGE)) * PAGE for _ in range(2))
    match chance.randrange(6):
        case 0:
            for _ in range(chance.choice([1, 5, 50])):
                found[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        case 1:
            del found[chance.randrange(len(data)) :]
        case 2:
            found[page : page + PAGE] = bytes(PAGE)
        case 3:
            found[page : page + PAGE] = chance.randbytes(PAGE)
        case 4:
            found[page : page + PAGE], found[other : other + PAGE] = (
                data[other : other + PAGE],
                data[page : page + PAGE],
            )
        case _:
            found[chance.randrange(min(100, len(data)))] = chance.randrange(256)
    return bytes(found)


@pytest.mark.parametrize(
    "seed", [*range(8), *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(8, 100))]
)
def test_every_command_says_it_in_a_line(tmp_path, forking, journal, seed):
    chance = random.Random(seed)
    files = dict(journal)
    name = chance.choice([FILE, FILE, LOG, MARKER])
    files[name] = damaged(chance, files[name])
    if chance.random() < 0.2:
        del files[chance.choice([LOG, MARKER])]
    for command in COMMANDS:
        shutil.rmtree(tmp_path / "state", ignore_errors=True)
        (tmp_path / "state").mkdir(mode=0o700)
        for each, content in files.items():
            (tmp_path / "state" / each).write_bytes(content)
        environment = {"BUCKETPULL_STATE": "state", "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}

        done = forking.run(command.split(), tmp_path, environment)

        said = done.err.decode()
        assert done.code in {0, 2, 3}, said
        if done.code:
            assert said.count("\n") == 1, said
            assert "Traceback" not in said
        elif command == "status --json":
            assert msgspec.json.decode(done.out)["state"] != "complete"
        if command.startswith("sync"):
            assert done.code, "there are no credentials"
            assert not (tmp_path / "volume").exists()
