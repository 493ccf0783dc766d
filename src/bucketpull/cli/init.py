"""`bucketpull init`: writes a job's configuration and a unit of systemd that runs it, after a few questions."""

import json
import os
import secrets
import shlex
import shutil
import sys
from collections.abc import Callable, Collection
from typing import Any, Final

import click

from bucketpull.cli import options
from bucketpull.cli.doctor import run_checks
from bucketpull.cli.doctor.machine import mounts
from bucketpull.domain.errors import ConfigError, ExitCode
from bucketpull.report.console import said, say, tell, tell_error
from bucketpull.report.figures import size
from bucketpull.report.printable import json_line
from bucketpull.wiring.file_checks import check_file
from bucketpull.wiring.settings import Settings, secret_options
from bucketpull.wiring.settings_loader import variable_of
from bucketpull.wiring.volume_opening import check_paths


@click.command(cls=options.ChoosingCommand)
@options.places("[SOURCE] [VOLUME...]")
@options.source
@options.choosing
@options.limits
@options.storing
@options.reporting
@options.volumes_below
@click.option(
    "--output", metavar="FILE", help="The configuration to write (default: by job, such as photos.toml)."
)
@click.option("--unit", "unit_file", metavar="FILE", help="Write a unit of systemd that runs the job too.")
@click.option("--force", is_flag=True, help="Replace files that are there.")
@click.option("--no-doctor", is_flag=True, help="Do not check anything first.")
@options.common
def init(
    places: tuple[str, ...],
    output: str | None,
    unit_file: str | None,
    force: bool,
    no_doctor: bool,
    **flags: Any,
) -> int:
    """Write the configuration of a job, and check that it would run.

    At a terminal it asks for what was not given: source, credentials, CDN domain, disks. Credentials that are in the environment are
    not written; others are written to the file, which only you can read. Without a terminal all must be given. Exit 3 if `doctor`
    finds a fault; then nothing is written.

    \b
    bucketpull init
    bucketpull init upyun://photos /mnt/d1 /mnt/d2 --cdn-url https://img.example.com --output photos.toml
    bucketpull sync --config photos.toml
    """
    for name, path in (("--output", output), ("--unit", unit_file)):
        if path is not None:
            check_new(name, path, force=force)
    interview = Interview(flags | options.split(places))
    settings = interview.settings()
    if not interview.asks:
        check_new("--output", output or f"{settings.job_name()}.toml", force=force)
    checked = settings if no_doctor else _checked(interview, settings, flags.get("config"))
    if checked is None:
        tell("nothing was written; correct it, or write the file all the same with --no-doctor")
        return ExitCode.INCOMPLETE
    settings = checked
    path = output or interview.new_file("--output", f"{settings.job_name()}.toml", force=force)
    if unit_file is None and interview.wants_unit():
        unit_file = interview.new_file("--unit", f"bucketpull-{settings.job_name()}.service", force=force)
    elsewhere = secrets_elsewhere(settings)
    write_private(path, configuration(settings, elsewhere), force=force)
    if unit_file is not None:
        write_private(unit_file, unit(settings, path, elsewhere), force=force)
    _conclude(settings, path, unit_file, elsewhere)
    return ExitCode.COMPLETE


def _checked(interview: "Interview", settings: Settings, config: str | None) -> Settings | None:
    """Check settings, and ask for others, until they pass or the user insists; None if neither happens."""
    while run_checks(settings, config):
        if interview.corrects():
            settings = interview.settings()
        elif interview.insists():
            break
        else:
            return None
    return settings


