"""Where the key of a job lies: made by `coordinate`, given to workers."""

import os
from pathlib import Path
from typing import Final

from bucketpull.domain.errors import ConfigError
from bucketpull.report.console import tell
from bucketpull.transport.job_key import JobKey, Key, new_key, read_key
from bucketpull.wiring.file_checks import read_secret
from bucketpull.wiring.settings import Settings

FILE: Final = "job-key"
_NOBODY_ELSE: Final = "--no-job-key: whoever may write to the queues of this job commands it and its workers"


def coordinator_key(settings: Settings) -> JobKey | None:
    """Return the job's key; None where there is none yet. Raises ConfigError where what is there is no job's key."""
    if settings.no_job_key:
        tell(_NOBODY_ELSE)
        return JobKey(b"")
    text, where = _given(settings), _where(settings)
    if text is None:
        return None
    key = read_key(text, where)
    if not isinstance(key, JobKey):
        raise ConfigError(
            f"{where}: is the key of machine {key.machine}; the coordinator needs the job's own"
        )
    return key


def told_key(settings: Settings, known: JobKey | None) -> JobKey:
    """Return the key that is known, or else make the job's, and say where it lies. Raises ConfigError where none can be written."""
    found = known or coordinator_key(settings)  # one that was put there meanwhile is not replaced
    key, where = found or JobKey(_made(path_of_key(settings)).encode()), _where(settings)
    if not settings.no_job_key:
        settings.tell(
            f"job key {key.id} is made: {where}; each worker needs it, by --job-key-file"
            if found is None
            else f"job key {key.id} is used: {where}; each worker needs it, by --job-key-file"
        )
    return key


def worker_key(settings: Settings) -> Key:
    """Return the key by which this machine speaks to the coordinator.

    Raises ConfigError where there is none, and nobody said that there need be none.
    """
    if settings.no_job_key:
        tell(_NOBODY_ELSE)
        return JobKey(b"")
    text = _given(settings)
    if text is None and settings.job_key_file:
        raise ConfigError(
            f"--job-key-file {settings.job_key_file}: there is no such file; copy the coordinator's {FILE} there from its state folder"
        )
    if text is None:
        raise ConfigError(
            f"no job key: give --job-key-file FILE, a copy of the coordinator's {FILE} in its state folder "
            "(or --no-job-key, where nobody else may use the broker)"
        )
    return read_key(text, _where(settings))


def path_of_key(settings: Settings) -> Path:
    """Return where it lies, unless it is in the environment."""
    return Path(settings.job_key_file) if settings.job_key_file else Path(settings.state_folder(), FILE)


def _where(settings: Settings) -> str:
    if settings.job_key and not settings.job_key_file:
        return "BUCKETPULL_JOB_KEY"
    return str(path_of_key(settings))


def _given(settings: Settings) -> str | None:
    """Return the key's text from the file or the environment; None where there is none yet."""
    if settings.job_key and not settings.job_key_file:
        return settings.job_key
    path = path_of_key(settings)
    try:
        text = read_secret("job key", path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"--job-key-file {path}: {error.strerror}") from error
    if not text.isascii():
        raise ConfigError(f"--job-key-file {path}: is not a job key; that is one line of letters and digits")
    return text


def _made(path: Path) -> str:
    """Write a new key, whole or not at all."""
    text = new_key()
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.unlink(missing_ok=True)  # of a process that was killed, which had our id
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
    except OSError as error:
        raise ConfigError(
            f"--job-key-file {path}: cannot be made: {error.strerror}; name a file that can be"
        ) from error
    return text
