"""One tree of errors, and the closed list of reasons for which an object or a page can fail.

An error's `exit_code` is that of the process which it ends. Anything else that is raised is a bug: a traceback and exit 1.
"""

from collections.abc import Sequence
from enum import IntEnum, StrEnum


class ExitCode(IntEnum):
    """What the process tells the shell.

    What each means is said in `MEANINGS` of `cli/help.py`, for `bucketpull help exit-codes` and the documents; what a job's end says of
    it, with what to do, in `report/words.py` under `exit.N`. `report/document.py` tells which end of a job has which.
    """

    COMPLETE = 0
    BUG = 1
    USAGE = 2
    INCOMPLETE = 3
    REFUSED = 4
    NO_ROOM = 5
    BUDGET_SPENT = 6
    INTERRUPTED = 130


class Remedy(StrEnum):
    """What is to be done about a reason; one remedy a reason, in one table (`retry.BOUNDS`)."""

    FAIL = "fail"  # permanent for this object: record it, go on
    VANISH = "vanish"  # the source no longer has it: count it, no failure
    SLOW = "slow"  # the source asks for less: slow down, try again
    RETRY = "retry"  # passing trouble: try again with back-off
    ORIGIN = "origin"  # the answer is doubtful: ask the next endpoint, the origin
    RESIGN = "resign"  # the signature's clock is off: correct it and sign again
    RESTART = "restart"  # the partial transfer does not fit: start from byte 0
    STOP = "stop"  # the source refuses us as a whole: end the job
    HOLD = "hold"  # ours: the volume cannot take it; hand the work back


class Reason(StrEnum):
    """Why something did not work. Closed: metrics, SQL, CLI and documents use these words.

    Each has its row in `retry.BOUNDS`, which says what follows, and its words in `report/reasons.py`; `domain/endpoints.py` says which
    tell something of an endpoint. What lies behind them is told in docs/explanation/trouble.md.
    """

    GONE = "gone"
    THROTTLED = "throttled"
    BANNED = "banned"
    CONNECT = "connect"
    DNS = "dns"
    TLS = "tls"
    TIMEOUT = "timeout"
    STALLED = "stalled"
    RESET = "reset"
    TRUNCATED = "truncated"
    SERVER_ERROR = "server-error"
    GARBAGE = "garbage"
    CURSOR = "cursor"
    CLOCK = "clock"
    MISSING = "missing"
    SIZE = "size"
    STALE = "stale"
    CHECKSUM = "checksum"
    TRANSFORMED = "transformed"
    WRONG_CONTENT = "wrong-content"
    REDIRECTED = "redirected"
    RANGE = "range"
    FORBIDDEN = "forbidden"
    REJECTED = "rejected"
    NOT_A_FILE = "not-a-file"
    ARCHIVED = "archived"
    NOT_FOUND = "not-found"
    SKEW = "clock-skew"
    CREDENTIALS = "credentials"
    PERMISSION = "permission"
    NO_BUCKET = "no-bucket"
    REGION = "region"
    UNSTORABLE = "unstorable"
    UNWRITTEN = "unwritten"
    MACHINE = "machine"
    VOLUME_FULL = "volume-full"
    VOLUME_SICK = "volume-sick"
    POISON = "poison"
    INTERRUPTED = "interrupted"


class BucketpullError(Exception):
    """Something that can go wrong without being a bug; `exit_code` says how the process ends."""

    exit_code: ExitCode = ExitCode.INCOMPLETE


class ConfigError(BucketpullError):
    """Bad usage or configuration, found before any side effect."""

    exit_code = ExitCode.USAGE


class JobMismatch(ConfigError):
    """The job exists with another configuration; the message says what differs."""


class SourceRefused(BucketpullError):
    """The source refuses us as a whole: credentials, permission, unknown bucket."""

    exit_code = ExitCode.REFUSED

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.credentials: Sequence[str] = ()
        """What the source's credentials are called, where that is known."""


class SourceSilent(BucketpullError):
    """The source gives nothing, and a command that only looks does not wait for it for ever (exit 3)."""


class AnswerError(BucketpullError):
    """One answer of the source cannot be used.

    `retry_after_seconds` is what the source asked for, or None.
    """

    def __init__(self, reason: Reason, detail: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.retry_after_seconds = retry_after_seconds


class VolumeError(BucketpullError):
    """A volume cannot be used; `volume` is its path, `reason` what that means for an object."""

    reason: Reason = Reason.VOLUME_SICK

    def __init__(self, volume: str, detail: str) -> None:
        super().__init__(f"volume {volume}: {detail}")
        self.volume = volume
        self.detail = detail


class VolumeFull(VolumeError):
    """No bytes or inodes left above the reserve."""

    reason = Reason.VOLUME_FULL
    exit_code = ExitCode.NO_ROOM


class VolumeSick(VolumeError):
    """The volume answers with I/O errors, is read-only, or is no longer there."""


class VolumeForeign(VolumeSick):
    """What should be the volume's own directory belongs to somebody else, or is a link."""

    exit_code = ExitCode.USAGE


class ObjectUnwritten(VolumeError):
    """The volume refused one object, although it takes others."""

    reason = Reason.UNWRITTEN


class MachineShort(VolumeError):
    """The machine lacks open files or memory: no fault of the volume's, and passing."""

    reason = Reason.MACHINE


class LedgerError(VolumeError):
    """The volume's ledger is damaged before its end (a torn tail is repaired silently)."""


class JournalError(BucketpullError):
    """The journal cannot be used."""


class JournalLocked(JournalError):
    """Another coordinator holds the journal."""

    exit_code = ExitCode.USAGE


class JournalDamaged(JournalError):
    """The journal is corrupt or truncated; it is never replaced silently."""


class TransportError(BucketpullError):
    """Coordinator and workers cannot reach each other."""