class Interview:
    """Finds out what a job needs: from flags, environment and file, and at a terminal by questions, which `asks` says."""

    def __init__(self, known: dict[str, Any]) -> None:
        self._given = known
        self._known = dict(known)
        self._answers: dict[str, str] = {}
        self.asks = sys.stdin.isatty() and not known.get("json") and not known.get("quiet")

    def settings(self) -> Settings:
        """Return the job's settings, complete. Raises ConfigError where something lacks or is wrong, and nobody can be asked."""
        if self.asks:
            self._ask_for_source()
            self._ask_for_access()
            self._ask_for_volumes()
        settings = options.settings(self._known)
        check_all(settings.source_config, lambda: check_paths(settings.volumes))
        return settings

    def corrects(self) -> bool:
        """Ask whether something that was asked shall be asked again; each answer stands as it was unless another is given."""
        again = self.asks and bool(self._answers)
        if again and _asked(click.confirm, "change your answers?", default=True):
            tell("Enter keeps an answer, - empties one that may be empty")
            self._known = dict(self._given)
            return True
        return False

    def insists(self) -> bool:
        """Ask whether to write the file though a check failed."""
        return self.asks and _asked(click.confirm, "write the file all the same?")

    def wants_unit(self) -> bool:
        """Ask whether to write a unit of systemd too."""
        return self.asks and _asked(click.confirm, "write a unit of systemd that runs it too?")

    def new_file(self, name: str, path: str, *, force: bool) -> str:
        """Return where to write: at a path, or where the answer says if that is taken; `name` is the option's.

        Raises ConfigError where it is taken, and nobody can be asked.
        """
        try:
            check_new(name, path, force=force)
        except ConfigError as error:
            if not self.asks:
                raise
            tell_error(error)
            return _answer("another file to write", lambda text: check_new(name, text, force=force))
        return path

    def _ask_for_source(self) -> None:
        if not options.settings(self._known).source:
            question = "source, such as upyun://BUCKET, s3://BUCKET or urls:FILE"
            self._known["source"] = self._answer("source", question, self._checks("source"))

    def _ask_for_access(self) -> None:
        """Ask for credentials if there are none, and for what else the source would like to know."""
        settings = options.settings(self._known)
        complete = _is_complete(settings)
        for option in settings.source_settings().OPTIONS:
            if not option.asked or option.name in settings.options or (option.secret and complete):
                continue
            text = self._answer(option.name, option.asked, self._checks(option.name))
            if text:
                self._known[option.name] = text

    def _checks(self, name: str) -> Callable[[str], None]:
        def check(text: str) -> None:
            options.settings(self._known | {name: text}).source_settings().check_values()

        return check

    def _ask_for_volumes(self) -> None:
        def check(text: str) -> None:
            check_paths(shlex.split(text))

        if options.settings(self._known).volumes:
            return
        for place, free in _disks():
            tell(f"  {place}  {size(free)}")
        question = "folders to store in, best one a disk, such as /mnt/disk1 /mnt/disk2"
        self._known["volumes"] = tuple(shlex.split(self._answer("volumes", question, check)))

    def _answer(self, name: str, question: str, check: Callable[[str], None]) -> str:
        """Ask for one thing, and remember what was answered; what is secret is not shown."""
        text = _answer(question, check, hidden=name in _HIDDEN, before=self._answers.get(name, ""))
        self._answers[name] = text
        return text


def check_all(*checks: Callable[[], object]) -> None:
    """Make all checks, so that all that is wrong is told at once. Raises the last ConfigError, when those before it are told."""
    faults = []
    for check in checks:
        try:
            check()
        except ConfigError as error:
            faults.append(error)
    for fault in faults[:-1]:
        tell_error(fault)
    if faults:
        raise faults[-1]


_NO_DISKS = ("/boot", "/dev", "/etc", "/proc", "/run", "/snap", "/sys", "/var/lib")
_HIDDEN = frozenset({"password", "secret_key"})


def _answer(question: str, check: Callable[[str], None], *, hidden: bool = False, before: str = "") -> str:
    """Ask until the answer can be used; `before` is what was answered the last time, which - empties if it may be empty."""
    may_be_empty = question.endswith(")")
    default = before or ("" if may_be_empty else None)
    shown = bool(before) and not hidden
    while True:
        text: str = _asked(
            click.prompt, question, default=default, hide_input=hidden, show_default=shown
        ).strip()
        if text == "-" and before and may_be_empty:
            text = ""
        try:
            if text:
                check(text)
        except (ConfigError, ValueError) as error:
            tell_error(error if isinstance(error, ConfigError) else ConfigError(f"{text}: {error}"))
        else:
            return text


