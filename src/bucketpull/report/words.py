"""Every text of the reporters by its key, and the texts in other languages: one catalogue of gettext a language.

Names that programs read (states, reasons, JSON) are never translated. The English text is where it is said; the catalogue is
`locale/LANGUAGE/LC_MESSAGES/bucketpull.po`. What the help says has no context there; the texts here have their key for one, those of
`reasons` "reason", what `doctor` finds "check", and errors and notes "message", with `{}` for names and values in both. `make
translations` brings it up to date.
"""

import gettext
import re
import struct
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from typing import Final, TextIO

from bucketpull.domain.counting import one
from bucketpull.report import times

DOMAIN: Final = "bucketpull"
_COUNTED: Final = r"^(?: [A-Za-z]+){1,5}"  # what a count is of, with its verb
_HEAD: Final = "<5I"  # of a .mo file: magic, revision, number of texts, where the tables of English and translated texts are
_ENTRY: Final = "<2I"  # length and place of one text

TEXTS: dict[str, str] = {
    "state.starting": "starting",
    "state.listing": "listing",
    "state.transferring": "transferring",
    "state.finishing": "finishing",
    "state.paused": "paused",
    "state.no-room": "no room",
    "state.no-broker": "broker not reachable",
    "state.budget-spent": "budget spent",
    "state.waiting": "waiting",
    "state.complete": "complete",
    "state.incomplete": "incomplete",
    "state.interrupted": "interrupted",
    "state.refused": "refused",
    "state_of": "{}: {}",
    "endpoint.slow": "slow",
    "endpoint.refusing": "refuses",
    "endpoint.down": "down",
    "volume.open": "open",
    "volume.full": "full",
    "volume.draining": "draining",
    "volume.sick": "sick",
    "volume.lost": "lost",
    "volume.away": "away",
    "limit.source": "the source",
    "limit.cdn": "the CDN",
    "limit.disk": "the disks",
    "limit.cpu": "the processor",
    "limit.rate": "--rate",
    "limit.bandwidth": "--bandwidth",
    "limit.work": "the listing",
    "waiting_for": "waiting for {}, {}",
    "waiting_for.most": "waiting for {}, {} of at most {}",
    "limited": "limited by {}",
    "limit": "limited by",
    "left": "left {}",
    "left.least": "left at least {}",
    "left.band": "{} ({} to {})",
    "left.again": "what failed is tried again in {}",
    "left.machine": "what is left waits for machine {}",
    "left.source": "waiting for the source: {}",
    "left.ending": "stopping: finishing what has begun",
    "left.standing": "time left not known while nothing is fetched",
    "left.no_broker": "time left not known while the broker cannot be reached, for {} now",
    "left.unknown": "time left not known yet",
    "of": "{} of {}",
    "more": "{} listed, more to come",
    "all_listed": "all {} listed",
    "listing": "listing",
    "listed": "listed",
    "stored": "stored",
    "skipped": "skipped",
    "excluded": "excluded",
    "failed": "failed",
    "vanished": "vanished",
    "doubts": "in doubt",
    "duplicates": "listed twice",
    "outstanding": "outstanding",
    "directories": "{} directories",
    "pages": "{} pages",
    "comma": ", ",
    "semicolon": "; ",
    "objects": "objects",
    "bytes": "bytes",
    "volume": "volume",
    "volumes": "volumes",
    "packs": "{} packs, {}; {} of them open",
    "fetched": "fetched",
    "stages": "stages",
    "stage.listed": "listed",
    "stage.placed": "placed",
    "stage.fetched": "fetched",
    "stage.written": "written",
    "stage.settled": "settled",
    "stage.booked": "booked",
    "holds": "holds",
    "machine": "machine",
    "free": "free",
    "speed": "speed",
    "mean": "mean",
    "time": "time",
    "traffic": "traffic",
    "spent": "{} received, {} requests, in all runs",
    "wasted": "wasted",
    "cost": "cost",
    "retries": "retries",
    "failures": "failures",
    "in_flight": "in flight",
    "state": "state",
    "and_more": "and {} more",
    "refused": "the source refuses us: {}; {} ({})",
    "exit": "exit {}: {}",
    "exit.0": "all that was listed is in place",
    "exit.0.vanished": "all that was listed is in place, but for what the source no longer has",
    "exit.3": "something failed or is missing; `bucketpull failures` says what, `bucketpull retry` tries again",
    "exit.3.again": "something is missing; run the same command again",
    "exit.3.cut": "the journal could not go on, as told below",
    "exit.3.vanished": "none of the objects that were listed is there; check --api-url and the bucket, then run the same command again",
    "exit.4": "the source refused us; check the credentials, their permissions, the bucket, or the CDN domain",
    "exit.5": "no volume can take more; free some space or add a volume, then run the same command again",
    "exit.6": "as much is done as --limit or a total budget allows; the same command without it, or with more, goes on",
    "exit.130": "interrupted; run the same command again to go on",
    "plan": "plan for {}",
    "plan.all": "all of it",
    "plan.sample": "a sample of {} pages",
    "plan.counted": "{}: {} objects",
    "plan.untold": "does not say its size",
    "plan.bucket": "bucket",
    "plan.listed": "listed",
    "plan.objects": "objects",
    "plan.directories": "directories",
    "plan.bytes": "bytes",
    "plan.on_disk": "on disk",
    "plan.inodes": "inodes",
    "plan.in_packs": "in packs",
    "plan.requests": "requests",
    "plan.traffic": "traffic",
    "plan.time": "time",
    "plan.cost": "cost",
    "plan.blocks": "{}, whole blocks and directories",
    "plan.both": "{} + {} for the listing",
    "plan.least": "at least {}",
    "plan.band": "{}  ({} to {})",
    "plan.by": "{} by {}",
    "plan.billed": "{}, which is billed",
    "plan.priced": "{}, as priced; what is retried is not in it",
    "plan.unmeasured": "not known: nothing could be measured; give --rate or --bandwidth",
    "plan.capped": "{} with {}",
    "plan.measured": "{}; measured {}, {} with {} in flight",
    "plan.packed": "{}, {} inodes (--pack)",
    "plan.better": "better in packs: --pack saves {} and {} inodes",
    "plan.read": "read back from one hard disk: packs in {}, files in {} (6 ms a seek)",
    "plan.held": "held",
    "plan.volume": "volume (above its reserve)",
    "plan.room": "room",
    "plan.none": "does not fit: there is no {} above the reserve; add volumes, or lower --reserve",
    "plan.short": "does not fit: it needs {} % of the {} above the reserve; add volumes, or lower --reserve",
    "plan.fits": "fits: {} of the {} will be used",
    "plan.fits.so_far": "fits so far: at least {} of the {} will be used; list more with --sample to know",
    "plan.fits.probably": "probably fits: {} of the {} will be used, but it may need {} %; list more with --sample to know",
    "plan.fits.tightly": "fits, but tightly: {} of the {} will be used; have a volume ready to add",
    "failures.reason": "reason",
    "failures.tried": "tried",
    "failures.key": "key, last answer",
    "failures.means": "{}: {}; {}",
    "failures.page": "{}/ (a page of its listing)",
    "journal": "journal",
    "balance.directory": "directory",
    "balance.listed": "listed",
    "balance.stored": "stored",
    "balance.skipped": "skipped",
    "balance.excluded": "excluded",
    "balance.failed": "failed",
    "balance.vanished": "vanished",
    "balance.left": "left",
    "fault.missing": "missing",
    "fault.size": "size",
    "fault.content": "content",
    "fault.unreadable": "unreadable",
    "fault.extra": "extra",
    "fault.kept": "kept",
    "fault.ledger": "ledger",
    "check.pass": "pass",
    "check.warn": "warn",
    "check.fail": "fail",
    "id": "id",
    "inodes": "inodes",
    "never_run": "it has not run yet",
    "work_left": "it has ended, and there is work again; run the same command again to do it",
    "volumes.unknown": "?: not known until a worker that has the volume joins the running job",
    "unlisted": "{} pages could not be listed: what is there is not counted",
    "unbalanced": "the books do not balance: {} listed, {} accounted for",
}


