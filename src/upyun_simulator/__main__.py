"""`python -m upyun_simulator`: settings as one line of JSON on standard input, the place as one line on standard output.

It ends when standard input ends, so that it never outlives the process that started it; Ctrl-C at the terminal is for that process,
which may still have to drain.
"""

import gc
import signal
import sys

import msgspec

from upyun_simulator.process import run
from upyun_simulator.settings import Ready, Settings


def _announce(ready: Ready) -> None:
    sys.stdout.write(msgspec.json.encode(ready).decode() + "\n")
    sys.stdout.flush()


def main() -> int:
    """Serve; 2 where the settings are wrong."""
    try:
        line = sys.stdin.buffer.readline()
        settings = msgspec.json.decode(line, type=Settings)
        gc.freeze()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        run(settings, _announce, until_stdin_ends=True)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"simulator: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
