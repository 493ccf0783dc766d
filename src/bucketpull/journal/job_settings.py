"""Whether a configuration may go on with a journal: what makes a source another one, and the layout, must be as they were."""

from collections.abc import Mapping
from pathlib import Path

from bucketpull.domain.errors import JobMismatch
from bucketpull.journal.store import Store

# Names with these prefixes are remembered for commands that go on with the job; they may change from one session to the next.
OPTION = "option."
PRICE = "price."
RESERVE = "session.reserve"  # what volumes keep free, as written
REMEMBERED = (OPTION, PRICE, RESERVE)


def read_configuration(store: Store) -> dict[str, str]:
    """Return the settings that a journal has."""
    return {str(key): str(value) for key, value in store.rows("configuration")}


def adopt(store: Store, folder: Path, job: str, asked: Mapping[str, str]) -> None:
    """Note the settings of this session. Raises JobMismatch where the journal is of a job with another identity, and says what differs."""
    known = read_configuration(store)
    if known:
        refuse_another(folder, job, known, asked)
    changed = [(key, value) for key, value in asked.items() if known.get(key) != value]
    if changed:
        with store.transaction():
            for row in changed:
                store.rows("configure", *row)


def refuse_another(folder: Path, job: str, known: Mapping[str, str], asked: Mapping[str, str]) -> None:
    """Compare identities; a setting that is not there is the empty text."""
    differences = [
        f"{key} was {known.get(key, '')!r} and is {asked.get(key, '')!r}"
        for key in sorted({*known, *asked})
        if not key.startswith(REMEMBERED) and known.get(key, "") != asked.get(key, "")
    ]
    if differences:
        raise JobMismatch(
            f"journal {folder} is of another job than {job}: {'; '.join(differences)}; "
            "go on with the former settings, or give the new job its own --job or --state"
        )
