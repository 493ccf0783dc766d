"""What is wanted, as it is typed and as it stands in a file of rules."""

import pytest

from bucketpull.domain.errors import ConfigError
from bucketpull.domain.selection import Rule
from bucketpull.wiring.selected_source import selection_of
from bucketpull.wiring.settings_loader import resolve


def selection(**flags: str):
    return selection_of(resolve(flags, {}))


def test_a_rules_file_may_begin_with_a_byte_order_mark(tmp_path):
    file = tmp_path / "rules"
    file.write_bytes(b"\xef\xbb\xbf+ *.txt\r\n- /a/\r\n")

    assert selection(rules_file=str(file)).rules == (Rule(True, "*.txt"), Rule(False, "/a/"))


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_rules_file_that_is_not_utf_8_is_refused_with_its_line(tmp_path, mark):
    file = tmp_path / "rules"
    file.write_bytes(mark + "+ *.jpg\n+ 相片/\n".encode("gbk"))

    with pytest.raises(ConfigError, match=f"--rules-file {file}, line 2: is not UTF-8"):
        selection(rules_file=str(file))


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        ({"min_size": "2K"}, {"max_size": "1K"}, "--min-size 2K and --max-size 1K leave nothing"),
        ({"newer": "2021-01-01"}, {"older": "2020-01-01"}, "--newer 2021-01-01 and --older 2020-01-01 leave nothing"),
        ({"newer": "1d"}, {"older": "30d"}, "--newer 1d and --older 30d leave nothing"),
    ],
)  # fmt: skip
def test_bounds_that_leave_nothing_are_refused_as_they_were_typed(low, high, said):
    with pytest.raises(ConfigError, match=said):
        selection(**low, **high)


def test_one_bound_alone_and_bounds_that_meet_are_fine():
    assert selection(newer="2021-01-01", min_size="1K", max_size="1024").smallest == 1024
