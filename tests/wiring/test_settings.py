import json
import os
import pwd
from types import NoneType, UnionType
from typing import Literal, Union, get_args, get_origin, get_type_hints

import pytest

from bucketpull.domain.errors import ConfigError
from bucketpull.sources.registry import options_by_name
from bucketpull.wiring.settings import Settings, jobs_folder
from bucketpull.wiring.settings_loader import resolve, variable_of


def test_headers_in_the_environment_are_separated_by_line_breaks_and_volumes_by_blanks():
    settings = resolve(
        {"source": "upyun://b"},
        {"BUCKETPULL_HEADERS": "X-One: a b\nX-Two: c", "BUCKETPULL_VOLUMES": "/mnt/d1 /mnt/d2"},
    )

    assert settings.source_settings().headers == ("X-One: a b", "X-Two: c")
    assert settings.volumes == ["/mnt/d1", "/mnt/d2"]


@pytest.mark.parametrize(
    ("given", "listed"), [({"verify": "md5"}, True), ({"adopt": "md5"}, True), ({"verify": "size"}, False)]
)
def test_etags_are_listed_where_somebody_compares_them(given, listed):
    settings = resolve({"source": "s3://bucket", "anonymous": True, **given}, {})

    assert settings.source_config().lists_versions is listed


CHOSEN = {
    "source": ("upyun://a", "upyun://b", "upyun://c"),
    "concurrency": ("1", "2", "3"),
    "bandwidth": ("1M", "2M", "3M"),
    "reserve": ("1G", "2G", "3%"),
    "job": ("a", "b", "c"),
    "machine": ("a", "b", "c"),
}
EVERY = [name for name in Settings.__struct_fields__ if name != "options"]


def values_of(name):
    """Return three values of a setting as they stand in a file, in the environment and on the command line, and what each becomes."""
    kind = get_type_hints(Settings)[name]
    options = (
        [each for each in get_args(kind) if each is not NoneType]
        if get_origin(kind) in {Union, UnionType}
        else [kind]
    )
    kind = options[0]
    if name in CHOSEN:
        return CHOSEN[name], CHOSEN[name]
    if get_origin(kind) is Literal:
        one, two, *more = get_args(kind)
        three = more[0] if more else one
        return (one, two, three), (one, two, three)
    if kind is bool:
        return (False, "true", False), (False, True, False)
    if kind in {int, float}:
        return (5, "6", "7"), (kind(5), kind(6), kind(7))
    if get_origin(kind) is list:
        return (["/file"], "/environment", ("/flag",)), (["/file"], ["/environment"], ["/flag"])
    return ("file", "environment", "flag"), ("file", "environment", "flag")


@pytest.mark.parametrize("name", EVERY)
def test_a_flag_counts_before_the_environment_and_that_before_the_file(tmp_path, name):
    (in_file, in_environment, on_line), became = values_of(name)
    file = tmp_path / "job.toml"
    file.write_text(f"{name} = {json.dumps(in_file)}\n")
    file.chmod(0o600)
    config, environment = {"config": str(file)}, {variable_of(name): in_environment}

    assert getattr(resolve(config, {}), name) == became[0]
    assert getattr(resolve(config, environment), name) == became[1]
    assert getattr(resolve({**config, name: on_line}, environment), name) == became[2]
    assert getattr(resolve({}, environment), name) == became[1]


@pytest.mark.parametrize("name", list(options_by_name()))
def test_so_it_is_for_the_settings_of_a_source(tmp_path, name):
    option = options_by_name()[name]
    in_file = ["file"] if option.many in {"blanks", "lines"} else True if option.switch else "file"
    file = tmp_path / "job.toml"
    file.write_text(f"{name} = {json.dumps(in_file)}\n")
    file.chmod(0o600)
    config, environment = {"config": str(file)}, {variable_of(name): "environment"}

    assert resolve(config, {}).options[name] == in_file
    assert resolve(config, environment).options[name] == "environment"
    assert resolve({**config, name: "flag"}, environment).options[name] == "flag"


def test_rules_on_the_command_line_take_the_place_of_those_of_their_kind_elsewhere(tmp_path):
    file = tmp_path / "job.toml"
    file.write_text('include = ["*.jpg"]\nexclude = ["*.tmp"]\n')
    file.chmod(0o600)

    settings = resolve({"config": str(file), "rules": ("+ *.png",)}, {})

    assert (settings.include, settings.exclude, settings.rules) == ([], ["*.tmp"], ["+ *.png"])


@pytest.mark.parametrize("ending", ["\r", "\udcff", "\x1b[2J"])
@pytest.mark.parametrize("name", ["BROKER", "JOB_KEY", "DASHBOARD_TOKEN", "PING"])
def test_a_secret_with_a_line_end_of_windows_is_refused_without_being_shown(name, ending):
    with pytest.raises(ConfigError, match=f"^BUCKETPULL_{name}: has ") as refused:
        resolve({}, {f"BUCKETPULL_{name}": f"https://u:OpenSesame-OpenSesame@h/{ending}"})

    assert "Sesame" not in str(refused.value)


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"HOME": "/home/me"}, "/home/me/.local/state/bucketpull"),
        ({"HOME": "/home/me", "XDG_STATE_HOME": "/var/state"}, "/var/state/bucketpull"),
        ({"HOME": "/home/me", "XDG_STATE_HOME": "state"}, "/home/me/.local/state/bucketpull"),
        ({"HOME": "/home/me", "XDG_STATE_HOME": ""}, "/home/me/.local/state/bucketpull"),
        ({"HOME": ""}, f"{pwd.getpwuid(os.getuid()).pw_dir}/.local/state/bucketpull"),
    ],
)
def test_journals_lie_where_the_user_keeps_states(monkeypatch, environment, folder):
    for name in ("HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert str(jobs_folder()) == folder


@pytest.mark.parametrize("quiet", [False, True])
def test_how_it_goes_is_told_unless_only_errors_are_wanted(capsys, quiet):
    settings = Settings(quiet=quiet)

    settings.tell("told")
    settings.inform("a result")

    assert capsys.readouterr() == (("", "") if quiet else ("a result\n", "told\n"))
