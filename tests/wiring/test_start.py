"""What a job imports before it begins: each module is a part of every start."""

import subprocess
import sys

_JOB = (
    "bucketpull.cli.main",
    "bucketpull.cli.sync",
    "bucketpull.wiring.local_job",
    "bucketpull.sources.s3.source",
    "bucketpull.sources.upyun.source",
)
_FOR_OTHERS = {
    "aiormq",
    "bracex",
    "bucketpull.cli.completion",
    "bucketpull.ports",
    "bucketpull.report.hooks",
    "bucketpull.report.output_files",
    "bucketpull.sources.list_files",
    "bucketpull.volumes.key_index",
    "bucketpull.volumes.packs.sealing",
    "bucketpull.volumes.packs.tar",
    "bucketpull.volumes.pruning",
    "bucketpull.volumes.reader",
    "bucketpull.web.api",
    "bucketpull.wiring.dashboard_access",
    "calendar",
    "click.shell_completion",
    "csv",
    "email",
    "fnmatch",
    "gzip",
    "h11",
    "importlib.metadata",
    "json",
    "logging.handlers",
    "pathlib",
    "pickle",
    "platformdirs",
    "rich",
    "tempfile",
    "zipfile",
}


def printed_by(code):
    """Return the words that a new interpreter prints."""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return found.stdout.split()


def test_a_job_imports_nothing_that_only_other_commands_use():
    # What the interpreter itself, or a hook of its installation, has imported is not the job's.
    code = f"import sys; before = {{*sys.modules}}; import {', '.join(_JOB)}; print(*sorted({_FOR_OTHERS!r} & sys.modules.keys() - before))"
    assert printed_by(code) == []


def test_a_quiet_job_loads_no_lines_of_progress():
    code = "import bucketpull.wiring.job as job, sys; job.open_reporter(quiet=True); print('bucketpull.report.summary' in sys.modules)"
    assert printed_by(code) == ["False"]


def test_what_downloaders_list_with_is_loaded_before_they_are_forked():
    # An upgrade may replace the program while a job runs, whose giant directory comes days later.
    code = "import bucketpull.sources.upyun.source, sys; print('bucketpull.sources.upyun.parallel_listing' in sys.modules)"
    assert printed_by(code) == ["True"]


def test_collections_of_garbage_are_put_off_before_anything_large_is_imported():
    code = "import sys; before = {*sys.modules}; import bucketpull.__main__; print(*sorted({'dataclasses', 'inspect', 'typing'} & sys.modules.keys() - before))"
    assert printed_by(code) == []


def test_a_command_that_reads_a_journal_imports_no_event_loop():
    code = "import bucketpull.cli.status, bucketpull.cli.pause, sys; print('asyncio' in sys.modules)"
    assert printed_by(code) == ["False"]


def test_what_is_registered_for_the_end_is_done_though_the_interpreter_is_not_taken_apart():
    code = "import atexit, sys; from bucketpull.__main__ import main; atexit.register(print, 'registered'); sys.argv = ['bucketpull', 'nonsense']; print('written'); main()"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.stdout.split() == ["written", "registered"]
    assert "nonsense" in found.stderr
    assert found.returncode == 2


def test_the_help_of_a_command_loads_no_volume_and_nothing_that_is_said_between_machines():
    code = "import bucketpull.cli.main, bucketpull.cli.sync, sys; print(*sorted({'bucketpull.ports', 'bucketpull.volumes'} & sys.modules.keys()))"
    assert printed_by(code) == []
