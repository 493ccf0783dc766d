"""Every text of the reporters by its key; the locale chooses the language.

Names that programs read (states, reasons, JSON) are never translated. The key is the text's context in the catalogue.
"""

from collections.abc import Mapping

from bucketpull.report.catalogue import catalogue
from bucketpull.report.messages import translated

TEXTS: dict[str, str] = {
    "state.starting": "starting",
    "state.listing": "listing",
    "state.transferring": "transferring",
    "state.finishing": "finishing",
    "state.paused": "paused",
    "state.no-room": "no room",
    "state.budget-spent": "budget spent",
    "state.waiting": "waiting",
    "state.complete": "complete",
    "state.incomplete": "incomplete",
    "state.interrupted": "interrupted",
    "state.refused": "refused",
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
    "limited": "limited by {}",
    "limit": "limited by",
    "left": "left {}",
    "left.least": "left at least {}",
    "left.band": "{} to {}",
    "left.ending": "stopping: what is in hand is brought to its end",
    "left.unknown": "time left not known yet",
    "of": "{} of {}",
    "so_far": "{} so far",
    "more": "{} listed, more to come",
    "all_listed": "all {} listed",
    "listing": "listing",
    "listed": "listed",
    "stored": "stored",
    "skipped": "skipped",
    "excluded": "excluded",
    "failed": "failed",
    "vanished": "vanished",
    "doubts": "stored in doubt",
    "duplicates": "listed twice",
    "outstanding": "outstanding",
    "directories": "directories",
    "pages": "pages",
    "objects": "objects",
    "bytes": "bytes",
    "volume": "volume",
    "volumes": "volumes",
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
    "machines": "machines",
    "free": "free",
    "speed": "speed",
    "now": "now",
    "mean": "mean",
    "time": "time",
    "traffic": "traffic",
    "spent": "{} received, {} requests, in all runs",
    "wasted": "wasted",
    "cost": "cost",
    "retries": "retries",
    "failures": "failures",
    "in_flight": "in flight",
    "level": "of {} allowed",
    "state": "state",
    "and_more": "and {} more",
    "refused": "the source refuses us: {}; {} ({})",
    "exit": "exit {}: {}",
    "exit.0": "all that was listed is in place",
    "exit.3": "something failed or is missing; `bucketpull failures` says what, `bucketpull retry` tries again",
    "exit.4": "the source refused us; check operator, password and bucket",
    "exit.5": "no volume can take more; add one or free space, then run the same command again",
    "exit.6": "a total budget is spent; give a larger one and run the same command again to go on",
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
    "check.pass": "pass",
    "check.warn": "warn",
    "check.fail": "fail",
    "id": "id",
    "inodes": "inodes",
    "never_run": "it has not run yet",
    "unbalanced": "the books do not balance: {} listed, {} accounted for",
}


class Words:
    """The texts in one language, "en" or "zh"."""

    def __init__(self, language: str = "en") -> None:
        self.language = language
        self._catalogue = catalogue(language)

    def __call__(self, key: str, *values: object) -> str:
        """Return a text with its values filled in; a key without a text is its own text."""
        text = TEXTS.get(key)
        if text is None:
            return key.rpartition(".")[2]
        return self._catalogue.pgettext(key, text).format(*values)

    def message(self, text: str, *contexts: str) -> str:
        """Return what an error or a note says, in this language; for `contexts` see `translated`."""
        return translated(text, self.language, *contexts)


def language_of(environ: Mapping[str, str]) -> str:
    """Return "zh" if the locale is Chinese and can show it (UTF-8, GBK, GB18030 or unsaid), else "en"."""
    locale = environ.get("LC_ALL") or environ.get("LC_MESSAGES") or environ.get("LANG") or ""
    return "zh" if locale.lower().startswith("zh") else "en"
