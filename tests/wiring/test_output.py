"""What commands write can be read, and obeyed by no terminal."""

import io

from bucketpull.wiring.output import _write


def test_what_a_terminal_would_obey_is_escaped_at_the_last_step():
    stream = io.StringIO()
    _write(stream, "a\x1b[2Jb\rc\x9bd\u202ee 照片\u3000/ü\ttab\nline")
    assert stream.getvalue() == "a\\x1b[2Jb\\rc\\x9bd\\u202ee 照片\u3000/ü\\ttab\\nline\n"