def _asked(ask: Callable[..., Any], question: str, **options: Any) -> Any:
    """Ask a question; where it is left with Ctrl-C, its line ends."""
    try:
        return ask(said(question), err=True, **options)
    except click.Abort:
        if not options.get("hide_input"):  # click ends the line of what is hidden
            click.echo(err=True)
        raise


def _is_complete(settings: Settings) -> bool:
    """Say whether the source has all that it needs, from wherever."""
    try:
        settings.source_config()
    except ConfigError:
        return False
    return True


def _disks() -> list[tuple[str, int]]:
    """Return the file systems of this machine's disks, but the one that it runs from, with their free bytes."""
    found = {}
    for mount in mounts():
        place = mount.point
        if mount.device.startswith("/dev/") and os.path.isdir(place) and not place.startswith(_NO_DISKS):
            about = os.statvfs(place)
            found[place] = about.f_bavail * about.f_frsize
    found.pop("/", None)
    return sorted(found.items())


def _conclude(settings: Settings, path: str, unit_file: str | None, elsewhere: Collection[str]) -> None:
    command = f"bucketpull sync --config {shlex.quote(path)}"
    if settings.json:
        say(json_line({"config": path, "unit": unit_file, "command": command}))
        return
    tell(f"written: {path}; only you can read it")
    tell("Pull the bucket, go on after an interruption, or fetch what is new, all by")
    say(f"  {command}")
    if unit_file is not None:
        tell(f"Have systemd run {unit_file}:")
        name = os.path.basename(unit_file)
        if elsewhere:
            names = " ".join(variable_of(secret) for secret in elsewhere)
            say(f"  sudo install -D -m 600 /dev/null {shlex.quote(_secrets_file(settings))}")
            tell(f"  write {names} into it, a line NAME=value each")
        say(f"  sudo install -m 644 {shlex.quote(unit_file)} /etc/systemd/system/{name}")
        say(f"  sudo systemctl daemon-reload && sudo systemctl enable --now {name}")


_NOT_OF_A_JOB: Final = frozenset({"options", "json", "quiet"})


def check_new(name: str, path: str, *, force: bool) -> None:
    """Make sure that a file can be made and that no other one is lost by that; `name` is the option's.

    Raises ConfigError where it cannot, or there is one.
    """
    check_file(name, path)
    if os.path.lexists(path) and not force:
        raise ConfigError(f"{name} {path}: is there already; name another file, or replace it with --force")


def write_private(path: str, text: str, *, force: bool) -> None:
    """Write a file that only its owner reads. Raises ConfigError where it cannot be written."""
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
    secret = secret_options()
    return [name for name in settings.options if name in secret and os.environ.get(variable_of(name))]


def unit(settings: Settings, config: str, elsewhere: Collection[str]) -> str:
    """Return a unit that runs the job as this user, with this program."""
    program = shutil.which(sys.argv[0]) or "/usr/local/bin/bucketpull"
    names = " ".join(variable_of(name) for name in elsewhere)
    place = _secrets_file(settings).replace("%", "%%")
    environment = f"# needs {names}, a line NAME=value each\nEnvironmentFile={place}\n"
    return UNIT.format(
        source=settings.source.replace("%", "%%"),
        user=os.getuid(),
        folder=_quoted(os.getcwd()),
        environment=environment if elsewhere else "",
        program=_quoted(os.path.abspath(program)),
        config=_quoted(os.path.abspath(config)),
    )


def _secrets_file(settings: Settings) -> str:
    """Return the file in which a unit looks for secrets that are not in the configuration."""
    return f"/etc/bucketpull/{settings.job_name()}.env"


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
