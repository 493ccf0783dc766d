"""What a failure's reason means and what to do about it: one table for CLI and dashboard."""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from bucketpull.domain.errors import Reason
from bucketpull.report.words import translated


class Explanation(NamedTuple):
    """One reason in words: what happened, and what the operator can do."""

    meaning: str
    remedy: str


EXPLANATIONS: dict[Reason, Explanation] = {
    Reason.GONE: Explanation("deleted at the source after it was listed", "nothing to do"),
    Reason.THROTTLED: Explanation(
        "the source refuses requests for the moment (429, 503)", "nothing to do; or set --rate"
    ),
    Reason.BANNED: Explanation(
        "the source blocks this address for a while", "wait, then lower --rate or --concurrency"
    ),
    Reason.CONNECT: Explanation(
        "no connection", "check the network, the firewall, and the proxy if there is one, then retry"
    ),
    Reason.DNS: Explanation("the host name could not be resolved", "check the resolver, then retry"),
    Reason.TLS: Explanation(
        "no secure connection",
        "check the address, its certificate (BUCKETPULL_CA_FILE names an authority of your own) and this machine's clock",
    ),
    Reason.TIMEOUT: Explanation("no answer in time", "retry; lower --concurrency if there are many"),
    Reason.STALLED: Explanation("the transfer came to a standstill", "retry"),
    Reason.RESET: Explanation("the connection was cut", "retry"),
    Reason.TRUNCATED: Explanation("fewer bytes came than were announced", "retry"),
    Reason.SERVER_ERROR: Explanation("the source answered with a 5xx status", "retry later"),
    Reason.GARBAGE: Explanation(
        "the answer was not understood",
        "retry; check that the URL is the service's own, and look for a proxy in between",
    ),
    Reason.CURSOR: Explanation(
        "the listing could not go on where it was", "retry; the directory is listed again"
    ),
    Reason.CLOCK: Explanation("the request's time was refused", "set this machine's clock"),
    Reason.MISSING: Explanation("listed, but no endpoint has it", "check it in the console, then retry"),
    Reason.SIZE: Explanation(
        "its size is not the listed one",
        "it may have been replaced: run sync again, or purge the CDN's cache; of a list, check its sizes",
    ),
    Reason.STALE: Explanation(
        "the CDN has an older version than the listed one", "purge the CDN's cache, then retry"
    ),
    Reason.CHECKSUM: Explanation(
        "its checksum is not the listed one", "check the list, or purge the CDN's cache, then retry"
    ),
    Reason.TRANSFORMED: Explanation(
        "the CDN changed the bytes (WebP, gzip)", "switch the CDN's image optimization off, then retry"
    ),
    Reason.WRONG_CONTENT: Explanation(
        "a page of text came instead of the object", "check the CDN domain's access rules"
    ),
    Reason.REDIRECTED: Explanation("the source redirects elsewhere", "check the domain's settings"),
    Reason.RANGE: Explanation("the rest of a large object did not fit its beginning", "retry"),
    Reason.FORBIDDEN: Explanation(
        "the source or its CDN refuses it (permission, hotlink protection, token)",
        "grant the right to read it, or allow this machine; of a CDN of UPYUN set UPYUN_TOKEN_SECRET",
    ),
    Reason.REJECTED: Explanation("the source refuses this object", "read the last answer"),
    Reason.NOT_A_FILE: Explanation("listed as a file, but it is a folder", "check it in the console"),
    Reason.NOT_FOUND: Explanation("the list names it, but there is none", "check the list"),
    Reason.ARCHIVED: Explanation(
        "in an archive storage class (such as GLACIER)", "restore it at the source, then retry"
    ),
    Reason.SKEW: Explanation(
        "this machine's time is not accepted, and the answers do not tell the right one",
        "set this machine's clock: timedatectl set-ntp true",
    ),
    Reason.CREDENTIALS: Explanation(
        "the credentials are not accepted", "check the credentials of the source"
    ),
    Reason.PERMISSION: Explanation(
        "these credentials may not read the bucket",
        "grant them read permission in the console; --anonymous reads public buckets alone",
    ),
    Reason.NO_BUCKET: Explanation("there is no such bucket or folder", "check their names"),
    Reason.REGION: Explanation("the bucket is in another region", "set --region to the one that is named"),
    Reason.UNSTORABLE: Explanation(
        "the disk cannot hold it: its name, its size, or what lies in its place",
        "read the last answer; remove what is in the way, or fetch it by hand",
    ),
    Reason.UNWRITTEN: Explanation(
        "the disk failed to write it several times, and took other files",
        "check the disk (dmesg), then retry",
    ),
    Reason.MACHINE: Explanation(
        "this machine lacks open files or memory", "raise `ulimit -n` or lower --concurrency, then retry"
    ),
    Reason.VOLUME_FULL: Explanation("the volume is full", "free some space or add a volume, then retry"),
    Reason.VOLUME_SICK: Explanation("the volume answers with errors", "check the disk, then retry"),
    Reason.POISON: Explanation(
        "a process crashed each time it handled this object; or what is named is a message at the broker that is none of this job",
        "report a crash, with the log file; a message is forgotten by `bucketpull retry`",
    ),
    Reason.INTERRUPTED: Explanation("stopped by you", "run the same command again"),
}


CHECK_CREDENTIALS: Final = "check {}"
TRIED_AGAIN: Final = "it is tried again; if that lasts, check the source and the network between"
_RETRYING: Final = r", then retry$|^retry(?: later)?(?:; |$)"


def explain(reason: str, language: str = "en", credentials: Sequence[str] = ()) -> Explanation:
    """Say what a reason means and what to do, in "en" or "zh"; `credentials` are what a source's are called, if that is known.

    Raises ValueError where there is no such reason.
    """
    meaning, remedy = EXPLANATIONS[Reason(reason)]
    if reason == Reason.CREDENTIALS and credentials:
        remedy = CHECK_CREDENTIALS.format(" and ".join(credentials))
    return Explanation(translated(meaning, language), translated(remedy, language))


def remedy_while_running(reason: str) -> str:
    """Say in English what to do about a reason while the job runs, which tries again by itself.

    Raises:
        ValueError: There is no such reason.

    """
    return re.sub(_RETRYING, "", EXPLANATIONS[Reason(reason)].remedy) or TRIED_AGAIN
