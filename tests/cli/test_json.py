"""Programs are written by `docs/reference/json.md`: a field that does not stand there is one that nobody uses."""

import json
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs/reference/json.md"
BY_REASON = {"retries", "failures", "doubts", "wasted"}


def test_every_field_that_commands_write_stands_in_the_reference(user, bucket):
    simulator = bucket("flat:40,size=900")
    user.knows(simulator)
    simulator.mutate(put={"refused.jpg": 700})
    simulator.inject("403:code=40300099,path=refused.jpg")
    rows = user.json("sync", "upyun://photos", "disk1", "--summary", "summary.json", expect=3)
    rows.append(json.loads((user.folder / "summary.json").read_text()))
    (user.folder / "disk1/extra").touch()
    key = user.json("export", "--format", "jsonl")[0]["key"]
    simulator.mutate(delete=[key])

    of_job = ("--job", "photos")
    rows += user.json("status", *of_job) + user.json("status", "--directories", *of_job)
    rows += user.json("volumes", *of_job) + user.json("where", key, *of_job) + user.json("failures", *of_job)
    rows += user.json("verify", "disk1", expect=3)
    rows += user.json("export", "--format", "jsonl", *of_job)
    rows += user.json("doctor", "upyun://photos", "disk1") + user.json("plan", "upyun://photos", "disk1")
    rows += user.json("sync", "upyun://photos", "disk1", "--dry-run", expect=None)
    rows += user.json("prune", "disk1", "--max-delete", "5", *of_job)
    rows += user.json("retry", *of_job) + user.json("volumes", "drain", "disk1", *of_job)
    rows += user.json("rebuild", "upyun://photos", "disk1", "--job", "again")

    page = PAGE.read_text()

    assert sorted({name for name in names(rows) if f"`{name}`" not in page}) == []


def names(value):
    """Give the names of all fields, of objects in objects too."""
    if isinstance(value, list):
        for each in value:
            yield from names(each)
    elif isinstance(value, dict):
        for name, each in value.items():
            yield name
            if name not in BY_REASON:
                yield from names(each)
