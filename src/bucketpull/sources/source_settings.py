"""What the configurations of all sources have in common: they are made of SOURCE and of settings that the source declares.

A source derives a frozen struct from `SourceSettings`, with a field for each of its options. The struct travels to the downloaders,
and without its secrets to other machines; `open` makes the source of it.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from inspect import get_annotations
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Self

import msgspec

from bucketpull.domain.errors import ConfigError
from bucketpull.domain.user_input import converted, shown_value

if TYPE_CHECKING:  # the ports load all that machines say: 4 ms, which a command's help does not need
    from bucketpull.ports import Source


class Option(msgspec.Struct, frozen=True, gc=False):
    """One setting of a source: the field of this name, the same name in a file, a flag if it has a `help`.

    In the environment it is `variable`, else BUCKETPULL_NAME. A `secret` is never a flag, is never shown, and does not leave the
    machine. One that is `own` says where a machine connects to, or how it proves who it is: on each machine its operator says it,
    and another machine's word is only compared with it. `many` says how a text becomes several values: "blanks" or "lines"; or that
    several are one text with blanks between ("text"). Such a flag may be given several times. `switch` makes a flag without a value:
    "on", or "on/off" where it can also be switched off (`--no-NAME`). `asked` is what `init` asks for it, if it does: one that ends
    with a parenthesis may be left empty.
    """

    name: str
    help: str = ""
    metavar: str = "TEXT"
    variable: str = ""
    secret: bool = False
    own: bool = False
    many: str = ""
    switch: str = ""
    asked: str = ""

    @property
    def shown(self) -> str:
        """Its name for users: its flag, variable, or name in a file."""
        return "--" + self.name.replace("_", "-") if self.help else self.variable or self.name


class SourceSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all sources' configurations.

    `USAGE` is how SOURCE is written, `OPTIONS` what can be set. `SOURCE` is the class that `open` makes, as MODULE:NAME: it is
    imported only where a source is opened.
    """

    USAGE: ClassVar[str]
    SOURCE: ClassVar[str]
    OPTIONS: ClassVar[tuple[Option, ...]] = ()

    @classmethod
    def scheme(cls) -> str:
        """Return what SOURCE begins with."""
        return cls.USAGE.partition(":")[0]

    @classmethod
    def located(cls, place: str) -> dict[str, str]:
        """Return the fields that SOURCE names; `place` is what follows its scheme and colon. Raises ConfigError where it is not of the form of `USAGE`."""
        raise NotImplementedError

    @classmethod
    def of(
        cls, place: str, options: Mapping[str, Any], labels: Mapping[str, str] = MappingProxyType({})
    ) -> Self:
        """Make a configuration of a place and of settings by name; those of other sources are left out.

        `labels` name those that stand in a file or in the environment, for errors.

        Raises ConfigError at a place or a value that is not understood.
        """
        fields: dict[str, Any] = dict(cls.located(place))
        types = _types(cls)
        for option in cls.OPTIONS:
            if option.name in options:
                value = _values(option, options[option.name])
                label = labels.get(option.name, option.shown)
                fields[option.name] = converted(label, value, types[option.name], secret=option.secret)
        return cls(**fields)

    def check_values(self) -> None:
        """Check each value by itself; others may still be missing.

        Raises ConfigError where one cannot be used, whatever the others are; the message names the setting and the remedy.
        """

    def checked(self) -> Self:
        """Return the configuration itself. Raises ConfigError where it cannot work; the message names the setting and the remedy."""
        return self

    def prepared(self) -> Self:
        """Return the configuration completed from this machine's files; called where the listing begins. Raises ConfigError where a file cannot be used."""
        return self

    def with_versions(self) -> Self:
        """Return the same, with the objects' versions (MD5s) on its pages even if a job does not need them."""
        return self

    @property
    def tells_all(self) -> bool:
        """Whether its listing is complete, so that what is not in it is gone."""
        return True

    def place(self) -> str:
        """Return what follows the scheme and colon in SOURCE."""
        raise NotImplementedError

    def label(self) -> str:
        """Return the default name of a job of this source; it becomes the name of a folder."""
        return "-".join(filter(None, self.place().rpartition("://")[2].split("/")))

    def identity(self) -> dict[str, str]:
        """Return what distinguishes jobs: `source`, `prefix` (a part of it, "" for all), and options that change what is stored."""
        return {"source": f"{self.scheme()}:{self.place()}", "prefix": ""}

    def open(self) -> "Source":
        """Make the source."""
        module, _, name = self.SOURCE.partition(":")
        source: Source = getattr(import_module(module), name)(self)
        return source

    def worker_secrets(self, expires: int) -> dict[str, str]:  # noqa: ARG002 - for those that have some
        """Return environment variables that let a worker fetch until a time (Unix seconds), without the password.

        Raises ConfigError where this source has no such thing.
        """
        raise ConfigError(f"a token for workers: {self.scheme()} has none; set its credentials there")

    def remembered(self) -> dict[str, str]:
        """Return the options without secrets, as they would be written in the environment; defaults are left out."""
        fresh = self._defaults()
        found: dict[str, str] = {}
        for option in self.OPTIONS:
            value = getattr(self, option.name)
            if not option.secret and value != fresh[option.name] and value is not None:
                found[option.name] = _text(option, value)
        return found

    def public(self) -> Self:
        """Return the same without secrets."""
        return msgspec.structs.replace(self, **self._secrets(self._defaults()))

    def held_against(self, own: Self) -> Self:
        """Return the configuration itself, which came from another machine, if it agrees with what is set here.

        Raises ConfigError where it connects to something else, or in another way, than this machine was told to.
        """
        for option in self.OPTIONS:
            told, ours = getattr(self, option.name), getattr(own, option.name)
            if option.own and told != ours:
                raise ConfigError(
                    f"--{option.name.replace('_', '-')}: the coordinator says {_shown(told)}, "
                    f"this worker was given {_shown(ours)}; give both the same"
                )
        return self

    def with_secrets_of(self, other: Self) -> Self:
        """Return the same with the secrets of another configuration."""
        return msgspec.structs.replace(self, **self._secrets(msgspec.structs.asdict(other)))

    def __repr__(self) -> str:
        """Show everything except secrets."""
        hidden = {option.name for option in self.OPTIONS if option.secret}
        shown = ", ".join(
            f"{name}={'***' if name in hidden and value else value!r}"
            for name, value in msgspec.structs.asdict(self).items()
        )
        return f"{type(self).__name__}({shown})"

    @classmethod
    def _defaults(cls) -> dict[str, Any]:
        return dict(zip(reversed(cls.__struct_fields__), reversed(cls.__struct_defaults__), strict=False))

    def _secrets(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return {option.name: values[option.name] for option in self.OPTIONS if option.secret}


def check_headers(lines: Sequence[str], **values: str) -> None:
    """Make sure that requests can be sent with whole header lines, and with values of other headers, by their names for the user.

    Raises ConfigError where one cannot be sent; a line is not shown, it may be a token.
    """
    for name, value in values.items():
        if not (value.isascii() and value.isprintable()):
            raise ConfigError(
                f"source: {name} {shown_value(value)} goes into a header; write ASCII characters only"
            )
    for number, line in enumerate(lines, 1):
        if not (line.isascii() and line.isprintable()):
            raise ConfigError("source: a header has other than printable ASCII characters; write it encoded")
        if ":" not in line:
            raise ConfigError(f"source: header {number} has no colon; write 'Name: value'")


KEY_OPTIONS = (
    Option("keys", "Only the keys in this file, one a line; nothing is listed.", "FILE"),
    Option("keys0", "The same, each key ended by a NUL byte.", "FILE"),
)


class BucketSettings(SourceSettings, frozen=True, kw_only=True):
    """Settings of a bucket: `SCHEME://BUCKET[/PREFIX]`, or of the keys of a list in it, whose `fingerprint` is `key_list`.

    `prefix` is a folder at which the listing starts; keys stay whole.
    """

    bucket: str
    begins_keys_with_slash: ClassVar[bool] = False
    """Whether people write keys of such a bucket as paths, with a slash before them that is not theirs."""
    prefix: str = ""
    keys: str = ""
    keys0: str = ""
    key_list: str = ""

    @classmethod
    def located(cls, place: str) -> dict[str, str]:
        """Return bucket and prefix."""
        bucket, _, prefix = place.removeprefix("//").partition("/")
        if not place.startswith("//") or not bucket:
            raise ConfigError(f"source {f'{cls.scheme()}:{place}'!r}: write {cls.USAGE}")
        return {"bucket": bucket, "prefix": prefix.strip("/")}

    def place(self) -> str:
        """Return bucket and prefix as in SOURCE."""
        return f"//{self.bucket}/{self.prefix}".rstrip("/")

    def identity(self) -> dict[str, str]:
        """Return bucket, prefix and list: the same bucket may be had from several endpoints."""
        own = {"source": f"{self.scheme()}://{self.bucket}", "prefix": self.prefix}
        path = self.keys or self.keys0
        if not path:
            return own
        from bucketpull.sources.list_files import content_of, fingerprint

        return own | {"keys": content_of(self.key_list or fingerprint(path))}

    def prepared(self) -> Self:
        """Return the same with the list's state. Raises ConfigError where the list cannot be read, or does not go with the rest."""
        if self.keys and self.keys0:
            raise ConfigError("--keys and --keys0: name one list of keys")
        path = self.keys or self.keys0
        if not path:
            return self
        if self.prefix:
            raise ConfigError("--keys: the list has whole keys; name the bucket without a prefix")
        from bucketpull.sources.list_files import check_lines, fingerprint

        if self.keys:
            check_lines(path)
        return msgspec.structs.replace(self, key_list=fingerprint(path))

    @property
    def tells_all(self) -> bool:
        """Not where a list of keys was given."""
        return not (self.keys or self.keys0)

    def open(self) -> "Source":
        """Make the source: the bucket, or the part of it that the list names."""
        source = super().open()
        path = self.keys or self.keys0
        if not path:
            return source
        from bucketpull.sources.derived import KeyedSource

        before = b"/" if self.begins_keys_with_slash and self.keys else b""
        return KeyedSource(source, path, b"\0" if self.keys0 else b"\n", self.key_list, before)


@cache
def _types(settings: type[SourceSettings]) -> Mapping[str, Any]:
    return dict(each for base in reversed(settings.__mro__) for each in get_annotations(base).items())


def _values(option: Option, value: Any) -> Any:  # noqa: ANN401 - as a user writes it
    if (
        option.many == "text"
        and isinstance(value, list | tuple)
        and all(isinstance(each, str) for each in value)
    ):
        return " ".join(value)
    if option.many in {"", "text"} or not isinstance(value, str):
        return value
    return value.split() if option.many == "blanks" else value.splitlines()


def _shown(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value or "none")


def _text(option: Option, value: Any) -> str:  # noqa: ANN401 - of any type that an option has
    if option.many in {"", "text"}:
        return str(value)
    return (" " if option.many == "blanks" else "\n").join(value)
