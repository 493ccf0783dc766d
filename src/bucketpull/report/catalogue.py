"""The texts in other languages: one catalogue of gettext a language, `locale/LANGUAGE/LC_MESSAGES/bucketpull.po`.

The English text is where it is said. What the help says has no context there; the texts of `words` have their key for one, those of
`reasons` "reason", what `doctor` finds "check", and errors and notes "message", with `{}` for names and values in both. `make
translations` brings it up to date.
"""

import gettext
import re
import struct
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import Final

DOMAIN: Final = "bucketpull"
_HEAD: Final = "<5I"  # of a .mo file: magic, revision, number of texts, where the tables of English and translated texts are
_ENTRY: Final = "<2I"  # length and place of one text


@cache
def catalogue(language: str) -> gettext.NullTranslations:
    """Return the catalogue of a language; an empty one for English."""
    if language == "en":
        return gettext.NullTranslations()
    from importlib.resources import as_file, files  # 8 ms, for what English does not need

    with as_file(files("bucketpull").joinpath("locale")) as folder:
        return gettext.translation(DOMAIN, folder, [language])


@cache
def patterns(language: str, *contexts: str) -> list[tuple[re.Pattern[str], str]]:
    """Return the texts of some contexts as patterns of the English one, what says most first: `journal {}: {}` fits nearly everything."""
    from importlib.resources import files  # 8 ms, for what English does not need

    path = files("bucketpull").joinpath("locale", language, "LC_MESSAGES", f"{DOMAIN}.mo")
    found = {
        text: translated
        for context, _, text, translated in _entries(path.read_bytes())
        if context in contexts
    }
    ordered = sorted(found.items(), key=lambda item: -len(item[0].replace("{}", "")))
    return [(pattern(text), said) for text, said in ordered]


def pattern(text: str) -> re.Pattern[str]:
    """Return what a text with `{}` fits."""
    return re.compile(re.escape(text).replace(r"\{\}", "(.*?)"), re.DOTALL)


def _entries(compiled: bytes) -> Iterator[tuple[str, str, str, str]]:
    """Go through a .mo file: context, separator, English text, translated text."""
    _, _, count, english, translated = struct.unpack_from(_HEAD, compiled)

    def text(table: int, number: int) -> str:
        length, place = struct.unpack_from(_ENTRY, compiled, table + number * struct.calcsize(_ENTRY))
        return compiled[place : place + length].decode()

    for number in range(count):
        yield *text(english, number).partition("\x04"), text(translated, number)


@lru_cache(maxsize=1024)  # what is wrong with many files is said in the same words
def translated(text: str, language: str, *contexts: str) -> str:
    """Return a message in a language, as far as its catalogue has it; names and values stay as they are.

    Besides those of messages and reasons, texts of more `contexts` are looked for.
    """
    if language == "en":
        return text
    for pattern, said in patterns(language, "message", "reason", *contexts):
        found = pattern.fullmatch(text)
        if found:
            return said.format(*(translated(value, language, *contexts) for value in found.groups()))
    return text
