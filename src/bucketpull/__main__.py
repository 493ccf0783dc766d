"""The command `bucketpull`, which is also `python -m bucketpull`."""

import atexit
import gc
import os
import signal
import sys

TYPE_CHECKING = False  # `typing`, and 1 ms of collections while it is imported, come after `set_threshold`
if TYPE_CHECKING:
    from types import FrameType
    from typing import NoReturn

INTERRUPTED = 130  # `ExitCode.INTERRUPTED`, before anything of ours is imported


def main() -> "NoReturn":
    """Run the command line. Ctrl-C ends it without a traceback while it is imported: there is nothing to put in order yet."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)
    gc.set_threshold(100_000)  # collections during a start would cost a tenth of it, for nothing
    from bucketpull.cli.main import main as run

    try:
        run()
    except SystemExit as end:
        _end(int(end.code or 0))


def _end(code: int) -> "NoReturn":
    """End without taking the interpreter's objects apart, which takes 6 ms: what is registered for the end is done, what was written goes out."""
    from contextlib import suppress  # here, so that Ctrl-C ends its import too

    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(code)


def _leave(_: int, __: "FrameType | None") -> "NoReturn":
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
