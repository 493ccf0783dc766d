"""Settings from flags, environment and file, in this order. Each value is checked, and errors say where it stands."""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

from bucketpull.domain.bandwidth_schedule import parse_bandwidth
from bucketpull.domain.errors import ConfigError
from bucketpull.domain.reserve import parse_reserve
from bucketpull.domain.user_input import check_text, converted, shown_value
from bucketpull.report.console import tell
from bucketpull.sources.registry import options_by_name, settings_of
from bucketpull.wiring.file_checks import read_settings_file, warn_of_owner, warn_of_writers
from bucketpull.wiring.settings import Settings, secret_options

PREFIX: Final = "BUCKETPULL_"
_OTHER_VARIABLES: Final = frozenset(
    {
        "BUCKETPULL_CONFIG",
        "BUCKETPULL_KILL_AT",
        # what `--on-end` gives to its command, which may be bucketpull itself
        "BUCKETPULL_EXIT_CODE",
        "BUCKETPULL_SUMMARY_FILE",
    }
)
# What Kubernetes gives every pod for a service whose name begins with "bucketpull".
_OF_KUBERNETES: Final = r"BUCKETPULL(_\w+)?_(SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_(TCP|UDP)(_\w+)?)?)"
_SPLIT: Final[dict[str, Callable[[str], list[str]]]] = {
    "volumes": str.split,
    "volumes_below": str.split,
    **dict.fromkeys(("rules", "include", "exclude"), str.splitlines),
}
# The flags of these names come as `rules`, for their order counts.
_SIGNS: Final = {"include": "+", "exclude": "-"}
_ARGUMENTS: Final = {"source": "SOURCE", "volumes": "VOLUME"}
_SECRETS: Final = frozenset({"broker", "job_key", "dashboard_token", "ping"})


class _Given(msgspec.Struct, frozen=True):
    """A value, and its name in the place where it was given."""

    value: object
    label: str


def resolve(flags: Mapping[str, Any], environ: Mapping[str, str]) -> Settings:
    """Join flags (None: not given), environment and the file named by flag or BUCKETPULL_CONFIG.

    Raises ConfigError at a name or a value that is not understood, which says where that stands, and what to write.
    """
    flags = {name: value for name, value in flags.items() if value is not None and value != ()}
    path = flags.pop("config", None)
    file = path if path is not None else environ.get("BUCKETPULL_CONFIG") or None
    given: dict[str, _Given] = {}
    if file is not None:
        given = _from_file(str(file))
        _settings(given)  # what is overridden must be right too
    given |= _from_environment(environ)
    for name, sign in _SIGNS.items():
        if any(rule.startswith(sign) for rule in flags.get("rules", ())):
            given.pop(name, None)
    given |= {name: _Given(value, _ARGUMENTS.get(name) or _flag(name)) for name, value in flags.items()}
    settings = _settings(given)
    _check(settings)
    _check_concerned(settings, flags)
    return settings


def _check_concerned(settings: Settings, flags: Mapping[str, Any]) -> None:
    """Refuse flags of other sources: a file or the environment may serve several, but a flag is meant for this one. Raises ConfigError."""
    if settings.source:
        kind = type(settings.source_settings())
        strange = options_by_name().keys() & flags.keys() - {option.name for option in kind.OPTIONS}
        if strange:
            raise ConfigError(f"{_flag(min(strange))}: {kind.scheme()} has no such option; leave it out")


