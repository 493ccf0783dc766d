"""The files that `init` writes: a job's configuration, and a unit of systemd that runs it."""

import json
import os
import secrets
import shutil
import sys
from collections.abc import Collection
from typing import Any, Final

from bucketpull.domain.errors import ConfigError
from bucketpull.sources.registry import options_by_name
from bucketpull.wiring.configuration import variable_of
from bucketpull.wiring.file_checks import check_file
from bucketpull.wiring.settings import Settings

_NOT_OF_A_JOB: Final = frozenset({"options", "json", "quiet"})


def check_new(name: str, path: str, *, force: bool) -> None:
    """Make sure that a file can be made and that no other one is lost by that; `name` is the option's.

    Raises:
        ConfigError: It cannot, or there is one.

    """
    check_file(name, path)
    if os.path.lexists(path) and not force:
        raise ConfigError(f"{name} {path}: is there already; name another file, or replace it with --force")


def write_private(path: str, text: str, *, force: bool) -> None:
    """Write a file that only its owner reads.

    Raises:
        ConfigError: It cannot be written.

    """
    # What is there may be somebody else's, who would read what is written into it: it is replaced.
    fresh = f"{path}.{secrets.token_hex(4)}.part" if force else path
    try:
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_EXCL, 0o600)
        with open(fd, "w", encoding="utf-8") as file:
            file.write(text)
        if force:
            os.rename(fresh, path)
    except OSError as error:
        raise ConfigError(f"{path}: not written: {error.strerror}; name a file that can be") from error


def configuration(settings: Settings, elsewhere: Collection[str]) -> str:
    """Return a job's settings as TOML; secrets that are `elsewhere`, in the environment, are named and not written."""
    lines = ["# A job of bucketpull; the names are those of `bucketpull sync --help`."]
    lines += [
        f"{name} = {_toml(value)}" for name, value in _values(settings).items() if name not in elsewhere
    ]
    if elsewhere:
        names = ", ".join(variable_of(name) for name in elsewhere)
        lines.append(f"# from the environment: {names}")
    return "\n".join(lines) + "\n"


def _values(settings: Settings) -> dict[str, Any]:
    fresh = Settings()
    own = {name: getattr(settings, name) for name in Settings.__struct_fields__ if name not in _NOT_OF_A_JOB}
    changed = {name: value for name, value in own.items() if value != getattr(fresh, name)}
    if settings.volumes:
        changed["volumes"] = [os.path.abspath(volume) for volume in settings.volumes]
    return changed | {name: value for name, value in settings.options.items() if value not in (None, "", ())}


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def secrets_elsewhere(settings: Settings) -> list[str]:
    """Return the secrets that come from the environment."""
    secret = {name for name, option in options_by_name().items() if option.secret}
    return [name for name in settings.options if name in secret and os.environ.get(variable_of(name))]


def unit(settings: Settings, config: str, elsewhere: Collection[str]) -> str:
    """Return a unit that runs the job as this user, with this program."""
    program = shutil.which(sys.argv[0]) or "/usr/local/bin/bucketpull"
    names = " ".join(variable_of(name) for name in elsewhere)
    environment = f"# needs {names}, a line NAME=value each\nEnvironmentFile=/etc/bucketpull/{settings.job_name()}.env\n"
    return UNIT.format(
        source=settings.source.replace("%", "%%"),
        user=os.getuid(),
        folder=_quoted(os.getcwd()),
        environment=environment if elsewhere else "",
        program=_quoted(os.path.abspath(program)),
        config=_quoted(os.path.abspath(config)),
    )


def _quoted(text: str) -> str:
    """Write a path for a unit: % and $ are systemd's."""
    text = text.replace("%", "%%").replace("$", "$$")
    return json.dumps(text, ensure_ascii=False) if " " in text or '"' in text else text


UNIT: Final = """\
[Unit]
Description=Pull {source}
Wants=network-online.target
After=network-online.target

[Service]
Type=notify
TimeoutStartSec=15min
WatchdogSec=5min
User={user}
WorkingDirectory={folder}
{environment}ExecStart={program} sync --config {config}
# SIGINT ends in order: what is in flight is finished or handed back, and 130 is the expected end.
KillSignal=SIGINT
TimeoutStopSec=3min
SuccessExitStatus=130
Restart=on-failure
RestartSec=60
RestartPreventExitStatus=2 3 4 5 6
LimitNOFILE=65536
NoNewPrivileges=true

[Install]
WantedBy=multi-user.target
"""
