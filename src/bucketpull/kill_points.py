"""Named steps at which a process can be made to die, to prove that a kill at any of them loses nothing.

Set `BUCKETPULL_KILL_AT` to `STEP` or `STEP:N`: the process ends itself by SIGKILL when it reaches the step for the Nth time.
Without it `reach` is None, and a step costs one comparison.
"""

import os
import signal
from collections.abc import Callable


def _killer(setting: str) -> Callable[[str], None] | None:
    if not setting:
        return None
    wanted, _, number = setting.partition(":")
    left = int(number or 1)

    def reach(step: str) -> None:
        nonlocal left
        if step == wanted:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return reach


reach: Callable[[str], None] | None = _killer(os.environ.get("BUCKETPULL_KILL_AT", ""))


def at(step: str) -> None:
    """Reach a step that comes once a batch. Those that come for each object compare `reach` themselves, without a call."""
    if reach is not None:
        reach(step)
