"""Where the key of a job lies: made by `coordinate`, given to workers."""

import os
from pathlib import Path
from typing import Final

from bucketpull.domain.errors import ConfigError
from bucketpull.report.console import tell
from bucketpull.transport.job_key import JobKey, Key, new_key, read_key
from bucketpull.wiring.file_checks import warn_of_owner
from bucketpull.wiring.settings import Settings

FILE: Final = "job-key"
_NOBODY_ELSE: Final = "--no-job-key: whoever may write to the queues of this job commands it and its workers"


def check_coordinator_key(settings: Settings) -> None:
    """Make sure, before anything is written, that a key which is there can be used. Raises ConfigError where it cannot."""
    if not settings.no_job_key and (text := _given(settings)) is not None:
        _coordinators(text, _where(settings))


def coordinator_key(settings: Settings) -> JobKey:
    """Return the job's key; make it if there is none, and say where it lies.

    Raises ConfigError where what is there is no job's key, or none can be written.
    """
    if settings.no_job_key:
        tell(_NOBODY_ELSE)
        return JobKey(b"")
    text, where = _given(settings), _where(settings)
    key = _coordinators(text if text is not None else _made(_path(settings)), where)
    if not settings.quiet:
        tell(
            f"job key {key.id} is made: {where}; each worker needs it, by --job-key-file"
            if text is None
            else f"job key {key.id} is used: {where}; each worker needs it, by --job-key-file"
        )
    return key


def existing_key(settings: Settings) -> JobKey:
    """Return the job's key. Raises ConfigError where there is none yet."""
    text = _given(settings)
    if text is None:
        raise ConfigError(f"job key {_path(settings)}: is not there; `bucketpull coordinate` makes it")
    return _coordinators(text, _where(settings))


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


def _coordinators(text: str, where: str) -> JobKey:
    key = read_key(text, where)
    if not isinstance(key, JobKey):
        raise ConfigError(
            f"{where}: is the key of machine {key.machine}; the coordinator needs the job's own"
        )
    return key


def _path(settings: Settings) -> Path:
    return Path(settings.job_key_file) if settings.job_key_file else settings.state_folder() / FILE


def _where(settings: Settings) -> str:
    if settings.job_key and not settings.job_key_file:
        return "BUCKETPULL_JOB_KEY"
    return str(_path(settings))


def _given(settings: Settings) -> str | None:
    """Return the key's text from the file or the environment; None where there is none yet."""
    if settings.job_key and not settings.job_key_file:
        return settings.job_key
    path = _path(settings)
    try:
        with path.open(encoding="ascii") as file:
            found = os.fstat(file.fileno())
            warn_of_owner("job key", path, found)
            if found.st_mode & 0o077:
                tell(f"job key {path}: others can read it; chmod 600 {path}")
            return file.read(10_000)
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        raise ConfigError(
            f"--job-key-file {path}: is not a job key; that is one line of letters and digits"
        ) from None
    except OSError as error:
        raise ConfigError(f"--job-key-file {path}: {error.strerror}") from error


def _made(path: Path) -> str:
    """Write a new key, whole or not at all."""
    text = new_key()
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
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