def variable_of(name: str) -> str:
    """Return the environment variable of a setting."""
    option = options_by_name().get(name)
    return (option.variable if option else "") or PREFIX + name.upper()


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _from_file(path: str) -> dict[str, _Given]:
    import tomllib

    label = f"--config {path}"
    if not path:
        raise ConfigError("--config '': name a TOML file")
    check_text("--config", path)
    try:
        data, found = read_settings_file(label, path)
        text = data.decode()
        values = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"{label}: {error.strerror or error}; name a TOML file") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{label}: is not UTF-8 text; name a TOML file") from error
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits too
        raise ConfigError(f"{label}: is not TOML: {error}; correct it") from error
    warn_of_owner("--config", path, found)
    warn_of_writers("--config", path, found)
    _warn_of_readers(path, found.st_mode, values)
    given: dict[str, _Given] = {}
    for written, value in values.items():
        name, line = written.replace("-", "_"), _line_of(text, written)
        if name not in _names():
            where, advice = f"{label}{line}", _meant(name, _names()) or "remove it"
            raise ConfigError(f"{where}: unknown name {shown_value(name)}; {advice}")
        given[name] = _Given(value, f"{label}{line}: {written}")
    return given


def _warn_of_readers(path: str, mode: int, values: Mapping[str, object]) -> None:
    """Say so where others can read a password."""
    names = (secret_options() | _SECRETS) & {name.replace("-", "_") for name in values}
    if names and mode & 0o077:
        tell(f"--config {path}: others can read the {min(names)} in it; chmod 600 {path}")


def _line_of(text: str, name: str) -> str:
    found = re.search(rf"^[ \t]*\[*[\"']?{re.escape(name)}[\"']?[ \t]*[=\]]", text, re.MULTILINE)
    return "" if found is None else f", line {text.count(chr(10), 0, found.start()) + 1}"


def _from_environment(environ: Mapping[str, str]) -> dict[str, _Given]:
    names = {variable_of(name): name for name in _names()}
    given: dict[str, _Given] = {}
    for variable, text in environ.items():
        name = names.get(variable)
        if name is None:
            _check_variable(variable, names)
        elif text:
            given[name] = _Given(_SPLIT[name](text) if name in _SPLIT else text, variable)
    return given


def _check_variable(variable: str, known: Iterable[str]) -> None:
    """Raise ConfigError where a variable is meant for us, and none of ours."""
    is_ours = variable.startswith(PREFIX) and variable not in _OTHER_VARIABLES
    if is_ours and not re.fullmatch(_OF_KUBERNETES, variable):
        meant = _meant(variable, known)
        advice = f"{meant} Else unset it" if meant else "unset it"
        raise ConfigError(f"environment: unknown name {shown_value(variable)}; {advice}")


def _names() -> list[str]:
    """Return what may stand in a file: our settings, and those of all sources."""
    own = [name for name in Settings.__struct_fields__ if name != "options"]
    return [*own, *options_by_name()]


def _meant(name: str, names: Iterable[str]) -> str:
    import difflib  # 2 ms, for what a typing error needs

    close = difflib.get_close_matches(name, names, 1)
    return f"did you mean {close[0]!r}?" if close else ""


def _settings(given: Mapping[str, _Given]) -> Settings:
    known, types = options_by_name(), Settings.__annotations__
    own: dict[str, Any] = {}
    options: dict[str, Any] = {}
    for name, each in given.items():
        value, label = each.value, each.label
        if name not in known:
            own[name] = converted(label, value, types[name], secret=name in _SECRETS)
            continue
        many, secret = known[name].many, known[name].secret
        for text in value.splitlines() if many and isinstance(value, str) else [value]:
            check_text(label, text, secret=secret)
        options[name] = value
    settings = Settings(**own, options=options)
    if settings.source:
        settings_of(settings.source, options, {name: given[name].label for name in options})
    return settings


def _check(settings: Settings) -> None:
    """Make sure of what is more than a type. Raises ConfigError where it cannot be used."""
    settings.fixed_concurrency()
    parse_reserve(settings.reserve, 0)
    if settings.bandwidth is not None:
        parse_bandwidth(settings.bandwidth)
    if settings.job is not None:
        settings.job_name()
    machine = settings.machine
    if machine is not None and (not machine or "/" in machine or len(os.fsencode(machine)) > 100):
        raise ConfigError(f"--machine {shown_value(machine)}: write a name without '/', of at most 100 bytes")
