"""Which sources there are: scheme -> configuration -> source. Another one is a folder beside this file, and a line in `SOURCES`."""

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import Any, Final

import msgspec

from bucketpull.domain.errors import ConfigError
from bucketpull.domain.user_input import shown_value
from bucketpull.sources.source_settings import Option, SourceSettings

SOURCES: Final[dict[str, str]] = {
    "upyun": "bucketpull.sources.upyun.config:UpyunConfig",
    "s3": "bucketpull.sources.s3.config:S3Config",
    "urls": "bucketpull.sources.urls.config:UrlsConfig",
}


class _Packed(msgspec.Struct):
    scheme: str
    settings: msgspec.Raw


@cache
def settings_type(scheme: str) -> type[SourceSettings]:
    """Return the type of a scheme's configuration; KeyError if there is none."""
    module, _, name = SOURCES[scheme].partition(":")
    found: type[SourceSettings] = getattr(import_module(module), name)
    return found


def settings_of(
    source: str, options: Mapping[str, Any], labels: Mapping[str, str] = MappingProxyType({})
) -> SourceSettings:
    """Make the configuration of a SOURCE and of settings by name; `labels`: see `of`. It is not yet `checked`.

    Raises ConfigError at a SOURCE or a value that is not understood.
    """
    if not source:
        raise ConfigError("no source: name one, such as upyun://BUCKET; or `source` in --config")
    scheme, colon, place = source.partition(":")
    if not colon or scheme not in SOURCES:
        usages = "; ".join(settings_type(each).USAGE for each in SOURCES)
        raise ConfigError(f"source {shown_value(source)}: write {usages}")
    return settings_type(scheme).of(place, options, labels)


def credentials_of(source: str) -> list[str]:
    """Return the variables that hold the credentials for a SOURCE; none for one that is not known, or needs none."""
    scheme = source.partition(":")[0]
    options = settings_type(scheme).OPTIONS if scheme in SOURCES else ()
    return [option.variable for option in options if option.secret and option.asked]


@cache
def options_by_name() -> Mapping[str, Option]:
    """Return all options of all sources. Where several have one of the same name, its flag's help names each."""
    found: dict[str, Option] = {}
    for scheme in SOURCES:
        for option in settings_type(scheme).OPTIONS:
            known = found.setdefault(option.name, option)
            if known.help != option.help and known.help and option.help:
                found[option.name] = msgspec.structs.replace(known, help=f"{known.help} {option.help}")
    return found


def pack(settings: SourceSettings) -> bytes:
    """Encode a configuration, with its secrets, as JSON."""
    kind = type(settings)
    scheme = next(scheme for scheme in SOURCES if settings_type(scheme) is kind)
    return msgspec.json.encode({"scheme": scheme, "settings": settings})


def unpack(packed: bytes) -> SourceSettings:
    """Decode what `pack` made. Raises ConfigError where it is of a source, or has values, that are not known here."""
    try:
        outer = msgspec.json.decode(packed, type=_Packed)
        return msgspec.json.decode(outer.settings, type=settings_type(outer.scheme))
    except (ValueError, KeyError, RecursionError) as error:  # a DecodeError is a ValueError
        raise ConfigError(
            f"the job's source is not understood: {error}; are all machines of one version?"
        ) from error
