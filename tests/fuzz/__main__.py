"""Coverage-guided fuzzing by atheris: `python -m tests.fuzz [SECONDS] [TARGET ...]`; what fails is kept in the target's corpus."""

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import atheris

_SECONDS = 60
_MOST_MEGABYTES = 1_024
_MOST_SECONDS_EACH = 10


def _fuzz(name: str) -> None:
    """Run one target in this process, which ends with it."""
    with atheris.instrument_imports(include=["bucketpull"]):
        from tests.fuzz.targets import TARGETS

    atheris.Setup(sys.argv, TARGETS[name].run)
    atheris.Fuzz()


def _run(name: str, seconds: int) -> int:
    """Run one target in a process of its own, from its seeds and its corpus."""
    from tests.fuzz.targets import CORPUS, TARGETS

    kept = CORPUS / name
    kept.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="bucketpull-corpus-") as folder:
        for number, seed in enumerate(TARGETS[name].seeds()):
            Path(folder, f"seed-{number}").write_bytes(seed)
        options = [
            f"-max_total_time={seconds}",
            f"-rss_limit_mb={_MOST_MEGABYTES}",
            f"-timeout={_MOST_SECONDS_EACH}",
            f"-artifact_prefix={kept}/",
            "-print_final_stats=1",
            "-max_len=400000",
            "-verbosity=0",
        ]
        command = [sys.executable, "-m", "tests.fuzz", f"--target={name}", *options, folder, str(kept)]
        return subprocess.run(command, check=False).returncode


def main(*arguments: str) -> int:
    """Run targets in turn; 1 if one of them failed."""
    from tests.fuzz.targets import TARGETS

    numbers = [int(each) for each in arguments if each.isdigit()]
    names = [each for each in arguments if not each.isdigit()] or list(TARGETS)
    failed = [name for name in names if _run(name, *(numbers or [_SECONDS]))]
    print("failed:", *failed) if failed else print("nothing failed")
    return bool(failed)


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1].startswith("--target="):
        _fuzz(sys.argv.pop(1).removeprefix("--target="))
    sys.exit(main(*sys.argv[1:]))
