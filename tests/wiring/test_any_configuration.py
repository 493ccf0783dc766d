"""Whatever stands in a configuration file, it is settings or an error of configuration: nothing else."""

import contextlib
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.damage import damages

from bucketpull.domain.errors import ConfigError
from bucketpull.wiring.job_limits import budget_of
from bucketpull.wiring.selected_source import selection_of
from bucketpull.wiring.settings_loader import _names, resolve

VALUES = [
    *("1", "-1", "1.5", "nan", "inf", "-inf", "9" * 23, "true", "[]", '["a"]', "[1, 2]", "{a = 1}", "[[[[]]]]"),
    *("1979-05-27T07:32:00Z", "07:32:00", '""', '"x"', '"/"', '"1e400"', '"upyun://b"', '"s3://b/é"', '"urls:x"'),
    *(r'"\u0000"', r'"\u001b[31m"', '"' + "a" * 5000 + '"', '"08:00,10M 08:00,1M"', '"-5"', '"=1"', '"٣"'),
]  # fmt: skip
LINES = st.lists(st.tuples(st.sampled_from(sorted(_names())), st.sampled_from(VALUES)), max_size=4)
FILE = b'source = "upyun://b"\nheaders = ["X-A: b"]\nrate = 50\n[x]\ny = 1979-05-27\n'


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("configuration") / "job.toml"
    path.touch(mode=0o600)
    return path


def read(file):
    """Read the file, and use what it says as commands do."""
    with contextlib.suppress(ConfigError):
        settings = resolve({"config": str(file)}, {})
        uses = (settings.job_name, settings.source_settings, settings.packing, settings.secrets)
        for use in (*uses, partial(selection_of, settings), partial(budget_of, settings)):
            with contextlib.suppress(ConfigError):
                use()


@given(LINES)
def test_any_names_with_any_values_are_settings_or_an_error_of_configuration(file, lines):
    file.write_text("\n".join(f"{name} = {value}" for name, value in lines), encoding="utf-8")

    read(file)


@given(st.one_of(damages(FILE), st.binary(max_size=60)))
def test_a_damaged_file_is_settings_or_an_error_of_configuration(file, data):
    file.write_bytes(data)

    read(file)


@pytest.mark.parametrize("bomb", [b"a=" + b"[" * 100_000, b"rate=" + b"9" * 5000, b"\0" * 9])
def test_a_bomb_is_an_error_of_the_file(file, bomb):
    file.write_bytes(bomb)

    with pytest.raises(ConfigError, match="--config"):
        resolve({"config": str(file)}, {})