class Words:
    """The texts in one language, "en" or "zh"."""

    def __init__(self, language: str = "en") -> None:
        self.language = language
        self._catalogue = catalogue(language)

    def __call__(self, key: str, *values: object) -> str:
        """Return a text with its values filled in, in English with what follows the value `1` in the singular.

        A key without a text is its own text.
        """
        text = TEXTS.get(key)
        if text is None:
            return key.rpartition(".")[2]
        if self.language == "en" and "1" in values:
            text = _agreeing(text, values)
        return self._catalogue.pgettext(key, text).format(*values)

    def message(self, text: str, *contexts: str) -> str:
        """Return what an error or a note says, in this language; for `contexts` see `translated`."""
        return translated(text, self.language, *contexts)


def _agreeing(text: str, values: tuple[object, ...]) -> str:
    first, *pieces = text.split("{}")
    told = zip(values, pieces, strict=True)
    return first + "".join(
        "{}" + (re.sub(_COUNTED, _singular, after) if value == "1" else after) for value, after in told
    )


def _singular(things: re.Match[str]) -> str:
    return one(things[0])


def language_of(environ: Mapping[str, str]) -> str:
    """Return "zh" if the locale is Chinese and can show it (UTF-8, GBK, GB18030 or unsaid), else "en"."""
    locale = environ.get("LC_ALL") or environ.get("LC_MESSAGES") or environ.get("LANG") or ""
    return "zh" if locale.lower().startswith("zh") else "en"


def shown_language(environ: Mapping[str, str], stream: TextIO) -> str:
    """Return the locale's language, "en" or "zh", if the stream can encode it."""
    language = language_of(environ)
    try:
        "中".encode(stream.encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return "en"
    return language


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
    """Return what a text with `{}` fits, and the same of one thing."""
    first, *pieces = text.split("{}")
    found = [re.escape(first)]
    for piece in pieces:
        things = re.match(_COUNTED, piece)
        end = things.end() if things else 0
        words = "".join(map(_one_or_several, piece[:end].split(" ")[1:]))
        found.append(f"(.*?){words}{re.escape(piece[end:])}")
    return re.compile("".join(found), re.DOTALL)


def _one_or_several(word: str) -> str:
    return rf"\ {word}" if one(word) == word else rf"\ (?:{word}|{one(word)})"


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
    """Return a message in a language, as far as its catalogue has it; names and values stay as they are, but for durations.

    Besides those of messages and reasons, texts of more `contexts` are looked for.
    """
    if language == "en":
        return text
    for pattern, said in patterns(language, "message", "reason", *contexts):
        found = pattern.fullmatch(text)
        if found:
            return said.format(*(translated(value, language, *contexts) for value in found.groups()))
    return times.duration_in(language, text)
