"""What a failure's reason means and what to do about it: one table for CLI and dashboard."""

import re
from collections.abc import Sequence
from typing import Final

from bucketpull.domain.errors import Reason
from bucketpull.report.words import translated

EXPLANATIONS: Final[dict[Reason, tuple[str, str]]] = {
    Reason.GONE: ("deleted at the source after it was listed", "nothing to do"),
    Reason.THROTTLED: (
        "the source refuses requests for the moment (429, 503)",
        "nothing to do; or set --rate",
    ),
    Reason.BANNED: ("the source blocks this address for a while", "wait, then lower --rate or --concurrency"),
    Reason.CONNECT: (
        "no connection",
        "check the network, the firewall, and the proxy if there is one, then retry",
    ),
    Reason.DNS: ("the host name could not be resolved", "check the resolver, then retry"),
    Reason.TLS: (
        "no secure connection",
        "check the address, its certificate (BUCKETPULL_CA_FILE names an authority of your own) and this machine's clock",
    ),
    Reason.TIMEOUT: ("no answer in time", "retry; lower --concurrency if there are many"),
    Reason.STALLED: ("the transfer came to a standstill", "retry"),
    Reason.RESET: ("the connection was cut", "retry"),
    Reason.TRUNCATED: ("fewer bytes came than were announced", "retry"),
    Reason.SERVER_ERROR: ("the source answered with a 5xx status", "retry later"),
    Reason.GARBAGE: (
        "the answer was not understood",
        "retry; check that the URL is the service's own, and look for a proxy in between",
    ),
    Reason.CURSOR: ("the listing could not go on where it was", "retry; the directory is listed again"),
    Reason.CLOCK: ("the request's time was refused", "set this machine's clock"),
    Reason.MISSING: ("listed, but no endpoint has it", "check it in the console, then retry"),
    Reason.SIZE: (
        "its size is not the listed one",
        "it may have been replaced: run sync again, or purge the CDN's cache; of a list, check its sizes",
    ),
    Reason.STALE: ("the CDN has an older version than the listed one", "purge the CDN's cache, then retry"),
    Reason.CHECKSUM: (
        "its checksum is not the listed one",
        "check the list, or purge the CDN's cache, then retry",
    ),
    Reason.TRANSFORMED: (
        "the CDN changed the bytes (WebP, gzip)",
        "switch the CDN's image optimization off, then retry",
    ),
    Reason.WRONG_CONTENT: (
        "a page of text came instead of the object",
        "check the CDN domain's access rules",
    ),
    Reason.REDIRECTED: ("the source redirects elsewhere", "check the domain's settings"),
    Reason.RANGE: ("the rest of a large object did not fit its beginning", "retry"),
    Reason.FORBIDDEN: (
        "the source or its CDN refuses it (permission, hotlink protection, token)",
        "grant the right to read it, or allow this machine; of a CDN of UPYUN set UPYUN_TOKEN_SECRET",
    ),
    Reason.REJECTED: ("the source refuses this object", "read the last answer"),
    Reason.NOT_A_FILE: ("listed as a file, but it is a folder", "check it in the console"),
    Reason.NOT_FOUND: ("the list names it, but there is none", "check the list"),
    Reason.ARCHIVED: (
        "in an archive storage class (such as GLACIER)",
        "restore it at the source, then retry",
    ),
    Reason.SKEW: (
        "this machine's time is not accepted, and the answers do not tell the right one",
        "set this machine's clock: timedatectl set-ntp true",
    ),
    Reason.CREDENTIALS: ("the credentials are not accepted", "check the credentials of the source"),
    Reason.PERMISSION: (
        "these credentials may not read the bucket",
        "grant them read permission in the console; --anonymous reads public buckets alone",
    ),
    Reason.NO_BUCKET: ("there is no such bucket or folder", "check their names"),
    Reason.REGION: ("the bucket is in another region", "set --region to the one that is named"),
    Reason.UNSTORABLE: (
        "the disk cannot hold it: its name, its size, or what lies in its place",
        "read the last answer; remove what is in the way, or fetch it by hand",
    ),
    Reason.UNWRITTEN: (
        "the disk failed to write it several times, and took other files",
        "check the disk (dmesg), then retry",
    ),
    Reason.MACHINE: (
        "this machine lacks open files or memory",
        "raise `ulimit -n` or lower --concurrency, then retry",
    ),
    Reason.VOLUME_FULL: ("the volume is full", "free some space or add a volume, then retry"),
    Reason.VOLUME_SICK: ("the volume answers with errors", "check the disk, then retry"),
    Reason.POISON: (
        "a process crashed each time it handled this object; or what is named is a message at the broker that is none of this job",
        "report a crash, with the log file; a message is forgotten by `bucketpull retry`",
    ),
    Reason.INTERRUPTED: ("stopped by you", "run the same command again"),
}
"""What happened, and what the operator can do."""


CHECK_CREDENTIALS: Final = "check {}"
TRIED_AGAIN: Final = "it is tried again; if that lasts, check the source and the network between"
_RETRYING: Final = r", then retry$|^retry(?: later)?(?:; |$)"


def explain(reason: str, language: str = "en", credentials: Sequence[str] = ()) -> tuple[str, str]:
    """Say what a reason means and what to do, in "en" or "zh"; `credentials` are what a source's are called, if that is known.

    Raises ValueError where there is no such reason.
    """
    meaning, remedy = EXPLANATIONS[Reason(reason)]
    if reason == Reason.CREDENTIALS and credentials:
        remedy = CHECK_CREDENTIALS.format(" and ".join(credentials))
    return translated(meaning, language), translated(remedy, language)


def remedy_while_running(reason: str) -> str:
    """Say in English what to do about a reason while the job runs, which tries again by itself.

    Raises:
        ValueError: There is no such reason.

    """
    return re.sub(_RETRYING, "", EXPLANATIONS[Reason(reason)][1]) or TRIED_AGAIN
